// PayPal accounts: which addresses are taken, and which of them are one account.

import { describe, expect, test } from 'vitest'
import type { ProfileId } from '../../src/core/ids.ts'
import { identityOf } from '../../src/vault/payment-methods/instrument.ts'
import { parseInstrument } from '../../src/vault/payment-methods/parse.ts'

const parse = (email: string) => parseInstrument('wallet', { wallet: { paypal: { email } } }, [], 0)
const identity = (email: string) => identityOf(parse(email), 'pro_1' as ProfileId).bytes.toString()

describe('an address is taken', () => {
  test.each([
    'user@email.com',
    'first.last+tag@sub.example.co',
    "o'neil_{x}/y@example.com",
    'user@localhost',
    'u@1.example',
    'zoë@example.com',
    '用户@example.com',
    `${'x'.repeat(64)}@${'a'.repeat(63)}.example`,
  ])('%s', (email) => {
    expect(parse(email)).toEqual({ kind: 'wallet', wallet: 'paypal', email })
  })

  test('in composed characters, however it was written', () => {
    expect(parse('zoe\u0308@example.com')).toMatchObject({ email: 'zo\u00eb@example.com' })
  })
})

describe('an address is refused', () => {
  test.each([
    ['nothing before the sign', '@example.com'],
    ['nothing behind it', 'user@'],
    ['two signs', 'a@b@example.com'],
    ['a blank', 'a b@example.com'],
    ['a dot at its begin', '.user@example.com'],
    ['a dot at the end of the mailbox', 'user.@example.com'],
    ['a dot at the begin of the host', 'user@.example.com'],
    ['a dot at the end', 'user@example.com.'],
    ['an empty label', 'user@example..com'],
    ['a dash at the begin of a label', 'user@example.-com'],
    ['a dash at the end of a label', 'user@example-.com'],
    ['a label of 64', `user@${'a'.repeat(64)}.com`],
    ['a mailbox of 65', `${'x'.repeat(65)}@example.com`],
    ['a host of 254', `u@${'a.'.repeat(126)}aa`],
    ['letters of another script in the host', 'user@ex\u0430mple.com'],
    ['a zero-width space', 'us\u200ber@example.com'],
    ['a zero-width joiner', 'user\u200d@example.com'],
    ['a soft hyphen', 'us\u00ader@example.com'],
    ['a mark that turns the direction', '\u202euser@example.com'],
    ['a byte order mark', '\ufeffuser@example.com'],
    ['a variation selector', 'user\ufe0f@example.com'],
    ['a combining grapheme joiner', 'us\u034fer@example.com'],
    ['a Hangul filler', '\u3164user@example.com'],
    ['a braille blank', 'us\u2800er@example.com'],
    ['a no-break space', 'us\u00a0er@example.com'],
    ['a tag', 'user\u{e0061}@example.com'],
    ['a character for private use', 'user\ue000@example.com'],
    ['half a character', 'user\ud800@example.com'],
    ['a control character', 'us\u0000er@example.com'],
    ['a card number', '4242424242424242@example.com'],
  ])('for %s', (_, email) => {
    expect(() => parse(email)).toThrow(
      expect.objectContaining({ reason: 'invalid_value', details: { field: 'email' } }),
    )
  })
})

describe('one account', () => {
  test.each([
    ['in any case', 'User@Example.COM', 'user@example.com'],
    ['composed or not', 'zo\u00eb@example.com', 'zoe\u0308@example.com'],
    ['composed or not, in large letters', 'ZO\u00cb@example.com', 'zoe\u0308@example.com'],
    ['with a sign that is another', '\u212a@example.com', 'k@example.com'],
    ['with a letter that is composed only when large', '\u0130@example.com', 'i\u0307@example.com'],
  ])('%s', (_, one, other) => {
    expect(identity(one)).toBe(identity(other))
  })

  test('is not that of another mailbox', () => {
    const all = ['user', 'u.ser', 'user+x', 'us\u00e9r'].map((each) => `${each}@example.com`)
    expect(new Set([...all, 'user@example.org'].map(identity)).size).toBe(5)
  })
})
