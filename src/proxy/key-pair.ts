// Whether a certificate and a private key, both PEM, belong together.

import { createPrivateKey, X509Certificate } from 'node:crypto'

export function isKeyPair({ cert_pem, key_pem }: { cert_pem: string; key_pem: string }): boolean {
  try {
    return new X509Certificate(cert_pem).checkPrivateKey(createPrivateKey(key_pem))
  } catch {
    return false
  }
}
