// Finding placeholders in the bytes of bodies and URLs, as tables: in which place each stands, and what is refused.

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type Found,
  ScanRefusal,
  scanForm,
  scanHeader,
  scanJson,
  scanPath,
  scanQuery,
  scanText,
} from '../../src/proxy/scan.ts'

const N = '{{$card_number: t}}'

/** Each placeholder as its raw spelling and its place. */
function seen(scan: (body: Buffer) => Found[], text: string) {
  return scan(Buffer.from(text)).map(({ start, end, place }) => [
    Buffer.from(text).toString('utf8', start, end),
    place,
  ])
}

function refusalOf(act: () => unknown): string | undefined {
  try {
    act()
    return undefined
  } catch (error) {
    if (error instanceof ScanRefusal) return error.reason
    throw error
  }
}

const json = (body: Buffer) => scanJson(body, true)

describe('JSON', () => {
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
    expect(seen(json, text)).toEqual([[N, { in: 'body', at }]])
  })

  test('duplicate names each say their own place', () => {
    const text = `{"a":"${N}","a":{"b":"${N}"},"a":"${N}"}`

    expect(seen(json, text).map(([, place]) => place)).toEqual([
      { in: 'body', at: '/a' },
      { in: 'body', at: '/a/b' },
      { in: 'body', at: '/a' },
    ])
  })

  test('a placeholder as the name of a property has no pointer', () => {
    const text = `{"${N}":{"a":"${N}"}}`

    const [asName, inside] = seen(json, text)

    expect(asName).toEqual([N, { in: 'body', at: undefined }])
    expect(inside).toEqual([N, { in: 'body', at: `/${N}/a` }])
  })

  test('several placeholders in one string are found in order', () => {
    const text = '{"a":"{{$card_exp_month}}/{{$card_exp_year}}"}'

    expect(seen(json, text).map(([raw]) => raw)).toEqual([
      '{{$card_exp_month}}',
      '{{$card_exp_year}}',
    ])
  })

  test('nobody asks for pointers: there are none', () => {
    const [found] = scanJson(Buffer.from(`{"a":"${N}"}`), false)

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
    ['a byte order mark', '\ufeff{}'],
    ['braces that open no placeholder', '{"a":{{b}}}'],
    ['a placeholder next to a value', `[1${N}]`],
    ['a value next to a placeholder', `[${N}1]`],
    ['two placeholders side by side', `[${N}${N}]`],
    ['a placeholder in place of a member', `{${N}}`],
    ['a bare placeholder as a name', `{${N}:1}`],
    ['too deep', `${'['.repeat(513)}${']'.repeat(513)}`],
  ])('malformed: %s', (_, text) => {
    expect(refusalOf(() => scanJson(Buffer.from(text), true))).toBe('malformed_body')
  })

  test.each([
    ['an empty object', '{}'],
    ['an empty array', ' [ ] '],
    ['every literal', '[true,false,null]'],
    ['every kind of number', '[0,-0,1,-1,10,1.5,1e5,1E+5,1e-5,-0.0e0,10000000000000000000999]'],
    ['every escape', '["\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d"]'],
    ['DEL and bytes beyond ASCII', '["\u007f é 😀"]'],
    ['duplicate names', '{"a":1,"a":2}'],
    ['512 levels', `${'['.repeat(512)}${']'.repeat(512)}`],
    ['every blank', ' \t\r\n[\t1\r,\n2 ] '],
  ])('well formed: %s', (_, text) => {
    expect(seen(json, text)).toEqual([])
  })

  test('whatever JSON.stringify writes is well formed', () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        if (!text.includes('{{')) expect(scanJson(Buffer.from(text), true)).toEqual([])
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
        expect(refusalOf(() => scanJson(Buffer.from(text), true)) === undefined).toBe(isJson)
      }),
      { numRuns: 5000 },
    )
  })

  test.each([
    ['an unknown field', '{"a":"{{$nope}}"}'],
    ['a filter', '{"a":"{{$card_number | last(4)}}"}'],
    ['a bare typing error', '{"a":{{$card_nmber}}}'],
    ['braces that end with the string', '{"a":"{{$card_number"}'],
    ['an unknown field in a name', '{"{{$nope}}":1}'],
  ])('a placeholder that cannot be resolved: %s', (_, text) => {
    expect(refusalOf(() => scanJson(Buffer.from(text), true))).toBe('placeholder_malformed')
  })
})

