// The grammar of placeholders: `{{ $field [: token] [| filter[(args)]]* }}`. The opener is `{{`, up to 16 blanks, `$`;
// everything that begins like that is a placeholder or refuses the request.

import { CARD_FIELDS } from '../core/card-fields.ts'
import { EXPIRY_FIELD, type Field } from '../core/field.ts'
import { isBlank } from '../core/json-bytes.ts'
import { jsonPathEnd, parseJsonPath } from '../core/json-path.ts'
import { type Filter, parseFilter, resultsInJson } from './filter.ts'
import { Refusal } from './refusal.ts'

export type Placeholder = {
  /** Just after `}}`. */
  readonly end: number
  readonly field: Field
  readonly token: string | undefined
  readonly filters: readonly Filter[]
  /** What comes out of the filters is JSON text. */
  readonly isJson: boolean
}

const OPEN = 0x7b
const CLOSE = 0x7d
const DOLLAR = 0x24
const COLON = 0x3a
const BAR = 0x7c
const MAX_BLANKS = 16
const MAX_WORD = 64
const MAX_FILTERS = 8
/** What is longer is no placeholder, so that nobody has to wait for its end. */
export const MAX_PLACEHOLDER_BYTES = 2048

/** `cut`: the bytes end before it can be said. */
export function openerAt(bytes: Uint8Array, at: number): 'yes' | 'no' | 'cut' {
  for (let i = 0; i < 2; i++) {
    if (at + i === bytes.length) return 'cut'
    if (bytes[at + i] !== OPEN) return 'no'
  }
  const end = skipBlanks(bytes, at + 2)
  if (end === bytes.length) return 'cut'
  return bytes[end] === DOLLAR ? 'yes' : 'no'
}

/** The first place at or after `from` where an opener stands, or may stand once more bytes are there; or -1. */
export function nextOpener(bytes: Buffer, from: number, isLast: boolean): number {
  for (let at = bytes.indexOf('{{', from); at !== -1; at = bytes.indexOf('{{', at + 1)) {
    const opener = openerAt(bytes, at)
    if (opener === 'yes' || (opener === 'cut' && !isLast)) return at
  }
  const last = bytes.length - 1
  return !isLast && last >= from && bytes[last] === OPEN ? last : -1
}

/**
 * The placeholder whose opener is at `at`, or `cut` when its end is not there yet. `lastToken`: of the placeholder
 * before, most often the same; it saves making that string again. Throws Refusal naming the field or filter at fault.
 */
export function readPlaceholder(
  bytes: Buffer,
  at: number,
  isLast: boolean,
  lastToken?: string,
): Placeholder | 'cut' {
  if (!isLast && bytes.indexOf('}}', at) === -1) {
    if (bytes.length - at < MAX_PLACEHOLDER_BYTES) return 'cut'
    throw new Refusal('placeholder_malformed')
  }
  const placeholder = parsePlaceholder(bytes, at, lastToken)
  if (placeholder.end - at > MAX_PLACEHOLDER_BYTES) throw new Refusal('placeholder_malformed')
  return placeholder
}

/** Throws Refusal. */
export function parsePlaceholder(bytes: Buffer, at: number, lastToken?: string): Placeholder {
  const fieldAt = skipBlanks(bytes, at + 2) + 1
  let next: number
  let field: Field | undefined
  if (bytes[fieldAt] === 0x2e || bytes[fieldAt] === 0x5b) {
    const text = bytes.toString('latin1', fieldAt - 1, fieldAt + 512)
    next = fieldAt - 1 + jsonPathEnd(text, 0)
    field = parseJsonPath(text.slice(0, next - fieldAt + 1))
    if (field === undefined) throw new Refusal('placeholder_malformed')
  } else {
    next = wordEnd(bytes, fieldAt)
    field = fieldNamed(bytes, fieldAt, next)
    if (field === undefined) {
      throw new Refusal('placeholder_malformed', bytes.toString('latin1', fieldAt, next))
    }
  }
  next = skipBlanks(bytes, next)
  let token: string | undefined
  if (bytes[next] === COLON) {
    const tokenAt = skipBlanks(bytes, next + 1)
    const tokenEnd = wordEnd(bytes, tokenAt)
    if (tokenEnd === tokenAt) throw new Refusal('placeholder_malformed')
    token =
      lastToken !== undefined && isText(bytes, tokenAt, tokenEnd, lastToken)
        ? lastToken
        : bytes.toString('latin1', tokenAt, tokenEnd)
    next = skipBlanks(bytes, tokenEnd)
  }
  if (bytes[next] === CLOSE && bytes[next + 1] === CLOSE && field !== EXPIRY_FIELD) {
    return { end: next + 2, field, token, filters: NO_FILTERS, isJson: false }
  }
  return withFilters(bytes, next, field, token)
}

