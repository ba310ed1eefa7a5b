// The decision whether a request may be sent, as a table: one row is one sentence of policy.

import { describe, expect, test } from 'vitest'
import { type CardField, fieldBit } from '../../src/core/card-fields.ts'
import { type Field, parseField } from '../../src/core/field.ts'
import { type KeyId, parsePaymentMethodId } from '../../src/core/ids.ts'
import { compileRow } from '../../src/proxy/destination.ts'
import { encodeText } from '../../src/proxy/encode.ts'
import { type Place, parsePlaceRule } from '../../src/proxy/place.ts'
import {
  decidePlaces,
  decideReveal,
  decideRow,
  findRow,
  type Stored,
  type Wanted,
} from '../../src/proxy/policy.ts'
import type { Found } from '../../src/proxy/scan/scanner.ts'
import type { PaymentMethodRecord, TokenRecord } from '../../src/store/contract.ts'

const NOW = 1_000_000
const TOKEN = `local_pm_${'0'.repeat(32)}`

type Fields = Parameters<typeof compileRow>[0]['fields']

// The schema's list of methods has no type of its own (a union made from an array), hence the cast.
const rowOf = (fields: Fields, path = '/pay', methods = ['POST']) =>
  compileRow({ methods: methods as never[], path, fields })

const IBAN = parseField('$.account.iban') as Field

const foundIn = (place: Place, field: Field = 'card_number'): Found => ({
  start: 0,
  end: 0,
  field,
  token: TOKEN,
  filters: [],
  isJson: false,
  encode: encodeText,
  place,
})

describe('which row decides', () => {
  const payments = rowOf([], '/payments*')
  const refunds = rowOf([], '/payments/*/refunds')
  const read = rowOf([], '/payments*', ['GET'])
  const rows = [payments, refunds, read]

  test.each([
    ['the first whose method and path match', 'POST', '/payments/1/refunds', payments],
    ['one of another method does not', 'GET', '/payments/1', read],
    ['none of another path', 'POST', '/refunds', undefined],
    ['none of another method', 'DELETE', '/payments', undefined],
    ['none of the same method in lower case', 'post', '/payments', undefined],
    ['none of a path in another case', 'POST', '/Payments', undefined],
  ])('%s', (_, method, path, row) => {
    expect(findRow(rows, method, path)).toBe(row)
  })

  test('without rows nothing is allowed', () => {
    expect(findRow([], 'POST', '/')).toBeUndefined()
  })
})

