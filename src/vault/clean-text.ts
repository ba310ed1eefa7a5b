// Names and other short texts that are stored to be shown.

import { holdsCardNumber } from '../core/card-number.ts'
import { invalidField } from '../core/errors.ts'

const CONTROL_CHARACTER = /\p{Cc}/u

/** Null when nothing was said. Throws `invalid_value` for what is no plain text, or could be a card number. */
export function cleanText(field: string, text: string | undefined): string | null {
  if (text === undefined) return null
  if (CONTROL_CHARACTER.test(text) || !text.isWellFormed() || holdsCardNumber(text))
    throw invalidField('invalid_value', field)
  return text
}
