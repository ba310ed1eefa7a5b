// The value of each placeholder: which token it is of, which field or path, what its filters make of it; and that all
// plaintext is overwritten at the end.

import { expect, test } from 'vitest'
import type { RevealedCard } from '../../src/core/card-fields.ts'
import type { RevealedToken } from '../../src/core/revealed-token.ts'
import { parsePlaceholder } from '../../src/proxy/placeholder.ts'
import { Refusal } from '../../src/proxy/refusal.ts'
import { Values } from '../../src/proxy/values.ts'

const CARD: Record<string, string> = {
  card_number: '4242424242424242',
  card_exp_month: '03',
  card_exp_year: '2035',
  card_holder_name: 'Zoë',
}

function cardOf(fields: Record<string, string> = CARD): RevealedCard & { wiped: number } {
  const bytes = new Map(Object.entries(fields).map(([name, text]) => [name, Buffer.from(text)]))
  return {
    wiped: 0,
    field: (name) => bytes.get(name),
    wipe() {
      this.wiped += 1
    },
  }
}

function tokenOf(json: string): RevealedToken {
  const bytes = Buffer.from(json)
  return { json: bytes, wipe: () => bytes.fill(0) }
}

const ACCOUNT = tokenOf(
  JSON.stringify({
    iban: 'DE89370400440532013000',
    holder: { name: 'Zoë "Z"', tags: ['a', 'b'] },
    list: [1, '2', null, { x: true }],
    none: null,
    zero: 0,
    no: false,
    empty: '',
    objects: {},
  }).replace('"zero":0', '"zero": 1.50E2 ,"broken":"\\ud800","twice":1,"twice":2'),
)

const values = (token?: string) =>
  new Values(
    [cardOf(), ACCOUNT, cardOf({})],
    new Map([
      ['c', 0],
      ['t', 1],
      ['bare', 2],
    ]),
    token,
  )

function textOf(placeholder: string, token?: string): string {
  const parsed = parsePlaceholder(Buffer.from(`{{${placeholder}}}`), 0)
  return Buffer.from(values(token).of(parsed)).toString()
}

function refusalOf(placeholder: string, token?: string): [reason: string, field?: string] {
  try {
    return [`no refusal but ${textOf(placeholder, token)}`]
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    return error.field === undefined ? [error.reason] : [error.reason, error.field]
  }
}

test.each([
  ['a field', '$card_number: c', '4242424242424242'],
  ['a field with a filter', '$card_number: c | last(4)', '4242'],
  ['an expiry', '$card_exp: c | format(MM/YY)', '03/35'],
  ['an expiry with more filters', '$card_exp: c | format(YYYY-MM) | base64', 'MjAzNS0wMw=='],
  [
    'an expiry with a default that is not needed',
    '$card_exp: c | format(MMYY) | default(x)',
    '0335',
  ],
  [
    'a default for an expiry that is not there',
    '$card_exp: bare | format(MMYY) | default(1299)',
    '1299',
  ],
  ['a default for a field that is not there', '$nick_name: c | default(none)', 'none'],
  ['a default for a path that leads nowhere', '$.a.b: t | default(none)', 'none'],
  ['a default for a null', '$.none: t | default(none)', 'none'],
  ['a default for a path into a card', '$.a: c | default(none)', 'none'],
  ['a default for a field of a generic token', '$card_number: t | default(none)', 'none'],
  ['a string', '$.iban: t', 'DE89370400440532013000'],
  ['a string with escapes', '$.holder.name: t', 'Zoë "Z"'],
  ['a number as it is written', '$.zero: t', '1.50E2'],
  ['a boolean', '$.no: t', 'false'],
  ['an empty string', '$.empty: t', ''],
  ['an element', '$.list[1]: t', '2'],
  ['the last of a name that stands twice', '$.twice: t', '2'],
  ['a wildcard that selects one', '$.list[3].*: t', 'true'],
  ['a string with filters', '$.iban: t | last(4) | pad(6)', '003000'],
  ['a string as JSON', '$.holder.name: t | json', '"Zoë \\"Z\\""'],
  ['a number as JSON', '$.zero: t | json', '1.50E2'],
  ['a null as JSON', '$.none: t | json', 'null'],
  ['a null as JSON in spite of a default', '$.none: t | json | default(0)', 'null'],
  ['an object as JSON', '$.holder: t | json', '{"name":"Zoë \\"Z\\"","tags":["a","b"]}'],
  ['an array as JSON', '$.list: t | json', '[1,"2",null,{"x":true}]'],
  ['an empty object as JSON', '$.objects: t | json', '{}'],
  ['what a wildcard selects, as an array', '$.list[*]: t | json', '[1,"2",null,{"x":true}]'],
  ['one thing that a wildcard selects, as an array', '$.list[*].x: t | json', '[true]'],
  ['nothing that a wildcard selects, as an array', '$.objects.*: t | json', '[]'],
  ['JSON with more filters', '$.objects: t | json | hex', '7b7d'],
  ['a default for JSON that is not there', '$.a: t | json | default(null)', 'null'],
  ['a field as JSON', '$card_holder_name: c | json', '"Zoë"'],
])('%s', (_, placeholder, value) => {
  expect(textOf(placeholder)).toBe(value)
})

