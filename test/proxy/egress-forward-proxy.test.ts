// The way out through a forward proxy: the guard stays whole with addresses, TLS is between us and the destination, and
// what the proxy does not let through was never sent.

import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import { Secret } from '../../src/core/secret.ts'
import type { Resolve } from '../../src/proxy/egress/dialer.ts'
import { createEgress, type PoolOptions } from '../../src/proxy/egress/egress.ts'
import type { EgressPool } from '../../src/proxy/egress/pool.ts'
import type { Origin } from '../../src/proxy/origin.ts'
import { startSallyport, type TestMerchant, VISA } from '../support/sallyport.ts'
import { makeCertificate } from './certificates.ts'
import { type ConnectProxy, startConnectProxy } from './connect-proxy.ts'
import { askPool, tellOf } from './egress-client.ts'
import {
  closedPort,
  eventually,
  expectRefusal,
  send,
  startRawUpstream,
  startUpstream,
} from './upstream.ts'

const certificate = makeCertificate('psp', { hosts: ['psp.test'] })

const OPTIONS: PoolOptions = {
  caPem: certificate.cert,
  client: undefined,
  pinSha256: undefined,
  connections: 1,
  connectMs: 5000,
  headersMs: 5000,
  bodyMs: 5000,
}

const allResolveTo =
  (...addresses: string[]): Resolve =>
  (_hostname, callback) =>
    callback(
      null,
      addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
    )
const nobodyResolves: Resolve = (_hostname, callback) => callback(new Error('no names here'), [])

type Setting = Partial<PoolOptions> & { sends?: 'address' | 'name'; resolve?: Resolve }

function open(origin: string, proxyUrl: string, setting: Setting = {}): EgressPool {
  const { sends = 'address', resolve = allResolveTo('1.1.1.1'), ...options } = setting
  const proxy = { url: new Secret(proxyUrl), sends }
  const egress = createEgress({ allowPrivate: [], allowHttp: true, proxy }, { resolve })
  return egress.openPool(origin as Origin, { ...OPTIONS, ...options })
}

/** The text of the answer, or the code of the error. */
async function ask(pool: EgressPool): Promise<string> {
  try {
    return await askPool(pool, { target: '/pay' })
  } finally {
    await pool.destroy()
  }
}

const at = ({ port }: ConnectProxy) => `http://127.0.0.1:${port}`
/** Connections that nobody hung up. */
const stillOpen = (proxy: ConnectProxy) =>
  eventually(
    () => proxy.open.size,
    (size) => size === 0,
  )
const OK = '{"ok":true}'
const FAILED = 'SALLYPORT_FORWARD_PROXY_FAILED'

describe('a proxy that is sent addresses', () => {
  test('is told the address that was tested, and TLS is with the name', async () => {
    await using upstream = await startUpstream(undefined, certificate)
    await using proxy = await startConnectProxy(() => upstream.port)

    const answer = await ask(open('https://psp.test', at(proxy)))

    expect(answer).toBe(OK)
    expect(proxy.asked).toEqual(['1.1.1.1:443'])
    expect(upstream.seen.map(({ headers }) => headers.host)).toEqual(['psp.test'])
  })

  test('sees the port of the destination, and IPv6 in brackets', async () => {
    await using upstream = await startUpstream(undefined, certificate)
    await using proxy = await startConnectProxy(() => upstream.port)
    const resolve = allResolveTo('2606:4700:4700::1111')

    const answer = await ask(open('https://psp.test:8443', at(proxy), { resolve }))

    expect(answer).toBe(OK)
    expect(proxy.asked).toEqual(['[2606:4700:4700::1111]:8443'])
  })

  test.each([
    ['a private address', ['10.0.0.1']],
    ['a good and a private one', ['1.1.1.1', '127.0.0.1']],
    ['metadata', ['169.254.169.254']],
  ])('is asked for nothing when the name resolves to %s', async (_, addresses) => {
    await using proxy = await startConnectProxy(() => '')

    const answer = await ask(
      open('https://psp.test', at(proxy), { resolve: allResolveTo(...addresses) }),
    )

    expect(answer).toBe('SALLYPORT_ADDRESS_FORBIDDEN')
    expect(proxy.connections).toBe(0)
  })

  test('is asked for nothing when the name does not resolve', async () => {
    await using proxy = await startConnectProxy(() => '')

    const answer = await ask(open('https://psp.test', at(proxy), { resolve: nobodyResolves }))

    expect(answer).toBe('ENOTFOUND')
    expect(proxy.connections).toBe(0)
  })

  test('is asked for the next address when it does not reach the first', async () => {
    await using upstream = await startUpstream(undefined, certificate)
    await using proxy = await startConnectProxy((authority) =>
      authority.startsWith('[') ? 'HTTP/1.1 502 Bad Gateway\r\n\r\n' : upstream.port,
    )
    const resolve = allResolveTo('2606:4700:4700::1111', '1.1.1.1')

    const answer = await ask(open('https://psp.test', at(proxy), { resolve }))

    expect(answer).toBe(OK)
    expect(proxy.asked).toEqual(['[2606:4700:4700::1111]:443', '1.1.1.1:443'])
  })

  test('leads to destinations without TLS by a tunnel as well', async () => {
    await using upstream = await startUpstream()
    await using proxy = await startConnectProxy(() => upstream.port)

    const answer = await ask(open('http://psp.test', at(proxy)))

    expect(answer).toBe(OK)
    expect(proxy.asked).toEqual(['1.1.1.1:80'])
  })
})

