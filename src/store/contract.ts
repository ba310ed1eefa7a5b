// The store in the product's words. Every backend keeps the same promises, checked by test/store/contract.ts:
//
// - Acknowledged means on disk: the promise of a write settles after its data would survive a power cut.
// - Nothing crosses merchants: everything a merchant owns is asked for by merchant and id together.
// - Uniqueness is a promise of the store, not a check before an insert: of two racing inserts one wins.
// - A record that was read carries its revision; a replacement of another revision changes nothing.
// - A read after an acknowledged write, by any process on the machine, sees it.
// - Sealed values come in and go out as they are; the store holds no key that opens them.
//
// Failures of the backend are thrown as the backend's own errors; the features translate them once.

import type { Proposal } from '../core/approval.ts'
import type { Brand } from '../core/brand.ts'
import type { FieldSet } from '../core/card-fields.ts'
import type { Cidr } from '../core/cidr.ts'
import type {
  CustomerId,
  KeyId,
  MerchantId,
  PaymentMethodId,
  ProfileId,
  RequestId,
  SessionId,
  TokenId,
} from '../core/ids.ts'
import type { MaybePromise } from '../core/maybe-promise.ts'
import type { WebOrigin } from '../core/web-origin.ts'
import type { Fingerprint } from '../crypto/fingerprint.ts'
import type { ApiKeyHash, ClientSecretHash, PublishableKey } from '../crypto/key-hash.ts'
import type { HourKeyStore, WrappedKeyStore } from '../crypto/keyring.ts'
import type { Sealed } from '../crypto/seal.ts'

export type MerchantRecord = {
  readonly id: MerchantId
  readonly name: string
  readonly createdAtMs: number
}

export type ProfileRecord = {
  readonly merchantId: MerchantId
  readonly id: ProfileId
  readonly name: string
  readonly isDefault: boolean
  readonly createdAtMs: number
  /** Names the profile in requests of browsers; no secret. Undefined of those made before there were any. */
  readonly publishableKey: PublishableKey | undefined
  /** Pages that may call with it. Undefined as above: none. */
  readonly allowedOrigins: readonly WebOrigin[] | undefined
}

/** What is not named stays. */
export type ProfileChanges = {
  readonly name?: string
  readonly publishableKey?: PublishableKey
  readonly allowedOrigins?: readonly WebOrigin[]
}

export type ApiKeyRecord = {
  readonly id: KeyId
  readonly hash: ApiKeyHash
  /** Undefined: a key of the installation, which belongs to no merchant. */
  readonly merchantId: MerchantId | undefined
  readonly name: string
  readonly scopes: readonly string[]
  readonly allowedCidrs: readonly Cidr[]
  readonly createdAtMs: number
  readonly expiresAtMs: number | undefined
}

export type CustomerRecord = {
  readonly merchantId: MerchantId
  readonly id: CustomerId
  /** Keyed hash of the merchant's own reference. */
  readonly reference: Fingerprint | undefined
  readonly createdAtMs: number
  readonly revision: number
  /** May be of one that was deleted since. */
  readonly defaultPaymentMethodId: PaymentMethodId | undefined
  readonly details: Sealed
}

export type PaymentMethodRecord = {
  readonly merchantId: MerchantId
  readonly id: PaymentMethodId
  /** Undefined for a guest's. */
  readonly customerId: CustomerId | undefined
  /** Undefined for volatile ones: they are outside the uniqueness rule. */
  readonly fingerprint: Fingerprint | undefined
  readonly createdAtMs: number
  readonly expiresAtMs: number | undefined
  readonly revision: number
  /** What `card` holds, so that a missing field is noticed without opening it. None: its instrument is still to come. */
  readonly fields: FieldSet
  /** The instrument, a card mostly: everything a placeholder can name. */
  readonly card: Sealed
  /** What may be shown: masked instrument, holder, billing, metadata. */
  readonly details: Sealed
}

export type PaymentMethodUse = Pick<PaymentMethodRecord, 'merchantId' | 'id'> & {
  readonly usedAtMs: number
}

