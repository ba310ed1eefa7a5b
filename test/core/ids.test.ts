// Ids: the layout of UUIDv7 (RFC 9562, 5.7) and the grammar that stands between a client's text and a store's key.

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  createIds,
  isCell,
  parseCustomerId,
  parseKeyId,
  parseMerchantId,
  parsePaymentMethodId,
  parseProfileId,
  parseTokenId,
  uuidv7Hex,
} from '../../src/core/ids.ts'

const NOW = Date.parse('2026-03-01T12:00:00.000Z')
const HEX = '0195'.padEnd(32, '0')
const ids = createIds('acme0', () => NOW)

const time = fc.integer({ min: 0, max: 2 ** 48 - 1 })

describe('uuidv7', () => {
  test('holds the time, version 7 and variant 10 in 32 lower-case hex digits', () => {
    fc.assert(
      fc.property(time, (nowMs) => {
        const hex = uuidv7Hex(nowMs)
        expect(hex).toMatch(/^[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}$/)
        expect(Number.parseInt(hex.slice(0, 12), 16)).toBe(nowMs)
      }),
    )
  })

  test('the example of RFC 9562 (appendix A.6) has the same time, version and variant', () => {
    const example = '017F22E2-79B0-7CC3-98C4-DC0C0C07398F'.replaceAll('-', '').toLowerCase()
    const made = uuidv7Hex(Date.parse('2022-02-22T14:22:22.000-05:00'))
    expect(made.slice(0, 13)).toBe(example.slice(0, 13))
    expect('89ab').toContain(made[16])
  })

  test('sorts by time as text', () => {
    fc.assert(
      fc.property(time, time, (a, b) => {
        fc.pre(a !== b)
        expect(uuidv7Hex(a) < uuidv7Hex(b)).toBe(a < b)
      }),
    )
  })

  test('100,000 of one millisecond are unique', () => {
    const made = new Set<string>()
    for (let i = 0; i < 100_000; i++) made.add(uuidv7Hex(NOW))
    expect(made.size).toBe(100_000)
  })

  test('each of the 74 random bits is seen as 0 and as 1', () => {
    // A pool that is read with a wrong step or masked twice would leave bits that never change.
    let ones = 0n
    let zeros = 0n
    const all = (1n << 128n) - 1n
    for (let i = 0; i < 2000; i++) {
      const value = BigInt(`0x${uuidv7Hex(0)}`)
      ones |= value
      zeros |= ~value & all
    }
    const changing = (ones & zeros).toString(2).replaceAll('0', '').length
    expect(changing).toBe(74)
  })
})

describe('what is made', () => {
  test.each([
    ['customer', /^acme0_cus_[0-9a-f]{32}$/],
    ['paymentMethod', /^acme0_pm_[0-9a-f]{32}$/],
    ['token', /^acme0_tok_[0-9a-f]{32}$/],
    ['merchant', /^mer_[0-9a-f]{32}$/],
    ['profile', /^pro_[0-9a-f]{32}$/],
    ['key', /^key_[0-9a-f]{32}$/],
    ['request', /^req_[0-9a-f]{32}$/],
  ] as const)('the id of a %s has the shape %s', (kind, shape) => {
    expect(ids[kind]()).toMatch(shape)
    expect(ids[kind]()).not.toBe(ids[kind]())
  })

  test('the time is asked for every id', () => {
    let now = NOW
    const moving = createIds('acme0', () => now++)
    const first = moving.customer()
    expect(first < moving.customer()).toBe(true)
  })

  test('every id is accepted by the parser of its kind', () => {
    const customer = ids.customer()
    const paymentMethod = ids.paymentMethod()
    const token = ids.token()
    const merchant = ids.merchant()
    const profile = ids.profile()
    const key = ids.key()
    expect(parseCustomerId(customer)).toBe(customer)
    expect(parsePaymentMethodId(paymentMethod)).toBe(paymentMethod)
    expect(parseTokenId(token)).toBe(token)
    expect(parseMerchantId(merchant)).toBe(merchant)
    expect(parseProfileId(profile)).toBe(profile)
    expect(parseKeyId(key)).toBe(key)
  })
})

