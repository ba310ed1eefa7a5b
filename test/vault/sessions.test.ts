// Payment-method sessions through the front door: what a server opens, what a page may do in one, and everything it may
// not. The clock is moved by hand.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { MerchantId, SessionId } from '../../src/core/ids.ts'
import { openStore } from '../../src/store/open.ts'
import { requestFor } from '../access/every-route.ts'
import { collectRoutes, type RegisteredRoute } from '../http/registered-routes.ts'
import { auditLines } from '../support/audit.ts'
import {
  type Answer,
  startSallyport,
  type TestMerchant,
  type TestSallyport,
  VISA,
} from '../support/sallyport.ts'
import { expectNoDigitsOf, randomCard } from './cards.ts'

const PATH = '/v2/payment-method-sessions'
const SHOP = 'https://shop.example'

let nowMs = Date.now()
let sallyport: TestSallyport
let routes: readonly RegisteredRoute[]
let merchant: TestMerchant
let other: TestMerchant
/** Of `merchant`, as an operator sees it. */
let profile: any

async function defaultProfile({ id }: TestMerchant): Promise<any> {
  const { body } = await sallyport.admin('GET', `/v2/profiles?merchant_id=${id}`)
  return body.find(({ is_default }: any) => is_default)
}

beforeAll(async () => {
  const collected = await collectRoutes(() =>
    startSallyport(
      { guards: { client_requests_per_address: { count: 100_000, window_s: 1 } } },
      { clock: () => nowMs },
    ),
  )
  sallyport = collected.started
  routes = collected.routes
  merchant = await sallyport.createMerchant()
  other = await sallyport.createMerchant()
  const { id } = await defaultProfile(merchant)
  profile = (
    await sallyport.admin('PUT', `/v2/profiles/${id}?merchant_id=${merchant.id}`, {
      allowed_origins: [SHOP],
    })
  ).body
})

afterAll(() => sallyport[Symbol.asyncDispose]())

type Page = (method: string, path: string, body?: unknown) => Promise<Answer>

/** Calls as a page does that was given the session's authorization, or another one. */
function pageOf(session: any, headers: Record<string, string> = {}): Page {
  const sent = { authorization: session.sdk_authorization, ...headers }
  return (method, path, body) =>
    sallyport.as('')(method, `${PATH}/${session.id}${path}`, body, sent)
}

const card = (changes: object = {}) => ({
  card_number: randomCard(),
  card_exp_month: '3',
  card_exp_year: '35',
  ...changes,
})

const cardBody = (changes: object = {}, rest: object = {}) => ({
  payment_method_type: 'card',
  payment_method_data: { card: card(changes) },
  ...rest,
})

const get = ({ id }: { id: string }) => merchant.vault('GET', `${PATH}/${id}`)

async function idOf(token: string): Promise<string> {
  const { body } = await merchant.vault('GET', `/v2/payment-methods/token/${token}/details`)
  return body.payment_method_id
}

const tokenIn = ({ body }: Answer): string =>
  body.associated_payment_methods[0].payment_method_token.data

async function confirmed(session: any, body: object = cardBody()): Promise<Answer> {
  const answer = await pageOf(session)('POST', '/confirm', body)
  expect([answer.status, answer.text]).toEqual([200, answer.text])
  return answer
}

/** Everything that is answered, but for what names the request and its time. */
function visible(answer: Answer) {
  const headers = Object.fromEntries(answer.headers)
  delete headers.date
  delete headers['sallyport-request-id']
  return { status: answer.status, headers, text: answer.text.replaceAll(/req_[0-9a-f]{32}/g, '') }
}

const reasonOf = ({ status, body }: Answer) => [status, body.error?.reason, body.error?.details]

