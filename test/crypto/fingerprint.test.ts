// A fingerprint finds the same card of the same customer again, and tells nothing to anybody without the key.

import { createHash, createHmac, createSecretKey, randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { fingerprint } from '../../src/crypto/fingerprint.ts'

const KEY = createSecretKey(Buffer.from(Array.from({ length: 32 }, (_, i) => i)))
const CUSTOMER = 'acme0_cus_018f'
const NUMBER = Buffer.from('4242424242424242')

test('the same number of the same customer has the same fingerprint', () => {
  const again = fingerprint(KEY, CUSTOMER, 'card', Uint8Array.from(NUMBER))
  expect(fingerprint(KEY, CUSTOMER, 'card', NUMBER)).toBe(again)
})

describe('another fingerprint has', () => {
  const one = fingerprint(KEY, CUSTOMER, 'card', NUMBER)

  test.each([
    ['the same card under another customer', KEY, 'acme0_cus_018e', NUMBER],
    ['the same card under another merchant', createSecretKey(randomBytes(32)), CUSTOMER, NUMBER],
    ['a number that differs in one digit', KEY, CUSTOMER, Buffer.from('4242424242424241')],
    ['the same BIN and last four', KEY, CUSTOMER, Buffer.from('4242420000004242')],
    ['a number with a leading zero', KEY, CUSTOMER, Buffer.from('04242424242424242')],
  ])('%s', (_what, key, customer, number) => {
    expect(fingerprint(key, customer, 'card', number)).not.toBe(one)
  })

  test('any other pair of customer and number', () => {
    const customer = fc.stringMatching(/^[A-Za-z0-9_]{1,40}$/)
    const number = fc.stringMatching(/^[0-9]{12,19}$/)
    fc.assert(
      fc.property(customer, number, customer, number, (c1, n1, c2, n2) => {
        fc.pre(c1 !== c2 || n1 !== n2)
        const first = fingerprint(KEY, c1, 'card', Buffer.from(n1))
        expect(fingerprint(KEY, c2, 'card', Buffer.from(n2))).not.toBe(first)
      }),
    )
  })
})

test('digits cannot move between customer and number', () => {
  const one = fingerprint(KEY, 'cus_42', 'card', Buffer.from('4242'))
  expect(fingerprint(KEY, 'cus_4', 'card', Buffer.from('24242'))).not.toBe(one)
})

describe('its value', () => {
  test('is the one stored by earlier versions', () => {
    // Computed with Python's hmac: key 00..1f, customer NUL "card" NUL digits.
    const stored = '20wnvhcQR3444cQwq71Lpjnek_6X9N9z7CApuhF8lCw'
    expect(fingerprint(KEY, CUSTOMER, 'card', NUMBER)).toBe(stored)
  })

  test('is the HMAC of customer, kind and the whole number', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (instrument) => {
        const input = Buffer.concat([Buffer.from(`${CUSTOMER}\0card\0`), instrument])
        const expected = createHmac('sha256', KEY).update(input).digest('base64url')
        expect(fingerprint(KEY, CUSTOMER, 'card', instrument)).toBe(expected)
      }),
    )
  })

  test('is no plain hash of the number', () => {
    const made = fingerprint(KEY, CUSTOMER, 'card', NUMBER)
    expect(made).toMatch(/^[A-Za-z0-9_-]{43}$/)
    expect(made).not.toBe(createHash('sha256').update(NUMBER).digest('base64url'))
  })

  test('leaves the number as it was', () => {
    const number = Buffer.from(NUMBER)
    fingerprint(KEY, CUSTOMER, 'card', number)
    expect(number.equals(NUMBER)).toBe(true)
  })
})
