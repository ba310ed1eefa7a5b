// Figures for Prometheus. The data plane counts in plain numbers; they are read when somebody asks.

import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client'

/** What the data plane counts, as this file needs to see it. */
export type CountedByProxy = {
  readonly requests: ReadonlyMap<string, number>
  readonly durationCounts: readonly number[]
  readonly durationSumSeconds: number
  readonly reveals: number
  readonly substitutions: number
  readonly inFlight: number
}

export function createMetrics(
  proxy: CountedByProxy,
  durationBounds: readonly number[],
  version: string,
): Registry {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry })
  const registers = [registry]

  new Gauge({
    name: 'sallyport_build_info',
    help: 'Always 1; the label is the version.',
    labelNames: ['version'],
    registers,
  }).set({ version }, 1)

  const counter = (name: string, help: string, value: () => number) =>
    new Counter({
      name,
      help,
      registers,
      collect() {
        this.reset()
        this.inc(value())
      },
    })
  counter('sallyport_reveals_total', 'Payment methods revealed.', () => proxy.reveals)
  counter('sallyport_substitutions_total', 'Placeholders replaced.', () => proxy.substitutions)

  new Counter({
    name: 'sallyport_proxy_requests_total',
    help: 'Proxied requests by outcome: class of status of the destination, or our reason.',
    labelNames: ['outcome'],
    registers,
    collect() {
      this.reset()
      for (const [outcome, count] of proxy.requests) this.inc({ outcome }, count)
    },
  })
  new Gauge({
    name: 'sallyport_proxy_in_flight',
    help: 'Proxied requests being worked on.',
    registers,
    collect() {
      this.set(proxy.inFlight)
    },
  })

  // A histogram that is filled elsewhere: prom-client's own can only observe one value at a time.
  new Gauge({
    name: 'sallyport_proxy_request_duration_seconds_bucket',
    help: 'Proxied requests by duration, cumulative.',
    labelNames: ['le'],
    registers,
    collect() {
      let sum = 0
      for (const [index, count] of proxy.durationCounts.entries()) {
        sum += count
        this.set({ le: String(durationBounds[index] ?? '+Inf') }, sum)
      }
    },
  })
  counter(
    'sallyport_proxy_request_duration_seconds_sum',
    'Seconds spent on proxied requests.',
    () => proxy.durationSumSeconds,
  )
  counter('sallyport_proxy_request_duration_seconds_count', 'Proxied requests.', () =>
    proxy.durationCounts.reduce((sum, count) => sum + count, 0),
  )
  return registry
}