/** Any JSON that a merchant stored. Never changed, only deleted. */
export type TokenRecord = {
  readonly merchantId: MerchantId
  readonly id: TokenId
  readonly customerId: CustomerId | undefined
  readonly createdAtMs: number
  readonly expiresAtMs: number | undefined
  readonly value: Sealed
}

/** In which a browser may add, see and change payment methods of one customer, or add one of a guest's. */
export type SessionRecord = {
  readonly merchantId: MerchantId
  readonly id: SessionId
  /** Whose publishable key goes with the client secret. */
  readonly profileId: ProfileId
  /** Undefined: a guest's. */
  readonly customerId: CustomerId | undefined
  readonly clientSecret: ClientSecretHash
  readonly createdAtMs: number
  readonly expiresAtMs: number
  readonly revision: number
  /** Confirmations that were begun. */
  readonly attempts: number
  /** One is under way until then; undefined: none is. */
  readonly busyUntilMs: number | undefined
  /** What it was made for is done: nothing more is confirmed. */
  readonly isDone: boolean
  readonly details: Sealed
  /** Any JSON that becomes a token when the session is confirmed. */
  readonly tokenData: Sealed | undefined
}

/** Where a profile's cards are kept by somebody else. */
export type ExternalVaultRecord = {
  readonly merchantId: MerchantId
  readonly profileId: ProfileId
  /** By chance, so that none comes back after a deletion; 0 of one that is to be where there is none. */
  readonly revision: number
  /** All of it: where it is decides who gets card numbers, and who asks there is secret. */
  readonly settings: Sealed
}

/** Settings that wait for a second pair of eyes. Nobody is asked with them. */
export type ExternalVaultProposal = Proposal & {
  /** As they would be stored; their revision is the one that they replace, 0 where there were none. */
  readonly vault: ExternalVaultRecord
}

export type CvcSlot = { readonly expiresAtMs: number; readonly sealed: Sealed }

export type DestinationName = Brand<string, 'DestinationName'>

export type DestinationRecord = {
  readonly merchantId: MerchantId
  readonly profileId: ProfileId
  readonly name: DestinationName
  /** `https://api.example.com`, or with `*` in place of its first label. */
  readonly origin: string
  readonly revision: number
  /** The destination object of the wire without its secrets, as JSON text. */
  readonly settings: string
  readonly secrets: Sealed
}

/** A change of a destination that waits for a second pair of eyes. The data plane never reads it. */
export type DestinationProposal = Proposal & {
  /** As it would be stored; its revision is the one that it replaces, 0 for a new one. */
  readonly destination: DestinationRecord
}

/** What answers of PSPs said about a payment method, to be used at the next payment. */
export type CredentialRecord = {
  readonly merchantId: MerchantId
  readonly paymentMethodId: PaymentMethodId
  readonly kind: 'psp_token' | 'network_transaction_id'
  /** Which PSP's it is; empty for what is nobody's in particular. */
  readonly connector: string
  readonly createdAtMs: number
  readonly value: Sealed
}

/** What became of the one request that was sent under an idempotency key. */
export type IdempotencyRecord = {
  readonly merchantId: MerchantId
  /** Keyed hash of the caller's key. */
  readonly key: Fingerprint
  /** Keyed hash of the request: under one key there is one. */
  readonly request: Fingerprint
  /** The request that claimed the key, and the process that it was in. */
  readonly claimant: RequestId
  readonly instance: string
  readonly createdAtMs: number
  readonly expiresAtMs: number
  readonly state: 'in_flight' | 'answered' | 'unknown'
  /** Only of `answered`. */
  readonly answer: Sealed | undefined
}

export type InsertPaymentMethod =
  | { readonly kind: 'inserted' }
  /** The instrument is stored already, under this id; nothing was written. */
  | { readonly kind: 'exists'; readonly id: PaymentMethodId }
  /** The customer, or the merchant, was deleted meanwhile; nothing was written. */
  | { readonly kind: 'no_customer' }

