// A destination that records what arrived of every request, also of those that never ended, and a caller that sends a
// body piece by piece. For tests about bodies that are on their way.

import { once } from 'node:events'
import {
  createServer,
  request as httpRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http'
import type { Socket } from 'node:net'
import { expect } from 'vitest'
import { ERRORS, type Reason } from '../../src/core/errors.ts'
import { pause } from '../support/time.ts'
import { eventually, listenOnNewPort, NO_REPLY, type Reply, readReply } from './upstream.ts'

export type Recorded = {
  readonly method: string
  readonly url: string
  readonly rawHeaders: readonly string[]
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
  /** Its end was seen: the last chunk, or as many bytes as were announced. */
  readonly isWhole: boolean
  /** Nothing more will come of it. */
  readonly isOver: boolean
}

export type Recorder = AsyncDisposable & {
  readonly origin: string
  readonly requests: readonly Recorded[]
  connections: number
  /** The last request, once nothing more will come of it. */
  lastOver(): Promise<Recorded>
}

type Play = {
  /** When the head is there, instead of reading the body. */
  readonly onHead?: (request: IncomingMessage, response: ServerResponse) => unknown
  /** When the body is there; answers 200 otherwise. */
  readonly onEnd?: (request: IncomingMessage, response: ServerResponse) => unknown
}

export async function startRecorder(play: Play = {}): Promise<Recorder> {
  const requests: Recorded[] = []
  /** Open connections, and whom to tell of their end: of a request that was answered early, Node tells nothing. */
  const sockets = new Map<Socket, (() => void)[]>()
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    const { method = '', url = '', rawHeaders, headers } = request
    let isOver = false
    requests.push({
      method,
      url,
      rawHeaders,
      headers,
      get body() {
        return Buffer.concat(chunks)
      },
      get isWhole() {
        return request.complete
      },
      get isOver() {
        return isOver
      },
    })
    const onOver = () => {
      isOver = true
    }
    request.once('close', onOver)
    sockets.get(request.socket)?.push(onOver)
    request.on('error', () => {}) // broken off
    if (play.onHead !== undefined) {
      play.onHead(request, response)
      return
    }
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      onOver()
      if (play.onEnd === undefined) response.end('{"ok":true}')
      else play.onEnd(request, response)
    })
  })
  const recorder = {
    origin: '',
    requests,
    connections: 0,
    async lastOver() {
      const last = await eventually(
        () => requests.at(-1),
        (request) => request?.isOver === true,
      )
      if (last?.isOver !== true) throw new Error('no request is over')
      return last
    },
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close')
      server.close()
      for (const socket of sockets.keys()) socket.destroy()
      await closed
    },
  }
  server.on('connection', (socket) => {
    recorder.connections += 1
    sockets.set(socket, [])
    socket.on('error', () => {})
    socket.once('close', () => {
      for (const tell of sockets.get(socket) ?? []) tell()
      sockets.delete(socket)
    })
  })
  recorder.origin = `http://127.0.0.1:${await listenOnNewPort(server)}`
  return recorder
}

export type Piece = string | Buffer

/** A body on its way, piece by piece. */
export type Sending = {
  /** Settles when the piece has been handed to the system. */
  write(piece: Piece): Promise<void>
  /** The connection is broken off. */
  leave(): void
  end(): void
  /** Of an answer that never came the status is 0. */
  readonly reply: Promise<Reply>
}

/** Without a Content-Length among the headers the body goes in chunks. */
export function startSending(
  origin: string,
  method: string,
  path: string,
  headers: Record<string, string>,
): Sending {
  const request = httpRequest(origin, { method, path, headers, agent: false })
  request.setNoDelay(true)
  request.flushHeaders()
  request.on('error', () => {}) // told by the reply
  const reply = new Promise<Reply>((resolve) => {
    request.on('error', () => resolve(NO_REPLY))
    request.on('response', (response) => resolve(readReply(response)))
  })
  return {
    write: (piece) =>
      new Promise((resolve) => {
        if (request.destroyed) resolve()
        else request.write(piece, () => resolve())
      }),
    leave: () => request.destroy(),
    end: () => request.end(),
    reply,
  }
}

/** Each piece by itself, in its own time, so that it is read by itself. */
export async function sendPieces(
  origin: string,
  path: string,
  headers: Record<string, string>,
  pieces: readonly Piece[],
  pauseMs = 1,
): Promise<Reply> {
  const sending = startSending(origin, 'POST', path, headers)
  for (const piece of pieces) {
    await sending.write(piece)
    await pause(pauseMs)
  }
  sending.end()
  return sending.reply
}

/** An error of ours for this reason; it may not be sent again, whatever the reason, once a part has left. */
export function expectRefusedUnsafe(reply: Reply, reason: Reason): void {
  expect(reply.json?.error?.reason ?? `${reply.status} ${reply.text}`).toBe(reason)
  expect(reply.status).toBe(ERRORS[reason].status)
  expect(reply.json.error.retry_safe).toBe(false)
  expect(reply.headers['sallyport-retry-safe']).toBe('false')
  expect(reply.headers['sallyport-upstream-status']).toBeUndefined()
}
