// Payment-method sessions: a merchant's server opens one for one of its customers (or for a guest), and whoever it hands
// the client secret to, a page or an app, may add a payment method, see those of that customer, change and remove them,
// for some minutes and nothing else. Ids of payment methods stay with the server: a page gets tokens in their place that
// die with the session.

import type { Static } from 'typebox'
import type { Client } from '../../core/caller.ts'
import type { Clock } from '../../core/clock.ts'
import { AppError } from '../../core/errors.ts'
import {
  type CustomerId,
  type Ids,
  type MerchantId,
  type PaymentMethodId,
  parseSessionId,
  type SessionId,
  type TokenId,
} from '../../core/ids.ts'
import type { JsonObject } from '../../core/json.ts'
import { isSameHash, newClientSecret } from '../../crypto/key-hash.ts'
import type { Keyring } from '../../crypto/keyring.ts'
import { OpenError } from '../../crypto/seal.ts'
import type {
  PaymentMethodRecord,
  ProfileRecord,
  SessionRecord,
  Store,
} from '../../store/contract.ts'
import { expectProfile } from '../../store/named-profile.ts'
import type { PaymentMethod } from '../payment-methods/payment-methods.ts'
import type { StorageType } from '../payment-methods/schemas.ts'
import type { Tokens } from '../tokens/tokens.ts'
import {
  decodeMethodToken,
  encodeMethodToken,
  methodTokenPlaintext,
  readMethodToken,
} from './method-token.ts'

export type SessionSettings = {
  readonly billing: JsonObject | null
  readonly return_url: string | null
  readonly network_tokenization: { readonly enable: 'Skip' } | null
  /** Null: whoever confirms it says. */
  readonly storage_type: Static<typeof StorageType> | null
  /** More than one payment method may be added. */
  readonly keep_alive: boolean
}

export type SessionDetails = SessionSettings & {
  /** What was added in this session, in the order it was added. */
  readonly added: readonly PaymentMethodId[]
  readonly token_id: TokenId | null
}

export type Session = { readonly record: SessionRecord; readonly details: SessionDetails }

export type NewSession = {
  /** As the request names it; undefined: the merchant's default one. */
  readonly profile: string | undefined
  /** Undefined: a guest. */
  readonly customerId: CustomerId | undefined
  readonly lifetimeMs: number
  readonly settings: SessionSettings
  /** Well-formed JSON text that becomes a token; overwritten by whoever lifted it. */
  readonly tokenData: Buffer | undefined
}

type Stored = PaymentMethod & { readonly isNew: boolean }

export type Confirmation = {
  /** Stores what the session is confirmed with. */
  readonly vault: (session: Session) => Promise<Stored>
  /** Deletes a new one again, where the session came to nothing all the same. */
  readonly undo: (method: PaymentMethodRecord) => Promise<void>
  /** In place of the session's, when it has been confirmed. */
  readonly returnUrl: string | undefined
}

export type Sessions = ReturnType<typeof createSessions>

/**
 * Longer than a confirmation takes, a slow external vault's included. Should the process die in the middle of one, the next
 * may be begun after it.
 */
const BUSY_MS = 60_000

