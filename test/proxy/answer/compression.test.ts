// Answers that cannot be searched as they are: asked not to be compressed they seldom are, and where they are they are
// inflated and searched, within bounds, or blocked. So is text in charsets where no number looks like one.

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  brotliCompressSync,
  constants,
  createBrotliCompress,
  createDeflate,
  createGzip,
  createZstdCompress,
  deflateRawSync,
  deflateSync,
  gzipSync,
  zstdCompressSync,
} from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  answered,
  answeredInChunks,
  cutAt,
  MASKED,
  NUMBER,
  openWorld,
  type RawAnswer,
  type Reached,
  readingsWithNumber,
  reasonOf,
  type World,
} from './echo.ts'

let world: World
let psp: Reached

beforeAll(async () => {
  world = await openWorld()
  psp = await world.reach('psp')
})

afterAll(async () => {
  await world[Symbol.asyncDispose]()
})

const ECHO = Buffer.from(`{"number":"${NUMBER}","note":"${'abc '.repeat(50)}"}`)
const MASKED_ECHO = ECHO.toString().replace(NUMBER, MASKED)

const coded = (body: Buffer, ...codings: string[]) =>
  answered(body, [
    'Content-Type: application/json',
    'X-Before: 1',
    ...codings.map((coding) => `Content-Encoding: ${coding}`),
    'X-After: 2',
  ])

async function expectBlocked(answer: RawAnswer) {
  expect(reasonOf(answer)).toBe('response_blocked')
  expect(answer.status).toBe(502)
  expect(answer.header('Sallyport-Retry-Safe')).toBe('false')
  expect(answer.header('Sallyport-Upstream-Status')).toBeUndefined()
  expect(JSON.parse(answer.text).error.retry_safe).toBe(false)
  expect(readingsWithNumber(answer.raw)).toEqual([])
  const line = await world.lineOf(answer, 'outcome')
  expect([line.status, line.reason]).toEqual([200, 'response_blocked'])
}

test('the destination is asked not to compress, whatever the caller wants', async () => {
  psp.psp.asked.length = 0

  await psp.charge(answered('{}'), { headers: { 'Accept-Encoding': 'gzip, br' } })

  const head = psp.psp.asked[0]?.head ?? ''
  expect(head.match(/^accept-encoding: .*$/gim)).toEqual(['Accept-Encoding: identity'])
})

const CODINGS: [coding: string, compress: (body: Buffer) => Buffer][] = [
  ['gzip', gzipSync],
  ['x-gzip', gzipSync],
  ['GZIP', gzipSync],
  ['deflate', deflateSync],
  ['br', brotliCompressSync],
  ['zstd', zstdCompressSync],
]

describe.each(CODINGS)('%s that comes all the same', (coding, compress) => {
  test('is inflated and masked, and goes on without its coding', async () => {
    const answer = await psp.charge(coded(compress(ECHO), coding))

    expect(answer.text).toBe(MASKED_ECHO)
    expect(answer.header('Content-Encoding')).toBeUndefined()
    expect(answer.header('Content-Length')).toBe(String(ECHO.length))
    expect(answer.header('Sallyport-Redactions')).toBe('1')
    expect(answer.head).toContain('X-Before: 1\r\nX-After: 2\r\n')
  })

  test('in chunks is the same', async () => {
    const body = compress(ECHO)
    const parts = [body.subarray(0, 1), body.subarray(1, 20), body.subarray(20)]

    const answer = await psp.charge(() =>
      answeredInChunks(parts, ['Content-Type: application/json', `Content-Encoding: ${coding}`]),
    )

    expect(answer.text).toBe(MASKED_ECHO)
    expect(answer.header('Content-Length')).toBe(String(ECHO.length))
  })

  test('through the envelope is JSON again', async () => {
    psp.psp.answer = () => [coded(compress(ECHO), coding)]

    const { body } = await world.merchant.proxy('POST', '/proxy', {
      destination_url: `${psp.psp.origin}/pay`,
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      request_body: { number: `{{$card_number: ${world.token}}}` },
    })

    expect(body.response.number).toBe(MASKED)
    expect(body.response_headers['content-encoding']).toBeUndefined()
  })

  test.each([
    ['cut', (body: Buffer) => body.subarray(0, -6)],
    ['cut after a byte', (body: Buffer) => body.subarray(0, 1)],
    ['not what it says', () => ECHO],
    ['with its beginning damaged', (body: Buffer) => Buffer.from(body).fill(0xff, 0, 8)],
  ])('%s is blocked', async (_, damage) => {
    await expectBlocked(await psp.charge(coded(damage(compress(ECHO)), coding)))
  })

  test('longer than is held is blocked', async () => {
    const noise = randomBytes(400_000).toString('base64')

    await expectBlocked(await psp.charge(coded(compress(Buffer.from(`"${noise}"`)), coding)))
  })

  test('of nothing is nothing', async () => {
    const answer = await psp.charge(coded(Buffer.alloc(0), coding))

    expect([answer.status, answer.text]).toEqual([200, ''])
  })
})

