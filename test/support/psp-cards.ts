// The test cards of the simulated processors: who approves, who declines, and what a number is.
// One table gives both processors' words for an outcome, so that they can never disagree. Numbers
// and words are those that Stripe and Checkout.com publish for their sandboxes; any other number
// with a right check digit approves, whatever the amount.

import { createHmac, randomBytes, randomInt } from 'node:crypto'

export interface Card {
  readonly number: string
  readonly expMonth: number
  readonly expYear: number
  readonly cvc: string | undefined
}

export interface Decline {
  readonly stripeCode: string
  readonly stripeMessage: string
  readonly checkoutCode: string
  readonly checkoutSummary: string
}

export const DECLINES = {
  generic_decline: row('Your card was declined.', '20005', 'Declined - Do Not Honour'),
  insufficient_funds: row('Your card has insufficient funds.', '20051', 'Insufficient Funds'),
  fraudulent: row('Your card was declined.', '20059', 'Suspected Fraud'),
  lost_card: row('Your card was declined.', '30041', 'Lost Card - Pick Up'),
  stolen_card: row('Your card was declined.', '30043', 'Stolen Card - Pick Up'),
  expired_card: row('Your card has expired.', '20054', 'Expired Card', 'expired_card'),
  incorrect_cvc: row(
    "Your card's security code is incorrect.",
    '20087',
    'Bad Track Data',
    'incorrect_cvc',
  ),
  processing_error: row(
    'An error occurred while processing your card.',
    '20096',
    'System Malfunction',
    'processing_error',
  ),
}

export type DeclineReason = keyof typeof DECLINES

export const DECLINED = '4000000000000002'

export const TEST_CARDS: { readonly [number: string]: 'approved' | DeclineReason } = {
  '4242424242424242': 'approved',
  '4111111111111111': 'approved',
  '5555555555554444': 'approved',
  '2223003122003222': 'approved',
  '378282246310005': 'approved',
  '6011111111111117': 'approved',
  '3056930009020004': 'approved',
  '3566002020360505': 'approved',
  [DECLINED]: 'generic_decline',
  '4000000000009995': 'insufficient_funds',
  '4100000000000019': 'fraudulent',
  '4000000000009987': 'lost_card',
  '4000000000009979': 'stolen_card',
  '4000000000000069': 'expired_card',
  '4000000000000127': 'incorrect_cvc',
  '4000000000000119': 'processing_error',
}

const SCHEMES: readonly (readonly [digits: RegExp, brand: string, scheme: string])[] = [
  [/^4/, 'visa', 'Visa'],
  [/^(5[1-5]|2[2-7])/, 'mastercard', 'Mastercard'],
  [/^3[47]/, 'amex', 'American Express'],
  [/^(6011|64[4-9]|65)/, 'discover', 'Discover'],
  [/^3[0689]/, 'diners', 'Diners Club'],
  [/^35/, 'jcb', 'JCB'],
  [/^62/, 'unionpay', 'UnionPay'],
]

// A plain hash of a card number can be undone by trying them all; a key nobody keeps prevents it.
const fingerprintKey = randomBytes(32)

export function declineOf(card: Card): DeclineReason | undefined {
  const outcome = TEST_CARDS[card.number]
  return outcome === 'approved' ? undefined : outcome
}

export function numberFault(number: unknown): 'missing' | 'not_digits' | 'check_digit' | undefined {
  if (number === undefined || number === '') return 'missing'
  if (typeof number !== 'string' || !/^\d{12,19}$/.test(number)) return 'not_digits'
  return hasCheckDigit(number) ? undefined : 'check_digit'
}

export function isExpired(expMonth: number, expYear: number, now: Date): boolean {
  return expYear * 12 + expMonth < now.getUTCFullYear() * 12 + now.getUTCMonth() + 1
}

/** What an answer may say of a card: never enough to charge it. */
export function describeCard(card: Card) {
  const scheme = SCHEMES.find(([digits]) => digits.test(card.number))
  return {
    brand: scheme?.[1] ?? 'unknown',
    scheme: scheme?.[2] ?? 'Unknown',
    bin: card.number.slice(0, 6),
    last4: card.number.slice(-4),
    fingerprint: createHmac('sha256', fingerprintKey).update(card.number).digest('hex'),
  }
}

export function randomLetters(length: number): string {
  const alphabet = 'abcdefghijklmnopqrstuvwxyz234567'
  return Array.from(randomBytes(length), (byte) => alphabet[byte % 32]).join('')
}

export function randomDigits(length: number): string {
  return Array.from({ length }, () => randomInt(10)).join('')
}

function hasCheckDigit(number: string): boolean {
  const digits = Array.from(number, Number).reverse()
  const sum = digits.reduce((total, digit, place) => {
    const doubled = place % 2 === 1 ? digit * 2 : digit
    return total + (doubled > 9 ? doubled - 9 : doubled)
  }, 0)
  return sum % 10 === 0
}

function row(
  stripeMessage: string,
  checkoutCode: string,
  checkoutSummary: string,
  stripeCode = 'card_declined',
): Decline {
  return { stripeCode, stripeMessage, checkoutCode, checkoutSummary }
}
