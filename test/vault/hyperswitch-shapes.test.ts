// A client written for Hyperswitch's vault: the requests that its documentation gives, sent as they are, and every field
// that its documentation promises, there and of its type. Types are written as `string`, `string?` (or null), `time`,
// `bool`, `number`, `[…]` and objects; what we answer beyond that is named apart, so that nothing comes in unnoticed.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  type Answer,
  startSallyport,
  type TestMerchant,
  type TestSallyport,
} from '../support/sallyport.ts'

type Shape = string | { readonly [name: string]: Shape } | readonly [Shape]

let sallyport: TestSallyport
let merchant: TestMerchant

beforeAll(async () => {
  sallyport = await startSallyport()
  merchant = await sallyport.createMerchant()
})
afterAll(() => sallyport[Symbol.asyncDispose]())

const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z$/

/** What is wrong with it, one line each. */
function differences(value: unknown, shape: Shape, path = '$'): string[] {
  if (typeof shape === 'string') {
    if (shape.endsWith('?')) {
      return value === null ? [] : differences(value, shape.slice(0, -1), path)
    }
    const isOf: Record<string, (value: unknown) => boolean> = {
      string: (each) => typeof each === 'string',
      number: (each) => typeof each === 'number',
      bool: (each) => typeof each === 'boolean',
      time: (each) => typeof each === 'string' && TIME.test(each),
      null: (each) => each === null,
      json: (each) => typeof each === 'object' && each !== null,
    }
    return isOf[shape]?.(value) ? [] : [`${path} is no ${shape}: ${JSON.stringify(value)}`]
  }
  if (Array.isArray(shape)) {
    if (!Array.isArray(value) || value.length === 0) return [`${path} is no list`]
    return value.flatMap((each, at) => differences(each, shape[0], `${path}[${at}]`))
  }
  if (typeof value !== 'object' || value === null) return [`${path} is no object`]
  const wanted = shape as Record<string, Shape>
  const given = value as Record<string, unknown>
  const unknown = Object.keys(given).filter((name) => !(name in wanted))
  return [
    ...unknown.map((name) => `${path}.${name} is not documented`),
    ...Object.entries(wanted).flatMap(([name, each]) =>
      name in given
        ? differences(given[name], each, `${path}.${name}`)
        : [`${path}.${name} is missing`],
    ),
  ]
}

function expectShape(answer: Answer, shape: Shape, status = 200): void {
  expect([answer.status, differences(answer.body, shape)]).toEqual([status, []])
}

/** As Hyperswitch's clients write their keys. */
const call = (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) =>
  sallyport.as('')(method, path, body, {
    authorization: `api-key=${merchant.vaultKey}`,
    ...headers,
  })

const CUSTOMER: Shape = {
  id: 'string',
  merchant_reference_id: 'string?',
  connector_customer_ids: 'null',
  name: 'string?',
  email: 'string?',
  phone: 'string?',
  phone_country_code: 'string?',
  description: 'string?',
  default_billing_address: 'json?',
  default_shipping_address: 'json?',
  created_at: 'time',
  metadata: 'json?',
  default_payment_method_id: 'string?',
}

const CARD: Shape = {
  issuer_country: 'string?',
  last4_digits: 'string',
  expiry_month: 'string',
  expiry_year: 'string',
  card_holder_name: 'string?',
  card_fingerprint: 'null',
  nick_name: 'string?',
  card_network: 'string?',
  card_isin: 'string',
  card_issuer: 'string?',
  card_type: 'string?',
  saved_to_locker: 'bool',
}

const METHOD = {
  id: 'string',
  merchant_id: 'string',
  customer_id: 'string?',
  payment_method_type: 'string',
  payment_method_subtype: 'string?',
  recurring_enabled: 'bool',
  created: 'time',
  last_used_at: 'time?',
  payment_method_data: { card: CARD },
  connector_tokens: 'json',
  network_token: 'null',
  storage_type: 'string',
  card_cvc_token_storage: { is_stored: 'bool', expires_at: 'time' },
  billing: 'json?',
  network_transaction_id: 'string?',
  // Ours: its state, and what the merchant said of it.
  status: 'string',
  metadata: 'json?',
} as const satisfies Shape

