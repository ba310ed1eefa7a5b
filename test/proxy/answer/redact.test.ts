// What the operator does not want callers to see is overwritten in place: whatever it is, the answer is JSON afterwards,
// as long as before, and says nothing of it.

import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type JsonPath, parseJsonPath } from '../../../src/core/json-path.ts'
import { redactJson } from '../../../src/proxy/answer/redact.ts'
import {
  answered,
  answeredInChunks,
  openWorld,
  type Reached,
  reasonOf,
  type World,
} from './echo.ts'

const path = (text: string) => parseJsonPath(text) as JsonPath

function redacted(json: string, ...paths: string[]) {
  const bytes = Buffer.from(json)
  const count = redactJson(bytes, paths.map(path))
  return { count, text: bytes.toString() }
}

describe('a value becomes one that says nothing', () => {
  test.each([
    ['a string', '{"a":"secret"}', '{"a":"******"}'],
    ['an empty string', '{"a":""}', '{"a":""}'],
    ['escapes', '{"a":"x\\n\\u00e9\\"y\\\\"}', '{"a":"**************"}'],
    ['a string that ends with an escape', '{"a":"\\""}', '{"a":"**"}'],
    ['umlauts', '{"a":"é💳"}', '{"a":"******"}'],
    ['an integer', '{"a":1234}', '{"a":0   }'],
    ['a digit', '{"a":7}', '{"a":0}'],
    ['a negative number', '{"a":-1.5e3}', '{"a":0     }'],
    ['true', '{"a":true}', '{"a":null}'],
    ['false', '{"a":false}', '{"a":null }'],
    ['null', '{"a":null}', '{"a":null}'],
    ['an object', '{"a":{"b":[1]}}', '{"a":null     }'],
    ['an array', '{"a":["b", 1]}', '{"a":null    }'],
    ['an array of a digit', '{"a":[7]}', '{"a":[] }'],
    ['an empty object', '{"a":{}}', '{"a":{}}'],
    ['an empty object with a blank', '{"a":{ }}', '{"a":{} }'],
    ['an empty array', '{"a":[]}', '{"a":[]}'],
  ])('%s', (_, json, expected) => {
    expect(redacted(json, '$.a')).toEqual({ count: 1, text: expected })
  })
})

describe('a path selects', () => {
  test.each([
    [
      'what stands deep',
      '{"a":[{"b":"x"},{"b":"y"}],"b":"z"}',
      ['$.a[1].b'],
      '{"a":[{"b":"x"},{"b":"*"}],"b":"z"}',
      1,
    ],
    [
      'all of a wildcard',
      '{"a":[{"b":"x"},{"b":"y"}]}',
      ['$.a[*].b'],
      '{"a":[{"b":"*"},{"b":"*"}]}',
      2,
    ],
    [
      'all members of an object',
      '{"a":{"b":"x","c":[1]}}',
      ['$.a.*'],
      '{"a":{"b":"*","c":[] }}',
      2,
    ],
    [
      'a name every time it stands there',
      '{"a":"x","a":"y","b":1}',
      ['$.a'],
      '{"a":"*","a":"*","b":1}',
      2,
    ],
    [
      'a name within every one of that name',
      '{"a":{"b":"x"},"a":{"b":"y"}}',
      ['$.a.b'],
      '{"a":{"b":"*"},"a":{"b":"*"}}',
      2,
    ],
    [
      'a name that is written with escapes',
      '{"\\u0061\\/b":"x"}',
      ["$['a/b']"],
      '{"\\u0061\\/b":"*"}',
      1,
    ],
    ['a name with blanks', '{"two words":"x"}', ["$['two words']"], '{"two words":"*"}', 1],
    ['nothing where there is nothing', '{"a":"x"}', ['$.b', '$.a.b', '$[0]'], '{"a":"x"}', 0],
    ['what two paths select, twice', '{"a":"x"}', ['$.a', '$.*'], '{"a":"*"}', 2],
    [
      'what was within something that is gone no more',
      '{"a":{"b":"xyz"}}',
      ['$.a', '$.a.b'],
      '{"a":null       }',
      1,
    ],
  ] as const)('%s', (_, json, paths, text, count) => {
    expect(redacted(json, ...paths)).toEqual({ count, text })
  })
})

test.each([
  ['nothing', ''],
  ['half of it', '{"a":'],
  ['two values', '{"a":1}{"a":1}'],
  ['no UTF-8', Buffer.from('{"a":"\xff"}', 'latin1')],
  ['deeper than is looked', `${'['.repeat(300)}${']'.repeat(300)}`],
])('what is no JSON cannot be redacted: %s', (_, text) => {
  expect(redactJson(Buffer.from(text as string), [path('$.a')])).toBeUndefined()
})

