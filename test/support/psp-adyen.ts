// A processor that answers like Adyen's Checkout API (`/v72/payments`): cards whose number is sent
// as it is, no 3-D Secure, no details call and no modifications after the payment. Outcomes are
// those of our test cards, in Adyen's words; Adyen itself chooses them by the holder's name.

import type { Card, DeclineReason } from './psp-cards.ts'
import { declineOf, describeCard, isExpired, numberFault, randomDigits } from './psp-cards.ts'
import type { Answer, Fields, Processor } from './psp-processor.ts'
import { nested, parseJson } from './psp-processor.ts'

const REFUSALS: Readonly<Record<DeclineReason, readonly [code: string, reason: string]>> = {
  generic_decline: ['2', 'Refused'],
  insufficient_funds: ['12', 'Not enough balance'],
  fraudulent: ['20', 'FRAUD'],
  lost_card: ['5', 'Blocked Card'],
  stolen_card: ['5', 'Blocked Card'],
  expired_card: ['6', 'Expired Card'],
  incorrect_cvc: ['24', 'CVC Declined'],
  processing_error: ['4', 'Acquirer Error'],
}

/** Live hosts have them under `/checkout`. */
export const ADYEN_PATHS = /^(\/checkout)?\/v\d+\/payments$/

export function createAdyen(): Processor {
  return {
    idempotencyHeader: 'idempotency-key',
    keyHeaders: ['x-api-key', 'authorization'],
    parse: parseJson,
    cardOf(fields) {
      const method = nested(fields, 'paymentMethod')
      return {
        number: method.number,
        expMonth: method.expiryMonth,
        expYear: method.expiryYear,
        cvc: method.cvc,
      }
    },
    unauthorized: () => fault(401, '000', 'HTTP Status Response - Unauthorized', 'security'),
    malformed: () => fault(400, '702', 'Unexpected input'),
    answer: (call, fields) => (call.method === 'POST' ? answerFor(fields) : undefined),
  }
}

function answerFor(fields: Fields): Answer {
  const refusal = faultOf(fields)
  if (refusal !== undefined) return refusal
  const method = nested(fields, 'paymentMethod')
  const card: Card = {
    number: String(method.number),
    expMonth: Number(method.expiryMonth),
    expYear: Number(method.expiryYear),
    cvc: method.cvc === undefined ? undefined : String(method.cvc),
  }
  const reason = declineOf(card)
  const { brand, bin, last4 } = describeCard(card)
  const head = {
    pspReference: pspReference(),
    merchantReference: fields.reference,
    paymentMethod: { type: 'scheme', brand },
    additionalData: { cardBin: bin, cardSummary: last4 },
  }
  if (reason === undefined) {
    return reply(200, { ...head, resultCode: 'Authorised', amount: fields.amount })
  }
  const [refusalReasonCode, refusalReason] = REFUSALS[reason]
  return reply(200, { ...head, resultCode: 'Refused', refusalReason, refusalReasonCode })
}

function faultOf(fields: Fields): Answer | undefined {
  const method = nested(fields, 'paymentMethod')
  const { value, currency } = nested(fields, 'amount')
  for (const name of ['merchantAccount', 'reference', 'returnUrl']) {
    const given = fields[name]
    if (typeof given !== 'string' || given === '') {
      return fault(422, '130', `Required field '${name}' is not provided.`)
    }
  }
  if (!Number.isSafeInteger(value) || Number(value) < 0) {
    return fault(422, '137', 'Invalid amount specified')
  }
  if (typeof currency !== 'string' || !/^[A-Z]{3}$/.test(currency)) {
    return fault(422, '138', 'Unsupported currency specified')
  }
  if (method.type !== 'scheme') {
    return fault(422, '14_006', "Required object 'paymentMethod' is not provided.")
  }
  if (numberFault(method.number) !== undefined) return fault(422, '101', 'Invalid card number')
  if (!isFuture(method.expiryMonth, method.expiryYear)) {
    return fault(422, '129', 'Expiry Date Invalid')
  }
  if (method.cvc !== undefined && !isCvc(method.cvc)) {
    return fault(422, '103', 'CVC is not the right length')
  }
  return undefined
}

/** Adyen wants strings here, where Checkout.com takes numbers as well. */
function isFuture(month: unknown, year: unknown): boolean {
  if (typeof month !== 'string' || typeof year !== 'string') return false
  if (!/^(0?[1-9]|1[0-2])$/.test(month) || !/^\d{4}$/.test(year)) return false
  return !isExpired(Number(month), Number(year), new Date())
}

function isCvc(value: unknown): boolean {
  return typeof value === 'string' && /^\d{3,4}$/.test(value)
}

/** Sixteen digits and letters. */
function pspReference(): string {
  return `${randomDigits(10)}TESTED`
}

function fault(
  status: number,
  errorCode: string,
  message: string,
  errorType = 'validation',
): Answer {
  return reply(status, { status, errorCode, message, errorType, pspReference: pspReference() })
}

function reply(status: number, body: { pspReference: string; [name: string]: unknown }): Answer {
  return { status, headers: { pspreference: body.pspReference }, body }
}
