// A contender process: started on its core, measured from outside, ended. It holds a channel to this process and
// ends by itself when that closes, so that nothing is left behind even when the runner is killed.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import type { Peer } from './cases.ts'
import type { Usage } from './peers/announce.ts'

const CONTENDER_CORE = '0'
const RUNNER_CORE = '1'
const START_TIMEOUT_MS = 20_000
const STOP_TIMEOUT_MS = 3000
const USAGE_TIMEOUT_MS = 5000

/** /proc counts in hundredths of a second on every Linux (USER_HZ). */
const TICK_US = 10_000

/** Puts this process on its core; false when the machine cannot keep the two apart. */
export function pinRunner(): boolean {
  const canPin = (core: string) => spawnSync('taskset', ['-c', core, 'true']).status === 0
  if (availableParallelism() < 2 || !canPin(CONTENDER_CORE) || !canPin(RUNNER_CORE)) return false
  return spawnSync('taskset', ['-acp', RUNNER_CORE, String(process.pid)]).status === 0
}

export type StartOptions = {
  readonly upstream: string
  readonly folder: string
  readonly adminKey: string
  readonly isPinned: boolean
  /** Sallyport: with rates and velocities counted. */
  readonly isGuarded: boolean
  /** Where a processor profile is left when it ends; figures are then worse than without. */
  readonly profileFolder: string | undefined
}

export class Contender {
  readonly origin: string
  readonly #child: ChildProcess
  readonly #kill: () => void

  private constructor(child: ChildProcess, port: number, kill: () => void) {
    this.#child = child
    this.#kill = kill
    this.origin = `http://127.0.0.1:${port}`
  }

  static async start(peer: Peer, options: StartOptions): Promise<Contender> {
    const node = [
      process.execPath,
      '--disable-warning=DEP0060', // http-proxy's util._extend
      ...(options.profileFolder === undefined
        ? []
        : ['--cpu-prof', `--cpu-prof-dir=${options.profileFolder}`]),
      fileURLToPath(new URL(`./peers/${peer}.ts`, import.meta.url)),
      options.upstream,
      options.folder,
    ]
    const [command = '', ...args] = options.isPinned
      ? ['taskset', '-c', CONTENDER_CORE, ...node]
      : node
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
      env: {
        ...process.env,
        NODE_ENV: 'production',
        BENCH_ADMIN_KEY: options.adminKey,
        ...(options.isGuarded ? { BENCH_GUARDS: 'on' } : {}),
      },
    })
    const kill = () => {
      child.kill('SIGKILL')
    }
    process.prependListener('exit', kill) // before its folder is removed
    try {
      return new Contender(child, await portOf(child), kill)
    } catch (error) {
      process.off('exit', kill)
      kill()
      throw new Error(`${peer} did not start`, { cause: error })
    }
  }

  /** Processor time so far of all its threads, and its memory. */
  async usage(): Promise<Usage> {
    if (this.#hasEnded()) throw new Error('the contender has ended')
    const folder = `/proc/${this.#child.pid}`
    if (!existsSync(`${folder}/stat`)) {
      this.#child.send('usage')
      const signal = AbortSignal.timeout(USAGE_TIMEOUT_MS)
      const [usage] = (await once(this.#child, 'message', { signal })) as [Usage]
      return usage
    }
    // The second field is the command in brackets and may hold blanks; user and system time are the 14th and 15th.
    const stat = readFileSync(`${folder}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const status = readFileSync(`${folder}/status`, 'utf8')
    return {
      cpuUs: (Number(fields[11]) + Number(fields[12])) * TICK_US,
      rssBytes: Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) * 1024,
    }
  }

  async stop(): Promise<void> {
    process.off('exit', this.#kill)
    if (this.#hasEnded()) return
    const exited = once(this.#child, 'exit')
    const timer = setTimeout(this.#kill, STOP_TIMEOUT_MS)
    if (this.#child.connected) this.#child.disconnect()
    await exited
    clearTimeout(timer)
  }

  #hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null
  }
}

/** From the one line it prints when it is ready. */
async function portOf(child: ChildProcess): Promise<number> {
  const giveUp = AbortSignal.timeout(START_TIMEOUT_MS)
  const died = once(child, 'exit', { signal: giveUp }).then(([code, signal]) => {
    throw new Error(`it ended with ${code ?? signal}`)
  })
  let text = ''
  const announced = new Promise<number>((resolve, reject) => {
    child.once('error', reject)
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
      const port = /^\{"port":(\d+)\}$/m.exec(text)?.[1]
      if (port !== undefined) resolve(Number(port))
    })
  })
  died.catch(() => {}) // it ends in its own time when it has announced itself
  return Promise.race([announced, died])
}
