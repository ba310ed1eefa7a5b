// Interim answers that nobody asked for do not cost the answer, however their bytes are cut; then the same through the
// front door.

import type { Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startSallyport, type TestMerchant, type TestSallyport } from '../support/sallyport.ts'
import { pause } from '../support/time.ts'
import { makeCertificate } from './certificates.ts'
import { openPool, type Told, tellOf } from './egress-client.ts'
import { expectRefusal, send, startRawUpstream, startUpstream } from './upstream.ts'

const CONTINUE = 'HTTP/1.1 100 Continue\r\n\r\n'
const CONTINUE_WITH_FIELDS = 'HTTP/1.1 100 Go on\r\nServer: x\r\nDate: today\r\n\r\n'
const HINTS = 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n'
const FINAL = 'HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok'

/** Answers in these pieces, each read before the next one comes. */
const inPieces = (...pieces: readonly string[]) =>
  startRawUpstream(async (socket) => {
    for (const piece of pieces) await writeAlone(socket, piece)
  })

/** What becomes of a request that is answered so. */
async function toldOf(...pieces: readonly string[]): Promise<Told> {
  await using upstream = await inPieces(...pieces)
  const pool = openPool(upstream.origin, { headersMs: 300 })
  const told = await tellOf(pool)
  await pool.destroy()
  return told
}

describe('before the answer', () => {
  test.each([
    ['nothing', ''],
    ['a 100', CONTINUE],
    ['a 100 with fields', CONTINUE_WITH_FIELDS],
    ['a 100 without a phrase', 'HTTP/1.1 100\r\n\r\n'],
    ['a 100 with an empty phrase', 'HTTP/1.1 100 \r\n\r\n'],
    ['three of them', CONTINUE + CONTINUE_WITH_FIELDS + CONTINUE],
    ['a 103', HINTS],
    ['a 103, a 100', HINTS + CONTINUE],
    ['a 100, a 103, a 100', CONTINUE + HINTS + CONTINUE],
    ['a 199', 'HTTP/1.1 199 X\r\n\r\n'],
    ['an empty line and a 100', `\r\n${CONTINUE}`],
    ['as many as may be', CONTINUE.repeat(16)],
    ['many that tell of progress', HINTS.repeat(200)],
  ])('%s: passed over, and nobody is told of it', async (_, interim) => {
    const expected = { status: 201, message: 'Created', headers: ['Content-Length', '2'] }

    expect(await toldOf(interim + FINAL)).toMatchObject({ ...expected, text: 'ok' })
    expect(await toldOf(interim, FINAL)).toMatchObject({ ...expected, text: 'ok' })
    expect(await toldOf(interim.slice(0, -3), interim.slice(-3) + FINAL)).toMatchObject({
      ...expected,
      text: 'ok',
    })
  })

  test.each([
    ['a head without an end', `HTTP/1.1 100 Continue\r\nA: ${'a'.repeat(20_000)}`],
    ['a head of 103 without an end', `HTTP/1.1 103 Hints\r\nA: ${'a'.repeat(20_000)}`],
    ['more of them than anybody needs', CONTINUE.repeat(17) + FINAL],
    ['far more that tell of progress', HINTS.repeat(257) + FINAL],
    ['lines that end in LF', 'HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\r\n\r\n'],
    ['one line that ends in LF', `HTTP/1.1 100 Continue\r\nA: b\nC: d\r\n\r\n${FINAL}`],
    ['a longer code', `HTTP/1.1 1000 X\r\n\r\n${FINAL}`],
    ['letters in the code', `HTTP/1.1 1xx X\r\n\r\n${FINAL}`],
    ['small letters', `http/1.1 100 Continue\r\n\r\n${FINAL}`],
  ])('%s is an error of the protocol', async (_, text) => {
    const { error, status } = await toldOf(text)

    expect(error?.code).toMatch(/^HPE_|^SALLYPORT_NOT_HTTP$/)
    expect(status).toBe(0)
  })

  test.each([
    ['a switch of protocols', 'HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n'],
    ['a switch to no protocol', `HTTP/1.1 101 X\r\n\r\n${FINAL}`],
  ])('%s ends the connection', async (_, text) => {
    const { error, status } = await toldOf(text)

    expect(error?.code).toBe('SALLYPORT_CONNECTION_ENDED')
    expect(status).toBe(0)
  })

  test('they are counted for each answer', async () => {
    await using upstream = await startRawUpstream((socket) =>
      socket.write(CONTINUE.repeat(16) + FINAL),
    )
    const pool = openPool(upstream.origin)

    for (let request = 0; request < 3; request++) {
      expect((await tellOf(pool)).status).toBe(201)
    }
    await pool.destroy()
    expect(upstream.connections).toBe(1)
  })

  test('a 100 as the body is the body', async () => {
    const text = `HTTP/1.1 200 OK\r\nContent-Length: ${CONTINUE.length}\r\n\r\n${CONTINUE}`

    expect((await toldOf(text)).text).toBe(CONTINUE)
  })
})

