// Card numbers as bytes: the digits of a number never become a string. Luhn (ISO/IEC 7812-1 annex B),
// networks by issuer identification range, what may be shown (PCI DSS 3.4.1: at most BIN and last four).

import type { Brand } from './brand.ts'
import { wipeableBuffer } from './wipeable.ts'

/** ASCII digits of a number that passed `parseCardNumber`. Its owner overwrites it after use. */
export type CardDigits = Brand<Buffer, 'CardDigits'>

export type CardNetwork = keyof typeof NETWORK_RANGES

// Ranges are inclusive and compared on as many digits as they have, at most eight. The first network with a matching
// range wins, so narrow ranges of one network stand before the wide ones of another.
const NETWORK_RANGES = {
  Elo: [
    '401178-401179',
    '431274',
    '438935',
    '451416',
    '457393',
    '457631-457632',
    '504175',
    '506699-506778',
    '509000-509999',
    '627780',
    '636297',
    '636368',
    '650031-650033',
    '650035-650051',
    '650405-650439',
    '650485-650538',
    '650541-650598',
    '650700-650718',
    '650720-650727',
    '650901-650922',
    '650924-650978',
    '651652-651679',
    '655000-655019',
    '655021-655058',
  ],
  Hiper: ['637095', '63737423', '63743358', '637568', '637599', '637609', '637612'],
  Hipercard: ['606282'],
  Mir: ['2200-2204'],
  Naranja: ['589562'],
  Troy: [
    '650052',
    '650082-650083',
    '650092',
    '650161',
    '650170',
    '650173',
    '650175',
    '650268',
    '650271',
    '650273-650274',
    '650456-650457',
    '650836',
    '65083700-65083704',
    '650846-650850',
    '65085800-65085804',
    '65085900-65085901',
    '65086000',
    '65086100-65086105',
    '65086200-65086203',
    '650923',
    '650987',
    '650990',
    '654997',
    '657366',
    '657998',
    '65875000-65875003',
    '65875009',
    '65875101-65875104',
    '65875200',
    '65875501',
    '65875601',
    '658758',
    '65875900',
    '65876000-65876002',
    '65876100-65876103',
    '65876110',
    '65876115-65876116',
    '65876200-65876201',
    '65876500',
    '65876504-65876505',
    '65876600-65876602',
    '658767-658768',
    '65877100-65877101',
    '65877600-65877602',
    '65877700',
    '65877801-65877802',
    '65878200-65878202',
    '65878300-65878311',
    '65878400-65878405',
    '65878500-65878505',
    '65878600-65878601',
    '65879800',
    '65880800',
    '65880900',
    '9792',
  ],
  Verve: [
    '506099-506127',
    '506129',
    '506133-506150',
    '506158-506163',
    '506166',
    '506168',
    '506170',
    '506173',
    '506176-506180',
    '506184',
    '506187-506188',
    '506191',
    '506195',
    '506197',
    '507865-507866',
    '507868-507877',
    '507880-507888',
    '507900',
    '507941',
  ],
  RuPay: ['508500-508999', '606985-607984', '608001-608500', '652150-653149', '817200-820199'],
  Maestro: ['0604', '50', '56-58', '63', '67'],
  AmericanExpress: ['34', '37'],
  DinersClub: ['300-305', '3095', '36', '38-39'],
  JCB: ['3528-3589'],
  Discover: ['6011', '644-649', '65'],
  UnionPay: ['62', '81'],
  Mastercard: ['51-55', '2221-2720'],
  Visa: ['4'],
} as const satisfies Record<string, readonly string[]>

const RANGE_DIGITS = 8

/** Inclusive, on the first eight digits of a number. */
type Range = { network: CardNetwork; from: number; to: number }

const RANGES: readonly Range[] = Object.entries(NETWORK_RANGES).flatMap(([network, ranges]) =>
  ranges.map((range) => {
    const [from = '', to = from] = range.split('-')
    return {
      network: network as CardNetwork,
      from: Number(from.padEnd(RANGE_DIGITS, '0')),
      to: Number(to.padEnd(RANGE_DIGITS, '9')),
    }
  }),
)

/** Those that begin with the same two digits: a few instead of hundreds. */
const RANGES_OF = Array.from({ length: 100 }, (_, start) =>
  RANGES.filter(({ from, to }) => to >= start * 1_000_000 && from < (start + 1) * 1_000_000),
)

const ZERO = 0x30
const NINE = 0x39
const MIN_DIGITS = 12
const MAX_DIGITS = 19

/**
 * Strips blanks and dashes in place and checks length and Luhn. The answer is a part of `input`, which stays
 * the one copy; `undefined` when it is no card number.
 */
export function parseCardNumber(input: Buffer): CardDigits | undefined {
  let length = 0
  for (let i = 0; i < input.length; i++) {
    const byte = input[i] as number
    if (byte === 0x20 || byte === 0x2d) continue
    if (byte < ZERO || byte > NINE) return undefined
    input[length++] = byte
  }
  input.fill(0, length) // what stood behind the digits before they moved
  if (length < MIN_DIGITS || length > MAX_DIGITS) return undefined
  const digits = input.subarray(0, length)
  return passesLuhn(digits) ? (digits as CardDigits) : undefined
}

/** `length`: of the first so many. */
export function passesLuhn(digits: Uint8Array, length = digits.length): boolean {
  let sum = 0
  for (let i = 0; i < length; i++) {
    const digit = (digits[length - 1 - i] as number) - ZERO
    const weighed = i % 2 === 0 ? digit : digit * 2
    sum += weighed > 9 ? weighed - 9 : weighed
  }
  return sum % 10 === 0
}

