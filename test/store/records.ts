// Records as the tests of the store need them: whole, different from each other, everything else a default.
// Every id is a millisecond younger than the one before, so that the order of creation is known.

import { createHash, randomBytes } from 'node:crypto'
import type { Cidr } from '../../src/core/cidr.ts'
import { createIds, type PaymentMethodId } from '../../src/core/ids.ts'
import type { Fingerprint } from '../../src/crypto/fingerprint.ts'
import {
  type ApiKeyHash,
  type ClientSecretHash,
  newPublishableKey,
} from '../../src/crypto/key-hash.ts'
import type { WrappedKey } from '../../src/crypto/keyring.ts'
import type { Sealed } from '../../src/crypto/seal.ts'
import type {
  ApiKeyRecord,
  CredentialRecord,
  CustomerRecord,
  CvcSlot,
  DestinationName,
  DestinationProposal,
  DestinationRecord,
  ExternalVaultProposal,
  ExternalVaultRecord,
  IdempotencyRecord,
  MerchantRecord,
  PaymentMethodRecord,
  ProfileRecord,
  SessionRecord,
  Store,
  TokenRecord,
} from '../../src/store/contract.ts'

/** When the records expire is counted from here. */
export const START_MS = Date.UTC(2030, 0, 1)

let nowMs = START_MS
export const ids = createIds('test1', () => ++nowMs)

/** The store never opens a sealed value, so any bytes are as good as sealed ones: hence the cast. */
export function sealed(size = 64): Sealed {
  return randomBytes(size) as Uint8Array as Sealed
}

/** As long and as random as a real one; nothing but its form is known to the store. */
export function newFingerprint(): Fingerprint {
  return randomBytes(32).toString('base64url') as Fingerprint
}

export function newMerchant(changes: Partial<MerchantRecord> = {}): MerchantRecord {
  return { id: ids.merchant(), name: 'Acme', createdAtMs: ++nowMs, ...changes }
}

export function newProfile(
  merchant: Pick<MerchantRecord, 'id'>,
  changes: Partial<ProfileRecord> = {},
): ProfileRecord {
  return {
    merchantId: merchant.id,
    id: ids.profile(),
    name: 'Shop',
    isDefault: false,
    createdAtMs: ++nowMs,
    publishableKey: newPublishableKey(),
    allowedOrigins: [],
    ...changes,
  }
}

/** Without a merchant: a key of the installation. */
export function newApiKey(
  merchant: Pick<MerchantRecord, 'id'> | undefined,
  changes: Partial<ApiKeyRecord> = {},
): ApiKeyRecord {
  return {
    id: ids.key(),
    hash: randomBytes(32).toString('base64url') as ApiKeyHash, // see newFingerprint
    merchantId: merchant?.id,
    name: 'Checkout',
    scopes: ['payment_methods:write'],
    allowedCidrs: ['10.0.0.0/8' as Cidr], // as the parser would answer
    createdAtMs: ++nowMs,
    expiresAtMs: undefined,
    ...changes,
  }
}

export function newCustomer(
  merchant: Pick<MerchantRecord, 'id'>,
  changes: Partial<CustomerRecord> = {},
): CustomerRecord {
  return {
    merchantId: merchant.id,
    id: ids.customer(),
    reference: undefined,
    createdAtMs: ++nowMs,
    revision: 0,
    defaultPaymentMethodId: undefined,
    details: sealed(),
    ...changes,
  }
}

/** Of this customer and with a fingerprint, or a guest's when only a merchant is given. */
export function newMethod(
  owner: CustomerRecord | MerchantRecord,
  changes: Partial<PaymentMethodRecord> = {},
): PaymentMethodRecord {
  const isGuest = !('merchantId' in owner)
  return {
    merchantId: isGuest ? owner.id : owner.merchantId,
    id: ids.paymentMethod(),
    customerId: isGuest ? undefined : owner.id,
    fingerprint: newFingerprint(),
    createdAtMs: ++nowMs,
    expiresAtMs: undefined,
    revision: 0,
    fields: 0b101,
    card: sealed(),
    details: sealed(),
    ...changes,
  }
}

/** Of this customer, or nobody's when only a merchant is given. */
export function newToken(
  owner: CustomerRecord | MerchantRecord,
  changes: Partial<TokenRecord> = {},
): TokenRecord {
  const isNobodys = !('merchantId' in owner)
  return {
    merchantId: isNobodys ? owner.id : owner.merchantId,
    id: ids.token(),
    customerId: isNobodys ? undefined : owner.id,
    createdAtMs: ++nowMs,
    expiresAtMs: undefined,
    value: sealed(),
    ...changes,
  }
}

/** Of this customer, or a guest's when only a merchant is given. */
export function newSession(
  owner: CustomerRecord | MerchantRecord,
  changes: Partial<SessionRecord> = {},
): SessionRecord {
  const isGuest = !('merchantId' in owner)
  return {
    merchantId: isGuest ? owner.id : owner.merchantId,
    id: ids.session(),
    profileId: ids.profile(),
    customerId: isGuest ? undefined : owner.id,
    clientSecret: randomBytes(32).toString('base64url') as ClientSecretHash, // see newFingerprint
    createdAtMs: ++nowMs,
    expiresAtMs: START_MS + 900_000,
    revision: 0,
    attempts: 0,
    busyUntilMs: undefined,
    isDone: false,
    details: sealed(),
    tokenData: undefined,
    ...changes,
  }
}

