// One proxied request from "may this be sent?" to its last byte. It is the handler object that the audit trail and the
// way out call back, so that a request that is there as a whole needs neither promises nor closures where everything is
// at hand:
//
//   begin ─▶ scan ─▶ decide ─▶ claim ─▶ audit ─▶ reveal ─▶ splice ─▶ send ─▶ relay
//
// Plaintext is overwritten when the exchange ends, however it ends. A request that may have been sent is never sent
// again, but for the one case in `#maySendAgain`.

import { randomBytes } from 'node:crypto'
import { ProxyParties } from '../audit/event.ts'
import type { Caller } from '../core/caller.ts'
import { AppError, type ErrorDetails, fieldDetail, type Reason } from '../core/errors.ts'
import type { Field } from '../core/field.ts'
import type { MerchantId, PaymentMethodId, ProfileId, RequestId } from '../core/ids.ts'
import { isPromise } from '../core/maybe-promise.ts'
import { AnswerPath } from './answer/answer-path.ts'
import type { HeldBytes } from './answer/held-bytes.ts'
import { isLearning, type LearnDeps, learnFrom } from './answer/learn.ts'
import type { PolicyRow } from './destination.ts'
import type { Destination } from './destinations.ts'
import { refuseUnknownDigests } from './digest-headers.ts'
import { renderedRequest } from './dry-run.ts'
import { EgressRequest, type RequestHandler } from './egress/request.ts'
import { type Breaker, REFUSED } from './guards/breaker.ts'
import { type Claim, claimKey, type IdempotencyDeps, type StoredAnswer } from './idempotency.ts'
import type { Origin } from './origin.ts'
import { type HeadScan, type Outbound, placeholdersIn, scanHead, spliceHeader } from './outbound.ts'
import { prepareHeaders } from './outgoing.ts'
import { isNormalPath, isPlainQuery } from './path-rule.ts'
import {
  decidePlaces,
  decideRow,
  findRow,
  isPaymentMethod,
  type Refused,
  type Stored,
} from './policy.ts'
import { headerValue } from './raw-headers.ts'
import { Refusal } from './refusal.ts'
import {
  AnswerBlocked,
  type AnswerFacts,
  type Flow,
  hasNoBody,
  NO_FLOW,
  type Relay,
} from './relay.ts'
import {
  type Codes,
  Revealing,
  type RevealingDeps,
  type RevealingOwner,
  SeenCodes,
  TakenCodes,
} from './revealing.ts'
import { bodyScanner, scanBody } from './scan/body.ts'
import { type Found, NOTHING_FOUND } from './scan/scanner.ts'
import { serverTiming } from './server-timing.ts'
import { findSigningRefusal, withSignedHeaders } from './signing/sign.ts'
import { splice, spliceText, type ValueFor } from './splice.ts'
import { classOf, type Outcome } from './stats.ts'
import { ADMISSION_HOLDS_MS, Streaming, type StreamingOwner } from './streaming.ts'
import type { Values } from './values.ts'
import { isUpstreamFailure, upstreamFailure } from './verdict.ts'

export type ExchangeDeps = RevealingDeps & IdempotencyDeps & LearnDeps

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
  /** The same moment by `performance.now()`. */
  readonly startMark: number
}

/** What an exchange asks of the request that it came from. */
export interface ExchangeFront {
  readonly answerMemory: HeldBytes
  /** Asked while a body streams: a key may be revoked, and a policy changed. */
  stillHolds(admission: Admission): Promise<boolean>
  /** Tells the caller an error of ours; called only while the relay has not sent a head. */
  onRefused(reason: Reason, facts: AnswerFacts, details: ErrorDetails | undefined): void
  /** What a dry run would have sent. */
  onRendered(json: Buffer, facts: AnswerFacts): void
}

type State = 'deciding' | 'revealing' | 'queued' | 'sent' | 'answered' | 'done'

/** Between two looks at whether a body has left that outlives its answer. */
const STILL_WRITING_MS = 50

/** Methods whose repetition changes nothing (RFC 9110, 9.2.2). */
const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE'])

