// Destinations that fail, each in its own way: what the caller is told, whether it may send again, and that nothing is
// ever sent twice. And the guard of addresses, which nothing gets around.

import { createServer as createTlsServer } from 'node:https'
import { connect, createServer } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Reason } from '../../src/core/errors.ts'
import {
  startSallyport,
  type TestMerchant,
  type TestSallyport,
  VISA,
} from '../support/sallyport.ts'
import { makeCertificate } from './certificates.ts'
import {
  closedPort,
  expectRefusal,
  listenOnNewPort,
  send,
  startRawUpstream,
  startUpstream,
  type Upstream,
} from './upstream.ts'

let sallyport: TestSallyport
let merchant: TestMerchant
let token: string
let destinations = 0

beforeAll(async () => {
  sallyport = await startSallyport()
  merchant = await sallyport.createMerchant()
  token = await merchant.createCard()
})

afterAll(async () => {
  await sallyport[Symbol.asyncDispose]()
})

const timeouts = { connect_ms: 2000, headers_ms: 5000, body_ms: 5000, total_ms: 5000 }

/** A charge at a destination of its own, with a card in it. */
async function charge(origin: string, settings: Record<string, unknown> = {}, method = 'POST') {
  destinations += 1
  const name = `d${destinations}`
  await merchant.createDestination({
    name,
    origin,
    timeouts,
    allow: [{ methods: ['POST', 'GET'], path: '/*', fields: ['card_number'] }],
    ...settings,
  })
  const body = `["{{$card_number: ${token}}}"]`
  const headers = {
    'Sallyport-Key': merchant.proxyKey,
    'Content-Type': 'application/json',
    'Content-Length': String(body.length),
  }
  return send(sallyport.origin, method, `/d/${name}/pay`, headers, body)
}

describe('before anything was sent', () => {
  test('nobody listens: upstream_connect_failed', async () => {
    const reply = await charge(`http://127.0.0.1:${await closedPort()}`)

    expectRefusal(reply, 'upstream_connect_failed')
  })

  test('the name does not exist: upstream_dns_failed', async () => {
    const settings = { timeouts: { ...timeouts, connect_ms: 20_000, total_ms: 20_000 } }

    const reply = await charge('http://name.invalid', settings)

    expectRefusal(reply, 'upstream_dns_failed')
  })

  test('the handshake never ends: upstream_connect_timeout', async () => {
    await using upstream = await startRawUpstream(() => {}) // accepts, and says nothing
    const settings = { timeouts: { ...timeouts, connect_ms: 300 } }

    const reply = await charge(upstream.origin.replace('http:', 'https:'), settings)

    expectRefusal(reply, 'upstream_connect_timeout')
    expect(upstream.seen).toEqual([])
  })

  test('TLS to a plain port: upstream_tls_failed', async () => {
    await using upstream = await startUpstream()

    const reply = await charge(upstream.origin.replace('http:', 'https:'))

    expectRefusal(reply, 'upstream_tls_failed')
    expect(upstream.seen).toEqual([])
  })

  test('no connection is there in time: upstream_connect_timeout, and it is not sent later', async () => {
    const certificate = makeCertificate('slow', { hosts: ['127.0.0.1'] })
    await using upstream = await startUpstream(undefined, certificate)
    let delayMs = 600
    const slow = createServer((socket) => {
      const onward = connect(upstream.port, '127.0.0.1')
      for (const end of [socket, onward]) end.on('error', () => {}) // whoever hangs up first
      setTimeout(() => socket.pipe(onward).pipe(socket), delayMs)
    })
    const port = await listenOnNewPort(slow)
    const settings = {
      ca_pem: certificate.cert,
      limits: { connections: 1 },
      timeouts: { ...timeouts, total_ms: 300 },
    }

    const reply = await charge(`https://127.0.0.1:${port}`, settings)
    delayMs = 0
    await new Promise((resolve) => setTimeout(resolve, 500)) // the connection is there by now
    const key = { 'Sallyport-Key': merchant.proxyKey }
    const next = await send(sallyport.origin, 'GET', `/d/d${destinations}/next`, key)
    slow.close()

    expectRefusal(reply, 'upstream_connect_timeout')
    expect(next.status).toBe(200)
    expect(upstream.seen.map(({ url }) => url)).toEqual(['/next'])
  })
})

type Failing = Parameters<typeof startRawUpstream>[0]

