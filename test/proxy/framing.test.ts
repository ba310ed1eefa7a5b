// Messages as bytes: what frames them is built anew on both sides, everything else passes as it is, an answer that broke
// off never looks whole, and a slow reader slows the destination down.

import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { connect, type Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  startSallyport,
  type TestMerchant,
  type TestSallyport,
  VISA,
} from '../support/sallyport.ts'
import { pause } from '../support/time.ts'
import {
  eventually,
  expectRefusal,
  type Script,
  send,
  sendRaw,
  startRawUpstream,
  startUpstream,
  type Upstream,
  valuesOf,
} from './upstream.ts'

let sallyport: TestSallyport
let merchant: TestMerchant
let token: string
let echo: Upstream
let destinations = 0

beforeAll(async () => {
  sallyport = await startSallyport()
  merchant = await sallyport.createMerchant()
  token = await merchant.createCard()
  echo = await startUpstream()
  await merchant.createDestination({
    name: 'echo',
    origin: echo.origin,
    allow: [
      {
        methods: ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'],
        path: '/*',
        fields: ['card_number'],
      },
    ],
  })
})

afterAll(async () => {
  await sallyport[Symbol.asyncDispose]()
  await echo.close()
})

/** A destination of its own for this upstream; answers with the path that leads there. */
async function reach(upstream: Upstream, settings: Record<string, unknown> = {}): Promise<string> {
  destinations += 1
  const name = `d${destinations}`
  const methods = ['GET', 'HEAD', 'POST', 'DELETE']
  await merchant.createDestination({
    name,
    origin: upstream.origin,
    allow: [{ methods, path: '/*', fields: ['card_number'] }],
    ...settings,
  })
  return `/d/${name}`
}

const ours = () => ({ 'Sallyport-Key': merchant.proxyKey })

/** A request in bytes; the connection closes with the answer. */
const raw = (lines: string[], body = '') =>
  sendRaw(
    sallyport.installation.address.port,
    `${[...lines, `Sallyport-Key: ${merchant.proxyKey}`].join('\r\n')}\r\n\r\n${body}`,
  )

const statusOf = (answer: string) => Number(answer.split(' ')[1])

