// The unmodified `stripe` package: it is told a host, a port and a secret key, and nothing of Sallyport. Its secret
// key is the Sallyport key, the port is the destination's own, and where a card would stand there are placeholders.

import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import Stripe from 'stripe'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { freePort } from '../support/ports.ts'
import { DECLINED } from '../support/psp-cards.ts'
import { type PspSimulator, startPspSimulator } from '../support/psp-simulator.ts'
import {
  startSallyport,
  type TestMerchant,
  type TestSallyport,
  VISA,
} from '../support/sallyport.ts'

let sallyport: TestSallyport
let psp: PspSimulator
let merchant: TestMerchant
let stripe: Stripe
let sdk: (key: string) => Stripe

beforeAll(async () => {
  psp = await startPspSimulator({ apiKey: 'sk_test_simulator_0123456789' })
  const port = await freePort()
  sallyport = await startSallyport({ ports: { [port]: 'stripe' } })
  merchant = await sallyport.createMerchant()
  const at = (name: string) => [`body:card[${name}]`, `body:payment_method_data[card][${name}]`]
  await merchant.createDestination({
    name: 'stripe',
    origin: psp.origin,
    inject_headers: { Authorization: `Bearer ${psp.apiKey}` },
    allow: [
      {
        methods: ['POST'],
        path: '/v1/payment_*',
        fields: [
          { field: 'card_number', at: at('number') },
          { field: 'card_exp_month', at: at('exp_month') },
          { field: 'card_exp_year', at: at('exp_year') },
          { field: 'card_cvc', at: at('cvc') },
        ],
      },
      { methods: ['GET'], path: '/v1/*' },
    ],
  })
  sdk = (key) =>
    new Stripe(key, { host: '127.0.0.1', port, protocol: 'http', maxNetworkRetries: 0 })
  stripe = sdk(merchant.proxyKey)
})

afterAll(async () => {
  await sallyport[Symbol.asyncDispose]()
  await psp.close()
})

beforeEach(() => {
  psp.received.length = 0
})

function cardOf(token: string) {
  return {
    number: `{{$card_number: ${token}}}`,
    exp_month: `{{$card_exp_month: ${token}}}` as unknown as number,
    exp_year: `{{$card_exp_year: ${token}}}` as unknown as number,
    cvc: `{{$card_cvc: ${token}}}`,
  }
}

const payment = { amount: 2599, currency: 'usd', confirm: true } as const

test('a payment is approved: the card arrives at the PSP and the SDK sees its last four', async () => {
  const token = await merchant.createCard({ card_cvc: '737' })

  const method = await stripe.paymentMethods.create({ type: 'card', card: cardOf(token) })
  const intent = await stripe.paymentIntents.create({ ...payment, payment_method: method.id })

  expect(method.card).toMatchObject({ last4: '4242', brand: 'visa', exp_month: 3, exp_year: 2035 })
  expect(intent).toMatchObject({ status: 'succeeded', amount_received: 2599 })
  const [created] = psp.received
  expect(created).toMatchObject({ url: '/v1/payment_methods', cardNumber: VISA, cvc: '737' })
  expect(JSON.stringify([method, intent])).not.toContain(VISA)
})

test('a card in the payment itself is substituted as well', async () => {
  const token = await merchant.createCard({ card_cvc: '737' })

  const intent = await stripe.paymentIntents.create({
    ...payment,
    payment_method_data: { type: 'card', card: cardOf(token) } as never,
  })

  expect(intent.status).toBe('succeeded')
  expect(psp.received[0]).toMatchObject({ cardNumber: VISA, cvc: '737' })
})

test('a decline reaches the SDK as its own error', async () => {
  const token = await merchant.createCard({ card_number: DECLINED, card_cvc: '737' })
  const method = await stripe.paymentMethods.create({ type: 'card', card: cardOf(token) })

  const declined = await stripe.paymentIntents
    .create({ ...payment, payment_method: method.id })
    .catch((error: unknown) => error)

  expect(declined).toBeInstanceOf(Stripe.errors.StripeCardError)
  expect(declined).toMatchObject({
    statusCode: 402,
    code: 'card_declined',
    decline_code: 'generic_decline',
    requestId: expect.stringMatching(/^req_/),
  })
  expect(JSON.stringify(declined)).not.toContain(DECLINED)
})

test('the PSP gets its own secret key and never ours', async () => {
  const token = await merchant.createCard({ card_cvc: '737' })

  await stripe.paymentMethods.create({ type: 'card', card: cardOf(token) })

  const [request] = psp.received
  expect(request?.headers.authorization).toBe(`Bearer ${psp.apiKey}`)
  const everything = JSON.stringify([request?.url, request?.rawHeaders, request?.body.toString()])
  expect(everything).not.toContain(merchant.proxyKey)
  expect(everything.toLowerCase()).not.toContain('sallyport')
  expect(everything).not.toContain('{{')
})

