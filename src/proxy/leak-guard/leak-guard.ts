// What a request revealed must not come back: the guard looks for it in the answer, in the forms that systems write such
// values in, and masks it. Lengths stay, BIN and last four stay, everything else stays as it is. What is masked depends
// on nothing of a number but its length, BIN and last four, and on nothing of a code or a hash: so guesses that come back
// tell nothing. It knows nothing of how answers arrive; card data is in Buffers here, but for headers, which are strings
// where they come from.

import { wipeableBuffer } from '../../core/wipeable.ts'
import { deriveNeedles, type Needles, type Sensitive } from './needles.ts'
import { QuickLook } from './quick-look.ts'
import { Search } from './search.ts'

export type { Sensitive }

/** Header lines are looked at here. What could hold something is overwritten again. */
const HEADER_LINE = wipeableBuffer(16_384)

export class LeakGuard {
  readonly #sensitive: readonly Sensitive[]
  readonly #look: QuickLook
  /** Made when something may have been found, which is rare. */
  #needles: Needles | undefined
  #isWiped = false

  /** The buffers stay the owner's, and have to hold their values until `wipe`. */
  constructor(sensitive: readonly Sensitive[]) {
    this.#sensitive = sensitive
    this.#look = new QuickLook(sensitive)
  }

  /** Masks in place. `text` is the whole body. Answers how many places were masked. */
  maskBody(text: Buffer): number {
    this.#assertNotWiped()
    if (!this.#look.mayHold(text, 0, text.length, true)) return 0
    return this.#search(text, true)
  }

  /** `value` is latin1, as headers are. Undefined when nothing is found. */
  maskHeader(name: string, value: string): { value: string; count: number } | undefined {
    this.#assertNotWiped()
    if (value.length < this.#look.shortest) return undefined
    // With its name, so that it is read like any other name and value.
    const start = name.length + 1
    const length = start + value.length
    const line = length <= HEADER_LINE.length ? HEADER_LINE : wipeableBuffer(length)
    line.write(`${name}:`, 'latin1')
    line.write(value, start, 'latin1')
    if (!this.#look.mayHold(line, start, length, true)) return undefined
    const count = this.#search(line.subarray(0, length), false)
    const masked = line.toString('latin1', start, length)
    line.fill(0, 0, length)
    return count === 0 || masked === value ? undefined : { value: masked, count }
  }

  /** For a body that comes in pieces. Whoever gives it up before its end wipes it; the guard knows nothing of it. */
  stream(): LeakStream {
    this.#assertNotWiped()
    const search = new Search(this.#derived(), this.#look, true)
    return new LeakStream(search, () => this.#assertNotWiped())
  }

  /** Overwrites what was made of the values. Neither the guard nor its streams can be used any more. */
  wipe(): void {
    this.#isWiped = true
    this.#needles?.wipe()
  }

  #search(text: Buffer, isBody: boolean): number {
    const search = new Search(this.#derived(), this.#look, isBody)
    search.run(text, true)
    search.wipe()
    return search.count
  }

  #derived(): Needles {
    this.#needles ??= deriveNeedles(this.#sensitive)
    return this.#needles
  }

  /** Without its values it would find nothing, and let everything pass. */
  #assertNotWiped(): void {
    if (this.#isWiped) throw new Error('the leak guard has been wiped')
  }
}

/**
 * The same as `maskBody` of all pieces together. Only what may be the beginning of a find is held back: seldom more than
 * a few bytes, and never more than twelve for each character of the longest form (two for each digit), and 64.
 */
export class LeakStream {
  readonly #search: Search
  readonly #assertNotWiped: () => void
  #held: Buffer = EMPTY
  #isOver = false

  constructor(search: Search, assertNotWiped: () => void) {
    this.#search = search
    this.#assertNotWiped = assertNotWiped
  }

  /** How many places have been masked up to now. */
  get count(): number {
    return this.#search.count
  }

  /**
   * Masks in place, and overwrites what it holds back. Answers what may be passed on: a part of the piece itself, or of a
   * Buffer of its own.
   */
  push(piece: Buffer): Buffer {
    const text = this.#withHeld(piece)
    this.#search.run(text, false)
    const kept = this.#search.keep()
    if (kept < text.length) {
      this.#held = wipeableBuffer(text.length - kept)
      text.copy(this.#held, 0, kept)
      text.fill(0, kept)
    }
    return text.subarray(0, kept)
  }

  /** What was held back. */
  end(): Buffer {
    const text = this.#withHeld(EMPTY)
    this.#search.run(text, true)
    this.wipe()
    return text
  }

  /** Overwrites what it knows of the body. Nothing more can be pushed. */
  wipe(): void {
    this.#isOver = true
    this.#held.fill(0)
    this.#search.wipe()
  }

  #withHeld(piece: Buffer): Buffer {
    this.#assertNotWiped()
    if (this.#isOver) throw new Error('the stream is over')
    const held = this.#held
    if (held.length === 0) return piece
    const text = wipeableBuffer(held.length + piece.length)
    text.set(held)
    text.set(piece, held.length)
    held.fill(0)
    this.#held = EMPTY
    return text
  }
}

const EMPTY = Buffer.alloc(0)
