// Acknowledged means on disk. Two proofs: a process that is killed under load loses nothing it had acknowledged
// (which shows that commits are whole, but the kernel survives a SIGKILL and could write later what was only
// in its cache), and the order of its system calls, which shows that the disk was waited for. And what happens
// when the disk refuses.

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, describe, expect, type TestContext, test } from 'vitest'
import type { PaymentMethodId } from '../../src/core/ids.ts'
import type { CustomerRecord, Store } from '../../src/store/contract.ts'
import { openLmdbStore } from '../../src/store/lmdb/lmdb-store.ts'
import { derivedMethod, newMethod, seedMerchant } from './records.ts'
import { readTrace, type SystemCall } from './strace.ts'

const WRITER = new URL('./durability-writer.ts', import.meta.url).pathname
const root = mkdtempSync(join(tmpdir(), 'sallyport-durability-'))
afterAll(() => rmSync(root, { recursive: true }))

const openIn = (folder: string) =>
  openLmdbStore({
    folder,
    hourKeysFolder: `${folder}/cvc-keys`,
    onFatal: (error) => {
      throw error
    },
  })

/** A folder with a store in it that nobody has open, and what the writer needs to know. */
async function prepare(name: string) {
  const folder = join(root, name)
  await using store = await openIn(folder)
  const { merchant, customer } = await seedMerchant(store)
  const argumentsFor = (inFlight: number, count: number) => [
    WRITER,
    folder,
    merchant.id,
    customer.id,
    `${inFlight}`,
    `${count}`,
  ]
  return { folder, customer, argumentsFor, spoken: join(root, `${name}.out`) }
}

/** With its standard output in a file: what was written there stays when the process is killed. */
function start(
  command: string,
  argv: readonly string[],
  spoken: string,
  stderr: 'inherit' | 'ignore' = 'inherit',
): ChildProcess {
  const output = openSync(spoken, 'a')
  const child = spawn(command, argv, { stdio: ['ignore', output, stderr] })
  closeSync(output)
  return child
}

function acknowledgements(spoken: string) {
  const lines = readFileSync(spoken, 'utf8').split('\n').slice(0, -1)
  const said = (what: string) =>
    lines.filter((line) => line.startsWith(`${what} `)).map((line) => line.slice(what.length + 1))
  const ids = (what: string) => said(what) as PaymentMethodId[] // the writer prints nothing else there
  return {
    inserted: ids('inserted'),
    taking: new Set(ids('taking')),
    taken: new Set(ids('taken')),
    deleting: new Set(ids('deleting')),
    deleted: new Set(ids('deleted')),
    refused: ids('refused'),
    seen: ids('seen'),
    fatal: said('fatal'),
  }
}

/** What is in the store of this payment method: `true` where it is there and right. */
async function examine(store: Store, customer: CustomerRecord, id: PaymentMethodId) {
  const { method, cvc } = derivedMethod(customer, id)
  const { merchantId, fingerprint } = method
  const stored = await store.findPaymentMethod(merchantId, id)
  const code = await store.findCvc(merchantId, id)
  const byFingerprint = fingerprint && (await store.findByFingerprint(merchantId, fingerprint))
  return {
    isRight:
      stored !== undefined &&
      Buffer.compare(stored.card, method.card) === 0 &&
      Buffer.compare(stored.details, method.details) === 0 &&
      stored.fields === method.fields &&
      byFingerprint?.id === id,
    isGone: stored === undefined && code === undefined && byFingerprint === undefined,
    hasCode: code !== undefined && Buffer.compare(code.sealed, cvc.sealed) === 0,
    hasNoCode: code === undefined,
  }
}

/** A count, not a time: how fast a disk is was never the question. */
async function hasWritten(
  spoken: string,
  wanted: { inserted: number; taken: number; deleted: number },
): Promise<void> {
  const deadline = Date.now() + 50_000
  for (;;) {
    const { inserted, taken, deleted } = acknowledgements(spoken)
    const isEnough =
      inserted.length > wanted.inserted &&
      taken.size > wanted.taken &&
      deleted.size > wanted.deleted
    if (isEnough) return
    if (Date.now() > deadline) throw new Error(`only ${inserted.length} were written in time`)
    await sleep(10)
  }
}

// Not only that it is installed: a container may forbid it to trace.
const canTrace = spawnSync('strace', ['-o', '/dev/null', 'true']).status === 0