// ---- Against JSON.parse, on any JSON and any path into it.

type Json = null | boolean | number | string | Json[] | { [name: string]: Json }

const NAME = fc.constantFrom('a', 'b', 'card', 'two words', 'x.y', 'a/b', '__proto__')
const { value: JSON_VALUE } = fc.letrec<{ value: Json }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constant(null),
    fc.boolean(),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.integer(),
    fc.string({ unit: 'grapheme' }),
    fc.array(tie('value'), { maxLength: 4 }),
    fc.dictionary(NAME, tie('value'), { maxKeys: 4, noNullPrototype: true }),
  ),
}))

type Step = { readonly text: string; readonly keysOf: (value: Json) => (string | number)[] }

const keys = (value: Json): (string | number)[] =>
  Array.isArray(value)
    ? value.map((_, index) => index)
    : value !== null && typeof value === 'object'
      ? Object.keys(value)
      : []

const STEP: fc.Arbitrary<Step> = fc.oneof(
  NAME.map((name) => ({
    text: `['${name}']`,
    keysOf: (value: Json) =>
      Array.isArray(value) ? [] : keys(value).filter((key) => key === name),
  })),
  fc.nat({ max: 3 }).map((index) => ({
    text: `[${index}]`,
    keysOf: (value: Json) =>
      Array.isArray(value) ? keys(value).filter((key) => key === index) : [],
  })),
  fc.constant({ text: '[*]', keysOf: keys }),
)

/** What is left of the value that the steps lead to. */
function without(value: Json, [step, ...rest]: readonly Step[]): Json {
  if (step === undefined) return redactedValue(value)
  const selected = new Set(step.keysOf(value))
  const entries = keys(value).map((key) => {
    const child = (value as Record<string | number, Json>)[key] as Json
    return [key, selected.has(key) ? without(child, rest) : child] as const
  })
  if (Array.isArray(value)) return entries.map(([, child]) => child)
  return value !== null && typeof value === 'object' ? Object.fromEntries(entries) : value
}

function redactedValue(value: Json): Json {
  if (typeof value === 'number') return 0
  if (typeof value === 'string') return '*'.repeat(value.length)
  return null
}

/** Strings by the number of their stars do not differ: how many there are is a matter of spelling. */
const comparable = (json: string) =>
  JSON.parse(json, (_, value) => {
    if (typeof value === 'string' && /^\*+$/.test(value)) return '*'
    const isEmpty = value !== null && typeof value === 'object' && keys(value).length === 0
    return isEmpty ? null : value
  })

