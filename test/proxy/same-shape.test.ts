// The same-shape ways in, through the front door: what the destination receives, what the caller gets back.

import { afterAll, beforeAll, expect, test } from 'vitest'
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

beforeAll(async () => {
  psp = await startPspSimulator()
  sallyport = await startSallyport()
  merchant = await sallyport.createMerchant()
  await merchant.createDestination({
    name: 'psp',
    origin: psp.origin,
    inject_headers: { Authorization: `Bearer ${psp.apiKey}` },
    allow: [
      {
        methods: ['POST'],
        path: '/payments',
        fields: ['card_number', 'card_exp_month', 'card_exp_year', 'card_cvc'],
      },
      { methods: ['GET', 'POST'], path: '/echo*', fields: ['card_number', 'card_holder_name'] },
      { methods: ['GET'], path: '/status/*' },
    ],
  })
})

afterAll(async () => {
  await sallyport[Symbol.asyncDispose]()
  await psp.close()
})

test('the destination receives the card and the caller does not see it', async () => {
  const token = await merchant.createCard({ card_cvc: '737' })

  const answer = await merchant.proxy('POST', '/d/psp/payments', {
    source: {
      type: 'card',
      number: `{{$card_number: ${token}}}`,
      expiry_month: `{{ $card_exp_month : ${token} }}`,
      expiry_year: `{{$card_exp_year: ${token}}}`,
      cvv: `{{$card_cvc: ${token}}}`,
    },
    amount: 6540,
    currency: 'USD',
  })

  expect(answer.status).toBe(201)
  expect(answer.body.approved).toBe(true)
  expect(psp.received.at(-1)?.cardNumber).toBe(VISA)
  expect(psp.received.at(-1)?.cvc).toBe('737')
  expect(answer.text).not.toContain(VISA)
  expect(answer.headers.get('sallyport-upstream-status')).toBe('201')
  expect(answer.headers.get('sallyport-substitutions')).toBe(
    'card_number=1, card_exp_month=1, card_exp_year=1, card_cvc=1',
  )
})

test('a body without placeholders arrives byte for byte', async () => {
  const body = '{"amount":10000000000000000999, "b":1.10,"b":2,\n "x":"\\u00e9"}'

  const answer = await merchant.proxy('POST', '/forward/echo?a=1&a=2', body, {
    'sallyport-destination': psp.origin,
  })

  expect(answer.status).toBe(200)
  expect(Buffer.from(answer.body.body_base64, 'base64').toString()).toBe(body)
  expect(answer.body.url).toBe('/echo?a=1&a=2')
})

test('the envelope sends the bytes of its request_body', async () => {
  const token = await merchant.createCard()

  const answer = await merchant.proxy(
    'POST',
    '/v2/proxy',
    `{"destination_url":"${psp.origin}/echo","method":"POST","token":"${token}","token_type":"payment_method_id",
      "headers":{"X-A":"1"}, "request_body": {"z":1.10,"n":"{{$card_number}}","a":{{$card_number}}} }`,
  )

  expect(answer.status).toBe(200)
  expect(answer.body.status_code).toBe(200)
  expect(psp.received.at(-1)?.body.toString()).toBe(`{"z":1.10,"n":"${VISA}","a":"${VISA}"}`)
})
