// Values that a request has revealed, as tests give them to the guard, and the guard's two ways side by side.

import { createHash } from 'node:crypto'
import { LeakGuard, type Sensitive } from '../../../src/proxy/leak-guard/leak-guard.ts'

export const VISA = '4242424242424242'
export const MASTERCARD = '5555555555554444'
export const AMEX = '378282246310005'
export const API_KEY = 'sk_live_51HxYzAbCdEfGhIj'

export const number = (digits: string): Sensitive => ({
  kind: 'number',
  digits: Buffer.from(digits),
})
export const CODE: Sensitive = { kind: 'code' }
export const HASH: Sensitive = { kind: 'hash' }
export const text = (value: string): Sensitive => ({ kind: 'text', text: Buffer.from(value) })

export type Outcome = { readonly count: number; readonly text: string }

export function masked(sensitive: readonly Sensitive[], body: string): Outcome {
  const bytes = Buffer.from(body, 'latin1')
  const count = new LeakGuard(sensitive).maskBody(bytes)
  return { count, text: bytes.toString('latin1') }
}

/** `borders`: where the body is cut. */
export function maskedInPieces(
  sensitive: readonly Sensitive[],
  body: string,
  borders: readonly number[],
): Outcome {
  const stream = new LeakGuard(sensitive).stream()
  const out: Buffer[] = []
  let from = 0
  for (const border of [...borders].sort((a, b) => a - b)) {
    out.push(stream.push(Buffer.from(body.slice(from, border), 'latin1')))
    from = border
  }
  out.push(stream.push(Buffer.from(body.slice(from), 'latin1')), stream.end())
  return { count: stream.count, text: Buffer.concat(out).toString('latin1') }
}

export const sha256 = (value: string) => createHash('sha256').update(value).digest('hex')

export const hex = (value: string) => Buffer.from(value).toString('hex')

/** In base64, with so many bytes before it and some after it. */
export const base64 = (value: string, before: number) =>
  Buffer.from(`${'x'.repeat(before)}${value}yz`).toString('base64')

/** Every byte of it percent-encoded, or as JSON can escape it. */
export const percent = (value: string) => `%${hex(value).match(/../g)?.join('%')}`
export const escaped = (value: string) => `\\u00${hex(value).match(/../g)?.join('\\u00')}`
