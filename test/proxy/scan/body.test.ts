// How a body is read by its declared type, whole or while it streams: what is not well formed passes as long as nothing
// in it looks like a placeholder.

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { mediaTypeOf } from '../../../src/proxy/media-type.ts'
import { bodyScanner, scanBody } from '../../../src/proxy/scan/body.ts'
import { cut, N, outcomeOf, refusalOf, refusedOr, scanPieces, seen } from './scanned.ts'

const whole = (type: string, body: string | Buffer) =>
  scanBody(Buffer.from(body), mediaTypeOf(type), true)
const streamed = (type: string, body: string | Buffer, cuts: readonly number[] = []) =>
  scanPieces(bodyScanner(mediaTypeOf(type), true), cut(Buffer.from(body), cuts))

const JSON_TYPE = 'application/json'
const FORM = 'application/x-www-form-urlencoded'
const MULTIPART = 'multipart/form-data; boundary=b'
const ENCODED = '%7B%7b%24card_number%7D%7D'

describe.each([
  ['as a whole', whole],
  ['while it streams', (type: string, body: string | Buffer) => streamed(type, body, [7, 13, 20])],
])('a body that comes %s', (_, scan) => {
  test.each([
    [JSON_TYPE, `{"a":"${N}"}`, N, '/a'],
    [FORM, `a=${N}`, N, 'a'],
    [FORM, `a=${ENCODED}`, ENCODED, 'a'],
    ['text/xml', `<a>${N}</a>`, N, '/a'],
    [MULTIPART, `--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n${N}\r\n--b--`, N, 'a'],
    ['text/csv', `1,${N}`, N, undefined],
    ['', `{"a":"${N}"}`, N, undefined],
  ])('of type %j is read as such', (type, body, raw, at) => {
    expect(seen(scan(type, body), body)).toEqual([[raw, { in: 'body', at }]])
  })

  test.each([
    ['JSON', JSON_TYPE, '{"a":1,}'],
    ['XML', 'text/xml', '<a><b></a>'],
    ['XML with a document type', 'text/xml', '<!DOCTYPE a><a/>'],
    ['multipart', MULTIPART, 'a & b % \\'],
    ['multipart with a preamble', MULTIPART, 'Hello\r\n--b\r\n\r\na&b\r\n--b--'],
    ['multipart without a boundary', 'multipart/form-data', '--b\r\n\r\na&b\r\n--b--'],
    ['HTML', 'text/html', '<p>{{b}} &amp; $</p>'],
    ['nothing at all', JSON_TYPE, ''],
  ])('passes without a placeholder even if it is not well formed: %s', (_, type, body) => {
    expect(scan(type, body)).toEqual([])
  })

  test.each([
    ['JSON', JSON_TYPE, `{"a":1,,"b":"${N}"}`, 'malformed_body'],
    ['XML', 'text/xml', `<a><b></a>${N}`, 'malformed_body'],
    ['multipart', MULTIPART, `Hello\r\n--b\r\n\r\n${N}\r\n--b--`, 'malformed_body'],
    ['multipart without a boundary', 'multipart/form-data', `--b\r\n\r\n${N}`, 'malformed_body'],
    ['HTML', 'text/html', `<p>${N}</p>`, 'value_not_encodable'],
    [
      'JSON, in disguise',
      JSON_TYPE,
      '{"a":1,,"b":"\\u007b{$card_number}}"}',
      'placeholder_malformed',
    ],
    [
      'multipart, in disguise',
      MULTIPART,
      'Hello --b \\u007b{$card_number}}',
      'placeholder_malformed',
    ],
    ['HTML, in disguise', 'text/html', '<p>&#123;{$card_number}}</p>', 'placeholder_malformed'],
    ['text, percent-encoded', 'text/plain', ENCODED, 'placeholder_malformed'],
    ['JSON, percent-encoded', JSON_TYPE, `["${ENCODED}"]`, 'placeholder_malformed'],
    ['XML, percent-encoded', 'text/xml', `<a>${ENCODED}</a>`, 'placeholder_malformed'],
    [
      'a charset that cannot be searched',
      'text/plain; charset=utf-16',
      'x',
      'content_encoding_unsupported',
    ],
  ])('is refused with one: %s', (_, type, body, reason) => {
    expect(refusalOf(() => scan(type, body))).toBe(reason)
  })

  test('of a binary type is not looked at', () => {
    expect(scan('image/png', `{{$nope ${ENCODED} {\0{\0$\0`)).toEqual([])
  })
})

test('a name longer than is held refuses a body that streams', () => {
  const body = `{"${'x'.repeat(100_000)}":"${N}"}`

  expect(refusalOf(() => streamed(JSON_TYPE, body, [80_000]))).toBe('malformed_body')
})

test('whatever is in a body, it is read in pieces as it is as a whole', () => {
  const types = fc.constantFrom(JSON_TYPE, FORM, 'text/xml', MULTIPART, 'text/plain', 'text/html')
  const parts = fc.constantFrom(
    ...['{', '}', '[', ']', ',', ':', '"', '\\', '\\u007b', '%7b', '$', '{{', '}}', '&', '=', ' '],
    ...['<a>', '</a>', '<', '>', '--b\r\n\r\n', '\r\n--b--', '\r\n--b\r\n', '\0', 'é', '&#123;'],
    ...[N, ENCODED, '{{$nope}}', '"a":', '[1,"x"]'],
  )
  fc.assert(
    fc.property(
      types,
      fc.array(parts, { maxLength: 8 }),
      fc.array(fc.nat()),
      (type, texts, cuts) => {
        const text = Buffer.from(texts.join(''))

        const asWhole = outcomeOf(() => whole(type, text))
        const inPieces = outcomeOf(() => streamed(type, text, cuts))

        expect(refusedOr(inPieces)).toEqual(refusedOr(asWhole))
      },
    ),
    { numRuns: 10_000 },
  )
})
