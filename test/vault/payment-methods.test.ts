// Payment methods through the front door, under both versions of the API: what is stored, shown, unique, and gone.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type PspSimulator, startPspSimulator } from '../support/psp-simulator.ts'
import {
  type Answer,
  startSallyport,
  type TestMerchant,
  type TestSallyport,
  VISA,
} from '../support/sallyport.ts'
import { expectMasked, randomCard, withoutIds } from './cards.ts'

const MASTERCARD = '5555555555554444'

let sallyport: TestSallyport
let merchant: TestMerchant
let psp: PspSimulator

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
        fields: ['card_number', 'card_exp_month', 'card_exp_year', 'card_cvc', 'card_holder_name'],
      },
    ],
  })
})

afterAll(async () => {
  await sallyport[Symbol.asyncDispose]()
  await psp.close()
})

function cardBody(customerId: string | undefined, card: object = {}, more: object = {}) {
  return {
    ...(customerId === undefined ? {} : { customer_id: customerId }),
    payment_method_type: 'card',
    payment_method_data: {
      card: { card_number: VISA, card_exp_month: '03', card_exp_year: '2035', ...card },
    },
    ...more,
  }
}

/** What the destination gets of a card: what is really stored. */
async function charge(token: string, withCvc = true): Promise<Answer> {
  return merchant.proxy('POST', '/d/psp/payments', {
    source: {
      type: 'card',
      number: `{{$card_number: ${token}}}`,
      expiry_month: `{{$card_exp_month: ${token}}}`,
      expiry_year: `{{$card_exp_year: ${token}}}`,
      ...(withCvc ? { cvv: `{{$card_cvc: ${token}}}` } : {}),
    },
    amount: 100,
    currency: 'USD',
  })
}

const lastSource = () => JSON.parse(psp.received.at(-1)?.body.toString() ?? '{}').source

