// Who calls, as every part of the product sees it: made by access/ from an API key or, of a page in a browser, from a
// publishable key; asked by all others.

import type { KeyId, MerchantId, ProfileId } from './ids.ts'
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

/** What a page or an app sends in place of an API key. Neither part lets anybody do anything without the other. */
export type ClientCredential = {
  readonly publishableKey: string
  readonly clientSecret: string
  /** What the credential says it is for, where it says so: it is held to it. */
  readonly sessionId: string | undefined
  readonly profileId: string | undefined
}

/**
 * Who holds a publishable key, which is no secret. What the client secret is for, and whether it is right, the feature
 * that gave it out says.
 */
export type Client = {
  readonly merchantId: MerchantId
  readonly profileId: ProfileId
  readonly clientSecret: string
  readonly sessionId: string | undefined
  /** Pages that the merchant says are its own. */
  readonly allowedOrigins: readonly string[]
}

/** Undefined for every publishable key that does not work. */
export type AuthenticateClient = (credential: ClientCredential) => MaybePromise<Client | undefined>