describe('what cannot be inflated is blocked', () => {
  const twice = gzipSync(gzipSync(ECHO))
  test.each([
    ['two codings in one header', coded(twice, 'gzip, gzip')],
    ['two codings in two headers', coded(twice, 'gzip', 'gzip')],
    ['a coding behind `identity`', coded(gzipSync(ECHO), 'identity', 'gzip')],
    ['a coding behind an empty one', coded(gzipSync(ECHO), '', 'gzip')],
    ['an unknown coding', coded(ECHO, 'compress')],
    ['one of a dictionary', coded(ECHO, 'dcb')],
    ['a name that every object has', coded(ECHO, 'constructor')],
    ['deflate without its frame', coded(deflateRawSync(ECHO), 'deflate')],
  ])('%s', async (_, answer) => {
    await expectBlocked(await psp.charge(answer))
  })

  test('also where only the credentials of the destination are looked for', async () => {
    const secretive = await world.reach('secretive', {
      inject_headers: { 'X-Api-Key': 'key_0123456789abcdef' },
    })

    const answer = await secretive.charge(coded(ECHO, 'compress'), { body: '{}' })

    expect(reasonOf(answer)).toBe('response_blocked')
  })
})

test('a coding of the connection is none of the body', async () => {
  const head =
    'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: gzip, chunked\r\n\r\n'
  const body = gzipSync(ECHO)
  const size = `${body.length.toString(16)}\r\n`

  const answer = await psp.charge(() => [head, size, body, '\r\n0\r\n\r\n'])

  // What nobody inflates nobody searches either.
  expect(answer.status).toBe(502)
  expect(answer.body.includes(body)).toBe(false)
})

describe('a bomb is blocked without being let off', () => {
  async function bombOf(stream: ReturnType<typeof createGzip>): Promise<Buffer> {
    const chunks: Buffer[] = []
    stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    const zeros = Buffer.alloc(1024 * 1024)
    for (let i = 0; i < 256; i++) if (!stream.write(zeros)) await once(stream, 'drain')
    stream.end()
    await once(stream, 'end')
    return Buffer.concat(chunks)
  }

  const QUICK = { params: { [constants.BROTLI_PARAM_QUALITY]: 4 } }

  test.each([
    ['gzip', createGzip],
    ['deflate', createDeflate],
    ['br', () => createBrotliCompress(QUICK)],
    ['zstd', createZstdCompress],
  ] as [string, () => ReturnType<typeof createGzip>][])('%s', async (coding, create) => {
    const bomb = await bombOf(create())
    const before = process.memoryUsage.rss()
    let most = before
    // The maximum that the system knows of is that of whatever ran in this process before.
    const look = () => {
      most = Math.max(most, process.memoryUsage.rss())
    }
    const timer = setInterval(look, 1)

    const answers = await Promise.all(
      Array.from({ length: 8 }, () => psp.charge(coded(bomb, coding))),
    )
    clearInterval(timer)
    look()

    for (const answer of answers) expect(reasonOf(answer)).toBe('response_blocked')
    expect(most - before).toBeLessThan(128 * 1024 * 1024) // one of them holds 256
  })
})

