// Time on a machine that has other things to do. Both ends of most connections, and the timers of both, are in the
// process of the test: what it got no turn for has nobody waited for, either.

import { setTimeout as sleep } from 'node:timers/promises'

const STEP_MS = 5

/**
 * For what comes a moment later, or must not come: so long, and a turn of the event loop for every ten milliseconds,
 * however late it comes here.
 */
export async function pause(ms: number): Promise<void> {
  const turns = Math.max(3, Math.ceil(ms / 10))
  for (let turn = 0; turn < turns; turn++) await sleep(ms / turns)
}

/** Milliseconds that an act took; those of them in which this process had its turn; and those in which it had not. */
export type Took = { readonly ms: number; readonly ownMs: number; readonly stalledMs: number }

/** What an act answers, and how long that takes. A turn that comes late counts as one that comes in time. */
export async function timed<T>(act: () => Promise<T>): Promise<Took & { readonly value: T }> {
  const startMark = performance.now()
  let lastMark = startMark
  let ownMs = 0
  const count = () => {
    const nowMark = performance.now()
    ownMs += Math.min(nowMark - lastMark, 2 * STEP_MS)
    lastMark = nowMark
  }
  const timer = setInterval(count, STEP_MS)
  try {
    const value = await act()
    count()
    const ms = lastMark - startMark
    return { value, ms, ownMs, stalledMs: ms - ownMs }
  } finally {
    clearInterval(timer)
  }
}

/** Time that is measured with `performance.now`, as whatever runs in this process sees it: it can be let pass at once. */
export function startMovableTime(): { pass(ms: number): void; stop(): void } {
  const now = performance.now
  let aheadMs = 0
  performance.now = () => now.call(performance) + aheadMs
  return {
    pass(ms) {
      aheadMs += ms
    },
    stop() {
      performance.now = now
    },
  }
}

/** Milliseconds of computing in this thread: what others do with the machine meanwhile is none of them. */
export function computedMs(): number {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1000
}