describe('what a row asks of a request besides', () => {
  const KEY = 'key_1' as KeyId
  const row = (more: { query?: string[]; keys?: string[] }) =>
    compileRow({ methods: ['POST'] as never[], path: '/pay', fields: [], ...more })
  const named = row({ query: ['expand', 'limit', 'a%20b'] })
  const none = row({ query: [] })

  test.each<[string, ReturnType<typeof row>, string]>([
    ['any query, where no names are given', row({}), '?anything=1&;=&x'],
    ['no query, where names are given', named, ''],
    ['no query, where no name may be', none, ''],
    ['a question mark without anything, where no name may be', none, '?'],
    ['a name that is given', named, '?expand=1'],
    ['all of the names, in any order and more than once', named, '?limit=1&expand=2&limit=3'],
    ['a name without a value', named, '?expand'],
    ['a name with an empty value', named, '?expand='],
    ['a value with another equals sign', named, '?expand=a=b'],
    ['a value that is spelled like another name', named, '?expand=callback'],
    ['an encoded ampersand, which ends no pair', named, '?expand=1%26callback=x'],
    ['a name as it is written', named, '?a%20b=1'],
  ])('allowed: %s', (_, asked, query) => {
    expect(decideRow(asked, KEY, query)).toBeUndefined()
  })

  test.each<[string, ReturnType<typeof row>, string, string]>([
    ['any name, where none may be', none, '?a=1', 'a'],
    ['a name that is not given', named, '?callback=1', 'callback'],
    ['one among those that are given', named, '?expand=1&callback=x&limit=1', 'callback'],
    ['a name in another case', named, '?Expand=1', 'Expand'],
    ['a name that is longer', named, '?expanded=1', 'expanded'],
    ['a name that is shorter', named, '?exp=1', 'exp'],
    ['a name with an index', named, '?expand[]=1', 'expand[]'],
    ['a name in another spelling', named, '?%65xpand=1', '%65xpand'],
    ['a name that the given one decodes to', named, '?a b=1', 'a b'],
    ['a pair after a semicolon', named, '?expand=1;callback=x', 'callback'],
    ['a pair without a name', named, '?=1', ''],
    ['an empty pair, of which receivers make different things', named, '?expand=1&', ''],
    ['another question mark', named, '??expand=1', '?expand'],
    ['what every object has', named, '?__proto__=1', '__proto__'],
  ])('refused: %s', (_, asked, query, field) => {
    expect(decideRow(asked, KEY, query)).toEqual({
      kind: 'refuse',
      reason: 'method_or_path_not_allowed',
      field,
    })
  })

  test.each<[string, string[] | undefined, string | undefined]>([
    ['every key, where none is given', undefined, undefined],
    ['a key that is given', ['key_0', 'key_1'], undefined],
    ['no other key', ['key_0'], 'permission_denied'],
    ['no key of which the given one is a part', ['key_11', 'key_'], 'permission_denied'],
  ])('it may be used by %s', (_, keys, reason) => {
    expect(decideRow(row(keys === undefined ? {} : { keys }), KEY, '')?.reason).toBe(reason)
  })

  test('a key that may not use the row is not told which names it lets through', () => {
    const refusal = decideRow(row({ keys: ['key_0'], query: ['a'] }), KEY, '?b=1')

    expect(refusal).toEqual({ kind: 'refuse', reason: 'permission_denied' })
  })
})

