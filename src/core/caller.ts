// Who calls, as every part of the product sees it: made by access/ from an API key, asked by all others.

import type { KeyId, MerchantId } from './ids.ts'
import type { MaybePromise } from './maybe-promise.ts'

export const SCOPES = [
  'admin',
  'vault:read',
  'vault:write',
  'vault:reveal',
  'proxy:invoke',
  'policy:write',
  'payments',
  'routing',
  'audit:read',
] as const

export type Scope = (typeof SCOPES)[number]

export type Caller = {
  readonly keyId: KeyId
  /** Undefined: a key of the installation, which owns nothing that belongs to a merchant. */
  readonly merchantId: MerchantId | undefined
  readonly scopes: ReadonlySet<string>
}

/** Undefined for every kind of key that does not work: they are not told apart. */
export type Authenticate = (
  apiKey: string,
  clientAddress: string,
) => MaybePromise<Caller | undefined>
