// What a request is told about the connection it runs on: a kept-alive one or its own, and whether any of the answer
// has come. It decides whether a request may be sent once more, so it has to be right also when sockets are replaced.

import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { Dispatcher } from 'undici'
import { describe, expect, test } from 'vitest'
import { type Cidr, parseCidr } from '../../src/core/cidr.ts'
import {
  type Connection,
  type ConnectionListener,
  createClient,
} from '../../src/proxy/egress/connection.ts'
import { createEgress, type EgressPool } from '../../src/proxy/egress/egress.ts'
import type { Origin } from '../../src/proxy/origin.ts'
import { makeCertificate } from './certificates.ts'
import { startRawUpstream, startUpstream } from './upstream.ts'

const LOOPBACK = [parseCidr('127.0.0.0/8') as Cidr]

function open(origin: string, caPem?: string): EgressPool {
  return createEgress({ allowPrivate: LOOPBACK, allowHttp: true, proxy: undefined }).openPool(
    origin as Origin,
    {
      caPem,
      client: undefined,
      pinSha256: undefined,
      connections: 1,
      connectMs: 5000,
      headersMs: 5000,
      bodyMs: 5000,
    },
  )
}

type Told = {
  /** How it went, asked at its end. */
  outcome: 'answered' | 'failed'
  isReused: boolean
  hasAnswerBegun: boolean
  /** Connections that the request was given to before it was started. */
  given: number
}

function ask(dispatcher: Dispatcher, method = 'POST'): Promise<Told> {
  return new Promise((resolve) => {
    let connection: Connection | undefined
    let given = 0
    const end = (outcome: Told['outcome']) => {
      const { isReused = false, hasAnswerBegun = false } = connection ?? {}
      resolve({ outcome, isReused, hasAnswerBegun, given })
    }
    const handler: ConnectionListener = {
      onConnection(to) {
        connection = to
        given += 1
      },
      onRequestStart: () => connection?.onRequestStart(),
      onResponseStart() {},
      onResponseData() {},
      onResponseEnd: () => end('answered'),
      onResponseError: () => end('failed'),
    }
    dispatcher.dispatch({ method, path: '/', body: '{}' }, handler)
  })
}

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
    const pool = open(upstream.origin)

    const told = [await ask(pool), await ask(pool), await ask(pool)]
    await pool.destroy()

    expect(told.map(({ isReused }) => isReused)).toEqual([false, true, true])
    expect(upstream.connections).toBe(1)
  })

  test('not when another has taken its place', async () => {
    await using upstream = await startScripted(OK, LAST, OK, OK)
    const pool = open(upstream.origin)

    const told = [await ask(pool), await ask(pool), await ask(pool), await ask(pool)]
    await pool.destroy()

    expect(told.map(({ isReused }) => isReused)).toEqual([false, true, false, true])
    expect(upstream.connections).toBe(2)
  })

  test('which requests that waited for it learn as well', async () => {
    await using upstream = await startScripted(OK, OK, OK)
    const pool = open(upstream.origin)

    const told = await Promise.all([ask(pool), ask(pool), ask(pool)])
    await pool.destroy()

    expect(told.map(({ isReused }) => isReused)).toEqual([false, true, true])
    expect(told.map(({ given }) => given)).toEqual([1, 1, 1])
  })

  test('not by a request that was given to it before its socket was closed and replaced', async () => {
    await using upstream = await startScripted(LAST, OK)
    // Without a pool, a client takes a second request while the first is running.
    const client = createClient(new URL(upstream.origin), {}, (_target, callback) => {
      const socket: Socket = connect(upstream.port, '127.0.0.1', () => callback(null, socket))
    })

    const told = await Promise.all([ask(client), ask(client)])
    await client.destroy()

    expect(told).toEqual([
      { outcome: 'answered', isReused: false, hasAnswerBegun: true, given: 1 },
      { outcome: 'answered', isReused: false, hasAnswerBegun: true, given: 1 },
    ])
    expect(upstream.connections).toBe(2)
  })
})

describe('an answer has begun', () => {
  test.each([
    ['not when the connection just breaks', [undefined], false],
    ['with its first byte', ['H'], true],
    ['with an interim answer', ['HTTP/1.1 100 Continue\r\n\r\n'], true],
  ])('%s', async (_, answers, hasAnswerBegun) => {
    await using upstream = await startRawUpstream((socket) => {
      const answer = answers[0]
      if (answer === undefined) socket.resetAndDestroy()
      else socket.end(answer)
    })
    const pool = open(upstream.origin)

    const told = await ask(pool)
    await pool.destroy()

    expect(told).toEqual({ outcome: 'failed', isReused: false, hasAnswerBegun, given: 1 })
  })

  test('not by the answer before it on the same connection', async () => {
    await using upstream = await startScripted(OK, undefined)
    const pool = open(upstream.origin)

    const told = [await ask(pool), await ask(pool)]
    await pool.destroy()

    expect(told[1]).toEqual({ outcome: 'failed', isReused: true, hasAnswerBegun: false, given: 1 })
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
    const pool = open(upstream.origin, certificate.cert)

    const told = [await ask(pool), await ask(pool)]
    await pool.destroy()

    expect(told.map(({ outcome }) => outcome)).toEqual(['answered', 'failed'])
    expect(told.map(({ isReused }) => isReused)).toEqual([false, true])
    expect(told.map(({ hasAnswerBegun }) => hasAnswerBegun)).toEqual([true, false])
  })
})

test('a request whose connection cannot be made was given to one and never started', async () => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  server.close()
  const pool = open(`http://127.0.0.1:${port}`)

  const told = await ask(pool)
  await pool.destroy()

  expect(told).toEqual({ outcome: 'failed', isReused: false, hasAnswerBegun: false, given: 1 })
})
