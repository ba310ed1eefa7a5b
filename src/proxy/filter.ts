// Filters: what may be done to a value between the vault and its place in the request. A closed list, told by name
// and arguments when the placeholder is read, so that applying them can only fail for the value's own sake. Values
// are bytes of UTF-8 and never become strings; what a filter makes is overwritten with the values of the request.

import { createHash } from 'node:crypto'
import { codePointAt, utf8Length, writeUtf8 } from '../core/utf8.ts'
import { wipeableBuffer } from '../core/wipeable.ts'
import { encodeJsonValue, encodePercent } from './encode.ts'

/** A part of a date: a token, or text that stays as it is. */
export type DatePart =
  | { readonly kind: 'M' | 'MM' | 'YY' | 'YYYY' }
  | { readonly kind: 'literal'; readonly text: Buffer }

export type Filter =
  | { readonly kind: 'first' | 'last' | 'pad'; readonly count: number }
  | { readonly kind: 'format'; readonly parts: readonly DatePart[] }
  /** Keys in lower case. */
  | { readonly kind: 'map'; readonly values: readonly (readonly [key: string, value: Buffer])[] }
  | { readonly kind: 'default'; readonly text: Buffer }
  | { readonly kind: SimpleFilter }

const SIMPLE = [
  'upper',
  'lower',
  'digits',
  'number',
  'string',
  'base64',
  'base64url',
  'hex',
  'sha256',
  'mask',
  'urlencode',
  'json',
] as const
type SimpleFilter = (typeof SIMPLE)[number]

const COUNT = /^[1-9][0-9]{0,3}$/
const MAX_MAP = 64
const MAX_PAD = 255

/** Undefined for an unknown name, and for arguments that are none of that filter. `args` as written, if any. */
export function parseFilter(name: string, args: string | undefined): Filter | undefined {
  switch (name) {
    case 'first':
    case 'last':
    case 'pad': {
      const count = COUNT.test(args?.trim() ?? '') ? Number(args) : undefined
      const isTooWide = name === 'pad' && (count ?? 0) > MAX_PAD
      return count === undefined || isTooWide ? undefined : { kind: name, count }
    }
    case 'format': {
      const parts = args === undefined ? undefined : parseDateFormat(unquote(args.trim()))
      return parts === undefined ? undefined : { kind: name, parts }
    }
    case 'map': {
      const values = args === undefined ? undefined : parseMap(args)
      return values === undefined ? undefined : { kind: name, values }
    }
    case 'default':
      return args === undefined
        ? undefined
        : { kind: name, text: Buffer.from(unquote(args.trim()) ?? '') }
    default: {
      const kind = SIMPLE.find((simple) => simple === name)
      return kind === undefined || args !== undefined ? undefined : { kind }
    }
  }
}

/** Text in single quotes stands for what is between them. */
function unquote(text: string): string {
  return text.length >= 2 && text.startsWith("'") && text.endsWith("'") ? text.slice(1, -1) : text
}

/** Tokens `M MM YY YYYY`; of other text letters and digits would be taken for a token that is not known. */
function parseDateFormat(format: string): DatePart[] | undefined {
  const parts: DatePart[] = []
  for (const [run, token] of format.matchAll(/(M+|Y+)|[^MY]+/g)) {
    switch (token) {
      case 'M':
      case 'MM':
      case 'YY':
      case 'YYYY':
        parts.push({ kind: token })
        break
      case undefined:
        if (/[A-Za-z0-9]/.test(run)) return undefined
        parts.push({ kind: 'literal', text: Buffer.from(run) })
        break
      default:
        return undefined
    }
  }
  return parts.some(({ kind }) => kind !== 'literal') ? parts : undefined
}

/** `visa=VI, mastercard='M C'`; keys ignore case. Between quotes a comma is a part of a value, and `=` of a key. */
function parseMap(args: string): [string, Buffer][] | undefined {
  const values: [string, Buffer][] = []
  for (let from = 0, comma = 0; comma !== -1; from = comma + 1) {
    comma = indexUnquoted(args, ',', from)
    const item = args.slice(from, comma === -1 ? args.length : comma)
    const equals = indexUnquoted(item, '=', 0)
    const key = unquote(item.slice(0, Math.max(equals, 0)).trim()).toLowerCase()
    if (equals === -1 || key === '' || values.some(([known]) => known === key)) return undefined
    values.push([key, Buffer.from(unquote(item.slice(equals + 1).trim()))])
  }
  return values.length <= MAX_MAP ? values : undefined
}

function indexUnquoted(text: string, character: string, from: number): number {
  let isQuoted = false
  for (let at = from; at < text.length; at++) {
    if (text[at] === "'") isQuoted = !isQuoted
    else if (text[at] === character && !isQuoted) return at
  }
  return -1
}

