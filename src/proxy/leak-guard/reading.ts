// One way of reading an answer, character by character: what of the searched forms the characters up to now are the
// beginning of. Each character costs a bounded number of steps, whatever stands there, and what is known of the text before
// it is in here, so that the text may come in pieces, cut anywhere.

import { hexDigit } from '../../core/hex-digit.ts'
import { wipeableBuffer } from '../../core/wipeable.ts'
import {
  type Character,
  emptyCharacter,
  isAlphanumeric,
  isBlank,
  isDigit,
  isSeparator,
  RecentCharacters,
  readCharacter,
} from './characters.ts'
import { type CodePlace, codePlace, NAME_REACH } from './code-name.ts'
import {
  BASE64_WORTH,
  HASH_LENGTH,
  MAX_CODE,
  MIN_CODE,
  type Needle,
  type Needles,
  type Shape,
} from './needles.ts'

/** How far the neighbourhood of a number is looked at to tell whether it is a bare JSON number. */
const REACH = 64

/** The text as far as it is there. */
export type Part = {
  bytes: Buffer
  /** Where it begins in the whole. */
  base: number
  /** Nothing comes after it. */
  isLast: boolean
}

/** Where something was masked. Finds that overlap are one place. */
export class Places {
  count = 0
  #end = -1

  add(start: number, end: number): void {
    if (start >= this.#end) this.count += 1
    this.#end = end
  }
}

/** After so many characters nothing of what stood before them matters any more. */
export function memoryOf({ numbers, encodedNumbers, texts, hasHashes }: Needles): number {
  let longest = hasHashes ? HASH_LENGTH : 1
  for (const { length } of numbers) longest = Math.max(longest, 2 * length)
  for (const { length } of encodedNumbers) longest = Math.max(longest, length)
  for (const { pattern } of texts) longest = Math.max(longest, pattern.length)
  return longest + NAME_REACH
}

export class Reading {
  readonly #needles: Needles
  readonly #isBody: boolean
  readonly #places: Places
  /** Which beginnings of each shape the characters read last are, a bit for each length: of `numbers` in two words. */
  readonly #numbers: Int32Array
  readonly #encodedNumbers: Int32Array
  /** How much of each text they are. */
  readonly #matched: Uint32Array
  readonly #values: Buffer
  readonly #recent: RecentCharacters
  /** Which characters the last digits were. */
  readonly #digits: Float64Array
  readonly #ahead: Character = emptyCharacter()
  /** Whether the characters read last are the beginning of one of `encodedNumbers` or `texts`. */
  #isInText = false
  /** Digits since anything else than a digit or a separator between two. */
  #digitCount = 0
  #isAfterSeparator = false
  /** Digits since anything else than a digit. */
  #adjacentDigits = 0
  /** Hex digits since anything else. */
  #hexDigits = 0

  constructor(needles: Needles, isBody: boolean, places: Places) {
    this.#needles = needles
    this.#isBody = isBody
    this.#places = places
    const capacity = 2 ** Math.ceil(Math.log2(memoryOf(needles)))
    this.#numbers = new Int32Array(2 * needles.numbers.length)
    this.#encodedNumbers = new Int32Array(needles.encodedNumbers.length)
    this.#matched = new Uint32Array(needles.texts.length)
    this.#values = wipeableBuffer(capacity)
    this.#recent = new RecentCharacters(this.#values)
    this.#digits = new Float64Array(capacity)
  }

  wipe(): void {
    this.#values.fill(0)
    this.#matched.fill(0)
  }

  /** Forgets what it has read. */
  reset(): void {
    this.#numbers.fill(0)
    this.#encodedNumbers.fill(0)
    this.#matched.fill(0)
    this.#isInText = false
    this.#digitCount = 0
    this.#adjacentDigits = 0
    this.#hexDigits = 0
  }

  /** Goes on as if it had read what the other one has. What comes next is an escape's sign, which ends all digits. */
  continueFrom(other: Reading): void {
    this.reset()
    this.#encodedNumbers.set(other.#encodedNumbers)
    this.#matched.set(other.#matched)
    this.#isInText = other.#isInText
    this.#recent.copyFrom(other.#recent)
  }

