// Instruments of every type through the front door: wallets, bank accounts and cards that another vault keeps, what makes
// them the same one, intents, the default, last uses, and raw details for those who may see them.

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { auditLines } from '../support/audit.ts'
import { type PspSimulator, startPspSimulator } from '../support/psp-simulator.ts'
import {
  type Answer,
  type Call,
  startSallyport,
  type TestMerchant,
  type TestSallyport,
  VISA,
} from '../support/sallyport.ts'
import { expectMasked, expectNoDigitsOf, randomCard } from './cards.ts'

const IBAN = 'DE89370400440532013000'
const OTHER_IBAN = 'GB29NWBK60161331926819'

let sallyport: TestSallyport
let merchant: TestMerchant
let psp: PspSimulator
let revealing: Call

beforeAll(async () => {
  psp = await startPspSimulator()
  sallyport = await startSallyport()
  merchant = await sallyport.createMerchant()
  revealing = sallyport.as(
    await sallyport.createKey(merchant.id, ['vault:read', 'vault:write', 'vault:reveal']),
  )
  await merchant.createDestination({
    name: 'psp',
    origin: psp.origin,
    inject_headers: { Authorization: `Bearer ${psp.apiKey}` },
    allow: [
      {
        methods: ['POST'],
        path: '/*',
        fields: [
          'card_number',
          'card_exp_month',
          'card_exp_year',
          'iban',
          'account_number',
          'routing_number',
          'account_holder_name',
          'wallet_email',
          'wallet_token',
        ],
      },
    ],
  })
})

afterAll(async () => {
  await sallyport[Symbol.asyncDispose]()
  await psp.close()
})

const paypal = (email: string) => ({
  payment_method_type: 'wallet',
  payment_method_data: { wallet: { paypal: { email } } },
})
const sepa = (iban: string, more: object = {}) => ({
  payment_method_type: 'bank_debit',
  payment_method_data: { bank_debit: { sepa: { iban, ...more } } },
})
const ach = (account_number: string, routing_number = '021000021') => ({
  payment_method_type: 'bank_debit',
  payment_method_data: { bank_debit: { ach: { account_number, routing_number } } },
})
const card = (card_number: string, more: object = {}) => ({
  payment_method_type: 'card',
  payment_method_data: {
    card: { card_number, card_exp_month: '03', card_exp_year: '2035', ...more },
  },
})
const proxyCard = (alias: string, more: object = {}) => ({
  payment_method_type: 'card',
  payment_method_data: {
    proxy_card: { card_number: alias, card_exp_month: '03', card_exp_year: '2035', ...more },
  },
})
const apple = (payment_data: unknown) => ({
  payment_method_type: 'wallet',
  payment_method_data: {
    wallet: {
      apple_pay: {
        payment_data,
        payment_method: { display_name: 'Visa 0326', network: 'Visa', type: 'debit' },
        transaction_identifier: 'abc',
      },
    },
  },
})
const google = (token: string) => ({
  payment_method_type: 'wallet',
  payment_method_data: {
    wallet: {
      google_pay: {
        type: 'CARD',
        description: 'Visa 1111',
        info: { card_network: 'VISA', card_details: '1111' },
        tokenization_data: { type: 'PAYMENT_GATEWAY', token },
      },
    },
  },
})

const create = (customer: string | undefined, body: object, version = '/v2') =>
  merchant.vault('POST', `${version}/payment-methods`, { customer_id: customer, ...body })

/** What the destination gets for a template of placeholders. */
async function sent(token: string, body: object): Promise<any> {
  const answer = await sallyport.as(merchant.proxyKey)('POST', '/d/psp/anything', body, {
    'sallyport-token': token,
  })
  expect(answer.headers.get('sallyport-upstream-status')).not.toBeNull()
  return JSON.parse(psp.received.at(-1)?.body.toString() ?? '{}')
}

