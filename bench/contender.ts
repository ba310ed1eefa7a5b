// A contender process: started on its core, measured from outside, ended. Nothing is left behind even when the runner is
// killed: a Node program holds a channel to this process and ends by itself when that closes, any other is ended by
// the kernel (setpriv).

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { on, once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { availableParallelism } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { ANSWERS, ContenderArguments, Question, Resources, Usage } from './peers/announce.ts'
import type { Certificates } from './peers/certificates.ts'
import { isNative, type NativePeer, nativeCommand } from './peers/native.ts'
import type { Peer } from './peers/peers.ts'

const CONTENDER_CORE = '0'
const RUNNER_CORE = '1'
const START_TIMEOUT_MS = 20_000
const STOP_TIMEOUT_MS = 3000
const ANSWER_TIMEOUT_MS = 5000
const CONNECT_PAUSE_MS = 20

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
  /** Empty, for this contender alone, and removed by the runner. */
  readonly folder: string
  readonly adminKey: string
  readonly isPinned: boolean
  /** Sallyport: with rates and velocities counted. */
  readonly isGuarded: boolean
  /** Where a processor profile is left when it ends, by Node programs; figures are then worse than without. */
  readonly profileFolder: string | undefined
} & Tls

/** `upstream`: the upstream has this certificate; `both`: the contender serves with it, too. */
export type Tls =
  | { readonly tls?: 'none' }
  | { readonly tls: 'upstream' | 'both'; readonly certificates: Certificates }

export class Contender {
  readonly origin: string
  /** PEM, of who signed the certificate behind an https origin. */
  readonly ca: string | undefined
  readonly #child: ChildProcess
  readonly #kill: () => void

  private constructor(
    child: ChildProcess,
    port: number,
    listenerTls: Certificates | undefined,
    kill: () => void,
  ) {
    this.#child = child
    this.#kill = kill
    this.origin = `${listenerTls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`
    this.ca = listenerTls?.ca
  }

  static async start(peer: Peer, options: StartOptions): Promise<Contender> {
    const certificates =
      options.tls === 'upstream' || options.tls === 'both' ? options.certificates : undefined
    const wanted: ContenderArguments = {
      upstream: options.upstream,
      folder: options.folder,
      upstreamTls: certificates,
      listenerTls: options.tls === 'both' ? certificates : undefined,
    }
    const port = isNative(peer) ? await freePort() : 0
    const program = isNative(peer)
      ? ['setpriv', '--pdeathsig', 'KILL', ...nativeCommand(peer, wanted, port)]
      : nodeCommand(peer, wanted, options.profileFolder)
    const [command = '', ...args] = options.isPinned
      ? ['taskset', '-c', CONTENDER_CORE, ...program]
      : program
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'inherit', ...(isNative(peer) ? [] : ['ipc' as const])],
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
      const ready = isNative(peer) ? accepting(child, port) : announced(child)
      return new Contender(child, await whileAlive(child, ready), wanted.listenerTls, kill)
    } catch (error) {
      process.off('exit', kill)
      kill()
      throw new Error(`${peer} did not start`, { cause: error })
    }
  }

  /** Processor time so far of all its threads, and its memory. */
  async usage(): Promise<Usage> {
    const folder = this.#procFolder()
    if (folder === undefined) return this.#ask('usage')
    // The second field is the command in brackets and may hold blanks; user and system time are the 14th and 15th.
    const stat = readFileSync(`${folder}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const status = readFileSync(`${folder}/status`, 'utf8')
    return {
      cpuUs: (Number(fields[11]) + Number(fields[12])) * TICK_US,
      rssBytes: Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) * 1024,
    }
  }

  /** What it holds open at the moment; of a program that is not Node's, its files only. */
  async resources(): Promise<Resources> {
    if (this.#child.connected) return this.#ask('resources')
    return { active: {}, openFiles: readdirSync(`${this.#procFolder()}/fd`).length }
  }

  async stop(): Promise<void> {
    process.off('exit', this.#kill)
    if (this.#hasEnded()) return
    const exited = once(this.#child, 'exit')
    const timer = setTimeout(this.#kill, STOP_TIMEOUT_MS)
    if (this.#child.connected) this.#child.disconnect()
    else this.#child.kill()
    await exited
    clearTimeout(timer)
  }

  /** Undefined where the operating system has none. */
  #procFolder(): string | undefined {
    if (this.#hasEnded()) throw new Error('the contender has ended')
    const folder = `/proc/${this.#child.pid}`
    return existsSync(`${folder}/stat`) ? folder : undefined
  }

  async #ask<Q extends Question>(question: Q): Promise<ReturnType<(typeof ANSWERS)[Q]>> {
    this.#child.send(question)
    const signal = AbortSignal.timeout(ANSWER_TIMEOUT_MS)
    for await (const [message] of on(this.#child, 'message', { signal })) {
      if (message.question === question) return message.answer
    }
    throw new Error('the contender has ended')
  }

  #hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null
  }
}

function nodeCommand(
  peer: Exclude<Peer, NativePeer>,
  wanted: ContenderArguments,
  profileFolder: string | undefined,
): string[] {
  return [
    process.execPath,
    '--disable-warning=DEP0060', // http-proxy's util._extend
    ...(profileFolder === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profileFolder}`]),
    fileURLToPath(new URL(`./peers/${peer}.ts`, import.meta.url)),
    JSON.stringify(wanted),
  ]
}

/** The port, when it is ready; throws when it ends before or takes too long. */
async function whileAlive(child: ChildProcess, port: Promise<number>): Promise<number> {
  const giveUp = AbortSignal.timeout(START_TIMEOUT_MS)
  const ended = once(child, 'exit', { signal: giveUp }).then(([code, signal]) => {
    throw new Error(`it ended with ${code ?? signal}`)
  })
  ended.catch(() => {}) // it ends in its own time when it is ready
  return Promise.race([port, ended])
}

/** From the one line that a Node program prints when it is ready. */
function announced(child: ChildProcess): Promise<number> {
  let text = ''
  return new Promise((resolve) => {
    child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
      const port = /^\{"port":(\d+)\}$/m.exec(text)?.[1]
      if (port !== undefined) resolve(Number(port))
    })
  })
}

async function accepting(child: ChildProcess, port: number): Promise<number> {
  while (child.exitCode === null && child.signalCode === null) {
    const socket = connect(port, '127.0.0.1')
    const isOpen = await once(socket, 'connect').then(
      () => true,
      () => false,
    )
    socket.destroy()
    if (isOpen) break
    await delay(CONNECT_PAUSE_MS)
  }
  return port
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
