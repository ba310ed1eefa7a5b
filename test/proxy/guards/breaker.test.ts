// The breaker under a clock that is moved by hand: when it opens, who may probe, and that no result of an earlier
// time moves it.

import { describe, expect, test } from 'vitest'
import { Breaker, REFUSED } from '../../../src/proxy/guards/breaker.ts'

const OPEN_MS = 10_000

function startBreaker(failures = 3) {
  const time = { nowMs: 1_000_000 }
  const breaker = new Breaker({ failures, open_ms: OPEN_MS }, () => time.nowMs)
  const fail = (times: number) => {
    for (let i = 0; i < times; i++) breaker.onFailure(breaker.admit())
  }
  return { breaker, time, fail }
}

function startOpen() {
  const started = startBreaker(1)
  started.fail(1)
  return started
}

/** Open for long enough, with the one probe out. */
function startHalfOpen() {
  const started = startOpen()
  started.time.nowMs += OPEN_MS
  const probe = started.breaker.admit()
  return { ...started, probe }
}

describe('closed', () => {
  test('every request may go', () => {
    const { breaker, fail } = startBreaker(3)
    fail(2)

    expect(breaker.admit()).not.toBe(REFUSED)
    expect(breaker.state).toBe('closed')
  })

  test('the last of the failures in a row opens it', () => {
    const { breaker, fail } = startBreaker(3)

    fail(3)

    expect(breaker.state).toBe('open')
    expect(breaker.admit()).toBe(REFUSED)
  })

  test('a success between them begins a new row', () => {
    const { breaker, fail } = startBreaker(3)
    fail(2)
    breaker.onSuccess(breaker.admit())

    fail(2)

    expect(breaker.state).toBe('closed')
  })

  test('a request that ends without telling neither counts nor begins a new row', () => {
    const { breaker, fail } = startBreaker(3)
    fail(2)
    breaker.onUnknown(breaker.admit())
    expect(breaker.state).toBe('closed')

    fail(1)

    expect(breaker.state).toBe('open')
  })

  test('requests that were sent together count as they end', () => {
    const { breaker } = startBreaker(3)
    const admissions = [breaker.admit(), breaker.admit(), breaker.admit()]

    for (const admission of admissions) breaker.onFailure(admission)

    expect(breaker.state).toBe('open')
  })
})

describe('open', () => {
  test('requests are refused until open_ms have passed', () => {
    const { breaker, time } = startOpen()

    time.nowMs += OPEN_MS - 1
    expect(breaker.admit()).toBe(REFUSED)

    time.nowMs += 1
    expect(breaker.admit()).not.toBe(REFUSED)
    expect(breaker.state).toBe('half_open')
  })

  test('a clock that was set back does not hold it open', () => {
    const { breaker, time } = startOpen()

    time.nowMs -= 3_600_000

    expect(breaker.admit()).not.toBe(REFUSED)
  })

  test.each(['onSuccess', 'onFailure', 'onUnknown'] as const)(
    '%s of a request from before it opened changes nothing',
    (report) => {
      const { breaker, time, fail } = startBreaker(3)
      const late = breaker.admit()
      fail(3)

      time.nowMs += OPEN_MS - 1
      breaker[report](late)

      expect(breaker.state).toBe('open')
      expect(breaker.admit()).toBe(REFUSED)
      time.nowMs += 1
      expect(breaker.admit()).not.toBe(REFUSED)
    },
  )
})

describe('half open', () => {
  test('there is one probe at a time', () => {
    const { breaker, time } = startHalfOpen()

    time.nowMs += OPEN_MS * 10

    expect(breaker.admit()).toBe(REFUSED)
  })

  test('a probe that succeeds closes it', () => {
    const { breaker, probe } = startHalfOpen()

    breaker.onSuccess(probe)

    expect(breaker.state).toBe('closed')
    expect(breaker.admit()).not.toBe(REFUSED)
  })

  test('a probe that fails opens it for open_ms more', () => {
    const { breaker, time, probe } = startHalfOpen()
    time.nowMs += 5

    breaker.onFailure(probe)

    expect(breaker.state).toBe('open')
    time.nowMs += OPEN_MS - 1
    expect(breaker.admit()).toBe(REFUSED)
    time.nowMs += 1
    expect(breaker.admit()).not.toBe(REFUSED)
  })

  test('a probe that ends without telling lets the next request probe at once', () => {
    const { breaker, probe } = startHalfOpen()

    breaker.onUnknown(probe)

    expect(breaker.state).toBe('open')
    const next = breaker.admit()
    expect(next).not.toBe(REFUSED)
    expect(breaker.admit()).toBe(REFUSED)
    breaker.onSuccess(next)
    expect(breaker.state).toBe('closed')
  })

  test.each(['onSuccess', 'onFailure', 'onUnknown'] as const)(
    '%s of a request from before it opened is not taken for the probe’s',
    (report) => {
      const { breaker, time, fail } = startBreaker(3)
      const late = breaker.admit()
      fail(3)
      time.nowMs += OPEN_MS
      breaker.admit()

      breaker[report](late)

      expect(breaker.state).toBe('half_open')
      expect(breaker.admit()).toBe(REFUSED)
    },
  )

  test.each(['onSuccess', 'onFailure', 'onUnknown'] as const)(
    '%s of a probe that has ended is not taken for that of the next one',
    (report) => {
      const { breaker, time, probe } = startHalfOpen()
      breaker.onFailure(probe)
      time.nowMs += OPEN_MS
      breaker.admit()

      breaker[report](probe)

      expect(breaker.state).toBe('half_open')
    },
  )
})

describe('closed again', () => {
  test('failures of requests from before it opened do not open it', () => {
    const { breaker, time, fail } = startBreaker(3)
    const late = [breaker.admit(), breaker.admit(), breaker.admit()]
    fail(3)
    time.nowMs += OPEN_MS
    breaker.onSuccess(breaker.admit())

    for (const admission of late) breaker.onFailure(admission)

    expect(breaker.state).toBe('closed')
  })

  test('successes of requests from before it opened do not begin a new row', () => {
    const { breaker, time, fail } = startBreaker(3)
    const late = breaker.admit()
    fail(3)
    time.nowMs += OPEN_MS
    breaker.onSuccess(breaker.admit())
    fail(2)

    breaker.onSuccess(late)
    fail(1)

    expect(breaker.state).toBe('open')
  })

  test('a probe that is reported twice does not count again', () => {
    const { breaker, probe } = startHalfOpen()
    breaker.onSuccess(probe)

    breaker.onFailure(probe)

    expect(breaker.state).toBe('closed')
  })

  test('it takes as many failures as at first to open it', () => {
    const { breaker, time, fail } = startBreaker(3)
    fail(3)
    time.nowMs += OPEN_MS
    breaker.onSuccess(breaker.admit())

    fail(2)

    expect(breaker.state).toBe('closed')
  })
})

test('an outage is counted once, however many probes fail in it', () => {
  const { breaker, time } = startOpen()
  for (let i = 0; i < 3; i++) {
    time.nowMs += OPEN_MS
    breaker.onFailure(breaker.admit())
  }
  expect(breaker.openedCount).toBe(1)
  time.nowMs += OPEN_MS
  breaker.onSuccess(breaker.admit())

  breaker.onFailure(breaker.admit())

  expect(breaker.openedCount).toBe(2)
})
