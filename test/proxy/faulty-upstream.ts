// A destination that misbehaves below HTTP: a play says what it does to its sockets and when, and it keeps what it read of
// every request, be it whole or not. And what a caller has to be told when the destination has failed.

import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { createServer as createTlsServer, type TlsOptions } from 'node:tls'
import { Worker } from 'node:worker_threads'
import { expect } from 'vitest'
import { ERRORS, type Reason } from '../../src/core/errors.ts'
import { proxyStatus } from '../../src/proxy/proxy-status.ts'
import { pause } from '../support/time.ts'
import { expectRefusal, listenOnNewPort, type Reply } from './upstream.ts'

/** A request as far as it was read. */
export type Arrival = {
  /** Counted in the order in which connections were accepted; the first is 0. */
  readonly connection: number
  /** Among the requests of its connection; the first is 0. */
  readonly place: number
  readonly method: string
  readonly url: string
  readonly body: string
  readonly isWhole: boolean
}

export type Play = {
  /** As soon as a connection is there, before any handshake. 'unread': nothing is ever read from it. */
  readonly onConnection?: (socket: Socket, connection: number) => unknown
  /** When the head has been read, and of the body what came with it. */
  readonly onHead?: (socket: Socket, request: Arrival) => unknown
  readonly onRequest?: (socket: Socket, request: Arrival) => unknown
}

export type FaultyUpstream = AsyncDisposable & {
  readonly origin: string
  readonly port: number
  /** Oldest first. */
  readonly requests: readonly Arrival[]
  /** What was read that did not become the head of a request. */
  readonly strays: readonly string[]
  /** Ever accepted. */
  readonly connections: number
  readonly openSockets: number
  /** From now on connections are refused; those that are there go on. */
  refuse(): void
  /** From now on connections are accepted and nothing is said on them, not even in TLS. */
  stall(): void
}

export async function startFaultyUpstream(play: Play, tls?: TlsOptions): Promise<FaultyUpstream> {
  const requests: Arrival[] = []
  const strays: string[] = []
  let connections = 0
  let isStalled = false
  const read = (socket: Socket, connection: number) => {
    const reader = new RequestReader(connection, requests, play)
    socket.on('error', () => {}) // resets are part of the play
    socket.on('data', (chunk: Buffer) => reader.take(socket, chunk.toString('latin1')))
    socket.once('close', () => {
      if (reader.unread !== '') strays.push(reader.unread)
    })
  }
  /** By the port of the other side, which a socket and the TLS over it have in common. */
  const accepted = new Map<number | undefined, { socket: Socket; connection: number }>()
  const tlsServer = createTlsServer(tls ?? {}, (secure) => {
    const under = accepted.get(secure.remotePort)
    if (under === undefined) return // it has gone already
    secure.resetAndDestroy = () => {
      under.socket.resetAndDestroy()
      return secure
    }
    read(secure, under.connection)
  })
  const server = createServer((socket) => {
    const connection = connections
    connections += 1
    const { remotePort } = socket
    accepted.set(remotePort, { socket, connection })
    socket.on('error', () => {})
    socket.once('close', () => {
      if (accepted.get(remotePort)?.socket === socket) accepted.delete(remotePort)
    })
    if (isStalled || play.onConnection?.(socket, connection) === 'unread') return
    if (tls === undefined) read(socket, connection)
    else tlsServer.emit('connection', socket)
  })
  const port = await listenOnNewPort(server)
  const closed = once(server, 'close')
  return {
    origin: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    port,
    requests,
    strays,
    get connections() {
      return connections
    },
    get openSockets() {
      return accepted.size
    },
    refuse() {
      server.close()
    },
    stall() {
      isStalled = true
    },
    async [Symbol.asyncDispose]() {
      server.close()
      for (const { socket } of accepted.values()) socket.destroy()
      await closed
    },
  }
}

/** Of one connection. What Sallyport sends is well formed: a head, then as many bytes as it says. */
class RequestReader {
  readonly #connection: number
  readonly #requests: Arrival[]
  readonly #play: Play
  #place = 0
  #present: { -readonly [Key in keyof Arrival]: Arrival[Key] } | undefined
  #missing = 0
  /** Not the head of a request, so far. */
  unread = ''