function expectRefused(answer: Answer, reason: string, field?: string): void {
  expect(answer.body.error).toMatchObject({ reason, ...(field ? { details: { field } } : {}) })
}

describe.each(['/v1', '/v2'])('under %s', (version) => {
  test.each([
    [
      'a PayPal account',
      paypal('user@email.com'),
      'paypal',
      { wallet: { paypal: { email: 'user@email.com' } } },
    ],
    [
      'Apple Pay',
      apple('opaque-1'),
      'apple_pay',
      { wallet: { apple_pay: { display_name: 'Visa 0326', network: 'Visa', type: 'debit' } } },
    ],
    [
      'Google Pay',
      google('opaque-2'),
      'google_pay',
      {
        wallet: {
          google_pay: { card_network: 'VISA', card_details: '1111', description: 'Visa 1111' },
        },
      },
    ],
    [
      'an IBAN',
      sepa('de89 3704 0044 0532 0130 00', { account_holder_name: 'Zoë' }),
      'sepa',
      { bank_debit: { sepa: { country: 'DE', iban_last4: '3000', account_holder_name: 'Zoë' } } },
    ],
    [
      'an American account',
      ach('000123456789'),
      'ach',
      {
        bank_debit: {
          ach: {
            account_number_last4: '6789',
            routing_number: '021000021',
            account_holder_name: null,
          },
        },
      },
    ],
  ])('%s is stored and shown without its number', async (_, body, subtype, data) => {
    const customer = await merchant.createCustomer()

    const created = await create(customer, body, version)

    expect(created.status).toBe(201)
    expect(created.body).toMatchObject({
      customer_id: customer,
      payment_method_type: body.payment_method_type,
      payment_method_subtype: subtype,
      recurring_enabled: true,
      status: 'active',
      storage_type: 'persistent',
      payment_method_data: data,
      last_used_at: null,
      card_cvc_token_storage: null,
    })
    const path = `${version}/payment-methods/${created.body.id}`
    expect((await merchant.vault('GET', path)).body).toEqual(created.body)
    const { body: listed } = await merchant.vault(
      'GET',
      `${version}/customers/${customer}/saved-payment-methods`,
    )
    expect(listed.customer_payment_methods).toMatchObject([
      { id: created.body.id, requires_cvv: false, payment_method_data: data },
    ])
    expect(await merchant.vault('DELETE', path)).toMatchObject({ status: 200 })
    expect((await merchant.vault('GET', path)).status).toBe(404)
    const again = await create(customer, body, version)
    expect(again.status).toBe(201)
    expect(again.body.id).not.toBe(created.body.id)
  })
})

test('the same instrument of the same customer is one payment method, of every type', async () => {
  const [one, other] = [await merchant.createCustomer(), await merchant.createCustomer()]
  const instruments: [object, object][] = [
    [card(VISA), card('4242 4242 4242 4242')],
    [card('5555555555554444'), card('5555-5555-5555-4444')],
    [paypal('user@email.com'), paypal('User@Email.com')],
    [paypal('second@email.com'), paypal('second@email.com')],
    [apple('token-a'), apple('token-a')],
    [google('token-a'), google('token-a')],
    [sepa(IBAN), sepa('de89 3704 0044 0532 0130 00')],
    [sepa(OTHER_IBAN), sepa(OTHER_IBAN)],
    [ach('000123456789'), ach('0001 2345-6789')],
    [ach('000123456789', '011401533'), ach('000123456789', '011401533')],
    [proxyCard('tok_sandbox_1'), proxyCard('tok_sandbox_1')],
    [proxyCard(VISA), proxyCard(VISA)],
  ]

  const ids: string[] = []
  for (const [first, spelledOtherwise] of instruments) {
    const created = await create(one, first)
    const again = await create(one, spelledOtherwise)
    const ofOther = await create(other, first)
    expect([created.status, again.status, ofOther.status]).toEqual([201, 200, 201])
    expect(again.body.id).toBe(created.body.id)
    ids.push(created.body.id, ofOther.body.id)
  }

  expect(new Set(ids).size).toBe(2 * instruments.length)
})