export function newExternalVault(
  profile: Pick<ProfileRecord, 'merchantId' | 'id'>,
  revision = 0,
): ExternalVaultRecord {
  return { merchantId: profile.merchantId, profileId: profile.id, revision, settings: sealed() }
}

/** To put these settings as they are. */
export function newExternalVaultProposal(vault: ExternalVaultRecord): ExternalVaultProposal {
  return { id: ids.request(), proposedBy: ids.key(), proposedAtMs: ++nowMs, vault }
}

export function newCvc(expiresAtMs = START_MS + 900_000): CvcSlot {
  return { expiresAtMs, sealed: sealed() }
}

export function destinationName(name: string): DestinationName {
  return name as DestinationName // the grammar of names is not the store's business
}

export function newDestination(
  profile: ProfileRecord,
  changes: Partial<DestinationRecord> = {},
): DestinationRecord {
  const name = `psp-${++nowMs}`
  return {
    merchantId: profile.merchantId,
    profileId: profile.id,
    name: destinationName(name),
    origin: `https://${name}.example.com`,
    revision: 0,
    settings: '{"fields":["card_number"]}',
    secrets: sealed(),
    ...changes,
  }
}

/** To put this destination as it is. */
export function newProposal(
  destination: DestinationRecord,
  changes: Partial<DestinationProposal> = {},
): DestinationProposal {
  return {
    id: ids.request(),
    proposedBy: ids.key(),
    proposedAtMs: ++nowMs,
    destination,
    ...changes,
  }
}

export function newCredential(
  method: Pick<PaymentMethodRecord, 'merchantId' | 'id'>,
  changes: Partial<CredentialRecord> = {},
): CredentialRecord {
  return {
    merchantId: method.merchantId,
    paymentMethodId: method.id,
    kind: 'psp_token',
    connector: 'stripe',
    createdAtMs: ++nowMs,
    value: sealed(),
    ...changes,
  }
}

/** In flight since the start, for a minute. */
export function newIdempotencyRecord(
  merchant: Pick<MerchantRecord, 'id'>,
  changes: Partial<IdempotencyRecord> = {},
): IdempotencyRecord {
  return {
    merchantId: merchant.id,
    key: newFingerprint(),
    request: newFingerprint(),
    claimant: ids.request(),
    instance: 'host-1.4711',
    createdAtMs: START_MS,
    expiresAtMs: START_MS + 60_000,
    state: 'in_flight',
    answer: undefined,
    ...changes,
  }
}

export function newWrappedKey(owner: string, changes: Partial<WrappedKey> = {}): WrappedKey {
  return {
    owner,
    purpose: 'data',
    version: 1,
    createdAtMs: ++nowMs,
    wrapped: sealed(),
    ...changes,
  }
}

/** What the vault hands the store in place of a reference. */
export function hashed(reference: string): Fingerprint {
  return reference as Fingerprint
}

/** A merchant in the store, with its default profile and one customer. */
export async function seedMerchant(store: Store, changes: Partial<MerchantRecord> = {}) {
  const merchant = newMerchant(changes)
  const profile = newProfile(merchant, { isDefault: true })
  if (!(await store.insertMerchant(merchant, profile))) throw new Error('merchant id taken')
  const customer = newCustomer(merchant, { reference: hashed('seeded') })
  if (!(await store.insertCustomer(customer))) throw new Error('customer not inserted')
  return { merchant, profile, customer }
}

/** A payment method in the store, as it is read: with its revision. */
export async function seedMethod(
  store: Store,
  method: PaymentMethodRecord,
  cvc?: CvcSlot,
): Promise<PaymentMethodRecord> {
  const { kind } = await store.insertPaymentMethod(method, cvc)
  const stored = await store.findPaymentMethod(method.merchantId, method.id)
  if (kind !== 'inserted' || stored === undefined) throw new Error(`not inserted: ${kind}`)
  return stored
}

export async function seedToken(store: Store, token: TokenRecord): Promise<TokenRecord> {
  const answer = await store.insertToken(token)
  if (answer !== 'inserted') throw new Error(`not inserted: ${answer}`)
  return token
}

/** A destination in the store, as it is read: with its revision. */
export async function seedDestination(
  store: Store,
  destination: DestinationRecord,
): Promise<DestinationRecord> {
  const put = await store.putDestination(destination)
  const { merchantId, profileId, name } = destination
  const stored = await store.findDestination(merchantId, profileId, name)
  if (put !== 'written' || stored === undefined) throw new Error(`not written: ${put}`)
  return stored
}

/** A payment method and its code whose bytes follow from its id: any process can tell whether they are right. */
export function derivedMethod(
  customer: Pick<CustomerRecord, 'merchantId' | 'id'>,
  id: PaymentMethodId,
) {
  const derive = (purpose: string) => createHash('sha512').update(`${purpose} ${id}`).digest()
  const derivedSeal = (purpose: string) => derive(purpose) as Uint8Array as Sealed // as `sealed`
  const method: PaymentMethodRecord = {
    merchantId: customer.merchantId,
    id,
    customerId: customer.id,
    fingerprint: derive('fingerprint').toString('base64url', 0, 32) as Fingerprint,
    createdAtMs: START_MS,
    expiresAtMs: undefined,
    revision: 0,
    fields: 0b111,
    card: derivedSeal('card'),
    details: derivedSeal('details'),
  }
  const cvc: CvcSlot = { expiresAtMs: START_MS, sealed: derivedSeal('cvc') }
  return { method, cvc }
}
