// The unmodified `braintree` package: an environment of its own says where Sallyport is, its public key is the Sallyport
// key, and where a card would stand there are placeholders. It sends JSON and reads XML, gzipped; the SDKs of the other
// languages send XML, so that is sent here as they write it.

import { createRequire } from 'node:module'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { freePort } from '../support/ports.ts'
import { BRAINTREE_PATHS, createBraintree } from '../support/psp-braintree.ts'
import { DECLINED } from '../support/psp-cards.ts'
import { type PspSimulator, startPspSimulator } from '../support/psp-simulator.ts'
import { refusalOf } from '../support/refusal-of.ts'
import {
  startSallyport,
  type TestMerchant,
  type TestSallyport,
  VISA,
} from '../support/sallyport.ts'

// It has no types of its own.
const braintree = createRequire(import.meta.url)('braintree')

const CREDENTIALS = 'use_your_public_key:and_your_private_key'

let sallyport: TestSallyport
let psp: PspSimulator
let merchant: TestMerchant
let gateway: any
let sdk: (key: string) => any

beforeAll(async () => {
  psp = await startPspSimulator({
    apiKey: CREDENTIALS.split(':')[0] as string,
    processors: [{ under: BRAINTREE_PATHS, processor: createBraintree() }],
  })
  const port = await freePort()
  sallyport = await startSallyport({ ports: { [port]: 'braintree' } })
  merchant = await sallyport.createMerchant()
  const at = (name: string) => [
    `body:/transaction/credit_card/${name}`,
    `body:/transaction/credit-card/${name.replaceAll('_', '-')}`,
  ]
  await merchant.createDestination({
    name: 'braintree',
    origin: psp.origin,
    inject_headers: { Authorization: `Basic ${Buffer.from(CREDENTIALS).toString('base64')}` },
    allow: [
      {
        methods: ['POST'],
        path: '/merchants/shop/transactions',
        fields: [
          { field: 'card_number', at: at('number') },
          { field: 'card_exp_month', at: [...at('expiration_month'), ...at('expiration_date')] },
          { field: 'card_exp_year', at: [...at('expiration_year'), ...at('expiration_date')] },
          { field: 'card_cvc', at: at('cvv') },
        ],
      },
      { methods: ['GET'], path: '/merchants/shop/transactions/*' },
    ],
  })
  sdk = (key) =>
    new braintree.BraintreeGateway({
      environment: new braintree.Environment('127.0.0.1', String(port), '', false),
      merchantId: 'shop',
      publicKey: key,
      privateKey: 'unused',
    })
  gateway = sdk(merchant.proxyKey)
})

afterAll(async () => {
  await sallyport[Symbol.asyncDispose]()
  await psp.close()
})

beforeEach(() => {
  psp.received.length = 0
})

function sale(token: string) {
  return {
    amount: '25.99',
    orderId: 'ORDER-1',
    creditCard: {
      number: `{{$card_number: ${token}}}`,
      expirationMonth: `{{$card_exp_month: ${token}}}`,
      expirationYear: `{{$card_exp_year: ${token}}}`,
      cvv: `{{$card_cvc: ${token}}}`,
    },
    options: { submitForSettlement: true },
  }
}

test('a payment is approved: the card arrives at the PSP and the SDK sees its last four', async () => {
  const token = await merchant.createCard({ card_cvc: '737' })

  const result = await gateway.transaction.sale(sale(token))
  const found = await gateway.transaction.find(result.transaction.id)

  expect(result.success).toBe(true)
  expect(result.transaction).toMatchObject({
    status: 'submitted_for_settlement',
    amount: '25.99',
    processorResponseCode: '1000',
    cvvResponseCode: 'M',
    creditCard: { maskedNumber: '424242******4242', expirationDate: '03/2035', cardType: 'Visa' },
  })
  expect(found).toMatchObject({ id: result.transaction.id, orderId: 'ORDER-1' })
  expect(psp.received[0]).toMatchObject({
    method: 'POST',
    url: '/merchants/shop/transactions',
    cardNumber: VISA,
    cvc: '737',
    expiry: { month: '03', year: '2035' },
  })
  expect(JSON.stringify([result, found])).not.toContain(VISA)
})

test.each([
  ['two placeholders', '{{$card_exp_month: #}}/{{$card_exp_year: #}}'],
  ['a filter', '{{$card_exp: # | format(MM/YYYY)}}'],
])('month and year may stand in one field: %s', async (_, expirationDate) => {
  const token = await merchant.createCard()
  const creditCard = {
    number: `{{$card_number: ${token}}}`,
    expirationDate: expirationDate.replaceAll('#', token),
  }

  const result = await gateway.transaction.sale({ amount: '1.00', creditCard })

  expect(result.success).toBe(true)
  expect(psp.received[0]).toMatchObject({
    cardNumber: VISA,
    expiry: { month: '03', year: '2035' },
  })
})