describe('headers of a request', () => {
  test('what belongs to the hop, or is named by Connection, does not reach the destination', async () => {
    echo.seen.length = 0

    await raw([
      'GET /d/echo/ HTTP/1.1',
      'Host: sallyport.test',
      'Connection: close, X-Nominated',
      'Connection: x-second',
      'X-Nominated: 1',
      'X-Second: 1',
      'Keep-Alive: timeout=5',
      'Proxy-Connection: keep-alive',
      'Proxy-Authorization: Basic eDp5',
      'Proxy-Foo: 1',
      'TE: trailers',
      'Trailer: X-T',
      'Upgrade: websocket',
      'HTTP2-Settings: AAMAAABk',
      'X-Kept: 1',
    ])

    const { rawHeaders = [] } = echo.seen[0] ?? {}
    const names = rawHeaders.filter((_, at) => at % 2 === 0).map((name) => name.toLowerCase())
    expect(names.filter((name) => !['host', 'connection', 'x-kept'].includes(name))).toEqual([])
    expect(names).toContain('x-kept')
    expect(valuesOf(rawHeaders, 'host')).toEqual([new URL(echo.origin).host])
    expect(valuesOf(rawHeaders, 'connection').join().toLowerCase()).not.toContain('nominated')
  })

  test('all others do, with their case, order and duplicates', async () => {
    echo.seen.length = 0
    const lines = [
      'X-Dup: a',
      'x-dup: b',
      'X-DUP: a',
      'Cookie: a=1',
      'Cookie: b=2',
      'X-Empty:',
      'X-Latin: h\xe9',
    ]

    await raw(['GET /d/echo/ HTTP/1.1', 'Host: x', 'Connection: close', ...lines])

    const { rawHeaders = [] } = echo.seen[0] ?? {}
    const start = rawHeaders.indexOf('X-Dup')
    const expected = ['X-Dup', 'a', 'x-dup', 'b', 'X-DUP', 'a', 'Cookie', 'a=1', 'Cookie', 'b=2']
    expect(rawHeaders.slice(start, start + 14)).toEqual([
      ...expected,
      'X-Empty',
      '',
      'X-Latin',
      'h\xe9',
    ])
  })

  test.each(['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'])(
    '%s with a body in chunks has its exact length at the destination',
    async (method) => {
      echo.seen.length = 0
      const headers = {
        ...ours(),
        'Transfer-Encoding': 'chunked',
        'Content-Type': 'application/json',
      }

      const body = ['["{{$card_', `number: ${token}}}`, '"]']
      const reply = await send(sallyport.origin, method, '/d/echo/', headers, body)

      expect(reply.status).toBe(200)
      const [seen] = echo.seen
      expect(seen?.body.toString()).toBe(`["${VISA}"]`)
      expect(seen?.headers['content-length']).toBe(String(VISA.length + 4))
      expect(seen?.headers['transfer-encoding']).toBeUndefined()
    },
  )

  test('the length is that of the substituted body', async () => {
    echo.seen.length = 0

    const body = `["{{$card_number: ${token}}}"]`
    const headers = {
      ...ours(),
      'Content-Type': 'application/json',
      'Content-Length': String(body.length),
    }
    await send(sallyport.origin, 'POST', '/d/echo/', headers, body)

    expect(valuesOf(echo.seen[0]?.rawHeaders ?? [], 'content-length')).toEqual([
      String(VISA.length + 4),
    ])
  })

  test('a request without a body has none at the destination', async () => {
    echo.seen.length = 0

    await send(sallyport.origin, 'GET', '/d/echo/', ours())
    await send(sallyport.origin, 'POST', '/d/echo/', { ...ours(), 'Content-Length': '0' })

    expect(echo.seen.map(({ body }) => body.length)).toEqual([0, 0])
    expect(echo.seen.map(({ headers }) => headers['transfer-encoding'])).toEqual([
      undefined,
      undefined,
    ])
  })

  test('a caller that waits for 100 Continue gets it, and the destination is not asked', async () => {
    echo.seen.length = 0

    const answer = await raw(
      [
        'POST /d/echo/ HTTP/1.1',
        'Host: x',
        'Connection: close',
        'Expect: 100-continue',
        'Content-Length: 2',
      ],
      '{}',
    )

    expect(answer).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 /)
    expect(echo.seen[0]?.headers.expect).toBeUndefined()
  })

  test('trailers of a request do not become headers', async () => {
    echo.seen.length = 0

    await raw(
      [
        'POST /d/echo/ HTTP/1.1',
        'Host: x',
        'Connection: close',
        'Transfer-Encoding: chunked',
        'Trailer: X-T',
      ],
      '2\r\n{}\r\n0\r\nX-T: 1\r\nSallyport-Key: x\r\n\r\n',
    )

    expect(echo.seen[0]?.body.toString()).toBe('{}')
    expect(echo.seen[0]?.headers['x-t']).toBeUndefined()
  })
})

