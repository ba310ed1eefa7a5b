// Requests that come whole, in one read, take a shorter way than others. Nobody can tell by the answer: each of these is
// sent in one piece, in two and byte by byte, with and without TLS, and answered the same.

import { once } from 'node:events'
import { createServer as createNodeServer } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Call, NodeCall } from '../../src/http/call.ts'
import { createServer, drain } from '../../src/http/server.ts'
import { takeWholeCalls } from '../../src/http/whole-calls.ts'
import { makeCertificate } from '../proxy/certificates.ts'
import { eventually } from '../proxy/upstream.ts'

type Server = ReturnType<typeof createServer>

/** More than the system's buffers take. */
const BIG = Buffer.alloc(30_000_000, 'b')
/** Every way that a call was taken: whole, or from node:http. */
const taken: ('whole' | 'node')[] = []
const closed: boolean[] = []
let held: (() => void) | undefined

/** Answers what the path asks for. */
function answer(call: Call, body: Buffer): void {
  const [, , what] = call.url.split('/')
  const fields = ['Content-Type', 'text/plain', 'X-Method', call.method]
  switch (what) {
    case 'echo':
      call.writeHead(200, 'Fine', [...fields, 'Content-Length', String(body.length)])
      call.end(body)
      break
    case 'chunks':
      call.writeHead(200, undefined, fields)
      call.write(Buffer.from('one'))
      call.write(Buffer.alloc(0))
      call.write(Buffer.from('two'))
      call.end(Buffer.from('three'))
      break
    case 'nothing':
      call.writeHead(200, undefined, fields)
      call.end()
      break
    case '204':
    case '304':
      call.writeHead(Number(what), undefined, fields)
      call.end()
      break
    case 'big':
      call.writeHead(200, undefined, [...fields, 'Content-Length', String(BIG.length)])
      call.end(BIG)
      break
    case 'dated':
      call.writeHead(200, undefined, ['date', 'yesterday', 'Content-Length', '2'])
      call.end(Buffer.from('ok'))
      break
    case 'close':
      call.writeHead(200, undefined, [...fields, 'Content-Length', '3', 'Connection', 'close'])
      call.end(Buffer.from('bye'))
      break
    case 'half':
      call.writeHead(200, undefined, [...fields, 'Content-Length', '10'])
      call.write(Buffer.from('half'))
      setTimeout(() => call.destroy(), 20)
      break
    case 'held':
      held = () => {
        call.writeHead(200, undefined, [...fields, 'Content-Length', '4'])
        call.end(Buffer.from('held'))
      }
      break
    case 'forbidden': {
      const codes = [
        ['X-Bad', 'a\r\nInjected: yes'],
        ['X Bad', 'a'],
        ['X-Bad', 'a\0b'],
        ['X-Bad', '\u20ac'],
      ].map((pair) => {
        try {
          call.writeHead(200, undefined, pair)
          return 'written'
        } catch (error) {
          return (error as NodeJS.ErrnoException).code
        }
      })
      const text = Buffer.from(JSON.stringify([call.isHeadSent, ...codes]))
      call.writeHead(500, undefined, [...fields, 'Content-Length', String(text.length)])
      call.end(text)
      break
    }
    default:
      throw new Error(`no answer for ${call.url}`)
  }
}

function take(call: Call): boolean {
  if (!call.url.startsWith('/call/')) return false
  taken.push(call.source === undefined ? 'whole' : 'node')
  call.listen({ onCallClosed: (isWhole) => closed.push(isWhole) })
  const { source } = call
  if (source === undefined) {
    answer(call, call.body as Buffer)
  } else {
    const chunks: Buffer[] = []
    source.on('data', (chunk: Buffer) => chunks.push(chunk))
    source.on('end', () => answer(call, Buffer.concat(chunks)))
  }
  return true
}

async function start(tls?: { cert: Buffer; key: Buffer }): Promise<Server> {
  const server = createServer(
    (request, response) => {
      if (take(new NodeCall(request, response))) return
      request.resume()
      request.on('end', () => response.end(`not a call: ${request.url}`))
    },
    take,
    tls,
  )
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server
}

const authority = makeCertificate('authority', { isAuthority: true })
const leaf = makeCertificate('localhost', { issuer: authority, hosts: ['localhost'] })
let plain: Server
let secure: Server

beforeAll(async () => {
  plain = await start()
  secure = await start({ cert: Buffer.from(leaf.cert), key: Buffer.from(leaf.key) })
})

afterAll(async () => {
  await drain([plain, secure], 100)
})