describe('a session', () => {
  test('is opened by a server, which is told the client secret this once', async () => {
    const customer = await merchant.createCustomer()
    const before = nowMs

    const session = await merchant.createSession({
      customer_id: customer,
      billing: { line1: 'Main Street 1' },
      return_url: 'https://shop.example/done',
      network_tokenization: { enable: 'Skip' },
      storage_type: 'persistent',
    })

    expect(session).toEqual({
      id: expect.stringMatching(/^local_pms_[0-9a-f]{32}$/),
      customer_id: customer,
      billing: { line1: 'Main Street 1' },
      psp_tokenization: null,
      network_tokenization: { enable: 'Skip' },
      tokenization_data: null,
      storage_type: 'persistent',
      keep_alive: false,
      expires_at: new Date(before + 900_000).toISOString(),
      client_secret: expect.stringMatching(/^cs_[0-9a-f]{64}$/),
      sdk_authorization: expect.any(String),
      return_url: 'https://shop.example/done',
      next_action: null,
      authentication_details: null,
      associated_payment_methods: [],
      associated_token_id: null,
      card_cvc_token_storage: null,
    })
    expect(Buffer.from(session.sdk_authorization, 'base64').toString()).toBe(
      `publishable_key=${profile.publishable_key},payment_method_session_id=${session.id},profile_id=${profile.id},client_secret=${session.client_secret}`,
    )
    const redacted = { client_secret: 'CLIENT_SECRET_REDACTED', sdk_authorization: null }
    expect((await get(session)).body).toEqual({ ...session, ...redacted })
    expect((await pageOf(session)('GET', '')).body).toEqual({ ...session, ...redacted })
  })

  test('leaves neither its secret nor what it is to keep readable in the store', async () => {
    const session = await merchant.createSession({
      billing: { line1: 'Hidden-Street-4711' },
      tokenization_data: { account: 'Hidden-Account-4711' },
    })

    const bytes = readFileSync(join(sallyport.folder, 'store', 'sallyport.mdb'))

    expect(bytes.includes(session.id)).toBe(true)
    for (const text of [session.client_secret, 'Hidden-Street', 'Hidden-Account']) {
      expect(bytes.includes(text)).toBe(false)
    }
  })

  test('takes a card from a page, which is told a token and never the id', async () => {
    const session = await merchant.createSession()
    const number = randomCard()

    const answer = await confirmed(session, cardBody({ card_number: number, card_cvc: '737' }))

    expect(answer.text).not.toContain('_pm_')
    expectNoDigitsOf(number, answer)
    expect(answer.body).toMatchObject({
      client_secret: 'CLIENT_SECRET_REDACTED',
      associated_payment_methods: [
        {
          payment_method_token: {
            type: 'payment_method_session_token',
            data: expect.stringMatching(/^pmt_[A-Za-z0-9_-]+$/),
          },
        },
      ],
      card_cvc_token_storage: { is_stored: true, expires_at: expect.any(String) },
    })
    const [added] = (await get(session)).body.associated_payment_methods
    expect(added.payment_method_id).toMatch(/^local_pm_/)
    expect(await idOf(tokenIn(answer))).toBe(added.payment_method_id)
    const path = `/v2/payment-methods/${added.payment_method_id}`
    expect((await merchant.vault('GET', path)).body).toMatchObject({
      customer_id: session.customer_id,
      payment_method_data: { card: { last4_digits: number.slice(-4), expiry_month: '03' } },
      storage_type: 'persistent',
    })
  })

  test('is also served under /v1, and to a client that says key and secret itself', async () => {
    const session = await merchant.createSession()
    const authorization = `publishable-key=${profile.publishable_key},client-secret=${session.client_secret}`
    const path = `/v1/payment-method-sessions/${session.id}`

    const answer = await sallyport.as('')('POST', `${path}/confirm`, cardBody(), { authorization })

    expect(answer.status).toBe(200)
    const listed = await sallyport.as('')('GET', `${path}/list-payment-methods`, undefined, {
      authorization: `publishable-key=${profile.publishable_key}, client-secret=${session.client_secret}`,
    })
    expect(listed.body.customer_payment_methods).toHaveLength(1)
  })

  test('takes wallets and bank accounts', async () => {
    const wallet = await confirmed(await merchant.createSession(), {
      payment_method_type: 'wallet',
      payment_method_data: { wallet: { paypal: { email: 'user@example.com' } } },
    })
    const bank = await confirmed(await merchant.createSession(), {
      payment_method_type: 'bank_debit',
      payment_method_subtype: 'sepa',
      payment_method_data: { bank_debit: { sepa: { iban: 'DE89 3704 0044 0532 0130 00' } } },
    })

    for (const [answer, type] of [
      [wallet, 'wallet'],
      [bank, 'bank_debit'],
    ] as const) {
      const path = `/v2/payment-methods/${await idOf(tokenIn(answer))}`
      expect((await merchant.vault('GET', path)).body.payment_method_type).toBe(type)
    }
    expect(bank.text).not.toContain('0532')
  })

  test('resolves the same card of the same customer to the same payment method', async () => {
    const customer_id = await merchant.createCustomer()
    const number = randomCard()
    const known = await merchant.createCard({ card_number: number }, customer_id)

    const session = await merchant.createSession({ customer_id })
    const answer = await confirmed(session, cardBody({ card_number: number }))

    expect(await idOf(tokenIn(answer))).toBe(known)
  })

  test('turns its data into a token when it is confirmed, once', async () => {
    const session = await merchant.createSession({
      tokenization_data: { account: { iban: 'DE89370400440532013000' } },
      keep_alive: true,
    })
    expect(JSON.stringify(session)).not.toContain('DE89')

    const answer = await confirmed(session)

    const id = answer.body.associated_token_id
    expect(id).toMatch(/^local_tok_/)
    expect((await confirmed(session)).body.associated_token_id).toBe(id)
    const path = `/v2/tokenize/${id}`
    const body = { customer_id: session.customer_id, session_id: session.id }
    expect((await merchant.vault('DELETE', path, body)).body).toEqual({ id })
  })

  test('takes one payment method, or more where it is kept alive', async () => {
    const once = await merchant.createSession()
    await confirmed(once)
    expect(reasonOf(await pageOf(once)('POST', '/confirm', cardBody()))).toEqual([
      409,
      'conflict',
      undefined,
    ])
    expect((await get(once)).body.associated_payment_methods).toHaveLength(1)

    const kept = await merchant.createSession({ keep_alive: true })
    await confirmed(kept)
    await confirmed(kept)
    expect((await get(kept)).body.associated_payment_methods).toHaveLength(2)
  })

  test('of 20 confirmations at once takes one', async () => {
    const session = await merchant.createSession()

    const answers = await Promise.all(
      Array.from({ length: 20 }, () => pageOf(session)('POST', '/confirm', cardBody())),
    )

    expect(answers.map(({ status }) => status).filter((status) => status === 200)).toHaveLength(1)
    for (const { status } of answers) expect([200, 409, 429]).toContain(status)
    const path = `/v2/customers/${session.customer_id}/saved-payment-methods`
    expect((await merchant.vault('GET', path)).body.customer_payment_methods).toHaveLength(1)
  })

  test('whose confirmation died in the middle of it can be confirmed a minute later', async () => {
    const session = await merchant.createSession()
    {
      // As a process leaves it that was killed between the claim and the end.
      await using store = await openStore(
        {
          kind: 'lmdb',
          folder: join(sallyport.folder, 'store'),
          hourKeysFolder: join(sallyport.folder, 'cvc-keys'),
        },
        (error) => {
          throw error
        },
      )
      const record = await store.findSession(merchant.id as MerchantId, session.id as SessionId)
      if (record === undefined) throw new Error('the session is not in the store')
      await store.replaceSession({ ...record, attempts: 1, busyUntilMs: nowMs + 60_000 })
    }
    const change = () => merchant.vault('PUT', `${PATH}/${session.id}`, { billing: {} })

    expect((await pageOf(session)('POST', '/confirm', cardBody())).status).toBe(409)
    expect((await change()).status).toBe(409)
    nowMs += 60_000

    expect((await change()).status).toBe(200)
    expect((await pageOf(session)('POST', '/confirm', cardBody())).status).toBe(200)
    expect((await change()).status).toBe(409)
  })

  test('of a guest keeps what it takes for a while only', async () => {
    const session = await merchant.createSession({ customer_id: undefined })
    expect(session.customer_id).toBeNull()
    const persistent = cardBody({}, { storage_type: 'persistent' })
    expect(reasonOf(await pageOf(session)('POST', '/confirm', persistent))).toEqual([
      422,
      'invalid_value',
      undefined,
    ])

    const answer = await confirmed(session)

    const path = `/v2/payment-methods/${await idOf(tokenIn(answer))}`
    expect((await merchant.vault('GET', path)).body.storage_type).toBe('volatile')
    const listed = await pageOf(session)('GET', '/list-payment-methods')
    expect(listed.body.customer_payment_methods).toHaveLength(1)
  })

  test.each([
    [undefined, undefined, 'persistent'],
    [undefined, 'volatile', 'volatile'],
    ['persistent', undefined, 'persistent'],
    ['persistent', 'persistent', 'persistent'],
    ['volatile', 'volatile', 'volatile'],
    // A page chooses only where the session leaves it open.
    ['persistent', 'volatile', undefined],
    ['volatile', undefined, 'volatile'],
    ['volatile', 'persistent', undefined],
  ])('asked for as %s and confirmed as %s is kept as %s', async (asked, said, kept) => {
    const session = await merchant.createSession({ storage_type: asked })

    const answer = await pageOf(session)('POST', '/confirm', cardBody({}, { storage_type: said }))

    if (kept === undefined) {
      expect(answer.status).toBe(422)
      return
    }
    const path = `/v2/payment-methods/${await idOf(tokenIn(answer))}`
    expect((await merchant.vault('GET', path)).body.storage_type).toBe(kept)
  })

  test('keeps what a change does not name', async () => {
    const session = await merchant.createSession({ billing: { a: 1 }, keep_alive: true })

    const changed = await merchant.vault('PUT', `${PATH}/${session.id}`, {
      return_url: 'https://shop.example/x',
      tokenization_data: [1],
    })

    expect(changed.status).toBe(200)
    expect(changed.body).toEqual({
      ...session,
      client_secret: 'CLIENT_SECRET_REDACTED',
      sdk_authorization: null,
      return_url: 'https://shop.example/x',
    })
    expect((await confirmed(session)).body.associated_token_id).toMatch(/_tok_/)
  })

  test('is of the profile that the request names, or has no authorization where that has no key', async () => {
    const body = { profile_name: 'app', merchant_id: merchant.id }
    const app = (await sallyport.admin('POST', '/v2/profiles', body)).body
    const answer = await merchant.vault('POST', PATH, {}, { 'x-profile-id': app.id })

    expect(answer.status).toBe(201)
    expect(Buffer.from(answer.body.sdk_authorization, 'base64').toString()).toContain(
      `publishable_key=${app.publishable_key},`,
    )
    expect((await pageOf(answer.body)('GET', '')).status).toBe(200)
    for (const id of [(await defaultProfile(other)).id, 'x']) {
      const refused = await merchant.vault('POST', PATH, {}, { 'x-profile-id': id })
      expect(refused.status).toBe(404)
    }
  })

  test.each([
    ['unknown_field', 'psp_tokenization', { psp_tokenization: { tokenization_type: 'multi_use' } }],
    ['invalid_value', 'enable', { network_tokenization: { enable: 'Enable' } }],
    ['invalid_value', 'expires_in', { expires_in: 3601 }],
    ['invalid_value', 'expires_in', { expires_in: 0 }],
    ['invalid_value', 'return_url', { return_url: 'javascript:alert(1)' }],
    ['invalid_value', 'return_url', { return_url: '/relative' }],
    ['invalid_value', 'return_url', { return_url: `https://shop.example/${VISA}` }],
    ['invalid_value', 'storage_type', { storage_type: 'persistent' }],
    ['not_found', 'customer_id', { customer_id: `local_cus_${'0'.repeat(32)}` }],
    ['not_found', undefined, { customer_id: 'x' }],
  ])('is refused with %s of %s', async (reason, field, body) => {
    const answer = await merchant.vault('POST', PATH, body)

    expect(answer.body.error.reason).toBe(reason)
    expect(answer.body.error.details?.field).toBe(field)
  })
})

