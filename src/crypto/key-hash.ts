// Hashes of API keys and client secrets: HMAC-SHA-256 under a pepper that lives in the keyring, so that a stolen store
// alone does not even let an attacker test guesses. Keys are looked up by this hash, never compared as text. Publishable
// keys are no secrets, and stand here because they are made in the same way.

import { createHmac, hash, type KeyObject, randomBytes, timingSafeEqual } from 'node:crypto'
import type { Brand } from '../core/brand.ts'

export type ApiKeyHash = Brand<string, 'ApiKeyHash'>
export type ClientSecretHash = Brand<string, 'ClientSecretHash'>
/** Says which profile a browser's request is for, and lets nobody do anything. */
export type PublishableKey = Brand<string, 'PublishableKey'>

export function hashApiKey(pepper: KeyObject, apiKey: string): ApiKeyHash {
  return createHmac('sha256', pepper).update(apiKey, 'utf8').digest('base64url') as ApiKeyHash
}

/** Some 200 bytes each. Whoever tries keys at random makes the others be hashed anew, and no more. */
const MAX_KNOWN = 4096

/**
 * The HMAC takes 1.7 µs, and the same few keys come with every request: those that came before are recognised by a
 * plain hash (0.4 µs) over a secret of this process, so that no key stays in memory. It tells what a key hashes to,
 * and nothing of whether it may still be used.
 */
export class ApiKeyHashes {
  readonly #pepper: KeyObject
  readonly #secret = randomBytes(32).toString('base64url')
  readonly #known = new Map<string, ApiKeyHash>()

  constructor(pepper: KeyObject) {
    this.#pepper = pepper
  }

  of(apiKey: string): ApiKeyHash {
    const digest = hash('sha256', this.#secret + apiKey)
    const known = this.#known.get(digest)
    if (known !== undefined) return known
    if (this.#known.size === MAX_KNOWN) this.#known.clear()
    const hashed = hashApiKey(this.#pepper, apiKey)
    this.#known.set(digest, hashed)
    return hashed
  }
}

/** 256 random bits; the prefix lets secret scanners find a leaked one. */
export function newApiKey(): string {
  return `sly_${randomBytes(32).toString('hex')}`
}

/** Of one session or intent: the same secret of another hashes otherwise. No API key holds a NUL, so none hashes like a secret. */
export function hashClientSecret(pepper: KeyObject, id: string, secret: string): ClientSecretHash {
  return createHmac('sha256', pepper)
    .update(`client secret\0${id}\0${secret}`, 'utf8')
    .digest('base64url') as ClientSecretHash
}

export function isSameHash(one: ClientSecretHash, other: ClientSecretHash): boolean {
  return one.length === other.length && timingSafeEqual(Buffer.from(one), Buffer.from(other))
}

/** 256 random bits. */
export function newClientSecret(): string {
  return `cs_${randomBytes(32).toString('hex')}`
}

export function newPublishableKey(): PublishableKey {
  return `pk_${randomBytes(16).toString('hex')}` as PublishableKey
}

const PUBLISHABLE_KEY = /^pk_[0-9a-f]{32}$/

export function parsePublishableKey(input: string): PublishableKey | undefined {
  return PUBLISHABLE_KEY.test(input) ? (input as PublishableKey) : undefined
}
