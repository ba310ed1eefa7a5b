// The benchmark's load, against a real upstream: it finds what is wrong, and hides no stall.

import { describe, expect, test } from 'vitest'
import { expectBodies, measure, startLoad, type Workload } from '../../bench/load.ts'
import { prepareDirect } from '../../bench/prepare.ts'
import { measureSteadily } from '../../bench/steady-rate.ts'
import { ANSWER, type AnswerOtherwise, answerBytes, startUpstream } from '../../bench/upstream.ts'

const NO_USAGE = async () => ({ cpuUs: 0, rssBytes: 0 })

async function directly<T>(
  work: (upstream: Awaited<ReturnType<typeof startUpstream>>, direct: Workload) => Promise<T>,
  answerOtherwise: AnswerOtherwise = () => false,
): Promise<T> {
  const upstream = await startUpstream({ answerOtherwise })
  try {
    return await work(upstream, prepareDirect(upstream))
  } finally {
    upstream.close()
  }
}

const short = { warmUpS: 0.05, windowS: 0.2 }

describe('a closed loop', () => {
  test('counts what was answered', async () => {
    const figures = await directly((upstream, direct) =>
      measure(direct, () => startLoad(direct, 4), upstream, NO_USAGE, short),
    )
    expect(figures.requests).toBeGreaterThan(10)
    expect(figures.p50Ms).toBeGreaterThan(0)
  })

  test('one wrong answer ends it', async () => {
    let answers = 0
    const wrongAtLast: AnswerOtherwise = (_path, socket) => {
      answers += 1
      if (answers !== 50) return false
      socket.write(answerBytes(ANSWER.replace('Authorized', 'Declined!!')))
      return true
    }
    await expect(
      directly(
        (upstream, direct) =>
          measure(direct, () => startLoad(direct, 4), upstream, NO_USAGE, short),
        wrongAtLast,
      ),
    ).rejects.toThrow('an answer was wrong')
  })

  test('one wrong body at the upstream ends it', async () => {
    let bodies = 0
    await expect(
      directly((upstream, direct) => {
        const isExpected = (body: Buffer) => {
          bodies += 1
          return bodies !== 50 && direct.isExpected(body)
        }
        const workload = { ...direct, isExpected }
        return measure(workload, () => startLoad(workload, 4), upstream, NO_USAGE, short)
      }),
    ).rejects.toThrow('bodies were wrong')
  })

  test('answers to requests that never arrived are noticed', async () => {
    await directly(async (upstream, direct) => {
      upstream.expect(direct.isExpected)
      expect(() => expectBodies(upstream, direct, 1)).toThrow('0 requests at the upstream')
    })
  })
})

describe('a steady rate', () => {
  test('everything that was due in a stall is late by what was left of it', async () => {
    const STALL_MS = 400
    const RATE = 500
    let stallEndsMs: number | undefined
    // From half a second after the window began, nothing is answered for a while.
    const stalling: AnswerOtherwise = (_path, socket) => {
      const nowMs = performance.now()
      stallEndsMs ??= nowMs + 1500 + STALL_MS
      if (nowMs < stallEndsMs - STALL_MS || nowMs >= stallEndsMs) return false
      setTimeout(() => socket.write(answerBytes(ANSWER)), stallEndsMs - nowMs)
      return true
    }
    const { durationsMs, requests } = await directly(
      (upstream, direct) =>
        measureSteadily({ ...direct, reachesUpstream: false }, upstream, undefined, {
          rate: RATE,
          warmUpS: 0,
          windowS: 1.5,
        }),
      stalling,
    )
    expect(Math.abs(requests - 1.5 * RATE)).toBeLessThanOrEqual(1)
    // A loop that waits for its answers would have sent 64 in that time, one on each connection.
    const late = durationsMs.filter((ms) => ms > STALL_MS / 4)
    expect(late.length).toBeGreaterThan(0.7 * (STALL_MS / 1000) * RATE)
    expect(Math.max(...durationsMs)).toBeGreaterThan(STALL_MS * 0.9)
  })
})
