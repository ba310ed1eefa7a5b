// How a time is written: as Date does, whatever came before.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import { isoTime } from '../../src/core/clock.ts'

test('any time is written as Date writes it', () => {
  const time = fc.oneof(
    fc.integer({ min: -8.64e15, max: 8.64e15 }),
    fc.integer({ min: 1_790_000_000_000, max: 1_790_000_003_000 }), // the same second again
    fc.constantFrom(0, -1, 999, 1000, 253_402_300_799_999, 253_402_300_800_000),
  )
  fc.assert(
    fc.property(time, (ms) => {
      expect(isoTime(ms)).toBe(new Date(ms).toISOString())
    }),
    { numRuns: 2000 },
  )
})

test('what is no time is refused, also after one', () => {
  isoTime(0)
  for (const ms of [Number.NaN, Number.POSITIVE_INFINITY, 8.64e15 + 1000]) {
    expect(() => isoTime(ms)).toThrow(RangeError)
    expect(isoTime(1)).toBe('1970-01-01T00:00:00.001Z')
  }
})
