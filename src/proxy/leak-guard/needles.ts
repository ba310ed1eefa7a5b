// The forms in which sensitive values are searched, and what becomes of them: for each form the characters that are
// looked for, and the characters that are put in their place.
//
// Numbers are searched by what may be shown of them, with any digits between. Were only the number itself masked, whoever
// has his guesses echoed would see which of them comes back masked. Nothing here is made of a hidden digit. Credentials
// and cryptograms, which nobody guesses, are searched as they are, and what is made of them is overwritten after use.

import { wipeableBuffer } from '../../core/wipeable.ts'
import { emptyCharacter, readCharacter } from './characters.ts'

/** What must not come back. The owner overwrites the buffers. */
export type Sensitive =
  /** A whole card number or network token: 12 to 19 ASCII digits. BIN and last four may be shown. */
  | { readonly kind: 'number'; readonly digits: Buffer }
  /** A card verification code. Which one makes no difference: all values that are called so are masked. */
  | { readonly kind: 'code' }
  /** The SHA-256 of a number, in hex. Which one makes no difference either. */
  | { readonly kind: 'hash' }
  /** A cryptogram or a credential: 8 bytes and more. A shorter one would be found everywhere, and is not searched. */
  | { readonly kind: 'text'; readonly text: Buffer }

export const MIN_TEXT = 8
/** What may be shown of a number (PCI DSS 3.4.1). */
export const SHOWN_BIN = 6
export const SHOWN_LAST = 4
/** Digits of a card verification code. */
export const MIN_CODE = 3
export const MAX_CODE = 4
/** SHA-256 in hex. */
export const HASH_LENGTH = 64

/** A form of all numbers that look the same as far as they may be shown. */
export type Shape = {
  readonly length: number
  /**
   * For each character the places where it may stand: one bit for each of the first 32 places, and for each of the
   * next 32. So all beginnings that the text may end in advance at once (Baeza-Yates and Gonnet).
   */
  readonly low: Int32Array
  readonly high: Int32Array
  /** What each character becomes, 0 for one that stays. */
  readonly mask: Uint8Array
  /** The same where it has to stay a number. */
  readonly zeros: Uint8Array
}

export type Needle = {
  readonly pattern: Uint8Array
  /** What each character becomes. */
  readonly mask: Uint8Array
  /** Of each length, the longest beginning of the pattern that it ends in (Knuth, Morris and Pratt). */
  readonly failures: Uint32Array
  /** What characters of the answer are read as. */
  readonly fold: Uint8Array
}

export type Needles = {
  /** Searched among digits, whatever separates them, by what each is worth. */
  readonly numbers: readonly Shape[]
  /** Searched among all characters, by what each is worth in base64; no longer than 32. */
  readonly encodedNumbers: readonly Shape[]
  /** Searched among all characters. */
  readonly texts: readonly Needle[]
  /** 1 for each character that one of `encodedNumbers` or `texts` begins with. */
  readonly startsText: Uint8Array
  readonly hasCodes: boolean
  readonly hasHashes: boolean
  wipe(): void
}

const STAR = 0x2a
const ZERO = 0x30
const DIGITS = Buffer.from('0123456789')
const NOTHING = Uint8Array.of(0)
/** How many bits of a group of three bytes stand before a value. */
const ALIGNMENTS = [0, 8, 16] as const

/** Takes one Buffer for all that is made of secrets: so many small ones would cost more than making what is in them. */
class Arena {
  readonly #bytes: Buffer
  #length = 0

  constructor(size: number) {
    this.#bytes = wipeableBuffer(size)
  }

  take(size: number): Buffer {
    this.#length += size
    return this.#bytes.subarray(this.#length - size, this.#length)
  }

  wipe(): void {
    this.#bytes.fill(0)
  }
}

/** Of a text: its mask, itself, in hex, in base64 three times, as it reads; each but the first with a mask. */
const BYTES_PER_BYTE = 24