  /** Where the first character stands that may be the beginning of a find, at `next` or before. */
  beginning(next: number): number {
    let first = next
    const recent = this.#recent
    const { count } = recent
    const { hasCodes, hasHashes } = this.#needles
    for (let at = 0; at < this.#numbers.length; at += 2) {
      const begun = longest(this.#numbers[at] as number, this.#numbers[at + 1] as number)
      if (begun > 0) first = Math.min(first, recent.startOf(this.#digitBefore(begun)))
    }
    for (const places of this.#encodedNumbers) {
      if (places !== 0) first = Math.min(first, recent.startOf(count - longest(places, 0)))
    }
    for (const matched of this.#matched) {
      if (matched > 0) first = Math.min(first, recent.startOf(count - matched))
    }
    const run = this.#adjacentDigits
    if (hasCodes && run > 0 && run < MAX_CODE && codePlace(recent, count - run) !== undefined) {
      first = Math.min(first, recent.startOf(count - run))
    }
    if (hasHashes && this.#hexDigits > 0 && this.#hexDigits < HASH_LENGTH) {
      first = Math.min(first, recent.startOf(count - this.#hexDigits))
    }
    return first
  }

  /** Reads the character that stands at `at`, and masks what ends with it. */
  read(part: Part, at: number, character: Character): void {
    const { value } = character
    const after = at + character.length
    this.#recent.push(part.base + at, character)
    if (isDigit(value)) {
      this.#readDigit(part, after, value)
    } else {
      if (this.#digitCount > 0) this.#readOther(value)
      this.#adjacentDigits = 0
    }
    if (this.#needles.hasHashes) this.#readHash(part, after, value)
    if (this.#isInText) this.#isInText = false
    else if (this.#needles.startsText[value] === 0) return
    this.#readEncodedNumber(part, after, value)
    this.#readText(part, after, value)
  }

  #readHash(part: Part, after: number, value: number): void {
    this.#hexDigits = hexDigit(value) === -1 ? 0 : this.#hexDigits + 1
    if (this.#hexDigits !== HASH_LENGTH || !this.#isWholeHash(part, after)) return
    const first = this.#recent.count - HASH_LENGTH
    for (let at = 0; at < HASH_LENGTH; at++) this.#overwrite(part, first + at, STAR)
    this.#found(first, part, after)
  }

  #readEncodedNumber(part: Part, after: number, value: number): void {
    const { encodedNumbers } = this.#needles
    const worth = BASE64_WORTH[value] as number
    for (let i = 0; i < encodedNumbers.length; i++) {
      const { length, low, mask } = encodedNumbers[i] as Shape
      const begun = this.#encodedNumbers[i] as number
      const places = worth === 64 ? 0 : ((begun << 1) | 1) & (low[worth] as number)
      const whole = 1 << (length - 1)
      this.#encodedNumbers[i] = places & ~whole
      if (this.#encodedNumbers[i] !== 0) this.#isInText = true
      if ((places & whole) === 0) continue
      const first = this.#recent.count - length
      for (let at = 0; at < length; at++) {
        if (mask[at] !== 0) this.#overwrite(part, first + at, mask[at] as number)
      }
      this.#found(first, part, after)
    }
  }

  #readText(part: Part, after: number, value: number): void {
    const { texts } = this.#needles
    for (let i = 0; i < texts.length; i++) {
      const needle = texts[i] as Needle
      const isWhole = this.#advance(i, needle, needle.fold[value] as number)
      if (this.#matched[i] !== 0) this.#isInText = true
      if (!isWhole) continue
      const { pattern, mask } = needle
      const first = this.#recent.count - pattern.length
      // All of it, also where the mask is what stood there: `2A` among `2a` would tell that it had been an `A`.
      for (let at = 0; at < pattern.length; at++) {
        this.#overwrite(part, first + at, mask[at] as number)
      }
      this.#found(first, part, after)
    }
  }

  #readDigit(part: Part, after: number, value: number): void {
    const { numbers, hasCodes } = this.#needles
    this.#digits[this.#digitCount & (this.#digits.length - 1)] = this.#recent.count - 1
    this.#digitCount += 1
    this.#adjacentDigits += 1
    this.#isAfterSeparator = false
    for (let i = 0; i < numbers.length; i++) {
      if (this.#advanceNumber(i, value)) this.#foundNumber(numbers[i] as Shape, part, after)
    }
    const run = this.#adjacentDigits
    if (hasCodes && run >= MIN_CODE && run <= MAX_CODE) this.#findCode(run, part, after)
  }

  /** Whether the shape ends with this digit. */
  #advanceNumber(index: number, value: number): boolean {
    const { length, low, high } = this.#needles.numbers[index] as Shape
    const digit = value - ZERO
    const begun = this.#numbers[2 * index] as number
    const begunHigh = this.#numbers[2 * index + 1] as number
    let places = ((begun << 1) | 1) & (low[digit] as number)
    let placesHigh = ((begunHigh << 1) | (begun >>> 31)) & (high[digit] as number)
    const whole = 1 << ((length - 1) & 31)
    const isWhole = ((length > 32 ? placesHigh : places) & whole) !== 0
    // The whole is no beginning any more.
    if (isWhole && length > 32) placesHigh &= ~whole
    else if (isWhole) places &= ~whole
    this.#numbers[2 * index] = places
    this.#numbers[2 * index + 1] = placesHigh
    return isWhole
  }

  /** Whether all of the shape but its end has been read, and this digit may be its end. */
  #wouldEnd(index: number, value: number): boolean {
    const { length, low, high } = this.#needles.numbers[index] as Shape
    const last = length - 1
    const begun = this.#numbers[2 * index + (last > 32 ? 1 : 0)] as number
    const ends = (last < 32 ? low : high)[value - ZERO] as number
    return ((begun >>> ((last - 1) & 31)) & (ends >>> (last & 31)) & 1) === 1
  }

  #readOther(value: number): void {
    if (isSeparator(value) && !this.#isAfterSeparator) {
      this.#isAfterSeparator = true
      return
    }
    this.#digitCount = 0
    this.#numbers.fill(0)
  }

  /** Whether the pattern ends with this character. */
  #advance(index: number, { pattern, failures }: Needle, value: number): boolean {
    let matched = this.#matched[index] as number
    while (matched > 0 && pattern[matched] !== value) matched = failures[matched - 1] as number
    if (pattern[matched] === value) matched += 1
    const isWhole = matched === pattern.length
    this.#matched[index] = isWhole ? (failures[matched - 1] as number) : matched
    return isWhole
  }

  /** The character that the digit was, `back` digits ago. */
  #digitBefore(back: number): number {
    return this.#digits[(this.#digitCount - back) & (this.#digits.length - 1)] as number
  }

  #overwrite(part: Part, number: number, value: number): void {
    this.#recent.overwrite(number, part.bytes, part.base, value)
  }

  #found(first: number, part: Part, after: number): void {
    this.#places.add(this.#recent.startOf(first), part.base + after)
  }

  #foundNumber({ length, mask, zeros }: Shape, part: Part, after: number): void {
    const first = this.#digitBefore(length)
    const isBare = this.#isNumberEnd(part, after) === YES && this.#numberStart(first) !== -1
    const put = isBare ? zeros : mask
    for (let at = 0; at < length; at++) {
      if (put[at] === 0) continue
      this.#overwrite(part, this.#digitBefore(length - at), put[at] as number)
    }
    this.#found(first, part, after)
  }

  #findCode(length: number, part: Part, after: number): void {
    const first = this.#recent.count - length
    const place = codePlace(this.#recent, first)
    if (place === undefined || !this.#isWholeCode(place, part, after)) return
    const isBare =
      place.isBareJson &&
      this.#isNumberEnd(part, after) === YES &&
      this.#numberStart(first) === first
    for (let at = 0; at < length; at++) {
      // JSON has no leading zeros.
      const digit = at === 0 ? ZERO + 1 : ZERO
      this.#overwrite(part, first + at, isBare ? digit : STAR)
    }
    this.#found(first, part, after)
  }

  #isWholeHash({ bytes, isLast }: Part, after: number): boolean {
    if (after === bytes.length) return true
    readCharacter(bytes, after, isLast, this.#ahead)
    return hexDigit(this.#ahead.value) === -1
  }

  #isWholeCode({ quote }: CodePlace, { bytes, isLast }: Part, after: number): boolean {
    // What is cut off in the middle of it is masked, too.
    if (after === bytes.length) return true
    readCharacter(bytes, after, isLast, this.#ahead)
    const { value, length } = this.#ahead
    if (quote !== 0) return value === quote
    if (value !== DOT && value !== DASH) return !isInWord(value)
    if (after + length === bytes.length) return true
    readCharacter(bytes, after + length, isLast, this.#ahead)
    return !isDigit(this.#ahead.value)
  }

  /** Whether this character, which has not been read yet, may end a find, and what is not there yet decides. */
  needsMore(part: Part, after: number, value: number): boolean {
    const { numbers, hasCodes, hasHashes } = this.#needles
    const { bytes } = part
    if (hasHashes && this.#hexDigits === HASH_LENGTH - 1 && hexDigit(value) !== -1) {
      if (after === bytes.length || !readCharacter(bytes, after, false, this.#ahead)) return true
    }
    if (!isDigit(value)) return false
    let mayEnd = false
    for (let i = 0; i < numbers.length && !mayEnd; i++) mayEnd = this.#wouldEnd(i, value)
    const run = this.#adjacentDigits
    const mayBeCode = hasCodes && run >= MIN_CODE - 1 && run <= MAX_CODE - 1
    if (mayBeCode && codePlace(this.#recent, this.#recent.count - run) !== undefined) {
      mayEnd = true
      // What is next, and what is after that, if that is a dot or dash.
      if (after === bytes.length || !readCharacter(bytes, after, false, this.#ahead)) return true
      if (this.#ahead.value === DOT || this.#ahead.value === DASH) {
        const next = after + this.#ahead.length
        if (next === bytes.length || !readCharacter(bytes, next, false, this.#ahead)) return true
      }
    }
    return mayEnd && this.#isNumberEnd(part, after) === UNKNOWN
  }

  /** Whether what follows is the rest of a JSON number, then blanks, then what ends a JSON value. */
  #isNumberEnd({ bytes, isLast }: Part, after: number): Answer {
    if (!this.#isBody || this.#adjacentDigits > REACH) return NO
    const limit = after + REACH
    let at = after
    while (at < limit && at < bytes.length && IN_NUMBER[bytes[at] as number] === 1) at += 1
    while (at < limit && at < bytes.length && isBlank(bytes[at] as number)) at += 1
    if (at === limit) return NO
    if (at === bytes.length) return isLast ? YES : UNKNOWN
    return AFTER_VALUE[bytes[at] as number] === 1 ? YES : NO
  }

  /**
   * Where the JSON number begins that the characters from `first` on are a part of; -1 when there is none: in it there
   * are only digits and a dot, and before it begins a value.
   */
  #numberStart(first: number): number {
    const recent = this.#recent
    const limit = recent.count - REACH
    let at = recent.count - 1
    while (at > limit && recent.isPlain(at) && isDigitOrDot(recent.valueOf(at))) at -= 1
    if (at >= first) return -1
    const start = at + 1
    if (recent.valueOf(at) === DASH) at -= 1
    while (at > limit && isBlank(recent.valueOf(at))) at -= 1
    return at < 0 || BEFORE_VALUE[recent.valueOf(at)] === 1 ? start : -1
  }
}

type Answer = typeof YES | typeof NO | typeof UNKNOWN
const NO = 0
const YES = 1
const UNKNOWN = 2

const STAR = 0x2a
const DASH = 0x2d
const DOT = 0x2e
const ZERO = 0x30
const UNDERSCORE = 0x5f
const IN_NUMBER = setOf('0123456789.eE+-')
const BEFORE_VALUE = setOf(':,[')
const AFTER_VALUE = setOf(',]}')

function setOf(characters: string): Uint8Array {
  const set = new Uint8Array(256)
  for (const character of characters) set[character.charCodeAt(0)] = 1
  return set
}

/** Digits next to it are not the whole of a value. */
function isInWord(value: number): boolean {
  return isAlphanumeric(value) || value === UNDERSCORE || value >= 0x80
}

function isDigitOrDot(value: number): boolean {
  return isDigit(value) || value === DOT
}

/** How much of a shape the longest beginning is. */
function longest(places: number, placesHigh: number): number {
  return placesHigh === 0 ? 32 - Math.clz32(places) : 64 - Math.clz32(placesHigh)
}
