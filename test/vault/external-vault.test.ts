// Cards whose numbers an external vault keeps, through the front door: who may say where that is, what is put there and
// taken away again, and that a charge either has the real number in it or is not sent at all.

import { readFileSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Reason } from '../../src/core/errors.ts'
import { expectRefusal, type Reply, send, startUpstream, type Upstream } from '../proxy/upstream.ts'
import { auditLines } from '../support/audit.ts'
import {
  type Answer,
  startSallyport,
  type TestMerchant,
  type TestSallyport,
  VISA,
} from '../support/sallyport.ts'
import { type Fault, startVgsSimulator, type VgsSimulator } from '../support/vgs-simulator.ts'
import { expectNoDigitsOf, randomCard } from './cards.ts'

const CVC = '739'
const PATH = '/v2/external-vault'
const TIMEOUT_MS = 400

let sallyport: TestSallyport
/** Whose profile keeps its cards here and refers to a vault. */
let merchant: TestMerchant
/** Whose new cards go to its vault. */
let storing: TestMerchant
let vgs: VgsSimulator
let storingVgs: VgsSimulator
let psp: Upstream

beforeAll(async () => {
  sallyport = await startSallyport()
  vgs = await startVgsSimulator()
  storingVgs = await startVgsSimulator()
  psp = await startUpstream((request, response) => response.end(request.body))
  merchant = await startMerchant(vgs, false)
  storing = await startMerchant(storingVgs, true)
})

afterAll(async () => {
  await sallyport[Symbol.asyncDispose]()
  await vgs[Symbol.asyncDispose]()
  await storingVgs[Symbol.asyncDispose]()
  await psp.close()
})

beforeEach(() => {
  psp.seen.length = 0
  for (const each of [vgs, storingVgs]) {
    each.asked.length = 0
    each.faults.length = 0
    each.tokenFaults.length = 0
    each.delayMs = 0
    each.onAsked = () => {}
    each.isFingerprinting = false
  }
})

const settingsOf = (vault: VgsSimulator, more: object = {}) => ({
  kind: 'vgs',
  api_origin: vault.origin,
  token_url: vault.tokenUrl,
  client_id: vault.clientId,
  client_secret: vault.clientSecret,
  timeout_ms: TIMEOUT_MS,
  ...more,
})

async function startMerchant(vault: VgsSimulator, stores_cards: boolean): Promise<TestMerchant> {
  const made = await sallyport.createMerchant()
  await made.createDestination({
    name: 'psp',
    origin: psp.origin,
    allow: [
      {
        methods: ['POST'],
        path: '/*',
        fields: [
          'card_number',
          'card_exp_month',
          'card_exp_year',
          'card_holder_name',
          'card_bin',
          'card_last4',
          'card_cvc',
        ],
      },
    ],
  })
  const answer = await made.policy('PUT', PATH, settingsOf(vault, { stores_cards }))
  expect(answer.status).toBe(200)
  return made
}

const proxyCard = (alias: string, more: object = {}) => ({
  payment_method_type: 'card',
  payment_method_data: {
    proxy_card: { card_number: alias, card_exp_month: '03', card_exp_year: '2035', ...more },
  },
})

async function createProxyCard(
  alias: string,
  more: object = {},
  owner = merchant,
): Promise<string> {
  const customer_id = await owner.createCustomer()
  const body = { customer_id, ...proxyCard(alias, more) }
  const answer = await owner.vault('POST', '/v2/payment-methods', body)
  expect([answer.status, answer.body.error]).toEqual([201, undefined])
  return answer.body.id
}

const post = (
  body: string,
  headers: Record<string, string> = {},
  owner = merchant,
): Promise<Reply> =>
  send(
    sallyport.origin,
    'POST',
    '/d/psp/pay',
    { 'Sallyport-Key': owner.proxyKey, 'Content-Type': 'application/json', ...headers },
    body,
  )

const charge = (token: string, owner = merchant) =>
  post(`["{{$card_number: ${token}}}"]`, {}, owner)

const received = () => psp.seen.map(({ body }) => body.toString())
const asked = (vault: VgsSimulator, method: string) =>
  vault.asked.filter((each) => each.startsWith(`${method} /aliases`))
const tokenOf = (answer: Answer): string => {
  expect([answer.status, answer.body.error]).toEqual([answer.status, undefined])
  return answer.body.id
}

async function profileOf(owner: TestMerchant): Promise<string> {
  const admin = sallyport.as(await sallyport.createKey(owner.id, ['admin']))
  const made = await admin('POST', '/v2/profiles', { profile_name: 'second' })
  return made.body.id
}

