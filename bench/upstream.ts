// The payment processor at the end of every case. It compares every body it gets, also under load, so that a contender
// which is fast because it is wrong is found out. Not node:http: that alone costs about what a contender does, and on
// the one core that it shares with the load it would be what is measured.

import { once } from 'node:events'
import {
  type AddressInfo,
  createServer as createPlainServer,
  type Server,
  type Socket,
} from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import { MessageReader } from './http-message.ts'

/** About 250 bytes. */
export const ANSWER = JSON.stringify({
  id: 'pay_7f3kq2nv5b6ehm4twzj1x0c8ra',
  status: 'Authorized',
  approved: true,
  amount: 6540,
  currency: 'EUR',
  response_code: '10000',
  auth_code: '643381',
  reference: 'order-2026-000117',
  processed_on: '2026-05-04T10:11:12Z',
  source: { scheme: 'Visa', last4: '4242' },
})

export type Upstream = {
  readonly origin: string
  /** From now on this says which bodies are right, and the counts start at zero. */
  expect(isRight: (body: Buffer) => boolean): void
  readonly requests: number
  readonly wrongBodies: number
  /** The first request since `expect`. */
  readonly first: { readonly head: string; readonly body: Buffer } | undefined
  close(): void
}

/** For paths with an answer of their own; false: it is a payment like all others. */
export type AnswerOtherwise = (path: string, socket: Socket) => boolean

/** A head like those of PSPs; the date stands still so that answers can be compared whole. */
export function answerBytes(body: string | Buffer, type = 'application/json'): Buffer {
  return Buffer.concat([
    Buffer.from(
      `HTTP/1.1 200 OK\r\nContent-Type: ${type}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n` +
        'Date: Mon, 04 May 2026 10:11:12 GMT\r\nConnection: keep-alive\r\n\r\n',
    ),
    Buffer.from(body),
  ])
}

export async function startUpstream(
  options: {
    readonly tls?: { readonly cert: string; readonly key: string }
    readonly answerOtherwise?: AnswerOtherwise
  } = {},
): Promise<Upstream> {
  let isRight = (_body: Buffer) => true
  let requests = 0
  let wrongBodies = 0
  let first: { head: string; body: Buffer } | undefined
  const answer = answerBytes(ANSWER)
  const { tls, answerOtherwise } = options
  const sockets = new Set<Socket>()

  const serve = (socket: Socket) => {
    sockets.add(socket)
    const reader = new MessageReader((head, body) => {
      if (answerOtherwise?.(pathOf(head), socket)) return
      requests += 1
      if (!isRight(body)) wrongBodies += 1
      if (requests === 1) first = { head, body: Buffer.from(body) }
      socket.write(answer)
    })
    socket.setNoDelay(true)
    socket.on('data', (chunk: Buffer) => {
      try {
        reader.read(chunk)
      } catch {
        socket.destroy() // the contender sees it, and so does who called it
      }
    })
    socket.on('error', () => {}) // contenders are ended, and their connections with them
    socket.on('close', () => sockets.delete(socket))
  }
  const server: Server =
    tls === undefined
      ? createPlainServer(serve)
      : createTlsServer({ ...tls, ALPNProtocols: ['http/1.1'] }, serve)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  return {
    origin: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    expect(next) {
      isRight = next
      requests = 0
      wrongBodies = 0
      first = undefined
    },
    get requests() {
      return requests
    },
    get wrongBodies() {
      return wrongBodies
    },
    get first() {
      return first
    },
    close() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}

const pathOf = (head: string) => head.slice(head.indexOf(' ') + 1, head.indexOf(' HTTP/'))
