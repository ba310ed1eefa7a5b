// The decision whether a request may be sent and what is revealed for it: pure, from what the caller asks for, what
// the destination allows, what is stored, and the time. Its answer is a value with a reason; nothing fails open.

import { hasField } from '../core/card-fields.ts'
import type { Reason } from '../core/errors.ts'
import { EXPIRY_FIELD, EXPIRY_PARTS, type Field, isJsonPath } from '../core/field.ts'
import type { KeyId } from '../core/ids.ts'
import type { PaymentMethodRecord, TokenRecord } from '../store/contract.ts'
import type { PolicyRow } from './destination.ts'
import { refusedFilter } from './filter-policy.ts'
import { isPlaceAllowed, type Place } from './place.ts'
import type { Found } from './scan/scanner.ts'

export type Refused = {
  readonly kind: 'refuse'
  readonly reason: Reason
  readonly field?: string
}

/** The first row whose method and path match decides. */
export function findRow(
  rows: readonly PolicyRow[],
  method: string,
  path: string,
): PolicyRow | undefined {
  return rows.find((row) => row.methods.has(method) && row.matchesPath(path))
}

/** What a row asks of a request besides method and path: who asks, and what the query may hold. `query` with its `?`. */
export function decideRow(
  row: PolicyRow,
  keyId: KeyId,
  query: string,
): (Refused & { reason: 'permission_denied' | 'method_or_path_not_allowed' }) | undefined {
  if (row.keyIds !== undefined && !row.keyIds.has(keyId)) {
    return { kind: 'refuse', reason: 'permission_denied' }
  }
  if (row.queryNames !== undefined && query.length > 1) {
    // As written: a name that is spelled in another way is another name. Some receivers end a pair at a semicolon.
    for (const pair of query.slice(1).split(/[&;]/)) {
      const name = pair.split('=', 1)[0] as string
      if (!row.queryNames.has(name)) {
        return { kind: 'refuse', reason: 'method_or_path_not_allowed', field: name }
      }
    }
  }
  return undefined
}

/** May every placeholder stand where it stands, as it is filtered? Asked before any record is looked up. */
export function decidePlaces(row: PolicyRow, found: readonly Found[]): Refused | undefined {
  for (const { field, filters, place } of found) {
    if (filters.length > 0 && !mayHaveAnyFilter(row, field)) {
      const refused = refusedFilter(field, filters)
      if (refused !== undefined) {
        return { kind: 'refuse', reason: 'field_not_allowed', field: refused }
      }
    }
    const isAllowed =
      field === EXPIRY_FIELD
        ? EXPIRY_PARTS.every((part) => mayStand(row, part, place))
        : mayStand(row, field, place)
    if (!isAllowed) return { kind: 'refuse', reason: 'field_not_allowed', field }
  }
  return undefined
}

function mayHaveAnyFilter({ anyFilters }: PolicyRow, field: Field): boolean {
  return field === EXPIRY_FIELD
    ? EXPIRY_PARTS.every((part) => anyFilters.has(part))
    : anyFilters.has(field)
}

function mayStand(row: PolicyRow, field: Field, place: Place): boolean {
  const places = row.places.get(field)
  return places !== undefined && isPlaceAllowed(places, place)
}

/** What is needed of one token. */
export type Wanted = {
  readonly token: string
  readonly fields: Field[]
  /** Those that no default stands in for. */
  readonly needed: Field[]
}

/** What a token may stand for. */
export type Stored = PaymentMethodRecord | TokenRecord

export function isPaymentMethod(record: Stored): record is PaymentMethodRecord {
  return 'card' in record
}

export type Decision = { readonly kind: 'reveal'; readonly records: readonly Stored[] } | Refused

/** `records` in the order of `wanted`; undefined for a token that is unknown, deleted or another merchant's. */
export function decideReveal(
  wanted: readonly Wanted[],
  records: readonly (Stored | undefined)[],
  nowMs: number,
): Decision {
  const agreed: Stored[] = []
  for (const [index, { needed }] of wanted.entries()) {
    const record = records[index]
    if (record === undefined) return { kind: 'refuse', reason: 'token_not_found' }
    if (record.expiresAtMs !== undefined && record.expiresAtMs <= nowMs) {
      return { kind: 'refuse', reason: 'token_expired' }
    }
    for (const field of needed) {
      if (!mayHave(record, field)) {
        return { kind: 'refuse', reason: 'placeholder_field_missing', field }
      }
    }
    agreed.push(record)
  }
  return { kind: 'reveal', records: agreed }
}

/** As far as it can be known without opening the record: what a path selects, and whether there is a code, cannot. */
function mayHave(record: Stored, field: Field): boolean {
  if (!isPaymentMethod(record)) return isJsonPath(field)
  if (isJsonPath(field)) return false
  if (field === EXPIRY_FIELD) return EXPIRY_PARTS.every((part) => hasField(record.fields, part))
  return field === 'card_cvc' || hasField(record.fields, field)
}