describe('a page', () => {
  test('sees the payment methods of its customer and nobody else’s, by tokens', async () => {
    const customer_id = await merchant.createCustomer()
    const mine = await merchant.createCard({ card_holder_name: 'Jane' }, customer_id)
    await merchant.createCard()
    const session = await merchant.createSession({ customer_id })

    const page = await pageOf(session)('GET', '/list-payment-methods')

    expect(page.status).toBe(200)
    expect(page.text).not.toContain('_pm_')
    expect(page.body.payment_methods_enabled).toContainEqual({
      payment_method_type: 'card',
      payment_method_subtype: 'credit',
    })
    const [listed, ...rest] = page.body.customer_payment_methods
    expect(rest).toEqual([])
    expect(listed).toMatchObject({
      customer_id,
      payment_method_type: 'card',
      payment_method_data: { card: { last4_digits: '4242', card_holder_name: 'Jane' } },
    })
    expect(await idOf(listed.payment_method_token)).toBe(mine)
    const server = await merchant.vault('GET', `${PATH}/${session.id}/list-payment-methods`)
    expect(server.body.customer_payment_methods[0].id).toBe(mine)
  })

  test('changes names and code of what its customer has saved', async () => {
    const customer_id = await merchant.createCustomer()
    const id = await merchant.createCard({}, customer_id)
    const page = pageOf(await merchant.createSession({ customer_id }))
    const [{ payment_method_token }] = (await page('GET', '/list-payment-methods')).body
      .customer_payment_methods

    const answer = await page('PUT', '/update-saved-payment-method', {
      payment_method_token,
      payment_method_data: { card: { nick_name: 'holiday', card_cvc: '737' } },
    })

    expect(answer.status).toBe(200)
    expect(answer.text).not.toContain('_pm_')
    const { body } = await merchant.vault('GET', `/v2/payment-methods/${id}`)
    expect(body).toMatchObject({
      payment_method_data: { card: { nick_name: 'holiday' } },
      card_cvc_token_storage: { is_stored: true },
    })
    expect(answer.body.card_cvc_token_storage).toEqual(body.card_cvc_token_storage)
  })

  test('is told whether a code is stored with what it changed, not with what it added', async () => {
    const customer_id = await merchant.createCustomer()
    await merchant.createCard({}, customer_id)
    const session = await merchant.createSession({ customer_id })
    const page = pageOf(session)
    const [{ payment_method_token }] = (await page('GET', '/list-payment-methods')).body
      .customer_payment_methods
    await confirmed(session, cardBody({ card_cvc: '737' }))

    const answer = await page('PUT', '/update-saved-payment-method', {
      payment_method_token,
      payment_method_data: { card: { nick_name: 'holiday' } },
    })

    expect([answer.status, answer.body.card_cvc_token_storage]).toEqual([200, null])
  })

  test('removes what its customer has saved, and never the session', async () => {
    const customer_id = await merchant.createCustomer()
    const id = await merchant.createCard({}, customer_id)
    const session = await merchant.createSession({ customer_id })
    const page = pageOf(session)
    const [{ payment_method_token }] = (await page('GET', '/list-payment-methods')).body
      .customer_payment_methods
    expect(reasonOf(await page('DELETE', ''))[1]).toBe('permission_denied')

    const answer = await page('DELETE', '', { payment_method_token })

    expect(answer.body).toEqual({ payment_method_token })
    expect((await merchant.vault('GET', `/v2/payment-methods/${id}`)).status).toBe(404)
    expect((await page('DELETE', '', { payment_method_token })).status).toBe(404)
    expect(await idOf(payment_method_token)).toBeUndefined()
    expect((await get(session)).status).toBe(200)
  })

  test('cannot use a token of another session, customer or merchant', async () => {
    const customer_id = await merchant.createCustomer()
    const id = await merchant.createCard({}, customer_id)
    const listOf = async (owner: TestMerchant, session: any) => {
      const path = `${PATH}/${session.id}/list-payment-methods`
      return (await owner.vault('GET', path)).body.customer_payment_methods[0].payment_method_token
    }
    const sibling = await merchant.createSession({ customer_id })
    const theirCustomer = await other.createCustomer()
    await other.createCard({}, theirCustomer)
    const theirs = await other.createSession({ customer_id: theirCustomer })
    const own = await listOf(merchant, sibling)
    const tokens = [
      await listOf(merchant, await merchant.createSession({ customer_id })),
      await listOf(other, theirs),
      id,
      '',
      'pmt_',
      'pmt_AAAA',
      own.slice(0, -1),
      `${own.slice(0, -4)}AAAA`,
      `${own}A`.slice(0, 256),
    ]

    const page = pageOf(await merchant.createSession({ customer_id }))
    for (const payment_method_token of [...tokens, own]) {
      const removal = await page('DELETE', '', { payment_method_token })
      const update = await page('PUT', '/update-saved-payment-method', {
        payment_method_token,
        payment_method_data: { card: { nick_name: 'stolen' } },
      })
      expect([payment_method_token, removal.status, update.status]).toEqual([
        payment_method_token,
        404,
        404,
      ])
    }
    const { body } = await merchant.vault('GET', `/v2/payment-methods/${id}`)
    expect(body.payment_method_data.card.nick_name).toBeNull()
  })

  test('keeps no way in when its session, its customer or its key is gone', async () => {
    const deleted = await merchant.createSession()
    const token = tokenIn(await confirmed(deleted))
    expect((await merchant.vault('DELETE', `${PATH}/${deleted.id}`)).body).toEqual({
      id: deleted.id,
    })
    const ofDeleted = await merchant.createSession()
    await merchant.vault('DELETE', `/v2/customers/${ofDeleted.customer_id}`)

    for (const session of [deleted, ofDeleted]) {
      expect((await pageOf(session)('GET', '')).status).toBe(401)
      expect((await get(session)).status).toBe(404)
    }
    expect(await idOf(token)).toBeUndefined()

    const session = await merchant.createSession()
    const path = `/v2/profiles/${profile.id}/rotate-publishable-key?merchant_id=${merchant.id}`
    profile = (await sallyport.admin('POST', path)).body
    expect((await pageOf(session)('GET', '')).status).toBe(401)
    const authorization = `publishable-key=${profile.publishable_key},client-secret=${session.client_secret}`
    expect((await pageOf(session, { authorization })('GET', '')).status).toBe(200)
  })

  test('nor anybody else, when its profile is gone', async () => {
    const body = { profile_name: 'gone', merchant_id: merchant.id }
    const { id } = (await sallyport.admin('POST', '/v2/profiles', body)).body
    const answer = await merchant.vault('POST', PATH, { keep_alive: true }, { 'x-profile-id': id })
    const session = answer.body
    const token = tokenIn(await confirmed(session))
    await sallyport.admin('DELETE', `/v2/profiles/${id}?merchant_id=${merchant.id}`)

    expect((await pageOf(session)('GET', '')).status).toBe(401)
    const path = `${PATH}/${session.id}`
    for (const refused of [
      await get(session),
      await merchant.vault('GET', `${path}/list-payment-methods`),
      await merchant.vault('POST', `${path}/confirm`, cardBody()),
      await merchant.vault('PUT', path, {}),
      await merchant.vault('GET', `/v2/payment-methods/token/${token}/details`),
    ]) {
      expect(reasonOf(refused)).toEqual([404, 'not_found', undefined])
    }
  })

  test('may send the customer on to pages of the merchant alone', async () => {
    const session = await merchant.createSession({ keep_alive: true })
    const page = pageOf(session)
    const to = (return_url: string) => page('POST', '/confirm', cardBody({}, { return_url }))

    expect((await to('https://evil.example/')).status).toBe(422)
    expect((await get(session)).body.return_url).toBeNull()
    expect((await to(`${SHOP}/thanks`)).body.return_url).toBe(`${SHOP}/thanks`)
  })

  test('gets nothing for its credential on any other route', async () => {
    const session = await merchant.createSession()
    const others = routes.filter(
      ({ scope, url }) => scope !== 'public' && !url.includes('/payment-method-sessions/:id'),
    )
    const things: any = new Proxy({}, { get: () => session.id })
    expect(others.length).toBeGreaterThan(40)
    for (const route of [...others, { method: 'PUT', url: `${PATH}/:id`, scope: 'vault:write' }]) {
      const { method, path, body } = requestFor(route, things)
      const answer = await sallyport.as('')(method, path, body, {
        authorization: session.sdk_authorization,
      })
      expect([method, path, answer.status]).toEqual([method, path, 401])
    }
  })
})