test('200 concurrent creations of 20 instruments of 10 customers make 200 payment methods', async () => {
  const customers = await Promise.all(Array.from({ length: 10 }, () => merchant.createCustomer()))
  const instruments = [
    ...Array.from({ length: 8 }, () => card(randomCard())),
    ...Array.from({ length: 4 }, (_, n) => paypal(`user${n}@email.com`)),
    ...Array.from({ length: 4 }, (_, n) => ach(`00012345678${n}`)),
    ...Array.from({ length: 4 }, (_, n) => proxyCard(`alias_${n}`)),
  ]
  const wanted = customers.flatMap((customer) =>
    instruments.map((instrument, index) => ({ customer, instrument, index })),
  )
  // Eight clients, each of which asks for all of them, beginning elsewhere.
  const clients = Array.from({ length: 8 }, (_, client) => {
    const from = client * 25
    return [...wanted.slice(from), ...wanted.slice(0, from)]
  })

  const idsByWanted = new Map<object, Set<string>>(wanted.map((each) => [each, new Set()]))
  const statuses: number[] = []
  await Promise.all(
    clients.map(async (list) => {
      for (let at = 0; at < list.length; at += 20) {
        await Promise.all(
          list.slice(at, at + 20).map(async (each) => {
            const { status, body } = await create(each.customer, each.instrument)
            statuses.push(status)
            idsByWanted.get(each)?.add(body.id)
          }),
        )
      }
    }),
  )

  expect(statuses.filter((status) => status === 201)).toHaveLength(200)
  expect(statuses.filter((status) => status === 200)).toHaveLength(7 * 200)
  expect([...idsByWanted.values()].every((ids) => ids.size === 1)).toBe(true)
  expect(new Set([...idsByWanted.values()].flatMap((ids) => [...ids])).size).toBe(200)
  for (const customer of customers) {
    const path = `/v2/customers/${customer}/saved-payment-methods`
    expect((await merchant.vault('GET', path)).body.customer_payment_methods).toHaveLength(20)
  }
}, 60_000)

test.each([
  ['an IBAN with a wrong check digit', sepa('DE89370400440532013001'), 'iban'],
  ['an IBAN of no country', sepa('XX89370400440532013000'), 'iban'],
  ['an IBAN that is too short', sepa('DE8937040044053201300'), 'iban'],
  ['an account of letters', ach('12345678x'), 'account_number'],
  ['an account of three digits', ach('123'), 'account_number'],
  ['a routing number with a wrong check digit', ach('000123456789', '021000022'), 'routing_number'],
  ['no e-mail address', paypal('user'), 'email'],
  ['an e-mail address with a line break', paypal('user@email.com\n'), 'email'],
  ['an alias with a blank', proxyCard('tok 1'), 'card_number'],
  [
    'a subtype of another bank',
    { ...sepa(IBAN), payment_method_subtype: 'ach' },
    'payment_method_subtype',
  ],
  [
    'an Apple Pay token that grows beyond its bound',
    apple({ data: Array(2000).fill(1e20) }),
    'payment_data',
  ],
  ['a volatile proxy card', { ...proxyCard('tok_1'), storage_type: 'volatile' }, 'storage_type'],
  ['a network token', { ...card(VISA), network_tokenization: { enable: 'Enable' } }, 'enable'],
])('%s is refused by name', async (_, body, field) => {
  const answer = await create(await merchant.createCustomer(), body)

  expect(answer.status).toBe(422)
  expectRefused(answer, 'invalid_value', field)
  expectNoDigitsOf('89370400440532013', answer)
})

