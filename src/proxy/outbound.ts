// A request on its way out, whichever way it came in: what the caller wants sent, still with its placeholders, and
// the scan of all of them.

import type { MediaType } from './media-type.ts'
import { findOpener, hasDisguisedOpener } from './placeholder.ts'
import {
  type Found,
  type ScanReason,
  ScanRefusal,
  scanForm,
  scanHeader,
  scanJson,
  scanPath,
  scanQuery,
  scanText,
} from './scan.ts'

export type Outbound = {
  readonly method: string
  readonly path: string
  /** With its question mark, or empty. */
  readonly query: string
  /** Names and values in turn; what belongs to a hop or to us is left out already. */
  readonly headers: string[]
  readonly body: Buffer | undefined
  readonly mediaType: MediaType
  /** Single-token mode: the token of every placeholder that names none. */
  readonly token: string | undefined
  readonly expectedSubstitutions: number | undefined
}

export type Scan = {
  readonly body: readonly Found[]
  readonly path: readonly Found[]
  readonly query: readonly Found[]
  /** `at`: where the value stands in the headers. */
  readonly headers: readonly { readonly at: number; readonly found: readonly Found[] }[]
  readonly all: readonly Found[]
}

export type ScanFailure = ScanReason | 'value_not_encodable' | 'content_encoding_unsupported'

const NONE: readonly Found[] = []
const EMPTY: Scan = { body: NONE, path: NONE, query: NONE, headers: [], all: NONE }

const BACKSLASH = 0x5c
const AMPERSAND = 0x26

/** Everything that looks like a placeholder, or why the request cannot be sent. */
export function scanOutbound(outbound: Outbound, wantsBodyPlaces: boolean): Scan | ScanFailure {
  try {
    const body =
      outbound.body === undefined
        ? NONE
        : scanBody(outbound.body, outbound.mediaType, wantsBodyPlaces)
    if (typeof body === 'string') return body
    const url = `${outbound.path}${outbound.query}`
    if (/[\\&]/.test(url) && hasDisguisedOpener(url)) return 'placeholder_malformed'
    const path = mayHoldOpener(outbound.path)
      ? scanPath(Buffer.from(outbound.path, 'latin1'))
      : NONE
    const query = mayHoldOpener(outbound.query) ? scanUrlQuery(outbound.query) : NONE
    const headers = scanHeaders(outbound.headers)
    if (typeof headers === 'string') return headers
    if (body === NONE && path === NONE && query === NONE && headers.length === 0) return EMPTY
    const all = [...body, ...path, ...query, ...headers.flatMap(({ found }) => found)]
    return { body, path, query, headers, all }
  } catch (error) {
    if (error instanceof ScanRefusal) return error.reason
    throw error
  }
}

function scanBody(
  body: Buffer,
  type: MediaType,
  wantsPlaces: boolean,
): readonly Found[] | ScanFailure {
  if (type.kind === 'binary' || body.length === 0) return NONE
  if (type.isUnreadable) return 'content_encoding_unsupported'
  if (
    (body.indexOf(BACKSLASH) !== -1 || body.indexOf(AMPERSAND) !== -1) &&
    hasDisguisedOpener(body.toString('latin1'))
  ) {
    return 'placeholder_malformed'
  }
  if (type.kind === 'form') {
    return body.includes('{{') || mayHoldPercentOpener(body) ? scanForm(body) : NONE
  }
  if (findOpener(body, 0) === -1) return NONE
  switch (type.kind) {
    case 'json':
      return scanJson(body, wantsPlaces)
    case 'text':
      return scanText(body)
    case 'structured':
      return 'value_not_encodable'
    default:
      return type.kind satisfies never
  }
}

const mayHoldPercentOpener = (body: Buffer) => body.includes('%7b') || body.includes('%7B')

const mayHoldOpener = (url: string) =>
  url.includes('{{') || url.includes('%7b') || url.includes('%7B')

/** Offsets count from the question mark. */
function scanUrlQuery(query: string): readonly Found[] {
  return scanQuery(Buffer.from(query.slice(1), 'latin1')).map((found) => ({
    ...found,
    start: found.start + 1,
    end: found.end + 1,
  }))
}

function scanHeaders(headers: readonly string[]): { at: number; found: Found[] }[] | ScanFailure {
  const scanned: { at: number; found: Found[] }[] = []
  for (let i = 0; i < headers.length; i += 2) {
    const value = headers[i + 1] as string
    if (value.includes('{{')) {
      const found = scanHeader(Buffer.from(value, 'latin1'), (headers[i] as string).toLowerCase())
      if (found.length > 0) scanned.push({ at: i + 1, found })
    }
    if ((value.includes('\\') || value.includes('&')) && hasDisguisedOpener(value))
      return 'placeholder_malformed'
    if (BASIC.test(value) && holdsBasicOpener(value)) return 'value_not_encodable'
  }
  return scanned
}

const BASIC = /^ *basic +/i

/** Placeholders inside Basic credentials are not substituted, so they must not pass for a password. */
function holdsBasicOpener(value: string): boolean {
  return findOpener(Buffer.from(value.replace(BASIC, ''), 'base64'), 0) !== -1
}