export type ConfirmPaymentMethod =
  | { readonly kind: 'confirmed' }
  | { readonly kind: 'exists'; readonly id: PaymentMethodId }
  /** It was changed or deleted meanwhile. */
  | { readonly kind: 'changed' }

/** How often a use is written down, per payment method. */
export const USE_INTERVAL_MS = 60_000

export type PutDestination = 'written' | 'name_taken' | 'origin_taken' | 'not_found'

export interface Store extends WrappedKeyStore, AsyncDisposable {
  readonly hourKeys: HourKeyStore

  /** With its default profile. False when the id is or ever was in use: ids of deleted merchants stay taken. */
  insertMerchant(merchant: MerchantRecord, profile: ProfileRecord): Promise<boolean>
  findMerchant(id: MerchantId): Promise<MerchantRecord | undefined>
  listMerchants(): Promise<readonly MerchantRecord[]>
  renameMerchant(id: MerchantId, name: string): Promise<boolean>
  /**
   * Removes the merchant, its profiles, API keys, destinations, proposals, external vaults and wrapped keys: what stays
   * of it cannot be opened.
   */
  deleteMerchant(id: MerchantId): Promise<boolean>

  /** False when the id is taken or the merchant does not exist. */
  insertProfile(profile: ProfileRecord): Promise<boolean>
  findProfile(merchantId: MerchantId, id: ProfileId): MaybePromise<ProfileRecord | undefined>
  findDefaultProfile(merchantId: MerchantId): MaybePromise<ProfileRecord | undefined>
  listProfiles(merchantId: MerchantId): Promise<readonly ProfileRecord[]>
  /** On the way of every request of a browser. The same object as long as the record has not changed. */
  findProfileByPublishableKey(key: PublishableKey): MaybePromise<ProfileRecord | undefined>
  /** What is not named stays; of changes that race none is lost. False when it does not exist. */
  replaceProfile(merchantId: MerchantId, id: ProfileId, changes: ProfileChanges): Promise<boolean>
  /** With its destinations, proposals and external vault. False when it does not exist or is the default one. */
  deleteProfile(merchantId: MerchantId, id: ProfileId): Promise<boolean>

  /** False when the key's merchant does not exist, or its id or hash is taken. */
  insertApiKey(key: ApiKeyRecord): Promise<boolean>
  /** On the way of every request. The same object as long as the record has not changed. */
  findApiKeyByHash(hash: ApiKeyHash): MaybePromise<ApiKeyRecord | undefined>
  /** `merchantId` undefined: the installation's own keys. */
  findApiKey(merchantId: MerchantId | undefined, id: KeyId): Promise<ApiKeyRecord | undefined>
  listApiKeys(merchantId: MerchantId | undefined): Promise<readonly ApiKeyRecord[]>
  /** Replaces everything but id, hash and merchant. False when it does not exist. */
  replaceApiKey(key: ApiKeyRecord): Promise<boolean>
  deleteApiKey(merchantId: MerchantId | undefined, id: KeyId): Promise<boolean>

  /** False when the reference is taken or the merchant does not exist. */
  insertCustomer(customer: CustomerRecord): Promise<boolean>
  findCustomer(merchantId: MerchantId, id: CustomerId): Promise<CustomerRecord | undefined>
  findCustomerByReference(
    merchantId: MerchantId,
    reference: Fingerprint,
  ): Promise<CustomerRecord | undefined>
  /** In the order they were created. */
  listCustomers(
    merchantId: MerchantId,
    page: { offset: number; limit: number },
  ): Promise<readonly CustomerRecord[]>
  /** `customer.revision` is the one that was read; it is stored as the next. */
  replaceCustomer(customer: CustomerRecord): Promise<'written' | 'changed' | 'reference_taken'>
  /**
   * With its payment methods, their codes, its tokens and its sessions. Answers with the payment methods as they were when
   * they went, also those that were stored or changed meanwhile; undefined when there is no such customer.
   */
  deleteCustomer(
    merchantId: MerchantId,
    id: CustomerId,
  ): Promise<readonly PaymentMethodRecord[] | undefined>

