// `npm run bench`: options.ts says what can be asked. Cases run in turn, round after round, each contender in a fresh
// process; README.md says how to read what comes of it.

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Breakdown, measureBreakdown } from './breakdown.ts'
import { checkRatios, checkText, readRecorded, recordedOf } from './check.ts'
import { pinRunner } from './contender.ts'
import type { Figures } from './load.ts'
import { coreCount, describeMachine, machineText } from './machine.ts'
import { type Options, parseOptions, USAGE } from './options.ts'
import { PEERS } from './peers/peers.ts'
import { breakdownPicture, costPicture, latencyPicture } from './pictures.ts'
import { DIRECT, makeReport, type Report, type Round, reportText } from './report.ts'
import { resultsPage } from './results.ts'
import { Runner, type RunnerOptions } from './runner.ts'
import { soak } from './soak.ts'
import type { SteadyFigures } from './steady-rate.ts'
import { measureStreamMemory, streamMemoryText } from './stream-memory.ts'

const OUT_FOLDER = fileURLToPath(new URL('./out/', import.meta.url))
const HERE = fileURLToPath(new URL('./', import.meta.url))

async function run(options: Options): Promise<void> {
  const cores = coreCount()
  const peers = new Set(options.cases.map(({ peer }) => peer))
  const machine = describeMachine(
    pinRunner(),
    cores,
    PEERS.filter(({ name }) => peers.has(name)),
  )
  const { isPinned } = machine
  say(`${machineText(machine)}\n`)
  if (options.isProfiled) say(`Profiled (figures are worse than real); see ${OUT_FOLDER}\n`)
  mkdirSync(OUT_FOLDER, { recursive: true })
  if (options.mode === 'soak') {
    const result = await soak({ isPinned, requests: options.soakRequests, say })
    writeFileSync(join(OUT_FOLDER, 'soak.json'), jsonText({ machine, ...result }))
    if (result.problems.length > 0) throw new Error(result.problems.join('; '))
    return
  }

  const runnerOptions: RunnerOptions = {
    ...options,
    isPinned,
    profileFolder: options.isProfiled ? OUT_FOLDER : undefined,
    say,
  }
  using runner = new Runner(runnerOptions)
  const rounds: Round[] = []
  for (let n = 1; n <= options.rounds && options.cases.length > 0; n++) {
    rounds.push(await runRound(runner, options, n))
  }
  const streamMemory = options.measuresStream ? await measureStreamMemory(isPinned) : undefined
  const report = makeReport(machine, options.cases, rounds, {
    streamMemory,
    leftOut: options.leftOut,
  })
  const breakdown = options.isRecorded ? await measureBreakdown(runnerOptions, report) : undefined
  writeFileSync(join(OUT_FOLDER, 'latest.json'), jsonText({ ...report, breakdown }))
  writePictures(OUT_FOLDER, report, breakdown)
  say(`\n${reportText(report)}\n`)
  if (streamMemory !== undefined) say(`\n${streamMemoryText(streamMemory)}\n`)

  if (options.isRecorded) {
    mkdirSync(join(HERE, 'pictures'), { recursive: true })
    const pictures = writePictures(join(HERE, 'pictures'), report, breakdown)
    writeFileSync(join(HERE, 'RESULTS.md'), resultsPage(report, options, pictures))
    writeFileSync(join(HERE, 'recorded.json'), jsonText(recordedOf(report)))
    say('\nRecorded in RESULTS.md, recorded.json and pictures/.\n')
  }
  if (options.mode === 'check') {
    const checks = checkRatios(readRecorded(), report.ratios)
    say(`\n${checks.map(checkText).join('\n')}\n`)
    if (checks.some(({ isWorse }) => isWorse)) {
      throw new Error('the proxy has become slower than what is recorded')
    }
  }
}

async function runRound(runner: Runner, options: Options, n: number): Promise<Round> {
  const load = new Map<string, Figures>()
  const steady = new Map<string, SteadyFigures>()
  for (const each of options.cases) {
    const hasSteady = options.hasSteady(each)
    const figures = await runner.run(each, hasSteady).catch((error: unknown) => {
      throw new Error(`case ${each.name}, round ${n}`, { cause: error })
    })
    load.set(each.name, figures.load)
    let text = `${figures.load.cpuUsPerRequest.toFixed(1)} µs/req`
    if (figures.steady !== undefined) {
      steady.set(each.name, figures.steady)
      text += `, p50 ${figures.steady.p50Ms.toFixed(3)} ms at a steady rate`
    }
    say(`round ${n}  ${each.name}: ${text}\n`)
  }
  if (steady.size > 0) steady.set(DIRECT, await runner.runDirect())
  return { load, steady }
}

/** Answers with the names of those that there are figures for. */
function writePictures(
  folder: string,
  report: Report,
  breakdown: Breakdown | undefined,
): readonly string[] {
  const pictures = {
    'cost.svg': costPicture(report),
    'latency.svg': latencyPicture(report),
    'breakdown.svg': breakdown && breakdownPicture(breakdown),
  }
  return Object.entries(pictures).flatMap(([name, svg]) => {
    if (svg === undefined) return []
    writeFileSync(join(folder, name), svg)
    return [name]
  })
}

const jsonText = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`

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

const args = process.argv.slice(2)
if (args.includes('--help')) {
  say(`${USAGE}\n`)
  process.exit(0)
}
try {
  await run(parseOptions(args))
  process.exit(0) // sockets that are being closed hold nobody up
} catch (error) {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    process.stderr.write(`bench: ${cause.message}\n`)
  }
  process.exit(1)
}
