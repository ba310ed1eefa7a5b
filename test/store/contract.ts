// The contract suite of the store: every promise of src/store/contract.ts, asked of a real backend. A backend
// runs it with `describeStore(name, open)`, where `open` answers with an empty store that nobody else uses;
// each test closes its own. What only one backend promises stands in that backend's test file.

import { describe, expect, test } from 'vitest'
import type {
  CustomerId,
  MerchantId,
  PaymentMethodId,
  ProfileId,
  TokenId,
} from '../../src/core/ids.ts'
import type { WebOrigin } from '../../src/core/web-origin.ts'
import { newPublishableKey } from '../../src/crypto/key-hash.ts'
import type {
  CredentialRecord,
  CustomerRecord,
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
import {
  destinationName,
  hashed,
  ids,
  newApiKey,
  newCredential,
  newCustomer,
  newCvc,
  newDestination,
  newExternalVault,
  newExternalVaultProposal,
  newFingerprint,
  newIdempotencyRecord,
  newMerchant,
  newMethod,
  newProfile,
  newProposal,
  newSession,
  newToken,
  newWrappedKey,
  START_MS,
  sealed,
  seedDestination,
  seedMerchant,
  seedMethod,
  seedToken,
} from './records.ts'

type Open = () => Promise<Store>

export function describeStore(backend: string, open: Open): void {
  // Bytes are compared as bytes: one backend answers with a Buffer, another may with a Uint8Array.
  expect.addEqualityTesters([
    (a: unknown, b: unknown) =>
      a instanceof Uint8Array && b instanceof Uint8Array ? Buffer.compare(a, b) === 0 : undefined,
  ])

  describe(`${backend} store`, () => {
    describe('merchants', () => describeMerchants(open))
    describe('profiles', () => describeProfiles(open))
    describe('API keys', () => describeApiKeys(open))
    describe('customers', () => describeCustomers(open))
    describe('payment methods', () => describePaymentMethods(open))
    describe('card verification codes', () => describeCodes(open))
    describe('tokens', () => describeTokens(open))
    describe('expiry', () => describeExpiry(open))
    describe('destinations', () => describeDestinations(open))
    describe('proposals of destinations', () => describeProposals(open))
    describe('captured credentials', () => describeCredentials(open))
    describe('sessions', () => describeSessions(open))
    describe('external vaults', () => describeExternalVaults(open))
    describe('proposals of external vaults', () => describeVaultProposals(open))
    describe('idempotency records', () => describeIdempotency(open))
    describe('walls between merchants', () => describeWalls(open))
    describe('wrapped keys and hour keys', () => describeKeys(open))

    test('a ping is answered by an open store and refused by a closed one', async () => {
      const store = await open()
      await store.ping()
      await store[Symbol.asyncDispose]()

      await expect(async () => store.ping()).rejects.toThrow()
    })
  })
}

function describeMerchants(open: Open): void {
  test('a merchant is found as it was inserted, with its default profile', async () => {
    await using store = await open()
    const merchant = newMerchant()
    const profile = newProfile(merchant, { isDefault: true })

    expect(await store.insertMerchant(merchant, profile)).toBe(true)

    expect(await store.findMerchant(merchant.id)).toEqual(merchant)
    expect(await store.findDefaultProfile(merchant.id)).toMatchObject(profile)
    expect(await store.findProfile(merchant.id, profile.id)).toMatchObject(profile)
    expect(await store.listProfiles(merchant.id)).toEqual([profile])
  })

  test('an unknown merchant is not there', async () => {
    await using store = await open()
    const { id } = newMerchant()

    expect(await store.findMerchant(id)).toBeUndefined()
    expect(await store.listMerchants()).toEqual([])
    expect(await store.findDefaultProfile(id)).toBeUndefined()
    expect(await store.renameMerchant(id, 'Nobody')).toBe(false)
    expect(await store.deleteMerchant(id)).toBe(false)
    expect(await store.findMerchant(id)).toBeUndefined()
  })

  test('a second insert of the same id is refused and keeps the first merchant', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)
    const other = newProfile(merchant, { isDefault: true })

    expect(await store.insertMerchant({ ...merchant, name: 'Second' }, other)).toBe(false)

    expect(await store.findMerchant(merchant.id)).toEqual(merchant)
    expect(await store.listProfiles(merchant.id)).toEqual([profile])
    expect(await store.findDefaultProfile(merchant.id)).toMatchObject(profile)
  })

  test('of 20 racing inserts of the same id one wins', async () => {
    await using store = await open()
    const contenders = times(20, (n) => newMerchant({ id: merchantId('shop'), name: `Shop ${n}` }))

    const won = await Promise.all(
      contenders.map((each) => store.insertMerchant(each, newProfile(each, { isDefault: true }))),
    )

    expect(countTrue(won)).toBe(1)
    expect(await store.findMerchant(merchantId('shop'))).toEqual(contenders[won.indexOf(true)])
    expect(await store.listProfiles(merchantId('shop'))).toHaveLength(1)
  })

  test('all merchants are listed', async () => {
    await using store = await open()
    const merchants = [newMerchant(), newMerchant(), newMerchant()]
    for (const each of merchants) {
      await store.insertMerchant(each, newProfile(each, { isDefault: true }))
    }

    expect(byId(await store.listMerchants())).toEqual(byId(merchants))
  })

  test('a renamed merchant keeps everything but its name', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)

    expect(await store.renameMerchant(merchant.id, 'Ünïcode & Søns')).toBe(true)

    expect(await store.findMerchant(merchant.id)).toEqual({ ...merchant, name: 'Ünïcode & Søns' })
    expect(await store.findDefaultProfile(merchant.id)).toMatchObject(profile)
  })

  test('a deleted merchant is gone and its id stays taken', async () => {
    await using store = await open()
    const { merchant } = await seedMerchant(store)

    expect(await store.deleteMerchant(merchant.id)).toBe(true)

    expect(await store.findMerchant(merchant.id)).toBeUndefined()
    expect(await store.listMerchants()).toEqual([])
    expect(await store.deleteMerchant(merchant.id)).toBe(false)
    expect(await store.renameMerchant(merchant.id, 'Back')).toBe(false)
    expect(await store.insertMerchant(merchant, newProfile(merchant, { isDefault: true }))).toBe(
      false,
    )
    expect(await store.findMerchant(merchant.id)).toBeUndefined()
    expect(await store.listProfiles(merchant.id)).toEqual([])
  })

  test('of 20 racing deletions of a merchant one did it', async () => {
    await using store = await open()
    const { merchant } = await seedMerchant(store)

    expect(countTrue(await Promise.all(times(20, () => store.deleteMerchant(merchant.id))))).toBe(1)
  })

  test('deleting a merchant removes its profiles, API keys, destinations and wrapped keys', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)
    const second = newProfile(merchant)
    await store.insertProfile(second)
    const key = newApiKey(merchant)
    await store.insertApiKey(key)
    const destination = await seedDestination(store, newDestination(second))
    await store.insertWrappedKey(newWrappedKey(merchant.id))
    await store.insertWrappedKey(newWrappedKey(merchant.id, { purpose: 'fingerprint' }))

    await store.deleteMerchant(merchant.id)

    expect(await store.listProfiles(merchant.id)).toEqual([])
    expect(await store.findProfile(merchant.id, profile.id)).toBeUndefined()
    expect(await store.findProfile(merchant.id, second.id)).toBeUndefined()
    expect(await store.findDefaultProfile(merchant.id)).toBeUndefined()
    expect(await store.findApiKeyByHash(key.hash)).toBeUndefined()
    expect(await store.findApiKey(merchant.id, key.id)).toBeUndefined()
    expect(await store.listApiKeys(merchant.id)).toEqual([])
    expect(await findDestination(store, destination)).toBeUndefined()
    expect(await findByOrigin(store, second, destination.origin)).toBeUndefined()
    expect(await store.listDestinations(merchant.id, second.id)).toEqual([])
    expect(await store.listWrappedKeys(merchant.id)).toEqual([])
  })

  test('nothing can be made under a deleted merchant', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)
    await store.deleteMerchant(merchant.id)
    const key = newApiKey(merchant)

    expect(await store.insertProfile(newProfile(merchant))).toBe(false)
    expect(await store.insertApiKey(key)).toBe(false)
    expect(await store.findApiKeyByHash(key.hash)).toBeUndefined()
    expect(await store.insertCustomer(newCustomer(merchant))).toBe(false)
    expect(await store.putDestination(newDestination(profile))).toBe('not_found')
    const token = newToken(merchant)
    expect(await store.insertToken(token)).toBe('no_customer')
    expect(await findToken(store, token)).toBeUndefined()
  })

  test('what is being made while its merchant is deleted does not stay', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)
    const late = newProfile(merchant)
    const key = newApiKey(merchant)
    const destination = newDestination(profile)

    await Promise.all([
      store.insertProfile(late),
      store.insertApiKey(key),
      store.putDestination(destination),
      store.replaceProfile(merchant.id, profile.id, { name: 'Renamed' }),
      store.insertWrappedKey(newWrappedKey(merchant.id)),
      store.deleteMerchant(merchant.id),
    ])

    expect(await store.listProfiles(merchant.id)).toEqual([])
    expect(await store.findDefaultProfile(merchant.id)).toBeUndefined()
    expect(await store.findApiKeyByHash(key.hash)).toBeUndefined()
    expect(await store.listApiKeys(merchant.id)).toEqual([])
    expect(await findDestination(store, destination)).toBeUndefined()
    expect(await findByOrigin(store, profile, destination.origin)).toBeUndefined()
    expect(await store.listWrappedKeys(merchant.id)).toEqual([])
  })

  test('deleting a merchant leaves those whose ids begin like its own', async () => {
    await using store = await open()
    // `-` sorts before and `0` after the `/` that a backend may put behind an id.
    const others = await Promise.all(
      ['shop-1', 'shop0', 'shop_1', 'sho', 'SHOP'].map((id) => everythingOf(store, id)),
    )
    const { merchant } = await everythingOf(store, 'shop')

    await store.deleteMerchant(merchant.id)

    for (const other of others) expect(await other.read()).toEqual(other.before)
  })
}

function describeProfiles(open: Open): void {
  test('a profile is found as it was inserted', async () => {
    await using store = await open()
    const { merchant, profile: first } = await seedMerchant(store)
    const profile = newProfile(merchant)

    expect(await store.insertProfile(profile)).toBe(true)

    expect(await store.findProfile(merchant.id, profile.id)).toMatchObject(profile)
    expect(byId(await store.listProfiles(merchant.id))).toEqual(byId([first, profile]))
    expect(await store.findDefaultProfile(merchant.id)).toMatchObject(first)
  })

  test('a profile is refused when its id is taken or its merchant does not exist', async () => {
    await using store = await open()
    const { merchant } = await seedMerchant(store)
    const profile = newProfile(merchant)
    await store.insertProfile(profile)
    const stray = newProfile(newMerchant())

    expect(await store.insertProfile({ ...profile, name: 'Second' })).toBe(false)
    expect(await store.insertProfile(stray)).toBe(false)

    expect(await store.findProfile(merchant.id, profile.id)).toMatchObject(profile)
    expect(await store.findProfile(stray.merchantId, stray.id)).toBeUndefined()
  })

  test('of 20 racing inserts of the same profile id one wins', async () => {
    await using store = await open()
    const { merchant } = await seedMerchant(store)
    const contenders = times(20, (n) =>
      newProfile(merchant, { id: 'shop' as ProfileId, name: `Shop ${n}` }),
    )

    const won = await Promise.all(contenders.map((each) => store.insertProfile(each)))

    expect(countTrue(won)).toBe(1)
    const winner = contenders[won.indexOf(true)]
    expect(await store.findProfile(merchant.id, 'shop' as ProfileId)).toMatchObject(winner ?? {})
  })

  test('a renamed profile is read under its new name everywhere', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)
    const second = newProfile(merchant)
    await store.insertProfile(second)

    expect(await store.replaceProfile(merchant.id, profile.id, { name: 'Main' })).toBe(true)
    expect(await store.replaceProfile(merchant.id, second.id, { name: 'Side' })).toBe(true)

    expect(await store.findProfile(merchant.id, profile.id)).toMatchObject({ name: 'Main' })
    expect(await store.findDefaultProfile(merchant.id)).toMatchObject({ ...profile, name: 'Main' })
    expect(byId(await store.listProfiles(merchant.id))).toEqual(
      byId([
        { ...profile, name: 'Main' },
        { ...second, name: 'Side' },
      ]),
    )
  })

  test('an unknown profile is neither found, changed nor deleted', async () => {
    await using store = await open()
    const { merchant } = await seedMerchant(store)
    const { id } = newProfile(merchant)

    expect(await store.findProfile(merchant.id, id)).toBeUndefined()
    expect(await store.replaceProfile(merchant.id, id, { name: 'Nobody' })).toBe(false)
    expect(await store.deleteProfile(merchant.id, id)).toBe(false)
    expect(await store.findProfile(merchant.id, id)).toBeUndefined()
  })

  test('a profile is found by its publishable key, the same object until it changes', async () => {
    await using store = await open()
    const { merchant, profile: first } = await seedMerchant(store)
    const profile = newProfile(merchant)
    await store.insertProfile(profile)

    for (const each of [first, profile]) {
      const found = await byPublishableKey(store, each)
      expect(found).toEqual(each)
      expect(await byPublishableKey(store, each)).toBe(found)
    }
    const before = await byPublishableKey(store, profile)
    const allowedOrigins = ['https://shop.example' as WebOrigin] // as the parser would answer
    await store.replaceProfile(merchant.id, profile.id, { allowedOrigins })
    expect(before?.allowedOrigins).toEqual([])
    expect(await byPublishableKey(store, profile)).toEqual({ ...profile, allowedOrigins })
    expect(await store.findProfile(merchant.id, profile.id)).toEqual({ ...profile, allowedOrigins })
  })

  test('a rotated publishable key takes the place of the old one at once', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)
    const second = newProfile(merchant)
    await store.insertProfile(second)
    for (const each of [profile, second]) {
      const publishableKey = newPublishableKey()

      expect(await store.replaceProfile(merchant.id, each.id, { publishableKey })).toBe(true)

      expect(await byPublishableKey(store, each)).toBeUndefined()
      expect(await byPublishableKey(store, { publishableKey })).toEqual({ ...each, publishableKey })
    }
  })

  test('of changes of a profile that race none is lost, and one key is left', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)
    const keys = times(10, newPublishableKey)
    const allowedOrigins = ['https://shop.example' as WebOrigin]

    await Promise.all([
      ...keys.map((publishableKey) =>
        store.replaceProfile(merchant.id, profile.id, { publishableKey }),
      ),
      store.replaceProfile(merchant.id, profile.id, { name: 'Renamed' }),
      store.replaceProfile(merchant.id, profile.id, { allowedOrigins }),
    ])

    const after = await store.findProfile(merchant.id, profile.id)
    expect(after).toMatchObject({ name: 'Renamed', allowedOrigins })
    const working = []
    for (const publishableKey of [profile.publishableKey, ...keys]) {
      if (await byPublishableKey(store, { publishableKey })) working.push(publishableKey)
    }
    expect(working).toEqual([after?.publishableKey])
  })

  test('a publishable key is unknown when its profile or its merchant was deleted, whatever raced', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)
    const second = newProfile(merchant)
    await store.insertProfile(second)
    const late = { publishableKey: newPublishableKey() }
    const later = { publishableKey: newPublishableKey() }

    await Promise.all([
      store.replaceProfile(merchant.id, second.id, late),
      store.deleteProfile(merchant.id, second.id),
    ])
    for (const each of [second, late]) expect(await byPublishableKey(store, each)).toBeUndefined()
    expect(await byPublishableKey(store, profile)).toEqual(profile)

    await Promise.all([
      store.replaceProfile(merchant.id, profile.id, later),
      store.deleteMerchant(merchant.id),
    ])
    for (const each of [profile, later]) expect(await byPublishableKey(store, each)).toBeUndefined()
  })

  test('a profile that was stored before there were publishable keys has none until it is rotated', async () => {
    await using store = await open()
    const merchant = newMerchant()
    const old = newProfile(merchant, {
      isDefault: true,
      publishableKey: undefined,
      allowedOrigins: undefined,
    })
    await store.insertMerchant(merchant, old)
    expect(await store.findProfile(merchant.id, old.id)).toEqual(old)
    const publishableKey = newPublishableKey()

    await store.replaceProfile(merchant.id, old.id, { publishableKey })

    expect(await byPublishableKey(store, { publishableKey })).toEqual({ ...old, publishableKey })
    expect(await store.findDefaultProfile(merchant.id)).toEqual({ ...old, publishableKey })
  })

  test('the default profile cannot be deleted', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)

    expect(await store.deleteProfile(merchant.id, profile.id)).toBe(false)

    expect(await store.findDefaultProfile(merchant.id)).toMatchObject(profile)
    expect(await store.findProfile(merchant.id, profile.id)).toMatchObject(profile)
  })

  test('a deleted profile is gone with its destinations, and no other profile is', async () => {
    await using store = await open()
    const { merchant, profile: first } = await seedMerchant(store)
    const profile = newProfile(merchant, { id: 'shop' as ProfileId })
    const neighbour = newProfile(merchant, { id: 'shop-1' as ProfileId })
    await store.insertProfile(profile)
    await store.insertProfile(neighbour)
    const destination = await seedDestination(store, newDestination(profile))
    const kept = await seedDestination(store, newDestination(neighbour))

    expect(await store.deleteProfile(merchant.id, profile.id)).toBe(true)

    expect(await store.deleteProfile(merchant.id, profile.id)).toBe(false)
    expect(await store.findProfile(merchant.id, profile.id)).toBeUndefined()
    expect(byId(await store.listProfiles(merchant.id))).toEqual(byId([first, neighbour]))
    expect(await findDestination(store, destination)).toBeUndefined()
    expect(await findByOrigin(store, profile, destination.origin)).toBeUndefined()
    expect(await store.listDestinations(merchant.id, profile.id)).toEqual([])
    expect(await store.putDestination(newDestination(profile))).toBe('not_found')
    expect(await findDestination(store, kept)).toEqual(kept)
    expect(await findByOrigin(store, neighbour, kept.origin)).toEqual(kept)
  })

  test('a destination that is being written while its profile is deleted does not stay', async () => {
    await using store = await open()
    const { merchant } = await seedMerchant(store)
    const profile = newProfile(merchant)
    await store.insertProfile(profile)
    const destination = newDestination(profile)

    const [put, deleted] = await Promise.all([
      store.putDestination(destination),
      store.deleteProfile(merchant.id, profile.id),
    ])

    expect(deleted).toBe(true)
    expect(['written', 'not_found']).toContain(put)
    expect(await findDestination(store, destination)).toBeUndefined()
    expect(await findByOrigin(store, profile, destination.origin)).toBeUndefined()
    expect(await store.listDestinations(merchant.id, profile.id)).toEqual([])
  })
}

