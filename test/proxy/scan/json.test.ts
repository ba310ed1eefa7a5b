// Finding placeholders in JSON, as tables: at which pointer each stands, how its value would be written, and what is
// refused.

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { charsetNamed, UTF_8 } from '../../../src/proxy/charset.ts'
import { JsonScanner } from '../../../src/proxy/scan/json.ts'
import { cut, N, outcomeOf, refusalOf, scanAll, scanPieces, seen } from './scanned.ts'

const json = (text: string) => scanAll(new JsonScanner(UTF_8, true), text)

test.each([
  ['a member', `{"a":"${N}"}`, '/a'],
  ['a nested member', `{"source":{"card":{"number":"${N}"}}}`, '/source/card/number'],
  ['a member after others', `{"x":{"y":[1,{}]},"b":[],"a":"${N}"}`, '/a'],
  ['an element', `[0,[],"${N}"]`, '/2'],
  ['an element of an element', `{"a":[[1],[2,["x","${N}"]]]}`, '/a/1/1/1'],
  ['a part of a string', `{"a":"pre ${N} post"}`, '/a'],
  ['a bare value', `{"a":${N}}`, '/a'],
  ['a bare element', `{"a":[true, ${N} ]}`, '/a/1'],
  ['an escaped name', `{"so\\u0075rce":{"n\\/m":"${N}"}}`, '/source/n~1m'],
  ['a name with a tilde and a slash', `{"a~b/c":"${N}"}`, '/a~0b~1c'],
  ['an empty name', `{"":{"":"${N}"}}`, '//'],
  ['a name beyond ASCII', `{"näme":"${N}"}`, '/näme'],
  ['a name that looks like an index', `{"a":{"0":"${N}"}}`, '/a/0'],
  ['a name with braces', `{"{{x}}":"${N}"}`, '/{{x}}'],
  ['a name with a quote', `{"a\\"b":"${N}"}`, '/a"b'],
  ['after strings with braces and quotes', `{"x":"}]\\"{[","a":"${N}"}`, '/a'],
  ['the whole body', N, ''],
])('the pointer of a placeholder: %s', (_, text, at) => {
  expect(seen(json(text), text)).toEqual([[N, { in: 'body', at }]])
})

test('duplicate names each say their own place', () => {
  const text = `{"a":"${N}","a":{"b":"${N}"},"a":"${N}"}`

  expect(seen(json(text), text).map(([, place]) => place)).toEqual([
    { in: 'body', at: '/a' },
    { in: 'body', at: '/a/b' },
    { in: 'body', at: '/a' },
  ])
})

test('a placeholder as the name of a property has no pointer', () => {
  const text = `{"${N}":{"a":"${N}"}}`

  const [asName, inside] = seen(json(text), text)

  expect(asName).toEqual([N, { in: 'body', at: undefined }])
  expect(inside).toEqual([N, { in: 'body', at: `/${N}/a` }])
})

test('several placeholders in one string are found in order', () => {
  const text = '{"a":"{{$card_exp_month}}/{{$card_exp_year}}"}'

  expect(seen(json(text), text).map(([raw]) => raw)).toEqual([
    '{{$card_exp_month}}',
    '{{$card_exp_year}}',
  ])
})

test('nobody asks for pointers: there are none', () => {
  const [found] = scanAll(new JsonScanner(UTF_8, false), `{"a":"${N}"}`)

  expect(found?.place).toEqual({ in: 'body', at: undefined })
})

test.each([
  ['nothing', ''],
  ['blanks', ' \n'],
  ['an open object', '{'],
  ['an open array', '[1'],
  ['an open string', '{"a":"b'],
  ['the wrong end', '{"a":1]'],
  ['an end too many', '{}}'],
  ['a comma at the end of an object', '{"a":1,}'],
  ['a comma at the end of an array', '[1,]'],
  ['a comma at the start', '[,1]'],
  ['two commas', '[1,,2]'],
  ['no comma', '[1 2]'],
  ['no comma between members', '{"a":1 "b":2}'],
  ['no colon', '{"a" 1}'],
  ['two colons', '{"a"::1}'],
  ['no value', '{"a":}'],
  ['no name', '{:1}'],
  ['a name without quotes', '{a:1}'],
  ['a name in single quotes', "{'a':1}"],
  ['a number as a name', '{1:1}'],
  ['a comment', '{/* */"a":1}'],
  ['a zero in front', '[01]'],
  ['a plus in front', '[+1]'],
  ['a point at the end', '[1.]'],
  ['a point in front', '[.1]'],
  ['an exponent without digits', '[1e]'],
  ['a minus alone', '[-]'],
  ['a hexadecimal number', '[0x1]'],
  ['NaN', '[NaN]'],
  ['Infinity', '[-Infinity]'],
  ['a literal in another case', '[True]'],
  ['a part of a literal', '[nul]'],
  ['a literal and more', '[nullx]'],
  ['an unknown escape', '["\\x41"]'],
  ['an escape cut short', '["\\u00g0"]'],
  ['a raw line break in a string', '["a\nb"]'],
  ['a raw tab in a string', '["a\tb"]'],
  ['a NUL', '[\0]'],
  ['text after the value', '{} x'],
  ['a second value', '1 2'],
  ['a byte order mark in the midst', '[\ufeff1]'],
  ['two byte order marks', '\ufeff\ufeff{}'],
  ['braces that open no placeholder', '{"a":{{b}}}'],
  ['a placeholder next to a value', `[1${N}]`],
  ['a value next to a placeholder', `[${N}1]`],
  ['two placeholders side by side', `[${N}${N}]`],
  ['a placeholder in place of a member', `{${N}}`],
  ['a bare placeholder as a name', `{${N}:1}`],
  ['too deep', `${'['.repeat(513)}${']'.repeat(513)}`],
])('malformed: %s', (_, text) => {
  expect(refusalOf(() => json(text))).toBe('malformed_body')
})