export class Exchange implements RevealingOwner, StreamingOwner, RequestHandler, Flow {
  readonly #deps: ExchangeDeps
  readonly #admission: Admission
  #relay: Relay
  readonly #front: ExchangeFront
  #codes: Codes | undefined
  #state: State = 'deciding'
  #outbound: Outbound | undefined
  #row: PolicyRow | undefined
  #head: HeadScan | undefined
  /** Of the body, or of the first window of a streamed one. */
  #inBody: readonly Found[] = NOTHING_FOUND
  /** What `#inBody` was found in. */
  #text: Buffer | undefined
  #countInHead = 0
  #streaming: Streaming | undefined
  #body: Buffer | undefined
  #ownsBody = false
  #sending: EgressRequest | undefined
  #status: number | undefined
  #received = 0
  #substitutions: Map<Field, number> | undefined
  readonly #answer: AnswerPath
  #claim: Claim | undefined
  #settling: Promise<void> | undefined
  #isReplay = false
  /** The one payment method of the request, for what its answer says about it. */
  #methodId: PaymentMethodId | 'several' | undefined
  /** What the breaker said when it let the request through. */
  #pass = REFUSED
  #breaker: Breaker | undefined
  #retryAfterSeconds: number | undefined
  #timer: NodeJS.Timeout | undefined
  #dispatchMark = 0
  #sentMark = 0
  #answerMark = 0
  #isCallerGone = false
  #isDispatched = false
  #isReleased = false
  #isRetried = false
  /** The time that ran out was not the destination's: its caller's, the queue's or our own. */
  #isOwnDelay = false
  /** Its body is still on its way. */
  #isUploading = false
  /** Its caller does not read. */
  #isPaused = false
  #parties: ProxyParties | undefined

  constructor(deps: ExchangeDeps, admission: Admission, relay: Relay, front: ExchangeFront) {
    this.#deps = deps
    this.#admission = admission
    this.#relay = relay
    this.#front = front
    this.#answer = new AnswerPath(admission.destination, front.answerMemory)
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
    const { destination, caller } = this.#admission
    const { limits, timeouts } = destination.settings
    if (destination.inFlight > limits.connections + limits.queue) {
      return this.#refuse('destination_busy')
    }
    if (!isNormalPath(outbound.path) || !isPlainQuery(outbound.query)) {
      return this.#refuse('path_not_normal')
    }
    const row = findRow(destination.rows, outbound.method, outbound.path)
    if (row === undefined) return this.#refuse('method_or_path_not_allowed')
    const refusal = decideRow(row, caller.keyId, outbound.query)
    if (refusal !== undefined) return this.#refuse(refusal.reason, refusal.field)
    this.#row = row
    const { timeoutMs } = outbound.wishes
    const totalMs =
      timeoutMs === undefined ? timeouts.total_ms : Math.min(timeouts.total_ms, timeoutMs)
    this.#timer = setTimeout(onTotalTimeout, totalMs, this)
    this.#check(outbound, row)
  }

