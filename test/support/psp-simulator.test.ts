// The simulator is what other tests trust, so it is tested as its callers see it: over HTTP, and by
// Stripe's own client.

import { once } from 'node:events'
import { Agent, request } from 'node:http'
import Stripe from 'stripe'
import { describe, expect, test } from 'vitest'
import { DECLINED, DECLINES, type DeclineReason, numberFault, TEST_CARDS } from './psp-cards.ts'
import { type PspSimulator, startPspSimulator } from './psp-simulator.ts'

const VISA = '4242424242424242'
const EXPIRY = { exp_month: 12, exp_year: new Date().getUTCFullYear() + 2 }
const SOURCE = {
  type: 'card',
  number: VISA,
  expiry_month: EXPIRY.exp_month,
  expiry_year: EXPIRY.exp_year,
  cvv: '123',
  name: 'Ada Lovelace',
}
interface JsonObject {
  id: string
  reference?: string
  _links?: { self: { href: string } }
}

const PAYMENT = { source: SOURCE, amount: 6540, currency: 'GBP', reference: 'ORD-1' }

function send(psp: PspSimulator, path: string, type: string, body: string, headers = {}) {
  return fetch(psp.origin + path, {
    method: 'POST',
    headers: { authorization: `Bearer ${psp.apiKey}`, 'content-type': type, ...headers },
    body,
  })
}

function pay(psp: PspSimulator, payment: object, headers = {}) {
  return send(psp, '/payments', 'application/json', JSON.stringify(payment), headers)
}

function submit(psp: PspSimulator, path: string, form: string, headers = {}) {
  return send(psp, path, 'application/x-www-form-urlencoded', form, headers)
}

/** The tests read many shapes; `JsonObject` is as much as they can know before asserting. */
async function jsonOf(reply: Response | Promise<Response>): Promise<JsonObject> {
  return (await (await reply).json()) as JsonObject
}

function stripeFor(psp: PspSimulator, apiKey = psp.apiKey) {
  return new Stripe(apiKey, {
    host: '127.0.0.1',
    port: psp.port,
    protocol: 'http',
    maxNetworkRetries: 0,
    telemetry: false,
  })
}

function formFor(number: string) {
  const { exp_month, exp_year } = EXPIRY
  const card = { number, exp_month: `${exp_month}`, exp_year: `${exp_year}`, cvc: '123' }
  return Object.entries(card)
    .map(([name, value]) => `card[${name}]=${encodeURIComponent(value)}`)
    .join('&')
}

async function refusalOf(call: Promise<unknown>) {
  const error: unknown = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (!(error instanceof Stripe.errors.StripeError)) throw new Error('not refused by Stripe')
  return error
}

test('every test card has a right check digit', () => {
  for (const number of Object.keys(TEST_CARDS)) expect(numberFault(number), number).toBeUndefined()
})

describe('payments as at Checkout.com', () => {
  test('a payment is authorised, and can be read again', async () => {
    await using psp = await startPspSimulator()

    const reply = await pay(psp, PAYMENT)
    const payment = await jsonOf(reply)

    expect(reply.status).toBe(201)
    expect(payment).toMatchObject({
      id: expect.stringMatching(/^pay_[a-z2-7]{26}$/),
      amount: 6540,
      currency: 'GBP',
      approved: true,
      status: 'Authorized',
      response_code: '10000',
      reference: 'ORD-1',
      source: { type: 'card', scheme: 'Visa', bin: '424242', last4: '4242' },
    })
    expect(psp.received).toMatchObject([{ method: 'POST', cardNumber: VISA, cvc: '123' }])
    const again = await fetch(payment._links?.self.href ?? '', {
      headers: { authorization: psp.apiKey },
    })
    expect(await jsonOf(again)).toEqual(payment)
    const other = await fetch(`${psp.origin}/payments/pay_none`, {
      headers: { authorization: psp.apiKey },
    })
    expect(other.status).toBe(404)
  })

  test.each(Object.entries(TEST_CARDS))('%s: %s', async (number, outcome) => {
    await using psp = await startPspSimulator()

    const reply = await pay(psp, { ...PAYMENT, source: { ...SOURCE, number } })

    const decline = outcome === 'approved' ? undefined : DECLINES[outcome]
    expect(reply.status).toBe(201)
    expect(await jsonOf(reply)).toMatchObject({
      approved: decline === undefined,
      status: decline === undefined ? 'Authorized' : 'Declined',
      response_code: decline?.checkoutCode ?? '10000',
    })
  })

  test.each([
    ['a missing number', { number: undefined }, ['card_number_required']],
    ['a literal', { number: '{{ token }}' }, ['card_number_invalid']],
    ['a wrong check digit', { number: '4242424242424241' }, ['card_number_invalid']],
    ['an expired card', { expiry_year: 2020 }, ['card_expired']],
    [
      'words for dates',
      { expiry_month: 'May', expiry_year: 27 },
      ['card_expiry_month_invalid', 'card_expiry_year_invalid'],
    ],
    ['a cvv of letters', { cvv: 'abc' }, ['cvv_invalid']],
    ['another kind of source', { type: 'token' }, ['payment_source_required']],
  ])('%s is refused', async (_, change, codes) => {
    await using psp = await startPspSimulator()

    const reply = await pay(psp, { ...PAYMENT, source: { ...SOURCE, ...change } })

    expect(reply.status).toBe(422)
    expect(await jsonOf(reply)).toMatchObject({ error_type: 'request_invalid', error_codes: codes })
  })

  test('expiry may be digits in strings, and broken JSON is not read', async () => {
    await using psp = await startPspSimulator()
    const source = { ...SOURCE, expiry_month: '06', expiry_year: `${SOURCE.expiry_year}` }

    expect(await jsonOf(pay(psp, { ...PAYMENT, source }))).toMatchObject({
      source: { expiry_month: 6, expiry_year: SOURCE.expiry_year },
    })
    const broken = await send(psp, '/payments', 'application/json', '{"source":')
    expect(broken.status).toBe(400)
    expect(await jsonOf(broken)).toMatchObject({ error_codes: ['request_body_malformed'] })
  })

  test('one idempotency key is one payment', async () => {
    await using psp = await startPspSimulator()
    const key = { 'Cko-Idempotency-Key': 'k1' }

    const refused = await pay(psp, { ...PAYMENT, currency: 'pounds' }, key)
    const first = await jsonOf(pay(psp, PAYMENT, key))
    const second = await jsonOf(pay(psp, PAYMENT, key))
    const another = await jsonOf(pay(psp, PAYMENT))

    expect(refused.status).toBe(422)
    expect(second).toEqual(first)
    expect(another.id).not.toBe(first.id)
  })
})

