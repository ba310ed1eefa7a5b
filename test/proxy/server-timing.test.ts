// The Server-Timing header: how it is written, and that it stands on every answer with parts that are true.

import { connect, createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { serverTiming, type Timings } from '../../src/proxy/server-timing.ts'
import { startSallyport, type TestMerchant, type TestSallyport } from '../support/sallyport.ts'
import { timed } from '../support/time.ts'
import { makeCertificate } from './certificates.ts'
import {
  closedPort,
  expectRefusal,
  listenOnNewPort,
  type Reply,
  send,
  startRawUpstream,
  startUpstream,
  type Upstream,
  valuesOf,
} from './upstream.ts'

const NONE: Timings = {
  vaultMs: undefined,
  connectMs: undefined,
  upstreamMs: undefined,
  totalMs: undefined,
}

test.each<[Partial<Timings>, string]>([
  [
    { vaultMs: 0.1, connectMs: 12, upstreamMs: 83.2, totalMs: 95.4 },
    'vault;dur=0.1, connect;dur=12, upstream;dur=83.2, total;dur=95.4',
  ],
  [{ vaultMs: 0.1, upstreamMs: 83, totalMs: 84 }, 'vault;dur=0.1, upstream;dur=83, total;dur=84'],
  [{ connectMs: 3, totalMs: 4 }, 'connect;dur=3, total;dur=4'],
  [{ upstreamMs: 5 }, 'upstream;dur=5'],
  [{ totalMs: 0 }, 'total;dur=0'],
  [{}, ''],
])('%j is written as %j', (timings, text) => {
  expect(serverTiming({ ...NONE, ...timings })).toBe(text)
})

test.each([
  [0.04, '0'],
  [0.05, '0.1'],
  [0.1 + 0.2, '0.3'],
  [1.96, '2'],
  [83.249999, '83.2'],
  [1e-9, '0'],
  [-0.01, '0'],
  [-250, '0'],
  [600_000.04, '600000'],
])('%d ms is written as %s', (totalMs, text) => {
  expect(serverTiming({ ...NONE, totalMs })).toBe(`total;dur=${text}`)
})

describe('on an answer', () => {
  const UPSTREAM_MS = 60

  let sallyport: TestSallyport
  let merchant: TestMerchant
  let psp: Upstream
  let token: string

  beforeAll(async () => {
    sallyport = await startSallyport()
    merchant = await sallyport.createMerchant()
    token = await merchant.createCard()
    psp = await startUpstream(async ({ url }, response) => {
      await sleep(UPSTREAM_MS)
      const status = Number(/[0-9]{3}$/.exec(url)?.[0] ?? 200)
      const body = status === 204 ? '' : '{"ok":true}'
      response.writeHead(status, ['Content-Type', 'application/json', 'Server-Timing', 'db;dur=53'])
      response.end(body)
    })
    await reach('psp', psp.origin)
  })

  afterAll(async () => {
    await sallyport[Symbol.asyncDispose]()
    await psp.close()
  })

  const reach = (name: string, origin: string, settings: Record<string, unknown> = {}) =>
    merchant.createDestination({
      name,
      origin,
      allow: [{ methods: ['GET', 'HEAD', 'POST'], path: '/*', fields: ['card_number'] }],
      ...settings,
    })

  const call = (
    path: string,
    { method = 'POST', headers = {}, body = '{}' }: CallOptions = {},
  ): Promise<Reply> =>
    send(
      sallyport.origin,
      method,
      path,
      { 'Sallyport-Key': merchant.proxyKey, 'Content-Type': 'application/json', ...headers },
      method === 'POST' ? body : undefined,
    )

  type CallOptions = { method?: string; headers?: Record<string, string>; body?: string }

  /** Milliseconds by part, of the header that is ours: the last one. */
  function partsOf(reply: Reply): Record<string, number> {
    const ours = valuesOf(reply.rawHeaders, 'server-timing').at(-1) ?? ''
    // A token, and a token for its value (Server Timing, 5; RFC 9110, 5.6.2).
    expect(ours).toMatch(/^[a-z]+;dur=[0-9]+(\.[0-9])?(, [a-z]+;dur=[0-9]+(\.[0-9])?)*$/)
    const pairs = [...ours.matchAll(/([a-z]+);dur=([0-9.]+)/g)]
    return Object.fromEntries(pairs.map(([, name, ms]) => [name, Number(ms)]))
  }

  /** Each of four is rounded to tenths. */
  const ROUNDING = 0.25
  /** Between the last part and the writing of the header. */
  const SLACK = 50

  /** Where the machine did not let us go on, that may have been between the parts. */
  function expectSum({ total = 0, ...parts }: Record<string, number>, stalledMs: number): void {
    const sum = Object.values(parts).reduce((before, ms) => before + ms, 0)
    expect(sum).toBeLessThanOrEqual(total + ROUNDING)
    expect(sum).toBeGreaterThanOrEqual(total - SLACK - stalledMs)
  }

  test.each<[string, string, CallOptions]>([
    ["the PSP's answer", '/d/psp/pay', {}],
    ['an answer to a request with a card', '/d/psp/pay', { body: 'CARD' }],
    ["the PSP's own error", '/d/psp/status/503', {}],
    ['an answer without a body', '/d/psp/status/204', { method: 'GET' }],
    ['an answer to HEAD', '/d/psp/pay', { method: 'HEAD' }],
    ['an envelope', '/v2/proxy', { body: 'ENVELOPE' }],
  ])('%s has all parts, which make up the total', async (_, path, options) => {
    const envelope = { destination_url: `${psp.origin}/pay`, method: 'POST', request_body: {} }
    const body = options.body
      ?.replace('CARD', `["{{$card_number: ${token}}}"]`)
      .replace('ENVELOPE', JSON.stringify(envelope))

    const { value: reply, stalledMs } = await timed(() =>
      call(path, { ...options, ...(body === undefined ? {} : { body }) }),
    )

    const parts = partsOf(reply)
    expect(Object.keys(parts)).toEqual(['vault', 'connect', 'upstream', 'total'])
    expectSum(parts, stalledMs)
    expect(parts.upstream).toBeGreaterThan(UPSTREAM_MS - 10)
    expect(parts.total).toBeGreaterThan(UPSTREAM_MS - 10)
  })

  test("the PSP's own stands beside it", async () => {
    const reply = await call('/d/psp/pay')

    const [theirs, ours, ...others] = valuesOf(reply.rawHeaders, 'server-timing')
    expect(theirs).toBe('db;dur=53')
    expect(ours).toContain('total;dur=')
    expect(others).toEqual([])
  })

  test("in the envelope the PSP's own is with its headers", async () => {
    const body = JSON.stringify({ destination_url: `${psp.origin}/pay`, method: 'GET' })

    const reply = await call('/v2/proxy', { body })

    expect(reply.json.response_headers['server-timing']).toBe('db;dur=53')
    expect(valuesOf(reply.rawHeaders, 'server-timing').length).toBe(1)
  })

  test('connecting takes its time once, and none where the connection was there', async () => {
    const certificate = makeCertificate('slow', { hosts: ['127.0.0.1'] })
    await using secure = await startUpstream(undefined, certificate)
    const slow = createServer((socket) => {
      const onward = connect(secure.port, '127.0.0.1')
      for (const end of [socket, onward]) end.on('error', () => {}) // whoever hangs up first
      setTimeout(() => socket.pipe(onward).pipe(socket), 400)
    })
    const port = await listenOnNewPort(slow)
    await reach('slow', `https://127.0.0.1:${port}`, { ca_pem: certificate.cert })

    const first = await call('/d/slow/pay')
    const { value: second, stalledMs } = await timed(() => call('/d/slow/pay'))
    slow.close()

    expect([first.status, second.status]).toEqual([200, 200])
    expect(partsOf(first).connect).toBeGreaterThan(350)
    expect(partsOf(second).connect).toBeLessThan(200 + stalledMs)
    expect(secure.connections).toBe(1)
  })

  test.each<[string, string, CallOptions]>([
    ['without a key', '/d/psp/pay', { headers: { 'Sallyport-Key': 'nobody' } }],
    ['for no destination', '/d/nobody/pay', {}],
    ['for its token', '/d/psp/pay', { body: '["{{$card_number: local_pm_x}}"]' }],
    ['of an envelope', '/v2/proxy', { body: '{' }],
  ])('a refusal %s tells of the vault alone', async (_, path, options) => {
    const reply = await call(path, options)

    expect(reply.json.error.reason).toBeDefined()
    const { vault, total, ...others } = partsOf(reply)
    expect(others).toEqual({})
    expect(vault).toBe(total)
  })

  test('a dry run tells of the vault alone', async () => {
    const reply = await call('/d/psp/pay', { headers: { 'Sallyport-Dry-Run': 'true' } })

    expect(Object.keys(partsOf(reply))).toEqual(['vault', 'total'])
  })

  test('an answer that is given again tells of the vault alone, not of the first time', async () => {
    const headers = { 'Sallyport-Idempotency-Key': 'once' }
    await call('/d/psp/pay', { headers })

    const again = await call('/d/psp/pay', { headers })

    expect(again.headers['sallyport-idempotent-replay']).toBe('true')
    expect(valuesOf(again.rawHeaders, 'server-timing').length).toBe(2)
    expect(Object.keys(partsOf(again))).toEqual(['vault', 'total'])
  })

  test('a connection that fails has no time of the destination', async () => {
    await reach('closed', `http://127.0.0.1:${await closedPort()}`)

    const { value: reply, stalledMs } = await timed(() => call('/d/closed/pay'))

    expectRefusal(reply, 'upstream_connect_failed')
    const parts = partsOf(reply)
    expect(Object.keys(parts)).toEqual(['vault', 'connect', 'total'])
    expectSum(parts, stalledMs)
  })

  test('an answer that does not come has the time that it was waited for', async () => {
    await using silent = await startRawUpstream(() => {})
    await reach('silent', silent.origin, { timeouts: { headers_ms: 200 } })

    const { value: reply, stalledMs } = await timed(() => call('/d/silent/pay'))

    expectRefusal(reply, 'upstream_timeout')
    const parts = partsOf(reply)
    expect(parts.upstream).toBeGreaterThan(150)
    expectSum(parts, stalledMs)
  })
})
