// A quick look at an answer: can anything of what is searched stand in it at all? Nearly always it cannot, and then no
// more is done. It makes nothing and keeps nothing, and errs on one side only: what `search.ts` finds, it never denies.
//
// It may look for raw bytes because spelling a letter or digit otherwise than as itself (`%34`, `\u0034`) is reason enough
// to search: no encoder does that. Signs are spelled in many ways by all of them.

import { hexDigit } from '../../core/hex-digit.ts'
import { isAlphanumeric, isBlank, isSeparator } from './characters.ts'
import { isInName, MAX_NAME, MAX_TAG } from './code-name.ts'
import {
  HASH_LENGTH,
  isHidden,
  MAX_CODE,
  MIN_CODE,
  MIN_TEXT,
  minBase64Length,
  type Sensitive,
  SHOWN_BIN,
  SHOWN_LAST,
} from './needles.ts'

/** Of longer values no more is looked at, so that each byte costs a bounded number of steps. */
const MAX_STRETCH = 32
/** Less is read faster than it is searched by built-in means. */
const WORTH_SEARCHING = 64

/** A text is looked for by its longest stretch of letters and digits. */
type Text = {
  readonly bytes: Uint8Array
  readonly from: number
  readonly to: number
}

export class QuickLook {
  /** No form of anything is shorter. */
  readonly shortest: number
  readonly #numbers: Buffer[] = []
  #hasCodes = false
  #hasHashes = false
  readonly #texts: Text[] = []
  #fewestDigits = Number.POSITIVE_INFINITY
  readonly #hasNumbersOrTexts: boolean
  /** The least that there is of base64, and of hex of texts. */
  readonly #runLength: number
  readonly #hexLength: number
  /** One of the texts has forms that cannot be looked for quickly. */
  #isBlind = false

  constructor(sensitive: readonly Sensitive[]) {
    let shortestText = Number.POSITIVE_INFINITY
    let shortestOther = Number.POSITIVE_INFINITY
    for (const each of sensitive) {
      switch (each.kind) {
        case 'number':
          this.#addNumber(each.digits)
          break
        case 'code':
          this.#hasCodes = true
          shortestOther = Math.min(shortestOther, MIN_CODE)
          break
        case 'hash':
          this.#hasHashes = true
          shortestOther = Math.min(shortestOther, HASH_LENGTH)
          break
        case 'text':
          if (each.text.length < MIN_TEXT) break
          this.#addText(each.text)
          shortestText = Math.min(shortestText, each.text.length)
          break
        default:
          each satisfies never
      }
    }
    const fewestBytes = Math.min(this.#fewestDigits, shortestText)
    this.shortest = Math.min(fewestBytes, shortestOther)
    this.#runLength = minBase64Length(Math.min(fewestBytes, MAX_STRETCH))
    this.#hexLength = 2 * Math.min(shortestText, MAX_STRETCH)
    this.#hasNumbersOrTexts = fewestBytes !== Number.POSITIVE_INFINITY
  }

  #addNumber(digits: Buffer): void {
    if (digits.length <= SHOWN_BIN + SHOWN_LAST) return
    this.#numbers.push(digits)
    this.#fewestDigits = Math.min(this.#fewestDigits, digits.length)
  }