function describeApiKeys(open: Open): void {
  test('a key is found by its hash and by its id', async () => {
    await using store = await open()
    const { merchant } = await seedMerchant(store)
    const key = newApiKey(merchant, { expiresAtMs: START_MS })

    expect(await store.insertApiKey(key)).toBe(true)

    expect(await store.findApiKeyByHash(key.hash)).toMatchObject(key)
    expect(await store.findApiKey(merchant.id, key.id)).toEqual(key)
    expect(await store.listApiKeys(merchant.id)).toEqual([key])
  })

  test('an unknown key is neither found, replaced nor deleted', async () => {
    await using store = await open()
    const { merchant } = await seedMerchant(store)
    const key = newApiKey(merchant)

    expect(await store.findApiKeyByHash(key.hash)).toBeUndefined()
    expect(await store.findApiKey(merchant.id, key.id)).toBeUndefined()
    expect(await store.replaceApiKey(key)).toBe(false)
    expect(await store.deleteApiKey(merchant.id, key.id)).toBe(false)
    expect(await store.findApiKeyByHash(key.hash)).toBeUndefined()
  })

  test('a key of a merchant that does not exist is refused', async () => {
    await using store = await open()
    const key = newApiKey(newMerchant())

    expect(await store.insertApiKey(key)).toBe(false)

    expect(await store.findApiKeyByHash(key.hash)).toBeUndefined()
  })

  test("the installation's own keys are apart from every merchant's", async () => {
    await using store = await open()
    const { merchant } = await seedMerchant(store)
    const own = newApiKey(undefined)
    const theirs = newApiKey(merchant)

    expect(await store.insertApiKey(own)).toBe(true)
    expect(await store.insertApiKey(theirs)).toBe(true)

    expect(await store.listApiKeys(undefined)).toEqual([own])
    expect(await store.listApiKeys(merchant.id)).toEqual([theirs])
    expect(await store.findApiKey(undefined, own.id)).toEqual(own)
    expect(await store.findApiKey(undefined, theirs.id)).toBeUndefined()
    expect(await store.findApiKey(merchant.id, own.id)).toBeUndefined()
    expect((await store.findApiKeyByHash(own.hash))?.merchantId).toBeUndefined()
    expect(await store.deleteApiKey(undefined, theirs.id)).toBe(false)
    expect(await store.deleteApiKey(merchant.id, own.id)).toBe(false)
    expect(await store.replaceApiKey({ ...theirs, merchantId: undefined })).toBe(false)
    expect((await store.findApiKeyByHash(theirs.hash))?.merchantId).toBe(merchant.id)
  })

  test('a replaced key is read anew by hash, by id and in the list', async () => {
    await using store = await open()
    const { merchant } = await seedMerchant(store)
    const key = newApiKey(merchant)
    await store.insertApiKey(key)
    await store.findApiKeyByHash(key.hash)
    const narrower = { ...key, name: 'Narrow', scopes: [], allowedCidrs: [], expiresAtMs: START_MS }

    expect(await store.replaceApiKey(narrower)).toBe(true)

    expect(await store.findApiKeyByHash(key.hash)).toMatchObject(narrower)
    expect(await store.findApiKey(merchant.id, key.id)).toEqual(narrower)
    expect(await store.listApiKeys(merchant.id)).toEqual([narrower])
  })

  test('a replacement never changes by which hash a key is found', async () => {
    await using store = await open()
    const { merchant } = await seedMerchant(store)
    const key = newApiKey(merchant)
    await store.insertApiKey(key)
    const otherHash = newApiKey(merchant).hash

    await store.replaceApiKey({ ...key, hash: otherHash, name: 'Renamed' }).catch(() => false)

    expect(await store.findApiKeyByHash(otherHash)).toBeUndefined()
    expect((await store.findApiKey(merchant.id, key.id))?.hash).toBe(key.hash)
  })

  test('a key is the same object until it changes, then another one', async () => {
    await using store = await open()
    const { merchant } = await seedMerchant(store)
    const key = newApiKey(merchant)
    await store.insertApiKey(key)
    await store.insertApiKey(newApiKey(merchant))
    const first = await store.findApiKeyByHash(key.hash)

    await store.insertApiKey(newApiKey(merchant))
    await later()
    expect(await store.findApiKeyByHash(key.hash)).toBe(first)

    await store.replaceApiKey({ ...key, scopes: [] })
    const second = await store.findApiKeyByHash(key.hash)
    expect(second).not.toBe(first)
    expect(second?.scopes).toEqual([])
    expect(first?.scopes).toEqual(key.scopes)
    expect(await store.findApiKeyByHash(key.hash)).toBe(second)
  })

  test('a deleted key is unknown at once', async () => {
    await using store = await open()
    const { merchant } = await seedMerchant(store)
    const key = newApiKey(merchant)
    const other = newApiKey(merchant)
    await store.insertApiKey(key)
    await store.insertApiKey(other)
    await store.findApiKeyByHash(key.hash)

    expect(await store.deleteApiKey(merchant.id, key.id)).toBe(true)

    expect(await store.findApiKeyByHash(key.hash)).toBeUndefined()
    expect(await store.findApiKey(merchant.id, key.id)).toBeUndefined()
    expect(await store.listApiKeys(merchant.id)).toEqual([other])
    expect(await store.deleteApiKey(merchant.id, key.id)).toBe(false)
    expect(await store.replaceApiKey(key)).toBe(false)
    expect(await store.findApiKeyByHash(key.hash)).toBeUndefined()
  })

  test('an id names one key: when it is deleted, nothing inserted under it opens any more', async () => {
    await using store = await open()
    const { merchant } = await seedMerchant(store)
    const first = newApiKey(merchant)
    const second = newApiKey(merchant, { id: first.id })
    await store.insertApiKey(first)
    await store.insertApiKey(second)

    await store.deleteApiKey(merchant.id, first.id)

    expect(await store.findApiKeyByHash(first.hash)).toBeUndefined()
    expect(await store.findApiKeyByHash(second.hash)).toBeUndefined()
  })

  test('a key that is replaced while it is deleted does not come back', async () => {
    await using store = await open()
    const { merchant } = await seedMerchant(store)
    for (const deleteFirst of [true, false]) {
      const key = newApiKey(merchant)
      await store.insertApiKey(key)
      const replace = () => store.replaceApiKey({ ...key, name: 'Back' })
      const remove = () => store.deleteApiKey(merchant.id, key.id)

      await Promise.all(deleteFirst ? [remove(), replace()] : [replace(), remove()])

      expect(await store.findApiKeyByHash(key.hash)).toBeUndefined()
      expect(await store.listApiKeys(merchant.id)).toEqual([])
    }
  })
}

function describeCustomers(open: Open): void {
  test('a customer is found by id and by reference as it was inserted', async () => {
    await using store = await open()
    const { merchant } = await seedMerchant(store)
    const customer = newCustomer(merchant, { reference: hashed('crm-1'), details: sealed(20_000) })

    expect(await store.insertCustomer(customer)).toBe(true)

    const stored = { ...customer, revision: expect.any(Number) }
    expect(await store.findCustomer(merchant.id, customer.id)).toEqual(stored)
    expect(await store.findCustomerByReference(merchant.id, hashed('crm-1'))).toEqual(stored)
  })

  test('an unknown customer is not there', async () => {
    await using store = await open()
    const { merchant } = await seedMerchant(store)
    const customer = newCustomer(merchant)

    expect(await store.findCustomer(merchant.id, customer.id)).toBeUndefined()
    expect(await store.findCustomerByReference(merchant.id, hashed('nobody'))).toBeUndefined()
    expect(await store.replaceCustomer(customer)).toBe('changed')
    expect(await store.deleteCustomer(merchant.id, customer.id)).toBeUndefined()
    expect(await store.findCustomer(merchant.id, customer.id)).toBeUndefined()
  })

  test.each([
    ['with a slash', 'a/b'],
    ['like a missing one', 'undefined'],
    ['with quotes', `Robert'); "--`],
    ['escaped', '%2F'],
    ['not ASCII', 'ключ-钥匙-🔑'],
    ['long', 'x'.repeat(255)],
  ])('a reference may be any text: %s', async (_, text) => {
    const reference = hashed(text)
    await using store = await open()
    const { merchant } = await seedMerchant(store)
    await store.insertCustomer(newCustomer(merchant)) // without a reference
    const customer = newCustomer(merchant, { reference })

    expect(await store.insertCustomer(customer)).toBe(true)

    expect((await store.findCustomerByReference(merchant.id, reference))?.id).toBe(customer.id)
    expect(await store.insertCustomer(newCustomer(merchant, { reference }))).toBe(false)
    expect(await store.deleteCustomer(merchant.id, customer.id)).toEqual([])
    expect(await store.findCustomerByReference(merchant.id, reference)).toBeUndefined()
  })

  test('a customer is refused when its reference is taken or its merchant does not exist', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const second = newCustomer(merchant, { reference: hashed('seeded') })
    const stray = newCustomer(newMerchant())

    expect(await store.insertCustomer(second)).toBe(false)
    expect(await store.insertCustomer(stray)).toBe(false)

    expect(await store.findCustomer(merchant.id, second.id)).toBeUndefined()
    expect((await store.findCustomerByReference(merchant.id, hashed('seeded')))?.id).toBe(
      customer.id,
    )
    expect(await store.findCustomer(stray.merchantId, stray.id)).toBeUndefined()
  })

  test('of 20 racing inserts of the same reference one wins', async () => {
    await using store = await open()
    const { merchant } = await seedMerchant(store)
    const contenders = times(20, () => newCustomer(merchant, { reference: hashed('raced') }))

    const won = await Promise.all(contenders.map((each) => store.insertCustomer(each)))

    expect(countTrue(won)).toBe(1)
    const winner = await store.findCustomerByReference(merchant.id, hashed('raced'))
    expect(winner?.id).toBe(contenders[won.indexOf(true)]?.id)
    expect(await store.listCustomers(merchant.id, { offset: 0, limit: 100 })).toHaveLength(2)
  })

  test('customers are listed in the order they were created, page by page', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const customers = [customer, ...times(9, () => newCustomer(merchant))]
    // Insertion is racing on purpose: the order is that of creation.
    await Promise.all(customers.slice(1).map((each) => store.insertCustomer(each)))
    const { customer: foreign } = await seedMerchant(store)
    const page = async (offset: number, limit: number) =>
      (await store.listCustomers(merchant.id, { offset, limit })).map(({ id }) => id)
    const order = customers.map(({ id }) => id)

    expect(await page(0, 100)).toEqual(order)
    expect(await page(0, 4)).toEqual(order.slice(0, 4))
    expect(await page(4, 4)).toEqual(order.slice(4, 8))
    expect(await page(8, 4)).toEqual(order.slice(8))
    expect(await page(9, 1)).toEqual(order.slice(9))
    expect(await page(10, 4)).toEqual([])
    expect(await page(1000, 4)).toEqual([])
    expect(await page(0, 0)).toEqual([])
    expect(order).not.toContain(foreign.id)
  })

  test('a listed customer is whole, with the revision that it has', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const second = newCustomer(merchant)
    await store.insertCustomer(second)
    const read = await found(store.findCustomer(merchant.id, customer.id))
    await store.replaceCustomer({ ...read, details: sealed() })

    expect(await store.listCustomers(merchant.id, { offset: 0, limit: 10 })).toEqual([
      await store.findCustomer(merchant.id, customer.id),
      await store.findCustomer(merchant.id, second.id),
    ])
  })

  test('a replacement is stored as the next revision', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const read = await found(store.findCustomer(merchant.id, customer.id))
    const details = sealed()

    expect(await store.replaceCustomer({ ...read, details })).toBe('written')

    const after = await found(store.findCustomer(merchant.id, customer.id))
    expect(after).toEqual({ ...read, details, revision: after.revision })
    expect(after.revision).not.toBe(read.revision)
    expect(await store.replaceCustomer({ ...after, details: sealed() })).toBe('written')
  })

  test('a customer that was changed since it was read is not overwritten', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const read = await found(store.findCustomer(merchant.id, customer.id))
    await store.replaceCustomer({ ...read, details: sealed() })
    const changed = await store.findCustomer(merchant.id, customer.id)

    expect(
      await store.replaceCustomer({ ...read, reference: hashed('lost'), details: sealed() }),
    ).toBe('changed')

    expect(await store.findCustomer(merchant.id, customer.id)).toEqual(changed)
    expect(await store.findCustomerByReference(merchant.id, hashed('lost'))).toBeUndefined()
  })

  test('of 20 racing replacements of one revision one is written', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const read = await found(store.findCustomer(merchant.id, customer.id))
    const contenders = times(20, (n) => ({
      ...read,
      reference: hashed(`ref-${n}`),
      details: sealed(),
    }))

    const answers = await Promise.all(contenders.map((each) => store.replaceCustomer(each)))

    expect(answers.filter((answer) => answer === 'written')).toHaveLength(1)
    expect(answers.filter((answer) => answer === 'changed')).toHaveLength(19)
    const winner = contenders[answers.indexOf('written')]
    const after = await found(store.findCustomer(merchant.id, customer.id))
    expect(after.details).toEqual(winner?.details)
    for (const { reference } of contenders) {
      const byReference = await store.findCustomerByReference(merchant.id, reference)
      expect(byReference?.id).toBe(reference === winner?.reference ? customer.id : undefined)
    }
  })

  test('a changed reference frees the old one, and none frees it as well', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const read = await found(store.findCustomer(merchant.id, customer.id))

    expect(await store.replaceCustomer({ ...read, reference: hashed('moved') })).toBe('written')
    expect(await store.findCustomerByReference(merchant.id, hashed('seeded'))).toBeUndefined()
    const moved = await found(store.findCustomerByReference(merchant.id, hashed('moved')))
    expect(moved.id).toBe(customer.id)

    expect(await store.replaceCustomer({ ...moved, reference: undefined })).toBe('written')
    expect(await store.findCustomerByReference(merchant.id, hashed('moved'))).toBeUndefined()
    expect((await store.findCustomer(merchant.id, customer.id))?.reference).toBeUndefined()

    for (const reference of [hashed('seeded'), hashed('moved')]) {
      expect(await store.insertCustomer(newCustomer(merchant, { reference }))).toBe(true)
    }
  })

  test("a replacement with another customer's reference changes nothing", async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const other = newCustomer(merchant, { reference: hashed('theirs') })
    await store.insertCustomer(other)
    const read = await found(store.findCustomer(merchant.id, customer.id))

    expect(
      await store.replaceCustomer({ ...read, reference: hashed('theirs'), details: sealed() }),
    ).toBe('reference_taken')

    expect(await store.findCustomer(merchant.id, customer.id)).toEqual(read)
    expect((await store.findCustomerByReference(merchant.id, hashed('theirs')))?.id).toBe(other.id)
    expect((await store.findCustomerByReference(merchant.id, hashed('seeded')))?.id).toBe(
      customer.id,
    )
  })

  test('deleting a customer removes its payment methods, codes and fingerprints', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const other = newCustomer(merchant)
    await store.insertCustomer(other)
    const methods: PaymentMethodRecord[] = []
    for (const each of times(3, () => newMethod(customer))) {
      methods.push(await seedMethod(store, each, newCvc()))
    }
    const kept = await seedMethod(store, newMethod(other), newCvc())
    const guests = await seedMethod(store, newMethod(merchant))

    expect(await store.deleteCustomer(merchant.id, customer.id)).toEqual(methods)

    expect(await store.findCustomer(merchant.id, customer.id)).toBeUndefined()
    expect(await store.findCustomerByReference(merchant.id, hashed('seeded'))).toBeUndefined()
    expect(await store.listPaymentMethods(merchant.id, customer.id)).toEqual([])
    for (const each of methods) {
      expect(await findMethod(store, each)).toBeUndefined()
      expect(await store.findCvc(merchant.id, each.id)).toBeUndefined()
      expect(await findByFingerprint(store, each)).toBeUndefined()
    }
    expect(await store.deleteCustomer(merchant.id, customer.id)).toBeUndefined()
    expect(await findMethod(store, kept)).toEqual(kept)
    expect(await store.findCvc(merchant.id, kept.id)).toBeDefined()
    expect(await findMethod(store, guests)).toEqual(guests)
  })

  test('after a customer was deleted its reference and its instruments can be stored again', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const method = await seedMethod(store, newMethod(customer))
    await store.deleteCustomer(merchant.id, customer.id)

    const again = newCustomer(merchant, { reference: hashed('seeded') })
    expect(await store.insertCustomer(again)).toBe(true)
    const same = newMethod(again, { fingerprint: method.fingerprint })
    expect(await store.insertPaymentMethod(same, undefined)).toEqual({ kind: 'inserted' })
  })

  test('a customer that is moved while it is deleted leaves its new reference free', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const read = await found(store.findCustomer(merchant.id, customer.id))

    const [, deleted] = await Promise.all([
      store.replaceCustomer({ ...read, reference: hashed('moved') }),
      store.deleteCustomer(merchant.id, customer.id),
    ])

    expect(deleted).toEqual([])
    expect(await store.findCustomer(merchant.id, customer.id)).toBeUndefined()
    for (const reference of [hashed('seeded'), hashed('moved')]) {
      expect(await store.insertCustomer(newCustomer(merchant, { reference }))).toBe(true)
    }
  })

  test('a customer that is replaced while it is deleted does not come back', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const read = await found(store.findCustomer(merchant.id, customer.id))

    const [deleted] = await Promise.all([
      store.deleteCustomer(merchant.id, customer.id),
      store.replaceCustomer({ ...read, reference: hashed('back') }),
    ])

    expect(deleted).toEqual([])
    expect(await store.findCustomer(merchant.id, customer.id)).toBeUndefined()
    expect(await store.listCustomers(merchant.id, { offset: 0, limit: 10 })).toEqual([])
  })

  test('of 20 racing deletions of a customer one did it', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)

    const method = await seedMethod(store, newMethod(customer))

    const answers = await Promise.all(
      times(20, () => store.deleteCustomer(merchant.id, customer.id)),
    )

    expect(answers.filter((answer) => answer !== undefined)).toEqual([[method]])
  })

  test('a deleted customer is answered with what was stored and confirmed meanwhile', async () => {
    await using store = await open()
    for (const deleteFirst of [true, false]) {
      const { merchant, customer } = await seedMerchant(store)
      const alias = newFingerprint()
      const before = await seedMethod(store, newMethod(customer))
      const intent = await seedMethod(store, newMethod(customer, { fingerprint: undefined }))
      const confirmed = { ...intent, fingerprint: newFingerprint(), card: sealed(99) }
      const late = newMethod(customer)
      const remove = () => store.deleteCustomer(merchant.id, customer.id)

      const early = deleteFirst ? remove() : undefined
      const confirmation = store.confirmPaymentMethod(confirmed, undefined, alias)
      const insertion = store.insertPaymentMethod(late, undefined, alias)
      const removed = await (early ?? remove())

      expect((await confirmation).kind).toBe(deleteFirst ? 'changed' : 'confirmed')
      expect((await insertion).kind).toBe(deleteFirst ? 'no_customer' : 'inserted')
      const cards = new Map(removed?.map(({ id, card }) => [id, card]))
      expect(cards.get(before.id)).toEqual(before.card)
      expect(cards.get(intent.id)).toEqual(deleteFirst ? intent.card : confirmed.card)
      expect(cards.get(late.id)).toEqual(deleteFirst ? undefined : late.card)
      expect(removed).toHaveLength(deleteFirst ? 2 : 3)
      expect(await store.listByExternalAlias(merchant.id, alias)).toEqual([])
      expect(await findByFingerprint(store, confirmed)).toBeUndefined()
    }
  })
}

