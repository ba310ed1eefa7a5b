// From the figures of all rounds to what is told: medians, and ratios and differences *within a round* with their spread.
// Pure; the terminal's table is made here, the page (results.ts) and the pictures (pictures.ts) from the same report.

import { type Case, GROUPS, type Group, RATIOS, TARGETS } from './cases.ts'
import type { Figures } from './load.ts'
import type { Machine } from './machine.ts'
import { median, quantile, type Spread, spreadOf } from './quantiles.ts'
import type { SteadyFigures } from './steady-rate.ts'
import { STREAM_TARGET_BYTES, type StreamMemory } from './stream-memory.ts'

/** In place of a case: what it takes without anything in between. */
export const DIRECT = 'direct'

/** By name of case. */
export type Round = {
  readonly load: ReadonlyMap<string, Figures>
  readonly steady: ReadonlyMap<string, SteadyFigures>
}

export type CaseReport = {
  readonly name: string
  readonly peer: string
  readonly title: string
  readonly group: Group
  readonly median: Omit<Figures, 'requests' | 'maxMs'>
  /** Processor time to that of the case it is compared with; absent where that did not run. */
  readonly ratio: (Spread & { readonly to: string }) | undefined
  readonly rounds: readonly Figures[]
}

export type SteadyReport = {
  readonly name: string
  readonly title: string
  readonly rate: number
  readonly median: Pick<SteadyFigures, 'p50Ms' | 'p90Ms' | 'p99Ms' | 'p999Ms' | 'busy'>
  /** To the direct call of the same round; absent of the direct call. */
  readonly added:
    | { readonly p50Ms: Spread; readonly p99Ms: Spread; readonly p999Ms: Spread }
    | undefined
  readonly latenessP99Ms: number
  /** Latency at a share of all requests of all rounds, for the picture. */
  readonly curve: readonly { readonly share: number; readonly ms: number }[]
  readonly rounds: readonly Omit<SteadyFigures, 'durationsMs'>[]
}

export type RatioReport = {
  readonly of: string
  readonly to: string
  readonly title: string
  readonly target: number | undefined
  readonly spread: Spread
}

export type Report = {
  readonly machine: Machine
  readonly cases: readonly CaseReport[]
  readonly steady: readonly SteadyReport[]
  readonly ratios: readonly RatioReport[]
  readonly streamMemory: StreamMemory | undefined
  /** Sentences about what did not run. */
  readonly leftOut: readonly string[]
}

export function makeReport(
  machine: Machine,
  cases: readonly Case[],
  rounds: readonly Round[],
  rest: Pick<Report, 'streamMemory' | 'leftOut'>,
): Report {
  const ratioOf = (name: string, other: string | undefined): Spread | undefined =>
    spreadOf(
      rounds.flatMap(({ load }) => {
        const one = load.get(name)
        const two = load.get(other ?? '')
        return one === undefined || two === undefined || one === two
          ? []
          : [one.cpuUsPerRequest / two.cpuUsPerRequest]
      }),
    )
  return {
    machine,
    cases: cases.flatMap((each) => {
      const figures = rounds.flatMap(({ load }) => load.get(each.name) ?? [])
      const ratio = ratioOf(each.name, each.to)
      return figures.length === 0
        ? []
        : [
            {
              name: each.name,
              peer: each.peer,
              title: each.title,
              group: each.group,
              median: medianFigures(figures),
              ratio: ratio && each.to !== undefined ? { ...ratio, to: each.to } : undefined,
              rounds: figures,
            },
          ]
    }),
    steady: [DIRECT, ...cases.map(({ name }) => name)].flatMap((name) =>
      steadyReport(name, cases.find((each) => each.name === name)?.title ?? 'direct call', rounds),
    ),
    ratios: RATIOS.flatMap((ratio) => {
      const spread = ratioOf(ratio.of, ratio.to)
      return spread === undefined ? [] : [{ ...ratio, spread }]
    }),
    ...rest,
  }
}

function medianFigures(figures: readonly Figures[]): CaseReport['median'] {
  const of = (pick: (figures: Figures) => number) => median(figures.map(pick))
  return {
    cpuUsPerRequest: of((f) => f.cpuUsPerRequest),
    requestsPerSecond: of((f) => f.requestsPerSecond),
    p50Ms: of((f) => f.p50Ms),
    p90Ms: of((f) => f.p90Ms),
    p99Ms: of((f) => f.p99Ms),
    p999Ms: of((f) => f.p999Ms),
    rssBytes: of((f) => f.rssBytes),
    idleRssBytes: of((f) => f.idleRssBytes),
    busy: of((f) => f.busy),
  }
}

