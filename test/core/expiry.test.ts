// Expiry dates as people write them, and the last moment a card is good anywhere on Earth.

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isExpired, parseExpiry } from '../../src/core/expiry.ts'

describe('parsing', () => {
  test.each([
    ['3', '2030', '03', '2030'],
    ['03', '2030', '03', '2030'],
    ['03', '30', '03', '2030'],
    ['1', '00', '01', '2000'],
    ['9', '09', '09', '2009'],
    ['10', '99', '10', '2099'],
    ['12', '2099', '12', '2099'],
  ])('%s/%s is stored as %s and %s', (month, year, storedMonth, storedYear) => {
    expect(parseExpiry(month, year)).toEqual({ month: storedMonth, year: storedYear })
  })

  test.each([
    '',
    '0',
    '00',
    '13',
    '20',
    '003',
    '-3',
    '+3',
    '3.0',
    ' 3',
    '3 ',
    '3\n',
    'x',
    '1e0',
    '٣',
  ])('%j is no month', (month) => {
    expect(parseExpiry(month, '2030')).toBeUndefined()
  })

  test.each([
    '',
    '3',
    '203',
    '1999',
    '2130',
    '3020',
    '20300',
    '-030',
    '20 30',
    '30\n',
    'xx',
    '２０',
  ])('%j is no year', (year) => {
    expect(parseExpiry('3', year)).toBeUndefined()
  })

  test('what was parsed parses to itself', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 0, max: 99 }),
        (month, year) => {
          const expiry = parseExpiry(String(month), String(year).padStart(2, '0'))
          expect(expiry && parseExpiry(expiry.month, expiry.year)).toEqual(expiry)
          expect(expiry).toEqual({
            month: String(month).padStart(2, '0'),
            year: String(2000 + year),
          })
        },
      ),
    )
  })
})

describe('being expired', () => {
  test('a card is good to the end of its month where that comes last, at UTC-12', () => {
    const end = Date.parse('2030-04-01T00:00:00.000-12:00')
    expect(isExpired({ month: '03', year: '2030' }, end - 1)).toBe(false)
    expect(isExpired({ month: '03', year: '2030' }, end)).toBe(true)
  })

  test('December ends with the year', () => {
    const end = Date.parse('2031-01-01T00:00:00.000-12:00')
    expect(isExpired({ month: '12', year: '2030' }, end - 1)).toBe(false)
    expect(isExpired({ month: '12', year: '2030' }, end)).toBe(true)
  })

  test('February of a leap year has its 29th', () => {
    const lastDay = Date.parse('2028-02-29T23:59:59.999-12:00')
    expect(isExpired({ month: '02', year: '2028' }, lastDay)).toBe(false)
    expect(isExpired({ month: '02', year: '2028' }, lastDay + 1)).toBe(true)
  })
})