describe('where a field may stand', () => {
  const at = (...places: string[]): Fields => [{ field: 'card_number', at: places }]
  const body: Place = { in: 'body', at: '/source/number' }
  const nowhere: Place = { in: 'body', at: undefined }
  const header: Place = { in: 'header', name: 'x-pan' }
  const query: Place = { in: 'query', name: 'pan' }
  const path: Place = { in: 'path' }
  const basic: Place = { in: 'basic' }

  test.each<[string, Fields, Place, boolean]>([
    ['no field is allowed unless it is named', [], body, false],
    ['another field is not this one', ['card_cvc'], body, false],
    ['a bare name means anywhere in the body', ['card_number'], body, true],
    ['a bare name means the name of a property too', ['card_number'], nowhere, true],
    ['a bare name does not mean headers', ['card_number'], header, false],
    ['a bare name does not mean the query', ['card_number'], query, false],
    ['a bare name does not mean the path', ['card_number'], path, false],
    ['"body" means the same as a bare name', at('body'), nowhere, true],
    ['a pointer means this place', at('body:/source/number'), body, true],
    ['a pointer means no other place', at('body:/metadata/x'), body, false],
    ['a pointer does not mean what is below', at('body:/source'), body, false],
    ['a pointer does not mean what has no place', at('body:/source/number'), nowhere, false],
    ['a header means this header', at('header:x-pan'), header, true],
    ['the case of a header does not count', at('header:X-PAN'), header, true],
    ['a header means no other header', at('header:x-other'), header, false],
    ['a query key means this key', at('query:pan'), query, true],
    ['the case of a query key counts', at('query:PAN'), query, false],
    ['a query key means no other key', at('query:pa'), query, false],
    ['a query key does not mean the body', at('query:pan'), { in: 'body', at: 'pan' }, false],
    ['a body key does not mean the query', at('body:pan'), query, false],
    ['the path is allowed where it is named', at('path'), path, true],
    ['Basic credentials are allowed where they are named', at('basic'), basic, true],
    ['a bare name does not mean Basic credentials', ['card_number'], basic, false],
    ['Basic credentials are not their header', at('header:authorization'), basic, false],
    ['the header is not its Basic credentials', at('basic'), header, false],
    ['any of several places will do', at('path', 'query:pan'), query, true],
    ['rules for one field add up', [...at('path'), ...at('query:pan')], path, true],
    ['a bare name widens what places narrow', [...at('path'), 'card_number'], body, true],
  ])('%s', (_, fields, place, isAllowed) => {
    const refusal = decidePlaces(rowOf(fields), [foundIn(place)])

    expect(refusal).toEqual(
      isAllowed ? undefined : { kind: 'refuse', reason: 'field_not_allowed', field: 'card_number' },
    )
  })

  test.each<[string, Fields, Field, boolean]>([
    ['a path into a generic token where it is named', ['$.account.iban'], IBAN, true],
    ['the same path in another spelling', ["$['account'].iban"], IBAN, true],
    ['no other path', ['$.account.bic'], IBAN, false],
    ['no path that is longer', ['$.account'], IBAN, false],
    ['no path through a wildcard', ['$.account.*'], IBAN, false],
    [
      'an expiry where both of its parts are',
      ['card_exp_month', 'card_exp_year'],
      'card_exp',
      true,
    ],
    ['no expiry where only the month is', ['card_exp_month'], 'card_exp', false],
    ['no expiry where only the year is', ['card_exp_year'], 'card_exp', false],
  ])('allowed is %s', (_, fields, field, isAllowed) => {
    const refusal = decidePlaces(rowOf(fields), [foundIn(body, field)])

    expect(refusal).toEqual(
      isAllowed ? undefined : { kind: 'refuse', reason: 'field_not_allowed', field },
    )
  })

  test('an expiry may stand only where both of its parts may', () => {
    const row = rowOf([
      { field: 'card_exp_month', at: ['body:/exp'] },
      { field: 'card_exp_year', at: ['body:/exp', 'path'] },
    ])
    const at = (place: Place) => decidePlaces(row, [foundIn(place, 'card_exp')])?.reason

    expect([at({ in: 'body', at: '/exp' }), at(path)]).toEqual([undefined, 'field_not_allowed'])
  })

  test('one placeholder in a wrong place refuses all', () => {
    const refusal = decidePlaces(rowOf(at('body:/source/number')), [foundIn(body), foundIn(path)])

    expect(refusal?.reason).toBe('field_not_allowed')
  })

  test('the refusal names the field that is not allowed', () => {
    const refusal = decidePlaces(rowOf(['card_number']), [foundIn(body), foundIn(body, 'card_cvc')])

    expect(refusal?.field).toBe('card_cvc')
  })
})

describe('what a row may say', () => {
  test.each([
    ['body', 'body'],
    ['body:/source/number', 'body:/source/number'],
    ['body:card[number]', 'body:card[number]'],
    ['header:X-Pan', 'header:x-pan'],
    ['query:Pan', 'query:Pan'],
    ['path', 'path'],
    ['basic', 'basic'],
  ])('the place %s', (input, rule) => {
    expect(parsePlaceRule(input)).toBe(rule)
  })

  test.each([
    '',
    'BODY',
    'body:',
    'header:',
    'header:a b',
    'header:a:b',
    'query:',
    'path:/a',
    'url',
    'Basic',
    'basic:user',
    'anywhere',
    ' body',
    'body ',
    `body:${'a'.repeat(513)}`,
  ])('no place: %j', (input) => {
    expect(parsePlaceRule(input)).toBeUndefined()
  })

  test.each<[string, Fields, string]>([
    ['an unknown field', ['card_numbr'], '/pay'],
    ['a field that is not built yet', ['network_token'], '/pay'],
    ['all of a generic token', ['$'], '/pay'],
    ['a path with a script', ['$[?(@.iban)]'], '/pay'],
    ['a recursive path', ['$..iban'], '/pay'],
    ['a path with a card number in it', ["$['4242424242424242']"], '/pay'],
    ['an expiry, which its month and year allow', ['card_exp'], '/pay'],
    ['an unknown place', [{ field: 'card_number', at: ['somewhere'] }], '/pay'],
    ['a path that is not normal', [], '/a/../b'],
    ['a path with a query', [], '/a?b=*'],
    ['an empty segment', [], '/a//b'],
  ])('refused: %s', (_, fields, path) => {
    expect(() => rowOf(fields, path)).toThrow(expect.objectContaining({ reason: 'invalid_value' }))
  })
})

