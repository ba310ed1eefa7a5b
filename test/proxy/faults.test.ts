// The fault table: each way in which a destination can fail, what its caller is told, whether the caller may send again,
// and what the destination had read by then. Whoever is told that it is safe was never heard of there.

import { connect, createServer } from 'node:net'
import type { TlsOptions } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Reason } from '../../src/core/errors.ts'
import {
  startSallyport,
  type TestMerchant,
  type TestSallyport,
  VISA,
} from '../support/sallyport.ts'
import { pause } from '../support/time.ts'
import { makeCertificate } from './certificates.ts'
import {
  drips,
  expectFault,
  type FaultyUpstream,
  OK,
  type Play,
  says,
  saysAndEnds,
  saysAndResets,
  startFaultyUpstream,
  startFullPort,
} from './faulty-upstream.ts'
import { closedPort, eventually, listenOnNewPort, send } from './upstream.ts'

const certificate = makeCertificate('psp', { hosts: ['127.0.0.1'] })

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

/** None of them is waited for: whoever waits for one sets it. */
const timeouts = { connect_ms: 20_000, headers_ms: 20_000, body_ms: 20_000, total_ms: 20_000 }

const soonOver = (limit: keyof typeof timeouts) => ({ timeouts: { ...timeouts, [limit]: 1000 } })

/** A destination of its own; answers with the path of its charges. */
async function reach(origin: string, settings: Record<string, unknown> = {}): Promise<string> {
  destinations += 1
  const name = `d${destinations}`
  await merchant.createDestination({
    name,
    origin,
    timeouts,
    allow: [{ methods: ['POST', 'GET', 'HEAD'], path: '/*', fields: ['card_number'] }],
    ...settings,
  })
  return `/d/${name}/pay`
}

/** More than one read takes, less than is sent as a stream. */
const PADDING = 'x'.repeat(200_000)

function post(path: string, body: string) {
  const headers = {
    'Sallyport-Key': merchant.proxyKey,
    'Content-Type': 'application/json',
    'Content-Length': String(body.length),
  }
  return send(sallyport.origin, 'POST', path, headers, body)
}

/** With a card number at the beginning, and a long body after it where that is wanted. */
const charge = (path: string, isLong = false) =>
  post(path, `["{{$card_number: ${token}}}","${isLong ? PADDING : ''}"]`)

const sentBody = (isLong = false) => `["${VISA}","${isLong ? PADDING : ''}"]`

type Read = 'nothing' | 'a part' | 'the whole'

/** What was read, over all connections. There is never more than one request. */
function readOf({ requests, strays }: FaultyUpstream, isLong: boolean): Read {
  expect(requests.length).toBeLessThanOrEqual(1)
  const [request] = requests
  if (request === undefined) return strays.length === 0 ? 'nothing' : 'a part'
  expect(sentBody(isLong).startsWith(request.body)).toBe(true)
  return request.isWhole ? 'the whole' : 'a part'
}