test.each([
  ['no data of its type', { ...card(VISA), payment_method_type: 'wallet' }, 'wallet', 400],
  ['nothing', { payment_method_type: 'card', payment_method_data: {} }, 'card', 400],
  [
    'two instruments',
    {
      payment_method_type: 'card',
      payment_method_data: { ...card(VISA).payment_method_data, wallet: { paypal: {} } },
    },
    undefined,
    400,
  ],
  [
    'PSP tokenization, which is not built',
    { ...card(VISA), psp_tokenization: { tokenization_type: 'single_use', connector_id: 'x' } },
    'psp_tokenization',
    400,
  ],
])('%s is refused', async (_, body, field, status) => {
  const answer = await create(await merchant.createCustomer(), body)

  expect(answer.status).toBe(status)
  if (field !== undefined) expect(answer.body.error.details).toEqual({ field })
})

test('bank accounts and wallets go where a placeholder says', async () => {
  const customer = await merchant.createCustomer()
  const { id: bank } = (await create(customer, sepa(IBAN, { account_holder_name: 'Zoë' }))).body
  const { id: account } = (await create(customer, ach('000123456789'))).body
  const { id: wallet } = (await create(customer, paypal('user@email.com'))).body
  const { id: token } = (await create(customer, google('{"signature":"é"}'))).body

  const iban = { iban: '{{$iban}}', name: '{{$account_holder_name}}' }
  expect(await sent(bank, iban)).toEqual({ iban: IBAN, name: 'Zoë' })
  const numbers = { account: '{{$account_number}}', routing: '{{$routing_number}}' }
  expect(await sent(account, numbers)).toEqual({ account: '000123456789', routing: '021000021' })
  expect(await sent(wallet, { email: '{{$wallet_email}}' })).toEqual({ email: 'user@email.com' })
  expect(await sent(token, { token: '{{$wallet_token}}' })).toEqual({ token: '{"signature":"é"}' })
  const missing = await sallyport.as(merchant.proxyKey)(
    'POST',
    '/d/psp/anything',
    { number: '{{$card_number}}' },
    { 'sallyport-token': bank },
  )
  expectRefused(missing, 'placeholder_field_missing', 'card_number')
})

test.each(['first(4)', 'last(4)', 'mask', 'hex', 'sha256', 'base64'])(
  'no part and no other spelling of an account goes out: %s',
  async (filter) => {
    const { id } = (await create(await merchant.createCustomer(), sepa(IBAN))).body
    const answer = await sallyport.as(merchant.proxyKey)(
      'POST',
      '/d/psp/anything',
      { iban: `{{$iban | ${filter}}}` },
      { 'sallyport-token': id },
    )

    expect(answer.status).toBeGreaterThanOrEqual(400)
    expect(answer.headers.get('sallyport-upstream-status')).toBeNull()
  },
)

