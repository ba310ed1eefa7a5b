// Nothing crosses merchants: for every route, what one merchant asks about another's things is answered exactly as
// what it asks about things that do not exist, and changes nothing. Generated from the registered routes.

import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { collectRoutes, type RegisteredRoute } from '../http/registered-routes.ts'
import { type PspSimulator, startPspSimulator } from '../support/psp-simulator.ts'
import {
  type Answer,
  type Call,
  startSallyport,
  type TestMerchant,
  type TestSallyport,
} from '../support/sallyport.ts'
import { methodTokenOf, proxyRequests, requestFor, type Things } from './every-route.ts'

let sallyport: TestSallyport
let psp: PspSimulator
let routes: readonly RegisteredRoute[]
let other: TestMerchant
let others: Things
let nobodys: Things
/** The attacker's own, with all scopes there are. */
let own: Things
let mine: TestMerchant
let myControlPlane: Call
let myProxy: Call

const hex = () => randomBytes(16).toString('hex')

async function thingsOf(merchant: TestMerchant, name: string): Promise<Things> {
  const customer = (
    await merchant.vault('POST', '/v2/customers', { merchant_reference_id: `ref-${name}` })
  ).body.id
  const admin = sallyport.as(await sallyport.createKey(merchant.id, ['admin']))
  const profile = (await admin('POST', '/v2/profiles', { profile_name: name })).body.id
  const key = (await admin('POST', '/v2/api-keys', { name, scopes: ['vault:read'] })).body.key_id
  await merchant.createDestination({
    name,
    origin: psp.origin,
    inject_headers: { Authorization: `Bearer ${psp.apiKey}` },
    allow: [{ methods: ['POST', 'GET'], path: '/*', fields: ['card_number', 'card_cvc'] }],
  })
  const vault = await merchant.policy('PUT', '/v2/external-vault', {
    kind: 'vgs',
    api_origin: 'https://tntabc.live.vault-api.verygoodvault.com',
    token_url: 'https://auth.verygoodsecurity.com/auth/realms/vgs/protocol/openid-connect/token',
    client_id: name,
    client_secret: 'secret',
  })
  expect(vault.status).toBe(200)
  const method = await merchant.createCard({ card_cvc: '737' }, customer)
  const session = await merchant.createSession({ customer_id: customer })
  return {
    merchant: merchant.id,
    profile,
    key,
    customer,
    reference: `ref-${name}`,
    method,
    session: session.id,
    methodToken: await methodTokenOf(merchant, session.id),
    token: await merchant.createToken({ a: 1 }, customer),
    destination: name,
    origin: psp.origin,
  }
}

beforeAll(async () => {
  psp = await startPspSimulator()
  const collected = await collectRoutes(() => startSallyport())
  sallyport = collected.started
  routes = collected.routes.filter(({ scope }) => scope !== 'public')
  other = await sallyport.createMerchant()
  others = await thingsOf(other, 'theirs')
  mine = await sallyport.createMerchant()
  own = await thingsOf(mine, 'mine')
  const nobodysSession = `local_pms_${hex()}`
  nobodys = {
    merchant: `mer_${hex()}`,
    profile: `pro_${hex()}`,
    key: `key_${hex()}`,
    customer: `local_cus_${hex()}`,
    reference: 'ref-nobody',
    method: `local_pm_${hex()}`,
    token: `local_tok_${hex()}`,
    session: nobodysSession,
    methodToken: `pmt_${Buffer.from(`\u{2a}${nobodysSession}${hex()}`).toString('base64url')}`,
    destination: 'nobody',
    origin: psp.origin,
  }
  myControlPlane = sallyport.as(
    await sallyport.createKey(mine.id, [
      'admin',
      'vault:read',
      'vault:write',
      'vault:reveal',
      'policy:write',
      'payments',
      'routing',
      'audit:read',
    ]),
  )
  myProxy = sallyport.as(
    await sallyport.createKey(mine.id, ['proxy:invoke', 'vault:read', 'vault:write']),
  )
})

afterAll(async () => {
  await sallyport[Symbol.asyncDispose]()
  await psp.close()
})

/** Everything that is answered, but for what names the request and its time. */
function visible(answer: Answer) {
  const headers = Object.fromEntries(answer.headers)
  delete headers.date
  delete headers['sallyport-request-id']
  delete headers['server-timing']
  const text = answer.text.replaceAll(/req_[0-9a-f]{32}/g, 'req')
  return { status: answer.status, headers, text }
}

/** What the other merchant sees of its own things. */
async function snapshot(): Promise<string> {
  const admin = (path: string) => sallyport.admin('GET', `${path}?merchant_id=${other.id}`)
  const answers = await Promise.all([
    sallyport.admin('GET', `/v2/merchant-accounts/${other.id}`),
    admin('/v2/profiles'),
    admin('/v2/api-keys'),
    other.vault('GET', '/v2/customers/list'),
    other.vault('GET', `/v2/payment-methods/${others.method}`),
    other.vault('GET', `/v2/payment-method-sessions/${others.session}`),
    other.policy('GET', '/v2/destinations'),
    other.policy('GET', '/v2/external-vault'),
  ])
  for (const { status } of answers) expect(status).toBe(200)
  return answers.map(({ text }) => text).join('\n')
}

