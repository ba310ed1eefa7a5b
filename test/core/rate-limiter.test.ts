// The limiter under a clock that is moved by hand: how many pass, when the next may, and what is remembered.

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Limit, RateLimiter } from '../../src/core/rate-limiter.ts'

function startLimiter(limit: Limit, maxKeys?: number) {
  const time = { nowMs: 1_800_000_000_000 }
  const limiter = new RateLimiter(limit, () => time.nowMs, maxKeys)
  const admitted = (key: string, tries: number) => {
    let count = 0
    for (let i = 0; i < tries; i++) if (limiter.admit(key) === 0) count += 1
    return count
  }
  return { limiter, time, admitted }
}

describe('a key', () => {
  test.each<[number, number]>([
    [1, 1],
    [3, 1],
    [7, 1],
    [60, 60],
    [1000, 86_400],
    [1_000_000, 1],
    [1_000_000, 86_400],
  ])('may make %i requests at once in a window of %i s', (count, window_s) => {
    const { admitted } = startLimiter({ count, window_s })

    expect(admitted('key', count + 10)).toBe(count)
  })

  test('may make one more as soon as its part of the window has passed, and no earlier', () => {
    const { admitted, time } = startLimiter({ count: 4, window_s: 2 })
    admitted('key', 4)

    time.nowMs += 499
    expect(admitted('key', 2)).toBe(0)

    time.nowMs += 1
    expect(admitted('key', 2)).toBe(1)
  })

  test('may make all of them again after a window of silence', () => {
    const { admitted, time } = startLimiter({ count: 4, window_s: 2 })
    admitted('key', 4)

    time.nowMs += 2000

    expect(admitted('key', 9)).toBe(4)
  })

  test('has no more than all of them after a long silence', () => {
    const { admitted, time } = startLimiter({ count: 4, window_s: 2 })
    admitted('key', 1)

    time.nowMs += 365 * 86_400_000

    expect(admitted('key', 9)).toBe(4)
  })

  test('is not refused for longer because it goes on trying', () => {
    const { admitted, limiter, time } = startLimiter({ count: 1, window_s: 10 })
    admitted('key', 1)
    for (let i = 0; i < 9; i++) {
      time.nowMs += 1000
      admitted('key', 100)
    }

    time.nowMs += 1000

    expect(limiter.admit('key')).toBe(0)
  })

  test('is not refused for what others do', () => {
    const { admitted, limiter } = startLimiter({ count: 5, window_s: 60 })

    admitted('one', 100)

    expect(limiter.admit('other')).toBe(0)
  })

  test('may be any string', () => {
    const { admitted } = startLimiter({ count: 1, window_s: 60 })

    for (const key of ['', '__proto__', 'constructor', '2001:db8::1', 'é'.repeat(300)]) {
      expect([key, admitted(key, 2)]).toEqual([key, 1])
    }
  })
})

describe('the answer to one too many', () => {
  test.each<[string, Limit, number, number]>([
    ['the whole wait', { count: 1, window_s: 30 }, 0, 30],
    ['what is left of it', { count: 1, window_s: 30 }, 10_000, 20],
    ['seconds begun, as whole ones', { count: 1, window_s: 30 }, 10_001, 20],
    ['one second at least', { count: 1, window_s: 30 }, 29_999, 1],
    ['one second for less than one', { count: 100, window_s: 1 }, 0, 1],
    ['a part of the window', { count: 6, window_s: 60 }, 0, 10],
  ])('is %s', (_, limit, laterMs, seconds) => {
    const { admitted, limiter, time } = startLimiter(limit)
    admitted('key', limit.count)

    time.nowMs += laterMs

    expect(limiter.admit('key')).toBe(seconds)
  })

  test('is a time after which the request may go', () => {
    const limits = fc.record({
      count: fc.integer({ min: 1, max: 1000 }),
      window_s: fc.integer({ min: 1, max: 86_400 }),
    })
    fc.assert(
      fc.property(limits, fc.nat({ max: 90_000_000 }), (limit, laterMs) => {
        const { admitted, limiter, time } = startLimiter(limit)
        admitted('key', limit.count)
        time.nowMs += laterMs
        admitted('key', limit.count)

        const seconds = limiter.admit('key')
        time.nowMs += seconds * 1000

        expect(seconds).toBeGreaterThan(0)
        expect(limiter.admit('key')).toBe(0)
      }),
      { numRuns: 50 },
    )
  })
})

