// Names, asked of a name server that lies and changes its mind: what is connected to is what was tested, after one
// question, and a whole answer is as good as its worst address.

import { createServer } from 'node:http'
import { type AddressInfo, createServer as createNetServer } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Cidr, parseCidr } from '../../src/core/cidr.ts'
import type { Resolve } from '../../src/proxy/egress/dialer.ts'
import { createEgress, type PoolOptions } from '../../src/proxy/egress/egress.ts'
import type { EgressPool } from '../../src/proxy/egress/pool.ts'
import type { Origin } from '../../src/proxy/origin.ts'
import { pause } from '../support/time.ts'
import { type DnsScript, startDnsServer } from './dns-server.ts'
import { askPool } from './egress-client.ts'
import { startUpstream, type Upstream } from './upstream.ts'

/** Where the test's destination listens. It stands for the public internet: it alone is allowed. */
const ALLOWED = '127.0.0.2'

const OPTIONS: PoolOptions = {
  caPem: undefined,
  client: undefined,
  pinSha256: undefined,
  connections: 4,
  connectMs: 5000,
  headersMs: 5000,
  bodyMs: 5000,
}

/** On the very port of the canary, which listens on 127.0.0.1 and must never hear anything. */
let canary: Upstream
let arrived = 0
const good = createServer((_, response) => {
  arrived += 1
  response.end('good')
})

beforeAll(async () => {
  canary = await startUpstream()
  await new Promise<void>((resolve) => good.listen(canary.port, ALLOWED, resolve))
})

afterAll(async () => {
  good.closeAllConnections()
  good.close()
  await canary.close()
})

function open(resolve: Resolve, options: Partial<PoolOptions> = {}): EgressPool {
  const allowPrivate = [parseCidr(`${ALLOWED}/32`) as Cidr]
  const egress = createEgress({ allowPrivate, allowHttp: true, proxy: undefined }, { resolve })
  return egress.openPool(`http://psp.test:${canary.port}` as Origin, { ...OPTIONS, ...options })
}

const ask = (pool: EgressPool) => askPool(pool, { method: 'GET', body: undefined })

/** By one request over a connection of its own. */
async function askOnce(script: DnsScript): Promise<string> {
  await using dns = await startDnsServer(script)
  const pool = open(dns.resolve)
  const answer = await ask(pool)
  await pool.destroy()
  return answer
}

const FORBIDDEN = 'SALLYPORT_ADDRESS_FORBIDDEN'

test('a name that resolves to an allowed address is reached there', async () => {
  const answer = await askOnce(({ type }) => (type === 'A' ? [ALLOWED] : []))

  expect(answer).toBe('good')
})

describe('a name server that changes its answer', () => {
  test('is asked once for each connection, and the connection goes where the answer said', async () => {
    const answers = [[ALLOWED], ['127.0.0.1']]
    await using dns = await startDnsServer(({ type }) =>
      type === 'A' ? (answers.shift() ?? []) : [],
    )
    const pool = open(dns.resolve, { connections: 1 })

    const first = await ask(pool)
    const second = await ask(pool)
    await pool.destroy()

    expect([first, second]).toEqual(['good', 'good'])
    expect(dns.asked.filter(({ type }) => type === 'A').length).toBe(1)
    expect(answers).toEqual([['127.0.0.1']])
    expect(canary.connections).toBe(0)
  })

  test('gets nothing at the address it turned to, however often', async () => {
    let questions = 0
    await using dns = await startDnsServer(({ type }) => {
      if (type === 'AAAA') return []
      questions += 1
      return [questions % 2 === 1 ? ALLOWED : '127.0.0.1']
    })

    const answers: string[] = []
    for (let i = 0; i < 200; i++) {
      const pool = open(dns.resolve)
      answers.push(await ask(pool))
      await pool.destroy()
    }

    expect(answers).toEqual(Array(100).fill(['good', FORBIDDEN]).flat())
    expect(questions).toBe(200)
    expect(canary.connections).toBe(0)
  })
})

