// The guards and bulkheads of a running installation: what is beyond them is refused as safe to try again, reaches no
// destination and reveals nothing; everybody else goes on; and every place that was taken comes back.

import { readFile } from 'node:fs/promises'
import type { ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { startSallyport, type TestMerchant, type TestSallyport } from '../../support/sallyport.ts'
import { startMovableTime } from '../../support/time.ts'
import {
  closedPort,
  eventually,
  expectRefusal,
  type Reply,
  type Script,
  send,
  sendOk,
  startRawUpstream,
  startUpstream,
  type Upstream,
} from '../upstream.ts'

const CVC = '739'
const HOUR_S = 3600

type Sent = {
  method?: string
  path?: string
  key?: string
  headers?: Record<string, string>
  body?: string
}

/** The guards measure with it: no test has to be done with a step before a guard opens again, nor to wait until it does. */
const time = startMovableTime()

afterAll(() => time.stop())

/** An installation with these settings, a merchant on it and a destination that is scripted by `answer`. */
async function startGuarded(settings: Record<string, unknown>, more: Record<string, unknown> = {}) {
  const sallyport = await startSallyport(settings)
  const merchant = await sallyport.createMerchant()
  const play: { answer: Script } = { answer: (_, response) => sendOk(response) }
  const psp = await startUpstream((request, response) => play.answer(request, response))
  const reach = (name: string, origin: string, settingsOfIt: Record<string, unknown> = {}) =>
    merchant.createDestination({
      name,
      origin,
      allow: [
        {
          methods: ['GET', 'POST'],
          path: '/*',
          fields: ['card_number', 'card_cvc', 'card_network', '$.iban'],
        },
      ],
      ...settingsOfIt,
    })
  await reach('psp', psp.origin, more)
  const call = ({ method = 'POST', path = '/d/psp/pay', key, headers, body = '{}' }: Sent = {}) =>
    send(
      sallyport.origin,
      method,
      path,
      {
        'Sallyport-Key': key ?? merchant.proxyKey,
        'Content-Type': 'application/json',
        ...headers,
      },
      method === 'GET' ? undefined : body,
    )
  const charge = (token: string, sent: Sent = {}) =>
    call({ ...sent, body: `["{{$card_number: ${token}}}"]` })
  const lines = async () => {
    const text = await readFile(join(sallyport.folder, 'audit', 'audit.jsonl'), 'utf8')
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line))
  }
  return {
    sallyport,
    merchant,
    psp,
    play,
    reach,
    call,
    charge,
    /** Kinds of the lines of a request, once there is one. */
    async kindsOf(reply: Reply): Promise<string[]> {
      const request = reply.headers['sallyport-request-id']
      const ofIt = (await eventually(
        async () => (await lines()).filter((line) => line.request === request),
        (found) => found.length > 0,
      )) as { kind: string }[]
      return ofIt.map(({ kind }) => kind)
    },
    async [Symbol.asyncDispose]() {
      await sallyport[Symbol.asyncDispose]()
      await psp.close()
    },
  }
}

/** Whole seconds, at least one (RFC 9110, 10.2.3). */
function retryAfterOf(reply: Reply): number {
  expect(reply.headers['retry-after']).toMatch(/^[1-9][0-9]*$/)
  return Number(reply.headers['retry-after'])
}

const reasons = (replies: readonly Reply[]) =>
  replies.map(({ status, json }) => json?.error?.reason ?? status)

