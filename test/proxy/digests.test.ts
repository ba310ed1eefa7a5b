// Digests that a caller sends with a body are those of the body that goes out: computed again where it has changed, left
// alone where it has not, and refused where nobody knows how. All are checked here with node:crypto.

import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import {
  startSallyport,
  type TestMerchant,
  type TestSallyport,
  VISA,
} from '../support/sallyport.ts'
import { sendPieces } from './recorder.ts'
import {
  eventually,
  expectRefusal,
  send,
  startUpstream,
  type Upstream,
  valuesOf,
} from './upstream.ts'

let sallyport: TestSallyport
let merchant: TestMerchant
let psp: Upstream
let token: string

beforeAll(async () => {
  sallyport = await startSallyport()
  merchant = await sallyport.createMerchant()
  psp = await startUpstream()
  token = await merchant.createCard()
  await merchant.createDestination({
    name: 'psp',
    origin: psp.origin,
    allow: [
      {
        methods: ['POST'],
        path: '/*',
        fields: [{ field: 'card_number', at: ['body', 'header:x-pan'] }],
      },
    ],
  })
})

afterAll(async () => {
  await sallyport[Symbol.asyncDispose]()
  await psp.close()
})

beforeEach(() => {
  psp.seen.length = 0
})

const post = (body: string | Buffer, headers: Record<string, string | string[]> = {}) =>
  send(
    sallyport.origin,
    'POST',
    '/d/psp/pay',
    { 'Sallyport-Key': merchant.proxyKey, 'Content-Type': 'application/json', ...headers },
    body,
  )

const charge = () => `["{{$card_number: ${token}}}"]`
const CHARGED = `["${VISA}"]`

const digest = (algorithm: string, body: string | Buffer) =>
  createHash(algorithm).update(body).digest('base64')

/** What a header has to say about a body. */
const DIGESTS: [header: string, of: (body: string | Buffer) => string][] = [
  ['Content-MD5', (body) => digest('md5', body)],
  ['Digest', (body) => `SHA-256=${digest('sha256', body)}`],
  ['Digest', (body) => `sha=${digest('sha1', body)}`],
  ['Digest', (body) => `md5=${digest('md5', body)}, SHA-512=${digest('sha512', body)}`],
  ['Content-Digest', (body) => `sha-256=:${digest('sha256', body)}:`],
  ['Content-Digest', (body) => `sha-512=:${digest('sha512', body)}:`],
  [
    'Content-Digest',
    (body) => `sha-256=:${digest('sha256', body)}:, sha-512=:${digest('sha512', body)}:`,
  ],
  ['Repr-Digest', (body) => `sha-256=:${digest('sha256', body)}:`],
]

describe.each(DIGESTS)('%s %#', (header, of) => {
  const arrived = () => valuesOf(psp.seen[0]?.rawHeaders ?? [], header)

  test('is that of the body that goes out', async () => {
    const reply = await post(charge(), { [header]: of(charge()) })

    expect(reply.status).toBe(200)
    expect(psp.seen[0]?.body.toString()).toBe(CHARGED)
    expect(arrived()).toEqual([of(CHARGED)])
  })

  test('is what it was where no placeholder stands in the body, right or wrong', async () => {
    const said = of('another body')

    const reply = await post('{"a":1}', { [header]: said, 'X-Pan': `{{$card_number: ${token}}}` })

    expect(reply.status).toBe(200)
    expect(psp.seen[0]?.headers['x-pan']).toBe(VISA)
    expect(arrived()).toEqual([said])
  })

  test('of a compressed body is that of the inflated one that goes out', async () => {
    const plain = gzipSync('{"a":1}')
    const gzip = { 'Content-Encoding': 'gzip' }

    await post(plain, { ...gzip, [header]: of(plain) })
    await post(gzipSync(charge()), { ...gzip, [header]: of(gzipSync(charge())) })

    const values = psp.seen.map(({ rawHeaders }) => valuesOf(rawHeaders, header))
    expect(values).toEqual([[of('{"a":1}')], [of(CHARGED)]])
  })

  test('of a large body is that of all of it, which is held for it', async () => {
    const long = 'x'.repeat(600_000)
    const text = `["{{$card_number: ${token}}}","${long}","{{$card_number: ${token}}}"]`
    const pieces = [text.slice(0, 300_000), text.slice(300_000)]
    const headers = {
      'Sallyport-Key': merchant.proxyKey,
      'Content-Type': 'application/json',
      [header]: of(text),
    }

    const reply = await sendPieces(sallyport.origin, '/d/psp/pay', headers, pieces)

    expect(reply.status).toBe(200)
    const expected = `["${VISA}","${long}","${VISA}"]`
    expect(psp.seen[0]?.body.toString() === expected).toBe(true)
    expect(arrived()).toEqual([of(expected)])
    expect(psp.seen[0]?.headers['content-length']).toBe(String(expected.length))
    expect(psp.seen[0]?.headers['transfer-encoding']).toBeUndefined()
  })
})

