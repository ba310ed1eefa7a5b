// Names, tags and bits of the fields of a card. Tags and bits are storage format (the sealed record, and `fields` of a
// payment method), so they are written down here a second time: a field that is added must not move the others.

import { describe, expect, test } from 'vitest'
import {
  CARD_FIELDS,
  CVC_FIELD,
  DERIVED_FIELDS,
  fieldBit,
  hasField,
  parseCardField,
  STORED_FIELDS,
} from '../../src/core/card-fields.ts'

test('the tags of stored fields have not moved', () => {
  expect(STORED_FIELDS.slice(0, 9)).toEqual([
    'card_number',
    'card_exp_month',
    'card_exp_year',
    'card_holder_name',
    'nick_name',
    'card_network',
    'card_issuer',
    'card_type',
    'card_issuing_country',
  ])
})

test.each([
  ['card_number', 0],
  ['card_exp_month', 1],
  ['card_exp_year', 2],
  ['card_holder_name', 3],
  ['nick_name', 4],
  ['card_network', 5],
  ['card_issuer', 6],
  ['card_type', 7],
  ['card_issuing_country', 8],
  ['card_bin', 9],
  ['card_bin8', 10],
  ['card_last4', 11],
  ['card_cvc', 12],
] as const)('the bit of %s is still bit %i', (field, bit) => {
  expect(fieldBit(field)).toBe(1 << bit)
})

test('the fields are those stored, those made from the number and the verification code, each once', () => {
  expect(CARD_FIELDS).toEqual([...STORED_FIELDS, ...DERIVED_FIELDS, CVC_FIELD])
  expect(new Set(CARD_FIELDS).size).toBe(CARD_FIELDS.length)
  expect(CARD_FIELDS.length).toBeLessThan(32) // bits of a 32-bit integer, none of them its sign
})

describe('sets', () => {
  test('a set holds the fields that were put into it and no others', () => {
    for (const inside of CARD_FIELDS) {
      for (const other of CARD_FIELDS) {
        expect(hasField(fieldBit(inside), other)).toBe(inside === other)
      }
    }
  })

  test('the empty set holds none and the full set holds all', () => {
    const full = CARD_FIELDS.reduce((set, field) => set | fieldBit(field), 0)
    for (const field of CARD_FIELDS) {
      expect(hasField(0, field)).toBe(false)
      expect(hasField(full, field)).toBe(true)
      expect(hasField(full & ~fieldBit(field), field)).toBe(false)
    }
  })
})

describe('names', () => {
  test.each(CARD_FIELDS)('%s is a field', (name) => {
    expect(parseCardField(name)).toBe(name)
  })

  test.each([
    '',
    'card',
    'CARD_NUMBER',
    'card_number ',
    'card_number\0',
    'card-number',
    'number',
    'card_cvv',
    'cvc',
    '__proto__',
    'constructor',
    'toString',
    'hasOwnProperty',
    '0',
  ])('%j is no field', (name) => {
    expect(parseCardField(name)).toBeUndefined()
  })
})