describe('requests_per_key', () => {
  test('the next is refused with the time to wait, nothing of it is sent, and after the wait it goes', async () => {
    const guards = { requests_per_key: { count: 2, window_s: HOUR_S } }
    await using guarded = await startGuarded({ guards })
    const token = await guarded.merchant.createCard()
    const passed = [await guarded.charge(token), await guarded.charge(token)]

    const refused = await guarded.charge(token)
    const sent = guarded.psp.seen.length
    const waitS = retryAfterOf(refused)
    time.pass(waitS * 1000)
    const later = await guarded.charge(token)

    expect(reasons(passed)).toEqual([200, 200])
    expectRefusal(refused, 'rate_limited')
    expect(refused.headers['proxy-status']).toBe('sallyport; error=http_request_error')
    expect(sent).toBe(2)
    expect(await guarded.kindsOf(refused)).toEqual(['refusal'])
    expect(waitS).toBeLessThanOrEqual(HOUR_S / 2)
    expect(later.status).toBe(200)
  })

  test('of many at once no more go than may', async () => {
    const guards = { requests_per_key: { count: 5, window_s: HOUR_S } }
    await using guarded = await startGuarded({ guards })

    const replies = await Promise.all(Array.from({ length: 30 }, () => guarded.call()))

    expect(reasons(replies).filter((reason) => reason === 200).length).toBe(5)
    expect(reasons(replies).filter((reason) => reason === 'rate_limited').length).toBe(25)
    expect(guarded.psp.seen.length).toBe(5)
  })

  test('it is one count on all ways in, dry runs and what is refused later included', async () => {
    const guards = { requests_per_key: { count: 4, window_s: HOUR_S } }
    await using guarded = await startGuarded({ guards })
    const envelope = { destination_url: `${guarded.psp.origin}/x`, method: 'GET' }
    const destination = { 'Sallyport-Destination': guarded.psp.origin }

    const replies = [
      await guarded.call(),
      await guarded.call({ path: '/forward/pay', headers: destination }),
      await guarded.call({ path: '/v2/proxy', body: JSON.stringify(envelope) }),
      await guarded.call({ path: '/d/nobody/pay' }),
      await guarded.call({ headers: { 'Sallyport-Dry-Run': 'true' } }),
    ]

    const expected = [200, 200, 200, 'destination_not_allowed', 'rate_limited']
    expect(reasons(replies)).toEqual(expected)
  })

  test('other keys of the merchant, and the vault, go on', async () => {
    const guards = { requests_per_key: { count: 1, window_s: HOUR_S } }
    await using guarded = await startGuarded({ guards })
    const { merchant, sallyport } = guarded
    const key = await sallyport.createKey(merchant.id, ['proxy:invoke'])
    await guarded.call()

    expectRefusal(await guarded.call(), 'rate_limited')
    expect((await guarded.call({ key })).status).toBe(200)
    for (let i = 0; i < 3; i++) await merchant.createCustomer()
  })

  test('requests with a key that is none are not counted for anybody', async () => {
    const guards = { requests_per_key: { count: 1, window_s: HOUR_S } }
    await using guarded = await startGuarded({ guards })

    const strangers = [await guarded.call({ key: 'x' }), await guarded.call({ key: 'x' })]

    expect(reasons(strangers)).toEqual(['unauthenticated', 'unauthenticated'])
    expect((await guarded.call()).status).toBe(200)
  })
})

