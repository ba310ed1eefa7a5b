// One time limit after the other, each in place of the one before, and no timer of its own for each: a timer that is
// running goes on, and looks when it fires whether it was too early.

export class Deadline {
  readonly #onPassed: () => void
  readonly #onTimer = () => this.#look()
  readonly #onLookedAround = () => this.#decide()
  #timer: NodeJS.Timeout | undefined
  /** Both by `performance.now()`. */
  #atMark = Number.POSITIVE_INFINITY
  #firesAtMark = Number.POSITIVE_INFINITY

  constructor(onPassed: () => void) {
    this.#onPassed = onPassed
  }

  /** From now on. */
  set(ms: number): void {
    this.#atMark = performance.now() + ms
    if (this.#atMark < this.#firesAtMark) this.#arm(ms)
  }

  clear(): void {
    this.#atMark = Number.POSITIVE_INFINITY
  }

  /** For good. */
  end(): void {
    this.clear()
    clearTimeout(this.#timer)
  }

  #arm(ms: number): void {
    clearTimeout(this.#timer)
    this.#firesAtMark = this.#atMark
    // Whatever waits has a socket that keeps the process alive.
    this.#timer = setTimeout(this.#onTimer, ms).unref()
  }

  #look(): void {
    this.#firesAtMark = Number.POSITIVE_INFINITY
    const leftMs = this.#atMark - performance.now()
    if (leftMs === Number.POSITIVE_INFINITY) return
    if (leftMs >= 1)
      this.#arm(leftMs) // timers count whole milliseconds
    // A process that was busy looks at its timers before it looks at what has come in time.
    else setImmediate(this.#onLookedAround)
  }

  #decide(): void {
    if (this.#atMark - performance.now() >= 1) return // and another timer runs for it
    this.clear()
    this.#onPassed()
  }
}
