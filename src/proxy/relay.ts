// The way back: what a relay does with the destination's answer, or with an error of ours. One for the same-shape
// ways (status, headers and body as they come), one for the envelope (all of it in one JSON answer).

import { ERRORS, type ErrorDetails, errorBody, type Reason } from '../core/errors.ts'
import type { RequestId } from '../core/ids.ts'
import type { MaybePromise } from '../core/maybe-promise.ts'
import type { Call } from '../http/call.ts'
import { connectionNames, isDroppedResponseHeader } from './headers.ts'
import { proxyStatus } from './proxy-status.ts'
import { headerValue, removeHeader, removeHeaders } from './raw-headers.ts'

/** Facts of the exchange that every answer carries in headers. */
export type AnswerFacts = {
  readonly requestId: RequestId
  readonly upstreamStatus: number | undefined
  /** `card_number=1, card_cvc=1`, or empty. */
  readonly substitutions: string
  /** Places in the answer that were masked, as far as it is known when the head goes out. */
  readonly redactions: number
  /** What was answered to an earlier request under the same idempotency key. */
  readonly isReplay: boolean
  /** `vault;dur=0.1, upstream;dur=83`, or empty. */
  readonly serverTiming: string
  /** Then trying again is not safe, whatever the reason. */
  readonly mayHaveBeenSent: boolean
  readonly retryAfterSeconds: number | undefined
}

/** Of a request that has not come far. */
export function factsOf(requestId: RequestId): AnswerFacts {
  return {
    requestId,
    upstreamStatus: undefined,
    substitutions: '',
    redactions: 0,
    isReplay: false,
    serverTiming: '',
    mayHaveBeenSent: false,
    retryAfterSeconds: undefined,
  }
}

/** The head of an answer, as a relay is told it. */
export type AnswerHead = {
  readonly status: number
  readonly message: string
  /** Names and values in turn. */
  readonly headers: readonly string[]
  readonly facts: AnswerFacts
}

/** What the relay may ask of the exchange. */
export interface Flow {
  pause(): void
  resume(): void
}

/** Of what is there as a whole. */
export const NO_FLOW: Flow = { pause() {}, resume() {} }

/** The answer must not be passed on: it repeats what it must not, or cannot be searched for that. */
export class AnswerBlocked extends Error {}

/** What happens to an answer on its way back: the last one writes it to the caller, others stand before it. */
export interface Relay {
  /** Names and values in turn, as they came. Throws when they cannot be passed on: AnswerBlocked, or as Node does. */
  onHead(status: number, message: string, rawHeaders: readonly string[], facts: AnswerFacts): void
  /** Throws AnswerBlocked. */
  onData(chunk: Buffer, flow: Flow): void
  /** Throws, or rejects with, AnswerBlocked. */
  onEnd(): MaybePromise<'whole' | 'cut'>
  /** The answer broke off after its head. */
  onCut(): void
  /** Whether an error of ours can no longer be told. */
  readonly isHeadSent: boolean
}

export function sendError(
  call: Call,
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
    ...jsonHeaders(body),
    ...ownHeaders({ ...facts, upstreamStatus: undefined, substitutions: '' }),
    'Sallyport-Retry-Safe',
    String(retrySafe),
    'Proxy-Status',
    proxyStatus(reason),
  ]
  // Stripe's SDKs go by this one, and would otherwise try again what may have been a payment.
  if (!retrySafe) headers.push('Stripe-Should-Retry', 'false')
  if (facts.retryAfterSeconds !== undefined) {
    headers.push('Retry-After', String(facts.retryAfterSeconds))
  }
  if (closes) headers.push('Connection', 'close')
  call.writeHead(status, undefined, headers)
  if (closes && !call.isRead) call.endUnread(body)
  else call.end(body)
}

/** An answer of our own that is no error: JSON with status 200. */
export function sendOwn(call: Call, body: Buffer, facts: AnswerFacts): void {
  call.writeHead(200, undefined, [...jsonHeaders(body), ...ownHeaders(facts)])
  call.end(body)
}

