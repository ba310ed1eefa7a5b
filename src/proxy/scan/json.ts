// JSON (RFC 8259) with placeholders inside strings and in place of values.

import { hexDigit } from '../../core/hex-digit.ts'
import { skipBlanks } from '../../core/json-bytes.ts'
import { jsonEnd } from '../../core/json-check.ts'
import { type Charset, inCharset } from '../charset.ts'
import { type Encoder, encodeJsonString, encodeJsonValue, encodeRawJson } from '../encode.ts'
import type { Place } from '../place.ts'
import { openerAt, readPlaceholder } from '../placeholder.ts'
import { Refusal } from '../refusal.ts'
import {
  addFound,
  type Found,
  lastTokenOf,
  MAX_HELD_BYTES,
  MAX_PLACE_LENGTH,
  type Scanner,
} from './scanner.ts'

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COLON = 0x3a
const OPEN = 0x7b
const MAX_DEPTH = 512

const SOMEWHERE: Place = { in: 'body', at: undefined }

/** Bytes of a string that nothing has to be known about. */
const ORDINARY = new Uint8Array(256).map((_, byte) =>
  byte >= 0x20 && byte !== QUOTE && byte !== BACKSLASH && byte !== OPEN ? 1 : 0,
)

function ordinaryEnd(window: Buffer, from: number): number {
  let at = from
  while (at < window.length && ORDINARY[window[at] as number] === 1) at += 1
  return at
}

type Expected =
  | 'value'
  | 'value_or_end'
  | 'name'
  | 'name_or_end'
  | 'colon'
  | 'comma_or_end'
  | 'nothing'

/**
 * An open object or array: for arrays the index of the current element, for objects its current name: where it stands
 * in this window, or its raw text where it stood in an earlier one. `pointer`: its own, once it has been asked for.
 */
type Level = {
  readonly isObject: boolean
  pointer: string | undefined
  index: number
  nameStart: number
  nameEnd: number
  name: string | undefined
}

export class JsonScanner implements Scanner {
  readonly #wantsPlaces: boolean
  readonly #encodeString: Encoder
  readonly #encodeValue: Encoder
  readonly #encodeRaw: Encoder
  readonly #levels: Level[] = []
  #level: Level | undefined
  #expected: Expected = 'value'
  /** In the midst of a string that is a value. */
  #isInString = false
  #isStart = true

  /** `wantsPlaces`: whether anybody asks for JSON pointers. */
  constructor(charset: Charset, wantsPlaces: boolean) {
    this.#wantsPlaces = wantsPlaces
    this.#encodeString = inCharset(encodeJsonString, charset)
    this.#encodeValue = inCharset(encodeJsonValue, charset)
    this.#encodeRaw = inCharset(encodeRawJson, charset)
  }

  scan(window: Buffer, isLast: boolean, found: Found[]): number {
    const reached = this.#scan(window, isLast, found)
    if (!isLast) {
      if (window.length - reached > MAX_HELD_BYTES) throw new Refusal('malformed_body')
      this.#keepNames(window)
    } else if (this.#isInString || this.#expected !== 'nothing') {
      throw new Refusal('malformed_body')
    }
    return reached
  }