function steadyReport(name: string, title: string, rounds: readonly Round[]): SteadyReport[] {
  const figures = rounds.flatMap(({ steady }) => steady.get(name) ?? [])
  const [first] = figures
  if (first === undefined) return []
  const of = (pick: (figures: SteadyFigures) => number) => median(figures.map(pick))
  const added = (pick: (figures: SteadyFigures) => number) =>
    spreadOf(
      rounds.flatMap(({ steady }) => {
        const one = steady.get(name)
        const direct = steady.get(DIRECT)
        return one === undefined || direct === undefined ? [] : [pick(one) - pick(direct)]
      }),
    )
  const p50Ms = added((f) => f.p50Ms)
  const p99Ms = added((f) => f.p99Ms)
  const p999Ms = added((f) => f.p999Ms)
  return [
    {
      name,
      title,
      rate: first.rate,
      median: {
        p50Ms: of((f) => f.p50Ms),
        p90Ms: of((f) => f.p90Ms),
        p99Ms: of((f) => f.p99Ms),
        p999Ms: of((f) => f.p999Ms),
        busy: first.busy === undefined ? undefined : of((f) => f.busy ?? Number.NaN),
      },
      added:
        name === DIRECT || p50Ms === undefined || p99Ms === undefined || p999Ms === undefined
          ? undefined
          : { p50Ms, p99Ms, p999Ms },
      latenessP99Ms: of((f) => f.lateness.p99Ms),
      curve: curveOf(figures.flatMap(({ durationsMs }) => durationsMs)),
      rounds: figures.map(({ durationsMs: _, ...told }) => told),
    },
  ]
}

const CURVE_POINTS_PER_TEN = 20

/** As far as there are at least ten beyond: by fewer nothing is told of a share. */
function curveOf(durationsMs: readonly number[]): SteadyReport['curve'] {
  const sorted = Float64Array.from(durationsMs).sort()
  const curve: { share: number; ms: number }[] = []
  for (let n = 0; ; n++) {
    const beyond = 10 ** (-n / CURVE_POINTS_PER_TEN)
    if (beyond * sorted.length < 10) return curve
    curve.push({ share: 1 - beyond, ms: quantile(sorted, 1 - beyond) })
  }
}

export type Verdict = {
  readonly what: string
  readonly measured: string
  readonly target: string
  readonly isMet: boolean
}

/** What the figures say of the targets, as far as they were measured. */
export function verdictsOf(report: Report): Verdict[] {
  const verdicts: Verdict[] = []
  for (const { title, target, spread } of report.ratios) {
    if (target === undefined) continue
    verdicts.push({
      what: `Processor time, ${title}`,
      measured: spreadText(spread),
      target: `≤ ${target}`,
      isMet: spread.median <= target,
    })
  }
  const steady = report.steady.find(({ name }) => name === 'detokenize')
  if (steady?.added !== undefined) {
    for (const [what, { median }, target] of [
      ['p50', steady.added.p50Ms, TARGETS.addedP50Ms],
      ['p99', steady.added.p99Ms, TARGETS.addedP99Ms],
    ] as const) {
      verdicts.push({
        what: `Latency added by detokenizing at ${count(steady.rate)} requests/s, ${what}`,
        measured: `${median.toFixed(3)} ms`,
        target: `≤ ${target} ms`,
        isMet: median <= target,
      })
    }
  }
  const creating = report.cases.find(({ name }) => name === 'vault-create')
  if (creating !== undefined) {
    const perSecond = creating.median.requestsPerSecond
    verdicts.push({
      what: 'Cards stored and acknowledged on disk',
      measured: `${count(perSecond)}/s`,
      target: `≥ ${count(TARGETS.storedCardsPerSecond)}/s`,
      isMet: perSecond >= TARGETS.storedCardsPerSecond,
    })
  }
  const retrieving = report.cases.find(({ name }) => name === 'vault-retrieve')
  if (retrieving !== undefined) {
    const perCore = 1e6 / retrieving.median.cpuUsPerRequest
    verdicts.push({
      what: 'Payment methods read, per core',
      measured: `${count(perCore)}/s`,
      target: `≥ ${count(TARGETS.retrievedPerSecondPerCore)}/s`,
      isMet: perCore >= TARGETS.retrievedPerSecondPerCore,
    })
  }
  const listing = report.cases.find(({ name }) => name === 'vault-list')
  if (listing !== undefined) {
    verdicts.push({
      what: 'A list of 1,000 payment methods, p50',
      measured: `${listing.median.p50Ms.toFixed(1)} ms`,
      target: `≤ ${TARGETS.listedP50Ms} ms`,
      isMet: listing.median.p50Ms <= TARGETS.listedP50Ms,
    })
  }
  const ours = report.cases.find(({ name }) => name === 'detokenize')
  if (ours !== undefined) {
    verdicts.push({
      what: 'Memory of an idle process',
      measured: megabytes(ours.median.idleRssBytes),
      target: `≤ ${megabytes(TARGETS.idleRssBytes)}`,
      isMet: ours.median.idleRssBytes <= TARGETS.idleRssBytes,
    })
  }
  if (report.streamMemory !== undefined) {
    const { growthBytes, isWithinTarget } = report.streamMemory
    verdicts.push({
      what: 'Growth in memory with a streamed body of 100 MB and 100,000 placeholders',
      measured: megabytes(growthBytes),
      target: `≤ ${megabytes(STREAM_TARGET_BYTES)}`,
      isMet: isWithinTarget,
    })
  }
  return verdicts
}