export function cardNetwork(digits: CardDigits): CardNetwork | undefined {
  const prefix = prefixNumber(digits, RANGE_DIGITS)
  const ranges = RANGES_OF[prefixNumber(digits, 2)]
  return ranges?.find((range) => prefix >= range.from && prefix <= range.to)?.network
}

function prefixNumber(digits: Uint8Array, count: number): number {
  let value = 0
  for (let i = 0; i < count; i++) value = value * 10 + ((digits[i] as number) - ZERO)
  return value
}

/** Length of the BIN that may be shown: 8 digits leave too few hidden in numbers shorter than 16 (PCI FAQ 1091). */
export const BIN_DIGITS = 6
export const LONG_BIN_DIGITS = 8
export const LONG_BIN_MIN_DIGITS = 16

export function cardBin(digits: CardDigits): string {
  return digits.toString('latin1', 0, BIN_DIGITS)
}

export function lastFour(digits: CardDigits): string {
  return digits.toString('latin1', digits.length - 4)
}

const DIGIT_RUN = /[0-9](?:[ .-]?[0-9]){11,}/g
const MIN_PART = 13

/**
 * Does the text hold what could be a card number, alone or with other digits around it? For names, which are stored or
 * shown in the clear. A part of a longer run has to look like a network's number, too: by chance every tenth passes Luhn.
 */
export function holdsCardNumber(text: string): boolean {
  for (const [run] of text.matchAll(DIGIT_RUN)) {
    const digits = Buffer.from(run.replace(/[^0-9]/g, ''))
    if (digits.length <= MAX_DIGITS && passesLuhn(digits)) return true
    for (let start = 0; start + MIN_PART <= digits.length; start++) {
      if (cardNetwork(digits.subarray(start) as CardDigits) === undefined) continue
      for (
        let length = MIN_PART;
        length <= MAX_DIGITS && start + length <= digits.length;
        length++
      ) {
        if (passesLuhn(digits.subarray(start, start + length))) return true
      }
    }
  }
  return false
}

// The lengths in which a network's numbers are issued. Of 15 digits there are American Express' alone, and that matters:
// Visa's transaction ids have 15 digits, too.
export const NETWORK_LENGTHS: Readonly<Record<CardNetwork, readonly number[]>> = {
  Elo: [16],
  Hiper: [16],
  Hipercard: [16],
  Mir: [16, 17, 18, 19],
  Naranja: [16],
  Troy: [16],
  Verve: [16, 18, 19],
  RuPay: [16],
  Maestro: [12, 13, 16, 18, 19],
  AmericanExpress: [15],
  DinersClub: [14, 16, 19],
  JCB: [16, 17, 18, 19],
  Discover: [16, 19],
  UnionPay: [16, 17, 18, 19],
  Mastercard: [16],
  Visa: [13, 16, 18, 19],
}

/**
 * Does the text hold a whole card number as its network issues them, alone or between other characters, in groups or not?
 * For what PSPs call things by: those may be long numbers themselves, of which `holdsCardNumber` would refuse one in ten.
 */
export function holdsIssuedCardNumber(text: Uint8Array, minDigits = MIN_DIGITS): boolean {
  const digits = wipeableBuffer(MAX_DIGITS)
  let isFound = false
  for (let start = 0; start < text.length && !isFound; start++) {
    if (!isDigit(text[start - 1])) isFound = beginsWithIssuedNumber(text, start, digits, minDigits)
  }
  digits.fill(0)
  return isFound
}

/** The number may go on after a blank, dash or dot, and ends where a group does. */
function beginsWithIssuedNumber(
  text: Uint8Array,
  start: number,
  digits: Buffer,
  minDigits: number,
): boolean {
  let length = 0
  let at = start
  let issued: readonly number[] | undefined
  while (length < MAX_DIGITS && isDigit(text[at])) {
    digits[length++] = text[at++] as number
    if (isDigit(text[at])) continue
    if (length >= minDigits) {
      issued ??= issuedLengths(digits)
      if (issued.includes(length) && passesLuhn(digits, length)) return true
    }
    if (isSeparator(text[at])) at++
  }
  return false
}

function issuedLengths(digits: Buffer): readonly number[] {
  const network = cardNetwork(digits as CardDigits)
  return network === undefined ? [] : NETWORK_LENGTHS[network]
}

// Shorter ones are hardly issued any more, while telephone numbers with their country and article numbers (EAN) have 12 and
// 13 digits and would be taken for Maestro's and Visa's: one in ten of those of Germany.
const LONG_DIGITS = 14
const LONG_RUN = /[0-9](?:[ .-]?[0-9]){13}/
/** In one of 6,000 UUIDs are digits that look like a card number. */
const HEX_ID =
  /(?<![0-9a-z])(?:[0-9a-f]{24,}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(?![0-9a-z])/gi

/**
 * Does any text, whole number or name in the JSON hold a card number as its network issues them, of 14 digits and more? For
 * what anybody may write anything into.
 */
export function jsonHoldsCardNumber(json: unknown): boolean {
  const left: unknown[] = [json]
  while (left.length > 0) {
    const value = left.pop()
    if (typeof value === 'object' && value !== null) {
      for (const [name, inner] of Object.entries(value)) left.push(name, inner)
    } else if (typeof value === 'string' || Number.isInteger(value)) {
      // The digits of a fraction are as good as random.
      if (holdsLongCardNumber(String(value))) return true
    }
  }
  return false
}

function holdsLongCardNumber(text: string): boolean {
  return (
    LONG_RUN.test(text) &&
    holdsIssuedCardNumber(Buffer.from(text.replaceAll(HEX_ID, '_')), LONG_DIGITS)
  )
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= ZERO && byte <= NINE
}

function isSeparator(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x2d || byte === 0x2e
}
