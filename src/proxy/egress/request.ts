// A request on its way out, as the destination will read it: request line, Host, and only such headers as cannot be
// anything else than that. What frames it is written here and nowhere else (RFC 9112, 6).

import { FIELD_VALUE, TOKEN } from '../../core/field-syntax.ts'
import type { Origin } from '../origin.ts'

/** Whoever sends a request is told what becomes of it. */
export interface RequestHandler {
  /**
   * Right before it is handed to a socket: from here on, the destination may see it. False: it is not to be sent any
   * more, and nothing else is told about it.
   */
  onRequestStart(): boolean
  /** The final answer; interim ones are passed over. Names and values in turn. */
  onResponseStart(status: number, message: string, headers: string[]): void
  /** May still be called after `pause`, with what had been read by then. The chunk is the handler's to keep. */
  onResponseData(chunk: Buffer): void
  /** Last, this or `onResponseError`. */
  onResponseEnd(): void
  /** Also of a request that was never started. */
  onResponseError(error: Error): void
}

/** The connection that a request is on. */
export interface Carrier {
  abort(error: Error): void
  pause(): void
  resume(): void
}

export type RequestParts = {
  readonly origin: Origin
  readonly method: string
  /** Path and query. */
  readonly target: string
  /** Names and values in turn. A Content-Length is for bodies that stream. */
  readonly headers: readonly string[]
  /** A Buffer must stay as it is until the request has ended and is not being written. */
  readonly body: Buffer | AsyncIterable<Buffer> | undefined
}

/** It would not be read as what it is meant to be. Our own mistake, so it says nothing of what was in it. */
export class InvalidRequest extends Error {}

const NOT_IN_TARGET = /[^\x21-\xff]/
const DIGITS = /^[0-9]{1,15}$/

const FRAMING: ReadonlySet<string> = new Set([
  'host',
  'connection',
  'keep-alive',
  'transfer-encoding',
  'upgrade',
  'expect',
  'trailer',
  'te',
])
const LONGEST_FRAMING = 17

/** Methods that usually have a body (RFC 9110, 8.6). */
const WITH_BODY: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH'])

export class EgressRequest {
  readonly handler: RequestHandler
  readonly isHead: boolean
  /** All of it, or of a body that streams without the line that frames it. A latin1 string. */
  readonly head: string
  readonly body: Buffer | undefined
  readonly pieces: AsyncIterable<Buffer> | undefined
  /** What a body that streams has to come to. */
  readonly declaredBytes: number | undefined
  /** Some read no body where they expect none, and would take it for the next request. */
  readonly isLast: boolean
  /** It is on a connection that has carried another before. */
  isReused = false
  /** A byte has been read since it was started, be it of an interim answer. */
  hasAnswerBegun = false
  /** Which still needs its body. */
  carrier: Carrier | undefined

  /** Throws InvalidRequest. */
  constructor({ origin, method, target, headers, body }: RequestParts, handler: RequestHandler) {
    if (!TOKEN.test(method)) throw new InvalidRequest('method')
    if (!target.startsWith('/') || NOT_IN_TARGET.test(target)) throw new InvalidRequest('target')
    this.handler = handler
    this.isHead = method === 'HEAD'
    const isWhole = body === undefined || Buffer.isBuffer(body)
    this.body = isWhole && body !== undefined && body.length > 0 ? body : undefined
    this.pieces = isWhole ? undefined : body
    const host = origin.slice(origin.indexOf('//') + 2)
    let head = `${method} ${target} HTTP/1.1\r\nhost: ${host}\r\nconnection: ${this.isHead ? 'close' : 'keep-alive'}\r\n`
    let declaredBytes: number | undefined
    for (let i = 0; i < headers.length; i += 2) {
      const name = headers[i] as string
      const value = headers[i + 1]
      if (value === undefined || !FIELD_VALUE.test(value) || !TOKEN.test(name)) {
        throw new InvalidRequest('header')
      }
      if (name.length <= LONGEST_FRAMING) {
        const lower = name.toLowerCase()
        if (FRAMING.has(lower)) throw new InvalidRequest('framing')
        if (lower === 'content-length') {
          if (declaredBytes !== undefined || !DIGITS.test(value)) throw new InvalidRequest('length')
          declaredBytes = Number(value)
          continue
        }
      }
      head += `${name}: ${value}\r\n`
    }
    const usuallyHasBody = WITH_BODY.has(method)
    const hasBody = this.pieces !== undefined || this.body !== undefined
    this.isLast = this.isHead || (hasBody && !usuallyHasBody)
    this.declaredBytes = declaredBytes
    if (this.pieces === undefined) {
      const length = this.body?.length ?? 0
      if (declaredBytes !== undefined && declaredBytes !== length) {
        throw new InvalidRequest('length')
      }
      head += length > 0 || usuallyHasBody ? `content-length: ${length}\r\n\r\n` : '\r\n'
    }
    this.head = head
  }

  /** Its connection is closed, and its handler told so; nothing happens once it has ended. */
  abort(error: Error): void {
    this.carrier?.abort(error)
  }

  pause(): void {
    this.carrier?.pause()
  }

  resume(): void {
    this.carrier?.resume()
  }

  /** Its body has not left yet, and must stay as it is; also when its answer is over. */
  get isWriting(): boolean {
    return this.carrier !== undefined
  }
}
