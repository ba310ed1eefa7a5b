// The operations port: alive, ready, figures. It shows nothing of anybody, and its figures do not grow with what
// is stored or called; only destinations in use are named, where there is something to watch: a certificate, a breaker.

import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseConfig } from '../../src/config.ts'
import { ERRORS } from '../../src/core/errors.ts'
import { certificateWarnings } from '../../src/http/certificates.ts'
import { makeCertificate } from '../proxy/certificates.ts'
import { closedPort, startUpstream } from '../proxy/upstream.ts'
import { type PspSimulator, startPspSimulator } from '../support/psp-simulator.ts'
import { startSallyport, type TestMerchant, type TestSallyport } from '../support/sallyport.ts'

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
    allow: [{ methods: ['POST', 'GET'], path: '/*', fields: ['card_number'] }],
  })
})

afterAll(async () => {
  await sallyport[Symbol.asyncDispose]()
  await psp.close()
})

const ops = (path: string, method = 'GET') => fetch(sallyport.opsOrigin + path, { method })

test('it listens on loopback and nowhere else unless told so', () => {
  const { config } = parseConfig({ env: {} }) as { config: { ops_host: string } }

  expect(config.ops_host).toBe('127.0.0.1')
  expect(sallyport.installation.opsAddress.address).toBe('127.0.0.1')
})

describe('health', () => {
  test('is live', async () => {
    const answer = await ops('/health/live')

    expect([answer.status, await answer.json()]).toEqual([200, { status: 'live' }])
  })

  test('is ready when store and audit trail work', async () => {
    const answer = await ops('/health/ready?x=1')

    expect(answer.status).toBe(200)
    expect(await answer.json()).toEqual({
      status: 'ready',
      checks: { store: true, audit: true },
      warnings: [],
    })
  })
})

test.each([
  ['GET', '/', 404],
  ['GET', '/health', 404],
  ['GET', '/v2/customers/list', 404],
  ['POST', '/metrics', 405],
  ['DELETE', '/health/live', 405],
])('%s %s is not there', async (method, path, status) => {
  expect((await ops(path, method)).status).toBe(status)
})

test('no answer may be stored', async () => {
  for (const path of ['/health/live', '/health/ready', '/metrics', '/nope']) {
    expect((await ops(path)).headers.get('cache-control')).toBe('no-store')
  }
})

test('the API is not on it, and it is not on the API', async () => {
  const headers = { 'sallyport-key': merchant.vaultKey }
  expect((await fetch(`${sallyport.opsOrigin}/v2/customers/list`, { headers })).status).toBe(404)
  expect((await fetch(`${sallyport.origin}/metrics`, { headers })).status).toBe(404)
})

type Series = { name: string; labels: Record<string, string>; value: number }

async function seriesOf({ opsOrigin }: TestSallyport): Promise<Series[]> {
  const answer = await fetch(`${opsOrigin}/metrics`)
  expect(answer.headers.get('content-type')).toContain('text/plain')
  return (await answer.text())
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => {
      const [, name = '', labels = '', value] = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? []
      const pairs = [...labels.matchAll(/([a-z_]+)="([^"]*)"/g)].map(([, k, v]) => [k, v])
      return { name, labels: Object.fromEntries(pairs), value: Number(value) }
    })
}