describe('settings', () => {
  test('are told without the secret, which lies nowhere in the clear', async () => {
    const fresh = await startMerchant(vgs, true)
    const answer = await fresh.policy('GET', PATH)

    const { client_secret: _, ...shown } = settingsOf(vgs, { stores_cards: true })
    expect(answer.body).toEqual({ ...shown, profile_id: expect.stringMatching(/^pro_/) })
    const files = await readdir(sallyport.folder, { recursive: true, withFileTypes: true })
    for (const file of files.filter((each) => each.isFile())) {
      const bytes = await readFile(join(file.parentPath, file.name))
      expect([file.name, bytes.includes(vgs.clientSecret)]).toEqual([file.name, false])
      expect([file.name, bytes.includes(vgs.clientId)]).toEqual([file.name, false])
    }
  })

  test('are a matter of policy: no other key may see, set or delete them', async () => {
    for (const call of [merchant.vault, merchant.proxy]) {
      const answers = [
        await call('GET', PATH),
        await call('GET', `${PATH}/health`),
        await call('PUT', PATH, settingsOf(vgs)),
        await call('DELETE', PATH),
      ]
      for (const { status, body } of answers) {
        expect([status, body.error.reason]).toEqual([403, 'permission_denied'])
      }
    }
  })

  test.each([
    ['api_origin', 'https://api.example.com/path'],
    ['api_origin', 'https://api.example.com/?x=1'],
    ['api_origin', 'https://*.example.com'],
    ['api_origin', 'https://user@api.example.com'],
    ['api_origin', 'https://0x7f.1'],
    ['api_origin', 'ftp://api.example.com'],
    ['token_url', 'https://user@auth.example.com/token'],
    ['token_url', 'https://auth.example.com/token#x'],
    ['token_url', 'auth.example.com/token'],
  ])('%s is not %s', async (field, value) => {
    const answer = await merchant.policy('PUT', PATH, settingsOf(vgs, { [field]: value }))

    expect(answer.body.error).toMatchObject({ reason: 'invalid_value', details: { field } })
  })

  test('without TLS, or on another port, is for development alone', async () => {
    await using strict = await startSallyport({ egress: { allow_private: [], allow_http: false } })
    const there = await strict.createMerchant()
    const put = async (more: object) =>
      (await there.policy('PUT', PATH, settingsOf(vgs, more))).body.error?.details?.field
    const api_origin = 'https://tntabc.live.vault-api.verygoodvault.com'
    const token_url = 'https://auth.verygoodsecurity.com/auth/realms/vgs/protocol/token'

    expect(await put({ token_url })).toBe('api_origin')
    expect(await put({ api_origin })).toBe('token_url')
    expect(await put({ api_origin: 'https://10.0.0.1', token_url })).toBe('api_origin')
    expect(await put({ api_origin: `${api_origin}:8443`, token_url })).toBe('api_origin')
    expect(await put({ api_origin, token_url })).toBeUndefined()
  })

  test('are those of one profile', async () => {
    const fresh = await startMerchant(vgs, false)
    const second = { 'x-profile-id': await profileOf(fresh) }
    expect((await fresh.policy('GET', PATH, undefined, second)).status).toBe(404)

    const own = settingsOf(storingVgs)
    expect((await fresh.policy('PUT', PATH, own, second)).status).toBe(200)

    expect((await fresh.policy('GET', PATH, undefined, second)).body.api_origin).toBe(
      own.api_origin,
    )
    expect((await fresh.policy('GET', PATH)).body.api_origin).toBe(vgs.origin)
    expect((await fresh.policy('DELETE', PATH)).status).toBe(200)
    expect((await fresh.policy('GET', PATH)).status).toBe(404)
    expect((await fresh.policy('DELETE', PATH)).status).toBe(404)
    expect((await fresh.policy('GET', PATH, undefined, second)).status).toBe(200)
    expect((await merchant.policy('GET', PATH, undefined, second)).status).toBe(404)
    expect((await merchant.policy('PUT', PATH, own, second)).status).toBe(404)
  })

  test('leave a line in the audit trail when they are changed', async () => {
    const fresh = await startMerchant(vgs, false)
    await fresh.policy('DELETE', PATH)

    const lines = (await auditLines(sallyport)).filter(
      ({ merchant: id, action }) => id === fresh.id && action?.startsWith('external_vault'),
    )
    expect(lines.map(({ action }) => action)).toEqual([
      'external_vault.update',
      'external_vault.delete',
    ])
  })

  test('can be tried: the vault is asked, and says what is wrong', async () => {
    const fresh = await startMerchant(vgs, false)
    const health = async () => (await fresh.policy('GET', `${PATH}/health`)).body

    expect(await health()).toEqual({ status: 'up' })
    vgs.faults.push({ status: 429 })
    expect(await health()).toEqual({ status: 'degraded', failure: 'rate_limited' })
    vgs.faults.push({ status: 503 })
    expect(await health()).toEqual({ status: 'down', failure: 'unavailable' })
    await fresh.policy('PUT', PATH, settingsOf(vgs, { client_secret: 'wrong' }))
    expect(await health()).toEqual({ status: 'down', failure: 'unauthenticated' })
    await fresh.policy('DELETE', PATH)
    expect((await fresh.policy('GET', `${PATH}/health`)).status).toBe(404)
  })
})

