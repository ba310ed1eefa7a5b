// The keyring over a root key in a real file and a store in memory that keeps the contract of the two interfaces.
// Two keyrings over one store are two processes of one installation.

import { createSecretKey, hkdfSync, randomBytes } from 'node:crypto'
import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import nacl from 'tweetnacl'
import { describe, expect, test } from 'vitest'
import type { CaptureBox } from '../../src/crypto/capture.ts'
import {
  type CaptureKey,
  type HourKeyStore,
  type Keyring,
  type OwnerKeys,
  openKeyring,
  SYSTEM,
  type WrappedKey,
  type WrappedKeyStore,
} from '../../src/crypto/keyring.ts'
import type { RootKey } from '../../src/crypto/root-key/contract.ts'
import { openLocalRootKey } from '../../src/crypto/root-key/local-file.ts'
import { OpenError, open, type Sealed, type SealingKey, seal } from '../../src/crypto/seal.ts'

const NUMBER = Buffer.from('4242424242424242')
const CODE = Buffer.from('739')
const HOUR_MS = 3_600_000
const MINUTE_MS = 60_000
/** The beginning of an hour. */
const NOON = Date.parse('2026-03-01T12:00:00.000Z')

type MemoryStore = WrappedKeyStore & HourKeyStore & { readonly rows: WrappedKey[] }

/** Keeps the promises of both interfaces: the first insert stays, and what is read is what was written. */
function memoryStore(): MemoryStore {
  const rows: WrappedKey[] = []
  const hours = new Map<number, Sealed>()
  return {
    rows,
    async insertWrappedKey(key) {
      const isTaken = rows.some(
        (row) =>
          row.owner === key.owner && row.purpose === key.purpose && row.version === key.version,
      )
      if (!isTaken) rows.push(key)
      return !isTaken
    },
    async listWrappedKeys(owner) {
      return rows.filter((row) => row.owner === owner)
    },
    async insertHourKey(hour, wrapped) {
      const first = hours.get(hour) ?? wrapped
      hours.set(hour, first)
      return first
    },
    async findHourKey(hour) {
      return hours.get(hour)
    },
    async destroyHourKeysBefore(hour) {
      for (const stored of hours.keys()) if (stored < hour) hours.delete(stored)
    },
  }
}

/** One installation: a root key file, a store and a clock; `start` is the start of a process. */
async function install(now = NOON) {
  const folder = await mkdtempDisposable(join(tmpdir(), 'sallyport-keyring-'))
  const store = memoryStore()
  const time = { now }
  const rootKey = (name: string) => openLocalRootKey(join(folder.path, name), true)
  const root = await rootKey('root.key')
  return {
    store,
    time,
    root,
    rootKey,
    start: (rootOfProcess: RootKey = root): Promise<Keyring> =>
      openKeyring({
        root: rootOfProcess,
        wrappedKeys: store,
        hourKeys: store,
        clock: () => time.now,
      }),
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  }
}

async function created(keyring: Keyring, owner: string): Promise<OwnerKeys> {
  await keyring.createOwner(owner)
  return keyring.keysOf(owner)
}

/** `keysOf` answers at once when it can, also with an error; here either way is a rejection. */
async function keysOf(keyring: Keyring, owner: string, sealed?: Sealed): Promise<OwnerKeys> {
  return keyring.keysOf(owner, sealed)
}

const codeContext = (owner: string) => ({ owner, kind: 'cvc', id: 'acme0_pm_1' }) as const

const sealCode = (key: SealingKey, owner: string) => seal(key, CODE, codeContext(owner))

/** A code is opened the way the vault opens it; undefined when its key is gone. */
async function openCode(
  keyring: Keyring,
  owner: string,
  sealed: Sealed,
): Promise<string | undefined> {
  const key = await keyring.cvcKey(owner, sealed)
  return key === undefined ? undefined : open(key, sealed, codeContext(owner)).toString()
}