  constructor(connection: number, requests: Arrival[], play: Play) {
    this.#connection = connection
    this.#requests = requests
    this.#play = play
  }

  take(socket: Socket, text: string): void {
    let rest = text
    if (this.#present === undefined) {
      const read = this.unread + text
      const end = read.indexOf('\r\n\r\n')
      this.unread = end === -1 ? read : ''
      if (end === -1) return
      this.#begin(read.slice(0, end))
      rest = read.slice(end + 4)
      this.#takeBody(rest)
      this.#play.onHead?.(socket, this.#present as unknown as Arrival)
    } else {
      this.#takeBody(rest)
    }
    const present = this.#present as Arrival | undefined
    if (present?.isWhole !== true) return
    this.#present = undefined
    this.#play.onRequest?.(socket, present)
  }

  #begin(head: string): void {
    const [method = '', url = ''] = head.split(' ')
    const connection = this.#connection
    this.#present = { connection, place: this.#place, method, url, body: '', isWhole: false }
    this.#requests.push(this.#present)
    this.#place += 1
    this.#missing = Number(/^content-length: *([0-9]+)/im.exec(head)?.[1] ?? 0)
  }

  #takeBody(text: string): void {
    const present = this.#present
    if (present === undefined) return
    present.body += text
    this.#missing -= text.length
    present.isWhole = this.#missing <= 0
  }
}

export const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'

/** When the request has been read, this is its answer; the connection stays open. */
export const says = (text: string): Play => ({ onRequest: (socket) => socket.write(text) })

/** This is the last that the connection carries. */
export const saysAndEnds = (text: string): Play => ({ onRequest: (socket) => socket.end(text) })

/** Read by the other side before the reset takes it away. */
export const saysAndResets = (text: string): Play => ({
  onRequest: (socket) =>
    socket.write(text, () => void pause(30).then(() => socket.resetAndDestroy())),
})

/** Byte by byte. */
export function drip(socket: Socket, text: string, everyMs: number): void {
  let at = 0
  socket.setNoDelay(true)
  const timer = setInterval(() => {
    socket.write(text.charAt(at))
    at += 1
    if (at === text.length) clearInterval(timer)
  }, everyMs)
  socket.once('close', () => clearInterval(timer))
}

/** Byte by byte, after what comes at once. */
export const drips = (atOnce: string, text: string, everyMs: number): Play => ({
  onRequest: (socket) => {
    if (atOnce !== '') socket.write(atOnce)
    drip(socket, text, everyMs)
  },
})

/** A port where a connection is never made, nor refused: more wait there than the system keeps for it. */
export async function startFullPort(): Promise<AsyncDisposable & { origin: string }> {
  const gate = new Int32Array(new SharedArrayBuffer(4))
  const worker = new Worker(
    `const { parentPort, workerData } = require('node:worker_threads')
     const server = require('node:net').createServer()
     server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
       parentPort.postMessage(server.address().port)
       setImmediate(() => { Atomics.wait(workerData, 0, 0); process.exit() }) // accepts nobody
     })`,
    { eval: true, workerData: gate },
  )
  const [port] = (await once(worker, 'message')) as [number]
  const waiting = Array.from({ length: 8 }, () => connect(port, '127.0.0.1'))
  for (const socket of waiting) socket.on('error', () => {})
  await Promise.race(waiting.map((socket) => once(socket, 'connect')))
  return {
    origin: `http://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      for (const socket of waiting) socket.destroy()
      Atomics.store(gate, 0, 1)
      Atomics.notify(gate, 0)
      await once(worker, 'exit')
    },
  }
}

/** An error of ours for this reason, as every client has to understand it: may it be sent again, or not? */
export function expectFault(reply: Reply, reason: Reason): void {
  expectRefusal(reply, reason)
  expect(reply.headers['proxy-status']).toBe(proxyStatus(reason))
  const shouldRetry = ERRORS[reason].retrySafe ? undefined : 'false'
  expect(reply.headers['stripe-should-retry']).toBe(shouldRetry)
}
