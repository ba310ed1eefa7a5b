// Figures for Prometheus. The data plane counts in plain numbers; they are read when somebody asks.

import { Counter, collectDefaultMetrics, Gauge, type Metric, Registry } from 'prom-client'

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
