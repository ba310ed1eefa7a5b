// Sealed capture: a browser seals what a card holder typed to a public key of ours with an ephemeral pair of its own
// (NaCl's box: X25519, XSalsa20, Poly1305), so that nothing between the page and this process can read it, whoever ends
// TLS there. Our pair is derived from the key of the hour that codes are sealed under (HKDF, RFC 5869), and is gone for
// good when that key is destroyed: who records boxes and takes the machine a few hours later cannot open them.

import { hkdfSync, type KeyObject } from 'node:crypto'
import nacl from 'tweetnacl'

export const CAPTURE_ALGORITHM = 'x25519-xsalsa20-poly1305'

/** What a browser sent, decoded. */
export type CaptureBox = {
  readonly ephemeralPublicKey: Uint8Array
  readonly nonce: Uint8Array
  readonly box: Uint8Array
}

function secretKey(hourKey: KeyObject): Buffer {
  return Buffer.from(
    hkdfSync('sha256', hourKey, 'installation', 'sallyport capture', nacl.box.secretKeyLength),
  )
}

export function capturePublicKey(hourKey: KeyObject): Buffer {
  const secret = secretKey(hourKey)
  const { publicKey } = nacl.box.keyPair.fromSecretKey(secret)
  secret.fill(0)
  return Buffer.from(publicKey)
}

/** Undefined for everything that was not sealed to this key as it is. The caller overwrites the Buffer. */
export function openCaptureBox(hourKey: KeyObject, sent: CaptureBox): Buffer | undefined {
  const { ephemeralPublicKey, nonce, box } = sent
  if (
    ephemeralPublicKey.length !== nacl.box.publicKeyLength ||
    nonce.length !== nacl.box.nonceLength ||
    box.length < nacl.box.overheadLength
  ) {
    return undefined
  }
  const secret = secretKey(hourKey)
  const shared = nacl.box.before(ephemeralPublicKey, secret)
  secret.fill(0)
  const plaintext = nacl.box.open.after(box, nonce, shared)
  shared.fill(0)
  return plaintext === null
    ? undefined
    : Buffer.from(plaintext.buffer, plaintext.byteOffset, plaintext.length)
}