describe('not sent: safe to send again', () => {
  test('nobody listens: upstream_connect_failed', async () => {
    const path = await reach(`http://127.0.0.1:${await closedPort()}`)

    expectFault(await charge(path), 'upstream_connect_failed')
  })

  test('the name does not exist: upstream_dns_failed', async () => {
    const path = await reach('http://name.invalid')

    expectFault(await charge(path), 'upstream_dns_failed')
  })

  test('the connection comes too late: upstream_connect_timeout, and it is not sent then', async () => {
    await using upstream = await startFaultyUpstream(says(OK), certificate)
    const late = Promise.withResolvers<void>()
    const slow = createServer((socket) => {
      const onward = connect(upstream.port, '127.0.0.1')
      for (const end of [socket, onward]) end.on('error', () => {}) // whoever hangs up first
      void late.promise.then(() => socket.pipe(onward).pipe(socket))
    })
    const port = await listenOnNewPort(slow)
    const path = await reach(`https://127.0.0.1:${port}`, {
      ca_pem: certificate.cert,
      limits: { connections: 1 },
      timeouts: { ...timeouts, total_ms: 1000 },
    })

    const reply = await charge(path)
    late.resolve()
    await pause(500) // the connection is there by now
    const next = await charge(`${path}/next`)
    slow.close()

    expectFault(reply, 'upstream_connect_timeout')
    expect(next.status).toBe(200)
    expect(upstream.requests.map(({ url }) => url)).toEqual(['/pay/next'])
  })

  test('the connection is never made: upstream_connect_timeout', async () => {
    await using full = await startFullPort()
    const path = await reach(full.origin, { timeouts: { ...timeouts, connect_ms: 300 } })

    expectFault(await charge(path), 'upstream_connect_timeout')
  })

  const overTls: [string, Reason, Play][] = [
    ['is silent', 'upstream_connect_timeout', { onConnection: () => 'unread' }],
    ['closes', 'upstream_connect_failed', { onConnection: (socket) => socket.end() }],
    ['resets', 'upstream_connect_failed', { onConnection: (socket) => socket.resetAndDestroy() }],
    ['speaks HTTP', 'upstream_tls_failed', { onConnection: (socket) => socket.end(OK) }],
    [
      'speaks SSH',
      'upstream_tls_failed',
      { onConnection: (socket) => socket.write('SSH-2.0\r\n') },
    ],
  ]

  test.each(overTls)('where TLS should begin, it %s: %s', async (_, reason, play) => {
    await using upstream = await startFaultyUpstream(play)
    const settings = reason === 'upstream_connect_timeout' ? soonOver('connect_ms') : {}
    const path = await reach(upstream.origin.replace('http:', 'https:'), settings)

    expectFault(await charge(path), reason)
    expect([upstream.connections, upstream.requests]).toEqual([1, []])
  })

  const ca = makeCertificate('Test CA', { isAuthority: true })
  const hosts = ['127.0.0.1']
  const good = makeCertificate('good', { issuer: ca, hosts })
  const askingForMore = { ...good, requestCert: true, rejectUnauthorized: true, ca: ca.cert }

  test.each([
    ['is for another name', makeCertificate('a', { issuer: ca, hosts: ['psp.example'] })],
    ['has expired', makeCertificate('a', { issuer: ca, hosts, until: new Date(0) })],
    ['is signed by itself', makeCertificate('a', { hosts })],
    [
      'is good, but ours, which it wants, is missing, in TLS 1.2',
      { ...askingForMore, maxVersion: 'TLSv1.2' as const },
    ],
  ])('its certificate %s: upstream_tls_failed', async (_, server) => {
    await using upstream = await startFaultyUpstream(says(OK), server)
    const path = await reach(upstream.origin, { ca_pem: ca.cert })

    expectFault(await charge(path), 'upstream_tls_failed')
    expect(readOf(upstream, false)).toBe('nothing')
  })

  // There the handshake is over for the client before the server has looked at its certificate.
  test('ours, which it wants, is missing, in TLS 1.3: upstream_reset, which is not safe', async () => {
    await using upstream = await startFaultyUpstream(says(OK), askingForMore)
    const path = await reach(upstream.origin, { ca_pem: ca.cert })

    expectFault(await charge(path), 'upstream_reset')
    expect(readOf(upstream, false)).toBe('nothing')
  })
})

const LENGTH_100 = 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n'
const CHUNKED = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'
const CLOSING = 'HTTP/1.1 200 OK\r\nConnection: close\r\n'

type Row = [fault: string, reason: Reason, read: Read, play: Play, isLong?: 'long']

