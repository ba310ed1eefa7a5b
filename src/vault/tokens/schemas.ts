// Generic tokens on the wire: the shapes of Hyperswitch's, and how ours become them.

import Type, { type Static } from 'typebox'
import { isoTime } from '../../core/clock.ts'
import { Nullable, strict, Time } from '../../http/schemas.ts'
import type { TokenRecord } from '../../store/contract.ts'

const TTL_MAX_S = 31_536_000

export const TokenBody = Type.Object(
  {
    customer_id: Type.Optional(Type.String()),
    token_request: Type.Unknown({
      description: 'Any JSON of up to 64 KiB, nested 64 deep at most. No route returns it.',
    }),
    ttl_s: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: TTL_MAX_S,
        description: 'Without it the token is kept until it is deleted.',
      }),
    ),
  },
  strict,
)

/** What clients of Hyperswitch send along; the id alone says which token. */
export const TokenRemoval = Nullable(
  Type.Object(
    { customer_id: Type.Optional(Type.String()), session_id: Type.Optional(Type.String()) },
    strict,
  ),
)

export const TokenAnswer = Type.Object({
  id: Type.String({ description: 'The token: put it into placeholders.' }),
  created_at: Time,
  flag: Type.Literal('enabled'),
  expires_at: Type.Optional(Time),
})

export function tokenAnswer(token: TokenRecord): Static<typeof TokenAnswer> {
  return {
    id: token.id,
    created_at: isoTime(token.createdAtMs),
    flag: 'enabled',
    ...(token.expiresAtMs === undefined ? {} : { expires_at: isoTime(token.expiresAtMs) }),
  }
}
