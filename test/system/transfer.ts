// Commands of an operator on an installation's folder: import, export, purge, each a process of its own.

import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { type Admin, createAdmin } from '../../src/access/admin.ts'
import { openParts, type Parts } from '../../src/cli/open-parts.ts'
import { parseConfig } from '../../src/config.ts'
import type { Scope } from '../../src/core/caller.ts'
import type { Cidr } from '../../src/core/cidr.ts'
import { createIds, type MerchantId } from '../../src/core/ids.ts'
import { randomCard } from '../vault/cards.ts'
import { ADMIN_KEY } from './shop.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

export type Ended = {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

type RunOptions = {
  /** Standard input. */
  readonly input?: string | Buffer
  /** Asked all the time; then the process ends like in a power cut. */
  readonly killWhen?: () => boolean
}

/** One that is fed as it runs. */
export type Started = {
  readonly child: ChildProcess
  /** More of standard input. */
  send(text: string): void
  /** The end of standard input, and what came of it. */
  end(): Promise<Ended>
  readonly ended: Promise<Ended>
}

export type Site = {
  /** Above everything that the test writes. */
  readonly folder: string
  readonly data: string
  /** A path for a file of the test. */
  file(name: string): string
  /** Runs `sallyport …` on it. */
  run(args: readonly string[], options?: RunOptions): Promise<Ended>
  /** The same, with standard input open. */
  start(args: readonly string[]): Started
  /** Everything that audit files say, line by line. */
  audit(): readonly Record<string, any>[]
}

/** With one merchant, `shop`, the admin key of shop.ts, and no server running. */
export async function openSite(): Promise<Site> {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-transfer-'))
  const data = join(folder, 'data')
  const site: Site = {
    folder,
    data,
    file: (name) => join(folder, name),
    run: (args, options = {}) => run(data, args, options),
    start: (args) => start(data, args, 'pipe'),
    audit() {
      const files = readdirSync(join(data, 'audit')).map((name) => join(data, 'audit', name))
      return files
        .flatMap((file) => readFileSync(file, 'utf8').split('\n').slice(0, -1))
        .map((line) => JSON.parse(line))
    },
  }
  await withAdmin(site, async (admin) => {
    await admin.createMerchant('Shop', 'shop' as MerchantId)
    await admin.createApiKey(adminKey(undefined), ADMIN_KEY)
  })
  return site
}

const adminKey = (merchantId: MerchantId | undefined) => ({
  merchantId,
  name: 'admin',
  scopes: ['admin' as const],
  expiresAtMs: undefined,
  allowedCidrs: [],
})

/** Another admin key, of a merchant or of the installation. */
export function newAdminKey(
  site: Site,
  merchant?: string,
  more: { allowedCidrs?: readonly Cidr[]; scopes?: readonly Scope[] } = {},
): Promise<{ id: string; apiKey: string }> {
  return withAdmin(site, async (admin) => {
    const wanted = { ...adminKey(merchant as MerchantId | undefined), ...more }
    const { record, apiKey } = await admin.createApiKey(wanted)
    return { id: record.id, apiKey }
  })
}

/** What an operator does through the API, without a server to start and stop. */
export async function withAdmin<T>(
  site: Site,
  work: (admin: Admin, parts: Parts) => Promise<T>,
): Promise<T> {
  const result = parseConfig({ yaml: JSON.stringify({ data_dir: site.data }), env: {} })
  if (result.kind === 'bad') throw new Error(result.problems.join('; '))
  await using opened = new AsyncDisposableStack()
  const parts = await openParts(result.config, opened, (_what, error) => {
    throw error
  })
  return await work(createAdmin({ ...parts, ids: createIds('local', parts.clock) }), parts)
}

async function run(
  data: string,
  args: readonly string[],
  { input, killWhen }: RunOptions,
): Promise<Ended> {
  const { child, ended } = start(data, args, input === undefined ? 'ignore' : 'pipe')
  const watch = setInterval(() => {
    if (killWhen?.()) child.kill('SIGKILL')
  }, 5)
  child.stdin?.end(input)
  return ended.finally(() => clearInterval(watch))
}

function start(data: string, args: readonly string[], stdin: 'pipe' | 'ignore'): Started {
  const child = spawn(process.execPath, ['src/main.ts', ...args], {
    cwd: ROOT,
    env: { PATH: process.env.PATH ?? '', HOME: process.env.HOME ?? '', SALLYPORT_DATA_DIR: data },
    stdio: [stdin, 'pipe', 'pipe'],
  })
  child.stdin?.on('error', () => {}) // it may end before it has read everything
  const stdout: Buffer[] = []
  const stderr: Buffer[] = []
  child.stdout?.on('data', (chunk: Buffer) => stdout.push(chunk))
  child.stderr?.on('data', (chunk: Buffer) => stderr.push(chunk))
  const ended = once(child, 'close').then(([code]) => ({
    code,
    stdout: Buffer.concat(stdout).toString(),
    stderr: Buffer.concat(stderr).toString(),
  }))
  return {
    child,
    ended,
    send: (text) => {
      child.stdin?.write(text)
    },
    end() {
      child.stdin?.end()
      return ended
    },
  }
}

export type OldCard = { readonly id: string; readonly number: string; readonly customer: string }

/** Cards that do not exist, each of a customer of its own. */
export function oldCards(count: number, prefix = 'old'): readonly OldCard[] {
  return Array.from({ length: count }, (_, index) => ({
    id: `${prefix}_${index}`,
    number: randomCard(),
    customer: `user-${index}`,
  }))
}

export function csvOf(cards: readonly OldCard[]): string {
  const rows = cards.map(
    ({ id, number, customer }) => `${id},${number},3,2035,Jo Example,${customer}`,
  )
  return [
    'id,card_number,card_exp_month,card_exp_year,card_holder_name,customer_reference',
    ...rows,
  ]
    .map((line) => `${line}\r\n`)
    .join('')
}

export type Mapped = Record<
  'line' | 'id' | 'customer_id' | 'payment_method_id' | 'outcome' | 'check',
  string
>

/** Of a file whose fields hold no commas. */
export function mapped(path: string): readonly Mapped[] {
  const [header = '', ...lines] = readFileSync(path, 'utf8').split('\n').slice(0, -1)
  const names = header.split(',')
  return lines.map((line) => {
    const values = line.split(',')
    return Object.fromEntries(names.map((name, index) => [name, values[index]])) as Mapped
  })
}

export const execute = promisify(execFile)
