// Compressed request bodies are inflated, so that placeholders in them are found, and go on as they are then. What is
// not what it says is refused, and so is a small body that would become a huge one.

import { randomBytes } from 'node:crypto'
import { connect } from 'node:net'
import {
  brotliCompressSync,
  deflateRawSync,
  deflateSync,
  gzipSync,
  zstdCompressSync,
} from 'node:zlib'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import {
  startSallyport,
  type TestMerchant,
  type TestSallyport,
  VISA,
} from '../support/sallyport.ts'
import { pause } from '../support/time.ts'
import {
  expectRefusedUnsafe,
  type Piece,
  sendPieces,
  startRecorder,
  startSending,
} from './recorder.ts'
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
/** Holds whatever it is sent until it is whole. */
let holding: Upstream
let token: string

beforeAll(async () => {
  sallyport = await startSallyport()
  merchant = await sallyport.createMerchant()
  psp = await startUpstream()
  token = await merchant.createCard()
  await reach('psp', psp.origin)
  holding = await startUpstream()
  await reach('holding', holding.origin, { limits: { buffer_bytes: 64 * 1024 * 1024 } })
})

afterAll(async () => {
  await sallyport[Symbol.asyncDispose]()
  await psp.close()
  await holding.close()
})

beforeEach(() => {
  psp.seen.length = 0
})

const reach = (name: string, origin: string, settings: Record<string, unknown> = {}) =>
  merchant.createDestination({
    name,
    origin,
    allow: [{ methods: ['POST'], path: '/*', fields: ['card_number'] }],
    ...settings,
  })

const headersOf = (coding: string, type = 'application/json') => ({
  'Sallyport-Key': merchant.proxyKey,
  'Content-Type': type,
  'Content-Encoding': coding,
})

const post = (coding: string, body: Buffer, more: Record<string, string> = {}) =>
  send(
    sallyport.origin,
    'POST',
    '/d/psp/pay',
    { ...headersOf(coding), 'Content-Length': String(body.length), ...more },
    body,
  )

const SPACES = Buffer.alloc(100 * 1024 * 1024, 0x20)

const bombs = new Map<unknown, Buffer>()

function bombOf(compress: (bytes: Buffer) => Buffer): Buffer {
  const bomb = bombs.get(compress) ?? compress(SPACES)
  bombs.set(compress, bomb)
  return bomb
}

const charge = () => `{"number":"{{$card_number: ${token}}}","amount":1.50}`
const CHARGED = `{"number":"${VISA}","amount":1.50}`

const CODINGS: [coding: string, compress: (text: string | Buffer) => Buffer][] = [
  ['gzip', gzipSync],
  ['x-gzip', gzipSync],
  ['GZip', gzipSync],
  ['deflate', deflateSync],
  ['br', brotliCompressSync],
  ['zstd', zstdCompressSync],
]

