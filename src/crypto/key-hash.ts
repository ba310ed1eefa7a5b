// Hashes of API keys: HMAC-SHA-256 under a pepper that lives in the keyring, so that a stolen store alone does
// not even let an attacker test guesses. Keys are looked up by this hash, never compared as text.

import { createHmac, type KeyObject, randomBytes } from 'node:crypto'
import type { Brand } from '../core/brand.ts'

export type ApiKeyHash = Brand<string, 'ApiKeyHash'>

export function hashApiKey(pepper: KeyObject, apiKey: string): ApiKeyHash {
  return createHmac('sha256', pepper).update(apiKey, 'utf8').digest('base64url') as ApiKeyHash
}

/** 256 random bits; the prefix lets secret scanners find a leaked one. */
export function newApiKey(): string {
  return `sly_${randomBytes(32).toString('hex')}`
}
