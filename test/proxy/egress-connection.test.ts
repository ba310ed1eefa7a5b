// What a request is told about the connection it runs on: a kept-alive one or its own, and whether any of the answer
// has come. It decides whether a request may be sent once more, so it has to be right also when sockets are replaced.

import { type AddressInfo, createServer } from 'node:net'
import { describe, expect, test } from 'vitest'
import { makeCertificate } from './certificates.ts'
import { Asked, openPool, tellOf } from './egress-client.ts'
import { startRawUpstream, startUpstream } from './upstream.ts'

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'
const LAST = 'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok'

/** One answer after the other; undefined breaks the connection off. */
async function startScripted(...answers: (string | undefined)[]) {
  return startRawUpstream((socket) => {
    const answer = answers.shift()
    if (answer === undefined) socket.resetAndDestroy()
    else socket.write(answer)
  })
}

describe('a connection is reused', () => {
  test('from its second request on', async () => {
    await using upstream = await startScripted(OK, OK, OK)
    const pool = openPool(upstream.origin)

    const told = [await tellOf(pool), await tellOf(pool), await tellOf(pool)]
    await pool.destroy()

    expect(told.map(({ isReused }) => isReused)).toEqual([false, true, true])
    expect(upstream.connections).toBe(1)
  })

  test('not when another has taken its place', async () => {
    await using upstream = await startScripted(OK, LAST, OK, OK)
    const pool = openPool(upstream.origin)

    const told = [await tellOf(pool), await tellOf(pool), await tellOf(pool), await tellOf(pool)]
    await pool.destroy()

    expect(told.map(({ isReused }) => isReused)).toEqual([false, true, false, true])
    expect(upstream.connections).toBe(2)
  })

  test('which requests that waited for it learn as well', async () => {
    await using upstream = await startScripted(OK, OK, OK)
    const pool = openPool(upstream.origin)

    const told = await Promise.all([tellOf(pool), tellOf(pool), tellOf(pool)])
    await pool.destroy()

    expect(told.map(({ isReused }) => isReused)).toEqual([false, true, true])
  })

  test('not by a request that waited for it when it was closed and replaced', async () => {
    await using upstream = await startScripted(LAST, OK)
    const pool = openPool(upstream.origin)

    const told = await Promise.all([tellOf(pool), tellOf(pool)])
    await pool.destroy()

    expect(told).toMatchObject([
      { text: 'ok', isReused: false, hasAnswerBegun: true },
      { text: 'ok', isReused: false, hasAnswerBegun: true },
    ])
    expect(upstream.connections).toBe(2)
  })

  test('not when the request is sent again', async () => {
    await using upstream = await startScripted(OK, undefined, OK)
    const pool = openPool(upstream.origin)
    await tellOf(pool)
    const asked = new Asked()
    pool.dispatch(asked.request)
    const first = { ...(await asked.ended) }

    const again = new Promise((resolve) => {
      asked.onResponseEnd = () => resolve(undefined)
    })
    pool.dispatchAgain(asked.request)
    await again
    const { isReused, hasAnswerBegun } = asked.request
    await pool.destroy()

    expect(first).toMatchObject({ isReused: true, hasAnswerBegun: false })
    expect({ isReused, hasAnswerBegun }).toEqual({ isReused: false, hasAnswerBegun: true })
    expect(upstream.connections).toBe(2)
  })
})

describe('an answer has begun', () => {
  test.each([
    ['not when the connection just breaks', undefined, false],
    ['with its first byte', 'H', true],
    ['with an empty line', '\r\n', true],
    ['with an interim answer', 'HTTP/1.1 100 Continue\r\n\r\n', true],
  ])('%s', async (_, answer, hasAnswerBegun) => {
    await using upstream = await startRawUpstream((socket) => {
      if (answer === undefined) socket.resetAndDestroy()
      else socket.end(answer)
    })
    const pool = openPool(upstream.origin)

    const told = await tellOf(pool)
    await pool.destroy()

    expect(told).toMatchObject({ error: expect.any(Error), isReused: false, hasAnswerBegun })
  })

  test('not by the answer before it on the same connection', async () => {
    await using upstream = await startScripted(OK, undefined)
    const pool = openPool(upstream.origin)

    const told = [await tellOf(pool), await tellOf(pool)]
    await pool.destroy()

    expect(told[1]).toMatchObject({
      error: expect.any(Error),
      isReused: true,
      hasAnswerBegun: false,
    })
    expect(upstream.seen.length).toBe(2)
  })

  test('not by what TLS says on its own: handshake, tickets, alerts', async () => {
    const certificate = makeCertificate('psp', { hosts: ['127.0.0.1'] })
    let requests = 0
    await using upstream = await startUpstream((_, response) => {
      requests += 1
      if (requests === 1) response.end('ok')
      else response.socket?.destroy()
    }, certificate)
    const pool = openPool(upstream.origin, { caPem: certificate.cert })

    const told = [await tellOf(pool), await tellOf(pool)]
    await pool.destroy()

    expect(told).toMatchObject([
      { error: undefined, isReused: false, hasAnswerBegun: true },
      { error: expect.any(Error), isReused: true, hasAnswerBegun: false },
    ])
  })
})

test('a request whose connection cannot be made is never started', async () => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  server.close()
  const pool = openPool(`http://127.0.0.1:${port}`)

  const told = await tellOf(pool)
  await pool.destroy()

  expect(told).toMatchObject({ wasStarted: false, isReused: false, hasAnswerBegun: false })
  expect(told.error?.code).toBe('ECONNREFUSED')
})