describe('distinct_payment_methods_per_key', () => {
  const guards = { distinct_payment_methods_per_key: { count: 2, window_s: HOUR_S } }

  let guarded: Awaited<ReturnType<typeof startGuarded>>
  let key: string
  let tokens: string[]

  beforeAll(async () => {
    guarded = await startGuarded({ guards })
  })

  afterAll(() => guarded[Symbol.asyncDispose]())

  beforeEach(async () => {
    const { sallyport, merchant } = guarded
    key = await sallyport.createKey(merchant.id, ['proxy:invoke'])
    tokens = await Promise.all(Array.from({ length: 3 }, () => merchant.createCard()))
    guarded.psp.seen.length = 0
  })

  const chargeNth = (nth: number) => guarded.charge(tokens[nth] as string, { key })

  test('one more is refused and not revealed; those that were used go on', async () => {
    const used = [await chargeNth(0), await chargeNth(1)]
    const refused = await chargeNth(2)
    const again = [await chargeNth(0), await chargeNth(1)]

    expect(reasons([...used, ...again])).toEqual([200, 200, 200, 200])
    expectRefusal(refused, 'rate_limited')
    expect(retryAfterOf(refused)).toBeLessThanOrEqual(HOUR_S)
    expect(retryAfterOf(refused)).toBeGreaterThan(HOUR_S - 60)
    expect(await guarded.kindsOf(refused)).toEqual(['refusal'])
    expect(guarded.psp.seen.length).toBe(4)
  })

  test('a request with several of them passes whole or not at all', async () => {
    await chargeNth(0)
    const both = `["{{$card_number: ${tokens[1]}}}","{{$card_number: ${tokens[2]}}}"]`

    const refused = await guarded.call({ key, body: both })

    expectRefusal(refused, 'rate_limited')
    expect((await chargeNth(2)).status).toBe(200)
    expect(guarded.psp.seen.length).toBe(2)
  })

  test('generic tokens count, too', async () => {
    const account = await guarded.merchant.createToken({ iban: 'DE89370400440532013000' })
    await chargeNth(0)
    await chargeNth(1)

    const refused = await guarded.call({ key, body: `["{{$.iban: ${account}}}"]` })

    expectRefusal(refused, 'rate_limited')
  })

  test('dry runs count, and are refused like requests', async () => {
    const headers = { 'Sallyport-Dry-Run': 'true' }
    await guarded.charge(tokens[0] as string, { key, headers })
    await guarded.charge(tokens[1] as string, { key, headers })

    const refused = await guarded.charge(tokens[2] as string, { key, headers })

    expectRefusal(refused, 'rate_limited')
    expect(guarded.psp.seen).toEqual([])
  })

  test('requests without a payment method, and other keys, go on', async () => {
    await chargeNth(0)
    await chargeNth(1)
    expectRefusal(await chargeNth(2), 'rate_limited')

    expect((await guarded.call({ key })).status).toBe(200)
    expect((await guarded.charge(tokens[2] as string)).status).toBe(200)
  })

  test('a code is not spent by what is refused', async () => {
    const withCode = await guarded.merchant.createCard({ card_cvc: CVC })
    const body = `["{{$card_cvc: ${withCode}}}"]`
    await chargeNth(0)
    await chargeNth(1)

    const refused = await guarded.call({ key, body })
    const other = await guarded.sallyport.createKey(guarded.merchant.id, ['proxy:invoke'])
    const sent = await guarded.call({ key: other, body })

    expectRefusal(refused, 'rate_limited')
    expect(sent.status).toBe(200)
    expect(guarded.psp.seen.at(-1)?.body.toString()).toBe(`["${CVC}"]`)
  })

  test('tokens that a streamed body comes to in its midst count as well', async () => {
    const filler = 'x'.repeat(300_000)
    await chargeNth(0)
    await chargeNth(1)

    const refused = await guarded.call({
      key,
      body: `{"f":"${filler}","n":"{{$card_number: ${tokens[2]}}}"}`,
    })

    expect(refused.json.error.reason).toBe('rate_limited')
    expect(guarded.psp.seen.length).toBe(2)
  })
})

test('a payment method is free for a key when the wait that it was told is over', async () => {
  const limit = { count: 1, window_s: HOUR_S }
  await using guarded = await startGuarded({ guards: { distinct_payment_methods_per_key: limit } })
  const [first, second] = [await guarded.merchant.createCard(), await guarded.merchant.createCard()]
  await guarded.charge(first)

  const refused = await guarded.charge(second)
  time.pass(retryAfterOf(refused) * 1000)

  expectRefusal(refused, 'rate_limited')
  expect((await guarded.charge(second)).status).toBe(200)
})

