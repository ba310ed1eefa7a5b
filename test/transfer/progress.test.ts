import { expect, test } from 'vitest'
import { createProgress, duration, grouped } from '../../src/transfer/progress.ts'

/** What is on the screen after each step of `rows` at `seconds`. */
function show(columns: number | undefined, steps: readonly (readonly [number, number, number?])[]) {
  let nowMs = 0
  const told: string[] = []
  const progress = createProgress({ tell: (text) => told.push(text), columns }, () => nowMs, 'rows')
  for (const [seconds, rows, share] of steps) {
    nowMs = seconds * 1000
    progress.show({ rows, share })
  }
  return { told, progress }
}

test('in a terminal a bar is written over', () => {
  const { told, progress } = show(100, [
    [0, 0, 0],
    [0.1, 10, 0.01],
    [1, 5000, 0.25],
  ])
  progress.clear()

  expect(told).toEqual([
    `\r\x1b[K[${'.'.repeat(30)}] 0 rows  0.0 %  0/s`,
    `\r\x1b[K[${'#'.repeat(8)}${'.'.repeat(22)}] 5,000 rows  25.0 %  5,000/s  3 s left`,
    '\r\x1b[K',
  ])
})

test('more than there was to read is all of it', () => {
  const { told } = show(100, [
    [0, 0, 0],
    [1, 5000, 1.3],
  ])

  expect(told.at(-1)).toBe(`\r\x1b[K[${'#'.repeat(30)}] 5,000 rows  100.0 %  5,000/s  0 s left`)
})

test('a narrow terminal is not written beyond', () => {
  for (const columns of [10, 30, 60]) {
    const { told } = show(columns, [[1, 5000, 0.25]])
    expect(told[0]?.replace('\r\x1b[K', '').length).toBeLessThan(columns)
  }
})

test('elsewhere there is a line every five seconds', () => {
  const { told } = show(
    undefined,
    Array.from({ length: 101 }, (_, tenth) => [tenth / 10, tenth * 100] as const),
  )

  expect(told).toEqual(['5,000 rows  1,000/s\n', '10,000 rows  1,000/s\n'])
})

test('counts and times are written to be read', () => {
  expect([0, 999, 1000, 1234567].map(grouped)).toEqual(['0', '999', '1,000', '1,234,567'])
  expect([0.2, 59, 61, 3600 + 120].map(duration)).toEqual([
    '1 s',
    '59 s',
    '1 min 01 s',
    '1 h 02 min',
  ])
})
