// The embedded store: LMDB, memory-mapped, crash-safe, shared by all workers on the machine.
//
// Every write is a set of conditions and the puts that happen if they all hold, carried out in one transaction on
// LMDB's writer thread; it is acknowledged after the commit was synced. `overlappingSync: false`: with the
// default a value is visible before it is on disk, and an I/O error leaves it visible although it was refused.
// A write that fails is fatal (`onFatal`): after a failed sync nobody knows what is on disk.
//
// Keys are `merchant/...`: ids are checked against grammars without `/` before they get here.

import { chmod, mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { type Database, getLastVersion, open, type RootDatabase } from 'lmdb'
import type { KeyId, MerchantId, PaymentMethodId, TokenId } from '../../core/ids.ts'
import type { WrappedKey } from '../../crypto/keyring.ts'
import type {
  ApiKeyRecord,
  ConfirmPaymentMethod,
  CustomerRecord,
  CvcSlot,
  DestinationRecord,
  InsertPaymentMethod,
  MerchantRecord,
  PaymentMethodRecord,
  ProfileRecord,
  PutDestination,
  Store,
  TokenRecord,
} from '../contract.ts'
import {
  decodeCvc,
  decodeJson,
  decodePaymentMethod,
  decodeToken,
  encodeCvc,
  encodeJson,
  encodePaymentMethod,
  encodeToken,
} from './codec.ts'
import { openCredentials } from './credentials.ts'
import { openExternalVaults } from './external-vaults.ts'
import { openHourKeyFiles, syncFolder } from './hour-key-files.ts'
import { openIdempotency } from './idempotency.ts'
import { openLastUses } from './last-uses.ts'
import { openProposals } from './proposals.ts'
import { openRemembered } from './remembered.ts'
import { openSessions } from './sessions.ts'
import {
  absent,
  type Condition,
  type ExpiryKey,
  exists,
  FIRST,
  NONE,
  type SweptEntry,
  type Table,
  unchanged,
  versionByChance,
} from './tables.ts'

const SWEEP_BATCH = 10_000
/**
 * Of address space, not of memory or disk; a store that outgrows it is mapped again. From a small size it is mapped again
 * many times, and every earlier map stays until the process ends: 400 MB more of resident pages after 200,000 cards.
 */
const MAP_BYTES = 2 ** 36
/** Owner part of the installation's own API keys; no merchant id can be this. */
const INSTALLATION = '~'

export async function openLmdbStore(options: {
  folder: string
  /** Not inside `folder`, which backups copy. */
  hourKeysFolder: string
  onFatal: (error: unknown) => void
}): Promise<Store> {
  await mkdir(options.folder, { recursive: true, mode: 0o700 })
  const env: RootDatabase = open({
    path: join(options.folder, 'sallyport.mdb'),
    overlappingSync: false,
    mapSize: MAP_BYTES,
    maxDbs: 64,
    maxReaders: 512,
  })
  for (const name of ['sallyport.mdb', 'sallyport.mdb-lock'])
    await chmod(join(options.folder, name), 0o600)
  // The files are on disk when their folders say so.
  await syncFolder(options.folder)
  await syncFolder(dirname(options.folder))

  const table = (name: string): Table =>
    env.openDB<Buffer, string>({
      name,
      encoding: 'binary',
      useVersions: true,
      cache: false,
    }) as Database<Buffer, string> & Pick<Table, 'lastSize'>
  // LMDB's reader keeps what it saw for up to a millisecond. Every run of JavaScript that reads begins anew, so that
  // what another worker has revoked or deleted is gone at once; the callbacks of a write read within its turn. Within
  // one run nothing can have been heard of in between: whatever is told of a change later is queued behind `forget`.
  // A request makes four reads in one run, and each look of its own would be a timer of LMDB's (1 µs).
  let looks = 0
  let isCurrent = false
  const forget = () => {
    isCurrent = false
  }
  const settled = Promise.resolve()
  const lookAgain = (): number => {
    if (isCurrent) return looks
    isCurrent = true
    void settled.then(forget)
    env.resetReadTxn()
    looks += 1
    return looks
  }

  const remembered = openRemembered({ table, lookAgain })
  const merchants = table('merchants')
  const retiredMerchants = table('retired_merchants')
  const { table: profiles, find: findProfile } = remembered<ProfileRecord>('profiles')
  const { table: defaultProfiles, find: findDefaultProfile } =
    remembered<ProfileRecord>('default_profiles')
  /** Where the profile of a key is. What it says counts only if the profile says the same. */
  const publishableKeys = table('publishable_keys')
  const apiKeys = table('api_keys')
  const { table: apiKeyHashes, find: findApiKeyByHash } = remembered<ApiKeyRecord>('api_key_hashes')
  const wrappedKeys = table('wrapped_keys')
  const customers = table('customers')
  const customerReferences = table('customer_references')
  const methods = table('payment_methods')
  const methodsOfCustomer = table('payment_methods_of_customer')
  const fingerprints = table('fingerprints')
  const codes = table('cvc')
  const tokens = table('tokens')
  const tokensOfCustomer = table('tokens_of_customer')
  const { table: destinations, find: findDestination } =
    remembered<DestinationRecord>('destinations')
  const destinationOrigins = table('destination_origins')
  const expiries = env.openDB<Buffer, ExpiryKey>({
    name: 'expiries',
    encoding: 'binary',
    cache: false,
  })

  const hourKeys = await openHourKeyFiles(options.hourKeysFolder)

  /** Settles after the sync; answers with the place of the first condition that failed, or -1 when it was written. */
  async function writeIf(conditions: readonly Condition[], write: () => void): Promise<number> {
    const held: Promise<boolean>[] = []
    const nest = (place: number): void => {
      const condition = conditions[place]
      if (condition === undefined) {
        write()
        return
      }
      const { table, key, version } = condition
      const then = () => nest(place + 1)
      held[place] =
        version === null ? table.ifNoExists(key, then) : table.ifVersion(key, version, then)
    }
    nest(0)
    return (await fatalIfRejected(Promise.all(held))).indexOf(false)
  }

  async function fatalIfRejected<T>(write: Promise<T>): Promise<T> {
    try {
      return await write
    } catch (error) {
      options.onFatal(error)
      throw error
    }
  }

  const written = async (conditions: readonly Condition[], write: () => void): Promise<boolean> =>
    (await writeIf(conditions, write)) === -1

  function readJson<T extends object>(table: Table, key: string): T | undefined {
    lookAgain()
    const bytes = table.getBinary(key)
    return bytes === undefined ? undefined : decodeJson<T>(bytes)
  }

  /** With its revision, for records that are replaced by revision. */
  function readRevised<T extends object>(table: Table, key: string): T | undefined {
    lookAgain()
    const bytes = table.getBinary(key)
    return bytes === undefined ? undefined : { ...decodeJson<T>(bytes), revision: getLastVersion() }
  }

  const under = (prefix: string) => ({ start: `${prefix}/`, end: `${prefix}0` }) // '0' follows '/'
  const keysUnder = (table: Table, prefix: string): string[] => {
    lookAgain()
    return [...table.getKeys(under(prefix))]
  }
  const recordsUnder = <T>(table: Table, prefix: string): T[] => {
    lookAgain()
    return [...table.getRange(under(prefix))].map(({ value }) => decodeJson<T>(value))
  }
  const removeAllUnder = (table: Table, prefix: string): void => {
    for (const key of keysUnder(table, prefix)) table.remove(key)
  }

  const tables = {
    table,
    expiries,
    writeIf,
    written,
    lookAgain,
    keysUnder,
    recordsUnder,
    removeAllUnder,
  }
  const proposals = openProposals(tables, { merchants, profiles })
  const credentials = openCredentials(tables, { methods })
  const lastUses = openLastUses(tables, { merchants, methods })
  const externalVaults = openExternalVaults(tables, remembered, { merchants, profiles })
  const idempotency = openIdempotency(tables)
  const sessions = openSessions(tables, { merchants, customers })

  /** As `getBinary`, but in Node's pool: an ArrayBuffer for each record costs as much as looking it up. */
  function readCopy(table: Table, key: string): Buffer | undefined {
    lookAgain()
    const bytes = table.getBinaryFast(key)
    return bytes === undefined ? undefined : Buffer.from(bytes.subarray(0, table.lastSize))
  }

  function readMethod(
    merchantId: MerchantId,
    id: PaymentMethodId,
  ): PaymentMethodRecord | undefined {
    const bytes = readCopy(methods, `${merchantId}/${id}`)
    return bytes === undefined
      ? undefined
      : decodePaymentMethod(merchantId, id, bytes, getLastVersion())
  }

  function readToken(merchantId: MerchantId, id: TokenId): TokenRecord | undefined {
    const bytes = readCopy(tokens, `${merchantId}/${id}`)
    return bytes === undefined ? undefined : decodeToken(merchantId, id, bytes)
  }

  function readCvc(key: string): { slot: CvcSlot; version: number } | undefined {
    lookAgain()
    const bytes = codes.getBinary(key)
    return bytes === undefined ? undefined : { slot: decodeCvc(bytes), version: getLastVersion() }
  }

  const fingerprintKey = (method: PaymentMethodRecord) =>
    `${method.merchantId}/${method.fingerprint}`
  function idByFingerprint(key: string): PaymentMethodId | undefined {
    lookAgain()
    return fingerprints.getBinary(key)?.toString('latin1') as PaymentMethodId | undefined
  }
  const ofCustomerKey = (owned: PaymentMethodRecord | TokenRecord) =>
    `${owned.merchantId}/${owned.customerId}/${owned.id}`

  function putCvc(merchantId: MerchantId, id: PaymentMethodId, slot: CvcSlot): void {
    codes.put(`${merchantId}/${id}`, encodeCvc(slot), versionByChance())
    expiries.put([slot.expiresAtMs, 'cvc', merchantId, id], NONE)
  }

  function putExpiry(method: PaymentMethodRecord): void {
    if (method.expiresAtMs === undefined) return
    expiries.put([method.expiresAtMs, 'method', method.merchantId, method.id], NONE)
  }

  function removeMethod(method: PaymentMethodRecord): void {
    const key = `${method.merchantId}/${method.id}`
    const cvc = readCvc(key)
    if (cvc !== undefined) {
      expiries.remove([cvc.slot.expiresAtMs, 'cvc', method.merchantId, method.id])
    }
    methods.remove(key)
    codes.remove(key)
    credentials.remove(key)
    lastUses.remove(key)
    externalVaults.removeAlias(method.merchantId, method.id)
    if (method.fingerprint !== undefined) fingerprints.remove(fingerprintKey(method))
    if (method.customerId !== undefined) methodsOfCustomer.remove(ofCustomerKey(method))
    if (method.expiresAtMs !== undefined) {
      expiries.remove([method.expiresAtMs, 'method', method.merchantId, method.id])
    }
  }

  function removeToken(token: TokenRecord): void {
    tokens.remove(`${token.merchantId}/${token.id}`)
    if (token.customerId !== undefined) tokensOfCustomer.remove(ofCustomerKey(token))
    if (token.expiresAtMs !== undefined) {
      expiries.remove([token.expiresAtMs, 'token', token.merchantId, token.id])
    }
  }

  /** The index may be older than the record: only what is expired now goes, and its entry with it. */
  async function sweepEntry(entry: ExpiryKey, nowMs: number): Promise<SweptEntry> {
    const [, kind, merchant, id] = entry
    if (kind === 'idempotency') return idempotency.sweepEntry(entry, nowMs)
    if (kind === 'session') return sessions.sweepEntry(entry, nowMs)
    const key = `${merchant}/${id}`
    const method =
      kind === 'method' ? readMethod(merchant as MerchantId, id as PaymentMethodId) : undefined
    const token = kind === 'token' ? readToken(merchant as MerchantId, id as TokenId) : undefined
    const cvc = kind === 'cvc' ? readCvc(key) : undefined
    if (method?.expiresAtMs !== undefined && method.expiresAtMs <= nowMs) {
      const gone = await written([unchanged(methods, key, method.revision)], () => {
        removeMethod(method)
        expiries.remove(entry)
      })
      return gone ? 'swept' : 'changed'
    }
    if (token?.expiresAtMs !== undefined && token.expiresAtMs <= nowMs) {
      const gone = await written([exists(tokens, key)], () => removeToken(token))
      return gone ? 'swept' : 'changed'
    }
    if (cvc !== undefined && cvc.slot.expiresAtMs <= nowMs) {
      const gone = await written([unchanged(codes, key, cvc.version)], () => {
        codes.remove(key)
        expiries.remove(entry)
      })
      return gone ? 'swept' : 'changed'
    }
    await fatalIfRejected(expiries.remove(entry))
    return 'stale'
  }

  function readProfile(key: string): { profile: ProfileRecord; version: number } | undefined {
    lookAgain()
    const bytes = profiles.getBinary(key)
    return bytes === undefined
      ? undefined
      : { profile: decodeJson<ProfileRecord>(bytes), version: getLastVersion() }
  }

  /** Inside a write. */
  function putProfile(profile: ProfileRecord, version: number): void {
    const key = `${profile.merchantId}/${profile.id}`
    const bytes = encodeJson(profile)
    profiles.put(key, bytes, version)
    if (profile.isDefault) defaultProfiles.put(profile.merchantId, bytes, FIRST)
    if (profile.publishableKey !== undefined) {
      publishableKeys.put(profile.publishableKey, Buffer.from(key), FIRST)
    }
  }

  /** Inside a write. */
  function removePublishableKey({ publishableKey }: ProfileRecord): void {
    if (publishableKey !== undefined) publishableKeys.remove(publishableKey)
  }

  const apiKeyKey = (merchantId: MerchantId | undefined, id: KeyId) =>
    `${merchantId ?? INSTALLATION}/${id}`

  return {
    hourKeys,

    async insertWrappedKey(key) {
      const place = `${key.owner}/${key.purpose}/${key.version}`
      return written([absent(wrappedKeys, place)], () => {
        wrappedKeys.put(place, encodeJson(key), FIRST)
      })
    },
    async listWrappedKeys(owner) {
      return recordsUnder<WrappedKey>(wrappedKeys, owner)
    },

    async insertMerchant(merchant, profile) {
      return written(
        [absent(merchants, merchant.id), absent(retiredMerchants, merchant.id)],
        () => {
          merchants.put(merchant.id, encodeJson(merchant), FIRST)
          putProfile(profile, FIRST)
        },
      )
    },
    async findMerchant(id) {
      return readJson<MerchantRecord>(merchants, id)
    },
    async listMerchants() {
      lookAgain()
      return [...merchants.getRange({})].map(({ value }) => decodeJson<MerchantRecord>(value))
    },
    async renameMerchant(id, name) {
      const merchant = readJson<MerchantRecord>(merchants, id)
      if (merchant === undefined) return false
      return written([exists(merchants, id)], () => {
        merchants.put(id, encodeJson({ ...merchant, name }), FIRST)
      })
    },
    async deleteMerchant(id) {
      const sweep = () => {
        for (const { hash } of recordsUnder<ApiKeyRecord>(apiKeys, id)) apiKeyHashes.remove(hash)
        for (const profile of recordsUnder<ProfileRecord>(profiles, id)) {
          removePublishableKey(profile)
        }
        for (const each of [apiKeys, wrappedKeys, destinations, destinationOrigins, profiles]) {
          removeAllUnder(each, id)
        }
        proposals.removeUnder(id)
        externalVaults.removeUnder(id)
        defaultProfiles.remove(id)
      }
      const deleted = await written([exists(merchants, id)], () => {
        merchants.remove(id)
        retiredMerchants.put(id, NONE, FIRST)
        sweep()
      })
      // What another process inserted while the keys were being listed; afterwards it cannot insert any more.
      if (deleted) await written([exists(retiredMerchants, id)], sweep)
      return deleted
    },

    async insertProfile(profile) {
      const key = `${profile.merchantId}/${profile.id}`
      return written([exists(merchants, profile.merchantId), absent(profiles, key)], () => {
        putProfile(profile, FIRST)
      })
    },
    findProfile(merchantId, id) {
      return findProfile(`${merchantId}/${id}`)
    },
    findDefaultProfile(merchantId) {
      return findDefaultProfile(merchantId)
    },
    async listProfiles(merchantId) {
      return recordsUnder<ProfileRecord>(profiles, merchantId)
    },
    findProfileByPublishableKey(publishableKey) {
      lookAgain()
      const place = publishableKeys.getBinary(publishableKey)?.toString('latin1')
      const profile = place === undefined ? undefined : findProfile(place)
      return profile?.publishableKey === publishableKey ? profile : undefined
    },
    async replaceProfile(merchantId, id, changes) {
      const key = `${merchantId}/${id}`
      for (;;) {
        const before = readProfile(key)
        if (before === undefined) return false
        const { profile, version } = before
        const changed = await written([unchanged(profiles, key, version)], () => {
          if (changes.publishableKey !== undefined) removePublishableKey(profile)
          putProfile({ ...profile, ...changes }, version + 1)
        })
        if (changed) return true
      }
    },
    async deleteProfile(merchantId, id) {
      const key = `${merchantId}/${id}`
      const sweep = () => {
        removeAllUnder(destinations, key)
        removeAllUnder(destinationOrigins, key)
        proposals.removeUnder(key)
        externalVaults.removeOf(key)
      }
      for (;;) {
        const before = readProfile(key)
        if (before === undefined || before.profile.isDefault) return false
        const deleted = await written([unchanged(profiles, key, before.version)], () => {
          profiles.remove(key)
          removePublishableKey(before.profile)
          sweep()
        })
        if (!deleted) continue // it was changed meanwhile, its key perhaps
        // What was stored while these were being listed; without the profile no more can follow.
        await written([absent(profiles, key)], sweep)
        return true
      }
    },

    async insertApiKey(key) {
      const place = apiKeyKey(key.merchantId, key.id)
      const conditions = [absent(apiKeyHashes, key.hash), absent(apiKeys, place)]
      if (key.merchantId !== undefined) conditions.push(exists(merchants, key.merchantId))
      return written(conditions, () => {
        const bytes = encodeJson(key)
        apiKeys.put(place, bytes, FIRST)
        apiKeyHashes.put(key.hash, bytes, FIRST)
      })
    },
    findApiKeyByHash(hash) {
      return findApiKeyByHash(hash)
    },
    async findApiKey(merchantId, id) {
      return readJson<ApiKeyRecord>(apiKeys, apiKeyKey(merchantId, id))
    },
    async listApiKeys(merchantId) {
      return recordsUnder<ApiKeyRecord>(apiKeys, merchantId ?? INSTALLATION)
    },
    async replaceApiKey(key) {
      const place = apiKeyKey(key.merchantId, key.id)
      const hash = readJson<ApiKeyRecord>(apiKeys, place)?.hash
      if (hash === undefined) return false
      return written([exists(apiKeys, place)], () => {
        const bytes = encodeJson({ ...key, hash })
        apiKeys.put(place, bytes, FIRST)
        apiKeyHashes.put(hash, bytes, FIRST)
      })
    },
    async deleteApiKey(merchantId, id) {
      const place = apiKeyKey(merchantId, id)
      const key = readJson<ApiKeyRecord>(apiKeys, place)
      if (key === undefined) return false
      return written([exists(apiKeys, place)], () => {
        apiKeys.remove(place)
        apiKeyHashes.remove(key.hash)
      })
    },

    async insertCustomer(customer) {
      const key = `${customer.merchantId}/${customer.id}`
      const referenceKey = `${customer.merchantId}/${customer.reference}`
      const conditions = [exists(merchants, customer.merchantId), absent(customers, key)]
      if (customer.reference !== undefined)
        conditions.push(absent(customerReferences, referenceKey))
      return written(conditions, () => {
        customers.put(key, encodeJson(customer), FIRST)
        if (customer.reference !== undefined) {
          customerReferences.put(referenceKey, Buffer.from(customer.id), FIRST)
        }
      })
    },
    async findCustomer(merchantId, id) {
      return readRevised<CustomerRecord>(customers, `${merchantId}/${id}`)
    },
    async findCustomerByReference(merchantId, reference) {
      lookAgain()
      const id = customerReferences.getBinary(`${merchantId}/${reference}`)?.toString('latin1')
      return id === undefined
        ? undefined
        : readRevised<CustomerRecord>(customers, `${merchantId}/${id}`)
    },
    async listCustomers(merchantId, page) {
      const range = { ...under(merchantId), ...page, versions: true } as const
      lookAgain()
      return [...customers.getRange(range)].map(({ value, version }) => ({
        ...decodeJson<CustomerRecord>(value),
        revision: version ?? FIRST,
      }))
    },
    async replaceCustomer(customer) {
      const key = `${customer.merchantId}/${customer.id}`
      const before = readRevised<CustomerRecord>(customers, key)
      if (before === undefined || before.revision !== customer.revision) return 'changed'
      const conditions = [unchanged(customers, key, customer.revision)]
      const moved = before.reference !== customer.reference
      const referenceKey = `${customer.merchantId}/${customer.reference}`
      if (moved && customer.reference !== undefined) {
        conditions.push(absent(customerReferences, referenceKey))
      }
      const failed = await writeIf(conditions, () => {
        customers.put(key, encodeJson(customer), customer.revision + 1)
        if (!moved) return
        if (before.reference !== undefined) {
          customerReferences.remove(`${customer.merchantId}/${before.reference}`)
        }
        if (customer.reference !== undefined) {
          customerReferences.put(referenceKey, Buffer.from(customer.id), FIRST)
        }
      })
      return failed === -1 ? 'written' : failed === 0 ? 'changed' : 'reference_taken'
    },
    async deleteCustomer(merchantId, id) {
      const key = `${merchantId}/${id}`
      // Each as it is now, or not at all: what is changed before the write runs has other entries in the indexes.
      let removals: Promise<PaymentMethodRecord | undefined>[] = []
      const removeOwned = () => {
        removals = keysUnder(methodsOfCustomer, key).map(async (place) => {
          const method = readMethod(merchantId, place.slice(key.length + 1) as PaymentMethodId)
          if (method === undefined) {
            methodsOfCustomer.remove(place)
            return undefined
          }
          const isGone = methods.ifVersion(`${merchantId}/${method.id}`, method.revision, () =>
            removeMethod(method),
          )
          return (await isGone) ? method : undefined
        })
        for (const place of keysUnder(tokensOfCustomer, key)) {
          const token = readToken(merchantId, place.slice(key.length + 1) as TokenId)
          if (token !== undefined) removeToken(token)
        }
        sessions.removeOfCustomer(merchantId, id)
      }
      const removed: PaymentMethodRecord[] = []
      const remove = async (condition: Condition, write: () => void): Promise<boolean> => {
        const writing = written([condition], write)
        const [isWritten, gone] = await Promise.all([writing, Promise.all(removals)])
        removed.push(...gone.filter((method) => method !== undefined))
        return isWritten
      }
      for (;;) {
        const customer = readRevised<CustomerRecord>(customers, key)
        if (customer === undefined) return undefined
        const isDeleted = await remove(unchanged(customers, key, customer.revision), () => {
          customers.remove(key)
          if (customer.reference !== undefined) {
            customerReferences.remove(`${merchantId}/${customer.reference}`)
          }
          removeOwned()
        })
        if (isDeleted) break
        // It was changed meanwhile, its reference perhaps.
      }
      // What was stored or changed while these were being listed; without the customer no more can follow.
      do await remove(absent(customers, key), removeOwned)
      while (keysUnder(methodsOfCustomer, key).length > 0)
      return removed
    },

    async insertPaymentMethod(method, cvc, alias): Promise<InsertPaymentMethod> {
      const key = `${method.merchantId}/${method.id}`
      const conditions = [exists(merchants, method.merchantId), absent(methods, key)]
      if (method.customerId !== undefined) {
        conditions.push(exists(customers, `${method.merchantId}/${method.customerId}`))
      }
      if (method.fingerprint !== undefined) {
        conditions.push(absent(fingerprints, fingerprintKey(method)))
      }
      for (;;) {
        const failed = await writeIf(conditions, () => {
          methods.put(key, encodePaymentMethod(method), FIRST)
          if (method.customerId !== undefined)
            methodsOfCustomer.put(ofCustomerKey(method), NONE, FIRST)
          if (method.fingerprint !== undefined) {
            fingerprints.put(fingerprintKey(method), Buffer.from(method.id), FIRST)
          }
          putExpiry(method)
          if (cvc !== undefined) putCvc(method.merchantId, method.id, cvc)
          if (alias !== undefined) externalVaults.putAlias(method.merchantId, method.id, alias)
        })
        const condition = conditions[failed]
        if (condition === undefined) return { kind: 'inserted' }
        if (condition.table === customers || condition.table === merchants) {
          return { kind: 'no_customer' }
        }
        if (condition.table === methods)
          throw new Error('a new payment method id was in use already')
        const id = idByFingerprint(fingerprintKey(method))
        if (id !== undefined) return { kind: 'exists', id }
        // The other one was deleted between the write and the look: try again.
      }
    },
    findPaymentMethod(merchantId, id) {
      return readMethod(merchantId, id)
    },
    async findByFingerprint(merchantId, fingerprint) {
      const id = idByFingerprint(`${merchantId}/${fingerprint}`)
      return id === undefined ? undefined : readMethod(merchantId, id)
    },
    async listPaymentMethods(merchantId, customerId) {
      const prefix = `${merchantId}/${customerId}`
      const found: PaymentMethodRecord[] = []
      for (const key of keysUnder(methodsOfCustomer, prefix)) {
        const method = readMethod(merchantId, key.slice(prefix.length + 1) as PaymentMethodId)
        if (method !== undefined) found.push(method)
      }
      return found
    },
    async replacePaymentMethod(method, cvc) {
      const key = `${method.merchantId}/${method.id}`
      return written([unchanged(methods, key, method.revision)], () => {
        methods.put(key, encodePaymentMethod(method), method.revision + 1)
        putExpiry(method)
        if (cvc !== undefined) putCvc(method.merchantId, method.id, cvc)
      })
    },
    async confirmPaymentMethod(method, cvc, alias): Promise<ConfirmPaymentMethod> {
      const key = `${method.merchantId}/${method.id}`
      const conditions = [unchanged(methods, key, method.revision)]
      if (method.fingerprint !== undefined) {
        conditions.push(absent(fingerprints, fingerprintKey(method)))
      }
      for (;;) {
        const failed = await writeIf(conditions, () => {
          methods.put(key, encodePaymentMethod(method), method.revision + 1)
          if (method.fingerprint !== undefined) {
            fingerprints.put(fingerprintKey(method), Buffer.from(method.id), FIRST)
          }
          putExpiry(method)
          if (cvc !== undefined) putCvc(method.merchantId, method.id, cvc)
          if (alias !== undefined) externalVaults.putAlias(method.merchantId, method.id, alias)
        })
        if (failed === -1) return { kind: 'confirmed' }
        if (failed === 0) return { kind: 'changed' }
        const id = idByFingerprint(fingerprintKey(method))
        if (id !== undefined) return { kind: 'exists', id }
        // The other one was deleted between the write and the look: try again.
      }
    },
    async deletePaymentMethod(merchantId, id) {
      for (;;) {
        const method = readMethod(merchantId, id)
        if (method === undefined) return undefined
        const condition = unchanged(methods, `${merchantId}/${id}`, method.revision)
        if (await written([condition], () => removeMethod(method))) return method
      }
    },
    async pagePaymentMethods(merchantId, after, limit) {
      const all = under(merchantId)
      // Behind `after`: no key has a NUL in it.
      const start = after === undefined ? all.start : `${merchantId}/${after}\0`
      lookAgain()
      return [...methods.getRange({ ...all, start, limit, versions: true })].map((entry) =>
        decodePaymentMethod(
          merchantId,
          entry.key.slice(merchantId.length + 1) as PaymentMethodId,
          entry.value,
          entry.version ?? FIRST,
        ),
      )
    },

    async findCvc(merchantId, id) {
      return readCvc(`${merchantId}/${id}`)?.slot
    },
    async takeCvc(merchantId, id) {
      const key = `${merchantId}/${id}`
      const found = readCvc(key)
      if (found === undefined) return undefined
      const { slot, version } = found
      const taken = await written([unchanged(codes, key, version)], () => {
        codes.remove(key)
        expiries.remove([slot.expiresAtMs, 'cvc', merchantId, id])
      })
      return taken ? slot : undefined
    },
    async returnCvc(merchantId, id, slot) {
      const key = `${merchantId}/${id}`
      return written([exists(methods, key), absent(codes, key)], () => putCvc(merchantId, id, slot))
    },

    async insertToken(token) {
      const key = `${token.merchantId}/${token.id}`
      const conditions = [exists(merchants, token.merchantId), absent(tokens, key)]
      if (token.customerId !== undefined) {
        conditions.push(exists(customers, `${token.merchantId}/${token.customerId}`))
      }
      const failed = await writeIf(conditions, () => {
        tokens.put(key, encodeToken(token), FIRST)
        if (token.customerId !== undefined) tokensOfCustomer.put(ofCustomerKey(token), NONE, FIRST)
        if (token.expiresAtMs !== undefined) {
          expiries.put([token.expiresAtMs, 'token', token.merchantId, token.id], NONE)
        }
      })
      if (failed === -1) return 'inserted'
      if (conditions[failed]?.table === tokens) throw new Error('a new token id was in use already')
      return 'no_customer'
    },
    findToken(merchantId, id) {
      return readToken(merchantId, id)
    },
    async deleteToken(merchantId, id) {
      const token = readToken(merchantId, id)
      if (token === undefined) return false
      return written([exists(tokens, `${merchantId}/${id}`)], () => removeToken(token))
    },

    async putDestination(destination): Promise<PutDestination> {
      const profileKey = `${destination.merchantId}/${destination.profileId}`
      const key = `${profileKey}/${destination.name}`
      const originKey = `${profileKey}/${encodeURIComponent(destination.origin)}`
      const before = readJson<DestinationRecord>(destinations, key)
      const isNew = destination.revision === 0
      if (!isNew && before === undefined) return 'not_found'
      const conditions = [
        exists(profiles, profileKey),
        isNew ? absent(destinations, key) : unchanged(destinations, key, destination.revision),
      ]
      const moved = isNew || before?.origin !== destination.origin
      if (moved) conditions.push(absent(destinationOrigins, originKey))
      const failed = await writeIf(conditions, () => {
        const revision = destination.revision + 1
        destinations.put(key, encodeJson({ ...destination, revision }), revision)
        if (!moved) return
        destinationOrigins.put(originKey, Buffer.from(destination.name), FIRST)
        if (!isNew && before !== undefined) {
          destinationOrigins.remove(`${profileKey}/${encodeURIComponent(before.origin)}`)
        }
      })
      switch (failed) {
        case -1:
          return 'written'
        case 0:
          return 'not_found'
        case 1:
          return isNew ? 'name_taken' : 'not_found'
        default:
          return 'origin_taken'
      }
    },
    findDestination(merchantId, profileId, name) {
      return findDestination(`${merchantId}/${profileId}/${name}`)
    },
    findDestinationByOrigin(merchantId, profileId, origin) {
      const profileKey = `${merchantId}/${profileId}`
      lookAgain()
      const byOrigin = (text: string) =>
        destinationOrigins.getBinary(`${profileKey}/${encodeURIComponent(text)}`)
      const name = byOrigin(origin) ?? byOrigin(origin.replace(/^(https?:\/\/)[^./:]+\./, '$1*.'))
      return name === undefined
        ? undefined
        : findDestination(`${profileKey}/${name.toString('latin1')}`)
    },
    async listDestinations(merchantId, profileId) {
      return recordsUnder<DestinationRecord>(destinations, `${merchantId}/${profileId}`)
    },
    async deleteDestination(merchantId, profileId, name) {
      const profileKey = `${merchantId}/${profileId}`
      const key = `${profileKey}/${name}`
      for (;;) {
        const destination = readJson<DestinationRecord>(destinations, key)
        if (destination === undefined) return false
        const deleted = await written([unchanged(destinations, key, destination.revision)], () => {
          destinations.remove(key)
          destinationOrigins.remove(`${profileKey}/${encodeURIComponent(destination.origin)}`)
          proposals.remove(merchantId, profileId, name)
        })
        if (deleted) return true
      }
    },

    ...proposals.methods,
    ...credentials.methods,
    ...lastUses.methods,
    ...idempotency.methods,
    ...sessions.methods,
    ...externalVaults.methods,

    async sweepExpired(nowMs) {
      let swept = 0
      for (;;) {
        lookAgain()
        const range = { end: [nowMs + 1] as unknown as ExpiryKey, limit: SWEEP_BATCH }
        const entries = [...expiries.getKeys(range)]
        // In one turn, so that all of them are one commit.
        const ended = await Promise.all(entries.map((entry) => sweepEntry(entry, nowMs)))
        swept += ended.filter((end) => end === 'swept').length
        const isStuck = ended.every((end) => end === 'changed')
        if (entries.length < SWEEP_BATCH || isStuck) return swept
      }
    },

    async ping() {
      lookAgain()
      merchants.getBinary('~')
    },

    async [Symbol.asyncDispose]() {
      await env.close()
    },
  }
}