function describePaymentMethods(open: Open): void {
  const variants: [string, (customer: CustomerRecord) => PaymentMethodRecord][] = [
    ["a customer's", (customer) => newMethod(customer)],
    ["a guest's", (customer) => newMethod({ ...newMerchant(), id: customer.merchantId })],
    [
      'a volatile one',
      (customer) => newMethod(customer, { fingerprint: undefined, expiresAtMs: START_MS }),
    ],
    ['one with every field', (customer) => newMethod(customer, { fields: 0b1_1111_1111_1111 })],
    ['one byte', (customer) => newMethod(customer, { card: sealed(1), details: sealed(1) })],
    ['100 kB', (customer) => newMethod(customer, { card: sealed(5000), details: sealed(100_000) })],
  ]
  test.each(variants)('a payment method is found as it was inserted: %s', async (_, make) => {
    await using store = await open()
    const { customer } = await seedMerchant(store)
    const method = make(customer)

    expect(await store.insertPaymentMethod(method, undefined)).toEqual({ kind: 'inserted' })

    const stored = { ...method, revision: expect.any(Number) }
    expect(await findMethod(store, method)).toEqual(stored)
    expect(await findByFingerprint(store, method)).toEqual(method.fingerprint && stored)
    expect(await store.listPaymentMethods(customer.merchantId, customer.id)).toEqual(
      method.customerId === undefined ? [] : [stored],
    )
    expect(await store.findCvc(method.merchantId, method.id)).toBeUndefined()
  })

  test('a record that was read stays as it is whatever is read or written next', async () => {
    await using store = await open()
    const { customer } = await seedMerchant(store)
    const methods = times(20, () => newMethod(customer, { card: sealed(300) }))
    await Promise.all(methods.map((each) => store.insertPaymentMethod(each, newCvc())))

    const read = await Promise.all(methods.map((each) => found(findMethod(store, each))))
    for (const each of read)
      await store.replacePaymentMethod({ ...each, card: sealed(300) }, newCvc())
    for (const each of methods) await findMethod(store, each)

    expect(read.map(({ card }) => card)).toEqual(methods.map(({ card }) => card))
    expect(read.map(({ details }) => details)).toEqual(methods.map(({ details }) => details))
  })

  test('an unknown payment method is not there', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const method = newMethod(customer)

    expect(await findMethod(store, method)).toBeUndefined()
    expect(await findByFingerprint(store, method)).toBeUndefined()
    expect(await store.listPaymentMethods(merchant.id, customer.id)).toEqual([])
    expect(await store.replacePaymentMethod(method, newCvc())).toBe(false)
    expect(await store.deletePaymentMethod(merchant.id, method.id)).toBeUndefined()
    expect(await store.findCvc(merchant.id, method.id)).toBeUndefined()
    expect(await store.takeCvc(merchant.id, method.id)).toBeUndefined()
    expect(await store.returnCvc(merchant.id, method.id, newCvc())).toBe(false)
    expect(await findMethod(store, method)).toBeUndefined()
    expect(await store.findCvc(merchant.id, method.id)).toBeUndefined()
  })

  test('a stored instrument is answered with its id, and nothing is written', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const first = await seedMethod(store, newMethod(customer), newCvc())
    const firstCvc = await store.findCvc(merchant.id, first.id)
    const second = newMethod(customer, { fingerprint: first.fingerprint })

    expect(await store.insertPaymentMethod(second, newCvc())).toEqual({
      kind: 'exists',
      id: first.id,
    })

    expect(await findMethod(store, second)).toBeUndefined()
    expect(await store.findCvc(merchant.id, second.id)).toBeUndefined()
    expect(await store.listPaymentMethods(merchant.id, customer.id)).toEqual([first])
    expect(await findByFingerprint(store, first)).toEqual(first)
    expect(await store.findCvc(merchant.id, first.id)).toEqual(firstCvc)
  })

  test.each([2, 50])('%d racing inserts of one instrument agree on one id', async (count) => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const fingerprint = newFingerprint()
    const contenders = times(count, () => newMethod(customer, { fingerprint }))

    const answers = await Promise.all(
      contenders.map((each) => store.insertPaymentMethod(each, newCvc())),
    )

    const place = answers.findIndex(({ kind }) => kind === 'inserted')
    const winner = contenders[place] as PaymentMethodRecord // found, or the next line fails
    const exists = { kind: 'exists', id: winner.id }
    expect(answers).toEqual(answers.map((_, n) => (n === place ? { kind: 'inserted' } : exists)))
    expect(await store.listPaymentMethods(merchant.id, customer.id)).toHaveLength(1)
    for (const each of contenders) {
      expect((await findMethod(store, each))?.id).toBe(each === winner ? winner.id : undefined)
    }
  })

  test('volatile payment methods are outside the uniqueness rule', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const volatile = () =>
      newMethod(customer, { fingerprint: undefined, expiresAtMs: START_MS + 1000 })

    for (const each of [volatile(), volatile()]) {
      expect(await store.insertPaymentMethod(each, undefined)).toEqual({ kind: 'inserted' })
    }

    expect(await store.listPaymentMethods(merchant.id, customer.id)).toHaveLength(2)
  })

  test('nothing is stored for a customer that does not exist or was deleted', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    await store.deleteCustomer(merchant.id, customer.id)

    for (const method of [newMethod(newCustomer(merchant)), newMethod(customer)]) {
      expect(await store.insertPaymentMethod(method, newCvc())).toEqual({ kind: 'no_customer' })

      expect(await findMethod(store, method)).toBeUndefined()
      expect(await findByFingerprint(store, method)).toBeUndefined()
      expect(await store.findCvc(merchant.id, method.id)).toBeUndefined()
    }
  })

  test('what is stored while its customer is deleted does not stay', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const before = newMethod(customer)
    const after = newMethod(customer)

    const [, deleted, last] = await Promise.all([
      store.insertPaymentMethod(before, newCvc()),
      store.deleteCustomer(merchant.id, customer.id),
      store.insertPaymentMethod(after, newCvc()),
    ])

    expect(deleted?.map(({ id }) => id)).toContain(before.id)
    expect(['inserted', 'no_customer']).toContain(last.kind)
    for (const each of [before, after]) {
      expect(await findMethod(store, each)).toBeUndefined()
      expect(await findByFingerprint(store, each)).toBeUndefined()
      expect(await store.findCvc(merchant.id, each.id)).toBeUndefined()
    }
    expect(await store.listPaymentMethods(merchant.id, customer.id)).toEqual([])
  })

  test("a customer's payment methods are listed in the order they were created", async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const other = newCustomer(merchant)
    await store.insertCustomer(other)
    const methods = times(10, () => newMethod(customer))
    await Promise.all([
      ...methods.map((each) => store.insertPaymentMethod(each, undefined)).reverse(),
      store.insertPaymentMethod(newMethod(other), undefined),
      store.insertPaymentMethod(newMethod(merchant), undefined),
    ])

    const listed = await store.listPaymentMethods(merchant.id, customer.id)

    expect(listed).toEqual(methods.map((each) => ({ ...each, revision: expect.any(Number) })))
  })

  test('a replacement is stored as the next revision and keeps the code', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const cvc = newCvc()
    const read = await seedMethod(store, newMethod(customer), cvc)
    const next = { ...read, fields: 0b111, card: sealed(90), details: sealed(10) }

    expect(await store.replacePaymentMethod(next, undefined)).toBe(true)

    const after = await found(findMethod(store, read))
    expect(after).toEqual({ ...next, revision: after.revision })
    expect(after.revision).not.toBe(read.revision)
    expect(await findByFingerprint(store, read)).toEqual(after)
    expect(await store.listPaymentMethods(merchant.id, customer.id)).toEqual([after])
    expect(await store.findCvc(merchant.id, read.id)).toEqual(cvc)
    expect(await store.replacePaymentMethod(after, undefined)).toBe(true)
  })

  test('a replacement with a code replaces the stored one', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const read = await seedMethod(store, newMethod(customer), newCvc())
    const cvc = newCvc()

    expect(await store.replacePaymentMethod(read, cvc)).toBe(true)

    expect(await store.findCvc(merchant.id, read.id)).toEqual(cvc)
  })

  test('a payment method that was changed since it was read is not overwritten', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const cvc = newCvc()
    const read = await seedMethod(store, newMethod(customer), cvc)
    await store.replacePaymentMethod({ ...read, card: sealed() }, undefined)
    const changed = await findMethod(store, read)

    expect(await store.replacePaymentMethod({ ...read, card: sealed() }, newCvc())).toBe(false)

    expect(await findMethod(store, read)).toEqual(changed)
    expect(await store.findCvc(merchant.id, read.id)).toEqual(cvc)
  })

  test('of 20 racing replacements of one revision one is written, with its own code', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const read = await seedMethod(store, newMethod(customer), newCvc())
    const contenders = times(20, () => ({ method: { ...read, card: sealed() }, cvc: newCvc() }))

    const won = await Promise.all(
      contenders.map(({ method, cvc }) => store.replacePaymentMethod(method, cvc)),
    )

    expect(countTrue(won)).toBe(1)
    const winner = contenders[won.indexOf(true)]
    expect((await findMethod(store, read))?.card).toEqual(winner?.method.card)
    expect(await store.findCvc(merchant.id, read.id)).toEqual(winner?.cvc)
  })

  test('an intent is given its instrument once', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const intent = newMethod(customer, { fields: 0, fingerprint: undefined, expiresAtMs: START_MS })
    const read = await seedMethod(store, intent)
    const cvc = newCvc()
    const whole = {
      ...read,
      fields: 0b111,
      card: sealed(80),
      fingerprint: newFingerprint(),
      expiresAtMs: undefined,
    }

    expect(await store.confirmPaymentMethod(whole, cvc)).toEqual({ kind: 'confirmed' })

    const after = await found(findMethod(store, read))
    expect(after).toEqual({ ...whole, revision: after.revision })
    expect(await findByFingerprint(store, whole)).toEqual(after)
    expect(await store.findCvc(merchant.id, read.id)).toEqual(cvc)
    expect(await store.confirmPaymentMethod(whole, undefined)).toEqual({ kind: 'changed' })
    expect(await store.sweepExpired(START_MS + 1)).toBe(0)
    expect(await findMethod(store, read)).toEqual(after)
  })

  test('an intent is not given an instrument that its customer has', async () => {
    await using store = await open()
    const { customer } = await seedMerchant(store)
    const first = await seedMethod(store, newMethod(customer))
    const intent = newMethod(customer, { fields: 0, fingerprint: undefined })
    const read = await seedMethod(store, intent)

    const whole = { ...read, fields: 1, fingerprint: first.fingerprint }
    expect(await store.confirmPaymentMethod(whole, newCvc())).toEqual({
      kind: 'exists',
      id: first.id,
    })

    expect(await findMethod(store, read)).toEqual(read)
    expect(await findByFingerprint(store, first)).toEqual(first)
    expect(await store.findCvc(read.merchantId, read.id)).toBeUndefined()
  })

  test('of 20 intents that race for one instrument one gets it', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const fingerprint = newFingerprint()
    const intents = await Promise.all(
      times(20, () =>
        seedMethod(store, newMethod(customer, { fields: 0, fingerprint: undefined })),
      ),
    )

    const answers = await Promise.all(
      intents.map((each) =>
        store.confirmPaymentMethod({ ...each, fields: 1, fingerprint }, undefined),
      ),
    )

    const won = answers.findIndex(({ kind }) => kind === 'confirmed')
    const id = intents[won]?.id
    expect(answers.filter(({ kind }) => kind === 'confirmed')).toHaveLength(1)
    expect(answers.toSpliced(won, 1)).toEqual(times(19, () => ({ kind: 'exists', id })))
    expect(await store.findByFingerprint(merchant.id, fingerprint)).toMatchObject({ id })
  })

  test('pages are in the order of the ids, whole, and of one merchant', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const { customer: other } = await seedMerchant(store)
    const methods = await Promise.all(times(7, () => seedMethod(store, newMethod(customer))))
    await seedMethod(store, newMethod(other))
    const sorted = methods.toSorted((a, b) => (a.id < b.id ? -1 : 1))

    const first = await store.pagePaymentMethods(merchant.id, undefined, 3)
    const second = await store.pagePaymentMethods(merchant.id, first.at(-1)?.id, 3)
    const third = await store.pagePaymentMethods(merchant.id, second.at(-1)?.id, 3)

    expect([first.length, second.length, third.length]).toEqual([3, 3, 1])
    expect([...first, ...second, ...third]).toEqual(sorted)
    expect(await store.pagePaymentMethods(merchant.id, sorted.at(-1)?.id, 3)).toEqual([])
    expect(await store.pagePaymentMethods(newMerchant().id, undefined, 3)).toEqual([])
  })

  test('the last use is remembered, not more often than once a minute, and goes with the method', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const [one, two, three] = await Promise.all(
      times(3, () => seedMethod(store, newMethod(customer))),
    )
    const ids = [one, two, three].map((each) => (each as PaymentMethodRecord).id)
    const [id, secondId] = ids as [PaymentMethodId, PaymentMethodId]
    const unknown = newMethod(customer).id
    const of = (each: PaymentMethodId, usedAtMs: number) => ({
      merchantId: merchant.id,
      id: each,
      usedAtMs,
    })
    expect(await store.lastUses(merchant.id, ids)).toEqual([undefined, undefined, undefined])

    await store.noteUses([of(id, START_MS), of(secondId, START_MS + 5), of(unknown, START_MS)])
    await store.noteUses([of(id, START_MS + 59_999), of(secondId, START_MS + 60_005)])

    expect(await store.lastUses(merchant.id, [...ids, unknown])).toEqual([
      START_MS,
      START_MS + 60_005,
      undefined,
      undefined,
    ])
    expect(await store.lastUses(newMerchant().id, ids)).toEqual(times(3, () => undefined))
    const before = await findMethod(store, one as PaymentMethodRecord)
    expect(before).toEqual(one)
    await store.deletePaymentMethod(merchant.id, id)
    await store.deleteCustomer(merchant.id, customer.id)
    expect(await store.lastUses(merchant.id, ids)).toEqual(times(3, () => undefined))
    await store.noteUses([of(id, START_MS + 120_000)])
    expect(await store.lastUses(merchant.id, [id])).toEqual([undefined])
  })

  test('a deleted payment method is gone with its code and its fingerprint', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const method = await seedMethod(store, newMethod(customer), newCvc())
    const kept = await seedMethod(store, newMethod(customer), newCvc())

    expect(await store.deletePaymentMethod(merchant.id, method.id)).toEqual(method)

    expect(await findMethod(store, method)).toBeUndefined()
    expect(await findByFingerprint(store, method)).toBeUndefined()
    expect(await store.findCvc(merchant.id, method.id)).toBeUndefined()
    expect(await store.takeCvc(merchant.id, method.id)).toBeUndefined()
    expect(await store.listPaymentMethods(merchant.id, customer.id)).toEqual([kept])
    expect(await store.findCvc(merchant.id, kept.id)).toBeDefined()
    expect(await store.deletePaymentMethod(merchant.id, method.id)).toBeUndefined()
    expect(await store.replacePaymentMethod(method, newCvc())).toBe(false)
    expect(await findMethod(store, method)).toBeUndefined()
    expect(await store.findCvc(merchant.id, method.id)).toBeUndefined()
    const again = newMethod(customer, { fingerprint: method.fingerprint })
    expect(await store.insertPaymentMethod(again, undefined)).toEqual({ kind: 'inserted' })
  })

  test('of 20 racing deletions of a payment method one did it', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const method = await seedMethod(store, newMethod(customer))

    const answers = await Promise.all(
      times(20, () => store.deletePaymentMethod(merchant.id, method.id)),
    )

    expect(answers.filter((answer) => answer !== undefined)).toEqual([method])
  })

  test('a payment method that is replaced while it is deleted does not come back', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    for (const deleteFirst of [true, false]) {
      const method = await seedMethod(store, newMethod(customer), newCvc())
      const replace = () => store.replacePaymentMethod({ ...method, card: sealed() }, newCvc())
      const remove = () => store.deletePaymentMethod(merchant.id, method.id)

      await Promise.all(deleteFirst ? [remove(), replace()] : [replace(), remove()])

      expect(await findMethod(store, method)).toBeUndefined()
      expect(await findByFingerprint(store, method)).toBeUndefined()
      expect(await store.findCvc(merchant.id, method.id)).toBeUndefined()
      expect(await store.listPaymentMethods(merchant.id, customer.id)).toEqual([])
    }
  })

  test('an instrument that is stored while it is deleted is either stored or answered', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const method = await seedMethod(store, newMethod(customer))
    const again = newMethod(customer, { fingerprint: method.fingerprint })

    const [, answer] = await Promise.all([
      store.deletePaymentMethod(merchant.id, method.id),
      store.insertPaymentMethod(again, undefined),
    ])

    expect(await findMethod(store, method)).toBeUndefined()
    if (answer.kind === 'inserted') {
      expect((await findByFingerprint(store, again))?.id).toBe(again.id)
    } else {
      expect(answer).toEqual({ kind: 'exists', id: method.id })
      expect(await findMethod(store, again)).toBeUndefined()
    }
  })
}

