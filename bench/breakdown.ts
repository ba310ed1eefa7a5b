// Where the processor time of a request goes: the shares come from a profile (V8 samples), the microseconds from the
// operating system, of runs without a profiler. Each sample belongs to the part of the product whose code it was in or
// was called from: so a system call of a socket counts for whoever wrote to it.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CASES } from './cases.ts'
import type { Report } from './report.ts'
import { Runner, type RunnerOptions } from './runner.ts'

export type Profile = {
  readonly nodes: readonly {
    readonly id: number
    readonly callFrame: { readonly functionName: string; readonly url: string }
    readonly children?: readonly number[]
  }[]
  readonly samples: readonly number[]
  /** Microseconds since the sample before. */
  readonly timeDeltas: readonly number[]
}

export const PARTS = {
  server: 'HTTP to the caller',
  egress: 'HTTP to the destination',
  scan: 'finding and replacing placeholders',
  vault: 'store, keys and reveal',
  audit: 'audit trail',
  guard: 'leak guard',
  exchange: 'policy and course of the request',
  runtime: 'garbage collection and the rest of Node',
} as const

export type Part = keyof typeof PARTS

/** The first that matches decides; code that matches none works for whoever called it. */
const PART_OF_URL: readonly (readonly [RegExp, Part])[] = [
  [/\/src\/proxy\/egress\//, 'egress'],
  [/\/src\/proxy\/(scan\/|splice|encode|placeholder|filter|media-type)/, 'scan'],
  [/\/src\/proxy\/(leak-guard|answer)\//, 'guard'],
  [/\/src\/audit\//, 'audit'],
  [/\/src\/(vault|crypto|store)\/|\/node_modules\/lmdb\//, 'vault'],
  [/\/src\/http\/|\/src\/core\/llhttp|^node:_http_/, 'server'],
  [/\/src\//, 'exchange'],
]

/** Called by nobody of ours: the loop's own reading of sockets, and its turns. */
const PART_OF_ROOT: readonly (readonly [RegExp, Part])[] = [
  [
    /^node:(internal\/stream_base_commons|net|internal\/streams|events|internal\/js_stream)/,
    'server',
  ],
]

const IDLE = '(idle)'

/** Shares of the time that it was not idle, in the last `lastS` seconds. */
export function sharesOf(profile: Profile, lastS: number): Record<Part, number> {
  const nodes = new Map(profile.nodes.map((node) => [node.id, node]))
  const parents = new Map(
    profile.nodes.flatMap(({ id, children = [] }) => children.map((child) => [child, id] as const)),
  )
  const known = new Map<number, Part>()
  const partOf = (id: number): Part => {
    let part = known.get(id)
    if (part === undefined) {
      const url = nodes.get(id)?.callFrame.url ?? ''
      const parent = parents.get(id)
      part = match(PART_OF_URL, url)
      if (part === undefined && parent !== undefined && partOf(parent) !== 'runtime') {
        part = partOf(parent)
      }
      part ??= match(PART_OF_ROOT, url) ?? 'runtime'
      known.set(id, part)
    }
    return part
  }

  const shares = Object.fromEntries(Object.keys(PARTS).map((part) => [part, 0])) as Record<
    Part,
    number
  >
  let total = 0
  let fromTheEndUs = 0
  for (let n = profile.samples.length - 1; n >= 0 && fromTheEndUs < lastS * 1e6; n--) {
    const us = profile.timeDeltas[n] ?? 0
    fromTheEndUs += us
    const id = profile.samples[n] ?? 0
    if (nodes.get(id)?.callFrame.functionName === IDLE) continue
    shares[partOf(id)] += us
    total += us
  }
  for (const part of Object.keys(shares) as Part[]) shares[part] /= total
  return shares
}

function match(rules: readonly (readonly [RegExp, Part])[], url: string): Part | undefined {
  return rules.find(([pattern]) => pattern.test(url))?.[1]
}

export type Breakdown = readonly {
  readonly title: string
  readonly cpuUsPerRequest: number
  readonly shares: Readonly<Record<Part, number>>
}[]

const PROFILED = ['pass-through', 'detokenize']

/** Undefined when their costs were not measured. */
export async function measureBreakdown(
  options: RunnerOptions,
  report: Report,
): Promise<Breakdown | undefined> {
  const breakdown: Breakdown[number][] = []
  for (const name of PROFILED) {
    const measured = report.cases.find((each) => each.name === name)
    const profiled = CASES.find((each) => each.name === name)
    if (measured === undefined || profiled === undefined) return undefined
    const profileFolder = mkdtempSync(join(tmpdir(), 'sallyport-profile-'))
    try {
      using runner = new Runner({ ...options, profileFolder })
      await runner.run(profiled, false)
      const [file] = readdirSync(profileFolder)
      if (file === undefined) throw new Error('there is no profile')
      const profile: Profile = JSON.parse(readFileSync(join(profileFolder, file), 'utf8'))
      breakdown.push({
        title: measured.title,
        cpuUsPerRequest: measured.median.cpuUsPerRequest,
        shares: sharesOf(profile, options.windowS),
      })
    } finally {
      rmSync(profileFolder, { recursive: true, force: true })
    }
  }
  return breakdown
}
