// Free JSON and telephone numbers: a whole card number in them is refused wherever they are taken, by the name of the field
// that holds it, and stored nowhere. What only looks long is taken.

import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  type Answer,
  startSallyport,
  type TestMerchant,
  type TestSallyport,
} from '../support/sallyport.ts'
import { expectNoDigitsOf, randomCard } from './cards.ts'

let sallyport: TestSallyport
let merchant: TestMerchant
let customer: string
let method: string

beforeAll(async () => {
  sallyport = await startSallyport()
  merchant = await sallyport.createMerchant()
  customer = await merchant.createCustomer()
  method = await merchant.createCard({}, customer)
  await merchant.vault('POST', '/v2/customers', { merchant_reference_id: 'mine' })
})

afterAll(() => sallyport[Symbol.asyncDispose]())

const old = (path: string, body: unknown) =>
  sallyport.as('')('POST', path, body, { 'api-key': merchant.vaultKey })

const card = () => ({ card_number: randomCard(), card_exp_month: '03', card_exp_year: '2035' })

const PLACES: readonly (readonly [string, string, (member: object) => Promise<Answer>])[] = [
  ...['default_billing_address', 'default_shipping_address', 'metadata'].flatMap((field) => [
    [field, 'POST /v2/customers', (body: object) => merchant.vault('POST', '/v2/customers', body)],
    [
      field,
      'PUT /v1/customers/{id}',
      (body: object) => merchant.vault('PUT', `/v1/customers/${customer}`, body),
    ],
  ]),
  ...['address', 'metadata'].flatMap((field) => [
    [field, 'POST /customers', (body: object) => old('/customers', body)],
    [field, 'POST /customers/{id}', (body: object) => old('/customers/mine', body)],
  ]),
  ...['billing', 'metadata'].flatMap((field) => [
    [
      field,
      'POST /v2/payment-methods',
      (body: object) =>
        merchant.vault('POST', '/v2/payment-methods', {
          customer_id: customer,
          payment_method_type: 'card',
          payment_method_data: { card: card() },
          ...body,
        }),
    ],
    [
      field,
      'POST /v2/payment-methods/create-intent',
      (body: object) =>
        merchant.vault('POST', '/v2/payment-methods/create-intent', {
          customer_id: customer,
          ...body,
        }),
    ],
    [
      field,
      'PUT /v2/payment-methods/{id}/update-saved-payment-method',
      (body: object) =>
        merchant.vault('PUT', `/v2/payment-methods/${method}/update-saved-payment-method`, body),
    ],
    [
      field,
      'POST /payment_methods',
      (body: object) =>
        old('/payment_methods', {
          customer_id: 'mine',
          payment_method: 'card',
          card: card(),
          ...body,
        }),
    ],
  ]),
  [
    'billing',
    'POST /v2/payment-method-sessions',
    (body: object) =>
      merchant.vault('POST', '/v2/payment-method-sessions', { customer_id: customer, ...body }),
  ],
  [
    'billing',
    'PUT /v2/payment-method-sessions/{id}',
    async (body: object) => {
      const { id } = await merchant.createSession()
      return merchant.vault('PUT', `/v2/payment-method-sessions/${id}`, body)
    },
  ],
] as never

test.each(PLACES)('a card number in %s of %s is refused by name', async (field, _, send) => {
  const number = randomCard()
  for (const json of [
    { note: `card ${number}` },
    { deep: [{ note: number.replace(/(.{4})/g, '$1 ') }] },
    { number: Number(number) },
    { [number]: true },
  ]) {
    const answer = await send({ [field]: json })

    expect([answer.status, answer.body.error?.reason]).toEqual([422, 'invalid_value'])
    expect(answer.body.error.details).toEqual({ field })
    expectNoDigitsOf(number, answer)
  }
})

test.each(PLACES)('a long number that is none is taken in %s of %s', async (_field, _, send) => {
  const json = { order: '4242424242424241', id: customer, phone: '+4915123456789', at: 1.5 }

  const answer = await send({ [_field]: json })

  expect([answer.status, answer.body.error]).toEqual([answer.status, undefined])
})

test('a card number is no telephone number', async () => {
  const number = randomCard()
  const customers = '/v2/customers'
  for (const answer of [
    await merchant.vault('POST', customers, { phone: number }),
    await merchant.vault('PUT', `${customers}/${customer}`, { phone: number }),
    await old('/customers', { phone: number }),
  ]) {
    expect([answer.status, answer.body.error?.details]).toEqual([422, { field: 'phone' }])
    expectNoDigitsOf(number, answer)
  }
  expect((await merchant.vault('POST', customers, { phone: '+4915123456789' })).status).toBe(201)
})
