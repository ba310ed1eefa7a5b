// A row of an import as it was read, before anybody has looked at what its values say.

import type { TextColumn } from './columns.ts'

/** Why a row is not taken, in words that a rejects file may hold: none of them says anything of a value. */
export type RowReason =
  | 'malformed'
  | 'not_utf8'
  | 'wrong_number_of_fields'
  | 'unknown_column'
  | 'sensitive_data'
  | 'missing'
  | 'too_long'
  | 'not_a_card_number'
  | 'not_a_month'
  | 'not_a_year'
  | 'expired'
  | 'not_allowed'
  | 'could_be_card_number'
  | 'not_a_json_object'
  | 'not_found'

export type RowProblem = {
  /** A column, or a name that may be repeated; empty when it is the row as a whole. */
  readonly field: string
  readonly reason: RowReason
}

export type Row = {
  readonly line: number
  /** A keyed digest of its bytes, by which it is recognised when an import goes on. */
  readonly check: string
  /** The card number in a Buffer of its own, which whoever gets the row overwrites. */
  readonly number: Buffer | undefined
  /** Of CSV texts, of NDJSON whatever its objects hold. A value that was not given is not there. */
  readonly values: Readonly<Partial<Record<TextColumn, unknown>>>
  readonly problem: RowProblem | undefined
}

/** What a format makes of a record; overwrites nothing but the number, where it stood. */
export type ParsedRecord = Pick<Row, 'number' | 'values' | 'problem'>

export function badRecord(reason: RowReason, field = ''): ParsedRecord {
  return { number: undefined, values: {}, problem: { field, reason } }
}
