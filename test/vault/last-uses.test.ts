// Last uses on a real store: to the minute, never backwards, whatever is written down meanwhile.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { PaymentMethodRecord } from '../../src/store/contract.ts'
import { openStore } from '../../src/store/open.ts'
import { LastUses } from '../../src/vault/payment-methods/last-uses.ts'
import { newCustomer, newMerchant, newMethod, newProfile, START_MS } from '../store/records.ts'

test('what is shown never goes back, and a minute later another use counts', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-uses-'))
  {
    await using store = await openStore(
      { kind: 'lmdb', folder: join(folder, 'store'), hourKeysFolder: join(folder, 'keys') },
      (error) => {
        throw error
      },
    )
    const merchant = newMerchant()
    await store.insertMerchant(merchant, newProfile(merchant, { isDefault: true }))
    const customer = newCustomer(merchant)
    await store.insertCustomer(customer)
    const method: PaymentMethodRecord = newMethod(customer)
    await store.insertPaymentMethod(method, undefined)
    let nowMs = START_MS
    const uses = new LastUses(
      store,
      () => nowMs,
      (error) => expect.unreachable(String(error)),
    )
    const shown = async () => (await uses.of(merchant.id, [method.id]))[0]
    const at = async (seconds: number) => {
      nowMs = START_MS + seconds * 1000
      uses.note(method)
      return shown()
    }

    expect(await shown()).toBeUndefined()
    expect(await at(0)).toBe(START_MS)
    await uses.flush()
    expect(await at(50)).toBe(START_MS)
    const flushing = uses.flush()
    expect(await shown()).toBe(START_MS)
    await flushing
    expect(await at(61)).toBe(START_MS + 61_000)
    const second = uses.flush()
    expect(await shown()).toBe(START_MS + 61_000)
    await second
    expect(await shown()).toBe(START_MS + 61_000)
    expect(await store.lastUses(merchant.id, [method.id])).toEqual([START_MS + 61_000])
    expect(await uses.of(newMerchant().id, [method.id])).toEqual([undefined])
  }
  await rm(folder, { recursive: true })
})
