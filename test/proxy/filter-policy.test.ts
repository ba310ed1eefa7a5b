// What may be done to a value, as a table, and through the front door: no refusal and no answer tells a caller what it may
// not see.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Field } from '../../src/core/field.ts'
import { type Filter, parseFilter } from '../../src/proxy/filter.ts'
import { refusedFilter } from '../../src/proxy/filter-policy.ts'
import { startSallyport, type TestMerchant, type TestSallyport } from '../support/sallyport.ts'
import { expectRefusal, send, startUpstream, type Upstream } from './upstream.ts'

const chain = (text: string): Filter[] =>
  text.split(' | ').map((one) => {
    const [, name = '', args] = /^(\w+)(?:\((.*)\))?$/.exec(one) ?? []
    const filter = parseFilter(name, args)
    if (filter === undefined) throw new Error(`no filter: ${one}`)
    return filter
  })

describe('of a number', () => {
  test.each([
    'first(6)',
    'last(4)',
    'last(4) | sha256',
    'first(6) | first(2) | pad(4)',
    'digits | string',
    'number',
    'base64',
    'lower | hex | urlencode',
    'sha256 | json',
    'mask',
    'default(x) | urlencode',
  ])('%s may stand', (text) => {
    expect(refusedFilter('card_number', chain(text))).toBeUndefined()
  })

  test.each([
    ['more than everybody may see', 'first(7)', 'first'],
    ['more than the last four', 'last(5)', 'last'],
    ['a piece from the middle', 'last(9) | first(4)', 'last'],
    ['a piece of what was encoded', 'base64 | first(4)', 'first'],
    ['two encodings', 'base64 | base64', 'base64'],
    ['a hash of an encoding', 'hex | sha256', 'sha256'],
    ['an encoding in other letters', 'base64 | lower', 'lower'],
    ['zeros before it', 'pad(20)', 'pad'],
    ['a map', 'map(4=x)', 'map'],
    ['a map of a piece', 'last(4) | map(4=x)', 'map'],
  ])('%s may not: %s', (_, text, refused) => {
    expect(refusedFilter('card_number', chain(text))).toBe(refused)
  })
})

test.each<[string, Field, string, string | undefined]>([
  ['a code as it is written', 'card_cvc', 'string | json', undefined],
  ['no piece of a code', 'card_cvc', 'first(1)', 'first'],
  ['no hash of a code', 'card_cvc', 'sha256', 'sha256'],
  ['a map of a network', 'card_network', 'lower | map(visa=VI)', undefined],
  ['no map of a holder', 'card_holder_name', 'map(a=b)', 'map'],
  ['no map of a month', 'card_exp_month', 'map(1=JAN)', 'map'],
  ['no map of what a token holds', '$.pin' as Field, 'map(1234=x)', 'map'],
  ['a piece of what a token holds', '$.iban' as Field, 'last(4)', undefined],
])('allowed is %s', (_, field, text, refused) => {
  expect(refusedFilter(field, chain(text))).toBe(refused)
})

describe('through the front door', () => {
  let sallyport: TestSallyport
  let merchant: TestMerchant
  let psp: Upstream
  let card: string

  beforeAll(async () => {
    sallyport = await startSallyport()
    merchant = await sallyport.createMerchant()
    psp = await startUpstream()
    card = await merchant.createCard({ card_number: '4000056655665556', card_cvc: '739' })
    const at = ['body']
    await merchant.createDestination({
      name: 'psp',
      origin: psp.origin,
      allow: [
        {
          methods: ['POST'],
          path: '/any',
          fields: [{ field: 'card_number', at, filters: 'any' }],
        },
        {
          methods: ['POST'],
          path: '/*',
          fields: ['card_number', 'card_cvc', 'card_holder_name'],
        },
      ],
    })
  })

  afterAll(async () => {
    await sallyport[Symbol.asyncDispose]()
    await psp.close()
  })

  const post = (path: string, body: string) =>
    send(
      sallyport.origin,
      'POST',
      `/d/psp${path}`,
      { 'Sallyport-Key': merchant.proxyKey, 'Content-Type': 'application/json' },
      body,
    )

  test('a guess of one digit gets the same answer whether it is right or wrong', async () => {
    const answers = await Promise.all(
      ['4', '5'].map((guess) =>
        post(
          '/pay',
          `["{{$card_number: ${card} | first(1) | map(${guess}=x)}}","{{$card_holder_name: ${card} | number}}"]`,
        ),
      ),
    )

    for (const answer of answers) {
      expectRefusal(answer, 'field_not_allowed')
      expect(answer.json.error.details).toEqual({ field: 'map' })
    }
    expect(psp.seen).toEqual([])
  })

  test('a destination may lift it for a field', async () => {
    const reply = await post('/any', `["{{$card_number: ${card} | first(8)}}"]`)

    expect(reply.status).toBe(200)
    expect(psp.seen.at(-1)?.body.toString()).toBe('["40000566"]')
  })
})
