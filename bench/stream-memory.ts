// What a long body costs the proxy in memory: 100 MB of JSON with 100,000 placeholders go through a Sallyport of their
// own; the upstream's hash is compared with that of the right body, and the growth of the process is held against its
// target.

import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer, request as httpRequest, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Contender } from './contender.ts'
import { CARD } from './payment.ts'
import { setUp } from './set-up.ts'

const BODY_BYTES = 100_000_000
const PLACEHOLDERS = 100_000
export const STREAM_TARGET_BYTES = 64 * 1024 * 1024
const SAMPLE_MS = 50
/** About what Node reads from a socket at once. */
const CHUNK_BYTES = 64 * 1024
const MAX_BODY_BYTES = 256 * 1024 * 1024

export type StreamMemory = {
  readonly bodyBytes: number
  readonly placeholders: number
  readonly seconds: number
  readonly rssBeforeBytes: number
  readonly rssPeakBytes: number
  readonly growthBytes: number
  readonly isWithinTarget: boolean
}

/** One record of the body, with whatever stands where the number belongs. */
function recordsWith(number: string): { readonly first: Buffer; readonly others: Buffer } {
  const filler = 'x'.repeat(BODY_BYTES / PLACEHOLDERS - 46)
  const record = `{"number":"${number}","reference":"${filler}"}`
  return { first: Buffer.from(`[${record}`), others: Buffer.from(`,\n${record}`) }
}

async function startHashingUpstream() {
  const received: { hash: string; bytes: number; isChunked: boolean }[] = []
  const server = createServer((request, response) => {
    const hash = createHash('sha256')
    let bytes = 0
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      hash.update(chunk)
    })
    request.on('end', () => {
      const isChunked = request.headers['transfer-encoding'] === 'chunked'
      received.push({ hash: hash.digest('hex'), bytes, isChunked })
      response.end('{}')
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received,
    close() {
      server.close()
      server.closeAllConnections()
    },
  }
}

/** Of a process that has served a body of the same kind before, so that what it needs anyway is there. */
export async function measureStreamMemory(isPinned: boolean): Promise<StreamMemory> {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-bench-'))
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }))
  const adminKey = randomBytes(24).toString('hex')
  const upstream = await startHashingUpstream()
  const dataFolder = join(folder, 'data')
  mkdirSync(dataFolder)
  const contender = await Contender.start('sallyport', {
    upstream: upstream.origin,
    folder: dataFolder,
    adminKey,
    isPinned,
    isGuarded: false,
    profileFolder: undefined,
  })
  try {
    const target = { origin: contender.origin, ca: undefined }
    const { proxyKey, tokens } = await setUp(target, upstream.origin, adminKey, {
      fieldsAt: 'anywhere',
      tokens: 1,
      settings: { limits: { body_bytes: MAX_BODY_BYTES } },
    })
    const [token] = tokens
    const url = `${contender.origin}/d/psp/payments`
    const pass = async (placeholders: number) => {
      const sent = recordsWith(`{{$card_number:${token}}}`)
      await post(url, proxyKey, sent, placeholders)
      const got = upstream.received.pop()
      const right = expected(recordsWith(CARD.number), placeholders)
      if (got?.hash !== right.hash || got.bytes !== right.bytes || !got.isChunked) {
        throw new Error('the body at the upstream is not the right one')
      }
      return right.bytes
    }
    await pass(PLACEHOLDERS / 100)
    const rssBeforeBytes = (await contender.usage()).rssBytes
    let rssPeakBytes = rssBeforeBytes
    const timer = setInterval(() => {
      contender.usage().then(
        ({ rssBytes }) => {
          rssPeakBytes = Math.max(rssPeakBytes, rssBytes)
        },
        () => {}, // it has ended, and so does this
      )
    }, SAMPLE_MS)
    const startMs = performance.now()
    const bodyBytes = await pass(PLACEHOLDERS)
    const seconds = (performance.now() - startMs) / 1000
    clearInterval(timer)
    rssPeakBytes = Math.max(rssPeakBytes, (await contender.usage()).rssBytes)
    const growthBytes = rssPeakBytes - rssBeforeBytes
    return {
      bodyBytes,
      placeholders: PLACEHOLDERS,
      seconds,
      rssBeforeBytes,
      rssPeakBytes,
      growthBytes,
      isWithinTarget: growthBytes <= STREAM_TARGET_BYTES,
    }
  } finally {
    await contender.stop()
    upstream.close()
  }
}

/** In chunks whose borders have nothing to do with those of the records. */
async function post(
  url: string,
  key: string,
  records: ReturnType<typeof recordsWith>,
  count: number,
): Promise<void> {
  const headers = { 'sallyport-key': key, 'content-type': 'application/json' }
  const request = httpRequest(url, { method: 'POST', headers, agent: false })
  const answered = once(request, 'response') as Promise<[IncomingMessage]>
  answered.catch(() => {}) // told below
  let held: Buffer[] = []
  let heldBytes = 0
  const flush = async () => {
    const isFull = !request.write(Buffer.concat(held))
    held = []
    heldBytes = 0
    if (isFull) await once(request, 'drain')
  }
  for (let n = 0; n < count; n++) {
    const record = n === 0 ? records.first : records.others
    held.push(record)
    heldBytes += record.length
    if (heldBytes > CHUNK_BYTES) await flush()
  }
  held.push(Buffer.from(']'))
  await flush()
  request.end()
  const [answer] = await answered
  const chunks = await answer.toArray()
  if (answer.statusCode !== 200) {
    throw new Error(`${answer.statusCode}: ${Buffer.concat(chunks).toString()}`)
  }
  const substitutions = answer.headers['sallyport-substitutions']
  if (substitutions !== `card_number=${count}`) throw new Error(`${substitutions} substitutions`)
}

function expected(records: ReturnType<typeof recordsWith>, count: number) {
  const hash = createHash('sha256').update(records.first)
  for (let n = 1; n < count; n++) hash.update(records.others)
  const bytes = records.first.length + (count - 1) * records.others.length + 1
  return { hash: hash.update(']').digest('hex'), bytes }
}

export function streamMemoryText(figures: StreamMemory): string {
  const { bodyBytes, placeholders, seconds, rssBeforeBytes, rssPeakBytes, growthBytes } = figures
  const mb = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`
  return (
    `${mb(bodyBytes)} with ${placeholders} placeholders in ${seconds.toFixed(1)} s: ` +
    `RSS ${mb(rssBeforeBytes)}, at most ${mb(rssPeakBytes)}, grown by ${mb(growthBytes)} ` +
    `(target ${mb(STREAM_TARGET_BYTES)})${figures.isWithinTarget ? '' : ': TOO MUCH'}`
  )
}
