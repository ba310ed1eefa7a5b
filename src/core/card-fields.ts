// The fields of a stored payment method that a placeholder can name, and how a set of them is written down (one bit
// each). `vault/` stores and reveals them, `proxy/` parses and places them; both speak these names. Most methods are cards;
// bank accounts and wallets have the last six.

/** Stored, in the order of their tags in the sealed record. Tags are storage format: append, never reorder. */
export const STORED_FIELDS = [
  'card_number',
  'card_exp_month',
  'card_exp_year',
  'card_holder_name',
  'nick_name',
  'card_network',
  'card_issuer',
  'card_type',
  'card_issuing_country',
  'iban',
  'account_number',
  'routing_number',
  'account_holder_name',
  'wallet_email',
  'wallet_token',
] as const

/** Made from the number when they are revealed. */
export const DERIVED_FIELDS = ['card_bin', 'card_bin8', 'card_last4'] as const

/** Kept apart from the card, under a short-lived key, used once. */
export const CVC_FIELD = 'card_cvc'

export const CARD_FIELDS = [...STORED_FIELDS, ...DERIVED_FIELDS, CVC_FIELD] as const

export type StoredField = (typeof STORED_FIELDS)[number]
export type CardField = (typeof CARD_FIELDS)[number]

/** A set of fields, one bit each. */
export type FieldSet = number

// Bits are storage format, too: a new field gets the next free one, wherever it stands in the lists above.
const BITS: ReadonlyMap<string, FieldSet> = new Map(
  Object.entries({
    card_number: 1 << 0,
    card_exp_month: 1 << 1,
    card_exp_year: 1 << 2,
    card_holder_name: 1 << 3,
    nick_name: 1 << 4,
    card_network: 1 << 5,
    card_issuer: 1 << 6,
    card_type: 1 << 7,
    card_issuing_country: 1 << 8,
    card_bin: 1 << 9,
    card_bin8: 1 << 10,
    card_last4: 1 << 11,
    card_cvc: 1 << 12,
    iban: 1 << 13,
    account_number: 1 << 14,
    routing_number: 1 << 15,
    account_holder_name: 1 << 16,
    wallet_email: 1 << 17,
    wallet_token: 1 << 18,
  } satisfies Record<CardField, FieldSet>),
)

export function parseCardField(name: string): CardField | undefined {
  return BITS.has(name) ? (name as CardField) : undefined
}

export function fieldBit(field: CardField): FieldSet {
  return BITS.get(field) as number
}

export function hasField(set: FieldSet, field: CardField): boolean {
  return (set & fieldBit(field)) !== 0
}

export function fieldsIn(set: FieldSet): readonly CardField[] {
  return CARD_FIELDS.filter((field) => hasField(set, field))
}

/** Plaintext of one payment method. Fields are parts of Buffers that `wipe` overwrites; use nothing of it afterwards. */
export interface RevealedCard {
  field(name: CardField): Uint8Array | undefined
  wipe(): void
}
