// A request on its way out, whichever way it came in: what the caller wants sent, still with its placeholders, and
// the scan of its head.

import { DECIDES_BODY } from './headers.ts'
import type { MediaType } from './media-type.ts'
import { Refusal } from './refusal.ts'
import { hasDisguisedOpener } from './scan/disguise.ts'
import { scanPath, scanQuery } from './scan/form.ts'
import { type Found, NOTHING_FOUND } from './scan/scanner.ts'
import { scanBasic, scanHeader } from './scan/text.ts'
import { splice, spliceText, type ValueFor } from './splice.ts'
import type { Wishes } from './wishes.ts'

export type Outbound = {
  readonly method: string
  readonly path: string
  /** With its question mark, or empty. */
  readonly query: string
  /** Names and values in turn; what belongs to a hop or to us is left out already. */
  readonly headers: string[]
  /** The whole body, or where there is a `rest` its beginning. */
  readonly body: Buffer | undefined
  /** What comes after: bodies beyond the destination's buffer limit are spliced while they stream. */
  readonly rest: AsyncIterable<Buffer> | undefined
  /** Of all of it, where the caller said and the body has not been inflated. */
  readonly contentLength: number | undefined
  /** The body came compressed, and goes on as it is now. */
  readonly wasInflated: boolean
  readonly mediaType: MediaType
  readonly wishes: Wishes
}

/** Placeholders in a header's value, or in the decoded credentials of a Basic one. */
export type FoundInHeader = {
  /** Where the value stands in the headers. */
  readonly at: number
  readonly isBasic: boolean
  readonly found: readonly Found[]
}

/** Everything before the body. */
export type HeadScan = {
  readonly path: readonly Found[]
  readonly query: readonly Found[]
  readonly headers: readonly FoundInHeader[]
}

const NO_HEADERS: readonly FoundInHeader[] = []
const EMPTY: HeadScan = { path: NOTHING_FOUND, query: NOTHING_FOUND, headers: NO_HEADERS }

/** Everything in the head that looks like a placeholder. Throws Refusal. */
export function scanHead(outbound: Outbound): HeadScan {
  const path = MAYBE_IN_PATH.test(outbound.path) ? scanPath(latin1(outbound.path)) : NOTHING_FOUND
  const query = MAYBE_IN_QUERY.test(outbound.query) ? scanUrlQuery(outbound.query) : NOTHING_FOUND
  const headers = scanHeaders(outbound.headers)
  if (path === NOTHING_FOUND && query === NOTHING_FOUND && headers === NO_HEADERS) return EMPTY
  return { path, query, headers }
}

export function placeholdersIn(head: HeadScan): readonly Found[] {
  if (head === EMPTY) return NOTHING_FOUND
  return [...head.path, ...head.query, ...head.headers.flatMap(({ found }) => found)]
}

const MAYBE_IN_PATH = /[{%&\\]/
/** Where `&` ends a pair. */
const MAYBE_IN_QUERY = /[{%\\]/

const latin1 = (text: string) => Buffer.from(text, 'latin1')

/** Offsets count from the question mark. */
function scanUrlQuery(query: string): readonly Found[] {
  return scanQuery(latin1(query.slice(1))).map((found) => ({
    ...found,
    start: found.start + 1,
    end: found.end + 1,
  }))
}

function scanHeaders(headers: readonly string[]): readonly FoundInHeader[] {
  let scanned: FoundInHeader[] | undefined
  for (let i = 0; i < headers.length; i += 2) {
    const value = headers[i + 1] as string
    const isSpecial = SPECIAL.test(value) // seldom, and then it is looked at more closely
    if (isSpecial && /[&%\\]/.test(value) && hasDisguisedOpener(value)) {
      throw new Refusal('placeholder_malformed')
    }
    const isPlain = isSpecial && value.includes('{{')
    const isBasic = !isPlain && mayBeBasic(value) && BASIC.test(value)
    if (!isBasic && !isPlain) continue
    const name = (headers[i] as string).toLowerCase()
    const found = isBasic ? scanBasic(credentialsOf(value)) : scanHeader(latin1(value), name)
    if (found.length === 0) continue
    // Of Basic credentials elsewhere nothing says that they are decoded; the others say how the body is read.
    if ((isBasic && name !== 'authorization') || DECIDES_BODY.has(name)) {
      throw new Refusal('value_not_encodable')
    }
    scanned ??= []
    scanned.push({ at: i + 1, isBasic, found })
  }
  return scanned ?? NO_HEADERS
}

const SPECIAL = /[&%\\{]/

/** RFC 7617. */
const BASIC = /^ *basic +/i

function mayBeBasic(value: string): boolean {
  const first = value.charCodeAt(0)
  return first === 0x62 || first === 0x42 || first === 0x20
}

export function credentialsOf(value: string): Buffer {
  return Buffer.from(value.replace(BASIC, ''), 'base64')
}

/** The header's value with values in place of its placeholders: a short-lived string. Throws Refusal. */
export function spliceHeader(
  value: string,
  { isBasic, found }: FoundInHeader,
  valueFor: ValueFor,
): string {
  if (!isBasic) return spliceText(value, found, valueFor)
  const credentials = splice(credentialsOf(value), found, valueFor)
  const encoded = credentials.toString('base64')
  credentials.fill(0)
  return `Basic ${encoded}`
}
