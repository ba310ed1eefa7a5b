// The pictures of a report: what a request costs each contender, how long it takes at a steady rate, and where our share
// of the cost goes.

import { type Breakdown, PARTS, type Part } from './breakdown.ts'
import { type CaseReport, count, DIRECT, type Report, type SteadyReport } from './report.ts'
import { bar, line, type Point, svg, type Tone, text } from './svg.ts'

const WIDTH = 860
const LEFT = 310
const RIGHT = 150
const TOP = 64
const ROW = 30
const BAR = 20

/** Undefined when fewer than two contenders were measured. */
export function costPicture({ cases, machine }: Report): string | undefined {
  const contenders = cases
    .filter(({ group }) => group === 'contenders')
    .toSorted((a, b) => a.median.cpuUsPerRequest - b.median.cpuUsPerRequest)
  if (contenders.length < 2) return undefined
  const most = Math.max(...contenders.map(({ median }) => median.cpuUsPerRequest))
  const scale = (WIDTH - LEFT - RIGHT) / most
  const rows = contenders.flatMap((each, n) => {
    const y = TOP + n * ROW
    const { cpuUsPerRequest, requestsPerSecond } = each.median
    const length = cpuUsPerRequest * scale
    const name = toneOf(each)
    return [
      text(LEFT - 10, y + 15, each.title, {
        anchor: 'end',
        ...(name === 'ours' ? { class: 'ours' } : {}),
      }),
      bar(LEFT, y, length, BAR, name),
      text(
        LEFT + length + 8,
        y + 15,
        `${cpuUsPerRequest.toFixed(1)} µs · ${count(requestsPerSecond)}/s`,
        { class: 'note' },
      ),
    ]
  })
  const height = TOP + contenders.length * ROW + 30
  return svg(WIDTH, height, 'Processor time for one proxied request, by contender', [
    text(20, 28, 'Processor time for one proxied request', { class: 'title' }),
    text(
      20,
      47,
      'user + system µs of the proxy on one core, shorter is better; and requests/s at full load. Payment of 600 bytes, 64 connections.',
      { class: 'note' },
    ),
    ...rows,
    text(20, height - 12, footer(machine), { class: 'note' }),
  ])
}

const toneOf = ({ peer }: Pick<CaseReport, 'peer'>): Tone =>
  peer === 'sallyport' ? 'ours' : peer === 'node-undici' ? 'floor' : 'other'

const footer = ({ cpu, cores, node, commit }: Report['machine']) =>
  `${cpu}, ${cores} cores, Node ${node}, commit ${commit}`

const PLOT = { left: 70, right: 240, top: 74, height: 330 }
const LABEL_PX = 16

/** From left to right ten times fewer requests are slower at each mark. Undefined when nothing was measured so. */
export function latencyPicture({ steady, machine }: Report): string | undefined {
  const curves = steady.filter(({ curve }) => curve.length > 1)
  const [first] = curves
  if (first === undefined) return undefined
  const nines = Math.max(...curves.map(({ curve }) => ninesOf(curve.at(-1)?.share ?? 0)))
  const values = curves.flatMap(({ curve }) => curve.map(({ ms }) => ms))
  const ticks = ticksAround(Math.min(...values), Math.max(...values))
  const low = ticks[0] as number
  const high = ticks.at(-1) as number
  const bottom = PLOT.top + PLOT.height
  const width = WIDTH - PLOT.left - PLOT.right
  const x = (share: number) => PLOT.left + (ninesOf(share) / nines) * width
  const y = (ms: number) =>
    bottom -
    ((Math.log10(ms) - Math.log10(low)) / (Math.log10(high) - Math.log10(low))) * PLOT.height

  const grid: string[] = []
  for (const ms of ticks) {
    grid.push(
      line(
        [
          [PLOT.left, y(ms)],
          [PLOT.left + width, y(ms)],
        ],
        'axis',
      ),
      text(PLOT.left - 8, y(ms) + 4, `${ms} ms`, { anchor: 'end', class: 'note' }),
    )
  }
  for (const [share, label] of [
    [0.5, 'p50'],
    [0.9, 'p90'],
    [0.99, 'p99'],
    [0.999, 'p99.9'],
    [0.9999, 'p99.99'],
  ] as const) {
    if (ninesOf(share) > nines + 0.01) continue
    grid.push(
      line(
        [
          [x(share), PLOT.top],
          [x(share), bottom],
        ],
        'axis',
      ),
    )
    grid.push(text(x(share), bottom + 20, label, { anchor: 'middle', class: 'note' }))
  }
  const lines = curves
    .map((each, n) => {
      const points = each.curve.map(({ share, ms }): Point => [x(share), y(ms)])
      return { each, drawn: line(points, steadyTone(each, n), dashesOf(each)) }
    })
    .toSorted((a, b) => Number(isOurs(a.each)) - Number(isOurs(b.each))) // ours above the others
    .map(({ drawn }) => drawn)
  const height = bottom + 58
  return svg(WIDTH, height, `Latency at a steady ${first.rate} requests/s`, [
    text(20, 28, `Latency at a steady ${count(first.rate)} requests/s`, { class: 'title' }),
    text(
      20,
      47,
      'From when each request was due, so that a stall is not hidden by the requests that it held up. Both axes logarithmic.',
      { class: 'note' },
    ),
    ...grid,
    ...lines,
    ...labels(curves, PLOT.left + width + 10, y),
    text(20, height - 12, footer(machine), { class: 'note' }),
  ])
}

