// Header values, Basic credentials and bodies of types without a structure that we know.

import { type Charset, inCharset } from '../charset.ts'
import { type Encoder, encodeBasicUser, encodeHeader, encodeText } from '../encode.ts'
import type { Place } from '../place.ts'
import { refuseDisguises } from './disguise.ts'
import { type Found, type Scanner, scanRun } from './scanner.ts'

export class TextScanner implements Scanner {
  readonly #encode: Encoder
  readonly #place: Place

  constructor(encode: Encoder, place: Place) {
    this.#encode = encode
    this.#place = place
  }

  scan(window: Buffer, isLast: boolean, found: Found[]): number {
    return scanRun(window, 0, isLast, this.#encode, this.#place, found)
  }
}

export const textScanner = (charset: Charset): Scanner =>
  new TextScanner(inCharset(encodeText, charset), { in: 'body', at: undefined })

/** `name` in lower case. */
export function scanHeader(value: Buffer, name: string): Found[] {
  const found: Found[] = []
  scanRun(value, 0, true, encodeHeader, { in: 'header', name }, found)
  return found
}

/** The decoded `user:password` of a Basic credential. */
export function scanBasic(credentials: Buffer): Found[] {
  const found: Found[] = []
  refuseDisguises(credentials)
  scanRun(credentials, 0, true, encodeHeader, { in: 'basic' }, found)
  const colon = credentials.indexOf(0x3a, endOfUserPlaceholders(credentials, found))
  return found.map((each) =>
    each.start < colon || colon === -1 ? { ...each, encode: encodeBasicUser } : each,
  )
}

/** The colon of a placeholder is not the one between user and password. */
function endOfUserPlaceholders(credentials: Buffer, found: readonly Found[]): number {
  let from = 0
  for (const { start, end } of found) {
    const colon = credentials.indexOf(0x3a, from)
    if (colon !== -1 && colon < start) break
    from = end
  }
  return from
}
