// International bank account numbers (ISO 13616-1) as bytes: the characters of a number never become a string. What
// the registry says of a country is checked (length, which characters stand where), and the two check digits
// (ISO 7064 MOD 97-10). National check digits inside the BBAN are the bank's business: countries change them without
// telling the registry.

import type { Brand } from './brand.ts'

/** Capital letters and digits, no separators, that passed `parseIban`. Its owner overwrites it after use. */
export type Iban = Brand<Buffer, 'Iban'>

/**
 * BBAN structures as the SWIFT IBAN registry writes them (release 100): `n` digits, `a` capital letters, `c` either;
 * `4!a` is exactly four. Territories that bank under another country's code (GF under FR, AX under FI) have none.
 */
export const BBAN_STRUCTURES = {
  AD: '4!n4!n12!c',
  AE: '3!n16!n',
  AL: '8!n16!c',
  AT: '5!n11!n',
  AZ: '4!a20!c',
  BA: '3!n3!n8!n2!n',
  BE: '3!n7!n2!n',
  BG: '4!a4!n2!n8!c',
  BH: '4!a14!c',
  BI: '5!n5!n11!n2!n',
  BR: '8!n5!n10!n1!a1!c',
  BY: '4!c4!n16!c',
  CH: '5!n12!c',
  CR: '4!n14!n',
  CY: '3!n5!n16!c',
  CZ: '4!n6!n10!n',
  DE: '8!n10!n',
  DJ: '5!n5!n11!n2!n',
  DK: '4!n9!n1!n',
  DO: '4!c20!n',
  EE: '2!n14!n',
  EG: '4!n4!n17!n',
  ES: '4!n4!n1!n1!n10!n',
  FI: '3!n11!n',
  FK: '2!a12!n',
  FO: '4!n9!n1!n',
  FR: '5!n5!n11!c2!n',
  GB: '4!a6!n8!n',
  GE: '2!a16!n',
  GI: '4!a15!c',
  GL: '4!n9!n1!n',
  GR: '3!n4!n16!c',
  GT: '4!c20!c',
  HN: '4!a20!n',
  HR: '7!n10!n',
  HU: '3!n4!n1!n15!n1!n',
  IE: '4!a6!n8!n',
  IL: '3!n3!n13!n',
  IQ: '4!a3!n12!n',
  IS: '4!n2!n6!n10!n',
  IT: '1!a5!n5!n12!c',
  JO: '4!a4!n18!c',
  KW: '4!a22!c',
  KZ: '3!n13!c',
  LB: '4!n20!c',
  LC: '4!a24!c',
  LI: '5!n12!c',
  LT: '5!n11!n',
  LU: '3!n13!c',
  LV: '4!a13!c',
  LY: '3!n3!n15!n',
  MC: '5!n5!n11!c2!n',
  MD: '2!c18!c',
  ME: '3!n13!n2!n',
  MK: '3!n10!c2!n',
  MN: '4!n12!n',
  MR: '5!n5!n11!n2!n',
  MT: '4!a5!n18!c',
  MU: '4!a2!n2!n12!n3!n3!a',
  NI: '4!a20!n',
  NL: '4!a10!n',
  NO: '4!n6!n1!n',
  OM: '3!n16!c',
  PK: '4!a16!c',
  PL: '8!n16!n',
  PS: '4!a21!c',
  PT: '4!n4!n11!n2!n',
  QA: '4!a21!c',
  RO: '4!a16!c',
  RS: '3!n13!n2!n',
  RU: '9!n5!n15!c',
  SA: '2!n18!c',
  SC: '4!a2!n2!n16!n3!a',
  SD: '2!n12!n',
  SE: '3!n16!n1!n',
  SI: '5!n8!n2!n',
  SK: '4!n6!n10!n',
  SM: '1!a5!n5!n12!c',
  SO: '4!n3!n12!n',
  ST: '4!n4!n11!n2!n',
  SV: '4!a20!n',
  TL: '3!n14!n2!n',
  TN: '2!n3!n13!n2!n',
  TR: '5!n1!n16!c',
  UA: '6!n19!c',
  VA: '3!n15!n',
  VG: '4!a16!n',
  XK: '4!n10!n2!n',
  YE: '4!a4!n18!c',
} as const

