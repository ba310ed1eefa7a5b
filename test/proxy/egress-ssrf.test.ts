// Published ways of making a server connect to itself, its network or its cloud: none becomes a destination, none is
// reached by any way in, and a canary that listens on this machine never hears anything.

import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createEgress } from '../../src/proxy/egress/egress.ts'
import { type Origin, parseOrigin, parseOriginPattern } from '../../src/proxy/origin.ts'
import { startSallyport, type TestMerchant, type TestSallyport } from '../support/sallyport.ts'
import { startDnsServer } from './dns-server.ts'
import { askPool } from './egress-client.ts'
import {
  expectRefusal,
  type Reply,
  send,
  sendRaw,
  startUpstream,
  type Upstream,
} from './upstream.ts'

type Vector = { input: string; why: string; source: string; in_header?: 'cannot stand there' } & (
  | { outcome: 'not_an_origin' | 'only_a_url' | 'forbidden_address' }
  | { outcome: 'forbidden_name'; resolves_to: string[] }
)
type Target = { target: string; why: string; source: string; reason: string }

const { vectors, targets } = JSON.parse(
  readFileSync(new URL('../vectors/ssrf.json', import.meta.url), 'utf8'),
) as { vectors: Vector[]; targets: Target[] }

const OUTCOMES = ['not_an_origin', 'only_a_url', 'forbidden_address', 'forbidden_name']
/** With titles: some hold line breaks. */
const withOutcome = <O extends Vector['outcome']>(...outcomes: O[]) =>
  vectors
    .filter((vector): vector is Vector & { outcome: O } =>
      outcomes.some((o) => o === vector.outcome),
    )
    .map((vector) => [`${JSON.stringify(vector.input)}: ${vector.why}`, vector] as const)

test('every vector says what has to happen and why', () => {
  for (const vector of vectors) {
    expect(OUTCOMES).toContain(vector.outcome)
    expect(vector.why).toMatch(/\.$|\?$/)
    expect(vector.source).not.toBe('')
  }
})

let sallyport: TestSallyport
let merchant: TestMerchant
let canary: Upstream

beforeAll(async () => {
  // As open as development is, so that it is the guard that refuses.
  sallyport = await startSallyport({ egress: { allow_private: [], allow_http: true } })
  merchant = await sallyport.createMerchant()
  canary = await startUpstream()
  const allow = [{ methods: ['GET', 'POST'], path: '/pay' }]
  await merchant.createDestination({
    name: 'allowed',
    origin: here('http://psp.test:{port}'),
    allow,
  })
})

afterAll(async () => {
  await sallyport[Symbol.asyncDispose]()
  await canary.close()
})

const here = (text: string) => text.replaceAll('{port}', String(canary.port))
/** Header values are bytes; Node writes a string's lower halves. */
const asHeader = (text: string) => Buffer.from(text).toString('latin1')

const key = () => ({ 'Sallyport-Key': merchant.proxyKey })
const forward = (origin: string) =>
  send(sallyport.origin, 'GET', '/forward/pay', {
    ...key(),
    'Sallyport-Destination': asHeader(origin),
  })
const envelope = (origin: string) =>
  send(
    sallyport.origin,
    'POST',
    '/proxy',
    key(),
    JSON.stringify({ destination_url: origin, method: 'GET' }),
  )
const named = (name: string, headers = {}) =>
  send(sallyport.origin, 'GET', `/d/${name}/pay`, { ...key(), ...headers })

describe('is no origin, and no socket is opened', () => {
  test.each(withOutcome('not_an_origin', 'only_a_url'))('%s', async (_, vector) => {
    const { outcome, in_header } = vector
    const origin = here(vector.input)

    const created = await merchant.policy('POST', '/v2/destinations', { name: 'evil', origin })
    const byUrl = await envelope(origin)
    const byName = await named(encodeURIComponent(origin))

    expect([created.status, created.body.error?.reason]).toEqual([422, 'invalid_value'])
    expectRefusal(byUrl, outcome === 'only_a_url' ? 'destination_not_allowed' : 'invalid_value')
    expect([byName.status, byName.json.error.reason]).toEqual([404, 'not_found'])
    if (in_header === undefined) {
      expectRefusal(await forward(origin), 'destination_not_allowed')
      const beside = { 'Sallyport-Destination': asHeader(origin) }
      expectRefusal(await named('allowed', beside), 'destination_not_allowed')
    } else {
      await expect(forward(origin)).rejects.toMatchObject({ code: 'ERR_INVALID_CHAR' })
    }
    expect(canary.connections).toBe(0)
  })

  test('while an ordinary one is', async () => {
    const origin = here('http://other.test:{port}')

    const created = await merchant.policy('POST', '/v2/destinations', { name: 'good', origin })

    expect(created.status).toBe(201)
  })
})

describe('is an address that is not reached', () => {
  let count = 0

  test.each(withOutcome('forbidden_address'))('%s', async (_, { input }) => {
    const origin = here(input)
    count += 1
    const name = `address${count}`
    await merchant.createDestination({ name, origin, allow: [{ methods: ['GET'], path: '/*' }] })

    const replies: Reply[] = [
      await named(name),
      await forward(parseOrigin(origin) as string),
      await envelope(origin),
    ]

    for (const reply of replies) expectRefusal(reply, 'destination_address_forbidden')
    expect(canary.connections).toBe(0)
    const production = { allowHttp: false, allowAddresses: false, ports: [443] }
    const withoutPort = origin.replace(/^http:/, 'https:').replace(/:[0-9]+$/, '')
    expect(parseOriginPattern(withoutPort, production)).toBeUndefined()
  })
})

describe('is a name that leads nowhere', () => {
  test.each(withOutcome('forbidden_name'))('%s', async (_, { input, resolves_to }) => {
    const origin = parseOrigin(here(input)) as Origin
    await using dns = await startDnsServer(({ type }) =>
      resolves_to.filter((address) => address.includes(':') === (type === 'AAAA')),
    )
    const config = { allowPrivate: [], allowHttp: true, proxy: undefined }
    const pool = createEgress(config, { resolve: dns.resolve }).openPool(origin, {
      caPem: undefined,
      client: undefined,
      pinSha256: undefined,
      connections: 1,
      connectMs: 5000,
      headersMs: 5000,
      bodyMs: 5000,
    })

    const failure = await askPool(pool)
    await pool.destroy()

    expect(failure).toBe('SALLYPORT_ADDRESS_FORBIDDEN')
    expect(dns.asked.map(({ name }) => name)).toContain(new URL(origin).hostname)
    expect(canary.connections).toBe(0)
  })
})

describe('is a target that stays what it is', () => {
  test.each(targets)('$target: $why', async ({ target, reason }) => {
    const { port } = sallyport.installation.address
    const head = `GET ${here(target)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n`

    const answer = await sendRaw(port, `${head}Sallyport-Key: ${merchant.proxyKey}\r\n\r\n`)

    expect(/"reason":"([a-z_]+)"/.exec(answer)?.[1]).toBe(reason)
    expect(canary.connections).toBe(0)
  })
})

test('a name for the host is not believed: it leads to the destination that was named', async () => {
  const reply = await named('nobody', { Host: here('127.0.0.1:{port}') })

  expectRefusal(reply, 'destination_not_allowed')
  expect(canary.connections).toBe(0)
})
