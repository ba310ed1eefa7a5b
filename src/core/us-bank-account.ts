// Bank accounts of the United States as the ACH network names them (Nacha Operating Rules): a routing number of the
// bank, which is public, and an account number, which is not and stays in bytes. An account number has no check
// digit: only its bank can tell whether it exists.

import type { Brand } from './brand.ts'

/** Nine digits that passed `parseRoutingNumber`. */
export type RoutingNumber = Brand<string, 'RoutingNumber'>

/** ASCII digits that passed `parseAccountNumber`. Its owner overwrites it after use. */
export type AccountNumber = Brand<Buffer, 'AccountNumber'>

const NINE_DIGITS = /^[0-9]{9}$/

// The first two digits: Federal Reserve districts, the same for thrift institutions and for electronic transactions,
// traveler's checks (ABA routing number policy). 00 is the government's.
const PREFIXES = [
  { from: 0, to: 12 },
  { from: 21, to: 32 },
  { from: 61, to: 72 },
  { from: 80, to: 80 },
] as const

const WEIGHTS = [3, 7, 1] as const

const MIN_DIGITS = 4
const MAX_DIGITS = 17 // the field "DFI account number" of an ACH entry detail record

/**
 * An ABA routing transit number: nine digits of a known district whose weighted sum (3-7-1) ends with 0. All zeros
 * would pass both and belongs to nobody.
 */
export function parseRoutingNumber(text: string): RoutingNumber | undefined {
  if (!NINE_DIGITS.test(text) || Number(text) === 0) return undefined
  const prefix = Number(text.slice(0, 2))
  if (!PREFIXES.some(({ from, to }) => prefix >= from && prefix <= to)) return undefined
  let sum = 0
  for (let i = 0; i < text.length; i++) sum += Number(text[i]) * (WEIGHTS[i % 3] as number)
  return sum % 10 === 0 ? (text as RoutingNumber) : undefined
}

/**
 * Strips blanks and dashes in place and checks the length. Leading zeros are part of the number. The answer is a part
 * of `input`, which stays the one copy; `undefined` when it is no account number.
 */
export function parseAccountNumber(input: Buffer): AccountNumber | undefined {
  let length = 0
  for (let i = 0; i < input.length; i++) {
    const byte = input[i] as number
    if (byte === 0x20 || byte === 0x2d) continue
    if (byte < 0x30 || byte > 0x39) return undefined
    input[length++] = byte
  }
  input.fill(0, length) // what stood behind the digits before they moved
  if (length < MIN_DIGITS || length > MAX_DIGITS) return undefined
  return input.subarray(0, length) as AccountNumber
}