/** Any spelling of the same: blanks between tokens, and escapes where none are needed. */
function spelled(value: Json, blanks: string, isEscaped: boolean): string {
  const text = JSON.stringify(value, null, blanks)
  return isEscaped
    ? text.replaceAll(
        /[\u007f-\uffff]/g,
        (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
      )
    : text
}

test('whatever is redacted of whatever JSON, the rest is the same, and it is as long', () => {
  fc.assert(
    fc.property(
      JSON_VALUE,
      fc.array(STEP, { minLength: 1, maxLength: 4 }),
      fc.constantFrom('', ' ', '\t'),
      fc.boolean(),
      (value, steps, blanks, isEscaped) => {
        const json = spelled(value, blanks, isEscaped)
        const bytes = Buffer.from(json)

        const count = redactJson(bytes, [path(`$${steps.map(({ text }) => text).join('')}`)])

        const text = bytes.toString()
        expect(bytes).toHaveLength(Buffer.byteLength(json))
        expect(comparable(text)).toEqual(
          comparable(JSON.stringify(without(JSON.parse(json), steps))),
        )
        expect(count).toBeGreaterThanOrEqual(0)
        if (count === 0) expect(text).toBe(json)
      },
    ),
    { numRuns: 2000 },
  )
})

// ---- Through the front door.

describe('an answer', () => {
  let world: World
  let psp: Reached

  beforeAll(async () => {
    world = await openWorld()
    psp = await world.reach('redacted', {
      response: { leak_guard: 'off', redact: ['$.card.number', '$.items[*].iban'] },
    })
  })

  afterAll(async () => {
    await world[Symbol.asyncDispose]()
  })

  const SECRET = '{"card":{"number":"4242"},"items":[{"iban":"DE00"},{"iban":"FR11"}],"ok":1.10}'
  const HIDDEN = '{"card":{"number":"****"},"items":[{"iban":"****"},{"iban":"****"}],"ok":1.10}'

  test.each([
    ['to a request with a placeholder', undefined],
    ['to one without', '{}'],
  ])('%s is redacted, and says how often', async (_, body) => {
    const answer = await psp.charge(answered(SECRET), body === undefined ? {} : { body })

    expect(answer.text).toBe(HIDDEN)
    expect(answer.header('Content-Length')).toBe(String(SECRET.length))
    expect(answer.header('Sallyport-Redactions')).toBe('3')
  })

  test('of whatever status is redacted, also in chunks', async () => {
    const failed = await psp.charge(
      answered(SECRET, ['Content-Type: application/problem+json'], '500 No'),
    )
    const chunked = await psp.charge(() =>
      answeredInChunks([SECRET.slice(0, 20), SECRET.slice(20)]),
    )

    expect([failed.status, failed.text]).toEqual([500, HIDDEN])
    expect([chunked.status, chunked.text]).toEqual([200, HIDDEN])
  })

  test('loses the digests of what it was', async () => {
    const answer = await psp.charge(
      answered(SECRET, ['Content-Type: application/json', 'Content-MD5: x', 'ETag: "y"']),
    )

    expect([answer.header('Content-MD5'), answer.header('ETag')]).toEqual([undefined, undefined])
  })

  test('that is JSON is redacted, whatever it says it is', async () => {
    const asText = await psp.charge(answered(SECRET, ['Content-Type: text/plain']))
    const asNothing = await psp.charge(answered(SECRET, []))

    expect([asText.text, asNothing.text]).toEqual([HIDDEN, HIDDEN])
  })

  test.each([
    ['a text', 'text/plain', 'card: {"number":"4242"}'],
    ['a line end', 'text/plain', '\n'],
    ['a page', 'text/html', '<p>{"card":{"number":"4242"}}</p>'],
    ['bytes', 'application/octet-stream', SECRET],
  ])('that is %s is left alone', async (_, type, body) => {
    const answer = await psp.charge(answered(body, [`Content-Type: ${type}`]))

    expect(answer.text).toBe(body)
    expect(answer.header('Sallyport-Redactions')).toBeUndefined()
  })

  test('with a byte order mark is redacted behind it', async () => {
    const mark = '\xef\xbb\xbf'

    const asJson = await psp.charge(answered(`${mark}${SECRET}`))
    const asText = await psp.charge(answered(`${mark}${SECRET}`, ['Content-Type: text/plain']))

    expect(asJson.body.toString('latin1')).toBe(`${mark}${HIDDEN}`)
    expect(asText.body.toString('latin1')).toBe(`${mark}${HIDDEN}`)
  })

  test.each([
    ['blanks first', [' ', '\n', SECRET.slice(0, -1), `,"x":"${'y'.repeat(1024 * 1024)}"}`]],
    ['nothing but blanks at first', [' '.repeat(1024 * 1024), ' ', SECRET]],
  ])('too long to be redacted is blocked, whatever its type: %s', async (_, parts) => {
    const answer = await psp.charge(() => answeredInChunks(parts, ['Content-Type: text/plain']))

    expect(reasonOf(answer)).toBe('response_blocked')
  })

  test('that has nothing of it is left alone', async () => {
    const answer = await psp.charge(answered('{ "ok" : true }\n'))

    expect(answer.text).toBe('{ "ok" : true }\n')
  })

  test('without a body is passed on', async () => {
    const answer = await psp.charge(
      answered('', ['Content-Type: application/json'], '202 Accepted'),
    )

    expect([answer.status, answer.text]).toEqual([202, ''])
  })

  test('that says it is JSON and is not is blocked', async () => {
    const answer = await psp.charge(answered('{"card":{"number":"4242"'))

    expect([reasonOf(answer), answer.header('Sallyport-Retry-Safe')]).toEqual([
      'response_blocked',
      'false',
    ])
  })

  test('of up to a mebibyte is redacted, and a longer one is blocked', async () => {
    const note = (length: number) => `${SECRET.slice(0, -1)},"note":"${'x'.repeat(length)}"}`
    const fits = note(1024 * 1024 - note(0).length)

    const longest = await psp.charge(answered(fits))
    const longer = await psp.charge(answered(`${fits} `))

    expect(longest.text.startsWith(HIDDEN.slice(0, -1))).toBe(true)
    expect(longest.body).toHaveLength(fits.length)
    expect(reasonOf(longer)).toBe('response_blocked')
  })
})
