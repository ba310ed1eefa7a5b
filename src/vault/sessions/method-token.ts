// Tokens that stand for a payment method within one session. Nothing is stored for them: the session's id in clear, so
// that a server need not know it, and the id of the payment method sealed for that session, so that nobody can make one,
// read one, or use one elsewhere.
//
//   token  = pmt_ ‖ base64url( length (1) ‖ session id ‖ sealed )
//   sealed : expires (8, double, big endian) ‖ payment method id

import { type PaymentMethodId, parseSessionId, type SessionId } from '../../core/ids.ts'
import type { Sealed } from '../../crypto/seal.ts'

export type MethodTokenContent = {
  readonly methodId: PaymentMethodId
  readonly expiresAtMs: number
}

const PREFIX = 'pmt_'
const TOKEN = /^pmt_[A-Za-z0-9_-]{1,250}$/

export function methodTokenPlaintext({ methodId, expiresAtMs }: MethodTokenContent): Buffer {
  const bytes = Buffer.alloc(8 + methodId.length)
  bytes.writeDoubleBE(expiresAtMs, 0)
  bytes.write(methodId, 8, 'latin1')
  return bytes
}

/** Of what opened: nobody but us can have written it. */
export function readMethodToken(plaintext: Buffer): MethodTokenContent {
  return {
    expiresAtMs: plaintext.readDoubleBE(0),
    methodId: plaintext.toString('latin1', 8) as PaymentMethodId,
  }
}

export function encodeMethodToken(sessionId: SessionId, sealed: Sealed): string {
  const bytes = Buffer.concat([Buffer.from([sessionId.length]), Buffer.from(sessionId), sealed])
  return PREFIX + bytes.toString('base64url')
}

/** Undefined for what is no token. */
export function decodeMethodToken(
  token: string,
): { sessionId: SessionId; sealed: Sealed } | undefined {
  if (!TOKEN.test(token)) return undefined
  const bytes = Buffer.from(token.slice(PREFIX.length), 'base64url')
  const end = 1 + (bytes[0] ?? 0)
  const sessionId = parseSessionId(bytes.toString('latin1', 1, end))
  // Whether it is a sealed value, opening it tells.
  return sessionId === undefined
    ? undefined
    : { sessionId, sealed: bytes.subarray(end) as Uint8Array as Sealed }
}
