// Why a text cannot be scanned.

export type ScanReason =
  | 'malformed_body'
  | 'placeholder_malformed'
  | 'value_not_encodable'
  | 'content_encoding_unsupported'
  | 'body_too_large'

export class ScanRefusal extends Error {
  readonly reason: ScanReason
  /** The filter or field at fault. */
  readonly field: string | undefined

  constructor(reason: ScanReason, field?: string) {
    super(reason)
    this.reason = reason
    this.field = field
  }
}
