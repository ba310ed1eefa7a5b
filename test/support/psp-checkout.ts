// A processor that answers like Checkout.com's payments API: cards only, no 3-D Secure, and no
// captures, voids or refunds after the payment.

import { randomUUID } from 'node:crypto'
import type { Card } from './psp-cards.ts'
import {
  DECLINES,
  declineOf,
  describeCard,
  isExpired,
  numberFault,
  randomDigits,
  randomLetters,
} from './psp-cards.ts'
import type { Answer, Call, Fields, Processor } from './psp-processor.ts'
import { nested, parseJson } from './psp-processor.ts'

export function createCheckout(): Processor {
  const payments = new Map<string, object>()

  return {
    idempotencyHeader: 'cko-idempotency-key',
    parse: parseJson,
    cardOf(fields) {
      const source = nested(fields, 'source')
      return {
        number: source.number,
        expMonth: source.expiry_month,
        expYear: source.expiry_year,
        cvc: source.cvv,
      }
    },
    // The real API says 401 and 404 without a body; clients that parse every error trip over it.
    unauthorized: () => reply(401, undefined),
    malformed: () => fault(400, ['request_body_malformed']),
    answer(call, fields) {
      if (call.method === 'POST' && call.path === '/payments') {
        const errors = faultsOf(fields)
        if (errors.length > 0) return fault(422, errors)
        const payment = paymentFor(fields, call)
        payments.set(payment.id, payment)
        return reply(201, payment)
      }
      const id = /^\/payments\/([^/]+)$/.exec(call.path)?.[1]
      if (call.method !== 'GET' || id === undefined) return undefined
      const payment = payments.get(id)
      return payment === undefined ? reply(404, undefined) : reply(200, payment)
    },
  }
}

function faultsOf(fields: Fields): string[] {
  const source = nested(fields, 'source')
  if (source.type !== 'card') return ['payment_source_required']
  const month = integerOf(source.expiry_month)
  const year = integerOf(source.expiry_year)
  const number = numberFault(source.number)
  const isMonth = month !== undefined && month >= 1 && month <= 12
  const isYear = year !== undefined && year >= 1000 && year <= 9999
  const checks: readonly (readonly [broken: boolean, code: string])[] = [
    [number === 'missing', 'card_number_required'],
    [number === 'not_digits' || number === 'check_digit', 'card_number_invalid'],
    [source.expiry_month === undefined, 'card_expiry_month_required'],
    [source.expiry_month !== undefined && !isMonth, 'card_expiry_month_invalid'],
    [source.expiry_year === undefined, 'card_expiry_year_required'],
    [source.expiry_year !== undefined && !isYear, 'card_expiry_year_invalid'],
    [isMonth && isYear && isExpired(month, year, new Date()), 'card_expired'],
    [source.cvv !== undefined && !isCvv(source.cvv), 'cvv_invalid'],
    [!isAmount(fields.amount ?? 0), 'amount_invalid'],
    [fields.currency === undefined, 'currency_required'],
    [fields.currency !== undefined && !isCurrency(fields.currency), 'currency_invalid'],
  ]
  return checks.flatMap(([broken, code]) => (broken ? [code] : []))
}

function paymentFor(fields: Fields, call: Call) {
  const source = nested(fields, 'source')
  const card = cardIn(source)
  const reason = declineOf(card)
  const decline = reason === undefined ? undefined : DECLINES[reason]
  const { scheme, bin, last4, fingerprint } = describeCard(card)
  const amount = Number(fields.amount ?? 0)
  const id = `pay_${randomLetters(26)}`
  const self = `${call.origin}/payments/${id}`
  const isCapturable = decline === undefined && fields.capture === false
  return {
    id,
    action_id: `act_${randomLetters(26)}`,
    amount,
    currency: fields.currency,
    approved: decline === undefined,
    // Checkout.com verifies the card, and charges nothing, when there is no amount.
    status: decline !== undefined ? 'Declined' : amount === 0 ? 'Card Verified' : 'Authorized',
    auth_code: decline === undefined ? randomDigits(6) : '000000',
    response_code: decline?.checkoutCode ?? '10000',
    response_summary: decline?.checkoutSummary ?? 'Approved',
    risk: { flagged: reason === 'fraudulent' },
    source: {
      id: `src_${randomLetters(26)}`,
      type: 'card',
      expiry_month: card.expMonth,
      expiry_year: card.expYear,
      name: stringIn(source.name),
      scheme,
      last4,
      fingerprint: fingerprint.toUpperCase(),
      bin,
      avs_check: 'S',
      cvv_check: reason === 'incorrect_cvc' ? 'D' : card.cvc === undefined ? 'N' : 'Y',
    },
    processed_on: new Date().toISOString(),
    reference: stringIn(fields.reference),
    processing: {
      acquirer_transaction_id: randomDigits(10),
      retrieval_reference_number: randomDigits(12),
    },
    _links: {
      self: { href: self },
      actions: { href: `${self}/actions` },
      ...(isCapturable && {
        capture: { href: `${self}/captures` },
        void: { href: `${self}/voids` },
      }),
    },
  }
}

/** Only for a source that `faultsOf` finds nothing wrong with. */
function cardIn(source: Fields): Card {
  return {
    number: String(source.number),
    expMonth: Number(source.expiry_month),
    expYear: Number(source.expiry_year),
    cvc: source.cvv === undefined ? undefined : String(source.cvv),
  }
}

function integerOf(value: unknown): number | undefined {
  if (typeof value === 'number') return Number.isSafeInteger(value) ? value : undefined
  return typeof value === 'string' && /^\d{1,4}$/.test(value) ? Number(value) : undefined
}

function isAmount(value: unknown): boolean {
  return Number.isSafeInteger(value) && Number(value) >= 0 && Number(value) <= 999_999_999
}

function stringIn(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}

function isCvv(value: unknown): boolean {
  return typeof value === 'string' && /^\d{3,4}$/.test(value)
}

function isCurrency(value: unknown): boolean {
  return typeof value === 'string' && /^[A-Z]{3}$/.test(value)
}

function fault(status: number, errorCodes: string[]): Answer {
  const requestId = randomUUID()
  const body = { request_id: requestId, error_type: 'request_invalid', error_codes: errorCodes }
  return { status, headers: { 'cko-request-id': requestId }, body }
}

function reply(status: number, body: object | undefined): Answer {
  return { status, headers: { 'cko-request-id': randomUUID() }, body }
}
