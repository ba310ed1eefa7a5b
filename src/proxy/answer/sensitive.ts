// What a request has revealed that must not come back in its answer: copies of their own, because the values it came
// from are overwritten before the request leaves. Overwritten when the exchange is over.

import { wipeableBuffer } from '../../core/wipeable.ts'
import type { Sensitive } from '../leak-guard/leak-guard.ts'
import { Refusal } from '../refusal.ts'
import type { Found } from '../scan/scanner.ts'
import type { Values } from '../values.ts'

/** An answer is searched for each: a hostile one to a request with a thousand would cost seconds. */
const MAX_SENSITIVE = 100

export class Sensitives {
  readonly #list: Sensitive[] = []
  // A streamed body names the same ones over and over.
  readonly #numbers = new Set<string>()
  #hasCode = false
  #hasHash = false

  get list(): readonly Sensitive[] {
    return this.#list
  }

  /** Throws Refusal when it is more than an answer can be searched for. */
  add(found: readonly Found[], values: Values): void {
    for (const placeholder of found) {
      if (this.#list.length > MAX_SENSITIVE) throw new Refusal('body_too_large', placeholder.field)
      const { field, token = '', filters } = placeholder
      if (field === 'card_cvc') {
        if (!this.#hasCode) this.#list.push({ kind: 'code' })
        this.#hasCode = true
      } else if (field === 'card_number') {
        if (!this.#numbers.has(token)) this.#addNumber(token, values.raw(placeholder))
        if (this.#hasHash || !filters.some(({ kind }) => kind === 'sha256')) continue
        this.#list.push({ kind: 'hash' })
        this.#hasHash = true
      }
    }
  }

  wipe(): void {
    for (const each of this.#list) if (each.kind === 'number') each.digits.fill(0)
    this.#list.length = 0
  }

  #addNumber(token: string, digits: Uint8Array | undefined): void {
    this.#numbers.add(token)
    if (digits !== undefined) this.#list.push({ kind: 'number', digits: copyOf(digits) })
  }
}

function copyOf(bytes: Uint8Array): Buffer {
  const copy = wipeableBuffer(bytes.length)
  copy.set(bytes)
  return copy
}
