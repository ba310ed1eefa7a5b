// Bodies that are not what they say they are: they pass as long as nothing in them looks like a placeholder.

import { nextOpener, openerAt } from '../placeholder.ts'
import { Refusal } from '../refusal.ts'
import { DisguiseWatch } from './disguise.ts'
import type { Found, Scanner } from './scanner.ts'

/** Refuses whatever looks like a placeholder. */
export class RefusingScanner implements Scanner {
  readonly #reason: 'malformed_body' | 'value_not_encodable'

  constructor(reason: 'malformed_body' | 'value_not_encodable') {
    this.#reason = reason
  }

  scan(window: Buffer, isLast: boolean): number {
    const opener = nextOpener(window, 0, isLast)
    if (opener === -1) return window.length
    if (openerAt(window, opener) === 'yes') throw new Refusal(this.#reason)
    return opener
  }
}

/**
 * A text that is not well formed is none of our business as long as no placeholder stands in it: it passes as it is.
 * One that comes in windows is known to have none only at its end.
 */
export class LenientScanner implements Scanner {
  #scanner: Scanner
  readonly #watch: DisguiseWatch
  #isLooking: boolean
  #hasFound = false

  /** `watch`: undefined where the scanner looks at what it decodes itself. */
  constructor(scanner: Scanner, watch: DisguiseWatch | undefined) {
    this.#scanner = scanner
    this.#watch = watch ?? new DisguiseWatch()
    this.#isLooking = watch !== undefined
  }

  scan(window: Buffer, isLast: boolean, found: Found[]): number {
    const before = found.length
    let reached: number
    try {
      reached = this.#scanner.scan(window, isLast, found)
    } catch (error) {
      const isMalformed = error instanceof Refusal && error.reason === 'malformed_body'
      if (!isMalformed || this.#hasFound || found.length > before) throw error
      this.#scanner = new RefusingScanner('malformed_body')
      this.#isLooking = true
      reached = this.#scanner.scan(window, isLast, found)
    }
    this.#hasFound ||= found.length > before
    const passed = window.subarray(0, reached)
    if (this.#isLooking) this.#watch.look(passed)
    else this.#watch.follow(passed)
    return reached
  }
}