  /** `alias`: keyed hash of what an external vault calls its card by. */
  insertPaymentMethod(
    method: PaymentMethodRecord,
    cvc: CvcSlot | undefined,
    alias?: Fingerprint | undefined,
  ): Promise<InsertPaymentMethod>
  /** On the way of every reveal. Expired ones are found until they are swept: the caller looks at the time. */
  findPaymentMethod(
    merchantId: MerchantId,
    id: PaymentMethodId,
  ): MaybePromise<PaymentMethodRecord | undefined>
  findByFingerprint(
    merchantId: MerchantId,
    fingerprint: Fingerprint,
  ): Promise<PaymentMethodRecord | undefined>
  /** In the order they were created. */
  listPaymentMethods(
    merchantId: MerchantId,
    customerId: CustomerId,
  ): Promise<readonly PaymentMethodRecord[]>
  /** `method.revision` is the one that was read; a `cvc` replaces the slot. False when it was changed or deleted. */
  replacePaymentMethod(method: PaymentMethodRecord, cvc: CvcSlot | undefined): Promise<boolean>
  /**
   * Gives an instrument to one that had none, of the revision that was read. `exists`: the customer has that instrument
   * under another id; nothing was written. `alias` as above.
   */
  confirmPaymentMethod(
    method: PaymentMethodRecord,
    cvc: CvcSlot | undefined,
    alias?: Fingerprint | undefined,
  ): Promise<ConfirmPaymentMethod>
  /** Answers with it as it was when it went; undefined when it was not there. */
  deletePaymentMethod(
    merchantId: MerchantId,
    id: PaymentMethodId,
  ): Promise<PaymentMethodRecord | undefined>
  /** Up to `limit` of the merchant's that follow `after` in the order of their ids. Expired ones that were not swept, too. */
  pagePaymentMethods(
    merchantId: MerchantId,
    after: PaymentMethodId | undefined,
    limit: number,
  ): Promise<readonly PaymentMethodRecord[]>

  /** Remembers the last use of each. One that is less than a minute after the one remembered changes nothing. */
  noteUses(uses: readonly PaymentMethodUse[]): Promise<void>
  /** When each was last used, in the order of `ids`. */
  lastUses(
    merchantId: MerchantId,
    ids: readonly PaymentMethodId[],
  ): Promise<readonly (number | undefined)[]>

  /** Whether a code is stored, without touching it. */
  findCvc(merchantId: MerchantId, id: PaymentMethodId): Promise<CvcSlot | undefined>
  /** Removes and answers with the code: of two that race, one gets it. Acknowledged like a write. */
  takeCvc(merchantId: MerchantId, id: PaymentMethodId): Promise<CvcSlot | undefined>
  /** Puts a taken code back as it was, unless a newer one is stored or the payment method was deleted meanwhile. */
  returnCvc(merchantId: MerchantId, id: PaymentMethodId, slot: CvcSlot): Promise<boolean>

  /** `no_customer`: the customer, or the merchant, was deleted meanwhile; nothing was written. */
  insertToken(token: TokenRecord): Promise<'inserted' | 'no_customer'>
  /** On the way of a reveal. Expired ones are found until they are swept: the caller looks at the time. */
  findToken(merchantId: MerchantId, id: TokenId): MaybePromise<TokenRecord | undefined>
  deleteToken(merchantId: MerchantId, id: TokenId): Promise<boolean>

  /** `no_customer`: the customer, or the merchant, was deleted meanwhile; nothing was written. */
  insertSession(session: SessionRecord): Promise<'inserted' | 'no_customer'>
  /** Expired ones are found until they are swept: the caller looks at the time. */
  findSession(merchantId: MerchantId, id: SessionId): Promise<SessionRecord | undefined>
  /**
   * `session.revision` is the one that was read; it is stored as the next. Whose it is and its times stay. False when it
   * was changed or deleted.
   */
  replaceSession(session: SessionRecord): Promise<boolean>
  deleteSession(merchantId: MerchantId, id: SessionId): Promise<boolean>

