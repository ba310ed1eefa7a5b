// Forms (application/x-www-form-urlencoded, as WHATWG URL 5.1 reads them) and URLs. Each character of a placeholder
// may be percent-encoded, and in forms a `+` is a blank.

import { hexDigit } from '../../core/hex-digit.ts'
import { type Charset, inCharset, UTF_8 } from '../charset.ts'
import { type Encoder, encodePercent } from '../encode.ts'
import type { Place } from '../place.ts'
import { Refusal } from '../refusal.ts'
import { DisguiseWatch, refuseDisguises } from './disguise.ts'
import { type Found, MAX_HELD_BYTES, type Scanner, scanRun } from './scanner.ts'

type PlaceOf = (key: string | undefined) => Place

/** A key with a slash has no place: rules with one mean JSON pointers, XML paths and what is inside parts. */
const placeInForm: PlaceOf = (key) => ({ in: 'body', at: key?.includes('/') ? undefined : key })

export class FormScanner implements Scanner {
  readonly #encode: Encoder
  readonly #placeOf: PlaceOf
  /** The value that goes on from an earlier window. */
  #value: { readonly key: string; readonly watch: DisguiseWatch; hasSemicolon: boolean } | undefined

  constructor(charset: Charset, placeOf: PlaceOf = placeInForm) {
    this.#encode = inCharset(encodePercent, charset)
    this.#placeOf = placeOf
  }

  scan(window: Buffer, isLast: boolean, found: Found[]): number {
    for (let at = 0; ; ) {
      const ampersand = window.indexOf(AMPERSAND, at)
      const isEnd = ampersand !== -1 || isLast
      const end = ampersand === -1 ? window.length : ampersand
      let valueAt = at
      let key = this.#value?.key
      if (key === undefined && isEnd && isPlain(window, at, end)) {
        if (end === window.length) return end
        at = end + 1
        continue
      }
      if (key === undefined) {
        const equals = window.subarray(at, end).indexOf(EQUALS)
        if (equals === -1 && !isEnd) {
          if (end - at > MAX_HELD_BYTES) throw new Refusal('malformed_body')
          return at
        }
        const keyEnd = equals === -1 ? end : at + equals
        this.#scanPart(window, at, keyEnd, true, this.#placeOf(undefined), undefined, found)
        key = decode(window, at, keyEnd, true).bytes.toString('utf8')
        valueAt = Math.min(keyEnd + 1, end)
      }
      const reached = this.#scanValue(window, valueAt, end, isEnd, key, found)
      if (!isEnd) return reached
      this.#value = undefined
      if (end === window.length) return end
      at = end + 1
    }
  }

  #scanValue(
    window: Buffer,
    from: number,
    end: number,
    isEnd: boolean,
    key: string,
    found: Found[],
  ): number {
    if (!isEnd) this.#value ??= { key, watch: new DisguiseWatch(), hasSemicolon: false }
    const before = found.length
    const place = this.#placeOf(key)
    const reached = this.#scanPart(window, from, end, isEnd, place, this.#value?.watch, found)
    // Receivers that end a pair at a semicolon, too, would see the placeholder under another key.
    const inValue = window.subarray(from, reached).indexOf(SEMICOLON)
    const semicolon = this.#value?.hasSemicolon ? from : inValue === -1 ? reached : from + inValue
    for (let i = before; i < found.length; i++) {
      const each = found[i] as Found
      if (each.start > semicolon) found[i] = { ...each, place: this.#placeOf(undefined) }
    }
    if (this.#value !== undefined && inValue !== -1) this.#value.hasSemicolon = true
    return reached
  }

  #scanPart(
    window: Buffer,
    from: number,
    end: number,
    isLast: boolean,
    place: Place,
    watch: DisguiseWatch | undefined,
    found: Found[],
  ): number {
    const as = { isLast, plusIsBlank: true, encode: this.#encode, place, watch, found }
    return scanDecoded(window, from, end, as)
  }
}

const AMPERSAND = 0x26
const EQUALS = 0x3d
const SEMICOLON = 0x3b

/** Nothing that a placeholder, or the disguise of one, is made of. */
function isPlain(bytes: Buffer, from: number, end: number): boolean {
  for (let at = from; at < end; at++) if (UNPLAIN.has(bytes[at] as number)) return false
  return true
}

const UNPLAIN: ReadonlySet<number> = new Set(Buffer.from('{%\\\0'))

/** `query` without its question mark. */
export function scanQuery(query: Buffer): Found[] {
  const found: Found[] = []
  new FormScanner(UTF_8, (name) => ({ in: 'query', name: name ?? '' })).scan(query, true, found)
  return found
}

export function scanPath(path: Buffer): Found[] {
  const found: Found[] = []
  scanDecoded(path, 0, path.length, {
    isLast: true,
    plusIsBlank: false,
    encode: encodePercent,
    place: { in: 'path' },
    watch: undefined,
    found,
  })
  return found
}

/**
 * Placeholders in the decoded text of bytes[start, end), with the places of their raw spelling. Answers how far in the
 * raw bytes it has got.
 */
function scanDecoded(
  bytes: Buffer,
  start: number,
  end: number,
  as: {
    readonly isLast: boolean
    readonly plusIsBlank: boolean
    readonly encode: Encoder
    readonly place: Place
    readonly watch: DisguiseWatch | undefined
    readonly found: Found[]
  },
): number {
  // An escape that is cut stays for the next window.
  const lookAt = Math.max(start, end - 2)
  const percent = as.isLast ? -1 : bytes.subarray(lookAt, end).indexOf(0x25)
  const text = decode(bytes, start, percent === -1 ? end : lookAt + percent, as.plusIsBlank)
  const inText: Found[] = []
  let reached = scanRun(text.bytes, 0, as.isLast, as.encode, as.place, inText)
  // It might be in front of a placeholder.
  if (!as.isLast) reached -= openEscapeBefore(bytes, text.rawOffset(reached))
  if (as.watch === undefined) refuseDisguises(text.bytes)
  else as.watch.look(text.bytes.subarray(0, reached))
  for (const each of inText) {
    const start = text.rawOffset(each.start)
    // The value would become a part of the escape.
    if (openEscapeBefore(bytes, start) > 0) throw new Refusal('value_not_encodable')
    as.found.push({ ...each, start, end: text.rawOffset(each.end) })
  }
  return text.rawOffset(reached)
}

/** The length of a `%` or `%4` just before `at`. */
function openEscapeBefore(bytes: Buffer, at: number): number {
  if (bytes[at - 1] === 0x25) return 1
  return bytes[at - 2] === 0x25 && hexDigit(bytes[at - 1]) !== -1 ? 2 : 0
}

function decode(bytes: Buffer, start: number, end: number, plusIsBlank: boolean) {
  const out = Buffer.alloc(end - start)
  const offsets = new Uint32Array(end - start + 1)
  let length = 0
  for (let at = start; at < end; ) {
    offsets[length] = at
    const byte = bytes[at] as number
    const high = byte === 0x25 && at + 2 < end ? hexDigit(bytes[at + 1]) : -1
    const low = high === -1 ? -1 : hexDigit(bytes[at + 2])
    if (low !== -1) {
      out[length++] = high * 16 + low
      at += 3
    } else {
      out[length++] = plusIsBlank && byte === 0x2b ? 0x20 : byte
      at += 1
    }
  }
  offsets[length] = end
  return { bytes: out.subarray(0, length), rawOffset: (at: number) => offsets[at] as number }
}
