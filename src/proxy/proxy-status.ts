// What went wrong, in the words that proxies share: the `error` of a Proxy-Status header (RFC 9209, 2.3). Ours are
// finer than those; where several of ours meet in one of theirs, or none fits well, a type is chosen that is true of
// all cases of the reason, and that does not blame the destination for what we decided.

import type { Reason } from '../core/errors.ts'

// A 4xx of our own making, for what the request says, is http_request_error (the RFC lists 429 there too); one for what
// its sender may do here is http_request_denied.
const TYPES = {
  malformed_body: 'http_request_error',
  unknown_field: 'http_request_error',
  wrong_type: 'http_request_error',
  missing_field: 'http_request_error',
  invalid_value: 'http_request_error',
  unauthenticated: 'http_request_denied',
  permission_denied: 'http_request_denied',
  not_found: 'http_request_error',
  method_not_allowed: 'http_request_error',
  conflict: 'http_request_error',
  destination_not_allowed: 'http_request_denied',
  method_or_path_not_allowed: 'http_request_denied',
  field_not_allowed: 'http_request_denied',
  path_not_normal: 'http_request_error',
  placeholder_malformed: 'http_request_error',
  placeholder_without_token: 'http_request_error',
  substitutions_mismatch: 'http_request_error',
  destination_address_forbidden: 'destination_ip_prohibited',
  token_not_found: 'http_request_error',
  placeholder_field_missing: 'http_request_error',
  value_not_encodable: 'http_request_error',
  token_expired: 'http_request_error',
  cvc_not_available: 'http_request_error',
  body_too_large: 'http_request_error',
  content_encoding_unsupported: 'http_request_error',
  // These are about an earlier request; this one was not sent on.
  idempotency_in_flight: 'http_request_error',
  idempotency_mismatch: 'http_request_error',
  outcome_unknown: 'http_request_error',
  rate_limited: 'http_request_error',
  // A full queue would be connection_limit_reached, which an open breaker is not; unavailable for now are both.
  destination_busy: 'destination_unavailable',
  audit_unavailable: 'proxy_internal_error',
  // Nothing was sent to the destination, which is not to blame.
  external_vault_unavailable: 'proxy_internal_error',
  upstream_dns_failed: 'dns_error',
  // Refused, without a route or broken off at once: connection_refused would say more than is known.
  upstream_connect_failed: 'destination_unavailable',
  // Certificates are a part of it; tls_certificate_error would be wrong for the others.
  upstream_tls_failed: 'tls_protocol_error',
  upstream_connect_timeout: 'connection_timeout',
  upstream_reset: 'connection_terminated',
  upstream_protocol_error: 'http_protocol_error',
  upstream_timeout: 'http_response_timeout',
  // No type is for an answer that came and is withheld: too long, not searchable, or repeating a card number.
  response_blocked: 'proxy_internal_error',
  internal_error: 'proxy_internal_error',
} as const satisfies Record<Reason, string>

/** The value of the header on an error of ours. */
export function proxyStatus(reason: Reason): string {
  return `sallyport; error=${TYPES[reason]}`
}