describe.each(CODINGS)('%s', (coding, compress) => {
  test('the body is inflated, its placeholders are replaced, and it goes on as it is then', async () => {
    const reply = await post(coding, compress(charge()))

    expect([reply.status, reply.headers['sallyport-substitutions']]).toEqual([200, 'card_number=1'])
    const [seen] = psp.seen
    expect(seen?.body.toString()).toBe(CHARGED)
    expect(seen?.headers['content-encoding']).toBeUndefined()
    expect(valuesOf(seen?.rawHeaders ?? [], 'content-length')).toEqual([String(CHARGED.length)])
    expect(seen?.headers['transfer-encoding']).toBeUndefined()
  })

  test('without a placeholder it is inflated all the same', async () => {
    const reply = await post(coding, compress('{"amount":1.50}'))

    expect(reply.status).toBe(200)
    expect(psp.seen[0]?.body.toString()).toBe('{"amount":1.50}')
    expect(psp.seen[0]?.headers['content-encoding']).toBeUndefined()
  })

  test('byte by byte it is the same', async () => {
    const bytes = compress(charge())
    const pieces = Array.from(bytes, (_, at) => bytes.subarray(at, at + 1))

    const reply = await sendPieces(sallyport.origin, '/d/psp/pay', headersOf(coding), pieces)

    expect(reply.status).toBe(200)
    expect(psp.seen[0]?.body.toString()).toBe(CHARGED)
  })

  test('beyond the buffer limit it streams', async () => {
    const noise = randomBytes(400_000).toString('base64')
    const text = `["{{$card_number: ${token}}}","${noise}","{{$card_number: ${token}}}"]`

    const reply = await post(coding, compress(text))

    expect(reply.status).toBe(200)
    const [seen] = psp.seen
    expect(seen?.body.equals(Buffer.from(`["${VISA}","${noise}","${VISA}"]`))).toBe(true)
    expect(seen?.headers['transfer-encoding']).toBe('chunked')
    expect(seen?.headers['content-length']).toBeUndefined()
  })

  test('a body that is cut off is refused', async () => {
    const whole = compress(charge())

    for (const kept of [1, 12, whole.length - 1]) {
      expectRefusal(await post(coding, whole.subarray(0, kept)), 'malformed_body')
    }
    expect(psp.seen).toEqual([])
  })

  test.each([
    ['text', Buffer.from('more')],
    ['zeros', Buffer.alloc(4)],
  ])('%s behind the compressed data is refused, in one piece or by itself', async (_, garbage) => {
    const whole = compress(charge())
    const pieces = [whole, garbage]

    const one = await post(coding, Buffer.concat(pieces))
    const two = await sendPieces(sallyport.origin, '/d/psp/pay', headersOf(coding), pieces, 20)

    expectRefusal(one, 'malformed_body')
    expectRefusal(two, 'malformed_body')
    expect(psp.seen).toEqual([])
  })

  test('bytes that are not compressed are refused', async () => {
    expectRefusal(await post(coding, Buffer.from(charge())), 'malformed_body')
    expect(psp.seen).toEqual([])
  })

  test.each([
    ['that is held', 'holding', expectRefusal],
    ['that streams', 'psp', expectRefusedUnsafe],
  ])('a bomb %s is refused, soon and in little memory', async (_, name, expectRefused) => {
    const bomb = bombOf(compress)
    const rss = process.memoryUsage.rss()
    const before = process.cpuUsage()

    const headers = { ...headersOf(coding), 'Content-Length': String(bomb.length) }
    const reply = await send(sallyport.origin, 'POST', `/d/${name}/pay`, headers, bomb)

    expectRefused(reply, 'body_too_large')
    const { user, system } = process.cpuUsage(before)
    expect((user + system) / 1000).toBeLessThan(1000) // milliseconds of computing, in all threads
    expect(process.memoryUsage.rss() - rss).toBeLessThan(64 * 1024 * 1024)
    expect([...psp.seen, ...holding.seen]).toEqual([])
  })
})

test('gzip of several members is the text of all', async () => {
  const text = charge()
  const members = [text.slice(0, 20), text.slice(20, 21), '', text.slice(21)]
  const body = Buffer.concat(members.map((member) => gzipSync(member)))

  expect((await post('gzip', body)).status).toBe(200)
  expect(psp.seen[0]?.body.toString()).toBe(CHARGED)
})

test('a second member that is broken is refused', async () => {
  const body = Buffer.concat([gzipSync(charge()), gzipSync(' ').subarray(0, 15)])

  expectRefusal(await post('gzip', body), 'malformed_body')
})

test('a wrong checksum is refused', async () => {
  const body = gzipSync(charge())
  body[body.length - 8] = (body[body.length - 8] as number) ^ 1

  expectRefusal(await post('gzip', body), 'malformed_body')
  expect(psp.seen).toEqual([])
})

test('deflate is the zlib format, not the bare one', async () => {
  expectRefusal(await post('deflate', deflateRawSync(charge())), 'malformed_body')
})

test.each([
  'gzip, gzip',
  'gzip, br',
  'identity, gzip',
  'compress',
  'lz4',
  'aes128gcm',
  '',
  'gzip;q=1',
])('coding `%s` is refused', async (coding) => {
  expectRefusal(await post(coding, gzipSync(gzipSync(charge()))), 'content_encoding_unsupported')
  expect(psp.seen).toEqual([])
})

