// What the benchmark makes of what it measured.

import { describe, expect, test } from 'vitest'
import { type Profile, sharesOf } from '../../bench/breakdown.ts'
import { cardNumber } from '../../bench/card-numbers.ts'
import { checkRatios } from '../../bench/check.ts'
import { latenciesOf, median, quantile } from '../../bench/quantiles.ts'
import { growthOf, leaksOf } from '../../bench/soak.ts'
import { createSchedule } from '../../bench/steady-rate.ts'
import { passesLuhn } from '../../src/core/card-number.ts'

describe('quantiles', () => {
  const hundred = Array.from({ length: 100 }, (_, i) => i + 1)

  test.each([
    [0.5, 50],
    [0.9, 90],
    [0.99, 99],
    [0.999, 100],
    [1, 100],
    [0, 1],
  ])('%d of 1 to 100 is %d', (share, expected) => {
    expect(quantile(hundred, share)).toBe(expected)
  })

  test('latencies need not be sorted, and are sorted as numbers', () => {
    expect(latenciesOf([100, 9, 20])).toMatchObject({ p50Ms: 20, maxMs: 100 })
  })

  test('nothing has no quantile', () => {
    expect(quantile([], 0.5)).toBeNaN()
    expect(median([])).toBeNaN()
  })

  test('the median of an even number is between the two in the middle', () => {
    expect(median([4, 1, 3, 2])).toBe(2.5)
  })
})

describe('the schedule of a steady rate', () => {
  test('requests are due at even intervals, and each once', () => {
    const schedule = createSchedule(1000, 500)
    expect([1000, 1000, 1002, 1003, 1004].map((now) => schedule.take(now))).toEqual([
      1000,
      undefined,
      1002,
      undefined,
      1004,
    ])
  })

  test('after a stall everything that was due meanwhile comes with the time it was due at', () => {
    const schedule = createSchedule(0, 1000)
    schedule.take(0)
    const taken: (number | undefined)[] = []
    for (let due = schedule.take(100); due !== undefined; due = schedule.take(100)) taken.push(due)
    expect(taken).toEqual(Array.from({ length: 100 }, (_, i) => i + 1))
  })
})

describe('ratios', () => {
  const measured = (value: number) => [
    { of: 'a', to: 'b', spread: { median: value, min: value, max: value } },
  ]
  const recorded = { ratios: [{ of: 'a', to: 'b', median: 1 }] }

  test.each([
    [1, false],
    [1.14, false],
    [1.16, true],
    [0.5, false],
  ])('%d where 1 was recorded: worse is %s', (value, isWorse) => {
    expect(checkRatios(recorded, measured(value))[0]?.isWorse).toBe(isWorse)
  })

  test('one that was not measured is not taken for good', () => {
    expect(() => checkRatios(recorded, [])).toThrow('not measured')
  })
})

describe('the breakdown', () => {
  const node = (id: number, functionName: string, url: string, children: number[] = []) => ({
    id,
    callFrame: { functionName, url },
    children,
  })
  const profile = (samples: number[], timeDeltas = samples.map(() => 1000)): Profile => ({
    nodes: [
      node(1, '(root)', '', [2, 3, 8, 9]),
      node(2, '(idle)', ''),
      node(3, 'flush', 'file:///x/src/audit/trail.ts', [4, 5]),
      node(4, 'writeSync', 'node:fs', [7]),
      node(5, 'openCard', 'file:///x/src/vault/reveal.ts', [6]),
      node(6, 'update', 'node:internal/crypto/cipher'),
      node(7, 'writeBuffer', ''),
      node(8, 'onStreamRead', 'node:internal/stream_base_commons'),
      node(9, '(garbage collector)', ''),
    ],
    samples,
    timeDeltas,
  })

  test('what Node does is done for whoever called it', () => {
    expect(sharesOf(profile([7, 4, 6, 5]), 1)).toMatchObject({ audit: 0.5, vault: 0.5 })
  })

  test('reading sockets and collecting garbage is called by nobody', () => {
    expect(sharesOf(profile([8, 9]), 1)).toMatchObject({ server: 0.5, runtime: 0.5 })
  })

  test('idle time is not part of it', () => {
    expect(sharesOf(profile([2, 2, 2, 7]), 1)).toMatchObject({ audit: 1 })
  })

  test('only the end of the profile counts', () => {
    expect(sharesOf(profile([7, 7, 7, 5], [1e6, 1e6, 1e6, 1e6]), 1)).toMatchObject({ vault: 1 })
  })
})

describe('the soak', () => {
  test('growth is from the second fifth to the last', () => {
    expect(growthOf([1, 9, 5, 5, 6, 6, 6, 6, 8, 8])).toBe(3)
  })

  test('more than before of anything is a leak, less or new places of the same number are not', () => {
    const before = { openFiles: 20, active: { Timeout: 2, TCPServerWrap: 2 } }
    expect(leaksOf(before, before)).toEqual([])
    expect(leaksOf(before, { openFiles: 19, active: { Timeout: 1 } })).toEqual([])
    expect(leaksOf(before, { openFiles: 21, active: { TCPSocketWrap: 1 } })).toHaveLength(2)
  })
})

test('made-up card numbers pass Luhn and are all different', () => {
  const numbers = Array.from({ length: 1000 }, (_, i) => cardNumber(i * 999_983))
  expect(numbers.every((number) => passesLuhn(Buffer.from(number)))).toBe(true)
  expect(new Set(numbers).size).toBe(1000)
})
