// One proxied request from "may this be sent?" to its last byte. It is the handler object that the audit trail and
// undici call back, so that a request that is there as a whole needs neither promises nor closures where everything is
// at hand:
//
//   begin ─▶ scan ─▶ decide ─▶ audit ─▶ reveal ─▶ splice ─▶ send ─▶ relay
//
// A body that streams goes through scan to splice once more for each window, after the head has been sent. Plaintext is
// overwritten when the exchange ends, however it ends. No request is ever sent twice.

import { randomBytes } from 'node:crypto'
import type { Readable } from 'node:stream'
import type { Dispatcher } from 'undici'
import { ProxyParties } from '../audit/event.ts'
import type { Caller } from '../core/caller.ts'
import {
  AppError,
  type ErrorDetails,
  fieldDetail,
  invalidField,
  type Reason,
} from '../core/errors.ts'
import type { Field } from '../core/field.ts'
import type { MerchantId, ProfileId, RequestId } from '../core/ids.ts'
import type { PolicyRow } from './destination.ts'
import type { Destination } from './destinations.ts'
import { refreshDigests, refuseUnknownDigests } from './digest-headers.ts'
import type { Origin } from './origin.ts'
import { type HeadScan, type Outbound, placeholdersIn, scanHead, spliceHeader } from './outbound.ts'
import { isNormalPath, isPlainQuery } from './path-rule.ts'
import { decidePlaces, findRow } from './policy.ts'
import { Refusal } from './refusal.ts'
import type { AnswerFacts, Flow, Relay } from './relay.ts'
import { Revealing, type RevealingDeps, type RevealingOwner, TakenCodes } from './revealing.ts'
import { bodyScanner, scanBody } from './scan/body.ts'
import { type Found, NOTHING_FOUND } from './scan/scanner.ts'
import { findSigningRefusal, withSignedHeaders } from './signing/sign.ts'
import { splice, spliceText, type ValueFor } from './splice.ts'
import type { ProxyStats } from './stats.ts'
import { BodyCut, type BodyWindow, StreamedBody } from './streamed-body.ts'
import type { Values } from './values.ts'
import { upstreamFailure } from './verdict.ts'

export type ExchangeDeps = RevealingDeps & {
  readonly stats: ProxyStats
  /** An error that is our own fault. */
  readonly onBug: (requestId: RequestId, error: unknown) => void
}

/** Who asks for what, settled before an exchange begins. */
export type Admission = {
  readonly requestId: RequestId
  readonly caller: Caller
  readonly merchantId: MerchantId
  readonly profileId: ProfileId
  readonly client: string
  readonly destination: Destination
  readonly origin: Origin
  readonly startedAtMs: number
}

/** What an exchange asks of the request that it came from. */
export interface ExchangeFront {
  /** Asked while a body streams: a key may be revoked, and a policy changed. */
  stillHolds(admission: Admission): Promise<boolean>
  /** Tells the caller an error of ours; called only while the relay has not sent a head. */
  onRefused(reason: Reason, facts: AnswerFacts, details: ErrorDetails | undefined): void
}

type State = 'deciding' | 'revealing' | 'queued' | 'sent' | 'answered' | 'done'

/** How long it is taken for granted that an admission holds. */
export const ADMISSION_HOLDS_MS = 1000

export class Exchange implements RevealingOwner, Dispatcher.DispatchHandler, Flow {
  readonly #deps: ExchangeDeps
  readonly #admission: Admission
  readonly #relay: Relay
  readonly #front: ExchangeFront
  #codes: TakenCodes | undefined
  #state: State = 'deciding'
  #outbound: Outbound | undefined
  #row: PolicyRow | undefined
  #head: HeadScan | undefined
  /** Of the body, or of the first window of a streamed one. */
  #inBody: readonly Found[] = NOTHING_FOUND
  /** What `#inBody` was found in. */
  #text: Buffer | undefined
  #countInHead = 0
  #stream: StreamedBody | undefined
  #admittedAtMs = 0
  #body: Buffer | undefined
  #ownsBody = false
  #status: number | undefined
  #received = 0
  #substitutions: Map<Field, number> | undefined
  #controller: Dispatcher.DispatchController | undefined
  #timer: NodeJS.Timeout | undefined
  #isCallerGone = false
  #isDispatched = false
  #isReleased = false
  #parties: ProxyParties | undefined

