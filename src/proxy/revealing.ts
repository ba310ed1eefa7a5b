// From placeholders to their values: look up ─▶ decide ─▶ audit ─▶ reveal. Nothing is revealed until everything that
// can refuse has agreed and the trail has the line. Calls its owner back, so that a request needs neither promises nor
// closures where everything is at hand.

import type { ProxyParties } from '../audit/event.ts'
import type { AuditTrail, AuditWaiter } from '../audit/trail.ts'
import type { RevealedCard } from '../core/card-fields.ts'
import type { Clock } from '../core/clock.ts'
import type { Reason } from '../core/errors.ts'
import type { Field } from '../core/field.ts'
import { type MerchantId, parsePaymentMethodId, parseTokenId } from '../core/ids.ts'
import { isPromise, type MaybePromise } from '../core/maybe-promise.ts'
import type { RevealedToken } from '../core/revealed-token.ts'
import type { CvcSlot, PaymentMethodRecord, Store, TokenRecord } from '../store/contract.ts'
import { decideReveal, isPaymentMethod, type Refused, type Stored, type Wanted } from './policy.ts'
import type { Found } from './scan/scanner.ts'
import { type Revealed, Values } from './values.ts'

export type RevealingDeps = {
  readonly store: Pick<
    Store,
    'findPaymentMethod' | 'findToken' | 'findCvc' | 'takeCvc' | 'returnCvc'
  >
  readonly reveal: (
    method: PaymentMethodRecord,
    cvc: CvcSlot | undefined,
    fields: readonly Field[],
    isDryRun: boolean,
  ) => MaybePromise<RevealedCard>
  readonly revealToken: (token: TokenRecord) => MaybePromise<RevealedToken>
  /** Told of each payment method that is about to be used: its last use is remembered. */
  readonly onRevealed: (method: PaymentMethodRecord) => void
  readonly audit: Pick<AuditTrail, 'append'>
  readonly clock: Clock
}

/**
 * Who asks, and what becomes of it: one of `onValues`, `onRefused` and `onFailed` is called, once, unless the owner is
 * over by then.
 */
export interface RevealingOwner {
  readonly isOver: boolean
  /** Nothing is used: what would be sent is shown. */
  readonly isDryRun: boolean
  readonly merchantId: MerchantId
  /** Of placeholders that name no token. */
  readonly token: string | undefined
  readonly codes: Codes
  /** Asked when all else agrees. */
  refusalOf(records: readonly Stored[]): Refused | undefined
  /** Who stands in the line that is written now. */
  onAgreed(): ProxyParties
  /** The owner wipes them. */
  onValues(values: Values): void
  onRefused(reason: Reason, field?: string): void
  onFailed(error: unknown): void
}

export class Revealing implements AuditWaiter {
  readonly #deps: RevealingDeps
  readonly #owner: RevealingOwner
  readonly #wanted: Wanted[] = []
  /** Where each token stands in `#wanted` and `#records`. */
  readonly #indexByToken = new Map<string, number>()
  #records: readonly Stored[] = []
  #codes: (CvcSlot | undefined)[] = []

  constructor(deps: RevealingDeps, owner: RevealingOwner) {
    this.#deps = deps
    this.#owner = owner
  }

