// JSON is checked on its bytes as strictly as JSON.parse would, and no deeper than is said.

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isJson, jsonEnd } from '../../src/core/json-check.ts'

const DEPTH = 64
const check = (text: string, depth = DEPTH) => isJson(Buffer.from(text), depth)

function parses(bytes: Uint8Array): boolean {
  try {
    // JSON.parse takes no byte order mark, so the decoder must not take it away.
    JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes))
    return true
  } catch {
    return false
  }
}

test.each([
  'null',
  'true',
  'false',
  '0',
  '-0',
  '-0.0',
  '12',
  '1.50',
  '1e5',
  '1E+05',
  '-1.0e-0',
  '9'.repeat(400),
  '1e99999',
  '""',
  '"4242424242424242"',
  '"ü€😀"',
  '"\\"\\\\\\/\\b\\f\\n\\r\\t"',
  '"\\u00fc\\uD83D\\uDE00"',
  '"\\ud800"',
  '"\u007f\u2028"',
  '[]',
  '{}',
  ' \t\r\n[ 1 , [ ] , { } ] \n',
  '{"a":1,"a":2,"":[{"b":null}]}',
  '{"__proto__":{"x":1}}',
  '[{"a":"]"},"}"]',
])('%s is JSON', (text) => {
  expect(check(text)).toBe(true)
  expect(parses(Buffer.from(text))).toBe(true)
})

test.each([
  '',
  ' ',
  'nul',
  'nulll',
  'True',
  'NaN',
  'Infinity',
  'undefined',
  '-',
  '+1',
  '01',
  '-01',
  '00.0',
  '.5',
  '1.',
  '1.e1',
  '1e',
  '1e+',
  '0x1',
  '1_000',
  '1 2',
  '"',
  '"a',
  '"a\\',
  '"a\\"',
  "'a'",
  '"\\a"',
  '"\\x41"',
  '"\\u12"',
  '"\\u12g4"',
  '"\\U0041"',
  '"\t"',
  '"\n"',
  '"\0"',
  '"a"b',
  '[',
  ']',
  '[1',
  '[1,',
  '[1,]',
  '[,1]',
  '[1 2]',
  '[1}',
  '{',
  '{]',
  '{"a"}',
  '{"a":}',
  '{"a":1,}',
  '{"a" 1}',
  '{a:1}',
  '{1:1}',
  '{"a":1 "b":2}',
  '{"a":1]',
  '[] []',
  '// a\n1',
  '1 /* a */',
  '\ufeff1',
  '\u00a01',
  '\v1',
  '\f1',
])('%j is not JSON', (text) => {
  expect(check(text)).toBe(false)
  expect(parses(Buffer.from(text))).toBe(false)
})

test.each([
  ['a lone continuation byte', [0x80]],
  ['a cut character', [0xe2, 0x82]],
  ['an overlong slash', [0xc0, 0xaf]],
  ['an overlong NUL', [0xe0, 0x80, 0x80]],
  ['half of a pair', [0xed, 0xa0, 0x80]],
  ['a code point beyond the last', [0xf4, 0x90, 0x80, 0x80]],
  ['a byte that UTF-8 does not have', [0xff]],
])('%s in a string is not JSON', (_, bytes) => {
  const text = Buffer.from([0x22, ...bytes, 0x22])

  expect(isJson(text, DEPTH)).toBe(false)
  expect(parses(text)).toBe(false)
})

describe('depth', () => {
  test.each([
    ['arrays', '[', ']', ''],
    ['objects', '{"a":', '}', '1'],
  ])('%s stand in each other as deep as is said, and no deeper', (_, open, close, inner) => {
    const nested = (depth: number) => open.repeat(depth) + inner + close.repeat(depth)

    expect(check(nested(DEPTH))).toBe(true)
    expect(check(nested(DEPTH + 1))).toBe(false)
    expect(check(nested(1), 0)).toBe(false)
  })

  test('what stands beside each other is not deep', () => {
    expect(check(`[${'[[]],'.repeat(1000)}[]]`, 3)).toBe(true)
  })

  test('a million brackets are refused and not walked into', () => {
    expect(check('['.repeat(1_000_000))).toBe(false)
  })
})

test('the end of a value is just after it', () => {
  for (const value of ['1', '-1.5e3', '"a"', '[1]', '{"a":1}', 'true', 'null']) {
    expect(jsonEnd(Buffer.from(`  ${value} , 2`), 2, DEPTH)).toBe(2 + value.length)
  }
})

describe('it is what JSON.parse takes', () => {
  const json = fc.json({ maxDepth: 6, noUnicodeString: false })

  test('for JSON', () => {
    fc.assert(fc.property(json, (text) => check(text)))
  })

  test('for JSON with a few bytes changed, added or lost', () => {
    const interesting = fc.constantFrom(...Buffer.from('"\\u0041{}[]:,.-+eE019truefalsn \t\n\0'))
    const byte = fc.oneof(interesting, fc.nat(255))
    const change = fc.tuple(fc.nat(), byte, fc.constantFrom(0, 1), fc.constantFrom(0, 1))
    fc.assert(
      fc.property(json, fc.array(change, { minLength: 1, maxLength: 3 }), (text, changes) => {
        let bytes = Buffer.from(text)
        for (const [place, value, lost, added] of changes) {
          const at = place % (bytes.length + 1)
          const inserted = added === 1 ? [value] : []
          bytes = Buffer.concat([
            bytes.subarray(0, at),
            Buffer.from(inserted),
            bytes.subarray(at + lost),
          ])
        }
        expect(isJson(bytes, DEPTH)).toBe(parses(bytes))
      }),
      { numRuns: 20_000 },
    )
  })

  test('for short texts of what JSON is made of', () => {
    const pieces = ['"', '\\', 'u00e9', '{', '}', '[', ']', ':', ',', '0', '1', '-', '.', 'e', '+']
    const text = fc.array(fc.constantFrom(...pieces, 'true', 'null', ' ', 'a'), { maxLength: 8 })
    fc.assert(
      fc.property(text, (parts) => {
        expect(check(parts.join(''))).toBe(parses(Buffer.from(parts.join(''))))
      }),
      { numRuns: 20_000 },
    )
  })
})
