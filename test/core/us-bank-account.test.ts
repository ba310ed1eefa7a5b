// Routing numbers are those that banks and processors publish; account numbers are processors' test numbers.

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type AccountNumber,
  parseAccountNumber,
  parseRoutingNumber,
} from '../../src/core/us-bank-account.ts'

describe('routing numbers', () => {
  test.each([
    ['110000000', "Stripe's test bank"],
    ['021000021', 'JPMorgan Chase, New York'],
    ['011401533', "Plaid's sandbox"],
    ['121000358', 'Bank of America, California'],
    ['122105155', 'U.S. Bank, Arizona'],
    ['322271627', 'JPMorgan Chase, California: a thrift prefix'],
    ['061000104', 'Truist, Georgia'],
    ['000000518', 'the Treasury, which has prefix 00'],
  ])('%s is accepted: %s', (text) => {
    expect(parseRoutingNumber(text)).toBe(text)
  })

  test('one wrong digit, or two neighbours that changed places, is refused', () => {
    for (const text of ['110000000', '021000021', '122105155', '322271627']) {
      for (let at = 0; at < 9; at++) {
        const wrong = (Number(text[at]) + 1) % 10
        expect(parseRoutingNumber(text.slice(0, at) + wrong + text.slice(at + 1))).toBeUndefined()
        const [one, other] = [text.charAt(at), text.charAt(at + 1)]
        // Neighbours that are 5 apart weigh the same either way.
        if (other === '' || (Number(one) - Number(other)) % 5 === 0) continue
        const swapped = text.slice(0, at) + other + one + text.slice(at + 2)
        expect(parseRoutingNumber(swapped)).toBeUndefined()
      }
    }
  })

  test('the first two digits are one of those that were given out', () => {
    const accepted: string[] = []
    for (let prefix = 0; prefix < 100; prefix++) {
      const head = String(prefix).padStart(2, '0')
      // One of ten check digits fits; 5 in the third place so that it is not all zeros.
      const fitting = [...'0123456789'].filter(
        (digit) => parseRoutingNumber(`${head}500000${digit}`) !== undefined,
      )
      expect(fitting.length).toBeLessThanOrEqual(1)
      if (fitting.length === 1) accepted.push(head)
    }
    expect(accepted.join(' ')).toBe(
      '00 01 02 03 04 05 06 07 08 09 10 11 12 21 22 23 24 25 26 27 28 29 30 31 32 61 62 63 64 65 66 67 68 69 70 71 72 80',
    )
  })

  test.each([
    ['nothing', ''],
    ['all zeros, which add up', '000000000'],
    ['eight digits', '11000000'],
    ['ten digits', '1100000000'],
    ['blanks', '110 000 000'],
    ['a dash', '1100-00000'],
    ['a line feed behind', '110000000\n'],
    ['a letter', '11000000O'],
    ['a sign', '+10000000'],
    ['an exponent', '11000e000'],
    ['digits that are not ASCII', '\u0661\u0661\u0660000000'],
  ])('%s is refused', (_what, text) => {
    expect(parseRoutingNumber(text)).toBeUndefined()
  })
})

describe('account numbers', () => {
  const parse = (text: string): AccountNumber | undefined => parseAccountNumber(Buffer.from(text))

  test.each(['000123456789', '1234', '12345678901234567', '0000', '000 123-456 789'])(
    '%s is accepted, its leading zeros kept',
    (text) => {
      expect(parse(text)?.toString('latin1')).toBe(text.replaceAll(/[ -]/g, ''))
    },
  )

  test.each([
    ['nothing', ''],
    ['separators only', ' - - - - '],
    ['three digits', '123'],
    ['three digits and separators', '1-2-3'],
    ['eighteen digits', '123456789012345678'],
    ['a letter', '00012345678X'],
    ['a dot', '000.123.456'],
    ['a tab', '000\t123456'],
    ['a NUL', '000123456\0'],
    ['a byte before 0', '000123/456'],
    ['a byte after 9', '000123:456'],
    ['full-width digits', '\uff11\uff12\uff13\uff14'],
  ])('%s is refused', (_what, text) => {
    expect(parse(text)).toBeUndefined()
  })

  test('separators anywhere never change the number, and nothing of it stays behind', () => {
    const separators = fc.string({ unit: fc.constantFrom(' ', '-'), maxLength: 3 })
    const digits = fc.string({
      unit: fc.constantFrom(...'0123456789'),
      minLength: 4,
      maxLength: 17,
    })
    fc.assert(
      fc.property(
        digits,
        fc.array(separators, { minLength: 18, maxLength: 18 }),
        (number, gaps) => {
          const written = [...number].map((digit, at) => gaps[at] + digit).join('') + gaps[17]
          const input = Buffer.from(written)

          const account = parseAccountNumber(input)

          expect(account?.toString('latin1')).toBe(number)
          expect(account?.buffer).toBe(input.buffer)
          account?.fill(0)
          expect(input.every((byte) => byte === 0)).toBe(true)
        },
      ),
    )
  })
})
