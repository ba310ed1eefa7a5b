// The pictures of a report: well-formed, and with everything in them that was measured.

import { SaxesParser } from 'saxes'
import { describe, expect, test } from 'vitest'
import { PARTS } from '../../bench/breakdown.ts'
import { CASES } from '../../bench/cases.ts'
import { breakdownPicture, costPicture, latencyPicture } from '../../bench/pictures.ts'
import { DIRECT, makeReport, type Round, reportText } from '../../bench/report.ts'
import { resultsPage } from '../../bench/results.ts'

const MACHINE = {
  cpu: 'A & B <C>',
  cores: 2,
  memoryBytes: 8e9,
  kernel: 'linux 6',
  node: 'v26.10.0',
  commit: 'abc1234',
  loadAverage: [0.1, 0.2, 0.3],
  isPinned: true,
  contenders: ['one', 'two'],
}

const latencies = { p50Ms: 1, p90Ms: 2, p99Ms: 3, p999Ms: 4, maxMs: 5 }
const load = (cpuUsPerRequest: number) => ({
  ...latencies,
  requests: 1000,
  cpuUsPerRequest,
  requestsPerSecond: 1e6 / cpuUsPerRequest,
  rssBytes: 1e8,
  idleRssBytes: 9e7,
  busy: 0.9,
})
const steady = (ms: number) => ({
  ...latencies,
  p50Ms: ms,
  rate: 1000,
  requests: 1000,
  lateness: latencies,
  busy: 0.1,
  durationsMs: Array.from({ length: 1000 }, (_, i) => ms + i / 1000),
})
const round = (factor: number): Round => ({
  load: new Map([
    ['pass-through', load(50 * factor)],
    ['detokenize', load(60 * factor)],
    ['http-proxy', load(100 * factor)],
  ]),
  steady: new Map([
    [DIRECT, steady(0.1)],
    ['detokenize', steady(0.3 * factor)],
  ]),
})
const report = makeReport(MACHINE, CASES, [round(1), round(1.2)], {
  streamMemory: undefined,
  leftOut: ['Left out: x.'],
})

function textsOf(svg: string): string[] {
  const texts: string[] = []
  const parser = new SaxesParser()
  parser.on('text', (text) => texts.push(text.trim()))
  parser.on('error', (error) => {
    throw error
  })
  parser.write(svg).close()
  return texts
}

describe('a report', () => {
  test('ratios are within a round, so a slower second round changes none', () => {
    expect(report.cases.find(({ name }) => name === 'detokenize')?.ratio).toMatchObject({
      to: 'http-proxy',
      median: 0.6,
      min: 0.6,
      max: 0.6,
    })
  })

  test('added latency is the difference to the direct call of the same round', () => {
    const added = report.steady.find(({ name }) => name === 'detokenize')?.added?.p50Ms
    expect(added?.min).toBeCloseTo(0.2)
    expect(added?.max).toBeCloseTo(0.26)
  })

  test('what was left out is said', () => {
    expect(reportText(report)).toContain('Left out: x.')
    expect(resultsPage(report, { rounds: 2, windowS: 4, steadyS: 4 }, ['cost.svg'])).toContain(
      '![Processor time for one proxied request, by contender](pictures/cost.svg)',
    )
  })
})

describe('pictures', () => {
  test('the cost of every contender, the cheapest first', () => {
    const texts = textsOf(costPicture(report) ?? '')
    const costs = texts.filter((text) => text.includes(' µs · '))
    expect(costs).toEqual(['55.0 µs · 18,333/s', '66.0 µs · 15,278/s', '110.0 µs · 9,167/s'])
    expect(texts.some((text) => text.includes('A & B <C>'))).toBe(true)
  })

  test('the latency of every case that was measured, and of the direct call', () => {
    const texts = textsOf(latencyPicture(report) ?? '')
    expect(texts).toContain('direct call')
    expect(texts).toContain('Sallyport, detokenizing')
    expect(texts).toContain('p99')
  })

  test('every part of the cost', () => {
    const shares = {
      server: 0.3,
      egress: 0.3,
      scan: 0.1,
      vault: 0.1,
      audit: 0.1,
      guard: 0.05,
      exchange: 0.03,
      runtime: 0.02,
    }
    const texts = textsOf(
      breakdownPicture([
        { title: 'Sallyport, pass-through', cpuUsPerRequest: 50, shares },
        { title: 'Sallyport, detokenizing', cpuUsPerRequest: 70, shares },
      ]),
    )
    for (const title of Object.values(PARTS)) expect(texts).toContain(title)
    expect(texts).toContain('15.0 → 21.0 µs')
  })

  test('there is none of nothing', () => {
    const empty = makeReport(MACHINE, CASES, [], { streamMemory: undefined, leftOut: [] })
    expect(costPicture(empty)).toBeUndefined()
    expect(latencyPicture(empty)).toBeUndefined()
  })
})