describe('payments as at Stripe, by its own client', () => {
  test('a payment method pays an intent', async () => {
    await using psp = await startPspSimulator()
    const stripe = stripeFor(psp)

    const method = await stripe.paymentMethods.create({
      type: 'card',
      card: { number: VISA, ...EXPIRY, cvc: '123' },
    })
    const intent = await stripe.paymentIntents.create({
      amount: 1999,
      currency: 'EUR',
      payment_method: method.id,
      confirm: true,
    })

    expect(method.card).toMatchObject({ brand: 'visa', last4: '4242', ...EXPIRY })
    expect(intent).toMatchObject({ status: 'succeeded', amount: 1999, currency: 'eur' })
    expect(intent.latest_charge).toMatch(/^ch_/)
    expect(intent.lastResponse.requestId).toMatch(/^req_/)
    expect(await stripe.paymentIntents.retrieve(intent.id)).toEqual(intent)
    expect(psp.received[0]).toMatchObject({ cardNumber: VISA, cvc: '123' })
  })

  const declined = Object.entries(TEST_CARDS).filter(
    (entry): entry is [string, DeclineReason] => entry[1] !== 'approved',
  )
  test.each(declined)('%s: %s', async (number, reason) => {
    await using psp = await startPspSimulator()
    const stripe = stripeFor(psp)
    const card = { number, ...EXPIRY, cvc: '123' }
    const { id } = await stripe.paymentMethods.create({ type: 'card', card })

    const error = await refusalOf(
      stripe.paymentIntents.create({
        amount: 1999,
        currency: 'usd',
        payment_method: id,
        confirm: true,
      }),
    )

    expect(error).toBeInstanceOf(Stripe.errors.StripeCardError)
    expect(error).toMatchObject({
      statusCode: 402,
      code: DECLINES[reason].stripeCode,
      decline_code: reason,
      payment_method: { id },
      payment_intent: { status: 'requires_payment_method' },
    })
    const intent = await stripe.paymentIntents.retrieve(error.payment_intent?.id ?? '')
    expect(intent.last_payment_error?.decline_code).toBe(reason)
  })

  test.each([
    ['{{ token }}', 402, 'invalid_number'],
    ['tok_01jx', 402, 'invalid_number'],
    ['4242424242424241', 402, 'incorrect_number'],
    ['', 400, 'parameter_missing'],
  ])('the number %j is refused', async (number, statusCode, code) => {
    await using psp = await startPspSimulator()
    const card = { number, ...EXPIRY, cvc: '123' }

    const error = await refusalOf(stripeFor(psp).paymentMethods.create({ type: 'card', card }))

    expect(error).toMatchObject({ statusCode, code })
    expect(psp.received[0]?.cardNumber).toBe(number)
  })

  test('an intent takes card data directly, and a token is charged once', async () => {
    await using psp = await startPspSimulator()
    const stripe = stripeFor(psp)
    const card = formFor(VISA).replaceAll('card[', 'payment_method_data[card][')

    const reply = await submit(
      psp,
      '/v1/payment_intents',
      `amount=100&currency=usd&confirm=true&payment_method_data[type]=card&${card}`,
    )
    const token = await jsonOf(submit(psp, '/v1/tokens', formFor(VISA)))
    const charge = await stripe.charges.create({ amount: 5, currency: 'usd', source: token.id })

    expect(await jsonOf(reply)).toMatchObject({ status: 'succeeded' })
    expect(psp.received.map(({ cardNumber }) => cardNumber)).toEqual([VISA, VISA, undefined])
    expect(charge).toMatchObject({ object: 'charge', paid: true, captured: true })
    expect(
      await refusalOf(stripe.charges.create({ amount: 5, currency: 'usd', source: token.id })),
    ).toMatchObject({ statusCode: 400, code: 'token_already_used' })
    const bad = await jsonOf(submit(psp, '/v1/tokens', formFor(DECLINED)))
    expect(
      await refusalOf(stripe.charges.create({ amount: 5, currency: 'usd', source: bad.id })),
    ).toMatchObject({ statusCode: 402, decline_code: 'generic_decline' })
  })

  test('one idempotency key is one answer, and only to the same request', async () => {
    await using psp = await startPspSimulator()
    const key = { 'Idempotency-Key': 'k1' }

    const first = await jsonOf(submit(psp, '/v1/tokens', formFor(VISA), key))
    const second = await jsonOf(submit(psp, '/v1/tokens', formFor(VISA), key))
    const other = await submit(psp, '/v1/tokens', formFor(DECLINED), key)

    expect(second).toEqual(first)
    expect(other.status).toBe(400)
    expect(await jsonOf(other)).toMatchObject({ error: { type: 'idempotency_error' } })
  })

  test.each(['card[number=4242', 'card=1&card[number]=2', 'card[number]=%zz', '[card]=1'])(
    'the form %s is malformed',
    async (form) => {
      await using psp = await startPspSimulator()

      const reply = await submit(psp, '/v1/tokens', form)

      expect(reply.status).toBe(400)
      expect(await jsonOf(reply)).toMatchObject({ error: { type: 'invalid_request_error' } })
    },
  )
})