function skipLoudly(context: TestContext, unproven: string): never {
  const note = `NOT PROVEN, because strace is missing here: ${unproven}`
  if (process.env.CI) throw new Error(note)
  console.warn(note)
  context.skip(note)
}

describe('a process that is killed under load', () => {
  test('loses nothing that it had acknowledged, and leaves nothing half-written', async () => {
    const { folder, customer, argumentsFor, spoken } = await prepare('killed')
    for (const round of [1, 2, 3]) {
      const writer = start(process.execPath, argumentsFor(32, 1_000_000), spoken)
      await hasWritten(spoken, { inserted: 200 * round, taken: 25 * round, deleted: 25 * round })
      await sleep(20 * Math.random())
      writer.kill('SIGKILL')
      const [, signal] = await once(writer, 'exit')
      expect(signal).toBe('SIGKILL') // and not an end of its own
    }

    await using store = await openIn(folder)

    const { inserted, taking, taken, deleting, deleted } = acknowledgements(spoken)
    expect(inserted.length).toBeGreaterThan(500)
    expect(taken.size).toBeGreaterThan(50)
    expect(deleted.size).toBeGreaterThan(50)
    const wrong: unknown[] = []
    for (const id of inserted) {
      const seen = await examine(store, customer, id)
      const isKept = deleted.has(id)
        ? seen.isGone
        : deleting.has(id)
          ? seen.isRight || seen.isGone
          : taken.has(id)
            ? seen.isRight && seen.hasNoCode
            : taking.has(id)
              ? seen.isRight
              : seen.isRight && seen.hasCode
      if (!isKept) wrong.push({ id, ...seen })
    }
    expect(wrong).toEqual([])

    // What was not acknowledged may be there, but only whole.
    const listed = await store.listPaymentMethods(customer.merchantId, customer.id)
    const halves: unknown[] = []
    for (const { id } of listed) {
      if (!(await examine(store, customer, id)).isRight) halves.push(id)
    }
    expect(halves).toEqual([])
    expect(listed.length).toBeGreaterThanOrEqual(inserted.length - deleting.size)
    expect(await store.insertPaymentMethod(newMethod(customer), undefined)).toEqual({
      kind: 'inserted',
    })
  })
})

describe('a write that fails', () => {
  // Silent: lmdb prints its errors, and promises of its own that nobody holds end the process after ours are settled.
  const run = async (command: string, argv: readonly string[], spoken: string) => {
    await once(start(command, argv, spoken, 'ignore'), 'exit')
    return acknowledgements(spoken)
  }

  test('for lack of room is refused and fatal, and takes nothing acknowledged away', async () => {
    const { folder, customer, argumentsFor, spoken } = await prepare('full')
    // A limit on the size of a file answers like a full disk, and needs no disk of its own: 1024 × 512 bytes.
    const limited = ['-c', 'ulimit -f 1024; exec "$@"', 'sh', process.execPath]

    const said = await run('sh', [...limited, ...argumentsFor(8, 100_000)], spoken)

    expect(said.refused.length).toBeGreaterThan(0)
    expect(said.fatal.length).toBeGreaterThan(0)
    expect(said.seen).toEqual([])
    expect(said.inserted.length).toBeGreaterThan(50)
    expect(await lost(folder, customer, said)).toEqual([])
  })

  test('because the disk could not be waited for is refused and fatal, and is never seen', async (context) => {
    if (!canTrace) return skipLoudly(context, 'that a value is not seen before it is on disk')
    const { folder, customer, argumentsFor, spoken } = await prepare('unsynced')
    // Every thread's fifth sync fails: the first ones open the store.
    const failing = ['-f', '-o', '/dev/null', '-e', 'trace=fdatasync']
    const inject = ['-e', 'inject=fdatasync:error=EIO:when=5+', process.execPath]

    const said = await run('strace', [...failing, ...inject, ...argumentsFor(1, 100)], spoken)

    expect(said.refused).toHaveLength(1)
    expect(said.fatal.length).toBeGreaterThan(0)
    expect(said.seen).toEqual([])
    expect(said.inserted.length).toBeGreaterThan(0)
    expect(await lost(folder, customer, said)).toEqual([])
  })

  /** What was acknowledged before the failure and is not there after it. */
  async function lost(
    folder: string,
    customer: CustomerRecord,
    { inserted, deleting }: ReturnType<typeof acknowledgements>,
  ): Promise<readonly PaymentMethodId[]> {
    await using store = await openIn(folder)
    const missing: PaymentMethodId[] = []
    for (const id of inserted) {
      if (!deleting.has(id) && !(await examine(store, customer, id)).isRight) missing.push(id)
    }
    return missing
  }
})

