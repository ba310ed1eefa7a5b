// What a process that was killed under load had acknowledged is there when it starts again.

import { mkdtempSync } from 'node:fs'
import { readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { verifyAuditFile } from '../../src/audit/verify.ts'
import { randomCard } from '../vault/cards.ts'
import { serve } from './process.ts'
import { ADMIN_KEY, call, cardBody, openShop } from './shop.ts'

let folder: string

beforeEach(() => {
  folder = join(mkdtempSync(join(tmpdir(), 'sallyport-crash-')), 'data')
})

afterEach(() => rm(join(folder, '..'), { recursive: true, force: true }))

test('every acknowledged card is there after kill -9 under load', async () => {
  const acknowledged = new Map<string, string>()
  let key = ''
  let customer = ''
  for (const round of [1, 2]) {
    const served = await serve(folder, { SALLYPORT_ADMIN_API_KEY: ADMIN_KEY })
    if (round === 1) {
      key = (await openShop(served)).vaultKey
      customer = (await call(served.origin, key, 'POST', '/v2/customers', {})).body.id
    }
    const before = acknowledged.size
    let isOver = false
    const load = Array.from({ length: 8 }, async () => {
      while (!isOver) {
        const number = randomCard()
        try {
          const card = cardBody(customer, number)
          const { status, body } = await call(
            served.origin,
            key,
            'POST',
            '/v2/payment-methods',
            card,
          )
          if (status === 201) acknowledged.set(body.id, number)
        } catch {
          return // killed before it answered: not acknowledged
        }
      }
    })

    // From the first acknowledgement on: how long a start takes is another matter.
    await expect.poll(() => acknowledged.size > before, { timeout: 40_000 }).toBe(true)
    await wait(200 + Math.random() * 800)
    await served.kill()
    isOver = true
    await Promise.all(load)
  }

  await using served = await serve(folder)
  const lost: string[] = []
  for (const [id, number] of acknowledged) {
    const { body } = await call(served.origin, key, 'GET', `/v2/payment-methods/${id}`)
    if (body.payment_method_data?.card.last4_digits !== number.slice(-4)) lost.push(id)
  }
  expect(lost).toEqual([])
  const file = join(folder, 'audit', 'audit.jsonl')
  expect((await verifyAuditFile(file)).kind).toBe('intact')
  const audit = await readFile(file, 'utf8')
  expect([...acknowledged.keys()].filter((id) => !audit.includes(id))).toEqual([])
  // The same card is still the same payment method.
  const [[id, number] = ['', '']] = acknowledged
  const again = await call(
    served.origin,
    key,
    'POST',
    '/v2/payment-methods',
    cardBody(customer, number),
  )
  expect([again.status, again.body.id]).toEqual([200, id])
})
