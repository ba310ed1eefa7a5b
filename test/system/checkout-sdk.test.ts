// The unmodified `checkout-sdk-node` package: its `host` is the base path of a destination, its secret key the Sallyport
// key, and where a card would stand there are placeholders.

import Checkout from 'checkout-sdk-node'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { freePort } from '../support/ports.ts'
import { DECLINED } from '../support/psp-cards.ts'
import { type PspSimulator, startPspSimulator } from '../support/psp-simulator.ts'
import { refusalOf } from '../support/refusal-of.ts'
import {
  startSallyport,
  type TestMerchant,
  type TestSallyport,
  VISA,
} from '../support/sallyport.ts'

let sallyport: TestSallyport
let psp: PspSimulator
let merchant: TestMerchant

type Options = { httpClient?: string; headers?: Record<string, string> }
let sdk: (key: string, options?: Options) => Checkout

beforeAll(async () => {
  psp = await startPspSimulator({ apiKey: 'sk_sbox_simulator0123456789abcd' })
  sallyport = await startSallyport()
  merchant = await sallyport.createMerchant()
  await merchant.createDestination({
    name: 'checkout',
    origin: psp.origin,
    inject_headers: { Authorization: `Bearer ${psp.apiKey}` },
    allow: [
      {
        methods: ['POST'],
        path: '/payments',
        fields: [
          { field: 'card_number', at: ['body:/source/number'] },
          { field: 'card_exp_month', at: ['body:/source/expiry_month'] },
          { field: 'card_exp_year', at: ['body:/source/expiry_year'] },
          { field: 'card_cvc', at: ['body:/source/cvv'] },
        ],
      },
      { methods: ['GET'], path: '/payments/*' },
    ],
  })
  sdk = (key, options = {}) =>
    new Checkout(`Bearer ${key}`, { host: `${sallyport.origin}/d/checkout`, ...options })
})

afterAll(async () => {
  await sallyport[Symbol.asyncDispose]()
  await psp.close()
})

beforeEach(() => {
  psp.received.length = 0
})

/** With a token, placeholders that name it; without, those that a header serves. */
function payment(token?: string) {
  const of = token === undefined ? '' : `: ${token}`
  return {
    source: {
      type: 'card',
      number: `{{$card_number${of}}}`,
      expiry_month: `{{$card_exp_month${of}}}` as unknown as number,
      expiry_year: `{{$card_exp_year${of}}}` as unknown as number,
      cvv: `{{$card_cvc${of}}}`,
    },
    currency: 'USD',
    amount: 2599,
    reference: 'ORDER-1',
  } as const
}

describe.each(['fetch', 'axios'])('over %s', (httpClient) => {
  test('a payment is approved: the card arrives at the PSP and the SDK sees its last four', async () => {
    const token = await merchant.createCard({ card_cvc: '737' })
    const cko = sdk(merchant.proxyKey, { httpClient })

    const made: any = await cko.payments.request(payment(token) as never)
    const again: any = await cko.payments.get(made.id)

    expect(made).toMatchObject({
      approved: true,
      status: 'Authorized',
      source: { last4: '4242', scheme: 'Visa', expiry_month: 3, expiry_year: 2035 },
    })
    expect(again.id).toBe(made.id)
    expect(psp.received[0]).toMatchObject({
      url: '/payments',
      cardNumber: VISA,
      cvc: '737',
      expiry: { month: '03', year: '2035' },
    })
    expect(JSON.stringify([made, again])).not.toContain(VISA)
  })

  test('a decline reaches the SDK as a payment that is not approved', async () => {
    const token = await merchant.createCard({ card_number: DECLINED })
    const { cvv: _, ...source } = payment(token).source

    const made: any = await sdk(merchant.proxyKey, { httpClient }).payments.request({
      ...payment(token),
      source,
    } as never)

    expect(made).toMatchObject({
      approved: false,
      status: 'Declined',
      response_code: '20005',
      response_summary: 'Declined - Do Not Honour',
    })
    expect(psp.received[0]?.cardNumber).toBe(DECLINED)
    expect(JSON.stringify(made)).not.toContain(DECLINED)
  })

  test('a card where the policy does not have it is refused, and nothing is sent', async () => {
    const token = await merchant.createCard({ card_cvc: '737' })
    const body = { ...payment(token), reference: `{{$card_number: ${token}}}` }

    const refused = await refusalOf(
      sdk(merchant.proxyKey, { httpClient }).payments.request(body as never),
    )

    expect(refused).toMatchObject({ name: 'ActionNotAllowed', http_code: 403 })
    expect(refused.body.error).toMatchObject({ reason: 'field_not_allowed', retry_safe: true })
    expect(psp.received).toEqual([])
  })
})

