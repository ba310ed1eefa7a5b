// Idempotency records. The answer, which may be large, lies in a table of its own under the same key: it is read only to
// be answered with. Both are written and removed together, under one condition on the record.

import { getLastVersion } from 'lmdb'
import type { Sealed } from '../../crypto/seal.ts'
import type { IdempotencyRecord, Store } from '../contract.ts'
import { decodeJson, encodeJson } from './codec.ts'
import {
  absent,
  type ExpiryKey,
  FIRST,
  NONE,
  type SweptEntry,
  type Tables,
  unchanged,
  versionByChance,
} from './tables.ts'

type Methods = Pick<Store, 'claimIdempotencyKey' | 'finishIdempotencyKey' | 'releaseIdempotencyKey'>
type Head = Omit<IdempotencyRecord, 'answer'>
type Found = { readonly head: Head; readonly version: number }

export function openIdempotency({ table, expiries, written, lookAgain }: Tables) {
  const heads = table('idempotency')
  const answers = table('idempotency_answers')

  const keyOf = ({ merchantId, key }: Pick<IdempotencyRecord, 'merchantId' | 'key'>) =>
    `${merchantId}/${key}`
  const expiryOf = ({ expiresAtMs, merchantId, key }: Head): ExpiryKey => [
    expiresAtMs,
    'idempotency',
    merchantId,
    key,
  ]

  function read(key: string): Found | undefined {
    lookAgain()
    const bytes = heads.getBinary(key)
    return bytes === undefined
      ? undefined
      : { head: decodeJson<Head>(bytes), version: getLastVersion() }
  }

  /** Of the record that was just read: the same look, so the two belong together. */
  function withAnswer(key: string, head: Head): IdempotencyRecord {
    return { ...head, answer: answers.getBinary(key) as Uint8Array as Sealed | undefined }
  }

  /** All conditions are on the record: its version is another whenever anything about it is. */
  const asFound = (key: string, found: Found | undefined) => [
    found === undefined ? absent(heads, key) : unchanged(heads, key, found.version),
  ]

  function put({ answer, ...head }: IdempotencyRecord): void {
    const key = keyOf(head)
    heads.put(key, encodeJson(head), versionByChance())
    if (answer !== undefined) answers.put(key, answer as Uint8Array as Buffer, FIRST)
    expiries.put(expiryOf(head), NONE)
  }

  function remove(head: Head): void {
    const key = keyOf(head)
    heads.remove(key)
    answers.remove(key)
    expiries.remove(expiryOf(head))
  }

  /** What the claimant has in flight: only it may be finished or released. */
  function inFlight(record: Pick<IdempotencyRecord, 'merchantId' | 'key' | 'claimant'>) {
    const found = read(keyOf(record))
    const isClaimants = found?.head.claimant === record.claimant && found.head.state === 'in_flight'
    return isClaimants ? found : undefined
  }

  const methods: Methods = {
    async claimIdempotencyKey(record) {
      const key = keyOf(record)
      for (;;) {
        const before = read(key)
        if (before !== undefined && before.head.expiresAtMs > record.createdAtMs) {
          return withAnswer(key, before.head)
        }
        const claimed = await written(asFound(key, before), () => {
          if (before !== undefined) remove(before.head)
          put(record)
        })
        if (claimed) return 'claimed'
      }
    },
    async finishIdempotencyKey(record) {
      const found = inFlight(record)
      if (found === undefined) return false
      return written(asFound(keyOf(record), found), () => {
        remove(found.head)
        put(record)
      })
    },
    async releaseIdempotencyKey(record) {
      const found = inFlight(record)
      if (found === undefined) return false
      return written(asFound(keyOf(record), found), () => remove(found.head))
    },
  }

  return {
    methods,

    /** The index may be older than the record: only what is expired now goes, and the entry with it. */
    async sweepEntry(entry: ExpiryKey, nowMs: number): Promise<SweptEntry> {
      const [, , merchantId, id] = entry
      const key = `${merchantId}/${id}`
      const found = read(key)
      const isExpired = found !== undefined && found.head.expiresAtMs <= nowMs
      const gone = await written(asFound(key, found), () => {
        if (isExpired) remove(found.head)
        expiries.remove(entry)
      })
      return gone ? (isExpired ? 'swept' : 'stale') : 'changed'
    },
  }
}
