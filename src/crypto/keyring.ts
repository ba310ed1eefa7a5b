// The keyring: root key → keys of each owner (a merchant, or the installation itself) → records.
//
// An owner has a data key per version (seals records), a fingerprint key (recognises instruments) and, for the
// installation, a pepper (hashes API keys). They are stored wrapped by the root key and live here as KeyObjects,
// outside the JavaScript heap. Card verification codes are sealed under keys of their own that exist for about
// an hour each and are then destroyed: a copy of the code left in a page or a backup cannot be read any more. What
// browsers seal to us goes by the same keys.

import { hkdfSync, type KeyObject, randomBytes } from 'node:crypto'
import type { Clock } from '../core/clock.ts'
import type { MaybePromise } from '../core/maybe-promise.ts'
import { type CaptureBox, capturePublicKey, openCaptureBox } from './capture.ts'
import { type Fingerprint, type FingerprintKind, fingerprint } from './fingerprint.ts'
import {
  type ApiKeyHash,
  ApiKeyHashes,
  type ClientSecretHash,
  hashClientSecret,
} from './key-hash.ts'
import type { RootKey } from './root-key/contract.ts'
import {
  keyVersion,
  OpenError,
  open,
  type Sealed,
  type SealingKey,
  type SealKind,
  seal,
} from './seal.ts'
import { takeKey } from './take-key.ts'

export type KeyPurpose = 'data' | 'fingerprint' | 'pepper'

export type WrappedKey = {
  readonly owner: string
  readonly purpose: KeyPurpose
  readonly version: number
  readonly createdAtMs: number
  readonly wrapped: Sealed
}

/** Where wrapped keys are kept; the store implements it. */
export interface WrappedKeyStore {
  /** False when this version exists: the stored one stays. */
  insertWrappedKey(key: WrappedKey): Promise<boolean>
  listWrappedKeys(owner: string): Promise<readonly WrappedKey[]>
}

/** Where the keys of card verification codes are kept, apart from everything a backup copies. */
export interface HourKeyStore {
  /** Answers with the key that is stored afterwards: of two that race, both callers get the first. */
  insertHourKey(hour: number, wrapped: Sealed): Promise<Sealed>
  findHourKey(hour: number): Promise<Sealed | undefined>
  destroyHourKeysBefore(hour: number): Promise<void>
}

/** The keys of one owner, ready for use. */
export interface OwnerKeys {
  seal(plaintext: Uint8Array, kind: SealKind, id: string): Sealed
  /** Throws OpenError. The caller overwrites the Buffer. */
  open(sealed: Sealed, kind: SealKind, id: string): Buffer
  fingerprint(customerId: string, kind: FingerprintKind, instrument: Uint8Array): Fingerprint
}

export interface Keyring {
  /** Makes the first version of an owner's keys; those that exist stay. */
  createOwner(owner: string): Promise<void>
  /** At once when they are in memory and not older than what `sealed` needs. Throws OpenError for an unknown owner. */
  keysOf(owner: string, sealed?: Sealed): MaybePromise<OwnerKeys>
  forgetOwner(owner: string): void
  hashApiKey(apiKey: string): ApiKeyHash
  /** `id`: of the session or intent that it is the secret of. */
  hashClientSecret(id: string, secret: string): ClientSecretHash
  /** For the codes stored in this hour; made when it does not exist yet. */
  newCvcKey(owner: string): Promise<SealingKey>
  /** Undefined when it has been destroyed. */
  cvcKey(owner: string, sealed: Sealed): Promise<SealingKey | undefined>
  destroyExpiredCvcKeys(): Promise<void>
  /** What browsers seal to in this hour; made when it does not exist yet. */
  captureKey(): Promise<CaptureKey>
  /** Undefined: not sealed to that key, or altered, or the key is unknown or destroyed. The caller overwrites the Buffer. */
  openCaptured(keyId: string, sent: CaptureBox): Promise<Buffer | undefined>
}

