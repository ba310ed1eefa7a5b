// Forms (application/x-www-form-urlencoded, as WHATWG URL 5.1 reads them) and URLs. Each character of a placeholder
// may be percent-encoded, and in forms a `+` is a blank.

import { type Charset, inCharset, UTF_8 } from '../charset.ts'
import { type Encoder, encodePercent } from '../encode.ts'
import type { Place } from '../place.ts'
import { Refusal } from '../refusal.ts'
import { DisguiseWatch, refuseDisguises } from './disguise.ts'
import { type Found, MAX_HELD_BYTES, type Scanner, scanRun } from './scanner.ts'

type PlaceOf = (key: string | undefined) => Place

/** A key that looks like a JSON pointer or XML path has no place: rules that begin with a slash mean these. */
const placeInForm: PlaceOf = (key) => ({ in: 'body', at: key?.startsWith('/') ? undefined : key })

export class FormScanner implements Scanner {
  readonly #encode: Encoder
  readonly #placeOf: PlaceOf
  /** In the midst of the value of this key. */
  #key: string | undefined
  /** Over a value that began in an earlier window. */
  #watch: DisguiseWatch | undefined

  constructor(charset: Charset, placeOf: PlaceOf = placeInForm) {
    this.#encode = inCharset(encodePercent, charset)
    this.#placeOf = placeOf
  }

  scan(window: Buffer, isLast: boolean, found: Found[]): number {
    let at = 0
    for (;;) {
      const ampersand = window.indexOf(0x26, at)
      const isEnd = ampersand !== -1 || isLast
      const end = ampersand === -1 ? window.length : ampersand
      if (this.#key === undefined) {
        const equals = window.subarray(at, end).indexOf(0x3d)
        if (equals === -1 && !isEnd) {
          if (end - at > MAX_HELD_BYTES) throw new Refusal('malformed_body')
          return at
        }
        const keyEnd = equals === -1 ? end : at + equals
        scanDecoded(window, at, keyEnd, {
          isLast: true,
          plusIsBlank: true,
          encode: this.#encode,
          place: this.#placeOf(undefined),
          watch: undefined,
          found,
        })
        if (equals === -1) {
          if (end === window.length) return end
          at = end + 1
          continue
        }
        this.#key = decode(window, at, keyEnd, true).bytes.toString('utf8')
        at = keyEnd + 1
      }
      const place = this.#placeOf(this.#key)
      this.#watch = isEnd ? this.#watch : (this.#watch ?? new DisguiseWatch())
      const reached = scanDecoded(window, at, end, {
        isLast: isEnd,
        plusIsBlank: true,
        encode: this.#encode,
        place,
        watch: this.#watch,
        found,
      })
      if (!isEnd) return reached
      this.#key = undefined
      this.#watch = undefined
      if (end === window.length) return end
      at = end + 1
    }
  }
}

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

export function hexDigit(byte: number | undefined): number {
  if (byte === undefined) return -1
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30
  const lower = byte | 0x20
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1
}
