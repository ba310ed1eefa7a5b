// How many requests a key may make: `count` at once, and then one more every `window_s / count` seconds. Over any
// stretch of t seconds that is never more than `count + t * count / window_s`. Keys are any strings; they are those of
// one process.
//
// This is a leaking bucket (GCRA in other words): two numbers for each key and a fixed cost for each request, where a
// log of time stamps needs `count` numbers, and counters of fixed windows let twice the count pass within a moment
// around the border between two. It also knows exactly when the next request may come. One request is `window_ms` units
// and `count` units leak away each millisecond, so that all sums are of whole numbers and exact at every border.
//
// Memory is bounded. A key whose bucket has run empty is like one that was never seen, so that forgetting it changes no
// answer. When more keys than that are busy, those without a place share one bucket: the table being full lets nobody
// through whom it would refuse otherwise, and takes nothing from those who have their place.

import type { Clock } from './clock.ts'

export type Limit = { readonly count: number; readonly window_s: number }

type Bucket = { units: number; atMs: number }

/** A hundred bytes and a key each. */
const MAX_KEYS = 100_000

export class RateLimiter {
  readonly #count: number
  readonly #windowMs: number
  readonly #clock: Clock
  readonly #maxKeys: number
  readonly #buckets = new Map<string, Bucket>()
  readonly #shared: Bucket = { units: 0, atMs: 0 }

  constructor(limit: Limit, clock: Clock, maxKeys = MAX_KEYS) {
    this.#count = limit.count
    this.#windowMs = limit.window_s * 1000
    this.#clock = clock
    this.#maxKeys = maxKeys
  }

  /** 0: the request may go, and is counted. Else it is not, and this is in how many seconds one may. */
  admit(key: string): number {
    const nowMs = this.#clock()
    const bucket = this.#bucketOf(key, nowMs)
    bucket.units = this.#unitsLeft(bucket, nowMs)
    bucket.atMs = nowMs
    const excess = bucket.units + this.#windowMs - this.#count * this.#windowMs
    if (excess > 0) return Math.ceil(excess / (this.#count * 1000))
    bucket.units += this.#windowMs
    return 0
  }

  /** Forgets keys that went quiet. To be called now and then. */
  sweep(): void {
    const nowMs = this.#clock()
    for (const [key, bucket] of this.#buckets) {
      if (this.#unitsLeft(bucket, nowMs) === 0) this.#buckets.delete(key)
    }
  }

  /** Keys that have a place. */
  get size(): number {
    return this.#buckets.size
  }

  #bucketOf(key: string, nowMs: number): Bucket {
    const known = this.#buckets.get(key)
    if (known !== undefined) return known
    if (this.#buckets.size >= this.#maxKeys) return this.#shared
    const bucket = { units: 0, atMs: nowMs }
    this.#buckets.set(key, bucket)
    return bucket
  }

  #unitsLeft(bucket: Bucket, nowMs: number): number {
    // While the clock is set back nothing leaks; from then on it goes on as before.
    const elapsedMs = Math.max(0, nowMs - bucket.atMs)
    return Math.max(0, bucket.units - elapsedMs * this.#count)
  }
}