describe('declines_per_key', () => {
  const guards = { declines_per_key: { count: 2, window_s: HOUR_S } }
  const declined = [
    { path: '$.approved', values: ['false'] },
    { path: '$.result.code', values: ['05', '51'] },
  ]

  let guarded: Awaited<ReturnType<typeof startGuarded>>
  let key: string
  let token: string

  beforeAll(async () => {
    guarded = await startGuarded({ guards }, { response: { declined } })
    token = await guarded.merchant.createCard()
  })

  afterAll(() => guarded[Symbol.asyncDispose]())

  beforeEach(async () => {
    key = await guarded.sallyport.createKey(guarded.merchant.id, ['proxy:invoke'])
    guarded.psp.seen.length = 0
  })

  const answering = (status: number, body: string, type = 'application/json') => {
    guarded.play.answer = (_, response) => {
      response.writeHead(status, { 'Content-Type': type })
      response.end(body)
    }
  }
  const chargeTwice = async () => [
    await guarded.charge(token, { key }),
    await guarded.charge(token, { key }),
  ]

  test.each<[string, number, string]>([
    ['status 402', 402, '{"error":"card_declined"}'],
    ['status 402 without JSON', 402, 'no'],
    ['a word that a rule names', 200, '{"approved":false,"id":1}'],
    ['a word in a string', 201, '{"approved":"false"}'],
    ['a word that another rule names', 200, '{"approved":true,"result":{"code":"51"}}'],
    ['a word in an error', 422, '{"approved":false}'],
  ])('after as many with %s nothing is revealed any more', async (_, status, body) => {
    answering(status, body)

    const replies = await chargeTwice()
    const refused = await guarded.charge(token, { key })

    expect(reasons(replies)).toContain(status)
    expectRefusal(refused, 'rate_limited')
    expect(retryAfterOf(refused)).toBeGreaterThan(HOUR_S - 60)
    expect(await guarded.kindsOf(refused)).toEqual(['refusal'])
    expect(guarded.psp.seen.length).toBe(2)
  })

  test.each<[string, number, string]>([
    ['a success', 200, '{"approved":true}'],
    ['another word', 200, '{"approved":"FALSE"}'],
    ['no such member', 200, '{"ok":true}'],
    ['the word as a part of an object', 200, '{"approved":{"false":1}}'],
    ['no JSON', 200, '{"approved":false'],
    ['another error', 500, '{"error":"x"}'],
  ])('not after %s', async (_, status, body) => {
    answering(status, body)
    await chargeTwice()

    const third = await guarded.charge(token, { key })

    expect(third.status).toBe(status)
  })

  test('status 402 with a word that a rule names, too, is one decline', async () => {
    answering(402, '{"approved":false}')
    await guarded.charge(token, { key })

    const second = await guarded.charge(token, { key })

    expect(second.status).toBe(402)
  })

  test('a decline of a request without a payment method is none', async () => {
    answering(402, '{"approved":false}')
    await guarded.call({ key })
    await guarded.call({ key })

    expect((await guarded.charge(token, { key })).status).toBe(402)
  })

  test('in the envelope they count as well', async () => {
    answering(402, '{}')
    const body = JSON.stringify({
      destination_url: `${guarded.psp.origin}/pay`,
      method: 'POST',
      token,
      request_body: ['{{$card_number}}'],
    })
    for (let i = 0; i < 2; i++) await guarded.call({ key, path: '/v2/proxy', body })

    const refused = await guarded.call({ key, path: '/v2/proxy', body })

    expectRefusal(refused, 'rate_limited')
  })

  test('requests that reveal nothing, and other keys, go on', async () => {
    answering(402, '{}')
    await chargeTwice()
    expectRefusal(await guarded.charge(token, { key }), 'rate_limited')
    answering(200, '{}')

    expect((await guarded.call({ key })).status).toBe(200)
    expect((await guarded.charge(token)).status).toBe(200)
  })
})

test('without being set, no guard refuses anything', async () => {
  await using guarded = await startGuarded({})
  guarded.play.answer = (_, response) => response.writeHead(402).end()
  const { merchant } = guarded
  const tokens = await Promise.all(Array.from({ length: 40 }, () => merchant.createCard()))

  const replies = await Promise.all(tokens.map((token) => guarded.charge(token)))

  expect(new Set(reasons(replies))).toEqual(new Set([402]))
})