test('a wrong key is refused as each processor does', async () => {
  await using psp = await startPspSimulator()
  const wrong = { authorization: 'Bearer sk_other' }

  expect(
    await refusalOf(stripeFor(psp, 'sk_other').paymentIntents.retrieve('pi_1')),
  ).toBeInstanceOf(Stripe.errors.StripeAuthenticationError)
  const reply = await pay(psp, PAYMENT, wrong)
  expect([reply.status, await reply.text()]).toEqual([401, ''])
  const basic = `Basic ${btoa(`${psp.apiKey}:`)}`
  expect((await pay(psp, PAYMENT, { authorization: basic })).status).toBe(201)
})

test('answers do not tell the number, wherever else it was sent', async () => {
  await using psp = await startPspSimulator()

  const payment = await jsonOf(pay(psp, { ...PAYMENT, reference: `for ${VISA}` }))

  expect(JSON.stringify(payment)).not.toContain(VISA)
  expect(payment.reference).toBe('for 424242******4242')
})

test('/echo tells the request as it arrived', async () => {
  await using psp = await startPspSimulator()

  const reply = await fetch(`${psp.origin}/echo?a=%20b`, { method: 'PUT', body: 'x\0y' })

  expect(await jsonOf(reply)).toMatchObject({
    method: 'PUT',
    url: '/echo?a=%20b',
    headers: expect.arrayContaining([['content-length', '3']]),
    body_base64: btoa('x\0y'),
  })
})

test('/status answers with that status and two header lines', async () => {
  await using psp = await startPspSimulator()

  const answered: unknown[] = []
  for (const code of [204, 304, 418, 503]) {
    const req = request(`${psp.origin}/status/${code}`).end()
    const [res] = await once(req, 'response')
    let text = ''
    for await (const chunk of res) text += chunk
    answered.push([res.statusCode, text, res.headersDistinct['x-dup']])
  }

  expect(answered).toEqual([
    [204, '', ['a', 'b']],
    [304, '', ['a', 'b']],
    [418, 'status 418\n', ['a', 'b']],
    [503, 'status 503\n', ['a', 'b']],
  ])
  const unknown = await fetch(`${psp.origin}/nothing`)
  expect([unknown.status, await jsonOf(unknown)]).toEqual([404, { error: 'not_found' }])
})

test('closing ends connections that are kept alive, and half-sent requests', async () => {
  const psp = await startPspSimulator()
  const agent = new Agent({ keepAlive: true })
  const [res] = await once(request(`${psp.origin}/echo`, { agent }).end(), 'response')
  await res.resume().toArray()
  const half = request(`${psp.origin}/echo`, { method: 'POST' })
  half.write('x')
  const cut = once(half, 'error')
  await once(half, 'socket').then(([socket]) => socket.connecting && once(socket, 'connect'))

  await psp.close()
  await psp.close()

  await cut
  await expect(fetch(`${psp.origin}/echo`)).rejects.toThrow()
  agent.destroy()
})
