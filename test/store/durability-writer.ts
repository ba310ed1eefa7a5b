// A process that dies: writes to the store as fast as it can and says on standard output what was acknowledged,
// a line each, written with one system call after the promise has resolved. Every fourth payment method gives
// its code away and every fourth is deleted again; that this begins is said as well, because nobody knows
// whether an unacknowledged write happened. Arguments: folder, merchant, customer, in flight, how many each.

import { writeSync } from 'node:fs'
import {
  type CustomerId,
  createIds,
  type MerchantId,
  type PaymentMethodId,
} from '../../src/core/ids.ts'
import { openLmdbStore } from '../../src/store/lmdb/lmdb-store.ts'
import { derivedMethod, sealed } from './records.ts'

const [, , folder = '', merchant, customer, inFlight, count] = process.argv
// As the parent got them from the store.
const owner = { merchantId: merchant as MerchantId, id: customer as CustomerId }
const ids = createIds('test1', Date.now)
const say = (what: string, id: string) => writeSync(1, `${what} ${id}\n`)

await using store = await openLmdbStore({
  folder,
  hourKeysFolder: `${folder}/cvc-keys`,
  onFatal: () => say('fatal', '-'),
})

/** Says that it was done, or that it was refused, and then whether it can be seen all the same. */
async function tell(
  what: string,
  id: PaymentMethodId,
  write: Promise<unknown>,
  isSeen: () => Promise<boolean>,
): Promise<void> {
  try {
    await write
  } catch (error) {
    say('refused', id)
    if (await isSeen()) say('seen', id)
    throw error
  }
  say(what, id)
}

async function write(turns: number): Promise<void> {
  const { merchantId } = owner
  for (let turn = 0; turn < turns; turn++) {
    const id = ids.paymentMethod()
    const { method, cvc } = derivedMethod(owner, id)
    const isStored = async () => (await store.findPaymentMethod(merchantId, id)) !== undefined
    const hasCode = async () => (await store.findCvc(merchantId, id)) !== undefined
    await tell('inserted', id, store.insertPaymentMethod(method, cvc), isStored)
    if (turn % 4 === 1) {
      say('taking', id)
      await tell('taken', id, store.takeCvc(merchantId, id), async () => !(await hasCode()))
    }
    if (turn % 4 === 2) {
      say('deleting', id)
      const deleted = store.deletePaymentMethod(merchantId, id)
      await tell('deleted', id, deleted, async () => !(await isStored()))
    }
  }
}

const hour = Math.floor(Date.now() / 3_600_000)
await store.hourKeys.insertHourKey(hour, sealed())
say('hour-key', `${hour}`)
// One that was refused has said so and ends; the others go on as long as the process does.
await Promise.allSettled(Array.from({ length: Number(inFlight) }, () => write(Number(count))))