describe('the keys of an owner', () => {
  test('open what they sealed', async () => {
    await using vault = await install()
    const keys = await created(await vault.start(), 'mer_1')
    const sealed = keys.seal(NUMBER, 'card', 'acme0_pm_1')
    expect(keys.open(sealed, 'card', 'acme0_pm_1').equals(NUMBER)).toBe(true)
  })

  test('do not open under another kind or id', async () => {
    await using vault = await install()
    const keys = await created(await vault.start(), 'mer_1')
    const sealed = keys.seal(NUMBER, 'card', 'acme0_pm_1')
    expect(() => keys.open(sealed, 'details', 'acme0_pm_1')).toThrow(OpenError)
    expect(() => keys.open(sealed, 'card', 'acme0_pm_2')).toThrow(OpenError)
  })

  test('do not open what another owner sealed', async () => {
    await using vault = await install()
    const keyring = await vault.start()
    const one = await created(keyring, 'mer_1')
    const other = await created(keyring, 'mer_2')
    const system = await keysOf(keyring, SYSTEM)
    const sealed = one.seal(NUMBER, 'card', 'acme0_pm_1')
    expect(() => other.open(sealed, 'card', 'acme0_pm_1')).toThrow(OpenError)
    expect(() => system.open(sealed, 'card', 'acme0_pm_1')).toThrow(OpenError)
  })

  test('are other bytes for every owner, not only another context', async () => {
    await using vault = await install()
    const keyring = await vault.start()
    for (const owner of ['mer_1', 'mer_2']) await keyring.createOwner(owner)
    const bytes = await Promise.all(
      vault.store.rows.map(async ({ owner, purpose, version, wrapped }) => {
        const context = { owner, kind: 'key', id: `${purpose}.${version}` } as const
        return (await vault.root.unwrap(wrapped, context)).toString('hex')
      }),
    )
    expect(bytes).toHaveLength(7) // data and fingerprint of three owners, and the pepper
    expect(new Set(bytes).size).toBe(7)
    expect(bytes.every((key) => key.length === 64)).toBe(true)
  })

  test('recognise the same card of the same customer, and no other merchant does', async () => {
    await using vault = await install()
    const keyring = await vault.start()
    const one = await created(keyring, 'mer_1')
    const other = await created(keyring, 'mer_2')
    const made = one.fingerprint('acme0_cus_1', 'card', NUMBER)
    expect(one.fingerprint('acme0_cus_1', 'card', NUMBER)).toBe(made)
    expect(one.fingerprint('acme0_cus_2', 'card', NUMBER)).not.toBe(made)
    expect(other.fingerprint('acme0_cus_1', 'card', NUMBER)).not.toBe(made)
  })

  test('are there at once from the second time on', async () => {
    await using vault = await install()
    const keyring = await vault.start()
    const keys = await created(keyring, 'mer_1')
    expect(keyring.keysOf('mer_1')).toBe(keys)
    expect(keyring.keysOf('mer_1', keys.seal(NUMBER, 'card', 'acme0_pm_1'))).toBe(keys)
  })

  test('are refused for an owner that was never created', async () => {
    await using vault = await install()
    const keyring = await vault.start()
    await expect(keysOf(keyring, 'mer_1')).rejects.toThrow(OpenError)
  })

  test('do not open bytes that were never sealed', async () => {
    await using vault = await install()
    const keyring = await vault.start()
    const keys = await created(keyring, 'mer_1')
    const bytes = Buffer.from('4242') as Uint8Array as Sealed
    expect(() => keys.open(bytes, 'card', 'acme0_pm_1')).toThrow(OpenError)
    await expect(keysOf(keyring, 'mer_1', bytes)).rejects.toThrow(OpenError)
  })

  test('stay when the owner is created again', async () => {
    await using vault = await install()
    const keyring = await vault.start()
    const sealed = (await created(keyring, 'mer_1')).seal(NUMBER, 'card', 'acme0_pm_1')
    const before = [...vault.store.rows]

    await keyring.createOwner('mer_1')
    keyring.forgetOwner('mer_1')

    expect(vault.store.rows).toEqual(before)
    const keys = await keysOf(keyring, 'mer_1')
    expect(keys.open(sealed, 'card', 'acme0_pm_1').equals(NUMBER)).toBe(true)
  })

  test('are the same for two processes that create the owner at once', async () => {
    await using vault = await install()
    const [one, other] = await Promise.all([vault.start(), vault.start()])
    const [keysOne, keysOther] = await Promise.all([created(one, 'mer_1'), created(other, 'mer_1')])
    const sealed = keysOne.seal(NUMBER, 'card', 'acme0_pm_1')
    expect(keysOther.open(sealed, 'card', 'acme0_pm_1').equals(NUMBER)).toBe(true)
    expect(keysOther.fingerprint('c', 'card', NUMBER)).toBe(
      keysOne.fingerprint('c', 'card', NUMBER),
    )
    expect(one.hashApiKey('sly_x')).toBe(other.hashApiKey('sly_x'))
  })

  test('are gone from memory once the owner is forgotten and its keys deleted', async () => {
    await using vault = await install()
    const keyring = await vault.start()
    await created(keyring, 'mer_1')
    const others = vault.store.rows.filter((row) => row.owner !== 'mer_1')
    vault.store.rows.splice(0, vault.store.rows.length, ...others)

    keyring.forgetOwner('mer_1')

    await expect(keysOf(keyring, 'mer_1')).rejects.toThrow(OpenError)
    await expect(keysOf(keyring, SYSTEM)).resolves.toBeDefined()
  })

  test('are loaded again when another process has rotated the data key', async () => {
    await using vault = await install()
    const keyring = await vault.start()
    const before = await created(keyring, 'mer_1')
    const old = before.seal(NUMBER, 'card', 'acme0_pm_1')
    const bytes = randomBytes(32)
    const context = { owner: 'mer_1', kind: 'key', id: 'data.2' } as const
    await vault.store.insertWrappedKey({
      owner: 'mer_1',
      purpose: 'data',
      version: 2,
      createdAtMs: NOON,
      wrapped: await vault.root.wrap(bytes, context),
    })
    const place = { owner: 'mer_1', kind: 'card', id: 'acme0_pm_2' } as const
    const rotated = seal({ version: 2, key: createSecretKey(bytes) }, NUMBER, place)

    const after = await keysOf(keyring, 'mer_1', rotated)

    expect(after.open(rotated, 'card', 'acme0_pm_2').equals(NUMBER)).toBe(true)
    expect(after.open(old, 'card', 'acme0_pm_1').equals(NUMBER)).toBe(true)
    expect(() => before.open(rotated, 'card', 'acme0_pm_2')).toThrow(OpenError)
    expect(after.seal(NUMBER, 'card', 'x').subarray(1, 5)).toEqual(Buffer.from([0, 0, 0, 2]))
  })
})

