// The decision whether a request may be sent, as a table: one row is one sentence of policy.

import { describe, expect, test } from 'vitest'
import { type CardField, fieldBit } from '../../src/core/card-fields.ts'
import { parsePaymentMethodId } from '../../src/core/ids.ts'
import { compileRow } from '../../src/proxy/destination.ts'
import { encodeText } from '../../src/proxy/encode.ts'
import { type Place, parsePlaceRule } from '../../src/proxy/place.ts'
import { decidePlaces, decideReveal, findRow } from '../../src/proxy/policy.ts'
import type { Found } from '../../src/proxy/scan.ts'
import type { PaymentMethodRecord } from '../../src/store/contract.ts'

const NOW = 1_000_000
const TOKEN = `local_pm_${'0'.repeat(32)}`

type Fields = Parameters<typeof compileRow>[0]['fields']

// The schema's list of methods has no type of its own (a union made from an array), hence the cast.
const rowOf = (fields: Fields, path = '/pay', methods = ['POST']) =>
  compileRow({ methods: methods as never[], path, fields })

const foundIn = (place: Place, field: CardField = 'card_number'): Found => ({
  start: 0,
  end: 0,
  field,
  token: TOKEN,
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

describe('where a field may stand', () => {
  const at = (...places: string[]): Fields => [{ field: 'card_number', at: places }]
  const body: Place = { in: 'body', at: '/source/number' }
  const nowhere: Place = { in: 'body', at: undefined }
  const header: Place = { in: 'header', name: 'x-pan' }
  const query: Place = { in: 'query', name: 'pan' }
  const path: Place = { in: 'path' }

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
    ['any of several places will do', at('path', 'query:pan'), query, true],
    ['rules for one field add up', [...at('path'), ...at('query:pan')], path, true],
    ['a bare name widens what places narrow', [...at('path'), 'card_number'], body, true],
  ])('%s', (_, fields, place, isAllowed) => {
    const refusal = decidePlaces(rowOf(fields), [foundIn(place)])

    expect(refusal).toEqual(
      isAllowed ? undefined : { kind: 'refuse', reason: 'field_not_allowed', field: 'card_number' },
    )
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
    'basic',
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
    ['a generic token', ['$.account.iban'], '/pay'],
    ['a combined expiry, which is not built yet', ['card_exp'], '/pay'],
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
  const stored = (fields: CardField[], expiresAtMs?: number) =>
    ({
      id,
      expiresAtMs,
      fields: fields.reduce((set, field) => set | fieldBit(field), 0),
    }) as PaymentMethodRecord
  const card = stored(['card_number'])

  test.each<[string, CardField[], PaymentMethodRecord | undefined, string]>([
    ['a card that is there', ['card_number'], card, 'reveal'],
    ['a code, of which the record knows nothing', ['card_cvc'], card, 'reveal'],
    ['no card', ['card_number'], undefined, 'token_not_found'],
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
  ])('%s: %4$s', (_, fields, record, outcome) => {
    const decision = decideReveal([{ token: TOKEN, fields }], [record], NOW)

    expect(decision.kind === 'refuse' ? decision.reason : decision.kind).toBe(outcome)
  })

  test('one token that is not there refuses all of them', () => {
    const wanted = [
      { token: TOKEN, fields: ['card_number' as const] },
      { token: 'other', fields: ['card_number' as const] },
    ]

    const decision = decideReveal(wanted, [card, undefined], NOW)

    expect(decision).toEqual({ kind: 'refuse', reason: 'token_not_found' })
  })

  test('the missing field is named', () => {
    const decision = decideReveal([{ token: TOKEN, fields: ['nick_name'] }], [card], NOW)

    expect(decision).toMatchObject({ field: 'nick_name' })
  })
})
