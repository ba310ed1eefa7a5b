// Finding placeholders in multipart bodies, as tables: in which part each stands, how its value would be written, and
// what is refused.

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { mediaTypeOf } from '../../../src/proxy/media-type.ts'
import { bodyScanner } from '../../../src/proxy/scan/body.ts'
import { MultipartScanner } from '../../../src/proxy/scan/multipart.ts'
import { cut, N, outcomeOf, refusalOf, scanAll, scanPieces, seen } from './scanned.ts'

const scanner = (isFormData = true) =>
  new MultipartScanner('b', isFormData, (type) => bodyScanner(type, true))
const multipart = (text: string) => scanAll(scanner(), text)

const part = (headers: readonly string[], content: string) =>
  `--b\r\n${headers.map((line) => `${line}\r\n`).join('')}\r\n${content}\r\n`
const body = (...parts: string[]) => `${parts.join('')}--b--\r\n`
const named = (name: string, more = '') => `Content-Disposition: form-data; name="${name}"${more}`

test.each<[string, string[], string, string | undefined]>([
  ['a field', [named('pan')], N, 'pan'],
  ['a part of a field', [named('pan')], `a\r\nb ${N} c`, 'pan'],
  ['a field of a plain type', [named('pan'), 'Content-Type: text/plain'], N, 'pan'],
  ['a name with brackets', [named('card[number]')], N, 'card[number]'],
  ['a name without quotes', ['content-disposition: form-data; name=pan'], N, 'pan'],
  [
    'a field holding JSON',
    [named('p'), 'Content-Type: application/json'],
    `{"a":["${N}"]}`,
    'p/a/0',
  ],
  ['a field that is a JSON value', [named('p'), 'Content-Type: application/json'], N, 'p'],
  ['a field holding XML', [named('p'), 'Content-Type: text/xml'], `<a b="${N}"/>`, 'p/a/@b'],
  [
    'a field holding a form',
    [named('card'), 'Content-Type: application/x-www-form-urlencoded'],
    `_number=${N}`,
    undefined,
  ],
  ['a file of text', [named('f', '; filename="a.txt"')], N, undefined],
  ['a part without a name', ['X-A: 1'], N, undefined],
  ['a part without headers', [], N, undefined],
  ['an empty name', [named('')], N, undefined],
  ['a name like a pointer', [named('/source/number')], N, undefined],
  ['a name said twice', [named('pan', '; name="x"')], N, undefined],
  ['a name said in two ways', [named('pan', "; name*=utf-8''x")], N, undefined],
  ['a name with an escape', [named('p\\"an')], N, undefined],
  ['another disposition', ['Content-Disposition: attachment; name="pan"'], N, undefined],
  ['a disposition with more behind it', [named('pan', ' x')], N, undefined],
])('the place of a placeholder: %s', (_, headers, content, at) => {
  const text = body(part([named('before')], 'x'), part(headers, content), part([], 'y'))

  expect(seen(multipart(text), text)).toEqual([[N, { in: 'body', at }]])
})

test('a binary part passes unscanned, whatever is in it', () => {
  const text = body(part([named('f'), 'Content-Type: image/png'], `{{$nope\0 ${N} %7b%7b$`))

  expect(multipart(text)).toEqual([])
})

test.each([
  ['no line end after the last delimiter', `${part([], N)}--b--`],
  ['an empty part', `--b\r\n\r\n\r\n${part([], N)}--b--`],
  ['a part without even an empty line of its own', `--b\r\n\r\n--b--\r\n`],
])('well formed: %s', (_, text) => {
  expect(refusalOf(() => multipart(text))).toBeUndefined()
})