describe('an API key beside a publishable key', () => {
  test('counts, on routes for pages as on those for servers, and so does one that does not work', async () => {
    const session = await merchant.createSession()
    await confirmed(session)
    const client = `publishable-key=${profile.publishable_key},client-secret=${session.client_secret}`
    const ask = (authorization: string, path: string) =>
      sallyport.as('')('GET', path, undefined, { authorization })
    const path = `${PATH}/${session.id}`
    const customers = `/v2/customers/${session.customer_id}`

    for (const both of [
      `api-key=${merchant.vaultKey},${client}`,
      `${client}, api-key=${merchant.vaultKey}`,
    ]) {
      const shown = await ask(both, path)
      expect(shown.body.associated_payment_methods[0].payment_method_id).toMatch(/_pm_/)
      expect((await ask(both, customers)).status).toBe(200)
    }
    for (const bad of [`api-key=x,${client}`, `${client},api-key=`]) {
      expect((await ask(bad, path)).status).toBe(401)
      expect((await ask(bad, customers)).status).toBe(401)
    }
    const page = await ask(client, path)
    expect(page.body.associated_payment_methods[0].payment_method_id).toBeUndefined()
    expect((await ask(client, customers)).status).toBe(401)
  })
})

describe('a credential that does not work', () => {
  test('is answered like every other one, and nothing of the body is read', async () => {
    const session = await merchant.createSession()
    const sibling = await merchant.createSession()
    const theirs = await other.createSession()
    const gone = await merchant.createSession()
    await merchant.vault('DELETE', `${PATH}/${gone.id}`)
    const body = { profile_name: 'second', merchant_id: merchant.id }
    const second = (await sallyport.admin('POST', '/v2/profiles', body)).body
    const their = await defaultProfile(other)
    const pair = (key: string, secret: string) => `publishable-key=${key},client-secret=${secret}`
    const { publishable_key } = profile
    const { client_secret } = session
    const naming = (ids: { session: string; profile: string }) =>
      Buffer.from(
        `publishable_key=${publishable_key},payment_method_session_id=${ids.session},profile_id=${ids.profile},client_secret=${client_secret}`,
      ).toString('base64')
    const rows: [what: string, id: string, authorization: string][] = [
      ['unknown key', session.id, pair(`pk_${'0'.repeat(32)}`, client_secret)],
      ['no key', session.id, pair('x', client_secret)],
      ['key of another profile', session.id, pair(second.publishable_key, client_secret)],
      ['key of another merchant', session.id, pair(their.publishable_key, client_secret)],
      ['wrong secret', session.id, pair(publishable_key, `cs_${'0'.repeat(64)}`)],
      ['short secret', session.id, pair(publishable_key, 'x')],
      ['secret of another session', session.id, pair(publishable_key, sibling.client_secret)],
      ['authorization of another session', session.id, sibling.sdk_authorization],
      [
        'authorization that names another session',
        session.id,
        naming({ session: sibling.id, profile: profile.id }),
      ],
      [
        'authorization that names another profile',
        session.id,
        naming({ session: session.id, profile: second.id }),
      ],
      ["another merchant's session", theirs.id, session.sdk_authorization],
      ['no such session', `local_pms_${'0'.repeat(32)}`, pair(publishable_key, client_secret)],
      ['no session id', 'x', pair(publishable_key, client_secret)],
      ['deleted session', gone.id, gone.sdk_authorization],
      ['no pair', session.id, `client-secret=${client_secret}`],
      ['garbage', session.id, 'AAAA'],
    ]
    const expected = visible(await sallyport.as('')('GET', `${PATH}/${session.id}`))
    expect(expected.status).toBe(401)
    const good = naming({ session: session.id, profile: profile.id })
    expect((await pageOf(session, { authorization: good })('GET', '')).status).toBe(200)

    for (const [what, id, authorization] of rows) {
      for (const [method, path, sent] of [
        ['GET', '', undefined],
        ['GET', '/list-payment-methods', undefined],
        ['POST', '/confirm', '{"broken'],
        ['PUT', '/update-saved-payment-method', '{"broken'],
        ['DELETE', '', '{"broken'],
      ] as const) {
        const url = `${PATH}/${id}${path}`
        const answer = await sallyport.as('')(method, url, sent, { authorization })
        expect([what, method, visible(answer)]).toEqual([what, method, expected])
      }
    }
    expect((await get(session)).body.associated_payment_methods).toEqual([])
  })

  test('an expired session is one of them, and its token is dead', async () => {
    const session = await merchant.createSession({ expires_in: 60, keep_alive: true })
    const token = tokenIn(await confirmed(session))
    const wrong = { authorization: session.sdk_authorization.replace(/^..../, 'AAAA') }

    nowMs += 59_999
    expect((await pageOf(session)('GET', '')).status).toBe(200)
    expect(await idOf(token)).toMatch(/_pm_/)
    nowMs += 1

    const expected = visible(await pageOf(session, wrong)('GET', ''))
    expect(visible(await pageOf(session)('GET', ''))).toEqual(expected)
    expect((await pageOf(session)('POST', '/confirm', cardBody())).status).toBe(401)
    expect((await get(session)).status).toBe(404)
    expect((await merchant.vault('PUT', `${PATH}/${session.id}`, {})).status).toBe(404)
    expect(await idOf(token)).toBeUndefined()
  })
})

