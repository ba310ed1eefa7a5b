// What one answer holds in memory, of what all bodies together may: held to be searched, to be kept or to be put into an
// envelope, until its caller has it.

import type { BodyMemory } from '../arriving-body.ts'
import { AnswerBlocked } from '../relay.ts'

export class HeldBytes {
  readonly #memory: BodyMemory
  #bytes = 0
  #isReleased = false

  constructor(memory: BodyMemory) {
    this.#memory = memory
  }

  /** Throws AnswerBlocked when there is no room. */
  add(bytes: number): void {
    if (this.#isReleased) return // its caller has left; what is still kept is little
    this.#bytes += bytes
    this.#memory.heldBytes += bytes
    if (this.#memory.heldBytes > this.#memory.limitBytes) throw new AnswerBlocked('no memory')
  }

  release(): void {
    this.#isReleased = true
    this.#memory.heldBytes -= this.#bytes
    this.#bytes = 0
  }
}