describe('a keyring that is opened again', () => {
  test('opens what was sealed before, and recognises cards and API keys', async () => {
    await using vault = await install()
    const first = await vault.start()
    const keys = await created(first, 'mer_1')
    const sealed = keys.seal(NUMBER, 'card', 'acme0_pm_1')
    const made = keys.fingerprint('acme0_cus_1', 'card', NUMBER)

    const second = await vault.start(await vault.rootKey('root.key'))

    const again = await keysOf(second, 'mer_1')
    expect(again.open(sealed, 'card', 'acme0_pm_1').equals(NUMBER)).toBe(true)
    expect(again.fingerprint('acme0_cus_1', 'card', NUMBER)).toBe(made)
    expect(second.hashApiKey('sly_x')).toBe(first.hashApiKey('sly_x'))
  })

  test('writes no more keys', async () => {
    await using vault = await install()
    await vault.start()
    const before = [...vault.store.rows]
    await vault.start()
    expect(vault.store.rows).toEqual(before)
  })

  test('completes the keys that a crash at the first start left out', async () => {
    await using vault = await install()
    await vault.start()
    vault.store.rows.splice(1) // only the first was written
    const keyring = await vault.start()
    expect(vault.store.rows).toHaveLength(3)
    expect(keyring.hashApiKey('sly_x')).toBe((await vault.start()).hashApiKey('sly_x'))
  })
})

