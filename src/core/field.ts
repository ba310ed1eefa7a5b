// What a placeholder can name, and a destination allow: a field of a card, its expiry as one date, or a path into a
// generic token.

import { type CardField, parseCardField } from './card-fields.ts'
import { type JsonPath, parseJsonPath } from './json-path.ts'

/** Month and year in one, by `format`. */
export const EXPIRY_FIELD = 'card_exp'

export type Field = CardField | typeof EXPIRY_FIELD | JsonPath

/** What `card_exp` is made of, and is allowed with. */
export const EXPIRY_PARTS = ['card_exp_month', 'card_exp_year'] as const

export function parseField(text: string): Field | undefined {
  if (text === EXPIRY_FIELD) return EXPIRY_FIELD
  return text.startsWith('$') ? parseJsonPath(text) : parseCardField(text)
}

export function isJsonPath(field: Field): field is JsonPath {
  return field.startsWith('$')
}