describe('may have been sent: not safe to send again', () => {
  const rows: Row[] = [
    // The request does not get there.
    [
      'a reset before anything is read',
      'upstream_reset',
      'nothing',
      {
        onConnection: (socket) => {
          void pause(50).then(() => socket.resetAndDestroy())
          return 'unread'
        },
      },
    ],
    [
      'an end before anything is read',
      'upstream_reset',
      'nothing',
      {
        onConnection: (socket) => {
          void pause(50).then(() => socket.end())
          return 'unread'
        },
      },
    ],
    ['nothing is ever read', 'upstream_timeout', 'nothing', { onConnection: () => 'unread' }],
    [
      'a reset after the head of the request',
      'upstream_reset',
      'a part',
      { onHead: (socket) => socket.resetAndDestroy() },
      'long',
    ],
    [
      'an end after the head of the request',
      'upstream_reset',
      'a part',
      { onHead: (socket) => socket.pause().end() },
      'long',
    ],
    [
      'nothing is read after the head',
      'upstream_timeout',
      'a part',
      { onHead: (socket) => socket.pause() },
      'long',
    ],
    // No answer.
    [
      'a reset before the answer',
      'upstream_reset',
      'the whole',
      { onRequest: (socket) => socket.resetAndDestroy() },
    ],
    ['an end before the answer', 'upstream_reset', 'the whole', saysAndEnds('')],
    ['no answer at all', 'upstream_timeout', 'the whole', {}],
    ['only interim answers', 'upstream_timeout', 'the whole', says('HTTP/1.1 103 Early\r\n\r\n')],
    // Half a head.
    ['an end in the head', 'upstream_reset', 'the whole', saysAndEnds('HTTP/1.1 200 OK\r\nX-A')],
    ['a reset in the head', 'upstream_reset', 'the whole', saysAndResets('HTTP/1.1 2')],
    ['a head that stops', 'upstream_timeout', 'the whole', says('HTTP/1.1 200 OK\r\n')],
    [
      'a head that drips',
      'upstream_timeout',
      'the whole',
      drips('HTTP/1.1 200 OK\r\nX-A: ', 'a'.repeat(1000), 50),
    ],
    [
      'a head without an end',
      'upstream_protocol_error',
      'the whole',
      says(`HTTP/1.1 200 OK\r\nX-A: ${'a'.repeat(100_000)}\r\n`),
    ],
    [
      'many headers without an end',
      'upstream_protocol_error',
      'the whole',
      says(`HTTP/1.1 200 OK\r\n${'X-A: a\r\n'.repeat(20_000)}`),
    ],
    [
      'a huge head with an end',
      'upstream_protocol_error',
      'the whole',
      says(`HTTP/1.1 200 OK\r\nX-A: ${'a'.repeat(100_000)}\r\n\r\n`),
    ],
    // No HTTP.
    [
      'another protocol',
      'upstream_protocol_error',
      'the whole',
      saysAndEnds('SSH-2.0-OpenSSH_9.9\r\n\r\n'),
    ],
    [
      'another protocol, and no end',
      'upstream_protocol_error',
      'the whole',
      says('SSH-2.0-OpenSSH_9.9\r\n\r\n'),
    ],
    [
      'HTTP/0.9: a body and no head',
      'upstream_protocol_error',
      'the whole',
      saysAndEnds('<html>ok</html>'),
    ],
    [
      'HTTP/2',
      'upstream_protocol_error',
      'the whole',
      says('HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\nok'),
    ],
    ['no status', 'upstream_protocol_error', 'the whole', saysAndEnds('HTTP/1.1 OK\r\n\r\n')],
    [
      'a status of four digits',
      'upstream_protocol_error',
      'the whole',
      saysAndEnds('HTTP/1.1 2000 OK\r\n\r\n'),
    ],
    [
      'a head with a stray character',
      'upstream_protocol_error',
      'the whole',
      saysAndEnds('HTTP/1.1 200 OK\r\nX-A: \0\r\n\r\n'),
    ],
    [
      'a switch of protocols',
      'upstream_reset',
      'the whole',
      says('HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n'),
    ],
    [
      'a switch to no protocol',
      'upstream_reset',
      'the whole',
      says(`HTTP/1.1 101 Switching\r\n\r\n${OK}`),
    ],
    // A head, and then no whole body. It is held to be searched, so its caller can still be told.
    ['an end after the head', 'upstream_reset', 'the whole', saysAndEnds(LENGTH_100)],
    ['a reset after the head', 'upstream_reset', 'the whole', saysAndResets(LENGTH_100)],
    ['nothing after the head', 'upstream_timeout', 'the whole', says(LENGTH_100)],
    ['an end in the body', 'upstream_reset', 'the whole', saysAndEnds(`${LENGTH_100}half`)],
    [
      'an end in the body of a last answer',
      'upstream_protocol_error',
      'the whole',
      saysAndEnds(`${CLOSING}Content-Length: 100\r\n\r\nhalf`),
    ],
    ['a reset in the body', 'upstream_reset', 'the whole', saysAndResets(`${LENGTH_100}half`)],
    [
      'a reset in a body without a length',
      'upstream_reset',
      'the whole',
      saysAndResets(`${CLOSING}\r\nhalf`),
    ],
    ['a body that stops', 'upstream_timeout', 'the whole', says(`${LENGTH_100}half`)],
    ['a body that drips', 'upstream_timeout', 'the whole', drips(LENGTH_100, 'a'.repeat(100), 50)],
    [
      'an end between chunks',
      'upstream_reset',
      'the whole',
      saysAndEnds(`${CHUNKED}4\r\nhalf\r\n`),
    ],
    ['an end within a chunk', 'upstream_reset', 'the whole', saysAndEnds(`${CHUNKED}ff\r\nhalf`)],
    [
      'an end between chunks of a last answer',
      'upstream_protocol_error',
      'the whole',
      saysAndEnds(`${CLOSING}Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n`),
    ],
    ['chunks without a last one', 'upstream_timeout', 'the whole', says(`${CHUNKED}4\r\nhalf\r\n`)],
    [
      'a chunk of no size',
      'upstream_protocol_error',
      'the whole',
      says(`${CHUNKED}4\r\nhalf\r\nzz\r\n`),
    ],
    [
      'a chunk longer than its size',
      'upstream_protocol_error',
      'the whole',
      says(`${CHUNKED}4\r\nhalf and more\r\n0\r\n\r\n`),
    ],
    [
      'a chunk of a size that no machine can count',
      'upstream_protocol_error',
      'the whole',
      says(`${CHUNKED}fffffffffffffffffff\r\nhalf`),
    ],
    [
      'two lengths',
      'upstream_protocol_error',
      'the whole',
      says('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!'),
    ],
    [
      'a length and chunks',
      'upstream_protocol_error',
      'the whole',
      says(
        'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n',
      ),
    ],
    [
      'a negative length',
      'upstream_protocol_error',
      'the whole',
      says('HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok'),
    ],
  ]

  test.each(rows)('%s: %s, and %s was read', async (_, reason, read, play, length) => {
    await using upstream = await startFaultyUpstream(play)
    const settings = reason === 'upstream_timeout' ? soonOver('total_ms') : {}
    const path = await reach(upstream.origin, settings)

    const reply = await charge(path, length === 'long')

    expectFault(reply, reason)
    expect(readOf(upstream, length === 'long')).toBe(read)
    expect(upstream.connections).toBe(1)
  })
})

