// Growth: a vault with so many payment methods, each with a card of its own, and the payment with each time another of
// them. They are stored by the vault's own code without its API (fill.ts), once for all rounds.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { cardNumber } from './card-numbers.ts'
import type { Target } from './connection.ts'
import type { Contender } from './contender.ts'
import type { Workload } from './load.ts'
import { CARD, payment, placeholders, withCards } from './payment.ts'
import { placesOf, requestBytes, write } from './request-bytes.ts'
import { setUp } from './set-up.ts'
import { ANSWER, type Upstream } from './upstream.ts'

/** Of the last part of an id. */
export const ID_BYTES = 16

export type StoredMethods = {
  /** Of the installation that has them. */
  readonly folder: string
  readonly proxyKey: string
  readonly count: number
  readonly fillSeconds: number
  /** What an id is but for its last part. */
  readonly prefix: string
  /** The last part of each, as bytes, in the order of their card numbers. */
  readonly ids: Buffer
}

/** `start`: of a contender with this folder for its data, which is ended again. */
export async function storeMethods(
  folder: string,
  count: number,
  adminKey: string,
  upstream: Upstream,
  start: (folder: string) => Promise<Contender>,
): Promise<StoredMethods> {
  const data = join(folder, 'data')
  mkdirSync(data, { recursive: true })
  const contender = await start(data)
  const target = { origin: contender.origin, ca: contender.ca }
  const merchant = await setUp(target, upstream.origin, adminKey, {
    fieldsAt: 'anywhere',
    tokens: 0,
  }).finally(() => contender.stop())

  const idsFile = join(folder, 'ids')
  const startMs = performance.now()
  const fill = fileURLToPath(new URL('./fill.ts', import.meta.url))
  const child = spawn(
    process.execPath,
    [fill, data, merchant.id, merchant.customer, String(count), idsFile],
    { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] },
  )
  const kill = () => child.kill('SIGKILL')
  process.prependListener('exit', kill)
  const [code] = await once(child, 'exit')
  process.off('exit', kill)
  if (code !== 0) throw new Error(`storing ${count} payment methods ended with ${code}`)
  const ids = readFileSync(idsFile)
  rmSync(idsFile)
  if (ids.length !== count * ID_BYTES) throw new Error('not all payment methods were stored')
  return {
    folder: data,
    proxyKey: merchant.proxyKey,
    count,
    fillSeconds: (performance.now() - startMs) / 1000,
    prefix: 'local_pm_',
    ids,
  }
}

const INDEX_DIGITS = 11
/** In the reference of the payment, where the upstream finds which card it has to be. */
const INDEX_MARK = '2026-000117'

export function storedPayment(target: Target, stored: StoredMethods): Workload {
  const { proxyKey, prefix, ids, count } = stored
  const mark = '#'.repeat(ID_BYTES * 2)
  const asked = placeholders(prefix + mark)
  const body = payment('json', [asked])
  const headers = { 'content-type': 'application/json', 'sallyport-key': proxyKey }
  const request = requestBytes(target.origin, 'POST', '/d/psp/payments', headers, body)
  const answer = Buffer.from(ANSWER)

  const numberMark = '#'.repeat(cardNumber(0).length)
  const arriving = withCards(body, [asked], [{ ...CARD, number: numberMark }])
  const right = Buffer.from(arriving)
  const numberPlaces = placesOf(right, numberMark)
  const indexPlaces = placesOf(right, INDEX_MARK)
  const indexAt = indexPlaces[0] as number

  return {
    target,
    newCaller() {
      const bytes = Buffer.from(request)
      const idPlaces = placesOf(bytes, mark)
      const indexInRequest = placesOf(bytes, INDEX_MARK)
      return {
        next() {
          const n = Math.floor(Math.random() * count)
          write(bytes, idPlaces, ids.toString('hex', n * ID_BYTES, (n + 1) * ID_BYTES))
          write(bytes, indexInRequest, String(n).padStart(INDEX_DIGITS, '0'))
          return bytes
        },
        isRight: (status, got) => status === '200' && got.equals(answer),
      }
    },
    isExpected(got) {
      const index = got.toString('latin1', indexAt, indexAt + INDEX_DIGITS)
      write(right, indexPlaces, index)
      write(right, numberPlaces, cardNumber(Number(index)))
      return got.equals(right)
    },
    reachesUpstream: true,
    same: undefined,
  }
}
