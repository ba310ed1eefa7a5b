// Texts of a customer that are shown, checked.

import { cleanText } from '../clean-text.ts'
import type { CustomerDetails } from './customers.ts'

type Said = { readonly [Name in keyof CustomerDetails]?: CustomerDetails[Name] | undefined }

/** What the body says; TypeBox's optional properties may be undefined, ours may not. Throws `invalid_value`. */
export function expectCleanTexts(body: Said): Partial<CustomerDetails> {
  for (const field of ['name', 'email', 'description'] as const) {
    cleanText(field, body[field] ?? undefined)
  }
  return body as Partial<CustomerDetails>
}
