// A processor that answers like Stripe's v1 API, as far as a card payment goes: payment methods,
// tokens, payment intents confirmed at once, and charges. No customers, no expansion, no webhooks.

import type { Card, DeclineReason } from './psp-cards.ts'
import {
  DECLINES,
  declineOf,
  describeCard,
  isExpired,
  numberFault,
  randomLetters,
} from './psp-cards.ts'
import type { Answer, Call, Fields, Processor } from './psp-processor.ts'
import { nested } from './psp-processor.ts'

type PaymentMethod = ReturnType<typeof paymentMethodFor>
type Money = { amount: number; currency: string }
type FormFields = { [name: string]: string | FormFields }

const INVALID_REQUEST = 'invalid_request_error'

export function createStripe(): Processor {
  const methods = new Map<string, { method: PaymentMethod; card: Card }>()
  const tokens = new Map<string, { card: Card; used: boolean }>()
  const intents = new Map<string, object>()

  function createMethod(cardFields: Fields) {
    const card = parseCard(cardFields)
    const made = { method: paymentMethodFor(card), card }
    methods.set(made.method.id, made)
    return made
  }

  function methodFor(fields: Fields) {
    const id = fields.payment_method
    if (fields.payment_method_data !== undefined) {
      return createMethod(nested(nested(fields, 'payment_method_data'), 'card'))
    }
    if (id === undefined) return undefined
    const made = methods.get(String(id))
    if (made === undefined) throw notFound(400, 'payment_method', 'No such PaymentMethod.')
    return made
  }

  function createToken(fields: Fields) {
    const card = parseCard(nested(fields, 'card'))
    const token = tokenFor(card)
    tokens.set(token.id, { card, used: false })
    return token
  }

  function createIntent(fields: Fields) {
    const money = moneyOf(fields)
    const paying = methodFor(fields)
    const isManual = fields.capture_method === 'manual'
    const intent = intentFor(money, paying?.method.id ?? null, isManual)
    if (fields.confirm !== 'true') return remember(intent)
    if (paying === undefined) throw missing('payment_method')

    const { method, card } = paying
    const links = { payment_method: method.id, payment_intent: intent.id }
    const charge = { ...chargeFor(card, money, !isManual), ...links }
    const reason = declineOf(card)
    if (reason !== undefined) {
      const error = { ...declineError(reason, charge.id), payment_method: method }
      const failed = { status: 'requires_payment_method', payment_method: null }
      const trace = { latest_charge: charge.id, last_payment_error: error }
      const payment_intent = remember({ ...intent, ...failed, ...trace })
      throw new StripeFault(402, { ...error, payment_intent })
    }
    const outcome = isManual
      ? { status: 'requires_capture', amount_capturable: money.amount }
      : { status: 'succeeded', amount_received: money.amount }
    return remember({ ...intent, ...outcome, latest_charge: charge.id })
  }

  function remember(intent: ReturnType<typeof intentFor>) {
    intents.set(intent.id, intent)
    return intent
  }

  function createCharge(fields: Fields) {
    const money = moneyOf(fields)
    const token = tokens.get(String(fields.source))
    if (token === undefined) throw notFound(400, 'source', 'No such token.')
    if (token.used) {
      throw invalid('token_already_used', 'source', 'You cannot use a Stripe token more than once.')
    }
    token.used = true
    const charge = chargeFor(token.card, money, fields.capture !== 'false')
    const reason = declineOf(token.card)
    if (reason !== undefined) throw new StripeFault(402, declineError(reason, charge.id))
    return charge
  }

  function retrieveIntent(id: string) {
    const intent = intents.get(id)
    if (intent === undefined) throw notFound(404, 'intent', 'No such payment_intent.')
    return intent
  }

  function objectFor(call: Call, fields: Fields): object | undefined {
    const intentId = /^\/v1\/payment_intents\/([^/]+)$/.exec(call.path)?.[1]
    if (call.method === 'GET') return intentId === undefined ? undefined : retrieveIntent(intentId)
    if (call.method !== 'POST') return undefined
    switch (call.path) {
      case '/v1/payment_methods':
        if (fields.type !== 'card') throw missing('type')
        return createMethod(nested(fields, 'card')).method
      case '/v1/tokens':
        return createToken(fields)
      case '/v1/payment_intents':
        return createIntent(fields)
      case '/v1/charges':
        return createCharge(fields)
      default:
        return undefined
    }
  }

  return {
    idempotencyHeader: 'idempotency-key',
    parse: parseForm,
    cardOf(fields) {
      const data = fields.card === undefined ? nested(fields, 'payment_method_data') : fields
      const { number, exp_month, exp_year, cvc } = nested(data, 'card')
      return { number, expMonth: exp_month, expYear: exp_year, cvc }
    },
    unauthorized: (call) =>
      reply(call, 401, { error: { message: 'Invalid API Key provided.', type: INVALID_REQUEST } }),
    malformed: (call) =>
      reply(call, 400, { error: { message: 'Invalid request body.', type: INVALID_REQUEST } }),
    keyReused(call) {
      const message = 'An idempotency key goes with the parameters it was first used with.'
      return reply(call, 400, { error: { message, type: 'idempotency_error' } })
    },
    answer(call, fields) {
      try {
        const object = objectFor(call, fields)
        return object === undefined ? undefined : reply(call, 200, object)
      } catch (error) {
        if (!(error instanceof StripeFault)) throw error
        return reply(call, error.status, { error: error.detail })
      }
    },
  }
}

