// Vaults of others that keep card numbers for a merchant, each behind one adapter. An adapter knows its vendor's wire and
// nothing of customers, payment methods and fingerprints: which card is the same as another is decided here, whatever a
// vendor makes of repetitions. test/vault/external-vault-contract.ts holds every adapter to this.
//
// Every failure is a value from a closed list; an answer that is not understood is one, too. Nothing is sent twice but
// after `401`, once, with new credentials: that request was not carried out.

import type { CardDigits } from '../../core/card-number.ts'

/** What the vendor calls a number by. No secret: visible ASCII, without quotes and backslashes, 64 characters at most. */
export type Alias = string

export type VaultFailure =
  /** The credentials are wrong, or may not do this. */
  | 'unauthenticated'
  /** No card number is kept under that alias. */
  | 'not_found'
  | 'rate_limited'
  /** It cannot have been carried out, or the answer makes no sense. */
  | 'unavailable'
  /** It may have been carried out, and nobody knows. */
  | 'timeout_unknown'

export type Failed<Failure extends VaultFailure = VaultFailure> = {
  readonly kind: 'failed'
  readonly failure: Failure
}

export type Inserted =
  | { readonly kind: 'inserted'; readonly alias: Alias }
  | Failed<Exclude<VaultFailure, 'not_found'>>

/** The caller overwrites `number`. */
export type Retrieved = { readonly kind: 'retrieved'; readonly number: CardDigits } | Failed

export type Deleted = { readonly kind: 'deleted' } | Failed<Exclude<VaultFailure, 'not_found'>>

export type Health =
  | { readonly state: 'up' }
  /** `degraded`: it answers, and not as it should. */
  | { readonly state: 'degraded' | 'down'; readonly failure: VaultFailure }

export interface ExternalVault {
  /** A vendor may answer with the alias of an earlier insertion of the same number. `number` stays the caller's. */
  insert(number: CardDigits): Promise<Inserted>
  /** Into memory and nowhere else. */
  retrieve(alias: Alias): Promise<Retrieved>
  /** Idempotent: what is not there is deleted. */
  delete(alias: Alias): Promise<Deleted>
  /** Whether numbers could be had now, credentials included. Changes nothing. */
  health(): Promise<Health>
}

export function isAlias(bytes: Uint8Array): boolean {
  return (
    bytes.length > 0 &&
    bytes.length <= 64 &&
    bytes.every((byte) => byte > 0x20 && byte < 0x7f && byte !== 0x22 && byte !== 0x5c)
  )
}
