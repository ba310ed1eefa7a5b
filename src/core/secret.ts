// A value that cannot print itself: templates, JSON, util.inspect and error causes show `[secret]`.
// It guards against accidents, not against code that calls `reveal()`; grep for that to audit.

import { inspect } from 'node:util'

const SHOWN = '[secret]'

export class Secret<T> {
  readonly #value: T

  constructor(value: T) {
    this.#value = value
  }

  reveal(): T {
    return this.#value
  }

  toString(): string {
    return SHOWN
  }

  toJSON(): string {
    return SHOWN
  }

  [inspect.custom](): string {
    return SHOWN
  }
}