test.each([
  ['an empty object', '{}'],
  ['a byte order mark', '\ufeff{}'],
  ['an empty array', ' [ ] '],
  ['every literal', '[true,false,null]'],
  ['every kind of number', '[0,-0,1,-1,10,1.5,1e5,1E+5,1e-5,-0.0e0,10000000000000000000999]'],
  ['every escape', '["\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d"]'],
  ['DEL and bytes beyond ASCII', '["\u007f é 😀"]'],
  ['duplicate names', '{"a":1,"a":2}'],
  ['512 levels', `${'['.repeat(512)}${']'.repeat(512)}`],
  ['every blank', ' \t\r\n[\t1\r,\n2 ] '],
])('well formed: %s', (_, text) => {
  expect(seen(json(text), text)).toEqual([])
})

test('whatever JSON.stringify writes is well formed', () => {
  fc.assert(
    fc.property(fc.json(), (text) => {
      if (!text.includes('{{')) expect(json(text)).toEqual([])
    }),
  )
})

test('what JSON.parse takes and refuses, the scan takes and refuses', () => {
  const pieces = fc.constantFrom(
    ...['{', '}', '[', ']', ',', ':', '"a"', '"', '\\', '1', '-', '.', 'e', '0', 'null', ' '],
  )
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 8 }), (parts) => {
      const text = parts.join('')
      let isJson = true
      try {
        JSON.parse(text)
      } catch {
        isJson = false
      }
      expect(refusalOf(() => json(text)) === undefined).toBe(isJson)
    }),
    { numRuns: 5000 },
  )
})

test.each([
  ['an unknown field', '{"a":"{{$nope}}"}'],
  ['an unknown filter', '{"a":"{{$card_number | explode}}"}'],
  ['a bare typing error', '{"a":{{$card_nmber}}}'],
  ['braces that end with the string', '{"a":"{{$card_number"}'],
  ['an unknown field in a name', '{"{{$nope}}":1}'],
])('a placeholder that cannot be resolved: %s', (_, text) => {
  expect(refusalOf(() => json(text))).toBe('placeholder_malformed')
})

describe('how a value is written', () => {
  const write = (text: string, value: string, charset = 'utf-8') => {
    const scanner = new JsonScanner(charsetNamed(charset) ?? UTF_8, true)
    const [found] = scanAll(scanner, text)
    const encoded = found?.encode(Buffer.from(value))
    return encoded === undefined ? undefined : Buffer.from(encoded).toString('latin1')
  }

  test.each([
    ['in a string', `["${N}"]`, 'a"b', 'a\\"b'],
    ['in place of a value', `[${N}]`, 'a"b', '"a\\"b"'],
    ['in place of a value, as a number', '[{{$card_bin | number}}]', '424242', '424242'],
    ['in place of a value, as JSON', '[{{$card_bin | json}}]', '{"a":1}', '{"a":1}'],
    ['in a longer string, as JSON', '["{{$card_bin | json}} "]', '"a"', '\\"a\\"'],
    ['as all of a string, as JSON', '["{{$card_bin | json}}"]', '"a"', '"a"'],
    [
      'in place of a value, a number made a string',
      '[{{$card_bin | number | string}}]',
      '1',
      '"1"',
    ],
  ])('%s', (_, text, value, written) => {
    expect(write(text, value)).toBe(written)
  })

  test('in the charset of the body, or not at all', () => {
    expect(write(`["${N}"]`, 'Zoë', 'iso-8859-1')).toBe('Zo\u00eb')
    expect(write(`[${N}]`, 'Zoë', 'iso-8859-1')).toBe('"Zo\u00eb"')
    expect(write(`["${N}"]`, 'Zoë')).toBe('Zo\u00c3\u00ab')
    expect(write(`["${N}"]`, '😀', 'iso-8859-1')).toBeUndefined()
    expect(write(`["${N}"]`, 'Zoë', 'us-ascii')).toBeUndefined()
  })
})

test('a body in pieces is read as it is as a whole', () => {
  const parts = fc.constantFrom(
    ...[
      '{',
      '}',
      '[',
      ']',
      ',',
      ':',
      '"a"',
      '"',
      '\\',
      '\\u00e9',
      '1.5',
      'true',
      ' ',
      '\ufeff',
      '{{',
    ],
    ...[N, `"${N}"`, '{{$card_bin|number}}', `{"b":[1,"x${N}y",${N}]}`, '"é{{$": 1', '{{$nope}}'],
  )
  fc.assert(
    fc.property(fc.array(parts, { maxLength: 10 }), fc.array(fc.nat()), (texts, cuts) => {
      const text = Buffer.from(texts.join(''))

      const whole = outcomeOf(() => scanAll(new JsonScanner(UTF_8, true), text))
      const inPieces = outcomeOf(() => scanPieces(new JsonScanner(UTF_8, true), cut(text, cuts)))

      expect(inPieces).toEqual(whole)
    }),
    { numRuns: 3000 },
  )
})
