// Figures of the data plane: plain numbers that the hot path adds to and the metrics endpoint reads.

import type { Reason } from '../core/errors.ts'

/** Upper bounds in seconds. */
export const DURATION_BUCKETS = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
] as const

/**
 * What became of a request: a class of status of the destination, our reason, a caller that left before there was
 * either, or a dry run.
 */
export type Outcome = (typeof CLASSES)[number] | Reason | 'caller_gone' | 'dry_run'

export class ProxyStats {
  readonly requests = new Map<Outcome, number>()
  readonly durationCounts: number[] = new Array(DURATION_BUCKETS.length + 1).fill(0)
  durationSumSeconds = 0
  reveals = 0
  substitutions = 0
  /** Places that were masked or redacted in answers. */
  redactions = 0
  /** Requests sent once more on another connection. */
  retries = 0
  /** Stored answers given again. */
  replays = 0
  /** Values of answers that were kept with a payment method. */
  captures = 0
  inFlight = 0

  finished(outcome: Outcome, durationMs: number): void {
    this.requests.set(outcome, (this.requests.get(outcome) ?? 0) + 1)
    const seconds = durationMs / 1000
    this.durationSumSeconds += seconds
    let bucket = 0
    while (bucket < DURATION_BUCKETS.length && seconds > (DURATION_BUCKETS[bucket] as number))
      bucket += 1
    this.durationCounts[bucket] = (this.durationCounts[bucket] as number) + 1
  }
}

const CLASSES = ['1xx', '2xx', '3xx', '4xx', '5xx'] as const

export function classOf(status: number): (typeof CLASSES)[number] {
  return CLASSES[Math.floor(status / 100) - 1] ?? '5xx'
}