  constructor(deps: ExchangeDeps, admission: Admission, relay: Relay, front: ExchangeFront) {
    this.#deps = deps
    this.#admission = admission
    this.#relay = relay
    this.#front = front
    admission.destination.inFlight += 1
    deps.stats.inFlight += 1
  }

  begin(outbound: Outbound): void {
    try {
      this.#begin(outbound)
    } catch (error) {
      this.onFailed(error)
    }
  }

  #begin(outbound: Outbound): void {
    this.#outbound = outbound
    const { destination } = this.#admission
    if (
      destination.inFlight >
      destination.settings.limits.connections + destination.settings.limits.queue
    ) {
      return this.#refuse('destination_busy')
    }
    if (!isNormalPath(outbound.path) || !isPlainQuery(outbound.query)) {
      return this.#refuse('path_not_normal')
    }
    const row = findRow(destination.rows, outbound.method, outbound.path)
    if (row === undefined) return this.#refuse('method_or_path_not_allowed')
    this.#row = row
    this.#timer = setTimeout(onTotalTimeout, destination.settings.timeouts.total_ms, this)
    this.#check(outbound, row)
  }

  #check(outbound: Outbound, row: PolicyRow): void {
    const head = scanHead(outbound)
    this.#head = head
    this.#text = outbound.body
    if (outbound.rest !== undefined) {
      this.#stream = new StreamedBody(bodyScanner(outbound.mediaType, row.wantsBodyPlaces))
      this.#admittedAtMs = this.#deps.clock()
      const first = this.#stream.take(outbound.body as Buffer, false)
      this.#text = first.text
      this.#inBody = first.found
    } else if (outbound.body !== undefined) {
      this.#inBody = scanBody(outbound.body, outbound.mediaType, row.wantsBodyPlaces)
    }
    const inHead = placeholdersIn(head)
    this.#countInHead = inHead.length
    const all = inHead.length === 0 ? this.#inBody : [...this.#inBody, ...inHead]
    // What a streamed body holds is known at its end, but nobody looks into a binary one.
    const isCounted = this.#stream === undefined || outbound.mediaType.kind === 'binary'
    if (isCounted && this.#isUnexpected(all.length)) {
      return this.#refuse('substitutions_mismatch')
    }
    if (all.length === 0) return this.#send(this.#text, outbound.path, outbound.query)
    const refusal = decidePlaces(row, all)
    if (refusal !== undefined) return this.#refuse(refusal.reason, refusal.field)
    const { signing } = this.#admission.destination
    if (signing !== undefined) {
      const { origin } = this.#admission
      const unsignable = findSigningRefusal(signing.fields, { ...outbound, origin })
      if (unsignable !== undefined) return this.onFailed(unsignable)
    }
    if (this.#inBody.length > 0 || outbound.wasInflated) refuseUnknownDigests(outbound.headers)
    this.#count(all)
    new Revealing(this.#deps, this).begin(all)
  }

  #isUnexpected(count: number): boolean {
    const expected = this.#outbound?.expectedSubstitutions
    const isTooFew = count === 0 && this.#admission.destination.settings.require_placeholder
    return isTooFew || (expected !== undefined && expected !== count)
  }

  #count(found: readonly Found[]): void {
    this.#substitutions ??= new Map()
    for (const { field } of found) {
      this.#substitutions.set(field, (this.#substitutions.get(field) ?? 0) + 1)
    }
  }

  // ---- The side of Revealing, for head and body, or the first window of a streamed one.

  get isOver(): boolean {
    return this.#state === 'done'
  }

  get merchantId(): MerchantId {
    return this.#admission.merchantId
  }

  get codes(): TakenCodes {
    const { store, clock, onBug } = this.#deps
    this.#codes ??= new TakenCodes(store, clock, (error) => onBug(this.#admission.requestId, error))
    return this.#codes
  }

  get token(): string | undefined {
    return this.#outbound?.token
  }

  onAgreed(): ProxyParties {
    if (this.#state === 'deciding') this.#state = 'revealing'
    return this.#partiesOfLines()
  }

  onRefused(reason: Reason, field?: string): void {
    this.#refuse(reason, field)
  }

  onValues(values: Values): void {
    try {
      this.#substitute(values)
    } catch (error) {
      this.onFailed(error)
    } finally {
      values.wipe()
    }
  }

  onFailed(error: unknown): void {
    if (this.isOver) return
    if (error instanceof Refusal) {
      this.#refuse(error.reason, error.field)
    } else if (error instanceof AppError) {
      this.#refuse(error.reason, error.details?.field)
    } else {
      this.#deps.onBug(this.#admission.requestId, error)
      this.#refuse('internal_error')
    }
  }

  #substitute(values: Values): void {
    const outbound = this.#outbound as Outbound
    const head = this.#head as HeadScan
    const valueFor: ValueFor = (found) => values.of(found)
    let { path, query } = outbound
    for (const found of head.headers) {
      outbound.headers[found.at] = spliceHeader(
        outbound.headers[found.at] as string,
        found,
        valueFor,
      )
    }
    if (head.path.length > 0) {
      path = spliceText(path, head.path, valueFor)
      // A value must not turn the path into one that another row, or none, is about.
      const { rows } = this.#admission.destination
      if (!isNormalPath(path) || findRow(rows, outbound.method, path) !== this.#row) {
        throw new Refusal('value_not_encodable')
      }
    }
    if (head.query.length > 0) query = spliceText(query, head.query, valueFor)
    let body = this.#text
    if (body !== undefined && this.#inBody.length > 0) {
      body = splice(body, this.#inBody, valueFor)
      this.#ownsBody = true
    }
    this.#deps.stats.reveals += values.tokenCount
    this.#deps.stats.substitutions += this.#inBody.length + this.#countInHead
    this.#send(body, path, query)
  }

  /** `body`: the whole, or the first piece of a streamed one. */
  #send(body: Buffer | undefined, path: string, query: string): void {
    const outbound = this.#outbound as Outbound
    const { destination, origin } = this.#admission
    this.#body = body
    let { headers } = outbound
    // Unscanned, so as long as it was when it came.
    const isAsLong = this.#stream !== undefined && outbound.mediaType.kind === 'binary'
    if (isAsLong && outbound.contentLength !== undefined) {
      headers.push('Content-Length', String(outbound.contentLength))
    }
    if (body !== undefined && (this.#ownsBody || outbound.wasInflated)) {
      refreshDigests(headers, body)
    }
    if (destination.signing !== undefined) {
      const request = { method: outbound.method, origin, path, query, headers, body }
      const moment = { nowMs: this.#deps.clock(), nonce: newNonce }
      headers = withSignedHeaders(headers, destination.signing.sign(request, moment))
    }
    this.#state = 'queued'
    this.#isDispatched = true
    destination.pool(origin).dispatch(
      {
        method: outbound.method as Dispatcher.HttpMethod,
        path: `${path}${query}`,
        headers,
        body: this.#stream === undefined ? (body ?? null) : asBody(this.#pieces(this.#stream)),
      },
      this,
    )
  }

  // ---- A streamed body. Its head has been sent, so a refusal aborts the request unfinished.

  async *#pieces(stream: StreamedBody): AsyncGenerator<Buffer, void> {
    const outbound = this.#outbound as Outbound
    const { limits } = this.#admission.destination.settings
    try {
      if (this.#body !== undefined && this.#body.length > 0) {
        if (this.#ownsBody) stream.sent.add(this.#body)
        yield this.#body
      }
      for await (const chunk of outbound.rest ?? []) {
        if (this.isOver) break
        if (stream.bytes + chunk.length > limits.body_bytes) throw new AppError('body_too_large')
        yield* this.#piece(stream.take(chunk, false))
      }
      if (!this.isOver) yield* this.#piece(stream.take(Buffer.alloc(0), true))
      if (!this.isOver && this.#isUnexpected(stream.placeholders + this.#countInHead)) {
        throw new AppError('substitutions_mismatch')
      }
      if (this.isOver) throw new Error('over') // ending here would end the request as if it were whole
    } catch (error) {
      if (!this.isOver && (this.#isCallerGone || error instanceof BodyCut)) {
        this.#finish(undefined, true) // nobody is there to be told
      }
      this.onFailed(error)
      throw new Error('given up while its body was streaming') // undici breaks the connection off
    }
  }

  async *#piece({ text, found }: BodyWindow): AsyncGenerator<Buffer, void> {
    if (found.length === 0) {
      if (text.length === 0) return
      this.#stream?.sent.count(text)
      yield text
      return
    }
    const refusal = decidePlaces(this.#row as PolicyRow, found)
    if (refusal !== undefined) throw invalidField(refusal.reason, refusal.field)
    await this.#admitAgain()
    const values = await this.#valuesOf(found)
    if (this.isOver) return values.wipe()
    let piece: Buffer
    try {
      piece = splice(text, found, (each) => values.of(each))
    } finally {
      values.wipe()
    }
    this.#count(found)
    this.#deps.stats.reveals += values.tokenCount
    this.#deps.stats.substitutions += found.length
    this.#stream?.sent.add(piece)
    yield piece
  }

  /** A key may be revoked, and a policy changed, while a body streams. */
  async #admitAgain(): Promise<void> {
    const nowMs = this.#deps.clock()
    if (nowMs - this.#admittedAtMs <= ADMISSION_HOLDS_MS) return
    if (!(await this.#front.stillHolds(this.#admission))) throw new AppError('permission_denied')
    this.#admittedAtMs = nowMs
  }

  #valuesOf(found: readonly Found[]): Promise<Values> {
    return new Promise((resolve, reject) => {
      const { merchantId, token, codes } = this
      const owner: RevealingOwner = {
        isOver: false, // somebody waits for the answer, whatever has become of the exchange
        merchantId,
        token,
        codes,
        onAgreed: () => this.onAgreed(),
        onValues: resolve,
        onRefused: (reason, field) => reject(invalidField(reason, field)),
        onFailed: reject,
      }
      new Revealing(this.#deps, owner).begin(found)
    })
  }

  // ---- undici's side. From onRequestStart on, the destination may see the request.

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    if (this.isOver) {
      controller.abort(new Error('refused before it was sent')) // nothing is written then
      return
    }
    this.#state = 'sent'
  }

  onResponseStart(
    controller: Dispatcher.DispatchController,
    status: number,
    _headers: unknown,
    message?: string,
  ): void {
    if (this.isOver) return controller.abort(new Error('nobody waits for it'))
    if (status < 200) return // an interim answer is not the answer (RFC 9110, 15.2)
    this.#status = status
    this.#state = 'answered'
    if (this.#isCallerGone) {
      this.#finish(undefined, true)
      controller.abort(new Error('the caller has gone'))
      return
    }
    const raw = controller.rawHeaders as Buffer[] | string[]
    const headers: string[] = new Array(raw.length)
    for (let i = 0; i < raw.length; i++) {
      const part = raw[i] as Buffer | string
      headers[i] = typeof part === 'string' ? part : part.toString('latin1')
    }
    const hasBody = this.#outbound?.method !== 'HEAD' && status !== 304
    const limit = this.#admission.destination.settings.limits.response_bytes
    if (hasBody && lengthOf(headers) > limit) {
      this.#refuse('response_blocked')
      controller.abort(new Error('the answer is too large'))
      return
    }
    try {
      this.#relay.onHead(status, message ?? '', headers, this.#facts())
    } catch {
      // What Node will not write as a head, the destination should not have sent.
      this.#refuse('upstream_protocol_error')
      controller.abort(new Error('unusable head'))
    }
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.isOver) return
    this.#received += chunk.length
    if (this.#received > this.#admission.destination.settings.limits.response_bytes) {
      this.#refuse('response_blocked')
      controller.abort(new Error('the answer is too large'))
      return
    }
    this.#relay.onData(chunk, this)
  }

  onResponseEnd(): void {
    this.#released()
    if (this.isOver) return
    this.#finish(undefined, this.#relay.onEnd(this.#facts()) === 'cut')
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.#released()
    if (this.isOver) return
    this.#refuse(upstreamFailure(error, this.#state === 'sent' || this.#state === 'answered'))
  }

  pause(): void {
    this.#controller?.pause()
  }

  resume(): void {
    this.#controller?.resume()
  }

  /** The whole exchange took too long. */
  onTotalTimeout(): void {
    if (this.isOver) return
    const wasSent = this.#state === 'sent' || this.#state === 'answered'
    this.#refuse(wasSent ? 'upstream_timeout' : 'upstream_connect_timeout')
    this.#controller?.abort(new Error('timed out'))
  }

  /**
   * The caller's connection closed early. What has not left is not sent any more; what may have left is waited for up
   * to its head, so that the audit trail knows what came of it.
   */
  onCallerGone(): void {
    if (this.isOver) return
    this.#isCallerGone = true
    if (this.#state === 'sent') return
    if (this.#state === 'answered') this.#controller?.abort(new Error('the caller has gone'))
    else {
      this.#codes?.giveBack()
      this.#wipeBody()
    }
    this.#finish(undefined, true)
  }

  // ---- Ends.

  #refuse(reason: Reason, field?: string): void {
    const wasSent = this.#state === 'sent' || this.#state === 'answered'
    if (!wasSent) {
      this.#codes?.giveBack()
      // Queued, it will not be written any more: onRequestStart refuses it.
      this.#wipeBody()
    }
    const isCut = this.#relay.isHeadSent
    this.#finish(reason, isCut)
    try {
      if (isCut) this.#relay.onCut()
      else
        this.#front.onRefused(
          reason,
          this.#facts(wasSent),
          field === undefined ? undefined : fieldDetail(field),
        )
    } catch (error) {
      this.#deps.onBug(this.#admission.requestId, error)
      this.#relay.onCut() // an end that can be seen is better than none
    }
  }

  #finish(reason: Reason | undefined, cut: boolean): void {
    const wasAudited = this.#state !== 'deciding'
    this.#state = 'done'
    clearTimeout(this.#timer)
    const { destination, requestId, caller, merchantId, client, startedAtMs } = this.#admission
    const { audit, clock, stats } = this.#deps
    stats.inFlight -= 1
    // A place in the queue is free when undici lets the request go, not when its caller does.
    if (!this.#isDispatched) destination.inFlight -= 1
    const durationMs = clock() - startedAtMs
    stats.finished(this.#status, reason, durationMs)
    if (!wasAudited && reason !== undefined) {
      audit.append({
        kind: 'refusal',
        request: requestId,
        merchant: merchantId,
        key: caller.keyId,
        client,
        reason,
      })
      return
    }
    audit.append({
      kind: 'outcome',
      status: this.#status,
      reason,
      cut,
      durationMs,
      parties: this.#partiesOfLines(),
    })
  }

  /** undici is done with the request. */
  #released(): void {
    if (this.#isReleased) return
    this.#isReleased = true
    this.#admission.destination.inFlight -= 1
    this.#wipeBody()
  }

  /** Only when undici needs it no longer: it may still be writing after it said that the request was sent. */
  #wipeBody(): void {
    if (this.#ownsBody) this.#body?.fill(0)
    this.#body = undefined
    this.#text = undefined
    this.#ownsBody = false
    this.#stream?.sent.wipe()
  }

  #facts(mayHaveBeenSent = true): AnswerFacts {
    let substitutions = ''
    for (const [field, count] of this.#substitutions ?? []) {
      substitutions += `${substitutions === '' ? '' : ', '}${field}=${count}`
    }
    return {
      requestId: this.#admission.requestId,
      upstreamStatus: this.#status,
      substitutions,
      mayHaveBeenSent,
    }
  }

  #partiesOfLines(): ProxyParties {
    if (this.#parties === undefined) {
      const { requestId, merchantId, profileId, caller, client, destination, origin } =
        this.#admission
      this.#parties = new ProxyParties({
        request: requestId,
        merchant: merchantId,
        profile: profileId,
        key: caller.keyId,
        client,
        destination: destination.name,
        origin,
        method: (this.#outbound as Outbound).method,
      })
    }
    return this.#parties
  }
}

/** undici takes any asynchronous iterable of Buffers for a body; its types have not got it. */
const asBody = (pieces: AsyncIterable<Buffer>) => pieces as unknown as Readable

const newNonce = () => randomBytes(16).toString('hex')

function onTotalTimeout(exchange: Exchange): void {
  exchange.onTotalTimeout()
}

/** What the answer says its body's length is; 0 when it does not. */
function lengthOf(headers: readonly string[]): number {
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    if (name.length === 14 && name.toLowerCase() === 'content-length') return Number(headers[i + 1])
  }
  return 0
}
