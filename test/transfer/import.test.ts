import { expect, test } from 'vitest'
import type { CustomerId, PaymentMethodId } from '../../src/core/ids.ts'
import { type ImportPorts, importCards } from '../../src/transfer/import.ts'
import { SILENT } from '../../src/transfer/progress.ts'
import { inputOf } from './rows.ts'

const HEADER = 'id,card_number,card_exp_month,card_exp_year,customer_reference\n'

/** What is written where, in order. */
function importing(rows: string, ports: Partial<ImportPorts> = {}) {
  const log: string[] = []
  let pending = 0
  const mapping: any = {
    counts: {},
    *lines() {},
    append: () => {
      pending += 1
    },
    get isWorthFlushing() {
      return pending >= 2
    },
    flush: () => {
      if (pending > 0) log.push(`map ${pending}`)
      pending = 0
    },
  }
  const options = {
    format: 'csv' as const,
    ignoredColumns: new Set<string>(),
    takesExpired: true,
    nowMs: 0,
    mapping,
    openRejects: () => ({
      append: (line: number) => log.push(`reject ${line}`),
      sync: () => log.push('sync'),
      close: () => log.push('close'),
    }),
    onReject() {},
    progress: SILENT,
    isStopped: () => false,
  }
  const done = importCards(inputOf(HEADER + rows), options, {
    findCustomer: async () => 'c' as CustomerId,
    createCustomer: async () => undefined,
    isMerchantThere: async () => true,
    storeCard: async () => ({ id: 'p' as PaymentMethodId, isNew: true }),
    digestOf: () => '',
    ...ports,
  })
  return { log, done }
}

const GOOD = 'a,4242424242424242,3,2035,u\n'
const BAD = 'a,4242424242424241,3,2035,u\n'

test('what was rejected is on disk before the mapping file has its line', async () => {
  const { log, done } = importing(GOOD + BAD + BAD)
  await done

  let unsynced = 0
  for (const each of log) {
    if (each.startsWith('reject')) unsynced += 1
    if (each === 'sync') unsynced = 0
    if (each.startsWith('map')) expect(unsynced).toBe(0)
  }
  expect(log.filter((each) => each.startsWith('reject'))).toEqual(['reject 3', 'reject 4'])
  expect(log.filter((each) => each.startsWith('map')).length).toBeGreaterThan(1)
  expect(log.at(-1)).toBe('close')
})

test('a customer who can neither be found nor made ends the import', async () => {
  let tries = 0
  const { done } = importing(GOOD, {
    findCustomer: async () => undefined,
    async createCustomer() {
      tries += 1
      return undefined
    },
  })

  await expect(done).rejects.toThrow('A customer could neither be found nor made.')
  expect(tries).toBe(3)
})

test('a customer whom another made meanwhile is found', async () => {
  const found = [undefined, 'c' as CustomerId]
  const customers: string[] = []
  const { done } = importing(GOOD, {
    findCustomer: async () => found.shift(),
    async storeCard(customer) {
      customers.push(customer)
      return { id: 'p' as PaymentMethodId, isNew: true }
    },
  })
  await done

  expect(customers).toEqual(['c'])
})

test.each(['findCustomer', 'storeCard'])(
  'a merchant who is deleted meanwhile ends it: %s',
  async (port) => {
    const { done } = importing(GOOD, {
      [port]: async () => undefined,
      isMerchantThere: async () => false,
    })

    await expect(done).rejects.toThrow('The merchant was deleted meanwhile.')
  },
)