function describeCodes(open: Open): void {
  test('a code is found as it was stored, as often as it is looked at', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const cvc = newCvc()
    const { id } = await seedMethod(store, newMethod(customer), cvc)

    expect(await store.findCvc(merchant.id, id)).toEqual(cvc)
    expect(await store.findCvc(merchant.id, id)).toEqual(cvc)
  })

  test('a taken code is gone, the payment method stays', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const cvc = newCvc()
    const method = await seedMethod(store, newMethod(customer), cvc)

    expect(await store.takeCvc(merchant.id, method.id)).toEqual(cvc)

    expect(await store.findCvc(merchant.id, method.id)).toBeUndefined()
    expect(await store.takeCvc(merchant.id, method.id)).toBeUndefined()
    expect(await findMethod(store, method)).toEqual(method)
  })

  test('of 20 that race for a code exactly one gets it', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    for (let round = 0; round < 5; round++) {
      const cvc = newCvc()
      const { id } = await seedMethod(store, newMethod(customer), cvc)

      const taken = await Promise.all(times(20, () => store.takeCvc(merchant.id, id)))

      expect(taken.filter((slot) => slot !== undefined)).toEqual([cvc])
      expect(await store.findCvc(merchant.id, id)).toBeUndefined()
    }
  })

  test('a returned code is as it was, and is given out once more', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const cvc = newCvc()
    const { id } = await seedMethod(store, newMethod(customer), cvc)
    const taken = await found(store.takeCvc(merchant.id, id))

    expect(await store.returnCvc(merchant.id, id, taken)).toBe(true)

    expect(await store.findCvc(merchant.id, id)).toEqual(cvc)
    const again = await Promise.all(times(20, () => store.takeCvc(merchant.id, id)))
    expect(again.filter((slot) => slot !== undefined)).toEqual([cvc])
  })

  test('a returned code does not overwrite a newer one', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const method = await seedMethod(store, newMethod(customer), newCvc())
    const taken = await found(store.takeCvc(merchant.id, method.id))
    const newer = newCvc()
    await store.replacePaymentMethod(method, newer)

    expect(await store.returnCvc(merchant.id, method.id, taken)).toBe(false)

    expect(await store.findCvc(merchant.id, method.id)).toEqual(newer)
  })

  test('of a newer code and a returned one that race the newer stays', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    for (const returnFirst of [true, false]) {
      const method = await seedMethod(store, newMethod(customer), newCvc())
      const taken = await found(store.takeCvc(merchant.id, method.id))
      const newer = newCvc()
      const giveBack = () => store.returnCvc(merchant.id, method.id, taken)
      const replace = () => store.replacePaymentMethod(method, newer)

      await Promise.all(returnFirst ? [giveBack(), replace()] : [replace(), giveBack()])

      expect(await store.findCvc(merchant.id, method.id)).toEqual(newer)
    }
  })

  test('a returned code does not bring back a deleted payment method', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    for (const returnFirst of [undefined, true, false]) {
      const method = await seedMethod(store, newMethod(customer), newCvc())
      const taken = await found(store.takeCvc(merchant.id, method.id))
      const giveBack = () => store.returnCvc(merchant.id, method.id, taken)
      const remove = () => store.deletePaymentMethod(merchant.id, method.id)

      if (returnFirst === undefined) {
        await remove()
        expect(await giveBack()).toBe(false)
      } else {
        await Promise.all(returnFirst ? [giveBack(), remove()] : [remove(), giveBack()])
      }

      expect(await store.findCvc(merchant.id, method.id)).toBeUndefined()
      expect(await store.takeCvc(merchant.id, method.id)).toBeUndefined()
      expect(await findMethod(store, method)).toBeUndefined()
    }
  })

  test('a code taken from an old slot never removes a newer one', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    for (let round = 0; round < 10; round++) {
      const newer = newCvc()
      const method = await seedMethod(store, newMethod(customer), newCvc())
      const replace = () => store.replacePaymentMethod(method, newer)
      const take = () => store.takeCvc(merchant.id, method.id)

      const [first, second] = await Promise.all(
        round % 2 === 0 ? [replace(), take()] : [take(), replace()],
      )

      // Either the newer one was taken, or it is still there.
      const taken = typeof first === 'boolean' ? second : first
      const left = await store.findCvc(merchant.id, method.id)
      expect([taken, left].filter((slot) => same(slot, newer))).toHaveLength(1)
    }
  })

  test('of two that return the same code one does', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const { id } = await seedMethod(store, newMethod(customer), newCvc())
    const taken = await found(store.takeCvc(merchant.id, id))

    const answers = times(2, () => store.returnCvc(merchant.id, id, taken))
    expect(countTrue(await Promise.all(answers))).toBe(1)
  })
}

function describeTokens(open: Open): void {
  const variants: [string, (customer: CustomerRecord) => TokenRecord][] = [
    ["a customer's", (customer) => newToken(customer)],
    ["nobody's", (customer) => newToken({ ...newMerchant(), id: customer.merchantId })],
    ['one with an end', (customer) => newToken(customer, { expiresAtMs: START_MS })],
    ['one byte', (customer) => newToken(customer, { value: sealed(1) })],
    ['100 kB', (customer) => newToken(customer, { value: sealed(100_000) })],
  ]
  test.each(variants)('a token is found as it was inserted: %s', async (_, make) => {
    await using store = await open()
    const { customer } = await seedMerchant(store)
    const token = make(customer)

    expect(await store.insertToken(token)).toBe('inserted')

    expect(await findToken(store, token)).toEqual(token)
  })

  test('a token that was read stays as it is whatever is read or written next', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const tokens = times(20, () => newToken(customer, { value: sealed(300) }))
    await Promise.all(tokens.map((each) => store.insertToken(each)))

    const read = await Promise.all(tokens.map((each) => found(findToken(store, each))))
    for (const { id } of tokens) await store.deleteToken(merchant.id, id)
    for (const each of times(20, () => newToken(customer, { value: sealed(300) }))) {
      await findToken(store, await seedToken(store, each))
    }

    expect(read).toEqual(tokens)
  })

  test('an unknown token is not there', async () => {
    await using store = await open()
    const { merchant } = await seedMerchant(store)
    const token = newToken(merchant)

    expect(await findToken(store, token)).toBeUndefined()
    expect(await store.deleteToken(merchant.id, token.id)).toBe(false)
    expect(await findToken(store, token)).toBeUndefined()
  })

  test('the id of a token is used once, and the first stays', async () => {
    await using store = await open()
    const { customer } = await seedMerchant(store)
    const token = await seedToken(store, newToken(customer))

    await expect(store.insertToken({ ...token, value: sealed() })).rejects.toThrow('in use')

    expect(await findToken(store, token)).toEqual(token)
  })

  test('nothing is stored for a customer that does not exist or was deleted', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    await store.deleteCustomer(merchant.id, customer.id)

    for (const token of [newToken(newCustomer(merchant)), newToken(customer)]) {
      expect(await store.insertToken(token)).toBe('no_customer')

      expect(await findToken(store, token)).toBeUndefined()
    }
  })

  test('what is stored while its customer is deleted does not stay', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const before = newToken(customer, { expiresAtMs: START_MS })
    const after = newToken(customer, { expiresAtMs: START_MS })

    const [, deleted, last] = await Promise.all([
      store.insertToken(before),
      store.deleteCustomer(merchant.id, customer.id),
      store.insertToken(after),
    ])

    expect(deleted).toEqual([])
    expect(['inserted', 'no_customer']).toContain(last)
    for (const each of [before, after]) expect(await findToken(store, each)).toBeUndefined()
    expect(await store.sweepExpired(START_MS)).toBe(0)
  })

  test('deleting a customer removes its tokens and no others', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const other = newCustomer(merchant)
    await store.insertCustomer(other)
    const gone = [newToken(customer), newToken(customer, { expiresAtMs: START_MS })]
    const kept = [newToken(other), newToken(merchant)]
    for (const each of [...gone, ...kept]) await seedToken(store, each)

    await store.deleteCustomer(merchant.id, customer.id)

    for (const each of gone) expect(await findToken(store, each)).toBeUndefined()
    for (const each of kept) expect(await findToken(store, each)).toEqual(each)
    expect(await store.sweepExpired(START_MS)).toBe(0)
  })

  test('a deleted token is gone, and no other is', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const token = await seedToken(store, newToken(customer))
    const kept = await seedToken(store, newToken(customer))

    expect(await store.deleteToken(merchant.id, token.id)).toBe(true)

    expect(await findToken(store, token)).toBeUndefined()
    expect(await store.deleteToken(merchant.id, token.id)).toBe(false)
    expect(await findToken(store, kept)).toEqual(kept)
  })

  test('of 20 racing deletions of a token one did it', async () => {
    await using store = await open()
    const { merchant } = await seedMerchant(store)
    const { id } = await seedToken(store, newToken(merchant))

    const answers = times(20, () => store.deleteToken(merchant.id, id))
    expect(countTrue(await Promise.all(answers))).toBe(1)
  })
}

function describeExpiry(open: Open): void {
  const nowMs = START_MS + 60_000
  const volatile = (owner: CustomerRecord | MerchantRecord, expiresAtMs: number) =>
    newMethod(owner, { fingerprint: undefined, expiresAtMs })

  test('a sweep of an empty store finds nothing', async () => {
    await using store = await open()

    expect(await store.sweepExpired(nowMs)).toBe(0)
  })

  test('an expired payment method is found until it is swept', async () => {
    await using store = await open()
    const { customer } = await seedMerchant(store)
    const method = await seedMethod(store, volatile(customer, 1))

    expect(await findMethod(store, method)).toEqual(method)
    expect(await store.sweepExpired(nowMs)).toBe(1)
    expect(await findMethod(store, method)).toBeUndefined()
  })

  test('a sweep removes exactly the payment methods that expired at or before its time', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const long = await seedMethod(store, volatile(customer, 1))
    const just = await seedMethod(store, volatile(merchant, nowMs))
    const not = await seedMethod(store, volatile(customer, nowMs + 1))
    const never = await seedMethod(store, newMethod(customer))

    expect(await store.sweepExpired(nowMs)).toBe(2)

    expect(await findMethod(store, long)).toBeUndefined()
    expect(await findMethod(store, just)).toBeUndefined()
    expect(await store.listPaymentMethods(merchant.id, customer.id)).toEqual([not, never])
    expect(await store.sweepExpired(nowMs)).toBe(0)
    expect(await store.sweepExpired(nowMs + 1)).toBe(1)
    expect(await store.sweepExpired(nowMs * 1000)).toBe(0)
    expect(await store.listPaymentMethods(merchant.id, customer.id)).toEqual([never])
  })

  test('a swept payment method is gone with its code and its fingerprint', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const method = await seedMethod(
      store,
      newMethod(customer, { expiresAtMs: nowMs }),
      newCvc(nowMs + 1000),
    )

    expect(await store.sweepExpired(nowMs)).toBe(1)

    expect(await store.findCvc(merchant.id, method.id)).toBeUndefined()
    expect(await findByFingerprint(store, method)).toBeUndefined()
    expect(await store.sweepExpired(nowMs + 1000)).toBe(0)
    const again = newMethod(customer, { fingerprint: method.fingerprint })
    expect(await store.insertPaymentMethod(again, undefined)).toEqual({ kind: 'inserted' })
  })

  test('a sweep removes exactly the codes that expired, and not their payment methods', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const expired = await seedMethod(store, newMethod(customer), newCvc(nowMs))
    const valid = await seedMethod(store, newMethod(customer), newCvc(nowMs + 1))

    expect(await store.sweepExpired(nowMs)).toBe(1)

    expect(await store.findCvc(merchant.id, expired.id)).toBeUndefined()
    expect(await store.findCvc(merchant.id, valid.id)).toBeDefined()
    expect(await store.listPaymentMethods(merchant.id, customer.id)).toEqual([expired, valid])
    expect(await store.replacePaymentMethod(expired, newCvc(nowMs + 2))).toBe(true)
    expect(await store.sweepExpired(nowMs + 2)).toBe(2)
  })

  test('a code that was renewed is not swept at the old time, but at its own', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const method = await seedMethod(store, newMethod(customer), newCvc(nowMs))
    const newer = newCvc(nowMs + 1000)
    await store.replacePaymentMethod(method, newer)

    expect(await store.sweepExpired(nowMs)).toBe(0)
    expect(await store.findCvc(merchant.id, method.id)).toEqual(newer)
    expect(await store.sweepExpired(nowMs + 1000)).toBe(1)
    expect(await store.findCvc(merchant.id, method.id)).toBeUndefined()
  })

  test('a code that is renewed during the sweep stays', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    for (const sweepFirst of [true, false]) {
      const method = await seedMethod(store, newMethod(customer), newCvc(nowMs))
      const newer = newCvc(nowMs + 1000)
      const sweep = () => store.sweepExpired(nowMs)
      const renew = () => store.replacePaymentMethod(method, newer)

      await Promise.all(sweepFirst ? [sweep(), renew()] : [renew(), sweep()])

      expect(await store.findCvc(merchant.id, method.id)).toEqual(newer)
    }
    expect(await store.sweepExpired(nowMs + 1000)).toBe(2)
  })

  test('a taken code is not swept, a returned one is', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const taken = await seedMethod(store, newMethod(customer), newCvc(nowMs))
    const returned = await seedMethod(store, newMethod(customer), newCvc(nowMs))
    await store.takeCvc(merchant.id, taken.id)
    const slot = await found(store.takeCvc(merchant.id, returned.id))
    await store.returnCvc(merchant.id, returned.id, slot)

    expect(await store.sweepExpired(nowMs)).toBe(1)

    expect(await store.findCvc(merchant.id, returned.id)).toBeUndefined()
    expect(await findMethod(store, taken)).toEqual(taken)
  })

  test('what was deleted before it expired is not swept', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const method = await seedMethod(store, volatile(customer, nowMs), newCvc(nowMs))
    await store.deletePaymentMethod(merchant.id, method.id)
    await seedMethod(store, volatile(customer, nowMs), newCvc(nowMs))
    await store.deleteCustomer(merchant.id, customer.id)

    expect(await store.sweepExpired(nowMs)).toBe(0)
  })

  test('a payment method whose time was moved is swept at its new time', async () => {
    await using store = await open()
    const { customer } = await seedMerchant(store)
    const read = await seedMethod(store, volatile(customer, nowMs))
    await store.replacePaymentMethod({ ...read, expiresAtMs: nowMs + 1000 }, undefined)

    expect(await store.sweepExpired(nowMs)).toBe(0)
    expect(await findMethod(store, read)).toBeDefined()
    expect(await store.sweepExpired(nowMs + 1000)).toBe(1)
    expect(await findMethod(store, read)).toBeUndefined()
  })

  test('a payment method that is replaced during a sweep is swept by this one or the next', async () => {
    await using store = await open()
    const { customer } = await seedMerchant(store)
    for (const sweepFirst of [true, false]) {
      const read = await seedMethod(store, volatile(customer, nowMs))
      const sweep = () => store.sweepExpired(nowMs)
      const replace = () => store.replacePaymentMethod({ ...read, details: sealed() }, undefined)

      await Promise.all(sweepFirst ? [sweep(), replace()] : [replace(), sweep()])
      await store.sweepExpired(nowMs)

      expect(await findMethod(store, read)).toBeUndefined()
    }
  })

  test('a sweep removes exactly the tokens that expired at or before its time', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const tokenUntil = (owner: CustomerRecord | MerchantRecord, expiresAtMs: number | undefined) =>
      seedToken(store, newToken(owner, { expiresAtMs }))
    const long = await tokenUntil(customer, 1)
    const just = await tokenUntil(merchant, nowMs)
    const not = await tokenUntil(customer, nowMs + 1)
    const never = await tokenUntil(customer, undefined)
    const deleted = await tokenUntil(customer, 1)
    await store.deleteToken(merchant.id, deleted.id)

    expect(await findToken(store, long)).toEqual(long)
    expect(await store.sweepExpired(nowMs)).toBe(2)

    expect(await findToken(store, long)).toBeUndefined()
    expect(await findToken(store, just)).toBeUndefined()
    expect(await findToken(store, not)).toEqual(not)
    expect(await store.sweepExpired(nowMs)).toBe(0)
    expect(await store.sweepExpired(nowMs + 1)).toBe(1)
    expect(await store.sweepExpired(nowMs * 1000)).toBe(0)
    expect(await findToken(store, never)).toEqual(never)
  })

  test('a token that is deleted during a sweep is counted by one of the two', async () => {
    await using store = await open()
    const { merchant } = await seedMerchant(store)
    for (const sweepFirst of [true, false]) {
      const { id } = await seedToken(store, newToken(merchant, { expiresAtMs: nowMs }))
      const sweep = () => store.sweepExpired(nowMs)
      const remove = async () => Number(await store.deleteToken(merchant.id, id))

      const counts = await Promise.all(sweepFirst ? [sweep(), remove()] : [remove(), sweep()])

      expect(counts.sort()).toEqual([0, 1])
    }
    expect(await store.sweepExpired(nowMs)).toBe(0)
  })

  test('of everything that expired each is counted by one of two racing sweeps', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const methods = times(40, () => volatile(customer, nowMs))
    await Promise.all(methods.map((each) => store.insertPaymentMethod(each, undefined)))

    const [first = 0, second = 0] = await Promise.all(times(2, () => store.sweepExpired(nowMs)))

    expect(first + second).toBe(methods.length)
    expect(await store.listPaymentMethods(merchant.id, customer.id)).toEqual([])
  })
}

