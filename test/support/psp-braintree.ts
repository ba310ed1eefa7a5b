// A processor that answers like Braintree's gateway (`/merchants/{id}/transactions`): sales by card
// and looking them up. Requests are JSON, as the Node SDK sends them, or XML, as those of the other
// languages do; answers are always XML in the gateway's own dialect (types as attributes), gzipped.
// Outcomes are those of our test cards; Braintree itself chooses them by the amount.

import type { Card, DeclineReason } from './psp-cards.ts'
import {
  declineOf,
  describeCard,
  isExpired,
  numberFault,
  randomDigits,
  randomLetters,
} from './psp-cards.ts'
import type { Answer, Fields, Processor } from './psp-processor.ts'
import { nested, parseJson } from './psp-processor.ts'
import { escapeXml, parseXml, type XmlElement } from './xml.ts'

const DECLINED: Readonly<Record<DeclineReason, readonly [code: string, text: string]>> = {
  generic_decline: ['2000', 'Do Not Honor'],
  insufficient_funds: ['2001', 'Insufficient Funds'],
  fraudulent: ['2014', 'Processor Declined - Fraud Suspected'],
  lost_card: ['2012', 'Processor Declined - Possible Lost Card'],
  stolen_card: ['2013', 'Processor Declined - Possible Stolen Card'],
  expired_card: ['2004', 'Expired Card'],
  incorrect_cvc: ['2010', 'Card Issuer Declined CVV'],
  processing_error: ['3000', 'Processor Network Unavailable - Try Again'],
}

type Value = string | boolean | null | readonly Value[] | { readonly [name: string]: Value }

export const BRAINTREE_PATHS = /^\/merchants\/[a-z0-9_]+\/transactions(\/|$)/

export function createBraintree(): Processor {
  const transactions = new Map<string, Value>()

  return {
    parse,
    cardOf: (fields) => cardFieldsOf(nested(nested(fields, 'transaction'), 'credit_card')),
    unauthorized: () => ({ status: 401, headers: {} }),
    malformed: () => ({ status: 400, headers: {} }),
    answer(call, fields) {
      const id = /\/transactions\/([^/]+)$/.exec(call.path)?.[1]
      if (call.method === 'GET' && id !== undefined) {
        const transaction = transactions.get(id)
        if (transaction === undefined) return { status: 404, headers: {} }
        return reply(200, 'transaction', transaction)
      }
      if (call.method !== 'POST' || id !== undefined) return undefined
      const sale = nested(fields, 'transaction')
      const { errors, onCard } = faultsOf(sale)
      if (errors.length + onCard.length > 0) return reply(422, 'api-error-response', refusal())
      const { id: newId, transaction, declined } = transactionFor(sale)
      transactions.set(newId, transaction)
      if (declined === undefined) return reply(201, 'transaction', transaction)
      const error = { errors: { errors: [] }, params: {}, message: declined, transaction }
      return reply(422, 'api-error-response', error)

      function refusal(): Value {
        const message = [...errors, ...onCard].map((each) => each.message).join('\n')
        const nesting = { errors, 'credit-card': { errors: onCard } }
        return { errors: { errors: [], transaction: nesting }, params: {}, message }
      }
    },
  }
}

function parse(body: Buffer, contentType: string): Fields | undefined {
  if (/^application\/xml\b/.test(contentType)) {
    const root = parseXml(body)
    return root === undefined ? undefined : { [underscored(root.name)]: contentOf(root) }
  }
  return parseJson(body)
}

function contentOf({ children, text }: XmlElement): unknown {
  if (children.length === 0) return text
  return Object.fromEntries(children.map((child) => [underscored(child.name), contentOf(child)]))
}

function underscored(name: string): string {
  return name.replaceAll('-', '_')
}

/** Month and year apart, or together as `MM/YYYY`. */
function cardFieldsOf(card: Fields) {
  const date = /^([^/]*)\/([^/]*)$/.exec(String(card.expiration_date ?? ''))
  return {
    number: card.number,
    expMonth: card.expiration_month ?? date?.[1],
    expYear: card.expiration_year ?? date?.[2],
    cvc: card.cvv,
  }
}

interface ValidationError {
  readonly [name: string]: string
  readonly code: string
  readonly attribute: string
  readonly message: string
}