describe('forms', () => {
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
    ['a stray percent sign before it', `n=%zz%${N}`, N, 'n'],
  ])('the key of a placeholder: %s', (_, text, raw, at) => {
    expect(seen(scanForm, text)).toEqual([[raw, { in: 'body', at }]])
  })

  test('a placeholder in a key, or without an equals sign, has no key of its own', () => {
    expect(seen(scanForm, `${N}=1&${N}`)).toEqual([
      [N, { in: 'body', at: undefined }],
      [N, { in: 'body', at: undefined }],
    ])
  })

  test('keys that come twice each say their own place', () => {
    expect(seen(scanForm, `n=${N}&n=${N}`)).toEqual([
      [N, { in: 'body', at: 'n' }],
      [N, { in: 'body', at: 'n' }],
    ])
  })

  // A key like a pointer would make a rule for JSON hold in a body that only claims to be a form.
  test('a key that looks like a JSON pointer is not one', () => {
    const [[, place] = []] = seen(scanForm, `/source/number=${N}`)

    expect(place).not.toEqual({ in: 'body', at: '/source/number' })
  })

  test.each([
    ['an encoded typing error', 'n=%7b%7b%24card_nmber%7d%7d'],
    ['an encoded filter', 'n={{$card_number%7Clast(4)}}'],
    ['an ampersand inside', 'n={{$card_number:&t}}'],
    ['encoded twice within', 'n={{$card_number:%2574}}'],
    ['in a key', '{{$nope}}=1'],
  ])('a placeholder that cannot be resolved: %s', (_, text) => {
    expect(refusalOf(() => scanForm(Buffer.from(text)))).toBe('placeholder_malformed')
  })

  test('what is encoded twice is no placeholder', () => {
    expect(seen(scanForm, 'n=%257B%257B%2524card_number%257D%257D')).toEqual([])
  })
})

describe('URLs', () => {
  test('a query says its keys', () => {
    expect(seen(scanQuery, `a=1&p%61n=${N}&x=%7b%7b%24card_bin%7d%7d`)).toEqual([
      [N, { in: 'query', name: 'pan' }],
      ['%7b%7b%24card_bin%7d%7d', { in: 'query', name: 'x' }],
    ])
  })

  test('a key of a query that is a placeholder has an empty name', () => {
    expect(seen(scanQuery, '{{$card_bin}}=1')).toEqual([
      ['{{$card_bin}}', { in: 'query', name: '' }],
    ])
  })

  test('a path has one place, and a plus in it is no blank', () => {
    expect(seen(scanPath, '/c/{{$card_bin}}/%7B%7B%20$card_last4}}/{{+$card_number}}')).toEqual([
      ['{{$card_bin}}', { in: 'path' }],
      ['%7B%7B%20$card_last4}}', { in: 'path' }],
    ])
  })
})

describe('plain text', () => {
  test('a header says its name', () => {
    const [found] = scanHeader(Buffer.from(`a ${N} b`), 'x-pan')

    expect(found).toMatchObject({
      start: 2,
      end: 2 + N.length,
      place: { in: 'header', name: 'x-pan' },
    })
  })

  test('a percent-encoded opener is none outside forms and URLs', () => {
    expect(seen(scanText, '%7b%7b%24card_number%7d%7d')).toEqual([])
  })

  test('a placeholder begins after text that looks like its start', () => {
    expect(seen(scanText, `{{ {{{{x ${N}`)).toEqual([[N, { in: 'body', at: undefined }]])
  })

  test('any opener that is no placeholder refuses', () => {
    expect(refusalOf(() => scanText(Buffer.from(`${N} {{$`)))).toBe('placeholder_malformed')
  })
})