describe('framing that could be read in two ways', () => {
  const chunks = '2\r\n{}\r\n0\r\n\r\n'
  const smuggled = `0\r\n\r\nGET /d/echo/smuggled HTTP/1.1\r\nHost: x\r\nSallyport-Key: KEY\r\n\r\n`

  test.each([
    ['a comma before chunked', ['Transfer-Encoding: ,chunked'], chunks],
    ['a comma behind chunked', ['Transfer-Encoding: chunked,'], chunks],
    ['a coding before chunked', ['Transfer-Encoding: gzip, chunked'], chunks],
    ['chunked twice', ['Transfer-Encoding: chunked, chunked'], chunks],
    ['chunked in two lines', ['Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'], chunks],
    ['chunked and identity', ['Transfer-Encoding: chunked', 'Transfer-Encoding: identity'], chunks],
    ['identity', ['Transfer-Encoding: identity', 'Content-Length: 2'], '{}'],
    ['a coding alone', ['Transfer-Encoding: gzip'], chunks],
    ['chunked in quotes', ['Transfer-Encoding: "chunked"'], chunks],
    ['chunked with a parameter', ['Transfer-Encoding: chunked;a=b'], chunks],
    ['chunked with a vertical tab', ['Transfer-Encoding: \x0bchunked'], chunks],
    ['chunked with a form feed', ['Transfer-Encoding: chunked\x0c'], chunks],
    ['a blank before the colon', ['Transfer-Encoding : chunked'], chunks],
    ['a length and chunks', ['Content-Length: 4', 'Transfer-Encoding: chunked'], smuggled],
    ['chunks and a length', ['Transfer-Encoding: chunked', 'Content-Length: 4'], smuggled],
    ['two lengths', ['Content-Length: 2', 'Content-Length: 40'], '{}'],
    ['two lengths that agree', ['Content-Length: 2', 'Content-Length: 2'], '{}'],
    ['a list of lengths', ['Content-Length: 2, 2'], '{}'],
    ['a length with a sign', ['Content-Length: +2'], '{}'],
    ['a negative length', ['Content-Length: -2'], '{}'],
    ['a hexadecimal length', ['Content-Length: 0x2'], '{}'],
    ['a length with an exponent', ['Content-Length: 2e0'], '{}'],
    ['an empty length', ['Content-Length: '], '{}'],
    ['a folded header', ['X-A: 1', ' folded', 'Content-Length: 2'], '{}'],
    ['a folded coding', ['Transfer-Encoding:', ' chunked'], chunks],
    ['a line feed alone in a header', ['X-A: 1\nContent-Length: 2'], '{}'],
    ['a carriage return alone in a header', ['X-A: 1\rContent-Length: 2'], '{}'],
    ['a NUL in a header', ['X-A: 1\0', 'Content-Length: 2'], '{}'],
    ['a blank in a name', ['X A: 1', 'Content-Length: 2'], '{}'],
    ['no name', [': 1', 'Content-Length: 2'], '{}'],
    ['no colon', ['X-A', 'Content-Length: 2'], '{}'],
    ['a chunk size with a sign', ['Transfer-Encoding: chunked'], '+2\r\n{}\r\n0\r\n\r\n'],
    ['a chunk size with a prefix', ['Transfer-Encoding: chunked'], '0x2\r\n{}\r\n0\r\n\r\n'],
    ['a chunk that ends with a line feed', ['Transfer-Encoding: chunked'], '2\n{}\n0\n\n'],
    ['a chunk longer than it says', ['Transfer-Encoding: chunked'], '2\r\n{}x\r\n0\r\n\r\n'],
    [
      'an endless chunk size',
      ['Transfer-Encoding: chunked'],
      'fffffffffffffffff\r\n{}\r\n0\r\n\r\n',
    ],
  ])('%s is refused, and nothing is sent', async (_, lines, body) => {
    echo.seen.length = 0

    const head = ['POST /d/echo/ HTTP/1.1', 'Host: x', ...lines]
    const answer = await raw(head, body.replace('KEY', merchant.proxyKey))

    expect(answer).toMatch(/^HTTP\/1\.1 400 /)
    expect(answer.match(/HTTP\/1\.1 [0-9]/g)?.length).toBe(1)
    expect(echo.seen).toEqual([])
  })

  test.each([
    ['no Host', ['GET /d/echo/ HTTP/1.1', 'Connection: close']],
    ['two Hosts', ['GET /d/echo/ HTTP/1.1', 'Host: x', 'Host: y', 'Connection: close']],
    ['another version', ['GET /d/echo/ HTTP/1.2', 'Host: x', 'Connection: close']],
    ['HTTP/2', ['PRI * HTTP/2.0', '', 'SM', '']],
    ['line feeds as ends of lines', ['GET /d/echo/ HTTP/1.1\nHost: x\n\n']],
    ['a blank in the target', ['GET /d/echo/ x HTTP/1.1', 'Host: x', 'Connection: close']],
  ])('a head with %s is refused', async (_, lines) => {
    echo.seen.length = 0

    const answer = await raw(lines)

    expect(statusOf(answer)).toBeGreaterThanOrEqual(400)
    expect(echo.seen).toEqual([])
  })

  test('what follows a refused body on its connection is not taken for a request', async () => {
    echo.seen.length = 0
    const second = `GET /d/echo/second HTTP/1.1\r\nHost: x\r\nSallyport-Key: ${merchant.proxyKey}\r\n\r\n`

    await raw(
      ['POST /d/echo/ HTTP/1.1', 'Host: x', 'Content-Encoding: gzip', 'Transfer-Encoding: chunked'],
      second,
    )

    expect(echo.seen).toEqual([])
  })

  test('requests one behind the other are answered in order, each once', async () => {
    echo.seen.length = 0
    const one = (path: string, last = '') =>
      `GET /d/echo/${path} HTTP/1.1\r\nHost: x\r\nSallyport-Key: ${merchant.proxyKey}\r\n${last}\r\n`

    const port = sallyport.installation.address.port
    const answer = await sendRaw(port, one('1') + one('2') + one('3', 'Connection: close\r\n'))

    expect(answer.match(/HTTP\/1\.1 200 /g)?.length).toBe(3)
    expect(echo.seen.map(({ url }) => url).toSorted()).toEqual(['/1', '/2', '/3'])
  })
})