test('two headers of codings are two codings', async () => {
  const headers = ['Sallyport-Key', merchant.proxyKey, 'Content-Type', 'application/json']
  headers.push('Content-Encoding', 'gzip', 'Content-Encoding', 'gzip', 'Host', 'x')

  const reply = await send(sallyport.origin, 'POST', '/d/psp/pay', headers, gzipSync(gzipSync('1')))

  expectRefusal(reply, 'content_encoding_unsupported')
})

test('identity is no coding, and stays said', async () => {
  expect((await post('identity', Buffer.from(charge()))).status).toBe(200)
  expect(psp.seen[0]?.body.toString()).toBe(CHARGED)
})

test.each(['image/png', 'application/octet-stream', 'application/gzip'])(
  'a body of type %s passes as it came, compressed',
  async (type) => {
    const small = gzipSync(charge())
    const large = gzipSync(randomBytes(300_000))

    for (const body of [small, large]) {
      const reply = await post('gzip', body, { 'Content-Type': type })
      expect(reply.status).toBe(200)
      const seen = psp.seen.at(-1)
      expect(seen?.body.equals(body)).toBe(true)
      expect(seen?.headers['content-encoding']).toBe('gzip')
      expect(valuesOf(seen?.rawHeaders ?? [], 'content-length')).toEqual([String(body.length)])
    }
  },
)

test('a binary body in a coding that nobody knows passes as well', async () => {
  const body = randomBytes(1000)

  const reply = await post('x-own, gzip', body, { 'Content-Type': 'image/png' })

  expect(reply.status).toBe(200)
  expect(psp.seen[0]?.body.equals(body)).toBe(true)
  expect(psp.seen[0]?.headers['content-encoding']).toBe('x-own, gzip')
})

test.each(CODINGS)('%s of nothing is an empty body', async (coding, compress) => {
  const reply = await post(coding, compress(''))

  expect(reply.status).toBe(200)
  expect([psp.seen[0]?.body.length, psp.seen[0]?.headers['content-length']]).toEqual([0, '0'])
})

test('no bytes at all are no body, whatever they are said to be', async () => {
  const reply = await post('gzip', Buffer.alloc(0))

  expect(reply.status).toBe(200)
  expect([psp.seen[0]?.body.length, psp.seen[0]?.headers['content-encoding']]).toEqual([
    0,
    undefined,
  ])
})

test('a compressed envelope is one', async () => {
  const envelope = JSON.stringify({
    request_body: { number: `{{$card_number: ${token}}}` },
    destination_url: `${psp.origin}/pay`,
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
  })
  const headers = headersOf('gzip')

  const good = await send(sallyport.origin, 'POST', '/proxy', headers, gzipSync(envelope))
  const bad = await send(
    sallyport.origin,
    'POST',
    '/proxy',
    headers,
    gzipSync(envelope).subarray(0, 30),
  )
  const bomb = bombOf(gzipSync)
  const huge = await send(sallyport.origin, 'POST', '/proxy', headers, bomb)

  expect([good.status, good.json.status_code]).toEqual([200, 200])
  expectRefusal(bad, 'malformed_body')
  expectRefusal(huge, 'body_too_large')
  expect(psp.seen.map(({ body }) => body.toString())).toEqual([`{"number":"${VISA}"}`])
})

test('what it becomes counts, not what it was', async () => {
  await using there = await startRecorder()
  await reach('little', there.origin, { limits: { body_bytes: 5000 } })
  const text = (length: number) => `"${randomBytes(length / 2).toString('hex')}"`
  const send = (length: number) =>
    sendPieces(sallyport.origin, '/d/little/', headersOf('br'), [brotliCompressSync(text(length))])

  expect((await send(4800)).status).toBe(200)
  expectRefusal(await send(5200), 'body_too_large')
  expect(there.requests.length).toBe(1)
})