describe('cells', () => {
  test.each(['acme0', '00000', 'zzzzz'])('%s names a cell', (cell) => {
    expect(isCell(cell)).toBe(true)
  })

  test.each(['', 'acme', 'acme00', 'ACME0', 'ac_e0', 'ac-e0', 'acme0\n', 'açme0'])(
    '%j names no cell',
    (cell) => {
      expect(isCell(cell)).toBe(false)
    },
  )
})

/** What would escape from a path, a key of the store or the context of a seal. */
const UNSAFE = [
  '',
  'a/b',
  '../mer_1',
  'a\\b',
  'mer_1\0',
  '\0',
  'a\0card\0b',
  'mer_1\n',
  ' mer_1',
  'mer 1',
  'mer_1.',
  'mer%2f1',
  '~system',
  'mer~1',
  'mérchant',
  'mer\u0100',
  'a:b',
  'a{b}',
  'a'.repeat(65),
  'a'.repeat(100_000),
]

describe('ids an operator may choose', () => {
  const parsers = [
    [
      'merchant',
      parseMerchantId,
      ['a', 'acme', 'Acme-Shop_2', '0', 'a'.repeat(64), `mer_${'0'.repeat(32)}`],
    ],
    ['profile', parseProfileId, [`pro_${'0'.repeat(32)}`]],
    ['key', parseKeyId, [`key_${'f'.repeat(32)}`]],
  ] as const

  describe.each(parsers)('of a %s', (_kind, parse, accepted) => {
    test.each(accepted)('%s is accepted', (text) => {
      expect(parse(text)).toBe(text)
    })

    test.each(['424242424242', 'x4242-4242_4242', '1'.repeat(19)])('%s is refused', (text) => {
      expect(parse(text)).toBeUndefined()
    })

    test.each(UNSAFE)('%j is refused', (text) => {
      expect(parse(text)).toBeUndefined()
    })

    test('no accepted text has a separator of ours', () => {
      fc.assert(
        fc.property(fc.string({ unit: 'binary', maxLength: 70 }), (text) => {
          if (parse(text) === undefined) return
          expect(text).toMatch(/^[A-Za-z0-9_-]+$/)
          expect(text.length).toBeLessThanOrEqual(64)
        }),
      )
    })
  })
})

describe('ids of what merchants store', () => {
  const parsers = [
    ['cus', parseCustomerId],
    ['pm', parsePaymentMethodId],
    ['tok', parseTokenId],
  ] as const

  describe.each(parsers)('of the kind %s', (kind, parse) => {
    test.each(['acme0', 'x', '123456789012', 'OtherCell'])(
      'an id of the cell %s is accepted',
      (cell) => {
        expect(parse(`${cell}_${kind}_${HEX}`)).toBe(`${cell}_${kind}_${HEX}`)
      },
    )

    test.each(
      ['cus', 'pm', 'tok', 'pms', 'mer', 'pro', 'key', 'req', ''].filter((k) => k !== kind),
    )('an id of the kind %j is refused', (other) => {
      expect(parse(`acme0_${other}_${HEX}`)).toBeUndefined()
    })

    test.each([
      ['no cell', `_${kind}_${HEX}`],
      ['a cell that is too long', `1234567890123_${kind}_${HEX}`],
      ['a cell with a separator', `ac/me_${kind}_${HEX}`],
      ['a second cell', `a_b_${kind}_${HEX}`],
      ['31 digits', `acme0_${kind}_${HEX.slice(1)}`],
      ['33 digits', `acme0_${kind}_${HEX}0`],
      ['upper-case digits', `acme0_${kind}_${'AB'.repeat(16)}`],
      ['a letter beyond f', `acme0_${kind}_${HEX.slice(1)}g`],
      ['the kind in upper case', `acme0_${kind.toUpperCase()}_${HEX}`],
      ['a path', `acme0_${kind}_${HEX}/..`],
      ['a path in front', `/acme0_${kind}_${HEX}`],
      ['a NUL', `acme0_${kind}_${HEX}\0`],
      ['a NUL inside', `acme0_${kind}_${HEX.slice(1)}\0`],
      ['a line feed', `acme0_${kind}_${HEX}\n`],
      ['a blank', ` acme0_${kind}_${HEX}`],
      ['much too long a text', `acme0_${kind}_${HEX.repeat(10_000)}`],
    ])('%s is refused', (_what, text) => {
      expect(parse(text)).toBeUndefined()
    })

    test.each(UNSAFE)('%j is refused', (text) => {
      expect(parse(text)).toBeUndefined()
    })
  })
})
