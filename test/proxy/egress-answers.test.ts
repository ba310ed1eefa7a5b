// Answers as they are read off a connection: every framing cut at every byte, what is no HTTP, what comes too much and
// too early, and how long each part may take.

import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { makeCertificate } from './certificates.ts'
import { Asked, openPool, type Told, tellOf } from './egress-client.ts'
import { startRawUpstream, startUpstream } from './upstream.ts'

type Script = (socket: Socket) => unknown

/** What a request is told, and whether the next one is on the same connection. */
async function outcomeOf(
  script: Script,
  { method = 'POST', headersMs = 2000, bodyMs = 2000 } = {},
): Promise<Told & { isKept: boolean; ends: number }> {
  let answers = 0
  await using upstream = await startRawUpstream((socket) => {
    answers += 1
    if (answers === 1) return script(socket)
    return socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnext')
  })
  const pool = openPool(upstream.origin, { headersMs, bodyMs })
  const asked = new Asked({ method, body: undefined })
  pool.dispatch(asked.request)
  const told = await asked.ended
  const next = await tellOf(pool)
  await pool.destroy()
  expect([next.status, next.text]).toEqual([200, 'next'])
  return { ...told, isKept: next.isReused, ends: asked.ends }
}

/** So that the other side reads the piece before the next one comes. */
async function writeAlone(socket: Socket, piece: string): Promise<void> {
  socket.setNoDelay(true)
  await new Promise((resolve) => socket.write(piece, 'latin1', resolve))
  await sleep(2)
}

type Framing = {
  title: string
  text: string
  method?: string
  status?: number
  body: string
  ends?: true
  isKept: boolean
}

const framings: Framing[] = [
  {
    title: 'a length',
    text: 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello',
    body: 'hello',
    isKept: true,
  },
  {
    title: 'no bytes',
    text: 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
    body: '',
    isKept: true,
  },
  {
    title: 'chunks, extensions and trailers',
    text: 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\nX-T: t\r\n\r\n',
    body: 'hello',
    isKept: true,
  },
  {
    title: 'the end of the connection',
    text: 'HTTP/1.1 200 OK\r\nX-A: b\r\n\r\nhello',
    body: 'hello',
    ends: true,
    isKept: false,
  },
  {
    title: 'a length, and the connection closes',
    text: 'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello',
    body: 'hello',
    isKept: false,
  },
  {
    title: 'HTTP/1.0',
    text: 'HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello',
    body: 'hello',
    isKept: false,
  },
  {
    title: 'HTTP/1.0 that keeps the connection',
    text: 'HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello',
    body: 'hello',
    isKept: true,
  },
  { title: '204', text: 'HTTP/1.1 204 No Content\r\n\r\n', status: 204, body: '', isKept: true },
  {
    title: '304 with a length that is not there',
    text: 'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n',
    status: 304,
    body: '',
    isKept: false,
  },
  {
    title: '204 with chunks that are not there',
    text: 'HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n',
    status: 204,
    body: '',
    isKept: false,
  },
  {
    title: 'HEAD with a length',
    method: 'HEAD',
    text: 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n',
    body: '',
    isKept: false,
  },
  {
    title: 'an offer of another protocol, which is not taken',
    text: 'HTTP/1.1 200 OK\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 5\r\n\r\nhello',
    body: 'hello',
    isKept: true,
  },
]

