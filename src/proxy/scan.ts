// Finding placeholders and the position each stands in, on the raw bytes: nothing is parsed and written again, so
// outside the placeholders every byte stays as it was sent.

import type { CardField } from '../core/card-fields.ts'
import { isBlank } from '../core/json-bytes.ts'
import {
  type Encoder,
  encodeHeader,
  encodeJsonString,
  encodeJsonValue,
  encodePercent,
  encodeText,
} from './encode.ts'
import type { Place } from './place.ts'
import { findOpener, isOpener, type Placeholder, parsePlaceholder } from './placeholder.ts'

export type Found = {
  readonly start: number
  readonly end: number
  readonly field: CardField
  readonly token: string | undefined
  readonly encode: Encoder
  readonly place: Place
}

export type ScanReason = 'malformed_body' | 'placeholder_malformed' | 'body_too_large'

/** Why a text with an opener in it cannot be scanned. */
export class ScanRefusal extends Error {
  readonly reason: ScanReason

  constructor(reason: ScanReason) {
    super(reason)
    this.reason = reason
  }
}

/** In one body, header, path or query. What one request can make us do has an end. */
const MAX_PLACEHOLDERS = 10_000

function addTo(found: Found[], placeholder: Found): void {
  if (found.length === MAX_PLACEHOLDERS) throw new ScanRefusal('body_too_large')
  found.push(placeholder)
}

function placeholderAt(bytes: Buffer, at: number): Placeholder {
  const placeholder = parsePlaceholder(bytes, at)
  if (placeholder === undefined) throw new ScanRefusal('placeholder_malformed')
  return placeholder
}

/** Header values and unknown types: no structure at all. */
function scanPlain(bytes: Buffer, encode: Encoder, place: Place): Found[] {
  const found: Found[] = []
  for (let at = findOpener(bytes, 0); at !== -1; ) {
    const { end, field, token } = placeholderAt(bytes, at)
    addTo(found, { start: at, end, field, token, encode, place })
    at = findOpener(bytes, end)
  }
  return found
}

export const scanText = (body: Buffer): Found[] =>
  scanPlain(body, encodeText, { in: 'body', at: undefined })

/** `name` in lower case. */
export const scanHeader = (value: Buffer, name: string): Found[] =>
  scanPlain(value, encodeHeader, { in: 'header', name })

// ---- Forms and URLs: each character of a placeholder may be percent-encoded.

/** A key that looks like a JSON pointer has no place: rules that begin with a slash mean JSON. */
export const scanForm = (body: Buffer): Found[] =>
  scanPairs(body, (key) => ({ in: 'body', at: key?.startsWith('/') ? undefined : key }))

/** `query` without its question mark. */
export const scanQuery = (query: Buffer): Found[] =>
  scanPairs(query, (name) => ({ in: 'query', name: name ?? '' }))

export const scanPath = (path: Buffer): Found[] =>
  scanDecoded(path, 0, path.length, false, { in: 'path' })

function scanPairs(bytes: Buffer, placeOf: (key: string | undefined) => Place): Found[] {
  const found: Found[] = []
  for (let start = 0; start <= bytes.length; ) {
    const ampersand = bytes.indexOf(0x26, start)
    const end = ampersand === -1 ? bytes.length : ampersand
    const equals = bytes.subarray(start, end).indexOf(0x3d)
    const keyEnd = equals === -1 ? end : start + equals
    for (const each of scanDecoded(bytes, start, keyEnd, true, placeOf(undefined)))
      addTo(found, each)
    if (equals !== -1) {
      const key = decode(bytes, start, keyEnd, true).bytes.toString('utf8')
      for (const each of scanDecoded(bytes, keyEnd + 1, end, true, placeOf(key))) addTo(found, each)
    }
    start = end + 1
  }
  return found
}

