// What is refused when a card is sent, and that a refusal tells the field at fault and nothing of the card: no six
// digits of its number in a row, whatever was wrong, and nothing is stored.

import { request as httpRequest } from 'node:http'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import {
  type Answer,
  startSallyport,
  type TestMerchant,
  type TestSallyport,
} from '../support/sallyport.ts'
import { expectMasked, expectNoDigitsOf, randomCard, withoutIds } from './cards.ts'

let sallyport: TestSallyport
let merchant: TestMerchant
let customer: string
let number: string

beforeAll(async () => {
  sallyport = await startSallyport()
  merchant = await sallyport.createMerchant()
  customer = await merchant.createCustomer()
})

afterAll(() => sallyport[Symbol.asyncDispose]())

beforeEach(() => {
  number = randomCard()
})

afterEach(async () => {
  const path = `/v2/customers/${customer}/saved-payment-methods`
  expect((await merchant.vault('GET', path)).body.customer_payment_methods).toEqual([])
})

const BAD_LUHN = 'a number with a wrong check digit'

function body(card: object = {}, more: object = {}) {
  return {
    customer_id: customer,
    payment_method_type: 'card',
    payment_method_data: {
      card: {
        card_number: number,
        card_exp_month: '03',
        card_exp_year: '2035',
        card_cvc: '737',
        ...card,
      },
    },
    ...more,
  }
}

function expectRefused(answer: Answer, status: number, reason: string, field?: string): void {
  expect([answer.status, answer.body.error?.reason]).toEqual([status, reason])
  expect(answer.body.error.details?.field).toBe(field)
  expectNoDigitsOf(number, answer)
}

const post = (content: unknown, headers?: Record<string, string>, version = '/v2') =>
  merchant.vault('POST', `${version}/payment-methods`, content, headers)

const lastYear = String(new Date().getUTCFullYear() - 1)

