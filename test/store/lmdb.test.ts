// The embedded store: the contract, and what only it promises: that it is there after a restart, that nobody
// else on the machine can read its files, and that several processes share one folder without a stale read.

import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  statSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test, vi } from 'vitest'
import type { CvcSlot, Store } from '../../src/store/contract.ts'
import { openLmdbStore } from '../../src/store/lmdb/lmdb-store.ts'
import { describeStore } from './contract.ts'
import { type Call, type Calls, callElsewhere, raceElsewhere } from './processes.ts'
import {
  hashed,
  newApiKey,
  newCredential,
  newCustomer,
  newCvc,
  newDestination,
  newExternalVault,
  newExternalVaultProposal,
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

const root = mkdtempSync(join(tmpdir(), 'sallyport-store-'))
let folders = 0
const newFolder = () => join(root, `${++folders}`)

const openIn = (folder: string) =>
  openLmdbStore({
    folder,
    hourKeysFolder: `${folder}/cvc-keys`,
    onFatal: (error) => {
      throw error
    },
  })

afterAll(() => {
  // A store that was closed holds none of its files, or a restart in place would find them locked.
  const left = openFiles().filter((path) => path.startsWith(root))
  rmSync(root, { recursive: true })
  expect(left).toEqual([])
})

describeStore('LMDB', () => openIn(newFolder()))

describe('a reopened LMDB store', () => {
  test('has everything that was written', async () => {
    const folder = newFolder()
    const { seeded, before } = await (async () => {
      await using store = await openIn(folder)
      const seeded = await seedAll(store)
      await store.hourKeys.insertHourKey(1, sealed())
      return { seeded, before: await readAll(store, seeded) }
    })()

    await using reopened = await openIn(folder)

    expect(await readAll(reopened, seeded)).toEqual(before)
    expect(before).not.toContain(undefined)
    expect(before).not.toContainEqual([])
  })

  test('keeps its promises about what was written before', async () => {
    const folder = newFolder()
    const key = newWrappedKey('~system')
    const { merchant, method, deleted } = await (async () => {
      await using store = await openIn(folder)
      const { merchant, customer } = await seedMerchant(store)
      const method = await seedMethod(store, newMethod(customer), newCvc(1000))
      const { merchant: deleted } = await seedMerchant(store)
      await store.deleteMerchant(deleted.id)
      await store.insertWrappedKey(key)
      return { merchant, method, deleted }
    })()

    await using store = await openIn(folder)

    const again = { ...newMethod(merchant), fingerprint: method.fingerprint }
    expect(await store.insertPaymentMethod(again, undefined)).toEqual({
      kind: 'exists',
      id: method.id,
    })
    expect(await store.replacePaymentMethod({ ...method, revision: 7 }, undefined)).toBe(false)
    expect(await store.insertMerchant(deleted, newProfile(deleted))).toBe(false)
    expect(await store.insertWrappedKey(key)).toBe(false)
    expect(await store.sweepExpired(1000)).toBe(1)
    expect(await store.findCvc(merchant.id, method.id)).toBeUndefined()
  })
})

describe("an LMDB store's files", () => {
  test('can be read by nobody but their user', async () => {
    const folder = newFolder()
    await using store = await openIn(folder)
    await store.hourKeys.insertHourKey(1, sealed())
    const modeOf = (path: string) => (statSync(join(folder, path)).mode & 0o777).toString(8)

    expect(modeOf('')).toBe('700')
    expect(modeOf('sallyport.mdb')).toBe('600')
    expect(modeOf('cvc-keys')).toBe('700')
    expect(modeOf('cvc-keys/1.key')).toBe('600')
  })

  test('are closed to others again when the store is opened', async () => {
    const folder = newFolder()
    await (await openIn(folder))[Symbol.asyncDispose]()
    chmodSync(join(folder, 'sallyport.mdb'), 0o644)

    await using _ = await openIn(folder)

    expect(statSync(join(folder, 'sallyport.mdb')).mode & 0o777).toBe(0o600)
  })

  test('hold one key for an hour, whoever raced for it, and none when it was destroyed', async () => {
    const folder = newFolder()
    await using store = await openIn(folder)
    const { hourKeys } = store

    await Promise.all(Array.from({ length: 20 }, () => hourKeys.insertHourKey(1, sealed())))
    expect(readdirSync(join(folder, 'cvc-keys'))).toEqual(['1.key'])

    await hourKeys.destroyHourKeysBefore(2)
    expect(readdirSync(join(folder, 'cvc-keys'))).toEqual([])
  })
})

describe('what another process wrote to an LMDB store', () => {
  const page = { offset: 0, limit: 10 }
  const wrapped = newWrappedKey('~system')
  const origin = 'https://new.example.com'

  // A read of this process, a write of another, what the same read answers from then on.
  const reads: [
    string,
    (store: Store, seeded: Seeded) => unknown,
    (seeded: Seeded) => Call,
    (seeded: Seeded) => unknown,
  ][] = [
    [
      'findApiKeyByHash',
      (s, { key }) => s.findApiKeyByHash(key.hash),
      ({ m, key }) => ['deleteApiKey', m, key.id],
      () => undefined,
    ],
    [
      'findPaymentMethod',
      (s, { m, method }) => s.findPaymentMethod(m, method.id),
      ({ m, method }) => ['deletePaymentMethod', m, method.id],
      () => undefined,
    ],
    [
      'findByFingerprint',
      (s, { m, method }) => method.fingerprint && s.findByFingerprint(m, method.fingerprint),
      ({ m, method }) => ['deletePaymentMethod', m, method.id],
      () => undefined,
    ],
    [
      'listPaymentMethods',
      (s, { m, customer }) => s.listPaymentMethods(m, customer.id),
      ({ m, method }) => ['deletePaymentMethod', m, method.id],
      () => [],
    ],
    [
      'findToken',
      (s, { m, token }) => s.findToken(m, token.id),
      ({ m, token }) => ['deleteToken', m, token.id],
      () => undefined,
    ],
    [
      'findCvc',
      (s, { m, method }) => s.findCvc(m, method.id),
      ({ m, method }) => ['takeCvc', m, method.id],
      () => undefined,
    ],
    [
      'findMerchant',
      (s, { m }) => s.findMerchant(m),
      ({ m }) => ['renameMerchant', m, 'New'],
      ({ merchant }) => ({ ...merchant, name: 'New' }),
    ],
    [
      'listMerchants',
      (s) => s.listMerchants(),
      ({ m }) => ['renameMerchant', m, 'New'],
      ({ merchant }) => [{ ...merchant, name: 'New' }],
    ],
    [
      'findProfile',
      (s, { m, second }) => s.findProfile(m, second.id),
      ({ m, second }) => ['deleteProfile', m, second.id],
      () => undefined,
    ],
    [
      'findDefaultProfile',
      async (s, { m }) => (await s.findDefaultProfile(m))?.name,
      ({ m, profile }) => ['replaceProfile', m, profile.id, { name: 'New' }],
      () => 'New',
    ],
    [
      'listProfiles',
      (s, { m }) => s.listProfiles(m),
      ({ m, second }) => ['deleteProfile', m, second.id],
      ({ profile }) => [profile],
    ],
    [
      'findApiKey',
      (s, { m, key }) => s.findApiKey(m, key.id),
      ({ m, key }) => ['deleteApiKey', m, key.id],
      () => undefined,
    ],
    [
      'listApiKeys',
      (s, { m }) => s.listApiKeys(m),
      ({ m, key }) => ['deleteApiKey', m, key.id],
      () => [],
    ],
    [
      'findCustomer',
      (s, { m, customer }) => s.findCustomer(m, customer.id),
      ({ m, customer }) => ['deleteCustomer', m, customer.id],
      () => undefined,
    ],
    [
      'findCustomerByReference',
      (s, { m }) => s.findCustomerByReference(m, hashed('seeded')),
      ({ m, customer }) => ['deleteCustomer', m, customer.id],
      () => undefined,
    ],
    [
      'listCustomers',
      (s, { m }) => s.listCustomers(m, page),
      ({ m, customer }) => ['deleteCustomer', m, customer.id],
      () => [],
    ],
    [
      'findDestination',
      (s, { m, second, destination }) => s.findDestination(m, second.id, destination.name),
      ({ m, second, destination }) => ['deleteDestination', m, second.id, destination.name],
      () => undefined,
    ],
    [
      'findDestinationByOrigin',
      (s, { m, second, destination }) =>
        s.findDestinationByOrigin(m, second.id, destination.origin),
      ({ m, second, destination }) => ['deleteDestination', m, second.id, destination.name],
      () => undefined,
    ],
    [
      'listDestinations',
      (s, { m, second }) => s.listDestinations(m, second.id),
      ({ m, second, destination }) => ['deleteDestination', m, second.id, destination.name],
      () => [],
    ],
    [
      'findProposal',
      (s, { m, second, destination }) => s.findProposal(m, second.id, destination.name),
      ({ proposal }) => ['deleteProposal', proposal],
      () => undefined,
    ],
    [
      'findExternalVault',
      (s, { m, second }) => s.findExternalVault(m, second.id),
      ({ m, second }) => ['deleteExternalVault', m, second.id],
      () => undefined,
    ],
    [
      'findExternalVaultProposal',
      (s, { m, second }) => s.findExternalVaultProposal(m, second.id),
      ({ vaultProposal }) => ['deleteExternalVaultProposal', vaultProposal],
      () => undefined,
    ],
    [
      'listProposals',
      (s, { m, second }) => s.listProposals(m, second.id),
      ({ m, second, destination }) => ['deleteDestination', m, second.id, destination.name],
      () => [],
    ],
    [
      'findProfileByPublishableKey',
      (s, { second }) =>
        second.publishableKey && s.findProfileByPublishableKey(second.publishableKey),
      ({ m, second }) => ['deleteProfile', m, second.id],
      () => undefined,
    ],
    [
      'findSession',
      (s, { m, session }) => s.findSession(m, session.id),
      ({ m, session }) => ['deleteSession', m, session.id],
      () => undefined,
    ],
    [
      'listCredentials',
      (s, { m, method }) => s.listCredentials(m, method.id),
      ({ m, method }) => ['deletePaymentMethod', m, method.id],
      () => [],
    ],
    [
      'claimIdempotencyKey',
      (s, { attempt }) => s.claimIdempotencyKey(attempt),
      ({ attempt }) => ['finishIdempotencyKey', { ...attempt, state: 'unknown' }],
      ({ attempt }) => ({ ...attempt, state: 'unknown' }),
    ],
    [
      'listWrappedKeys',
      (s) => s.listWrappedKeys(wrapped.owner),
      () => ['insertWrappedKey', wrapped],
      () => [wrapped],
    ],
  ]
  test.each(reads)('is seen at once by %s', async (_, read, write, answer) => {
    const folder = newFolder()
    await using store = await openIn(folder)
    const seeded = await seedAll(store)
    await new Promise((resolve) => setImmediate(resolve))
    await read(store, seeded) // LMDB keeps the snapshot that this took for a while
    const before = await read(store, seeded)

    callElsewhere(folder, write(seeded))

    const after = await read(store, seeded)
    expect(after).toEqual(answer(seeded))
    expect(after).not.toEqual(before)
  })

  // A read of this process, a write of another, a write of this one that needs to know of it, and its answer.
  const late = newCustomer(newMerchant())
  const lateKey = newApiKey(undefined)
  const writes: [
    string,
    (seeded: Seeded) => Call,
    (store: Store, seeded: Seeded) => unknown,
    unknown,
  ][] = [
    [
      'deleteCustomer',
      ({ m }) => ['insertCustomer', { ...late, merchantId: m }],
      (s, { m }) => s.deleteCustomer(m, late.id),
      [],
    ],
    [
      'replaceCustomer',
      ({ customer }) => ['replaceCustomer', customer],
      (s, { customer }) => s.replaceCustomer({ ...customer, revision: customer.revision + 1 }),
      'written',
    ],
    [
      'takeCvc',
      ({ method }) => ['replacePaymentMethod', method, newCvc(77)],
      async (s, { m, method }) => (await s.takeCvc(m, method.id))?.expiresAtMs,
      77,
    ],
    [
      'deletePaymentMethod',
      ({ method }) => ['replacePaymentMethod', method, undefined],
      async (s, { m, method }) => (await s.deletePaymentMethod(m, method.id)) !== undefined,
      true,
    ],
    [
      'deleteToken',
      ({ m, token }) => ['deleteToken', m, token.id],
      (s, { m, token }) => s.deleteToken(m, token.id),
      false,
    ],
    [
      'putDestination',
      ({ destination }) => ['putDestination', { ...destination, origin }],
      async (s, { second, destination }) => [
        await s.putDestination({ ...destination, revision: destination.revision + 1 }),
        await s.putDestination(newDestination(second, { origin })),
      ],
      ['written', 'written'],
    ],
    [
      'deleteDestination',
      ({ destination }) => ['putDestination', { ...destination, origin }],
      async (s, { m, second, destination }) => [
        await s.deleteDestination(m, second.id, destination.name),
        await s.putDestination(newDestination(second, { origin })),
      ],
      [true, 'written'],
    ],
    [
      'deleteProfile',
      ({ second }) => ['putDestination', newDestination(second, { origin })],
      async (s, { m, second }) => [
        await s.deleteProfile(m, second.id),
        await s.findDestinationByOrigin(m, second.id, origin),
      ],
      [true, undefined],
    ],
    [
      'deleteApiKey',
      ({ m }) => ['insertApiKey', { ...lateKey, merchantId: m }],
      (s, { m }) => s.deleteApiKey(m, lateKey.id),
      true,
    ],
    [
      'renameMerchant',
      ({ m }) => ['deleteMerchant', m],
      async (s, { m }) => [await s.renameMerchant(m, 'Back'), await s.findMerchant(m)],
      [false, undefined],
    ],
    [
      'replaceProfile',
      ({ m, second }) => ['deleteProfile', m, second.id],
      async (s, { m, second }) => [
        await s.replaceProfile(m, second.id, { name: 'Back' }),
        await s.findProfile(m, second.id),
      ],
      [false, undefined],
    ],
    [
      'deleteProposal',
      ({ proposal }) => ['putProposal', newProposal(proposal.destination)],
      (s, { proposal }) => s.deleteProposal(proposal),
      false,
    ],
    [
      'putExternalVault',
      ({ m, second }) => ['deleteExternalVault', m, second.id],
      (s, { vault }) => s.putExternalVault(vault),
      false,
    ],
    [
      'deleteExternalVaultProposal',
      ({ vaultProposal: { vault } }) => [
        'putExternalVaultProposal',
        newExternalVaultProposal(vault),
      ],
      (s, { vaultProposal }) => s.deleteExternalVaultProposal(vaultProposal),
      false,
    ],
    [
      'putCredential',
      ({ method }) => ['putCredential', newCredential(method, { connector: 'there' })],
      async (s, { m, method }) => {
        await s.putCredential(newCredential(method, { connector: 'here' }))
        const credentials = await s.listCredentials(m, method.id)
        return credentials.map(({ connector }) => connector).sort()
      },
      ['here', 'stripe', 'there'],
    ],
    [
      'claimIdempotencyKey',
      ({ attempt }) => ['releaseIdempotencyKey', attempt],
      (s, { attempt }) => s.claimIdempotencyKey(attempt),
      'claimed',
    ],
    [
      'finishIdempotencyKey',
      ({ attempt }) => ['releaseIdempotencyKey', attempt],
      (s, { attempt }) => s.finishIdempotencyKey({ ...attempt, state: 'unknown' }),
      false,
    ],
    [
      'releaseIdempotencyKey',
      ({ attempt }) => ['finishIdempotencyKey', { ...attempt, state: 'unknown' }],
      (s, { attempt }) => s.releaseIdempotencyKey(attempt),
      false,
    ],
  ]
  test.each(writes)('is what %s acts upon', async (_, elsewhere, write, answer) => {
    const folder = newFolder()
    await using store = await openIn(folder)
    const seeded = await seedAll(store)
    await new Promise((resolve) => setImmediate(resolve))
    await store.findMerchant(seeded.m) // LMDB keeps the snapshot that this took for a while

    callElsewhere(folder, elsewhere(seeded))

    expect(await write(store, seeded)).toEqual(answer)
  })

  test('races for an instrument like any other insert: all agree on one id', async () => {
    const folder = newFolder()
    await using store = await openIn(folder)
    const { merchant, customer } = await seedMerchant(store)
    const instruments = Array.from({ length: 50 }, () => newMethod(customer))
    const racer = (): Calls =>
      instruments.map(({ fingerprint }) => [
        'insertPaymentMethod',
        newMethod(customer, { fingerprint }),
        newCvc(),
      ])

    const answers = await raceElsewhere(folder, [racer(), racer(), racer()])

    const stored = await store.listPaymentMethods(merchant.id, customer.id)
    expect(stored).toHaveLength(instruments.length)
    for (const [n, { fingerprint }] of instruments.entries()) {
      const id = stored.find((each) => each.fingerprint === fingerprint)?.id
      const [first, ...others] = answers.map((each) => each[n]).sort(insertedFirst)
      expect(first).toEqual({ kind: 'inserted' })
      expect(others).toEqual([
        { kind: 'exists', id },
        { kind: 'exists', id },
      ])
    }
  })

  test('races for a code like any other: one process gets it', async () => {
    const folder = newFolder()
    await using store = await openIn(folder)
    const { merchant, customer } = await seedMerchant(store)
    const methods = Array.from({ length: 50 }, () => newMethod(customer))
    await Promise.all(methods.map((each) => store.insertPaymentMethod(each, newCvc())))
    const racer = (): Calls => methods.map(({ id }) => ['takeCvc', merchant.id, id])

    const answers = await raceElsewhere(folder, [racer(), racer(), racer()])

    for (const n of methods.keys()) {
      expect(answers.filter((each) => each[n] !== null)).toHaveLength(1)
    }
  })

  test('races for an idempotency key like any other claim: one process gets it', async () => {
    const folder = newFolder()
    await using store = await openIn(folder)
    const { merchant } = await seedMerchant(store)
    // Half of the keys are free, half were claimed by one whose time is over.
    const old = Array.from({ length: 50 }, () => newIdempotencyRecord(merchant))
    await Promise.all(old.slice(25).map((each) => store.claimIdempotencyKey(each)))
    const racer = () =>
      old.map(({ key, expiresAtMs: createdAtMs }) =>
        newIdempotencyRecord(merchant, { key, createdAtMs, expiresAtMs: createdAtMs + 1000 }),
      )
    const racers = [racer(), racer(), racer()]

    const answers = await raceElsewhere(
      folder,
      racers.map((records): Calls => records.map((each) => ['claimIdempotencyKey', each])),
    )

    for (const n of old.keys()) {
      const winners = racers.filter((_, racer) => answers[racer]?.[n] === 'claimed')
      expect(winners).toHaveLength(1)
      const told = answers.map((each) => each[n]).filter((each) => each !== 'claimed')
      expect(told).toEqual([winners[0]?.[n], winners[0]?.[n]])
    }
  })

  test('is not swept in place of the expired records that it took the place of', async () => {
    const folder = newFolder()
    await using here = await openIn(folder)
    await using there = await openIn(folder)
    const { merchant } = await seedMerchant(here)
    const old = Array.from({ length: 2000 }, () => newIdempotencyRecord(merchant))
    await Promise.all(old.map((each) => here.claimIdempotencyKey(each)))
    const newer = old.map(({ key, expiresAtMs: createdAtMs }) =>
      newIdempotencyRecord(merchant, { key, createdAtMs, expiresAtMs: createdAtMs + 1000 }),
    )

    const claims = newer.map((each) => there.claimIdempotencyKey(each))
    await new Promise((resolve) => setImmediate(resolve)) // it begins to write what this one sweeps
    const swept = await here.sweepExpired(START_MS + 60_000)

    expect(new Set(await Promise.all(claims))).toEqual(new Set(['claimed']))
    expect(swept).toBeLessThanOrEqual(old.length)
    const left = await Promise.all(newer.map((each) => here.claimIdempotencyKey(each)))
    expect(left).toEqual(newer)
    expect(await here.sweepExpired(START_MS + 61_000)).toBe(newer.length)
  })

  test('in the same millisecond is told apart: a code taken there is not the newer one', async () => {
    const folder = newFolder()
    await using here = await openIn(folder)
    await using there = await openIn(folder) // with a count of slots of its own, as another process has
    const { merchant, customer } = await seedMerchant(here)
    vi.useFakeTimers({ toFake: ['Date'] })
    try {
      // Which of the two is carried out first is chance.
      for (let round = 0; round < 20; round++) {
        const newer = newCvc()
        const isNewer = (slot: CvcSlot | undefined) =>
          slot !== undefined && Buffer.compare(slot.sealed, newer.sealed) === 0
        const method = await seedMethod(here, newMethod(customer), newCvc())

        const [replaced, taken] = await Promise.all([
          there.replacePaymentMethod(method, newer),
          here.takeCvc(merchant.id, method.id),
        ])

        expect(replaced).toBe(true)
        const left = await here.findCvc(merchant.id, method.id)
        expect([taken, left].filter(isNewer)).toHaveLength(1)
        vi.setSystemTime(Date.now() + 1000)
      }
    } finally {
      vi.useRealTimers()
    }
  })
})

type Seeded = Awaited<ReturnType<typeof seedAll>>

async function seedAll(store: Store) {
  const { merchant, profile, customer: inserted } = await seedMerchant(store)
  const second = newProfile(merchant)
  await store.insertProfile(second)
  const key = newApiKey(merchant)
  await store.insertApiKey(key)
  const customer = (await store.findCustomer(merchant.id, inserted.id)) ?? inserted
  const method = await seedMethod(store, newMethod(customer), newCvc())
  const token = await seedToken(store, newToken(customer))
  const session = newSession(customer)
  await store.insertSession(session)
  const destination = await seedDestination(store, newDestination(second))
  const proposal = newProposal(destination)
  await store.putProposal(proposal)
  await store.putCredential(newCredential(method))
  await store.putExternalVault(newExternalVault(second))
  const vault = (await store.findExternalVault(merchant.id, second.id)) ?? newExternalVault(second)
  const vaultProposal = newExternalVaultProposal(vault)
  await store.putExternalVaultProposal(vaultProposal)
  const attempt = newIdempotencyRecord(merchant)
  await store.claimIdempotencyKey(attempt)
  await store.insertWrappedKey(newWrappedKey(merchant.id))
  return {
    merchant,
    m: merchant.id,
    profile,
    second,
    key,
    customer,
    method,
    token,
    session,
    destination,
    proposal,
    vault,
    vaultProposal,
    attempt,
  }
}

async function readAll(store: Store, seeded: Seeded): Promise<readonly unknown[]> {
  const { m, second, key, customer, method, token, session, destination, attempt } = seeded
  return [
    await store.findMerchant(m),
    await store.listProfiles(m),
    await store.findDefaultProfile(m),
    await store.findApiKeyByHash(key.hash),
    await store.listApiKeys(m),
    await store.listCustomers(m, { offset: 0, limit: 10 }),
    await store.findCustomerByReference(m, hashed('seeded')),
    await store.findPaymentMethod(m, method.id),
    await store.listPaymentMethods(m, customer.id),
    method.fingerprint && (await store.findByFingerprint(m, method.fingerprint)),
    await store.findCvc(m, method.id),
    await store.findToken(m, token.id),
    await store.findSession(m, session.id),
    second.publishableKey && (await store.findProfileByPublishableKey(second.publishableKey)),
    await store.listDestinations(m, second.id),
    await store.findDestinationByOrigin(m, second.id, destination.origin),
    await store.listProposals(m, second.id),
    await store.listCredentials(m, method.id),
    await store.findExternalVault(m, second.id),
    await store.findExternalVaultProposal(m, second.id),
    await store.claimIdempotencyKey(attempt),
    await store.listWrappedKeys(m),
    await store.hourKeys.findHourKey(1),
  ]
}

/** Paths of what this process holds open; none where the system does not tell. */
function openFiles(): string[] {
  if (!existsSync('/proc/self/fd')) return []
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/self/fd/${fd}`)]
    } catch {
      return [] // the one that listed this folder
    }
  })
}

function insertedFirst(a: unknown): number {
  return JSON.stringify(a) === '{"kind":"inserted"}' ? -1 : 1
}