describe('an origin', () => {
  const from = (session: any, origin: string) => pageOf(session, { origin })

  test('that is allowed is told so, and may read why it is refused', async () => {
    const session = await merchant.createSession()

    const good = await from(session, SHOP)('GET', '')
    const bad = await pageOf(session, {
      origin: SHOP,
      authorization: `publishable-key=${profile.publishable_key},client-secret=cs_wrong`,
    })('GET', '')

    for (const [answer, status] of [
      [good, 200],
      [bad, 401],
    ] as const) {
      expect(answer.status).toBe(status)
      expect(answer.headers.get('access-control-allow-origin')).toBe(SHOP)
      expect(answer.headers.get('vary')).toBe('origin')
      expect(answer.headers.get('access-control-allow-credentials')).toBeNull()
    }
  })

  test.each([
    'https://evil.example',
    'https://shop.example.evil.example',
    'https://shop.example:8443',
    'http://shop.example',
    'https://www.shop.example',
    'null',
    '*',
    '',
  ])('that is not allowed changes nothing and reads nothing: %j', async (origin) => {
    const session = await merchant.createSession()

    for (const [method, path, body] of [
      ['GET', '', undefined],
      ['POST', '/confirm', cardBody()],
    ] as const) {
      const answer = await from(session, origin)(method, path, body)
      expect(reasonOf(answer)).toEqual([403, 'permission_denied', undefined])
      expect(answer.headers.get('access-control-allow-origin')).toBeNull()
    }
    expect((await get(session)).body.associated_payment_methods).toEqual([])
  })

  test('is not told to who has no key that is known', async () => {
    const session = await merchant.createSession()
    const authorization = `publishable-key=pk_${'0'.repeat(32)},client-secret=cs_x`

    const answer = await pageOf(session, { origin: SHOP, authorization })('GET', '')

    expect(answer.status).toBe(401)
    expect(answer.headers.get('access-control-allow-origin')).toBeNull()
  })

  async function preflight(path: string, origin: string, method = 'POST') {
    const headers = {
      origin,
      'access-control-request-method': method,
      'access-control-request-headers': 'authorization,content-type',
    }
    return sallyport.as('')('OPTIONS', path, undefined, headers)
  }

  test('is let ask before it sends, on routes for pages alone', async () => {
    const path = `${PATH}/local_pms_${'0'.repeat(32)}`

    const answer = await preflight(`${path}/confirm`, SHOP)

    expect(answer.status).toBe(204)
    expect(answer.headers.get('access-control-allow-origin')).toBe(SHOP)
    expect(answer.headers.get('access-control-allow-methods')).toBe('POST')
    expect(answer.headers.get('access-control-allow-headers')).toBe(
      'authorization, content-type, x-profile-id',
    )
    expect(answer.headers.get('access-control-allow-credentials')).toBeNull()
    const both = await preflight(path, SHOP, 'DELETE')
    expect(both.headers.get('access-control-allow-methods')?.split(', ').sort()).toEqual([
      'DELETE',
      'GET',
    ])
    for (const refused of [
      await preflight(PATH, SHOP),
      await preflight('/v2/customers', SHOP),
      await preflight('/v2/payment-methods', SHOP),
      await preflight('/v2/nope', SHOP),
      await preflight(`${path}/confirm`, 'null'),
      await preflight(`${path}/confirm`, 'http://shop.example'),
    ]) {
      expect(refused.status).toBeGreaterThanOrEqual(400)
      expect(refused.headers.get('access-control-allow-origin')).toBeNull()
    }
  })
})