describe.each(['/v1', '/v2'])('under %s', (version) => {
  const path = `${version}/payment-methods`
  const saved = (customerId: string) =>
    merchant.vault('GET', `${version}/customers/${customerId}/saved-payment-methods`)

  test('a card is stored and shown by its first six and last four digits', async () => {
    const number = randomCard()
    const customer = await merchant.createCustomer()
    const created = await merchant.vault(
      'POST',
      path,
      cardBody(
        customer,
        {
          card_number: number,
          card_exp_month: '3',
          card_exp_year: '35',
          card_cvc: '737',
          card_holder_name: 'Zoë Ünal',
          nick_name: 'travel',
          card_issuer: 'Bank & Co.',
          card_type: 'credit',
          card_issuing_country: 'DE',
        },
        { payment_method_subtype: 'credit', billing: { zip: '1' }, metadata: { a: [1] } },
      ),
    )

    expect(created.status).toBe(201)
    expect(created.body).toMatchObject({
      id: expect.stringMatching(/^local_pm_[0-9a-f]{32}$/),
      merchant_id: merchant.id,
      customer_id: customer,
      payment_method_type: 'card',
      payment_method_subtype: 'credit',
      storage_type: 'persistent',
      recurring_enabled: true,
      billing: { zip: '1' },
      metadata: { a: [1] },
      card_cvc_token_storage: { is_stored: true },
      payment_method_data: {
        card: {
          card_isin: number.slice(0, 6),
          last4_digits: number.slice(-4),
          expiry_month: '03',
          expiry_year: '2035',
          card_holder_name: 'Zoë Ünal',
          nick_name: 'travel',
          card_network: 'Visa',
          card_issuer: 'Bank & Co.',
          card_type: 'credit',
          issuer_country: 'DE',
        },
      },
    })
    const { id } = created.body
    const retrieved = await merchant.vault('GET', `${path}/${id}`)
    const listed = await saved(customer)
    expect(retrieved.body).toEqual(created.body)
    expect(listed.body.customer_payment_methods).toMatchObject([{ id, requires_cvv: true }])
    for (const answer of [created, retrieved, listed]) {
      expectMasked(number, answer)
      expect(withoutIds(answer.text)).not.toContain('737')
    }
  })

  test.each([
    ['4242 4242-4242 4242', '424242', '4242'],
    ['378282246310005', '378282', '0005'],
    ['6205500000000000004', '620550', '0004'],
    [' - 4222222222222 -', '422222', '2222'],
  ])('the number %j is a card', async (card_number, bin, last4) => {
    const { status, body } = await merchant.vault(
      'POST',
      path,
      cardBody(await merchant.createCustomer(), { card_number }),
    )

    expect(status).toBe(201)
    expect(body.payment_method_data.card).toMatchObject({ card_isin: bin, last4_digits: last4 })
  })

  test('the same card of the same customer is one payment method; of another it is another', async () => {
    const [one, other] = [await merchant.createCustomer(), await merchant.createCustomer()]
    const create = async (customer: string, card_number: string) =>
      (await merchant.vault('POST', path, cardBody(customer, { card_number }))).body.id

    const visa = await create(one, VISA)
    const mastercard = await create(one, MASTERCARD)
    const visaOfOther = await create(other, VISA)

    expect(new Set([visa, mastercard, visaOfOther]).size).toBe(3)
    expect(await create(one, '4242-4242-4242-4242')).toBe(visa)
    expect(await create(one, MASTERCARD)).toBe(mastercard)
    expect(await create(other, VISA)).toBe(visaOfOther)
    const ids = (await saved(one)).body.customer_payment_methods.map((m: { id: string }) => m.id)
    expect(ids).toEqual([visa, mastercard])
  })

  test('storing a card again answers 200 and updates name, expiry and code', async () => {
    const customer = await merchant.createCustomer()
    const first = await merchant.vault(
      'POST',
      path,
      cardBody(customer, { card_cvc: '111', card_holder_name: 'Old', nick_name: 'kept' }),
    )

    const again = await merchant.vault(
      'POST',
      path,
      cardBody(customer, {
        card_exp_month: '11',
        card_exp_year: '2036',
        card_cvc: '222',
        card_holder_name: 'New',
      }),
    )

    expect([again.status, again.body.id]).toEqual([200, first.body.id])
    expect(again.body.payment_method_data.card).toMatchObject({
      expiry_month: '11',
      expiry_year: '2036',
      card_holder_name: 'New',
      nick_name: 'kept',
    })
    expect((await merchant.vault('GET', `${path}/${first.body.id}`)).body).toEqual(again.body)
    expect((await charge(first.body.id)).status).toBe(201)
    expect(lastSource()).toMatchObject({
      number: VISA,
      expiry_month: '11',
      expiry_year: '2036',
      cvv: '222',
    })
  })

  test('storing a card again without a code keeps the one that is there', async () => {
    const customer = await merchant.createCustomer()
    await merchant.vault('POST', path, cardBody(customer, { card_cvc: '111' }))

    const again = await merchant.vault('POST', path, cardBody(customer))

    expect(again.body.card_cvc_token_storage).toMatchObject({ is_stored: true })
    expect((await charge(again.body.id)).status).toBe(201)
    expect(lastSource().cvv).toBe('111')
  })

  test('a hundred racing creations of one card make one payment method', async () => {
    const customer = await merchant.createCustomer()

    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, i) =>
        merchant.vault('POST', path, cardBody(customer, { nick_name: `n${i}` })),
      ),
    )

    expect(new Set(answers.map(({ body }) => body.id)).size).toBe(1)
    expect(answers.map(({ status }) => status).sort()).toEqual([...Array(99).fill(200), 201])
    expect((await saved(customer)).body.customer_payment_methods).toHaveLength(1)
  })

  test('a deleted card answers 404 at once and comes back under a new id', async () => {
    const customer = await merchant.createCustomer()
    const { id } = (await merchant.vault('POST', path, cardBody(customer, { card_cvc: '737' })))
      .body

    const deleted = await merchant.vault('DELETE', `${path}/${id}`)

    expect([deleted.status, deleted.body]).toEqual([200, { id }])
    for (const [method, url, body] of [
      ['GET', `${path}/${id}`],
      ['DELETE', `${path}/${id}`],
      [
        'PUT',
        `${path}/${id}/update-saved-payment-method`,
        { payment_method_data: { card: { nick_name: 'x' } } },
      ],
    ] as const) {
      const { status, body: answer } = await merchant.vault(method, url, body)
      expect([method, status, answer.error.reason]).toEqual([method, 404, 'not_found'])
    }
    expect((await charge(id)).body.error.reason).toBe('token_not_found')
    expect((await saved(customer)).body.customer_payment_methods).toEqual([])
    const again = await merchant.vault('POST', path, cardBody(customer))
    expect(again.status).toBe(201)
    expect(again.body.id).not.toBe(id)
    expect(again.body.card_cvc_token_storage).toBeNull()
  })

  test('an update changes names and code and nothing else', async () => {
    const id = await merchant.createCard({ card_holder_name: 'Old', nick_name: 'kept' })
    const before = (await merchant.vault('GET', `${path}/${id}`)).body

    const updated = await merchant.vault('PUT', `${path}/${id}/update-saved-payment-method`, {
      payment_method_data: { card: { card_holder_name: 'New', card_cvc: '9876' } },
    })

    expect(updated.status).toBe(200)
    expect(withoutIds(updated.text)).not.toContain('9876')
    expect(updated.body).toEqual({
      ...before,
      card_cvc_token_storage: { is_stored: true, expires_at: expect.any(String) },
      payment_method_data: {
        card: { ...before.payment_method_data.card, card_holder_name: 'New' },
      },
    })
    expect((await merchant.vault('GET', `${path}/${id}`)).body).toEqual(updated.body)
    expect((await charge(id)).status).toBe(201)
    expect(lastSource()).toMatchObject({ number: VISA, cvv: '9876', expiry_month: '03' })
  })

  test('an update of nothing changes nothing', async () => {
    const id = await merchant.createCard({ nick_name: 'kept' })
    const before = (await merchant.vault('GET', `${path}/${id}`)).body

    const { status, body } = await merchant.vault(
      'PUT',
      `${path}/${id}/update-saved-payment-method`,
      { payment_method_data: { card: {} } },
    )

    expect([status, body]).toEqual([200, before])
  })

  test('racing updates all count', async () => {
    const id = await merchant.createCard()
    const url = `${path}/${id}/update-saved-payment-method`
    const put = (card: object) => merchant.vault('PUT', url, { payment_method_data: { card } })

    const answers = await Promise.all([
      ...Array.from({ length: 10 }, () => put({ card_holder_name: 'Holder' })),
      ...Array.from({ length: 10 }, () => put({ nick_name: 'nick' })),
    ])

    expect(answers.every(({ status }) => status === 200)).toBe(true)
    const { card } = (await merchant.vault('GET', `${path}/${id}`)).body.payment_method_data
    expect(card).toMatchObject({ card_holder_name: 'Holder', nick_name: 'nick' })
  })

  test('a guest has volatile cards only, and each is a new one', async () => {
    const first = await merchant.vault('POST', path, cardBody(undefined))
    const second = await merchant.vault('POST', path, cardBody(undefined))

    expect([first.status, second.status]).toEqual([201, 201])
    expect(first.body).toMatchObject({
      customer_id: null,
      storage_type: 'volatile',
      recurring_enabled: false,
    })
    expect(first.body.id).not.toBe(second.body.id)
    const kept = await merchant.vault(
      'POST',
      path,
      cardBody(undefined, {}, { storage_type: 'persistent' }),
    )
    expect([kept.status, kept.body.error.reason]).toEqual([422, 'invalid_value'])
    expect(kept.body.error.details.field).toBe('storage_type')
  })

  test('a volatile card of a customer stands beside the stored one', async () => {
    const customer = await merchant.createCustomer()
    const stored = await merchant.vault('POST', path, cardBody(customer))

    const volatile = await merchant.vault(
      'POST',
      path,
      cardBody(customer, {}, { storage_type: 'volatile' }),
    )

    expect(volatile.status).toBe(201)
    expect(volatile.body).toMatchObject({ storage_type: 'volatile', recurring_enabled: false })
    expect(volatile.body.id).not.toBe(stored.body.id)
    const again = await merchant.vault('POST', path, cardBody(customer))
    expect([again.status, again.body.id]).toEqual([200, stored.body.id])
  })

  test('a card for a customer that is not there is not stored', async () => {
    const gone = await merchant.createCustomer()
    await merchant.vault('DELETE', `${version}/customers/${gone}`)

    const { status, body } = await merchant.vault('POST', path, cardBody(gone))

    expect([status, body.error.reason]).toEqual([404, 'not_found'])
    expect(body.error.details.field).toBe('customer_id')
  })

  test('the code is announced with its end and is gone when it was used', async () => {
    const before = Date.now()
    const id = await merchant.createCard({ card_cvc: '737' })
    const shown = async () =>
      (await merchant.vault('GET', `${path}/${id}`)).body.card_cvc_token_storage

    const { expires_at } = await shown()
    expect(Date.parse(expires_at) - before).toBeGreaterThanOrEqual(900_000)
    expect(Date.parse(expires_at) - before).toBeLessThan(960_000)

    expect((await charge(id)).status).toBe(201)

    expect(await shown()).toBeNull()
    expect((await charge(id)).body.error).toMatchObject({
      reason: 'cvc_not_available',
      details: { field: 'card_cvc' },
    })
    expect((await charge(id, false)).status).toBe(201)
  })
})