describe('through the front door', () => {
  let sallyport: TestSallyport
  let merchant: TestMerchant
  let destinations = 0

  beforeAll(async () => {
    sallyport = await startSallyport()
    merchant = await sallyport.createMerchant()
  })

  afterAll(async () => {
    await sallyport[Symbol.asyncDispose]()
  })

  /** Answers with the path of a destination over one connection. */
  async function reach(origin: string, settings: Record<string, unknown> = {}): Promise<string> {
    destinations += 1
    const name = `i${destinations}`
    await merchant.createDestination({
      name,
      origin,
      allow: [{ methods: ['POST'], path: '/*' }],
      limits: { connections: 1 },
      ...settings,
    })
    return `/d/${name}/pay`
  }

  const post = (path: string) =>
    send(sallyport.origin, 'POST', path, { 'Sallyport-Key': merchant.proxyKey }, '{}')

  test.each([
    ['a 100 and the answer in one piece', [CONTINUE + FINAL]],
    ['a 100 alone, then the answer', [CONTINUE, FINAL]],
    ['two of them, then the answer', [CONTINUE, CONTINUE_WITH_FIELDS, FINAL]],
    ['two of them and the answer in one piece', [CONTINUE + CONTINUE + FINAL]],
    ['a 103, then the answer', [HINTS, FINAL]],
    ['a 103, a 100, then the answer', [HINTS + CONTINUE, FINAL]],
  ])('%s: the caller gets the answer', async (_, pieces) => {
    await using upstream = await startRawUpstream(async (socket) => {
      for (const piece of pieces) await writeAlone(socket, piece)
    })
    const path = await reach(upstream.origin)

    const replies = [await post(path), await post(path)]

    expect(replies.map(({ status, text }) => [status, text])).toEqual(Array(2).fill([201, 'ok']))
    expect([upstream.seen.length, upstream.connections]).toEqual([2, 1])
  })

  test('cut at every byte, request after request over one connection', async () => {
    const text = CONTINUE + FINAL
    let cut = 0
    await using upstream = await startRawUpstream(async (socket) => {
      cut += 1
      await writeAlone(socket, text.slice(0, cut))
      await writeAlone(socket, text.slice(cut))
    })
    const path = await reach(upstream.origin)

    for (let request = 1; request < text.length; request++) {
      const { status, text: body } = await post(path)
      expect([cut, status, body]).toEqual([request, 201, 'ok'])
    }

    expect(upstream.connections).toBe(1)
  })

  test('over TLS as well', async () => {
    const certificate = makeCertificate('psp', { hosts: ['127.0.0.1'] })
    await using upstream = await startUpstream((_, response) => {
      response.writeContinue()
      response.statusCode = 201
      response.end('ok')
    }, certificate)
    const path = await reach(upstream.origin, { ca_pem: certificate.cert })

    const reply = await post(path)

    expect([reply.status, reply.text]).toEqual([201, 'ok'])
  })

  test('a 100 that does not end is waited for as long as any head', async () => {
    await using upstream = await startRawUpstream((socket) => socket.write(CONTINUE.slice(0, -2)))
    const timeouts = { headers_ms: 500, total_ms: 20_000 }
    const path = await reach(upstream.origin, { timeouts })

    const reply = await post(path)

    expectRefusal(reply, 'upstream_timeout')
    expect(upstream.seen.length).toBe(1)
  })

  test.each([
    ['a 100 that grows and grows', `HTTP/1.1 100 Continue\r\n${'A: b\r\n'.repeat(5000)}`],
    ['one 100 after the other', CONTINUE.repeat(17)],
  ])('%s: upstream_protocol_error', async (_, text) => {
    await using upstream = await startRawUpstream((socket) => socket.write(text))
    const path = await reach(upstream.origin)

    const reply = await post(path)

    expectRefusal(reply, 'upstream_protocol_error')
    expect(upstream.seen.length).toBe(1)
  })

  test('a 100 and then the end: the outcome is unknown', async () => {
    await using upstream = await startRawUpstream((socket) => socket.end(CONTINUE))
    const path = await reach(upstream.origin)

    const reply = await post(path)

    expectRefusal(reply, 'upstream_reset')
  })

  test('a 100 between two answers is nobody’s: the connection is not used again', async () => {
    await using upstream = await startRawUpstream((socket) => socket.write(FINAL + CONTINUE))
    const path = await reach(upstream.origin)

    const replies = [await post(path), await post(path)]

    expect(replies.map(({ status, text }) => [status, text])).toEqual(Array(2).fill([201, 'ok']))
    expect(upstream.connections).toBe(2)
  })
})

/** So that the other side reads the piece before the next one comes. */
async function writeAlone(socket: Socket, piece: string): Promise<void> {
  socket.setNoDelay(true)
  await new Promise((resolve) => socket.write(piece, resolve))
  await pause(15)
}
