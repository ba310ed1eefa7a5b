// Payment-method sessions: short-lived, each replaced by its revision, gone with their customer or when they expire.

import { getLastVersion } from 'lmdb'
import type { CustomerId, MerchantId, SessionId } from '../../core/ids.ts'
import type { SessionRecord, Store } from '../contract.ts'
import { decodeJson, encodeJson } from './codec.ts'
import {
  absent,
  type ExpiryKey,
  exists,
  FIRST,
  NONE,
  type SweptEntry,
  type Table,
  type Tables,
  unchanged,
} from './tables.ts'

type Methods = Pick<Store, 'insertSession' | 'findSession' | 'replaceSession' | 'deleteSession'>

export function openSessions(
  { table, expiries, writeIf, written, lookAgain, keysUnder }: Tables,
  parents: { merchants: Table; customers: Table },
) {
  const sessions = table('sessions')
  const sessionsOfCustomer = table('sessions_of_customer')

  const keyOf = (session: Pick<SessionRecord, 'merchantId' | 'id'>) =>
    `${session.merchantId}/${session.id}`
  const ofCustomerKey = (session: SessionRecord) =>
    `${session.merchantId}/${session.customerId}/${session.id}`
  const expiryOf = (session: SessionRecord): ExpiryKey => [
    session.expiresAtMs,
    'session',
    session.merchantId,
    session.id,
  ]

  function read(key: string): SessionRecord | undefined {
    lookAgain()
    const bytes = sessions.getBinary(key)
    return bytes === undefined
      ? undefined
      : { ...decodeJson<SessionRecord>(bytes), revision: getLastVersion() }
  }

  /** Inside a write. */
  function remove(session: SessionRecord): void {
    sessions.remove(keyOf(session))
    if (session.customerId !== undefined) sessionsOfCustomer.remove(ofCustomerKey(session))
    expiries.remove(expiryOf(session))
  }

  const methods: Methods = {
    async insertSession(session) {
      const conditions = [
        exists(parents.merchants, session.merchantId),
        absent(sessions, keyOf(session)),
      ]
      if (session.customerId !== undefined) {
        conditions.push(exists(parents.customers, `${session.merchantId}/${session.customerId}`))
      }
      const failed = await writeIf(conditions, () => {
        sessions.put(keyOf(session), encodeJson(session), FIRST)
        if (session.customerId !== undefined) {
          sessionsOfCustomer.put(ofCustomerKey(session), NONE, FIRST)
        }
        expiries.put(expiryOf(session), NONE)
      })
      if (conditions[failed]?.table === sessions) {
        throw new Error('a new session id was in use already')
      }
      return failed === -1 ? 'inserted' : 'no_customer'
    },
    async findSession(merchantId, id) {
      return read(`${merchantId}/${id}`)
    },
    async replaceSession(session) {
      const before = read(keyOf(session))
      if (before === undefined || before.revision !== session.revision) return false
      // Whose it is and when it ends stays: the index would have to follow.
      const { customerId, createdAtMs, expiresAtMs } = before
      const after: SessionRecord = { ...session, customerId, createdAtMs, expiresAtMs }
      return written([unchanged(sessions, keyOf(session), session.revision)], () => {
        sessions.put(keyOf(session), encodeJson(after), session.revision + 1)
      })
    },
    async deleteSession(merchantId, id) {
      for (;;) {
        const session = read(`${merchantId}/${id}`)
        if (session === undefined) return false
        const condition = unchanged(sessions, keyOf(session), session.revision)
        if (await written([condition], () => remove(session))) return true
      }
    },
  }

  return {
    methods,

    /** Inside a write. */
    removeOfCustomer(merchantId: MerchantId, customerId: CustomerId): void {
      const prefix = `${merchantId}/${customerId}`
      for (const place of keysUnder(sessionsOfCustomer, prefix)) {
        const id = place.slice(prefix.length + 1) as SessionId
        const session = read(`${merchantId}/${id}`)
        if (session !== undefined) remove(session)
      }
    },

    /** The index may be older than the record: only what is expired now goes, and the entry with it. */
    async sweepEntry(entry: ExpiryKey, nowMs: number): Promise<SweptEntry> {
      const [, , merchantId, id] = entry
      const key = `${merchantId}/${id}`
      const session = read(key)
      const isExpired = session !== undefined && session.expiresAtMs <= nowMs
      const condition =
        session === undefined ? absent(sessions, key) : unchanged(sessions, key, session.revision)
      const gone = await written([condition], () => {
        if (isExpired) remove(session)
        expiries.remove(entry)
      })
      return gone ? (isExpired ? 'swept' : 'stale') : 'changed'
    },
  }
}