describe('a proxy that is sent names', () => {
  const sends = 'name'
  const resolve = nobodyResolves

  test('is told the name, which nobody here resolves', async () => {
    await using upstream = await startUpstream(undefined, certificate)
    await using proxy = await startConnectProxy(() => upstream.port)

    const answer = await ask(open('https://psp.test', at(proxy), { sends, resolve }))

    expect(answer).toBe(OK)
    expect(proxy.asked).toEqual(['psp.test:443'])
  })

  test.each(['https://127.0.0.1', 'https://169.254.169.254', 'http://[::1]', 'http://10.0.0.1'])(
    'is not asked for a forbidden address: %s',
    async (origin) => {
      await using proxy = await startConnectProxy(() => '')

      const answer = await ask(open(origin, at(proxy), { sends, resolve }))

      expect(answer).toBe('SALLYPORT_ADDRESS_FORBIDDEN')
      expect(proxy.connections).toBe(0)
    },
  )
})

describe('credentials', () => {
  test('of the URL are shown to the proxy, decoded, and to nobody else', async () => {
    await using upstream = await startUpstream(undefined, certificate)
    await using proxy = await startConnectProxy(() => upstream.port)
    const url = `http://us%40er:p%3Aw@127.0.0.1:${proxy.port}`

    const answer = await ask(open('https://psp.test', url))

    expect(answer).toBe(OK)
    expect(proxy.headers[0]?.['proxy-authorization']).toBe(`Basic ${btoa('us@er:p:w')}`)
    expect(upstream.seen[0]?.headers['proxy-authorization']).toBeUndefined()
  })

  test('that are not in it are not made up', async () => {
    await using upstream = await startUpstream(undefined, certificate)
    await using proxy = await startConnectProxy(() => upstream.port)

    await ask(open('https://psp.test', at(proxy)))

    expect(proxy.headers[0]).toEqual({ host: '1.1.1.1:443', connection: expect.any(String) })
  })

  test('do not stand in the error when the proxy is not there', async () => {
    const pool = open('https://psp.test', `http://user:hunter2@127.0.0.1:${await closedPort()}`)

    const { error } = await tellOf(pool)
    await pool.destroy()

    expect(error?.code).toBe(FAILED)
    expect(inspect(error, { depth: 10, showHidden: true })).not.toContain('hunter2')
  })
})

describe('a proxy that lets nothing through', () => {
  test.each([
    ['wants credentials', 'HTTP/1.1 407 Proxy Authentication Required\r\n\r\n'],
    ['refuses', 'HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nno!\n'],
    ['cannot reach it', 'HTTP/1.1 502 Bad Gateway\r\n\r\n'],
    ['redirects', 'HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n'],
    ['talks before the destination could', 'HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n'],
    ['is none', 'SSH-2.0-OpenSSH_9.9\r\n'],
    ['hangs up', ''],
    ['never ends its head', `HTTP/1.1 200 OK\r\nA: ${'a'.repeat(100_000)}`],
  ])('because it %s: nothing is sent', async (_, said) => {
    await using upstream = await startUpstream()
    await using proxy = await startConnectProxy(() => said)

    const answer = await ask(open('http://psp.test', at(proxy)))

    expect(answer).toBe(FAILED)
    expect(proxy.asked).toEqual(['1.1.1.1:80'])
    expect([upstream.connections, await stillOpen(proxy)]).toEqual([0, 0])
  })

  test('because it says nothing: the time to connect ends it, and no connection stays', async () => {
    await using proxy = await startConnectProxy(() => undefined)

    const answer = await ask(open('https://psp.test', at(proxy), { connectMs: 50 }))

    expect(answer).toBe('SALLYPORT_CONNECT_TIMEOUT')
    expect([proxy.connections, await stillOpen(proxy)]).toEqual([1, 0])
  })
})