test('several in one request are all computed, and those that stand twice', async () => {
  const { seen } = psp

  const reply = await post(charge(), {
    'content-md5': 'x',
    'Content-Digest': ['sha-256=:x:', 'sha-512=:x:'],
    digest: 'MD5=x',
  })

  expect(reply.status).toBe(200)
  const raw = seen[0]?.rawHeaders ?? []
  expect(valuesOf(raw, 'content-md5')).toEqual([digest('md5', CHARGED)])
  expect(valuesOf(raw, 'content-digest')).toEqual([
    `sha-256=:${digest('sha256', CHARGED)}:`,
    `sha-512=:${digest('sha512', CHARGED)}:`,
  ])
  expect(valuesOf(raw, 'digest')).toEqual([`MD5=${digest('md5', CHARGED)}`])
})

describe('an algorithm that we do not know', () => {
  const UNKNOWN: [header: string, value: string][] = [
    ['Digest', 'UNIXsum=30637'],
    ['Digest', 'SHA-256=x, id-sha-256=y'],
    ['Content-Digest', 'sha-3-256=:x:'],
    ['Content-Digest', 'sha-256=:x:,'],
    ['Content-Digest', 'sha-256'],
    ['Repr-Digest', ''],
  ]

  test.each(UNKNOWN)('%s: %s is refused before anything is revealed', async (header, value) => {
    const reply = await post(charge(), { [header]: value })

    expectRefusal(reply, 'invalid_value')
    expect(reply.json.error.details).toEqual({ field: header.toLowerCase() })
    expect(psp.seen).toEqual([])
    const lines = await eventually(
      async () => {
        const text = await readFile(join(sallyport.folder, 'audit', 'audit.jsonl'), 'utf8')
        const all = text.split('\n').filter((line) => line !== '')
        const id = reply.headers['sallyport-request-id']
        return all.map((line) => JSON.parse(line)).filter((line) => line.request === id)
      },
      (all) => all.length > 0,
    )
    expect(lines.map(({ kind }) => kind)).toEqual(['refusal'])
  })

  test.each(UNKNOWN)('%s: %s passes with a body that is not changed', async (header, value) => {
    expect((await post('{"a":1}', { [header]: value })).status).toBe(200)
    expect(valuesOf(psp.seen[0]?.rawHeaders ?? [], header)).toEqual([value])
  })
})

test('a binary body with a digest streams as it came', async () => {
  const body = Buffer.alloc(400_000, '{{$')
  const said = `sha-256=:${digest('sha256', body)}:`

  const reply = await post(body, {
    'Content-Type': 'image/png',
    'Content-Length': String(body.length),
    'Content-Digest': said,
  })

  expect(reply.status).toBe(200)
  expect(psp.seen[0]?.body.equals(body)).toBe(true)
  expect(psp.seen[0]?.headers).toMatchObject({
    'content-digest': said,
    'content-length': String(body.length),
  })
})

test('a wish for digests is none', async () => {
  const reply = await post(charge(), { 'Want-Content-Digest': 'sha-256=10' })

  expect(reply.status).toBe(200)
  expect(psp.seen[0]?.headers['want-content-digest']).toBe('sha-256=10')
})

test('in an envelope they are computed as well', async () => {
  const answer = await merchant.proxy('POST', '/proxy', {
    request_body: [`{{$card_number: ${token}}}`],
    destination_url: `${psp.origin}/pay`,
    method: 'POST',
    headers: { 'Content-Type': 'application/json', 'Content-Digest': 'sha-256=:x:' },
  })

  expect(answer.status).toBe(200)
  expect(psp.seen[0]?.body.toString()).toBe(CHARGED)
  expect(psp.seen[0]?.headers['content-digest']).toBe(`sha-256=:${digest('sha256', CHARGED)}:`)
})

test.each([10, 400_000])(
  'a caller that waits for 100 Continue is told to go on with %i bytes',
  async (length) => {
    const text = `["{{$card_number: ${token}}}","${'x'.repeat(length)}"]`
    const socket = connect(Number(new URL(sallyport.origin).port), '127.0.0.1')
    let answer = ''
    socket.on('data', (chunk: Buffer) => {
      answer += chunk
    })

    socket.write(
      `POST /d/psp/pay HTTP/1.1\r\nHost: x\r\nSallyport-Key: ${merchant.proxyKey}\r\nContent-Type: application/json\r\nContent-Digest: sha-256=:x:\r\nExpect: 100-continue\r\nContent-Length: ${text.length}\r\n\r\n`,
    )
    await eventually(
      () => answer,
      (so_far) => so_far.includes('\r\n\r\n'),
    )
    expect(answer).toBe('HTTP/1.1 100 Continue\r\n\r\n')
    socket.write(text)
    await eventually(
      () => answer,
      (so_far) => so_far.includes('{"ok":true}'),
    )
    socket.destroy()

    expect(answer).toMatch(/HTTP\/1\.1 200 OK\r\n/)
    const expected = `["${VISA}","${'x'.repeat(length)}"]`
    expect(psp.seen[0]?.body.toString() === expected).toBe(true)
    expect(psp.seen[0]?.headers['content-digest']).toBe(`sha-256=:${digest('sha256', expected)}:`)
    expect(psp.seen[0]?.headers.expect).toBeUndefined()
  },
)