test('a decline reaches the SDK as a result without success', async () => {
  const token = await merchant.createCard({ card_number: DECLINED, card_cvc: '737' })

  const result = await gateway.transaction.sale(sale(token))

  expect(result).toMatchObject({
    success: false,
    message: 'Do Not Honor',
    transaction: { status: 'processor_declined', processorResponseCode: '2000' },
  })
  expect(result.errors.deepErrors()).toEqual([])
  expect(psp.received[0]?.cardNumber).toBe(DECLINED)
  expect(JSON.stringify(result)).not.toContain(DECLINED)
})

test('what the PSP finds wrong reaches the SDK as validation errors', async () => {
  const token = await merchant.createCard({ card_cvc: '737' })

  const result = await gateway.transaction.sale({ ...sale(token), amount: 'much' })

  expect(result.success).toBe(false)
  expect(result.errors.deepErrors()).toMatchObject([{ code: '81503', attribute: 'amount' }])
})

test('the PSP gets its own pair of keys and never ours', async () => {
  const token = await merchant.createCard({ card_cvc: '737' })

  await gateway.transaction.sale(sale(token))

  const [request] = psp.received
  expect(request?.headers).toMatchObject({
    authorization: `Basic ${Buffer.from(CREDENTIALS).toString('base64')}`,
    'user-agent': expect.stringMatching(/^Braintree Node 3\./),
    'content-type': 'application/json',
    'accept-encoding': 'identity', // so that the answer can be searched
    'x-apiversion': '6',
  })
  const everything = JSON.stringify([request?.url, request?.rawHeaders, request?.body.toString()])
  expect(everything).not.toContain(merchant.proxyKey)
  expect(everything.toLowerCase()).not.toContain('sallyport')
  expect(everything).not.toContain('{{')
})

test('a card where the policy does not have it is refused, and nothing is sent', async () => {
  const token = await merchant.createCard({ card_cvc: '737' })

  const refused = await refusalOf(
    gateway.transaction.sale({ ...sale(token), orderId: `{{$card_number: ${token}}}` }),
  )

  // The SDK makes an error of the status alone: what Sallyport says in the body is not in it.
  expect(refused).toMatchObject({ type: braintree.errorTypes.authorizationError })
  expect(psp.received).toEqual([])
})

test('a key that is not one of ours is an authentication error of the SDK', async () => {
  const refused = await refusalOf(sdk('other').transaction.sale(sale('x')))

  expect(refused).toMatchObject({ type: braintree.errorTypes.authenticationError })
  expect(psp.received).toEqual([])
})

test('a refusal of ours with status 422 is no success with a transaction', async () => {
  const token = await merchant.createCard()

  const result = await gateway.transaction.sale(sale(token))

  // The SDK takes any 422 for an answer of Braintree, and one without its words for a success. There is no transaction
  // in it; our error is.
  expect(result.success).toBe(true)
  expect(result.transaction).toBeUndefined()
  expect(result.error.reason).toBe('cvc_not_available')
  expect(psp.received).toEqual([])
})

describe('as the SDKs of the other languages send it', () => {
  const send = (body: string) =>
    merchant.proxy('POST', '/d/braintree/merchants/shop/transactions', body, {
      'content-type': 'application/xml',
      accept: 'application/xml',
    })
  const saleXml = (token: string, order: string) => `<?xml version="1.0" encoding="UTF-8"?>
<transaction>
  <type>sale</type>
  <amount>25.99</amount>
  <order-id>${order}</order-id>
  <credit-card>
    <number>{{$card_number: ${token}}}</number>
    <expiration-date>{{$card_exp_month: ${token}}}/{{$card_exp_year: ${token}}}</expiration-date>
    <cvv>{{$card_cvc: ${token}}}</cvv>
  </credit-card>
</transaction>`

  test('XML is substituted in its elements', async () => {
    const token = await merchant.createCard({ card_cvc: '737' })

    const { status, text } = await send(saleXml(token, 'ORDER-1 &amp; more'))

    expect(status).toBe(201)
    expect(text).toContain('<processor-response-code>1000</processor-response-code>')
    expect(text).toContain('<order-id>ORDER-1 &amp; more</order-id>')
    expect(psp.received[0]).toMatchObject({
      cardNumber: VISA,
      cvc: '737',
      expiry: { month: '03', year: '2035' },
    })
    expect(text).not.toContain(VISA)
  })

  test('an element that the policy does not have is refused, and nothing is sent', async () => {
    const token = await merchant.createCard({ card_cvc: '737' })

    const { status, body } = await send(saleXml(token, `{{$card_number: ${token}}}`))

    expect(status).toBe(403)
    expect(body.error.reason).toBe('field_not_allowed')
    expect(psp.received).toEqual([])
  })
})
