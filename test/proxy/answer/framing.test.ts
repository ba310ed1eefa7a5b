// What becomes of an answer's head and of its length when it is searched: masks keep lengths, what is wrong of a body that
// was masked is left out, places are counted, and an honest answer is what it was, byte for byte.

import { createHash } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  answered,
  answeredInChunks,
  Caller,
  CODE,
  MASKED,
  NUMBER,
  openWorld,
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

const ECHO = `{"number":"${NUMBER}"}`
const MASKED_ECHO = `{"number":"${MASKED}"}`
const LONG = `{"number":"${NUMBER}","note":"${'n o '.repeat(20_000)}","again":"${NUMBER}"}`
const MASKED_LONG = LONG.replaceAll(NUMBER, MASKED)

describe('the length', () => {
  test('of a masked body is what it was', async () => {
    const answer = await psp.charge(answered(ECHO))

    expect(answer.header('Content-Length')).toBe(String(ECHO.length))
    expect(answer.header('Transfer-Encoding')).toBeUndefined()
    expect(answer.text).toBe(MASKED_ECHO)
  })

  test('of a short body that came in chunks is said', async () => {
    const answer = await psp.charge(() => answeredInChunks([ECHO.slice(0, 15), ECHO.slice(15)]))

    expect(answer.header('Content-Length')).toBe(String(ECHO.length))
    expect(answer.header('Transfer-Encoding')).toBeUndefined()
    expect(answer.text).toBe(MASKED_ECHO)
  })

  test('of a long body is what it was', async () => {
    const answer = await psp.charge(answered(LONG))

    expect(answer.header('Content-Length')).toBe(String(LONG.length))
    expect(answer.text).toBe(MASKED_LONG)
  })

  test('of a long body that came in chunks is not said', async () => {
    const answer = await psp.charge(() =>
      answeredInChunks([LONG.slice(0, 70_000), LONG.slice(70_000)]),
    )

    expect(answer.header('Content-Length')).toBeUndefined()
    expect(answer.header('Transfer-Encoding')).toBe('chunked')
    expect(answer.text).toBe(MASKED_LONG)
  })

  test.each([
    ['short', ECHO, MASKED_ECHO],
    ['long', LONG, MASKED_LONG],
  ])('of a %s body that ends with its connection is known at its end', async (_, body, masked) => {
    using caller = new Caller(world.sallyport.origin)
    const head = 'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n'

    const answer = await psp.charge(() => [head, body.slice(0, 20), 1, body.slice(20), 'end'], {
      caller,
    })
    const next = await psp.charge(answered('{}'), { caller })

    expect([answer.isWhole, answer.text]).toEqual([true, masked])
    expect(next.text).toBe('{}')
  })

  test('that is more than what comes is never made good', async () => {
    const short = await psp.charge(() => [
      `HTTP/1.1 200 OK\r\nContent-Length: ${ECHO.length + 5}\r\n\r\n${ECHO}`,
      'end',
    ])
    const long = await psp.charge(() => [
      `HTTP/1.1 200 OK\r\nContent-Length: ${LONG.length + 5}\r\n\r\n${LONG}`,
      20,
      'end',
    ])

    expect(reasonOf(short)).toBe('upstream_reset')
    expect(long.isWhole).toBe(false)
    expect(readingsWithNumber(Buffer.concat([short.raw, long.raw]))).toEqual([])
  })
})

describe('an answer without a body', () => {
  test.each([
    ['to HEAD', 'HEAD', '200 OK', ['Content-Length: 1234', 'Content-Type: application/json']],
    ['to HEAD, coded', 'HEAD', '200 OK', ['Content-Encoding: zz', 'Content-Length: 9']],
    ['of status 204', 'POST', '204 No Content', []],
    ['of status 304', 'POST', '304 Not Modified', ['Content-Length: 1234']],
  ])('%s is passed on with its head searched', async (_, method, status, headers) => {
    using caller = new Caller(world.sallyport.origin)
    const lines = [`HTTP/1.1 ${status}`, ...headers, `X-Seen: ${NUMBER}`, '\r\n'].join('\r\n')

    const answer = await psp.charge(() => [lines], {
      method,
      caller,
      headers: { 'X-Ask': 'x' },
    })
    const next = await psp.charge(answered('{}'), { caller })

    expect(answer.status).toBe(Number(status.slice(0, 3)))
    expect(answer.header('X-Seen')).toBe(MASKED)
    expect(answer.header('Sallyport-Redactions')).toBe('1')
    for (const line of headers) {
      const [name = '', value] = line.split(': ')
      expect(answer.header(name)).toBe(value)
    }
    expect(next.text).toBe('{}')
  })

  test('of status 200 stays empty', async () => {
    const answer = await psp.charge(answered(''))

    expect([answer.status, answer.header('Content-Length'), answer.text]).toEqual([200, '0', ''])
  })
})

describe('places that were masked', () => {
  test('are counted in head and body of a short answer', async () => {
    const answer = await psp.charge(
      answered(`["${NUMBER}","${NUMBER}"]`, [
        'Content-Type: application/json',
        `X-Pan: ${NUMBER}`,
        `Location: https://x.test/${NUMBER}?again=${NUMBER}`,
      ]),
    )

    expect(answer.header('Sallyport-Redactions')).toBe('5')
    expect((await world.lineOf(answer, 'outcome')).redactions).toBe(5)
  })

  test('are counted in the audit line of a long one, which cannot say it', async () => {
    const answer = await psp.charge(answered(LONG))

    expect(answer.header('Sallyport-Redactions')).toBeUndefined()
    expect((await world.lineOf(answer, 'outcome')).redactions).toBe(2)
  })

  test('are not spoken of where there are none', async () => {
    const answer = await psp.charge(answered('{}', ['Sallyport-Redactions: 7']))

    expect(answer.header('Sallyport-Redactions')).toBeUndefined()
    expect((await world.lineOf(answer, 'outcome')).redactions).toBeUndefined()
  })
})

