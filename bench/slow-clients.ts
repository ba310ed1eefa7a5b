// Callers that take seconds for what others do at once: most send a request in small pieces, one of fifty reads a large
// answer slowly. They are not measured; what they do to others is.

import type { Socket } from 'node:net'
import { openSocket, statusOf, type Target } from './connection.ts'
import { MessageReader } from './http-message.ts'
import { seconds } from './load.ts'
import { ANSWER, type AnswerOtherwise, answerBytes } from './upstream.ts'

const TICK_MS = 50
/** A connection does something this often. */
const TICKS_PER_STEP = 10
/** So a request takes ten seconds: none is refused for being slow. */
const PIECES = 20
const ONE_READER_OF = 50
/** The kernel's buffers have filled by then. */
const SETTLE_S = 3
const CONNECTING = 64

/** At the upstream, so that these are not counted among those that are measured. */
export const SLOW_PATHS = { send: '/payments/slowly', read: '/payments/statement' } as const

/** More than the kernel keeps for a caller that does not read. */
const STATEMENT = answerBytes(Buffer.alloc(16 * 1024 * 1024, ' '), 'text/plain')

export const answerSlowClients: AnswerOtherwise = (path, socket) => {
  switch (path) {
    case SLOW_PATHS.send:
      socket.write(answerBytes(ANSWER))
      return true
    case SLOW_PATHS.read:
      socket.write(STATEMENT)
      return true
    default:
      return false
  }
}

export type SlowRequests = { readonly send: Buffer; readonly read: Buffer }

export type SlowClients = {
  /** Rejects as soon as one of them is refused or cut. */
  readonly failed: Promise<never>
  stop(): void
}

/** Settles when the first of them have been answered. */
export async function startSlowClients(
  target: Target,
  { send, read }: SlowRequests,
  count: number,
): Promise<SlowClients> {
  const { promise: failed, reject: fail } = Promise.withResolvers<never>()
  failed.catch(() => {}) // told by who waits
  const { promise: established, resolve: establish } = Promise.withResolvers<void>()
  let answers = 0
  const sockets: Socket[] = []

  /** What a connection does at its turn. */
  const sender = (socket: Socket) => {
    const size = Math.ceil(send.length / PIECES)
    let at = 0
    let next = size * Math.ceil(Math.random() * PIECES) // so that not all end at the same time
    const reader = new MessageReader((head, body) => {
      if (statusOf(head) !== '200' || body.toString() !== ANSWER) {
        fail(new Error(`a slow request was answered with ${statusOf(head)}`))
      }
      answers += 1
      if (answers > count / 10) establish()
      at = 0
    })
    socket.on('data', (chunk: Buffer) => reader.read(chunk))
    return () => {
      if (at >= send.length) return
      socket.write(send.subarray(at, at + next))
      at += next
      next = size
    }
  }
  const slowReader = (socket: Socket) => {
    let left = 0
    socket.on('data', (chunk: Buffer) => {
      left -= chunk.length
      socket.pause()
    })
    return () => {
      if (left <= 0) {
        left = STATEMENT.length
        socket.write(read)
      }
      socket.resume()
    }
  }

  const steps: (() => void)[] = []
  while (sockets.length < count) {
    const now = Math.min(CONNECTING, count - sockets.length)
    for (const socket of await Promise.all(Array.from({ length: now }, () => openSocket(target)))) {
      socket.on('error', (error) => fail(error))
      socket.on('close', () => fail(new Error('a slow connection was closed')))
      const isReader = sockets.length % ONE_READER_OF === 0
      steps.push(isReader ? slowReader(socket) : sender(socket))
      sockets.push(socket)
    }
  }
  let tick = 0
  const timer = setInterval(() => {
    for (let n = tick % TICKS_PER_STEP; n < steps.length; n += TICKS_PER_STEP) steps[n]?.()
    tick += 1
  }, TICK_MS)

  const stop = () => {
    clearInterval(timer)
    for (const socket of sockets) {
      socket.removeAllListeners('close')
      socket.destroy()
    }
  }
  try {
    await Promise.race([established, failed])
    await Promise.race([seconds(SETTLE_S), failed])
  } catch (error) {
    stop()
    throw error
  }
  return { failed, stop }
}
