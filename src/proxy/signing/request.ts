// A request as it is signed: final, after the placeholders have been replaced. What signing reads of it, and the two
// ways in which a request, unlike its recipe, can make signing impossible.

import { HEADER_NAME, isDroppedRequestHeader } from '../headers.ts'
import { Refusal } from '../refusal.ts'

export type SignedRequest = {
  readonly method: string
  /** `https://api.example.com`: lower case, default port left out. */
  readonly origin: string
  readonly path: string
  /** With its question mark, or empty. */
  readonly query: string
  /** Raw names and values in turn, injected ones included. */
  readonly headers: readonly string[]
  /** Plaintext: hashed from its bytes, never made a string, never kept. */
  readonly body: Buffer | undefined
}

export type SigningMoment = { readonly nowMs: number; readonly nonce: () => string }

/** Header names and values in turn; they replace the request's headers of the same name. */
export type Signer = (request: SignedRequest, at: SigningMoment) => string[]

/** What the values of headers are read from; the placeholders may still be in it. */
export type FieldSource = Pick<SignedRequest, 'method' | 'origin' | 'headers' | 'body'>

// Controls would forge lines of what is signed; beyond ASCII, bytes have no agreed meaning (RFC 9110, 5.5) and a
// signature base may not hold them (RFC 9421, 2.5).
const SIGNABLE = /^[\t\x20-\x7e]*$/

/** `name` in lower case. Of the headers that are not copied, only those can be signed whose value is certain. */
export function isSignableField(name: string): boolean {
  if (!HEADER_NAME.test(name) || name !== name.toLowerCase()) return false
  return name === 'host' || name === 'content-length' || !isDroppedRequestHeader(name)
}

/** All values of a header, in order, joined as RFC 9110, 5.2 and RFC 9421, 2.1 say. Throws Refusal. */
export function fieldValue(request: FieldSource, name: string): string {
  const values = name === 'host' ? [hostOf(request)] : valuesOf(request, name)
  if (values.length === 0) throw new Refusal('missing_field', name)
  const value = values.join(', ')
  if (!SIGNABLE.test(value)) throw new Refusal('invalid_value', name)
  return value
}

/** As the `Host` header will say it. */
export function hostOf({ origin }: Pick<SignedRequest, 'origin'>): string {
  return origin.slice(origin.indexOf('//') + 2)
}

function valuesOf(request: FieldSource, name: string): string[] {
  if (name === 'content-length') return contentLength(request)
  const values: string[] = []
  for (let i = 0; i < request.headers.length; i += 2) {
    if (request.headers[i]?.toLowerCase() === name) {
      values.push(trimmed(request.headers[i + 1] ?? ''))
    }
  }
  return values
}

/** Without blanks and tabs at its ends; a regular expression would look at runs in the middle again and again. */
function trimmed(value: string): string {
  let start = 0
  let end = value.length
  while (start < end && isBlank(value.charCodeAt(start))) start += 1
  while (end > start && isBlank(value.charCodeAt(end - 1))) end -= 1
  return value.slice(start, end)
}

const isBlank = (code: number) => code === 0x20 || code === 0x09

/** The one that is sent: 0 is said only for methods that a body is expected with (RFC 9110, 8.6). */
function contentLength({ method, body }: FieldSource): string[] {
  const length = body?.length ?? 0
  return length > 0 || expectsBody(method) ? [String(length)] : []
}

export function expectsBody(method: string): boolean {
  return method === 'POST' || method === 'PUT' || method === 'PATCH'
}

export function unixSeconds(at: SigningMoment): number {
  return Math.floor(at.nowMs / 1000)
}

/** IMF-fixdate (RFC 9110, 5.6.7). */
export function httpDate(at: SigningMoment): string {
  return new Date(at.nowMs).toUTCString()
}