/** Titles and cells, the first column to the left. */
export type Table = { readonly head: readonly string[]; readonly rows: readonly string[][] }

export function caseTable(cases: readonly CaseReport[]): Table {
  return {
    head: [
      '',
      'CPU µs/req',
      'ratio to',
      '',
      'req/s',
      'p50 ms',
      'p90',
      'p99',
      'p99.9',
      'RSS MB',
      'idle',
      'busy',
    ],
    rows: cases.map(({ title, median, ratio }) => [
      title,
      median.cpuUsPerRequest.toFixed(1),
      ratio?.to ?? '',
      ratio === undefined ? '' : spreadText(ratio),
      count(median.requestsPerSecond),
      median.p50Ms.toFixed(2),
      median.p90Ms.toFixed(2),
      median.p99Ms.toFixed(2),
      median.p999Ms.toFixed(2),
      (median.rssBytes / 1e6).toFixed(0),
      (median.idleRssBytes / 1e6).toFixed(0),
      percent(median.busy),
    ]),
  }
}

export function steadyTable(steady: readonly SteadyReport[]): Table {
  const difference = (spread: Spread | undefined) =>
    spread === undefined
      ? ''
      : `${spread.median.toFixed(3)} (${spread.min.toFixed(3)}..${spread.max.toFixed(3)})`
  return {
    head: ['', 'p50 ms', 'p90', 'p99', 'p99.9', 'added p50 ms', 'added p99', 'added p99.9', 'busy'],
    rows: steady.map(({ title, median, added }) => [
      title,
      median.p50Ms.toFixed(3),
      median.p90Ms.toFixed(3),
      median.p99Ms.toFixed(3),
      median.p999Ms.toFixed(3),
      difference(added?.p50Ms),
      difference(added?.p99Ms),
      difference(added?.p999Ms),
      median.busy === undefined ? '' : percent(median.busy),
    ]),
  }
}

export function verdictTable(verdicts: readonly Verdict[]): Table {
  return {
    head: ['', 'measured', 'target', ''],
    rows: verdicts.map(({ what, measured, target, isMet }) => [
      what,
      measured,
      target,
      isMet ? 'met' : 'MISSED',
    ]),
  }
}

export function reportText(report: Report): string {
  const parts: string[] = []
  for (const [group, title] of Object.entries(GROUPS)) {
    const cases = report.cases.filter((each) => each.group === group)
    if (cases.length > 0) parts.push(`${title}\n${tableText(caseTable(cases))}`)
  }
  const [first] = report.steady
  if (first !== undefined) {
    parts.push(
      `Latency at a steady ${count(first.rate)} requests/s, from when each was due ` +
        `(the generator's own lateness: p99 ${first.latenessP99Ms.toFixed(3)} ms)\n` +
        tableText(steadyTable(report.steady)),
    )
  }
  if (report.ratios.length > 0) {
    parts.push(
      report.ratios
        .map(({ title, spread }) => `Processor time, ${title}: ${spreadText(spread)}`)
        .join('\n'),
    )
  }
  const verdicts = verdictsOf(report)
  if (verdicts.length > 0) parts.push(`Targets\n${tableText(verdictTable(verdicts))}`)
  if (report.leftOut.length > 0) parts.push(report.leftOut.join('\n'))
  return parts.join('\n\n')
}

function tableText({ head, rows }: Table): string {
  const widths = head.map((_, column) =>
    Math.max(...[head, ...rows].map((row) => row[column]?.length ?? 0)),
  )
  return [head, ...rows]
    .map((row) =>
      row
        .map((cell, column) =>
          column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

export const spreadText = ({ median, min, max }: Spread) =>
  `${median.toFixed(2)} (${min.toFixed(2)}..${max.toFixed(2)})`

export const count = (value: number) => Math.round(value).toLocaleString('en')
const percent = (share: number) => `${(share * 100).toFixed(0)} %`
const megabytes = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`
