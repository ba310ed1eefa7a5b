// What went wrong on the way to a destination, as a reason that says whether money may have moved. Two facts decide:
// whether the request was handed to a socket, and what undici or the system calls the error.

import type { Reason } from '../core/errors.ts'

/** `mayHaveBeenSent`: undici has begun to write the request. */
export function upstreamFailure(error: Error, mayHaveBeenSent: boolean): Reason {
  return mayHaveBeenSent ? afterSend(codeOf(error)) : beforeSend(error)
}

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
    case 'UND_ERR_CONNECT_TIMEOUT':
    case 'ETIMEDOUT':
      return 'upstream_connect_timeout'
    case 'EPROTO':
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'UNABLE_TO_GET_ISSUER_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'HOSTNAME_MISMATCH':
      return 'upstream_tls_failed'
    default:
      return /^(ERR_TLS_|ERR_SSL_|CERT_|CRL_)/.test(code)
        ? 'upstream_tls_failed'
        : 'upstream_connect_failed'
  }
}

function afterSend(code: string): Reason {
  if (code === 'UND_ERR_HEADERS_TIMEOUT' || code === 'UND_ERR_BODY_TIMEOUT')
    return 'upstream_timeout'
  if (
    code.startsWith('HPE_') ||
    code === 'UND_ERR_HEADERS_OVERFLOW' ||
    code === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH'
  ) {
    return 'upstream_protocol_error'
  }
  return 'upstream_reset'
}

function codeOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : ''
}