/** Nothing that is measured here is faster. */
const LEAST_MS = 0.001

/** 1, 2 and 5 times powers of ten, from one below the least to one above the most. */
function ticksAround(least: number, most: number): number[] {
  const ticks: number[] = []
  for (let power = Math.floor(Math.log10(Math.max(least, LEAST_MS))); ; power++) {
    for (const digit of [1, 2, 5]) {
      const tick = Number((digit * 10 ** power).toPrecision(1))
      if (tick <= least) ticks.length = 0
      ticks.push(tick)
      if (tick >= most) return ticks
    }
  }
}

const ninesOf = (share: number) => -Math.log10(1 - share)

const isOurs = ({ name }: SteadyReport) => name === 'pass-through' || name === 'detokenize'

/** Those of others have colours of parts. */
const steadyTone = (each: SteadyReport, n: number): Tone =>
  isOurs(each) ? 'ours' : each.name === DIRECT ? 'other' : `part${(n + 1) % 8}`

const dashesOf = ({ name }: SteadyReport) =>
  name === 'pass-through' ? '6 4' : name === DIRECT ? '2 3' : ''

/** At the end of each line, moved apart where they would cover each other. */
function labels(
  curves: readonly SteadyReport[],
  left: number,
  y: (ms: number) => number,
): string[] {
  const wanted = curves
    .map((each, n) => ({ each, n, at: y(each.curve.at(-1)?.ms ?? 1) }))
    .toSorted((a, b) => a.at - b.at)
  let free = PLOT.top
  const placed = wanted.map((label) => {
    const at = Math.max(label.at, free)
    free = at + LABEL_PX
    return { ...label, at }
  })
  // What was moved below the plot comes back up, from the last on.
  let limit = PLOT.top + PLOT.height + LABEL_PX
  for (const label of placed.toReversed()) {
    label.at = Math.min(label.at, limit)
    limit = label.at - LABEL_PX
  }
  return placed.map(({ each, n, at }) => {
    const name = steadyTone(each, n)
    const swatch = line(
      [
        [left, at - 4],
        [left + 22, at - 4],
      ],
      name,
      dashesOf(each),
    )
    return (
      swatch + text(left + 28, at, shorten(each.title), { class: isOurs(each) ? 'ours' : 'note' })
    )
  })
}

/** Contenders that detokenize say so; of the others it goes without saying. */
const shorten = (title: string) =>
  title.replace(/, pass-through$/, title.startsWith('Sallyport') ? '$&' : '')

const BREAKDOWN = { left: 200, bar: 44, row: 66, legendRow: 22 }

export function breakdownPicture(breakdown: Breakdown): string {
  const width = WIDTH - BREAKDOWN.left - 90
  const most = Math.max(...breakdown.map(({ cpuUsPerRequest }) => cpuUsPerRequest))
  const parts = Object.keys(PARTS) as Part[]
  const bars = breakdown.flatMap(({ title, cpuUsPerRequest, shares }, n) => {
    const y = TOP + n * BREAKDOWN.row
    let left = BREAKDOWN.left
    const drawn = parts.map((part, colour) => {
      const length = (shares[part] * cpuUsPerRequest * width) / most
      const one = bar(left, y, length, BREAKDOWN.bar, `part${colour}`)
      left += length
      return one
    })
    return [
      text(BREAKDOWN.left - 10, y + 27, title.replace(/^Sallyport [^,]*, |^Sallyport, /, ''), {
        anchor: 'end',
        class: 'ours',
      }),
      ...drawn,
      text(left + 8, y + 27, `${cpuUsPerRequest.toFixed(1)} µs`),
    ]
  })
  const legendTop = TOP + breakdown.length * BREAKDOWN.row + 14
  const legend = parts.flatMap((part, colour) => {
    const y = legendTop + colour * BREAKDOWN.legendRow
    const costs = breakdown
      .map(({ shares, cpuUsPerRequest }) => (shares[part] * cpuUsPerRequest).toFixed(1))
      .join(' → ')
    return [
      bar(BREAKDOWN.left, y - 11, 14, 14, `part${colour}`),
      text(BREAKDOWN.left + 24, y, PARTS[part]),
      text(BREAKDOWN.left + 330, y, `${costs} µs`, { class: 'note' }),
    ]
  })
  const height = legendTop + parts.length * BREAKDOWN.legendRow + 16
  return svg(WIDTH, height, 'Where the processor time of a request goes', [
    text(20, 28, 'Where the processor time of a request goes', { class: 'title' }),
    text(
      20,
      47,
      'Shares from a processor profile, each system call with whoever made it; µs from the operating system.',
      { class: 'note' },
    ),
    ...bars,
    ...legend,
  ])
}
