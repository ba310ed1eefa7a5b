// Filters, as tables: what comes out of a value, which arguments are none, and which values cannot go through.

import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  applyFilters,
  type Filter,
  formatExpiry,
  parseFilter,
  resultsInJson,
  ValueNotFilterable,
} from '../../src/proxy/filter.ts'
import { parsePlaceholder } from '../../src/proxy/placeholder.ts'
import { Refusal } from '../../src/proxy/refusal.ts'

const filtersOf = (text: string): readonly Filter[] =>
  parsePlaceholder(Buffer.from(`{{$nick_name | ${text}}}`), 0).filters

/** What comes out of a value; undefined goes in where there is none. */
function filtered(value: string | undefined, text: string): string | undefined {
  const given = value === undefined ? undefined : Buffer.from(value)
  const out = applyFilters(given, filtersOf(text), false, [])
  return out === undefined ? undefined : Buffer.from(out).toString()
}

const VISA = '4242424242424242'
const AMEX = '378282246310005'

test.each([
  ['first(6)', VISA, '424242'],
  ['first(20)', VISA, VISA],
  ['first(1)', '', ''],
  ['first( 2 )', '12', '12'],
  ['first(2)', 'Zoë', 'Zo'],
  ['first(3)', 'Zoë Ω', 'Zoë'],
  ['first(1)', '😀😀', '😀'],
  ['first(9999)', 'a', 'a'],
  ['last(4)', AMEX, '0005'],
  ['last(20)', AMEX, AMEX],
  ['last(1)', '', ''],
  ['last(2)', 'aë', 'aë'],
  ['last(1)', 'a😀', '😀'],
  ['pad(6)', '7', '000007'],
  ['pad(2)', '12', '12'],
  ['pad(1)', '12', '12'],
  ['pad(3)', '', '000'],
  ['pad(3)', 'ë', '00ë'],
  ['pad(3)', '😀', '00😀'],
  ['upper', 'Ada', 'ADA'],
  ['upper', 'straße', 'STRASSE'],
  ['upper', 'zoë \u0149 \u0390 \ufb03', 'ZOË \u02bcN \u0399\u0308\u0301 FFI'],
  ['upper', '😀 4242', '😀 4242'],
  ['lower', 'ADA', 'ada'],
  ['lower', 'ZOË İ', 'zoë i̇'],
  ['digits', '4242 4242-x', '42424242'],
  ['digits', VISA, VISA],
  ['digits', 'none', ''],
  ['digits', '٣3', '3'],
  ['number', '42', '42'],
  ['number', '007', '7'],
  ['number', '000', '0'],
  ['number', '0', '0'],
  ['number', '-007.50', '-7.50'],
  ['number', '00.5', '0.5'],
  ['number', '-0', '-0'],
  ['number', VISA, VISA],
  ['string', '007', '007'],
  ['string', '', ''],
  ['hex', 'Zoë', '5a6fc3ab'],
  ['hex', '', ''],
  ['base64', 'a', 'YQ=='],
  ['base64', '', ''],
  ['base64url', '??>', 'Pz8-'],
  ['base64url', 'a', 'YQ'],
  ['mask', VISA, '424242******4242'],
  ['mask', AMEX, '378282*****0005'],
  ['mask', '4222222222222', '422222***2222'],
  ['mask', '123456789012', '************'],
  ['mask', '4242 4242 4242 4242', '*******************'],
  ['mask', 'Zoë', '***'],
  ['mask', '😀', '*'],
  ['mask', '', ''],
  ['urlencode', 'a b/ë~', 'a%20b%2F%C3%AB~'],
  ['json', 'a"b', '"a\\"b"'],
  ['json', '', '""'],
  ['map(visa=VI, mastercard=MC)', 'Visa', 'VI'],
  ['map(visa=VI, mastercard=MC)', 'MASTERCARD', 'MC'],
  ['map(Visa=VI)', 'visa', 'VI'],
  ["map('Diners Club'='D C', a=b)", 'diners club', 'D C'],
  ['map(Diners Club=D C)', 'Diners Club', 'D C'],
  ["map(a='x, y', b='')", 'a', 'x, y'],
  ["map(a='x,, y')", 'a', 'x,, y'],
  ["map(a=', ,')", 'a', ', ,'],
  ["map(a='x, y', b='')", 'b', ''],
  ["map('a=b'=c)", 'a=b', 'c'],
  ["map('a, b'=c)", 'a, b', 'c'],
  ['map(a=b=c)', 'a', 'b=c'],
  ['map(a=)', 'A', ''],
  ['default(x)', 'a', 'a'],
  ['default(x)', '', ''],
])('%s of %j is %j', (text, value, expected) => {
  expect(filtered(value, text)).toBe(expected)
})