describe('card testing', () => {
  const bad = [
    { card_number: '4242424242424241' },
    { card_number: '1234' },
    { card_number: '' },
    { card_exp_year: '2019' },
    { card_exp_month: '13' },
    { card_cvc: '12' },
    { card_cvc: 'abc' },
    { card_holder_name: 'Jane 4242 4242 4242 4242' },
  ]

  test('a page is not told what is wrong with a card, a server is', async () => {
    const session = await merchant.createSession({ keep_alive: true })
    const seen = new Set<string>()
    const fields: unknown[] = []
    for (const changes of bad) {
      const one = await merchant.createSession()
      const answer = await pageOf(one)('POST', '/confirm', cardBody(changes))
      seen.add(JSON.stringify(visible(answer)))
      const path = `${PATH}/${session.id}/confirm`
      fields.push((await merchant.vault('POST', path, cardBody(changes))).body.error.details?.field)
    }

    expect([...seen]).toHaveLength(1)
    const [only] = seen
    expect(JSON.parse(only ?? '')).toMatchObject({ status: 422 })
    expect(only).toContain('invalid_value')
    expect(only).not.toContain('details')
    expect(fields).toEqual([
      'card_number',
      'card_number',
      'card_number',
      'card_exp_year',
      'card_exp_month',
      'card_cvc',
      'card_cvc',
      'card_holder_name',
    ])
  })

  test.each([
    ['unknown_field', {}, { nope: 1 }],
    ['unknown_field', { nope: 1 }, {}],
    ['wrong_type', { card_number: 4242 }, {}],
    ['missing_field', { card_exp_year: undefined }, {}],
    ['invalid_value', { card_network: '1' }, {}],
    ['invalid_value', {}, { payment_method_subtype: 'X' }],
  ])('a page is not told which field is %s, a server is: %j %j', async (reason, changes, rest) => {
    const session = await merchant.createSession()
    const body = cardBody(changes, rest)

    const page = await pageOf(session)('POST', '/confirm', body)
    const server = await merchant.vault('POST', `${PATH}/${session.id}/confirm`, body)

    const told = reason === 'missing_field' ? 'invalid_value' : reason
    expect(reasonOf(page).slice(1)).toEqual([told, undefined])
    expect(page.text).not.toContain('details')
    expect(reasonOf(server).slice(1)).toEqual([reason, { field: expect.any(String) }])
  })

  test('nor is it told by an intent', async () => {
    const customer_id = await merchant.createCustomer()
    const path = '/v2/payment-methods'
    const intent = await merchant.vault('POST', `${path}/create-intent`, { customer_id })
    const authorization = `publishable-key=${profile.publishable_key},client-secret=${intent.body.client_secret}`
    const confirm = (body: object) =>
      sallyport.as('')('POST', `${path}/${intent.body.id}/confirm-intent`, body, { authorization })

    for (const body of [
      cardBody({ card_cvc: 'x' }),
      cardBody({ card_number: VISA.replace(/2$/, '1') }),
      cardBody({ card_network: '1' }),
      cardBody({}, { payment_method_subtype: 'X' }),
      cardBody({}, { customer_id: await merchant.createCustomer() }),
    ]) {
      expect(reasonOf(await confirm(body))).toEqual([422, 'invalid_value', undefined])
    }
  })

  test('a session is tried ten times and no more, good or bad', async () => {
    const session = await merchant.createSession({ keep_alive: true })
    const page = pageOf(session)
    for (let n = 0; n < 9; n++) {
      expect((await page('POST', '/confirm', cardBody({ card_cvc: 'x' }))).status).toBe(422)
    }
    expect((await page('POST', '/confirm', cardBody())).status).toBe(200)

    expect(reasonOf(await page('POST', '/confirm', cardBody()))[1]).toBe('rate_limited')
    const path = `${PATH}/${session.id}/confirm`
    expect((await merchant.vault('POST', path, cardBody())).status).toBe(429)
    expect((await page('GET', '')).body.associated_payment_methods).toHaveLength(1)
  })

  describe('one address may ask so often and no more', () => {
    let limited: TestSallyport
    let owner: TestMerchant
    let session: any
    /** Calls of each test come from elsewhere. */
    let addresses = 0
    const stranger = 'publishable-key=pk_x,client-secret=cs_x'

    beforeAll(async () => {
      limited = await startSallyport({
        guards: { client_requests_per_address: { count: 3, window_s: 3600 } },
        trusted_proxies: ['127.0.0.0/8'],
      })
      owner = await limited.createMerchant()
      const path = `/v2/profiles?merchant_id=${owner.id}`
      const [{ id }] = (await limited.admin('GET', path)).body
      await limited.admin('PUT', `/v2/profiles/${id}?merchant_id=${owner.id}`, {
        allowed_origins: [SHOP],
      })
      session = await owner.createSession()
    })

    afterAll(() => limited[Symbol.asyncDispose]())

    function from(address = `203.0.113.${addresses++}`) {
      return (authorization: string, headers: Record<string, string> = {}) =>
        limited.as('')('GET', `${PATH}/${session.id}`, undefined, {
          authorization,
          'x-forwarded-for': address,
          ...headers,
        })
    }

    test('with a right client secret or a wrong one', async () => {
      const ask = from()
      const wrong = `publishable-key=${publishableKey()},client-secret=cs_x`
      expect((await ask(session.sdk_authorization)).status).toBe(200)
      expect((await ask(wrong)).status).toBe(401)
      expect((await ask(session.sdk_authorization)).status).toBe(200)

      const refused = await ask(session.sdk_authorization)

      expect(reasonOf(refused)).toEqual([429, 'rate_limited', undefined])
      expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
      expect((await ask(wrong)).status).toBe(429)
      expect((await from()(session.sdk_authorization)).status).toBe(200)
      // Servers are counted by their own guard.
      expect((await owner.vault('GET', `${PATH}/${session.id}`)).status).toBe(200)
    })

    test('without a publishable key that works, which takes nothing from those who have one', async () => {
      const ask = from()
      for (let n = 0; n < 3; n++) expect((await ask(stranger)).status).toBe(401)

      expect((await ask(stranger)).status).toBe(429)

      expect((await ask(session.sdk_authorization)).status).toBe(200)
    })

    test('from a page that is not the merchant’s, which is told nothing of it', async () => {
      const ask = from()
      for (let n = 0; n < 3; n++) {
        const refused = await ask(session.sdk_authorization, { origin: 'https://evil.example' })
        expect(reasonOf(refused)[1]).toBe('permission_denied')
      }

      const evil = await ask(session.sdk_authorization, { origin: 'https://evil.example' })
      const good = await ask(session.sdk_authorization, { origin: SHOP })

      expect([evil.status, good.status]).toEqual([429, 429])
      expect(evil.headers.get('access-control-allow-origin')).toBeNull()
      expect(good.headers.get('access-control-allow-origin')).toBe(SHOP)
    })

    test('which of IPv6 is a network of 64 bits', async () => {
      const ask = (address: string) => from(address)(session.sdk_authorization)
      expect((await ask('2001:db8:1:2::1')).status).toBe(200)
      expect((await ask('2001:db8:1:2:ffff::2')).status).toBe(200)
      expect((await ask('2001:0DB8:1:2::3')).status).toBe(200)

      expect((await ask('2001:db8:1:2::4')).status).toBe(429)
      expect((await ask('2001:db8:1:3::1')).status).toBe(200)
    })

    function publishableKey(): string {
      const text = Buffer.from(session.sdk_authorization, 'base64').toString()
      return /publishable_key=([^,]+)/.exec(text)?.[1] ?? ''
    }
  })
})