describe('an intent', () => {
  const intend = async (customer: string) =>
    (
      await merchant.vault('POST', '/v2/payment-methods/create-intent', {
        customer_id: customer,
        billing: { zip: '1' },
        metadata: { order: 1 },
      })
    ).body
  const confirm = (id: string, body: object) =>
    merchant.vault('POST', `/v2/payment-methods/${id}/confirm-intent`, body)

  test('waits for its instrument and becomes a payment method', async () => {
    const customer = await merchant.createCustomer()
    const intent = await intend(customer)
    expect(intent).toMatchObject({
      id: expect.stringMatching(/^local_pm_/),
      status: 'awaiting_data',
      payment_method_type: null,
      payment_method_data: null,
      recurring_enabled: false,
      client_secret: expect.stringMatching(/^cs_[0-9a-f]{64}$/),
    })
    const listPath = `/v2/customers/${customer}/saved-payment-methods`
    expect((await merchant.vault('GET', listPath)).body.customer_payment_methods).toEqual([])
    const { body: enabled } = await merchant.vault(
      'GET',
      `/v2/payment-methods/${intent.id}/list-enabled-payment-methods`,
    )
    expect(enabled.payment_methods_enabled).toContainEqual({
      payment_method_type: 'card',
      payment_method_subtype: 'credit',
    })

    const number = randomCard()
    const confirmed = await confirm(intent.id, {
      ...card(number, { card_cvc: '123' }),
      customer_id: customer,
      payment_method_subtype: 'debit',
    })

    expect(confirmed.status).toBe(200)
    expect(confirmed.body).toMatchObject({
      id: intent.id,
      status: 'active',
      payment_method_type: 'card',
      payment_method_subtype: 'debit',
      billing: { zip: '1' },
      metadata: { order: 1 },
      storage_type: 'persistent',
      card_cvc_token_storage: { is_stored: true },
    })
    expectMasked(number, confirmed)
    expect(confirmed.text).not.toContain('client_secret')
    expect(await sent(intent.id, { n: '{{$card_number}}' })).toEqual({ n: number })
    expect((await confirm(intent.id, card(randomCard()))).status).toBe(409)
  })

  test('of an instrument that its customer has becomes that one', async () => {
    const customer = await merchant.createCustomer()
    const stored = (await create(customer, sepa(IBAN))).body
    const intent = await intend(customer)

    const confirmed = await confirm(intent.id, sepa(IBAN))

    expect(confirmed.body.id).toBe(stored.id)
    // Who only knows the intent finds what became of it.
    const { body } = await merchant.vault('GET', `/v2/payment-methods/${intent.id}`)
    expect(body).toMatchObject({ id: stored.id, status: 'active' })
    expect((await confirm(intent.id, sepa(OTHER_IBAN))).status).toBe(409)
    expect((await create(customer, sepa(IBAN))).body.id).toBe(stored.id)
    const { body: listed } = await merchant.vault(
      'GET',
      `/v2/customers/${customer}/saved-payment-methods`,
    )
    expect(listed.customer_payment_methods.map(({ id }: any) => id)).toEqual([stored.id])
    const request = confirmed.headers.get('sallyport-request-id')
    const lines = (await auditLines(sallyport)).filter((line) => line.request === request)
    expect(lines.map(({ action, object }) => [action, object])).toEqual([
      ['payment_method.update', intent.id],
      ['payment_method.update', stored.id],
    ])
  })

  describe('is confirmed by a page', () => {
    const publishableKey = async (profile?: string) => {
      const profiles = (await sallyport.admin('GET', `/v2/profiles?merchant_id=${merchant.id}`))
        .body
      return profiles.find(
        (each: any) => each.id === profile || (profile === undefined && each.is_default),
      ).publishable_key
    }
    const asPage = async (id: string, secret: string, body: object, profile?: string) =>
      sallyport.as('')('POST', `/v2/payment-methods/${id}/confirm-intent`, body, {
        'sallyport-key': '',
        authorization: `publishable-key=${await publishableKey(profile)},client-secret=${secret}`,
      })

    test('that holds its secret, once, and by nobody else', async () => {
      const customer = await merchant.createCustomer()
      const intent = await intend(customer)
      const other = await intend(customer)
      const number = randomCard()
      const stored = (await create(customer, card(randomCard()))).body.id

      const wrong = [
        await asPage(intent.id, other.client_secret, card(number)),
        await asPage(stored, intent.client_secret, card(number)),
        await asPage(`local_pm_${'0'.repeat(32)}`, intent.client_secret, card(number)),
      ]
      expect(wrong.map(({ status }) => status)).toEqual([401, 401, 401])
      const luhn = await asPage(intent.id, intent.client_secret, card('4242424242424241'))
      expect([luhn.status, luhn.body.error.details]).toEqual([422, undefined])
      const alias = await asPage(intent.id, intent.client_secret, proxyCard('tok_1'))
      expect(alias.status).toBe(422)
      const confirmed = await asPage(intent.id, intent.client_secret, card(number))

      expect([confirmed.status, confirmed.body.id]).toEqual([200, intent.id])
      expect(await sent(intent.id, { n: '{{$card_number}}' })).toEqual({ n: number })
      const again = await asPage(intent.id, intent.client_secret, card(randomCard()))
      expect(again.status).toBe(401)
    })

    test('of its own profile only', async () => {
      const { body } = await sallyport.admin('POST', '/v2/profiles', {
        profile_name: 'staging',
        merchant_id: merchant.id,
      })
      const intent = await intend(await merchant.createCustomer())

      const answer = await asPage(intent.id, intent.client_secret, card(randomCard()), body.id)

      expect(answer.status).toBe(401)
      expect((await asPage(intent.id, intent.client_secret, card(randomCard()))).status).toBe(200)
    })

    test('which is not told whether the customer has that card, nor anything else', async () => {
      const customer = await merchant.createCustomer()
      const number = randomCard()
      const known = (
        await create(customer, {
          ...card(number, { nick_name: 'secret nick', card_cvc: '123' }),
          billing: { zip: 'secret zip' },
          metadata: { risk: 'secret' },
        })
      ).body
      const [first, second] = [await intend(customer), await intend(customer)]

      const ofKnown = await asPage(first.id, first.client_secret, card(number))
      const ofNew = await asPage(second.id, second.client_secret, card(randomCard()))

      expect([ofKnown.status, ofNew.status]).toEqual([200, 200])
      const comparable = ({ body }: Answer) => {
        const { id: _, created: __, payment_method_data, ...rest } = body
        const { last4_digits: ___, ...shown } = payment_method_data.card
        return { ...rest, shown }
      }
      expect(comparable(ofKnown)).toEqual(comparable(ofNew))
      expect(ofKnown.body).toMatchObject({
        id: first.id,
        metadata: null,
        billing: null,
        connector_tokens: [],
        card_cvc_token_storage: null,
      })
      expect(ofKnown.text).not.toContain('secret')
      expect(ofKnown.text).not.toContain(known.id)
      const { body } = await merchant.vault('GET', `/v2/payment-methods/${first.id}`)
      expect(body.id).toBe(known.id)
    })

    test('which may try it ten times', async () => {
      const intent = await intend(await merchant.createCustomer())
      const statuses: number[] = []
      for (let n = 0; n < 11; n++) {
        const bad = card('4242424242424241')
        statuses.push((await asPage(intent.id, intent.client_secret, bad)).status)
      }

      expect(statuses).toEqual([...Array(10).fill(422), 429])
      expect((await asPage(intent.id, intent.client_secret, card(randomCard()))).status).toBe(429)
      expect((await confirm(intent.id, card(randomCard()))).status).toBe(200)
    })
  })

  test('has nothing that a placeholder could name', async () => {
    const intent = await intend(await merchant.createCustomer())
    const answer = await sallyport.as(merchant.proxyKey)(
      'POST',
      '/d/psp/anything',
      { number: '{{$card_number}}' },
      { 'sallyport-token': intent.id },
    )

    expectRefused(answer, 'placeholder_field_missing', 'card_number')
  })

  test('belongs to its customer', async () => {
    const intent = await intend(await merchant.createCustomer())
    const customer_id = await merchant.createCustomer()

    expectRefused(
      await confirm(intent.id, { ...card(randomCard()), customer_id }),
      'invalid_value',
      'customer_id',
    )
    const unknown = 'local_cus_00000000000000000000000000000000'
    expect((await intend(unknown)).error.reason).toBe('not_found')
  })
})