/**
 * Whether what comes out of the filters is JSON text, to stand as it is in place of a JSON value; undefined when a
 * default stands where JSON is expected and is none.
 */
export function resultsInJson(filters: readonly Filter[]): boolean | undefined {
  let isJson = false
  for (const filter of filters) {
    if (filter.kind === 'json' || filter.kind === 'number') isJson = true
    else if (filter.kind !== 'default') isJson = false
    else if (isJson && !JSON_SCALAR.test(filter.text.toString('latin1'))) return undefined
  }
  return isJson
}

const JSON_SCALAR = /^(?:null|true|false|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?)$/

/** A value cannot go through one of its filters. */
export class ValueNotFilterable extends Error {}

/**
 * The value after its filters; undefined when there is none and no default either. `startsAsJson`: it is JSON text as
 * it comes. New Buffers are added to `made`, which the caller overwrites. Throws ValueNotFilterable.
 */
export function applyFilters(
  value: Uint8Array | undefined,
  filters: readonly Filter[],
  startsAsJson: boolean,
  made: Uint8Array[],
): Uint8Array | undefined {
  let current = value
  let isJson = startsAsJson
  for (const filter of filters) {
    let next = current
    if (filter.kind === 'default') {
      next ??= copyOf(filter.text)
    } else {
      if (current !== undefined && !(filter.kind === 'json' && isJson)) {
        next = apply(filter, current)
      }
      isJson = filter.kind === 'json' || filter.kind === 'number'
    }
    if (next !== undefined && next !== current) made.push(next)
    current = next
  }
  return current
}

type Transforming = Exclude<Filter, { readonly kind: 'default' }>

function apply(filter: Transforming, value: Uint8Array): Uint8Array {
  switch (filter.kind) {
    case 'first':
      return value.subarray(0, characterOffset(value, filter.count))
    case 'last':
      return value.subarray(characterOffset(value, characterCount(value) - filter.count))
    case 'pad':
      return pad(value, filter.count)
    case 'upper':
    case 'lower':
      return inCase(value, filter.kind)
    case 'digits':
      return digitsOf(value)
    case 'number':
      return numberOf(value)
    case 'string':
      return value
    case 'format':
      throw new Error('a date format is applied to a date')
    case 'base64':
      return base64Of(value, BASE64, true)
    case 'base64url':
      return base64Of(value, BASE64URL, false)
    case 'hex':
      return hexOf(value)
    case 'sha256':
      return hexOf(createHash('sha256').update(value).digest())
    case 'map':
      return mapped(value, filter.values)
    case 'mask':
      return masked(value)
    case 'urlencode':
      return encodePercent(value) as Uint8Array
    case 'json':
      return encodeJsonValue(value) as Uint8Array
    default:
      return filter satisfies never
  }
}

const isContinuation = (byte: number) => (byte & 0xc0) === 0x80

function characterCount(value: Uint8Array): number {
  let count = 0
  for (const byte of value) if (!isContinuation(byte)) count += 1
  return count
}

/** Where the character of that index begins. */
function characterOffset(value: Uint8Array, index: number): number {
  if (index <= 0) return 0
  let count = 0
  for (let at = 0; at < value.length; at++) {
    if (!isContinuation(value[at] as number) && count++ === index) return at
  }
  return value.length
}

const ZERO = 0x30
const STAR = 0x2a

function pad(value: Uint8Array, count: number): Uint8Array {
  const missing = count - characterCount(value)
  if (missing <= 0) return value
  const out = wipeableBuffer(value.length + missing)
  out.fill(ZERO, 0, missing)
  out.set(value, missing)
  return out
}

/** One character at a time, so that the value is never a string as a whole. */
function inCase(value: Uint8Array, wanted: 'upper' | 'lower'): Uint8Array {
  // Some letters grow: the longest special casing of Unicode is three times as many code points.
  const out = wipeableBuffer(value.length * 3 + 4)
  const first = wanted === 'upper' ? 0x61 : 0x41
  let length = 0
  for (let at = 0; at < value.length; ) {
    const code = codePointAt(value, at)
    at += utf8Length(code)
    if (code < 0x80) {
      out[length++] = code >= first && code < first + 26 ? code ^ 0x20 : code
      continue
    }
    const character = String.fromCodePoint(code)
    const changed = wanted === 'upper' ? character.toUpperCase() : character.toLowerCase()
    for (const each of changed) length = writeUtf8(out, length, each.codePointAt(0) as number)
  }
  return out.subarray(0, length)
}

const isDigit = (byte: number) => byte >= ZERO && byte <= 0x39