describe('a card is refused for', () => {
  type Row = [what: string, card: () => object, status: number, reason: string, field: string]
  const value = (what: string, card: object | (() => object), field?: string): Row => [
    what,
    typeof card === 'function' ? (card as () => object) : () => card,
    422,
    'invalid_value',
    field ?? Object.keys(typeof card === 'function' ? card() : card)[0] ?? '',
  ]
  const wrong = (card: object): Row => [
    `the wrong type: ${JSON.stringify(card)}`,
    () => card,
    400,
    'wrong_type',
    Object.keys(card)[0] ?? '',
  ]
  const missing = (field: string): Row => [
    `no ${field}`,
    () => ({ [field]: undefined }),
    400,
    'missing_field',
    field,
  ]

  test.each([
    [BAD_LUHN, () => ({ card_number: wrongCheckDigit() }), 422, 'invalid_value', 'card_number'],
    ['letters in it', () => ({ card_number: `${number}x` }), 422, 'invalid_value', 'card_number'],
    ['a dot in it', () => ({ card_number: dotted() }), 422, 'invalid_value', 'card_number'],
    [
      'an escape in it',
      () => ({ card_number: `${number}\n` }),
      422,
      'invalid_value',
      'card_number',
    ],
    [
      'other digits',
      () => ({ card_number: '４２４２424242424242' }),
      422,
      'invalid_value',
      'card_number',
    ],
    value('an empty number', { card_number: '' }),
    value('a number of 11 digits', { card_number: '42424242426' }),
    value('a number of 20 digits', { card_number: '42424242424242424242' }),
    value('a number of blanks', { card_number: ' '.repeat(16) }),
    [
      'a number of 65 characters',
      () => ({ card_number: number + ' '.repeat(49) }),
      422,
      'invalid_value',
      'card_number',
    ],
    [
      'a placeholder',
      () => ({ card_number: '{{$card_number}}' }),
      422,
      'invalid_value',
      'card_number',
    ],
    wrong({ card_number: 4242424242424242 }),
    wrong({ card_number: null }),
    wrong({ card_number: true }),
    wrong({ card_number: ['4242424242424242'] }),
    wrong({ card_number: { value: '4242424242424242' } }),
    missing('card_number'),

    value('month 13', { card_exp_month: '13' }),
    value('month 0', { card_exp_month: '0' }),
    value('month 00', { card_exp_month: '00' }),
    value('a month in letters', { card_exp_month: 'ma' }),
    value('a signed month', { card_exp_month: '-1' }),
    value('a long month', { card_exp_month: '003' }),
    value('an empty month', { card_exp_month: '' }),
    wrong({ card_exp_month: 3 }),
    missing('card_exp_month'),

    value('a year of one digit', { card_exp_year: '5' }),
    value('a year of three digits', { card_exp_year: '035' }),
    value('a year of five digits', { card_exp_year: '02035' }),
    value('another century', { card_exp_year: '2135' }),
    value('a year in letters', { card_exp_year: '20x5' }),
    value('an empty year', { card_exp_year: '' }),
    value('a year that is over', { card_exp_year: lastYear }),
    value('a year that is over, in two digits', { card_exp_year: lastYear.slice(2) }),
    wrong({ card_exp_year: 2035 }),
    missing('card_exp_year'),

    value('a code of 2 digits', { card_cvc: '73' }),
    value('a code of 5 digits', { card_cvc: '73737' }),
    value('a code with a letter', { card_cvc: '73a' }),
    value('a code with a blank', { card_cvc: '73 ' }),
    value('an empty code', { card_cvc: '' }),
    value('a number for a code', () => ({ card_cvc: number }), 'card_cvc'),
    wrong({ card_cvc: 737 }),
    wrong({ card_cvc: null }),
    wrong({ card_cvc: ['737'] }),

    value('a control character in the name', { card_holder_name: 'A\u0000B' }),
    value('a line break in the name', { card_holder_name: 'A\r\nB' }),
    value('a C1 control in the name', { card_holder_name: 'A\u0085B' }),
    value('half a character in the name', { card_holder_name: 'A\ud83dB' }),
    value('the other half in the name', { card_holder_name: '\ude00' }),
    value('an empty name', { card_holder_name: '' }),
    value('a name of 256 characters', { card_holder_name: 'x'.repeat(256) }),
    wrong({ card_holder_name: 5 }),
    value('a control character in the nick name', { nick_name: '\u001b[2J' }),
    value('half a character in the nick name', { nick_name: '\udc00' }),
    value('a control character in the issuer', { card_issuer: 'a\tb' }),
    value('digits for a network', { card_network: '4242' }),
    value('digits for a type', { card_type: '4242' }),
    value('digits for a country', { card_issuing_country: '4242' }),
    ['an unknown field', () => ({ pin: '1234' }), 400, 'unknown_field', 'pin'],
  ] satisfies Row[])('%s', async (_, card, status, reason, field) => {
    const answer = await post(body(card()))

    expectRefused(answer, status, reason, field)
  })

  test.each(['/v1', '/v2'])('its check digit under %s', async (version) => {
    const answer = await post(body({ card_number: wrongCheckDigit() }), {}, version)

    expectRefused(answer, 422, 'invalid_value', 'card_number')
  })
})

const wrongCheckDigit = () => number.slice(0, -1) + ((Number(number.at(-1)) + 1) % 10)
const dotted = () => number.replaceAll(/(....)(?!$)/g, '$1.')

