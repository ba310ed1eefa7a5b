// Latency at a steady rate. Requests are due at even intervals whatever becomes of those before them, and a latency
// counts from when its request was due: when the proxy stalls, everything that was due meanwhile is late by that much,
// and says so. (A loop that waits for its answers would send nothing meanwhile and miss it: coordinated omission.)
//
// The generator never sleeps while it measures: a timer of Node's is up to a millisecond late, several times what is
// measured. Its own lateness is measured, too.

import { Connection, openSocket } from './connection.ts'
import { expectBodies, seconds, startLoad, type Workload } from './load.ts'
import type { Usage } from './peers/announce.ts'
import { type Latencies, latenciesOf } from './quantiles.ts'
import type { Upstream } from './upstream.ts'

const CONNECTIONS = 64
const START_IN_MS = 10
/** Not counted: connections and caches find their state at this rate. */
const SETTLE_S = 1
/** A contender that is this far behind will not catch up. */
const MAX_BEHIND_S = 30

export type SteadyFigures = Latencies & {
  readonly rate: number
  readonly requests: number
  /** How long after it was due a request was sent for which a connection was free. */
  readonly lateness: Latencies
  /** Share of its core; absent for direct calls. */
  readonly busy: number | undefined
  /** In the order they were due, for the picture; not a part of the report. */
  readonly durationsMs: readonly number[]
}

export type Schedule = {
  /** Due and not sent yet: when the oldest was due, which is taken; undefined when none is. */
  take(nowMs: number): number | undefined
}

/** Request n is due at `startMs + n / rate`, without the error of adding up. */
export function createSchedule(startMs: number, rate: number): Schedule {
  let sent = 0
  return {
    take(nowMs) {
      const dueMs = startMs + (sent * 1000) / rate
      if (dueMs > nowMs) return undefined
      sent += 1
      return dueMs
    },
  }
}

/** `usage`: of the contender; undefined when the upstream is called directly. */
export async function measureSteadily(
  workload: Workload,
  upstream: Upstream,
  usage: (() => Promise<Usage>) | undefined,
  options: { readonly rate: number; readonly warmUpS: number; readonly windowS: number },
): Promise<SteadyFigures> {
  await warmUp(workload, upstream, options.warmUpS)
  upstream.expect(workload.isExpected)
  const { promise: failed, reject: fail } = Promise.withResolvers<never>()
  failed.catch(() => {}) // told below
  const idle: Connection[] = []
  const dueAt = new Map<Connection, number>()
  const durationsMs: number[] = []
  const latenessMs: number[] = []
  let answers = 0
  /** When there was a connection again after there had been none. */
  let freeSinceMs = 0
  let countFromMs = 0

  const listener = {
    onAnswer(connection: Connection, wrong: string | undefined) {
      const nowMs = performance.now()
      const dueMs = dueAt.get(connection)
      if (wrong !== undefined || dueMs === undefined) {
        fail(new Error(`an answer was wrong: ${wrong ?? 'nothing was asked'}`))
        return
      }
      answers += 1
      dueAt.delete(connection)
      if (dueMs >= countFromMs) durationsMs.push(nowMs - dueMs)
      if (idle.length === 0) freeSinceMs = nowMs
      idle.push(connection)
    },
    onEnd(why: string) {
      fail(new Error(why))
    },
  }
  const connections: Connection[] = []
  let isOver = false
  try {
    for (let n = 0; n < CONNECTIONS; n++) {
      const socket = await openSocket(workload.target)
      connections.push(new Connection(socket, workload.newCaller(), listener))
    }
    idle.push(...connections)
    const startMs = performance.now() + START_IN_MS
    countFromMs = startMs + SETTLE_S * 1000
    const endMs = countFromMs + options.windowS * 1000
    const schedule = createSchedule(startMs, options.rate)
    const { promise: over, resolve: end } = Promise.withResolvers<void>()
    const turn = () => {
      const nowMs = performance.now()
      // The one that has rested longest comes first, so that all are used.
      for (let connection = idle[0]; connection !== undefined; connection = idle[0]) {
        const dueMs = schedule.take(Math.min(nowMs, endMs))
        if (dueMs === undefined) {
          if (nowMs >= endMs && dueAt.size === 0) end()
          break
        }
        idle.shift()
        if (dueMs >= countFromMs) {
          latenessMs.push(performance.now() - Math.max(dueMs, freeSinceMs))
        }
        dueAt.set(connection, dueMs)
        connection.send()
      }
      if (!isOver) setImmediate(turn)
    }
    const usageAt = async (ms: number) => {
      await seconds((ms - performance.now()) / 1000)
      return usage?.()
    }
    const used = Promise.all([usageAt(countFromMs), usageAt(endMs)])
    turn()
    await Promise.race([
      Promise.all([over, used]),
      failed,
      seconds((endMs - performance.now()) / 1000 + MAX_BEHIND_S).then(() => {
        throw new Error(
          `${options.rate} requests/s are more than the contender, or this machine, has time for`,
        )
      }),
    ])
    const [before, after] = await used
    expectBodies(upstream, workload, answers)
    return {
      rate: options.rate,
      requests: durationsMs.length,
      ...latenciesOf(durationsMs),
      lateness: latenciesOf(latenessMs),
      busy:
        before === undefined || after === undefined
          ? undefined
          : (after.cpuUs - before.cpuUs) / (options.windowS * 1e6),
      durationsMs,
    }
  } finally {
    isOver = true
    for (const connection of connections) connection.close()
  }
}

/** As fast as it goes: at a steady rate a contender would be compiled only after minutes. */
async function warmUp(workload: Workload, upstream: Upstream, warmUpS: number): Promise<void> {
  upstream.expect(workload.isExpected)
  const load = await startLoad(workload, CONNECTIONS)
  await Promise.race([seconds(warmUpS), load.failed])
  await load.stop()
}