test.each([
  ['a field that is not there', '$nick_name: c', 'placeholder_field_missing', 'nick_name'],
  [
    'an expiry that is not there',
    '$card_exp: bare | format(MMYY)',
    'placeholder_field_missing',
    'card_exp',
  ],
  ['a path into a card', '$.a: c', 'placeholder_field_missing', '$.a'],
  ['a path into a card as JSON', '$.a: c | json', 'placeholder_field_missing', '$.a'],
  ['a field of a generic token', '$card_number: t', 'placeholder_field_missing', 'card_number'],
  [
    'an expiry of a generic token',
    '$card_exp: t | format(MMYY)',
    'placeholder_field_missing',
    'card_exp',
  ],
  ['a path that leads nowhere', '$.a: t', 'placeholder_field_missing', '$.a'],
  ['a path that leads nowhere, as JSON', '$.a: t | json', 'placeholder_field_missing', '$.a'],
  ['a null', '$.none: t', 'placeholder_field_missing', '$.none'],
  ['a null with a filter', '$.none: t | upper', 'placeholder_field_missing', '$.none'],
  [
    'a wildcard that selects nothing',
    '$.objects.*: t',
    'placeholder_field_missing',
    '$.objects[*]',
  ],
  ['an object', '$.holder: t', 'value_not_encodable', '$.holder'],
  [
    'an object in spite of a default',
    '$.holder: t | default(x)',
    'value_not_encodable',
    '$.holder',
  ],
  ['an array', '$.list: t', 'value_not_encodable', '$.list'],
  ['several at once', '$.holder.tags[*]: t', 'value_not_encodable', '$.holder.tags[*]'],
  ['an unpaired surrogate', '$.broken: t', 'value_not_encodable', '$.broken'],
  ['a value that is no number', '$.iban: t | number', 'value_not_encodable', '$.iban'],
  [
    'a value in no map',
    '$card_holder_name: c | map(a=b)',
    'value_not_encodable',
    'card_holder_name',
  ],
  [
    'a token that nobody revealed',
    '$card_number: other',
    'placeholder_field_missing',
    'card_number',
  ],
])('refused: %s', (_, placeholder, reason, field) => {
  expect(refusalOf(placeholder)).toEqual([reason, field])
})

test('a placeholder without a token is of the one that the request names', () => {
  expect(textOf('$card_number | last(4)', 'c')).toBe('4242')
  expect(textOf('$.iban | first(2)', 't')).toBe('DE')
  expect(textOf('$.iban: t | first(2)', 'c')).toBe('DE')
  expect(refusalOf('$card_number')).toEqual(['placeholder_field_missing', 'card_number'])
})

test('everything that was revealed or made of it is overwritten at the end, refused or not', () => {
  const card = cardOf()
  const token = tokenOf('{"a":"secret","list":["one","two"],"n":"x"}')
  const all = new Values(
    [card, token],
    new Map([
      ['c', 0],
      ['t', 1],
    ]),
    undefined,
  )
  const of = (text: string) => all.of(parsePlaceholder(Buffer.from(`{{${text}}}`), 0))
  const handed = [
    of('$.a: t'),
    of('$.a: t | upper'),
    of('$.a: t | hex | base64 | json'),
    of('$.list[*]: t | json'),
    of('$.list: t | json | base64'),
    of('$card_exp: c | format(MM/YY)'),
    of('$card_number: c | mask'),
    of('$card_number: c | sha256'),
    of('$.a: t | map(secret=plain)'),
    of('$.b: t | default(plain)'),
  ]
  expect(() => of('$.n: t | upper | number')).toThrow(Refusal)

  all.wipe()

  expect(card.wiped).toBe(1)
  expect(token.json.every((byte) => byte === 0)).toBe(true)
  for (const bytes of handed) expect(bytes.every((byte) => byte === 0)).toBe(true)
})

test.each([
  ['filters that make much of little', '$.a: t|pad(255)|hex|hex|hex|hex|hex|hex|hex', 500],
  ['a large value many times', '$.large: t', 1000],
  ['a large value many times of which little is wanted', '$.large: t | first(1)', 1000],
])('what comes to too much in all is refused: %s', (_, placeholder, times) => {
  const large = JSON.stringify({ a: '1', large: 'x'.repeat(60_000) })
  const all = new Values([tokenOf(large)], new Map([['t', 0]]), undefined)
  const parsed = parsePlaceholder(Buffer.from(`{{${placeholder}}}`), 0)

  expect(() => {
    for (let i = 0; i < times; i++) all.of(parsed)
  }).toThrow(expect.objectContaining({ reason: 'body_too_large' }))
})

test('as many placeholders as a body may hold take the longest names', () => {
  const all = new Values([cardOf({ nick_name: 'ë'.repeat(255) })], new Map([['c', 0]]), undefined)
  const parsed = parsePlaceholder(Buffer.from('{{$nick_name: c}}'), 0)

  for (let i = 0; i < 20_000; i++) expect(all.of(parsed).length).toBe(510)
})

test('how many tokens were revealed is known', () => {
  expect(values().tokenCount).toBe(3)
})
