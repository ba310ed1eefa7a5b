// The grammar of placeholders: `{{ $field [: token] }}`. The opener is `{{`, up to 16 blanks, `$`; everything that
// begins like that is a placeholder or refuses the request.

import { type CardField, parseCardField } from '../core/card-fields.ts'
import { isBlank } from '../core/json-bytes.ts'

export type Placeholder = {
  /** Just after `}}`. */
  readonly end: number
  readonly field: CardField
  readonly token: string | undefined
}

const OPEN = 0x7b
const CLOSE = 0x7d
const DOLLAR = 0x24
const COLON = 0x3a
const MAX_BLANKS = 16
const MAX_WORD = 64

/** Is there an opener at `at`? */
export function isOpener(bytes: Uint8Array, at: number): boolean {
  return bytes[at] === OPEN && bytes[at + 1] === OPEN && bytes[skipBlanks(bytes, at + 2)] === DOLLAR
}

/** The first opener at or after `from`, or -1. */
export function findOpener(bytes: Buffer, from: number): number {
  for (let at = bytes.indexOf('{{', from); at !== -1; at = bytes.indexOf('{{', at + 1)) {
    if (isOpener(bytes, at)) return at
  }
  return -1
}

/** The placeholder whose opener is at `at`; undefined when it is malformed or names no field. */
export function parsePlaceholder(bytes: Buffer, at: number): Placeholder | undefined {
  const fieldAt = skipBlanks(bytes, at + 2) + 1
  const fieldEnd = wordEnd(bytes, fieldAt)
  const field = parseCardField(bytes.toString('latin1', fieldAt, fieldEnd))
  if (field === undefined) return undefined
  let next = skipBlanks(bytes, fieldEnd)
  let token: string | undefined
  if (bytes[next] === COLON) {
    const tokenAt = skipBlanks(bytes, next + 1)
    const tokenEnd = wordEnd(bytes, tokenAt)
    if (tokenEnd === tokenAt) return undefined
    token = bytes.toString('latin1', tokenAt, tokenEnd)
    next = skipBlanks(bytes, tokenEnd)
  }
  return bytes[next] === CLOSE && bytes[next + 1] === CLOSE
    ? { end: next + 2, field, token }
    : undefined
}

function skipBlanks(bytes: Uint8Array, from: number): number {
  let at = from
  while (at - from < MAX_BLANKS && isBlank(bytes[at])) at += 1
  return at
}

function wordEnd(bytes: Uint8Array, from: number): number {
  let at = from
  while (at - from < MAX_WORD && isWordByte(bytes[at] ?? 0)) at += 1
  return at
}

function isWordByte(byte: number): boolean {
  return (
    (byte >= 0x61 && byte <= 0x7a) ||
    (byte >= 0x30 && byte <= 0x39) ||
    byte === 0x5f ||
    (byte >= 0x41 && byte <= 0x5a) ||
    byte === 0x2d
  )
}

// Spellings of an opener that the receiver might decode after we looked: JSON escapes and character references.
// A brace or dollar in one of them refuses the request; what is written plainly is found above.
const BRACE = String.raw`(?:\{|\\u007b|&#0{0,8}123;|&#x0{0,8}7b;|&lbrace;|&lcub;)`
const BLANK = String.raw`(?:[ \t\r\n]|\\u00(?:20|09|0a|0d)|\\[tnr]|&#(?:32|9|10|13);|&#x(?:20|9|a|d);)`
const DOLLAR_SIGN = String.raw`(?:\$|\\u0024|&#0{0,8}36;|&#x0{0,8}24;|&dollar;)`
const ANY_OPENER = new RegExp(`${BRACE}${BRACE}${BLANK}{0,16}${DOLLAR_SIGN}`, 'gi')
const PLAIN_OPENER = /^\{\{[ \t\r\n]{0,16}\$$/

/** Does an opener stand in the text in any spelling but the plain one? */
export function hasDisguisedOpener(text: string): boolean {
  ANY_OPENER.lastIndex = 0
  for (let match = ANY_OPENER.exec(text); match !== null; match = ANY_OPENER.exec(text)) {
    if (!PLAIN_OPENER.test(match[0])) return true
    ANY_OPENER.lastIndex = match.index + 1
  }
  return false
}