describe("a merchant's own alias", () => {
  test('becomes the number on its way to the destination, and nowhere else', async () => {
    const number = randomCard()
    const alias = vgs.keep(number)
    const token = await createProxyCard(alias)

    const reply = await charge(token)

    expect(reply.status).toBe(200)
    expect(received()).toEqual([`["${number}"]`])
    // The destination of these tests repeats what it got: the leak guard knows the number, too.
    expect(reply.text).toBe(`["${number.slice(0, 6)}******${number.slice(-4)}"]`)
    expect(reply.headers['sallyport-redactions']).toBe('1')
    const trail = await readFile(join(sallyport.folder, 'audit', 'audit.jsonl'), 'utf8')
    expect(trail).toContain(token)
    expect(trail).not.toContain(number)
    expect(trail).not.toContain(alias)
  })

  test('may look like a card number: it is an alias all the same', async () => {
    const number = randomCard()
    const token = await createProxyCard(vgs.keep(number, '4111111111111111'))

    await charge(token)

    expect(received()).toEqual([`["${number}"]`])
  })

  test('is asked for once per request, however often its fields stand there', async () => {
    const number = randomCard()
    const token = await createProxyCard(vgs.keep(number))

    await post(
      `{"a":"{{$card_number: ${token}}}","b":"{{$card_number: ${token}}}","c":"{{$card_bin: ${token}}}","d":"{{$card_last4: ${token}}}"}`,
    )

    expect(received()).toEqual([
      `{"a":"${number}","b":"${number}","c":"${number.slice(0, 6)}","d":"${number.slice(-4)}"}`,
    ])
    expect(asked(vgs, 'GET')).toHaveLength(1)
  })

  test('of two cards, both are asked for', async () => {
    const [one, other] = [randomCard(), randomCard()]
    const tokens = [await createProxyCard(vgs.keep(one)), await createProxyCard(vgs.keep(other))]

    await post(`["{{$card_number: ${tokens[0]}}}","{{$card_number: ${tokens[1]}}}"]`)

    expect(received()).toEqual([`["${one}","${other}"]`])
    expect(asked(vgs, 'GET')).toHaveLength(2)
  })

  test('is not asked for when only what is known here is wanted', async () => {
    const token = await createProxyCard(vgs.keep(randomCard()), { card_holder_name: 'Jane Doe' })

    await post(
      `["{{$card_exp_month: ${token}}}","{{$card_exp_year: ${token}}}","{{$card_holder_name: ${token}}}"]`,
    )

    expect(received()).toEqual(['["03","2035","Jane Doe"]'])
    expect(vgs.asked).toEqual([])
  })

  test('is not asked for before the audit trail has the line, nor after a refusal', async () => {
    const token = await createProxyCard(vgs.keep(randomCard()))
    const seen: boolean[] = []
    const file = join(sallyport.folder, 'audit', 'audit.jsonl')
    vgs.onAsked = () => {
      const isTold = readFileSync(file, 'utf8').includes(`"token":"${token}"`)
      seen.push(isTold && psp.seen.length === 0)
    }

    await charge(token)
    const refused = await post(`["{{$card_number: ${token}}}","{{$card_cvc: ${token}}}"]`)

    expectRefusal(refused, 'cvc_not_available')
    expect(seen).toEqual([true])
  })

  test('is not asked for in a dry run, which shows what is known here', async () => {
    const [known, unknown] = [
      await createProxyCard(vgs.keep(randomCard()), { bin_number: '424242', last_four: '4242' }),
      await createProxyCard(vgs.keep(randomCard())),
    ]
    const dry = { 'Sallyport-Dry-Run': 'true' }

    const shown = await post(
      `["{{$card_number: ${known}}}","{{$card_last4: ${known}}}","{{$card_number: ${unknown}}}"]`,
      dry,
    )

    expect(shown.json.request.body).toBe('["424242XXXXXX4242","4242","000000XXXXXX0000"]')
    expect(vgs.asked).toEqual([])
  })

  test('is of one profile: under another it is another card', async () => {
    const fresh = await startMerchant(vgs, false)
    const second = { 'x-profile-id': await profileOf(fresh) }
    await fresh.policy('PUT', PATH, settingsOf(storingVgs), second)
    const [one, other] = [randomCard(), randomCard()]
    const alias = vgs.keep(one)
    storingVgs.keep(other, alias)
    const customer_id = await fresh.createCustomer()
    const body = { customer_id, ...proxyCard(alias) }

    const first = tokenOf(await fresh.vault('POST', '/v2/payment-methods', body))
    const third = tokenOf(await fresh.vault('POST', '/v2/payment-methods', body, second))
    const again = tokenOf(await fresh.vault('POST', '/v2/payment-methods', body))

    expect(again).toBe(first)
    await charge(first, fresh)
    await charge(third, fresh)
    expect(received()).toEqual([`["${one}"]`, `["${other}"]`])
  })

  test('is of one merchant: the vault of another is not asked', async () => {
    const alias = storingVgs.keep(randomCard())
    const token = await createProxyCard(alias)

    const reply = await charge(token)
    const foreign = await charge(token, storing)

    expectRefusal(reply, 'token_not_found')
    expect(reply.json.error.details).toEqual({ field: 'card_number' })
    expectRefusal(foreign, 'token_not_found')
    expect(storingVgs.asked).toEqual([])
    expect(psp.seen).toEqual([])
  })

  test('is only forgotten here when it is deleted', async () => {
    const alias = vgs.keep(randomCard())
    const token = await createProxyCard(alias)
    vgs.asked.length = 0

    expect((await merchant.vault('DELETE', `/v2/payment-methods/${token}`)).status).toBe(200)

    expect(vgs.asked).toEqual([])
    expect(vgs.numbers.has(alias)).toBe(true)
    expectRefusal(await charge(token), 'token_not_found')
  })

  test('keeps its vault when names are changed', async () => {
    const number = randomCard()
    const token = await createProxyCard(vgs.keep(number))
    const path = `/v2/payment-methods/${token}/update-saved-payment-method`
    await merchant.vault('PUT', path, {
      payment_method_data: { card: { card_holder_name: 'John Roe' } },
    })

    await post(`["{{$card_number: ${token}}}","{{$card_holder_name: ${token}}}"]`)

    expect(received()).toEqual([`["${number}","John Roe"]`])
  })

  test('is shown raw to those who may see it, and to nobody when the vault fails', async () => {
    const number = randomCard()
    const token = await createProxyCard(vgs.keep(number))
    const path = `/v2/payment-methods/${token}?fetch_raw_detail=true`
    const revealing = sallyport.as(
      await sallyport.createKey(merchant.id, ['vault:read', 'vault:reveal']),
    )

    const shown = await revealing('GET', path)
    vgs.faults.push({ status: 500 })
    const failed = await revealing('GET', path)

    expect(shown.body.raw_payment_method_data.card.card_number).toBe(number)
    expect(failed.body.error.reason).toBe('external_vault_unavailable')
    expectNoDigitsOf(number, failed)
  })

  test('counts as time in the vault', async () => {
    const token = await createProxyCard(vgs.keep(randomCard()))
    vgs.delayMs = 150

    const reply = await charge(token)

    const ms = Number(/vault;dur=([0-9.]+)/.exec(String(reply.headers['server-timing']))?.[1])
    expect(ms).toBeGreaterThanOrEqual(149)
  })

  test('streams: each window is asked for as it comes', async () => {
    const number = randomCard()
    const token = await createProxyCard(vgs.keep(number))
    const filling = ' '.repeat(300_000)

    const reply = await post(
      `["{{$card_number: ${token}}}",${filling}"{{$card_number: ${token}}}"]`,
    )

    expect(reply.status).toBe(200)
    expect(received()).toEqual([`["${number}",${filling}"${number}"]`])
  })
})