describe('an answer with many addresses', () => {
  test.each([
    ['loopback last', [ALLOWED, '127.0.0.1'], []],
    ['loopback first', ['127.0.0.1', ALLOWED], []],
    ['metadata in the middle', [ALLOWED, '169.254.169.254', ALLOWED], []],
    ['a private IPv6 address beside a good IPv4 address', [ALLOWED], ['fd00::1']],
    ['loopback mapped into IPv6', [ALLOWED], ['::ffff:127.0.0.1']],
    ['metadata mapped into IPv6', [ALLOWED], ['::ffff:169.254.169.254']],
    ['loopback through NAT64', [ALLOWED], ['64:ff9b::7f00:1']],
    ['loopback through a local NAT64', [ALLOWED], ['64:ff9b:1::7f00:1']],
    ['loopback through 6to4', [ALLOWED], ['2002:7f00:1::1']],
    ['a Teredo address', [ALLOWED], ['2001:0:4136:e378:8000:63bf:80ff:fffe']],
    ['an IPv4-compatible address', [ALLOWED], ['::7f00:1']],
    ['IPv6 loopback', [ALLOWED], ['::1']],
    ['this host', [ALLOWED], ['::']],
    ['forty good ones and a bad one', [...Array(40).fill(ALLOWED), '10.0.0.1'], []],
  ])('is refused as a whole: %s', async (_, ipv4, ipv6) => {
    const before = arrived

    const answer = await askOnce(({ type }) => (type === 'A' ? ipv4 : ipv6))

    expect(answer).toBe(FORBIDDEN)
    expect([arrived, canary.connections]).toEqual([before, 0])
  })

  test('is good when all are, also one that is mapped into IPv6', async () => {
    const answer = await askOnce(({ type }) => (type === 'A' ? [ALLOWED] : [`::ffff:${ALLOWED}`]))

    expect(answer).toBe('good')
  })

  test('leads to the next one when nobody listens at the first', async () => {
    await using dns = await startDnsServer(({ type }) =>
      type === 'A' ? ['127.0.0.3', ALLOWED] : [],
    )
    const allowPrivate = [parseCidr('127.0.0.2/31') as Cidr]
    const config = { allowPrivate, allowHttp: true, proxy: undefined }
    const { openPool } = createEgress(config, { resolve: dns.resolve })
    const pool = openPool(`http://psp.test:${canary.port}` as Origin, OPTIONS)

    const answer = await ask(pool)
    await pool.destroy()

    expect(answer).toBe('good')
  })
})

test.each<[string, DnsScript]>([
  ['without an address', () => []],
  ['that there is no such name', () => 'NXDOMAIN'],
  ['that the server is in trouble', () => 'SERVFAIL'],
])('an answer %s is a failure of DNS', async (_, script) => {
  const answer = await askOnce(script)

  expect(answer).toBe('ENOTFOUND')
})

describe('the time to connect', () => {
  test('holds for the name as well, and an answer that comes later connects to nothing', async () => {
    const before = arrived
    const { promise: late, resolve: answerLate } = Promise.withResolvers<void>()
    const pool = open(
      (_hostname, callback) => {
        late.then(() => callback(null, [{ address: ALLOWED, family: 4 }]))
      },
      { connectMs: 50 },
    )

    const answer = await ask(pool)
    answerLate()
    await pause(50) // a connection would be there by now
    await pool.destroy()

    expect(answer).toBe('SALLYPORT_CONNECT_TIMEOUT')
    expect(arrived).toBe(before)
  })

  test('ends a handshake that stalls, and leaves no connection half open', async () => {
    const closed = Promise.withResolvers<void>()
    const stalling = createNetServer((socket) => {
      socket.on('error', () => {})
      socket.on('close', closed.resolve)
      socket.resume()
    })
    await new Promise<void>((resolve) => stalling.listen(0, ALLOWED, resolve))
    const { port } = stalling.address() as AddressInfo
    const allowPrivate = [parseCidr(`${ALLOWED}/32`) as Cidr]
    const { openPool } = createEgress({ allowPrivate, allowHttp: true, proxy: undefined })
    const pool = openPool(`https://${ALLOWED}:${port}` as Origin, { ...OPTIONS, connectMs: 50 })

    const answer = await ask(pool)
    await closed.promise
    stalling.close()
    await pool.destroy()

    expect(answer).toBe('SALLYPORT_CONNECT_TIMEOUT')
  })
})

describe('an address in place of a name', () => {
  test.each([
    ['loopback', '127.0.0.1'],
    ['this host', '0.0.0.0'],
    ['loopback in IPv6', '[::1]'],
    ['loopback mapped into IPv6', '[::ffff:127.0.0.1]'],
    ['loopback mapped into IPv6, in hex', '[::ffff:7f00:1]'],
    ['IPv4-compatible loopback', '[::127.0.0.1]'],
  ])('is tested without a question: %s', async (_, host) => {
    const questions: string[] = []
    const allowPrivate = [parseCidr(`${ALLOWED}/32`) as Cidr]
    const { openPool } = createEgress(
      { allowPrivate, allowHttp: true, proxy: undefined },
      { resolve: (hostname) => questions.push(hostname) },
    )
    const pool = openPool(`http://${host}:${canary.port}` as Origin, OPTIONS)

    const answer = await ask(pool)
    await pool.destroy()

    expect(answer).toBe(FORBIDDEN)
    expect(questions).toEqual([])
    expect(canary.connections).toBe(0)
  })
})