describe('an answer before the request was read', () => {
  test.each([
    ['the connection goes on', OK],
    ['the connection ends', `${CLOSING}Content-Length: 2\r\n\r\nok`],
  ])('is passed on, and %s', async (_, answer) => {
    await using upstream = await startFaultyUpstream({
      onHead: (socket) => socket.write(answer),
    })
    const path = await reach(upstream.origin, { limits: { connections: 1 } })

    const replies = [await charge(path, true), await charge(path, true)]

    expect(replies.map(({ status, text }) => [status, text])).toEqual(Array(2).fill([200, 'ok']))
    expect(upstream.requests.every(({ body }) => sentBody(true).startsWith(body))).toBe(true)
  })

  // Longer than what the system holds for a connection, so that much of it is still to be written.
  test('leaves the rest of the request as it was', async () => {
    await using upstream = await startFaultyUpstream({
      onHead: (socket) => {
        socket.pause().write(OK)
        void pause(200).then(() => socket.resume())
      },
    })
    const limits = { buffer_bytes: 32 * 1024 * 1024 }
    const path = await reach(upstream.origin, { limits })
    const padding = 'x'.repeat(24 * 1024 * 1024)

    const reply = await post(path, `["{{$card_number: ${token}}}","${padding}"]`)
    const { requests } = await eventually(
      () => upstream,
      ({ openSockets }) => openSockets === 0 || upstream.requests[0]?.isWhole === true,
    )

    expect([reply.status, reply.text]).toEqual([200, 'ok'])
    const sent = `["${VISA}","${padding}"]`
    expect(sent.startsWith(requests[0]?.body ?? '')).toBe(true)
  })
})

