// What a group of tables is built from: the tables of the one environment, and the ways of reading and writing that
// lmdb-store.ts promises something about and hands in. Nothing else of a store knows how LMDB is called.

import { randomInt } from 'node:crypto'
import { type Database, IF_EXISTS } from 'lmdb'

/** Puts and removals are made inside a write, which settles for all of them. */
export type Table = Omit<Database<Buffer, string>, 'put' | 'remove'> & {
  put(key: string, value: Buffer, version: number): void
  remove(key: string): void
  /** How much of the shared buffer that `getBinaryFast` answers with is the value. */
  readonly lastSize: number
}
export type ExpiryKey = [
  expiresAtMs: number,
  kind: 'method' | 'token' | 'cvc' | 'idempotency' | 'session',
  merchantId: string,
  id: string,
]

/** What became of an entry of the expiry index: it was deleted with its record, alone, or neither. */
export type SweptEntry = 'swept' | 'stale' | 'changed'

/** Holds while the write runs, or nothing is written. `version` null: there is no such entry. */
export type Condition = { table: Table; key: string; version: number | null }

export type Tables = {
  readonly table: (name: string) => Table
  readonly expiries: { put(entry: ExpiryKey, value: Buffer): void; remove(entry: ExpiryKey): void }
  /** Settles after the sync; answers with the place of the first condition that failed, or -1 when it was written. */
  readonly writeIf: (conditions: readonly Condition[], write: () => void) => Promise<number>
  readonly written: (conditions: readonly Condition[], write: () => void) => Promise<boolean>
  /** Before every read, or it may answer with what another process has deleted. Which look it is: they are numbered. */
  readonly lookAgain: () => number
  readonly keysUnder: (table: Table, prefix: string) => string[]
  readonly recordsUnder: <T>(table: Table, prefix: string) => T[]
  readonly removeAllUnder: (table: Table, prefix: string) => void
}

export const NONE = Buffer.alloc(0)
export const FIRST = 1
const MAX_CHANCE_VERSION = 2 ** 48 - 1

/** For what is deleted and made again under the same key: by chance no two are alike, so none is taken for another. */
export const versionByChance = () => randomInt(1, MAX_CHANCE_VERSION)

export const exists = (table: Table, key: string): Condition => ({ table, key, version: IF_EXISTS })
export const absent = (table: Table, key: string): Condition => ({ table, key, version: null })
export const unchanged = (table: Table, key: string, version: number): Condition => ({
  table,
  key,
  version,
})