  begin(all: readonly Found[]): void {
    const records: MaybePromise<Stored | undefined>[] = []
    let mustWait = false
    for (const placeholder of all) {
      const token = placeholder.token ?? this.#owner.token
      if (token === undefined) {
        return this.#owner.onRefused('placeholder_without_token', placeholder.field)
      }
      const index = this.#indexByToken.get(token)
      if (index !== undefined) {
        want(this.#wanted[index] as Wanted, placeholder)
        continue
      }
      this.#indexByToken.set(token, this.#wanted.length)
      const wanted: Wanted = { token, fields: [], needed: [] }
      want(wanted, placeholder)
      this.#wanted.push(wanted)
      const record = this.#find(token)
      mustWait ||= isPromise(record)
      records.push(record)
    }
    if (mustWait) {
      Promise.all(records)
        .then((found) => this.#decide(found))
        .catch((error) => this.#owner.onFailed(error))
    } else {
      this.#decide(records as (Stored | undefined)[])
    }
  }

  #find(token: string): MaybePromise<Stored | undefined> {
    const { store } = this.#deps
    const { merchantId } = this.#owner
    const methodId = parsePaymentMethodId(token)
    if (methodId !== undefined) return store.findPaymentMethod(merchantId, methodId)
    const tokenId = parseTokenId(token)
    return tokenId === undefined ? undefined : store.findToken(merchantId, tokenId)
  }

  #decide(found: readonly (Stored | undefined)[]): void {
    if (this.#owner.isOver) return
    const decision = decideReveal(this.#wanted, found, this.#deps.clock())
    if (decision.kind === 'refuse') {
      return this.#owner.onRefused(decision.reason, decision.field)
    }
    const refusal = this.#owner.refusalOf(decision.records)
    if (refusal !== undefined) return this.#owner.onRefused(refusal.reason, refusal.field)
    this.#records = decision.records
    this.#deps.audit.append(
      {
        kind: 'reveal',
        tokens: decision.records.map((record, index) => ({
          token: record.id,
          fields: (this.#wanted[index] as Wanted).fields,
        })),
        parties: this.#owner.onAgreed(),
      },
      this,
    )
  }

  /** The line is with the operating system, or there is no reveal. */
  onAudited(error: unknown): void {
    if (this.#owner.isOver) return
    if (error !== undefined) return this.#owner.onRefused('audit_unavailable')
    try {
      const wantsCode = this.#wanted.some(({ fields }) => fields.includes('card_cvc'))
      if (wantsCode) this.#revealWithCodes().catch((cause) => this.#owner.onFailed(cause))
      else this.#reveal()
    } catch (cause) {
      this.#owner.onFailed(cause)
    }
  }

  /** Taken before anything is sent, on disk: of two requests that race for a code, one gets it. */
  async #revealWithCodes(): Promise<void> {
    for (const [index, record] of this.#records.entries()) {
      const { fields, needed } = this.#wanted[index] as Wanted
      if (!fields.includes('card_cvc') || !isPaymentMethod(record)) continue
      this.#codes[index] = await this.#owner.codes.take(record)
      if (this.#owner.isOver) return void this.#owner.codes.giveBack()
      if (this.#codes[index] === undefined && needed.includes('card_cvc')) {
        return this.#owner.onRefused('cvc_not_available', 'card_cvc')
      }
    }
    this.#reveal()
  }

  #reveal(): void {
    const opened: MaybePromise<Revealed>[] = []
    try {
      for (const [index, record] of this.#records.entries()) {
        opened.push(
          isPaymentMethod(record)
            ? this.#deps.reveal(
                record,
                this.#codes[index],
                (this.#wanted[index] as Wanted).fields,
                this.#owner.isDryRun,
              )
            : this.#deps.revealToken(record),
        )
      }
    } catch (error) {
      // One of them does not open: what was opened before it goes.
      for (const each of opened) Promise.resolve(each).then(wipe, () => {})
      throw error
    }
    if (opened.some(isPromise)) {
      Promise.allSettled(opened)
        .then((settled) => {
          const failed = settled.find((result) => result.status === 'rejected')
          const revealed = settled.flatMap((result) =>
            result.status === 'fulfilled' ? [result.value] : [],
          )
          if (failed === undefined) return this.#handOver(revealed)
          for (const each of revealed) each.wipe()
          throw failed.reason
        })
        .catch((error) => this.#owner.onFailed(error))
      return
    }
    this.#handOver(opened as Revealed[])
  }

  #handOver(revealed: readonly Revealed[]): void {
    const owner = this.#owner
    const values = new Values(revealed, this.#indexByToken, owner.token)
    if (owner.isOver) {
      values.wipe()
      return void owner.codes.giveBack()
    }
    // A code whose key has been destroyed meanwhile.
    const lacksCode = revealed.some(
      (each, index) =>
        (this.#wanted[index] as Wanted).needed.includes('card_cvc') &&
        'field' in each &&
        each.field('card_cvc') === undefined,
    )
    if (lacksCode) {
      values.wipe()
      return owner.onRefused('cvc_not_available', 'card_cvc')
    }
    if (!owner.isDryRun) {
      for (const record of this.#records) {
        if (isPaymentMethod(record)) this.#deps.onRevealed(record)
      }
    }
    owner.onValues(values)
  }
}

function want(wanted: Wanted, { field, filters }: Found): void {
  if (!wanted.fields.includes(field)) wanted.fields.push(field)
  const hasDefault = filters.length > 0 && filters.some(({ kind }) => kind === 'default')
  if (!hasDefault && !wanted.needed.includes(field)) wanted.needed.push(field)
}

function wipe(revealed: Revealed): void {
  revealed.wipe()
}

/** Where the codes of one request come from. */
export interface Codes {
  /** Undefined when there is none, or it has expired. */
  take(method: PaymentMethodRecord): Promise<CvcSlot | undefined>
  giveBack(): Promise<unknown> | undefined
}

/** Codes that were taken for one request: used again within it, and given back if it provably never left. */
export class TakenCodes implements Codes {
  readonly #store: RevealingDeps['store']
  readonly #clock: Clock
  readonly #onBug: (error: unknown) => void
  #taken: Map<PaymentMethodRecord['id'], { method: PaymentMethodRecord; code: CvcSlot }> | undefined

  constructor(store: RevealingDeps['store'], clock: Clock, onBug: (error: unknown) => void) {
    this.#store = store
    this.#clock = clock
    this.#onBug = onBug
  }

  /** One that has expired is gone. */
  async take(method: PaymentMethodRecord): Promise<CvcSlot | undefined> {
    const known = this.#taken?.get(method.id)
    if (known !== undefined) return known.code
    const code = await this.#store.takeCvc(method.merchantId, method.id)
    if (code === undefined || code.expiresAtMs <= this.#clock()) return undefined
    this.#taken ??= new Map()
    this.#taken.set(method.id, { method, code })
    return code
  }

  /** Settles when they are there again; undefined when none had been taken. */
  giveBack(): Promise<unknown> | undefined {
    if (this.#taken === undefined) return undefined
    const returned = [...this.#taken.values()].map(({ method, code }) =>
      this.#store.returnCvc(method.merchantId, method.id, code).catch(this.#onBug),
    )
    this.#taken = undefined
    return Promise.all(returned)
  }
}

/** Codes that are looked at and stay where they are. */
export class SeenCodes implements Codes {
  readonly #store: RevealingDeps['store']
  readonly #clock: Clock

  constructor(store: RevealingDeps['store'], clock: Clock) {
    this.#store = store
    this.#clock = clock
  }

  async take(method: PaymentMethodRecord): Promise<CvcSlot | undefined> {
    const code = await this.#store.findCvc(method.merchantId, method.id)
    return code === undefined || code.expiresAtMs <= this.#clock() ? undefined : code
  }

  giveBack(): undefined {
    return undefined
  }
}
