// What a body says of a customer, checked beyond its schema: texts, free JSON, the merchant's own reference. In the names
// of the one API and the other.

import { invalidField } from '../../core/errors.ts'
import { parseCustomerId } from '../../core/ids.ts'
import { cleanText, expectNoCardNumber } from '../clean-text.ts'

const TEXTS = ['name', 'email', 'description'] as const
const FREE = [
  'phone',
  'default_billing_address',
  'default_shipping_address',
  'address',
  'metadata',
] as const
const REFERENCES = ['merchant_reference_id', 'customer_id'] as const

type Said = {
  readonly [Name in (typeof TEXTS | typeof REFERENCES)[number]]?: string | undefined
} & {
  readonly [Name in (typeof FREE)[number]]?: unknown
}

/** TypeBox's optional properties may be undefined; in JSON nothing is. */
type Defined<T> = { [Name in keyof T]: Exclude<T[Name], undefined> }

/** Answers with what is said. Throws `invalid_value`. */
export function expectCleanDetails<T extends Said>(said: T): Defined<T> {
  for (const field of TEXTS) cleanText(field, said[field])
  for (const field of FREE) expectNoCardNumber(field, said[field])
  for (const field of REFERENCES) {
    // Where either may stand it would be taken for the customer who has that id.
    if (parseCustomerId(said[field] ?? '') !== undefined) throw invalidField('invalid_value', field)
  }
  return said as Defined<T>
}
