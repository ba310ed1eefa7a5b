// How one character may be spelled in an answer: as it is, percent-encoded (`%34`), or as a JSON escape (`\u0034`, `\/`),
// also of JSON within a JSON string, where backslashes are doubled. What the guard searches are characters, read one by
// one in whatever spelling; what it masks are their bytes, in the same spelling, so that an encoding stays valid and
// lengths stay what they were.

import { hexDigit } from '../../core/hex-digit.ts'

export type Spelling = typeof RAW | typeof PERCENT_ENCODED | typeof ESCAPED
const RAW = 0
const PERCENT_ENCODED = 1
const ESCAPED = 2

/** One character, filled in by `readCharacter`. */
export type Character = {
  /** The byte that it stands for. */
  value: number
  /** How many bytes it takes. */
  length: number
  spelling: Spelling
}

export function emptyCharacter(): Character {
  return { value: 0, length: 0, spelling: RAW }
}

const PERCENT = 0x25
const BACKSLASH = 0x5c
const LETTER_U = 0x75
const ZERO = 0x30

/** What JSON within JSON within JSON puts before a quote. A longer run of backslashes stands for itself. */
const MAX_BACKSLASHES = 7
/** `\\\\\\\u0034` */
export const MAX_CHARACTER_BYTES = MAX_BACKSLASHES + 5

/**
 * Reads the character that begins at `at`. False when its end is not there yet; `isLast`: nothing comes after `text`,
 * and what is cut stands for itself.
 *
 * Backslashes belong to the sign that they escape. Before a letter or digit they are one character, however many they
 * are: so a text with a backslash in it reads the same as it is and escaped.
 */
export function readCharacter(
  text: Uint8Array,
  at: number,
  isLast: boolean,
  into: Character,
): boolean {
  const byte = text[at] as number
  into.value = byte
  into.length = 1
  into.spelling = RAW
  if (byte === BACKSLASH) return readEscape(text, at, isLast, into)
  if (byte !== PERCENT) return true
  const high = hexDigit(text[at + 1])
  const low = hexDigit(text[at + 2])
  if (high !== -1 && low !== -1) {
    into.value = (high << 4) | low
    into.length = 3
    into.spelling = PERCENT_ENCODED
    return true
  }
  return isLast || at + 2 < text.length || (at + 1 < text.length && high === -1)
}

function readEscape(text: Uint8Array, at: number, isLast: boolean, into: Character): boolean {
  let next = at + 1
  while (text[next] === BACKSLASH && next - at <= MAX_BACKSLASHES) next += 1
  if (next - at > MAX_BACKSLASHES) return true
  const following = text[next]
  if (following === undefined && !isLast) return false
  into.length = next - at
  if (following === undefined || following === PERCENT || isAlphanumeric(following)) {
    if (following !== LETTER_U) return true
    if (!isLast && couldGoOn(text, next + 1)) return false
    const high = hexDigit(text[next + 3])
    const low = hexDigit(text[next + 4])
    if (text[next + 1] !== ZERO || text[next + 2] !== ZERO || high === -1 || low === -1) return true
    into.value = (high << 4) | low
    into.length = next + 5 - at
    into.spelling = ESCAPED
    return true
  }
  into.value = following
  into.length += 1
  return true
}

/** Whether `00XX` may still come of what stands there. */
function couldGoOn(text: Uint8Array, from: number): boolean {
  for (let at = from; at < from + 4; at++) {
    const byte = text[at]
    if (byte === undefined) return true
    if (at < from + 2 ? byte !== ZERO : hexDigit(byte) === -1) return false
  }
  return false
}

const UPPER_HEX = Buffer.from('0123456789ABCDEF')
const LOWER_HEX = Buffer.from('0123456789abcdef')

/** Puts another character in its place, in as many bytes. */
export function overwrite(
  text: Uint8Array,
  at: number,
  length: number,
  spelling: Spelling,
  value: number,
): void {
  switch (spelling) {
    case RAW:
      // Also the backslashes before it: of `\/` there must not remain `\*`, which is no JSON.
      for (let i = at; i < at + length; i++) text[i] = value
      return
    case PERCENT_ENCODED:
      text[at + 1] = UPPER_HEX[value >> 4] as number
      text[at + 2] = UPPER_HEX[value & 15] as number
      return
    case ESCAPED:
      text[at + length - 2] = LOWER_HEX[value >> 4] as number
      text[at + length - 1] = LOWER_HEX[value & 15] as number
      return
    default:
      spelling satisfies never
  }
}

/** The characters read last: what they were, also after they have been masked, and where they stand. */
export class RecentCharacters {
  /** How many have been read; also the number of the next one. */
  count = 0
  readonly #mask: number
  readonly #values: Uint8Array
  readonly #shapes: Uint8Array
  readonly #starts: Float64Array

  /** Remembers as many as `values` has room for, a power of two. What they were is kept there; its owner overwrites it. */
  constructor(values: Uint8Array) {
    this.#mask = values.length - 1
    this.#values = values
    this.#shapes = new Uint8Array(values.length)
    this.#starts = new Float64Array(values.length)
  }

  copyFrom(other: RecentCharacters): void {
    this.count = other.count
    this.#values.set(other.#values)
    this.#shapes.set(other.#shapes)
    this.#starts.set(other.#starts)
  }

  push(start: number, character: Character): void {
    const slot = this.count & this.#mask
    this.#values[slot] = character.value
    this.#shapes[slot] = (character.spelling << 4) | character.length
    this.#starts[slot] = start
    this.count += 1
  }

  /** -1 before the first one, and of one that is forgotten. */
  valueOf(number: number): number {
    if (number < 0 || this.count - number > this.#mask + 1) return -1
    return this.#values[number & this.#mask] as number
  }

  startOf(number: number): number {
    return this.#starts[number & this.#mask] as number
  }

  /** Whether it is one byte, which stands for itself. */
  isPlain(number: number): boolean {
    return this.#shapes[number & this.#mask] === ((RAW << 4) | 1)
  }

  /** `base`: where `text` begins. */
  overwrite(number: number, text: Uint8Array, base: number, value: number): void {
    const shape = this.#shapes[number & this.#mask] as number
    const start = this.startOf(number) - base
    overwrite(text, start, shape & 15, (shape >> 4) as Spelling, value)
  }
}

export function isDigit(value: number): boolean {
  return value >= ZERO && value <= 0x39
}

export function isAlphanumeric(value: number): boolean {
  const lower = value | 0x20
  return isDigit(value) || (lower >= 0x61 && lower <= 0x7a)
}

/** A blank (`+` in forms), a dash or a dot. */
export function isSeparator(value: number): boolean {
  return value === 0x20 || value === 0x2b || value === 0x2d || value === 0x2e
}

/** A blank, tab or line end, or the `+` of a form. */
export function isBlank(value: number): boolean {
  return value === 0x20 || value === 0x2b || value === 0x09 || value === 0x0d || value === 0x0a
}
