// `npm run bench -- [case...] [--rounds N] [--seconds N] [--profile]`: runs the cases in turn, round after round, each
// in a fresh process, and prints what a request costs. README.md says how to read it.

import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { CASES, type Case } from './cases.ts'
import { Contender, pinRunner } from './contender.ts'
import { type Figures, measure } from './load.ts'
import { prepare, validate } from './prepare.ts'
import { coreCount, describeMachine, machineText, makeReport, reportText } from './report.ts'
import { measureStreamMemory, streamMemoryText } from './stream-memory.ts'
import { startUpstream, type Upstream } from './upstream.ts'

const OUT_FOLDER = fileURLToPath(new URL('./out/', import.meta.url))
const WARM_UP_S = 2
/** Shorter windows are too few clock ticks of 10 ms. */
const MIN_WINDOW_S = 4

/** Not a case of requests by the second: one long body, and what it takes in memory. */
const STREAM = 'stream'

type Options = {
  readonly cases: readonly Case[]
  readonly measuresStream: boolean
  readonly rounds: number
  readonly windowS: number
  readonly isProfiled: boolean
}

function parseOptions(args: string[]): Options {
  const { values, positionals } = parseArgs({
    args,
    allowPositionals: true,
    options: {
      rounds: { type: 'string', default: '2' },
      seconds: { type: 'string', default: '5' },
      profile: { type: 'boolean', default: false },
    },
  })
  const names = [...CASES.map(({ name }) => name), STREAM]
  const unknown = positionals.filter((name) => !names.includes(name))
  if (unknown.length > 0) {
    throw new Error(`no case ${unknown.join(', ')}; there are ${names.join(', ')}`)
  }
  const rounds = Number(values.rounds)
  const windowS = Number(values.seconds)
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error('--rounds is a whole number from 1')
  if (!(windowS >= MIN_WINDOW_S && windowS <= 600)) {
    throw new Error(`--seconds is a number from ${MIN_WINDOW_S} to 600`)
  }
  return {
    cases: CASES.filter(({ name, isDefault }) =>
      positionals.length === 0 ? isDefault : positionals.includes(name),
    ),
    measuresStream: positionals.length === 0 || positionals.includes(STREAM),
    rounds,
    windowS,
    isProfiled: values.profile,
  }
}

async function runCase(
  each: Case,
  upstream: Upstream,
  folder: string,
  options: Options,
  isPinned: boolean,
): Promise<Figures> {
  const adminKey = randomBytes(24).toString('hex')
  const contender = await Contender.start(each.peer, {
    upstream: upstream.origin,
    folder,
    adminKey,
    isPinned,
    isGuarded: each.guards === 'all',
    profileFolder: options.isProfiled ? OUT_FOLDER : undefined,
  })
  try {
    const prepared = await prepare(each, contender.origin, upstream.origin, adminKey)
    await validate(prepared, upstream)
    return await measure(prepared.request, upstream, () => contender.usage(), {
      warmUpS: WARM_UP_S,
      windowS: options.windowS,
    })
  } finally {
    await contender.stop()
  }
}

async function run(options: Options): Promise<void> {
  const cores = coreCount()
  const machine = describeMachine(pinRunner(), cores)
  say(`${machineText(machine)}\n`)
  if (options.isProfiled) say(`Profiled (figures are worse than real); see ${OUT_FOLDER}\n`)

  mkdirSync(OUT_FOLDER, { recursive: true })
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-bench-'))
  // Contenders end with their channel to us; their data goes here, whichever way this process ends.
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
  const upstream = await startUpstream()
  const rounds: Map<string, Figures>[] = []
  try {
    for (let round = 0; round < options.rounds && options.cases.length > 0; round++) {
      const figures = new Map<string, Figures>()
      rounds.push(figures)
      for (const each of options.cases) {
        const caseFolder = join(folder, `${round}-${each.name}`)
        mkdirSync(caseFolder)
        const result = await runCase(each, upstream, caseFolder, options, machine.isPinned).catch(
          (error: unknown) => {
            throw new Error(`case ${each.name}, round ${round + 1}`, { cause: error })
          },
        )
        figures.set(each.name, result)
        rmSync(caseFolder, { recursive: true, force: true }) // an audit trail of seconds is large
        say(`round ${round + 1}  ${each.name}: ${result.cpuUsPerRequest.toFixed(1)} µs/req\n`)
      }
    }
  } finally {
    upstream.close()
  }
  const streamMemory = options.measuresStream
    ? await measureStreamMemory(machine.isPinned)
    : undefined
  const report = { ...makeReport(machine, options.cases, rounds), streamMemory }
  writeFileSync(join(OUT_FOLDER, 'latest.json'), `${JSON.stringify(report, null, 2)}\n`)
  if (options.cases.length > 0) say(`\n${reportText(report)}\n`)
  if (streamMemory !== undefined) say(`\n${streamMemoryText(streamMemory)}\n`)
}

function say(text: string): void {
  process.stdout.write(text)
}

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const) {
  process.on(signal, () => process.exit(code))
}

try {
  await run(parseOptions(process.argv.slice(2)))
  process.exit(0) // connections of validation are still kept alive
} catch (error) {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    process.stderr.write(`bench: ${cause.message}\n`)
  }
  process.exit(1)
}