describe('once a byte may have been sent', () => {
  const cases: [string, Reason, Failing][] = [
    ['a reset before the answer', 'upstream_reset', (socket) => socket.resetAndDestroy()],
    ['an end before the answer', 'upstream_reset', (socket) => socket.end()],
    ['an end in the head', 'upstream_reset', (socket) => socket.end('HTTP/1.1 200 OK\r\nX-A')],
    [
      'a reset in the head',
      'upstream_reset',
      (socket) => socket.write('HTTP/1.1 2', () => socket.resetAndDestroy()),
    ],
    ['garbage', 'upstream_protocol_error', (socket) => socket.end('SSH-2.0-OpenSSH_9.9\r\n\r\n')],
    [
      'HTTP without a status',
      'upstream_protocol_error',
      (socket) => socket.end('HTTP/1.1 OK\r\n\r\n'),
    ],
    [
      'a head with a stray character',
      'upstream_protocol_error',
      (socket) => socket.end('HTTP/1.1 200 OK\r\nX-A: \0\r\n\r\n'),
    ],
    [
      'a head without an end to it',
      'upstream_protocol_error',
      (socket) => socket.write(`HTTP/1.1 200 OK\r\nX-A: ${'a'.repeat(100_000)}\r\n`),
    ],
    [
      'a head that takes too long',
      'upstream_timeout',
      (socket) => socket.write('HTTP/1.1 200 OK\r\n'),
    ],
    ['no answer at all', 'upstream_timeout', () => {}],
    [
      'only interim answers',
      'upstream_timeout',
      (socket) => socket.write('HTTP/1.1 103 Early\r\n\r\n'),
    ],
    [
      'a switch of protocols',
      'upstream_reset',
      (socket) =>
        socket.write('HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n'),
    ],
  ]

  test.each(cases)('%s: %s, and the destination saw it once', async (_, reason, script) => {
    await using upstream = await startRawUpstream(script)

    const reply = await charge(upstream.origin, { timeouts: { ...timeouts, total_ms: 700 } })

    expectRefusal(reply, reason)
    expect(upstream.seen.length).toBe(1)
    expect(upstream.seen[0]?.body.toString()).toBe(`["${VISA}"]`)
  })

  test('a GET, which might be repeated, is not sent again either', async () => {
    await using upstream = await startRawUpstream((socket) => socket.resetAndDestroy())

    const reply = await charge(upstream.origin, {}, 'GET')

    expectRefusal(reply, 'upstream_reset')
    expect(upstream.seen.length).toBe(1)
  })

  test('the time for the head is its own limit', async () => {
    await using upstream = await startRawUpstream(() => {})

    const reply = await charge(upstream.origin, { timeouts: { ...timeouts, headers_ms: 300 } })

    expectRefusal(reply, 'upstream_timeout')
    expect(upstream.seen.length).toBe(1)
  })

  test('an answer that stops in the middle is cut when its time is over', async () => {
    await using upstream = await startRawUpstream((socket) =>
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly'),
    )

    const reply = await charge(upstream.origin, { timeouts: { ...timeouts, total_ms: 400 } })

    expect([reply.isWhole, reply.text]).toEqual([false, 'only'])
    expect(upstream.seen.length).toBe(1)
  })

  test.each([
    ['breaks off', 'upstream_reset', 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly'],
    [
      'is no HTTP after its head',
      'upstream_protocol_error',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
    ],
  ] as [string, Reason, string][])(
    'in an envelope, an answer that %s is told as %s',
    async (_, reason, text) => {
      await using upstream = await startRawUpstream((socket) => socket.end(text))
      await charge(upstream.origin)

      const reply = await send(
        sallyport.origin,
        'POST',
        '/proxy',
        { 'Sallyport-Key': merchant.proxyKey },
        JSON.stringify({
          destination_url: `${upstream.origin}/pay`,
          method: 'POST',
          request_body: {},
        }),
      )

      expectRefusal(reply, reason)
    },
  )

  test('a connection that died while it was idle costs no second send', async () => {
    let answered = 0
    await using upstream = await startRawUpstream((socket) => {
      answered += 1
      if (answered === 1) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
      else socket.resetAndDestroy()
    })
    const first = await charge(upstream.origin)
    const path = `/d/d${destinations}/pay`

    const second = await send(
      sallyport.origin,
      'POST',
      path,
      { 'Sallyport-Key': merchant.proxyKey },
      '{}',
    )

    expect(first.status).toBe(200)
    expectRefusal(second, 'upstream_reset')
    expect([upstream.seen.length, upstream.connections]).toEqual([2, 1])
  })
})

describe('addresses that may not be reached', () => {
  let guarded: TestSallyport
  let merchantThere: TestMerchant
  let upstream: Upstream

  beforeAll(async () => {
    guarded = await startSallyport({ egress: { allow_private: [], allow_http: true } })
    merchantThere = await guarded.createMerchant()
    upstream = await startUpstream()
  })

  afterAll(async () => {
    await guarded[Symbol.asyncDispose]()
    await upstream.close()
  })

  test.each([
    ['an address', 'http://127.0.0.1'],
    ['an address with TLS', 'https://127.0.0.1'],
    ['a name', 'http://localhost'],
    ['an IPv6 address', 'http://[::1]'],
    ['an address mapped into IPv6', 'http://[::ffff:127.0.0.1]'],
    ['this host', 'http://0.0.0.0'],
    ['another loopback address', 'http://127.1.2.3'],
  ])(
    '%s of this machine: destination_address_forbidden, and no connection is made',
    async (_, host) => {
      destinations += 1
      const name = `guarded${destinations}`
      await merchantThere.createDestination({
        name,
        origin: `${host}:${upstream.port}`,
        allow: [{ methods: ['POST'], path: '/*', fields: ['card_number'] }],
      })
      const card = await merchantThere.createCard()

      const reply = await send(
        guarded.origin,
        'POST',
        `/d/${name}/pay`,
        { 'Sallyport-Key': merchantThere.proxyKey, 'Content-Type': 'application/json' },
        `["{{$card_number: ${card}}}"]`,
      )

      expectRefusal(reply, 'destination_address_forbidden')
      expect(upstream.connections).toBe(0)
    },
  )

  test.each([
    ['the metadata address', 'http://169.254.169.254'],
    ['a private address', 'http://10.0.0.1'],
    ['metadata through NAT64', 'http://[64:ff9b::a9fe:a9fe]'],
  ])('%s is refused at once by every way in', async (_, origin) => {
    destinations += 1
    const name = `guarded${destinations}`
    const allow = [{ methods: ['GET'], path: '/*' }]
    await merchantThere.createDestination({ name, origin, allow })
    const key = { 'Sallyport-Key': merchantThere.proxyKey }
    const envelope = JSON.stringify({ destination_url: `${origin}/`, method: 'GET' })

    const replies = [
      await send(guarded.origin, 'GET', `/d/${name}/`, key),
      await send(guarded.origin, 'GET', '/forward/', { ...key, 'Sallyport-Destination': origin }),
      await send(guarded.origin, 'POST', '/proxy', key, envelope),
      await send(guarded.origin, 'POST', '/v1/proxy', key, envelope),
      await send(guarded.origin, 'POST', '/v2/proxy', key, envelope),
    ]

    for (const reply of replies) expectRefusal(reply, 'destination_address_forbidden')
  })

  test('without the development switch neither plain HTTP nor addresses can be named', async () => {
    await using strict = await startSallyport({ egress: { allow_private: [], allow_http: false } })
    const { policy } = await strict.createMerchant()

    for (const origin of ['http://psp.example', 'https://127.0.0.1', 'https://psp.example:8443']) {
      const answer = await policy('POST', '/v2/destinations', { name: 'a', origin })
      expect([origin, answer.body.error?.reason]).toEqual([origin, 'invalid_value'])
    }
  })
})

describe('TLS', () => {
  const ca = makeCertificate('Test CA', { isAuthority: true })
  const otherCa = makeCertificate('Other CA', { isAuthority: true })
  const servers = {
    good: makeCertificate('good', { issuer: ca, hosts: ['127.0.0.1', 'localhost'] }),
    elsewhere: makeCertificate('127.0.0.1', { issuer: ca, hosts: ['psp.example'] }),
    expired: makeCertificate('old', { issuer: ca, hosts: ['127.0.0.1'], until: new Date(0) }),
    self: makeCertificate('self', { hosts: ['127.0.0.1'] }),
  }

  test('a destination whose CA is named is reached, end to end', async () => {
    await using upstream = await startUpstream(undefined, servers.good)

    const reply = await charge(upstream.origin, { ca_pem: ca.cert })

    expect([reply.status, reply.text]).toEqual([200, '{"ok":true}'])
    expect(upstream.seen[0]?.body.toString()).toBe(`["${VISA}"]`)
  })

  test.each([
    ['of a CA that is not known', servers.good, undefined],
    ['signed by itself', servers.self, undefined],
    ['signed by itself, where a CA is named', servers.self, ca],
    ['for another host', servers.elsewhere, ca],
    ['that has expired', servers.expired, ca],
    ['of another CA than the one named', servers.good, otherCa],
  ])('a certificate %s: upstream_tls_failed, and nothing is sent', async (_, server, trusted) => {
    await using upstream = await startUpstream(undefined, server)

    const settings = trusted === undefined ? {} : { ca_pem: trusted.cert }
    const reply = await charge(upstream.origin, settings)

    expectRefusal(reply, 'upstream_tls_failed')
    expect(upstream.seen).toEqual([])
  })

  test('TLS 1.1 is refused', async () => {
    const server = createTlsServer(
      { ...servers.good, minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL:@SECLEVEL=0' },
      (_, response) => response.end(),
    )
    const port = await listenOnNewPort(server)

    const reply = await charge(`https://127.0.0.1:${port}`, { ca_pem: ca.cert })
    server.close()

    expectRefusal(reply, 'upstream_tls_failed')
  })

  test('a certificate that the client has to show and cannot is a reset, not safe to repeat', async () => {
    let requests = 0
    const server = createTlsServer(
      { ...servers.good, requestCert: true, rejectUnauthorized: true, ca: ca.cert },
      (_, response) => {
        requests += 1
        response.end()
      },
    )
    const port = await listenOnNewPort(server)

    const reply = await charge(`https://127.0.0.1:${port}`, { ca_pem: ca.cert })
    server.close()

    expectRefusal(reply, 'upstream_reset')
    expect(requests).toBe(0)
  })
})
