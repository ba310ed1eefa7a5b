// The columns of an import, which are the names in an export: one list for CSV headers, NDJSON objects and `--help`.

/** Each with what it holds, as the help says it. */
export const COLUMNS = {
  id: "the old vault's id of the card; goes to the mapping file (required)",
  card_number: '12 to 19 digits that pass Luhn; blanks and dashes are ignored (required)',
  card_exp_month: '1 to 12 (required)',
  card_exp_year: 'two or four digits (required)',
  card_holder_name: 'up to 255 characters',
  nick_name: 'up to 255 characters',
  card_network: 'letters; found out from the number where it is not said',
  card_issuer: 'up to 255 characters',
  card_type: 'letters, like credit',
  card_issuing_country: 'letters',
  payment_method_subtype: 'lower-case letters, like credit',
  customer_reference:
    "the merchant's own reference of the customer, who is found by it or made (this or customer_id)",
  customer_id: 'of a customer here, or where it comes from: one who is not here is made with it',
  customer_name: 'of a customer that is made',
  customer_email: 'of a customer that is made',
  customer_phone: 'of a customer that is made',
  customer_phone_country_code: 'of a customer that is made',
  customer_description: 'of a customer that is made',
  customer_billing: 'JSON object: default billing address of a customer that is made',
  customer_shipping: 'JSON object: default shipping address of a customer that is made',
  customer_metadata: 'JSON object, of a customer that is made',
  billing_first_name: 'billing.address.first_name',
  billing_last_name: 'billing.address.last_name',
  billing_line1: 'billing.address.line1',
  billing_line2: 'billing.address.line2',
  billing_line3: 'billing.address.line3',
  billing_city: 'billing.address.city',
  billing_state: 'billing.address.state',
  billing_zip: 'billing.address.zip',
  billing_country: 'billing.address.country',
  billing_phone: 'billing.phone.number',
  billing_phone_country_code: 'billing.phone.country_code',
  billing_email: 'billing.email',
  billing: 'JSON object: the whole billing address, instead of the columns above',
  network_transaction_id:
    'under which the card network knows the first payment; one that is known stays',
  metadata: 'JSON object',
} as const

export type Column = keyof typeof COLUMNS

/** Every column but the number, whose value never becomes a string. */
export type TextColumn = Exclude<Column, 'card_number'>

const NAMES: ReadonlySet<string> = new Set(Object.keys(COLUMNS))

export function isColumn(name: string): name is Column {
  return NAMES.has(name)
}

const MAX_NAME_DIGITS = 5
const MAX_NAME_BYTES = 256

/** It has more digits than a name of a column: where that stands in its place nothing of it is read or repeated. */
export function couldBeValue(name: Buffer): boolean {
  const digits = name.reduce((count, byte) => count + (byte >= 0x30 && byte <= 0x39 ? 1 : 0), 0)
  return digits > MAX_NAME_DIGITS || name.length > MAX_NAME_BYTES
}

export function columnsHelp(): string {
  const width = Math.max(...Object.keys(COLUMNS).map((name) => name.length))
  const lines = Object.entries(COLUMNS).map(([name, text]) => `  ${name.padEnd(width)}  ${text}`)
  return lines.join('\n')
}

const CODE_NAME =
  /^(card)?(cvc2?|cvv2?|cvn2?|cav2|cvd|(card)?(security|verification)(code|value|number)|pinblock|track[12](data)?|trackdata)$/
/** Names that may mean something else where they are not those of a column of cards. */
const CODE_COLUMN = /^(card)?(csc|cid|cav|pin|track|magstripe)$/

const joined = (name: string) => name.toLowerCase().replaceAll(/[^a-z0-9]/g, '')

/**
 * Is that the name of a verification code, track data or a PIN, as other vaults call them? They must not be kept after
 * an authorization, even encrypted (PCI DSS 3.3.1), so such a column is refused whatever else was asked for.
 */
export function isSensitiveColumn(name: string): boolean {
  return isSensitiveName(name) || CODE_COLUMN.test(joined(name))
}

/** The same inside metadata, where only the plain names count. */
export function isSensitiveName(name: string): boolean {
  return CODE_NAME.test(joined(name))
}