const LISTED: Shape = {
  id: 'string',
  customer_id: 'string',
  payment_method_type: 'string',
  payment_method_subtype: 'string?',
  recurring_enabled: 'bool',
  payment_method_data: { card: CARD },
  bank: 'json?',
  created: 'time',
  requires_cvv: 'bool',
  last_used_at: 'time?',
  is_default: 'bool',
  billing: 'json?',
  network_tokenization: 'null',
  psp_tokenization_enabled: 'bool',
}

const ADDRESS = {
  address: {
    line1: '1467',
    line2: 'Harrison Street',
    city: 'San Fransico',
    state: 'California',
    zip: '94122',
    country: 'US',
    first_name: 'Joseph',
    last_name: 'Doe',
  },
  phone: { number: '8056594427', country_code: '+91' },
}

describe.each(['/v1', '/v2'])('vault, then pay, under %s', (version) => {
  const customers = `${version}/customers`
  const methods = `${version}/payment-methods`
  const reference = `customer_${version.slice(1)}`
  let customer: string
  let method: string

  test('POST /customers', async () => {
    const answer = await call('POST', customers, {
      merchant_reference_id: reference,
      name: 'John Doe',
      email: 'guest@example.com',
      phone: '999999999',
      phone_country_code: '+65',
      description: 'First customer',
      default_billing_address: ADDRESS,
      default_shipping_address: ADDRESS,
      metadata: { udf1: 'value1' },
    })

    expectShape(answer, CUSTOMER, 201)
    expect(answer.body).toMatchObject({ merchant_reference_id: reference, name: 'John Doe' })
    customer = answer.body.id
    expect(customer).toMatch(/^[a-z0-9]{5}_cus_[0-9a-f]{32}$/)
  })

  test('GET, PUT /customers/{id}, by reference, list', async () => {
    expectShape(await call('GET', `${customers}/${customer}`), CUSTOMER)
    expectShape(await call('GET', `${customers}/reference/${reference}`), CUSTOMER)
    expectShape(await call('PUT', `${customers}/${customer}`, { name: 'Joseph Doe' }), CUSTOMER)
    expectShape(await call('GET', `${customers}/list?limit=10&offset=0`), [CUSTOMER])
  })

  test('POST /payment-methods', async () => {
    const answer = await call('POST', methods, {
      customer_id: customer,
      payment_method_type: 'card',
      payment_method_subtype: 'credit',
      payment_method_data: {
        card: {
          card_number: '4111111111111111',
          card_exp_month: '03',
          card_exp_year: '2030',
          card_holder_name: 'joseph Doe',
          card_cvc: '737',
        },
      },
      billing: ADDRESS,
      storage_type: 'persistent',
    })

    expectShape(answer, METHOD, 201)
    method = answer.body.id
    expect(method).toMatch(/^[a-z0-9]{5}_pm_[0-9a-f]{32}$/)
  })

  test('GET /payment-methods/{id}, with raw details', async () => {
    expectShape(await call('GET', `${methods}/${method}?force_sync=true`), METHOD)
    const key = await sallyport.createKey(merchant.id, ['vault:read', 'vault:reveal'])
    const path = `${methods}/${method}?fetch_raw_detail=true`
    const raw = await call('GET', path, undefined, { authorization: `api-key=${key}` })
    expectShape(raw, { ...METHOD, raw_payment_method_data: { card: 'json' } })
    expect(raw.body.raw_payment_method_data.card.card_number).toBe('4111111111111111')
  })

  test('PUT /payment-methods/{id}/update-saved-payment-method', async () => {
    const path = `${methods}/${method}/update-saved-payment-method`
    const body = {
      payment_method_data: {
        card: { card_holder_name: 'Jane Doe', nick_name: 'work', card_cvc: '123' },
      },
    }

    expectShape(await call('PUT', path, body), METHOD)
  })

  test('GET /customers/{id}/saved-payment-methods', async () => {
    expectShape(await call('GET', `${customers}/${customer}/saved-payment-methods`), {
      customer_payment_methods: [LISTED],
    })
  })

  test('POST /payment-methods/create-intent, /{id}/confirm-intent', async () => {
    const intent = await call('POST', `${methods}/create-intent`, {
      customer_id: customer,
      billing: ADDRESS,
      metadata: { udf1: 'value1' },
    })
    expectShape(
      intent,
      {
        ...METHOD,
        payment_method_type: 'null',
        payment_method_data: 'null',
        card_cvc_token_storage: 'null',
        client_secret: 'string',
      },
      201,
    )
    expectShape(await call('GET', `${methods}/${intent.body.id}/list-enabled-payment-methods`), {
      payment_methods_enabled: [
        { payment_method_type: 'string', payment_method_subtype: 'string' },
      ],
    })
    const confirmed = await call('POST', `${methods}/${intent.body.id}/confirm-intent`, {
      customer_id: customer,
      payment_method_type: 'card',
      payment_method_subtype: 'credit',
      payment_method_data: {
        card: {
          card_number: '4242424242424242',
          card_exp_month: '10',
          card_exp_year: '30',
          card_cvc: '123',
        },
      },
    })
    expectShape(confirmed, METHOD)
  })

  test('POST /tokenize, DELETE /tokenize/{id}', async () => {
    const created = await call('POST', `${version}/tokenize`, {
      customer_id: customer,
      token_request: { name: 'jane', ssn: '000-00-0000' },
    })
    expectShape(created, { id: 'string', created_at: 'time', flag: 'string' }, 201)
    expect(created.body).toMatchObject({
      id: expect.stringMatching(/^[a-z0-9]{5}_tok_[0-9a-f]{32}$/),
      flag: 'enabled',
    })
    const path = `${version}/tokenize/${created.body.id}`
    expectShape(await call('DELETE', path, { customer_id: customer, session_id: 'x' }), {
      id: 'string',
    })
  })

  test('DELETE /payment-methods/{id}, /customers/{id}', async () => {
    expectShape(await call('DELETE', `${methods}/${method}`), { id: 'string' })
    expect((await call('GET', `${methods}/${method}`)).body.error).toMatchObject({
      type: 'object_not_found',
      code: 'HE_02',
    })
    expectShape(await call('DELETE', `${customers}/${customer}`), { id: 'string' })
  })
})

