// TLS to destinations: 1.2 and later, and its checks cannot be switched off. Sessions are resumed only with the
// settings they were made under. When certificates expire is kept for whoever watches.

import { createHash, X509Certificate } from 'node:crypto'
import { isIP, type Socket } from 'node:net'
import {
  checkServerIdentity,
  connect,
  createSecureContext,
  type PeerCertificate,
  type SecureContext,
} from 'node:tls'
import { untilOpen } from './open-socket.ts'

export type TlsOptions = {
  /** Trusted instead of the system's CAs. */
  readonly caPem: string | undefined
  /** Shown to destinations that ask for one. */
  readonly client: { readonly certPem: string; readonly keyPem: string } | undefined
  /** Base64 of the SHA-256 of a SubjectPublicKeyInfo: the destination's certificate has to have one of these. */
  readonly pinSha256: readonly string[] | undefined
}

/** When they expire, in milliseconds since 1970; undefined: there is none, or none was seen yet. */
export type CertificateExpiries = {
  /** The earliest of the chain that is shown to the destination. */
  readonly client: number | undefined
  /** The earliest of the CAs. */
  readonly ca: number | undefined
  /** The destination's own, at the last full handshake. */
  readonly server: number | undefined
}

/** The certificate is valid, and its key is none of those that were pinned. */
class PinMismatch extends Error {
  readonly code = 'ERR_TLS_PIN_MISMATCH'
}

/** OpenSSL cannot use a certificate or key that was configured. */
class UnusableSettings extends Error {
  readonly code = 'ERR_TLS_SETTINGS'
}

export type Tls = {
  /** `host`: the name, or the address, that the certificate has to be for. */
  readonly secure: (socket: Socket, host: string, signal: AbortSignal) => Promise<Socket>
  readonly expiries: CertificateExpiries
}

export function createTls({ caPem, client, pinSha256 }: TlsOptions): Tls {
  const expiries = {
    client: expiryOf(client?.certPem),
    ca: expiryOf(caPem),
    server: undefined as number | undefined,
  }
  let context: SecureContext | undefined
  // A resumed handshake shows no certificate, so nothing checks it again. That is right only as long as a session never
  // leaves the settings (host, CA, pins) under which it was checked.
  let session: Buffer | undefined

  const checkPeer = (host: string, certificate: PeerCertificate): Error | undefined => {
    const mismatch = checkServerIdentity(host, certificate)
    if (mismatch !== undefined) return mismatch
    if (pinSha256 !== undefined && !pinSha256.includes(pinOf(certificate.raw))) {
      return new PinMismatch()
    }
    expiries.server = Date.parse(certificate.valid_to)
    return undefined
  }

  return {
    expiries,
    async secure(transport, host, signal) {
      context ??= createContext(caPem, client)
      const socket = connect({
        socket: transport,
        secureContext: context,
        host,
        servername: isIP(host) === 0 ? host : '', // an address is not sent as a name (RFC 6066, section 3)
        session,
        ALPNProtocols: ['http/1.1'],
        rejectUnauthorized: true,
        checkServerIdentity: checkPeer,
      })
      socket.on('session', (ticket) => {
        session = ticket
      })
      await untilOpen(socket, 'secureConnect', signal)
      return socket
    },
  }
}

function createContext(caPem: string | undefined, client: TlsOptions['client']): SecureContext {
  try {
    return createSecureContext({
      minVersion: 'TLSv1.2',
      ca: caPem,
      cert: client?.certPem,
      key: client?.keyPem,
    })
  } catch (cause) {
    throw new UnusableSettings('', { cause })
  }
}

function pinOf(certificate: Buffer): string {
  const key = new X509Certificate(certificate).publicKey.export({ type: 'spki', format: 'der' })
  return createHash('sha256').update(key).digest('base64')
}

/** The earliest in a chain. Throws when there is no certificate in it, or one that cannot be read. */
export function certificateExpiryMs(pem: string): number {
  const chain = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g)
  if (chain === null) throw new Error('no certificate')
  return Math.min(...chain.map((each) => new X509Certificate(each).validToDate.getTime()))
}

/** What cannot be read never expires; that it is of no use is told by the first connection. */
function expiryOf(pem: string | undefined): number | undefined {
  try {
    return pem === undefined ? undefined : certificateExpiryMs(pem)
  } catch {
    return undefined
  }
}