describe('a request is refused for', () => {
  test.each([
    ['an unknown field at the top', { nope: 1 }, 400, 'unknown_field', 'nope'],
    [
      'raw details wanted',
      { raw_payment_method_data: true },
      400,
      'unknown_field',
      'raw_payment_method_data',
    ],
    ['a wallet', { payment_method_type: 'wallet' }, 400, 'missing_field', 'wallet'],
    ['a crypto', { payment_method_type: 'crypto' }, 422, 'invalid_value', 'payment_method_type'],
    ['no type', { payment_method_type: undefined }, 400, 'missing_field', 'payment_method_type'],
    [
      'a type that is a number',
      { payment_method_type: 1 },
      400,
      'wrong_type',
      'payment_method_type',
    ],
    ['no data', { payment_method_data: undefined }, 400, 'missing_field', 'payment_method_data'],
    ['no card', { payment_method_data: {} }, 400, 'missing_field', 'card'],
    ['a card that is a list', { payment_method_data: { card: [] } }, 400, 'wrong_type', 'card'],
    ['data that is a text', { payment_method_data: 'x' }, 400, 'wrong_type', 'payment_method_data'],
    ['another way to store', { storage_type: 'forever' }, 422, 'invalid_value', 'storage_type'],
    ['a customer that is a number', { customer_id: 5 }, 400, 'wrong_type', 'customer_id'],
    ['a null customer', { customer_id: null }, 400, 'wrong_type', 'customer_id'],
    ['billing that is a list', { billing: [] }, 400, 'wrong_type', 'billing'],
    ['metadata that is a text', { metadata: 'x' }, 400, 'wrong_type', 'metadata'],
    [
      'a subtype with a blank',
      { payment_method_subtype: 'a b' },
      422,
      'invalid_value',
      'payment_method_subtype',
    ],
  ])('%s', async (_, more, status, reason, field) => {
    const answer = await post(body({}, more))

    expectRefused(answer, status, reason, field)
  })

  test('an unknown field beside the card', async () => {
    const content = body()
    Object.assign(content.payment_method_data, { gift_card: {} })

    expectRefused(await post(content), 400, 'unknown_field', 'gift_card')
  })

  test('two instruments', async () => {
    const content = body()
    Object.assign(content.payment_method_data, { bank_debit: {} })

    expectRefused(await post(content), 422, 'invalid_value', 'payment_method_data')
  })

  test.each(['__proto__', 'constructor', 'prototype'])('a field %s', async (name) => {
    const json = JSON.stringify(body()).replace('"card_exp_month"', `"${name}":{"x":1},$&`)

    const answer = await post(json)

    expectRefused(answer, 400, 'unknown_field', name)
    expect(({} as Record<string, unknown>).x).toBeUndefined()
  })

  test('a field that is named like a card number, which is not repeated', async () => {
    for (const name of [number, `n${number}`, number.replaceAll(/(.)/g, '$1_'), `$.${number}`]) {
      expectRefused(await post(body({ [name]: '1' })), 400, 'unknown_field')
      expectRefused(await post(body({}, { [name]: '1' })), 400, 'unknown_field')
    }
  })

  test('another type than an object', async () => {
    for (const content of ['[]', '5', 'null', `"${number}"`, `[{"card_number":"${number}"}]`]) {
      expectRefused(await post(content), 400, 'wrong_type')
    }
  })

  test('an empty body', async () => {
    expectRefused(await post('', { 'content-type': 'application/json' }), 400, 'malformed_body')
  })

  test('a body that breaks off anywhere', async () => {
    const json = JSON.stringify(body({ card_holder_name: `N ${number}` }))

    for (let end = 1; end < json.length; end += 3) {
      expectRefused(await post(json.slice(0, end)), 400, 'malformed_body')
    }
  })

  test('a letter too many anywhere in it', async () => {
    const json = JSON.stringify(body())

    for (let at = 0; at <= json.length; at += 4) {
      const answer = await post(`${json.slice(0, at)}\u0001${json.slice(at)}`)

      // Inside the number itself it is lifted with it, and no card number either.
      expect(['malformed_body', 'invalid_value']).toContain(answer.body.error.reason)
      expectNoDigitsOf(number, answer)
    }
  })

  test('a card in the path, in the query and in a header of it', async () => {
    for (const path of [
      `/v2/payment-methods/${number}`,
      `/v2/payment-methods/local_pm_${number}`,
      `/v2/customers/${number}/saved-payment-methods`,
      `/v2/${number}`,
      `/${number}?${number}`,
      `/v2/customers/list?${number}=1`,
      `/v2/customers/list?limit=${number}`,
    ]) {
      const answer = await merchant.vault('GET', path, undefined, { 'x-profile-id': number })
      expect(answer.status).toBeGreaterThanOrEqual(400)
      expectNoDigitsOf(number, answer)
    }
  })

  test('a path that is not well encoded, without repeating it', async () => {
    const answer = await merchant.vault('GET', `/v2/payment-methods/${number}%zz`)

    expectNoDigitsOf(number, answer)
    expect(answer.body.error.reason).toBe('not_found')
  })

  test('a path that is too long, without repeating it', async () => {
    const answer = await merchant.vault('GET', `/v2/payment-methods/${number.repeat(20)}`)

    expectNoDigitsOf(number, answer)
    expect(answer.body.error.reason).toBe('not_found')
  })

  test('a body over 64 KB', async () => {
    const content = body({}, { metadata: { filler: 'x'.repeat(64 * 1024) } })

    expectRefused(await post(content), 413, 'body_too_large')
  })

  test('a body over 64 KB that does not say its length', async () => {
    const json = JSON.stringify(body({}, { metadata: { filler: 'x'.repeat(200 * 1024) } }))

    const { status, text } = await new Promise<{ status: number; text: string }>(
      (resolve, reject) => {
        const request = httpRequest(
          `${sallyport.origin}/v2/payment-methods`,
          {
            method: 'POST',
            headers: { 'sallyport-key': merchant.vaultKey, 'content-type': 'application/json' },
          },
          (response) => {
            let text = ''
            response.on('data', (chunk) => {
              text += chunk
            })
            response.on('end', () => resolve({ status: response.statusCode ?? 0, text }))
          },
        )
        request.on('error', reject)
        for (let at = 0; at < json.length; at += 10_000) request.write(json.slice(at, at + 10_000))
        request.end()
      },
    )

    const answer = { status, text, body: JSON.parse(text), headers: new Headers() }
    expectRefused(answer, 413, 'body_too_large')
  })

  test.each([
    'text/plain',
    'application/xml',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    'application/octet-stream',
    'x',
  ])('the content type %s', async (type) => {
    const answer = await post(JSON.stringify(body()), { 'content-type': type })

    expectRefused(answer, 415, 'content_encoding_unsupported')
  })

  test('a content encoding', async () => {
    for (const encoding of ['gzip', 'br', 'identity, gzip']) {
      const answer = await post(JSON.stringify(body()), { 'content-encoding': encoding })

      expectRefused(answer, 415, 'content_encoding_unsupported')
    }
  })
})

