// The guards against card testing under a clock that is moved by hand, at the borders of their windows, and against a
// plain list of everything that happened.

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  CardTestingGuard,
  type CardTestingSettings,
} from '../../../src/proxy/guards/card-testing.ts'

function startGuard(settings: CardTestingSettings) {
  const time = { nowMs: 1_800_000_000_000 }
  const guard = new CardTestingGuard(settings, () => time.nowMs)
  return { guard, time }
}

const startDistinct = (count: number, window_s = 60) =>
  startGuard({ distinct_payment_methods_per_key: { count, window_s } })

const startDeclines = (count: number, window_s = 60) =>
  startGuard({ declines_per_key: { count, window_s } })

describe('different payment methods', () => {
  test('pass up to the count, and the next is refused', () => {
    const { guard } = startDistinct(2)

    expect(guard.admit('key', ['pm_1'])).toBe(0)
    expect(guard.admit('key', ['pm_2'])).toBe(0)
    expect(guard.admit('key', ['pm_3'])).toBe(60)
  })

  test('that were used within the window still pass when there is room for no other', () => {
    const { guard } = startDistinct(2)
    guard.admit('key', ['pm_1'])
    guard.admit('key', ['pm_2'])
    guard.admit('key', ['pm_3'])

    expect(guard.admit('key', ['pm_1'])).toBe(0)
    expect(guard.admit('key', ['pm_2', 'pm_1'])).toBe(0)
  })

  test('are counted for each key', () => {
    const { guard } = startDistinct(1)
    guard.admit('key', ['pm_1'])

    expect(guard.admit('other', ['pm_2'])).toBe(0)
  })

  test('make room a window after their last use, to the millisecond', () => {
    const { guard, time } = startDistinct(1, 60)
    guard.admit('key', ['pm_1'])
    time.nowMs += 30_000
    guard.admit('key', ['pm_1'])

    time.nowMs += 59_999
    expect(guard.admit('key', ['pm_2'])).toBe(1)

    time.nowMs += 1
    expect(guard.admit('key', ['pm_2'])).toBe(0)
  })

  test('make room time and again', () => {
    const { guard, time } = startDistinct(1, 60)

    for (const token of ['pm_1', 'pm_2', 'pm_3', 'pm_1']) {
      expect(guard.admit('key', [token])).toBe(0)
      time.nowMs += 60_000
    }
  })

  test('that made room are new when they come again', () => {
    const { guard, time } = startDistinct(1, 60)
    guard.admit('key', ['pm_1'])
    time.nowMs += 60_000
    guard.admit('key', ['pm_2'])

    expect(guard.admit('key', ['pm_1'])).toBe(60)
  })

  test('make room in the order of their last use', () => {
    const { guard, time } = startDistinct(2, 60)
    guard.admit('key', ['pm_1'])
    time.nowMs += 1000
    guard.admit('key', ['pm_2'])
    time.nowMs += 1000
    guard.admit('key', ['pm_1'])

    expect(guard.admit('key', ['pm_3'])).toBe(59)
    time.nowMs += 59_000
    expect(guard.admit('key', ['pm_3'])).toBe(0)
    expect(guard.admit('key', ['pm_2'])).toBe(1)
    expect(guard.admit('key', ['pm_1'])).toBe(0)
  })

  test('of one request are counted all or not at all', () => {
    const { guard } = startDistinct(3)
    guard.admit('key', ['pm_1', 'pm_2'])

    expect(guard.admit('key', ['pm_1', 'pm_3', 'pm_4'])).toBe(60)

    expect(guard.admit('key', ['pm_5'])).toBe(0)
  })

  test('are told when as many as a request needs have made room', () => {
    const { guard, time } = startDistinct(3, 60)
    for (const token of ['pm_1', 'pm_2', 'pm_3']) {
      guard.admit('key', [token])
      time.nowMs += 10_000
    }

    expect(guard.admit('key', ['pm_4'])).toBe(30)
    expect(guard.admit('key', ['pm_4', 'pm_5'])).toBe(40)
    expect(guard.admit('key', ['pm_4', 'pm_5', 'pm_6'])).toBe(50)
  })

  test('that stand in one request twice are one', () => {
    const { guard } = startDistinct(2)

    expect(guard.admit('key', ['pm_1', 'pm_1', 'pm_1'])).toBe(0)
    expect(guard.admit('key', ['pm_2', 'pm_2', 'pm_1'])).toBe(0)
  })

  test('more of which stand in one request than are allowed never pass', () => {
    const { guard, time } = startDistinct(2, 60)

    for (let i = 0; i < 3; i++) {
      expect(guard.admit('key', ['pm_1', 'pm_2', 'pm_3'])).toBe(60)
      time.nowMs += 60_000
    }
  })

  test('that were refused do not keep others out for longer', () => {
    const { guard, time } = startDistinct(1, 60)
    guard.admit('key', ['pm_1'])
    time.nowMs += 59_000
    guard.admit('key', ['pm_2'])
    guard.admit('key', ['pm_1', 'pm_2'])

    time.nowMs += 1000

    expect(guard.admit('key', ['pm_3'])).toBe(0)
  })

  test('are not counted for requests that reveal nothing', () => {
    const { guard } = startDistinct(1)
    guard.admit('key', ['pm_1'])

    expect(guard.admit('key', [])).toBe(0)
  })
})

