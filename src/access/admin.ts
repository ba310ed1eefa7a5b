// Merchants, profiles and API keys: who may use this installation. A key of the installation administers all of
// them; an admin key of a merchant administers that merchant and nothing else.

import type { Caller, Scope } from '../core/caller.ts'
import type { Cidr } from '../core/cidr.ts'
import { type Clock, isoTime } from '../core/clock.ts'
import { AppError, invalidField } from '../core/errors.ts'
import type { Ids, KeyId, MerchantId, ProfileId } from '../core/ids.ts'
import type { WebOrigin } from '../core/web-origin.ts'
import { newApiKey, newPublishableKey } from '../crypto/key-hash.ts'
import type { Keyring } from '../crypto/keyring.ts'
import type {
  ApiKeyRecord,
  MerchantRecord,
  ProfileChanges,
  ProfileRecord,
  Store,
} from '../store/contract.ts'
import { areScopesAllowed } from './scopes.ts'

export type NewApiKey = {
  readonly merchantId: MerchantId | undefined
  readonly name: string
  readonly scopes: readonly Scope[]
  readonly expiresAtMs: number | undefined
  readonly allowedCidrs: readonly Cidr[]
}

export type Admin = ReturnType<typeof createAdmin>

export function createAdmin(deps: { store: Store; keyring: Keyring; ids: Ids; clock: Clock }) {
  const { store, keyring, ids, clock } = deps

  function checkKey(key: NewApiKey): void {
    if (!areScopesAllowed(key.scopes, key.merchantId === undefined)) {
      throw invalidField('invalid_value', 'scopes')
    }
    if (key.expiresAtMs !== undefined && key.expiresAtMs <= clock()) {
      throw invalidField('invalid_value', 'expiration')
    }
  }

  return {
    /** Throws `conflict` when the id is or was in use. */
    async createMerchant(name: string, wantedId: MerchantId | undefined): Promise<MerchantRecord> {
      const id = wantedId ?? ids.merchant()
      const createdAtMs = clock()
      const merchant = { id, name, createdAtMs }
      const profile = {
        merchantId: id,
        id: ids.profile(),
        name: 'default',
        isDefault: true,
        createdAtMs,
        publishableKey: newPublishableKey(),
        allowedOrigins: [],
      }
      // Keys first: a merchant that can be found can be sealed for.
      await keyring.createOwner(id)
      if (!(await store.insertMerchant(merchant, profile))) throw new AppError('conflict')
      return merchant
    },

    async merchant(id: MerchantId): Promise<MerchantRecord> {
      return found(await store.findMerchant(id))
    },

    merchants: () => store.listMerchants(),

    async renameMerchant(id: MerchantId, name: string): Promise<MerchantRecord> {
      if (!(await store.renameMerchant(id, name))) throw new AppError('not_found')
      return found(await store.findMerchant(id))
    },

    /** Its keys go with it: what is still stored of the merchant can never be opened again. */
    async deleteMerchant(id: MerchantId): Promise<void> {
      if (!(await store.deleteMerchant(id))) throw new AppError('not_found')
      keyring.forgetOwner(id)
    },

    async createProfile(
      merchantId: MerchantId,
      name: string,
      allowedOrigins: readonly WebOrigin[],
    ): Promise<ProfileRecord> {
      const profile = {
        merchantId,
        id: ids.profile(),
        name,
        isDefault: false,
        createdAtMs: clock(),
        publishableKey: newPublishableKey(),
        allowedOrigins,
      }
      if (!(await store.insertProfile(profile))) throw new AppError('not_found')
      return profile
    },

    async profile(merchantId: MerchantId, id: ProfileId): Promise<ProfileRecord> {
      return found(await store.findProfile(merchantId, id))
    },

    profiles: (merchantId: MerchantId) => store.listProfiles(merchantId),

    /** What is not named stays. */
    async replaceProfile(
      merchantId: MerchantId,
      id: ProfileId,
      changes: Omit<ProfileChanges, 'publishableKey'>,
    ): Promise<ProfileRecord> {
      if (!(await store.replaceProfile(merchantId, id, changes))) throw new AppError('not_found')
      return found(await store.findProfile(merchantId, id))
    },

    /** The old one is unknown at once, for every process on the machine. */
    async rotatePublishableKey(merchantId: MerchantId, id: ProfileId): Promise<ProfileRecord> {
      const changes = { publishableKey: newPublishableKey() }
      if (!(await store.replaceProfile(merchantId, id, changes))) throw new AppError('not_found')
      return found(await store.findProfile(merchantId, id))
    },

    /** Throws `conflict` for the default one: every merchant has one. */
    async deleteProfile(merchantId: MerchantId, id: ProfileId): Promise<void> {
      const profile = found(await store.findProfile(merchantId, id))
      if (profile.isDefault) throw new AppError('conflict')
      if (!(await store.deleteProfile(merchantId, id))) throw new AppError('not_found')
    },

    /** The only time the key itself is seen. `apiKey`: one chosen by the operator, for the very first. */
    async createApiKey(
      key: NewApiKey,
      apiKey = newApiKey(),
    ): Promise<{ record: ApiKeyRecord; apiKey: string }> {
      checkKey(key)
      const hash = keyring.hashApiKey(apiKey)
      const record = { id: ids.key(), hash, createdAtMs: clock(), ...key }
      if (!(await store.insertApiKey(record))) throw new AppError('not_found')
      return { record, apiKey }
    },

    async apiKey(merchantId: MerchantId | undefined, id: KeyId): Promise<ApiKeyRecord> {
      return found(await store.findApiKey(merchantId, id))
    },

    apiKeys: (merchantId: MerchantId | undefined) => store.listApiKeys(merchantId),

    async replaceApiKey(id: KeyId, key: NewApiKey): Promise<ApiKeyRecord> {
      checkKey(key)
      const before = found(await store.findApiKey(key.merchantId, id))
      const record = { ...before, ...key }
      if (!(await store.replaceApiKey(record))) throw new AppError('not_found')
      return record
    },

    /** Revoked at once, for every process on the machine. */
    async deleteApiKey(merchantId: MerchantId | undefined, id: KeyId): Promise<void> {
      if (!(await store.deleteApiKey(merchantId, id))) throw new AppError('not_found')
    },
  }
}

function found<T>(record: T | undefined): T {
  if (record === undefined) throw new AppError('not_found')
  return record
}

/** May this caller administer that merchant (undefined: the installation)? What it may not looks absent. */
export function permitAdmin(caller: Caller, merchantId: MerchantId | undefined): void {
  if (caller.merchantId !== undefined && caller.merchantId !== merchantId)
    throw new AppError('not_found')
}

export const merchantAnswer = (merchant: MerchantRecord) => ({
  id: merchant.id,
  merchant_name: merchant.name,
  created_at: isoTime(merchant.createdAtMs),
})

export const profileAnswer = (profile: ProfileRecord) => ({
  id: profile.id,
  merchant_id: profile.merchantId,
  profile_name: profile.name,
  is_default: profile.isDefault,
  publishable_key: profile.publishableKey ?? null,
  allowed_origins: [...(profile.allowedOrigins ?? [])],
  created_at: isoTime(profile.createdAtMs),
})

export const apiKeyAnswer = (key: ApiKeyRecord) => ({
  key_id: key.id,
  merchant_id: key.merchantId ?? null,
  name: key.name,
  scopes: [...key.scopes],
  expiration: key.expiresAtMs === undefined ? null : isoTime(key.expiresAtMs),
  allowed_cidrs: [...key.allowedCidrs],
  created: isoTime(key.createdAtMs),
})
