// What went wrong on the way to a destination, as a table: the reason says whether money may have moved.

import { describe, expect, test } from 'vitest'
import { ERRORS } from '../../src/core/errors.ts'
import { AnswerTimeout, NotHttp } from '../../src/proxy/egress/connection.ts'
import { AddressForbidden } from '../../src/proxy/egress/dialer.ts'
import { upstreamFailure } from '../../src/proxy/verdict.ts'

const coded = (code?: string) => Object.assign(new Error('x'), code === undefined ? {} : { code })

describe('before the request was written', () => {
  test.each([
    ['ENOTFOUND', 'upstream_dns_failed'],
    ['EAI_AGAIN', 'upstream_dns_failed'],
    ['ECONNREFUSED', 'upstream_connect_failed'],
    ['EHOSTUNREACH', 'upstream_connect_failed'],
    ['ENETUNREACH', 'upstream_connect_failed'],
    ['ECONNRESET', 'upstream_connect_failed'],
    ['SALLYPORT_FORWARD_PROXY_FAILED', 'upstream_connect_failed'],
    ['SALLYPORT_CONNECT_TIMEOUT', 'upstream_connect_timeout'],
    ['ETIMEDOUT', 'upstream_connect_timeout'],
    ['EPROTO', 'upstream_tls_failed'],
    ['ERR_SSL_WRONG_VERSION_NUMBER', 'upstream_tls_failed'],
    ['ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', 'upstream_tls_failed'],
    ['ERR_TLS_CERT_ALTNAME_INVALID', 'upstream_tls_failed'],
    ['CERT_HAS_EXPIRED', 'upstream_tls_failed'],
    ['CERT_NOT_YET_VALID', 'upstream_tls_failed'],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', 'upstream_tls_failed'],
    ['SELF_SIGNED_CERT_IN_CHAIN', 'upstream_tls_failed'],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'upstream_tls_failed'],
    ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'upstream_tls_failed'],
    ['INVALID_PURPOSE', 'upstream_tls_failed'],
    ['INVALID_CA', 'upstream_tls_failed'],
    ['PATH_LENGTH_EXCEEDED', 'upstream_tls_failed'],
    ['SALLYPORT_ADDRESS_FORBIDDEN', 'destination_address_forbidden'],
    [undefined, 'upstream_connect_failed'],
  ])('%s is %s, and may be sent again', (code, reason) => {
    expect(upstreamFailure(coded(code), false)).toBe(reason)
    expect(ERRORS[upstreamFailure(coded(code), false)].retrySafe).toBe(true)
  })

  test('the guard of addresses is recognised', () => {
    expect(upstreamFailure(new AddressForbidden(), false)).toBe('destination_address_forbidden')
  })
})

describe('once a byte may have been sent', () => {
  test('an answer that is no HTTP, or comes too late, is recognised', () => {
    expect(upstreamFailure(new NotHttp(), true)).toBe('upstream_protocol_error')
    expect(upstreamFailure(new AnswerTimeout(), true)).toBe('upstream_timeout')
  })

  test.each([
    ['SALLYPORT_ANSWER_TIMEOUT', 'upstream_timeout'],
    ['SALLYPORT_NOT_HTTP', 'upstream_protocol_error'],
    ['HPE_INVALID_CONSTANT', 'upstream_protocol_error'],
    ['HPE_INVALID_VERSION', 'upstream_protocol_error'],
    ['HPE_HEADER_OVERFLOW', 'upstream_protocol_error'],
    ['SALLYPORT_CONNECTION_ENDED', 'upstream_reset'],
    ['SALLYPORT_WRONG_LENGTH', 'upstream_reset'],
    ['ECONNRESET', 'upstream_reset'],
    ['EPIPE', 'upstream_reset'],
    ['ETIMEDOUT', 'upstream_reset'],
    ['ECONNREFUSED', 'upstream_reset'],
    ['ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', 'upstream_reset'],
    ['SALLYPORT_ADDRESS_FORBIDDEN', 'upstream_reset'],
    [undefined, 'upstream_reset'],
  ])('%s is %s, and may not be sent again', (code, reason) => {
    expect(upstreamFailure(coded(code), true)).toBe(reason)
    expect(ERRORS[upstreamFailure(coded(code), true)].retrySafe).toBe(false)
  })
})