test('what the SDK says of itself passes: idempotency, version, telemetry', async () => {
  const token = await merchant.createCard({ card_cvc: '737' })
  const method = await stripe.paymentMethods.create({ type: 'card', card: cardOf(token) })
  const options = { idempotencyKey: 'order-4711' }
  const create = () =>
    stripe.paymentIntents.create({ ...payment, payment_method: method.id }, options)

  const first = await create()
  const again = await create()

  expect(again.id).toBe(first.id)
  const [, sent, repeated] = psp.received
  for (const request of [sent, repeated]) {
    expect(request?.headers).toMatchObject({
      'idempotency-key': 'order-4711',
      'user-agent': expect.stringMatching(/^Stripe\/v1 NodeBindings\//),
      'stripe-version': expect.stringMatching(/^\d{4}-/),
      'x-stripe-client-user-agent': expect.stringContaining('"lang":"node"'),
      'content-type': 'application/x-www-form-urlencoded',
    })
  }
  // Telemetry tells of the request before, by the id that the PSP gave it.
  expect(repeated?.headers['x-stripe-client-telemetry']).toContain('"request_id":"req_')
})

test('what was made can be retrieved', async () => {
  const intent = await stripe.paymentIntents.create({ amount: 100, currency: 'eur' })

  const retrieved = await stripe.paymentIntents.retrieve(intent.id)

  expect(retrieved).toMatchObject({ id: intent.id, amount: 100, currency: 'eur' })
})

test('a card where the policy does not have it is refused, and nothing is sent', async () => {
  const token = await merchant.createCard()

  const refused = await stripe.paymentIntents
    .create({
      amount: 100,
      currency: 'eur',
      metadata: { order: `{{$card_number: ${token}}}` },
    })
    .catch((error: unknown) => error)

  expect(refused).toBeInstanceOf(Stripe.errors.StripeError)
  expect(refused).toMatchObject({ statusCode: 403 })
  expect((refused as any).raw.reason).toBe('field_not_allowed')
  expect(psp.received).toEqual([])
})

test('a key that is not one of ours is refused, and nothing is sent', async () => {
  for (const key of ['sk_test_simulator_0123456789', merchant.vaultKey]) {
    const refused = await sdk(key)
      .paymentIntents.create({ amount: 100, currency: 'eur' })
      .catch((error: unknown) => error)
    expect(refused).toBeInstanceOf(Stripe.errors.StripeError)
    expect((refused as any).statusCode).toBe(key === merchant.vaultKey ? 403 : 401)
  }
  expect(psp.received).toEqual([])
})

describe('when the PSP hangs up in the middle of a request with a verification code', () => {
  const port = freePort()
  let requests = 0
  const hangsUp = createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => {
      requests += 1
      socket.destroy()
    })
  })
  let other: TestSallyport
  let shop: TestMerchant

  beforeAll(async () => {
    hangsUp.listen(0, '127.0.0.1')
    await once(hangsUp, 'listening')
    other = await startSallyport({ ports: { [await port]: 'stripe' } })
    shop = await other.createMerchant()
    await shop.createDestination({
      name: 'stripe',
      origin: `http://127.0.0.1:${(hangsUp.address() as AddressInfo).port}`,
      inject_headers: { Authorization: 'Bearer sk_test_nobody' },
      allow: [
        {
          methods: ['POST'],
          path: '/v1/payment_methods',
          fields: ['card_number', 'card_exp_month', 'card_exp_year', 'card_cvc'],
        },
      ],
    })
  })

  afterAll(async () => {
    await other[Symbol.asyncDispose]()
    hangsUp.close()
  })

  async function errorOf(options: { maxNetworkRetries?: number }) {
    requests = 0
    const settings = { host: '127.0.0.1', port: await port, protocol: 'http', ...options } as const
    const token = await shop.createCard({ card_cvc: '737' })
    return new Stripe(shop.proxyKey, settings).paymentMethods
      .create({ type: 'card', card: cardOf(token) })
      .catch((error: any) => error.raw)
  }

  test('without retries of the SDK, its error says that the outcome is not known', async () => {
    expect(await errorOf({ maxNetworkRetries: 0 })).toMatchObject({
      reason: 'upstream_reset',
      retry_safe: false,
    })
    expect(requests).toBe(1)
  })

  test('with them the same: the SDK is told not to try again what may have been a payment', async () => {
    expect(await errorOf({ maxNetworkRetries: 2 })).toMatchObject({
      reason: 'upstream_reset',
      retry_safe: false,
    })
    expect(requests).toBe(1)
  })
})
