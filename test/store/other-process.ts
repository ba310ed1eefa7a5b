// Another process on the same store: makes the calls it is given one after the other, prints their answers
// and ends. Arguments: the folder, when to begin (so that several can race) and the calls, as the JSON that the
// store writes itself (it knows sealed values).

import { decodeJson, encodeJson } from '../../src/store/lmdb/codec.ts'
import { openLmdbStore } from '../../src/store/lmdb/lmdb-store.ts'
import type { Calls } from './processes.ts'

const [, , folder = '', startMs = '0', json = '[]'] = process.argv
const calls = decodeJson<Calls>(Buffer.from(json))

await using store = await openLmdbStore({
  folder,
  hourKeysFolder: `${folder}/cvc-keys`,
  onFatal: (error) => {
    throw error
  },
})
while (Date.now() < Number(startMs)) {
  // Spinning: a timer would be late by more than what the race is about.
}
const answers: unknown[] = []
for (const [name, ...args] of calls) {
  // The parent's types have checked that these are the arguments of this method.
  const method = store[name] as (...args: readonly unknown[]) => unknown
  // JSON has no undefined: null stands for it on both ways.
  const given = args.map((each: unknown) => each ?? undefined)
  answers.push((await method.apply(store, given)) ?? null)
}
process.stdout.write(encodeJson(answers))