  #check(outbound: Outbound, row: PolicyRow): void {
    const head = scanHead(outbound)
    this.#head = head
    this.#text = outbound.body
    if (outbound.rest !== undefined) {
      const scanner = bodyScanner(outbound.mediaType, row.wantsBodyPlaces)
      this.#streaming = new Streaming(this.#deps, this, scanner, outbound.rest)
      const first = this.#streaming.begin(outbound.body as Buffer)
      this.#text = first.text
      this.#inBody = first.found
    } else if (outbound.body !== undefined) {
      this.#inBody = scanBody(outbound.body, outbound.mediaType, row.wantsBodyPlaces)
    }
    const inHead = placeholdersIn(head)
    this.#countInHead = inHead.length
    const all = inHead.length === 0 ? this.#inBody : [...this.#inBody, ...inHead]
    // What a streamed body holds is known at its end, but nobody looks into a binary one.
    const isCounted = this.#streaming === undefined || outbound.mediaType.kind === 'binary'
    if (isCounted && this.#isUnexpected(all.length)) {
      return this.#refuse('substitutions_mismatch')
    }
    if (all.length > 0) {
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
    }
    const key = outbound.wishes.idempotencyKey
    if (key === undefined || this.isDryRun) this.#revealAndSend(all)
    else this.#claimAndSend(key, outbound, all).catch((error) => this.onFailed(error))
  }

  #revealAndSend(all: readonly Found[]): void {
    if (!this.isDryRun) {
      const { destination, origin } = this.#admission
      const breaker = destination.breaker(origin)
      if (breaker !== undefined) {
        this.#pass = breaker.admit()
        if (this.#pass === REFUSED) return this.#refuse('destination_busy')
        this.#breaker = breaker
      }
    }
    const { path, query } = this.#outbound as Outbound
    if (all.length === 0 && this.isDryRun) this.#renderDry(undefined)
    else if (all.length === 0) this.#send(this.#text, path, query)
    else new Revealing(this.#deps, this).begin(all)
  }

  async #claimAndSend(key: string, outbound: Outbound, all: readonly Found[]): Promise<void> {
    const { requestId, merchantId, profileId, destination, origin } = this.#admission
    const claiming = await claimKey(this.#deps, {
      requestId,
      merchantId,
      profileId,
      destination,
      origin,
      outbound,
      key,
    })
    switch (claiming.kind) {
      case 'claimed':
        this.#claim = claiming.claim
        if (this.isOver) return void this.#settleClaim(false)
        this.#revealAndSend(all)
        break
      case 'replay':
        if (!this.isOver) this.#replay(claiming.answer)
        break
      case 'refuse':
        if (!this.isOver) this.#refuse(claiming.reason)
        break
      default:
        claiming satisfies never
    }
  }

  /** The answer of the request that went under this key, as its caller got it. */
  #replay({ status, message, headers, redactions, body }: StoredAnswer): void {
    this.#isReplay = true
    this.#status = status
    this.#deps.stats.replays += 1
    this.#relay.onHead(status, message, headers, { ...this.#facts(), redactions })
    if (body.length > 0) this.#relay.onData(body, NO_FLOW)
    void this.#relay.onEnd() // nothing stands before the caller's own, which ends at once
    this.#finish(undefined, false)
  }

  /** Everything but the sending, with values masked and codes left where they are. */
  #renderDry(values: Values | undefined): void {
    const { destination, origin } = this.#admission
    const outbound = this.#outbound as Outbound
    const head = this.#head as HeadScan
    const parts = { outbound, origin, head, text: this.#text, inBody: this.#inBody }
    if (values !== undefined) this.#keepSensitive(values)
    this.#leadAnswer()
    const { isInspected } = this.#answer
    const json = renderedRequest(
      { ...parts, isInspected, substitutions: this.#substitutions },
      destination,
      this.row,
      values,
    )
    const facts = this.#facts(false)
    this.#finish(undefined, false)
    this.#front.onRendered(json, facts)
  }

  #isUnexpected(count: number): boolean {
    const expected = this.#outbound?.wishes.expectedSubstitutions
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

  /** The destination may have seen it. */
  get #mayHaveLeft(): boolean {
    return this.#state === 'sent' || this.#state === 'answered' || this.#isRetried
  }

  get merchantId(): MerchantId {
    return this.#admission.merchantId
  }

  get codes(): Codes {
    const { store, clock, onBug } = this.#deps
    this.#codes ??= this.isDryRun
      ? new SeenCodes(store, clock)
      : new TakenCodes(store, clock, (error) => onBug(this.#admission.requestId, error))
    return this.#codes
  }

  get isDryRun(): boolean {
    return this.#outbound?.wishes.isDryRun === true
  }

  get token(): string | undefined {
    return this.#outbound?.wishes.token
  }

  refusalOf(records: readonly Stored[]): Refused | undefined {
    for (const record of records) {
      if (!isPaymentMethod(record)) continue
      const isOther = this.#methodId !== undefined && this.#methodId !== record.id
      this.#methodId = isOther ? 'several' : record.id
    }
    const { cardTesting } = this.#deps
    if (cardTesting === undefined) return undefined
    const tokens = records.map(({ id }) => id)
    const retryAfterSeconds = cardTesting.admit(this.#admission.caller.keyId, tokens)
    if (retryAfterSeconds === 0) return undefined
    this.#retryAfterSeconds = retryAfterSeconds
    return { kind: 'refuse', reason: 'rate_limited' }
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
      if (this.isDryRun) this.#renderDry(values)
      else this.#substitute(values)
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
    this.#keepSensitive(values)
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
      this.#body = body
      this.#ownsBody = true
    }
    this.#deps.stats.reveals += values.tokenCount
    this.#deps.stats.substitutions += this.#inBody.length + this.#countInHead
    this.#send(body, path, query)
  }

  #keepSensitive(values: Values): void {
    this.#answer.onRevealed(this.#inBody, values)
    if (this.#countInHead > 0)
      this.#answer.onRevealed(placeholdersIn(this.#head as HeadScan), values)
  }

  /** `body`: the whole, or the first piece of a streamed one. */
  #send(body: Buffer | undefined, path: string, query: string): void {
    const outbound = this.#outbound as Outbound
    const { destination, origin } = this.#admission
    this.#body = body
    let { headers } = outbound
    this.#leadAnswer()
    const { isInspected } = this.#answer
    prepareHeaders(outbound, destination, { body, isSpliced: this.#ownsBody, isInspected })
    if (destination.signing !== undefined) {
      const request = { method: outbound.method, origin, path, query, headers, body }
      const moment = { nowMs: this.#deps.clock(), nonce: newNonce }
      headers = withSignedHeaders(headers, destination.signing.sign(request, moment))
    }
    const first = { bytes: body, hasPlaintext: this.#ownsBody }
    const parts = {
      origin,
      method: outbound.method,
      target: `${path}${query}`,
      headers,
      body: this.#streaming === undefined ? body : this.#streaming.pieces(first),
    }
    this.#sending = new EgressRequest(parts, this)
    this.#isDispatched = true
    this.#sendNow()
  }

  #sendNow(): void {
    const { destination, origin } = this.#admission
    this.#state = 'queued'
    this.#dispatchMark ||= performance.now() // sent again, the lost attempt counts as connecting
    const pool = destination.pool(origin)
    if (this.#isRetried) pool.dispatchAgain(this.#sending as EgressRequest)
    else pool.dispatch(this.#sending as EgressRequest)
    const mayWait = destination.inFlight > destination.settings.limits.connections
    if (mayWait && this.#state === 'queued') setTimeout(lookAgain, ADMISSION_HOLDS_MS, this)
  }

  /** A key may be revoked, and a policy changed, while a request waits for a connection. */
  lookAgain(): void {
    if (this.#state !== 'queued') return
    this.stillHolds().then(
      (holds) => {
        if (this.#state !== 'queued') return
        if (holds) setTimeout(lookAgain, ADMISSION_HOLDS_MS, this)
        else this.#refuse('permission_denied')
      },
      (error) => this.onFailed(error),
    )
  }

  #leadAnswer(): void {
    const { destination } = this.#admission
    this.#relay = this.#answer.leadTo(this.#relay, {
      isHead: this.#outbound?.method === 'HEAD',
      isStreamed: this.#streaming !== undefined,
      claim: this.#claim,
      onJson: isLearning(this.#deps, destination)
        ? (status, json) => this.#learn(status, json)
        : undefined,
    })
  }

  /** Whose card it was: last four digits beside another number would be somebody else's payment. */
  get #chargedMethod(): PaymentMethodId | undefined {
    const isCharged =
      this.#methodId !== 'several' && this.#substitutions?.has('card_number') === true
    return isCharged ? (this.#methodId as PaymentMethodId | undefined) : undefined
  }

  #learn(status: number, json: Buffer): Promise<void> | undefined {
    const { requestId, merchantId, caller, destination } = this.#admission
    const charged = {
      requestId,
      merchantId,
      keyId: caller.keyId,
      destination,
      methodId: this.#chargedMethod,
      hasRevealed: this.#substitutions !== undefined,
    }
    return learnFrom(this.#deps, charged, status, json)
  }

  // ---- The side of a body that streams.

  get isCallerGone(): boolean {
    return this.#isCallerGone
  }

  get row(): PolicyRow {
    return this.#row as PolicyRow
  }

  get limitBytes(): number {
    return this.#admission.destination.settings.limits.body_bytes
  }

  stillHolds(): Promise<boolean> {
    return this.#front.stillHolds(this.#admission)
  }

  onRevealed(found: readonly Found[], values: Values): void {
    this.#answer.onRevealed(found, values)
    // The answer is on its way to the caller and would not be searched for these.
    if (this.#answer.isPassing) throw new AppError('response_blocked')
    this.#count(found)
    this.#deps.stats.reveals += values.tokenCount
    this.#deps.stats.substitutions += found.length
  }

  onWhole(placeholders: number): void {
    this.#isUploading = false
    if (this.#isUnexpected(placeholders + this.#countInHead)) {
      throw new AppError('substitutions_mismatch')
    }
  }

  /** Nobody is there to be told. */
  onCallerCut(): void {
    this.#isCallerGone = true
    this.#finish(undefined, true)
  }

  // ---- The side of the way out. From onRequestStart on, the destination may see the request.

  onRequestStart(): boolean {
    if (this.isOver) {
      this.#released()
      return false
    }
    this.#state = 'sent'
    this.#sentMark = performance.now()
    this.#isUploading = this.#streaming !== undefined
    return true
  }

  onResponseStart(status: number, message: string, headers: string[]): void {
    if (this.isOver) return this.#abort()
    this.#status = status
    this.#state = 'answered'
    this.#answerMark = performance.now()
    // A probe has found out what it was sent for; nobody needs to wait for the end of its answer.
    if (this.#breaker?.state === 'half_open') this.#breaker.onSuccess(this.#pass)
    if (status === 402 && this.#substitutions !== undefined) {
      this.#deps.cardTesting?.onDecline(this.#admission.caller.keyId)
    }
    if (this.#isCallerGone && this.#claim === undefined) {
      this.#finish(undefined, true)
      this.#abort()
      return
    }
    const { limits } = this.#admission.destination.settings
    const hasBody = this.#outbound?.method !== 'HEAD' && !hasNoBody(status)
    const length = hasBody ? Number(headerValue(headers, 'content-length') ?? 0) : 0
    if (length > limits.response_bytes) {
      this.#refuse('response_blocked')
      this.#abort()
      return
    }
    try {
      this.#relay.onHead(status, message, headers, this.#facts())
    } catch (error) {
      this.#onUnusable(error)
    }
  }

  onResponseData(chunk: Buffer): void {
    if (this.isOver) return
    this.#received += chunk.length
    if (this.#received > this.#admission.destination.settings.limits.response_bytes) {
      this.#refuse('response_blocked')
      this.#abort()
      return
    }
    try {
      this.#relay.onData(chunk, this)
    } catch (error) {
      this.#onUnusable(error)
    }
  }

  onResponseEnd(): void {
    this.#released()
    clearTimeout(this.#timer) // what is still to come is our own doing
    if (this.isOver) return
    try {
      const end = this.#relay.onEnd()
      if (isPromise(end)) {
        end.then(
          (how) => this.#onPassedOn(how),
          (error) => this.#onUnusable(error),
        )
      } else {
        this.#onPassedOn(end)
      }
    } catch (error) {
      this.#onUnusable(error)
    }
  }

  onResponseError(error: Error): void {
    const reason = upstreamFailure(error, this.#mayHaveLeft)
    if (this.#maySendAgain(reason)) {
      this.#isRetried = true
      this.#deps.stats.retries += 1
      this.#sentMark = 0
      return this.#sendNow()
    }
    this.#released()
    if (!this.isOver) this.#refuse(reason)
  }

  /**
   * A kept-alive connection that the destination closed while the request was on its way, before any byte of an answer:
   * once more, where a repetition does no harm.
   */
  #maySendAgain(reason: Reason): boolean {
    if (this.#state !== 'sent' || reason !== 'upstream_reset') return false
    if (this.#isRetried || this.#isCallerGone || this.#streaming !== undefined) return false
    // At most once, and a code is used once, whatever the destination makes of repetitions.
    if (this.#claim !== undefined || this.#substitutions?.has('card_cvc') === true) return false
    if (this.#sending?.isReused !== true || this.#sending.hasAnswerBegun) return false
    const method = this.#outbound?.method ?? ''
    return IDEMPOTENT.has(method) || this.#admission.destination.settings.idempotent
  }

  #onPassedOn(how: 'whole' | 'cut'): void {
    if (!this.isOver) this.#finish(undefined, how === 'cut' || this.#isCallerGone)
  }

  /** It cannot be passed on. */
  #onUnusable(error: unknown): void {
    if (this.isOver) return
    if (error instanceof AnswerBlocked) this.#refuse('response_blocked')
    else if (isUnusableHead(error)) this.#refuse('upstream_protocol_error')
    else this.onFailed(error)
    this.#abort()
  }

  /** Of the answer nothing more is wanted. */
  #abort(): void {
    this.#sending?.abort(new Error('given up'))
  }

  pause(): void {
    this.#isPaused = true
    this.#sending?.pause()
  }

  resume(): void {
    this.#isPaused = false
    this.#sending?.resume()
  }

  /** The whole exchange took too long. */
  onTotalTimeout(): void {
    if (this.isOver) return
    const { total_ms } = this.#admission.destination.settings.timeouts
    const isLowered = (this.#outbound?.wishes.timeoutMs ?? total_ms) < total_ms
    const isWaitedFor = this.#state === 'answered' || (this.#state === 'sent' && !this.#isUploading)
    this.#isOwnDelay = isLowered || this.#isPaused || !isWaitedFor
    this.#refuse(this.#mayHaveLeft ? 'upstream_timeout' : 'upstream_connect_timeout')
    this.#abort()
  }

  /**
   * The caller's connection closed early. What has not left is not sent any more; what may have left is waited for up
   * to its head, so that the audit trail knows what came of it, or under an idempotency key to its end.
   */
  onCallerGone(): void {
    if (this.isOver) return
    this.#isCallerGone = true
    if (this.#state === 'sent') return
    if (this.#state === 'answered' && this.#answer.isKept) {
      this.#sending?.resume() // nobody will drain what it waits for
      return
    }
    const wasAnswered = this.#state === 'answered'
    if (!this.#mayHaveLeft) {
      void this.#codes?.giveBack()
      this.#wipeBody()
    }
    this.#finish(undefined, true)
    if (wasAnswered) this.#abort()
  }

  // ---- Ends.

  #refuse(reason: Reason, field?: string): void {
    const wasSent = this.#mayHaveLeft
    const isCut = this.#relay.isHeadSent
    const facts = this.#facts(wasSent)
    const returned = wasSent ? undefined : this.#codes?.giveBack()
    // Queued, it will not be written any more: onRequestStart refuses it.
    if (!wasSent) this.#wipeBody()
    this.#finish(reason, isCut)
    const settled = this.#settleClaim(wasSent)
    if (isCut || (returned === undefined && settled === undefined)) {
      this.#tell(reason, facts, field, isCut)
    } else {
      // Whoever reads that it is safe to try again finds the code and the key free. None of these rejects.
      void Promise.all([returned, settled]).then(() => this.#tell(reason, facts, field, isCut))
    }
  }

  #tell(reason: Reason, facts: AnswerFacts, field: string | undefined, isCut: boolean): void {
    try {
      if (isCut) this.#relay.onCut()
      else
        this.#front.onRefused(reason, facts, field === undefined ? undefined : fieldDetail(field))
    } catch (error) {
      this.#deps.onBug(this.#admission.requestId, error)
      this.#relay.onCut() // an end that can be seen is better than none
    }
  }

  /** Nothing to do when it has been settled with an answer. */
  #settleClaim(wasSent: boolean): Promise<void> | undefined {
    if (this.#claim === undefined) return undefined
    this.#settling ??= (wasSent ? this.#claim.unknown() : this.#claim.release()).catch((error) =>
      this.#deps.onBug(this.#admission.requestId, error),
    )
    return this.#settling
  }

  #finish(reason: Reason | undefined, cut: boolean): void {
    const wasAudited = this.#state !== 'deciding'
    void this.#settleClaim(this.#mayHaveLeft)
    this.#state = 'done'
    clearTimeout(this.#timer)
    this.#tellBreaker(reason)
    const { destination, requestId, caller, merchantId, client, startedAtMs } = this.#admission
    const { audit, clock, stats } = this.#deps
    stats.inFlight -= 1
    // A place in the queue is free when the way out lets the request go, not when its caller does.
    if (!this.#isDispatched) destination.inFlight -= 1
    const { redactions } = this.#answer
    stats.redactions += redactions
    const durationMs = clock() - startedAtMs
    stats.finished(this.#outcomeOf(reason), durationMs)
    this.#answer.wipe()
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
      redactions,
      replay: this.#isReplay,
      retried: this.#isRetried,
      parties: this.#partiesOfLines(),
    })
  }

  #outcomeOf(reason: Reason | undefined): Outcome {
    if (reason !== undefined) return reason
    if (this.#status !== undefined) return classOf(this.#status)
    return this.isDryRun && !this.#isCallerGone ? 'dry_run' : 'caller_gone'
  }

  #tellBreaker(reason: Reason | undefined): void {
    if (this.#pass === REFUSED) return // it was not asked, or said no
    const isFailure = reason !== undefined && isUpstreamFailure(reason) && !this.#isOwnDelay
    if (isFailure) this.#breaker?.onFailure(this.#pass)
    else if (this.#status !== undefined) this.#breaker?.onSuccess(this.#pass)
    else this.#breaker?.onUnknown(this.#pass)
  }

  /** The way out is done with the request. */
  #released(): void {
    if (this.#isReleased) return
    this.#isReleased = true
    this.#admission.destination.inFlight -= 1
    this.wipeWritten()
  }

  /** An answer may be over before its request has left: what is overwritten then would be sent. */
  wipeWritten(): void {
    const hasPlaintext = this.#ownsBody || this.#streaming !== undefined
    if (hasPlaintext && this.#sending?.isWriting === true) {
      setTimeout(wipeWritten, STILL_WRITING_MS, this)
    } else {
      this.#wipeBody()
    }
  }

  /** Only when nothing of it has to be written any more. */
  #wipeBody(): void {
    if (this.#ownsBody) this.#body?.fill(0)
    this.#body = undefined
    this.#text = undefined
    this.#ownsBody = false
    this.#streaming?.wipe()
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
      redactions: 0,
      isReplay: this.#isReplay,
      serverTiming: this.#timing(),
      mayHaveBeenSent,
      retryAfterSeconds: this.#retryAfterSeconds,
    }
  }

  /** Up to now, which is when a head goes out. */
  #timing(): string {
    const { startMark } = this.#admission
    const nowMark = performance.now()
    const dispatched = this.#dispatchMark || nowMark
    const sent = this.#sentMark || (this.#dispatchMark === 0 ? 0 : nowMark)
    const answered = this.#answerMark || (this.#sentMark === 0 ? 0 : nowMark)
    return serverTiming({
      vaultMs: dispatched - startMark,
      connectMs: sent === 0 ? undefined : sent - dispatched,
      upstreamMs: answered === 0 ? undefined : answered - sent,
      totalMs: nowMark - startMark,
    })
  }

  #partiesOfLines(): ProxyParties {
    if (this.#parties === undefined) {
      const { requestId, merchantId, profileId, caller, client, destination, origin } =
        this.#admission
      const { method, wishes } = this.#outbound as Outbound
      this.#parties = new ProxyParties({
        request: requestId,
        merchant: merchantId,
        profile: profileId,
        key: caller.keyId,
        client,
        destination: destination.name,
        origin,
        method,
        isDryRun: wishes.isDryRun,
      })
    }
    return this.#parties
  }
}

const newNonce = () => randomBytes(16).toString('hex')

function onTotalTimeout(exchange: Exchange): void {
  exchange.onTotalTimeout()
}

function lookAgain(exchange: Exchange): void {
  exchange.lookAgain()
}

function wipeWritten(exchange: Exchange): void {
  exchange.wipeWritten()
}

/** What Node will not write as a head, the destination should not have sent. */
function isUnusableHead(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return typeof code === 'string' && /^ERR_(HTTP_INVALID|INVALID_CHAR|INVALID_HTTP)/.test(code)
}