describe('once the head has been passed on: cut, never ended as if it were whole', () => {
  const rows: [string, Play, ends?: 'never'][] = [
    ['an end in the body', saysAndEnds(`${LENGTH_100}half`)],
    ['an end in the body of a last answer', saysAndEnds(`${CLOSING}Content-Length: 9\r\n\r\nhalf`)],
    ['a reset in the body', saysAndResets(`${LENGTH_100}half`)],
    ['a reset in a body without a length', saysAndResets(`${CLOSING}\r\nhalf`)],
    ['a body that stops', says(`${LENGTH_100}half`), 'never'],
    ['an end between chunks', saysAndEnds(`${CHUNKED}4\r\nhalf\r\n`)],
    ['an end within a chunk', saysAndEnds(`${CHUNKED}ff\r\nhalf`)],
    ['chunks without a last one', says(`${CHUNKED}4\r\nhalf\r\n`), 'never'],
    ['a chunk of no size', says(`${CHUNKED}4\r\nhalf\r\nzz\r\n`)],
    ['a chunk longer than its size', says(`${CHUNKED}4\r\nhalf and more\r\n0\r\n\r\n`)],
  ]

  test.each(rows)('%s', async (_, play, ends) => {
    await using upstream = await startFaultyUpstream(play)
    const settings = {
      ...(ends === 'never' ? soonOver('total_ms') : {}),
      response: { leak_guard: 'off' }, // what is not searched is passed on as it comes
    }
    const path = await reach(upstream.origin, settings)

    const reply = await charge(path)

    expect([reply.status, reply.isWhole, reply.text]).toEqual([200, false, 'half'])
    expect(readOf(upstream, false)).toBe('the whole')
  })

  test('of the same answers an envelope tells', async () => {
    await using upstream = await startFaultyUpstream(saysAndEnds(`${LENGTH_100}half`))
    await reach(upstream.origin, { response: { leak_guard: 'off' } })

    const destination_url = `${upstream.origin}/pay`
    const envelope = { destination_url, method: 'POST', request_body: {} }
    const reply = await post('/proxy', JSON.stringify(envelope))

    expectFault(reply, 'upstream_reset')
    expect(upstream.requests.length).toBe(1)
  })
})

describe('odd, and an answer all the same', () => {
  const rows: [string, string, Play][] = [
    ['HTTP/1.0', 'ok', says('HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok')],
    ['HTTP/1.0 until the end', 'ok', saysAndEnds('HTTP/1.0 200 OK\r\n\r\nok')],
    ['no length, until the end', 'ok', saysAndEnds(`${CLOSING}\r\nok`)],
    ['no phrase', 'ok', says('HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok')],
    ['an empty line before it', 'ok', says(`\r\n${OK}`)],
    ['a 100 before it', 'ok', says(`HTTP/1.1 100 Continue\r\n\r\n${OK}`)],
    ['a 102 before it', 'ok', says(`HTTP/1.1 102 Processing\r\n\r\n${OK}`)],
    ['a 103 before it', 'ok', says(`HTTP/1.1 103 Early\r\nLink: </a>\r\n\r\n${OK}`)],
    [
      'chunks with extensions and trailers',
      'ok',
      says(`${CHUNKED}2;a=b\r\nok\r\n0\r\nX-A: a\r\n\r\n`),
    ],
    ['an end right after it', 'ok', saysAndEnds(OK)],
    ['a reset right after it', 'ok', saysAndResets(OK)],
    ['a reset right after its last chunk', 'ok', saysAndResets(`${CHUNKED}2\r\nok\r\n0\r\n\r\n`)],
    ['byte by byte', 'ok', drips('', OK, 2)],
  ]

  test.each(rows)('%s', async (_, text, play) => {
    await using upstream = await startFaultyUpstream(play)
    const path = await reach(upstream.origin)

    const reply = await charge(path)

    expect([reply.status, reply.text, reply.isWhole]).toEqual([200, text, true])
    expect(reply.headers['sallyport-upstream-status']).toBe('200')
    expect(reply.headers['sallyport-retry-safe']).toBeUndefined()
    expect(readOf(upstream, false)).toBe('the whole')
  })
})