describe('headers of an answer', () => {
  test('what belongs to the hop, or is named by Connection, does not come back', async () => {
    await using upstream = await startRawUpstream((socket) =>
      socket.end(
        [
          'HTTP/1.1 200 Fine',
          'Connection: X-Nominated',
          'Connection: close',
          'X-Nominated: 1',
          'Keep-Alive: timeout=5',
          'Proxy-Authenticate: Basic',
          'Proxy-Connection: close',
          'Upgrade: h2c',
          'Trailer: X-T',
          'Sallyport-Request-Id: forged',
          'Sallyport-Substitutions: forged',
          'X-Kept: 1',
          'Content-Length: 2',
          '',
          'ok',
        ].join('\r\n'),
      ),
    )
    const path = await reach(upstream)

    const reply = await send(sallyport.origin, 'GET', `${path}/`, ours())

    expect(reply.text).toBe('ok')
    expect(reply.headers['x-kept']).toBe('1')
    expect(reply.rawHeaders.join('|')).not.toContain('forged')
    expect(reply.headers['sallyport-upstream-status']).toBe('200')
    for (const name of [
      'keep-alive',
      'proxy-authenticate',
      'proxy-connection',
      'upgrade',
      'trailer',
    ]) {
      expect([name, valuesOf(reply.rawHeaders, name).filter((v) => v !== 'timeout=15')]).toEqual([
        name,
        [],
      ])
    }
    expect(reply.headers['x-nominated']).toBeUndefined()
  })

  test('all others do, with their case, order and duplicates, and the status with its phrase', async () => {
    const lines = [
      'Set-Cookie: a=1',
      'set-cookie: b=2',
      'X-Dup: 1',
      'X-Dup: 1',
      'X-Latin: h\xe9',
      'Server: psp',
    ]
    await using upstream = await startRawUpstream((socket) =>
      socket.end(
        Buffer.from(
          `HTTP/1.1 299 Quite Fine\r\n${lines.join('\r\n')}\r\nContent-Length: 0\r\n\r\n`,
          'latin1',
        ),
      ),
    )
    const path = await reach(upstream)

    const answer = await raw([`GET ${path}/ HTTP/1.1`, 'Host: x', 'Connection: close'])

    expect(answer).toMatch(/^HTTP\/1\.1 299 Quite Fine\r\n/)
    expect(answer).toContain(lines.join('\r\n'))
  })

  test.each([301, 302, 303, 307, 308])(
    'a redirect is handed on and not followed: %i',
    async (status) => {
      await using canary = await startUpstream()
      await using upstream = await startUpstream((_, response) => {
        response.writeHead(status, { Location: `${canary.origin}/stolen` }).end()
      })
      await reach(canary)
      const path = await reach(upstream)

      const body = `["{{$card_number: ${token}}}"]`
      const headers = { ...ours(), 'Content-Type': 'application/json' }
      const reply = await send(sallyport.origin, 'POST', `${path}/`, headers, body)

      expect(reply.status).toBe(status)
      expect(reply.headers.location).toBe(`${canary.origin}/stolen`)
      expect([upstream.seen.length, canary.connections]).toEqual([1, 0])
    },
  )

  test.each([400, 402, 404, 429, 500, 503])(
    'an answer of %i is handed on as it is',
    async (status) => {
      await using upstream = await startUpstream((_, response) => {
        response.writeHead(status, { 'Retry-After': '7' }).end('{"psp":"says so"}')
      })
      const path = await reach(upstream)

      const reply = await send(sallyport.origin, 'POST', `${path}/`, ours(), '{}')

      expect([reply.status, reply.text, reply.headers['retry-after']]).toEqual([
        status,
        '{"psp":"says so"}',
        '7',
      ])
      expect(reply.headers['sallyport-upstream-status']).toBe(String(status))
      expect(reply.headers['sallyport-retry-safe']).toBeUndefined()
    },
  )

  test('a head that could not be written again is an error of the destination', async () => {
    await using upstream = await startRawUpstream((socket) =>
      socket.end('HTTP/1.1 200 O\x01K\r\nX-A: a\x01b\r\nContent-Length: 0\r\n\r\n'),
    )
    const path = await reach(upstream)

    const reply = await send(sallyport.origin, 'GET', `${path}/`, ours())

    expectRefusal(reply, 'upstream_protocol_error')
  })
})

