// Paths into stored JSON: which are one, what they select, and the same as another implementation of JSONPath says for
// any JSON and any path of the subset.

import fc from 'fast-check'
import { JSONPath } from 'jsonpath-plus'
import { describe, expect, test } from 'vitest'
import {
  type JsonPath,
  jsonPathEnd,
  jsonScalar,
  parseJsonPath,
  selectJson,
} from '../../src/core/json-path.ts'

function pathOf(text: string): JsonPath {
  const path = parseJsonPath(text)
  if (path === undefined) throw new Error(`no path: ${text}`)
  return path
}

const selected = (json: string, path: string) =>
  selectJson(Buffer.from(json), pathOf(path)).map((each) => each.toString())

describe('a path', () => {
  test.each([
    ['$.a', '$.a'],
    ['$.account.iban', '$.account.iban'],
    ['$._a-b1', '$._a-b1'],
    ["$['a']", '$.a'],
    ["$['two words'].x", "$['two words'].x"],
    ["$['a.b']['1']", "$['a.b']['1']"],
    ["$['a:b@c/d+e-f']", "$['a:b@c/d+e-f']"],
    ['$[0]', '$[0]'],
    ['$[999999]', '$[999999]'],
    ['$.list[0].x', '$.list[0].x'],
    ['$.*', '$[*]'],
    ['$[*]', '$[*]'],
    ['$.a.*[*]["b"]'.replaceAll('"', "'"), '$.a[*][*].b'],
    ['$.__proto__', '$.__proto__'],
    ['$.constructor.prototype', '$.constructor.prototype'],
    [`$${'.a'.repeat(127)}`, `$${'.a'.repeat(127)}`],
  ])('%s is %s', (text, path) => {
    expect(parseJsonPath(text)).toBe(path)
  })

  test.each([
    '',
    '$',
    '$.',
    '$..',
    '$..a',
    '$.a.',
    '$.a..b',
    '.a',
    'a',
    '@.a',
    ' $.a',
    '$.a ',
    '$ .a',
    '$. a',
    '$[ 0 ]',
    '$.1',
    '$.-a',
    '$.é',
    '$.a b',
    '$.$',
    '$[]',
    "$['']",
    "$['a'",
    "$['a]",
    '$[a]',
    '$["a"]',
    "$['é']",
    "$['a\\'b']",
    "$['a\\u0062']",
    "$['a\"b']",
    "$['a\nb']",
    "$['a*']",
    "$['a$']",
    "$['a','b']",
    '$[0,1]',
    '$[-1]',
    '$[01]',
    '$[1.5]',
    '$[1e2]',
    '$[1000000]',
    '$[0:2]',
    '$[:]',
    '$[::2]',
    '$[?(@.a)]',
    '$[?@.a]',
    '$[(@.length-1)]',
    '$[`a`]',
    '$.a^',
    '$.a~',
    '$.a.length()',
    '$.a@number()',
    "$[?(@.constructor.constructor('return process')())]",
    "$[(this.constructor.constructor('return process')())]",
    '$.**',
    '$*',
    '$$',
    `$${'.a'.repeat(128)}`,
    `$.${'a'.repeat(300)}`,
  ])('%j is none', (text) => {
    expect(parseJsonPath(text)).toBeUndefined()
  })

  test.each([
    ['$.a: tok', 3],
    ['$.a.b | json', 5],
    ['$.a..b', 3],
    ["$['a'] ", 6],
    ['$', 0],
    ['$ .a', 0],
    ['x$.a', 0],
  ])('of %j ends where it is one no more', (text, end) => {
    expect(jsonPathEnd(text, 0)).toBe(end)
  })

  test('is found further on in a text', () => {
    expect(jsonPathEnd('{{$.a[0]: t}}', 2)).toBe(8)
  })
})