describe('a vault that fails', () => {
  const FAULTS: readonly (readonly [string, readonly Fault[], Reason])[] = [
    [
      'refuses its credentials twice',
      [{ status: 401 }, { status: 401 }],
      'external_vault_unavailable',
    ],
    ['forbids', [{ status: 403 }], 'external_vault_unavailable'],
    ['does not know the alias', [{ status: 404 }], 'token_not_found'],
    ['limits the rate', [{ status: 429 }], 'external_vault_unavailable'],
    ['has an error', [{ status: 500 }], 'external_vault_unavailable'],
    ['redirects', [{ status: 307 }], 'external_vault_unavailable'],
    ['says nothing', [{ say: 'nothing' }], 'external_vault_unavailable'],
    ['breaks off', [{ say: 'half' }], 'external_vault_unavailable'],
    ['resets', [{ say: 'reset' }], 'external_vault_unavailable'],
    [
      'says too much',
      [{ body: `{"data":[{"value":"${VISA}"}]}${' '.repeat(70_000)}` }],
      'external_vault_unavailable',
    ],
    ['says nonsense', [{ body: '{"data":[{"value":"4242' }], 'external_vault_unavailable'],
    ['has no card there', [{ instead: { value: '123' } }], 'token_not_found'],
    [
      'is about another alias',
      [{ instead: { alias: 'tok_other', value: VISA } }],
      'external_vault_unavailable',
    ],
  ]

  test.each(FAULTS)(
    'and %s: nothing is sent, and the code is there again',
    async (_, faults, reason) => {
      const number = randomCard()
      const token = await createProxyCard(vgs.keep(number), { card_cvc: CVC })
      const body = `["{{$card_number: ${token}}}","{{$card_cvc: ${token}}}"]`
      const key = { 'Sallyport-Idempotency-Key': `order-${token}` }
      vgs.faults.push(...faults)
      const before = psp.connections

      const reply = await post(body, key)

      expectRefusal(reply, reason)
      for (const at of [0, 4, 8]) expect(reply.text).not.toContain(number.slice(at, at + 8))
      expect(psp.seen).toEqual([])
      expect(psp.connections).toBe(before)
      // Safe to send again, as it says: code and key are free.
      expect((await post(body, key)).status).toBe(200)
      expect(received()).toEqual([`["${number}","${CVC}"]`])
    },
  )

  test.each([
    ['BIN', { bin_number: '510000' }],
    ['long BIN', { bin_number: '42424200' }],
    ['last four', { last_four: '0000' }],
  ])('and has a card of another %s than is known here: nothing is sent', async (_, known) => {
    const number = '4242424242424242'
    const right = { bin_number: '42424242', last_four: '4242' }
    const [token, good] = [
      await createProxyCard(vgs.keep(number), { ...right, ...known }),
      await createProxyCard(vgs.keep(number), right),
    ]

    const reply = await charge(token)

    expectRefusal(reply, 'external_vault_unavailable')
    expect(reply.text).not.toContain('4242')
    expect(psp.seen).toEqual([])
    expect((await charge(good)).status).toBe(200)
  })

  test('of two cards fails both', async () => {
    const tokens = [
      await createProxyCard(vgs.keep(randomCard())),
      await createProxyCard('tok_none'),
    ]

    const reply = await post(`["{{$card_number: ${tokens[0]}}}","{{$card_number: ${tokens[1]}}}"]`)

    expectRefusal(reply, 'token_not_found')
    expect(psp.seen).toEqual([])
  })

  test('fails a streamed body, too, which never ends', async () => {
    const token = await createProxyCard('tok_none')

    const reply = await post(`[${' '.repeat(300_000)}"{{$card_number: ${token}}}"]`)

    expect(reply.json.error.reason).toBe('token_not_found')
    expect(psp.seen).toEqual([])
  })

  test('is one that is not there any more', async () => {
    const fresh = await startMerchant(vgs, false)
    const token = await createProxyCard(vgs.keep(randomCard()), {}, fresh)
    await fresh.policy('DELETE', PATH)

    expectRefusal(await charge(token, fresh), 'external_vault_unavailable')
  })

  test('is one whose address may not be reached', async () => {
    await using strict = await startSallyport({ egress: { allow_private: [], allow_http: true } })
    const there = await strict.createMerchant()
    await there.policy('PUT', PATH, settingsOf(vgs))

    const health = await there.policy('GET', `${PATH}/health`)

    expect(health.body).toEqual({ status: 'down', failure: 'unavailable' })
    expect(vgs.asked).toEqual([])
  })

  test('is left behind by a caller who does not wait', async () => {
    const token = await createProxyCard(vgs.keep(randomCard()), { card_cvc: CVC })
    vgs.delayMs = 200

    const reply = await post(`["{{$card_number: ${token}}}","{{$card_cvc: ${token}}}"]`, {
      'Sallyport-Timeout-Ms': '50',
    })

    expectRefusal(reply, 'upstream_connect_timeout')
    const shown = await merchant.vault('GET', `/v2/payment-methods/${token}`)
    expect(shown.body.card_cvc_token_storage).toMatchObject({ is_stored: true })
    expect(psp.seen).toEqual([])
  })
})

