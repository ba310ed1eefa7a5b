// Fingerprints, hashes of API keys and the keys of verification codes rest on HMAC-SHA-256 and HKDF as Node gives
// them; here those answer as their RFCs say.

import { createHmac, createSecretKey, hkdfSync } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'

type HmacCase = {
  name: string
  key: string
  data: string
  hmac_sha_256: string
  truncated_to_bytes?: number
}
type HkdfCase = {
  name: string
  ikm: string
  salt: string
  info: string
  length: number
  okm: string
}

function casesOf<T>(file: string): readonly T[] {
  const text = readFileSync(new URL(`../vectors/${file}`, import.meta.url), 'utf8')
  return (JSON.parse(text) as { cases: readonly T[] }).cases
}

const hex = (text: string) => Buffer.from(text, 'hex')

describe('HMAC-SHA-256 (RFC 4231)', () => {
  const cases = casesOf<HmacCase>('hmac-sha-256-rfc4231.json')

  test('the vectors are there', () => {
    expect(cases).toHaveLength(7)
  })

  test.each(cases)('$name', ({ key, data, hmac_sha_256, truncated_to_bytes }) => {
    const answer = createHmac('sha256', createSecretKey(hex(key)))
      .update(hex(data))
      .digest()
    expect(answer.subarray(0, truncated_to_bytes ?? 32).toString('hex')).toBe(hmac_sha_256)
  })
})

describe('HKDF-SHA-256 (RFC 5869)', () => {
  const cases = casesOf<HkdfCase>('hkdf-sha-256-rfc5869.json')

  test('the vectors are there', () => {
    expect(cases).toHaveLength(3)
  })

  test.each(cases)('$name', ({ ikm, salt, info, length, okm }) => {
    const answer = hkdfSync('sha256', createSecretKey(hex(ikm)), hex(salt), hex(info), length)
    expect(Buffer.from(answer).toString('hex')).toBe(okm)
  })
})