test('one token for all placeholders may stand in a header of the SDK', async () => {
  const token = await merchant.createCard({ card_cvc: '737' })
  const cko = sdk(merchant.proxyKey, { headers: { 'Sallyport-Token': token } })

  const made: any = await cko.payments.request(payment() as never)

  expect(made.approved).toBe(true)
  expect(psp.received[0]).toMatchObject({ cardNumber: VISA, cvc: '737' })
})

test('what the SDK writes in quotes arrives as a JSON number where a filter says so', async () => {
  const token = await merchant.createCard({ card_cvc: '737' })
  const { source, ...rest } = payment(token)
  const expiry_month = `{{$card_exp_month: ${token} | number}}`

  await sdk(merchant.proxyKey).payments.request({
    ...rest,
    source: { ...source, expiry_month },
  } as never)

  const sent = JSON.parse(psp.received[0]?.body.toString() ?? '')
  expect(sent.source).toMatchObject({ expiry_month: 3, expiry_year: '2035' })
})

test('the PSP gets its own secret key and never ours; idempotency passes', async () => {
  const token = await merchant.createCard({ card_cvc: '737' })

  await sdk(merchant.proxyKey).payments.request(payment(token) as never, 'order-4711')

  const [request] = psp.received
  expect(request?.headers).toMatchObject({
    authorization: `Bearer ${psp.apiKey}`,
    'cko-idempotency-key': 'order-4711',
    'user-agent': expect.stringMatching(/^checkout-sdk-node\/5\./),
  })
  const everything = JSON.stringify([request?.url, request?.rawHeaders, request?.body.toString()])
  expect(everything).not.toContain(merchant.proxyKey)
  expect(everything.toLowerCase()).not.toContain('sallyport')
  expect(everything).not.toContain('{{')
})

test('a key that is not one of ours is an authentication error of the SDK', async () => {
  const refused = await refusalOf(sdk('sk_other').payments.request(payment() as never))

  expect(refused).toMatchObject({ name: 'AuthenticationError', http_code: 401 })
  expect(refused.body.error.reason).toBe('unauthenticated')
  expect(psp.received).toEqual([])
})

test('only the payments host is led here: other services and OAuth keep hosts of their own', () => {
  const { config } = sdk(merchant.proxyKey)

  expect(config).toMatchObject({
    host: `${sallyport.origin}/d/checkout`,
    filesUrl: 'https://files.checkout.com/files',
    transfersUrl: 'https://transfers.checkout.com/transfers',
    environment: { oAuthAuthorizationApi: 'https://access.checkout.com/connect/token' },
  })
})

test('of a 502 the SDK keeps the status alone, without what may be tried again', async () => {
  const origin = `http://127.0.0.1:${await freePort()}`
  await merchant.createDestination({
    name: 'nobody',
    origin,
    allow: [{ methods: ['POST'], path: '/payments' }],
  })
  // Nothing is injected there, so our key stands in its own header.
  const cko = new Checkout('sk_other', {
    host: `${sallyport.origin}/d/nobody`,
    headers: { 'Sallyport-Key': merchant.proxyKey },
  })
  const { source: _, ...rest } = payment()

  const failed = await refusalOf(cko.payments.request(rest as never))

  expect(failed).toMatchObject({ name: 'Bad gateway', http_code: 502 })
  expect(failed.body).toBeUndefined()
})