describe('the breaker of a destination', () => {
  const LONG_MS = 600_000

  let guarded: Awaited<ReturnType<typeof startGuarded>>
  let merchant: TestMerchant
  let count = 0

  beforeAll(async () => {
    guarded = await startGuarded({})
    merchant = guarded.merchant
  })

  afterAll(() => guarded[Symbol.asyncDispose]())

  type Mode = 'ok' | 'error' | 'reset' | 'silent'

  /** A destination of its own, which answers as it is told and opens after two failures. */
  async function startFailing(openMs: number, settings: Record<string, unknown> = {}) {
    count += 1
    const name = `failing-${count}`
    const state: { mode: Mode; held: Socket[] } = { mode: 'reset', held: [] }
    const upstream = await startRawUpstream((socket) => {
      switch (state.mode) {
        case 'ok':
          return ok(socket)
        case 'error':
          return socket.write('HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n')
        case 'reset':
          return socket.resetAndDestroy()
        case 'silent':
          return state.held.push(socket)
        default:
          return state.mode satisfies never
      }
    })
    await guarded.reach(name, upstream.origin, {
      breaker: { failures: 2, open_ms: openMs },
      ...settings,
    })
    const call = (sent: Sent = {}) => guarded.call({ path: `/d/${name}/pay`, ...sent })
    return {
      name,
      upstream,
      state,
      call,
      async open() {
        await call()
        await call()
      },
      [Symbol.asyncDispose]: () => upstream.close(),
    }
  }

  const ok = (socket: Socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}')

  test('opens after as many failures in a row: nothing connects, is revealed or spent', async () => {
    await using failing = await startFailing(LONG_MS)
    const token = await merchant.createCard({ card_cvc: CVC })
    const failed = [await failing.call(), await failing.call()]
    const connections = failing.upstream.connections

    const refused = await failing.call({ body: `["{{$card_cvc: ${token}}}"]` })

    expect(reasons(failed)).toEqual(['upstream_reset', 'upstream_reset'])
    expectRefusal(refused, 'destination_busy')
    expect(failing.upstream.connections).toBe(connections)
    expect(failing.upstream.seen.length).toBe(2)
    expect(await guarded.kindsOf(refused)).toEqual(['refusal'])
    const sent = await guarded.call({ body: `["{{$card_cvc: ${token}}}"]` })
    expect(sent.status).toBe(200)
  })

  test('connections that fail open it', async () => {
    const origin = `http://127.0.0.1:${await closedPort()}`
    await guarded.reach('closed', origin, { breaker: { failures: 2, open_ms: LONG_MS } })

    const replies = [
      await guarded.call({ path: '/d/closed/pay' }),
      await guarded.call({ path: '/d/closed/pay' }),
      await guarded.call({ path: '/d/closed/pay' }),
    ]

    const failed = 'upstream_connect_failed'
    expect(reasons(replies)).toEqual([failed, failed, 'destination_busy'])
  })

  test("the destination's own time for an answer opens it", async () => {
    await using failing = await startFailing(LONG_MS, { timeouts: { headers_ms: 100 } })
    failing.state.mode = 'silent'

    const replies = [await failing.call(), await failing.call(), await failing.call()]

    expect(reasons(replies)).toEqual(['upstream_timeout', 'upstream_timeout', 'destination_busy'])
  })

  test('answers do not, errors of the destination included', async () => {
    await using failing = await startFailing(LONG_MS)
    failing.state.mode = 'error'

    const replies = [await failing.call(), await failing.call(), await failing.call()]

    expect(reasons(replies)).toEqual([500, 500, 500])
  })

  test('an answer between two failures begins a new row', async () => {
    await using failing = await startFailing(LONG_MS)
    await failing.call()
    failing.state.mode = 'ok'
    await failing.call()
    failing.state.mode = 'reset'

    const replies = [await failing.call(), await failing.call(), await failing.call()]

    expect(reasons(replies)).toEqual(['upstream_reset', 'upstream_reset', 'destination_busy'])
  })

  test('our refusals neither count nor begin a new row', async () => {
    await using failing = await startFailing(LONG_MS)
    const unknown = { body: '["{{$card_number: local_pm_x}}"]' }

    const replies = [
      await failing.call(),
      await failing.call(unknown),
      await failing.call({ path: `/d/${failing.name}//x` }),
      await failing.call(),
      await failing.call(),
    ]

    expect(reasons(replies)).toEqual([
      'upstream_reset',
      'token_not_found',
      'path_not_normal',
      'upstream_reset',
      'destination_busy',
    ])
  })

  test('a time that a caller lowered does not open it', async () => {
    await using failing = await startFailing(LONG_MS)
    failing.state.mode = 'silent'
    const headers = { 'Sallyport-Timeout-Ms': '400' }

    const hasty: Reply[] = []
    for (let i = 0; i < 5; i++) hasty.push(await failing.call({ headers }))
    failing.state.mode = 'ok'
    const next = await failing.call()

    expect(new Set(reasons(hasty))).toEqual(new Set(['upstream_timeout']))
    expect(next.status).toBe(200)
  })

  test('callers that leave do not open it', async () => {
    await using failing = await startFailing(LONG_MS)
    failing.state.mode = 'silent'
    for (let i = 0; i < 4; i++) {
      const leaving = fetch(`${guarded.sallyport.origin}/d/${failing.name}/pay`, {
        method: 'POST',
        headers: { 'Sallyport-Key': merchant.proxyKey },
        body: '{}',
        signal: AbortSignal.timeout(60),
      })
      await leaving.catch(() => {}) // that is the point
    }
    failing.state.mode = 'ok'

    expect((await failing.call()).status).toBe(200)
  })

  test('after open_ms one request goes, the others wait for what becomes of it, and it closes', async () => {
    await using failing = await startFailing(LONG_MS)
    await failing.open()
    expectRefusal(await failing.call(), 'destination_busy')
    failing.state.mode = 'silent'
    time.pass(LONG_MS)

    const probe = failing.call()
    await eventually(
      () => failing.state.held.length,
      (length) => length === 1,
    )
    const meanwhile = [await failing.call(), await failing.call()]
    failing.state.mode = 'ok'
    ok(failing.state.held[0] as Socket)
    const probed = await probe
    const after = await Promise.all([failing.call(), failing.call(), failing.call()])

    expect(reasons(meanwhile)).toEqual(['destination_busy', 'destination_busy'])
    expect(probed.status).toBe(200)
    expect(reasons(after)).toEqual([200, 200, 200])
  })

  test('a probe that fails opens it again, for as long', async () => {
    await using failing = await startFailing(LONG_MS)
    await failing.open()
    time.pass(LONG_MS)

    const probe = await failing.call()
    const next = await failing.call()
    failing.state.mode = 'ok'
    time.pass(LONG_MS)
    const later = await failing.call()

    expect(reasons([probe, next, later])).toEqual(['upstream_reset', 'destination_busy', 200])
  })

  test('a probe that we refuse lets the next one try', async () => {
    await using failing = await startFailing(LONG_MS)
    await failing.open()
    failing.state.mode = 'ok'
    time.pass(LONG_MS)

    const refused = await failing.call({ body: '["{{$card_number: local_pm_x}}"]' })
    const next = await failing.call()

    expect(reasons([refused, next])).toEqual(['token_not_found', 200])
  })

  test('while it is open, an answer is given again and a dry run is made', async () => {
    await using failing = await startFailing(LONG_MS)
    failing.state.mode = 'ok'
    const headers = { 'Sallyport-Idempotency-Key': 'paid' }
    await failing.call({ headers })
    failing.state.mode = 'reset'
    await failing.open()

    const again = await failing.call({ headers })
    const another = await failing.call({ headers: { 'Sallyport-Idempotency-Key': 'unpaid' } })
    const dry = await failing.call({ headers: { 'Sallyport-Dry-Run': 'true' } })

    expect(again.headers['sallyport-idempotent-replay']).toBe('true')
    expect(again.status).toBe(200)
    expectRefusal(another, 'destination_busy')
    expect(dry.json.dry_run).toBe(true)
    expect(failing.upstream.seen.length).toBe(3)
  })

  test('the key of a request that it refused is free', async () => {
    await using failing = await startFailing(LONG_MS)
    const headers = { 'Sallyport-Idempotency-Key': 'later' }
    await failing.open()
    const refused = await failing.call({ headers })
    failing.state.mode = 'ok'
    time.pass(LONG_MS)

    const sent = await failing.call({ headers })

    expectRefusal(refused, 'destination_busy')
    expect(sent.status).toBe(200)
    expect(sent.headers['sallyport-idempotent-replay']).toBeUndefined()
  })

  test('of another destination is another one', async () => {
    await using failing = await startFailing(LONG_MS)
    await failing.open()

    expectRefusal(await failing.call(), 'destination_busy')
    expect((await guarded.call()).status).toBe(200)
  })
})