describe('a wrong root key', () => {
  test('does not open the keyring', async () => {
    await using vault = await install()
    await vault.start()
    const wrong = await vault.rootKey('wrong.key')
    await expect(vault.start(wrong)).rejects.toThrow(OpenError)
    await expect(vault.start()).resolves.toBeDefined()
  })

  test('leaves nothing of its own in a store that a crash left without a pepper', async () => {
    // Otherwise the pepper stays wrapped by the wrong key, and the right one never opens the keyring again.
    await using vault = await install()
    await vault.start()
    vault.store.rows.splice(2)
    const wrong = await vault.rootKey('wrong.key')

    await expect(vault.start(wrong)).rejects.toThrow(OpenError)

    await expect(vault.start()).resolves.toBeDefined()
  })
})

describe('a wrapped key', () => {
  /** Puts the wrapped bytes of one row where those of another stood. */
  async function overwrite(
    store: MemoryStore,
    from: Pick<WrappedKey, 'owner' | 'purpose'>,
    to: Pick<WrappedKey, 'owner' | 'purpose'>,
  ): Promise<void> {
    const at = (row: typeof from) =>
      store.rows.findIndex(({ owner, purpose }) => owner === row.owner && purpose === row.purpose)
    const source = store.rows[at(from)]
    const target = store.rows[at(to)]
    if (source === undefined || target === undefined) throw new Error('no such rows')
    store.rows[at(to)] = { ...target, wrapped: source.wrapped }
  }

  test('moved to another owner does not unwrap', async () => {
    await using vault = await install()
    const keyring = await vault.start()
    for (const owner of ['mer_1', 'mer_2']) await keyring.createOwner(owner)
    await overwrite(
      vault.store,
      { owner: 'mer_1', purpose: 'data' },
      { owner: 'mer_2', purpose: 'data' },
    )
    await expect(keysOf(keyring, 'mer_2')).rejects.toThrow(OpenError)
    await expect(keysOf(keyring, 'mer_1')).resolves.toBeDefined()
  })

  test('moved to another purpose does not unwrap', async () => {
    await using vault = await install()
    const keyring = await vault.start()
    await keyring.createOwner('mer_1')
    await overwrite(
      vault.store,
      { owner: 'mer_1', purpose: 'data' },
      { owner: 'mer_1', purpose: 'fingerprint' },
    )
    await expect(keysOf(keyring, 'mer_1')).rejects.toThrow(OpenError)
  })

  test('written down as another version does not unwrap', async () => {
    await using vault = await install()
    const keyring = await vault.start()
    await keyring.createOwner('mer_1')
    const data = vault.store.rows.find((row) => row.owner === 'mer_1' && row.purpose === 'data')
    if (data === undefined) throw new Error('no data key')
    vault.store.rows.push({ ...data, version: 2 })
    await expect(keysOf(keyring, 'mer_1')).rejects.toThrow(OpenError)
  })

  test('is stored with the time it was made and without its bytes', async () => {
    await using vault = await install()
    await (await vault.start()).createOwner('mer_1')
    for (const { owner, purpose, version, createdAtMs, wrapped } of vault.store.rows) {
      const context = { owner, kind: 'key', id: `${purpose}.${version}` } as const
      const bytes = await vault.root.unwrap(wrapped, context)
      expect(Buffer.from(wrapped).includes(bytes)).toBe(false)
      expect(createdAtMs).toBe(NOON)
      expect(version).toBe(1)
    }
  })
})

