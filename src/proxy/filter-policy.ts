// Which filters may stand on which field, so that neither a refusal nor an answer tells what a caller may not see. A `map`
// without a key for the value refuses the request, and a piece or a hash of a number that comes back in an answer cannot
// be masked without telling whether it was guessed right. A destination may lift this for a field (`"filters": "any"`).

import type { Field } from '../core/field.ts'
import type { Filter } from './filter.ts'

type Kind = Filter['kind']

/** What everybody may see of a number (PCI DSS 3.4.1). */
const BIN = 6
const LAST = 4

/** Closed lists, the same for everybody. */
const MAPPABLE: ReadonlySet<Field> = new Set<Field>([
  'card_network',
  'card_issuer',
  'card_type',
  'card_issuing_country',
])

/** Nobody may see any part of them. */
const WHOLE_ONLY: ReadonlySet<Field> = new Set<Field>([
  'card_cvc',
  'iban',
  'account_number',
  'wallet_token',
])

/** They write the value as a format wants it. */
const WRITING: ReadonlySet<Kind> = new Set<Kind>(['json', 'string', 'urlencode', 'default'])
/** They leave digits as they are. */
const PLAIN: ReadonlySet<Kind> = new Set<Kind>(['upper', 'lower', 'digits', 'number', ...WRITING])
/** At most one of them: the leak guard knows a number that was encoded once. */
const ENCODING: ReadonlySet<Kind> = new Set<Kind>(['base64', 'base64url', 'hex', 'sha256', 'mask'])

/** The filter that may not stand there. */
export function refusedFilter(field: Field, filters: readonly Filter[]): Kind | undefined {
  if (field === 'card_number') return refusedOfNumber(filters)
  if (WHOLE_ONLY.has(field)) return filters.find(({ kind }) => !PLAIN.has(kind))?.kind
  return MAPPABLE.has(field) ? undefined : filters.find(({ kind }) => kind === 'map')?.kind
}

function refusedOfNumber(filters: readonly Filter[]): Kind | undefined {
  let isShown = false // what is left of it everybody may see
  let isEncoded = false
  for (const filter of filters) {
    const { kind } = filter
    if (kind === 'first' || kind === 'last') {
      const isSmall = filter.count <= (kind === 'first' ? BIN : LAST)
      if (isEncoded || !(isShown || isSmall)) return kind
      isShown = true
    } else if (kind === 'map') {
      return kind
    } else if (isShown || (isEncoded ? WRITING : PLAIN).has(kind)) {
      // allowed
    } else if (ENCODING.has(kind) && !isEncoded) {
      isEncoded = true
    } else {
      return kind
    }
  }
  return undefined
}
