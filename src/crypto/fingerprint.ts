// Fingerprints recognise the same instrument of the same customer: HMAC-SHA-256 (RFC 2104, FIPS 198-1) of the
// whole instrument under a key of the merchant's that seals nothing (PCI DSS 3.5.1.1: keyed, entire number).
// The customer is part of the input: one card under two customers has two unrelated fingerprints.

import { createHmac, type KeyObject } from 'node:crypto'
import type { Brand } from '../core/brand.ts'

export type Fingerprint = Brand<string, 'Fingerprint'>

/**
 * What a fingerprint may be of: one kind never meets another. Of an instrument it is per customer; the others are the
 * merchant's own, the customer in them is empty: its reference for a customer, an idempotency key as the caller wrote it,
 * the request that was sent under one, what an external vault calls a card by, the input of an import and a row of it.
 */
export type FingerprintKind =
  | 'card'
  | 'proxy_card'
  | 'wallet'
  | 'bank_debit'
  | 'customer_reference'
  | 'idempotency_key'
  | 'idempotent_request'
  | 'external_alias'
  | 'import'
  | 'import_row'

export function fingerprint(
  key: KeyObject,
  customerId: string,
  kind: FingerprintKind,
  instrument: Uint8Array,
): Fingerprint {
  return createHmac('sha256', key)
    .update(`${customerId}\0${kind}\0`, 'latin1')
    .update(instrument)
    .digest('base64url') as Fingerprint
}
