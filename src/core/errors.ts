// Every error a client can see, in one table. `reason` is the wire contract: snake_case, closed, never
// renamed. `type` and `code` follow Hyperswitch where it names the condition. Messages are fixed text: nothing
// of a request, a token or a card is ever put into them; facts for the caller go in the allow-listed details.

type Row = {
  readonly status: number
  readonly type:
    | 'invalid_request'
    | 'object_not_found'
    | 'duplicate_request'
    | 'connector_error'
    | 'server_not_available'
  readonly code: string
  /** Proxy answers only: true when the destination cannot have seen the request. */
  readonly retrySafe: boolean
  readonly message: string
}

const invalid = (status: number, code: string, message: string): Row => ({
  status,
  type: 'invalid_request',
  code,
  retrySafe: true,
  message,
})
/** An earlier request under the same idempotency key may have been seen. */
const notAgain = (status: number, message: string): Row => ({
  ...invalid(status, 'IR_16', message),
  retrySafe: false,
})
const upstream = (status: number, retrySafe: boolean, message: string): Row => ({
  status,
  type: 'connector_error',
  code: 'CE_00',
  retrySafe,
  message,
})
const unavailable = (message: string): Row => ({
  status: 503,
  type: 'server_not_available',
  code: 'HE_00',
  retrySafe: true,
  message,
})

export const ERRORS = {
  malformed_body: invalid(400, 'IR_06', 'The request body is not well formed.'),
  unknown_field: invalid(400, 'IR_06', 'The request has a field that is not known here.'),
  wrong_type: invalid(400, 'IR_05', 'A field of the request has the wrong type.'),
  missing_field: invalid(400, 'IR_04', 'A required field is missing.'),
  invalid_value: invalid(422, 'IR_07', 'A field of the request has a value that is not allowed.'),
  unauthenticated: invalid(401, 'IR_01', 'The API key is missing, unknown, expired or revoked.'),
  permission_denied: invalid(403, 'IR_22', 'The API key may not do this, or no longer.'),
  not_found: {
    status: 404,
    type: 'object_not_found',
    code: 'HE_02',
    retrySafe: true,
    message: 'There is no such thing here.',
  },
  method_not_allowed: invalid(405, 'IR_03', 'This path does not take this method.'),
  conflict: {
    status: 409,
    type: 'duplicate_request',
    code: 'HE_01',
    retrySafe: true,
    message: 'Another object has this name or stands in the way, or it was changed meanwhile.',
  },
  destination_not_allowed: invalid(403, 'IR_22', 'No destination allows this address.'),
  method_or_path_not_allowed: invalid(
    403,
    'IR_22',
    'The destination does not allow this method, path or query.',
  ),
  field_not_allowed: invalid(
    403,
    'IR_22',
    'The destination does not allow this field in this place.',
  ),
  path_not_normal: invalid(400, 'IR_06', 'The path is not in normal form.'),
  placeholder_malformed: invalid(
    400,
    'IR_06',
    'A placeholder is not well formed, or its field or filter is unknown.',
  ),
  placeholder_without_token: invalid(
    400,
    'IR_06',
    'A placeholder names no token, and the request gives none.',
  ),
  substitutions_mismatch: invalid(
    400,
    'IR_06',
    'The number of placeholders is not the one that was required.',
  ),
  destination_address_forbidden: invalid(
    403,
    'IR_22',
    'The destination is, or resolves to, an address or a port that may not be reached.',
  ),
  token_not_found: {
    status: 404,
    type: 'object_not_found',
    code: 'HE_02',
    retrySafe: true,
    message: 'There is no such token.',
  },
  placeholder_field_missing: invalid(422, 'IR_06', 'The token has no such field.'),
  value_not_encodable: invalid(422, 'IR_06', 'A value cannot stand where its placeholder stands.'),
  token_expired: invalid(422, 'IR_29', 'The token has expired.'),
  cvc_not_available: invalid(
    422,
    'IR_29',
    'The payment method has no unused card verification code.',
  ),
  body_too_large: invalid(
    413,
    'IR_06',
    'The request body, or what its placeholders ask for, is too large.',
  ),
  content_encoding_unsupported: invalid(
    415,
    'IR_06',
    'This content type, charset or content encoding cannot be read.',
  ),
  idempotency_in_flight: notAgain(409, 'The first request with this idempotency key is under way.'),
  idempotency_mismatch: notAgain(
    422,
    'This idempotency key belongs to another request, and this one differs from it.',
  ),
  outcome_unknown: notAgain(
    409,
    'What became of the first request with this idempotency key is not known.',
  ),
  rate_limited: invalid(429, 'IR_16', 'The caller has used up what it may do for now.'),
  destination_busy: unavailable('The destination has no free connection, or is held to be down.'),
  audit_unavailable: unavailable('The audit trail cannot be written, so nothing is revealed.'),
  external_vault_unavailable: unavailable(
    'The external vault that keeps the card did not do what it was asked.',
  ),
  upstream_dns_failed: upstream(502, true, 'The name of the destination could not be resolved.'),
  upstream_connect_failed: upstream(502, true, 'The destination could not be connected to.'),
  upstream_tls_failed: upstream(
    502,
    true,
    'The TLS connection to the destination could not be established.',
  ),
  upstream_connect_timeout: upstream(
    504,
    true,
    'The destination did not accept a connection in time.',
  ),
  upstream_reset: upstream(
    502,
    false,
    'The connection broke after the request may have been sent.',
  ),
  upstream_protocol_error: upstream(502, false, 'The destination did not answer in valid HTTP.'),
  upstream_timeout: upstream(
    504,
    false,
    'The destination did not answer in time; the outcome is unknown.',
  ),
  response_blocked: upstream(502, false, 'The answer of the destination was not passed on.'),
  internal_error: {
    status: 500,
    type: 'server_not_available',
    code: 'HE_00',
    retrySafe: false,
    message: 'Something went wrong on our side.',
  },
} as const satisfies Record<string, Row>