describe('answers without a body', () => {
  test('the answer to HEAD keeps its length and has no body', async () => {
    await using upstream = await startUpstream((_, response) => {
      response.writeHead(200, { 'Content-Length': '1234', 'X-A': '1' }).end()
    })
    const path = await reach(upstream)

    const answer = await raw([`HEAD ${path}/ HTTP/1.1`, 'Host: x', 'Connection: close'])

    expect(answer).toContain('Content-Length: 1234')
    expect(answer.endsWith('\r\n\r\n')).toBe(true)
    expect(answer.match(/\r\n\r\n/g)?.length).toBe(1)
  })

  test.each([
    ['204', 'HTTP/1.1 204 No Content\r\n\r\n'],
    ['304 with a length', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\nETag: "a"\r\n\r\n'],
    ['200 of no length', 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'],
  ])('%s ends at once and leaves the connection usable', async (_, text) => {
    await using upstream = await startRawUpstream((socket) => socket.write(text))
    const path = await reach(upstream)

    const one = `GET ${path}/ HTTP/1.1\r\nHost: x\r\nSallyport-Key: ${merchant.proxyKey}\r\n`
    const port = sallyport.installation.address.port
    const answer = await sendRaw(port, `${one}\r\n${one}Connection: close\r\n\r\n`)

    const status = text.split(' ')[1]
    expect(answer.match(new RegExp(`^HTTP/1\\.1 ${status} `, 'gm'))?.length).toBe(2)
    expect(answer).not.toContain('Transfer-Encoding')
  })
})

describe('interim answers', () => {
  test.each([
    ['103', 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n'],
    ['102', 'HTTP/1.1 102 Processing\r\n\r\n'],
    ['three of them', 'HTTP/1.1 103 A\r\n\r\nHTTP/1.1 102 B\r\n\r\nHTTP/1.1 103 C\r\n\r\n'],
  ])('%s are not the answer', async (_, interim) => {
    await using upstream = await startRawUpstream((socket) =>
      socket.write(`${interim}HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok`),
    )
    const path = await reach(upstream)

    const reply = await send(sallyport.origin, 'POST', `${path}/`, ours(), '{}')

    expect([reply.status, reply.text]).toEqual([201, 'ok'])
    expect(reply.headers['sallyport-upstream-status']).toBe('201')
    expect(upstream.seen.length).toBe(1)
  })
})

// RFC 9110, 15.2, wants every client to expect it.
test('a 100 that nobody asked for is passed over', async () => {
  await using upstream = await startRawUpstream((socket) =>
    socket.write(
      'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok',
    ),
  )
  const path = await reach(upstream)

  const reply = await send(sallyport.origin, 'POST', `${path}/`, ours(), '{}')

  expect([reply.status, reply.text]).toEqual([201, 'ok'])
  expect(upstream.seen.length).toBe(1)
})

describe('bodies of answers', () => {
  test('a body in chunks is passed on as it comes', async () => {
    const second = Promise.withResolvers<void>()
    await using upstream = await startUpstream(async (_, response) => {
      response.write('first')
      await second.promise
      response.end('second')
    })
    const path = await reach(upstream)

    const request = httpRequest(sallyport.origin, {
      path: `${path}/`,
      headers: ours(),
      agent: false,
    })
    request.end()
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    const pieces: string[] = []
    for await (const chunk of response) {
      pieces.push(String(chunk))
      second.resolve()
    }

    expect(pieces).toEqual(['first', 'second'])
    expect(response.headers['transfer-encoding']).toBe('chunked')
  })

  test('a body that ends with its connection arrives whole', async () => {
    await using upstream = await startRawUpstream((socket) =>
      socket.end('HTTP/1.1 200 OK\r\n\r\nuntil the end'),
    )
    const path = await reach(upstream)

    const reply = await send(sallyport.origin, 'GET', `${path}/`, ours())

    expect([reply.text, reply.isWhole]).toEqual(['until the end', true])
  })

  test.each([
    ['of a known length', 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this'],
    ['in chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n'],
    [
      'in chunks, within one',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nonly this',
    ],
    [
      'in chunks, then garbage',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\nzz\r\n',
    ],
  ])('a body %s that breaks off is cut, never ended', async (_, text) => {
    await using upstream = await startRawUpstream((socket) => socket.end(text))
    const path = await reach(upstream)

    const answer = await raw([`GET ${path}/ HTTP/1.1`, 'Host: x', 'Connection: close'])
    const reply = await send(sallyport.origin, 'GET', `${path}/`, ours())

    expect(answer).toContain('only this')
    expect(answer).not.toMatch(/\r\n0\r\n\r\n$/)
    expect(reply.isWhole).toBe(false)
    expect(upstream.seen.length).toBe(2)
  })

  test('a reset in the middle of a body is a cut as well', async () => {
    await using upstream = await startRawUpstream((socket) => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly', () => {
        void pause(50).then(() => socket.resetAndDestroy())
      })
    })
    const path = await reach(upstream)

    const reply = await send(sallyport.origin, 'GET', `${path}/`, ours())

    expect([reply.status, reply.isWhole, reply.text]).toEqual([200, false, 'only'])
  })

  test.each([
    [
      'a length and chunks',
      'Transfer-Encoding: chunked\r\nContent-Length: 5',
      'b\r\nhello world\r\n0\r\n\r\n',
    ],
    ['two lengths', 'Content-Length: 5\r\nContent-Length: 11', 'hello world'],
    ['a list of lengths', 'Content-Length: 5, 11', 'hello world'],
    ['more than its length', 'Content-Length: 5', 'hello world'],
    [
      'a second answer',
      'Content-Length: 5',
      'helloHTTP/1.1 200 OK\r\nX-Evil: 1\r\nContent-Length: 0\r\n\r\n',
    ],
  ])('an answer with %s does not put the caller out of step', async (_, lines, body) => {
    await using upstream = await startRawUpstream((socket) =>
      socket.end(`HTTP/1.1 200 OK\r\n${lines}\r\n\r\n${body}`),
    )
    const path = await reach(upstream)

    const one = `GET ${path}/ HTTP/1.1\r\nHost: x\r\nSallyport-Key: ${merchant.proxyKey}\r\nConnection: close\r\n\r\n`
    const answer = await sendRaw(sallyport.installation.address.port, one)

    const [head = '', ...rest] = answer.split('\r\n\r\n')
    const length = Number(/^content-length: ([0-9]+)$/im.exec(head)?.[1] ?? Number.NaN)
    const text = rest.join('\r\n\r\n')
    if (!Number.isNaN(length)) expect(text.length).toBeLessThanOrEqual(length)
    expect(head.match(/^content-length:/gim)?.length ?? 0).toBeLessThanOrEqual(1)
    expect(answer).not.toContain('X-Evil')
  })

  test('20 MB stream through with their bytes intact, at the pace of the reader', async () => {
    const bytes = randomBytes(20 * 1024 * 1024)
    let written = 0
    const script: Script = async (_, response) => {
      response.writeHead(200, { 'Content-Length': String(bytes.length) })
      for (let at = 0; at < bytes.length; at += 64 * 1024) {
        const piece = bytes.subarray(at, at + 64 * 1024)
        written += piece.length
        if (!response.write(piece)) await once(response, 'drain')
      }
      response.end()
    }
    await using upstream = await startUpstream(script)
    const path = await reach(upstream)

    const request = httpRequest(sallyport.origin, {
      path: `${path}/`,
      headers: ours(),
      agent: false,
    })
    request.end()
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    // Nobody reads yet: what the sockets between can hold is written, and no more.
    await eventually(
      async () => {
        const before = written
        await pause(150)
        return written - before
      },
      (progress) => progress === 0,
    )
    const whileNobodyRead = written
    const hash = createHash('sha256')
    let received = 0
    for await (const chunk of response) {
      hash.update(chunk)
      received += (chunk as Buffer).length
    }

    expect(whileNobodyRead).toBeLessThan(bytes.length)
    expect(received).toBe(bytes.length)
    expect(hash.digest('hex')).toBe(createHash('sha256').update(bytes).digest('hex'))
  })

  test('the destination is let go when the caller leaves in the middle of an answer', async () => {
    const closed = Promise.withResolvers<void>()
    await using upstream = await startUpstream((_, response) => {
      response.on('close', () => closed.resolve())
      response.write('first')
    })
    const path = await reach(upstream)

    const request = httpRequest(sallyport.origin, {
      path: `${path}/`,
      headers: ours(),
      agent: false,
    })
    request.end()
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    await once(response, 'data')
    response.destroy()

    await closed.promise
  })

  test.each([
    ['of a known length', { 'Content-Length': '5000' }],
    ['in chunks', {}],
  ])('a body %s over the limit of the destination never looks whole', async (_, headers) => {
    await using upstream = await startUpstream((_request, response) => {
      response.writeHead(200, headers)
      response.end('x'.repeat(5000))
    })
    const path = await reach(upstream, { limits: { response_bytes: 4999 } })

    const reply = await send(sallyport.origin, 'GET', `${path}/`, ours())

    if (reply.isWhole) expectRefusal(reply, 'response_blocked')
    else expect(reply.body.length).toBeLessThanOrEqual(4999)
  })

  test('a body of exactly the limit passes', async () => {
    await using upstream = await startUpstream((_, response) => response.end('x'.repeat(5000)))
    const path = await reach(upstream, { limits: { response_bytes: 5000 } })

    const reply = await send(sallyport.origin, 'GET', `${path}/`, ours())

    expect([reply.isWhole, reply.body.length]).toEqual([true, 5000])
  })

  test('over the limit in an envelope is told as what it is', async () => {
    await using upstream = await startUpstream((_, response) => response.end('x'.repeat(5000)))
    await reach(upstream, { limits: { response_bytes: 4999 } })

    const envelope = JSON.stringify({ destination_url: `${upstream.origin}/`, method: 'GET' })
    const reply = await send(sallyport.origin, 'POST', '/proxy', ours(), envelope)

    expectRefusal(reply, 'response_blocked')
  })
})

describe('callers that stop half way', () => {
  test('a request whose body never ends is not sent', async () => {
    echo.seen.length = 0
    const connections = echo.connections
    const socket: Socket = connect(sallyport.installation.address.port, '127.0.0.1')
    socket.write(
      `POST /d/echo/ HTTP/1.1\r\nHost: x\r\nSallyport-Key: ${merchant.proxyKey}\r\nContent-Length: 100\r\n\r\n{"half":`,
    )
    await pause(100)

    socket.destroy()
    await pause(100)

    expect(echo.seen).toEqual([])
    expect(echo.connections).toBe(connections)
  })

  test('garbage behind a request does not get into the answer that is under way', async () => {
    const rest = Promise.withResolvers<void>()
    await using upstream = await startUpstream(async (_, response) => {
      response.writeHead(200, { 'Content-Length': '1000' }).write('first')
      await rest.promise
      response.end('x'.repeat(995))
    })
    const path = await reach(upstream)
    const socket = connect(sallyport.installation.address.port, '127.0.0.1')
    const chunks: Buffer[] = []
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    socket.on('error', () => {}) // a reset ends it as well
    socket.write(`GET ${path}/ HTTP/1.1\r\nHost: x\r\nSallyport-Key: ${merchant.proxyKey}\r\n\r\n`)
    await eventually(
      () => Buffer.concat(chunks).toString(),
      (text) => text.includes('first'),
    )

    socket.write('\0garbage\r\n\r\n')
    void pause(50).then(rest.resolve)
    await once(socket, 'close')

    // Either the connection broke off, or the garbage was answered after the whole answer.
    const [answer = '', ...refusals] = Buffer.concat(chunks)
      .toString()
      .split(/(?=HTTP\/1\.1 400)/)
    const body = answer.slice(answer.indexOf('\r\n\r\n') + 4)
    expect('first'.padEnd(1000, 'x').startsWith(body)).toBe(true)
    if (refusals.length > 0) expect(body).toHaveLength(1000)
  })
})