describe('an answer, cut at every byte', () => {
  test.each(framings)('framed by $title', async (row) => {
    const { text, body, status = 200, method = 'POST', ends, isKept } = row
    const cuts = Array.from({ length: text.length + 1 }, (_, cut) => cut)

    const outcomes = await Promise.all(
      cuts.map((cut) =>
        outcomeOf(
          async (socket) => {
            if (cut > 0) await writeAlone(socket, text.slice(0, cut))
            if (cut < text.length) await writeAlone(socket, text.slice(cut))
            if (ends) socket.end()
          },
          { method },
        ),
      ),
    )

    for (const [cut, told] of outcomes.entries()) {
      expect({ cut, ...told }).toMatchObject({
        cut,
        status,
        text: body,
        error: undefined,
        isKept,
        ends: 1,
      })
    }
  })

  test('byte by byte, its head and its body are the same', async () => {
    const text = framings[2]?.text ?? ''

    const told = await outcomeOf(async (socket) => {
      for (const byte of text) await writeAlone(socket, byte)
    })

    expect(told).toMatchObject({
      message: 'OK',
      headers: ['Transfer-Encoding', 'chunked'],
      text: 'hello',
    })
  })

  test('many fields come in order, duplicates and bytes beyond ASCII as they are', async () => {
    const fields = Array.from({ length: 100 }, (_, n) => ['X-A', `v${n}\xe9`]).flat()
    const lines = fields.map((part, at) => (at % 2 === 0 ? `${part}: ` : `${part}\r\n`)).join('')

    const told = await outcomeOf((socket) =>
      socket.write(`HTTP/1.1 200 OK\r\n${lines}Content-Length: 0\r\n\r\n`, 'latin1'),
    )

    expect(told.headers).toEqual([...fields, 'Content-Length', '0'])
  })
})

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
const POISON = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison'

describe('what nobody asked for is not the answer to the next request', () => {
  test.each<[string, Script]>([
    ['a second answer', (socket) => socket.write(OK + POISON)],
    ['its first byte', (socket) => socket.write(`${OK}H`)],
    ['half of it', (socket) => socket.write(OK + POISON.slice(0, -3))],
    ['an interim answer', (socket) => socket.write(`${OK}HTTP/1.1 103 A\r\n\r\n`)],
    ['no HTTP', (socket) => socket.write(`${OK}surplus`)],
    [
      'a second answer after a moment',
      (socket) => writeAlone(socket, OK).then(() => socket.write(POISON)),
    ],
    [
      'an empty line after a moment',
      (socket) => writeAlone(socket, OK).then(() => socket.write('\r\n')),
    ],
  ])('%s', async (_, script) => {
    const told = await outcomeOf(async (socket) => {
      await script(socket)
      await sleep(10)
    })

    expect(told).toMatchObject({ status: 200, text: 'ok', error: undefined, ends: 1 })
  })

  test('also when nothing has been asked at all', async () => {
    let connections = 0
    await using upstream = await startRawUpstream((socket) => socket.write(OK))
    const pool = openPool(upstream.origin, { connections: 2 })
    const both = await Promise.all([tellOf(pool), tellOf(pool)])
    connections = upstream.connections
    await pool.destroy()

    expect(both.map(({ text }) => text)).toEqual(['ok', 'ok'])
    expect(connections).toBe(2)
  })
})

