// One measured window: 64 connections that each send their next request as soon as they have an answer, and what
// that cost the contender. Closed loop: latencies are those of a busy proxy, not of a steady rate.

import autocannon from 'autocannon'
import type { Usage } from './peers/announce.ts'
import { ANSWER, type Upstream } from './upstream.ts'

const CONNECTIONS = 64
const RESPONSE_TIMEOUT_S = 10
const STOP_POLL_MS = 100
const NEVER_S = 3600

/** In a request: another text each time it is sent. */
export const UNIQUE = '[<id>]'

export type LoadRequest = {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

export type Figures = {
  readonly requests: number
  readonly cpuUsPerRequest: number
  readonly requestsPerSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly rssBytes: number
  /** Share of the window that the contender's core was at work for it. */
  readonly busy: number
}

/** Throws when a single answer or body was wrong. */
export async function measure(
  request: LoadRequest,
  upstream: Upstream,
  usage: () => Promise<Usage>,
  times: { readonly warmUpS: number; readonly windowS: number },
): Promise<Figures> {
  let durationsMs: number[] = []
  const { promise: ended, resolve, reject } = Promise.withResolvers<autocannon.Result>()
  const run = autocannon(
    {
      url: request.url,
      method: 'POST',
      headers: { ...request.headers },
      body: request.body,
      connections: CONNECTIONS,
      duration: NEVER_S,
      sampleInt: STOP_POLL_MS,
      timeout: RESPONSE_TIMEOUT_S,
      idReplacement: Object.values(request.headers).includes(UNIQUE),
      expectBody: ANSWER,
    },
    (error, result) => (error === null ? resolve(result) : reject(error)),
  )
  run.on('response', (_client, _status, _bytes, durationMs) => {
    durationsMs.push(durationMs)
  })

  try {
    await seconds(times.warmUpS)
    const before = await usage()
    const startMs = performance.now()
    durationsMs = []
    await seconds(times.windowS)
    const after = await usage()
    const windowUs = (performance.now() - startMs) * 1000
    const inWindow = durationsMs.toSorted((a, b) => a - b)
    run.stop()

    const { errors, timeouts, non2xx, mismatches } = await ended
    if (
      errors + timeouts + non2xx + mismatches + upstream.wrongBodies > 0 ||
      inWindow.length === 0
    ) {
      throw new Error(
        `under load: ${errors} errors, ${timeouts} timeouts, ${non2xx} not 2xx, ${mismatches} wrong answers, ` +
          `${upstream.wrongBodies} wrong bodies, ${inWindow.length} answers`,
      )
    }
    const cpuUs = after.cpuUs - before.cpuUs
    return {
      requests: inWindow.length,
      cpuUsPerRequest: cpuUs / inWindow.length,
      requestsPerSecond: (inWindow.length / windowUs) * 1e6,
      p50Ms: quantile(inWindow, 0.5),
      p99Ms: quantile(inWindow, 0.99),
      rssBytes: after.rssBytes,
      busy: cpuUs / windowUs,
    }
  } finally {
    run.stop()
  }
}

const seconds = (count: number) => new Promise((resolve) => setTimeout(resolve, count * 1000))

const quantile = (sorted: readonly number[], share: number) =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
