// A guard against getting slower: ratios of processor time, which move little from machine to machine, are held against those
// that were recorded. Times are never compared.

import { readFileSync } from 'node:fs'
import { CHECKED } from './cases.ts'
import type { RatioReport, Report } from './report.ts'

/** How much worse a ratio may be before it is no chance any more. */
const MARGIN = 0.15

export type Recorded = {
  readonly commit: string
  readonly cpu: string
  readonly node: string
  readonly ratios: readonly { readonly of: string; readonly to: string; readonly median: number }[]
}

const FILE = new URL('./recorded.json', import.meta.url)

/** Throws with a sentence when there is none. */
export function readRecorded(): Recorded {
  try {
    return JSON.parse(readFileSync(FILE, 'utf8'))
  } catch (cause) {
    throw new Error('bench/recorded.json cannot be read; --record writes it', { cause })
  }
}

export function recordedOf({ machine, ratios }: Pick<Report, 'machine' | 'ratios'>): Recorded {
  return {
    commit: machine.commit,
    cpu: machine.cpu,
    node: machine.node,
    ratios: CHECKED.map(({ of, to }) => ({ of, to, median: find(ratios, of, to) })),
  }
}

export type Check = {
  readonly of: string
  readonly to: string
  readonly measured: number
  readonly recorded: number
  readonly change: number
  readonly isWorse: boolean
}

export function checkRatios(
  recorded: Pick<Recorded, 'ratios'>,
  ratios: readonly Pick<RatioReport, 'of' | 'to' | 'spread'>[],
): Check[] {
  return recorded.ratios.map(({ of, to, median }) => {
    const measured = find(ratios, of, to)
    const change = measured / median - 1
    return { of, to, measured, recorded: median, change, isWorse: change > MARGIN }
  })
}

export function checkText({ of, to, measured, recorded, change, isWorse }: Check): string {
  const percent = `${change > 0 ? '+' : ''}${(change * 100).toFixed(0)} %`
  const verdict = isWorse
    ? `WORSE by more than ${MARGIN * 100} %`
    : change < -MARGIN
      ? 'better by more than the margin: record it'
      : 'as recorded'
  return `${of} costs ${measured.toFixed(2)} × ${to}; recorded were ${recorded.toFixed(2)} (${percent}): ${verdict}`
}

function find(
  ratios: readonly Pick<RatioReport, 'of' | 'to' | 'spread'>[],
  of: string,
  to: string,
): number {
  const found = ratios.find((ratio) => ratio.of === of && ratio.to === to)
  if (found === undefined) throw new Error(`${of} to ${to} was not measured`)
  return found.spread.median
}