function open(server: Server): Socket {
  const { port } = server.address() as AddressInfo
  const socket =
    server === secure
      ? connectTls({ port, host: '127.0.0.1', servername: 'localhost', ca: authority.cert })
      : connect({ port, host: '127.0.0.1' })
  socket.setNoDelay(true)
  socket.on('error', () => {}) // resets are answers as well
  return socket
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** All that comes back until the connection closes, or nothing has come for a while. */
async function exchange(server: Server, pieces: readonly Buffer[]): Promise<string> {
  const socket = open(server)
  await once(socket, server === secure ? 'secureConnect' : 'connect')
  const chunks: Buffer[] = []
  let lastAt = performance.now()
  let isClosed = false
  socket.on('data', (chunk: Buffer) => {
    chunks.push(chunk)
    lastAt = performance.now()
  })
  socket.on('close', () => {
    isClosed = true
  })
  for (const piece of pieces) {
    socket.write(piece)
    if (pieces.length > 1) await pause(pieces.length > 2 ? 0 : 20)
  }
  lastAt = performance.now()
  await eventually(
    () => isClosed || performance.now() - lastAt > 150,
    (isOver) => isOver,
  )
  const text = Buffer.concat(chunks).toString('latin1')
  const end = isClosed ? ' [closed]' : ' [open]'
  socket.destroy()
  // node:http makes one chunk of what is written in one turn; where chunks end means nothing.
  return (
    text
      .replace(/Date: [A-Z][^\r]*GMT/g, 'Date: now')
      .replaceAll('3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n', 'b\r\nonetwothree\r\n') + end
  )
}

const request = (line: string, headers: string[] = [], body = '') =>
  `${line}\r\n${['Host: x', ...headers].map((header) => `${header}\r\n`).join('')}\r\n${body}`

const many = (count: number) => Array.from({ length: count }, (_, i) => `X-${i}: ${i}`)

/** `way` when it comes in one piece; in any other it is always node:http's. */
const REQUESTS: readonly { name: string; bytes: string; way: ('whole' | 'node')[] }[] = [
  { name: 'GET', bytes: request('GET /call/echo HTTP/1.1'), way: ['whole'] },
  {
    name: 'POST with a length',
    bytes: request('POST /call/echo HTTP/1.1', ['Content-Length: 5'], 'hello'),
    way: ['whole'],
  },
  {
    name: 'POST in chunks',
    bytes: request(
      'POST /call/echo HTTP/1.1',
      ['Transfer-Encoding: chunked'],
      '3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n',
    ),
    way: ['whole'],
  },
  {
    name: 'chunks with trailers',
    bytes: request(
      'POST /call/echo HTTP/1.1',
      ['Transfer-Encoding: chunked'],
      '3\r\nhel\r\n0\r\nX-Trailer: yes\r\n\r\n',
    ),
    way: ['node'],
  },
  { name: 'HEAD', bytes: request('HEAD /call/echo HTTP/1.1'), way: ['whole'] },
  { name: 'HEAD of chunks', bytes: request('HEAD /call/chunks HTTP/1.1'), way: ['whole'] },
  { name: 'an answer in chunks', bytes: request('GET /call/chunks HTTP/1.1'), way: ['whole'] },
  { name: 'an empty answer', bytes: request('GET /call/nothing HTTP/1.1'), way: ['whole'] },
  { name: '204', bytes: request('GET /call/204 HTTP/1.1'), way: ['whole'] },
  { name: '304', bytes: request('GET /call/304 HTTP/1.1'), way: ['whole'] },
  { name: 'a date of its own', bytes: request('GET /call/dated HTTP/1.1'), way: ['whole'] },
  { name: 'closed by the answer', bytes: request('GET /call/close HTTP/1.1'), way: ['whole'] },
  { name: 'broken off', bytes: request('GET /call/half HTTP/1.1'), way: ['whole'] },
  {
    name: 'a head that must not be',
    bytes: request('GET /call/forbidden HTTP/1.1'),
    way: ['whole'],
  },
  {
    name: '100 header fields',
    bytes: request('GET /call/echo HTTP/1.1', many(100)),
    way: ['whole'],
  },
  {
    name: 'more fields than are read',
    bytes: request('GET /call/echo HTTP/1.1', many(300)),
    way: [],
  },
  {
    name: 'a head that is too large',
    bytes: request('GET /call/echo HTTP/1.1', [`X: ${'x'.repeat(17_000)}`]),
    way: [],
  },
  {
    name: 'blank lines before',
    bytes: `\r\n\r\n${request('GET /call/echo HTTP/1.1')}`,
    way: ['whole'],
  },
  {
    name: 'asked to close',
    bytes: request('GET /call/echo HTTP/1.1', ['Connection: close']),
    way: ['node'],
  },
  { name: 'HTTP/1.0', bytes: request('GET /call/echo HTTP/1.0'), way: ['node'] },
  {
    name: 'HTTP/1.0 kept alive',
    bytes: request('GET /call/echo HTTP/1.0', ['Connection: keep-alive']),
    way: ['node'],
  },
  {
    name: 'Expect: 100-continue',
    bytes: request('POST /call/echo HTTP/1.1', ['Expect: 100-continue', 'Content-Length: 2'], 'hi'),
    way: ['node'],
  },
  {
    name: 'any other expectation',
    bytes: request('GET /call/echo HTTP/1.1', ['Expect: miracles']),
    way: [],
  },
  {
    name: 'an upgrade',
    bytes: request('GET /call/echo HTTP/1.1', ['Connection: Upgrade', 'Upgrade: websocket']),
    way: ['node'],
  },
  { name: 'CONNECT', bytes: request('CONNECT x:443 HTTP/1.1'), way: [] },
  {
    name: 'two in a row',
    bytes:
      request('POST /call/echo HTTP/1.1', ['Content-Length: 3'], 'one') +
      request('GET /call/chunks HTTP/1.1'),
    way: ['node', 'node'],
  },
  {
    name: 'one and a half',
    bytes: `${request('GET /call/echo HTTP/1.1')}GET /call/ec`,
    way: ['node'],
  },
  { name: 'for somebody else', bytes: request('GET /other HTTP/1.1'), way: [] },
  { name: 'half a head', bytes: 'GET /call/echo HTTP/1.1\r\nHost:', way: [] },
  {
    name: 'half a body',
    bytes: request('POST /call/echo HTTP/1.1', ['Content-Length: 9'], 'half'),
    way: ['node'],
  },
  { name: 'no HTTP', bytes: '\0garbage\r\n\r\n', way: [] },
  { name: 'lines that end in LF', bytes: 'GET /call/echo HTTP/1.1\nHost: x\n\n', way: [] },
  {
    name: 'a folded header',
    bytes: request('GET /call/echo HTTP/1.1', ['X-A: b\r\n  c']),
    way: [],
  },
  {
    name: 'a blank before the colon',
    bytes: request('GET /call/echo HTTP/1.1', ['X-A : b']),
    way: [],
  },
  {
    name: 'length and coding',
    bytes: request(
      'POST /call/echo HTTP/1.1',
      ['Content-Length: 5', 'Transfer-Encoding: chunked'],
      '0\r\n\r\n',
    ),
    way: [],
  },
  {
    name: 'two lengths',
    bytes: request('POST /call/echo HTTP/1.1', ['Content-Length: 1', 'Content-Length: 2'], 'ab'),
    way: [],
  },
  { name: 'a method that is none', bytes: request('FETCH /call/echo HTTP/1.1'), way: [] },
  { name: 'HTTP/2', bytes: 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', way: [] },
]

describe.each([
  { name: 'HTTP', server: () => plain },
  { name: 'HTTPS', server: () => secure },
])('over $name', ({ server }) => {
  test.each(REQUESTS)('$name: answered the same however it comes', async ({ bytes, way }) => {
    const all = Buffer.from(bytes, 'latin1')
    const middle = Math.floor(all.length / 2)
    taken.length = 0

    const inOne = await exchange(server(), [all])
    const ways = [...taken]
    const inTwo = await exchange(server(), [all.subarray(0, middle), all.subarray(middle)])
    const isShort = all.length < 200
    const byByte = isShort
      ? await exchange(
          server(),
          Array.from(all, (byte) => Buffer.from([byte])),
        )
      : inTwo

    expect(ways).toEqual(way)
    expect(inOne).toBe(inTwo)
    expect(byByte).toBe(inTwo)
  })

  test('many in turn on one connection, also after some for somebody else', async () => {
    const socket = open(server())
    const chunks: Buffer[] = []
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    taken.length = 0
    const paths = ['/call/echo', '/call/chunks', '/other', '/call/echo']

    for (const [i, path] of paths.entries()) {
      socket.write(request(`POST ${path} HTTP/1.1`, ['Content-Length: 1'], String(i)))
      await eventually(
        () => Buffer.concat(chunks).toString().split('HTTP/1.1 200').length - 1,
        (answers) => answers === i + 1,
      )
    }
    socket.destroy()

    expect(taken).toEqual(['whole', 'whole', 'node'])
  })

  test('a large answer waits for its reader and arrives whole', async () => {
    const socket = open(server())
    socket.pause()
    socket.write(request('GET /call/big HTTP/1.1'))
    await pause(100)

    let bytes = 0
    socket.on('data', (chunk: Buffer) => {
      bytes += chunk.length
    })
    socket.resume()

    await eventually(
      () => bytes,
      (count) => count > BIG.length,
    )
    socket.destroy()
  })

  test('the next request waits for the answer before it', async () => {
    const socket = open(server())
    let text = ''
    socket.on('data', (chunk: Buffer) => {
      text += chunk
    })
    held = undefined
    socket.write(request('GET /call/held HTTP/1.1'))
    await eventually(
      () => held,
      (found) => found !== undefined,
    )
    const next = request(
      'POST /call/echo HTTP/1.1',
      ['Content-Length: 9000'],
      `${'x'.repeat(8996)}next`,
    )
    for (const part of [next.slice(0, 20), next.slice(20, 3000), next.slice(3000)]) {
      socket.write(part)
      await pause(20)
    }
    const before = text

    ;(held as unknown as () => void)()

    await eventually(
      () => text,
      (all) => all.endsWith('next'),
    )
    expect(before).toBe('')
    expect(text.indexOf('held')).toBeLessThan(text.indexOf('xnext'))
    expect(text.match(/x+next/)?.[0]).toHaveLength(9000)
    socket.destroy()
  })

  test('nothing is taken behind an answer that closes', async () => {
    const socket = open(server())
    let text = ''
    socket.on('data', (chunk: Buffer) => {
      text += chunk
    })
    taken.length = 0
    socket.write(request('GET /call/close HTTP/1.1'))
    await once(socket, 'data')

    for (let i = 0; i < 5; i++) socket.write(request('GET /call/echo HTTP/1.1'))
    await eventually(
      () => socket.destroyed,
      (isDestroyed) => isDestroyed,
    )

    expect(taken).toEqual(['whole'])
    expect(text.match(/HTTP\/1\.1/g)).toHaveLength(1)
  })

  test('an answer whose caller left before it was read is not whole', async () => {
    const socket = open(server())
    closed.length = 0
    socket.pause()
    socket.write(request('GET /call/big HTTP/1.1'))
    await pause(100)

    socket.destroy()

    await eventually(
      () => [...closed],
      (all) => all.length > 0,
    )
    expect(closed).toEqual([false])
  })

  test.each(['ended', 'reset'] as const)('a caller that %s is noticed', async (how) => {
    const socket = open(server())
    held = undefined
    closed.length = 0
    socket.write(request('GET /call/held HTTP/1.1'))
    await eventually(
      () => held,
      (found) => found !== undefined,
    )

    if (how === 'ended') socket.end()
    else socket.destroy()

    await eventually(
      () => [...closed],
      (all) => all.length > 0,
    )
    expect(closed).toEqual([false])
  })
})

describe('connections', () => {
  test('that are idle end, and those that say nothing are waited for no longer', async () => {
    const server = createImpatientServer()
    await once(server.listen(0, '127.0.0.1'), 'listening')
    const idle = open(server)
    const silent = open(server)
    let answered = ''
    idle.on('data', (chunk: Buffer) => {
      answered += chunk
    })
    idle.write(request('GET /call/echo HTTP/1.1'))
    silent.resume()

    await Promise.all([once(idle, 'close'), once(silent, 'close')])

    expect(answered).toContain('200 Fine')
    server.close()
  })

  test('that are busy are let end when the server stops, idle ones are closed', async () => {
    const server = await start()
    const busy = open(server)
    const idle = open(server)
    let answered = ''
    busy.on('data', (chunk: Buffer) => {
      answered += chunk
    })
    idle.write(request('GET /call/echo HTTP/1.1'))
    await once(idle, 'data')
    held = undefined
    busy.write(request('GET /call/held HTTP/1.1'))
    await eventually(
      () => held,
      (found) => found !== undefined,
    )

    const idleClosed = once(idle, 'close')
    const stopped = drain([server], 10_000)
    await idleClosed
    ;(held as unknown as () => void)()

    expect(await stopped).toBe(0)
    expect(answered).toContain('held')
  })
})

/** With times that a test can wait for. */
function createImpatientServer(): Server {
  const limits = { headersTimeout: 200, keepAliveTimeout: 100, connectionsCheckingInterval: 50 }
  const server = createNodeServer(limits, (request, response) => {
    take(new NodeCall(request, response))
  })
  takeWholeCalls(server, take, {
    ...limits,
    maxHeaderSize: 16_384,
    maxFields: 400,
    idleTimeout: 10_000,
  })
  return server
}