describe('the figures', () => {
  const series = () => seriesOf(sallyport)

  const value = async (name: string, labels: Record<string, string> = {}) =>
    (await series()).find(
      (each) => each.name === name && JSON.stringify(each.labels) === JSON.stringify(labels),
    )?.value ?? 0

  test('count what the proxy does', async () => {
    const names = [
      ['sallyport_reveals_total', {}],
      ['sallyport_substitutions_total', {}],
      ['sallyport_proxy_requests_total', { outcome: '2xx' }],
      ['sallyport_proxy_requests_total', { outcome: '5xx' }],
      ['sallyport_proxy_requests_total', { outcome: 'token_not_found' }],
      ['sallyport_proxy_requests_total', { outcome: 'unauthenticated' }],
      ['sallyport_proxy_request_duration_seconds_count', {}],
      ['sallyport_proxy_request_duration_seconds_bucket', { le: '+Inf' }],
    ] as const
    const read = () => Promise.all(names.map(([name, labels]) => value(name, labels)))
    const token = await merchant.createCard()
    const before = await read()

    const twice = { a: `{{$card_number: ${token}}}`, b: `{{$card_number: ${token}}}` }
    await merchant.proxy('POST', '/d/psp/echo', twice)
    await merchant.proxy('GET', '/d/psp/status/503')
    await merchant.proxy('POST', '/d/psp/echo', { a: '{{$card_number: local_pm_x}}' })
    await sallyport.as('x')('POST', '/d/psp/echo', {})

    const after = await read()
    expect(after.map((figure, index) => figure - (before[index] ?? 0))).toEqual([
      1, 2, 1, 1, 1, 1, 4, 4,
    ])
    expect(await value('sallyport_proxy_in_flight')).toBe(0)
    expect(await value('sallyport_proxy_request_duration_seconds_sum')).toBeGreaterThan(0)
  })

  test('have a histogram whose buckets only grow', async () => {
    const buckets = (await series()).filter(
      ({ name }) => name === 'sallyport_proxy_request_duration_seconds_bucket',
    )

    expect(buckets.length).toBeGreaterThan(10)
    const values = buckets.map((each) => each.value)
    expect(values).toEqual([...values].sort((a, b) => a - b))
    expect(buckets.at(-1)?.labels).toEqual({ le: '+Inf' })
  })

  test('have labels from closed lists only, whoever calls what', async () => {
    for (let i = 0; i < 5; i++) {
      const another = await sallyport.createMerchant()
      await another.proxy('POST', `/d/name-${i}/path-${i}`, {})
      await another.proxy(
        'POST',
        `/forward/path-${i}`,
        {},
        {
          'sallyport-destination': `https://host-${i}.test`,
        },
      )
    }

    const ours = (await series()).filter(({ name }) => name.startsWith('sallyport_'))

    const outcomes = new Set([...Object.keys(ERRORS), '1xx', '2xx', '3xx', '4xx', '5xx'])
    for (const { name, labels } of ours) {
      const { outcome, le: _le, version: _version, ...others } = labels
      expect([name, others]).toEqual([name, {}])
      if (outcome !== undefined) expect(outcomes).toContain(outcome)
    }
    const text = await (await ops('/metrics')).text()
    expect(text).not.toContain(merchant.id)
    expect(text).not.toMatch(/mer_|key_|_pm_|host-|path-|name-|psp/)
  })
})