test.each([
  ['a preamble', `x\r\n${body(part([], N))}`, 'malformed_body'],
  ['an empty line first', `\r\n${body(part([], N))}`, 'malformed_body'],
  ['an epilogue', `${body(part([], N))}x`, 'malformed_body'],
  ['no end', part([], N), 'malformed_body'],
  ['line ends without CR', body(part([], N)).replaceAll('\r', ''), 'malformed_body'],
  ['blanks behind a delimiter', `--b  \r\n\r\n${N}\r\n--b--`, 'malformed_body'],
  ['another boundary', '--c\r\n\r\nx\r\n--c--', 'malformed_body'],
  ['a longer boundary', `--b\r\n\r\n${N}\r\n--bc\r\n\r\n\r\n--b--`, 'malformed_body'],
  ['a folded header', body(part(['X-A: 1', ' 2'], N)), 'malformed_body'],
  ['a header without a colon', body(part(['X-A'], N)), 'malformed_body'],
  ['a header that stands twice', body(part([named('a'), named('b')], N)), 'malformed_body'],
  ['headers beyond measure', body(part([`X-A: ${'x'.repeat(17_000)}`], N)), 'malformed_body'],
  ['a placeholder in a header', body(part([named(N)], 'x')), 'value_not_encodable'],
  [
    'a disguised one in a header',
    body(part([named('%7B%7B%24card_number}}')], 'x')),
    'placeholder_malformed',
  ],
  [
    'a part in base64',
    body(part(['Content-Transfer-Encoding: base64'], 'x')),
    'content_encoding_unsupported',
  ],
  [
    'a part in UTF-16',
    body(part(['Content-Type: text/plain; charset=utf-16'], N)),
    'content_encoding_unsupported',
  ],
  ['a part of HTML', body(part(['Content-Type: text/html'], N)), 'value_not_encodable'],
  ['JSON that is none', body(part(['Content-Type: application/json'], `[${N}`)), 'malformed_body'],
  ['an unknown field', body(part([], '{{$nope}}')), 'placeholder_malformed'],
  [
    'an opener cut by a delimiter',
    body(part([], '{{$card_number'), part([], '}}')),
    'placeholder_malformed',
  ],
  [
    'a disguise in a field',
    body(part([named('a')], '%7B%7B%24card_number}}')),
    'placeholder_malformed',
  ],
  [
    'a disguise in JSON',
    body(part(['Content-Type: application/json'], '["\\u007b{$x"]')),
    'placeholder_malformed',
  ],
])('refused: %s', (_, text, reason) => {
  expect(refusalOf(() => multipart(text))).toBe(reason)
})

describe('how a value is written', () => {
  const write = (headers: readonly string[], value: string, isFormData = true) => {
    const [found] = scanAll(scanner(isFormData), body(part(headers, N)))
    const encoded = found?.encode(Buffer.from(value))
    return encoded === undefined ? undefined : Buffer.from(encoded).toString('latin1')
  }

  test.each([
    ['a field takes what no line end is in', [named('a')], 'a"&<{}', 'a"&<{}'],
    ['a field takes no line end', [named('a')], 'a\nx', undefined],
    ['a field takes no carriage return', [named('a')], 'a\rx', undefined],
    ['a field takes no NUL', [named('a')], 'a\0x', undefined],
    [
      'a field in Latin-1',
      [named('a'), 'Content-Type: text/plain; charset=iso-8859-1'],
      'Zo\u00eb',
      'Zo\u00eb',
    ],
    ['a file takes what plain text takes', [named('a', '; filename=x')], 'a"x', undefined],
    ['JSON takes a JSON value', [named('a'), 'Content-Type: application/json'], 'a"x', '"a\\"x"'],
    ['no part takes its boundary', [named('a')], 'abc', undefined],
    ['not even escaped', [named('a'), 'Content-Type: application/json'], '\b', undefined],
  ])('%s', (_, headers, value, written) => {
    expect(write(headers, value)).toBe(written)
  })

  test('a plain part of another multipart type takes what plain text takes', () => {
    expect(write([named('a')], 'a"x', false)).toBeUndefined()
    expect(write([named('a')], '4242', false)).toBe('4242')
  })
})

test('a body in pieces is read as it is as a whole', () => {
  const parts = fc.constantFrom(
    ...['--b', '--b--', '\r\n', '\r\n\r\n', '\r', '-', '{{', 'x', '\\u007b'],
    ...[
      part([named('a')], N),
      part([], ''),
      part([named('j'), 'Content-Type: application/json'], `[${N},"${N}"]`),
    ],
    ...[
      part([named('x'), 'Content-Type: text/xml'], `<a>${N}</a>`),
      part([named('i'), 'Content-Type: image/png'], N),
    ],
    ...[
      part([named('f'), 'Content-Type: application/x-www-form-urlencoded'], 'a=%7B{%24card_bin}}'),
    ],
  )
  fc.assert(
    fc.property(fc.array(parts, { maxLength: 5 }), fc.array(fc.nat()), (texts, cuts) => {
      const text = Buffer.from(body(...texts))

      const whole = outcomeOf(() => scanAll(scanner(), text))
      const inPieces = outcomeOf(() => scanPieces(scanner(), cut(text, cuts)))

      expect(inPieces).toEqual(whole)
    }),
    { numRuns: 3000 },
  )
})

test('a boundary may hold any character that it may', () => {
  const type = mediaTypeOf(`multipart/form-data; boundary="a'()+_,-./:=? b"`)

  expect(type.boundary).toBe("a'()+_,-./:=? b")
})