describe('the older API, without a version', () => {
  const OLD_CUSTOMER: Shape = {
    customer_id: 'string',
    name: 'string?',
    email: 'string?',
    phone: 'string?',
    phone_country_code: 'string?',
    description: 'string?',
    address: 'json?',
    metadata: 'json?',
    created_at: 'time',
    default_payment_method_id: 'string?',
  }
  const OLD_METHOD = {
    merchant_id: 'string',
    customer_id: 'string',
    payment_method_id: 'string',
    payment_method: 'string',
    payment_method_type: 'string?',
    card: { ...CARD, scheme: 'string?', card_token: 'null' },
    recurring_enabled: 'bool',
    installment_payment_enabled: 'bool',
    payment_experience: 'null',
    metadata: 'json?',
    created: 'time',
    last_used_at: 'time?',
    client_secret: 'null',
  } as const satisfies Shape
  const { merchant_id: _, client_secret: __, ...listed } = OLD_METHOD
  const OLD_LIST: Shape = {
    customer_payment_methods: [
      {
        ...listed,
        payment_token: 'null',
        requires_cvv: 'bool',
        default_payment_method_set: 'bool',
        billing: 'json?',
        bank: 'json?',
        surcharge_details: 'null',
      },
    ],
    is_guest_customer: 'bool',
  }
  const old = (method: string, path: string, body?: unknown) =>
    sallyport.as('')(method, path, body, { 'api-key': merchant.vaultKey })

  test('customers and payment methods', async () => {
    const created = await old('POST', '/customers', {
      customer_id: 'old_customer',
      name: 'John Doe',
      email: 'guest@example.com',
      phone: '999999999',
      phone_country_code: '+65',
      description: 'First customer',
      address: ADDRESS.address,
      metadata: { udf1: 'value1' },
    })
    expectShape(created, OLD_CUSTOMER)
    expect(created.body.customer_id).toBe('old_customer')
    expectShape(await old('GET', '/customers/old_customer'), OLD_CUSTOMER)
    expectShape(await old('POST', '/customers/old_customer', { name: 'Joe' }), OLD_CUSTOMER)
    expectShape(await old('GET', '/customers/list'), [OLD_CUSTOMER])

    const method = await old('POST', '/payment_methods', {
      payment_method: 'card',
      payment_method_type: 'credit',
      payment_method_issuer: 'Visa',
      card: {
        card_number: '4242424242424242',
        card_exp_month: '10',
        card_exp_year: '33',
        card_holder_name: 'John Doe',
        card_issuing_country_code: 'US',
      },
      customer_id: 'old_customer',
      metadata: { city: 'NY', unit: '245' },
    })
    expectShape(method, OLD_METHOD)
    expect(method.body.card).toMatchObject({ issuer_country: 'US', card_issuer: 'Visa' })
    const path = `/payment_methods/${method.body.payment_method_id}`
    expectShape(await old('GET', path), OLD_METHOD)
    expectShape(await old('POST', `${path}/update`, { card: { nick_name: 'work' } }), OLD_METHOD)
    expectShape(await old('POST', `/customers/old_customer${path}/default`), {
      default_payment_method_id: 'string',
      customer_id: 'string',
      payment_method: 'string',
      payment_method_type: 'string?',
    })
    const list = await old('GET', '/customers/old_customer/payment_methods')
    expectShape(list, OLD_LIST)
    expect(list.body.customer_payment_methods[0].default_payment_method_set).toBe(true)

    // The same card is the same payment method, whichever API it comes by.
    const byReference = await call('GET', '/v2/customers/reference/old_customer')
    const same = await call('POST', '/v2/payment-methods', {
      customer_id: byReference.body.id,
      payment_method_type: 'card',
      payment_method_data: {
        card: { card_number: '4242424242424242', card_exp_month: '10', card_exp_year: '33' },
      },
    })
    expect([same.status, same.body.id]).toEqual([200, method.body.payment_method_id])

    expectShape(await old('DELETE', path), { payment_method_id: 'string', deleted: 'bool' })
    expect((await old('GET', path)).status).toBe(404)
    expectShape(await old('DELETE', '/customers/old_customer'), {
      customer_id: 'string',
      customer_deleted: 'bool',
      address_deleted: 'bool',
      payment_methods_deleted: 'bool',
    })
    expect((await old('GET', '/customers/old_customer')).status).toBe(404)
  })

  test('a customer without an id of the merchant has ours', async () => {
    const { body } = await old('POST', '/customers', { name: 'Jo' })
    expect(body.customer_id).toMatch(/^local_cus_[0-9a-f]{32}$/)
    expect((await old('GET', `/customers/${body.customer_id}`)).body).toEqual(body)
  })

  test('an id of ours is no id of the merchant for another customer', async () => {
    const { body: victim } = await old('POST', '/customers', {})
    const { customer_id } = victim

    for (const path of ['/customers', '/customers/mine']) {
      await old('POST', '/customers', { customer_id: 'mine' })
      const answer = await old('POST', path, { customer_id })
      expect([answer.status, answer.body.error.details]).toEqual([422, { field: 'customer_id' }])
    }
    await old('DELETE', '/customers/mine')
    expect((await old('GET', `/customers/${customer_id}`)).body).toEqual(victim)
  })

  test('a customer id that is taken is a conflict', async () => {
    await old('POST', '/customers', { customer_id: 'taken' })
    const again = await old('POST', '/customers', { customer_id: 'taken' })
    expect([again.status, again.body.error.code]).toEqual([409, 'HE_01'])
  })
})
