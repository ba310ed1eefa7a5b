// What a row says, checked value by value against what the API takes: a card to store, or the first thing that is wrong.

import {
  type CardDigits,
  holdsCardNumber,
  holdsIssuedCardNumber,
  jsonHoldsCardNumber,
  parseCardNumber,
} from '../core/card-number.ts'
import { type Expiry, isExpired, parseExpiry } from '../core/expiry.ts'
import { type CustomerId, parseCustomerId, parsePaymentMethodId } from '../core/ids.ts'
import type { JsonObject } from '../core/json.ts'
import { isJson } from '../core/json-check.ts'
import { type Column, isSensitiveName, type TextColumn } from './columns.ts'
import { MAX_JSON_DEPTH } from './ndjson.ts'
import type { Row, RowProblem, RowReason } from './row.ts'

/** By the merchant's own reference, or by the id that the customer has, or had where it comes from. */
export type CustomerName =
  | { readonly by: 'id'; readonly value: CustomerId }
  | { readonly by: 'reference'; readonly value: string }

export type CustomerOfRow = {
  readonly named: CustomerName
  /** For a customer that is made. */
  readonly details: CustomerOfImport
}

export type CustomerOfImport = {
  readonly name: string | null
  readonly email: string | null
  readonly phone: string | null
  readonly phone_country_code: string | null
  readonly description: string | null
  readonly default_billing_address: JsonObject | null
  readonly default_shipping_address: JsonObject | null
  readonly metadata: JsonObject | null
}

export type CardOfRow = {
  /** A part of the row's Buffer. */
  readonly number: CardDigits
  readonly expiry: Expiry
  readonly description: {
    readonly card_holder_name: string | null
    readonly nick_name: string | null
    readonly card_network: string | null
    readonly card_issuer: string | null
    readonly card_type: string | null
    readonly card_issuing_country: string | null
  }
  readonly subtype: string | null
  readonly customer: CustomerOfRow
  readonly billing: JsonObject | null
  readonly metadata: JsonObject | null
  readonly networkTransactionId: string | undefined
}

export type CheckedRow =
  | { readonly kind: 'card'; readonly card: CardOfRow }
  | { readonly kind: 'bad'; readonly problem: RowProblem }

export type RowRules = { readonly nowMs: number; readonly takesExpired: boolean }

const MAX_ID = 255
/** What `parseCardNumber` is shown: 19 digits with a blank or dash between any two. */
const MAX_NUMBER_BYTES = 40

/**
 * The `id` of a row as files and reports may hold it: empty for one that could be a card number, or is none. Those that an
 * export has are ours, with digits by chance.
 */
export function shownId(row: Row): string {
  const id = row.values.id
  if (typeof id !== 'string' || id.length > MAX_ID || !isPlain(id)) return ''
  return parsePaymentMethodId(id) === undefined && holdsCardNumber(id) ? '' : id
}

/** The number's Buffer stays the row's; its blanks are stripped in place. */
export function checkRow(row: Row, rules: RowRules): CheckedRow {
  if (row.problem !== undefined) return { kind: 'bad', problem: row.problem }
  try {
    return { kind: 'card', card: readCard(row, rules) }
  } catch (error) {
    if (error instanceof BadValue) return { kind: 'bad', problem: error.problem }
    throw error
  }
}

class BadValue extends Error {
  readonly problem: RowProblem

  constructor(field: Column, reason: RowReason) {
    super(reason)
    this.problem = { field, reason }
  }
}

function readCard(row: Row, { nowMs, takesExpired }: RowRules): CardOfRow {
  const { values } = row
  const text = (column: TextColumn, rule: TextRule = NAME) => readText(values[column], column, rule)
  const json = (column: TextColumn) => readJson(values[column], column)
  const needed = (column: TextColumn, value: string | null): string => {
    if (value === null) throw new BadValue(column, 'missing')
    return value
  }
  // It may be a number itself, and is then left out where it would be shown.
  needed('id', text('id', { max: MAX_ID, mayBeNumber: true }))
  const number = readNumber(row.number)
  const month = needed('card_exp_month', dateText(values.card_exp_month, 'card_exp_month'))
  const year = needed('card_exp_year', dateText(values.card_exp_year, 'card_exp_year'))
  if (parseExpiry(month, '2000') === undefined) throw new BadValue('card_exp_month', 'not_a_month')
  const expiry = parseExpiry(month, year)
  if (expiry === undefined) throw new BadValue('card_exp_year', 'not_a_year')
  if (!takesExpired && isExpired(expiry, nowMs)) throw new BadValue('card_exp_year', 'expired')
  const transactionId = text('network_transaction_id', TRANSACTION_ID)
  if (transactionId !== null && holdsIssuedCardNumber(Buffer.from(transactionId))) {
    throw new BadValue('network_transaction_id', 'could_be_card_number')
  }
  return {
    number,
    expiry,
    description: {
      card_holder_name: text('card_holder_name'),
      nick_name: text('nick_name'),
      card_network: text('card_network', NETWORK),
      card_issuer: text('card_issuer'),
      card_type: text('card_type', TYPE),
      card_issuing_country: text('card_issuing_country', COUNTRY),
    },
    subtype: text('payment_method_subtype', SUBTYPE),
    customer: readCustomer(text, json),
    billing: readBilling(text, json),
    metadata: json('metadata'),
    networkTransactionId: transactionId ?? undefined,
  }
}

type Text = (column: TextColumn, rule?: TextRule) => string | null
type ReadObject = (column: TextColumn) => JsonObject | null