/** Placeholders in the decoded text of bytes[start, end), with the places of their raw spelling. */
function scanDecoded(
  bytes: Buffer,
  start: number,
  end: number,
  plusIsBlank: boolean,
  place: Place,
): Found[] {
  const text = decode(bytes, start, end, plusIsBlank)
  return scanPlain(text.bytes, encodePercent, place).map((found) => ({
    ...found,
    start: text.rawOffset(found.start),
    end: text.rawOffset(found.end),
  }))
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

function hexDigit(byte: number | undefined): number {
  if (byte === undefined) return -1
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30
  const lower = byte | 0x20
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1
}

// ---- JSON (RFC 8259), with placeholders inside strings and in place of values.

const QUOTE = 0x22
const BACKSLASH = 0x5c
const MAX_DEPTH = 512

type Expected =
  | 'value'
  | 'value_or_end'
  | 'name'
  | 'name_or_end'
  | 'colon'
  | 'comma_or_end'
  | 'nothing'

/** An open object or array: for arrays the index of the current element, for objects where its current name stands. */
type Level = { isObject: boolean; index: number; nameStart: number; nameEnd: number }

/** `wantPlaces`: whether anybody asks for JSON pointers. Throws ScanRefusal. */
export function scanJson(body: Buffer, wantPlaces: boolean): Found[] {
  const found: Found[] = []
  const levels: Level[] = []
  let level: Level | undefined
  let expected: Expected = 'value'
  let at = 0

  const add = (start: number, encode: Encoder, isName: boolean): number => {
    const { end, field, token } = placeholderAt(body, start)
    const pointer = wantPlaces && !isName ? pointerOf(body, levels) : undefined
    addTo(found, { start, end, field, token, encode, place: { in: 'body', at: pointer } })
    return end
  }

  /** Over the string whose quote is at `start`; answers where its closing quote is. */
  const string = (start: number, isName: boolean): number => {
    let i = start + 1
    for (;;) {
      const byte = body[i]
      if (byte === QUOTE) return i
      if (byte === undefined || byte < 0x20) throw new ScanRefusal('malformed_body')
      if (byte === BACKSLASH) i += escapeLength(body, i)
      else if (byte === 0x7b && isOpener(body, i)) i = add(i, encodeJsonString, isName)
      else i += 1
    }
  }

  for (;;) {
    while (isBlank(body[at])) at += 1
    const byte = body[at]
    if (byte === undefined) break
    switch (expected) {
      case 'value_or_end':
      case 'value':
        if (byte === QUOTE) {
          at = string(at, false) + 1
          expected = afterValue(level)
        } else if (byte === 0x7b && body[at + 1] === 0x7b) {
          if (!isOpener(body, at)) throw new ScanRefusal('malformed_body')
          at = add(at, encodeJsonValue, false)
          expected = afterValue(level)
        } else if (byte === 0x7b || byte === 0x5b) {
          if (levels.length === MAX_DEPTH) throw new ScanRefusal('malformed_body')
          level = { isObject: byte === 0x7b, index: 0, nameStart: 0, nameEnd: 0 }
          levels.push(level)
          expected = level.isObject ? 'name_or_end' : 'value_or_end'
          at += 1
        } else if (byte === 0x5d && expected === 'value_or_end') {
          levels.pop()
          level = levels.at(-1)
          expected = afterValue(level)
          at += 1
        } else {
          at = scalarEnd(body, at)
          expected = afterValue(level)
        }
        break
      case 'name_or_end':
      case 'name':
        if (byte === QUOTE && level !== undefined) {
          level.nameStart = at + 1
          level.nameEnd = string(at, true)
          at = level.nameEnd + 1
          expected = 'colon'
        } else if (byte === 0x7d && expected === 'name_or_end') {
          levels.pop()
          level = levels.at(-1)
          expected = afterValue(level)
          at += 1
        } else {
          throw new ScanRefusal('malformed_body')
        }
        break
      case 'colon':
        if (byte !== 0x3a) throw new ScanRefusal('malformed_body')
        expected = 'value'
        at += 1
        break
      case 'comma_or_end':
        if (level === undefined) throw new ScanRefusal('malformed_body')
        if (byte === 0x2c) {
          level.index += 1
          expected = level.isObject ? 'name' : 'value'
        } else if (byte === (level.isObject ? 0x7d : 0x5d)) {
          levels.pop()
          level = levels.at(-1)
          expected = afterValue(level)
        } else {
          throw new ScanRefusal('malformed_body')
        }
        at += 1
        break
      case 'nothing':
        throw new ScanRefusal('malformed_body')
      default:
        expected satisfies never
    }
  }
  if (expected !== 'nothing') throw new ScanRefusal('malformed_body')
  return found
}

function afterValue(level: Level | undefined): Expected {
  return level === undefined ? 'nothing' : 'comma_or_end'
}

function escapeLength(body: Buffer, at: number): number {
  const kind = body[at + 1] ?? 0
  if (kind === 0x75) {
    for (let i = 2; i < 6; i++)
      if (hexDigit(body[at + i]) === -1) throw new ScanRefusal('malformed_body')
    return 6
  }
  if (!'"\\/bfnrt'.includes(String.fromCharCode(kind))) throw new ScanRefusal('malformed_body')
  return 2
}

const SCALAR = /^(?:true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)$/

/** Just after the number or literal that begins at `at`. */
function scalarEnd(body: Buffer, at: number): number {
  let end = at
  for (;;) {
    const byte = body[end] ?? 0
    const isPart =
      (byte >= 0x30 && byte <= 0x39) ||
      (byte >= 0x61 && byte <= 0x7a) ||
      byte === 0x2d ||
      byte === 0x2b ||
      byte === 0x2e ||
      byte === 0x45
    if (!isPart) break
    end += 1
  }
  if (!SCALAR.test(body.toString('latin1', at, end))) throw new ScanRefusal('malformed_body')
  return end
}

/** The JSON pointer (RFC 6901) of the current value. */
function pointerOf(body: Buffer, levels: readonly Level[]): string {
  let pointer = ''
  for (const { isObject, index, nameStart, nameEnd } of levels) {
    if (isObject) {
      const raw = body.toString('utf8', nameStart, nameEnd)
      const name: string = raw.includes('\\') ? JSON.parse(`"${raw}"`) : raw
      pointer += `/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`
    } else {
      pointer += `/${index}`
    }
  }
  return pointer
}
