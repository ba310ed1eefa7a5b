// Why a request is not sent, or not to its end, thrown by what reads and writes its bytes.

import type { Reason } from '../core/errors.ts'

export type RefusalReason = Extract<
  Reason,
  | 'malformed_body'
  | 'placeholder_malformed'
  | 'placeholder_field_missing'
  | 'value_not_encodable'
  | 'content_encoding_unsupported'
  | 'body_too_large'
  | 'missing_field'
  | 'invalid_value'
>

export class Refusal extends Error {
  readonly reason: RefusalReason
  /** The filter, field or header at fault. */
  readonly field: string | undefined

  constructor(reason: RefusalReason, field?: string) {
    super(reason)
    this.reason = reason
    this.field = field
  }
}
