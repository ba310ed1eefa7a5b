// The Proxy-Status header of every error of ours: words that others know, and true ones.

import { expect, test } from 'vitest'
import { ERRORS, type Reason } from '../../src/core/errors.ts'
import { proxyStatus } from '../../src/proxy/proxy-status.ts'

const reasons = Object.keys(ERRORS) as Reason[]

/** RFC 9209, 2.3.1 to 2.3.32. */
const REGISTERED = [
  'dns_timeout',
  'dns_error',
  'destination_not_found',
  'destination_unavailable',
  'destination_ip_prohibited',
  'destination_ip_unroutable',
  'connection_refused',
  'connection_terminated',
  'connection_timeout',
  'connection_read_timeout',
  'connection_write_timeout',
  'connection_limit_reached',
  'tls_protocol_error',
  'tls_certificate_error',
  'tls_alert_received',
  'http_request_error',
  'http_request_denied',
  'http_response_incomplete',
  'http_response_header_section_size',
  'http_response_header_size',
  'http_response_body_size',
  'http_response_trailer_section_size',
  'http_response_trailer_size',
  'http_response_transfer_coding',
  'http_response_content_coding',
  'http_response_timeout',
  'http_upgrade_failed',
  'http_protocol_error',
  'proxy_internal_response',
  'proxy_internal_error',
  'proxy_configuration_error',
  'proxy_loop_detected',
]

test.each(reasons)('%s has a type that is registered', (reason) => {
  const [, type] = /^sallyport; error=([a-z_]+)$/.exec(proxyStatus(reason)) ?? []

  expect(REGISTERED).toContain(type)
})

test.each<[Reason, string]>([
  ['malformed_body', 'http_request_error'],
  ['rate_limited', 'http_request_error'],
  ['field_not_allowed', 'http_request_denied'],
  ['destination_address_forbidden', 'destination_ip_prohibited'],
  ['destination_busy', 'destination_unavailable'],
  ['upstream_dns_failed', 'dns_error'],
  ['upstream_connect_failed', 'destination_unavailable'],
  ['upstream_connect_timeout', 'connection_timeout'],
  ['upstream_tls_failed', 'tls_protocol_error'],
  ['upstream_reset', 'connection_terminated'],
  ['upstream_protocol_error', 'http_protocol_error'],
  ['upstream_timeout', 'http_response_timeout'],
  ['response_blocked', 'proxy_internal_error'],
  ['internal_error', 'proxy_internal_error'],
])('%s is %s', (reason, type) => {
  expect(proxyStatus(reason)).toBe(`sallyport; error=${type}`)
})

test('what a caller is told to be its own mistake is told so here as well', () => {
  const mistakes = reasons.filter((reason) => ERRORS[reason].status < 500)

  const others = mistakes.filter((reason) => !proxyStatus(reason).includes('error=http_request_'))

  expect(others).toEqual(['destination_address_forbidden'])
})