describe('the default payment method', () => {
  const customerOf = async (id: string) => (await merchant.vault('GET', `/v2/customers/${id}`)).body
  const setDefault = (customer: string, method: unknown) =>
    merchant.vault('PUT', `/v2/customers/${customer}`, { default_payment_method_id: method })

  test('is set, shown, changed and gone with the payment method', async () => {
    const customer = await merchant.createCustomer()
    const { id: first } = (await create(customer, card(randomCard()))).body
    const { id: second } = (await create(customer, sepa(IBAN))).body
    expect((await customerOf(customer)).default_payment_method_id).toBeNull()

    expect((await setDefault(customer, first)).body.default_payment_method_id).toBe(first)
    expect((await setDefault(customer, second)).body.default_payment_method_id).toBe(second)

    const { body } = await merchant.vault('GET', `/v2/customers/${customer}/saved-payment-methods`)
    expect(body.customer_payment_methods).toMatchObject([
      { id: first, is_default: false },
      { id: second, is_default: true },
    ])
    await merchant.vault('DELETE', `/v2/payment-methods/${second}`)
    expect((await customerOf(customer)).default_payment_method_id).toBeNull()
    await setDefault(customer, first)
    expect((await setDefault(customer, null)).body.default_payment_method_id).toBeNull()
  })

  test("is one of the customer's own", async () => {
    const [customer, other] = [await merchant.createCustomer(), await merchant.createCustomer()]
    const { id } = (await create(other, card(randomCard()))).body

    for (const method of [id, 'local_pm_00000000000000000000000000000000', 'nonsense']) {
      expectRefused(
        await setDefault(customer, method),
        'invalid_value',
        'default_payment_method_id',
      )
    }
  })
})

