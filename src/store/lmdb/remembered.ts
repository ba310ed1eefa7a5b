// Records that every request asks for and that seldom change: API keys, profiles, destinations. Handed out is the same
// object as long as the stored bytes are the same: what is compiled from a record can be kept with it, and no message
// between workers is needed to notice a change. Bounded by what an operator creates.
//
// Whatever writes to one of their tables moves a mark in the same transaction. As long as it stands where it stood when
// a record was last compared, the record has not changed: one short read (0.2 µs) tells it of all that a request asks
// for, where each of the records would be one of 0.8 µs.

import { getLastVersion } from 'lmdb'
import { decodeJson } from './codec.ts'
import { NONE, type Table, type Tables, versionByChance } from './tables.ts'

const MARK = 'mark'

export type RememberedTable<T extends object> = {
  /** Every write to it moves the mark. */
  readonly table: Table
  readonly find: (key: string) => T | undefined
}

export function openRemembered({
  table: openTable,
  lookAgain,
}: Pick<Tables, 'table' | 'lookAgain'>) {
  const marks = openTable('marks')
  let mark = 0
  let markedLook = 0

  function currentMark(): number {
    const look = lookAgain()
    if (look !== markedLook) {
      mark = marks.getBinaryFast(MARK) === undefined ? 0 : getLastVersion()
      markedLook = look
    }
    return mark
  }

  /** Part of the write that it is called in. */
  function moveMark(): void {
    marks.put(MARK, NONE, versionByChance())
  }

  return function remembered<T extends object>(name: string): RememberedTable<T> {
    const table = openTable(name)
    const { put, remove } = table
    table.put = (key, value, version) => {
      put.call(table, key, value, version)
      moveMark()
    }
    table.remove = (key) => {
      remove.call(table, key)
      moveMark()
    }

    const known = new Map<string, { bytes: Buffer; record: T; mark: number }>()

    return {
      table,
      find(key) {
        const mark = currentMark()
        const entry = known.get(key)
        if (entry?.mark === mark) return entry.record
        const bytes = table.getBinaryFast(key)
        if (bytes === undefined) {
          known.delete(key)
          return undefined
        }
        if (entry !== undefined && entry.bytes.compare(bytes, 0, table.lastSize) === 0) {
          entry.mark = mark
          return entry.record
        }
        const copy = Buffer.from(bytes.subarray(0, table.lastSize))
        const record = decodeJson<T>(copy)
        known.set(key, { bytes: copy, record, mark })
        return record
      },
    }
  }
}