function describeDestinations(open: Open): void {
  test('a destination is found by name and by origin as it was put', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)
    const destination = newDestination(profile, { settings: '{"sealed":"x","ü":[1,null]}' })

    expect(await store.putDestination(destination)).toBe('written')

    const stored = { ...destination, revision: expect.any(Number) }
    expect(await findDestination(store, destination)).toEqual(stored)
    expect(await findByOrigin(store, profile, destination.origin)).toEqual(stored)
    expect(await store.listDestinations(merchant.id, profile.id)).toEqual([stored])
  })

  test('an unknown destination is not there', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)
    const destination = newDestination(profile, { revision: 1 })

    expect(await findDestination(store, destination)).toBeUndefined()
    expect(await findByOrigin(store, profile, destination.origin)).toBeUndefined()
    expect(await store.listDestinations(merchant.id, profile.id)).toEqual([])
    expect(await store.putDestination(destination)).toBe('not_found')
    expect(await store.putDestination(newDestination(newProfile(merchant)))).toBe('not_found')
    expect(await store.deleteDestination(merchant.id, profile.id, destination.name)).toBe(false)
    expect(await findDestination(store, destination)).toBeUndefined()
    expect(await findByOrigin(store, profile, destination.origin)).toBeUndefined()
  })

  test('the first revision is never 0, which would make a new one', async () => {
    await using store = await open()
    const { profile } = await seedMerchant(store)

    const { revision } = await seedDestination(store, newDestination(profile))

    expect(revision).not.toBe(0)
  })

  test('a name is used once in a profile, and again in another', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)
    const other = newProfile(merchant)
    await store.insertProfile(other)
    const first = await seedDestination(store, newDestination(profile))
    const second = newDestination(profile, { name: first.name })

    expect(await store.putDestination(second)).toBe('name_taken')
    expect(await store.putDestination({ ...second, profileId: other.id })).toBe('written')

    expect(await findDestination(store, first)).toEqual(first)
    expect(await findByOrigin(store, profile, second.origin)).toBeUndefined()
    expect((await findByOrigin(store, other, second.origin))?.name).toBe(first.name)
  })

  test('an origin is used once in a profile, and again in another', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)
    const other = newProfile(merchant)
    await store.insertProfile(other)
    const first = await seedDestination(store, newDestination(profile))
    const second = newDestination(profile, { origin: first.origin })

    expect(await store.putDestination(second)).toBe('origin_taken')
    expect(await store.putDestination({ ...second, profileId: other.id })).toBe('written')

    expect(await findDestination(store, second)).toBeUndefined()
    expect(await findByOrigin(store, profile, first.origin)).toEqual(first)
    expect((await findByOrigin(store, other, first.origin))?.name).toBe(second.name)
  })

  test('of 20 racing destinations of one name or one origin one is written', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)
    const name = destinationName('raced')
    const origin = 'https://raced.example.com'

    const byName = await Promise.all(
      times(20, () => store.putDestination(newDestination(profile, { name }))),
    )
    const byOrigin = await Promise.all(
      times(20, () => store.putDestination(newDestination(profile, { origin }))),
    )

    expect(byName.sort()).toEqual([...times(19, () => 'name_taken'), 'written'])
    expect(byOrigin.sort()).toEqual([...times(19, () => 'origin_taken'), 'written'])
    expect(await store.listDestinations(merchant.id, profile.id)).toHaveLength(2)
  })

  test('a replacement is stored as the next revision', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)
    const read = await seedDestination(store, newDestination(profile))
    const next = { ...read, settings: '{"fields":[]}', secrets: sealed() }

    expect(await store.putDestination(next)).toBe('written')

    const after = await found(findDestination(store, read))
    expect(after).toEqual({ ...next, revision: after.revision })
    expect(after.revision).not.toBe(read.revision)
    expect(await findByOrigin(store, profile, read.origin)).toEqual(after)
    expect(await store.listDestinations(merchant.id, profile.id)).toEqual([after])
    expect(await store.putDestination(after)).toBe('written')
  })

  test('a destination that was changed since it was read is not overwritten', async () => {
    await using store = await open()
    const { profile } = await seedMerchant(store)
    const read = await seedDestination(store, newDestination(profile))
    await store.putDestination({ ...read, secrets: sealed() })
    const changed = await findDestination(store, read)
    const lost = { ...read, origin: 'https://lost.example.com', secrets: sealed() }

    expect(await store.putDestination(lost)).toBe('not_found')

    expect(await findDestination(store, read)).toEqual(changed)
    expect(await findByOrigin(store, profile, read.origin)).toEqual(changed)
    expect(await findByOrigin(store, profile, lost.origin)).toBeUndefined()
  })

  test('of 20 racing replacements of one revision one is written', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)
    const read = await seedDestination(store, newDestination(profile))
    const contenders = times(20, (n) => ({ ...read, origin: `https://raced-${n}.example.com` }))

    const answers = await Promise.all(contenders.map((each) => store.putDestination(each)))

    expect(answers.filter((answer) => answer === 'written')).toHaveLength(1)
    const winner = contenders[answers.indexOf('written')]
    expect((await findDestination(store, read))?.origin).toBe(winner?.origin)
    for (const { origin } of [read, ...contenders]) {
      const byOrigin = await findByOrigin(store, profile, origin)
      expect(byOrigin?.name).toBe(origin === winner?.origin ? read.name : undefined)
    }
    expect(await store.listDestinations(merchant.id, profile.id)).toHaveLength(1)
  })

  test('a moved destination frees its old origin and takes only a free one', async () => {
    await using store = await open()
    const { profile } = await seedMerchant(store)
    const read = await seedDestination(store, newDestination(profile))
    const other = await seedDestination(store, newDestination(profile))

    expect(await store.putDestination({ ...read, origin: other.origin })).toBe('origin_taken')
    expect(await findDestination(store, read)).toEqual(read)
    expect(await findByOrigin(store, profile, read.origin)).toEqual(read)

    const moved = { ...read, origin: 'https://moved.example.com' }
    expect(await store.putDestination(moved)).toBe('written')
    expect(await findByOrigin(store, profile, read.origin)).toBeUndefined()
    expect((await findByOrigin(store, profile, moved.origin))?.name).toBe(read.name)
    expect(await store.putDestination({ ...other, origin: read.origin })).toBe('written')
  })

  const wildcard = 'https://*.example.com'
  test.each([
    ['https://api.example.com', 'exact'],
    ['https://www.example.com', 'wildcard'],
    ['https://x-1.example.com', 'wildcard'],
    ['https://a.api.example.com', 'nothing'],
    ['https://a.b.example.com', 'nothing'],
    ['https://example.com', 'nothing'],
    ['https://.example.com', 'nothing'],
    ['http://www.example.com', 'nothing'],
    ['https://www.example.com:8443', 'nothing'],
    ['https://www.example.org', 'nothing'],
    ['https://wwwexample.com', 'nothing'],
    ['https://www.example.com.evil.test', 'nothing'],
    ['https://evil.test', 'nothing'],
  ])('beside an exact origin and a wildcard, %s is answered by: %s', async (origin, answer) => {
    await using store = await open()
    const { profile } = await seedMerchant(store)
    const exact = { name: destinationName('exact'), origin: 'https://api.example.com' }
    await seedDestination(store, newDestination(profile, exact))
    const covering = { name: destinationName('wildcard'), origin: wildcard }
    await seedDestination(store, newDestination(profile, covering))

    expect((await findByOrigin(store, profile, origin))?.name ?? 'nothing').toBe(answer)
  })

  test('a wildcard keeps its port, and is taken like any origin', async () => {
    await using store = await open()
    const { profile } = await seedMerchant(store)
    const origin = 'https://*.example.com:8443'
    const read = await seedDestination(store, newDestination(profile, { origin }))

    expect(await findByOrigin(store, profile, 'https://a.example.com:8443')).toEqual(read)
    expect(await findByOrigin(store, profile, 'https://a.example.com')).toBeUndefined()
    expect(await store.putDestination(newDestination(profile, { origin }))).toBe('origin_taken')
  })

  test('without its exact origin a host falls back to the wildcard', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)
    const exact = await seedDestination(store, newDestination(profile))
    const covering = await seedDestination(store, newDestination(profile, { origin: wildcard }))

    await store.deleteDestination(merchant.id, profile.id, exact.name)

    expect(await findByOrigin(store, profile, exact.origin)).toEqual(covering)
  })

  test('a destination is the same object until it changes, then another one', async () => {
    await using store = await open()
    const { profile } = await seedMerchant(store)
    const origin = wildcard
    const first = await seedDestination(store, newDestination(profile, { origin }))

    await seedDestination(store, newDestination(profile, { origin: 'https://other.test' }))
    await later()
    expect(await findDestination(store, first)).toBe(first)
    expect(await findByOrigin(store, profile, origin)).toBe(first)
    expect(await findByOrigin(store, profile, 'https://a.example.com')).toBe(first)
    expect(await findByOrigin(store, profile, 'https://b.example.com')).toBe(first)

    const { secrets } = first
    await store.putDestination({ ...first, secrets: sealed() })
    const second = await found(findDestination(store, first))
    expect(second).not.toBe(first)
    expect(second.secrets).not.toEqual(secrets)
    expect(first.secrets).toEqual(secrets)
    expect(await findDestination(store, first)).toBe(second)
    expect(await findByOrigin(store, profile, 'https://a.example.com')).toBe(second)
  })

  test('a deleted destination frees its name and its origin', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)
    const read = await seedDestination(store, newDestination(profile))
    const kept = await seedDestination(store, newDestination(profile))

    expect(await store.deleteDestination(merchant.id, profile.id, read.name)).toBe(true)

    expect(await findDestination(store, read)).toBeUndefined()
    expect(await findByOrigin(store, profile, read.origin)).toBeUndefined()
    expect(await store.listDestinations(merchant.id, profile.id)).toEqual([kept])
    expect(await store.deleteDestination(merchant.id, profile.id, read.name)).toBe(false)
    expect(await store.putDestination(read)).toBe('not_found')
    const again = newDestination(profile, { name: read.name, origin: read.origin })
    expect(await store.putDestination(again)).toBe('written')
    expect((await findDestination(store, read))?.secrets).toEqual(again.secrets)
  })

  test('a destination that is moved while it is deleted leaves its new origin free', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)
    const read = await seedDestination(store, newDestination(profile))
    const origin = 'https://moved.example.com'

    const [, deleted] = await Promise.all([
      store.putDestination({ ...read, origin }),
      store.deleteDestination(merchant.id, profile.id, read.name),
    ])

    expect(deleted).toBe(true)
    expect(await findDestination(store, read)).toBeUndefined()
    expect(await findByOrigin(store, profile, origin)).toBeUndefined()
    expect(await store.putDestination(newDestination(profile, { origin }))).toBe('written')
  })

  test('of 20 racing deletions of a destination one did it', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)
    const { name } = await seedDestination(store, newDestination(profile))

    const answers = times(20, () => store.deleteDestination(merchant.id, profile.id, name))
    expect(countTrue(await Promise.all(answers))).toBe(1)
  })
}

function describeProposals(open: Open): void {
  test('a proposal is found by the name of its destination as it was put', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)
    const proposal = newProposal(newDestination(profile, { revision: 3 }))

    expect(await store.putProposal(proposal)).toBe(true)

    expect(await findProposal(store, proposal)).toEqual(proposal)
    expect(await store.listProposals(merchant.id, profile.id)).toEqual([proposal])
  })

  test('an unknown proposal is not there', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)
    const proposal = newProposal(newDestination(profile))

    expect(await findProposal(store, proposal)).toBeUndefined()
    expect(await store.listProposals(merchant.id, profile.id)).toEqual([])
    expect(await store.deleteProposal(proposal)).toBe(false)
  })

  test('a proposal is never found as a destination', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)
    const fresh = newProposal(newDestination(profile))
    const stored = await seedDestination(store, newDestination(profile))
    const moved = newProposal({ ...stored, origin: 'https://moved.example.com' })
    await store.putProposal(fresh)
    await store.putProposal(moved)

    expect(await findDestination(store, fresh.destination)).toBeUndefined()
    expect(await findByOrigin(store, profile, fresh.destination.origin)).toBeUndefined()
    expect(await findByOrigin(store, profile, moved.destination.origin)).toBeUndefined()
    expect(await findDestination(store, stored)).toEqual(stored)
    expect(await findByOrigin(store, profile, stored.origin)).toEqual(stored)
    expect(await store.listDestinations(merchant.id, profile.id)).toEqual([stored])
  })

  test('a proposal takes neither the name nor the origin that it is for', async () => {
    await using store = await open()
    const { profile } = await seedMerchant(store)
    const destination = newDestination(profile)
    const proposal = newProposal(destination)
    await store.putProposal(proposal)

    expect(await store.putDestination(destination)).toBe('written')

    expect(await findProposal(store, proposal)).toEqual(proposal)
  })

  test('a proposal replaces the one for the same name and no other', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)
    const second = newProfile(merchant)
    await store.insertProfile(second)
    const name = destinationName('psp')
    const first = newProposal(newDestination(profile, { name }))
    const elsewhere = newProposal(newDestination(second, { name }))
    const neighbour = newProposal(newDestination(profile, { name: destinationName('psp-1') }))
    for (const each of [first, elsewhere, neighbour]) await store.putProposal(each)
    const newer = newProposal(newDestination(profile, { name }))

    expect(await store.putProposal(newer)).toBe(true)

    expect(await findProposal(store, first)).toEqual(newer)
    expect(byId(await store.listProposals(merchant.id, profile.id))).toEqual(
      byId([newer, neighbour]),
    )
    expect(await store.listProposals(merchant.id, second.id)).toEqual([elsewhere])
  })

  test('a proposal is refused when its profile does not exist or was deleted', async () => {
    await using store = await open()
    const { merchant } = await seedMerchant(store)
    const { merchant: gone, profile: ofGone } = await seedMerchant(store)
    await store.deleteMerchant(gone.id)
    const deleted = newProfile(merchant)
    await store.insertProfile(deleted)
    await store.deleteProfile(merchant.id, deleted.id)

    for (const profile of [newProfile(merchant), deleted, ofGone]) {
      const proposal = newProposal(newDestination(profile))
      expect(await store.putProposal(proposal)).toBe(false)
      expect(await findProposal(store, proposal)).toBeUndefined()
    }
  })

  test('a deleted proposal is gone, and no other is', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)
    const proposal = newProposal(newDestination(profile))
    const other = newProposal(newDestination(profile))
    await store.putProposal(proposal)
    await store.putProposal(other)

    expect(await store.deleteProposal(proposal)).toBe(true)

    expect(await store.deleteProposal(proposal)).toBe(false)
    expect(await findProposal(store, proposal)).toBeUndefined()
    expect(await store.listProposals(merchant.id, profile.id)).toEqual([other])
  })

  test('who deletes a proposal never deletes the one that took its place', async () => {
    await using store = await open()
    const { profile } = await seedMerchant(store)
    const older = newProposal(newDestination(profile))
    const newer = newProposal(older.destination)
    await store.putProposal(older)
    await store.putProposal(newer)

    expect(await store.deleteProposal(older)).toBe(false)

    expect(await findProposal(store, older)).toEqual(newer)
  })

  test('a proposal that is replaced while it is deleted leaves the newer one', async () => {
    await using store = await open()
    const { profile } = await seedMerchant(store)
    for (const deleteFirst of [true, false]) {
      const older = newProposal(newDestination(profile))
      const newer = newProposal(older.destination)
      await store.putProposal(older)
      const remove = () => store.deleteProposal(older)
      const replace = () => store.putProposal(newer)

      await Promise.all(deleteFirst ? [remove(), replace()] : [replace(), remove()])

      expect(await findProposal(store, older)).toEqual(newer)
    }
  })

  test('of 20 racing deletions of a proposal one did it', async () => {
    await using store = await open()
    const { profile } = await seedMerchant(store)
    const proposal = newProposal(newDestination(profile))
    await store.putProposal(proposal)

    expect(countTrue(await Promise.all(times(20, () => store.deleteProposal(proposal))))).toBe(1)
  })

  test('a proposal goes when its destination is deleted, those for other names stay', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)
    const destination = await seedDestination(store, newDestination(profile))
    const proposal = newProposal(destination)
    const other = newProposal(newDestination(profile))
    await store.putProposal(proposal)
    await store.putProposal(other)

    await store.deleteDestination(merchant.id, profile.id, destination.name)

    expect(await findProposal(store, proposal)).toBeUndefined()
    expect(await store.listProposals(merchant.id, profile.id)).toEqual([other])
  })

  test('proposals go with their profile and with their merchant, and no others do', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)
    const { merchant: other, profile: ofOther } = await seedMerchant(store)
    const second = newProfile(merchant)
    await store.insertProfile(second)
    const [first, inSecond, foreign] = [profile, second, ofOther].map((each) =>
      newProposal(newDestination(each)),
    ) as [DestinationProposal, DestinationProposal, DestinationProposal]
    for (const each of [first, inSecond, foreign]) await store.putProposal(each)

    await store.deleteProfile(merchant.id, second.id)
    expect(await findProposal(store, inSecond)).toBeUndefined()
    expect(await findProposal(store, first)).toEqual(first)

    await store.deleteMerchant(merchant.id)
    expect(await findProposal(store, first)).toBeUndefined()
    expect(await store.listProposals(merchant.id, profile.id)).toEqual([])
    expect(await store.listProposals(other.id, ofOther.id)).toEqual([foreign])
  })

  test('a proposal that is put while its profile or its merchant is deleted does not stay', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)
    const second = newProfile(merchant)
    await store.insertProfile(second)
    const inSecond = newProposal(newDestination(second))
    const first = newProposal(newDestination(profile))

    await Promise.all([
      store.putProposal(inSecond),
      store.deleteProfile(merchant.id, second.id),
      store.putProposal(inSecond),
    ])
    expect(await findProposal(store, inSecond)).toBeUndefined()

    await Promise.all([
      store.putProposal(first),
      store.deleteMerchant(merchant.id),
      store.putProposal(first),
    ])
    expect(await findProposal(store, first)).toBeUndefined()
  })
}

