// The binary layout of a stored card. It is storage format: what an older version sealed must be read, so the bytes
// of one card are written down here.

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CARD_FIELDS, hasField, STORED_FIELDS } from '../../src/core/card-fields.ts'
import {
  decodeCard,
  encodeCard,
  fieldOf,
  fieldsOf,
  type StoredValues,
} from '../../src/vault/payment-methods/card-record.ts'
import { VISA } from '../support/sallyport.ts'

const bytes = (text: string) => Buffer.from(text)

test('the layout has not moved', () => {
  const encoded = encodeCard({
    card_exp_year: bytes('2030'),
    card_number: bytes('4242'),
    card_issuing_country: bytes('é'),
  })

  expect(encoded.toString('hex')).toBe(
    `01${'00'}0004${'34323432'}${'02'}0004${'32303330'}${'08'}0002${'c3a9'}`,
  )
})

test('what was encoded is decoded', () => {
  const value = fc.uint8Array({ maxLength: 300 })
  const values = fc.record(Object.fromEntries(STORED_FIELDS.map((name) => [name, value])), {
    requiredKeys: [],
  })

  fc.assert(
    fc.property(values, (card) => {
      const decoded = decodeCard(encodeCard(card as StoredValues))

      const hex = (of: object) =>
        Object.fromEntries(Object.entries(of).map(([k, v]) => [k, Buffer.from(v).toString('hex')]))
      expect(hex(decoded)).toEqual(hex(card))
    }),
  )
})

test('fields are parts of the plaintext, so that overwriting it overwrites them', () => {
  const plaintext = encodeCard({ card_number: bytes(VISA), card_holder_name: bytes('Jo') })
  const values = decodeCard(plaintext)
  const lastFour = fieldOf(values, 'card_last4')

  plaintext.fill(0)

  expect(Buffer.from(values.card_number as Uint8Array)).toEqual(Buffer.alloc(16))
  expect(Buffer.from(lastFour as Uint8Array)).toEqual(Buffer.alloc(4))
})

test('encoding copies: the caller may overwrite what it handed over', () => {
  const number = bytes(VISA)
  const plaintext = encodeCard({ card_number: number })

  number.fill(0)

  expect(Buffer.from(decodeCard(plaintext).card_number as Uint8Array).toString()).toBe(VISA)
})

test('a field that a newer version stored is passed over', () => {
  const plaintext = Buffer.concat([
    Buffer.from([1, 200, 0, 1, 7]),
    encodeCard({ card_number: bytes(VISA) }).subarray(1),
  ])

  expect(Object.keys(decodeCard(plaintext))).toEqual(['card_number'])
})

test('a card in another format is not guessed at', () => {
  for (const plaintext of [Buffer.from([2]), Buffer.from([0, 0, 0, 1, 52]), Buffer.alloc(0)]) {
    expect(() => decodeCard(plaintext)).toThrow('format')
  }
})

test('a value longer than its length can say is refused and not cut', () => {
  expect(() => encodeCard({ card_holder_name: Buffer.alloc(65_536) })).toThrow(RangeError)
})

describe('what a placeholder can name', () => {
  test.each([
    ['4242424242424242', ['card_number', 'card_bin', 'card_bin8', 'card_last4']],
    ['6205500000000000004', ['card_number', 'card_bin', 'card_bin8', 'card_last4']],
    ['378282246310005', ['card_number', 'card_bin', 'card_last4']],
  ])('of %s alone is %j', (number, names) => {
    const fields = fieldsOf({ card_number: bytes(number) })

    expect(CARD_FIELDS.filter((field) => hasField(fields, field)).sort()).toEqual(names.sort())
  })

  test('is every stored field that is there, and never the code', () => {
    const all = Object.fromEntries(STORED_FIELDS.map((name) => [name, bytes('1')]))

    const fields = fieldsOf(all)

    expect(STORED_FIELDS.every((field) => hasField(fields, field))).toBe(true)
    expect(hasField(fields, 'card_cvc')).toBe(false)
  })

  test.each([
    ['4242424242424242', '424242', '42424242', '4242'],
    ['378282246310005', '378282', undefined, '0005'],
  ])('of %s the parts are %s, %s and %s', (number, bin, bin8, last4) => {
    const values = { card_number: bytes(number) }
    const shown = (field: 'card_bin' | 'card_bin8' | 'card_last4') => {
      const part = fieldOf(values, field)
      return part === undefined ? undefined : Buffer.from(part).toString()
    }

    expect([shown('card_bin'), shown('card_bin8'), shown('card_last4')]).toEqual([bin, bin8, last4])
  })

  test('of a card without a number is none of its parts', () => {
    for (const field of ['card_bin', 'card_bin8', 'card_last4', 'card_number'] as const) {
      expect(fieldOf({}, field)).toBeUndefined()
    }
  })
})