test('over no stretch of time do more pass than at once and evenly afterwards', () => {
  const steps = fc.array(fc.tuple(fc.nat({ max: 700 }), fc.integer({ min: 1, max: 4 })), {
    maxLength: 60,
    size: 'max',
  })
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 7 }), steps, (count, moves) => {
      const { admitted, time } = startLimiter({ count, window_s: 1 })
      const passed: number[] = []
      for (const [laterMs, tries] of moves) {
        time.nowMs += laterMs
        for (let i = admitted('key', tries); i > 0; i--) passed.push(time.nowMs)
      }

      for (const [from, fromMs] of passed.entries()) {
        for (const [to, toMs] of passed.entries()) {
          const most = count + ((toMs - fromMs) * count) / 1000
          if (to >= from) expect(to - from + 1).toBeLessThanOrEqual(most)
        }
      }
    }),
  )
})

describe('memory', () => {
  test('a key that went quiet is forgotten, one that did not is kept', () => {
    const { admitted, limiter, time } = startLimiter({ count: 2, window_s: 10 })
    admitted('quiet', 1)
    admitted('busy', 2)
    time.nowMs += 5000

    limiter.sweep()

    expect(limiter.size).toBe(1)
    expect(admitted('busy', 2)).toBe(1)
  })

  test('sweeping changes no answer', () => {
    const keys = fc.constantFrom('a', 'b', 'c')
    const steps = fc.array(fc.tuple(keys, fc.nat({ max: 400 }), fc.boolean()), {
      maxLength: 80,
      size: 'max',
    })
    fc.assert(
      fc.property(steps, (moves) => {
        const swept = startLimiter({ count: 3, window_s: 1 })
        const kept = startLimiter({ count: 3, window_s: 1 })
        for (const [key, laterMs, sweeps] of moves) {
          swept.time.nowMs += laterMs
          kept.time.nowMs += laterMs
          if (sweeps) swept.limiter.sweep()

          expect(swept.limiter.admit(key)).toBe(kept.limiter.admit(key))
        }
      }),
    )
  })

  test('a full table remembers no further key, and lets all of them together through as one', () => {
    const { admitted, limiter } = startLimiter({ count: 5, window_s: 60 }, 2)
    admitted('one', 1)
    admitted('two', 1)

    let others = 0
    for (let i = 0; i < 100; i++) others += admitted(`other ${i}`, 1)

    expect(others).toBe(5)
    expect(limiter.size).toBe(2)
  })

  test('a full table takes nothing from the keys that have their place', () => {
    const { admitted } = startLimiter({ count: 5, window_s: 60 }, 2)
    admitted('one', 1)
    admitted('two', 1)
    for (let i = 0; i < 100; i++) admitted(`other ${i}`, 1)

    expect(admitted('one', 9)).toBe(4)
    expect(admitted('two', 9)).toBe(4)
  })

  test('a place that was swept is given to the next key', () => {
    const { admitted, limiter, time } = startLimiter({ count: 5, window_s: 60 }, 1)
    admitted('one', 5)
    admitted('other', 5)
    time.nowMs += 60_000
    limiter.sweep()

    expect(admitted('another', 9)).toBe(5)
    expect(limiter.size).toBe(1)
  })
})

describe('a clock that is set back', () => {
  test('lets nobody through who would have to wait', () => {
    const { admitted, time } = startLimiter({ count: 3, window_s: 10 })
    admitted('key', 3)

    time.nowMs -= 3_600_000

    expect(admitted('key', 5)).toBe(0)
  })

  test('makes nobody wait for longer', () => {
    const { admitted, limiter, time } = startLimiter({ count: 1, window_s: 10 })
    admitted('key', 1)
    time.nowMs -= 3_600_000
    expect(limiter.admit('key')).toBe(10)

    time.nowMs += 10_000

    expect(limiter.admit('key')).toBe(0)
  })

  test('makes nothing forgotten', () => {
    const { admitted, limiter, time } = startLimiter({ count: 3, window_s: 10 })
    admitted('key', 3)
    time.nowMs -= 3_600_000

    limiter.sweep()

    expect(admitted('key', 5)).toBe(0)
  })
})