function describeCredentials(open: Open): void {
  test('credentials are listed with their payment method as they were put', async () => {
    await using store = await open()
    const { customer } = await seedMerchant(store)
    const method = await seedMethod(store, newMethod(customer))
    const other = await seedMethod(store, newMethod(customer))
    const credentials = [
      newCredential(method),
      newCredential(method, { connector: 'adyen' }),
      newCredential(method, { kind: 'network_transaction_id', connector: '' }),
    ]

    expect(await store.listCredentials(method.merchantId, method.id)).toEqual([])
    for (const each of credentials) expect(await store.putCredential(each)).toBe(true)

    expect(byConnector(await store.listCredentials(method.merchantId, method.id))).toEqual(
      byConnector(credentials),
    )
    expect(await store.listCredentials(other.merchantId, other.id)).toEqual([])
  })

  test('a credential replaces the one of its kind and connector and no other', async () => {
    await using store = await open()
    const { customer } = await seedMerchant(store)
    const method = await seedMethod(store, newMethod(customer))
    const older = newCredential(method, { connector: 'stripe' })
    const others = [
      newCredential(method, { connector: 'adyen' }),
      newCredential(method, { connector: 'stripe', kind: 'network_transaction_id' }),
    ]
    for (const each of [older, ...others]) await store.putCredential(each)
    const newer = newCredential(method, { connector: 'stripe' })

    expect(await store.putCredential(newer)).toBe(true)

    expect(byConnector(await store.listCredentials(method.merchantId, method.id))).toEqual(
      byConnector([newer, ...others]),
    )
  })

  test('a credential is refused when its payment method does not exist or was deleted', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const unknown = newMethod(customer)
    const deleted = await seedMethod(store, newMethod(customer))
    await store.deletePaymentMethod(merchant.id, deleted.id)

    for (const method of [unknown, deleted]) {
      expect(await store.putCredential(newCredential(method))).toBe(false)
      expect(await store.listCredentials(merchant.id, method.id)).toEqual([])
    }
  })

  test('credentials of 20 connectors that are put at once all stay', async () => {
    await using store = await open()
    const { customer } = await seedMerchant(store)
    const method = await seedMethod(store, newMethod(customer))
    const credentials = times(20, (n) => newCredential(method, { connector: `psp_${n}` }))

    const put = await Promise.all(credentials.map((each) => store.putCredential(each)))

    expect(countTrue(put)).toBe(20)
    expect(byConnector(await store.listCredentials(method.merchantId, method.id))).toEqual(
      byConnector(credentials),
    )
  })

  test('of 20 credentials of one connector that are put at once one stays', async () => {
    await using store = await open()
    const { customer } = await seedMerchant(store)
    const method = await seedMethod(store, newMethod(customer))
    const credentials = times(20, () => newCredential(method))

    const put = await Promise.all(credentials.map((each) => store.putCredential(each)))

    expect(countTrue(put)).toBe(20)
    const [stored, ...others] = await store.listCredentials(method.merchantId, method.id)
    expect(credentials.filter((each) => same(each, stored))).toHaveLength(1)
    expect(others).toEqual([])
  })

  const nowMs = START_MS + 60_000
  const endings: [string, (store: Store, method: PaymentMethodRecord) => Promise<unknown>][] = [
    ['is deleted', (store, { merchantId, id }) => store.deletePaymentMethod(merchantId, id)],
    [
      'goes with its customer',
      (store, { merchantId, customerId }) => store.deleteCustomer(merchantId, customerId as never),
    ],
    ['expired and is swept', (store) => store.sweepExpired(nowMs)],
  ]
  test.each(endings)('credentials go when their payment method %s', async (_, end) => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const method = await seedMethod(store, newMethod(customer, { expiresAtMs: nowMs }))
    const other = await seedMethod(store, newMethod(merchant))
    const kept = newCredential(other)
    for (const each of [newCredential(method), newCredential(method, { connector: 'adyen' }), kept])
      await store.putCredential(each)

    await end(store, method)

    expect(await findMethod(store, method)).toBeUndefined()
    expect(await store.listCredentials(method.merchantId, method.id)).toEqual([])
    expect(await store.listCredentials(other.merchantId, other.id)).toEqual([kept])
  })

  test.each(endings)(
    'a credential that is put while its method %s does not stay',
    async (_, end) => {
      await using store = await open()
      const { customer } = await seedMerchant(store)
      const method = await seedMethod(store, newMethod(customer, { expiresAtMs: nowMs }))
      const put = (n: number) =>
        store.putCredential(newCredential(method, { connector: `psp_${n}` }))

      await Promise.all([...times(5, put), end(store, method), ...times(10, put)])

      expect(await findMethod(store, method)).toBeUndefined()
      expect(await store.listCredentials(method.merchantId, method.id)).toEqual([])
    },
  )

  test('a credential neither changes nor hinders the payment method', async () => {
    await using store = await open()
    const { customer } = await seedMerchant(store)
    const method = await seedMethod(store, newMethod(customer))
    const credential = newCredential(method)

    await store.putCredential(credential)

    expect(await findMethod(store, method)).toEqual(method)
    expect(await store.replacePaymentMethod(method, undefined)).toBe(true)
    expect(await store.listCredentials(method.merchantId, method.id)).toEqual([credential])
  })
}

function describeIdempotency(open: Open): void {
  const EXPIRY = START_MS + 60_000
  /** What is stored under the key; nothing is claimed by the question. */
  const stored = async (store: Store, { merchantId, key }: IdempotencyRecord) => {
    const asker = newIdempotencyRecord({ id: merchantId }, { key, expiresAtMs: START_MS })
    const found = await store.claimIdempotencyKey({ ...asker, createdAtMs: 0 })
    if (found === 'claimed') await store.releaseIdempotencyKey(asker)
    return found
  }
  const claimed = async (
    store: Store,
    changes: Partial<IdempotencyRecord> = {},
  ): Promise<IdempotencyRecord> => {
    const record = newIdempotencyRecord((await seedMerchant(store)).merchant, changes)
    expect(await store.claimIdempotencyKey(record)).toBe('claimed')
    return record
  }
  const answered = (record: IdempotencyRecord): IdempotencyRecord => ({
    ...record,
    state: 'answered',
    answer: sealed(),
  })

  test('who claims a key that is claimed gets the record as it is', async () => {
    await using store = await open()
    const { merchant } = await seedMerchant(store)
    const first = newIdempotencyRecord(merchant)
    const second = newIdempotencyRecord(merchant, { key: first.key })

    expect(await store.claimIdempotencyKey(first)).toBe('claimed')
    expect(await store.claimIdempotencyKey(second)).toEqual(first)
    expect(await store.claimIdempotencyKey(first)).toEqual(first)
  })

  test('another key, and the same of another merchant, is free', async () => {
    await using store = await open()
    const { key, merchantId: id } = await claimed(store)
    const { merchant: other } = await seedMerchant(store)

    expect(await store.claimIdempotencyKey(newIdempotencyRecord({ id }))).toBe('claimed')
    expect(await store.claimIdempotencyKey(newIdempotencyRecord(other, { key }))).toBe('claimed')
  })

  test('of 20 that race for a key one claims it and the others get its record', async () => {
    await using store = await open()
    const { merchant } = await seedMerchant(store)
    const key = newFingerprint()
    const contenders = times(20, () => newIdempotencyRecord(merchant, { key }))

    const answers = await Promise.all(contenders.map((each) => store.claimIdempotencyKey(each)))

    const winner = contenders[answers.indexOf('claimed')]
    expect(answers.filter((each) => each !== 'claimed')).toEqual(times(19, () => winner))
  })

  test('a record counts until the moment it expires, then it is replaced', async () => {
    await using store = await open()
    const older = await claimed(store)
    await store.finishIdempotencyKey(answered(older))
    const at = (createdAtMs: number) => ({
      ...newIdempotencyRecord({ id: older.merchantId }, { key: older.key }),
      createdAtMs,
      expiresAtMs: createdAtMs + 60_000,
    })
    const newer = at(EXPIRY)

    expect(await store.claimIdempotencyKey(at(EXPIRY - 1))).toMatchObject({ state: 'answered' })
    expect(await store.claimIdempotencyKey(newer)).toBe('claimed')

    const now = await stored(store, older)
    expect(now).toEqual(newer)
    expect(now).toHaveProperty('answer', undefined)
  })

  test('of 20 that race for an expired key one claims it and the others get its record', async () => {
    await using store = await open()
    const { merchantId: id, key } = await claimed(store)
    const contenders = times(20, () =>
      newIdempotencyRecord({ id }, { key, createdAtMs: EXPIRY, expiresAtMs: EXPIRY + 60_000 }),
    )

    const answers = await Promise.all(contenders.map((each) => store.claimIdempotencyKey(each)))

    const winner = contenders[answers.indexOf('claimed')]
    expect(answers.filter((each) => each !== 'claimed')).toEqual(times(19, () => winner))
  })

  test.each<[string, Partial<IdempotencyRecord>]>([
    ['an answer', { state: 'answered', answer: sealed() }],
    ['an answer of 1.5 MB', { state: 'answered', answer: sealed(1_500_000) }],
    ['nothing known of it', { state: 'unknown' }],
    ['another time to expire', { state: 'unknown', expiresAtMs: START_MS + 5 }],
  ])('a finished record is read as it was finished: with %s', async (_, changes) => {
    await using store = await open()
    const record = { ...(await claimed(store)), ...changes }

    expect(await store.finishIdempotencyKey(record)).toBe(true)

    expect(await stored(store, record)).toEqual(record)
  })

  test('an answer that was read stays as it is whatever is read or written next', async () => {
    await using store = await open()
    const records = [answered(await claimed(store)), answered(await claimed(store))]
    for (const each of records) await store.finishIdempotencyKey(each)

    const [first, second] = records as [IdempotencyRecord, IdempotencyRecord]
    const read = await stored(store, first)
    await stored(store, second)
    await claimed(store)
    await store.sweepExpired(EXPIRY)
    await later()

    expect(read).toEqual(first)
  })

  // Who has nothing in flight under a key can neither finish nor release what is there.
  const others: [string, (store: Store, record: IdempotencyRecord) => Promise<unknown>][] = [
    ['finished', (store, record) => store.finishIdempotencyKey(answered(record))],
    ['known to be unknown', (s, record) => s.finishIdempotencyKey({ ...record, state: 'unknown' })],
    ['released', (store, record) => store.releaseIdempotencyKey(record)],
    ['swept', (store) => store.sweepExpired(EXPIRY)],
    [
      "another's, its time being over",
      (store, { merchantId: id, key }) =>
        store.claimIdempotencyKey(
          newIdempotencyRecord({ id }, { key, createdAtMs: EXPIRY, expiresAtMs: EXPIRY + 1 }),
        ),
    ],
    [
      'released and claimed by another',
      async (store, record) => {
        await store.releaseIdempotencyKey(record)
        await store.claimIdempotencyKey({ ...record, claimant: ids.request() })
      },
    ],
  ]
  test.each(others)('a record that is %s is not finished and not released', async (_, act) => {
    await using store = await open()
    const record = await claimed(store)
    await act(store, record)
    const before = await stored(store, record)

    expect(await store.finishIdempotencyKey(answered(record))).toBe(false)
    expect(await store.releaseIdempotencyKey(record)).toBe(false)

    expect(await stored(store, record)).toEqual(before)
  })

  test("another's record in flight is not finished and not released", async () => {
    await using store = await open()
    const record = await claimed(store)
    const other = { ...record, claimant: ids.request() }

    expect(await store.finishIdempotencyKey(answered(other))).toBe(false)
    expect(await store.releaseIdempotencyKey(other)).toBe(false)

    expect(await stored(store, record)).toEqual(record)
  })

  test('a released key is free at once', async () => {
    await using store = await open()
    const record = await claimed(store)
    const next = newIdempotencyRecord({ id: record.merchantId }, { key: record.key })

    expect(await store.releaseIdempotencyKey(record)).toBe(true)

    expect(await store.claimIdempotencyKey(next)).toBe('claimed')
    expect(await stored(store, record)).toEqual(next)
  })

  test('of 20 that finish or release the same record one does', async () => {
    await using store = await open()
    const record = await claimed(store)
    const finished = times(10, () => answered(record))

    const done = await Promise.all([
      ...finished.map((each) => store.finishIdempotencyKey(each)),
      ...times(10, () => store.releaseIdempotencyKey(record)),
    ])

    expect(countTrue(done)).toBe(1)
    const winner = finished[done.indexOf(true)]
    expect(await stored(store, record)).toEqual(winner ?? 'claimed')
  })

  test('a record that is finished when its key is claimed anew is the newer one', async () => {
    await using store = await open()
    for (const finishFirst of [true, false]) {
      const older = await claimed(store)
      const newer = newIdempotencyRecord(
        { id: older.merchantId },
        { key: older.key, createdAtMs: EXPIRY, expiresAtMs: EXPIRY + 60_000 },
      )
      const finish = () => store.finishIdempotencyKey(answered(older))
      const claim = () => store.claimIdempotencyKey(newer)

      await Promise.all(finishFirst ? [finish(), claim()] : [claim(), finish()])

      expect(await stored(store, older)).toEqual(newer)
    }
  })

  test('a sweep removes exactly the records that expired at or before its time', async () => {
    await using store = await open()
    const long = await claimed(store, { expiresAtMs: START_MS + 1 })
    const just = await claimed(store)
    await store.finishIdempotencyKey(answered(just))
    const not = await claimed(store, { expiresAtMs: EXPIRY + 1 })

    expect(await store.sweepExpired(EXPIRY)).toBe(2)

    expect(await stored(store, long)).toBe('claimed')
    expect(await stored(store, just)).toBe('claimed')
    expect(await stored(store, not)).toEqual(not)
    expect(await store.sweepExpired(EXPIRY)).toBe(0)
    expect(await store.sweepExpired(EXPIRY + 1)).toBe(1)
  })

  test('the answer of a record that was swept is not found under the same key again', async () => {
    await using store = await open()
    const record = await claimed(store)
    await store.finishIdempotencyKey(answered(record))
    await store.sweepExpired(EXPIRY)

    await store.claimIdempotencyKey(record)

    expect(await stored(store, record)).toHaveProperty('answer', undefined)
  })

  test('a record that was finished with another time is swept at its own', async () => {
    await using store = await open()
    const record = await claimed(store)
    const finished = { ...answered(record), expiresAtMs: EXPIRY + 1000 }
    await store.finishIdempotencyKey(finished)

    expect(await store.sweepExpired(EXPIRY)).toBe(0)
    expect(await stored(store, record)).toEqual(finished)
    expect(await store.sweepExpired(EXPIRY + 1000)).toBe(1)
  })

  test('a record that replaced an expired one, or is claimed during a sweep, stays', async () => {
    await using store = await open()
    const claims: [string, (store: Store, act: () => Promise<unknown>) => Promise<unknown>][] = [
      ['before', async (s, claim) => [await claim(), await s.sweepExpired(EXPIRY)]],
      ['claim first', (s, claim) => Promise.all([claim(), s.sweepExpired(EXPIRY)])],
      ['sweep first', (s, claim) => Promise.all([s.sweepExpired(EXPIRY), claim()])],
    ]
    for (const [name, race] of claims) {
      const older = await claimed(store)
      const newer = newIdempotencyRecord(
        { id: older.merchantId },
        { key: older.key, createdAtMs: EXPIRY, expiresAtMs: EXPIRY + 1000 },
      )

      await race(store, () => store.claimIdempotencyKey(newer))

      expect(await stored(store, older), name).toEqual(newer)
    }
    expect(await store.sweepExpired(EXPIRY + 999)).toBe(0)
    expect(await store.sweepExpired(EXPIRY + 1000)).toBe(claims.length)
  })

  test('a released record is not swept, one that took its place with the same time is', async () => {
    await using store = await open()
    const record = await claimed(store)
    await store.releaseIdempotencyKey(record)
    expect(await store.sweepExpired(EXPIRY)).toBe(0)

    await store.claimIdempotencyKey(record)

    expect(await store.sweepExpired(EXPIRY)).toBe(1)
  })
}

