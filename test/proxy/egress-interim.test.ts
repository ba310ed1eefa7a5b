// Interim answers that nobody asked for do not cost the answer: what is taken out of the bytes, however they are cut,
// and what passes untouched; then the same through the front door.

import type { Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { InterimFilter, type Opening, openingOf } from '../../src/proxy/egress/interim.ts'
import { startSallyport, type TestMerchant, type TestSallyport } from '../support/sallyport.ts'
import { makeCertificate } from './certificates.ts'
import { expectRefusal, send, startRawUpstream, startUpstream } from './upstream.ts'

const CONTINUE = 'HTTP/1.1 100 Continue\r\n\r\n'
const CONTINUE_WITH_FIELDS = 'HTTP/1.1 100 Go on\r\nServer: x\r\nDate: today\r\n\r\n'
const HINTS = 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n'
const FINAL = 'HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok'

describe('the opening of an answer', () => {
  test.each<[string, string, Opening]>([
    ['nothing', '', { kind: 'unfinished' }],
    ['its first byte', 'H', { kind: 'unfinished' }],
    ['the version', 'HTTP/1.1 ', { kind: 'unfinished' }],
    ['the first digit of an interim answer', 'HTTP/1.1 1', { kind: 'unfinished' }],
    ['two digits of one', 'HTTP/1.1 10', { kind: 'unfinished' }],
    ['three digits of one', 'HTTP/1.1 100', { kind: 'unfinished' }],
    ['a head that goes on', 'HTTP/1.1 100 Continue\r\nA: b\r\n', { kind: 'unfinished' }],
    ['a whole 100', CONTINUE, { kind: 'continue', length: CONTINUE.length }],
    ['a 100 without a phrase', 'HTTP/1.1 100\r\n\r\n', { kind: 'continue', length: 16 }],
    ['a 100 with an empty phrase', 'HTTP/1.1 100 \r\n\r\n', { kind: 'continue', length: 17 }],
    ['a 100 with more after it', CONTINUE + FINAL, { kind: 'continue', length: CONTINUE.length }],
    ['a 103', HINTS, { kind: 'interim', length: HINTS.length }],
    ['a 199', 'HTTP/1.1 199 X\r\n\r\n', { kind: 'interim', length: 18 }],
    ['a final answer', FINAL, { kind: 'other' }],
    ['the first digit of a final answer', 'HTTP/1.1 2', { kind: 'other' }],
    ['a switch of protocols', 'HTTP/1.1 101 Switching\r\n\r\n', { kind: 'other' }],
    ['three digits of a switch', 'HTTP/1.1 101', { kind: 'other' }],
    ['a longer code', 'HTTP/1.1 1000 X\r\n\r\n', { kind: 'other' }],
    ['letters in the code', 'HTTP/1.1 1xx X\r\n\r\n', { kind: 'other' }],
    ['a letter in the code, so far', 'HTTP/1.1 1x', { kind: 'other' }],
    ['HTTP/1.0, which has none', 'HTTP/1.0 100 Continue\r\n\r\n', { kind: 'other' }],
    ['another protocol', 'SSH-2.0-OpenSSH_9.9\r\n', { kind: 'other' }],
    ['its first letter', 'S', { kind: 'other' }],
    ['small letters', 'http/1.1 100 Continue\r\n\r\n', { kind: 'other' }],
    ['an empty line before it', '\r\nHTTP/1.1 100 Continue\r\n\r\n', { kind: 'other' }],
    ['lines that end in LF', 'HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\r\n\r\n', { kind: 'other' }],
    ['one line that ends in LF', 'HTTP/1.1 100 Continue\r\nA: b\nC: d\r\n\r\n', { kind: 'other' }],
    ['a line that ends in LF, so far', 'HTTP/1.1 100 Continue\n', { kind: 'other' }],
    ['a code that LF ends', 'HTTP/1.1 100\n\n', { kind: 'other' }],
  ])('%s', (_, text, opening) => {
    expect(openingOf(Buffer.from(text, 'latin1'))).toEqual(opening)
  })
})

/** What is left of the pieces, read one after the other. */
function filtered(...pieces: string[]): string {
  const filter = new InterimFilter()
  filter.expectAnswer()
  const left = pieces.map((piece) => filter.take(Buffer.from(piece, 'latin1')))
  return left.map((bytes) => bytes?.toString('latin1') ?? '').join('')
}

describe('what is left of an answer', () => {
  test.each([
    ['an ordinary answer', FINAL, FINAL],
    ['a 100 and the answer', CONTINUE + FINAL, FINAL],
    ['a 100 with fields and the answer', CONTINUE_WITH_FIELDS + FINAL, FINAL],
    ['three of them and the answer', CONTINUE + CONTINUE_WITH_FIELDS + CONTINUE + FINAL, FINAL],
    ['a 103 and the answer', HINTS + FINAL, HINTS + FINAL],
    ['a 103, a 100 and the answer', HINTS + CONTINUE + FINAL, HINTS + FINAL],
    ['a 100, a 103, a 100 and the answer', CONTINUE + HINTS + CONTINUE + FINAL, HINTS + FINAL],
    ['a 100 after the answer', FINAL + CONTINUE, FINAL + CONTINUE],
    ['a 100 as the body', `${FINAL.slice(0, -2)}${CONTINUE}`, `${FINAL.slice(0, -2)}${CONTINUE}`],
    [
      'a switch of protocols',
      `HTTP/1.1 101 X\r\n\r\n${CONTINUE}`,
      `HTTP/1.1 101 X\r\n\r\n${CONTINUE}`,
    ],
    ['another protocol', `SSH-2.0\r\n${CONTINUE}`, `SSH-2.0\r\n${CONTINUE}`],
  ])('%s, cut anywhere', (_, text, left) => {
    expect(filtered(text)).toBe(left)
    expect(filtered(...text)).toBe(left)
    for (let cut = 1; cut < text.length; cut++) {
      expect([cut, filtered(text.slice(0, cut), text.slice(cut))]).toEqual([cut, left])
    }
  })

  test('an ordinary answer is the very chunk that came', () => {
    const filter = new InterimFilter()
    filter.expectAnswer()
    const chunk = Buffer.from(FINAL)

    expect(filter.take(chunk)).toBe(chunk)
    expect(filter.isLooking).toBe(false)
  })

  test.each([
    ['a head without an end', `HTTP/1.1 100 Continue\r\nA: ${'a'.repeat(20_000)}`],
    ['a head of 103 without an end', `HTTP/1.1 103 Hints\r\nA: ${'a'.repeat(20_000)}`],
    ['more of them than anybody needs', CONTINUE.repeat(17) + FINAL],
  ])('%s is an error of the protocol', (_, text) => {
    expect(() => filtered(text)).toThrow(expect.objectContaining({ code: 'HPE_ENDLESS_INTERIM' }))
    expect(() => filtered(...text)).toThrow(expect.objectContaining({ name: 'HTTPParserError' }))
  })

  test('they are counted for each answer', () => {
    const filter = new InterimFilter()
    for (let request = 0; request < 3; request++) {
      filter.expectAnswer()
      expect(filter.take(Buffer.from(CONTINUE.repeat(16) + FINAL))?.toString()).toBe(FINAL)
    }
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
    const timeouts = { headers_ms: 300, total_ms: 5000 }
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
  await new Promise((resolve) => setTimeout(resolve, 5))
}