describe('a failure', () => {
  test.each<[string, string, number, Script]>([
    ['no HTTP', 'HPE_INVALID_CONSTANT', 0, (socket) => socket.write('SSH-2.0\r\n')],
    ['a bare LF', 'HPE_CR_EXPECTED', 0, (socket) => socket.write('HTTP/1.1 200 OK\nA: b\n\n')],
    [
      'a length and chunks',
      'HPE_INVALID_CONTENT_LENGTH',
      0,
      (socket) =>
        socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n'),
    ],
    [
      'the same length twice',
      'HPE_UNEXPECTED_CONTENT_LENGTH',
      0,
      (socket) =>
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok'),
    ],
    [
      'a folded line',
      'HPE_INVALID_HEADER_TOKEN',
      0,
      (socket) => socket.write('HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n'),
    ],
    [
      'a blank before the colon',
      'HPE_INVALID_HEADER_TOKEN',
      0,
      (socket) => socket.write('HTTP/1.1 200 OK\r\nA : b\r\nContent-Length: 0\r\n\r\n'),
    ],
    [
      'a head of more than 16 KB',
      'HPE_HEADER_OVERFLOW',
      0,
      (socket) => socket.write(`HTTP/1.1 200 OK\r\nA: ${'b'.repeat(17_000)}`),
    ],
    [
      'thousands of fields',
      'SALLYPORT_NOT_HTTP',
      0,
      (socket) => socket.write(`HTTP/1.1 200 OK\r\n${'A: \r\n'.repeat(5000)}`),
    ],
    ['the end before it', 'SALLYPORT_CONNECTION_ENDED', 0, (socket) => socket.end()],
    ['a reset before it', 'ECONNRESET', 0, (socket) => socket.resetAndDestroy()],
    [
      'the end within a length',
      'SALLYPORT_CONNECTION_ENDED',
      200,
      (socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf'),
    ],
    [
      'the end within a length, of a last answer',
      'HPE_INVALID_EOF_STATE',
      200,
      (socket) =>
        socket.end('HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\nhalf'),
    ],
    [
      'a reset where the end would be the end',
      'ECONNRESET',
      200,
      (socket) =>
        writeAlone(socket, 'HTTP/1.1 200 OK\r\n\r\nhalf').then(() => socket.resetAndDestroy()),
    ],
    [
      'no head in time',
      'SALLYPORT_ANSWER_TIMEOUT',
      0,
      (socket) => writeAlone(socket, 'HTTP/1.1 200 OK\r\n'),
    ],
    [
      'no body in time',
      'SALLYPORT_ANSWER_TIMEOUT',
      200,
      (socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf'),
    ],
  ])('%s: %s', async (_, code, status, script) => {
    const told = await outcomeOf(script, { headersMs: 150, bodyMs: 150 })

    expect([told.error?.code, told.status, told.ends]).toEqual([code, status, 1])
    expect(told.isKept).toBe(false)
  })
})

describe('a handler', () => {
  test('that gives up within the answer is told so once, and the connection ends', async () => {
    await using upstream = await startRawUpstream((socket) => socket.write(OK))
    const pool = openPool(upstream.origin)
    const asked = new Asked()
    asked.onChunk = () => asked.request.abort(new Error('enough'))
    pool.dispatch(asked.request)

    const told = await asked.ended
    const next = await tellOf(pool)
    await pool.destroy()

    expect([told.error?.message, asked.ends]).toEqual(['enough', 1])
    expect([next.text, next.isReused]).toEqual(['ok', false])
  })

  test('that gives up after its end changes nothing for the next request', async () => {
    await using upstream = await startRawUpstream((socket) =>
      setTimeout(() => socket.write(OK), 20),
    )
    const pool = openPool(upstream.origin)
    const first = new Asked()
    pool.dispatch(first.request)
    await first.ended

    const next = tellOf(pool)
    await sleep(10)
    first.request.abort(new Error('late'))
    first.request.pause()
    const told = await next
    await pool.destroy()

    expect([told.text, told.error, told.isReused]).toEqual(['ok', undefined, true])
    expect(first.ends).toBe(1)
  })

  test('that throws ends its request alone', async () => {
    await using upstream = await startRawUpstream((socket) => socket.write(OK))
    const pool = openPool(upstream.origin)
    const asked = new Asked()
    asked.onChunk = () => {
      throw new Error('a bug')
    }
    pool.dispatch(asked.request)

    const told = await asked.ended
    const next = await tellOf(pool)
    await pool.destroy()

    expect(told.error?.message).toBe('a bug')
    expect(next.text).toBe('ok')
  })

  const certificate = makeCertificate('psp', { hosts: ['127.0.0.1'] })

  test.each([
    ['', undefined],
    [', over TLS', certificate],
  ])(
    'that pauses is sent little more, and all of it later; its time stands still%s',
    async (_, tls) => {
      const size = 24 * 1024 * 1024
      await using upstream = await startUpstream((_request, response) => {
        response.setHeader('Content-Length', size)
        response.end(Buffer.alloc(size, 'x'))
      }, tls)
      const pool = openPool(upstream.origin, { bodyMs: 1000, caPem: tls?.cert })
      const asked = new Asked()
      let received = 0
      asked.onChunk = (chunk) => {
        received += chunk.length
        if (received === chunk.length) asked.request.pause()
      }
      pool.dispatch(asked.request)
      await sleep(1500)
      const early = received
      asked.request.resume()

      const told = await asked.ended
      const next = await tellOf(pool)
      await pool.destroy()

      expect(told.error).toBeUndefined()
      expect(early).toBeGreaterThan(0)
      expect(early).toBeLessThan(1024 * 1024)
      expect(received).toBe(size)
      expect([next.error, next.isReused]).toEqual([undefined, true])
    },
  )
})
