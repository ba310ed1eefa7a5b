// What is stored to be shown: names and other short texts, and JSON of any shape.

import { holdsCardNumber, jsonHoldsCardNumber } from '../core/card-number.ts'
import { invalidField } from '../core/errors.ts'

const CONTROL_CHARACTER = /\p{Cc}/u

/** Null when nothing was said. Throws `invalid_value` for what is no plain text, or could be a card number. */
export function cleanText(field: string, text: string | undefined): string | null {
  if (text === undefined) return null
  if (CONTROL_CHARACTER.test(text) || !text.isWellFormed() || holdsCardNumber(text))
    throw invalidField('invalid_value', field)
  return text
}

/**
 * Answers with `json`. Throws `invalid_value` when a whole card number stands anywhere in it. Order numbers and the like may
 * be as long: in a name, which is none of those, `cleanText` looks more closely.
 */
export function expectNoCardNumber<T>(field: string, json: T): T {
  if (jsonHoldsCardNumber(json)) throw invalidField('invalid_value', field)
  return json
}