class StripeFault extends Error {
  readonly status: number
  readonly detail: object
  constructor(status: number, detail: object) {
    super('stripe fault')
    this.status = status
    this.detail = detail
  }
}

/** Stripe's bracket nesting; a form that does not mean one thing only is malformed. */
function parseForm(body: Buffer, contentType: string): Fields | undefined {
  const text = body.toString('utf8')
  if (text !== '' && !contentType.startsWith('application/x-www-form-urlencoded')) return undefined
  // URLSearchParams reads a broken escape as text; Stripe refuses it.
  if (/%(?![0-9a-f]{2})/i.test(text)) return undefined
  const root = emptyForm()
  for (const [key, value] of new URLSearchParams(text)) {
    const nesting = /^([^[\]]+)((?:\[[^[\]]*\])*)$/.exec(key)
    if (nesting === null) return undefined
    const [, first = '', rest = ''] = nesting
    const path = [first, ...Array.from(rest.matchAll(/\[([^\]]*)\]/g), (match) => match[1] ?? '')]
    const last = path.pop() ?? ''
    let parent = root
    for (const name of path) {
      parent[name] ??= emptyForm()
      const child = parent[name]
      if (typeof child === 'string') return undefined
      parent = child
    }
    const name = last === '' ? String(Object.keys(parent).length) : last
    if (typeof parent[name] === 'object') return undefined
    parent[name] = value
  }
  return root
}

// Without a prototype, so that a field named __proto__ is a field.
function emptyForm(): FormFields {
  return Object.create(null)
}

function parseCard(data: Fields): Card {
  const { number, cvc } = data
  const expMonth = Number(data.exp_month)
  const shortYear = Number(data.exp_year)
  const expYear = shortYear < 100 ? 2000 + shortYear : shortYear
  const now = new Date()
  switch (numberFault(number)) {
    case 'missing':
      throw missing('card[number]')
    case 'not_digits':
      throw cardFault('invalid_number', 'number', 'Your card number is not a valid card number.')
    case 'check_digit':
      throw cardFault('incorrect_number', 'number', 'Your card number is incorrect.')
  }
  if (!Number.isInteger(expYear) || expYear < now.getUTCFullYear() || expYear > 2100) {
    throw cardFault('invalid_expiry_year', 'exp_year', "Your card's expiration year is invalid.")
  }
  const isMonth = Number.isInteger(expMonth) && expMonth >= 1 && expMonth <= 12
  if (!isMonth || isExpired(expMonth, expYear, now)) {
    throw cardFault('invalid_expiry_month', 'exp_month', "Your card's expiration month is invalid.")
  }
  if (cvc !== undefined && !/^\d{3,4}$/.test(String(cvc))) {
    throw cardFault('invalid_cvc', 'cvc', "Your card's security code is invalid.")
  }
  return { number: String(number), expMonth, expYear, cvc: cvc === undefined ? cvc : String(cvc) }
}

function moneyOf(fields: Fields): Money {
  const { amount, currency } = fields
  if (amount === undefined) throw missing('amount')
  if (currency === undefined) throw missing('currency')
  if (typeof amount !== 'string' || !/^\d{1,8}$/.test(amount) || Number(amount) === 0) {
    throw invalid('parameter_invalid_integer', 'amount', 'This value must be a positive integer.')
  }
  if (typeof currency !== 'string' || !/^[a-z]{3}$/i.test(currency)) {
    throw invalid('parameter_invalid_string', 'currency', 'Invalid currency.')
  }
  return { amount: Number(amount), currency: currency.toLowerCase() }
}

