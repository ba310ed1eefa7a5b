// Figures for Prometheus. The data plane counts in plain numbers; they are read when somebody asks.

import { Counter, collectDefaultMetrics, Gauge, type Metric, Registry } from 'prom-client'
import type { WatchedCertificate } from './certificates.ts'

/** What the data plane counts, as this file needs to see it. */
export type CountedByProxy = {
  readonly requests: ReadonlyMap<string, number>
  readonly durationCounts: readonly number[]
  readonly durationSumSeconds: number
  readonly reveals: number
  readonly substitutions: number
  readonly redactions: number
  readonly retries: number
  readonly replays: number
  readonly captures: number
  readonly inFlight: number
}

/** What is asked of those that are in memory, so that there are never more of them than are used. */
export type Watched = {
  readonly certificates: () => readonly WatchedCertificate[]
  readonly breakers: () => readonly { readonly destination: string; readonly isOpen: boolean }[]
}

export function createMetrics(
  proxy: CountedByProxy,
  durationBounds: readonly number[],
  version: string,
  watched: Watched,
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
  counter(
    'sallyport_redactions_total',
    'Places that were masked in answers.',
    () => proxy.redactions,
  )
  counter(
    'sallyport_proxy_retries_total',
    'Requests sent once more because a kept-alive connection had been closed.',
    () => proxy.retries,
  )
  counter('sallyport_idempotent_replays_total', 'Stored answers given again.', () => proxy.replays)
  counter(
    'sallyport_captures_total',
    'Values of answers that were kept with a payment method.',
    () => proxy.captures,
  )

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

  new Gauge({
    name: 'sallyport_certificate_expiry_timestamp_seconds',
    help: 'When certificates expire: of destinations in use (client, ca, server) and of our own port (listener).',
    labelNames: ['destination', 'kind'],
    registers,
    collect() {
      this.reset()
      for (const { destination, kind, expiresAtMs } of watched.certificates()) {
        const labels = destination === undefined ? { kind } : { destination, kind }
        this.set(labels, expiresAtMs / 1000)
      }
    },
  })
  new Gauge({
    name: 'sallyport_breaker_open',
    help: '1 while requests to a destination are refused because it is down, but for one that tries.',
    labelNames: ['destination'],
    registers,
    collect() {
      this.reset()
      for (const { destination, isOpen } of watched.breakers()) {
        this.set({ destination }, isOpen ? 1 : 0)
      }
    },
  })

  registry.registerMetric(
    filledHistogram(
      'sallyport_proxy_request_duration_seconds',
      'Time a proxied request took, the destination included.',
      durationBounds,
      proxy,
    ),
  )
  return registry
}

/** prom-client's own histogram can only observe one value at a time; this one shows counts that are kept elsewhere. */
function filledHistogram(
  name: string,
  help: string,
  bounds: readonly number[],
  counted: CountedByProxy,
): Metric {
  const get = async () => {
    let count = 0
    const buckets = counted.durationCounts.map((inBucket, index) => {
      count += inBucket
      return { labels: { le: bounds[index] ?? '+Inf' }, value: count, metricName: `${name}_bucket` }
    })
    const sum = { labels: {}, value: counted.durationSumSeconds, metricName: `${name}_sum` }
    const total = { labels: {}, value: count, metricName: `${name}_count` }
    return { name, help, type: 'histogram', values: [...buckets, sum, total], aggregator: 'sum' }
  }
  // The registry asks a metric for nothing else; its type also wants what observes.
  return { name, help, get, reset() {}, collect() {} } as unknown as Metric
}