describe('keys of card verification codes', () => {
  test('are one key for all processes within an hour', async () => {
    await using vault = await install()
    const one = await vault.start()
    const other = await vault.start()
    const first = await one.newCvcKey('mer_1')
    vault.time.now = NOON + HOUR_MS - 1
    expect((await one.newCvcKey('mer_1')).key.equals(first.key)).toBe(true)
    expect((await other.newCvcKey('mer_1')).key.equals(first.key)).toBe(true)
  })

  test('are one key for processes that race to make it', async () => {
    await using vault = await install()
    let offered = 0
    const insertHourKey = vault.store.insertHourKey
    vault.store.insertHourKey = (hour, wrapped) => {
      offered++
      return insertHourKey(hour, wrapped)
    }
    const processes = await Promise.all([vault.start(), vault.start(), vault.start()])

    const made = await Promise.all(
      [...processes, ...processes].map((keyring) => keyring.newCvcKey('mer_1')),
    )

    expect(offered).toBeGreaterThan(1) // else nobody raced
    for (const { key, version } of made) {
      expect(key.equals((made[0] as SealingKey).key)).toBe(true)
      expect(version).toBe(NOON / HOUR_MS)
    }
    for (const keyring of processes) {
      const sealed = sealCode(made[0] as SealingKey, 'mer_1')
      expect(await openCode(keyring, 'mer_1', sealed)).toBe('739')
    }
  })

  test('differ between merchants, and a code moved to another merchant does not open', async () => {
    await using vault = await install()
    const keyring = await vault.start()
    const one = await keyring.newCvcKey('mer_1')
    const other = await keyring.newCvcKey('mer_2')
    expect(one.key.equals(other.key)).toBe(false)
    const sealed = sealCode(one, 'mer_1')
    await expect(openCode(keyring, 'mer_2', sealed)).rejects.toThrow(OpenError)
    // With the right context as well: it is the key that differs.
    const found = await keyring.cvcKey('mer_2', sealed)
    expect(found && (() => open(found, sealed, codeContext('mer_1')))).toThrow(OpenError)
  })

  test('differ from hour to hour', async () => {
    await using vault = await install()
    const keyring = await vault.start()
    const first = await keyring.newCvcKey('mer_1')
    vault.time.now = NOON + HOUR_MS
    const second = await keyring.newCvcKey('mer_1')
    expect(second.version).toBe(first.version + 1)
    expect(second.key.equals(first.key)).toBe(false)
  })

  test('are the HKDF of the stored key of the hour for the merchant', async () => {
    // Storage format: codes that wait while the process is replaced by a newer one must still open.
    await using vault = await install()
    const hour = NOON / HOUR_MS
    const bytes = Buffer.from(Array.from({ length: 32 }, (_, i) => i))
    const context = { owner: SYSTEM, kind: 'key', id: `cvc.${hour}` } as const
    await vault.store.insertHourKey(hour, await vault.root.wrap(bytes, context))

    const { key, version } = await (await vault.start()).newCvcKey('mer_1')

    expect(version).toBe(hour)
    const derived = Buffer.from(hkdfSync('sha256', bytes, 'mer_1', 'sallyport cvc', 32))
    expect(key.equals(createSecretKey(derived))).toBe(true)
    // The same by Python's hmac, following RFC 5869.
    expect(derived.toString('hex')).toBe(
      '91e29e8fdc014c4243d4c6da1cb91861b7fbcb073f4ea83a8388be063329ee78',
    )
  })

  test('open a code in a process that was started later', async () => {
    await using vault = await install()
    const sealed = sealCode(await (await vault.start()).newCvcKey('mer_1'), 'mer_1')
    expect(await openCode(await vault.start(), 'mer_1', sealed)).toBe('739')
  })

  test('still open a code of the last minute one hour later minus a second', async () => {
    const sealedAt = NOON + 59 * MINUTE_MS
    await using vault = await install(sealedAt)
    const keyring = await vault.start()
    const sealed = sealCode(await keyring.newCvcKey('mer_1'), 'mer_1')

    vault.time.now = sealedAt + HOUR_MS - 1000
    await keyring.destroyExpiredCvcKeys()

    expect(await openCode(keyring, 'mer_1', sealed)).toBe('739')
    expect(await openCode(await vault.start(), 'mer_1', sealed)).toBe('739')
  })

  test('stay for every minute of the hour that a code may live', async () => {
    for (let minute = 0; minute < 60; minute++) {
      const sealedAt = NOON + minute * MINUTE_MS
      await using vault = await install(sealedAt)
      const keyring = await vault.start()
      const sealed = sealCode(await keyring.newCvcKey('mer_1'), 'mer_1')
      vault.time.now = sealedAt + HOUR_MS
      await keyring.destroyExpiredCvcKeys()
      expect(await openCode(keyring, 'mer_1', sealed)).toBe('739')
    }
  })

  describe('two hours later', () => {
    test('are destroyed, also in the memory of a process that had them', async () => {
      await using vault = await install()
      const keyring = await vault.start()
      const sealed = sealCode(await keyring.newCvcKey('mer_1'), 'mer_1')
      expect(await openCode(keyring, 'mer_1', sealed)).toBe('739')

      vault.time.now = NOON + 2 * HOUR_MS
      await keyring.destroyExpiredCvcKeys()

      expect(await keyring.cvcKey('mer_1', sealed)).toBeUndefined()
      expect(await vault.store.findHourKey(NOON / HOUR_MS)).toBeUndefined()
      expect(await (await vault.start()).cvcKey('mer_1', sealed)).toBeUndefined()
    })

    test('are destroyed in the last minute of their hour as in the first', async () => {
      await using vault = await install(NOON + 59 * MINUTE_MS)
      const keyring = await vault.start()
      const sealed = sealCode(await keyring.newCvcKey('mer_1'), 'mer_1')
      vault.time.now = NOON + 59 * MINUTE_MS + 2 * HOUR_MS
      await keyring.destroyExpiredCvcKeys()
      expect(await keyring.cvcKey('mer_1', sealed)).toBeUndefined()
    })

    test('are not used by a process that had them when another process destroyed them', async () => {
      await using vault = await install()
      const one = await vault.start()
      const other = await vault.start()
      const sealed = sealCode(await one.newCvcKey('mer_1'), 'mer_1')
      expect(await openCode(other, 'mer_1', sealed)).toBe('739')

      vault.time.now = NOON + 2 * HOUR_MS
      await one.destroyExpiredCvcKeys()

      expect(await other.cvcKey('mer_1', sealed)).toBeUndefined()
    })

    test('do not come back when a code is opened while they are destroyed', async () => {
      await using vault = await install()
      const one = await vault.start()
      const sealed = sealCode(await one.newCvcKey('mer_1'), 'mer_1')
      const other = await vault.start() // has not loaded the key yet

      vault.time.now = NOON + 2 * HOUR_MS
      const opening = other.cvcKey('mer_1', sealed)
      await other.destroyExpiredCvcKeys()
      await opening

      expect(await other.cvcKey('mer_1', sealed)).toBeUndefined()
    })

    test('leave the keys of this hour and the last', async () => {
      await using vault = await install()
      const keyring = await vault.start()
      await keyring.newCvcKey('mer_1')
      vault.time.now = NOON + HOUR_MS
      const last = sealCode(await keyring.newCvcKey('mer_1'), 'mer_1')
      vault.time.now = NOON + 2 * HOUR_MS
      const current = sealCode(await keyring.newCvcKey('mer_1'), 'mer_1')

      await keyring.destroyExpiredCvcKeys()

      expect(await openCode(keyring, 'mer_1', last)).toBe('739')
      expect(await openCode(keyring, 'mer_1', current)).toBe('739')
    })
  })
})

