// Whether digits are the value of something that is called like a card verification code. Three digits stand in every
// answer, as amounts and counts; only their name tells what they are.

import { isAlphanumeric, isBlank, type RecentCharacters } from './characters.ts'

/** Anywhere in a name. A name is read as words in lower case between blanks: `cardCVC2` as ` card cvc2 `. */
const NAMES = [
  // The abbreviations of the networks, also within a word: `cvc`, `cardcvc`, `cvv2`, `cvvNumber`.
  'cvc',
  'cvv',
  'cvn',
  // Shorter or more common ones, as a word of their own: `cid` and not `acid`.
  ' cid ',
  ' csc ',
  ' cvd ',
  ' cv2 ',
  ' cv number ',
  ' cv code ',
  // Spelled out.
  'security code ',
  'securitycode ',
  'verification code ',
  'verificationcode ',
  'verification value ',
  'verificationvalue ',
  'verification number ',
  'verificationnumber ',
  'card verification ',
  'cardverification ',
].map((name) => Buffer.from(name))

/** At the end of a name: what else follows makes it something else, `verificationAmount`. */
const LAST_WORD = Buffer.from('verification ')

export const MAX_NAME = 64
const MAX_BLANKS = 32
export const MAX_TAG = 128
/** How far back a value's name is looked for: in `<name attributes> <![CDATA[ 123`, which is the longest. */
export const NAME_REACH = MAX_TAG + 2 * MAX_BLANKS + 16

const BLANK = 0x20
const QUOTE = 0x22
const APOSTROPHE = 0x27
const COLON = 0x3a
const EQUALS = 0x3d
const LESS = 0x3c
const GREATER = 0x3e
const SLASH = 0x2f
const CDATA = Buffer.from('<![CDATA[')

export type CodePlace = {
  /** The quote that the value stands in, or 0. */
  readonly quote: number
  /** A JSON value that is no string. */
  readonly isBareJson: boolean
}

/** Undefined when the value whose first character has that number is not called so. */
export function codePlace(recent: RecentCharacters, first: number): CodePlace | undefined {
  let at = first - 1
  const opening = recent.valueOf(at)
  const quote = opening === QUOTE || opening === APOSTROPHE ? opening : 0
  if (quote !== 0) at -= 1
  at = beforeBlanks(recent, at)
  if (quote === 0) {
    const beforeSection = beforeBlanks(recent, beforeCdata(recent, at))
    if (recent.valueOf(beforeSection) === GREATER) {
      return isCodeElement(recent, beforeSection) ? { quote: 0, isBareJson: false } : undefined
    }
  }
  const delimiter = recent.valueOf(at)
  if (delimiter !== COLON && delimiter !== EQUALS) return undefined
  at = beforeBlanks(recent, at - 1)
  const closing = recent.valueOf(at)
  const isQuoted = closing === QUOTE || closing === APOSTROPHE
  const isNamed = isQuoted ? isQuotedCodeName(recent, at) : isPlainCodeName(recent, at)
  return isNamed ? { quote, isBareJson: quote === 0 && isQuoted && delimiter === COLON } : undefined
}

function beforeBlanks(recent: RecentCharacters, from: number): number {
  let at = from
  while (from - at < MAX_BLANKS && isBlank(recent.valueOf(at))) at -= 1
  return at
}

function beforeCdata(recent: RecentCharacters, from: number): number {
  for (let at = 0; at < CDATA.length; at++) {
    if (recent.valueOf(from - at) !== CDATA[CDATA.length - 1 - at]) return from
  }
  return from - CDATA.length
}

/** `<cvc>`, `<ns:cvc a="b">` */
function isCodeElement(recent: RecentCharacters, end: number): boolean {
  for (let at = end - 1; at > end - MAX_TAG; at--) {
    const value = recent.valueOf(at)
    if (value === GREATER) return false
    if (value !== LESS) continue
    let nameEnd = at + 1
    while (nameEnd < end && isInName(recent.valueOf(nameEnd))) nameEnd += 1
    // A tag that ends an element, or is empty, has no content.
    if (recent.valueOf(end - 1) === SLASH) return false
    return isCodeName(recent, at + 1, nameEnd)
  }
  return false
}

function isQuotedCodeName(recent: RecentCharacters, closing: number): boolean {
  const quote = recent.valueOf(closing)
  for (let at = closing - 1; at >= closing - 1 - MAX_NAME; at--) {
    if (recent.valueOf(at) === quote) return isCodeName(recent, at + 1, closing)
  }
  return false
}

function isPlainCodeName(recent: RecentCharacters, last: number): boolean {
  let at = last
  while (last - at < MAX_NAME && isInName(recent.valueOf(at))) at -= 1
  return isCodeName(recent, at + 1, last + 1)
}

/** Of forms, queries, headers, attributes and elements: `card[cvc]`, `card.security-code`, `ns:cvc`. */
export function isInName(value: number): boolean {
  return isAlphanumeric(value) || NAME_SIGNS.has(value)
}
const NAME_SIGNS: ReadonlySet<number> = new Set(Buffer.from('_-.:[]$@'))

function isCodeName(recent: RecentCharacters, from: number, to: number): boolean {
  const words = new Uint8Array(2 * MAX_NAME + 2)
  words[0] = BLANK
  let length = 1
  let wasLower = false
  for (let at = Math.max(from, to - MAX_NAME); at < to; at++) {
    const value = recent.valueOf(at)
    const isUpper = value >= 0x41 && value <= 0x5a
    const startsWord = !isAlphanumeric(value) || (isUpper && wasLower)
    if (startsWord && words[length - 1] !== BLANK) words[length++] = BLANK
    if (isAlphanumeric(value)) words[length++] = isUpper ? value | 0x20 : value
    wasLower = isAlphanumeric(value) && !isUpper
  }
  if (words[length - 1] !== BLANK) words[length++] = BLANK
  for (let at = 0; at < length; at++) {
    for (const name of NAMES) if (standsAt(words, length, at, name)) return true
  }
  return standsAt(words, length, length - LAST_WORD.length, LAST_WORD)
}

function standsAt(words: Uint8Array, length: number, at: number, name: Uint8Array): boolean {
  if (words[at] !== name[0] || at + name.length > length) return false
  for (let i = 1; i < name.length; i++) if (words[at + i] !== name[i]) return false
  return true
}