test('the last use is shown; a dry run is none', async () => {
  const customer = await merchant.createCustomer()
  const { id } = (await create(customer, card(randomCard()))).body
  const lastUse = async () =>
    (await merchant.vault('GET', `/v2/payment-methods/${id}`)).body.last_used_at
  const dryRun = await sallyport.as(merchant.proxyKey)(
    'POST',
    '/d/psp/anything',
    { n: '{{$card_number}}' },
    { 'sallyport-token': id, 'sallyport-dry-run': 'true' },
  )
  expect(dryRun.body.dry_run).toBe(true)
  expect(await lastUse()).toBeNull()
  const before = Date.now()

  await sent(id, { n: '{{$card_number}}' })

  const used = Date.parse(await lastUse())
  expect(used).toBeGreaterThanOrEqual(before)
  expect(used).toBeLessThanOrEqual(Date.now())
  const listed = await merchant.vault('GET', `/v2/customers/${customer}/saved-payment-methods`)
  expect(Date.parse(listed.body.customer_payment_methods[0].last_used_at)).toBe(used)
})

test('storing an instrument again counts as a use: who brings it is not done with it', async () => {
  const customer = await merchant.createCustomer()
  const number = randomCard()
  const first = (await create(customer, card(number))).body
  expect(first.last_used_at).toBeNull()

  const again = (await create(customer, card(number))).body

  expect(again.id).toBe(first.id)
  expect(Date.parse(again.last_used_at)).toBeGreaterThanOrEqual(Date.parse(first.created))
})