  #scan(window: Buffer, isLast: boolean, found: Found[]): number {
    if (this.#isStart && window.length < 3 && !isLast) return 0 // a byte order mark may be cut
    let at = this.#isStart ? afterByteOrderMark(window) : 0
    this.#isStart = false
    for (;;) {
      if (this.#isInString) {
        at = this.#string(window, at, isLast, found, false)
        if (window[at] !== QUOTE) return at
        at += 1
        this.#isInString = false
        this.#endValue()
      }
      at = skipBlanks(window, at)
      const byte = window[at]
      if (byte === undefined) return at
      switch (this.#expected) {
        case 'value_or_end':
        case 'value':
          if (byte === QUOTE) {
            const plainEnd = ordinaryEnd(window, at + 1)
            if (window[plainEnd] === QUOTE) {
              at = plainEnd + 1
              this.#endValue()
              break
            }
            const end = this.#beginString(window, at, isLast, found)
            if (end === at) return at
            at = end
          } else if (byte === OPEN && window[at + 1] === OPEN) {
            const end = this.#bareValue(window, at, isLast, found)
            if (end === at) return at
            at = end
          } else if (byte === OPEN && at + 1 === window.length && !isLast) {
            return at
          } else if (byte === OPEN || byte === 0x5b) {
            this.#begin(byte === OPEN)
            at += 1
          } else if (byte === 0x5d && this.#expected === 'value_or_end') {
            this.#end()
            at += 1
          } else {
            const end = scalarEnd(window, at)
            if (end === window.length && !isLast) return at
            if (jsonEnd(window, at, 0) !== end) throw new Refusal('malformed_body')
            at = end
            this.#endValue()
          }
          break
        case 'name_or_end':
        case 'name':
          if (byte === QUOTE && this.#level !== undefined) {
            const before = found.length
            const end = this.#string(window, at + 1, isLast, found, true)
            if (window[end] !== QUOTE) {
              found.length = before // names are held as a whole
              return at
            }
            this.#level.nameStart = at + 1
            this.#level.nameEnd = end
            this.#level.name = undefined
            at = end + 1
            this.#expected = 'colon'
            if (window[at] !== COLON) break
            at += 1 // nearly always; a turn of the loop less
            this.#expected = 'value'
          } else if (byte === 0x7d && this.#expected === 'name_or_end') {
            this.#end()
            at += 1
          } else {
            throw new Refusal('malformed_body')
          }
          break
        case 'colon':
          if (byte !== COLON) throw new Refusal('malformed_body')
          this.#expected = 'value'
          at += 1
          break
        case 'comma_or_end':
          this.#afterElement(byte)
          at += 1
          break
        case 'nothing':
          throw new Refusal('malformed_body')
        default:
          this.#expected satisfies never
      }
    }
  }

  /**
   * At the quote that begins a value: answers just after it, after a placeholder at its very beginning or, where that
   * is all of the string and comes out of its filters as JSON, after the string: its quotes go with it, because a
   * client that builds JSON from objects cannot leave them out. Answers `at` when that is cut.
   */
  #beginString(window: Buffer, at: number, isLast: boolean, found: Found[]): number {
    const start = at + 1
    if (start === window.length && !isLast) return at
    const opener = window[start] === OPEN ? openerAt(window, start) : 'no'
    if (opener === 'cut' && !isLast) return at
    this.#isInString = true
    if (opener !== 'yes') return start
    const placeholder = readPlaceholder(window, start, isLast, lastTokenOf(found))
    const isCut =
      placeholder === 'cut' || (placeholder.isJson && placeholder.end === window.length && !isLast)
    if (isCut) {
      this.#isInString = false
      return at
    }
    const { isJson, end } = placeholder
    const place = this.#place(window, false)
    if (isJson && window[end] === QUOTE) {
      this.#isInString = false
      addFound(found, { ...placeholder, end: end + 1 }, at, this.#encodeRaw, place)
      this.#endValue()
      return end + 1
    }
    addFound(found, placeholder, start, this.#encodeString, place)
    return end
  }

  /** From `at` in a string to its closing quote, or as far as this window goes. */
  #string(window: Buffer, from: number, isLast: boolean, found: Found[], isName: boolean): number {
    let at = from
    for (;;) {
      at = ordinaryEnd(window, at)
      const byte = window[at]
      if (byte === QUOTE) return at
      if (byte === undefined) {
        if (isLast) throw new Refusal('malformed_body')
        return at
      }
      if (byte < 0x20) throw new Refusal('malformed_body')
      if (byte === BACKSLASH) {
        const end = escapeEnd(window, at, isLast)
        if (end === at) return at
        at = end
      } else if (byte === OPEN) {
        const opener = openerAt(window, at)
        if (opener === 'cut' && !isLast) return at
        if (opener === 'yes') {
          const placeholder = readPlaceholder(window, at, isLast, lastTokenOf(found))
          if (placeholder === 'cut') return at
          addFound(found, placeholder, at, this.#encodeString, this.#place(window, isName))
          at = placeholder.end
        } else {
          at += 1
        }
      } else {
        at += 1
      }
    }
  }

  /** In place of a value; answers `at` when it is cut. */
  #bareValue(window: Buffer, at: number, isLast: boolean, found: Found[]): number {
    const opener = openerAt(window, at)
    if (opener === 'cut' && !isLast) return at
    if (opener !== 'yes') throw new Refusal('malformed_body')
    const placeholder = readPlaceholder(window, at, isLast, lastTokenOf(found))
    if (placeholder === 'cut') return at
    const encode = placeholder.isJson ? this.#encodeRaw : this.#encodeValue
    addFound(found, placeholder, at, encode, this.#place(window, false))
    this.#endValue()
    return placeholder.end
  }

  #begin(isObject: boolean): void {
    if (this.#levels.length === MAX_DEPTH) throw new Refusal('malformed_body')
    this.#level = {
      isObject,
      pointer: undefined,
      index: 0,
      nameStart: 0,
      nameEnd: 0,
      name: undefined,
    }
    this.#levels.push(this.#level)
    this.#expected = isObject ? 'name_or_end' : 'value_or_end'
  }

