// What a body that streamed leaves in the memory of a real process: no card number, however it ended.

import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type Recorder, startRecorder, startSending } from '../proxy/recorder.ts'
import { eventually } from '../proxy/upstream.ts'
import { type Served, serve } from './process.ts'

const ADMIN_KEY = 'plaintext-admin-key-0123456789-abcdef'
const NUMBER = '4000056655665556'
const RECORDS = 4000

let folder: string
let sallyport: Served
let proxyKey: string
let token: string
let psp: Recorder

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sallyport-plaintext-'))
  sallyport = await serve(join(folder, 'data'), { SALLYPORT_ADMIN_API_KEY: ADMIN_KEY })
  psp = await startRecorder({
    onHead: (request, response) => {
      if (request.url === '/reset') request.once('data', () => request.socket.resetAndDestroy())
      else if (request.url === '/early') request.once('data', () => response.writeHead(413).end())
      else request.resume().once('end', () => response.end('{}'))
    },
  })
  const post = async (key: string, path: string, body: object) => {
    const answer = await fetch(sallyport.origin + path, {
      method: 'POST',
      headers: { 'sallyport-key': key, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    expect(answer.status).toBe(201)
    return (await answer.json()) as Record<string, string>
  }
  const merchant = await post(ADMIN_KEY, '/v2/merchant-accounts', { merchant_name: 'Plaintext' })
  const keyFor = async (scope: string) => {
    const body = { merchant_id: merchant.id, name: scope, scopes: [scope] }
    return (await post(ADMIN_KEY, '/v2/api-keys', body)).api_key as string
  }
  proxyKey = await keyFor('proxy:invoke')
  await post(await keyFor('policy:write'), '/v2/destinations', {
    name: 'psp',
    origin: psp.origin,
    allow: [{ methods: ['POST'], path: '/*', fields: ['card_number'] }],
  })
  const vaultKey = await keyFor('vault:write')
  const customer = await post(vaultKey, '/v2/customers', {})
  const method = await post(vaultKey, '/v2/payment-methods', {
    customer_id: customer.id,
    payment_method_type: 'card',
    payment_method_data: {
      card: { card_number: NUMBER, card_exp_month: '03', card_exp_year: '2035' },
    },
  })
  token = method.id as string
})

afterAll(async () => {
  await sallyport.kill()
  await psp[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true, force: true })
})

/** Answers with the status. */
async function stream(path: string, end: 'whole' | 'refused' | 'left'): Promise<number> {
  const headers = { 'Sallyport-Key': proxyKey, 'Content-Type': 'application/json' }
  const sending = startSending(sallyport.origin, 'POST', `/d/psp${path}`, headers)
  const record = `{"number":"{{$card_number: ${token}}}","reference":"${'x'.repeat(400)}"},`
  await sending.write('[')
  for (let n = 0; n < RECORDS; n += 100) await sending.write(record.repeat(100))
  if (end === 'left') {
    sending.leave()
    return 0
  }
  await sending.write(end === 'refused' ? '"{{$card_number: x}}"]' : '0]')
  sending.end()
  return (await sending.reply).status
}

/** How often a text stands in what a process can write to. */
function countInMemory(pid: number, text: string): number {
  const needle = Buffer.from(text)
  const memory = openSync(`/proc/${pid}/mem`, 'r')
  const block = Buffer.alloc(16 * 1024 * 1024)
  let count = 0
  for (const line of readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')) {
    const [, from = '', to = ''] = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line) ?? []
    const end = Number.parseInt(to, 16)
    // One block begins in the last one's end, so that nothing is cut.
    for (let at = Number.parseInt(from, 16); at < end; at += block.length - needle.length) {
      let length = 0
      try {
        length = readSync(memory, block, 0, Math.min(block.length, end - at), at)
      } catch {
        continue // what the system maps for itself
      }
      const read = block.subarray(0, length)
      for (let i = read.indexOf(needle); i !== -1; i = read.indexOf(needle, i + 1)) count += 1
    }
  }
  closeSync(memory)
  return count
}

test.runIf(existsSync('/proc/self/mem'))(
  'no card number is left in memory, whether the body came to its end or not',
  async () => {
    expect(await stream('/pay', 'whole')).toBe(200)
    expect(await stream('/pay', 'refused')).toBe(404)
    expect(await stream('/reset', 'whole')).toBe(502)
    expect(await stream('/early', 'whole')).toBe(413)
    await stream('/pay', 'left')
    await eventually(
      () => psp.requests.every(({ isOver }) => isOver),
      (areOver) => areOver,
    )
    const pid = sallyport.child.pid as number
    // What a socket is still writing is overwritten a moment later.
    const left = await eventually(
      () => countInMemory(pid, NUMBER),
      (count) => count === 0,
    )

    expect(countInMemory(pid, token)).toBeGreaterThan(0) // it is searched
    expect(left).toBe(0)
  },
)