describe('the system calls of a writer', () => {
  test('put data, then the root that points to it, on the disk before a write is acknowledged', async (context) => {
    if (!canTrace) return skipLoudly(context, 'that a write is on disk before it is acknowledged')
    const { folder, argumentsFor, spoken } = await prepare('traced')
    const traceFile = join(root, 'trace')
    const calls =
      'openat,close,mmap,fdatasync,fsync,msync,sync_file_range,write,pwrite64,pwritev,writev'
    const traced = ['-f', '-tt', '-y', '-s', '80', '-e', `trace=${calls},?link,?linkat`]
    const command = [...traced, '-o', traceFile, process.execPath, ...argumentsFor(1, 8)]
    expect(await once(start('strace', command, spoken), 'exit')).toEqual([0, null])

    const trace = readTrace(readFileSync(traceFile, 'utf8'))
    const data = join(folder, 'sallyport.mdb')

    // Were the file mapped for writing, pages could be dirty that no call tells of.
    const mappings = trace.filter(({ name, text }) => name === 'mmap' && text.includes(`<${data}>`))
    expect(mappings.length).toBeGreaterThan(0)
    expect(mappings.filter(({ text }) => text.includes('PROT_WRITE'))).toEqual([])

    // What happened to the data file and the hour keys between one acknowledgement and the next.
    const steps = durableSteps(trace, folder, spoken)
    const acknowledged = steps.filter((step) => step.startsWith('ack'))
    expect(acknowledged).toHaveLength(1 + 8 + 2 + 2)
    const commit = ['write pages', 'sync pages', 'write root, synchronously']
    expect(steps).toEqual([
      'write hour key',
      'sync hour key',
      'link hour key',
      'sync folder of hour keys',
      'ack hour-key',
      ...acknowledged.slice(1).flatMap((ack) => [...commit, ack]),
    ])
  })
})

/** The calls that matter, by meaning; the same one again and again is one step. Each ended before the next began. */
function durableSteps(trace: readonly SystemCall[], folder: string, spoken: string): string[] {
  const synchronous = new Set<string>() // file descriptors that answer when the disk has it
  const steps: { step: string; call: SystemCall }[] = []
  for (const call of trace) {
    const { name, text, result } = call
    const file = /^(\d+)<([^>]*)>/.exec(text) // of its first argument
    const [, fd = '', path = ''] = file ?? []
    const isWrite = name.includes('write')
    const isSync = name === 'fdatasync' || name === 'fsync'
    const step = (what: string) => steps.push({ step: what, call })
    if (name === 'openat') {
      const opened = /^(\d+)</.exec(result)?.[1] ?? ''
      if (/O_D?SYNC\b/.test(text)) synchronous.add(opened)
      else synchronous.delete(opened)
    } else if (path === spoken && isWrite) {
      const line = /"(\S+) /.exec(text)?.[1] ?? ''
      // That something begins is no acknowledgement.
      if (line !== 'taking' && line !== 'deleting') step(`ack ${line}`)
    } else if (path === join(folder, 'sallyport.mdb')) {
      if (isWrite) step(synchronous.has(fd) ? 'write root, synchronously' : 'write pages')
      if (isSync && result === '0') step('sync pages')
    } else if (path.endsWith('.draft')) {
      if (isWrite) step('write hour key')
      if (isSync && result === '0') step('sync hour key')
    } else if (name.startsWith('link')) {
      step('link hour key')
    } else if (path === join(folder, 'cvc-keys') && isSync && result === '0') {
      step('sync folder of hour keys')
    }
  }
  const ofTheWriter = steps.slice(
    steps.findIndex(({ step }) => step === 'write hour key'), // before it: opening the store
    steps.findLastIndex(({ step }) => step.startsWith('ack')) + 1, // after it: closing
  )
  for (const [n, { call }] of ofTheWriter.entries()) {
    const next = ofTheWriter[n + 1]
    if (next !== undefined) expect(call.endLine).toBeLessThanOrEqual(next.call.startLine)
  }
  return ofTheWriter
    .map(({ step }) => step)
    .filter((step, n, all) => step !== all[n - 1] || step.startsWith('ack'))
}