describe('raw details', () => {
  const raw = (call: Call, id: string) =>
    call('GET', `/v2/payment-methods/${id}?fetch_raw_detail=true&force_sync=true`)

  test('are shown to a key that may see them, without the code, and leave a line', async () => {
    const customer = await merchant.createCustomer()
    const number = randomCard()
    const ofCard = (
      await create(
        customer,
        card(number, { card_cvc: '987', card_holder_name: 'Zoë "Z" Ünal', nick_name: 'x' }),
      )
    ).body
    const ofBank = (await create(customer, sepa(IBAN, { account_holder_name: 'Zoë' }))).body
    const ofAccount = (await create(customer, ach('000123456789'))).body
    const ofWallet = (await create(customer, paypal('user@email.com'))).body

    const answer = await raw(revealing, ofCard.id)
    expect(answer.status).toBe(200)
    expect(answer.body).toEqual({
      ...ofCard,
      raw_payment_method_data: {
        card: {
          card_number: number,
          card_exp_month: '03',
          card_exp_year: '2035',
          card_holder_name: 'Zoë "Z" Ünal',
          nick_name: 'x',
          card_network: 'Visa',
        },
      },
    })
    expect(answer.text).not.toContain('987')
    expect((await raw(revealing, ofBank.id)).body.raw_payment_method_data).toEqual({
      bank_debit: { sepa: { iban: IBAN, account_holder_name: 'Zoë' } },
    })
    expect((await raw(revealing, ofAccount.id)).body.raw_payment_method_data).toEqual({
      bank_debit: {
        ach: { account_number: '000123456789', routing_number: '021000021' },
      },
    })
    expect((await raw(revealing, ofWallet.id)).body.raw_payment_method_data).toEqual({
      wallet: { paypal: { email: 'user@email.com' } },
    })
    const request = answer.headers.get('sallyport-request-id')
    const lines = await auditLines(sallyport)
    expect(lines.filter((line) => line.request === request)).toMatchObject([
      {
        kind: 'show',
        merchant: merchant.id,
        token: ofCard.id,
        fields: expect.arrayContaining(['card_number', 'card_exp_month']),
      },
    ])
    expect(JSON.stringify(lines)).not.toContain(number)
  })

  test('are not shown to another key', async () => {
    const number = randomCard()
    const { id } = (await create(await merchant.createCustomer(), card(number))).body

    const answer = await raw(merchant.vault, id)

    expect(answer.status).toBe(403)
    expectNoDigitsOf(number, answer)
    const other = await sallyport.createMerchant()
    const key = await sallyport.createKey(other.id, ['vault:read', 'vault:reveal'])
    expect((await raw(sallyport.as(key), id)).status).toBe(404)
  })
})

test('what is no card has no code and no names to change', async () => {
  const { id } = (await create(await merchant.createCustomer(), sepa(IBAN))).body
  const path = `/v2/payment-methods/${id}/update-saved-payment-method`

  const names = { payment_method_data: { card: { nick_name: 'x' } } }
  expect((await merchant.vault('PUT', path, names)).status).toBe(409)
  const answer = await merchant.vault('PUT', path, { billing: { zip: '2' }, metadata: { a: 1 } })

  expect(answer.body).toMatchObject({ billing: { zip: '2' }, metadata: { a: 1 } })
  expect(await sent(id, { iban: '{{$iban}}' })).toEqual({ iban: IBAN })
})

describe('a table of BINs', () => {
  test('says issuer, type and country of a new card where nobody else does', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sallyport-bins-'))
    const file = join(folder, 'bins.csv')
    await writeFile(
      file,
      'bin_from,bin_to,network,type,issuer,country\n424242,,Visa,prepaid,"Bank, Ltd.",FI\n',
    )
    await using withTable = await startSallyport({ vault: { bin_table_file: file } })
    const { vault } = await withTable.createMerchant()
    const post = async (more: object = {}) =>
      (await vault('POST', '/v2/payment-methods', card(randomCard(), more))).body
        .payment_method_data.card

    expect(await post()).toMatchObject({
      card_network: 'Visa',
      card_type: 'prepaid',
      card_issuer: 'Bank, Ltd.',
      issuer_country: 'FI',
    })
    expect(await post({ card_type: 'credit', card_issuer: 'Own' })).toMatchObject({
      card_type: 'credit',
      card_issuer: 'Own',
      issuer_country: 'FI',
    })
    await rm(folder, { recursive: true })
  })

  test('that is broken is refused at the start, line by line', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sallyport-bins-'))
    const file = join(folder, 'bins.csv')
    await writeFile(file, 'bin_from,bin_to,network,type,issuer,country\n42,,Visa,,,\n')

    await expect(startSallyport({ vault: { bin_table_file: file } })).rejects.toThrow(/line 2/)
    const missing = startSallyport({ vault: { bin_table_file: join(folder, 'none.csv') } })
    await expect(missing).rejects.toThrow(/cannot be read/)
    await rm(folder, { recursive: true })
  })
})