describe('certificates and breakers', () => {
  const DAY_MS = 86_400_000
  /** Whole seconds, as certificates have them. */
  const NOW_MS = Math.floor(Date.now() / 1000) * 1000
  const inDays = (days: number) => new Date(NOW_MS + days * DAY_MS)
  const lasting = (days: number) => ({ from: inDays(-1), until: inDays(days) })

  const EXPIRY = 'sallyport_certificate_expiry_timestamp_seconds'
  const BREAKER = 'sallyport_breaker_open'

  async function figuresOf(watched: TestSallyport, name: string) {
    const found = (await seriesOf(watched)).filter((each) => each.name === name)
    return found.map(({ labels, value }) => [labels, value])
  }

  const readyOf = async ({ opsOrigin }: TestSallyport) => {
    const answer = await fetch(`${opsOrigin}/health/ready`)
    return [answer.status, ((await answer.json()) as { warnings: unknown }).warnings]
  }

  async function labelOf({ id, policy }: TestMerchant, name: string): Promise<string> {
    const { body } = await policy('GET', `/v2/destinations/${name}`)
    return `${id}/${body.profile_id}/${name}`
  }

  test('of a destination in use are known, and warned of a month before they expire', async () => {
    const authority = makeCertificate('authority', { isAuthority: true, ...lasting(400) })
    const server = makeCertificate('server', {
      issuer: authority,
      hosts: ['127.0.0.1'],
      ...lasting(20),
    })
    const client = makeCertificate('client', lasting(10))
    await using watched = await startSallyport()
    await using upstream = await startUpstream(undefined, server)
    const owner = await watched.createMerchant()
    await owner.createDestination({
      name: 'secure',
      origin: upstream.origin,
      allow: [{ methods: ['GET'], path: '/*' }],
      ca_pem: authority.cert,
      client_certificate: { cert_pem: client.cert, key_pem: client.key },
    })
    const before = [await figuresOf(watched, EXPIRY), await readyOf(watched)]

    const reply = await owner.proxy('GET', '/d/secure/x')

    const destination = await labelOf(owner, 'secure')
    expect(before).toEqual([[], [200, []]])
    expect(reply.status).toBe(200)
    expect(await figuresOf(watched, EXPIRY)).toEqual([
      [{ destination, kind: 'client' }, inDays(10).getTime() / 1000],
      [{ destination, kind: 'ca' }, inDays(400).getTime() / 1000],
      [{ destination, kind: 'server' }, inDays(20).getTime() / 1000],
    ])
    expect(await readyOf(watched)).toEqual([
      200,
      [
        { certificate: `client ${destination}`, expires_at: inDays(10).toISOString() },
        { certificate: `server ${destination}`, expires_at: inDays(20).toISOString() },
      ],
    ])
  })

  test('of a destination that was deleted are not told any more', async () => {
    const server = makeCertificate('server', { hosts: ['127.0.0.1'], ...lasting(10) })
    await using watched = await startSallyport()
    await using upstream = await startUpstream(undefined, server)
    const owner = await watched.createMerchant()
    await owner.createDestination({
      name: 'gone',
      origin: upstream.origin,
      allow: [{ methods: ['GET'], path: '/*' }],
      ca_pem: server.cert,
      breaker: { failures: 1 },
    })
    await owner.proxy('GET', '/d/gone/x')
    const before = [await figuresOf(watched, EXPIRY), await figuresOf(watched, BREAKER)]
    await owner.policy('DELETE', '/v2/destinations/gone')
    await owner.proxy('GET', '/d/gone/x')

    expect(before.map(({ length }) => length)).toEqual([2, 1])
    expect(await figuresOf(watched, EXPIRY)).toEqual([])
    expect(await figuresOf(watched, BREAKER)).toEqual([])
    expect(await readyOf(watched)).toEqual([200, []])
  })

  test('a certificate that has expired is one that the warnings tell of, and we are ready', async () => {
    const authority = makeCertificate('authority', { isAuthority: true, ...lasting(400) })
    const client = makeCertificate('client', lasting(-0.5))
    const server = makeCertificate('server', {
      issuer: authority,
      hosts: ['127.0.0.1'],
      ...lasting(400),
    })
    await using watched = await startSallyport()
    await using upstream = await startUpstream(undefined, server)
    const owner = await watched.createMerchant()
    await owner.createDestination({
      name: 'late',
      origin: upstream.origin,
      allow: [{ methods: ['GET'], path: '/*' }],
      ca_pem: authority.cert,
      client_certificate: { cert_pem: client.cert, key_pem: client.key },
    })

    await owner.proxy('GET', '/d/late/x')

    const certificate = `client ${await labelOf(owner, 'late')}`
    expect(await readyOf(watched)).toEqual([
      200,
      [{ certificate, expires_at: inDays(-0.5).toISOString() }],
    ])
  })

  test('of our own port: the first of its chain to expire', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sallyport-listener-'))
    const authority = makeCertificate('authority', { isAuthority: true, ...lasting(15) })
    const own = makeCertificate('own', { issuer: authority, ...lasting(60) })
    const tls = { cert_file: join(folder, 'cert.pem'), key_file: join(folder, 'key.pem') }
    await writeFile(tls.cert_file, own.cert + authority.cert)
    await writeFile(tls.key_file, own.key)
    const found = await startOver(tls)
    await rm(folder, { recursive: true })

    expect(found).toEqual([
      [[{ kind: 'listener' }, inDays(15).getTime() / 1000]],
      [200, [{ certificate: 'listener', expires_at: inDays(15).toISOString() }]],
    ])
  })

  async function startOver(tls: object) {
    // Nothing of it is called over TLS, so that nobody has to trust it.
    await using watched = await startSallyport({ tls })
    return [await figuresOf(watched, EXPIRY), await readyOf(watched)]
  }

  test('a breaker is 1 while it is open, and there is none without its setting', async () => {
    await using watched = await startSallyport()
    await using upstream = await startUpstream()
    const owner = await watched.createMerchant()
    const allow = [{ methods: ['GET'], path: '/*' }]
    const breaker = { failures: 1, open_ms: 600_000 }
    const origin = `http://127.0.0.1:${await closedPort()}`
    await owner.createDestination({ name: 'down', origin, allow, breaker })
    await owner.createDestination({ name: 'up', origin: upstream.origin, allow, breaker })
    await using plain = await startUpstream()
    await owner.createDestination({ name: 'plain', origin: plain.origin, allow })

    for (const name of ['down', 'up', 'plain']) await owner.proxy('GET', `/d/${name}/x`)

    expect(await figuresOf(watched, BREAKER)).toEqual([
      [{ destination: await labelOf(owner, 'down') }, 1],
      [{ destination: await labelOf(owner, 'up') }, 0],
    ])
    expect(await readyOf(watched)).toEqual([200, []])
  })

  test('those that expire within 30 days are warned of, the first one first', () => {
    const at = (expiresAtMs: number, destination: string) =>
      ({ destination, kind: 'server', expiresAtMs }) as const
    const warnings = certificateWarnings(
      [
        at(NOW_MS + 30 * DAY_MS, 'last'),
        at(NOW_MS + 30 * DAY_MS + 1, 'none'),
        at(NOW_MS - DAY_MS, 'expired'),
        { destination: undefined, kind: 'listener', expiresAtMs: NOW_MS },
      ],
      NOW_MS,
    )

    expect(warnings).toEqual([
      { certificate: 'server expired', expires_at: inDays(-1).toISOString() },
      { certificate: 'listener', expires_at: inDays(0).toISOString() },
      { certificate: 'server last', expires_at: inDays(30).toISOString() },
    ])
  })
})
