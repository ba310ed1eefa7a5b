// A request as its bytes leave, and what is never written: whatever would be read as something else than it was meant
// to be. And what is left of it in memory.

import { type AddressInfo, createServer, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { EgressRequest, InvalidRequest, type RequestParts } from '../../src/proxy/egress/request.ts'
import type { Origin } from '../../src/proxy/origin.ts'
import { Asked, openPool, type Told, tellOf } from './egress-client.ts'

type Written = { text: string; told: Told; isOpen: boolean }

/** All that arrives for one request, which is answered when nothing more comes. */
async function written(parts: Partial<RequestParts>): Promise<Written> {
  const sockets = new Set<Socket>()
  let text = ''
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => sockets.delete(socket))
    let timer: NodeJS.Timeout | undefined
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1')
      clearTimeout(timer)
      timer = setTimeout(() => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'), 50)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const pool = openPool(`http://127.0.0.1:${port}`)
  const told = await tellOf(pool, {
    origin: 'https://psp.test:8443' as Origin,
    target: '/pay?q=1',
    headers: ['X-A', 'b'],
    ...parts,
  })
  await sleep(20)
  const isOpen = sockets.size > 0
  await pool.destroy()
  server.close()
  return { text, told, isOpen }
}

async function* streamed(...pieces: string[]): AsyncGenerator<Buffer> {
  for (const piece of pieces) {
    await sleep(1)
    yield Buffer.from(piece)
  }
}

const LINES = 'host: psp.test:8443\r\nconnection: keep-alive\r\n'

describe('the bytes of a request', () => {
  test.each<[string, Partial<RequestParts>, string]>([
    ['GET', { method: 'GET', body: undefined }, `GET /pay?q=1 HTTP/1.1\r\n${LINES}X-A: b\r\n\r\n`],
    [
      'OPTIONS',
      { method: 'OPTIONS', body: undefined },
      `OPTIONS /pay?q=1 HTTP/1.1\r\n${LINES}X-A: b\r\n\r\n`,
    ],
    [
      'DELETE',
      { method: 'DELETE', body: undefined },
      `DELETE /pay?q=1 HTTP/1.1\r\n${LINES}X-A: b\r\n\r\n`,
    ],
    [
      'POST without a body',
      { body: undefined },
      `POST /pay?q=1 HTTP/1.1\r\n${LINES}X-A: b\r\ncontent-length: 0\r\n\r\n`,
    ],
    [
      'PUT with an empty body',
      { method: 'PUT', body: Buffer.alloc(0) },
      `PUT /pay?q=1 HTTP/1.1\r\n${LINES}X-A: b\r\ncontent-length: 0\r\n\r\n`,
    ],
    [
      'DELETE with an empty body',
      { method: 'DELETE', body: Buffer.alloc(0) },
      `DELETE /pay?q=1 HTTP/1.1\r\n${LINES}X-A: b\r\n\r\n`,
    ],
    [
      'PATCH with a body',
      { method: 'PATCH', body: Buffer.from('abc') },
      `PATCH /pay?q=1 HTTP/1.1\r\n${LINES}X-A: b\r\ncontent-length: 3\r\n\r\nabc`,
    ],
    [
      'no headers',
      { headers: [], body: Buffer.from('abc') },
      `POST /pay?q=1 HTTP/1.1\r\n${LINES}content-length: 3\r\n\r\nabc`,
    ],
    [
      'headers twice, empty and not of ASCII',
      { headers: ['a', '1', 'A', '2', 'b', '', 'c', 'd\xe9\te'], body: Buffer.from('abc') },
      `POST /pay?q=1 HTTP/1.1\r\n${LINES}a: 1\r\nA: 2\r\nb: \r\nc: d\xe9\te\r\ncontent-length: 3\r\n\r\nabc`,
    ],
    [
      'a body with a length that was told',
      { headers: ['Content-Length', '3'], body: Buffer.from('abc') },
      `POST /pay?q=1 HTTP/1.1\r\n${LINES}content-length: 3\r\n\r\nabc`,
    ],
    [
      'pieces',
      { body: streamed('abc', '', 'x'.repeat(20), 'y') },
      `POST /pay?q=1 HTTP/1.1\r\n${LINES}X-A: b\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n14\r\n${'x'.repeat(20)}\r\n1\r\ny\r\n0\r\n\r\n`,
    ],
    [
      'pieces of a length that was told',
      { headers: ['Content-Length', '5'], body: streamed('abc', 'de') },
      `POST /pay?q=1 HTTP/1.1\r\n${LINES}content-length: 5\r\n\r\nabcde`,
    ],
    [
      'no pieces',
      { body: streamed() },
      `POST /pay?q=1 HTTP/1.1\r\n${LINES}X-A: b\r\ncontent-length: 0\r\n\r\n`,
    ],
    [
      'more than is sent in one piece',
      { body: Buffer.alloc(40_000, 'z') },
      `POST /pay?q=1 HTTP/1.1\r\n${LINES}X-A: b\r\ncontent-length: 40000\r\n\r\n${'z'.repeat(40_000)}`,
    ],
    [
      'a long head',
      { headers: ['a', 'z'.repeat(40_000)], body: Buffer.from('abc') },
      `POST /pay?q=1 HTTP/1.1\r\n${LINES}a: ${'z'.repeat(40_000)}\r\ncontent-length: 3\r\n\r\nabc`,
    ],
  ])('%s', async (_, parts, text) => {
    const got = await written(parts)

    expect(got.text).toBe(text)
    expect(got.told).toMatchObject({ status: 200, error: undefined })
    expect(got.isOpen).toBe(true)
  })

  test('HEAD asks for the connection to be closed, which some would use for a body', async () => {
    const got = await written({ method: 'HEAD', body: undefined, headers: [] })

    expect(got.text).toBe(
      'HEAD /pay?q=1 HTTP/1.1\r\nhost: psp.test:8443\r\nconnection: close\r\n\r\n',
    )
    expect(got.isOpen).toBe(false)
  })

  test.each(['GET', 'DELETE', 'OPTIONS'])(
    'the connection is not used again after a %s with a body, which some do not read',
    async (method) => {
      const got = await written({ method, body: Buffer.from('abc') })

      expect(got.text).toBe(
        `${method} /pay?q=1 HTTP/1.1\r\n${LINES}X-A: b\r\ncontent-length: 3\r\n\r\nabc`,
      )
      expect(got.isOpen).toBe(false)
    },
  )

  test.each([
    ['shorter', ['abc'], 'content-length: 5\r\n\r\nabc'],
    ['longer', ['abc', 'def'], 'content-length: 5\r\n\r\nabc'],
    ['longer at once', ['abcdef'], ''],
    ['empty', [], ''],
  ])('a stream that is %s than it was said to be breaks off', async (_, pieces, end) => {
    const got = await written({ headers: ['Content-Length', '5'], body: streamed(...pieces) })

    expect(got.told.error?.code).toBe('SALLYPORT_WRONG_LENGTH')
    expect(got.text.endsWith(end)).toBe(true)
    expect(got.text === '').toBe(end === '')
    expect(got.isOpen).toBe(false)
  })
})

describe('is never sent', () => {
  const header = (name: string, value: string) => ({ headers: ['X-A', 'b', name, value] })

  test.each<[string, Partial<RequestParts>]>([
    ...['a b', '', 'a:', 'a\r', 'a\n', 'a\0', 'a\t', '\xe9', 'a(', 'a\x7f'].map(
      (name): [string, Partial<RequestParts>] => [
        `a name ${JSON.stringify(name)}`,
        header(name, 'x'),
      ],
    ),
    ...['\r', '\n', '\r\nX: y', '\0', '\x7f', '\x01', '\u0100', '\u010d\u010a', '\ud83d\ude00'].map(
      (text): [string, Partial<RequestParts>] => [
        `a value with ${JSON.stringify(text)}`,
        header('a', `x${text}y`),
      ],
    ),
    ...[
      'Host',
      'Connection',
      'Keep-Alive',
      'Transfer-Encoding',
      'tRANSFER-eNCODING',
      'Upgrade',
      'Expect',
      'Trailer',
      'TE',
    ].map((name): [string, Partial<RequestParts>] => [`a header ${name}`, header(name, 'chunked')]),
    ...['1', '03', '3x', '-3', '+2', '2, 2', '', ' 2', '0x2', '1e1', '9'.repeat(16)].map(
      (length): [string, Partial<RequestParts>] => [
        `a length ${JSON.stringify(length)}`,
        header('Content-Length', length),
      ],
    ),
    ['two lengths', { headers: ['Content-Length', '2', 'content-length', '2'] }],
    ['a header without a value', { headers: ['a'] }],
    ['a method with a blank', { method: 'GET /x' }],
    ['no method', { method: '' }],
    ['a method with an end of line', { method: 'GET\r\n' }],
    ['a target with a blank', { target: '/a b' }],
    ['a target with an end of line', { target: '/a\r\nX: y' }],
    ['a target with NUL', { target: '/a\0' }],
    ['a target beyond latin1', { target: '/\u010d\u010a' }],
    ['a target that is a whole URL', { target: 'http://other.test/' }],
    ['no target', { target: '' }],
  ])('%s', (_, parts) => {
    expect(() => new Asked(parts)).toThrow(InvalidRequest)
  })

  test('an error tells nothing of what was in it', () => {
    const parts = { headers: ['a', '4242424242424242\r\n'] }

    expect(() => new Asked(parts)).toThrow(/^header$/)
  })
})

describe('what leaves is overwritten', () => {
  /** The Buffers that sockets were given. */
  async function handedOver(run: () => Promise<void>): Promise<Buffer[]> {
    const { Socket: SocketClass } = await import('node:net')
    const { write } = SocketClass.prototype
    const buffers: Buffer[] = []
    SocketClass.prototype.write = function (this: Socket, chunk: unknown, ...rest: never[]) {
      if (Buffer.isBuffer(chunk)) buffers.push(chunk)
      return (write as (...all: unknown[]) => boolean).call(this, chunk, ...rest)
    } as typeof write
    try {
      await run()
    } finally {
      SocketClass.prototype.write = write
    }
    return buffers
  }

  const card = Buffer.from('4242424242424242')
  const parts = { headers: ['X-Pan', '4242424242424242'], body: card }

  test.each<[string, string]>([
    ['when the answer is there', 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'],
    ['when the connection ends instead', ''],
  ])('%s', async (_, answer) => {
    let arrived = ''
    const server = createServer((socket) => {
      socket.on('data', (chunk: Buffer) => {
        arrived += chunk.toString('latin1')
        if (answer === '') socket.destroy()
        else socket.write(answer)
      })
      socket.on('error', () => {})
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const pool = openPool(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)

    const buffers = await handedOver(async () => {
      await tellOf(pool, parts)
      await sleep(20)
    })
    const held = buffers.filter((buffer) => buffer.includes('4242'))
    await pool.destroy()
    server.close()

    expect(arrived).toContain('X-Pan: 4242424242424242\r\n')
    expect(arrived.endsWith('\r\n\r\n4242424242424242')).toBe(true)
    expect(buffers.length).toBeGreaterThan(0)
    expect(held).toEqual([])
  })

  test('not before it has left: a body may be overwritten when it is not being written', async () => {
    const size = 8 * 1024 * 1024
    const body = Buffer.alloc(size, 'x')
    let received = 0
    let wasWiped = false
    const server = createServer((socket) => {
      socket.pause().write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
      setTimeout(() => socket.resume(), 100)
      socket.on('data', (chunk: Buffer) => {
        received += chunk.length
        wasWiped ||= chunk.includes(0)
      })
      socket.on('error', () => {})
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const pool = openPool(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    const asked = new Asked({ body })
    pool.dispatch(asked.request)

    await asked.ended
    const wasWriting = asked.request.isWriting
    while (asked.request.isWriting) await sleep(5)
    body.fill(0)
    await pool.destroy()
    server.close()

    expect([wasWriting, wasWiped]).toEqual([true, false])
    expect(received).toBeGreaterThan(size)
  })
})

test('a request that has been refused says whether it is on a connection', () => {
  const { request } = new Asked()

  expect([request instanceof EgressRequest, request.isWriting]).toEqual([true, false])
})