describe('on every route', () => {
  test("another merchant's things are answered like things that do not exist", async () => {
    const before = await snapshot()
    let compared = 0
    for (const route of routes) {
      const theirs = requestFor(route, others)
      const none = requestFor(route, nobodys)
      const saysWhose = JSON.stringify(theirs) !== JSON.stringify(none)
      if (!saysWhose) continue
      // Making something new of one's own that only has the same name is no question about theirs.
      if (route.method === 'POST' && route.url === '/v2/destinations') continue

      const answer = visible(await myControlPlane(theirs.method, theirs.path, theirs.body))
      const absent = visible(await myControlPlane(none.method, none.path, none.body))

      expect([route.method, route.url, answer]).toEqual([route.method, route.url, absent])
      expect([route.url, answer.status >= 400]).toEqual([route.url, true])
      compared += 1
    }
    expect(compared).toBeGreaterThan(25)
    expect(await snapshot()).toBe(before)
  })

  test('another merchant named in the query is answered like one that does not exist', async () => {
    const before = await snapshot()
    for (const route of routes.filter(({ scope }) => scope === 'admin')) {
      for (const ids of [others, own]) {
        const { method, path, body } = requestFor(route, ids)
        const withQuery = (id: string) => `${path}?merchant_id=${id}`
        // A name in the body would be judged by itself, which is another test.
        const unnamed =
          method === 'POST' ? { ...(body as object), merchant_id: others.merchant } : body
        const none =
          method === 'POST' ? { ...(body as object), merchant_id: nobodys.merchant } : body
        if (route.url.startsWith('/v2/merchant-accounts')) continue

        const answer = visible(await myControlPlane(method, withQuery(others.merchant), unnamed))
        const absent = visible(await myControlPlane(method, withQuery(nobodys.merchant), none))

        expect([route.method, route.url, answer]).toEqual([route.method, route.url, absent])
        expect(answer.status).toBe(404)
      }
    }
    expect(await snapshot()).toBe(before)
  })

  test('a profile of another merchant is answered like one that does not exist', async () => {
    const before = await snapshot()
    for (const route of routes.filter(({ scope }) => scope === 'policy:write')) {
      const { method, path, body } = requestFor(route, others)
      const as = async (profile: string) =>
        visible(await myControlPlane(method, path, body, { 'x-profile-id': profile }))

      const answer = await as(others.profile)

      expect([route.url, answer]).toEqual([route.url, await as(nobodys.profile)])
      expect(answer.status).toBe(404)
    }
    expect(await snapshot()).toBe(before)
  })
})

describe('through the proxy', () => {
  const send = async (things: Things, headers: Record<string, string> = {}) => {
    const answers = []
    for (const { method, path, body } of proxyRequests(things)) {
      const answer = await myProxy(method, path, body, {
        'sallyport-destination': psp.origin,
        ...headers,
      })
      answers.push({ method, path, ...visible(answer) })
    }
    return answers
  }
  /** Of the ways that name a destination, without the name. */
  const named = (answers: Awaited<ReturnType<typeof send>>) =>
    answers.filter(({ path }) => path.startsWith('/d/')).map(({ path: _, ...answer }) => answer)

  test("another merchant's token is answered like one that does not exist", async () => {
    const count = psp.received.length
    const answers = await send({ ...own, method: others.method })

    expect(answers).toEqual(await send({ ...own, method: nobodys.method }))
    // GET has no body and so no token; PUT, PATCH and DELETE are not allowed there.
    const refused = answers.filter(({ method }) => method === 'POST')
    for (const { text } of refused) expect(JSON.parse(text).error.reason).toBe('token_not_found')
    expect(psp.received.slice(count).filter(({ method }) => method !== 'GET')).toEqual([])
  })

  test('a token of another merchant is not found in header and envelope either', async () => {
    const body = { number: '{{$card_number}}' }
    for (const token of [others.method, nobodys.method]) {
      const forward = await myProxy('POST', '/forward/payments', body, {
        'sallyport-destination': psp.origin,
        'sallyport-token': token,
      })
      const envelope = await myProxy('POST', '/v2/proxy', {
        destination_url: `${psp.origin}/payments`,
        method: 'POST',
        request_body: body,
        token,
        token_type: 'payment_method_id',
      })
      expect(forward.body.error.reason).toBe('token_not_found')
      expect(envelope.body.error.reason).toBe('token_not_found')
    }
  })

  test("another merchant's destination is answered like one that does not exist", async () => {
    const theirs = named(await send({ ...own, destination: others.destination }))
    const nobody = named(await send({ ...own, destination: nobodys.destination }))

    expect(theirs).toEqual(nobody)
    for (const { text } of theirs) {
      expect(JSON.parse(text).error.reason).toBe('destination_not_allowed')
    }
  })

  test("another merchant's profile is answered like one that does not exist", async () => {
    const theirs = await send(own, { 'x-profile-id': others.profile })

    expect(theirs).toEqual(await send(own, { 'x-profile-id': nobodys.profile }))
    for (const { text } of theirs) expect(JSON.parse(text).error.reason).toBe('not_found')
  })
})

test('the same names and cards stand beside each other in two merchants', async () => {
  const customer = await mine.vault('POST', '/v2/customers', {
    merchant_reference_id: others.reference,
  })
  expect(customer.status).toBe(201)
  const card = await mine.createCard({}, customer.body.id)
  expect(card).not.toBe(others.method)
  const destination = { name: others.destination, origin: 'https://api.psp.test' }
  expect((await mine.policy('POST', '/v2/destinations', destination)).status).toBe(201)
})

test('a new key of another merchant opens nothing here', async () => {
  const stolen = sallyport.as(await sallyport.createKey(other.id, ['vault:read', 'vault:write']))

  const answers = await Promise.all([
    stolen('GET', `/v2/payment-methods/${own.method}`),
    stolen('GET', `/v2/customers/${own.customer}/saved-payment-methods`),
    stolen('DELETE', `/v2/payment-methods/${own.method}`),
    stolen('DELETE', `/v2/tokenize/${own.token}`),
  ])

  expect(answers.map(({ status }) => status)).toEqual([404, 404, 404, 404])
  expect((await stolen('GET', '/v2/customers/list')).text).not.toContain(own.customer)
})
