// Sallyport as an operator runs it: a process of its own, with its variables, its output and its end.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const START_LIMIT_MS = 45_000

export type Run = {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export type Command = {
  readonly child: ChildProcess
  readonly ended: Promise<Run>
  output(): { stdout: string; stderr: string }
}

export type Served = Command & {
  readonly origin: string
  readonly opsOrigin: string
  /** SIGTERM, and what came of it. */
  stop(): Promise<Run>
  kill(): Promise<Run>
  [Symbol.asyncDispose](): Promise<void>
}

/** Without the variables of whoever runs the tests. */
export function run(args: readonly string[], env: Record<string, string> = {}): Command {
  const child = spawn(process.execPath, ['src/main.ts', ...args], {
    cwd: ROOT,
    env: { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const chunks = { stdout: [] as Buffer[], stderr: [] as Buffer[] }
  child.stdout.on('data', (chunk: Buffer) => chunks.stdout.push(chunk))
  child.stderr.on('data', (chunk: Buffer) => chunks.stderr.push(chunk))
  const output = () => ({
    stdout: Buffer.concat(chunks.stdout).toString('latin1'),
    stderr: Buffer.concat(chunks.stderr).toString('latin1'),
  })
  const ended = once(child, 'close').then(([code, signal]) => ({ code, signal, ...output() }))
  return { child, ended, output }
}

/** On ports that are free, in that folder; settles when it says that it has started. */
export async function serve(
  folder: string,
  env: Record<string, string> = {},
  args: readonly string[] = [],
): Promise<Served> {
  const command = run(['serve', ...args], {
    SALLYPORT_DATA_DIR: folder,
    SALLYPORT_HOST: '127.0.0.1',
    SALLYPORT_PORT: '0',
    SALLYPORT_OPS_PORT: '0',
    SALLYPORT_EGRESS_ALLOW_HTTP: 'true',
    SALLYPORT_EGRESS_ALLOW_PRIVATE: '127.0.0.0/8',
    ...env,
  })
  const { child, ended, output } = command
  const started = await new Promise<{ api: string; ops: string }>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('it did not start in time')), START_LIMIT_MS)
    child.stdout?.on('data', () => {
      const line = output()
        .stdout.split('\n')
        .find((each) => each.includes('"event":"started"'))
      if (line === undefined || !line.endsWith('}')) return
      clearTimeout(timer)
      resolve(JSON.parse(line))
    })
    void ended.then(({ code, stdout, stderr }) => {
      clearTimeout(timer)
      reject(new Error(`it ended with ${code}: ${stdout.slice(-2000)}${stderr.slice(-2000)}`))
    })
  })
  const end = (signal: NodeJS.Signals) => {
    child.kill(signal)
    return ended
  }
  return {
    ...command,
    origin: started.api,
    opsOrigin: started.ops,
    stop: () => end('SIGTERM'),
    kill: () => end('SIGKILL'),
    async [Symbol.asyncDispose]() {
      await end('SIGKILL')
    },
  }
}
