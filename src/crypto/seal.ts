// Sealing: AES-256-GCM (NIST SP 800-38D) with a fresh random 96-bit nonce for every seal and associated data
// that names what is sealed, so that a sealed record moved to another merchant, kind or id does not open.
// It never sees a request, a configuration or an HTTP error. Opening fails in one way only.
//
//   sealed = format (1) ‖ key version (4, big endian) ‖ nonce (12) ‖ ciphertext ‖ tag (16)

import { createCipheriv, createDecipheriv, type KeyObject, randomFillSync } from 'node:crypto'
import type { Brand } from '../core/brand.ts'

export type Sealed = Brand<Uint8Array, 'Sealed'>

/** What is sealed, for whom. Every part is checked against the id grammar before it gets here: none holds a NUL. */
export type SealContext = {
  readonly owner: string
  readonly kind: SealKind
  readonly id: string
}

/**
 * `answer`: one that is kept under an idempotency key; `credential`: what a PSP's answer said about a payment method;
 * `method_token`: what a browser calls a payment method by, within one session.
 */
export type SealKind =
  | 'card'
  | 'cvc'
  | 'details'
  | 'token'
  | 'customer'
  | 'destination'
  | 'key'
  | 'answer'
  | 'credential'
  | 'session'
  | 'session_data'
  | 'method_token'
  | 'external_vault'

export type SealingKey = { readonly version: number; readonly key: KeyObject }

/** A sealed value did not open: wrong key, wrong place or altered. Which of them is never told. */
export class OpenError extends Error {
  constructor() {
    super('could not open a sealed value')
    this.name = 'OpenError'
  }
}

const FORMAT = 1
const NONCE_BYTES = 12
const TAG_BYTES = 16
const HEAD_BYTES = 1 + 4 + NONCE_BYTES

// Without authTagLength Node accepts tags of four bytes when opening.
const OPTIONS = { authTagLength: TAG_BYTES }

function associatedData(version: number, context: SealContext): Buffer {
  return Buffer.from(`${context.owner}\0${context.kind}\0${context.id}\0${version}`, 'latin1')
}

export function seal(key: SealingKey, plaintext: Uint8Array, context: SealContext): Sealed {
  const sealed = Buffer.allocUnsafeSlow(HEAD_BYTES + plaintext.length + TAG_BYTES)
  sealed[0] = FORMAT
  sealed.writeUInt32BE(key.version, 1)
  randomFillSync(sealed, 5, NONCE_BYTES)
  const cipher = createCipheriv('aes-256-gcm', key.key, sealed.subarray(5, HEAD_BYTES), OPTIONS)
  cipher.setAAD(associatedData(key.version, context))
  sealed.set(cipher.update(plaintext), HEAD_BYTES)
  cipher.final() // GCM is a stream mode: nothing is left to come
  sealed.set(cipher.getAuthTag(), HEAD_BYTES + plaintext.length)
  return sealed as Uint8Array as Sealed
}

/** The version of the key that a sealed value needs. Throws OpenError when it is not a sealed value. */
export function keyVersion(sealed: Sealed): number {
  if (sealed.length < HEAD_BYTES + TAG_BYTES || sealed[0] !== FORMAT) throw new OpenError()
  return (
    (((sealed[1] as number) << 24) |
      ((sealed[2] as number) << 16) |
      ((sealed[3] as number) << 8) |
      (sealed[4] as number)) >>>
    0
  )
}

/** The plaintext in a Buffer of its own, which the caller overwrites after use. Throws OpenError. */
export function open(key: SealingKey, sealed: Sealed, context: SealContext): Buffer {
  if (keyVersion(sealed) !== key.version) throw new OpenError()
  const tagAt = sealed.length - TAG_BYTES
  let plaintext: Buffer | undefined
  try {
    const decipher = createDecipheriv(
      'aes-256-gcm',
      key.key,
      sealed.subarray(5, HEAD_BYTES),
      OPTIONS,
    )
    decipher.setAAD(associatedData(key.version, context))
    decipher.setAuthTag(sealed.subarray(tagAt))
    plaintext = decipher.update(sealed.subarray(HEAD_BYTES, tagAt))
    decipher.final()
    return plaintext
  } catch {
    plaintext?.fill(0) // not authenticated: nobody may see it
    throw new OpenError()
  }
}