function faultsOf(sale: Fields): { errors: ValidationError[]; onCard: ValidationError[] } {
  const { number, expMonth, expYear, cvc } = cardFieldsOf(nested(sale, 'credit_card'))
  const numberIs = numberFault(number)
  const month = /^(0?[1-9]|1[0-2])$/.test(String(expMonth)) ? Number(expMonth) : undefined
  const year = /^\d{4}$/.test(String(expYear)) ? Number(expYear) : undefined
  const isPast = month !== undefined && year !== undefined && isExpired(month, year, new Date())
  return {
    errors: select([
      [sale.type !== 'sale', '91501', 'type', 'Transaction type is invalid.'],
      [!isAmount(sale.amount), '81503', 'amount', 'Amount is an invalid format.'],
    ]),
    onCard: select([
      [numberIs === 'missing', '81714', 'number', 'Credit card number is required.'],
      [
        numberIs !== undefined && numberIs !== 'missing',
        '81715',
        'number',
        'Credit card number is invalid.',
      ],
      [month === undefined, '81712', 'expiration_month', 'Expiration month is invalid.'],
      [year === undefined, '81713', 'expiration_year', 'Expiration year is invalid.'],
      [isPast, '81710', 'expiration_date', 'Expiration date is invalid.'],
      [
        cvc !== undefined && !/^\d{3,4}$/.test(String(cvc)),
        '81707',
        'cvv',
        'CVV must be 4 digits for American Express and 3 digits for other card types.',
      ],
    ]),
  }
}

function select(
  rows: readonly (readonly [isBroken: boolean, code: string, attribute: string, message: string])[],
): ValidationError[] {
  return rows.flatMap(([isBroken, code, attribute, message]) =>
    isBroken ? [{ code, attribute, message }] : [],
  )
}

function isAmount(value: unknown): boolean {
  return typeof value === 'string' && /^\d{1,7}(\.\d\d)?$/.test(value)
}

/** Only for a sale that `faultsOf` finds nothing wrong with. */
function transactionFor(sale: Fields) {
  const read = cardFieldsOf(nested(sale, 'credit_card'))
  const card: Card = {
    number: String(read.number),
    expMonth: Number(read.expMonth),
    expYear: Number(read.expYear),
    cvc: read.cvc === undefined ? undefined : String(read.cvc),
  }
  const reason = declineOf(card)
  const [code, text] = reason === undefined ? ['1000', 'Approved'] : DECLINED[reason]
  const { scheme, bin, last4 } = describeCard(card)
  const isSettled = nested(sale, 'options').submit_for_settlement
  const approved = String(isSettled) === 'true' ? 'submitted_for_settlement' : 'authorized'
  const id = randomLetters(8)
  const transaction: Value = {
    id,
    status: reason === undefined ? approved : 'processor_declined',
    type: 'sale',
    'currency-iso-code': 'USD',
    amount: String(sale.amount),
    'order-id': typeof sale.order_id === 'string' ? sale.order_id : null,
    'cvv-response-code': card.cvc === undefined ? 'I' : reason === 'incorrect_cvc' ? 'N' : 'M',
    'processor-authorization-code': reason === undefined ? randomDigits(6) : null,
    'processor-response-code': code,
    'processor-response-text': text,
    'gateway-rejection-reason': null,
    recurring: false,
    'credit-card': {
      token: null,
      bin,
      'last-4': last4,
      'card-type': scheme === 'Mastercard' ? 'MasterCard' : scheme,
      'expiration-month': String(card.expMonth).padStart(2, '0'),
      'expiration-year': String(card.expYear),
    },
  }
  return { id, transaction, declined: reason === undefined ? undefined : text }
}

function reply(status: number, root: string, value: Value): Answer {
  const xml = `<?xml version="1.0" encoding="UTF-8"?>\n${element(root, value)}\n`
  return { status, headers: { 'Content-Type': 'application/xml; charset=utf-8' }, xml }
}

function element(name: string, value: Value): string {
  if (value === null) return `<${name} nil="true"/>`
  if (typeof value === 'boolean') return `<${name} type="boolean">${value}</${name}>`
  if (typeof value === 'string') return `<${name}>${escapeXml(value)}</${name}>`
  if (isList(value)) {
    const items = value.map((item) => element(name.slice(0, -1), item))
    return `<${name} type="array">${items.join('')}</${name}>`
  }
  const children = Object.entries(value).map((entry) => element(...entry))
  return `<${name}>${children.join('')}</${name}>`
}

/** Array.isArray() does not tell a readonly array from an object. */
function isList(value: Value): value is readonly Value[] {
  return Array.isArray(value)
}
