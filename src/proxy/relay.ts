// The way back: what a relay does with the destination's answer, or with an error of ours. One for the same-shape
// ways (status, headers and body as they come), one for the envelope (all of it in one JSON answer).

import { type ServerResponse, STATUS_CODES } from 'node:http'
import { ERRORS, type ErrorDetails, errorBody, type Reason } from '../core/errors.ts'
import type { RequestId } from '../core/ids.ts'
import { connectionNames, isDroppedResponseHeader } from './headers.ts'

/** Facts of the exchange that every answer carries in headers. */
export type AnswerFacts = {
  readonly requestId: RequestId
  readonly upstreamStatus: number | undefined
  /** `card_number=1, card_cvc=1`, or empty. */
  readonly substitutions: string
  /** Then trying again is not safe, whatever the reason. */
  readonly mayHaveBeenSent: boolean
}

/** What the relay may ask of the exchange. */
export interface Flow {
  pause(): void
  resume(): void
}

export interface Relay {
  /** Names and values in turn, as they came. Throws when they cannot be passed on. */
  onHead(status: number, message: string, rawHeaders: readonly string[], facts: AnswerFacts): void
  onData(chunk: Buffer, flow: Flow): void
  onEnd(facts: AnswerFacts): 'whole' | 'cut'
  /** The answer broke off after its head. */
  onCut(): void
  /** Whether an error of ours can still be told. */
  readonly isHeadSent: boolean
}

export function sendError(
  response: ServerResponse,
  reason: Reason,
  facts: AnswerFacts,
  details: ErrorDetails | undefined,
  closes: boolean,
): void {
  const { status } = ERRORS[reason]
  const retrySafe = ERRORS[reason].retrySafe && !facts.mayHaveBeenSent
  const body = Buffer.from(
    JSON.stringify(errorBody(reason, facts.requestId, { details, retrySafe })),
  )
  const headers = [
    'Content-Type',
    'application/json; charset=utf-8',
    'Content-Length',
    String(body.length),
    'Cache-Control',
    'no-store',
    'Sallyport-Request-Id',
    facts.requestId,
    'Sallyport-Retry-Safe',
    String(retrySafe),
  ]
  if (closes) headers.push('Connection', 'close')
  // Said again: a head that could not be written leaves its own text behind.
  response.writeHead(status, STATUS_CODES[status] ?? '', headers)
  if (closes && !response.req.complete) endAfterRequest(response, body)
  else response.end(body)
}

/** What a caller may still send of a body that was refused, before its connection is closed. */
const LINGER_MS = 2000

/**
 * Closed with bytes of the request unread, a connection is reset, and a caller that is still writing may never see its
 * answer: they are read and thrown away first (RFC 9112, 9.6).
 */
function endAfterRequest(response: ServerResponse, body: Buffer): void {
  const { req } = response
  response.write(body)
  response.socket?.uncork() // now: what is read next may be no HTTP, and end the connection
  const end = () => response.end()
  const timer = setTimeout(end, LINGER_MS)
  response.once('close', () => clearTimeout(timer))
  req.once('end', end)
  req.resume()
}

/** The answer's headers without those of its hop. */
export function passedHeaders(rawHeaders: readonly string[]): string[] {
  let connection: string | undefined
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if ((rawHeaders[i] as string).toLowerCase() === 'connection') {
      connection =
        connection === undefined ? rawHeaders[i + 1] : `${connection}, ${rawHeaders[i + 1]}`
    }
  }
  const nominated = connectionNames(connection)
  const headers: string[] = []
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = (rawHeaders[i] as string).toLowerCase()
    if (isDroppedResponseHeader(name) || nominated?.has(name)) continue
    headers.push(rawHeaders[i] as string, rawHeaders[i + 1] as string)
  }
  return headers
}

export function ownHeaders(facts: AnswerFacts): string[] {
  const headers = ['Sallyport-Request-Id', facts.requestId]
  if (facts.upstreamStatus !== undefined) {
    headers.push('Sallyport-Upstream-Status', String(facts.upstreamStatus))
  }
  if (facts.substitutions !== '') headers.push('Sallyport-Substitutions', facts.substitutions)
  return headers
}

const STATUS_TEXT = /^[\t\x20-\x7e]*$/

export class SameShapeRelay implements Relay {
  readonly #response: ServerResponse
  readonly #isHead: boolean
  /** Bytes that are still to come, where the answer says how many. */
  #expected = -1
  isHeadSent = false

  constructor(response: ServerResponse, method: string) {
    this.#response = response
    this.#isHead = method === 'HEAD'
  }

  onHead(status: number, message: string, rawHeaders: readonly string[], facts: AnswerFacts): void {
    const headers = passedHeaders(rawHeaders)
    for (let i = 0; i < headers.length; i += 2) {
      if ((headers[i] as string).toLowerCase() === 'content-length')
        this.#expected = Number(headers[i + 1])
    }
    headers.push(...ownHeaders(facts))
    // A status text that Node would not write is left out; it says nothing that the status does not.
    const text = STATUS_TEXT.test(message) ? message : (STATUS_CODES[status] ?? '')
    this.#response.writeHead(status, text, headers)
    this.isHeadSent = true
  }

  onData(chunk: Buffer, flow: Flow): void {
    // The last chunk ends the answer, so that a small one leaves in one write with its head.
    this.#expected -= chunk.length
    if (this.#expected === 0) {
      this.#response.end(chunk)
      return
    }
    if (this.#response.destroyed) return // nobody is there to drain it
    if (!this.#response.write(chunk)) {
      flow.pause()
      this.#response.once('drain', () => flow.resume())
    }
  }

  onEnd(): 'whole' | 'cut' {
    if (this.#response.writableEnded) return 'whole'
    if (this.#expected > 0 && !this.#isHead && this.#response.statusCode !== 304) {
      this.onCut()
      return 'cut'
    }
    this.#response.end()
    return 'whole'
  }

  /** Destroyed, never ended as if it were whole. */
  onCut(): void {
    this.#response.destroy()
  }
}