describe('through the proxy, TLS with the destination', () => {
  test('is checked like any other: another certificate is refused, and nothing is sent', async () => {
    const other = makeCertificate('other', { hosts: ['other.test'] })
    await using upstream = await startUpstream(undefined, other)
    await using proxy = await startConnectProxy(() => upstream.port)

    const answer = await ask(open('https://psp.test', at(proxy), { caPem: other.cert }))

    expect(answer).toBe('ERR_TLS_CERT_ALTNAME_INVALID')
    expect(upstream.seen).toEqual([])
  })

  test('has the time to connect, and a handshake that stalls leaves nothing open', async () => {
    await using upstream = await startRawUpstream(() => {})
    await using proxy = await startConnectProxy(() => upstream.port)

    const answer = await ask(open('https://psp.test', at(proxy), { connectMs: 50 }))

    expect(answer).toBe('SALLYPORT_CONNECT_TIMEOUT')
    expect([upstream.connections, await stillOpen(proxy)]).toEqual([1, 0])
  })
})

describe('a proxy with TLS of its own', () => {
  const own = makeCertificate('proxy', { hosts: ['localhost'] })

  test.each([
    ['address', '1.1.1.1:443'],
    ['name', 'psp.test:443'],
  ] as const)(
    'is spoken to in TLS, with its own name, and the destination in TLS within: %s',
    async (sends, authority) => {
      const before = getCACertificates('default')
      setDefaultCACertificates([...before, own.cert])
      await using upstream = await startUpstream(undefined, certificate)
      await using proxy = await startConnectProxy(() => upstream.port, own)

      const answer = await ask(
        open('https://psp.test', `https://localhost:${proxy.port}`, { sends }),
      )
      setDefaultCACertificates(before)

      expect(answer).toBe(OK)
      expect(proxy.asked).toEqual([authority])
    },
  )

  test('has to be the one of the URL, else it is asked for nothing', async () => {
    await using proxy = await startConnectProxy(() => '', own)

    const answer = await ask(open('https://psp.test', `https://localhost:${proxy.port}`))

    expect(answer).toBe(FAILED)
    expect(proxy.asked).toEqual([])
  })
})

describe('through the front door', () => {
  async function charge(origin: string, merchant: TestMerchant, sallyportOrigin: string) {
    await merchant.createDestination({
      name: 'psp',
      origin,
      ca_pem: certificate.cert,
      allow: [{ methods: ['POST'], path: '/*', fields: ['card_number'] }],
    })
    const token = await merchant.createCard()
    const headers = { 'Sallyport-Key': merchant.proxyKey, 'Content-Type': 'application/json' }
    const body = `["{{$card_number: ${token}}}"]`
    return send(sallyportOrigin, 'POST', '/d/psp/pay', headers, body)
  }

  const settings = (proxy: ConnectProxy, sends: string, more = {}) => ({
    egress: {
      allow_private: [],
      allow_http: true,
      proxy: { url: `http://user:pass@127.0.0.1:${proxy.port}`, sends },
      ...more,
    },
  })

  test('a card goes through the proxy, which does not see it', async () => {
    await using upstream = await startUpstream(undefined, certificate)
    await using proxy = await startConnectProxy(() => upstream.port)
    await using sallyport = await startSallyport(settings(proxy, 'name'))

    const merchant = await sallyport.createMerchant()
    const reply = await charge('https://psp.test', merchant, sallyport.origin)

    expect([reply.status, reply.text]).toEqual([200, OK])
    expect(upstream.seen.map(({ body }) => body.toString())).toEqual([`["${VISA}"]`])
    expect(proxy.asked).toEqual(['psp.test:443'])
    expect(proxy.headers[0]?.['proxy-authorization']).toBe(`Basic ${btoa('user:pass')}`)
  })

  test.each(['address', 'name'])(
    'a forbidden address is refused, also to send %s',
    async (sends) => {
      await using proxy = await startConnectProxy(() => '')
      await using sallyport = await startSallyport(settings(proxy, sends))

      const merchant = await sallyport.createMerchant()
      const reply = await charge('https://127.0.0.1', merchant, sallyport.origin)

      expectRefusal(reply, 'destination_address_forbidden')
      expect(proxy.connections).toBe(0)
    },
  )

  test.each([
    ['407', 'HTTP/1.1 407 Proxy Authentication Required\r\n\r\n'],
    ['garbage', 'no HTTP at all\r\n\r\n'],
  ])('a proxy that answers %s: upstream_connect_failed, safe to try again', async (_, said) => {
    await using proxy = await startConnectProxy(() => said)
    await using sallyport = await startSallyport(
      settings(proxy, 'address', { allow_private: ['127.0.0.0/8'] }),
    )

    const merchant = await sallyport.createMerchant()
    const reply = await charge('https://127.0.0.1', merchant, sallyport.origin)

    expectRefusal(reply, 'upstream_connect_failed')
    expect(proxy.asked).toEqual(['127.0.0.1:443'])
  })
})