test.each([
  ['default(x)', 'x'],
  ['default( x y )', 'x y'],
  ["default(' x, (y) ')", ' x, (y) '],
  ["default('')", ''],
  ['default()', ''],
  ['default(null)', 'null'],
  ['upper | default(x)', 'x'],
  ['default(x) | upper', 'X'],
  ['default(x) | default(y)', 'x'],
  ['last(4) | number | default(0)', '0'],
  ['number | default(0) | json', '0'],
  ['json | default(null) | json', 'null'],
  ['number | default(0) | string', '0'],
  ['default(7) | pad(2) | json', '"07"'],
  ['upper | lower', undefined],
])('%s of no value is %j', (text, expected) => {
  expect(filtered(undefined, text)).toBe(expected)
})

test.each([
  ['digits | last(4)', '4242 4242 4242 4242', '4242'],
  ['first(6) | pad(8) | base64', VISA, Buffer.from('00424242').toString('base64')],
  ['upper | first(1) | map(v=VI)', 'visa', 'VI'],
  ['map(visa=VI) | lower', 'Visa', 'vi'],
  ['number | json', '007', '7'],
  ['json | json', 'a', '"a"'],
  ['number | string | json', '007', '"7"'],
  ['json | urlencode', 'a', '%22a%22'],
  ['upper|upper|upper|upper|upper|upper|upper|last(1)', 'ab', 'B'],
])('filters are applied from left to right: %s of %j is %j', (text, value, expected) => {
  expect(filtered(value, text)).toBe(expected)
})

describe('a value that cannot go through is refused', () => {
  test.each([
    ['number', ''],
    ['number', 'a'],
    ['number', '1a'],
    ['number', ' 1'],
    ['number', '1 000'],
    ['number', '+1'],
    ['number', '-'],
    ['number', '.5'],
    ['number', '1.'],
    ['number', '1.2.3'],
    ['number', '1e5'],
    ['number', '0x1'],
    ['number', '--1'],
    ['number', '٣'],
    ['number', 'NaN'],
    ['map(visa=VI)', 'Mastercard'],
    ['map(visa=VI)', ''],
    ['map(visa=VI)', 'visa '],
    ['map(kk=x)', '\u212ak'],
    ['map(constructor=x)', '__proto__'],
    ['default(x) | number', 'a'],
  ])('%s of %j', (text, value) => {
    expect(() => filtered(value, text)).toThrow(ValueNotFilterable)
  })

  test('so is a default that cannot go through what follows it', () => {
    expect(() => filtered(undefined, 'default(x) | number')).toThrow(ValueNotFilterable)
  })
})

