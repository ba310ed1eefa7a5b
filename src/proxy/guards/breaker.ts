// A circuit breaker, one for each destination: while it is down, requests are refused at once instead of each waiting
// for its own timeout, and one at a time is let through to see whether it is up again.
//
//   closed ──n failures in a row──▶ open ──open_ms──▶ half_open ──the probe succeeds──▶ closed
//                                     ▲                   │
//                                     └──the probe fails──┘
//
// An admission is a number, so that the closed state allocates nothing and reads no clock: the epoch in which the
// request was let through. Every change of state begins a new one, and only results of the present epoch count. What
// was sent before the breaker opened can therefore neither close it, nor keep it open for longer, nor open it again
// after a probe closed it, however late it ends.

import type { Clock } from '../../core/clock.ts'

export type BreakerSettings = {
  /** In a row. */
  readonly failures: number
  /** How long requests are refused before one is let through to try. */
  readonly open_ms: number
}

export type BreakerState = 'closed' | 'open' | 'half_open'

/** What `admit` answers when the request may not go. */
export const REFUSED = -1

export class Breaker {
  readonly #failuresToOpen: number
  readonly #openMs: number
  readonly #clock: Clock
  #state: BreakerState = 'closed'
  #epoch = 0
  #failuresInRow = 0
  #openedAtMs = 0
  #openedCount = 0

  constructor(settings: BreakerSettings, clock: Clock) {
    this.#failuresToOpen = settings.failures
    this.#openMs = settings.open_ms
    this.#clock = clock
  }

  /**
   * REFUSED, or an admission: whoever has one gives it back to one of the three below, whatever becomes of the request.
   * A probe that is never reported keeps every other request out.
   */
  admit(): number {
    if (this.#state === 'closed') return this.#epoch
    if (this.#state === 'half_open') return REFUSED
    const openForMs = this.#clock() - this.#openedAtMs
    // Below zero, the clock was set back: rather one probe too early than a destination held down for hours.
    if (openForMs >= 0 && openForMs < this.#openMs) return REFUSED
    this.#become('half_open')
    return this.#epoch
  }

  /** The destination answered. */
  onSuccess(admission: number): void {
    if (admission !== this.#epoch) return
    this.#failuresInRow = 0
    if (this.#state === 'half_open') this.#become('closed')
  }

  /** It could not be reached, or did not answer as it should. */
  onFailure(admission: number): void {
    if (admission !== this.#epoch) return
    if (this.#state === 'half_open') return this.#open()
    this.#failuresInRow += 1
    if (this.#failuresInRow < this.#failuresToOpen) return
    this.#openedCount += 1
    this.#open()
  }

  /** The request ended without telling: refused before it was sent, or its caller left. The next one may probe. */
  onUnknown(admission: number): void {
    if (admission === this.#epoch && this.#state === 'half_open') this.#become('open')
  }

  /** `open` until a request comes that may probe, even when `open_ms` have passed. */
  get state(): BreakerState {
    return this.#state
  }

  /** How often it has opened; a probe that fails prolongs the same outage and is not counted. */
  get openedCount(): number {
    return this.#openedCount
  }

  #open(): void {
    this.#openedAtMs = this.#clock()
    this.#become('open')
  }

  #become(state: BreakerState): void {
    this.#state = state
    this.#epoch += 1
  }
}