const POISON = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison'

describe('more than one answer: none of it is the answer to another request', () => {
  const ok = (url: string) => `HTTP/1.1 200 OK\r\nContent-Length: ${url.length}\r\n\r\n${url}`
  const chunked = (url: string) => `${CHUNKED}${url.length.toString(16)}\r\n${url}\r\n0\r\n\r\n`

  /** What is sent for the first request of each connection. */
  const rows: [string, (url: string) => string | readonly string[], TlsOptions?][] = [
    ['more than its length', (url) => `${ok(url)}surplus`],
    ['a second answer', (url) => ok(url) + POISON],
    ['a second answer a moment later', (url) => [ok(url), POISON]],
    ['a second answer, over TLS', (url) => ok(url) + POISON, certificate],
    ['a second answer a moment later, over TLS', (url) => [ok(url), POISON], certificate],
    ['the first byte of a second answer', (url) => `${ok(url)}H`],
    ['half an interim answer', (url) => `${ok(url)}HTTP/1.1 1`],
    ['an interim answer and a second one', (url) => `${ok(url)}HTTP/1.1 103 A\r\n\r\n${POISON}`],
    ['a hundred answers', (url) => ok(url) + POISON.repeat(100)],
    ['a second answer of 200 KB', (url) => ok(url) + ok('poison'.repeat(30_000))],
    ['an end of line and a second answer', (url) => `${ok(url)}\r\n${POISON}`],
    ['a second answer after chunks', (url) => chunked(url) + POISON],
    ['a second answer after an interim one', (url) => `HTTP/1.1 102 A\r\n\r\n${ok(url)}${POISON}`],
    ['a second answer after a 100', (url) => `HTTP/1.1 100 A\r\n\r\n${ok(url)}${POISON}`],
  ]

  test.each(rows)('%s', async (_, answer, tls) => {
    await using upstream = await startFaultyUpstream(
      {
        onRequest: async (socket, { place, url }) => {
          for (const piece of place === 0 ? [answer(url)].flat() : [ok(url)]) {
            socket.write(piece)
            await pause(20)
          }
        },
      },
      tls,
    )
    const settings = tls === undefined ? {} : { ca_pem: certificate.cert }
    const path = await reach(upstream.origin, { limits: { connections: 1 }, ...settings })

    // The second waits for the connection while the answers come.
    const together = await Promise.all([charge(`${path}/1`), charge(`${path}/2`)])
    await pause(50)
    const alone = await charge(`${path}/3`)
    const replies = [...together, alone]

    expect(replies.map(({ status, text }) => [status, text])).toEqual([
      [200, '/pay/1'],
      [200, '/pay/2'],
      [200, '/pay/3'],
    ])
    expect(upstream.requests.length).toBe(3)
  })

  test.each([
    ['HEAD', 200, 'with a length', 'HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n'],
    ['POST', 204, 'without one', 'HTTP/1.1 204 No Content\r\n\r\n'],
    ['POST', 204, 'with a length', 'HTTP/1.1 204 No Content\r\nContent-Length: 90\r\n\r\n'],
    ['POST', 304, 'with a length', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 90\r\n\r\n'],
    ['POST', 205, 'with none', 'HTTP/1.1 205 Reset\r\nContent-Length: 0\r\n\r\n'],
  ])('what follows where no body can be: %s, %i, %s', async (method, status, _, text) => {
    await using upstream = await startFaultyUpstream({
      onRequest: (socket, { url }) => socket.write(url.endsWith('/1') ? text + POISON : ok(url)),
    })
    const path = await reach(upstream.origin, { limits: { connections: 1 } })
    const key = { 'Sallyport-Key': merchant.proxyKey }

    const first = await send(sallyport.origin, method, `${path}/1`, key)
    const second = await send(sallyport.origin, 'GET', `${path}/2`, key)

    expect([first.status, first.text]).toEqual([status, ''])
    expect(second.text).toBe('/pay/2')
    expect(upstream.connections).toBe(2)
  })
})
