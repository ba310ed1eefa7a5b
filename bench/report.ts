// From the figures of all rounds to a table and to JSON: medians, and ratios within a round with their spread.

import { execFileSync } from 'node:child_process'
import { availableParallelism, cpus, loadavg } from 'node:os'
import { type Case, RATIOS, REFERENCE } from './cases.ts'
import type { Figures } from './load.ts'

export type Machine = {
  readonly cpu: string
  readonly cores: number
  readonly node: string
  readonly commit: string
  readonly loadAverage: readonly number[]
  readonly isPinned: boolean
}

export function describeMachine(isPinned: boolean, cores: number): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores,
    node: process.version,
    commit: commit(),
    loadAverage: loadavg().map((value) => Math.round(value * 100) / 100),
    isPinned,
  }
}

/** What one who only looks on causes. */
const QUIET_LOAD = 1

/** Asked before this process puts itself on one of them. */
export const coreCount = () => availableParallelism()

function commit(): string {
  const git = (...args: string[]) =>
    execFileSync('git', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
  try {
    return git('rev-parse', '--short', 'HEAD') + (git('status', '--porcelain') === '' ? '' : '+')
  } catch {
    return 'unknown'
  }
}

type Spread = { readonly median: number; readonly min: number; readonly max: number }

export type CaseReport = {
  readonly name: string
  readonly title: string
  readonly median: Omit<Figures, 'requests'>
  /** Processor time to that of the reference in the same round; absent where that did not run. */
  readonly ratio: Spread | undefined
  readonly rounds: readonly Figures[]
}

export type Report = {
  readonly machine: Machine
  readonly cases: readonly CaseReport[]
  readonly ratios: readonly { readonly title: string; readonly spread: Spread }[]
}

/** `rounds`: of each round the figures by name of case. */
export function makeReport(
  machine: Machine,
  cases: readonly Case[],
  rounds: readonly ReadonlyMap<string, Figures>[],
): Report {
  const ratioOf = (name: string, other: string): Spread | undefined => {
    const ratios = rounds.flatMap((round) => {
      const one = round.get(name)
      const two = round.get(other)
      return one === undefined || two === undefined
        ? []
        : [one.cpuUsPerRequest / two.cpuUsPerRequest]
    })
    return ratios.length === 0
      ? undefined
      : { median: median(ratios), min: Math.min(...ratios), max: Math.max(...ratios) }
  }
  return {
    machine,
    cases: cases.map(({ name, title }) => {
      const figures = rounds.flatMap((round) => round.get(name) ?? [])
      const of = (pick: (figures: Figures) => number) => median(figures.map(pick))
      return {
        name,
        title,
        median: {
          cpuUsPerRequest: of((f) => f.cpuUsPerRequest),
          requestsPerSecond: of((f) => f.requestsPerSecond),
          p50Ms: of((f) => f.p50Ms),
          p99Ms: of((f) => f.p99Ms),
          rssBytes: of((f) => f.rssBytes),
          busy: of((f) => f.busy),
        },
        ratio: ratioOf(name, REFERENCE),
        rounds: figures,
      }
    }),
    ratios: RATIOS.flatMap(({ of, to, title }) => {
      const spread = ratioOf(of, to)
      return spread === undefined ? [] : [{ title, spread }]
    }),
  }
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  const high = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? high : ((sorted[middle - 1] ?? Number.NaN) + high) / 2
}

export function machineText({ cpu, cores, node, commit, loadAverage, isPinned }: Machine): string {
  return [
    `${cpu}, ${cores} cores, Node ${node}, commit ${commit}, load average ${loadAverage.join(' ')}`,
    isPinned
      ? 'Contender on core 0; load and upstream together on core 1.'
      : 'NOT PINNED (no taskset, or one core): contender, load and upstream compete; trust nothing but wide ratios.',
    ...((loadAverage[0] ?? 0) > QUIET_LOAD
      ? ['THE MACHINE IS BUSY: figures are too high, ratios are wide; repeat.']
      : []),
  ].join('\n')
}

export function reportText({ cases, ratios }: Report): string {
  const head = ['', 'CPU µs/req', `× ${REFERENCE}`, 'req/s', 'p50 ms', 'p99 ms', 'RSS MB', 'busy']
  const rows = cases.map(({ title, median, ratio }) => [
    title,
    median.cpuUsPerRequest.toFixed(1),
    ratio === undefined ? '–' : spreadText(ratio),
    median.requestsPerSecond.toFixed(0),
    median.p50Ms.toFixed(2),
    median.p99Ms.toFixed(2),
    (median.rssBytes / 1e6).toFixed(0),
    `${(median.busy * 100).toFixed(0)} %`,
  ])
  const widths = head.map((_, column) =>
    Math.max(...[head, ...rows].map((row) => row[column]?.length ?? 0)),
  )
  const lines = [head, ...rows].map((row) =>
    row
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join('  '),
  )
  if (ratios.length > 0) lines.push('')
  for (const { title, spread } of ratios) lines.push(`${title}: ${spreadText(spread)}`)
  return lines.join('\n')
}

const spreadText = ({ median, min, max }: Spread) =>
  `${median.toFixed(2)} (${min.toFixed(2)}..${max.toFixed(2)})`
