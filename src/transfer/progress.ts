// How far a long command is: a bar that is written over in a terminal, a line every five seconds elsewhere.

import type { Clock } from '../core/clock.ts'

export type Screen = {
  /** Standard error: standard output is for what a command answers. */
  readonly tell: (text: string) => void
  /** Undefined where it is no terminal. */
  readonly columns: number | undefined
}

export type Step = {
  readonly rows: number
  /** 0 to 1; undefined where nobody knows how much there is. */
  readonly share: number | undefined
}

export type Progress = {
  show(step: Step): void
  /** Makes room for another text. */
  clear(): void
}

const BAR_INTERVAL_MS = 200
const LINE_INTERVAL_MS = 5000
/** The rate is that of this time: an import that is slow now says so. */
const RATE_WINDOW_MS = 10_000
const MAX_BAR = 30

export const SILENT: Progress = { show() {}, clear() {} }

/** `clock` measures how long it takes: one that nobody sets. `noun`: what is counted, in the plural. */
export function createProgress(screen: Screen, clock: Clock, noun: string): Progress {
  const isBar = screen.columns !== undefined
  const startMs = clock()
  let shownMs = isBar ? Number.NEGATIVE_INFINITY : startMs
  let seen = [{ atMs: startMs, rows: 0, share: 0 }]
  let isOnScreen = false

  function describe({ rows, share }: Step, nowMs: number): string {
    const first = seen[0] ?? { atMs: nowMs, rows, share: share ?? 0 }
    const seconds = (nowMs - first.atMs) / 1000
    const rate = seconds > 0 ? (rows - first.rows) / seconds : 0
    const parts = [`${grouped(rows)} ${noun}`]
    if (share !== undefined) parts.push(`${(100 * share).toFixed(1)} %`)
    parts.push(`${grouped(Math.round(rate))}/s`)
    const perSecond = seconds > 0 && share !== undefined ? (share - first.share) / seconds : 0
    if (share !== undefined && perSecond > 0) {
      parts.push(`${duration((1 - share) / perSecond)} left`)
    }
    return parts.join('  ')
  }

  return {
    show({ rows, share: readShare }) {
      // A file may grow while it is read.
      const step = { rows, share: readShare === undefined ? undefined : Math.min(1, readShare) }
      const nowMs = clock()
      if (nowMs - shownMs < (isBar ? BAR_INTERVAL_MS : LINE_INTERVAL_MS)) return
      shownMs = nowMs
      const text = describe(step, nowMs)
      seen.push({ atMs: nowMs, rows: step.rows, share: step.share ?? 0 })
      seen = seen.filter(({ atMs }) => nowMs - atMs <= RATE_WINDOW_MS)
      if (screen.columns === undefined) {
        screen.tell(`${text}\n`)
        return
      }
      const width = Math.min(MAX_BAR, screen.columns - text.length - 4)
      const isDrawn = step.share !== undefined && width > 4
      const filled = Math.round(width * (step.share ?? 0))
      const bar = isDrawn ? `[${'#'.repeat(filled)}${'.'.repeat(width - filled)}] ` : ''
      screen.tell(`\r\x1b[K${(bar + text).slice(0, screen.columns - 1)}`)
      isOnScreen = true
    },
    clear() {
      if (isOnScreen) screen.tell('\r\x1b[K')
      isOnScreen = false
    },
  }
}

/** `1,234,567` */
export function grouped(count: number): string {
  return String(count).replaceAll(/\B(?=([0-9]{3})+$)/g, ',')
}

/** `45 s`, `12 min 05 s`, `3 h 20 min` */
export function duration(seconds: number): string {
  const whole = Math.ceil(seconds)
  const two = (value: number) => String(value).padStart(2, '0')
  if (whole < 60) return `${whole} s`
  const minutes = Math.floor(whole / 60)
  if (minutes < 60) return `${minutes} min ${two(whole % 60)} s`
  return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`
}