function paymentMethodFor(card: Card) {
  return {
    ...objectHead('pm', 'payment_method'),
    billing_details: { address: null, email: null, name: null, phone: null },
    card: cardDetails(card),
    customer: null,
    metadata: {},
    type: 'card',
  }
}

function tokenFor(card: Card) {
  const { brand, ...details } = cardDetails(card)
  return {
    ...objectHead('tok', 'token'),
    // The older API writes brands out, as on the card, where payment methods have codes.
    card: { id: newId('card'), object: 'card', brand: describeCard(card).scheme, ...details },
    type: 'card',
    used: false,
  }
}

function intentFor({ amount, currency }: Money, method: string | null, isManual: boolean) {
  const head = objectHead('pi', 'payment_intent')
  return {
    ...head,
    amount,
    amount_capturable: 0,
    amount_received: 0,
    capture_method: isManual ? 'manual' : 'automatic',
    client_secret: `${head.id}_secret_${randomLetters(24)}`,
    confirmation_method: 'automatic',
    currency,
    customer: null,
    last_payment_error: null as object | null,
    latest_charge: null as string | null,
    metadata: {},
    next_action: null,
    payment_method: method,
    payment_method_types: ['card'],
    status: method === null ? 'requires_payment_method' : 'requires_confirmation',
  }
}

function chargeFor(card: Card, { amount, currency }: Money, isCaptured: boolean) {
  const reason = declineOf(card)
  const decline = reason === undefined ? undefined : DECLINES[reason]
  const captured = isCaptured && decline === undefined
  return {
    ...objectHead('ch', 'charge'),
    amount,
    amount_captured: captured ? amount : 0,
    amount_refunded: 0,
    captured,
    currency,
    failure_code: decline?.stripeCode ?? null,
    failure_message: decline?.stripeMessage ?? null,
    metadata: {},
    outcome: {
      network_status: decline === undefined ? 'approved_by_network' : 'declined_by_network',
      reason: reason ?? null,
      risk_level: 'normal',
      type: decline === undefined ? 'authorized' : 'issuer_declined',
    },
    paid: decline === undefined,
    payment_intent: null,
    payment_method: null,
    payment_method_details: { card: cardDetails(card), type: 'card' },
    refunded: false,
    status: decline === undefined ? 'succeeded' : 'failed',
  }
}

function cardDetails(card: Card) {
  const { brand, last4, fingerprint } = describeCard(card)
  const cvcCheck = declineOf(card) === 'incorrect_cvc' ? 'fail' : 'pass'
  return {
    brand,
    checks: { cvc_check: card.cvc === undefined ? null : cvcCheck },
    country: 'US',
    exp_month: card.expMonth,
    exp_year: card.expYear,
    fingerprint: fingerprint.slice(0, 16),
    funding: 'credit',
    last4,
  }
}

function declineError(reason: DeclineReason, charge: string) {
  const { stripeCode, stripeMessage } = DECLINES[reason]
  return {
    charge,
    code: stripeCode,
    decline_code: reason,
    doc_url: `https://stripe.com/docs/error-codes/${stripeCode.replaceAll('_', '-')}`,
    message: stripeMessage,
    type: 'card_error',
  }
}

function cardFault(code: string, param: string, message: string): StripeFault {
  return new StripeFault(402, { code, message, param, type: 'card_error' })
}

function invalid(code: string, param: string, message: string): StripeFault {
  return new StripeFault(400, { code, message, param, type: INVALID_REQUEST })
}

function missing(param: string): StripeFault {
  return invalid('parameter_missing', param, `Missing required param: ${param}.`)
}

function notFound(status: 400 | 404, param: string, message: string): StripeFault {
  const detail = { code: 'resource_missing', message, param, type: INVALID_REQUEST }
  return new StripeFault(status, detail)
}

function objectHead<Kind extends string>(prefix: string, object: Kind) {
  return { id: newId(prefix), object, created: Math.floor(Date.now() / 1000), livemode: false }
}

function newId(prefix: string): string {
  return `${prefix}_${randomLetters(24)}`
}

function reply(call: Call, status: number, body: object): Answer {
  const asked = call.headers['stripe-version'] ?? ''
  const version = /^\d{4}-\d\d-\d\d(\.[a-z]+)?$/.test(asked) ? asked : '2026-10-28.endive'
  const headers = { 'request-id': `req_${randomLetters(14)}`, 'stripe-version': version }
  return { status, headers, body }
}