export function deriveNeedles(sensitive: readonly Sensitive[]): Needles {
  let size = 256
  for (const each of sensitive) if (each.kind === 'text') size += BYTES_PER_BYTE * each.text.length
  const arena = new Arena(size)
  const numbers: Shape[] = []
  const encodedNumbers: Shape[] = []
  const texts: Needle[] = []
  let hasCodes = false
  let hasHashes = false
  for (const each of sensitive) {
    switch (each.kind) {
      case 'number':
        addNumber(each.digits)
        break
      case 'code':
        hasCodes = true
        break
      case 'hash':
        hasHashes = true
        break
      case 'text':
        if (each.text.length >= MIN_TEXT) addText(each.text)
        break
      default:
        each satisfies never
    }
  }
  const startsText = arena.take(256)
  for (let value = 0; value < 256; value++) {
    const worth = BASE64_WORTH[value] as number
    const startsShape = worth !== 64 && encodedNumbers.some(({ low }) => isFirst(low, worth))
    const startsNeedle = texts.some(({ pattern, fold }) => fold[value] === pattern[0])
    if (startsShape || startsNeedle) startsText[value] = 1
  }
  return {
    numbers,
    encodedNumbers,
    texts,
    startsText,
    hasCodes,
    hasHashes,
    wipe() {
      arena.wipe()
      for (const { failures } of texts) failures.fill(0)
    },
  }

  function addNumber(digits: Buffer): void {
    if (digits.length <= SHOWN_BIN + SHOWN_LAST) return
    numbers.push(plainShape(digits), hexShape(digits))
    for (const bitsBefore of ALIGNMENTS) encodedNumbers.push(base64Shape(digits, bitsBefore))
  }

  function addText(text: Buffer): void {
    const stars = arena.take(text.length).fill(STAR)
    texts.push(needle(text, stars, PLUS_AS_BLANK, arena))
    texts.push(hexNeedle(text, stars, LOWER_CASE, arena))
    for (const bitsBefore of ALIGNMENTS) texts.push(base64Needle(text, stars, bitsBefore, arena))
    const literal = asItReads(text, arena)
    if (literal.length < MIN_TEXT || literal.equals(text)) return
    texts.push(needle(literal, stars, PLUS_AS_BLANK, arena))
  }
}

function isFirst(places: Int32Array, worth: number): boolean {
  return ((places[worth] as number) & 1) !== 0
}

/** Whether the digit of a number of that length may not be shown. */
export function isHidden(at: number, length: number): boolean {
  return at >= SHOWN_BIN && at < length - SHOWN_LAST
}

function emptyShape(length: number, alphabet: number): Shape {
  return {
    length,
    low: new Int32Array(alphabet),
    high: new Int32Array(alphabet),
    mask: new Uint8Array(length),
    zeros: new Uint8Array(length),
  }
}

function allow({ low, high }: Shape, place: number, worth: number): void {
  const places = place < 32 ? low : high
  places[worth] = (places[worth] as number) | (1 << (place & 31))
}

function plainShape(digits: Uint8Array): Shape {
  const shape = emptyShape(digits.length, 10)
  for (let at = 0; at < digits.length; at++) {
    for (const digit of possible(digits, at)) allow(shape, at, digit - ZERO)
    if (!isHidden(at, digits.length)) continue
    shape.mask[at] = STAR
    shape.zeros[at] = ZERO
  }
  return shape
}

/** In hex every digit has a 3 before it. */
function hexShape(digits: Uint8Array): Shape {
  const shape = emptyShape(2 * digits.length, 10)
  for (let at = 0; at < digits.length; at++) {
    allow(shape, 2 * at, 3)
    for (const digit of possible(digits, at)) allow(shape, 2 * at + 1, digit - ZERO)
    if (!isHidden(at, digits.length)) continue
    writeHex(shape.mask, 2 * at, STAR)
    writeHex(shape.zeros, 2 * at, ZERO)
  }
  return shape
}

/** A character that holds bits of hidden digits may be each one that some digits there would give. */
function base64Shape(digits: Uint8Array, bitsBefore: number): Shape {
  const first = Math.ceil(bitsBefore / 6)
  const shape = emptyShape(base64Length(digits.length, bitsBefore), 64)
  for (let at = 0; at < shape.length; at++) {
    const bit = 6 * (first + at) - bitsBefore
    const byte = bit >> 3
    const isInTwo = (bit & 7) > 2
    for (const left of possible(digits, byte)) {
      for (const right of isInTwo ? possible(digits, byte + 1) : NOTHING) {
        allow(shape, at, sixBits(left, right, bit))
      }
    }
    const last = isInTwo ? byte + 1 : byte
    if (!isHidden(byte, digits.length) && !isHidden(last, digits.length)) continue
    const instead = sixBits(shownOf(digits, byte), shownOf(digits, last), bit)
    shape.mask[at] = BASE64[instead] as number
  }
  return shape
}

/** All that may stand there: what is hidden is not looked at. */
function possible(digits: Uint8Array, at: number): Uint8Array {
  return isHidden(at, digits.length) ? DIGITS : digits.subarray(at, at + 1)
}

function shownOf(digits: Uint8Array, at: number): number {
  return isHidden(at, digits.length) ? STAR : (digits[at] as number)
}