test('after a refusal the connection is of use', async () => {
  const socket = connect(Number(new URL(sallyport.origin).port), '127.0.0.1')
  let answers = ''
  socket.on('data', (chunk: Buffer) => {
    answers += chunk
  })
  const bodies = [gzipSync(randomBytes(50_000)).subarray(0, 50_000), gzipSync(charge())]
  const bomb = gzipSync(Buffer.alloc(4 * 1024 * 1024))

  for (const [n, body] of [bodies[0], bomb, bodies[1]].entries()) {
    const head = Object.entries(headersOf('gzip')).map(([name, value]) => `${name}: ${value}\r\n`)
    const length = body?.length ?? 0
    socket.write(
      `POST /d/psp/pay HTTP/1.1\r\nHost: x\r\n${head.join('')}Content-Length: ${length}\r\n\r\n`,
    )
    socket.write(body ?? '')
    await eventually(
      () => answers.split('HTTP/1.1').length,
      (count) => count === n + 2,
    )
  }
  socket.destroy()

  expect([...answers.matchAll(/HTTP\/1.1 ([0-9]+)/g)].map(([, status]) => status)).toEqual([
    '400',
    '413',
    '200',
  ])
})

describe('on its way', () => {
  /** Half of a body that streams, of which the destination has seen something. */
  async function startHalf(name: string, pieces: (text: string) => [Piece, Piece]) {
    const there = await startRecorder()
    await reach(name, there.origin, { limits: { buffer_bytes: 8 } })
    const noise = randomBytes(200_000).toString('base64')
    const [first, second] = pieces(`["{{$card_number: ${token}}}","${noise}"]`)
    const sending = startSending(sallyport.origin, 'POST', `/d/${name}/pay`, headersOf('gzip'))
    await sending.write(first)
    const seen = await eventually(
      () => there.requests[0],
      (request) => (request?.body.length ?? 0) > 1000,
    )
    expect(seen?.body.toString()).toContain(VISA)
    return { there, sending, second }
  }

  const halves = (text: string): [Buffer, Buffer] => {
    const whole = gzipSync(text)
    return [whole.subarray(0, whole.length / 2), whole.subarray(whole.length / 2)]
  }

  test('a body goes on while the rest of it is still to come', async () => {
    const { there, sending, second } = await startHalf('half', halves)
    await using _ = there

    await sending.write(second)
    sending.end()

    expect((await sending.reply).status).toBe(200)
    const { body } = await there.lastOver()
    expect([body.length, body.subarray(0, 20).toString()]).toEqual([266_691, `["${VISA}",`])
  })

  test.each([
    ['is broken', (rest: Buffer) => rest.fill(0xff, 0, 1000)],
    ['ends too soon', (rest: Buffer) => rest.subarray(0, -1)],
    ['is followed by more', (rest: Buffer) => Buffer.concat([rest, Buffer.from('more')])],
  ])('the rest %s: refused, not safe to repeat, and never ended', async (what, change) => {
    const name = what.replaceAll(' ', '-')
    const { there, sending, second } = await startHalf(name, halves)
    await using _ = there

    await sending.write(change(second as Buffer))
    sending.end()
    const reply = await sending.reply

    expectRefusedUnsafe(reply, 'malformed_body')
    expect((await there.lastOver()).isWhole).toBe(false)
  })

  test('the rest is a bomb: refused, not safe to repeat, and never ended', async () => {
    const { there, sending, second } = await startHalf('bomb', (text) => [
      gzipSync(text),
      bombOf(gzipSync),
    ])
    await using _ = there
    const before = process.memoryUsage.rss()

    await sending.write(second)
    sending.end()
    const reply = await sending.reply

    expectRefusedUnsafe(reply, 'body_too_large')
    expect((await there.lastOver()).isWhole).toBe(false)
    expect(process.memoryUsage.rss() - before).toBeLessThan(64 * 1024 * 1024)
  })

  test('its caller goes away: it is never ended', async () => {
    const { there, sending } = await startHalf('left', halves)
    await using _ = there

    sending.leave()

    expect((await there.lastOver()).isWhole).toBe(false)
  })

  test('its caller goes away before it was to be sent: nothing is sent', async () => {
    await using there = await startRecorder()
    await reach('early', there.origin)
    const sending = startSending(sallyport.origin, 'POST', '/d/early/pay', headersOf('gzip'))
    await sending.write(gzipSync(charge()).subarray(0, 30))

    sending.leave()
    await pause(50)

    expect(there.connections).toBe(0)
  })
})