test('both versions show the same payment method', async () => {
  const { body } = await merchant.vault('POST', '/v1/payment-methods', cardBody(undefined))

  expect((await merchant.vault('GET', `/v2/payment-methods/${body.id}`)).body).toEqual(body)
})

test('a network that is named wins over the one the number tells', async () => {
  const { body } = await merchant.vault(
    'POST',
    '/v2/payment-methods',
    cardBody(undefined, { card_network: 'CartesBancaires' }),
  )

  expect(body.payment_method_data.card.card_network).toBe('CartesBancaires')
})

test('expired volatile cards and codes are refused, then swept', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-volatile-'))
  const settings = { vault: { volatile_ttl_s: 1, cvc_ttl_s: 1 } }
  let guest: string, persistent: string, key: string
  {
    await using short = await startSallyport(settings, { folder })
    const { vault, vaultKey, createCard, createCustomer } = await short.createMerchant()
    key = vaultKey
    const customer = await createCustomer()
    persistent = await createCard({ card_cvc: '737' }, customer)
    guest = (await vault('POST', '/v2/payment-methods', cardBody(undefined))).body.id
    const ofCustomer = cardBody(customer, {}, { storage_type: 'volatile' })
    expect((await vault('POST', '/v2/payment-methods', ofCustomer)).status).toBe(201)
    await wait(1100)

    const expired = await vault('GET', `/v2/payment-methods/${guest}`)
    expect([expired.status, expired.body.error.reason]).toEqual([422, 'token_expired'])
    expect(expired.body.error.code).toBe('IR_29')
    const listed = await vault('GET', `/v2/customers/${customer}/saved-payment-methods`)
    expect(listed.body.customer_payment_methods).toMatchObject([{ id: persistent }])
    const { body } = await vault('GET', `/v2/payment-methods/${persistent}`)
    expect(body.card_cvc_token_storage).toBeNull()
  }

  {
    // A start sweeps; waiting for the timer would take a minute.
    await using restarted = await startSallyport(settings, { folder })
    const vault = restarted.as(key)
    await expect
      .poll(async () => (await vault('GET', `/v2/payment-methods/${guest}`)).status, {
        timeout: 20_000,
      })
      .toBe(404)
    expect((await vault('GET', `/v2/payment-methods/${persistent}`)).status).toBe(200)
  }
  await rm(folder, { recursive: true, force: true })
})
