// Starts other processes on a store's folder: real ones, as the workers of an installation are.

import { execFile, execFileSync } from 'node:child_process'
import { promisify } from 'node:util'
import type { Store } from '../../src/store/contract.ts'
import { decodeJson, encodeJson } from '../../src/store/lmdb/codec.ts'

type Method = Exclude<keyof Store, 'hourKeys' | typeof Symbol.asyncDispose>
export type Call = { [Name in Method]: [Name, ...Parameters<Store[Name]>] }[Method]
export type Calls = readonly Call[]

const SCRIPT = new URL('./other-process.ts', import.meta.url).pathname

/** Blocks until the other process has ended: in this one not even the turn of the event loop is another. */
export function callElsewhere(folder: string, ...calls: Calls): readonly unknown[] {
  return decodeJson(execFileSync(process.execPath, argumentsFor(folder, 0, calls)))
}

/** One process for each list of calls, all beginning at the same time. */
export async function raceElsewhere(folder: string, lists: readonly Calls[]) {
  const startMs = Date.now() + 400 // by then each has opened the store
  const run = async (calls: Calls): Promise<readonly unknown[]> => {
    const { stdout } = await promisify(execFile)(
      process.execPath,
      argumentsFor(folder, startMs, calls),
    )
    return decodeJson(Buffer.from(stdout))
  }
  return Promise.all(lists.map(run))
}

function argumentsFor(folder: string, startMs: number, calls: Calls): string[] {
  return [SCRIPT, folder, `${startMs}`, encodeJson(calls).toString()]
}
