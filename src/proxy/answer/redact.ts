// Values of a JSON answer that the operator does not want the caller to see: overwritten in place, so that the answer
// stays as long as it was and stays JSON.

import { isJson } from '../../core/json-check.ts'
import { type JsonPath, selectJson } from '../../core/json-path.ts'

const MAX_DEPTH = 256
const QUOTE = 0x22
const BACKSLASH = 0x5c
const STAR = 0x2a
const ZERO = 0x30
const BLANK = 0x20
const NULL = Buffer.from('null')

/** How many values were overwritten; undefined when the text is no JSON and nobody can say. */
export function redactJson(text: Buffer, paths: readonly JsonPath[]): number | undefined {
  if (!isJson(text, MAX_DEPTH)) return undefined
  let count = 0
  for (const path of paths) {
    for (const value of selectJson(text, path, 'all')) {
      overwrite(value)
      count += 1
    }
  }
  return count
}

function overwrite(value: Buffer): void {
  switch (value[0]) {
    case QUOTE:
      for (let at = 1; at < value.length - 1; at++) {
        // An escape ends as one, or its remainder would end the string.
        if (value[at] !== BACKSLASH) value[at] = STAR
        else at = overwriteEscape(value, at)
      }
      break
    case 0x7b:
    case 0x5b:
      if (value.length < NULL.length) {
        overwriteSmall(value) // `[7]`
        break
      }
      value.fill(BLANK)
      value.set(NULL)
      break
    case 0x74:
    case 0x66:
    case 0x6e:
      value.fill(BLANK)
      value.set(NULL)
      break
    default:
      overwriteNumber(value)
  }
}

/** `null` has no room: what is left is empty. */
function overwriteSmall(value: Buffer): void {
  value.fill(BLANK, 1)
  value[1] = value[0] === 0x5b ? 0x5d : 0x7d
}

/** Two stars for `\n`, six for `\u00e9`: answers where it ends. */
function overwriteEscape(value: Buffer, at: number): number {
  const length = value[at + 1] === 0x75 ? 6 : 2
  value.fill(STAR, at, at + length)
  return at + length - 1
}

/** `12.50` becomes `0` and blanks: more zeros would be no number. */
function overwriteNumber(value: Buffer): void {
  value.fill(BLANK)
  value[0] = ZERO
}