export type Reason = keyof typeof ERRORS

/** Facts a caller may be told. A field is named only if it cannot carry card digits (see `fieldDetail`). */
export type ErrorDetails = { readonly field?: string }

export class AppError extends Error {
  readonly reason: Reason
  readonly details: ErrorDetails | undefined
  /** Overrides the code of the table where Hyperswitch has two for one condition (unknown URL: IR_02). */
  readonly code: string

  constructor(
    reason: Reason,
    options: { details?: ErrorDetails; cause?: unknown; code?: string } = {},
  ) {
    super(
      ERRORS[reason].message,
      options.cause === undefined ? undefined : { cause: options.cause },
    )
    this.name = 'AppError'
    this.reason = reason
    this.details = options.details
    this.code = options.code ?? ERRORS[reason].code
  }

  get status(): number {
    return ERRORS[this.reason].status
  }
}

const FIELD_NAME = /^[A-Za-z_$][A-Za-z0-9_.$-]{0,63}$/
// Digits that other characters keep apart are still the digits of a number.
const SIX_DIGITS = /(?:[0-9][^0-9]*){6}/

/** A property name chosen by the caller is repeated only if it looks like one and could not be a card number. */
export function fieldDetail(name: string): ErrorDetails | undefined {
  return FIELD_NAME.test(name) && !SIX_DIGITS.test(name) ? { field: name } : undefined
}

/** Names what is at fault, if it has a name that may be repeated. */
export function invalidField(reason: Reason, name: string | undefined): AppError {
  const details = name === undefined ? undefined : fieldDetail(name)
  return new AppError(reason, details === undefined ? {} : { details })
}

export type ErrorBody = {
  readonly error: {
    readonly type: string
    readonly code: string
    readonly reason: Reason
    readonly message: string
    readonly details?: ErrorDetails
    readonly retry_safe?: boolean
    readonly request_id: string
  }
}

/** `retrySafe` stands on proxy answers only. */
export function errorBody(
  reason: Reason,
  requestId: string,
  extra: {
    code?: string | undefined
    details?: ErrorDetails | undefined
    retrySafe?: boolean
  } = {},
): ErrorBody {
  const row = ERRORS[reason]
  return {
    error: {
      type: row.type,
      code: extra.code ?? row.code,
      reason,
      message: row.message,
      ...(extra.details === undefined ? {} : { details: extra.details }),
      ...(extra.retrySafe === undefined ? {} : { retry_safe: extra.retrySafe }),
      request_id: requestId,
    },
  }
}
