// How records are written in LMDB. Payment methods and tokens are read on every reveal, so they have a fixed binary
// layout; everything else is JSON with sealed values in base64, but for answers under idempotency keys, which are large and
// stored as they were sealed. The first byte of the binary ones is their format.
//
//   format (1) ‖ fields (4) ‖ created (8) ‖ expires (8, 0: never) ‖ customer (1 + n) ‖ fingerprint (1 + n)
//   ‖ card length (4) ‖ card ‖ details            numbers big endian, times as doubles; revision: LMDB's version
//
//   format (1) ‖ created (8) ‖ expires (8, 0: never) ‖ customer (1 + n) ‖ value

import type { CustomerId, MerchantId, PaymentMethodId, TokenId } from '../../core/ids.ts'
import type { Fingerprint } from '../../crypto/fingerprint.ts'
import type { Sealed } from '../../crypto/seal.ts'
import type { CvcSlot, PaymentMethodRecord, TokenRecord } from '../contract.ts'

const FORMAT = 1
const HEAD_BYTES = 21
const TOKEN_FORMAT = 1
const TOKEN_HEAD_BYTES = 17

export function encodePaymentMethod(method: PaymentMethodRecord): Buffer {
  const customer = method.customerId ?? ''
  const fingerprint = method.fingerprint ?? ''
  const bytes = Buffer.allocUnsafeSlow(
    HEAD_BYTES +
      2 +
      customer.length +
      fingerprint.length +
      4 +
      method.card.length +
      method.details.length,
  )
  bytes[0] = FORMAT
  bytes.writeUInt32BE(method.fields, 1)
  bytes.writeDoubleBE(method.createdAtMs, 5)
  bytes.writeDoubleBE(method.expiresAtMs ?? 0, 13)
  let at = HEAD_BYTES
  for (const text of [customer, fingerprint]) {
    bytes[at++] = text.length
    at += bytes.write(text, at, 'latin1')
  }
  at = bytes.writeUInt32BE(method.card.length, at)
  bytes.set(method.card, at)
  bytes.set(method.details, at + method.card.length)
  return bytes
}

/** `bytes` becomes part of the record: hand in a copy nobody else writes to. */
export function decodePaymentMethod(
  merchantId: MerchantId,
  id: PaymentMethodId,
  bytes: Buffer,
  revision: number,
): PaymentMethodRecord {
  if (bytes[0] !== FORMAT)
    throw new Error('a payment method was stored in a format this version does not know')
  let at = HEAD_BYTES
  const customerEnd = at + 1 + (bytes[at] as number)
  const customer = bytes.toString('latin1', at + 1, customerEnd)
  at = customerEnd
  const fingerprintEnd = at + 1 + (bytes[at] as number)
  const fingerprint = bytes.toString('latin1', at + 1, fingerprintEnd)
  at = fingerprintEnd
  const cardEnd = at + 4 + bytes.readUInt32BE(at)
  return {
    merchantId,
    id,
    customerId: customer === '' ? undefined : (customer as CustomerId),
    fingerprint: fingerprint === '' ? undefined : (fingerprint as Fingerprint),
    createdAtMs: bytes.readDoubleBE(5),
    expiresAtMs: bytes.readDoubleBE(13) || undefined,
    revision,
    fields: bytes.readUInt32BE(1),
    card: bytes.subarray(at + 4, cardEnd) as Uint8Array as Sealed,
    details: bytes.subarray(cardEnd) as Uint8Array as Sealed,
  }
}

export function encodeToken(token: TokenRecord): Buffer {
  const customer = token.customerId ?? ''
  const bytes = Buffer.allocUnsafeSlow(TOKEN_HEAD_BYTES + 1 + customer.length + token.value.length)
  bytes[0] = TOKEN_FORMAT
  bytes.writeDoubleBE(token.createdAtMs, 1)
  bytes.writeDoubleBE(token.expiresAtMs ?? 0, 9)
  bytes[TOKEN_HEAD_BYTES] = customer.length
  const at = TOKEN_HEAD_BYTES + 1
  bytes.set(token.value, at + bytes.write(customer, at, 'latin1'))
  return bytes
}

/** `bytes` becomes part of the record: hand in a copy nobody else writes to. */
export function decodeToken(merchantId: MerchantId, id: TokenId, bytes: Buffer): TokenRecord {
  if (bytes[0] !== TOKEN_FORMAT)
    throw new Error('a token was stored in a format this version does not know')
  const at = TOKEN_HEAD_BYTES + 1
  const customerEnd = at + (bytes[TOKEN_HEAD_BYTES] as number)
  const customer = bytes.toString('latin1', at, customerEnd)
  return {
    merchantId,
    id,
    customerId: customer === '' ? undefined : (customer as CustomerId),
    createdAtMs: bytes.readDoubleBE(1),
    expiresAtMs: bytes.readDoubleBE(9) || undefined,
    value: bytes.subarray(customerEnd) as Uint8Array as Sealed,
  }
}

export function encodeCvc(slot: CvcSlot): Buffer {
  const bytes = Buffer.allocUnsafeSlow(8 + slot.sealed.length)
  bytes.writeDoubleBE(slot.expiresAtMs, 0)
  bytes.set(slot.sealed, 8)
  return bytes
}

export function decodeCvc(bytes: Buffer): CvcSlot {
  return { expiresAtMs: bytes.readDoubleBE(0), sealed: bytes.subarray(8) as Uint8Array as Sealed }
}

// JSON has no bytes: sealed values of JSON records stand in them as `{"sealed": "<base64>"}`.

export function encodeJson(record: object): Buffer {
  // `this[key]`: what is handed in as the value went through Buffer's own toJSON already.
  function replace(this: Record<string, unknown>, key: string, value: unknown): unknown {
    const original = this[key]
    return original instanceof Uint8Array
      ? { sealed: Buffer.from(original).toString('base64') }
      : value
  }
  return Buffer.from(JSON.stringify(record, replace))
}

export function decodeJson<T>(bytes: Buffer): T {
  return JSON.parse(bytes.toString('utf8'), (_key, value) =>
    value !== null && typeof value === 'object' && typeof value.sealed === 'string'
      ? Buffer.from(value.sealed, 'base64')
      : value,
  ) as T
}