  #addText(bytes: Uint8Array): void {
    let from = 0
    let length = 0
    let run = 0
    for (let at = 0; at < bytes.length; at++) {
      const kind = KINDS[bytes[at] as number] as number
      if ((kind & ODD) !== 0) this.#isBlind = true
      run = (kind & ALPHANUMERIC) === 0 ? 0 : run + 1
      if (run > length && run <= MAX_STRETCH) {
        length = run
        from = at + 1 - run
      }
    }
    this.#texts.push({ bytes, from, to: from + length })
  }

  /**
   * Whether a find may stand between `from` and `to`, whole. `isStart`: nothing came before `text`, where a name could
   * be.
   */
  mayHold(text: Buffer, from: number, to: number, isStart: boolean): boolean {
    if (to - from < this.shortest) return false
    if (this.#isBlind) return true
    if (this.#isWorthReading(text, from, to) && this.#mayHoldDigits(text, from, to, isStart)) {
      return true
    }
    if (this.#hasHashes && holdsRun(text, from, to, HEX, HASH_LENGTH)) return true
    if (this.#hasNumbersOrTexts && holdsBase64(text, from, to, this.#runLength)) return true
    for (const each of this.#texts) if (holdsStretch(text, from, to, each)) return true
    return this.#texts.length > 0 && holdsRun(text, from, to, HEX, this.#hexLength)
  }

  /** Reading byte by byte costs more than anything else here: what cannot hold digits of interest is told at once. */
  #isWorthReading(text: Buffer, from: number, to: number): boolean {
    if (to - from < WORTH_SEARCHING) return true
    const part = from === 0 && to === text.length ? text : text.subarray(from, to)
    if (part.includes(PERCENT) || part.includes(BACKSLASH)) return true
    if (this.#hasCodes && holdsRun(text, from, to, DIGIT, MIN_CODE)) return true
    return holdsRun(text, from, to, DIGIT | SEPARATOR, this.#fewestDigits)
  }

  /** Numbers, as they are or in hex; what may be called a code; and escapes that no encoder writes. */
  #mayHoldDigits(text: Uint8Array, from: number, to: number, isStart: boolean): boolean {
    let at = from
    while (at < to) {
      if (((KINDS[text[at] as number] as number) & (DIGIT | ESCAPE)) === 0) at += 1
      else at = this.#runEnd(text, at, to, isStart)
      if (at === FOUND) return true
    }
    return false
  }

  /** After the digits that begin here, with at most one separator between any two, unless there is something in them. */
  #runEnd(text: Uint8Array, from: number, to: number, isStart: boolean): number {
    const fewest = this.#fewestDigits
    let digits = 0
    let adjacent = 0 // of these, at the end and with nothing between
    let isAfterSeparator = false
    let hasEscapes = false
    for (let at = from; at < to; ) {
      const kind = KINDS[text[at] as number] as number
      if ((kind & DIGIT) !== 0) {
        digits += 1
        adjacent += 1
        isAfterSeparator = false
        if (digits >= fewest && (hasEscapes || this.#endsNumber(text, at, digits))) return FOUND
        at += 1
        continue
      }
      if (this.#mayBeCode(text, at, adjacent, isStart)) return FOUND
      adjacent = 0
      if ((kind & ESCAPE) === 0) {
        if ((kind & SEPARATOR) === 0 || isAfterSeparator) return at + 1
        isAfterSeparator = true
        at += 1
        continue
      }
      const value = escapedValue(text, at, to)
      if (value === NONE) return at + 1
      hasEscapes = true
      if (value === TRANSPARENT) {
        at += 1
        continue
      }
      if (isAlphanumeric(value)) return FOUND
      // Whether it is read as a sign or as the digits it is spelled with: whatever makes the longer run.
      at += text[at] === PERCENT ? 3 : 6
      const own = digitsBefore(text, at)
      digits = Math.max(isSeparator(value) && !isAfterSeparator ? digits : 0, own)
      isAfterSeparator = own === 0
      if (digits === 0) return at
    }
    return this.#mayBeCode(text, to, adjacent, isStart) ? FOUND : to
  }

  #mayBeCode(text: Uint8Array, end: number, adjacent: number, isStart: boolean): boolean {
    if (!this.#hasCodes || adjacent < MIN_CODE || adjacent > MAX_CODE) return false
    return mayBeNamed(text, end - adjacent, isStart)
  }

  #endsNumber(text: Uint8Array, last: number, digits: number): boolean {
    for (const number of this.#numbers) {
      if (number.length <= digits && endsWith(text, last, number, false)) return true
      if (2 * number.length <= digits && endsWith(text, last, number, true)) return true
    }
    return false
  }
}

/** Read backwards from `last`, over separators: what may be shown of a number. In hex every digit has a 3 before it. */
function endsWith(text: Uint8Array, last: number, digits: Uint8Array, isHex: boolean): boolean {
  let at = last
  for (let i = digits.length - 1; i >= 0; i--) {
    if (text[at] !== digits[i] && !isHidden(i, digits.length)) return false
    at -= 1
    if (isSeparator(text[at] as number)) at -= 1
    if (!isHex) continue
    if (text[at] !== THREE) return false
    at -= 1
    if (isSeparator(text[at] as number)) at -= 1
  }
  return true
}

/**
 * Whether what begins at `first` may be the value of something that `code-name.ts` takes for a code: read backwards, past
 * what may stand between, to where the name would begin. Wherever there are escapes, or too much of anything, it may be.
 */
function mayBeNamed(text: Uint8Array, first: number, isStart: boolean): boolean {
  let at = first - 1
  while (at >= 0 && first - at < MAX_BETWEEN && isBetween(text[at] as number)) at -= 1
  if (first - at >= MAX_BETWEEN) return true
  if (at < 0) return !isStart
  const delimiter = text[at]
  if (delimiter === OPENING_BRACKET)
    return text[at - 1] === LAST_OF_CDATA || text[at - 1] === BACKSLASH
  if (delimiter === GREATER) return holdsCodeName(text, at - 1, MAX_TAG, LESS, isStart)
  if (delimiter !== COLON && delimiter !== EQUALS) return endsEscape(text, at)
  let last = at - 1
  while (last >= 0 && at - last < MAX_BETWEEN && isSpace(text[last] as number)) last -= 1
  if (at - last >= MAX_BETWEEN) return true
  if (last < 0) return !isStart
  const closing = text[last] as number
  if (closing === QUOTE || closing === APOSTROPHE) {
    return holdsCodeName(text, last - 1, MAX_NAME, closing, isStart)
  }
  return holdsCodeName(text, last, MAX_NAME, NO_SIGN, isStart)
}

function isBetween(byte: number): boolean {
  return isSpace(byte) || byte === QUOTE || byte === APOSTROPHE
}

/** Backslashes belong to what they escape. */
function isSpace(byte: number): boolean {
  return isBlank(byte) || byte === BACKSLASH
}

/** Backwards from `last` to `opening`, or to what cannot stand in a name. */
function holdsCodeName(
  text: Uint8Array,
  last: number,
  most: number,
  opening: number,
  isStart: boolean,
): boolean {
  let hasBackslashes = false
  let at = last
  for (; at >= 0 && last - at <= most; at--) {
    const byte = text[at] as number
    if (byte === opening) return false
    if (byte === PERCENT) return true
    if (byte === BACKSLASH) {
      if (text[at + 1] === LETTER_U) return true
      hasBackslashes = true
    } else if (opening === NO_SIGN && !isInName(byte)) return false
    else if (beginsCodeName(text, at)) return true
  }
  return at < 0 ? !isStart : hasBackslashes
}

/** The shortest beginnings of what `code-name.ts` looks for that ordinary names seldom have in them. */
function beginsCodeName(text: Uint8Array, at: number): boolean {
  switch (lowerCase(text, at)) {
    case 0x63: {
      const second = lowerCase(text, at + 1)
      if (second === 0x76) return true // cv
      const third = lowerCase(text, at + 2)
      return (second === 0x73 && third === 0x63) || (second === 0x69 && third === 0x64) // csc, cid
    }
    case 0x73: // secu
      return lowerCase(text, at + 2) === 0x63 && lowerCase(text, at + 3) === 0x75
    case 0x76: // veri
      return lowerCase(text, at + 2) === 0x72 && lowerCase(text, at + 3) === 0x69
    default:
      return false
  }
}

function lowerCase(text: Uint8Array, at: number): number {
  return (text[at] as number) | 0x20
}

/** Whether the byte may be the last one of a sign's escape. */
function endsEscape(text: Uint8Array, last: number): boolean {
  if (text[last - 2] === PERCENT || text[last] === PERCENT) return true
  return text[last - 4] === LETTER_U && text[last - 5] === BACKSLASH
}

/**
 * In base64 of ASCII (and all that is looked for here is ASCII) one bit is zero in three of every four characters. Whether
 * there is a run of `length` characters in which it is so, in one of the four ways a run can lie. Read backwards from
 * where it would end: what cannot be in it, mostly one of the first characters, can be no part of a later one either.
 */
function holdsBase64(text: Uint8Array, from: number, to: number, length: number): boolean {
  let start = from
  while (start + length <= to) {
    let at = start + length - 1
    let places = (KINDS[text[at] as number] as number) & PLACES
    while (places !== 0 && at > start) {
      at -= 1
      places = ((places >> 1) | (places << 3)) & PLACES & (KINDS[text[at] as number] as number)
    }
    if (places !== 0) return true
    start = at + 1
  }
  return false
}

/** Whether there are so many bytes of these kinds in a row. */
function holdsRun(
  text: Uint8Array,
  from: number,
  to: number,
  kinds: number,
  length: number,
): boolean {
  let start = from
  while (start + length <= to) {
    let at = start + length - 1
    while (at >= start && ((KINDS[text[at] as number] as number) & kinds) !== 0) at -= 1
    if (at < start) return true
    start = at + 1
  }
  return false
}

function holdsStretch(text: Uint8Array, from: number, to: number, wanted: Text): boolean {
  const { bytes } = wanted
  const length = wanted.to - wanted.from
  let start = from
  let known = from // from `start` up to here there are letters and digits
  while (start + length <= to) {
    let at = start + length - 1
    while (at >= known && ((KINDS[text[at] as number] as number) & ALPHANUMERIC) !== 0) at -= 1
    if (at >= known) {
      start = at + 1
      known = start
      continue
    }
    known = start + length
    let same = 0
    while (same < length && text[start + same] === bytes[wanted.from + same]) same += 1
    if (same === length) return true
    start += 1
  }
  return false
}

const PERCENT = 0x25
const BACKSLASH = 0x5c
const THREE = 0x33
const QUOTE = 0x22
const APOSTROPHE = 0x27
const COLON = 0x3a
const EQUALS = 0x3d
const LESS = 0x3c
const GREATER = 0x3e
const OPENING_BRACKET = 0x5b
/** Of `<![CDATA[`. */
const LAST_OF_CDATA = 0x41
const LETTER_U = 0x75
const NO_SIGN = -1
/** Bytes between a name and a value. In ordinary answers it is two or three. */
const MAX_BETWEEN = 32
const FOUND = -1
const NONE = -1
/** A backslash that belongs to the sign after it. */
const TRANSPARENT = -2

function escapedValue(text: Uint8Array, at: number, to: number): number {
  if (text[at] === PERCENT) return at + 2 < to ? hexPair(text, at + 1) : NONE
  const following = at + 1 < to ? (text[at + 1] as number) : PERCENT
  if (!isAlphanumeric(following)) return following === PERCENT ? NONE : TRANSPARENT
  const isUnicode = following === 0x75 && text[at + 2] === 0x30 && text[at + 3] === 0x30
  return isUnicode && at + 5 < to ? hexPair(text, at + 4) : NONE
}

/** How many of the digits of an escape stand at its end. */
function digitsBefore(text: Uint8Array, end: number): number {
  let count = 0
  while (count < 4 && ((KINDS[text[end - 1 - count] as number] as number) & DIGIT) !== 0) count += 1
  return count
}

function hexPair(text: Uint8Array, at: number): number {
  const high = hexDigit(text[at])
  const low = hexDigit(text[at + 1])
  return high === -1 || low === -1 ? NONE : (high << 4) | low
}

/** In the lowest four bits: the places in a group of four at which base64 of ASCII may have the character. */
const PLACES = 15
const DIGIT = 16
const SEPARATOR = 32
const ESCAPE = 64
const ALPHANUMERIC = 128
const HEX = 256
/** In a text it makes forms of it that are spelled in ways that are not looked for. */
const ODD = 512

const KINDS = Uint16Array.from({ length: 256 }, (_, byte) => {
  let kind = 0
  if (byte >= 0x30 && byte <= 0x39) kind |= DIGIT
  if (isSeparator(byte)) kind |= SEPARATOR
  if (byte === PERCENT || byte === BACKSLASH) kind |= ESCAPE | ODD
  // Their base64 has signs.
  if (byte >= 0x7e || byte === 0x3e || byte === 0x3f) kind |= ODD
  if (hexDigit(byte) !== -1) kind |= HEX
  if (isAlphanumeric(byte)) {
    const value =
      Buffer.from(String.fromCharCode(byte, byte, byte, byte), 'base64').readUInt8() >> 2
    kind |= ALPHANUMERIC | 8
    if (value < 32) kind |= 1
    if ((value & 8) === 0) kind |= 2
    if ((value & 2) === 0) kind |= 4
  }
  return kind
})
