// What sealed capture leaves in the memory of a real process: no card numbers, neither of cards that were taken nor of
// those that were refused, and not the key that they were sealed to.

import { hkdfSync } from 'node:crypto'
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
import nacl from 'tweetnacl'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { SYSTEM } from '../../src/crypto/keyring.ts'
import { openLocalRootKey } from '../../src/crypto/root-key/local-file.ts'
import type { Sealed } from '../../src/crypto/seal.ts'
import { randomCard } from '../vault/cards.ts'
import { type Served, serve } from './process.ts'

const ADMIN_KEY = 'capture-admin-key-0123456789-abcdefgh'
const CARDS = 40
const BIN = '400005'

let folder: string
let sallyport: Served

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'sallyport-captured-'))
  sallyport = await serve(join(folder, 'data'), {
    SALLYPORT_ADMIN_API_KEY: ADMIN_KEY,
    // What nobody holds any more goes when it is told to, and not some day.
    NODE_OPTIONS: "--expose-gc --import=data:text/javascript,process.on('SIGUSR2',()=>gc())",
  })
})

afterAll(async () => {
  await sallyport.kill()
  rmSync(folder, { recursive: true, force: true })
})

async function call(key: string, method: string, path: string, body?: object): Promise<any> {
  const answer = await fetch(sallyport.origin + path, {
    method,
    headers: { 'sallyport-key': key, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  return answer.json()
}

const base64url = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64url')

function seal(key: { key_id: string; public_key: string }, content: object) {
  const pair = nacl.box.keyPair()
  const nonce = nacl.randomBytes(24)
  const plaintext = Buffer.from(JSON.stringify(content))
  const publicKey = Buffer.from(key.public_key, 'base64url')
  return {
    key_id: key.key_id,
    ephemeral_public_key: base64url(pair.publicKey),
    nonce: base64url(nonce),
    box: base64url(nacl.box(plaintext, nonce, publicKey, pair.secretKey)),
  }
}

/** What a process can write to, in pieces that overlap. */
function* memoryOf(pid: number): Generator<Buffer> {
  const memory = openSync(`/proc/${pid}/mem`, 'r')
  const block = Buffer.alloc(16 * 1024 * 1024)
  const overlap = 64
  for (const line of readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')) {
    const [, from = '', to = ''] = /^([0-9a-f]+)-([0-9a-f]+) rw/.exec(line) ?? []
    const end = Number.parseInt(to, 16)
    for (let at = Number.parseInt(from, 16); at < end; at += block.length - overlap) {
      let length = 0
      try {
        length = readSync(memory, block, 0, Math.min(block.length, end - at), at)
      } catch {
        continue // what the system maps for itself
      }
      yield block.subarray(0, length)
    }
  }
  closeSync(memory)
}

/** Which of `texts`, all of one pattern, stand there. */
function foundInMemory(pid: number, pattern: RegExp, texts: ReadonlySet<string>): Set<string> {
  const found = new Set<string>()
  for (const piece of memoryOf(pid)) {
    for (const [text] of piece.toString('latin1').matchAll(pattern)) {
      if (texts.has(text)) found.add(text)
    }
  }
  return found
}

function copiesInMemory(pid: number, bytes: Uint8Array): number {
  let copies = 0
  for (const piece of memoryOf(pid)) {
    for (let at = piece.indexOf(bytes); at !== -1; at = piece.indexOf(bytes, at + 1)) copies += 1
  }
  return copies
}

/** As the server has it: what is beside the store, opened with the root key. */
async function hourKeyOf(keyId: string): Promise<Buffer> {
  const hour = keyId.slice('cap_'.length)
  const root = await openLocalRootKey(join(folder, 'data', 'root.key'), false)
  const wrapped = readFileSync(join(folder, 'data', 'cvc-keys', `${hour}.key`))
  const context = { owner: SYSTEM, kind: 'key', id: `cvc.${hour}` } as const
  return root.unwrap(wrapped as Uint8Array as Sealed, context)
}

describe.runIf(existsSync('/proc/self/mem'))('in the process that opened it stays', () => {
  let key: { key_id: string; public_key: string }

  test('no number that was sealed in a browser', async () => {
    const merchant = await call(ADMIN_KEY, 'POST', '/v2/merchant-accounts', { merchant_name: 'M' })
    const { api_key } = await call(ADMIN_KEY, 'POST', '/v2/api-keys', {
      merchant_id: merchant.id,
      name: 'vault',
      scopes: ['vault:read', 'vault:write'],
    })
    key = await call('', 'GET', '/v2/capture-key')
    const numbers = new Set<string>()
    const sessions = new Set<string>()
    for (let n = 0; n < CARDS; n++) {
      const session = await call(api_key, 'POST', '/v2/payment-method-sessions', {})
      const card_number = randomCard(BIN)
      const isGood = n % 4 !== 0
      const card = {
        card_number,
        card_exp_month: '03',
        card_exp_year: isGood ? '2035' : '2019',
        card_cvc: '739',
      }
      const sealed = seal(key, { session_id: session.id, payment_method_data: { card } })
      const path = `/v2/payment-method-sessions/${session.id}/confirm`
      const body = { payment_method_type: 'card', payment_method_data: { sealed } }
      const answer = await call(api_key, 'POST', path, body)
      expect(answer.associated_payment_methods?.length ?? 0).toBe(isGood ? 1 : 0)
      numbers.add(card_number)
      sessions.add(session.id)
    }
    const pid = sallyport.child.pid ?? 0

    // What is looked for in this way is found: ids are kept as they come.
    expect(foundInMemory(pid, /local_pms_[0-9a-f]{32}/g, sessions).size).toBeGreaterThan(0)
    // One in forty by chance: a number is parsed in place, but who frees memory does not overwrite it.
    const left = foundInMemory(pid, new RegExp(`${BIN}[0-9]{10}`, 'g'), numbers)
    expect(left.size).toBeLessThanOrEqual(1)
  })

  test('the private key of the hour nowhere but while it is used', {
    timeout: 60_000,
  }, async () => {
    const pid = sallyport.child.pid ?? 0
    const hourKey = await hourKeyOf(key.key_id)
    const secret = Buffer.from(hkdfSync('sha256', hourKey, 'installation', 'sallyport capture', 32))
    const { publicKey } = nacl.box.keyPair.fromSecretKey(secret)
    expect(Buffer.from(publicKey).toString('base64url')).toBe(key.public_key)

    // What is looked for in this way is found: codes are still sealed under the key of the hour.
    expect(copiesInMemory(pid, hourKey)).toBeGreaterThan(0)
    process.kill(pid, 'SIGUSR2')
    // Without its first and last byte, of which X25519 sets bits (RFC 7748, 5).
    const copies = () => copiesInMemory(pid, secret.subarray(1, -1))
    await expect.poll(copies, { timeout: 10_000 }).toBe(0)
  })
})