export type CaptureKey = {
  readonly keyId: string
  readonly publicKey: Uint8Array
  /** When it is destroyed. It is given out during the first half of its life, so who asks for it has an hour. */
  readonly expiresAtMs: number
}

/** Owner of what belongs to no merchant. `~` cannot stand in the id of one. */
export const SYSTEM = '~system'

const HOUR_MS = 3_600_000
const KEY_BYTES = 32
/** Codes live at most an hour, so those sealed in hour h may be needed until the end of hour h + 1. */
const CVC_KEY_HOURS = 2

const CAPTURE_KEY = 'cap_'
const CAPTURE_KEY_ID = /^cap_[0-9]{1,9}$/

type Loaded = { keys: OwnerKeys; newest: number; pepper: KeyObject | undefined }

/** Throws OpenError when the store's keys were not wrapped by this root key. */
export async function openKeyring(deps: {
  root: RootKey
  wrappedKeys: WrappedKeyStore
  hourKeys: HourKeyStore
  clock: Clock
}): Promise<Keyring> {
  const { root, wrappedKeys, hourKeys, clock } = deps
  const owners = new Map<string, Loaded>()
  const cvcHours = new Map<number, KeyObject>()
  let newestCapture: { hour: number; key: CaptureKey } | undefined

  const wrapContext = (owner: string, purpose: KeyPurpose, version: number) =>
    ({ owner, kind: 'key', id: `${purpose}.${version}` }) as const

  async function createKey(owner: string, purpose: KeyPurpose): Promise<void> {
    const bytes = randomBytes(KEY_BYTES)
    const wrapped = await root.wrap(bytes, wrapContext(owner, purpose, 1))
    bytes.fill(0)
    await wrappedKeys.insertWrappedKey({
      owner,
      purpose,
      version: 1,
      createdAtMs: clock(),
      wrapped,
    })
  }

  async function load(owner: string): Promise<Loaded> {
    const versions = new Map<number, SealingKey>()
    let newest: SealingKey | undefined
    let fingerprintKey: KeyObject | undefined
    let pepper: KeyObject | undefined
    for (const { purpose, version, wrapped } of await wrappedKeys.listWrappedKeys(owner)) {
      const key = takeKey(await root.unwrap(wrapped, wrapContext(owner, purpose, version)))
      switch (purpose) {
        case 'data':
          versions.set(version, { version, key })
          if (newest === undefined || version > newest.version) newest = { version, key }
          break
        case 'fingerprint':
          fingerprintKey = key
          break
        case 'pepper':
          pepper = key
          break
        default:
          purpose satisfies never
      }
    }
    if (newest === undefined || fingerprintKey === undefined) throw new OpenError()
    const loaded = {
      keys: ownerKeys(owner, versions, newest, fingerprintKey),
      newest: newest.version,
      pepper,
    }
    owners.set(owner, loaded)
    return loaded
  }

  async function createOwner(owner: string): Promise<void> {
    await createKey(owner, 'data')
    await createKey(owner, 'fingerprint')
  }

  // Before anything is written: a wrong root key must not leave keys of its own.
  for (const { purpose, version, wrapped } of await wrappedKeys.listWrappedKeys(SYSTEM)) {
    ;(await root.unwrap(wrapped, wrapContext(SYSTEM, purpose, version))).fill(0)
  }
  await createOwner(SYSTEM)
  await createKey(SYSTEM, 'pepper')
  const { pepper } = await load(SYSTEM)
  if (pepper === undefined) throw new OpenError()
  const apiKeyHashes = new ApiKeyHashes(pepper)

  const hourNow = () => Math.floor(clock() / HOUR_MS)
  const oldestNeeded = () => hourNow() - CVC_KEY_HOURS + 1
  const hourContext = (hour: number) => ({ owner: SYSTEM, kind: 'key', id: `cvc.${hour}` }) as const

  /** One key per hour is stored; each merchant's is derived from it (HKDF, RFC 5869), so the walls stay. */
  function cvcKeyOf(owner: string, hour: number, hourKey: KeyObject): SealingKey {
    const bytes = Buffer.from(hkdfSync('sha256', hourKey, owner, 'sallyport cvc', KEY_BYTES))
    return { version: hour, key: takeKey(bytes) }
  }

  async function loadHourKey(hour: number, wrapped: Sealed): Promise<KeyObject> {
    const key = takeKey(await root.unwrap(wrapped, hourContext(hour)))
    cvcHours.set(hour, key)
    return key
  }

  /** Of this hour. */
  async function hourKeyToUse(hour: number): Promise<KeyObject> {
    const known = cvcHours.get(hour)
    if (known !== undefined) return known
    let wrapped = await hourKeys.findHourKey(hour)
    if (wrapped === undefined) {
      const bytes = randomBytes(KEY_BYTES)
      wrapped = await hourKeys.insertHourKey(hour, await root.wrap(bytes, hourContext(hour)))
      bytes.fill(0)
    }
    return loadHourKey(hour, wrapped)
  }

  /** Undefined when it is none that was made, or its time is over, whether or not it has been destroyed yet. */
  async function storedHourKey(hour: number): Promise<KeyObject | undefined> {
    if (hour < oldestNeeded()) return undefined
    const known = cvcHours.get(hour)
    if (known !== undefined) return known
    const wrapped = await hourKeys.findHourKey(hour)
    return wrapped === undefined ? undefined : loadHourKey(hour, wrapped)
  }

  return {
    createOwner,

    keysOf(owner, sealed) {
      const loaded = owners.get(owner)
      // A newer version than any in memory: another process has rotated the key.
      if (loaded !== undefined && (sealed === undefined || keyVersion(sealed) <= loaded.newest))
        return loaded.keys
      return load(owner).then((fresh) => fresh.keys)
    },

    forgetOwner(owner) {
      owners.delete(owner)
    },

    hashApiKey: (apiKey) => apiKeyHashes.of(apiKey),

    hashClientSecret: (id, secret) => hashClientSecret(pepper, id, secret),

    async newCvcKey(owner) {
      const hour = hourNow()
      return cvcKeyOf(owner, hour, await hourKeyToUse(hour))
    },

    async cvcKey(owner, sealed) {
      const hour = keyVersion(sealed)
      const hourKey = await storedHourKey(hour)
      return hourKey === undefined ? undefined : cvcKeyOf(owner, hour, hourKey)
    },

    async destroyExpiredCvcKeys() {
      const oldest = oldestNeeded()
      for (const hour of cvcHours.keys()) if (hour < oldest) cvcHours.delete(hour)
      await hourKeys.destroyHourKeysBefore(oldest)
    },

    async captureKey() {
      const hour = hourNow()
      if (newestCapture?.hour === hour) return newestCapture.key
      const key = {
        keyId: `${CAPTURE_KEY}${hour}`,
        publicKey: capturePublicKey(await hourKeyToUse(hour)),
        expiresAtMs: (hour + CVC_KEY_HOURS) * HOUR_MS,
      }
      newestCapture = { hour, key }
      return key
    },

    async openCaptured(keyId, sent) {
      const hour = CAPTURE_KEY_ID.test(keyId) ? Number(keyId.slice(CAPTURE_KEY.length)) : undefined
      const hourKey = hour === undefined ? undefined : await storedHourKey(hour)
      return hourKey === undefined ? undefined : openCaptureBox(hourKey, sent)
    },
  }
}

function ownerKeys(
  owner: string,
  versions: ReadonlyMap<number, SealingKey>,
  newest: SealingKey,
  fingerprintKey: KeyObject,
): OwnerKeys {
  return {
    seal: (plaintext, kind, id) => seal(newest, plaintext, { owner, kind, id }),
    open(sealed, kind, id) {
      const key = versions.get(keyVersion(sealed))
      if (key === undefined) throw new OpenError()
      return open(key, sealed, { owner, kind, id })
    },
    fingerprint: (customerId, kind, instrument) =>
      fingerprint(fingerprintKey, customerId, kind, instrument),
  }
}
