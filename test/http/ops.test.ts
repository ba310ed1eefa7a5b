// The operations port: alive, ready, figures. It shows nothing of anybody, and its figures do not grow with what
// is stored or called.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseConfig } from '../../src/config.ts'
import { ERRORS } from '../../src/core/errors.ts'
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

describe('the figures', () => {
  type Series = { name: string; labels: Record<string, string>; value: number }

  async function series(): Promise<Series[]> {
    const answer = await ops('/metrics')
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