describe('what is selected', () => {
  test.each([
    ['a member', '{"a":1}', '$.a', ['1']],
    ['an inner member', '{"a":{"b":{"c":"x"}}}', '$.a.b.c', ['"x"']],
    ['an element', '[1,[2,3],4]', '$[1][0]', ['2']],
    ['an object as it is written', '{"a": { "b" : [ 1 , 2 ] } }', '$.a', ['{ "b" : [ 1 , 2 ] }']],
    ['a number as it is written', '{"a": -0.50E+2 }', '$.a', ['-0.50E+2']],
    ['blanks everywhere', ' \t\r\n{ \n"a" \t:\r [ 1 ,\n 2 ] , "b" : "x" } ', '$.a[1]', ['2']],
    ['blanks around a last value', '{"a" : 1 \n}', '$.a', ['1']],
    ['literals', '[true , false , null ]', '$[*]', ['true', 'false', 'null']],
    ['a name with an escape', '{"\\u0061":1}', '$.a', ['1']],
    ['a name with an escaped quote before it', '{"\\"a":1,"a":2}', '$.a', ['2']],
    ['a string with everything in it', '{"x":"}],\\"{[:\\\\","a":1}', '$.a', ['1']],
    ['nothing for another name', '{"a":1}', '$.b', []],
    ['nothing for a name that begins so', '{"ab":1}', '$.a', []],
    ['nothing beyond the last element', '[1,2]', '$[2]', []],
    ['nothing of an empty array', '[ ]', '$[0]', []],
    ['nothing of an empty object', '{ }', '$.*', []],
    ['nothing of a string', '"text"', '$[0]', []],
    ['nothing of a number', '42', '$.a', []],
    ['no member of an array', '[{"a":1}]', '$.a', []],
    ['no element of an object', '{"0":1}', '$[0]', []],
    ['a member with a number for a name', '{"0":1}', "$['0']", ['1']],
    ['all members', '{"a":1,"b":[2],"c":{}}', '$.*', ['1', '[2]', '{}']],
    ['all elements of all members', '{"a":[1,2],"b":3,"c":[4]}', '$.*[*]', ['1', '2', '4']],
    ['the last of a name that stands twice', '{"a":1,"a":2}', '$.a', ['2']],
    ['of a name that stands twice the last, once', '{"a":1,"b":3,"a":2}', '$.*', ['2', '3']],
    ['inside the last of a name that stands twice', '{"a":{"x":1},"a":{"y":2}}', '$.a.x', []],
    ['a name that stands twice in two spellings', '{"a":1,"\\u0061":2}', '$.a', ['2']],
    ['no prototype', '{}', '$.__proto__', []],
    ['no constructor', '{}', '$.constructor.constructor', []],
    ['no length', '[1,2]', '$.length', []],
    ['a member that is called like a prototype', '{"__proto__":{"a":1}}', '$.__proto__.a', ['1']],
    ['a name beyond the plane', '{"😀":1,"a":2}', '$.*', ['1', '2']],
  ])('%s', (_, json, path, expected) => {
    expect(selected(json, path)).toEqual(expected)
  })

  test('is a part of the text, not a copy', () => {
    const json = Buffer.from('{"a":"secret"}')

    const [text] = selectJson(json, pathOf('$.a'))
    json.fill(0)

    expect(text?.every((byte) => byte === 0)).toBe(true)
  })
})

describe('a scalar', () => {
  test.each([
    ['42', '42'],
    ['-1.50E+3', '-1.50E+3'],
    ['true', 'true'],
    ['false', 'false'],
    ['""', ''],
    ['"a"', 'a'],
    ['"\\"\\\\\\/\\b\\f\\n\\r\\t"', '"\\/\b\f\n\r\t'],
    ['"\\u0041\\u00e9\\u20ac\\u20AC"', 'Aé€€'],
    ['"\\u0000"', '\0'],
    ['"é😀"', 'é😀'],
    ['"\\ud83d\\ude00"', '😀'],
    ['"x\\uD83D\\uDE00y"', 'x😀y'],
  ])('%s is %j', (json, text) => {
    const scalar = jsonScalar(Buffer.from(json))

    expect(scalar.kind === 'text' && scalar.bytes.toString()).toBe(text)
  })

  test.each([
    ['null', 'null'],
    ['{}', 'no_scalar'],
    ['[1]', 'no_scalar'],
    ['"\\ud83d"', 'unpaired_surrogate'],
    ['"\\ude00"', 'unpaired_surrogate'],
    ['"\\ude00\\ud83d"', 'unpaired_surrogate'],
    ['"\\ud83dx"', 'unpaired_surrogate'],
    ['"\\ud83d\\n"', 'unpaired_surrogate'],
    ['"\\ud83d\\u0041"', 'unpaired_surrogate'],
    ['"\\ud83d\\ud83d"', 'unpaired_surrogate'],
  ])('%s is none: %s', (json, kind) => {
    expect(jsonScalar(Buffer.from(json)).kind).toBe(kind)
  })

  test('that is a string has bytes of its own, to be overwritten; any other is a part of the text', () => {
    expect(jsonScalar(Buffer.from('"a"'))).toMatchObject({ isNew: true })
    expect(jsonScalar(Buffer.from('42'))).toMatchObject({ isNew: false })
  })

  test('is what JSON.parse says for any string', () => {
    const escaped = (text: string) =>
      [...text].map((c) => (c < '\u0100' ? c : escapesOf(c))).join('')
    const escapesOf = (c: string) =>
      Array.from(
        { length: c.length },
        (_, i) => `\\u${c.charCodeAt(i).toString(16).padStart(4, '0')}`,
      ).join('')
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.boolean(), (text, isEscaped) => {
        const json = isEscaped ? escaped(JSON.stringify(text)) : JSON.stringify(text)

        const scalar = jsonScalar(Buffer.from(json))

        expect(scalar.kind === 'text' && scalar.bytes.toString()).toBe(JSON.parse(json))
      }),
    )
  })
})

