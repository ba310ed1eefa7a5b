// One measured window: connections that each send their next request as soon as they have their answer, and what that
// cost the contender. Closed loop: latencies are those of a busy proxy, not of a steady rate (steady-rate.ts).

import { type Caller, Connection, openSocket, type Target } from './connection.ts'
import type { Usage } from './peers/announce.ts'
import { type Latencies, latenciesOf } from './quantiles.ts'
import type { Upstream } from './upstream.ts'

const RESPONSE_TIMEOUT_MS = 10_000
const WATCH_MS = 1000
/** Connections are made this many at a time: more would overrun the queue of a listener. */
const CONNECTING = 64

/** What a case sends, and what has to come of it. */
export type Workload = {
  readonly target: Target
  readonly newCaller: () => Caller
  /** Whether this is what the upstream has to get. */
  readonly isExpected: (body: Buffer) => boolean
  /** False where nothing goes to the upstream. */
  readonly reachesUpstream: boolean
  /** Where every request is the same, and its answer. */
  readonly same: { readonly request: Buffer; readonly answer: Buffer } | undefined
}

export type Figures = Latencies & {
  readonly requests: number
  readonly cpuUsPerRequest: number
  readonly requestsPerSecond: number
  readonly rssBytes: number
  /** Before the first request. */
  readonly idleRssBytes: number
  /** Share of the window that the contender's core was at work for it. */
  readonly busy: number
}

export type Times = { readonly warmUpS: number; readonly windowS: number }

export interface Load {
  /** Of the answers since the last call. */
  takeDurationsMs(): readonly number[]
  /** At most so many requests got no answer because it was stopped. */
  readonly abandoned: number
  /** Lets what is under way end. Throws when a single answer was wrong or missing. */
  stop(): Promise<void>
  /** Rejects as soon as something is wrong. */
  readonly failed: Promise<never>
}

export async function startLoad(
  { target, newCaller }: Pick<Workload, 'target' | 'newCaller'>,
  count: number,
): Promise<Load> {
  let durationsMs: number[] = []
  let isStopping = false
  let underWay = 0
  const { promise: drained, resolve: drain } = Promise.withResolvers<void>()
  const { promise: failed, reject: fail } = Promise.withResolvers<never>()
  failed.catch(() => {}) // told by whoever waits, or by `stop`
  const connections: Connection[] = []

  const listener = {
    onAnswer(connection: Connection, wrong: string | undefined) {
      if (wrong !== undefined) {
        fail(new Error(`an answer was wrong: ${wrong}`))
        return
      }
      durationsMs.push(performance.now() - (connection.sentAtMs as number))
      if (!isStopping) {
        connection.send()
        return
      }
      connection.sentAtMs = undefined
      underWay -= 1
      if (underWay === 0) drain()
    },
    onEnd(why: string) {
      fail(new Error(why))
    },
  }
  const watch = setInterval(() => {
    const oldest = performance.now() - RESPONSE_TIMEOUT_MS
    if (connections.some(({ sentAtMs }) => sentAtMs !== undefined && sentAtMs < oldest)) {
      fail(new Error(`no answer in ${RESPONSE_TIMEOUT_MS / 1000} s`))
    }
  }, WATCH_MS)

  const close = () => {
    clearInterval(watch)
    for (const connection of connections) connection.close()
  }
  try {
    while (connections.length < count) {
      const now = Math.min(CONNECTING, count - connections.length)
      const sockets = await Promise.all(Array.from({ length: now }, () => openSocket(target)))
      for (const socket of sockets) connections.push(new Connection(socket, newCaller(), listener))
    }
  } catch (error) {
    close()
    throw error
  }
  underWay = count
  for (const connection of connections) connection.send()

  return {
    failed,
    abandoned: 0,
    takeDurationsMs() {
      const taken = durationsMs
      durationsMs = []
      return taken
    },
    async stop() {
      isStopping = true
      try {
        await Promise.race([drained, failed])
      } finally {
        close()
      }
    },
  }
}

/** `start`s the load. Throws when a single answer or body was wrong. */
export async function measure(
  workload: Workload,
  start: () => Promise<Load>,
  upstream: Upstream,
  usage: () => Promise<Usage>,
  times: Times,
): Promise<Omit<Figures, 'idleRssBytes'>> {
  upstream.expect(workload.isExpected)
  const load = await start()
  let answers = 0
  try {
    await Promise.race([seconds(times.warmUpS), load.failed])
    const before = await usage()
    const startMs = performance.now()
    answers += load.takeDurationsMs().length
    await Promise.race([seconds(times.windowS), load.failed])
    const after = await usage()
    const windowUs = (performance.now() - startMs) * 1000
    const durationsMs = load.takeDurationsMs()
    await load.stop()
    answers += durationsMs.length + load.takeDurationsMs().length
    expectBodies(upstream, workload, answers, load.abandoned)
    if (durationsMs.length === 0) throw new Error('there was no answer in the window')
    const cpuUs = after.cpuUs - before.cpuUs
    return {
      requests: durationsMs.length,
      cpuUsPerRequest: cpuUs / durationsMs.length,
      requestsPerSecond: (durationsMs.length / windowUs) * 1e6,
      ...latenciesOf(durationsMs),
      rssBytes: after.rssBytes,
      busy: cpuUs / windowUs,
    }
  } catch (error) {
    await load.stop().catch(() => {}) // it has failed already, or will when its contender ends
    throw error
  }
}

/** Throws unless every answer was to a request that the upstream got, with the right body. */
export function expectBodies(
  { requests, wrongBodies }: Pick<Upstream, 'requests' | 'wrongBodies'>,
  { reachesUpstream }: Pick<Workload, 'reachesUpstream'>,
  answers: number,
  abandoned = 0,
): void {
  if (wrongBodies > 0) throw new Error(`${wrongBodies} of ${requests} bodies were wrong`)
  if (reachesUpstream && (requests < answers || requests > answers + abandoned)) {
    throw new Error(`${requests} requests at the upstream for ${answers} answers`)
  }
}

export const seconds = (count: number) =>
  new Promise<void>((resolve) => setTimeout(resolve, count * 1000))
