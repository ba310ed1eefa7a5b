// API keys and what is stored of them.

import { createHash, createHmac, createSecretKey, randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { ApiKeyHashes, hashApiKey, newApiKey } from '../../src/crypto/key-hash.ts'

const PEPPER = createSecretKey(Buffer.from(Array.from({ length: 32 }, (_, i) => i)))

describe('a new key', () => {
  test('is the prefix that scanners look for and 256 bits', () => {
    expect(newApiKey()).toMatch(/^sly_[0-9a-f]{64}$/)
  })

  test('is never given out twice', () => {
    const made = new Set(Array.from({ length: 10_000 }, newApiKey))
    expect(made.size).toBe(10_000)
  })
})

describe('its hash', () => {
  const apiKey = newApiKey()

  test('is the same every time, so that a key can be looked up by it', () => {
    expect(hashApiKey(PEPPER, apiKey)).toBe(hashApiKey(PEPPER, apiKey))
  })

  test('differs for another key and under another pepper', () => {
    expect(hashApiKey(PEPPER, newApiKey())).not.toBe(hashApiKey(PEPPER, apiKey))
    expect(hashApiKey(createSecretKey(randomBytes(32)), apiKey)).not.toBe(
      hashApiKey(PEPPER, apiKey),
    )
  })

  test('differs for a key in other case, cut short or with a blank', () => {
    const stored = hashApiKey(PEPPER, apiKey)
    for (const other of [apiKey.toUpperCase(), apiKey.slice(0, -1), `${apiKey} `, `${apiKey}\0`]) {
      expect(hashApiKey(PEPPER, other)).not.toBe(stored)
    }
  })

  test('is HMAC-SHA-256 under the pepper', () => {
    const expected = createHmac('sha256', PEPPER).update(apiKey).digest('base64url')
    expect(hashApiKey(PEPPER, apiKey)).toBe(expected)
  })

  test('is the one stored by earlier versions', () => {
    // Computed with Python's hmac, pepper 00..1f. Another answer would lock everybody out.
    expect(hashApiKey(PEPPER, 'sly_0123456789abcdef')).toBe(
      'Q59bE1hCBzAWzGoY16i9_aTc7U8_JZKO4ItORFEFzys',
    )
  })

  test('holds nothing of the key and is no plain hash', () => {
    const hash = hashApiKey(PEPPER, apiKey)
    expect(hash).toMatch(/^[A-Za-z0-9_-]{43}$/)
    expect(hash).not.toContain(apiKey.slice(4, 12))
    expect(hash).not.toBe(createHash('sha256').update(apiKey).digest('base64url'))
  })

  test('takes any text a client may send', () => {
    const texts = ['', '\0', 'é', 'e\u0301', '\ud800', 'x'.repeat(100_000)]
    expect(new Set(texts.map((text) => hashApiKey(PEPPER, text))).size).toBe(texts.length)
  })
})

describe('hashes that are remembered', () => {
  test('are those that are made anew, the first time, again, and after more than are kept', () => {
    const hashes = new ApiKeyHashes(PEPPER)
    const keys = Array.from({ length: 5000 }, newApiKey)
    const expected = keys.map((key) => hashApiKey(PEPPER, key))

    expect(keys.map((key) => hashes.of(key))).toEqual(expected)
    expect(keys.map((key) => hashes.of(key))).toEqual(expected)
  })

  test('are of the whole key: its beginnings and what begins with it are other keys', () => {
    const hashes = new ApiKeyHashes(PEPPER)
    const key = newApiKey()
    const texts = [key, key.slice(0, -1), `${key}0`, key.toUpperCase(), '', '\0']

    for (const text of [...texts, ...texts]) expect(hashes.of(text)).toBe(hashApiKey(PEPPER, text))
  })
})