describe('where new cards are kept there', () => {
  const card = (card_number: string, more: object = {}) => ({
    payment_method_type: 'card',
    payment_method_data: {
      card: { card_number, card_exp_month: '03', card_exp_year: '2035', ...more },
    },
  })
  const create = (customer_id: string | undefined, body: object) =>
    storing.vault('POST', '/v2/payment-methods', { customer_id, ...body })
  const remove = (token: string) => storing.vault('DELETE', `/v2/payment-methods/${token}`)
  const aliasesOf = (number: string) =>
    [...storingVgs.numbers].filter(([, kept]) => kept === number).map(([alias]) => alias)

  test('the number goes to the vault, and what may be shown stays here', async () => {
    const number = randomCard()
    const made = await create(await storing.createCustomer(), card(number, { card_cvc: CVC }))

    expect(made.status).toBe(201)
    expect(aliasesOf(number)).toHaveLength(1)
    expect(made.body.payment_method_data.card).toMatchObject({
      saved_to_locker: false,
      card_isin: number.slice(0, 6),
      last4_digits: number.slice(-4),
      card_network: 'Visa',
    })
    expect(made.text).not.toContain(aliasesOf(number)[0])
    await post(
      `["{{$card_number: ${made.body.id}}}","{{$card_cvc: ${made.body.id}}}"]`,
      {},
      storing,
    )
    expect(received()).toEqual([`["${number}","${CVC}"]`])
    expect(asked(storingVgs, 'GET')).toHaveLength(1)
  })

  test('the same card of the same customer is one payment method and one insertion', async () => {
    const number = randomCard()
    const [customer, other] = [await storing.createCustomer(), await storing.createCustomer()]

    const first = await create(customer, card(number))
    const again = await create(customer, card(number, { card_holder_name: 'Jane Doe' }))
    const others = await create(other, card(number))

    expect([again.status, again.body.id]).toEqual([200, first.body.id])
    expect(again.body.payment_method_data.card).toMatchObject({
      saved_to_locker: false,
      card_holder_name: 'Jane Doe',
    })
    expect(others.body.id).not.toBe(first.body.id)
    expect(aliasesOf(number)).toHaveLength(2)
    await post(
      `["{{$card_number: ${first.body.id}}}","{{$card_holder_name: ${first.body.id}}}"]`,
      {},
      storing,
    )
    expect(received()).toEqual([`["${number}","Jane Doe"]`])
  })

  test('of creates that race, one insertion stays', async () => {
    const number = randomCard()
    const customer = await storing.createCustomer()

    const answers = await Promise.all(
      Array.from({ length: 5 }, () => create(customer, card(number))),
    )

    expect(new Set(answers.map(tokenOf)).size).toBe(1)
    expect(aliasesOf(number)).toHaveLength(1)
    await charge(tokenOf(answers[0] as Answer), storing)
    expect(received()).toEqual([`["${number}"]`])
  })

  test('of creates that race where the vault has one alias for one number, it stays', async () => {
    storingVgs.isFingerprinting = true
    const number = randomCard()
    const customer = await storing.createCustomer()

    const answers = await Promise.all(
      Array.from({ length: 5 }, () => create(customer, card(number))),
    )

    await charge(tokenOf(answers[0] as Answer), storing)
    expect(received()).toEqual([`["${number}"]`])
  })

  test('nothing is stored here when the vault does not take it', async () => {
    const number = randomCard()
    const customer = await storing.createCustomer()
    storingVgs.faults.push({ status: 500 })

    const answer = await create(customer, card(number))

    expect([answer.status, answer.body.error.reason]).toEqual([503, 'external_vault_unavailable'])
    expectNoDigitsOf(number, answer)
    const saved = await storing.vault('GET', `/v2/customers/${customer}/saved-payment-methods`)
    expect(saved.body.customer_payment_methods).toEqual([])
    expect((await create(customer, card(number))).status).toBe(201)
  })

  test.each([
    ['BIN', '4242424242424242', '5105101357994242'],
    ['last four', '4242424242424242', '4242421357913571'],
  ])('a card of another %s than was inserted is not charged', async (_, number, other) => {
    const token = tokenOf(await create(await storing.createCustomer(), card(number)))
    const alias = aliasesOf(number).at(-1)
    storingVgs.keep(other, alias)

    const refused = await charge(token, storing)
    const shown = await sallyport.as(
      await sallyport.createKey(storing.id, ['vault:read', 'vault:reveal']),
    )('GET', `/v2/payment-methods/${token}?fetch_raw_detail=true`)

    expectRefusal(refused, 'external_vault_unavailable')
    expect(shown.body.error.reason).toBe('external_vault_unavailable')
    expectNoDigitsOf(other.slice(6), shown)
    expect(psp.seen).toEqual([])
    storingVgs.keep(number, alias)
    expect((await charge(token, storing)).status).toBe(200)
  })

  test('nothing is inserted for a customer who is not there', async () => {
    const number = randomCard()
    const customer = await storing.createCustomer()
    await storing.vault('DELETE', `/v2/customers/${customer}`)

    expect((await create(customer, card(number))).status).toBe(404)
    expect(asked(storingVgs, 'POST')).toEqual([])
  })

  test('a card that was here before stays here', async () => {
    const fresh = await startMerchant(storingVgs, false)
    const customer = await fresh.createCustomer()
    const number = randomCard()
    const token = await fresh.createCard({ card_number: number }, customer)
    await fresh.policy('PUT', PATH, settingsOf(storingVgs, { stores_cards: true }))

    const body = { customer_id: customer, ...card(number) }
    const again = await fresh.vault('POST', '/v2/payment-methods', body)

    expect([again.status, again.body.id]).toEqual([200, token])
    expect(again.body.payment_method_data.card.saved_to_locker).toBe(true)
    expect(aliasesOf(number)).toEqual([])
    await charge(token, fresh)
    expect(received()).toEqual([`["${number}"]`])
  })

  test('a card that is there stays there when new ones are kept here', async () => {
    const fresh = await startMerchant(storingVgs, true)
    const customer = await fresh.createCustomer()
    const number = randomCard()
    const token = await fresh.createCard({ card_number: number }, customer)
    await fresh.policy('PUT', PATH, settingsOf(storingVgs, { stores_cards: false }))

    const body = { customer_id: customer, ...card(number) }
    const again = await fresh.vault('POST', '/v2/payment-methods', body)

    expect([again.status, again.body.id]).toEqual([200, token])
    expect(again.body.payment_method_data.card.saved_to_locker).toBe(false)
    await charge(token, fresh)
    expect(received()).toEqual([`["${number}"]`])
    expect(asked(storingVgs, 'GET')).toHaveLength(1)
  })

  test('what is volatile stays here', async () => {
    const number = randomCard()

    const made = await create(undefined, card(number))

    expect(made.status).toBe(201)
    expect(aliasesOf(number)).toEqual([])
  })

  test('so is what an intent is confirmed with', async () => {
    const number = randomCard()
    const customer_id = await storing.createCustomer()
    const confirm = async () => {
      const intent = await storing.vault('POST', '/v2/payment-methods/create-intent', {
        customer_id,
      })
      const path = `/v2/payment-methods/${intent.body.id}/confirm-intent`
      return storing.vault('POST', path, card(number))
    }

    const first = await confirm()
    const second = await confirm()

    expect([first.status, second.body.id]).toEqual([200, first.body.id])
    expect(first.body.payment_method_data.card.saved_to_locker).toBe(false)
    expect(aliasesOf(number)).toHaveLength(1)
    await charge(first.body.id, storing)
    expect(received()).toEqual([`["${number}"]`])
  })

  test('a deletion deletes there first, and may be repeated', async () => {
    const number = randomCard()
    const token = tokenOf(await create(await storing.createCustomer(), card(number)))
    storingVgs.faults.push({ status: 500 })

    const failed = await remove(token)

    expect([failed.status, failed.body.error.reason]).toEqual([503, 'external_vault_unavailable'])
    await charge(token, storing)
    expect(received()).toEqual([`["${number}"]`])
    expect((await remove(token)).status).toBe(200)
    expect(aliasesOf(number)).toEqual([])
    expect((await remove(token)).status).toBe(404)
  })

  test('a deletion that was carried out there and not answered is repeated', async () => {
    const number = randomCard()
    const token = tokenOf(await create(await storing.createCustomer(), card(number)))
    storingVgs.faults.push({ say: 'nothing', do: true })

    expect((await remove(token)).status).toBe(503)
    expect(aliasesOf(number)).toEqual([])
    expect((await remove(token)).status).toBe(200)
  })

  test('one that others have under the same alias stays until the last is deleted', async () => {
    storingVgs.isFingerprinting = true
    const number = randomCard()
    const [one, other] = [
      tokenOf(await create(await storing.createCustomer(), card(number))),
      tokenOf(await create(await storing.createCustomer(), card(number))),
    ]
    expect(aliasesOf(number)).toHaveLength(1)

    expect((await remove(one as string)).status).toBe(200)
    await charge(other as string, storing)

    expect(received()).toEqual([`["${number}"]`])
    expect((await remove(other as string)).status).toBe(200)
    expect(aliasesOf(number)).toEqual([])
  })

  test('a customer goes with the cards that are kept there, or not at all', async () => {
    const numbers = [randomCard(), randomCard()]
    const customer = await storing.createCustomer()
    for (const number of numbers) await create(customer, card(number))
    storingVgs.faults.push({ status: 500 })

    const failed = await storing.vault('DELETE', `/v2/customers/${customer}`)
    const stillThere = await storing.vault('GET', `/v2/customers/${customer}/saved-payment-methods`)
    const deleted = await storing.vault('DELETE', `/v2/customers/${customer}`)

    expect(failed.body.error.reason).toBe('external_vault_unavailable')
    expect(stillThere.body.customer_payment_methods).toHaveLength(2)
    expect(deleted.status).toBe(200)
    expect(numbers.flatMap(aliasesOf)).toEqual([])
  })

  test('a card that is stored while its customer is deleted does not stay there', async () => {
    const [first, late] = [randomCard(), randomCard()]
    const customer = await storing.createCustomer()
    await create(customer, card(first))
    storingVgs.delayMs = 300 // of the answer to the deletion, which is begun by then
    storingVgs.onAsked = () => void setImmediate(() => Object.assign(storingVgs, { delayMs: 0 }))

    const deleting = storing.vault('DELETE', `/v2/customers/${customer}`)
    while (asked(storingVgs, 'DELETE').length === 0) await wait(5)
    const stored = await create(customer, card(late))

    expect([stored.status, (await deleting).status]).toEqual([201, 200])
    expect([first, late].flatMap(aliasesOf)).toEqual([])
    expect(asked(storingVgs, 'DELETE')).toHaveLength(2)
  })

  test('and where the vault does not answer then, the customer is deleted all the same', async () => {
    const [first, late] = [randomCard(), randomCard()]
    const customer = await storing.createCustomer()
    await create(customer, card(first))
    storingVgs.delayMs = 300
    storingVgs.onAsked = () => void setImmediate(() => Object.assign(storingVgs, { delayMs: 0 }))

    const deleting = storing.vault('DELETE', `/v2/customers/${customer}`)
    while (asked(storingVgs, 'DELETE').length === 0) await wait(5)
    await create(customer, card(late))
    storingVgs.faults.push({ status: 500 })

    expect((await deleting).status).toBe(200)
    expect(asked(storingVgs, 'DELETE')).toHaveLength(2)
    expect(aliasesOf(late)).toHaveLength(1)
    expect((await storing.vault('GET', `/v2/customers/${customer}`)).status).toBe(404)
  })

  test('of the last two that have one alias, deleted at once, it does not stay', async () => {
    storingVgs.isFingerprinting = true
    for (let turn = 0; turn < 5; turn++) {
      const number = randomCard()
      const customers = [await storing.createCustomer(), await storing.createCustomer()]
      const tokens: string[] = []
      for (const each of customers) tokens.push(tokenOf(await create(each, card(number))))
      expect(aliasesOf(number)).toHaveLength(1)

      const ends =
        turn % 2 === 0
          ? tokens.map(remove)
          : customers.map((each) => storing.vault('DELETE', `/v2/customers/${each}`))

      expect((await Promise.all(ends)).map(({ status }) => status)).toEqual([200, 200])
      expect(aliasesOf(number)).toEqual([])
    }
  })

  test('an intent that is confirmed while it is deleted leaves nothing there', async () => {
    for (let turn = 0; turn < 10; turn++) {
      const number = randomCard()
      const customer_id = await storing.createCustomer()
      const intent = await storing.vault('POST', '/v2/payment-methods/create-intent', {
        customer_id,
      })
      const path = `/v2/payment-methods/${intent.body.id}`

      const confirming = storing.vault('POST', `${path}/confirm-intent`, card(number))
      await wait(2 * turn)
      const deleted = await storing.vault('DELETE', path)
      await confirming

      expect([deleted.status, aliasesOf(number)]).toEqual([200, []])
    }
  })

  test('without its settings a card is forgotten here alone', async () => {
    const fresh = await startMerchant(storingVgs, true)
    const number = randomCard()
    const token = await fresh.createCard({ card_number: number })
    await fresh.policy('DELETE', PATH)

    expect((await fresh.vault('DELETE', `/v2/payment-methods/${token}`)).status).toBe(200)
    expect(aliasesOf(number)).toHaveLength(1)
  })
})