function describeSessions(open: Open): void {
  test("a session is found as it was inserted, a customer's and a guest's", async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const sessions = [
      newSession(customer, { tokenData: sealed(100), isDone: true, busyUntilMs: START_MS }),
      newSession(merchant, { attempts: 3 }),
    ]

    for (const session of sessions) expect(await store.insertSession(session)).toBe('inserted')

    for (const session of sessions) {
      expect(await findSession(store, session)).toEqual({
        ...session,
        revision: expect.any(Number),
      })
    }
  })

  test('an unknown session is not there', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const session = newSession(customer)

    expect(await findSession(store, session)).toBeUndefined()
    expect(await store.replaceSession({ ...session, revision: 1 })).toBe(false)
    expect(await store.deleteSession(merchant.id, session.id)).toBe(false)
    expect(await findSession(store, session)).toBeUndefined()
  })

  test('nothing is stored for a customer or a merchant that does not exist or was deleted', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const gone = newCustomer(merchant)
    await store.insertCustomer(gone)
    await store.deleteCustomer(merchant.id, gone.id)
    const strays = [newSession(newCustomer(merchant)), newSession(gone), newSession(newMerchant())]

    for (const stray of strays) {
      expect(await store.insertSession(stray)).toBe('no_customer')
      expect(await findSession(store, stray)).toBeUndefined()
    }
    await store.deleteMerchant(merchant.id)
    expect(await store.insertSession(newSession(customer))).toBe('no_customer')
    expect(await store.insertSession(newSession(merchant))).toBe('no_customer')
  })

  test('the id of a session is used once, and the first stays', async () => {
    await using store = await open()
    const { customer } = await seedMerchant(store)
    const session = await seedSession(store, newSession(customer))

    await expect(store.insertSession(newSession(customer, { id: session.id }))).rejects.toThrow()

    expect(await findSession(store, session)).toEqual(session)
  })

  test('a replacement is stored as the next revision, and keeps whose it is and its times', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const session = await seedSession(store, newSession(customer))
    const details = sealed()
    const other = newCustomer(merchant)
    const changes = { details, attempts: 1, busyUntilMs: START_MS, isDone: true }

    const isReplaced = await store.replaceSession({
      ...session,
      ...changes,
      customerId: other.id,
      createdAtMs: 1,
      expiresAtMs: START_MS + 10 ** 9,
    })

    expect(isReplaced).toBe(true)
    expect(await findSession(store, session)).toEqual({
      ...session,
      ...changes,
      revision: session.revision + 1,
    })
  })

  test('of 20 racing replacements of one revision one is written', async () => {
    await using store = await open()
    const { customer } = await seedMerchant(store)
    const session = await seedSession(store, newSession(customer))

    const won = await Promise.all(
      times(20, (n) => store.replaceSession({ ...session, attempts: n + 1 })),
    )

    expect(countTrue(won)).toBe(1)
    expect((await findSession(store, session))?.attempts).toBe(won.indexOf(true) + 1)
  })

  test('a deleted session is gone, and no other is; of 20 racing deletions one did it', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const session = await seedSession(store, newSession(customer))
    const kept = await seedSession(store, newSession(customer))

    const deleted = await Promise.all(times(20, () => store.deleteSession(merchant.id, session.id)))

    expect(countTrue(deleted)).toBe(1)
    expect(await findSession(store, session)).toBeUndefined()
    expect(await findSession(store, kept)).toEqual(kept)
    expect(await store.sweepExpired(session.expiresAtMs - 1)).toBe(0)
  })

  test('a session that is replaced while it is deleted does not come back', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const session = await seedSession(store, newSession(customer))

    await Promise.all([
      store.replaceSession({ ...session, attempts: 1 }),
      store.deleteSession(merchant.id, session.id),
      store.replaceSession({ ...session, attempts: 2 }),
    ])

    expect(await findSession(store, session)).toBeUndefined()
  })

  test('deleting a customer removes its sessions, those being made included, and no others', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const neighbour = newCustomer(merchant)
    await store.insertCustomer(neighbour)
    const session = await seedSession(store, newSession(customer))
    const kept = [
      await seedSession(store, newSession(neighbour)),
      await seedSession(store, newSession(merchant)),
    ]
    const late = newSession(customer)

    await Promise.all([
      store.insertSession(late),
      store.replaceSession({ ...session, attempts: 1 }),
      store.deleteCustomer(merchant.id, customer.id),
    ])

    expect(await findSession(store, session)).toBeUndefined()
    expect(await findSession(store, late)).toBeUndefined()
    for (const each of kept) expect(await findSession(store, each)).toEqual(each)
    expect(await store.sweepExpired(session.expiresAtMs)).toBe(kept.length)
  })

  test('a sweep removes exactly the sessions that expired at or before its time', async () => {
    await using store = await open()
    const { customer } = await seedMerchant(store)
    const sessions: SessionRecord[] = []
    for (const offset of [-1, 0, 1]) {
      const expiresAtMs = START_MS + offset
      sessions.push(await seedSession(store, newSession(customer, { expiresAtMs })))
    }
    const [past, now, later] = sessions as [SessionRecord, SessionRecord, SessionRecord]
    expect(await findSession(store, past)).toEqual(past)

    expect(await store.sweepExpired(START_MS)).toBe(2)

    expect(await findSession(store, past)).toBeUndefined()
    expect(await findSession(store, now)).toBeUndefined()
    expect(await findSession(store, later)).toEqual(later)
    expect(await store.sweepExpired(START_MS)).toBe(0)
    expect(await store.sweepExpired(START_MS + 1)).toBe(1)
  })

  test('a session that is replaced or deleted during a sweep is swept by this one or the next', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const replaced = await seedSession(store, newSession(customer, { expiresAtMs: START_MS }))
    const deleted = await seedSession(store, newSession(customer, { expiresAtMs: START_MS }))

    const [first, , wasDeleted] = await Promise.all([
      store.sweepExpired(START_MS),
      store.replaceSession({ ...replaced, attempts: 1 }),
      store.deleteSession(merchant.id, deleted.id),
    ])
    const second = await store.sweepExpired(START_MS)

    expect(first + second + Number(wasDeleted)).toBe(2)
    expect(await findSession(store, replaced)).toBeUndefined()
    expect(await findSession(store, deleted)).toBeUndefined()
  })
}

function describeExternalVaults(open: Open): void {
  test('one is found as it was put, replaced, and deleted once', async () => {
    await using store = await open()
    const { profile } = await seedMerchant(store)
    const { merchantId, id } = profile
    const first = newExternalVault(profile)

    expect(await store.findExternalVault(merchantId, id)).toBeUndefined()
    expect(await store.putExternalVault(first)).toBe(true)
    const there = await store.findExternalVault(merchantId, id)
    expect(there).toEqual({ ...first, revision: expect.any(Number) })
    await later()
    expect(await store.findExternalVault(merchantId, id)).toBe(there)
    const second = newExternalVault(profile, there?.revision)
    expect(await store.putExternalVault(second)).toBe(true)
    const replaced = await store.findExternalVault(merchantId, id)
    expect(replaced).toEqual({ ...second, revision: expect.any(Number) })
    expect(replaced?.revision).not.toBe(there?.revision)
    expect(await store.deleteExternalVault(merchantId, id)).toBe(true)
    expect(await store.deleteExternalVault(merchantId, id)).toBe(false)
    expect(await store.findExternalVault(merchantId, id)).toBeUndefined()
  })

  test('one replaces only what it says: a revision, or that there is none', async () => {
    await using store = await open()
    const { profile } = await seedMerchant(store)
    const first = await seedExternalVault(store, newExternalVault(profile))

    expect(await store.putExternalVault(newExternalVault(profile))).toBe(false)
    expect(await store.putExternalVault(newExternalVault(profile, first.revision + 1))).toBe(false)
    expect(await findExternalVault(store, first)).toEqual(first)

    const second = await seedExternalVault(store, newExternalVault(profile, first.revision))
    expect(await store.putExternalVault(newExternalVault(profile, first.revision))).toBe(false)
    expect(await findExternalVault(store, second)).toEqual(second)
  })

  test('a revision does not come back after a deletion', async () => {
    await using store = await open()
    const { profile } = await seedMerchant(store)
    const first = await seedExternalVault(store, newExternalVault(profile))
    await store.deleteExternalVault(profile.merchantId, profile.id)
    expect(await store.putExternalVault(first)).toBe(false)

    const again = await seedExternalVault(store, { ...first, revision: 0 })

    expect(again.revision).not.toBe(first.revision)
    expect(await store.putExternalVault(newExternalVault(profile, first.revision))).toBe(false)
    expect(await findExternalVault(store, again)).toEqual(again)
  })

  test('of 20 that race for one revision one is put', async () => {
    await using store = await open()
    const { profile } = await seedMerchant(store)
    const { revision } = await seedExternalVault(store, newExternalVault(profile))

    const answers = await Promise.all(
      times(20, () => store.putExternalVault(newExternalVault(profile, revision))),
    )

    expect(countTrue(answers)).toBe(1)
  })

  test('it is of one profile, and goes with it', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)
    const second = newProfile(merchant)
    await store.insertProfile(second)
    const own = await seedExternalVault(store, newExternalVault(profile))
    const others = newExternalVault(second)
    await store.putExternalVault(others)

    await store.deleteProfile(merchant.id, second.id)

    expect(await store.findExternalVault(merchant.id, second.id)).toBeUndefined()
    expect(await store.putExternalVault(others)).toBe(false)
    expect(await store.findExternalVault(merchant.id, profile.id)).toEqual(own)
  })

  test('it goes with its merchant', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)
    const other = await seedMerchant(store)
    await store.putExternalVault(newExternalVault(profile))
    await store.putExternalVault(newExternalVault(other.profile))

    await store.deleteMerchant(merchant.id)

    expect(await store.findExternalVault(merchant.id, profile.id)).toBeUndefined()
    expect(await store.putExternalVault(newExternalVault(profile))).toBe(false)
    expect(await store.findExternalVault(other.merchant.id, other.profile.id)).toBeDefined()
  })

  test('payment methods are found by the alias they were stored with, until they are deleted', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const [alias, other] = [newFingerprint(), newFingerprint()]
    const [one, two, three] = [newMethod(customer), newMethod(merchant), newMethod(customer)]
    await store.insertPaymentMethod(one, undefined, alias)
    await store.insertPaymentMethod(two, undefined, alias)
    await store.insertPaymentMethod(three, undefined, other)
    const users = async () => [...(await store.listByExternalAlias(merchant.id, alias))].sort()

    expect(await users()).toEqual([one.id, two.id].sort())
    expect(await store.listByExternalAlias(merchant.id, other)).toEqual([three.id])
    await store.replacePaymentMethod(await found(findMethod(store, one)), undefined)
    expect(await users()).toEqual([one.id, two.id].sort())
    await store.deleteCustomer(merchant.id, customer.id)
    expect(await users()).toEqual([two.id])
    expect(await store.listByExternalAlias(merchant.id, other)).toEqual([])
    await store.deletePaymentMethod(merchant.id, two.id)
    expect(await users()).toEqual([])
  })

  test('one that was refused is not found by its alias', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const alias = newFingerprint()
    const fingerprint = newFingerprint()
    await store.insertPaymentMethod(newMethod(customer, { fingerprint }), undefined, undefined)

    const refused = newMethod(customer, { fingerprint })
    expect((await store.insertPaymentMethod(refused, undefined, alias)).kind).toBe('exists')

    expect(await store.listByExternalAlias(merchant.id, alias)).toEqual([])
  })

  test('one that is confirmed with an alias is found by it', async () => {
    await using store = await open()
    const { merchant, customer } = await seedMerchant(store)
    const alias = newFingerprint()
    const intent = newMethod(customer, { fingerprint: undefined, expiresAtMs: START_MS })
    await store.insertPaymentMethod(intent, undefined)
    const stored = await found(findMethod(store, intent))

    const { kind } = await store.confirmPaymentMethod(stored, undefined, alias)

    expect(kind).toBe('confirmed')
    expect(await store.listByExternalAlias(merchant.id, alias)).toEqual([intent.id])
  })
}

function describeVaultProposals(open: Open): void {
  test('a proposal is found as it was put, and is not in force', async () => {
    await using store = await open()
    const { profile } = await seedMerchant(store)
    const proposal = newExternalVaultProposal(newExternalVault(profile, 3))

    expect(await findVaultProposal(store, proposal)).toBeUndefined()
    expect(await store.putExternalVaultProposal(proposal)).toBe(true)

    expect(await findVaultProposal(store, proposal)).toEqual(proposal)
    expect(await findExternalVault(store, proposal.vault)).toBeUndefined()
    expect(await store.deleteExternalVault(profile.merchantId, profile.id)).toBe(false)
    expect(await findVaultProposal(store, proposal)).toEqual(proposal)
  })

  test('a proposal leaves what is in force, and stays when that is replaced', async () => {
    await using store = await open()
    const { profile } = await seedMerchant(store)
    const active = await seedExternalVault(store, newExternalVault(profile))
    const proposal = newExternalVaultProposal(newExternalVault(profile, active.revision))
    await store.putExternalVaultProposal(proposal)

    expect(await findExternalVault(store, active)).toEqual(active)
    await seedExternalVault(store, newExternalVault(profile, active.revision))
    expect(await findVaultProposal(store, proposal)).toEqual(proposal)
  })

  test('a proposal replaces the one of the same profile and no other', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)
    const second = newProfile(merchant)
    await store.insertProfile(second)
    const [older, newer, elsewhere] = [profile, profile, second].map((each) =>
      newExternalVaultProposal(newExternalVault(each)),
    ) as [ExternalVaultProposal, ExternalVaultProposal, ExternalVaultProposal]
    for (const each of [older, elsewhere, newer]) {
      expect(await store.putExternalVaultProposal(each)).toBe(true)
    }

    expect(await findVaultProposal(store, older)).toEqual(newer)
    expect(await findVaultProposal(store, elsewhere)).toEqual(elsewhere)
  })

  test('who deletes a proposal never deletes the one that took its place', async () => {
    await using store = await open()
    const { profile } = await seedMerchant(store)
    const older = newExternalVaultProposal(newExternalVault(profile))
    const newer = newExternalVaultProposal(older.vault)
    await store.putExternalVaultProposal(older)
    await store.putExternalVaultProposal(newer)

    expect(await store.deleteExternalVaultProposal(older)).toBe(false)
    expect(await findVaultProposal(store, older)).toEqual(newer)
    expect(await store.deleteExternalVaultProposal(newer)).toBe(true)
    expect(await findVaultProposal(store, newer)).toBeUndefined()
  })

  test('of 20 racing deletions of a proposal one did it', async () => {
    await using store = await open()
    const { profile } = await seedMerchant(store)
    const proposal = newExternalVaultProposal(newExternalVault(profile))
    await store.putExternalVaultProposal(proposal)

    const answers = await Promise.all(times(20, () => store.deleteExternalVaultProposal(proposal)))

    expect(countTrue(answers)).toBe(1)
  })

  test('a proposal goes with the settings that it is for', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)
    const second = newProfile(merchant)
    await store.insertProfile(second)
    await store.putExternalVault(newExternalVault(profile))
    await store.putExternalVault(newExternalVault(second))
    const proposal = newExternalVaultProposal(newExternalVault(profile))
    const elsewhere = newExternalVaultProposal(newExternalVault(second))
    await store.putExternalVaultProposal(proposal)
    await store.putExternalVaultProposal(elsewhere)

    expect(await store.deleteExternalVault(merchant.id, profile.id)).toBe(true)

    expect(await findVaultProposal(store, proposal)).toBeUndefined()
    expect(await findVaultProposal(store, elsewhere)).toEqual(elsewhere)
  })

  test('proposals go with their profile and with their merchant, and no others do', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)
    const second = newProfile(merchant)
    await store.insertProfile(second)
    const { profile: others } = await seedMerchant(store)
    const [first, inSecond, foreign] = [profile, second, others].map((each) =>
      newExternalVaultProposal(newExternalVault(each)),
    ) as [ExternalVaultProposal, ExternalVaultProposal, ExternalVaultProposal]
    for (const each of [first, inSecond, foreign]) await store.putExternalVaultProposal(each)

    await store.deleteProfile(merchant.id, second.id)
    expect(await findVaultProposal(store, inSecond)).toBeUndefined()
    expect(await store.putExternalVaultProposal(inSecond)).toBe(false)
    expect(await findVaultProposal(store, first)).toEqual(first)

    await store.deleteMerchant(merchant.id)
    expect(await findVaultProposal(store, first)).toBeUndefined()
    expect(await store.putExternalVaultProposal(first)).toBe(false)
    expect(await findVaultProposal(store, foreign)).toEqual(foreign)
  })

  test('a proposal that is put while its profile or its merchant is deleted does not stay', async () => {
    await using store = await open()
    const { merchant, profile } = await seedMerchant(store)
    const second = newProfile(merchant)
    await store.insertProfile(second)
    const inSecond = newExternalVaultProposal(newExternalVault(second))
    const first = newExternalVaultProposal(newExternalVault(profile))

    await Promise.all([
      store.putExternalVaultProposal(inSecond),
      store.deleteProfile(merchant.id, second.id),
      store.putExternalVaultProposal(inSecond),
    ])
    expect(await findVaultProposal(store, inSecond)).toBeUndefined()

    await Promise.all([
      store.putExternalVaultProposal(first),
      store.deleteMerchant(merchant.id),
      store.putExternalVaultProposal(first),
    ])
    expect(await findVaultProposal(store, first)).toBeUndefined()
  })
}