export function createSessions(deps: {
  store: Store
  keyring: Keyring
  ids: Ids
  clock: Clock
  tokens: Tokens
  /** How often a session's confirmation may be begun. */
  maxAttempts: number
}) {
  const { store, keyring, ids, clock, tokens, maxAttempts } = deps

  async function sealDetails(merchantId: MerchantId, id: SessionId, details: SessionDetails) {
    const keys = await keyring.keysOf(merchantId)
    return keys.seal(Buffer.from(JSON.stringify(details)), 'session', id)
  }

  async function sealTokenData(merchantId: MerchantId, id: SessionId, json: Buffer | undefined) {
    if (json === undefined) return undefined
    return (await keyring.keysOf(merchantId)).seal(json, 'session_data', id)
  }

  async function view(record: SessionRecord): Promise<Session> {
    const keys = await keyring.keysOf(record.merchantId, record.details)
    const details = keys.open(record.details, 'session', record.id)
    return { record, details: JSON.parse(details.toString('utf8')) as SessionDetails }
  }

  async function findRecord(merchantId: MerchantId, id: SessionId) {
    const record = await store.findSession(merchantId, id)
    return record === undefined || record.expiresAtMs <= clock() ? undefined : record
  }

  /** Throws `not_found`, also for one that has expired, and for one whose profile was deleted. */
  async function find(merchantId: MerchantId, id: SessionId): Promise<Session> {
    const record = await findRecord(merchantId, id)
    const profile = record && (await store.findProfile(merchantId, record.profileId))
    if (record === undefined || profile === undefined) throw new AppError('not_found')
    return view(record)
  }

  const isBusy = ({ busyUntilMs }: SessionRecord) =>
    busyUntilMs !== undefined && busyUntilMs > clock()

  /** Of two that confirm at once one goes on. Every try counts, whatever becomes of it. */
  async function claim(merchantId: MerchantId, id: SessionId): Promise<Session> {
    for (;;) {
      const session = await find(merchantId, id)
      const { record } = session
      if (record.isDone || isBusy(record)) throw new AppError('conflict')
      if (record.attempts >= maxAttempts) throw new AppError('rate_limited')
      const claimed = {
        ...record,
        attempts: record.attempts + 1,
        busyUntilMs: clock() + BUSY_MS,
      }
      if (await store.replaceSession(claimed)) {
        return { ...session, record: { ...claimed, revision: record.revision + 1 } }
      }
    }
  }

  async function tokenOf({ record }: Session): Promise<TokenId | undefined> {
    const { merchantId, id, customerId, tokenData } = record
    if (tokenData === undefined) return undefined
    const keys = await keyring.keysOf(merchantId, tokenData)
    const json = keys.open(tokenData, 'session_data', id)
    try {
      return (await tokens.create(merchantId, { customerId, ttlMs: undefined, json })).id
    } finally {
      json.fill(0)
    }
  }

  /** Nobody has stored or changed it again, and been told of it: then it would be sealed anew. */
  async function isAsMade({ record: { merchantId, id, details } }: Stored): Promise<boolean> {
    const now = await store.findPaymentMethod(merchantId, id)
    return now !== undefined && Buffer.compare(now.details, details) === 0
  }

  /** Of that session's customer, or added in that session. */
  async function reachable(
    { record, details }: Session,
    id: PaymentMethodId,
  ): Promise<PaymentMethodRecord | undefined> {
    const method = await store.findPaymentMethod(record.merchantId, id)
    const isTheirs =
      details.added.includes(id) ||
      (record.customerId !== undefined && method?.customerId === record.customerId)
    return isTheirs ? method : undefined
  }

  async function openMethodToken(session: Session, token: string): Promise<PaymentMethodRecord> {
    const { merchantId, id } = session.record
    const parts = decodeMethodToken(token)
    if (parts?.sessionId !== id) throw new AppError('not_found')
    let plaintext: Buffer
    try {
      // Not `parts.sealed`: whoever makes up a key version would have the keys read from the store each time.
      const keys = await keyring.keysOf(merchantId, session.record.details)
      plaintext = keys.open(parts.sealed, 'method_token', id)
    } catch (error) {
      if (!(error instanceof OpenError)) throw error
      throw new AppError('not_found', { cause: error })
    }
    const { methodId, expiresAtMs } = readMethodToken(plaintext)
    const method = expiresAtMs <= clock() ? undefined : await reachable(session, methodId)
    if (method === undefined) throw new AppError('not_found')
    return method
  }

  return {
    find,

    /** The only time the client secret itself is seen. Throws `not_found` when there is no such customer or profile. */
    async create(
      merchantId: MerchantId,
      input: NewSession,
    ): Promise<{ session: Session; profile: ProfileRecord; clientSecret: string }> {
      const profile = await expectProfile(store, merchantId, input.profile)
      const id = ids.session()
      const clientSecret = newClientSecret()
      const nowMs = clock()
      const details: SessionDetails = { ...input.settings, added: [], token_id: null }
      const record: SessionRecord = {
        merchantId,
        id,
        profileId: profile.id,
        customerId: input.customerId,
        clientSecret: keyring.hashClientSecret(id, clientSecret),
        createdAtMs: nowMs,
        expiresAtMs: nowMs + input.lifetimeMs,
        revision: 0,
        attempts: 0,
        busyUntilMs: undefined,
        isDone: false,
        details: await sealDetails(merchantId, id, details),
        tokenData: await sealTokenData(merchantId, id, input.tokenData),
      }
      if ((await store.insertSession(record)) === 'no_customer') {
        throw new AppError('not_found', { details: { field: 'customer_id' } })
      }
      return { session: { record, details }, profile, clientSecret }
    },

    /**
     * May this client use the session that it names in the path? No session, one of another profile, one that expired and
     * a wrong secret are not told apart. Throws `unauthenticated`.
     */
    async expectClient(client: Client, named: string): Promise<void> {
      const id = parseSessionId(named)
      const record = id === undefined ? undefined : await findRecord(client.merchantId, id)
      const isPermitted =
        record !== undefined &&
        record.profileId === client.profileId &&
        (client.sessionId ?? record.id) === record.id &&
        isSameHash(record.clientSecret, keyring.hashClientSecret(record.id, client.clientSecret))
      if (!isPermitted) throw new AppError('unauthenticated')
    },

    /** What is not named stays. Throws `not_found`, and `conflict` while it is being confirmed or was changed meanwhile. */
    async update(
      merchantId: MerchantId,
      id: SessionId,
      changes: Partial<SessionSettings>,
      tokenData: Buffer | undefined,
    ): Promise<Session> {
      const { record: before, details: known } = await find(merchantId, id)
      if (isBusy(before) || before.isDone) throw new AppError('conflict')
      const details: SessionDetails = { ...known, ...changes }
      const sealedData = await sealTokenData(merchantId, id, tokenData)
      const record: SessionRecord = {
        ...before,
        details: await sealDetails(merchantId, id, details),
        tokenData: sealedData ?? before.tokenData,
      }
      if (!(await store.replaceSession(record))) throw new AppError('conflict')
      return { record, details }
    },

    async remove(merchantId: MerchantId, id: SessionId): Promise<void> {
      if (!(await store.deleteSession(merchantId, id))) throw new AppError('not_found')
    },

    /**
     * Throws `not_found`; `conflict` when it was confirmed already, is just being confirmed or was deleted meanwhile;
     * `rate_limited` when that was tried too often; and what `vault` throws.
     */
    async confirm(
      merchantId: MerchantId,
      id: SessionId,
      { vault, undo, returnUrl }: Confirmation,
    ): Promise<Session> {
      const claimed = await claim(merchantId, id)
      let method: Stored | undefined
      let tokenId: TokenId | undefined
      try {
        method = await vault(claimed)
        tokenId = await tokenOf(claimed)
        const { added } = claimed.details
        const details: SessionDetails = {
          ...claimed.details,
          added: added.includes(method.record.id) ? added : [...added, method.record.id],
          token_id: tokenId ?? claimed.details.token_id,
          return_url: returnUrl ?? claimed.details.return_url,
        }
        const record: SessionRecord = {
          ...claimed.record,
          busyUntilMs: undefined,
          isDone: !details.keep_alive,
          details: await sealDetails(merchantId, id, details),
          tokenData: undefined,
        }
        // It was deleted meanwhile, its customer perhaps.
        if (!(await store.replaceSession(record))) throw new AppError('conflict')
        return { record, details }
      } catch (error) {
        await store.replaceSession({ ...claimed.record, busyUntilMs: undefined })
        // Nobody was told of what is stored by now, and nobody could be.
        if (tokenId !== undefined) await store.deleteToken(merchantId, tokenId)
        if (method?.isNew && (await isAsMade(method))) await undo(method.record)
        throw error
      }
    },

    /** What a page calls a payment method by. */
    async methodToken({ record }: Session, methodId: PaymentMethodId): Promise<string> {
      const { merchantId, id, expiresAtMs } = record
      const keys = await keyring.keysOf(merchantId)
      const plaintext = methodTokenPlaintext({ methodId, expiresAtMs })
      return encodeMethodToken(id, keys.seal(plaintext, 'method_token', id))
    },

    /** The payment method behind a token of this session. Throws `not_found`. */
    openMethodToken,

    /** The same for a server, which need not know the session. Throws `not_found`. */
    async resolve(
      merchantId: MerchantId,
      token: string,
    ): Promise<{ session: Session; method: PaymentMethodRecord }> {
      const parts = decodeMethodToken(token)
      if (parts === undefined) throw new AppError('not_found')
      const session = await find(merchantId, parts.sessionId)
      return { session, method: await openMethodToken(session, token) }
    },
  }
}