const NAMED_FIELDS = [...CARD_FIELDS, EXPIRY_FIELD] as const

/** Without making a string of the name. */
function fieldNamed(bytes: Uint8Array, from: number, end: number): Field | undefined {
  for (const name of NAMED_FIELDS) if (isText(bytes, from, end, name)) return name
  return undefined
}

/** Whether bytes[from, end) are this text in ASCII. */
function isText(bytes: Uint8Array, from: number, end: number, text: string): boolean {
  if (text.length !== end - from) return false
  for (let i = text.length - 1; i >= 0; i--) {
    if (bytes[from + i] !== text.charCodeAt(i)) return false
  }
  return true
}

const NO_FILTERS: readonly Filter[] = []

function withFilters(
  bytes: Buffer,
  from: number,
  field: Field,
  token: string | undefined,
): Placeholder {
  const filters: Filter[] = []
  let next = from
  while (bytes[next] === BAR) {
    const nameAt = skipBlanks(bytes, next + 1)
    const nameEnd = wordEnd(bytes, nameAt)
    const name = bytes.toString('latin1', nameAt, nameEnd)
    next = skipBlanks(bytes, nameEnd)
    let args: string | undefined
    if (bytes[next] === 0x28) {
      const end = argumentsEnd(bytes, next + 1)
      if (end === -1) throw new Refusal('placeholder_malformed', name)
      args = bytes.toString('latin1', next + 1, end)
      next = skipBlanks(bytes, end + 1)
    }
    const filter = parseFilter(name, args)
    // A date can only be formatted, at once, and nothing else can.
    const isDate = field === EXPIRY_FIELD && filters.length === 0
    if (
      filter === undefined ||
      (filter.kind === 'format') !== isDate ||
      filters.length === MAX_FILTERS
    ) {
      throw new Refusal('placeholder_malformed', name)
    }
    filters.push(filter)
  }
  if (bytes[next] !== CLOSE || bytes[next + 1] !== CLOSE) {
    throw new Refusal('placeholder_malformed')
  }
  if (field === EXPIRY_FIELD && filters.length === 0) {
    throw new Refusal('placeholder_malformed', 'format')
  }
  const isJson = resultsInJson(filters)
  if (isJson === undefined) throw new Refusal('placeholder_malformed', 'default')
  return { end: next + 2, field, token, filters, isJson }
}

/** Where the closing parenthesis stands, or -1. Between single quotes it is a character like others. */
function argumentsEnd(bytes: Buffer, from: number): number {
  let isQuoted = false
  for (let at = from; at < bytes.length; at++) {
    const byte = bytes[at] as number
    if (byte === 0x27) isQuoted = !isQuoted
    else if (byte === 0x29 && !isQuoted) return at
    else if (!isArgumentByte(byte)) return -1
  }
  return -1
}

/** Visible ASCII and blanks without what any of the formats around gives a meaning of its own: " & < > \ { } */
function isArgumentByte(byte: number): boolean {
  return byte >= 0x20 && byte <= 0x7e && !SPECIAL.has(byte)
}

const SPECIAL: ReadonlySet<number> = new Set(Buffer.from('"&<>\\{}'))

function skipBlanks(bytes: Uint8Array, from: number): number {
  let at = from
  while (at - from < MAX_BLANKS && isBlank(bytes[at])) at += 1
  return at
}

/** Letters, digits, underscore and dash. */
const IS_WORD = new Uint8Array(256).map((_, byte) =>
  /[A-Za-z0-9_-]/.test(String.fromCharCode(byte)) ? 1 : 0,
)

function wordEnd(bytes: Uint8Array, from: number): number {
  let at = from
  while (at - from < MAX_WORD && IS_WORD[bytes[at] ?? 0] === 1) at += 1
  return at
}
