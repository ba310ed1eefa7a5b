// One proxied request from "may this be sent?" to its last byte. It is the handler object that the audit trail and
// undici call back, so that a request needs neither promises nor closures where everything is at hand:
//
//   begin ─▶ scan ─▶ decide ─▶ audit ─▶ reveal ─▶ splice ─▶ send ─▶ relay
//
// Nothing is revealed until everything that can refuse has agreed. Plaintext is overwritten when the exchange ends,
// however it ends. No request is ever sent twice.

import type { Dispatcher } from 'undici'
import { ProxyParties } from '../audit/event.ts'
import type { AuditTrail, AuditWaiter } from '../audit/trail.ts'
import type { Caller } from '../core/caller.ts'
import type { CardField, RevealedCard } from '../core/card-fields.ts'
import type { Clock } from '../core/clock.ts'
import type { ErrorDetails, Reason } from '../core/errors.ts'
import {
  type MerchantId,
  type ProfileId,
  parsePaymentMethodId,
  type RequestId,
} from '../core/ids.ts'
import { isPromise, type MaybePromise } from '../core/maybe-promise.ts'
import type { CvcSlot, PaymentMethodRecord, Store } from '../store/contract.ts'
import type { PolicyRow } from './destination.ts'
import type { Destination } from './destinations.ts'
import type { Origin } from './origin.ts'
import { type Outbound, type Scan, scanOutbound } from './outbound.ts'
import { isNormalPath, isPlainQuery } from './path-rule.ts'
import { decidePlaces, decideReveal, findRow, type Wanted } from './policy.ts'
import type { AnswerFacts, Flow, Relay } from './relay.ts'
import { splice, spliceText, type ValueFor, ValueNotEncodable } from './splice.ts'
import type { ProxyStats } from './stats.ts'
import { upstreamFailure } from './verdict.ts'

