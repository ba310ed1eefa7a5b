// What went wrong on the way to a destination, as a reason that says whether money may have moved. Two facts decide:
// whether the request was handed to a socket, and what the way out or the system calls the error.

import type { Reason } from '../core/errors.ts'

/** `mayHaveBeenSent`: the request was handed to a socket. */
export function upstreamFailure(error: Error, mayHaveBeenSent: boolean): Reason {
  return mayHaveBeenSent ? afterSend(error) : beforeSend(error)
}

/** Reasons that say that the destination, or the way to it, does not work. */
const UPSTREAM_FAILURES: ReadonlySet<Reason> = new Set<Reason>([
  'upstream_dns_failed',
  'upstream_connect_failed',
  'upstream_tls_failed',
  'upstream_connect_timeout',
  'upstream_reset',
  'upstream_protocol_error',
  'upstream_timeout',
])

export function isUpstreamFailure(reason: Reason): boolean {
  return UPSTREAM_FAILURES.has(reason)
}

// What Node calls the failures of TLS itself, and OpenSSL those of a certificate (X509_V_ERR_*).
const TLS_CODE =
  /^(EPROTO$|ERR_TLS_|ERR_SSL_|CERT_|CRL_|UNABLE_TO_|ERROR_IN_|SELF_SIGNED_|DEPTH_ZERO_|INVALID_CA$|INVALID_PURPOSE$|PATH_LENGTH_EXCEEDED$|HOSTNAME_MISMATCH$)/

function beforeSend(error: Error): Reason {
  const code = codeOf(error)
  switch (code) {
    case 'SALLYPORT_ADDRESS_FORBIDDEN':
      return 'destination_address_forbidden'
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
    case 'ENODATA':
    case 'ESERVFAIL':
      return 'upstream_dns_failed'
    case 'SALLYPORT_CONNECT_TIMEOUT':
    case 'ETIMEDOUT':
      return 'upstream_connect_timeout'
    default:
      return TLS_CODE.test(code) ? 'upstream_tls_failed' : 'upstream_connect_failed'
  }
}

function afterSend(error: Error): Reason {
  const code = codeOf(error)
  if (code === 'SALLYPORT_ANSWER_TIMEOUT') return 'upstream_timeout'
  // Of the second kind are the errors of Node's parser.
  if (code === 'SALLYPORT_NOT_HTTP' || code.startsWith('HPE_')) return 'upstream_protocol_error'
  return 'upstream_reset'
}

function codeOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : ''
}