  /** `revision` 0 makes a new one, another replaces that revision. */
  putDestination(destination: DestinationRecord): Promise<PutDestination>
  /** On the way of every request. The same object as long as the record has not changed. */
  findDestination(
    merchantId: MerchantId,
    profileId: ProfileId,
    name: DestinationName,
  ): MaybePromise<DestinationRecord | undefined>
  /** An exact origin beats the one with `*` in place of the first label. Same object as above. */
  findDestinationByOrigin(
    merchantId: MerchantId,
    profileId: ProfileId,
    origin: string,
  ): MaybePromise<DestinationRecord | undefined>
  listDestinations(
    merchantId: MerchantId,
    profileId: ProfileId,
  ): Promise<readonly DestinationRecord[]>
  /** With the proposal for it. */
  deleteDestination(
    merchantId: MerchantId,
    profileId: ProfileId,
    name: DestinationName,
  ): Promise<boolean>

  /**
   * Replaces that revision of the profile's, with which it goes; 0: none. False when there is another one, or the profile
   * does not exist.
   */
  putExternalVault(vault: ExternalVaultRecord): Promise<boolean>
  /** On the way of a reveal. The same object as long as the record has not changed. */
  findExternalVault(
    merchantId: MerchantId,
    profileId: ProfileId,
  ): MaybePromise<ExternalVaultRecord | undefined>
  /** With the proposal for it. */
  deleteExternalVault(merchantId: MerchantId, profileId: ProfileId): Promise<boolean>
  /** Replaces an earlier one of the profile, with which it goes. False when the profile does not exist. */
  putExternalVaultProposal(proposal: ExternalVaultProposal): Promise<boolean>
  findExternalVaultProposal(
    merchantId: MerchantId,
    profileId: ProfileId,
  ): Promise<ExternalVaultProposal | undefined>
  /** Only that very one: false when another has taken its place. */
  deleteExternalVaultProposal(proposal: ExternalVaultProposal): Promise<boolean>
  /** Payment methods that were stored with that alias and are still there. */
  listByExternalAlias(
    merchantId: MerchantId,
    alias: Fingerprint,
  ): Promise<readonly PaymentMethodId[]>

  /** Replaces an earlier one for the same name. False when the profile does not exist. */
  putProposal(proposal: DestinationProposal): Promise<boolean>
  findProposal(
    merchantId: MerchantId,
    profileId: ProfileId,
    name: DestinationName,
  ): Promise<DestinationProposal | undefined>
  listProposals(
    merchantId: MerchantId,
    profileId: ProfileId,
  ): Promise<readonly DestinationProposal[]>
  /** Only that very one: false when another has taken its place. */
  deleteProposal(proposal: DestinationProposal): Promise<boolean>

  /** Replaces an earlier one of the same kind and connector. False when the payment method does not exist. */
  putCredential(credential: CredentialRecord): Promise<boolean>
  /** They go with the payment method, in the same write. */
  listCredentials(merchantId: MerchantId, id: PaymentMethodId): Promise<readonly CredentialRecord[]>

  /**
   * Of two that race for a key one gets `claimed`, acknowledged like a write; the other gets what is there. A record
   * that expired at or before `record.createdAtMs` is replaced.
   */
  claimIdempotencyKey(record: IdempotencyRecord): Promise<'claimed' | IdempotencyRecord>
  /** Replaces the record that the claimant has in flight under that key. False when it has none: another's stays. */
  finishIdempotencyKey(record: IdempotencyRecord): Promise<boolean>
  /** Nothing was sent: the key is free again. Only what the claimant has in flight goes, as above. */
  releaseIdempotencyKey(
    record: Pick<IdempotencyRecord, 'merchantId' | 'key' | 'claimant'>,
  ): Promise<boolean>

  /**
   * Deletes payment methods, tokens, codes, sessions and idempotency records that expired at or before `nowMs`; answers
   * with their number.
   */
  sweepExpired(nowMs: number): Promise<number>

  /** Cheap; throws when the store cannot be read. */
  ping(): Promise<void>
}