  #end(): void {
    this.#levels.pop()
    this.#level = this.#levels.at(-1)
    this.#endValue()
  }

  #endValue(): void {
    this.#expected = this.#level === undefined ? 'nothing' : 'comma_or_end'
  }

  #afterElement(byte: number): void {
    const level = this.#level as Level // there is one where an element has ended
    if (byte === 0x2c) {
      level.index += 1
      this.#expected = level.isObject ? 'name' : 'value'
    } else if (byte === (level.isObject ? 0x7d : 0x5d)) {
      this.#end()
    } else {
      throw new Refusal('malformed_body')
    }
  }

  #place(window: Buffer, isName: boolean): Place {
    if (!this.#wantsPlaces) return SOMEWHERE
    const mayHave = !isName && !this.#levels.some(hasLongName)
    const pointer = mayHave ? this.#pointer(window) : undefined
    const at = (pointer?.length ?? 0) > MAX_PLACE_LENGTH ? undefined : pointer
    return { in: 'body', at }
  }

  /** The JSON pointer (RFC 6901) of the current value. */
  #pointer(window: Buffer): string {
    let pointer = ''
    let depth = this.#levels.length
    // That of an open level stays as it is.
    while (depth > 0 && this.#levels[depth - 1]?.pointer === undefined) depth -= 1
    for (const level of this.#levels.slice(Math.max(depth - 1, 0))) {
      level.pointer ??= pointer
      pointer = level.pointer
      if (level.isObject) {
        const raw = level.name ?? window.toString('utf8', level.nameStart, level.nameEnd)
        // Within a placeholder there may be line ends and tabs.
        const name: string = raw.includes('\\')
          ? JSON.parse(`"${raw.replaceAll(/[\t\r\n]/g, ' ')}"`)
          : raw
        pointer += `/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`
      } else {
        pointer += `/${level.index}`
      }
    }
    return pointer
  }

  #keepNames(window: Buffer): void {
    if (!this.#wantsPlaces) return
    for (const level of this.#levels) {
      if (level.isObject) level.name ??= window.toString('utf8', level.nameStart, level.nameEnd)
    }
  }
}

/** No rule can name it, in whatever spelling. */
function hasLongName({ isObject, name, nameStart, nameEnd }: Level): boolean {
  return isObject && (name?.length ?? nameEnd - nameStart) > 6 * MAX_PLACE_LENGTH
}

/** A byte order mark is not a part of the text (RFC 8259, 8.1). */
export function afterByteOrderMark(body: Buffer): number {
  return body[0] === 0xef && body[1] === 0xbb && body[2] === 0xbf ? 3 : 0
}

/** Just after the escape at `at`; `at` itself when it is cut. */
function escapeEnd(window: Buffer, at: number, isLast: boolean): number {
  const kind = window[at + 1]
  const length = kind === 0x75 ? 6 : 2
  if (at + length > window.length && !isLast) return at
  if (kind === 0x75) {
    for (let i = 2; i < 6; i++) {
      if (hexDigit(window[at + i]) === -1) throw new Refusal('malformed_body')
    }
  } else if (kind === undefined || !ESCAPED.has(kind)) {
    throw new Refusal('malformed_body')
  }
  return at + length
}

const ESCAPED: ReadonlySet<number> = new Set(Buffer.from('"\\/bfnrt'))

/** Just after the number or literal that begins at `at`. */
function scalarEnd(window: Buffer, at: number): number {
  let end = at
  for (;;) {
    const byte = window[end] ?? 0
    const isPart =
      (byte >= 0x30 && byte <= 0x39) ||
      (byte >= 0x61 && byte <= 0x7a) ||
      byte === 0x2d ||
      byte === 0x2b ||
      byte === 0x2e ||
      byte === 0x45
    if (!isPart) return end
    end += 1
  }
}