describe('text in UTF-16 or UTF-32 is blocked', () => {
  const wide = (text: string) => Buffer.from(text, 'utf16le')
  const big = (text: string) => wide(text).swap16()
  const widest = (text: string) =>
    Buffer.concat([...text].map((character) => Buffer.from([character.charCodeAt(0), 0, 0, 0])))
  const echo = ECHO.toString()
  const SAID: [how: string, type: string | undefined, body: Buffer][] = [
    ['declared', 'application/json; charset=utf-16', wide(echo)],
    ['declared in quotes', 'text/plain; charset="UTF-16LE"', wide(echo)],
    ['declared, of UTF-32', 'text/plain;charset=utf-32be', widest(echo)],
    ['declared, of UCS-2', 'text/plain; charset=ucs-2', wide(echo)],
    ['declared, of another kind', 'text/plain; charset=ibm037', Buffer.from(echo)],
    ['by its mark', 'text/plain', Buffer.concat([Buffer.from([0xff, 0xfe]), wide('abc')])],
    [
      'by its mark, the other way round',
      'text/plain',
      Buffer.concat([Buffer.from([0xfe, 0xff]), big('abc')]),
    ],
    ['by nothing', 'application/json', wide(echo)],
    ['by nothing, the other way round', 'application/json', big(echo)],
    ['by nothing, of UTF-32', 'text/xml', widest(echo)],
    ['without a type', undefined, wide(echo)],
  ]

  test.each(SAID)('%s', async (_, type, body) => {
    const headers = type === undefined ? [] : [`Content-Type: ${type}`]

    await expectBlocked(await psp.charge(answered(body, headers)))
  })

  test.each([
    ['as a whole', (whole: Buffer, _at: number) => [whole]],
    ['in pieces', (whole: Buffer, at: number) => cutAt(whole, at)],
    [
      'in bytes',
      (whole: Buffer, at: number) => [
        whole.subarray(0, at - 20),
        ...Array.from(whole.subarray(at - 20, at + 20), (byte) => [Buffer.from([byte]), 1]).flat(),
        whole.subarray(at + 20),
      ],
    ],
  ] as const)('a long one that comes %s ends before its number is told', async (_, piecesOf) => {
    const before = ' '.repeat(100_000)
    for (const encode of [wide, big, widest]) {
      const body = Buffer.concat([Buffer.from(before), encode(echo)])
      const whole = answered(body, ['Content-Type: text/plain'])
      const at = whole.length - encode(echo).length + encode('{"number":"400005').length

      const answer = await psp.charge(() => piecesOf(whole, at))

      // Its head has been passed on, unless all of it was there at once.
      if (answer.isWhole) await expectBlocked(answer)
      expect(answer.text).not.toContain('number')
      expect(readingsWithNumber(answer.raw)).toEqual([])
    }
  })

  test('but not bytes of a binary type, where it is chance', async () => {
    const body = wide('{"n":1234}')

    const answer = await psp.charge(answered(body, ['Content-Type: application/octet-stream']))

    expect(answer.body.equals(body)).toBe(true)
  })
})

describe('where nothing is searched', () => {
  test('what cannot be inflated goes on as it is', async () => {
    const open = await world.reach('open', {
      connector: 'psp',
      response: { leak_guard: 'off', capture: [{ path: '$.id', as: 'psp_token' }] },
    })
    const noise = gzipSync(randomBytes(400_000))

    for (const [body, coding] of [
      [ECHO, 'compress'],
      [ECHO, 'gzip'],
      [noise, 'gzip'],
    ] as const) {
      const answer = await open.charge(coded(body, coding))
      expect([answer.status, answer.header('Content-Encoding')]).toEqual([200, coding])
      expect(answer.body.equals(body)).toBe(true)
    }
  })
})