// Names that are digits are left out: JavaScript sorts them, and for jsonpath-plus they are indices, too.
const NAMES = ['a', 'b', 'two words', 'x-y', '_z', 'A', '__proto__', 'constructor', 'a.b', 'é"\\']

const anyJson = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom<unknown>(null, true, false, 0, -1.5, 1e21, 'a', 'é😀', '}],"\\', '', '\u2028'),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.array(fc.tuple(fc.constantFrom(...NAMES), tie('value')), { maxLength: 4 }).map(
      // As own properties, whatever they are called.
      (members) =>
        JSON.parse(`{${members.map(([n, v]) => `${JSON.stringify(n)}:${JSON.stringify(v)}`)}}`),
    ),
  ),
})).value

/** As it may be written, and with brackets throughout. */
const anyPath = fc
  .array(
    fc.oneof(
      fc
        .constantFrom('a', 'b', 'x-y', '_z', 'A', '__proto__', 'constructor')
        .map((name) => [`.${name}`, `['${name}']`] as const),
      fc
        .constantFrom("['a']", "['two words']", "['a.b']", '[0]', '[1]', '[3]', '[*]')
        .map((segment) => [segment, segment] as const),
      fc.constant(['.*', '[*]'] as const),
    ),
    { minLength: 1, maxLength: 5 },
  )
  .map((segments) => ({
    path: `$${segments.map(([written]) => written).join('')}`,
    bracketed: `$${segments.map(([, bracketed]) => bracketed).join('')}`,
  }))

/** Blanks in every place where there may be some. */
function loosely(value: unknown, blank: () => string): string {
  const inner =
    typeof value !== 'object' || value === null
      ? JSON.stringify(value)
      : Array.isArray(value)
        ? `[${value.length === 0 ? blank() : value.map((each) => loosely(each, blank)).join(',')}]`
        : `{${
            Object.keys(value).length === 0
              ? blank()
              : Object.entries(value)
                  .map(([n, v]) => `${blank()}${JSON.stringify(n)}${blank()}:${loosely(v, blank)}`)
                  .join(',')
          }}`
  return blank() + inner + blank()
}

/** RFC 9535, 2.3.3.2: an index selects nothing of a string; the other one gives its characters. */
function selectedByOther(json: unknown, path: string): unknown[] {
  if (typeof json !== 'object' || json === null) return []
  const all = JSONPath({ json, path, eval: false, resultType: 'all' }) as {
    value: unknown
    parent: unknown
  }[]
  return all.filter(({ parent }) => typeof parent === 'object').map(({ value }) => value)
}

test('any path selects of any JSON what jsonpath-plus says', () => {
  const blanks = fc.array(fc.constantFrom('', ' ', '\n', '\t\r '), { minLength: 1, maxLength: 7 })
  fc.assert(
    fc.property(anyJson, anyPath, blanks, (value, { path, bracketed }, some) => {
      let next = 0
      const json = loosely(value, () => some[next++ % some.length] as string)
      const expected = selectedByOther(value, bracketed)

      const texts = selectJson(Buffer.from(json), pathOf(path)).map((each) => each.toString())

      expect(texts.map((text) => JSON.parse(text))).toEqual(expected)
      for (const text of texts) expect(text).toBe(text.trim())
    }),
    { numRuns: 3000 },
  )
})

test('a path in any spelling is the same path', () => {
  fc.assert(
    fc.property(anyPath, ({ path, bracketed }) => {
      const same = pathOf(path)

      expect(parseJsonPath(bracketed)).toBe(same)
      expect(parseJsonPath(same)).toBe(same)
    }),
  )
})
