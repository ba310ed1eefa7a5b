import { expect, test } from 'vitest'
import { parseDuration } from '../../src/transfer/purge.ts'

test.each([
  ['400d', 400 * 86_400_000],
  ['36h', 36 * 3_600_000],
  ['1d', 86_400_000],
])('%s is a duration', (text, milliseconds) => {
  expect(parseDuration(text)).toBe(milliseconds)
})

test.each(['', '0d', '0h', 'd', '400', '4.5d', '-1d', '1D', '1w', ' 1d', '1234567d'])(
  '%j is none',
  (text) => {
    expect(parseDuration(text)).toBeUndefined()
  },
)
