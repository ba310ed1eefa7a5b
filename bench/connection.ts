// The caller's end of one kept-alive connection: a whole request out, a whole answer in, one at a time.

import { once } from 'node:events'
import { connect as connectPlain, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { MessageReader } from './http-message.ts'

/** Where requests go. `ca`: with TLS, whose certificate is believed. */
export type Target = { readonly origin: string; readonly ca: string | undefined }

/** One connection's side of a case: what it sends, and whether an answer is right. */
export interface Caller {
  /** The bytes of a whole request. The Buffer is the caller's own, and written over at the next call. */
  next(): Buffer
  isRight(status: string, body: Buffer): boolean
}

const CONNECT_TIMEOUT_MS = 10_000

export async function openSocket({ origin, ca }: Target): Promise<Socket> {
  const { protocol, hostname, port } = new URL(origin)
  const to = { host: hostname, port: Number(port), noDelay: true }
  const isTls = protocol === 'https:'
  const socket = isTls ? connectTls({ ...to, ca, ALPNProtocols: ['http/1.1'] }) : connectPlain(to)
  await once(socket, isTls ? 'secureConnect' : 'connect', {
    signal: AbortSignal.timeout(CONNECT_TIMEOUT_MS),
  })
  return socket
}

/** `HTTP/1.1 200 OK` */
export const statusOf = (head: string) => head.slice(9, 12)

export class Connection {
  readonly #socket: Socket
  readonly #caller: Caller
  /** Of the request under way, by the clock of `performance.now`; undefined when there is none. */
  sentAtMs: number | undefined

  /** `onAnswer` once for every `send`; `onEnd` when the connection breaks or what comes is no answer. */
  constructor(
    socket: Socket,
    caller: Caller,
    listener: {
      /** `wrong`: what came, when it is not right. */
      onAnswer(connection: Connection, wrong: string | undefined): void
      onEnd(why: string): void
    },
  ) {
    this.#socket = socket
    this.#caller = caller
    const reader = new MessageReader((head, body) => {
      const isRight = this.sentAtMs !== undefined && caller.isRight(statusOf(head), body)
      listener.onAnswer(this, isRight ? undefined : `${head}\r\n\r\n${body}`)
    })
    socket.on('data', (chunk: Buffer) => {
      try {
        reader.read(chunk)
      } catch (error) {
        listener.onEnd(String(error))
        socket.destroy()
      }
    })
    socket.on('error', (error) => listener.onEnd(String(error)))
    socket.on('close', () => listener.onEnd('a connection was closed'))
  }

  send(): void {
    this.sentAtMs = performance.now()
    this.#socket.write(this.#caller.next())
  }

  close(): void {
    this.#socket.removeAllListeners('close')
    this.#socket.destroy()
  }
}

/** One request on a connection of its own. */
export async function exchange(
  target: Target,
  request: Buffer,
): Promise<{ head: string; body: Buffer }> {
  const socket = await openSocket(target)
  try {
    return await new Promise((resolve, reject) => {
      const reader = new MessageReader((head, body) => resolve({ head, body: Buffer.from(body) }))
      socket.setTimeout(CONNECT_TIMEOUT_MS, () => reject(new Error('there was no answer in time')))
      socket.on('data', (chunk: Buffer) => {
        try {
          reader.read(chunk)
        } catch (error) {
          reject(error)
        }
      })
      socket.on('error', reject)
      socket.on('close', () => reject(new Error('the connection was closed without an answer')))
      socket.write(request)
    })
  } finally {
    socket.destroy()
  }
}

/** Names are compared without regard to case. */
export function headerOf(head: string, name: string): string | undefined {
  const start = `\r\n${name.toLowerCase()}:`
  const at = head.toLowerCase().indexOf(start)
  if (at === -1) return undefined
  const end = head.indexOf('\r\n', at + start.length)
  return head.slice(at + start.length, end === -1 ? undefined : end).trim()
}