describe('a filter is refused, by its name', () => {
  test.each([
    ['first'],
    ['first()'],
    ['first(0)'],
    ['first(-1)'],
    ['first(01)'],
    ['first(1.5)'],
    ['first(a)'],
    ['first(1, 2)'],
    ["first('1')"],
    ['first(10000)'],
    ['first(1e3)'],
    ['last'],
    ['last(four)'],
    ['pad()'],
    ['pad(99999)'],
    ['upper()'],
    ['lower(1)'],
    ['digits(1)'],
    ['number(2)'],
    ['string()'],
    ['base64(url)'],
    ['base64url()'],
    ['hex()'],
    ['sha256(salt)'],
    ['mask(4)'],
    ['urlencode()'],
    ['json()'],
    ['map'],
    ['map()'],
    ['map(visa)'],
    ['map(=x)'],
    ["map(''=x)"],
    ['map(a=b,)'],
    ['map(,a=b)'],
    ['map(a=b,,c=d)'],
    ['map(a=b, ,c=d)'],
    ['map(a=b, A=c)'],
    [`map(${Array.from({ length: 65 }, (_, n) => `a${n}=x`).join(',')})`],
    ['default'],
    ['number | default(x)', 'default'],
    ['number | default()', 'default'],
    ['json | default(01)', 'default'],
    ["json | default('a')", 'default'],
    ['json | default(1e5)', 'default'],
    ['json | default([])', 'default'],
    ['number | default(0) | default(x)', 'default'],
    ['format(MMYY)'],
    ['explode'],
    ['Upper'],
    ['constructor'],
    ['__proto__'],
    ['toString'],
  ])('%s', (text, name = text.replace(/[(|].*/, '').trim()) => {
    expect(() => filtersOf(text)).toThrow(
      expect.objectContaining({ reason: 'placeholder_malformed', field: name }),
    )
    expect(() => filtersOf(text)).toThrow(Refusal)
  })

  test.each(['null', 'true', 'false', '0', '-1', '12.50', "'12.50'"])(
    'but not a default that is JSON where JSON stands: %s',
    (literal) => {
      for (const before of ['number', 'json']) {
        expect(resultsInJson(filtersOf(`${before} | default(${literal})`))).toBe(true)
      }
    },
  )
})

describe('format', () => {
  const format = (text: string, month = '03', year = '2035') => {
    const filter = parseFilter('format', text)
    if (filter?.kind !== 'format') return undefined
    const out = formatExpiry(filter.parts, Buffer.from(month), Buffer.from(year))
    return Buffer.from(out).toString()
  }

  test.each([
    ['MMYY', '0335'],
    ['MM/YY', '03/35'],
    ['YYYY-MM', '2035-03'],
    ['YYYYMM', '203503'],
    ['YYMM', '3503'],
    ['M/YYYY', '3/2035'],
    ['M', '3'],
    ['MM', '03'],
    ['YY', '35'],
    ['YYYY', '2035'],
    ['MM / YY', '03 / 35'],
    [' MM/YY ', '03/35'],
    ["' MM.YY '", ' 03.35 '],
    ['MM, YY', '03, 35'],
    ['YYYYMMYY', '20350335'],
    ["(MM'YY)", "(03'35)"],
  ])('%s', (text, expected) => {
    expect(format(text)).toBe(expected)
  })

  test.each([
    ['3', 'M', '3'],
    ['3', 'MM', '03'],
    ['12', 'M', '12'],
    ['10', 'M', '10'],
    ['12', 'MM', '12'],
  ])('of the month %s as %s is %s', (month, text, expected) => {
    expect(format(text, month)).toBe(expected)
  })

  test.each([
    undefined,
    '',
    ' ',
    "''",
    '/',
    'MMM',
    'MMMM',
    'Y',
    'YYY',
    'YYYYY',
    'YYYYYY',
    'mm/yy',
    'MM/yy',
    'MM/YY x',
    'DD/MM/YY',
    'MM1',
    'MM YY HH',
  ])('%j is none', (text) => {
    expect(parseFilter('format', text)).toBeUndefined()
  })
})

describe('for any value', () => {
  const texts = fc.string({ unit: 'binary', maxLength: 40 })

  test.each([
    ['hex', (bytes: Buffer) => bytes.toString('hex')],
    ['base64', (bytes: Buffer) => bytes.toString('base64')],
    ['base64url', (bytes: Buffer) => bytes.toString('base64url')],
    ['sha256', (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')],
    ['json', (bytes: Buffer) => JSON.stringify(bytes.toString())],
    ['digits', (bytes: Buffer) => bytes.toString().replaceAll(/[^0-9]/g, '')],
    ['upper', (bytes: Buffer) => [...bytes.toString()].map((c) => c.toUpperCase()).join('')],
    ['lower', (bytes: Buffer) => [...bytes.toString()].map((c) => c.toLowerCase()).join('')],
    ['first(3)', (bytes: Buffer) => [...bytes.toString()].slice(0, 3).join('')],
    ['last(3)', (bytes: Buffer) => [...bytes.toString()].slice(-3).join('')],
    [
      'pad(5)',
      (bytes: Buffer) => '0'.repeat(Math.max(0, 5 - [...bytes.toString()].length)) + bytes,
    ],
  ])('%s is what Node makes of it', (text, expected) => {
    fc.assert(
      fc.property(texts, (value) => {
        expect(filtered(value, text)).toBe(expected(Buffer.from(value)))
      }),
    )
  })

  test('every letter that changes its case fits', () => {
    for (let code = 0; code <= 0x10ffff; code++) {
      if (code >= 0xd800 && code <= 0xdfff) continue
      const letter = String.fromCodePoint(code)
      const [upper, lower] = [letter.toUpperCase(), letter.toLowerCase()]
      if (upper !== letter) expect(filtered(letter, 'upper')).toBe(upper)
      if (lower !== letter) expect(filtered(letter, 'lower')).toBe(lower)
    }
  })

  test('number keeps what it is worth', () => {
    const digits = (maxLength: number) =>
      fc.string({ unit: fc.constantFrom(...'0123456789'), minLength: 1, maxLength })
    fc.assert(
      fc.property(fc.boolean(), digits(12), fc.option(digits(6)), (isNegative, whole, part) => {
        const text = `${isNegative ? '-' : ''}${whole}${part === null ? '' : `.${part}`}`

        expect(JSON.parse(filtered(text, 'number') as string)).toBe(Number(text))
      }),
    )
  })
})

test('the value itself is not changed, and all that is made of it is told', () => {
  const value = Buffer.from('  ada 4242 4242 4242 4242')
  const made: Uint8Array[] = []

  const out = applyFilters(
    value,
    filtersOf('upper | digits | pad(20) | base64 | json'),
    false,
    made,
  )

  expect(value.toString()).toBe('  ada 4242 4242 4242 4242')
  expect(made).toHaveLength(5)
  expect(made.at(-1)).toBe(out)
})

test('what is told to have been made can be overwritten, and the filter used again', () => {
  const made: Uint8Array[] = []
  const filters = filtersOf('map(visa=VI) | first(1) | default(x)')
  const outOf = (value: string | undefined) =>
    applyFilters(value === undefined ? value : Buffer.from(value), filters, false, made)

  outOf('visa')
  outOf(undefined)
  for (const bytes of made) bytes.fill(0)

  expect(Buffer.from(outOf('visa') ?? []).toString()).toBe('V')
  expect(Buffer.from(outOf(undefined) ?? []).toString()).toBe('x')
})

test('JSON text as it comes stays as it is', () => {
  const out = applyFilters(Buffer.from('{"a":1}'), filtersOf('json'), true, [])

  expect(Buffer.from(out ?? []).toString()).toBe('{"a":1}')
})
