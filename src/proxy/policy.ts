// The decision whether a request may be sent and what is revealed for it: pure, from what the caller asks for, what
// the destination allows, what is stored, and the time. Its answer is a value with a reason; nothing fails open.

import { type CardField, hasField } from '../core/card-fields.ts'
import type { Reason } from '../core/errors.ts'
import type { PaymentMethodRecord } from '../store/contract.ts'
import type { PolicyRow } from './destination.ts'
import { isPlaceAllowed } from './place.ts'
import type { Found } from './scan.ts'

export type Refusal = {
  readonly kind: 'refuse'
  readonly reason: Reason
  readonly field?: CardField
}

/** The first row whose method and path match decides. */
export function findRow(
  rows: readonly PolicyRow[],
  method: string,
  path: string,
): PolicyRow | undefined {
  return rows.find((row) => row.methods.has(method) && row.matchesPath(path))
}

/** May every placeholder stand where it stands? Asked before any record is looked up. */
export function decidePlaces(row: PolicyRow, found: readonly Found[]): Refusal | undefined {
  for (const { field, place } of found) {
    const places = row.places.get(field)
    if (places === undefined || !isPlaceAllowed(places, place)) {
      return { kind: 'refuse', reason: 'field_not_allowed', field }
    }
  }
  return undefined
}

/** What is needed of one payment method. */
export type Wanted = { readonly token: string; readonly fields: CardField[] }

export type Decision =
  | { readonly kind: 'reveal'; readonly methods: readonly PaymentMethodRecord[] }
  | Refusal

/** `records` in the order of `wanted`; undefined for a token that is unknown, deleted or another merchant's. */
export function decideReveal(
  wanted: readonly Wanted[],
  records: readonly (PaymentMethodRecord | undefined)[],
  nowMs: number,
): Decision {
  const methods: PaymentMethodRecord[] = []
  for (const [index, { fields }] of wanted.entries()) {
    const record = records[index]
    if (record === undefined) return { kind: 'refuse', reason: 'token_not_found' }
    if (record.expiresAtMs !== undefined && record.expiresAtMs <= nowMs) {
      return { kind: 'refuse', reason: 'token_expired' }
    }
    for (const field of fields) {
      // The code is not a part of the record: whether there is one is known when it is taken.
      if (field !== 'card_cvc' && !hasField(record.fields, field)) {
        return { kind: 'refuse', reason: 'placeholder_field_missing', field }
      }
    }
    methods.push(record)
  }
  return { kind: 'reveal', methods }
}
