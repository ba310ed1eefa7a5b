// Whether bytes are JSON text (RFC 8259), without making a string or a value of any of them: what is checked may hold
// a card number. As strict as JSON.parse, and bounded in depth, because a walk over values is a recursion.

import { isUtf8 } from 'node:buffer'
import { hexDigit } from './hex-digit.ts'
import { skipBlanks } from './json-bytes.ts'

const QUOTE = 0x22
const BACKSLASH = 0x5c
const OBJECT = 0x7b
const ARRAY = 0x5b
const NOT_JSON = -1

/** `maxDepth`: how many objects and arrays may stand in each other. */
export function isJson(bytes: Uint8Array, maxDepth: number): boolean {
  if (!isUtf8(bytes)) return false
  const end = jsonEnd(bytes, skipBlanks(bytes, 0), maxDepth)
  return end !== NOT_JSON && skipBlanks(bytes, end) === bytes.length
}

/** Just after the value that begins at `start`, of bytes that are UTF-8; -1 when no well-formed value does. */
export function jsonEnd(bytes: Uint8Array, start: number, maxDepth: number): number {
  switch (bytes[start]) {
    case QUOTE:
      return checkedStringEnd(bytes, start)
    case OBJECT:
    case ARRAY:
      return maxDepth === 0 ? NOT_JSON : containerEnd(bytes, start, maxDepth - 1)
    case 0x74:
      return wordEnd(bytes, start, 'true')
    case 0x66:
      return wordEnd(bytes, start, 'false')
    case 0x6e:
      return wordEnd(bytes, start, 'null')
    default:
      return numberEnd(bytes, start)
  }
}

function containerEnd(bytes: Uint8Array, start: number, maxDepth: number): number {
  const isObject = bytes[start] === OBJECT
  const close = isObject ? 0x7d : 0x5d
  let at = skipBlanks(bytes, start + 1)
  if (bytes[at] === close) return at + 1
  for (;;) {
    if (isObject) {
      const nameEnd = checkedStringEnd(bytes, at)
      if (nameEnd === NOT_JSON) return NOT_JSON
      at = skipBlanks(bytes, nameEnd)
      if (bytes[at] !== 0x3a) return NOT_JSON
      at = skipBlanks(bytes, at + 1)
    }
    const end = jsonEnd(bytes, at, maxDepth)
    if (end === NOT_JSON) return NOT_JSON
    at = skipBlanks(bytes, end)
    if (bytes[at] === close) return at + 1
    if (bytes[at] !== 0x2c) return NOT_JSON
    at = skipBlanks(bytes, at + 1)
  }
}

function checkedStringEnd(bytes: Uint8Array, start: number): number {
  if (bytes[start] !== QUOTE) return NOT_JSON
  for (let at = start + 1; at < bytes.length; at++) {
    const byte = bytes[at] as number
    if (byte === QUOTE) return at + 1
    if (byte < 0x20) return NOT_JSON
    if (byte !== BACKSLASH) continue
    at += 1
    if (bytes[at] === 0x75) {
      for (let i = 1; i <= 4; i++) if (hexDigit(bytes[at + i]) === -1) return NOT_JSON
      at += 4
    } else if (!ESCAPED.has(bytes[at])) {
      return NOT_JSON
    }
  }
  return NOT_JSON
}

const ESCAPED: ReadonlySet<number | undefined> = new Set(Buffer.from('"\\/bfnrt'))

function wordEnd(bytes: Uint8Array, start: number, word: string): number {
  for (let i = 0; i < word.length; i++) {
    if (bytes[start + i] !== word.charCodeAt(i)) return NOT_JSON
  }
  return start + word.length
}

function numberEnd(bytes: Uint8Array, start: number): number {
  let at = bytes[start] === 0x2d ? start + 1 : start
  const integerEnd = bytes[at] === 0x30 ? at + 1 : digitsEnd(bytes, at)
  if (integerEnd === at) return NOT_JSON
  at = integerEnd
  if (bytes[at] === 0x2e) {
    const end = digitsEnd(bytes, at + 1)
    if (end === at + 1) return NOT_JSON
    at = end
  }
  if (bytes[at] === 0x65 || bytes[at] === 0x45) {
    const isSigned = bytes[at + 1] === 0x2b || bytes[at + 1] === 0x2d
    const digits = at + (isSigned ? 2 : 1)
    const end = digitsEnd(bytes, digits)
    if (end === digits) return NOT_JSON
    at = end
  }
  return at
}

function digitsEnd(bytes: Uint8Array, start: number): number {
  let at = start
  while (isDigit(bytes[at])) at += 1
  return at
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x30 && byte <= 0x39
}