describe('an update is refused for', () => {
  test.each([
    ['a number', { card_number: '4242424242424242' }, 400, 'unknown_field', 'card_number'],
    ['an expiry', { card_exp_month: '04' }, 400, 'unknown_field', 'card_exp_month'],
    ['a bad code', { card_cvc: '12' }, 422, 'invalid_value', 'card_cvc'],
    ['a code that is a number', { card_cvc: 737 }, 400, 'wrong_type', 'card_cvc'],
    ['a control character', { nick_name: '\u0000' }, 422, 'invalid_value', 'nick_name'],
    ['half a character', { card_holder_name: '\ud83d' }, 422, 'invalid_value', 'card_holder_name'],
    ['a null', { nick_name: null }, 400, 'wrong_type', 'nick_name'],
  ])('%s', async (_, card, status, reason, field) => {
    const other = await merchant.createCustomer()
    const id = await merchant.createCard({ card_number: number, nick_name: 'kept' }, other)
    const before = await merchant.vault('GET', `/v2/payment-methods/${id}`)

    const answer = await merchant.vault(
      'PUT',
      `/v2/payment-methods/${id}/update-saved-payment-method`,
      { payment_method_data: { card } },
    )

    expectRefused(answer, status, reason, field)
    const after = await merchant.vault('GET', `/v2/payment-methods/${id}`)
    expect(after.body).toEqual(before.body)
    expectMasked(number, after)
  })
})

test('number and code in metadata are not stored as they came', async () => {
  const other = await merchant.createCustomer()
  const answer = await post({
    ...body({}, { metadata: { card_number: number, card_cvc: '737' } }),
    customer_id: other,
  })

  expectMasked(number, answer)
  expect(withoutIds(answer.text)).not.toContain('737')
})