/** A text that holds escapes of its own reads otherwise where it stands as it is. */
function asItReads(text: Buffer, arena: Arena): Buffer {
  const out = arena.take(text.length)
  const character = emptyCharacter()
  let length = 0
  for (let at = 0; at < text.length; at += character.length) {
    readCharacter(text, at, true, character)
    out[length++] = character.value
  }
  return out.subarray(0, length)
}

function needle(value: Uint8Array, masked: Uint8Array, fold: Uint8Array, arena: Arena): Needle {
  const pattern = arena.take(value.length)
  const mask = arena.take(value.length)
  for (let at = 0; at < value.length; at++) {
    pattern[at] = fold[value[at] as number] as number
    mask[at] = masked[at] as number
  }
  return { pattern, mask, failures: failuresOf(pattern), fold }
}

const HEX = Buffer.from('0123456789abcdef')

function hexNeedle(value: Uint8Array, masked: Uint8Array, fold: Uint8Array, arena: Arena): Needle {
  const pattern = arena.take(2 * value.length)
  const mask = arena.take(2 * value.length)
  for (let at = 0; at < value.length; at++) {
    writeHex(pattern, 2 * at, value[at] as number)
    writeHex(mask, 2 * at, masked[at] as number)
  }
  return { pattern, mask, failures: failuresOf(pattern), fold }
}

function writeHex(out: Uint8Array, at: number, byte: number): void {
  out[at] = HEX[byte >> 4] as number
  out[at + 1] = HEX[byte & 15] as number
}

function failuresOf(pattern: Uint8Array): Uint32Array {
  const failures = new Uint32Array(pattern.length)
  let length = 0
  for (let at = 1; at < pattern.length; at++) {
    while (length > 0 && pattern[at] !== pattern[length]) length = failures[length - 1] as number
    if (pattern[at] === pattern[length]) length += 1
    failures[at] = length
  }
  return failures
}

const BASE64 = Buffer.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/')

/** What a character is worth in base64 and base64url, 64 for one of neither. */
export const BASE64_WORTH = new Uint8Array(256).fill(64)
for (const [worth, character] of BASE64.entries()) BASE64_WORTH[character] = worth
BASE64_WORTH['-'.charCodeAt(0)] = 62
BASE64_WORTH['_'.charCodeAt(0)] = 63

/**
 * In base64 a value looks in three ways, by how many bits of its group of three bytes stand before it. Searched are the
 * characters that are made of its own bits only; up to four bits of its first and of its last byte stand in a character
 * together with bits of a neighbour, and stay.
 */
function base64Needle(
  value: Uint8Array,
  masked: Uint8Array,
  bitsBefore: number,
  arena: Arena,
): Needle {
  const first = Math.ceil(bitsBefore / 6)
  const length = base64Length(value.length, bitsBefore)
  const pattern = arena.take(length)
  const mask = arena.take(length)
  for (let at = 0; at < length; at++) {
    const bit = 6 * (first + at) - bitsBefore
    pattern[at] = BASE64[sixBitsAt(value, bit)] as number
    mask[at] = BASE64[sixBitsAt(masked, bit)] as number
  }
  return { pattern, mask, failures: failuresOf(pattern), fold: BASE64URL_AS_BASE64 }
}

function base64Length(bytes: number, bitsBefore: number): number {
  return Math.floor((bitsBefore + 8 * bytes) / 6) - Math.ceil(bitsBefore / 6)
}

/** The fewest characters in which a value of so many bytes is searched in base64. */
export function minBase64Length(bytes: number): number {
  return Math.min(base64Length(bytes, 0), base64Length(bytes, 8), base64Length(bytes, 16))
}

function sixBitsAt(bytes: Uint8Array, bit: number): number {
  const at = bit >> 3
  return sixBits(bytes[at] as number, bytes[at + 1] ?? 0, bit)
}

function sixBits(left: number, right: number, bit: number): number {
  return (((left << 8) | right) >> (10 - (bit & 7))) & 63
}

function foldOf(pairs: Readonly<Record<string, string>>): Uint8Array {
  const fold = Uint8Array.from({ length: 256 }, (_, value) => value)
  for (const [from, to] of Object.entries(pairs)) fold[from.charCodeAt(0)] = to.charCodeAt(0)
  return fold
}
const PLUS_AS_BLANK = foldOf({ '+': ' ' })
const LOWER_CASE = foldOf({ A: 'a', B: 'b', C: 'c', D: 'd', E: 'e', F: 'f' })
const BASE64URL_AS_BASE64 = foldOf({ '-': '+', _: '/' })
