// Two guards against card testing. Somebody who has got hold of a proxy key, and of card numbers or of tokens, makes
// small payments with one after the other to learn which of them work, and sells those. None of these requests is wrong
// by itself, and to the PSP all of them come from the merchant, who pays for them and may lose the account. What gives
// them away is what one key does over some time:
//
// - It uses ever new payment methods, where a merchant's own system charges as many as it has customers at that hour.
//   `distinct_payment_methods_per_key` bounds how many different tokens a key may use: the first too many is refused,
//   those it has used within the window still pass, so that business under way goes on.
// - Most of what it tries is declined. `declines_per_key` stops the key from having anything revealed once that many
//   declines have come back: also when it is one card whose code or expiry is guessed, which the first does not see.
//   Requests in flight are not called back, so what a burst can learn is bounded by the first.
//
// Both windows slide and are exact: something counts for `window_s` from when it happened, to the millisecond. Two
// buckets and a weighted sum would need less memory, but a guard that operators tune to just above their own traffic
// should not refuse by an estimate. Memory is bounded by `count` for each API key; keys are made by operators, so a
// caller cannot add any. Set back, the clock makes the guards hold for longer, never for shorter. The counts are those
// of one process.

import type { Clock } from '../../core/clock.ts'
import type { Limit } from '../../core/rate-limiter.ts'

/** Each is off when it is absent. */
export type CardTestingSettings = {
  readonly distinct_payment_methods_per_key?: Limit | undefined
  readonly declines_per_key?: Limit | undefined
}

export class CardTestingGuard {
  readonly #methods: DistinctMethods | undefined
  readonly #declines: Declines | undefined
  readonly #clock: Clock

  constructor(settings: CardTestingSettings, clock: Clock) {
    const { distinct_payment_methods_per_key: methods, declines_per_key: declines } = settings
    this.#methods = methods === undefined ? undefined : new DistinctMethods(methods)
    this.#declines = declines === undefined ? undefined : new Declines(declines)
    this.#clock = clock
  }

  /**
   * Of a request about to have these tokens revealed. 0: it may, and its tokens are counted. Else nothing is counted,
   * and this is in how many seconds it may be worth trying again.
   */
  admit(keyId: string, tokens: readonly string[]): number {
    if (tokens.length === 0) return 0
    if (this.#methods === undefined && this.#declines === undefined) return 0
    const nowMs = this.#clock()
    const waitMs =
      this.#declines?.waitMs(keyId, nowMs) || this.#methods?.admit(keyId, tokens, nowMs) || 0
    return Math.ceil(waitMs / 1000)
  }

  /** A request that had something revealed was declined. */
  onDecline(keyId: string): void {
    this.#declines?.add(keyId, this.#clock())
  }

  /** Forgets what no window reaches back to. To be called now and then. */
  sweep(): void {
    const nowMs = this.#clock()
    this.#methods?.sweep(nowMs)
    this.#declines?.sweep(nowMs)
  }

  /** API keys of which something is remembered. */
  get size(): number {
    return (this.#methods?.size ?? 0) + (this.#declines?.size ?? 0)
  }
}

class DistinctMethods {
  readonly #count: number
  readonly #windowMs: number
  readonly #byKey = new Map<string, RecentTokens>()

  constructor(limit: Limit) {
    this.#count = limit.count
    this.#windowMs = limit.window_s * 1000
  }

  /** All of the tokens or none. Answers with the milliseconds to wait. */
  admit(keyId: string, tokens: readonly string[], nowMs: number): number {
    let recent = this.#byKey.get(keyId)
    if (recent === undefined) {
      recent = new RecentTokens()
      this.#byKey.set(keyId, recent)
    }
    recent.forgetUntil(nowMs - this.#windowMs)
    const added = recent.countNew(tokens)
    const excess = recent.size + added - this.#count
    if (excess > 0) {
      const makesRoom = recent.oldest(excess)
      // More in one request than a window has room for: waiting does not help it.
      if (makesRoom === undefined) return this.#windowMs
      return makesRoom.lastMs + this.#windowMs - nowMs
    }
    for (const token of tokens) recent.use(token, nowMs)
    return 0
  }

  sweep(nowMs: number): void {
    for (const [keyId, recent] of this.#byKey) {
      recent.forgetUntil(nowMs - this.#windowMs)
      if (recent.size === 0) this.#byKey.delete(keyId)
    }
  }

  get size(): number {
    return this.#byKey.size
  }
}

type Use = {
  readonly token: string
  lastMs: number
  older: Use | undefined
  newer: Use | undefined
}

/**
 * Tokens in the order of their last use. Linked, because a Map that is kept in this order by deleting and setting again
 * has to step over all the gaps at its front to find the oldest.
 */
class RecentTokens {
  readonly #uses = new Map<string, Use>()
  #oldest: Use | undefined
  #newest: Use | undefined

  get size(): number {
    return this.#uses.size
  }

  /** How many different ones of these are not among them. */
  countNew(tokens: readonly string[]): number {
    return new Set(tokens.filter((token) => !this.#uses.has(token))).size
  }

  use(token: string, nowMs: number): void {
    let use = this.#uses.get(token)
    if (use === undefined) {
      use = { token, lastMs: nowMs, older: undefined, newer: undefined }
      this.#uses.set(token, use)
    } else {
      this.#unlink(use)
      use.lastMs = nowMs
    }
    use.older = this.#newest
    use.newer = undefined
    if (this.#newest === undefined) this.#oldest = use
    else this.#newest.newer = use
    this.#newest = use
  }

  /** Those last used at `ms` or before. */
  forgetUntil(ms: number): void {
    while (this.#oldest !== undefined && this.#oldest.lastMs <= ms) {
      this.#uses.delete(this.#oldest.token)
      this.#unlink(this.#oldest)
    }
  }

  /** 1: the oldest, 2: the one after it. */
  oldest(nth: number): Use | undefined {
    let use = this.#oldest
    for (let i = 1; i < nth; i++) use = use?.newer
    return use
  }

  #unlink(use: Use): void {
    if (use.older === undefined) this.#oldest = use.newer
    else use.older.newer = use.newer
    if (use.newer === undefined) this.#newest = use.older
    else use.newer.older = use.older
  }
}

/** When the last `count` declines were; `next` is where the following one goes, in place of the oldest. */
type Ring = { readonly times: number[]; next: number }

class Declines {
  readonly #count: number
  readonly #windowMs: number
  readonly #byKey = new Map<string, Ring>()

  constructor(limit: Limit) {
    this.#count = limit.count
    this.#windowMs = limit.window_s * 1000
  }

  add(keyId: string, nowMs: number): void {
    let ring = this.#byKey.get(keyId)
    if (ring === undefined) {
      ring = { times: [], next: 0 }
      this.#byKey.set(keyId, ring)
    }
    ring.times[ring.next] = nowMs
    ring.next = (ring.next + 1) % this.#count
  }

  /** 0 unless `count` declines are within the window: then until the oldest of them is not. */
  waitMs(keyId: string, nowMs: number): number {
    const ring = this.#byKey.get(keyId)
    // Before it is full there is nothing yet where the next one goes.
    const oldestMs = ring?.times[ring.next]
    return oldestMs === undefined ? 0 : Math.max(0, oldestMs + this.#windowMs - nowMs)
  }

  sweep(nowMs: number): void {
    for (const [keyId, { times, next }] of this.#byKey) {
      const newestMs = times[(next + this.#count - 1) % this.#count] as number
      if (newestMs + this.#windowMs <= nowMs) this.#byKey.delete(keyId)
    }
  }

  get size(): number {
    return this.#byKey.size
  }
}