describe('hashes of API keys', () => {
  test('differ between installations', async () => {
    await using one = await install()
    await using other = await install()
    expect((await one.start()).hashApiKey('sly_x')).not.toBe(
      (await other.start()).hashApiKey('sly_x'),
    )
  })
})

describe('a capture key', () => {
  const TEXT = Buffer.from('{"session_id":"local_pms_1"}')

  function sealTo({ publicKey }: CaptureKey): CaptureBox {
    const pair = nacl.box.keyPair()
    const nonce = nacl.randomBytes(24)
    const box = nacl.box(TEXT, nonce, publicKey, pair.secretKey)
    return { ephemeralPublicKey: pair.publicKey, nonce, box }
  }

  test('is the same for all processes of an hour, and opens in each', async () => {
    await using vault = await install()
    const one = await vault.start()
    const other = await vault.start()

    const key = await one.captureKey()

    expect(await other.captureKey()).toEqual(key)
    expect(await other.openCaptured(key.keyId, sealTo(key))).toEqual(TEXT)
  })

  test('is another one in the next hour, when the last still opens', async () => {
    await using vault = await install()
    const keyring = await vault.start()
    const first = await keyring.captureKey()
    const box = sealTo(first)

    vault.time.now = NOON + HOUR_MS
    const second = await keyring.captureKey()

    expect(second.keyId).not.toBe(first.keyId)
    expect(second.publicKey).not.toEqual(first.publicKey)
    await keyring.destroyExpiredCvcKeys()
    expect(await keyring.openCaptured(first.keyId, box)).toEqual(TEXT)
    expect(await keyring.openCaptured(second.keyId, box)).toBeUndefined()
  })

  test('opens nothing when its time is over, before and after it is destroyed', async () => {
    await using vault = await install()
    const keyring = await vault.start()
    const key = await keyring.captureKey()
    const box = sealTo(key)
    expect(key.expiresAtMs).toBe(NOON + 2 * HOUR_MS)

    vault.time.now = key.expiresAtMs - 1
    expect(await keyring.openCaptured(key.keyId, box)).toEqual(TEXT)
    vault.time.now = key.expiresAtMs
    expect(await keyring.openCaptured(key.keyId, box)).toBeUndefined()
    await keyring.destroyExpiredCvcKeys()
    expect(await vault.store.findHourKey(NOON / HOUR_MS)).toBeUndefined()
    // Nor for who sets the clock back: the key is gone.
    vault.time.now = NOON
    expect(await keyring.openCaptured(key.keyId, box)).toBeUndefined()
    expect(await (await vault.start()).openCaptured(key.keyId, box)).toBeUndefined()
  })

  test('is none of another hour or another form', async () => {
    await using vault = await install()
    const keyring = await vault.start()
    const key = await keyring.captureKey()
    const box = sealTo(key)

    for (const keyId of ['', 'cap_', 'cap_x', '1', `${key.keyId}0`, 'cap_999999999', 'cap_-1']) {
      expect(await keyring.openCaptured(keyId, box)).toBeUndefined()
    }
  })
})

describe('the hash of a client secret', () => {
  test('is of one session and one installation, and no hash of an API key', async () => {
    await using one = await install()
    await using other = await install()
    const keyring = await one.start()

    const hash = keyring.hashClientSecret('local_pms_1', 'cs_x')

    expect((await one.start()).hashClientSecret('local_pms_1', 'cs_x')).toBe(hash)
    for (const different of [
      keyring.hashClientSecret('local_pms_2', 'cs_x'),
      keyring.hashClientSecret('local_pms_1', 'cs_y'),
      keyring.hashApiKey('cs_x'),
      (await other.start()).hashClientSecret('local_pms_1', 'cs_x'),
    ]) {
      expect(different).not.toBe(hash)
    }
  })
})
