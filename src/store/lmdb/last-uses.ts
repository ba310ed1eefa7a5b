// When each payment method was last used: apart from the methods, which would be written again whole with every use.

import { type Store, USE_INTERVAL_MS } from '../contract.ts'
import { exists, FIRST, type Table, type Tables } from './tables.ts'

export function openLastUses(
  { table, written, lookAgain }: Pick<Tables, 'table' | 'written' | 'lookAgain'>,
  { methods }: { methods: Table },
) {
  const lastUses = table('last_uses')

  function read(key: string): number | undefined {
    return lastUses.getBinary(key)?.readDoubleBE(0)
  }

  return {
    methods: {
      async noteUses(uses) {
        lookAgain()
        const writes: Promise<boolean>[] = []
        for (const { merchantId, id, usedAtMs } of uses) {
          const key = `${merchantId}/${id}`
          const known = read(key)
          if (known !== undefined && usedAtMs < known + USE_INTERVAL_MS) continue
          const value = Buffer.allocUnsafe(8)
          value.writeDoubleBE(usedAtMs)
          // In one turn, so that all of them are one commit.
          writes.push(written([exists(methods, key)], () => lastUses.put(key, value, FIRST)))
        }
        await Promise.all(writes)
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