describe('declines', () => {
  test('up to one less than the count change nothing', () => {
    const { guard } = startDeclines(3)
    guard.onDecline('key')
    guard.onDecline('key')

    expect(guard.admit('key', ['pm_1'])).toBe(0)
  })

  test('as many as the count stop what reveals, known or not', () => {
    const { guard } = startDeclines(2)
    guard.admit('key', ['pm_1'])
    guard.onDecline('key')
    guard.onDecline('key')

    expect(guard.admit('key', ['pm_1'])).toBe(60)
    expect(guard.admit('key', ['pm_2'])).toBe(60)
  })

  test('do not stop what reveals nothing', () => {
    const { guard } = startDeclines(1)
    guard.onDecline('key')

    expect(guard.admit('key', [])).toBe(0)
  })

  test('are counted for each key', () => {
    const { guard } = startDeclines(1)
    guard.onDecline('key')

    expect(guard.admit('other', ['pm_1'])).toBe(0)
  })

  test('count until a window after they happened, to the millisecond', () => {
    const { guard, time } = startDeclines(2, 60)
    guard.onDecline('key')
    time.nowMs += 10_000
    guard.onDecline('key')

    time.nowMs += 49_999
    expect(guard.admit('key', ['pm_1'])).toBe(1)

    time.nowMs += 1
    expect(guard.admit('key', ['pm_1'])).toBe(0)
  })

  test('of requests that were in flight prolong it', () => {
    const { guard, time } = startDeclines(2, 60)
    guard.onDecline('key')
    guard.onDecline('key')
    time.nowMs += 30_000

    guard.onDecline('key')
    guard.onDecline('key')

    expect(guard.admit('key', ['pm_1'])).toBe(60)
  })

  test('may be as few as one', () => {
    const { guard, time } = startDeclines(1, 60)
    guard.onDecline('key')
    expect(guard.admit('key', ['pm_1'])).toBe(60)

    time.nowMs += 60_000

    expect(guard.admit('key', ['pm_1'])).toBe(0)
  })
})

describe('the two together', () => {
  const both = {
    distinct_payment_methods_per_key: { count: 1, window_s: 10 },
    declines_per_key: { count: 1, window_s: 60 },
  }

  test('either refuses', () => {
    const { guard } = startGuard(both)
    guard.admit('key', ['pm_1'])

    expect(guard.admit('key', ['pm_2'])).toBe(10)
    guard.onDecline('key')
    expect(guard.admit('key', ['pm_1'])).toBe(60)
  })

  test('a payment method that was refused for declines is not counted', () => {
    const { guard, time } = startGuard(both)
    guard.onDecline('key')
    time.nowMs += 59_000
    guard.admit('key', ['pm_1'])
    time.nowMs += 1000

    expect(guard.admit('key', ['pm_2'])).toBe(0)
  })

  test('without either everything passes, and nothing is remembered', () => {
    const { guard } = startGuard({})

    for (let i = 0; i < 100; i++) {
      expect(guard.admit('key', [`pm_${i}`])).toBe(0)
      guard.onDecline('key')
    }

    expect(guard.size).toBe(0)
  })
})