function describeWalls(open: Open): void {
  type Ours = Awaited<ReturnType<typeof everythingOf>>
  /** What a merchant is answered that asks for another's things by their ids, and that nothing changed by it. */
  const rows: [string, (store: Store, ours: Ours, asker: MerchantId) => unknown, unknown][] = [
    ['findProfile', (s, { second }, m) => s.findProfile(m, second.id), undefined],
    ['replaceProfile', (s, { second }, m) => s.replaceProfile(m, second.id, { name: 'x' }), false],
    ['deleteProfile', (s, { second }, m) => s.deleteProfile(m, second.id), false],
    ['findApiKey', (s, { key }, m) => s.findApiKey(m, key.id), undefined],
    ['listApiKeys', (s, _, m) => s.listApiKeys(m), []],
    ['replaceApiKey', (s, { key }, m) => s.replaceApiKey({ ...key, merchantId: m }), false],
    ['deleteApiKey', (s, { key }, m) => s.deleteApiKey(m, key.id), false],
    ['findCustomer', (s, { customer }, m) => s.findCustomer(m, customer.id), undefined],
    [
      'findCustomerByReference',
      (s, _, m) => s.findCustomerByReference(m, hashed('ours')),
      undefined,
    ],
    ['listCustomers', (s, _, m) => s.listCustomers(m, { offset: 0, limit: 100 }), []],
    [
      'replaceCustomer',
      (s, { customer }, m) => s.replaceCustomer({ ...customer, merchantId: m }),
      'changed',
    ],
    ['deleteCustomer', (s, { customer }, m) => s.deleteCustomer(m, customer.id), undefined],
    [
      'insertPaymentMethod',
      (s, { customer }, m) =>
        s.insertPaymentMethod(newMethod({ ...customer, merchantId: m }), newCvc()),
      { kind: 'no_customer' },
    ],
    ['findPaymentMethod', (s, { method }, m) => s.findPaymentMethod(m, method.id), undefined],
    [
      'findByFingerprint',
      (s, { method }, m) => s.findByFingerprint(m, method.fingerprint ?? newFingerprint()),
      undefined,
    ],
    ['listPaymentMethods', (s, { customer }, m) => s.listPaymentMethods(m, customer.id), []],
    [
      'replacePaymentMethod',
      (s, { method }, m) => s.replacePaymentMethod({ ...method, merchantId: m }, newCvc()),
      false,
    ],
    ['deletePaymentMethod', (s, { method }, m) => s.deletePaymentMethod(m, method.id), undefined],
    [
      'insertToken',
      (s, { customer }, m) => s.insertToken(newToken({ ...customer, merchantId: m })),
      'no_customer',
    ],
    ['findToken', (s, { token }, m) => s.findToken(m, token.id), undefined],
    ['deleteToken', (s, { token }, m) => s.deleteToken(m, token.id), false],
    ['findCvc', (s, { method }, m) => s.findCvc(m, method.id), undefined],
    ['takeCvc', (s, { method }, m) => s.takeCvc(m, method.id), undefined],
    ['returnCvc', (s, { method }, m) => s.returnCvc(m, method.id, newCvc()), false],
    [
      'returnCvc of a taken code',
      (s, { codeless }, m) => s.returnCvc(m, codeless.id, newCvc()),
      false,
    ],
    [
      'putDestination',
      (s, { destination }, m) => s.putDestination({ ...destination, merchantId: m }),
      'not_found',
    ],
    [
      'putDestination, a new one',
      (s, { second }, m) => s.putDestination(newDestination({ ...second, merchantId: m })),
      'not_found',
    ],
    [
      'findDestination',
      (s, { second, destination }, m) => s.findDestination(m, second.id, destination.name),
      undefined,
    ],
    [
      'findDestinationByOrigin',
      (s, { second, destination }, m) =>
        s.findDestinationByOrigin(m, second.id, destination.origin),
      undefined,
    ],
    ['listDestinations', (s, { second }, m) => s.listDestinations(m, second.id), []],
    [
      'deleteDestination',
      (s, { second, destination }, m) => s.deleteDestination(m, second.id, destination.name),
      false,
    ],
    ['listWrappedKeys', (s, _, m) => s.listWrappedKeys(m), []],
    [
      'putProposal',
      (s, { destination }, m) => s.putProposal(newProposal({ ...destination, merchantId: m })),
      false,
    ],
    [
      'findProposal',
      (s, { second, destination }, m) => s.findProposal(m, second.id, destination.name),
      undefined,
    ],
    ['listProposals', (s, { second }, m) => s.listProposals(m, second.id), []],
    [
      'deleteProposal',
      (s, { proposal, destination }, m) =>
        s.deleteProposal({ ...proposal, destination: { ...destination, merchantId: m } }),
      false,
    ],
    [
      'putCredential',
      (s, { method }, m) => s.putCredential(newCredential({ ...method, merchantId: m })),
      false,
    ],
    ['listCredentials', (s, { method }, m) => s.listCredentials(m, method.id), []],
    [
      'insertSession',
      (s, { customer }, m) => s.insertSession(newSession({ ...customer, merchantId: m })),
      'no_customer',
    ],
    ['findSession', (s, { session }, m) => s.findSession(m, session.id), undefined],
    [
      'replaceSession',
      (s, { session }, m) => s.replaceSession({ ...session, merchantId: m, attempts: 9 }),
      false,
    ],
    ['deleteSession', (s, { session }, m) => s.deleteSession(m, session.id), false],
    [
      'putExternalVault',
      (s, { second }, m) => s.putExternalVault(newExternalVault({ ...second, merchantId: m })),
      false,
    ],
    ['findExternalVault', (s, { second }, m) => s.findExternalVault(m, second.id), undefined],
    [
      'putExternalVault, of the revision that is there',
      (s, { vault }, m) => s.putExternalVault({ ...vault, merchantId: m }),
      false,
    ],
    ['deleteExternalVault', (s, { second }, m) => s.deleteExternalVault(m, second.id), false],
    [
      'putExternalVaultProposal',
      (s, { vault }, m) =>
        s.putExternalVaultProposal(newExternalVaultProposal({ ...vault, merchantId: m })),
      false,
    ],
    [
      'findExternalVaultProposal',
      (s, { second }, m) => s.findExternalVaultProposal(m, second.id),
      undefined,
    ],
    [
      'deleteExternalVaultProposal',
      (s, { vault, vaultProposal }, m) =>
        s.deleteExternalVaultProposal({ ...vaultProposal, vault: { ...vault, merchantId: m } }),
      false,
    ],
    ['listByExternalAlias', (s, { alias }, m) => s.listByExternalAlias(m, alias), []],
    [
      'claimIdempotencyKey',
      (s, { attempt }, m) => s.claimIdempotencyKey({ ...attempt, merchantId: m }),
      'claimed',
    ],
    [
      'finishIdempotencyKey',
      (s, { attempt }, m) =>
        s.finishIdempotencyKey({ ...attempt, merchantId: m, state: 'unknown' }),
      false,
    ],
    [
      'releaseIdempotencyKey',
      (s, { attempt }, m) => s.releaseIdempotencyKey({ ...attempt, merchantId: m }),
      false,
    ],
  ]
  test.each(rows)('%s answers another merchant as if nothing was there', async (_, ask, answer) => {
    await using store = await open()
    const ours = await everythingOf(store, 'ours')
    const asker = newMerchant()
    const profile = newProfile(asker, { isDefault: true })
    await store.insertMerchant(asker, profile)

    expect(await ask(store, ours, asker.id)).toEqual(answer)

    expect(await ours.read()).toEqual(ours.before)
    expect(await store.listProfiles(asker.id)).toEqual([profile])
    expect(await store.listCustomers(asker.id, { offset: 0, limit: 10 })).toEqual([])
    expect(await store.listApiKeys(asker.id)).toEqual([])
  })

  test('two merchants hold things of the same ids, each its own', async () => {
    await using store = await open()
    const first = await everythingOf(store, 'first')
    const second = await everythingOf(store, 'second', first)

    expect(await first.read()).toEqual(first.before)
    expect(second.before.method?.card).not.toEqual(first.before.method?.card)

    await store.deleteCustomer(second.merchant.id, second.customer.id)
    await store.deleteProfile(second.merchant.id, second.second.id)
    await store.deleteApiKey(second.merchant.id, second.key.id)
    await store.deleteMerchant(second.merchant.id)
    expect(await first.read()).toEqual(first.before)
  })

  test('a code is given to its own merchant when another has one under the same id', async () => {
    await using store = await open()
    const first = await everythingOf(store, 'first')
    const second = await everythingOf(store, 'second', first)

    const taken = await store.takeCvc(second.merchant.id, second.method.id)

    expect(taken).toEqual(second.before.cvc)
    expect(await store.findCvc(first.merchant.id, first.method.id)).toEqual(first.before.cvc)
  })
}

function describeKeys(open: Open): void {
  test('wrapped keys are listed by owner as they were inserted', async () => {
    await using store = await open()
    const keys = [
      newWrappedKey('~system', { purpose: 'pepper' }),
      newWrappedKey('~system', { purpose: 'data' }),
      newWrappedKey('~system', { purpose: 'data', version: 2 }),
      newWrappedKey('~system', { purpose: 'data', version: 10 }),
    ]
    for (const each of keys) expect(await store.insertWrappedKey(each)).toBe(true)
    await store.insertWrappedKey(newWrappedKey('~system-1'))

    const listed = await store.listWrappedKeys('~system')

    expect(listed).toHaveLength(keys.length)
    expect(listed).toEqual(expect.arrayContaining(keys))
    expect(await store.listWrappedKeys('nobody')).toEqual([])
  })

  test('a version of a wrapped key is inserted once and stays', async () => {
    await using store = await open()
    const contenders = times(20, () => newWrappedKey('mer_1'))

    const won = await Promise.all(contenders.map((each) => store.insertWrappedKey(each)))

    expect(countTrue(won)).toBe(1)
    expect(await store.insertWrappedKey(newWrappedKey('mer_1'))).toBe(false)
    expect(await store.listWrappedKeys('mer_1')).toEqual([contenders[won.indexOf(true)]])
  })

  test("the first insert of an hour's key wins, and every caller gets it", async () => {
    await using store = await open()
    const { hourKeys } = store
    const contenders = times(20, () => sealed())

    const answers = await Promise.all(contenders.map((each) => hourKeys.insertHourKey(500, each)))

    const stored = await found(hourKeys.findHourKey(500))
    expect(contenders.filter((each) => same(each, stored))).toHaveLength(1)
    expect(answers).toEqual(times(20, () => stored))
    expect(await hourKeys.insertHourKey(500, sealed())).toEqual(stored)
    expect(await hourKeys.findHourKey(500)).toEqual(stored)
  })

  test('the keys of hours before the given one are destroyed, the others stay', async () => {
    await using store = await open()
    const { hourKeys } = store
    const hours = [9, 498, 499, 500, 501]
    const keys = hours.map(() => sealed())
    for (const [n, hour] of hours.entries()) await hourKeys.insertHourKey(hour, keys[n] ?? sealed())

    await hourKeys.destroyHourKeysBefore(500)

    const left = await Promise.all(hours.map((hour) => hourKeys.findHourKey(hour)))
    expect(left).toEqual([undefined, undefined, undefined, keys[3], keys[4]])
    await hourKeys.destroyHourKeysBefore(500)
    expect(await hourKeys.findHourKey(500)).toEqual(keys[3])
    expect(await hourKeys.findHourKey(502)).toBeUndefined()
  })

  test('two that destroy the same hour keys do not disturb each other', async () => {
    await using store = await open()
    const { hourKeys } = store
    for (let hour = 0; hour < 20; hour++) await hourKeys.insertHourKey(hour, sealed())

    await Promise.all(times(4, () => hourKeys.destroyHourKeysBefore(20)))

    expect(await hourKeys.findHourKey(19)).toBeUndefined()
  })
}

/** A merchant with one of everything, and all of it as it is read. `like`: under the ids of that other merchant's. */
async function everythingOf(store: Store, id: string, like?: { ids: SharedIds }) {
  const shared = like?.ids ?? {
    profile: ids.profile(),
    key: ids.key(),
    customer: ids.customer(),
    method: ids.paymentMethod(),
    codeless: ids.paymentMethod(),
    elsewhere: ids.paymentMethod(),
    alias: newFingerprint(),
    token: ids.token(),
    session: ids.session(),
    fingerprint: newFingerprint(),
    destination: newDestination(newProfile(newMerchant())),
    attempt: newFingerprint(),
  }
  const merchant = newMerchant({ id: merchantId(id) })
  await store.insertMerchant(merchant, newProfile(merchant, { isDefault: true }))
  const second = newProfile(merchant, { id: shared.profile })
  await store.insertProfile(second)
  const key = newApiKey(merchant, { id: shared.key })
  await store.insertApiKey(key)
  const newOne = newCustomer(merchant, { id: shared.customer, reference: hashed('ours') })
  await store.insertCustomer(newOne)
  const customer = await found(store.findCustomer(merchant.id, newOne.id))
  const { fingerprint } = shared
  const method = await seedMethod(
    store,
    newMethod(customer, { id: shared.method, fingerprint }),
    newCvc(),
  )
  const codeless = await seedMethod(store, newMethod(merchant, { id: shared.codeless }))
  const token = await seedToken(store, newToken(customer, { id: shared.token }))
  const session = await seedSession(store, newSession(customer, { id: shared.session }))
  const { name, origin } = shared.destination
  const destination = await seedDestination(store, newDestination(second, { name, origin }))
  const proposal = newProposal(destination)
  await store.putProposal(proposal)
  await store.putCredential(newCredential(method))
  const vault = await seedExternalVault(store, newExternalVault(second))
  const vaultProposal = newExternalVaultProposal(vault)
  await store.putExternalVaultProposal(vaultProposal)
  const { alias } = shared
  await store.insertPaymentMethod(newMethod(merchant, { id: shared.elsewhere }), undefined, alias)
  const attempt = newIdempotencyRecord(merchant, { key: shared.attempt })
  await store.claimIdempotencyKey(attempt)
  await store.insertWrappedKey(newWrappedKey(merchant.id))

  const read = async () => ({
    merchant: await store.findMerchant(merchant.id),
    profiles: await store.listProfiles(merchant.id),
    default: await store.findDefaultProfile(merchant.id),
    keys: await store.listApiKeys(merchant.id),
    keyByHash: await store.findApiKeyByHash(key.hash),
    byPublishableKey: await byPublishableKey(store, second),
    customers: await store.listCustomers(merchant.id, { offset: 0, limit: 10 }),
    byReference: await store.findCustomerByReference(merchant.id, hashed('ours')),
    method: await findMethod(store, method),
    codeless: await findMethod(store, codeless),
    methods: await store.listPaymentMethods(merchant.id, customer.id),
    byFingerprint: await store.findByFingerprint(merchant.id, fingerprint),
    cvc: await store.findCvc(merchant.id, method.id),
    token: await findToken(store, token),
    session: await findSession(store, session),
    noCvc: await store.findCvc(merchant.id, codeless.id),
    destinations: await store.listDestinations(merchant.id, second.id),
    byOrigin: await findByOrigin(store, second, origin),
    proposal: await store.findProposal(merchant.id, second.id, name),
    proposals: await store.listProposals(merchant.id, second.id),
    credentials: await store.listCredentials(merchant.id, method.id),
    externalVault: await store.findExternalVault(merchant.id, second.id),
    vaultProposal: await store.findExternalVaultProposal(merchant.id, second.id),
    byAlias: await store.listByExternalAlias(merchant.id, alias),
    attempt: await store.claimIdempotencyKey(attempt),
    wrappedKeys: await store.listWrappedKeys(merchant.id),
  })
  const before = await read()
  // Nothing of it is missing to begin with: an undefined would be equal to what a breach leaves.
  const { noCvc, ...present } = before
  expect(Object.entries(present).filter(([, value]) => value === undefined)).toEqual([])
  return {
    ids: shared,
    merchant,
    second,
    key,
    customer,
    method,
    codeless,
    token,
    session,
    destination,
    proposal,
    vault,
    vaultProposal,
    alias,
    attempt,
    read,
    before,
  }
}

type SharedIds = {
  readonly profile: ProfileId
  readonly key: ReturnType<typeof ids.key>
  readonly customer: CustomerId
  readonly method: PaymentMethodId
  readonly codeless: PaymentMethodId
  readonly elsewhere: PaymentMethodId
  readonly alias: ReturnType<typeof newFingerprint>
  readonly token: TokenId
  readonly session: SessionRecord['id']
  readonly fingerprint: ReturnType<typeof newFingerprint>
  readonly destination: DestinationRecord
  readonly attempt: ReturnType<typeof newFingerprint>
}

/** Ids that operators choose, checked at the edge: hence the cast. */
function merchantId(text: string): MerchantId {
  return text as MerchantId
}

async function findMethod(store: Store, { merchantId, id }: PaymentMethodRecord) {
  return store.findPaymentMethod(merchantId, id)
}

async function findToken(store: Store, { merchantId, id }: TokenRecord) {
  return store.findToken(merchantId, id)
}

async function findByFingerprint(store: Store, method: PaymentMethodRecord) {
  const { merchantId, fingerprint } = method
  return fingerprint && store.findByFingerprint(merchantId, fingerprint)
}

async function findDestination(store: Store, { merchantId, profileId, name }: DestinationRecord) {
  return store.findDestination(merchantId, profileId, name)
}

async function byPublishableKey(
  store: Store,
  { publishableKey }: Pick<ProfileRecord, 'publishableKey'>,
) {
  return publishableKey && (await store.findProfileByPublishableKey(publishableKey))
}

function findSession(store: Store, { merchantId, id }: SessionRecord) {
  return store.findSession(merchantId, id)
}

/** A session in the store, as it is read: with its revision. */
async function seedSession(store: Store, session: SessionRecord): Promise<SessionRecord> {
  const answer = await store.insertSession(session)
  const stored = await findSession(store, session)
  if (answer !== 'inserted' || stored === undefined) throw new Error(`not inserted: ${answer}`)
  return stored
}

async function findByOrigin(store: Store, { merchantId, id }: ProfileRecord, origin: string) {
  return store.findDestinationByOrigin(merchantId, id, origin)
}

async function findProposal(store: Store, { destination }: DestinationProposal) {
  return store.findProposal(destination.merchantId, destination.profileId, destination.name)
}

async function findExternalVault(store: Store, { merchantId, profileId }: ExternalVaultRecord) {
  return store.findExternalVault(merchantId, profileId)
}

/** Settings in the store, as they are read: with their revision. */
async function seedExternalVault(
  store: Store,
  vault: ExternalVaultRecord,
): Promise<ExternalVaultRecord> {
  expect(await store.putExternalVault(vault)).toBe(true)
  return found(findExternalVault(store, vault))
}

function findVaultProposal(store: Store, { vault }: ExternalVaultProposal) {
  return store.findExternalVaultProposal(vault.merchantId, vault.profileId)
}

/** For an act that needs what was read; the test fails here when it is not there. */
async function found<T>(value: Promise<T | undefined>): Promise<T> {
  const there = await value
  if (there === undefined) throw new Error('not found')
  return there
}

/** Past whatever a backend keeps for one turn of the event loop. */
async function later(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 5))
}

function times<T>(count: number, make: (n: number) => T): T[] {
  return Array.from({ length: count }, (_, n) => make(n))
}

function countTrue(answers: readonly boolean[]): number {
  return answers.filter(Boolean).length
}

function byId<T extends { readonly id: string }>(records: readonly T[]): T[] {
  return [...records].sort((a, b) => (a.id < b.id ? -1 : 1))
}

function byConnector(records: readonly CredentialRecord[]): CredentialRecord[] {
  const name = ({ kind, connector }: CredentialRecord) => `${kind} ${connector}`
  return [...records].sort((a, b) => (name(a) < name(b) ? -1 : 1))
}

function same(a: unknown, b: unknown): boolean {
  try {
    expect(a).toEqual(b)
    return true
  } catch {
    return false
  }
}
