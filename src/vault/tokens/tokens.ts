// Generic tokens: any JSON value under an id, for what is no card: a bank account, a document, a secret of a partner. It
// is sealed as the bytes it came in, and no route returns it: a placeholder selects from it by path.

import type { Clock } from '../../core/clock.ts'
import { AppError } from '../../core/errors.ts'
import type { CustomerId, Ids, MerchantId, TokenId } from '../../core/ids.ts'
import type { Keyring } from '../../crypto/keyring.ts'
import type { Store, TokenRecord } from '../../store/contract.ts'

export type NewToken = {
  readonly customerId: CustomerId | undefined
  /** Undefined: kept until it is deleted. */
  readonly ttlMs: number | undefined
  /** Well-formed JSON text; overwritten by whoever lifted it. */
  readonly json: Buffer
}

export type Tokens = ReturnType<typeof createTokens>

export function createTokens(deps: { store: Store; keyring: Keyring; ids: Ids; clock: Clock }) {
  const { store, keyring, ids, clock } = deps

  return {
    /** Throws `not_found` when there is no such customer. */
    async create(merchantId: MerchantId, input: NewToken): Promise<TokenRecord> {
      const keys = await keyring.keysOf(merchantId)
      const id = ids.token()
      const nowMs = clock()
      const token: TokenRecord = {
        merchantId,
        id,
        customerId: input.customerId,
        createdAtMs: nowMs,
        expiresAtMs: input.ttlMs === undefined ? undefined : nowMs + input.ttlMs,
        value: keys.seal(input.json, 'token', id),
      }
      if ((await store.insertToken(token)) === 'no_customer') {
        throw new AppError('not_found', { details: { field: 'customer_id' } })
      }
      return token
    },

    /** Throws `not_found`. */
    async expectStored(merchantId: MerchantId, id: TokenId): Promise<void> {
      if ((await store.findToken(merchantId, id)) === undefined) throw new AppError('not_found')
    },

    async remove(merchantId: MerchantId, id: TokenId): Promise<void> {
      if (!(await store.deleteToken(merchantId, id))) throw new AppError('not_found')
    },
  }
}