describe('the audit trail', () => {
  test('says what a page did, for which profile, and holds no secret', async () => {
    const customer_id = await merchant.createCustomer()
    const session = await merchant.createSession({ customer_id, keep_alive: true })
    const number = randomCard()
    const page = pageOf(session)
    const token = tokenIn(await confirmed(session, cardBody({ card_number: number })))
    const id = await idOf(token)
    await page('PUT', '/update-saved-payment-method', {
      payment_method_token: token,
      payment_method_data: { card: { nick_name: 'n' } },
    })
    await page('DELETE', '', { payment_method_token: token })
    await merchant.vault('PUT', `${PATH}/${session.id}`, { billing: {} })
    await merchant.vault('DELETE', `${PATH}/${session.id}`)

    const lines = await auditLines(sallyport)

    const acts = lines
      .filter(({ object }) => object === session.id || object === id)
      .map(({ action, object, merchant, key, profile, client, session: inSession }) => ({
        action,
        isSession: object === session.id,
        merchant,
        by: profile ?? key?.slice(0, 4),
        client,
        inSession,
      }))
    const common = { merchant: merchant.id, client: '127.0.0.1' }
    const ofPage = { isSession: false, by: profile.id, inSession: session.id, ...common }
    expect(acts).toEqual([
      { action: 'session.create', isSession: true, by: 'key_', ...common },
      { action: 'payment_method.create', ...ofPage },
      { action: 'payment_method.update', ...ofPage },
      { action: 'payment_method.delete', ...ofPage },
      { action: 'session.update', isSession: true, by: 'key_', ...common },
      { action: 'session.delete', isSession: true, by: 'key_', ...common },
    ])
    const text = JSON.stringify(lines)
    for (const secret of [number, session.client_secret, session.sdk_authorization, token]) {
      expect(text).not.toContain(secret)
    }
  })

  test('has a line for each card that was tried in vain, and none for tries beyond the limit', async () => {
    const session = await merchant.createSession()
    const page = pageOf(session)
    for (let n = 0; n < 12; n++) await page('POST', '/confirm', cardBody({ card_cvc: 'x' }))

    const lines = await auditLines(sallyport)

    const tries = lines.filter(
      ({ action, object }) => action === 'session.refuse' && object === session.id,
    )
    expect(tries).toHaveLength(10)
    expect(tries[0]).toMatchObject({
      profile: profile.id,
      session: session.id,
      client: '127.0.0.1',
    })
  })

  test('says which intent a page confirmed', async () => {
    const customer_id = await merchant.createCustomer()
    const path = '/v2/payment-methods'
    const { id, client_secret } = (
      await merchant.vault('POST', `${path}/create-intent`, { customer_id })
    ).body
    const authorization = `publishable-key=${profile.publishable_key},client-secret=${client_secret}`

    const answer = await sallyport.as('')('POST', `${path}/${id}/confirm-intent`, cardBody(), {
      authorization,
    })

    expect(answer.status).toBe(200)
    const line = (await auditLines(sallyport)).findLast(({ object }) => object === id)
    expect(line).toMatchObject({ action: 'payment_method.update', profile: profile.id, intent: id })
    expect(line.session).toBeUndefined()
  })

  test('says so when a publishable key is rotated', async () => {
    const path = `/v2/profiles/${profile.id}/rotate-publishable-key?merchant_id=${merchant.id}`
    profile = (await sallyport.admin('POST', path)).body

    expect((await auditLines(sallyport)).at(-1)).toMatchObject({
      action: 'profile.rotate_publishable_key',
      object: profile.id,
    })
  })
})