function digitsOf(value: Uint8Array): Uint8Array {
  if (value.every(isDigit)) return value
  const out = wipeableBuffer(value.length)
  let length = 0
  for (const byte of value) if (isDigit(byte)) out[length++] = byte
  return out.subarray(0, length)
}

/** A JSON number of the same worth: no leading zeros, nothing but digits, a sign and a decimal point. */
function numberOf(value: Uint8Array): Uint8Array {
  let at = value[0] === 0x2d ? 1 : 0
  const digitsAt = at
  while (at < value.length && isDigit(value[at] as number)) at += 1
  const hasDigits = at > digitsAt
  const wholeEnd = at
  if (value[at] === 0x2e) {
    at += 1
    while (at < value.length && isDigit(value[at] as number)) at += 1
    if (at === wholeEnd + 1) throw new ValueNotFilterable()
  }
  if (!hasDigits || at !== value.length) throw new ValueNotFilterable()
  let zeros = 0
  while (digitsAt + zeros < wholeEnd - 1 && value[digitsAt + zeros] === ZERO) zeros += 1
  if (zeros === 0) return value
  if (digitsAt === 0) return value.subarray(zeros)
  const out = wipeableBuffer(value.length - zeros)
  out[0] = 0x2d
  out.set(value.subarray(1 + zeros), 1)
  return out
}

const HEX = Buffer.from('0123456789abcdef')

function hexOf(value: Uint8Array): Uint8Array {
  const out = wipeableBuffer(value.length * 2)
  for (let at = 0; at < value.length; at++) {
    const byte = value[at] as number
    out[2 * at] = HEX[byte >> 4] as number
    out[2 * at + 1] = HEX[byte & 15] as number
  }
  return out
}

const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'
const BASE64 = Buffer.from(`${LETTERS}+/`)
const BASE64URL = Buffer.from(`${LETTERS}-_`)

/** RFC 4648, 4 (padded) and 5 (not padded). Buffer's own would make a string of the value. */
function base64Of(value: Uint8Array, alphabet: Uint8Array, isPadded: boolean): Uint8Array {
  const out = wipeableBuffer(Math.ceil(value.length / 3) * 4)
  let length = 0
  for (let at = 0; at < value.length; at += 3) {
    const [first = 0, second, third] = value.subarray(at, at + 3)
    const bits = (first << 16) | ((second ?? 0) << 8) | (third ?? 0)
    out[length++] = alphabet[bits >> 18] as number
    out[length++] = alphabet[(bits >> 12) & 63] as number
    if (second !== undefined) out[length++] = alphabet[(bits >> 6) & 63] as number
    if (third !== undefined) out[length++] = alphabet[bits & 63] as number
  }
  while (isPadded && length % 4 !== 0) out[length++] = 0x3d
  return out.subarray(0, length)
}

/** The whole value, without regard to ASCII case. */
function mapped(
  value: Uint8Array,
  values: readonly (readonly [key: string, value: Buffer])[],
): Uint8Array {
  const found = values.find(
    ([key]) =>
      key.length === value.length &&
      value.every((byte, at) => {
        const lower = byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte
        return lower === key.charCodeAt(at)
      }),
  )
  if (found === undefined) throw new ValueNotFilterable()
  return copyOf(found[1])
}

/** What is handed out is overwritten, the filter's own text is not. */
function copyOf(text: Uint8Array): Uint8Array {
  const out = wipeableBuffer(text.length)
  out.set(text)
  return out
}

/**
 * What may be shown of a card number (PCI DSS 3.4.1): first six and last four of thirteen digits and more. Of
 * anything shorter nothing is shown.
 */
function masked(value: Uint8Array): Uint8Array {
  const out = wipeableBuffer(characterCount(value))
  out.fill(STAR)
  if (value.length >= 13 && value.every(isDigit)) {
    out.set(value.subarray(0, 6))
    out.set(value.subarray(value.length - 4), value.length - 4)
  }
  return out
}

/** `month` of one or two digits, `year` of four. */
export function formatExpiry(
  parts: readonly DatePart[],
  month: Uint8Array,
  year: Uint8Array,
): Uint8Array {
  const pieces = parts.map((part) => {
    switch (part.kind) {
      case 'M':
        return numberOf(month)
      case 'MM':
        return pad(month, 2)
      case 'YY':
        return year.subarray(year.length - 2)
      case 'YYYY':
        return year
      case 'literal':
        return part.text
      default:
        return part satisfies never
    }
  })
  const out = wipeableBuffer(pieces.reduce((length, piece) => length + piece.length, 0))
  let at = 0
  for (const piece of pieces) {
    out.set(piece, at)
    at += piece.length
  }
  return out
}
