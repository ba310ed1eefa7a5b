// `sallyport purge` as an operator runs it.

import { writeFileSync } from 'node:fs'
import { readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { MerchantId, PaymentMethodId } from '../../src/core/ids.ts'
import { startSallyport } from '../support/sallyport.ts'
import { startVgsSimulator } from '../support/vgs-simulator.ts'
import { csvOf, execute, mapped, oldCards, openSite, type Site, withAdmin } from './transfer.ts'

const SHOP = 'shop' as MerchantId
const DAY_MS = 86_400_000

let site: Site

beforeEach(async () => {
  site = await openSite()
})

afterEach(() => rm(site.folder, { recursive: true, force: true }))

/** Cards that were made that many days ago. Answers with their ids. */
async function cardsOfAge(days: readonly number[]): Promise<readonly PaymentMethodId[]> {
  writeFileSync(site.file('cards.csv'), csvOf(oldCards(days.length)))
  await site.run(['import', site.file('cards.csv'), '--mapping', site.file('ids.csv')])
  const ids = mapped(site.file('ids.csv')).map((row) => row.payment_method_id as PaymentMethodId)
  await withAdmin(site, async (_admin, { store }) => {
    for (const [index, id] of ids.entries()) {
      const method = await store.findPaymentMethod(SHOP, id)
      if (method === undefined) throw new Error('it was not imported')
      const createdAtMs = Date.now() - (days[index] ?? 0) * DAY_MS
      await store.replacePaymentMethod({ ...method, createdAtMs }, undefined)
    }
  })
  return ids
}

const isThere = (id: PaymentMethodId) =>
  withAdmin(
    site,
    async (_admin, { store }) => (await store.findPaymentMethod(SHOP, id)) !== undefined,
  )

test('deletes what was neither made nor used for that long, with a line for each', async () => {
  const [fresh, old, used, older] = await cardsOfAge([1, 401, 500, 900])
  await withAdmin(site, async (_admin, { store }) => {
    if (used === undefined) throw new Error('no card')
    await store.noteUses([{ merchantId: SHOP, id: used, usedAtMs: Date.now() - 30 * DAY_MS }])
  })

  const dry = await site.run(['purge', '--unused-for', '400d', '--dry-run'])
  expect([dry.code, dry.stdout]).toEqual([0, 'shop: 2 of 4 would be deleted\n'])
  expect(await isThere(old as PaymentMethodId)).toBe(true)
  expect(site.audit().filter(({ action }) => action?.startsWith('purge'))).toEqual([])

  const { code, stdout } = await site.run(['purge', '--unused-for', '400d', '--merchant', 'shop'])

  expect([code, stdout]).toEqual([0, 'shop: 2 of 4 deleted\n'])
  const there = await Promise.all(
    [fresh, old, used, older].map((id) => isThere(id as PaymentMethodId)),
  )
  expect(there).toEqual([true, false, true, false])
  const deleted = site.audit().filter(({ action }) => action === 'payment_method.delete')
  expect(deleted.map(({ object }) => object).sort()).toEqual([old, older].sort())
  expect(site.audit().find(({ action }) => action === 'purge.end')).toMatchObject({
    merchant: 'shop',
    counts: { looked: 4, deleted: 2 },
  })
})

test('keeps what has its number in an external vault, and no line says that it was deleted', async () => {
  await using sallyport = await startSallyport({}, { clock: () => Date.now() - 10 * DAY_MS })
  await using vgs = await startVgsSimulator()
  const merchant = await sallyport.createMerchant()
  const here = await merchant.createCard()
  await merchant.policy('PUT', '/v2/external-vault', {
    kind: 'vgs',
    api_origin: vgs.origin,
    token_url: vgs.tokenUrl,
    client_id: vgs.clientId,
    client_secret: vgs.clientSecret,
    stores_cards: true,
  })
  const there = await merchant.createCard()
  const purge = (...more: string[]) =>
    execute(process.execPath, ['src/main.ts', 'purge', '--unused-for', '5d', ...more], {
      env: { ...process.env, SALLYPORT_DATA_DIR: sallyport.folder },
    })

  expect((await purge('--dry-run')).stdout).toBe(`${merchant.id}: 1 of 2 would be deleted\n`)
  const { stdout, stderr } = await purge()

  expect([stdout, stderr]).toEqual([
    `${merchant.id}: 1 of 2 deleted\n`,
    expect.stringContaining('1 more were kept'),
  ])
  const folder = join(sallyport.folder, 'audit')
  const [file] = (await readdir(folder)).filter((name) => name.startsWith('purge-')).slice(-1)
  const lines = (await readFile(join(folder, file ?? ''), 'utf8')).split('\n').slice(0, -1)
  const deleted = lines.map((line) => JSON.parse(line)).filter(({ object }) => object !== undefined)
  expect(deleted.map(({ object }) => object)).toEqual([here])
  expect((await merchant.vault('GET', `/v2/payment-methods/${here}`)).status).toBe(404)
  expect((await merchant.vault('GET', `/v2/payment-methods/${there}`)).status).toBe(200)
  expect(vgs.numbers.size).toBe(1)
})

test('that fails says in the audit trail that it ended', async () => {
  const [broken] = await cardsOfAge([500])
  await withAdmin(site, async (_admin, { store }) => {
    const method = await store.findPaymentMethod(SHOP, broken as PaymentMethodId)
    if (method === undefined) throw new Error('it was not imported')
    await store.replacePaymentMethod({ ...method, details: Buffer.alloc(64) as never }, undefined)
  })

  const { code } = await site.run(['purge', '--unused-for', '400d'])

  expect(code).toBe(1)
  const acts = site.audit().filter(({ action }) => action?.startsWith('purge'))
  expect(acts).toMatchObject([
    { action: 'purge.start', merchant: 'shop' },
    { action: 'purge.end', merchant: 'shop', isCut: true },
  ])
})

test('of all merchants says what became of each', async () => {
  await withAdmin(site, (admin) => admin.createMerchant('Other', 'other' as MerchantId))

  const { code, stdout } = await site.run(['purge', '--unused-for', '36h'])

  expect([code, stdout]).toEqual([0, 'other: 0 of 0 deleted\nshop: 0 of 0 deleted\n'])
})

test.each(['', '0d', '400', '12m', '-3d', '1e3d'])('a duration of %j is refused', async (text) => {
  const { code, stderr } = await site.run(['purge', `--unused-for=${text}`])

  expect([code, stderr.includes('Say for how long')]).toEqual([1, true])
})
