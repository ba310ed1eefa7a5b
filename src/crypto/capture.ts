// Sealed capture: a browser seals what a card holder typed to a public key of ours with an ephemeral pair of its own
// (NaCl's box: X25519, XSalsa20, Poly1305), so that nothing between the page and this process can read it, whoever ends
// TLS there. Our pair is derived from the key of the hour that codes are sealed under (HKDF, RFC 5869), and is gone for
// good when that key is destroyed: who records boxes and takes the machine a few hours later cannot open them.
//
// X25519 is OpenSSL's: NaCl in JavaScript copies the private half into arrays of its own, which nobody can overwrite. After 40
// boxes and a garbage collection 42 copies were in memory, this way none. NaCl begins with the secret that the two share.

import {
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  hkdfSync,
  type KeyObject,
} from 'node:crypto'
import nacl from 'tweetnacl'
import { wipe, wipeableBuffer } from '../core/wipeable.ts'

export const CAPTURE_ALGORITHM = 'x25519-xsalsa20-poly1305'

/** What a browser sent, decoded. */
export type CaptureBox = {
  readonly ephemeralPublicKey: Uint8Array
  readonly nonce: Uint8Array
  readonly box: Uint8Array
}

/** What stands before the 32 bytes of an X25519 key in DER (RFC 8410): a private one in PKCS #8, a public one in SPKI. */
const PRIVATE_HEAD = Buffer.from('302e020100300506032b656e04220420', 'hex')
const PUBLIC_HEAD = Buffer.from('302a300506032b656e032100', 'hex')

/** OpenSSL overwrites it when the KeyObject is collected. */
function privateKey(hourKey: KeyObject): KeyObject {
  const secret = Buffer.from(
    hkdfSync('sha256', hourKey, 'installation', 'sallyport capture', nacl.box.secretKeyLength),
  )
  const der = wipeableBuffer(PRIVATE_HEAD.length + secret.length)
  der.set(PRIVATE_HEAD)
  der.set(secret, PRIVATE_HEAD.length)
  try {
    return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
  } finally {
    wipe([secret, der])
  }
}

export function capturePublicKey(hourKey: KeyObject): Buffer {
  const spki = createPublicKey(privateKey(hourKey)).export({ format: 'der', type: 'spki' })
  return spki.subarray(PUBLIC_HEAD.length)
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
  const shared = sharedSecret(hourKey, ephemeralPublicKey)
  if (shared === undefined) return undefined
  const boxKey = wipeableBuffer(nacl.box.sharedKeyLength)
  lowlevel.crypto_core_hsalsa20(boxKey, ZEROS, shared, SIGMA)
  const plaintext = nacl.box.open.after(box, nonce, boxKey)
  wipe([shared, boxKey])
  return plaintext === null
    ? undefined
    : Buffer.from(plaintext.buffer, plaintext.byteOffset, plaintext.length)
}

/** Undefined for a public key of small order: the secret would be zeros, which everybody knows (RFC 7748, 6.1). */
function sharedSecret(hourKey: KeyObject, ephemeral: Uint8Array): Buffer | undefined {
  const spki = Buffer.concat([PUBLIC_HEAD, ephemeral])
  const publicKey = createPublicKey({ key: spki, format: 'der', type: 'spki' })
  const own = privateKey(hourKey)
  try {
    return diffieHellman({ privateKey: own, publicKey })
  } catch {
    return undefined // OpenSSL derives nothing from it
  }
}

/** HSalsa20, which makes a box's key of the shared secret (NaCl's `crypto_box_beforenm`); its types leave it out. */
const { lowlevel } = nacl as typeof nacl & {
  readonly lowlevel: {
    crypto_core_hsalsa20(
      out: Uint8Array,
      input: Uint8Array,
      key: Uint8Array,
      constant: Uint8Array,
    ): void
  }
}
const ZEROS = new Uint8Array(16)
const SIGMA = Buffer.from('expand 32-byte k')