export type IbanCountry = keyof typeof BBAN_STRUCTURES

const COUNTRY_LENGTH = 2
const BBAN_OFFSET = 4
const LONGEST = 34 // ISO 13616-1: two letters, two check digits, at most 30 of the BBAN
const SHOWN_AT_END = 4

// What may stand in a place of the BBAN, in the order of its bytes; by the country's letters, as a number.
const BBAN_PLACES: ReadonlyMap<number, string> = new Map(
  Object.entries(BBAN_STRUCTURES).map(([country, structure]) => [
    countryKey(Buffer.from(country)),
    bbanPlaces(structure),
  ]),
)

function bbanPlaces(structure: string): string {
  return structure.replace(/(\d+)!([nac])/g, (_, count, kind) => kind.repeat(Number(count)))
}

function countryKey(iban: Uint8Array): number {
  return ((iban[0] as number) << 8) | (iban[1] as number)
}

/**
 * Strips blanks and dashes in place, makes letters capitals in place, and checks country, length, structure and check
 * digits. The answer is a part of `input`, which stays the one copy; `undefined` when it is no IBAN.
 */
export function parseIban(input: Buffer): Iban | undefined {
  let length = 0
  for (let i = 0; i < input.length; i++) {
    const byte = input[i] as number
    if (byte === 0x20 || byte === 0x2d) continue
    const capital = byte >= 0x61 && byte <= 0x7a ? byte - 0x20 : byte
    if (!isDigit(capital) && !isCapital(capital)) return undefined
    input[length++] = capital
  }
  input.fill(0, length) // what stood behind the characters before they moved
  if (length <= BBAN_OFFSET || length > LONGEST) return undefined
  const iban = input.subarray(0, length)
  return hasStructure(iban) && hasCheckDigits(iban) ? (iban as Iban) : undefined
}

function hasStructure(iban: Uint8Array): boolean {
  const places = BBAN_PLACES.get(countryKey(iban))
  if (places === undefined || iban.length !== BBAN_OFFSET + places.length) return false
  for (let i = 0; i < places.length; i++) {
    const byte = iban[BBAN_OFFSET + i] as number
    const kind = places[i]
    if (kind === 'n' ? !isDigit(byte) : kind === 'a' && !isCapital(byte)) return false
  }
  return true
}

/**
 * ISO 7064 MOD 97-10 over the BBAN, then country and check digits; letters count as 10 to 35. Of the three pairs that
 * leave the same remainder as another (00, 01 and 99) none is ever issued: they run from 02 to 98.
 */
function hasCheckDigits(iban: Uint8Array): boolean {
  const [tens, ones] = [iban[COUNTRY_LENGTH] as number, iban[COUNTRY_LENGTH + 1] as number]
  if (!isDigit(tens) || !isDigit(ones)) return false
  const written = (tens - 0x30) * 10 + (ones - 0x30)
  if (written < 2 || written > 98) return false
  let remainder = 0
  for (let i = 0; i < iban.length; i++) {
    const byte = iban[(i + BBAN_OFFSET) % iban.length] as number
    remainder = isDigit(byte)
      ? (remainder * 10 + (byte - 0x30)) % 97
      : (remainder * 100 + (byte - 0x41 + 10)) % 97
  }
  return remainder === 1
}

/** ISO 3166-1 alpha-2 (XK for Kosovo): the country whose structure the number has. */
export function ibanCountry(iban: Iban): IbanCountry {
  return iban.toString('latin1', 0, COUNTRY_LENGTH) as IbanCountry // parsed: one of the table
}

export function ibanLastFour(iban: Iban): string {
  return iban.toString('latin1', iban.length - SHOWN_AT_END)
}

/** What may be shown: country and last four, `DE****3000`. Four stars whatever the length. */
export function ibanMask(iban: Iban): string {
  return `${ibanCountry(iban)}****${ibanLastFour(iban)}`
}

function isDigit(byte: number): boolean {
  return byte >= 0x30 && byte <= 0x39
}

function isCapital(byte: number): boolean {
  return byte >= 0x41 && byte <= 0x5a
}