describe('headers that are made of the body', () => {
  const digest = createHash('sha256').update(ECHO).digest('base64')
  const TELLTALES = [
    `Content-Digest: sha-256=:${digest}:`,
    `Repr-Digest: sha-256=:${digest}:`,
    `Digest: SHA-256=${digest}`,
    `Content-MD5: ${createHash('md5').update(ECHO).digest('base64')}`,
    `ETag: W/"16-${createHash('sha1').update(ECHO).digest('base64').slice(0, 27)}"`,
    `X-Amz-Checksum-Sha256: ${digest}`,
    `X-Goog-Hash: crc32c=n03x6A==`,
    `Signature: sig=:${digest}:`,
    `X-Body-HMAC: ${digest}`,
  ]
  const headers = ['Content-Type: application/json', 'X-Other: stays', ...TELLTALES]
  const telltalesOf = (head: string) =>
    TELLTALES.filter((line) => head.includes(`${line.split(':')[0]}:`))

  test('are left out when it was masked: with them the six digits can be tried', async () => {
    const answer = await psp.charge(answered(ECHO, headers))

    expect(telltalesOf(answer.head)).toEqual([])
    expect(answer.header('X-Other')).toBe('stays')
  })

  test('are left out of a long answer, whose head leaves before anybody knows', async () => {
    const answer = await psp.charge(answered(LONG, headers))

    expect(telltalesOf(answer.head)).toEqual([])
    expect(answer.header('X-Other')).toBe('stays')
  })

  test('are left out of an answer to HEAD, whose body nobody sees', async () => {
    const lines = ['HTTP/1.1 200 OK', ...headers, 'Content-Length: 5', '\r\n'].join('\r\n')

    const answer = await psp.charge(() => [lines], { method: 'HEAD' })

    expect(telltalesOf(answer.head)).toEqual([])
  })

  test('stay with a body that was not masked', async () => {
    const masksOne = [...headers, `X-Pan: ${NUMBER}`]

    const honest = await psp.charge(answered('{"ok":true}', headers))
    const inHead = await psp.charge(answered('{"ok":true}', masksOne))

    expect(telltalesOf(honest.head)).toEqual(TELLTALES)
    expect(telltalesOf(inHead.head)).toEqual(TELLTALES)
  })

  test('stay where no card data was revealed', async () => {
    const answer = await psp.charge(answered(LONG, headers), { body: '{}' })

    expect(telltalesOf(answer.head)).toEqual(TELLTALES)
  })
})

describe('an honest answer is what it was, byte for byte', () => {
  const everyByte = Buffer.from(Uint8Array.from({ length: 256 }, (_, byte) => byte))
  const HONEST: [what: string, type: string, body: Buffer | string][] = [
    ['an amount that is the code', 'application/json', `{"amount":${CODE},"cvc_check":"pass"}`],
    ['a code of another kind', 'application/json', `{"code":${CODE},"auth":"${CODE}${CODE}"}`],
    ['numbers of other cards', 'application/json', '["4242424242424242","5555555555554444"]'],
    [
      'BIN and last four',
      'application/json',
      '{"bin":"400005","last4":"5556","masked":"400005******5556"}',
    ],
    ['umlauts and more', 'application/json', Buffer.from('{"name":"Zoë \u{1f4b3} \\u00e9"}')],
    ['Latin-1', 'text/plain; charset=iso-8859-1', 'Zo\xeb 400005 5556'],
    ['every byte', 'application/octet-stream', Buffer.concat([everyByte, everyByte])],
    ['compressed data', 'application/zip', gzipSync('a text')],
    ['a byte order mark of UTF-8', 'text/csv', '\xef\xbb\xbfa;b\n1;2\n'],
    ['text with a NUL', 'text/plain', 'a\0b\0'],
    ['odd JSON', 'application/json', '{"a":1.10,"a":10000000000000000999 , "b":"\\/"}\n'],
  ]

  test.each(HONEST)('%s', async (_, type, body) => {
    const whole = answered(body, [
      `Content-Type: ${type}`,
      'X-A: 1',
      'x-a: 2',
      'X-Note: \t caf\xe9',
    ])

    // With a code of its own: it can be used once.
    const card = await world.merchant.createCard({ card_number: NUMBER, card_cvc: CODE })
    const answer = await psp.charge(whole, {
      body: `{"number":"{{$card_number: ${card}}}","cvc":"{{$card_cvc: ${card}}}"}`,
    })

    const bytes = typeof body === 'string' ? Buffer.from(body, 'latin1') : body
    expect(answer.body.equals(bytes)).toBe(true)
    expect(answer.header('Sallyport-Redactions')).toBeUndefined()
    expect(answer.head).toContain('X-A: 1\r\nx-a: 2\r\nX-Note: caf\xe9\r\n')
  })

  test('a long one, too', async () => {
    const noise = Buffer.alloc(300_000, 0).map((_, at) => (at * 7919 + (at >> 8)) & 255)
    const bytes = Buffer.from(noise)

    const answer = await psp.charge(answered(bytes, ['Content-Type: application/pdf']))

    expect(answer.body.equals(bytes)).toBe(true)
  })
})
