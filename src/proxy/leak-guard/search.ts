// The search of one answer. It is read once, and in two ways as soon as they differ: with its escapes, and byte for byte as
// it stands there. In `%44242424242424242` either may be meant: a `D` and fifteen digits, or a number behind `%4`. Most of
// it is not read at all: a quick look says that nothing can stand there.

import { emptyCharacter, MAX_CHARACTER_BYTES, readCharacter } from './characters.ts'
import type { Needles } from './needles.ts'
import type { QuickLook } from './quick-look.ts'
import { memoryOf, type Part, Places, Reading } from './reading.ts'

/** What is looked at quickly at a time, and what is read on after a beginning of something. */
const SLICE = 16_384
const STEP = 256

const PERCENT = 0x25
const BACKSLASH = 0x5c

export class Search {
  readonly #look: QuickLook
  readonly #places = new Places()
  readonly #memory: number
  readonly #reading: Reading
  /** Byte for byte; not used as long as there are no escapes. */
  #literal: Reading | undefined
  #unused: Reading | undefined
  readonly #newReading: () => Reading
  readonly #character = emptyCharacter()
  readonly #byte = emptyCharacter()
  /** What comes before the text that is searched now. */
  #base = 0
  /** Up to here it has been read. */
  #at = 0

  constructor(needles: Needles, look: QuickLook, isBody: boolean) {
    this.#look = look
    this.#memory = memoryOf(needles)
    this.#newReading = () => new Reading(needles, isBody, this.#places)
    this.#reading = this.#newReading()
  }

  get count(): number {
    return this.#places.count
  }

  wipe(): void {
    this.#reading.wipe()
    this.#literal?.wipe()
    this.#unused?.wipe()
  }

  /** Masks what it finds in `bytes`, which begin where `keep` said. `isLast`: nothing comes after them. */
  run(bytes: Buffer, isLast: boolean): void {
    const part = { bytes, base: this.#base, isLast }
    while (this.#at < bytes.length) {
      const isIdle = this.#beginning() === this.#at
      const end = Math.min(this.#at + (isIdle ? SLICE : STEP), bytes.length)
      if (isIdle && !this.#look.mayHold(bytes, this.#at, end, this.#base === 0))
        this.#skip(bytes, end)
      if (!this.#read(part, end)) return
    }
  }

  /** From where on the text has to be kept, and to be handed in again with what follows it. */
  keep(): number {
    const from = this.#beginning()
    this.#base += from
    this.#at -= from
    return from
  }

  #beginning(): number {
    const first = this.#reading.beginning(this.#base + this.#at)
    return (this.#literal?.beginning(first) ?? first) - this.#base
  }

  /** Nothing stands between here and `end`: only what may begin there is read, and what tells a name. */
  #skip(bytes: Buffer, end: number): void {
    let from = Math.max(this.#at, end - this.#memory)
    for (let at = from; at < end; at++) {
      if (bytes[at] !== PERCENT && bytes[at] !== BACKSLASH) continue
      from = Math.max(this.#at, end - this.#memory * MAX_CHARACTER_BYTES)
      break
    }
    if (from === this.#at) return
    this.#reading.reset()
    this.#unused ??= this.#literal
    this.#literal = undefined
    this.#at = from
  }

  /** False when more of the text is needed to go on. */
  #read(part: Part, end: number): boolean {
    const character = this.#character
    while (this.#at < end) {
      const at = this.#at
      if (!readCharacter(part.bytes, at, part.isLast, character)) return false
      const { value, length } = character
      const after = at + length
      if (!part.isLast && this.#needsMore(part, after, value)) return false
      if (length > 1 && this.#literal === undefined) {
        this.#literal = this.#unused ?? this.#newReading()
        this.#literal.continueFrom(this.#reading)
      }
      if (this.#literal !== undefined) this.#readLiterally(this.#literal, part, after)
      this.#reading.read(part, at, character)
      this.#at = after
    }
    return true
  }

  #needsMore(part: Part, after: number, value: number): boolean {
    if (this.#reading.needsMore(part, after, value)) return true
    return this.#literal?.needsMore(part, after, value) === true
  }

  #readLiterally(literal: Reading, part: Part, to: number): void {
    const byte = this.#byte
    byte.length = 1
    for (let at = this.#at; at < to; at++) {
      byte.value = part.bytes[at] as number
      literal.read(part, at, byte)
    }
  }
}