/** Of an answer that we wrote. */
function jsonHeaders(body: Buffer): string[] {
  return [
    'Content-Type',
    'application/json; charset=utf-8',
    'Content-Length',
    String(body.length),
    'Cache-Control',
    'no-store',
  ]
}

/** The answer's headers without those of its hop. */
export function passedHeaders(rawHeaders: readonly string[]): string[] {
  const headers: string[] = []
  let connection: string | undefined
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const raw = rawHeaders[i] as string
    const name = raw.toLowerCase()
    const value = rawHeaders[i + 1] as string
    if (name === 'connection') {
      connection = connection === undefined ? value : `${connection}, ${value}`
    } else if (!isDroppedResponseHeader(name)) {
      headers.push(raw, value)
    }
  }
  const nominated = connectionNames(connection)
  if (nominated !== undefined) removeHeaders(headers, (name) => nominated.has(name.toLowerCase()))
  return headers
}

export function ownHeaders(facts: AnswerFacts): string[] {
  const headers = ['Sallyport-Request-Id', facts.requestId]
  if (facts.upstreamStatus !== undefined) {
    headers.push('Sallyport-Upstream-Status', String(facts.upstreamStatus))
  }
  if (facts.substitutions !== '') headers.push('Sallyport-Substitutions', facts.substitutions)
  if (facts.redactions > 0) headers.push('Sallyport-Redactions', String(facts.redactions))
  if (facts.isReplay) headers.push('Sallyport-Idempotent-Replay', 'true')
  if (facts.serverTiming !== '') headers.push('Server-Timing', facts.serverTiming)
  return headers
}

/** Whatever their head says (RFC 9112, 6.3). */
export function hasNoBody(status: number): boolean {
  return status === 204 || status === 304
}

const STATUS_TEXT = /^[\t\x20-\x7e]*$/

export class SameShapeRelay implements Relay {
  readonly #call: Call
  readonly #isHead: boolean
  /** Bytes that are still to come, where the answer says how many. */
  #expected = -1
  #hasBody = true
  #isDraining = false
  isHeadSent = false

  constructor(call: Call) {
    this.#call = call
    this.#isHead = call.method === 'HEAD'
  }

  onHead(status: number, message: string, rawHeaders: readonly string[], facts: AnswerFacts): void {
    const headers = passedHeaders(rawHeaders)
    this.#hasBody = !this.#isHead && !hasNoBody(status)
    if (status === 204)
      removeHeader(headers, 'content-length') // it has none (RFC 9110, 8.6)
    else this.#expected = Number(headerValue(headers, 'content-length') ?? -1)
    headers.push(...ownHeaders(facts))
    // A status text that Node would not write is left out; it says nothing that the status does not.
    const text = STATUS_TEXT.test(message) ? message : undefined
    this.#call.writeHead(status, text, headers)
    this.isHeadSent = true
  }

  onData(chunk: Buffer, flow: Flow): void {
    // The last chunk ends the answer, so that a small one leaves in one write with its head.
    this.#expected -= chunk.length
    if (this.#expected === 0) {
      this.#call.end(chunk)
      return
    }
    if (this.#call.isClosed) return // nobody is there to drain it
    if (!this.#call.write(chunk) && !this.#isDraining) {
      this.#isDraining = true
      flow.pause()
      this.#call.onceDrained(() => {
        this.#isDraining = false
        flow.resume()
      })
    }
  }

  onEnd(): 'whole' | 'cut' {
    if (this.#call.isEnded) return 'whole'
    if (this.#expected > 0 && this.#hasBody) {
      this.onCut()
      return 'cut'
    }
    this.#call.end()
    return 'whole'
  }

  /** Destroyed, never ended as if it were whole. */
  onCut(): void {
    this.#call.destroy()
  }
}