export type ExchangeDeps = {
  readonly store: Pick<Store, 'findPaymentMethod' | 'takeCvc' | 'returnCvc'>
  readonly reveal: (
    method: PaymentMethodRecord,
    cvc: CvcSlot | undefined,
  ) => MaybePromise<RevealedCard>
  readonly audit: Pick<AuditTrail, 'append'>
  readonly clock: Clock
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

type State = 'deciding' | 'auditing' | 'revealing' | 'queued' | 'sent' | 'answered' | 'done'

export class Exchange implements AuditWaiter, Dispatcher.DispatchHandler, Flow {
  readonly #deps: ExchangeDeps
  readonly #admission: Admission
  readonly #relay: Relay
  readonly #onRefused: (
    reason: Reason,
    facts: AnswerFacts,
    details: ErrorDetails | undefined,
  ) => void
  #state: State = 'deciding'
  #outbound: Outbound | undefined
  #row: PolicyRow | undefined
  #scan: Scan | undefined
  readonly #wanted: Wanted[] = []
  /** Where each token stands in `#wanted`, `#methods` and `#codes`. */
  readonly #wantedByToken = new Map<string, number>()
  #methods: readonly PaymentMethodRecord[] = []
  /** Codes that were taken for this request, by place in `#methods`; given back if it provably never left. */
  #codes: (CvcSlot | undefined)[] = []
  #body: Buffer | undefined
  #ownsBody = false
  #status: number | undefined
  #received = 0
  #substitutions = ''
  #controller: Dispatcher.DispatchController | undefined
  #timer: NodeJS.Timeout | undefined
  #isCallerGone = false
  #isDispatched = false
  #isReleased = false
  #parties: ProxyParties | undefined

  constructor(
    deps: ExchangeDeps,
    admission: Admission,
    relay: Relay,
    /** Tells the caller an error of ours; asked for only while the relay has not sent a head. */
    onRefused: (reason: Reason, facts: AnswerFacts, details: ErrorDetails | undefined) => void,
  ) {
    this.#deps = deps
    this.#admission = admission
    this.#relay = relay
    this.#onRefused = onRefused
    admission.destination.inFlight += 1
    deps.stats.inFlight += 1
  }

  begin(outbound: Outbound): void {
    try {
      this.#begin(outbound)
    } catch (error) {
      this.#failed(error)
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
    const scan = scanOutbound(outbound, row.wantsBodyPlaces)
    if (typeof scan === 'string') return this.#refuse(scan)
    this.#scan = scan
    const count = scan.all.length
    const expected = outbound.expectedSubstitutions
    const isTooFew = count === 0 && this.#admission.destination.settings.require_placeholder
    if (isTooFew || (expected !== undefined && expected !== count)) {
      return this.#refuse('substitutions_mismatch')
    }
    if (count === 0) return this.#send(outbound.body)

    const refusal = decidePlaces(row, scan.all)
    if (refusal !== undefined) return this.#refuse(refusal.reason, refusal.field)
    const { store } = this.#deps
    const { merchantId } = this.#admission
    const records: MaybePromise<PaymentMethodRecord | undefined>[] = []
    let mustWait = false
    const byToken = this.#wantedByToken
    for (const { token: named, field } of scan.all) {
      const token = named ?? outbound.token
      if (token === undefined) return this.#refuse('placeholder_without_token', field)
      const index = byToken.get(token)
      if (index !== undefined) {
        const { fields } = this.#wanted[index] as Wanted
        if (!fields.includes(field)) fields.push(field)
        continue
      }
      byToken.set(token, this.#wanted.length)
      this.#wanted.push({ token, fields: [field] })
      const id = parsePaymentMethodId(token)
      if (id === undefined) return this.#refuse('token_not_found')
      const record = store.findPaymentMethod(merchantId, id)
      mustWait ||= isPromise(record)
      records.push(record)
    }
    if (mustWait)
      Promise.all(records)
        .then((found) => this.#decide(found))
        .catch((error) => this.#failed(error))
    else this.#decide(records as (PaymentMethodRecord | undefined)[])
  }

  #decide(records: readonly (PaymentMethodRecord | undefined)[]): void {
    if (this.#state === 'done') return
    const decision = decideReveal(this.#wanted, records, this.#deps.clock())
    if (decision.kind === 'refuse') return this.#refuse(decision.reason, decision.field)
    this.#methods = decision.methods
    this.#state = 'auditing'
    this.#deps.audit.append(
      {
        kind: 'reveal',
        tokens: decision.methods.map((method, index) => ({
          token: method.id,
          fields: (this.#wanted[index] as Wanted).fields,
        })),
        parties: this.#partiesOfLines(),
      },
      this,
    )
  }

  /** The line is with the operating system, or there is no reveal. */
  onAudited(error: unknown): void {
    if (this.#state === 'done') return
    if (error !== undefined) return this.#refuse('audit_unavailable')
    this.#state = 'revealing'
    try {
      const wantsCode = this.#wanted.some(({ fields }) => fields.includes('card_cvc'))
      if (wantsCode) this.#revealWithCodes().catch((cause) => this.#failed(cause))
      else this.#reveal()
    } catch (cause) {
      this.#failed(cause)
    }
  }

  #reveal(): void {
    const cards: MaybePromise<RevealedCard>[] = []
    try {
      for (const [index, method] of this.#methods.entries()) {
        cards.push(this.#deps.reveal(method, this.#codes[index]))
      }
    } catch (error) {
      // One of them does not open: what was opened before it goes.
      for (const card of cards) Promise.resolve(card).then(wipe, () => {})
      throw error
    }
    if (cards.some(isPromise)) {
      Promise.allSettled(cards)
        .then((settled) => {
          const failed = settled.find((result) => result.status === 'rejected')
          const opened = settled.flatMap((result) =>
            result.status === 'fulfilled' ? [result.value] : [],
          )
          if (failed === undefined) return this.#substitute(opened)
          for (const card of opened) card.wipe()
          throw failed.reason
        })
        .catch((error) => this.#failed(error))
      return
    }
    this.#substitute(cards as RevealedCard[])
  }

  /** Taken before anything is sent, on disk: of two requests that race for a code, one gets it. */
  async #revealWithCodes(): Promise<void> {
    const { store, clock } = this.#deps
    for (const [index, method] of this.#methods.entries()) {
      if (!(this.#wanted[index] as Wanted).fields.includes('card_cvc')) continue
      const code = await store.takeCvc(method.merchantId, method.id)
      this.#codes[index] = code
      if (this.#isDone()) return this.#returnCodes()
      if (code === undefined || code.expiresAtMs <= clock()) {
        if (code !== undefined) this.#codes[index] = undefined // expired: not given back
        return this.#refuse('cvc_not_available', 'card_cvc')
      }
    }
    this.#reveal()
  }

  #isDone(): boolean {
    return this.#state === 'done'
  }

  #substitute(cards: readonly RevealedCard[]): void {
    const outbound = this.#outbound as Outbound
    const scan = this.#scan as Scan
    try {
      if (this.#isDone()) return this.#returnCodes()
      const missingCode = cards.some(
        (card, index) =>
          (this.#wanted[index] as Wanted).fields.includes('card_cvc') &&
          card.field('card_cvc') === undefined,
      )
      if (missingCode) return this.#refuse('cvc_not_available', 'card_cvc')
      const valueFor: ValueFor = ({ token: named, field }) => {
        const token = named ?? outbound.token
        return cards[this.#wantedByToken.get(token ?? '') ?? -1]?.field(field)
      }
      const bodyValueFor: ValueFor = outbound.mediaType.isUtf8
        ? valueFor
        : (found) => asciiOnly(valueFor(found))
      let { path, query, body } = outbound
      for (const { at, found } of scan.headers) {
        outbound.headers[at] = spliceText(outbound.headers[at] as string, found, valueFor)
      }
      if (scan.path.length > 0) {
        path = spliceText(path, scan.path, valueFor)
        // A value must not turn the path into one that another row, or none, is about.
        const { rows } = this.#admission.destination
        if (!isNormalPath(path) || findRow(rows, outbound.method, path) !== this.#row) {
          throw new ValueNotEncodable()
        }
      }
      if (scan.query.length > 0) query = spliceText(query, scan.query, valueFor)
      if (body !== undefined && scan.body.length > 0) {
        body = splice(body, scan.body, bodyValueFor)
        this.#ownsBody = true
      }
      this.#substitutions = countFields(scan)
      this.#deps.stats.reveals += cards.length
      this.#deps.stats.substitutions += scan.all.length
      this.#send(body, path, query)
    } catch (error) {
      if (!(error instanceof ValueNotEncodable)) throw error
      this.#refuse('value_not_encodable')
    } finally {
      for (const card of cards) card.wipe()
    }
  }

  #send(body: Buffer | undefined, path?: string, query?: string): void {
    const outbound = this.#outbound as Outbound
    this.#body = body
    this.#state = 'queued'
    this.#isDispatched = true
    const { destination, origin } = this.#admission
    destination.pool(origin).dispatch(
      {
        method: outbound.method as Dispatcher.HttpMethod,
        path: `${path ?? outbound.path}${query ?? outbound.query}`,
        headers: outbound.headers,
        body: body ?? null,
      },
      this,
    )
  }

  // ---- undici's side. From onRequestStart on, the destination may see the request.

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    if (this.#isDone()) {
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
    if (this.#isDone()) return
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
    if (this.#isDone()) return
    this.#finish(undefined, this.#relay.onEnd(this.#facts()) === 'cut')
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    this.#released()
    if (this.#isDone()) return
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
    if (this.#isDone()) return
    const wasSent = this.#state === 'sent' || this.#state === 'answered'
    this.#refuse(wasSent ? 'upstream_timeout' : 'upstream_connect_timeout')
    this.#controller?.abort(new Error('timed out'))
  }

  /**
   * The caller's connection closed early. What has not left is not sent any more; what may have left is waited for up
   * to its head, so that the audit trail knows what came of it.
   */
  onCallerGone(): void {
    if (this.#isDone()) return
    this.#isCallerGone = true
    if (this.#state === 'sent') return
    if (this.#state === 'answered') this.#controller?.abort(new Error('the caller has gone'))
    else {
      this.#returnCodes()
      this.#wipeBody()
    }
    this.#finish(undefined, true)
  }

  // ---- Ends.

  #failed(error: unknown): void {
    if (this.#isDone()) return
    this.#deps.onBug(this.#admission.requestId, error)
    this.#refuse('internal_error')
  }

  #refuse(reason: Reason, field?: CardField): void {
    const wasSent = this.#state === 'sent' || this.#state === 'answered'
    if (!wasSent) {
      this.#returnCodes()
      // Queued, it will not be written any more: onRequestStart refuses it.
      this.#wipeBody()
    }
    const isCut = this.#relay.isHeadSent
    this.#finish(reason, isCut)
    try {
      if (isCut) this.#relay.onCut()
      else this.#onRefused(reason, this.#facts(), field === undefined ? undefined : { field })
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

  /** The request provably never left: its codes have not been used. */
  #returnCodes(): void {
    for (const [index, code] of this.#codes.entries()) {
      const method = this.#methods[index]
      if (code === undefined || method === undefined) continue
      this.#codes[index] = undefined
      this.#deps.store
        .returnCvc(method.merchantId, method.id, code)
        .catch((error) => this.#deps.onBug(this.#admission.requestId, error))
    }
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
    this.#ownsBody = false
  }

  #facts(): AnswerFacts {
    return {
      requestId: this.#admission.requestId,
      upstreamStatus: this.#status,
      substitutions: this.#substitutions,
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

function wipe(card: RevealedCard): void {
  card.wipe()
}

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

function asciiOnly(value: Uint8Array | undefined): Uint8Array | undefined {
  return value?.every((byte) => byte < 0x80) ? value : undefined
}

function countFields(scan: Scan): string {
  const counts = new Map<CardField, number>()
  for (const { field } of scan.all) counts.set(field, (counts.get(field) ?? 0) + 1)
  let text = ''
  for (const [field, count] of counts) text += `${text === '' ? '' : ', '}${field}=${count}`
  return text
}
