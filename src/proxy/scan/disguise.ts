// Spellings of an opener that the receiver might decode after we looked: JSON escapes, character references, percent
// signs, UTF-16 and UTF-32. A brace, blank or dollar sign in one of them refuses the request; an opener that is
// written plainly is a placeholder.

import { Refusal } from '../refusal.ts'

const BRACE = String.raw`(?:\{|\\u007b|&#0{0,64}123;?|&#x0{0,64}7b;?|&lbrace;|&lcub;|%7b)`
const BLANK = String.raw`(?:[ \t\r\n]|\\u00(?:20|09|0a|0d)|\\[tnr]|&#0{0,64}(?:32|9|10|13);?|&#x0{0,64}(?:20|9|a|d);?|&tab;|&newline;|%(?:20|09|0a|0d))`
const DOLLAR_SIGN = String.raw`(?:\$|\\u0024|&#0{0,64}36;?|&#x0{0,64}24;?|&dollar;|%24)`
const ANY_OPENER = new RegExp(`${BRACE}${BRACE}${BLANK}{0,16}${DOLLAR_SIGN}`, 'gi')
const PLAIN_OPENER = /^\{\{[ \t\r\n]{0,16}\$$/
/** Longer than any of them. */
const MAX_BYTES = 2048

/** Does an opener stand in the text in any spelling but the plain one? */
export function hasDisguisedOpener(text: string): boolean {
  ANY_OPENER.lastIndex = 0
  for (let match = ANY_OPENER.exec(text); match !== null; match = ANY_OPENER.exec(text)) {
    if (!PLAIN_OPENER.test(match[0])) return true
    ANY_OPENER.lastIndex = match.index + 1
  }
  return false
}

const BACKSLASH = 0x5c
const AMPERSAND = 0x26
const PERCENT = 0x25

/** Whether bytes hold anything that a disguise is made of. */
function mayBeDisguised(bytes: Uint8Array): boolean {
  return (
    bytes.indexOf(BACKSLASH) !== -1 ||
    bytes.indexOf(AMPERSAND) !== -1 ||
    bytes.indexOf(PERCENT) !== -1 ||
    bytes.indexOf(0) !== -1
  )
}

// `{{` in UTF-16 (either order) and UTF-32.
const WIDE = [Buffer.from('{\0{\0'), Buffer.from('\0{\0{'), Buffer.from('{\0\0\0{\0\0\0')]

/** Throws Refusal when a disguised opener stands in bytes that are read as text. */
export function refuseDisguises(bytes: Buffer): void {
  if (!mayBeDisguised(bytes)) return
  if (hasDisguisedOpener(bytes.toString('latin1')) || WIDE.some((wide) => bytes.includes(wide))) {
    throw new Refusal('placeholder_malformed')
  }
}

/** The same for text that comes in pieces. */
export class DisguiseWatch {
  #tail: Buffer = Buffer.alloc(0)

  /** Throws Refusal. */
  look(piece: Buffer): void {
    refuseDisguises(this.#tail.length === 0 ? piece : Buffer.concat([this.#tail, piece]))
    this.follow(piece)
  }

  /** What somebody else has looked at, but not what it makes together with the next piece. */
  follow(piece: Buffer): void {
    const kept = Buffer.concat([this.#tail.subarray(-MAX_BYTES), piece.subarray(-MAX_BYTES)])
    this.#tail = kept.subarray(-MAX_BYTES)
  }
}