describe('connections and queue of a destination', () => {
  let guarded: Awaited<ReturnType<typeof startGuarded>>
  let sallyport: TestSallyport
  let upstream: Upstream
  let card: string
  let held: ServerResponse[] = []
  let isHolding = false

  beforeAll(async () => {
    guarded = await startGuarded({})
    sallyport = guarded.sallyport
    upstream = await startUpstream(({ url }, response) => {
      if (isHolding) held.push(response)
      else if (url.startsWith('/reset')) response.socket?.resetAndDestroy()
      else if (url.startsWith('/slow')) setTimeout(() => sendOk(response), 20)
      else if (url.startsWith('/never')) response.once('close', () => {})
      else sendOk(response)
    })
    await guarded.reach('narrow', upstream.origin, {
      limits: { connections: 2, queue: 2 },
      timeouts: { headers_ms: 10_000 }, // so long what may have been sent is waited for, caller or not
    })
    card = await guarded.merchant.createCard()
  })

  afterAll(async () => {
    await guarded[Symbol.asyncDispose]()
    await upstream.close()
  })

  const call = (path = '/pay', sent: Sent = {}) =>
    guarded.call({ path: `/d/narrow${path}`, ...sent })

  const inFlight = async () => {
    const text = await (await fetch(`${sallyport.opsOrigin}/metrics`)).text()
    return Number(/^sallyport_proxy_in_flight (\S+)$/m.exec(text)?.[1])
  }

  /** Four have a place, two of them at the destination, and the fifth has none. */
  async function expectFourPlaces(): Promise<void> {
    isHolding = true
    held = []
    const four = [call(), call(), call(), call()]
    await eventually(inFlight, (number) => number === 4)
    await eventually(
      () => held.length,
      (length) => length === 2,
    )
    const connections = upstream.connections
    const fifth = await call()
    expect(held.length).toBe(2)
    isHolding = false
    for (const response of held) sendOk(response)
    const replies = await Promise.all(four)

    expectRefusal(fifth, 'destination_busy')
    expect(reasons(replies)).toEqual([200, 200, 200, 200])
    expect(upstream.connections).toBe(connections)
    expect(await eventually(inFlight, (number) => number === 0)).toBe(0)
  }

  test('beyond them the next is refused, and those that wait are served', async () => {
    await expectFourPlaces()
  })

  test('what is refused reveals nothing and spends no code', async () => {
    const token = await guarded.merchant.createCard({ card_cvc: CVC })
    const body = `["{{$card_cvc: ${token}}}"]`
    isHolding = true
    held = []
    const four = [call(), call(), call(), call()]
    await eventually(inFlight, (number) => number === 4)

    const refused = await call('/pay', { body })
    isHolding = false
    await eventually(
      () => held.length,
      (length) => length === 2,
    )
    for (const response of held) sendOk(response)
    await Promise.all(four)

    expectRefusal(refused, 'destination_busy')
    expect(await guarded.kindsOf(refused)).toEqual(['refusal'])
    expect((await call('/pay', { body })).status).toBe(200)
  })

  const leave = (path: string, afterMs: number, headers = {}) =>
    fetch(`${sallyport.origin}/d/narrow${path}`, {
      method: 'POST',
      headers: { 'Sallyport-Key': guarded.merchant.proxyKey, ...headers },
      body: '{}',
      signal: AbortSignal.timeout(afterMs),
    }).then(
      (response) => response.arrayBuffer(),
      () => undefined, // it left
    )

  const hasty = (ms: number) => ({ headers: { 'Sallyport-Timeout-Ms': String(ms) } })

  test.each<[string, (i: number) => Promise<unknown>]>([
    ['answers', () => call()],
    ['broken connections', () => call('/reset')],
    ['refusals of ours', () => call('/pay', { body: '["{{$card_number: local_pm_x}}"]' })],
    [
      'values that cannot stand there',
      () => call('/pay', { body: `["{{$card_network: ${card} | map(x=y)}}"]` }),
    ],
    ['dry runs', () => call('/pay', { headers: { 'Sallyport-Dry-Run': 'true' } })],
    ['timeouts, here and there', (i) => call('/slow', hasty(1 + (i % 30)))],
    ['callers that leave, sooner or later', (i) => leave('/slow', 1 + (i % 40))],
    ['callers of an answer that never comes', (i) => leave('/never', 5 + (i % 10))],
    [
      'idempotency keys, used twice',
      (i) => call('/slow', { headers: { 'Sallyport-Idempotency-Key': `k${i >> 1}` } }),
    ],
    [
      'idempotency keys of callers that leave',
      (i) => leave('/slow', 1 + (i % 40), { 'Sallyport-Idempotency-Key': `h${i}` }),
    ],
    ['streamed bodies', () => call('/pay', { body: `"${'x'.repeat(300_000)}"` })],
    [
      'streamed bodies that are refused in their midst',
      () => call('/pay', { body: `"${'x'.repeat(300_000)}{{$nope}}"` }),
    ],
  ])('places come back after 200 requests: %s', async (_, request) => {
    let next = 0
    const worker = async () => {
      while (next < 200) await request(next++)
    }

    await Promise.all(Array.from({ length: 8 }, worker))

    expect(await eventually(inFlight, (number) => number === 0)).toBe(0)
    await expectFourPlaces()
  })
})

