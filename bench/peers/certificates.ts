// What the TLS cases need: an authority of their own, and one certificate under it that the upstream and every
// contender serve with. P-256, so that no contender has a cheaper handshake than another.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { makeCertificate } from '../../test/proxy/certificates.ts'

/** Everything as PEM, in files and as text. */
export type Certificates = {
  readonly ca: string
  readonly cert: string
  readonly key: string
  readonly caFile: string
  readonly certFile: string
  /** Named as HAProxy looks for it next to the certificate. */
  readonly keyFile: string
}

/** For `127.0.0.1` and `localhost`. */
export function makeCertificates(folder: string): Certificates {
  const authority = makeCertificate('Bench authority', { isAuthority: true })
  const { cert, key } = makeCertificate('localhost', {
    issuer: authority,
    hosts: ['127.0.0.1', 'localhost'],
  })
  const caFile = join(folder, 'ca.pem')
  const certFile = join(folder, 'server.pem')
  const keyFile = `${certFile}.key`
  writeFileSync(caFile, authority.cert)
  writeFileSync(certFile, cert)
  writeFileSync(keyFile, key, { mode: 0o600 })
  return { ca: authority.cert, cert, key, caFile, certFile, keyFile }
}
