// When each payment method was last used: apart from the methods, which would be written again whole with every use.
//
// Used are payment methods from all over the table, so that each use dirties a page of its own unless many are written
// together, in the order of the table. A condition for each would cost more than all the rest: there is one for a slice,
// and what was deleted meanwhile is looked for when the slice is on disk.

import { type PaymentMethodUse, type Store, USE_INTERVAL_MS } from '../contract.ts'
import { absent, exists, FIRST, type Table, type Tables } from './tables.ts'

/** Of one turn of the event loop, which it takes a millisecond of. */
const SLICE = 256

type KeyedUse = { readonly key: string; readonly use: PaymentMethodUse }

export function openLastUses(
  { table, written, lookAgain }: Pick<Tables, 'table' | 'written' | 'lookAgain'>,
  { merchants, methods }: { merchants: Table; methods: Table },
) {
  const lastUses = table('last_uses')

  function read(key: string): number | undefined {
    return lastUses.getBinaryFast(key)?.readDoubleBE(0)
  }

  /** All of one merchant. */
  async function noteSlice(slice: readonly KeyedUse[], merchantId: string): Promise<void> {
    lookAgain()
    const news = slice.filter(({ key, use }) => {
      const known = read(key)
      const isNews = known === undefined || use.usedAtMs >= known + USE_INTERVAL_MS
      return isNews && methods.doesExist(key)
    })
    if (news.length === 0) return
    await written([exists(merchants, merchantId)], () => {
      for (const { key, use } of news) {
        const value = Buffer.allocUnsafe(8)
        value.writeDoubleBE(use.usedAtMs)
        lastUses.put(key, value, FIRST)
      }
    })
    lookAgain()
    const orphans = news.filter(({ key }) => !methods.doesExist(key))
    await Promise.all(
      orphans.map(({ key }) => written([absent(methods, key)], () => lastUses.remove(key))),
    )
  }

  return {
    methods: {
      async noteUses(uses) {
        const keyed = uses.map((use) => ({ key: `${use.merchantId}/${use.id}`, use }))
        const byMerchant = Map.groupBy(keyed, ({ use }) => use.merchantId)
        for (const [merchantId, own] of byMerchant) {
          own.sort((a, b) => (a.key < b.key ? -1 : 1))
          for (let from = 0; from < own.length; from += SLICE) {
            await noteSlice(own.slice(from, from + SLICE), merchantId)
          }
        }
      },
      async lastUses(merchantId, ids) {
        lookAgain()
        return ids.map((id) => read(`${merchantId}/${id}`))
      },
    } satisfies Partial<Store>,

    /** Part of the write that it is called in. */
    remove(key: string): void {
      lastUses.remove(key)
    },
  }
}
