// What can be asked of `npm run bench`, and what that means for a run.

import { parseArgs } from 'node:util'
import { CASES, type Case, CHECKED } from './cases.ts'
import { PEERS } from './peers/peers.ts'

export const USAGE = `npm run bench                     the main cases, in less than three minutes
npm run bench -- --full           all of them, in about forty
npm run bench -- <case...>        some: see cases.ts; also: stream
npm run bench -- --check          exit code 1 when ratios are worse than the recorded ones
npm run bench -- soak             a million requests of all kinds: memory, sockets, timers

  --rounds N     of all cases in turn
  --seconds N    that each is measured
  --rate N       requests/s of the latency runs (1000)
  --stored N     payment methods of stored-many (1000000)
  --requests N   of the soak (1000000)
  --autocannon   its load instead of our own
  --profile      leaves processor profiles in bench/out/
  --record       writes RESULTS.md, recorded.json and pictures/`

/** Not a case of requests by the second: one long body, and what it takes in memory. */
const STREAM = 'stream'
const SOAK = 'soak'

/** Shorter windows are too few clock ticks of 10 ms. */
const MIN_WINDOW_S = 4
const SHORT = { rounds: 2, windowS: 4, steadyS: 4 }
const FULL = { rounds: 3, windowS: 5, steadyS: 20 }
const CHECK_ROUNDS = 3

export const FEW_STORED = 10_000

export type Options = {
  readonly mode: 'cases' | 'check' | 'soak'
  readonly cases: readonly Case[]
  readonly hasSteady: (each: Case) => boolean
  readonly measuresStream: boolean
  readonly rounds: number
  readonly windowS: number
  readonly steadyS: number
  readonly rate: number
  readonly manyStored: number
  readonly soakRequests: number
  readonly hasAutocannon: boolean
  readonly isProfiled: boolean
  readonly isRecorded: boolean
  /** Sentences about cases that cannot run here. */
  readonly leftOut: readonly string[]
}

/** Throws with a sentence. */
export function parseOptions(args: string[]): Options {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      full: { type: 'boolean', default: false },
      check: { type: 'boolean', default: false },
      record: { type: 'boolean', default: false },
      profile: { type: 'boolean', default: false },
      autocannon: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      rate: { type: 'string', default: '1000' },
      stored: { type: 'string', default: '1000000' },
      requests: { type: 'string', default: '1000000' },
    },
  })
  const isSoak = positionals.includes(SOAK)
  if (isSoak && positionals.length > 1) throw new Error('the soak runs alone')
  const names = positionals.filter((name) => name !== SOAK)
  const known = [...CASES.map(({ name }) => name), STREAM]
  const unknown = names.filter((name) => !known.includes(name))
  if (unknown.length > 0) {
    throw new Error(`no case ${unknown.join(', ')}; there are ${[...known, SOAK].join(', ')}`)
  }
  const { full, check, record } = values
  if (check && (positionals.length > 0 || record)) throw new Error('--check chooses its own cases')
  if (record && (positionals.length > 0 || values.autocannon || values.profile)) {
    throw new Error('--record is of the main cases or, with --full, of all, as they are')
  }

  const isNamed = names.length > 0
  const checked = new Set(CHECKED.flatMap(({ of, to }) => [of, to]))
  const chosen = CASES.filter(({ name, runs }) => {
    if (isSoak) return false
    if (check) return checked.has(name)
    if (isNamed) return names.includes(name)
    return runs === 'short' || (full && runs === 'full')
  })
  const missing = new Map(PEERS.map((peer) => [peer.name, peer.missing()]))
  const leftOut = chosen.flatMap(({ name, peer }) => {
    const sentence = missing.get(peer)
    if (sentence === undefined) return []
    if (isNamed) throw new Error(`${name} cannot run here. ${sentence}`)
    return [`Left out: ${name}. ${sentence}`]
  })
  const base = full ? FULL : SHORT
  const whole = (name: keyof typeof values, from: number, otherwise: number) => {
    const text = values[name]
    const value = text === undefined ? otherwise : Number(text)
    if (Number.isInteger(value) && value >= from && value <= 1e8) return value
    throw new Error(`--${name} is a whole number from ${from}`)
  }
  const manyStored = whole('stored', FEW_STORED, 1_000_000)
  const amount = (count: number) => count.toLocaleString('en')
  return {
    mode: isSoak ? 'soak' : check ? 'check' : 'cases',
    cases: chosen
      .filter(({ peer }) => missing.get(peer) === undefined)
      .map((each) => ({
        ...each,
        title: each.title
          .replace('{few}', amount(FEW_STORED))
          .replace('{many}', amount(manyStored)),
      })),
    hasSteady: ({ steady }) =>
      !check && (steady === 'short' || (steady === 'full' && (full || isNamed))),
    measuresStream: !check && !isSoak && (isNamed ? names.includes(STREAM) : true),
    rounds: whole('rounds', 1, check ? CHECK_ROUNDS : base.rounds),
    windowS: whole('seconds', MIN_WINDOW_S, base.windowS),
    steadyS: values.seconds === undefined ? base.steadyS : Number(values.seconds),
    rate: whole('rate', 1, 1000),
    manyStored,
    soakRequests: whole('requests', 200_000, 1_000_000),
    hasAutocannon: values.autocannon,
    isProfiled: values.profile,
    isRecorded: record,
    leftOut,
  }
}