function readCustomer(text: Text, json: ReadObject): CustomerOfRow {
  return {
    named: readCustomerName(text),
    details: {
      name: text('customer_name'),
      email: text('customer_email', { min: 3, max: 255 }),
      phone: readPhone(text, 'customer_phone'),
      phone_country_code: text('customer_phone_country_code', { max: 8 }),
      description: text('customer_description'),
      default_billing_address: json('customer_billing'),
      default_shipping_address: json('customer_shipping'),
      metadata: json('customer_metadata'),
    },
  }
}

function readCustomerName(text: Text): CustomerName {
  const reference = text('customer_reference', REFERENCE)
  if (reference !== null) {
    // As in the API: where either may stand it would be taken for the customer who has that id.
    if (parseCustomerId(reference) !== undefined) {
      throw new BadValue('customer_reference', 'not_allowed')
    }
    return { by: 'reference', value: reference }
  }
  const id = text('customer_id', { max: 64, mayBeNumber: true })
  if (id === null) throw new BadValue('customer_reference', 'missing')
  const parsed = parseCustomerId(id)
  if (parsed === undefined) throw new BadValue('customer_id', 'not_found')
  return { by: 'id', value: parsed }
}

/** In the shape of a billing address of the API: members that were not said are not there. */
function readBilling(text: Text, json: ReadObject): JsonObject | null {
  const whole = json('billing')
  const address = saidOf({
    first_name: text('billing_first_name'),
    last_name: text('billing_last_name'),
    line1: text('billing_line1'),
    line2: text('billing_line2'),
    line3: text('billing_line3'),
    city: text('billing_city'),
    state: text('billing_state'),
    zip: text('billing_zip'),
    country: text('billing_country'),
  })
  const phone = saidOf({
    number: readPhone(text, 'billing_phone'),
    country_code: text('billing_phone_country_code', { max: 8 }),
  })
  const parts = saidOf({ address, phone, email: text('billing_email') })
  if (whole !== null && parts !== null) throw new BadValue('billing', 'not_allowed')
  return whole ?? parts
}

/** Of 14 digits and more there are hardly any. */
function readPhone(text: Text, column: TextColumn): string | null {
  const phone = text(column, { max: 32, mayBeNumber: true })
  if (jsonHoldsCardNumber(phone)) throw new BadValue(column, 'could_be_card_number')
  return phone
}

function saidOf(members: JsonObject): JsonObject | null {
  const said = Object.entries(members).filter(([, value]) => value !== null)
  return said.length === 0 ? null : Object.fromEntries(said)
}

function readNumber(number: Buffer | undefined): CardDigits {
  if (number === undefined) throw new BadValue('card_number', 'missing')
  const digits = number.length > MAX_NUMBER_BYTES ? undefined : parseCardNumber(number)
  if (digits === undefined) throw new BadValue('card_number', 'not_a_card_number')
  return digits
}

type TextRule = {
  readonly min?: number
  readonly max: number
  readonly pattern?: RegExp
  /** Merchants and networks use long numbers here, of which every tenth passes Luhn. */
  readonly mayBeNumber?: boolean
}

// The rules of the API's schemas.
const NAME: TextRule = { max: 255 }
/** With digits, as tables of BINs may call one. */
const NETWORK: TextRule = { max: 32, pattern: /^[A-Za-z][A-Za-z0-9]{1,31}$/ }
const TYPE: TextRule = { max: 32, pattern: /^[A-Za-z_ ]{1,32}$/ }
const COUNTRY: TextRule = { max: 64, pattern: /^[A-Za-z ]{2,64}$/ }
const SUBTYPE: TextRule = { max: 32, pattern: /^[a-z_]{1,32}$/ }
const REFERENCE: TextRule = { max: 64, pattern: /^[A-Za-z0-9_.:@-]{1,64}$/, mayBeNumber: true }
/** Visa's have 15 digits: only what a network issues as a card number is none. */
const TRANSACTION_ID: TextRule = { max: 255, pattern: /^[\x20-\x7e]+$/, mayBeNumber: true }

function readText(value: unknown, column: TextColumn, rule: TextRule): string | null {
  if (value === undefined) return null
  if (typeof value !== 'string') throw new BadValue(column, 'not_allowed')
  if (value.length > rule.max && [...value].length > rule.max)
    throw new BadValue(column, 'too_long')
  const isAllowed = isPlain(value) && (rule.pattern?.test(value) ?? true)
  if (!isAllowed || value.length < (rule.min ?? 1)) throw new BadValue(column, 'not_allowed')
  if (rule.mayBeNumber !== true && holdsCardNumber(value)) {
    throw new BadValue(column, 'could_be_card_number')
  }
  return value
}

function isPlain(text: string): boolean {
  return !/\p{Cc}/u.test(text) && text.isWellFormed()
}

/** NDJSON may say them as numbers. */
function dateText(value: unknown, column: TextColumn): string | null {
  return readText(typeof value === 'number' ? String(value) : value, column, { max: 4 })
}

/** CSV says it as text. */
function readJson(value: unknown, column: TextColumn): JsonObject | null {
  if (value === undefined) return null
  const object = typeof value === 'string' ? parseJson(value) : value
  if (typeof object !== 'object' || object === null || Array.isArray(object)) {
    throw new BadValue(column, 'not_a_json_object')
  }
  if (namesSensitive(object)) throw new BadValue(column, 'sensitive_data')
  if (jsonHoldsCardNumber(object)) throw new BadValue(column, 'could_be_card_number')
  return object as JsonObject
}

function parseJson(text: string): unknown {
  return isJson(Buffer.from(text), MAX_JSON_DEPTH) ? JSON.parse(text) : undefined
}

/** A code does not become something else by standing in the metadata. */
function namesSensitive(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  return Object.entries(value).some(
    ([name, inner]) => isSensitiveName(name) || namesSensitive(inner),
  )
}
