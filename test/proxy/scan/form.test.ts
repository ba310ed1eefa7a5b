// Finding placeholders in forms and URLs, as tables: under which key each stands, and what is refused.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { charsetNamed, UTF_8 } from '../../../src/proxy/charset.ts'
import { FormScanner, scanPath, scanQuery } from '../../../src/proxy/scan/form.ts'
import { cut, N, outcomeOf, refusalOf, refusedOr, scanAll, scanPieces, seen } from './scanned.ts'

const form = (text: string) => scanAll(new FormScanner(UTF_8), text)

const encoded = '%7B%7b%24card_number%3A%20t%7D%7d'

test.each([
  ['raw', `number=${N}`, N, 'number'],
  ['percent-encoded, in either case', `number=${encoded}`, encoded, 'number'],
  ['a plus is a blank', 'n={{+$card_number:+t+}}', '{{+$card_number:+t+}}', 'n'],
  [
    'every character encoded',
    'n=%7B%7B%24%63ard_number%7D%7D',
    '%7B%7B%24%63ard_number%7D%7D',
    'n',
  ],
  ['a key with brackets', `card[number]=${N}`, N, 'card[number]'],
  ['a key with encoded brackets', `card%5Bnumber%5d=${N}`, N, 'card[number]'],
  ['a key with a plus', `my+key=${N}`, N, 'my key'],
  ['a key beyond ASCII', `n%C3%A4me=${N}`, N, 'näme'],
  ['an empty key', `=${N}`, N, ''],
  ['after other pairs', `a=1&&b&c==&n=x${N}y`, N, 'n'],
  ['a value with an equals sign before it', `n=a=${N}`, N, 'n'],
  ['stray percent signs before it', `n=%zz%%-${N}`, N, 'n'],
  ['an escape before it', `n=%41%25${N}`, N, 'n'],
])('the key of a placeholder: %s', (_, text, raw, at) => {
  expect(seen(form(text), text)).toEqual([[raw, { in: 'body', at }]])
})

test('a placeholder in a key, or without an equals sign, has no key of its own', () => {
  expect(seen(form(`${N}=1&${N}`), `${N}=1&${N}`)).toEqual([
    [N, { in: 'body', at: undefined }],
    [N, { in: 'body', at: undefined }],
  ])
})

test('keys that come twice each say their own place', () => {
  expect(seen(form(`n=${N}&n=${N}`), `n=${N}&n=${N}`)).toEqual([
    [N, { in: 'body', at: 'n' }],
    [N, { in: 'body', at: 'n' }],
  ])
})

// A key like a pointer would make a rule for JSON hold in a body that only claims to be a form.
test('a key that looks like a JSON pointer is not one', () => {
  const [[, place] = []] = seen(form(`/source/number=${N}`), `/source/number=${N}`)

  expect(place).not.toEqual({ in: 'body', at: '/source/number' })
})

test.each([
  ['an encoded typing error', 'n=%7b%7b%24card_nmber%7d%7d'],
  ['an encoded unknown filter', 'n={{$card_number%7Cexplode}}'],
  ['encoded twice', 'n=%257B%257B%2524card_number%257D%257D'],
  ['escaped as JSON', 'n=\\u007b{$card_number}}'],
  ['braces as references, encoded', 'n=%26%23123;{$card_number}}'],
  ['an ampersand inside', 'n={{$card_number:&t}}'],
  ['encoded twice within', 'n={{$card_number:%2574}}'],
  ['in a key', '{{$nope}}=1'],
])('a placeholder that cannot be resolved: %s', (_, text) => {
  expect(refusalOf(() => form(text))).toBe('placeholder_malformed')
})

test('an encoded filter is a filter', () => {
  const text = 'n={{$card_number%7C+last%284%29%7d}'

  expect(form(text)).toMatchObject([{ end: text.length, filters: [{ kind: 'last', count: 4 }] }])
})

test('a query says its keys', () => {
  const text = `a=1&p%61n=${N}&x=%7b%7b%24card_bin%7d%7d`

  expect(seen(scanQuery(Buffer.from(text)), text)).toEqual([
    [N, { in: 'query', name: 'pan' }],
    ['%7b%7b%24card_bin%7d%7d', { in: 'query', name: 'x' }],
  ])
})

test('a key of a query that is a placeholder has an empty name', () => {
  const text = '{{$card_bin}}=1'

  expect(seen(scanQuery(Buffer.from(text)), text)).toEqual([
    ['{{$card_bin}}', { in: 'query', name: '' }],
  ])
})

test('a path has one place, and a plus in it is no blank', () => {
  const text = '/c/{{$card_bin}}/%7B%7B%20$card_last4}}/{{+$card_number}}'

  expect(seen(scanPath(Buffer.from(text)), text)).toEqual([
    ['{{$card_bin}}', { in: 'path' }],
    ['%7B%7B%20$card_last4}}', { in: 'path' }],
  ])
})

test.each([
  ['an unknown field in a path', '/c/%7b%7b$card_nmber%7d%7d'],
  ['an opener encoded twice in a path', '/c/%257b%257b$card_number}}'],
])('a placeholder that cannot be resolved: %s', (_, text) => {
  expect(refusalOf(() => scanPath(Buffer.from(text)))).toBe('placeholder_malformed')
})

test.each([
  ['a percent sign', `n=%${N}`],
  ['a percent sign and a digit', `n=%4${N}`],
  ['a percent sign in a key', `a%${N}=1`],
])('a value cannot become a part of an escape: %s', (_, text) => {
  expect(refusalOf(() => form(text))).toBe('value_not_encodable')
})

test('a value is percent-encoded in the charset of the form, or not at all', () => {
  const write = (charset: string, value: string) => {
    const [found] = scanAll(new FormScanner(charsetNamed(charset) ?? UTF_8), `n=${N}`)
    const encoded = found?.encode(Buffer.from(value))
    return encoded === undefined ? undefined : Buffer.from(encoded).toString()
  }

  expect(write('utf-8', 'Zoë &')).toBe('Zo%C3%AB%20%26')
  expect(write('iso-8859-1', 'Zoë &')).toBe('Zo%EB%20%26')
  expect(write('iso-8859-1', '€')).toBeUndefined()
})

test('a form in pieces is read as it is as a whole', () => {
  const parts = fc.constantFrom(
    ...['a', '=', '&', '+', '%', '%7', '%7B', '%7b%7B%24', '{', '{{', 'é', '%zz', '\\u007b'],
    ...[N, '%7B%7b%24card_number%3A%20t%7D%7d', '{{+$card_bin%7clast(2)%7d}', '{{$nope}}'],
  )
  fc.assert(
    fc.property(fc.array(parts, { maxLength: 10 }), fc.array(fc.nat()), (texts, cuts) => {
      const text = Buffer.from(texts.join(''))

      const whole = outcomeOf(() => scanAll(new FormScanner(UTF_8), text))
      const inPieces = outcomeOf(() => scanPieces(new FormScanner(UTF_8), cut(text, cuts)))

      expect(refusedOr(inPieces)).toEqual(refusedOr(whole))
    }),
    { numRuns: 3000 },
  )
})