describe('what is revealed', () => {
  const id = parsePaymentMethodId(TOKEN)
  const wantedOf = (fields: Field[], needed = fields): Wanted => ({ token: TOKEN, fields, needed })
  const stored = (fields: CardField[], expiresAtMs?: number) =>
    ({
      id,
      card: {},
      expiresAtMs,
      fields: fields.reduce((set, field) => set | fieldBit(field), 0),
    }) as PaymentMethodRecord
  const card = stored(['card_number'])
  const generic = (expiresAtMs?: number) => ({ expiresAtMs }) as TokenRecord

  test.each<[string, Field[], Stored | undefined, string]>([
    ['a card that is there', ['card_number'], card, 'reveal'],
    ['a code, of which the record knows nothing', ['card_cvc'], card, 'reveal'],
    ['no card', ['card_number'], undefined, 'token_not_found'],
    ['a path, of which the record of a generic token knows nothing', [IBAN], generic(), 'reveal'],
    [
      'a field of a card of a generic token',
      ['card_number'],
      generic(),
      'placeholder_field_missing',
    ],
    ['a code of a generic token', ['card_cvc'], generic(), 'placeholder_field_missing'],
    ['an expiry of a generic token', ['card_exp'], generic(), 'placeholder_field_missing'],
    ['a path into a card', [IBAN], card, 'placeholder_field_missing'],
    ['a generic token that expires now', [IBAN], generic(NOW), 'token_expired'],
    ['a generic token a moment before it expires', [IBAN], generic(NOW + 1), 'reveal'],
    [
      'an expiry of which only the month is there',
      ['card_exp'],
      stored(['card_exp_month']),
      'placeholder_field_missing',
    ],
    ['an expiry', ['card_exp'], stored(['card_exp_month', 'card_exp_year']), 'reveal'],
    [
      'a field that the card lacks',
      ['card_number', 'nick_name'],
      card,
      'placeholder_field_missing',
    ],
    [
      'a card a moment before it expires',
      ['card_number'],
      stored(['card_number'], NOW + 1),
      'reveal',
    ],
    ['a card that expires now', ['card_number'], stored(['card_number'], NOW), 'token_expired'],
    [
      'an expired card, before its fields are looked at',
      ['nick_name'],
      stored([], 1),
      'token_expired',
    ],
  ])('%s', (_, fields, record, outcome) => {
    const decision = decideReveal([wantedOf(fields)], [record], NOW)

    expect(decision.kind === 'refuse' ? decision.reason : decision.kind).toBe(outcome)
  })

  test('one token that is not there refuses all of them', () => {
    const wanted = [wantedOf(['card_number']), { ...wantedOf(['card_number']), token: 'other' }]

    const decision = decideReveal(wanted, [card, undefined], NOW)

    expect(decision).toEqual({ kind: 'refuse', reason: 'token_not_found' })
  })

  test('the missing field is named', () => {
    const decision = decideReveal([wantedOf(['nick_name'])], [card], NOW)

    expect(decision).toMatchObject({ field: 'nick_name' })
  })

  test('a field that a default stands in for may be missing', () => {
    const decision = decideReveal([wantedOf(['nick_name'], [])], [card], NOW)

    expect(decision).toEqual({ kind: 'reveal', records: [card] })
  })
})