describe('a row that names queries and keys', () => {
  let guarded: Awaited<ReturnType<typeof startGuarded>>
  let token: string
  let listed: { id: string; key: string }

  beforeAll(async () => {
    guarded = await startGuarded({})
    const { sallyport, merchant } = guarded
    const made = await sallyport.admin('POST', '/v2/api-keys', {
      merchant_id: merchant.id,
      name: 'listed',
      scopes: ['proxy:invoke'],
    })
    listed = { id: made.body.key_id, key: made.body.api_key }
    token = await merchant.createCard()
    const fields = [{ field: 'card_number', at: ['body', 'query:pan'] }]
    const row = { methods: ['POST'], fields }
    const { body } = await merchant.policy('GET', '/v2/destinations/psp')
    const changed = await merchant.policy('PUT', '/v2/destinations/psp', {
      name: 'psp',
      origin: body.origin,
      allow: [
        { ...row, path: '/named', query: ['expand', 'pan'] },
        { ...row, path: '/none', query: [] },
        { ...row, path: '/keys', keys: [listed.id] },
        { ...row, path: '/*' },
      ],
    })
    expect(changed.status).toBe(200)
  })

  afterAll(() => guarded[Symbol.asyncDispose]())

  beforeEach(() => {
    guarded.psp.seen.length = 0
  })

  const charge = (path: string, key?: string) =>
    guarded.charge(token, { path: `/d/psp${path}`, ...(key === undefined ? {} : { key }) })

  test.each(['/named', '/named?', '/named?expand=1&pan=2', '/none', '/other?anything=1'])(
    '%s passes',
    async (path) => {
      expect((await charge(path)).status).toBe(200)
      expect(guarded.psp.seen[0]?.url).toBe(path)
    },
  )

  test.each<[string, string | undefined]>([
    ['/named?expand=1&webhook_url=x', 'webhook_url'],
    ['/named?Expand=1', 'Expand'],
    ['/named?expand=1;callback=x', 'callback'],
    ['/none?a', 'a'],
    ['/named?4242424242424242=1', undefined],
    ['/named?%65xpand=1', undefined],
    ['/named?a%20b=1', undefined],
  ])('%s does not, and %s is named', async (path, field) => {
    const refused = await charge(path)

    expectRefusal(refused, 'method_or_path_not_allowed')
    expect(refused.json.error.details).toEqual(field === undefined ? undefined : { field })
    expect(await guarded.kindsOf(refused)).toEqual(['refusal'])
    expect(guarded.psp.seen).toEqual([])
  })

  test('a value may stand in a query that is named', async () => {
    const path = `/d/psp/named?pan=${encodeURIComponent(`{{$card_number: ${token}}}`)}`

    const reply = await guarded.call({ path })

    expect(reply.status).toBe(200)
    expect(guarded.psp.seen[0]?.url).toBe('/named?pan=4242424242424242')
  })

  test('a placeholder is no name', async () => {
    const path = `/d/psp/named?${encodeURIComponent(`{{$card_number: ${token}}}`)}=1`

    expectRefusal(await guarded.call({ path }), 'method_or_path_not_allowed')
  })

  test('a key that is listed passes, another of the merchant does not', async () => {
    const passed = await charge('/keys', listed.key)
    const refused = await charge('/keys')

    expect(passed.status).toBe(200)
    expectRefusal(refused, 'permission_denied')
    expect(await guarded.kindsOf(refused)).toEqual(['refusal'])
    expect(guarded.psp.seen.length).toBe(1)
  })

  test('the envelope is held to the same row', async () => {
    const body = JSON.stringify({
      destination_url: `${guarded.psp.origin}/keys`,
      method: 'POST',
      token,
      request_body: ['{{$card_number}}'],
    })

    const refused = await guarded.call({ path: '/v2/proxy', body })
    const passed = await guarded.call({ path: '/v2/proxy', body, key: listed.key })

    expectRefusal(refused, 'permission_denied')
    expect(passed.json.status_code).toBe(200)
  })
})