describe('memory', () => {
  const both = {
    distinct_payment_methods_per_key: { count: 2, window_s: 60 },
    declines_per_key: { count: 2, window_s: 60 },
  }

  test('a key is forgotten when its last use and its last decline are a window ago', () => {
    const { guard, time } = startGuard(both)
    guard.admit('key', ['pm_1'])
    guard.onDecline('key')
    time.nowMs += 59_999
    guard.sweep()
    expect(guard.size).toBe(2)

    time.nowMs += 1
    guard.sweep()

    expect(guard.size).toBe(0)
  })

  test('a key is kept for what is within the window', () => {
    const { guard, time } = startGuard(both)
    guard.admit('key', ['pm_1'])
    guard.onDecline('key')
    time.nowMs += 40_000
    guard.admit('key', ['pm_2'])
    guard.onDecline('key')
    time.nowMs += 20_000

    guard.sweep()

    expect(guard.size).toBe(2)
    expect(guard.admit('key', ['pm_3'])).toBe(0)
    expect(guard.admit('key', ['pm_4'])).toBe(40)
  })
})

describe('a clock that is set back', () => {
  test('lets nothing pass that was refused before', () => {
    const { guard, time } = startGuard({
      distinct_payment_methods_per_key: { count: 1, window_s: 60 },
      declines_per_key: { count: 1, window_s: 60 },
    })
    guard.admit('other', ['pm_1'])
    guard.onDecline('key')

    time.nowMs -= 3_600_000
    guard.sweep()

    expect(guard.admit('key', ['pm_1'])).toBeGreaterThan(0)
    expect(guard.admit('other', ['pm_2'])).toBeGreaterThan(0)
  })
})

test('at any time the guards refuse exactly what a list of everything that happened says', () => {
  const WINDOW_MS = 3000
  const tokens = fc.array(fc.constantFrom('a', 'b', 'c', 'd', 'e'), { minLength: 1, maxLength: 3 })
  const acts = fc.oneof(
    fc.record({ kind: fc.constant('use' as const), tokens }),
    fc.record({ kind: fc.constant('decline' as const) }),
    fc.record({ kind: fc.constant('sweep' as const) }),
  )
  const steps = fc.array(fc.tuple(fc.nat({ max: 1500 }), acts), { maxLength: 100, size: 'max' })
  const counts = fc.integer({ min: 1, max: 4 })
  fc.assert(
    fc.property(counts, counts, steps, (distinct, declined, moves) => {
      const { guard, time } = startGuard({
        distinct_payment_methods_per_key: { count: distinct, window_s: WINDOW_MS / 1000 },
        declines_per_key: { count: declined, window_s: WINDOW_MS / 1000 },
      })
      const uses: { token: string; ms: number }[] = []
      const declines: number[] = []
      for (const [laterMs, act] of moves) {
        time.nowMs += laterMs
        const isRecent = (ms: number) => time.nowMs - ms < WINDOW_MS
        if (act.kind === 'sweep') guard.sweep()
        else if (act.kind === 'decline') {
          declines.push(time.nowMs)
          guard.onDecline('key')
        } else {
          const used = new Set(uses.filter(({ ms }) => isRecent(ms)).map(({ token }) => token))
          const isKnown = act.tokens.every((token) => used.has(token))
          const isDeclined = declines.filter(isRecent).length >= declined
          const isTooMany = !isKnown && used.union(new Set(act.tokens)).size > distinct

          const seconds = guard.admit('key', act.tokens)

          expect(seconds > 0).toBe(isDeclined || isTooMany)
          expect(seconds).toBeLessThanOrEqual(WINDOW_MS / 1000)
          if (seconds === 0) for (const token of act.tokens) uses.push({ token, ms: time.nowMs })
        }
      }
    }),
    { numRuns: 200 },
  )
})
