// Bodies beyond the buffer limit are scanned and spliced while they stream: the destination gets byte for byte what it
// would have got of a whole body, however it was cut; a refusal on the way leaves it with a request that never ends;
// and no more is held than a few pieces.

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import type { IncomingMessage } from 'node:http'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Reason } from '../../src/core/errors.ts'
import { StreamedBody } from '../../src/proxy/streamed-body.ts'
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
  type Recorder,
  sendPieces,
  startRecorder,
  startSending,
} from './recorder.ts'
import { closedPort, eventually, expectRefusal, listenOnNewPort, valuesOf } from './upstream.ts'

const MASTERCARD = '5555555555554444'
const HOLDER = 'Zoë "Z" O\'Neil & <Co>'

let sallyport: TestSallyport
let merchant: TestMerchant
let psp: Recorder
let visa: string
let mastercard: string

beforeAll(async () => {
  sallyport = await startSallyport()
  merchant = await sallyport.createMerchant()
  psp = await startRecorder()
  visa = await merchant.createCard({ card_holder_name: HOLDER })
  mastercard = await merchant.createCard({ card_number: MASTERCARD })
  await reach('psp', psp.origin)
})

afterAll(async () => {
  await sallyport[Symbol.asyncDispose]()
  await psp[Symbol.asyncDispose]()
})

const FIELDS = ['card_number', 'card_exp_month', 'card_exp_year', 'card_holder_name', 'card_last4']

/** So small that every body streams. */
const limits = { buffer_bytes: 8 }

const reach = (name: string, origin: string, settings: Record<string, unknown> = {}) =>
  merchant.createDestination({
    name,
    origin,
    limits,
    allow: [{ methods: ['POST', 'PUT', 'GET', 'DELETE'], path: '/*', fields: FIELDS }],
    ...settings,
  })

const headersOf = (type: string) => ({
  'Sallyport-Key': merchant.proxyKey,
  'Content-Type': type,
})

const post = (type: string, pieces: readonly Piece[], name = 'psp', more = {}) =>
  sendPieces(sallyport.origin, `/d/${name}/pay`, { ...headersOf(type), ...more }, pieces)

/** What is sent, what has to arrive, and where its fields may stand. */
type Shape = {
  readonly name: string
  readonly type: string
  readonly body: () => string
  readonly arrives: string
  readonly allow?: object
}

const crlf = (...lines: string[]) => lines.join('\r\n')

const SHAPES: readonly Shape[] = [
  {
    name: 'JSON',
    type: 'application/json',
    body: () =>
      `{"ü":"\\u00fc {","source":{"number":"{{$card_number: ${visa}}}","name":"{{ $card_holder_name:${visa} | upper }}"},"n":[1.50,{{$card_exp_year:${mastercard}|number}}]} `,
    arrives: `{"ü":"\\u00fc {","source":{"number":"${VISA}","name":"ZOË \\"Z\\" O'NEIL & <CO>"},"n":[1.50,2035]} `,
    allow: [
      {
        methods: ['POST'],
        path: '/*',
        fields: [
          { field: 'card_number', at: ['body:/source/number'] },
          { field: 'card_holder_name', at: ['body:/source/name'] },
          { field: 'card_exp_year', at: ['body:/n/1'] },
        ],
      },
    ],
  },
  {
    name: 'form',
    type: 'application/x-www-form-urlencoded',
    body: () =>
      `a=1%2b1&card%5Bnumber%5D=%7B%7B%24card_number%3A${visa}}}&name={{+$card_holder_name:${visa}+%7d%7D&z=%7b`,
    arrives: `a=1%2b1&card%5Bnumber%5D=${VISA}&name=Zo%C3%AB%20%22Z%22%20O%27Neil%20%26%20%3CCo%3E&z=%7b`,
    allow: [
      {
        methods: ['POST'],
        path: '/*',
        fields: [
          { field: 'card_number', at: ['body:card[number]'] },
          { field: 'card_holder_name', at: ['body:name'] },
        ],
      },
    ],
  },
  {
    name: 'XML',
    type: 'application/xml',
    body: () =>
      `<?xml version="1.0" encoding="UTF-8"?><!-- {{ --><p:pay xmlns:p='u'><card pan='{{$card_number:${visa}}}'>{{$card_holder_name:${visa}}}</card><![CDATA[{{$card_number:${mastercard}}}]]></p:pay>`,
    arrives: `<?xml version="1.0" encoding="UTF-8"?><!-- {{ --><p:pay xmlns:p='u'><card pan='${VISA}'>Zoë "Z" O'Neil &#38; &#60;Co&#62;</card><![CDATA[${MASTERCARD}]]></p:pay>`,
    allow: [
      {
        methods: ['POST'],
        path: '/*',
        fields: [
          { field: 'card_number', at: ['body:/p:pay/card/@pan', 'body:/p:pay'] },
          { field: 'card_holder_name', at: ['body:/p:pay/card'] },
        ],
      },
    ],
  },
  {
    name: 'multipart',
    type: 'multipart/form-data; boundary=--b',
    body: () =>
      crlf(
        '----b',
        'Content-Disposition: form-data; name="pan"',
        '',
        `{{$card_number: ${visa}}}`,
        '----b',
        'Content-Disposition: form-data; name="payload"',
        'Content-Type: application/json',
        '',
        `{"name":"{{$card_holder_name: ${visa}}}"}`,
        '----b',
        'Content-Disposition: form-data; name="file"; filename="a.png"',
        'Content-Type: image/png',
        '',
        '{{$anything',
        '----b--',
        '',
      ),
    arrives: crlf(
      '----b',
      'Content-Disposition: form-data; name="pan"',
      '',
      VISA,
      '----b',
      'Content-Disposition: form-data; name="payload"',
      'Content-Type: application/json',
      '',
      '{"name":"Zoë \\"Z\\" O\'Neil & <Co>"}',
      '----b',
      'Content-Disposition: form-data; name="file"; filename="a.png"',
      'Content-Type: image/png',
      '',
      '{{$anything',
      '----b--',
      '',
    ),
    allow: [
      {
        methods: ['POST'],
        path: '/*',
        fields: [
          { field: 'card_number', at: ['body:pan'] },
          { field: 'card_holder_name', at: ['body:payload/name'] },
        ],
      },
    ],
  },
  {
    name: 'text',
    type: 'text/csv',
    body: () => `a{ {;{{x\n{{$card_number: ${visa}}};{{{ $card_last4 :${mastercard}}}}\n{`,
    arrives: `a{ {;{{x\n${VISA};{4444}\n{`,
  },
]

describe.each(SHAPES)('$name', ({ name, type, body, arrives, allow }) => {
  const destination = name.toLowerCase()
  let there: Recorder

  beforeAll(async () => {
    there = await startRecorder()
    await reach(destination, there.origin, allow === undefined ? {} : { allow })
  })

  afterAll(async () => {
    await there[Symbol.asyncDispose]()
  })

  test('cut at any byte, in chunks: the right bytes arrive, in chunks', async () => {
    const bytes = Buffer.from(body())
    const cuts = Array.from({ length: bytes.length - 9 }, (_, n) => n + 9)

    for (let i = 0; i < cuts.length; i += 8) {
      await Promise.all(
        cuts.slice(i, i + 8).map(async (cut) => {
          const pieces = [bytes.subarray(0, 9), bytes.subarray(9, cut), bytes.subarray(cut)]
          const reply = await post(
            type,
            pieces.filter((piece) => piece.length > 0),
            destination,
          )
          expect([cut, reply.status, reply.text]).toEqual([cut, 200, '{"ok":true}'])
        }),
      )
    }

    expect(there.requests.length).toBe(cuts.length)
    for (const request of there.requests) {
      expect(request.body.toString()).toBe(arrives)
      expect(valuesOf(request.rawHeaders, 'transfer-encoding')).toEqual(['chunked'])
      expect(valuesOf(request.rawHeaders, 'content-length')).toEqual([])
    }
  })

  test('byte by byte, of a known length: the right bytes arrive, in chunks', async () => {
    const bytes = Buffer.from(body())
    const pieces = Array.from(bytes, (_, at) => bytes.subarray(at, at + 1))

    const reply = await post(type, pieces, destination, { 'Content-Length': String(bytes.length) })

    expect([reply.status, reply.text]).toEqual([200, '{"ok":true}'])
    const request = await there.lastOver()
    expect(request.body.toString()).toBe(arrives)
    expect(valuesOf(request.rawHeaders, 'transfer-encoding')).toEqual(['chunked'])
    expect(valuesOf(request.rawHeaders, 'content-length')).toEqual([])
  })
})

type Line = Record<string, any>

async function allLines(): Promise<Line[]> {
  const text = await readFile(join(sallyport.folder, 'audit', 'audit.jsonl'), 'utf8')
  const lines = text.split('\n').filter((line) => line !== '')
  return lines.map((line) => JSON.parse(line))
}

/** The lines of one request, up to the one that says what came of it. */
async function linesOf(request: unknown): Promise<Line[]> {
  return eventually(
    async () => (await allLines()).filter((line) => line.request === request),
    (lines) => lines.some(({ kind }) => kind === 'outcome' || kind === 'refusal'),
  )
}

const JSON_TYPE = 'application/json'

/** A request whose beginning, with a card number in it, the destination has seen by now. */
async function startCharge(name = 'psp', there = psp, more: Record<string, string> = {}) {
  const before = there.requests.length
  const headers = { ...headersOf(JSON_TYPE), ...more }
  const sending = startSending(sallyport.origin, 'POST', `/d/${name}/pay`, headers)
  await sending.write(`["{{$card_number: ${visa}}}",`)
  const seen = await eventually(
    () => there.requests[before],
    (request) => (request?.body.length ?? 0) >= VISA.length,
  )
  expect(seen?.body.toString()).toBe(`["${VISA}",`)
  return sending
}

describe('refused on the way', () => {
  const cases: [what: string, Reason, rest: () => string][] = [
    ['a malformed placeholder', 'placeholder_malformed', () => '"{{$card_number: !}}"]'],
    ['a field that there is not', 'placeholder_malformed', () => '"{{$pan: x}}"]'],
    ['a placeholder that does not end', 'placeholder_malformed', () => '"{{$card_number: x"]'],
    ['a disguise', 'placeholder_malformed', () => '"\\u007b{$card_number: x}}"]'],
    ['an unknown token', 'token_not_found', () => '"{{$card_number: x}}"]'],
    ['no token', 'placeholder_without_token', () => '"{{$card_number}}"]'],
    ['a field that is not allowed', 'field_not_allowed', () => `"{{$card_bin: ${visa}}}"]`],
    [
      'a field that the card has not got',
      'placeholder_field_missing',
      () => `"{{$card_holder_name: ${mastercard}}}"]`,
    ],
    ['broken JSON', 'malformed_body', () => '1,,2]'],
    ['JSON that does not end', 'malformed_body', () => '1'],
  ]

  test.each(cases)('%s: %s, and the destination never sees an end', async (_, reason, rest) => {
    const sending = await startCharge()

    await sending.write(rest())
    sending.end()
    const reply = await sending.reply

    expectRefusedUnsafe(reply, reason)
    const request = await psp.lastOver()
    expect([request.isWhole, request.body.toString().slice(0, 19)]).toEqual([false, `["${VISA}"`])
    const lines = await linesOf(reply.headers['sallyport-request-id'])
    expect(lines.map(({ kind }) => kind)).toEqual(['reveal', 'outcome'])
    expect(lines[1]).toMatchObject({ reason, cut: false })
  })

  test('more bytes than the destination takes, in chunks', async () => {
    await using there = await startRecorder()
    await reach('little', there.origin, { limits: { ...limits, body_bytes: 1000 } })
    const sending = await startCharge('little', there)

    await sending.write('1,'.repeat(500))
    const reply = await sending.reply

    expectRefusedUnsafe(reply, 'body_too_large')
    expect((await there.lastOver()).isWhole).toBe(false)
  })

  test('another number of placeholders than expected, known at the end', async () => {
    const more = { 'Sallyport-Expect-Substitutions': '2' }
    const sending = await startCharge('psp', psp, more)

    await sending.write(`1]`)
    sending.end()

    expectRefusedUnsafe(await sending.reply, 'substitutions_mismatch')
    expect((await psp.lastOver()).isWhole).toBe(false)
  })

  test('the expected number of placeholders passes, those of the head counted', async () => {
    await using there = await startRecorder()
    await reach('head', there.origin, {
      allow: [
        {
          methods: ['POST'],
          path: '/*',
          fields: [{ field: 'card_number', at: ['body', 'header:x-pan'] }],
        },
      ],
    })
    const sending = await startCharge('head', there, {
      'Sallyport-Expect-Substitutions': '3',
      'X-Pan': `{{$card_number: ${mastercard}}}`,
    })

    await sending.write(`"{{$card_number: ${mastercard}}}"]`)
    sending.end()

    expect((await sending.reply).status).toBe(200)
    expect(there.requests[0]?.headers['x-pan']).toBe(MASTERCARD)
    expect(there.requests[0]?.body.toString()).toBe(`["${VISA}","${MASTERCARD}"]`)
  })

  test('no placeholder where there has to be one, known at the end', async () => {
    await using there = await startRecorder()
    await reach('strict', there.origin, { require_placeholder: true })

    const reply = await post(JSON_TYPE, ['["no card', ' in here"]'], 'strict')

    expectRefusedUnsafe(reply, 'substitutions_mismatch')
    expect((await there.lastOver()).isWhole).toBe(false)
  })

  test('a field in a place where it may not stand', async () => {
    await using there = await startRecorder()
    const fields = [{ field: 'card_number', at: ['body:/0', 'body:/2/number'] }]
    await reach('places', there.origin, { allow: [{ methods: ['POST'], path: '/*', fields }] })
    const sending = await startCharge('places', there)

    await sending.write(`{"number":1},{"number":"{{$card_number: ${mastercard}}}"},`)
    await sending.write(`{"number":"{{$card_number: ${mastercard}}}"},1]`)
    const reply = await sending.reply

    expectRefusedUnsafe(reply, 'field_not_allowed')
    const request = await there.lastOver()
    const seen = `["${VISA}",{"number":1},{"number":"${MASTERCARD}"},`
    expect([request.isWhole, request.body.toString()]).toEqual([false, seen])
    const lines = await linesOf(reply.headers['sallyport-request-id'])
    expect(lines.map(({ kind }) => kind)).toEqual(['reveal', 'reveal', 'outcome'])
  })

  test('the bytes that the destination got have no end to them', async () => {
    let bytes = ''
    const server = createServer((socket) => {
      socket.on('data', (chunk: Buffer) => {
        bytes += chunk.toString('latin1')
      })
      socket.on('error', () => {})
    })
    await reach('bytes', `http://127.0.0.1:${await listenOnNewPort(server)}`)
    const headers = headersOf(JSON_TYPE)
    const sending = startSending(sallyport.origin, 'POST', '/d/bytes/pay', headers)
    await sending.write(`["{{$card_number: ${visa}}}",`)
    await eventually(
      () => bytes,
      (text) => text.includes(VISA),
    )

    await sending.write('1,,2]')
    const reply = await sending.reply
    const closed = once(server, 'close')
    server.close()
    await closed // so the connection has ended, too

    expectRefusedUnsafe(reply, 'malformed_body')
    expect(bytes.slice(bytes.indexOf('\r\n\r\n') + 4)).toBe(`14\r\n["${VISA}",`)
  })

  test('after the head of the answer has been passed on: the answer is cut', async () => {
    await using there = await startRecorder({
      onHead: (request, response) => {
        request.once('data', () => response.writeHead(200).write('so far'))
        request.resume()
      },
    })
    await reach('duplex', there.origin, { response: { leak_guard: 'off' } }) // held otherwise
    const headers = headersOf(JSON_TYPE)
    const sending = startSending(sallyport.origin, 'POST', '/d/duplex/pay', headers)
    await sending.write(`["{{$card_number: ${visa}}}",`)
    await eventually(
      async () => (await allLines()).some((line) => line.destination === 'duplex'),
      (isThere) => isThere,
    )
    await pause(50) // for the head to come back

    await sending.write('1,,2]')
    const reply = await sending.reply

    expect([reply.status, reply.text, reply.isWhole]).toEqual([200, 'so far', false])
    const lines = await linesOf(reply.headers['sallyport-request-id'])
    expect(lines.at(-1)).toMatchObject({ status: 200, reason: 'malformed_body', cut: true })
    expect((await there.lastOver()).isWhole).toBe(false)
  })
})

test('each piece has its line in the file before the destination sees it', async () => {
  const path = join(sallyport.folder, 'audit', 'audit.jsonl')
  const then: number[] = []
  await using there = await startRecorder({
    onHead: (request, response) => {
      request.on('data', () => {
        const lines = readFileSync(path, 'utf8').split('\n')
        const own = lines.filter((line) => line.includes('"destination":"lines"'))
        then.push(own.filter((line) => line.includes('"kind":"reveal"')).length)
      })
      request.on('end', () => response.end())
    },
  })
  await reach('lines', there.origin)
  const pieces = [1, 2, 3].map((n) => `"{{$card_number: ${visa}}}",${n},`)

  const headers = headersOf(JSON_TYPE)
  const reply = await sendPieces(
    sallyport.origin,
    '/d/lines/pay',
    headers,
    ['[', ...pieces, '0]'],
    30,
  )

  expect(reply.status).toBe(200)
  // The bracket alone is below the limit of what is held; the rest of each piece comes with the next.
  expect(then.slice(0, 3)).toEqual([1, 2, 3])
})

test('one connection carries one streamed body after the other', async () => {
  const socket = connect(Number(new URL(sallyport.origin).port), '127.0.0.1')
  let answers = ''
  socket.on('data', (chunk: Buffer) => {
    answers += chunk
  })
  const before = psp.requests.length
  const body = `["{{$card_number: ${visa}}}","${'x'.repeat(100_000)}"]`
  const head = `POST /d/psp/pay HTTP/1.1\r\nHost: x\r\nSallyport-Key: ${merchant.proxyKey}\r\nContent-Type: ${JSON_TYPE}\r\n`
  const known = `${head}Content-Length: ${body.length}\r\n\r\n${body}`
  const chunked = `${head}Transfer-Encoding: chunked\r\n\r\n${body.length.toString(16)};x=y\r\n${body}\r\n0\r\nX-Trailer: a\r\n\r\n`

  // The second and third do not wait for the answer to the one before.
  socket.write(known + chunked + known)
  await eventually(
    () => answers.split('{"ok":true}').length,
    (count) => count === 4,
  )
  socket.destroy()

  const seen = psp.requests.slice(before)
  expect(seen.map(({ isWhole }) => isWhole)).toEqual([true, true, true])
  const expected = `["${VISA}","${'x'.repeat(100_000)}"]`
  expect(seen.every(({ body: got }) => got.toString() === expected)).toBe(true)
})

describe('refused before anything has left', () => {
  const cases: [what: string, Reason, body: () => string][] = [
    ['a malformed placeholder', 'placeholder_malformed', () => '["{{$card_number: !}}",'],
    ['an unknown token', 'token_not_found', () => '["{{$card_number: x}}",'],
    ['a field that is not allowed', 'field_not_allowed', () => `["{{$card_bin: ${visa}}}",`],
    ['broken JSON', 'malformed_body', () => `["{{$card_number: ${visa}}}",,`],
  ]

  test.each(cases)(
    '%s in the first piece: %s, and no connection is made',
    async (_, reason, body) => {
      await using there = await startRecorder()
      await reach(`first-${reason.replaceAll('_', '-')}`, there.origin)

      const reply = await post(JSON_TYPE, [body(), '1]'], `first-${reason.replaceAll('_', '-')}`)

      expectRefusal(reply, reason)
      expect(there.connections).toBe(0)
      const lines = await linesOf(reply.headers['sallyport-request-id'])
      expect(lines.map(({ kind }) => kind)).toEqual(['refusal'])
    },
  )
})

describe('while a body streams', () => {
  const ADMISSION_HOLDS_MS = 1000

  test('the key is revoked: nothing more is revealed, and the request stays unfinished', async () => {
    const key = await sallyport.createKey(merchant.id, ['proxy:invoke'])
    const keys = (await sallyport.admin('GET', `/v2/api-keys?merchant_id=${merchant.id}`)).body
    const sending = await startCharge('psp', psp, { 'Sallyport-Key': key })
    await sallyport.admin('DELETE', `/v2/api-keys/${keys.at(-1).key_id}?merchant_id=${merchant.id}`)
    await sleep(ADMISSION_HOLDS_MS + 50)

    await sending.write(`"{{$card_number: ${mastercard}}}",`)
    const reply = await sending.reply

    expectRefusedUnsafe(reply, 'permission_denied')
    const request = await psp.lastOver()
    expect(request.isWhole).toBe(false)
    expect(request.body.toString()).not.toContain(MASTERCARD)
    const lines = await linesOf(reply.headers['sallyport-request-id'])
    expect(lines.map(({ kind }) => kind)).toEqual(['reveal', 'outcome'])
  })

  test.each(['changed', 'deleted'])('the destination is %s: no more is revealed', async (what) => {
    await using there = await startRecorder()
    const name = `is-${what}`
    await reach(name, there.origin)
    const sending = await startCharge(name, there)
    const body = { name, origin: there.origin, limits, allow: [] }
    if (what === 'changed') await merchant.policy('PUT', `/v2/destinations/${name}`, body)
    else await merchant.policy('DELETE', `/v2/destinations/${name}`)
    await sleep(ADMISSION_HOLDS_MS + 50)

    await sending.write(`"{{$card_number: ${mastercard}}}",`)

    expectRefusedUnsafe(await sending.reply, 'permission_denied')
    const request = await there.lastOver()
    expect([request.isWhole, request.body.toString()]).toEqual([false, `["${VISA}",`])
  })

  test('key and destination are what they were: the body goes on, by either way in', async () => {
    const more = { 'Sallyport-Destination': psp.origin }
    const path = ['/d/psp/pay', '/forward/pay']
    const headers = path.map((each) =>
      each.startsWith('/d') ? headersOf(JSON_TYPE) : { ...headersOf(JSON_TYPE), ...more },
    )
    const sendings = path.map((each, n) =>
      startSending(sallyport.origin, 'POST', each, headers[n] ?? {}),
    )
    for (const each of sendings) await each.write(`["{{$card_number: ${visa}}}",`)
    await sleep(ADMISSION_HOLDS_MS + 50)
    for (const each of sendings) {
      await each.write(`"{{$card_number: ${mastercard}}}"]`)
      each.end()
    }

    const replies = await Promise.all(sendings.map(({ reply }) => reply))

    expect(replies.map(({ status }) => status)).toEqual([200, 200])
    for (const { body } of psp.requests.slice(-2)) {
      expect(body.toString()).toBe(`["${VISA}","${MASTERCARD}"]`)
    }
  })

  test('the caller goes away: the destination never sees an end, and it is not our fault', async () => {
    await using there = await startRecorder()
    await reach('left', there.origin)
    const sending = await startCharge('left', there)

    sending.leave()

    const request = await there.lastOver()
    expect([request.isWhole, request.body.toString()]).toEqual([false, `["${VISA}",`])
    const lines = await eventually(
      async () => (await allLines()).filter((line) => line.destination === 'left'),
      (all) => all.length === 2,
    )
    expect(lines.map(({ kind }) => kind)).toEqual(['reveal', 'outcome'])
    expect(lines[1]).toMatchObject({ cut: true })
    expect(lines[1]).not.toHaveProperty('reason')
  })

  test('the destination closes the connection: upstream_reset', async () => {
    await using there = await startRecorder({
      onHead: (request) => request.once('data', () => request.socket.destroy()),
    })
    await reach('closing', there.origin)
    const headers = headersOf(JSON_TYPE)
    const sending = startSending(sallyport.origin, 'POST', '/d/closing/pay', headers)

    await sending.write(`["{{$card_number: ${visa}}}",`)
    const reply = await sending.reply

    expectRefusedUnsafe(reply, 'upstream_reset')
  })

  test.each([
    ['keeps the connection', {}],
    ['closes the connection', { Connection: 'close' }],
  ])('the destination answers early and %s: the caller gets the answer', async (_, head) => {
    await using there = await startRecorder({
      onHead: (request, response) => {
        request.once('data', () => response.writeHead(413, head).end('too much'))
      },
    })
    const name = `early${Object.keys(head).length}`
    await reach(name, there.origin)
    const headers = headersOf(JSON_TYPE)
    const sending = startSending(sallyport.origin, 'POST', `/d/${name}/pay`, headers)
    await sending.write(`["{{$card_number: ${visa}}}",`)

    const reply = await sending.reply
    sending.end()

    expect([reply.status, reply.text, reply.isWhole]).toEqual([413, 'too much', true])
    expect((await post(JSON_TYPE, ['[1,2,3,4,', '5]'])).status).toBe(200)
  })

  test('the destination answers early: the connection of the caller goes on with the rest', async () => {
    await using there = await startRecorder({
      onHead: (request, response) => {
        request.once('data', () => response.writeHead(413).end('too much'))
      },
    })
    await reach('early', there.origin)
    const socket = connect(Number(new URL(sallyport.origin).port), '127.0.0.1')
    let answers = ''
    socket.on('data', (chunk: Buffer) => {
      answers += chunk
    })
    const request = (body: string) =>
      `POST /d/early/pay HTTP/1.1\r\nHost: x\r\nSallyport-Key: ${merchant.proxyKey}\r\nContent-Length: 200000\r\n\r\n${body}`

    socket.write(request('x'.repeat(100)))
    await eventually(
      () => answers,
      (text) => text.includes('too much'),
    )
    socket.write('x'.repeat(199_900))
    socket.write(request('x'.repeat(100)))
    await eventually(
      () => answers,
      (text) => text.split('too much').length === 3,
    )
    socket.destroy()

    expect(answers.split('HTTP/1.1 413').length).toBe(3)
    expect(there.requests.length).toBe(2)
  })
})

test('with the limits as they are by default, many cards and cuts: the right bytes arrive', async () => {
  await using there = await startRecorder()
  await reach('default', there.origin, { limits: {} })
  const noise = randomBytes(90_000).toString('base64')
  const parts = Array.from({ length: 900 }, (_, n) =>
    noise.slice(n * 131, n * 131 + 1000 + (n % 7)),
  )
  const text = (of: (n: number) => string) =>
    `[${parts.map((part, n) => `{"${part}":"${of(n)}"}`).join(',')}]`
  const sent = Buffer.from(text((n) => `{{$card_number: ${n % 3 === 0 ? mastercard : visa}}}`))
  const expected = text((n) => (n % 3 === 0 ? MASTERCARD : VISA))
  const pieces: Buffer[] = []
  for (let at = 0, n = 0; at < sent.length; n++) {
    const length = [70_001, 4097, 1, 16_384, 333][n % 5] as number
    pieces.push(sent.subarray(at, at + length))
    at += length
  }

  for (const more of [{}, { 'Content-Length': String(sent.length) }]) {
    const reply = await post(JSON_TYPE, pieces, 'default', more)

    expect(reply.status).toBe(200)
    const request = await there.lastOver()
    expect(request.body.toString() === expected).toBe(true)
    expect(request.headers['transfer-encoding']).toBe('chunked')
  }
})

test('a body up to the buffer limit is sent with its length', async () => {
  const reply = await post(JSON_TYPE, [`[1234]`, ' '])

  expect(reply.status).toBe(200)
  expect(psp.requests.at(-1)?.headers['content-length']).toBe('7')
})

describe('a binary body', () => {
  const body = randomBytes(300_000)
  const length = { 'Content-Length': String(body.length) }

  test('keeps its length, or goes in chunks as it came', async () => {
    const pieces = [body.subarray(0, 100_000), body.subarray(100_000)]

    const known = await post('image/png', pieces, 'psp', length)
    const [withLength] = psp.requests.slice(-1)
    const unknown = await post('image/png', pieces)
    const [inChunks] = psp.requests.slice(-1)

    expect([known.status, unknown.status]).toEqual([200, 200])
    expect([withLength?.body.equals(body), inChunks?.body.equals(body)]).toEqual([true, true])
    expect(withLength?.headers).toMatchObject({ 'content-length': '300000' })
    expect(withLength?.headers['transfer-encoding']).toBeUndefined()
    expect(inChunks?.headers['transfer-encoding']).toBe('chunked')
  })

  test('that is not what was expected is refused before anything is sent', async () => {
    await using there = await startRecorder()
    await reach('binary', there.origin, { require_placeholder: true })
    const before = psp.requests.length

    const expecting = { ...length, 'Sallyport-Expect-Substitutions': '1' }
    const mismatch = await post('image/png', [body], 'psp', expecting)
    const required = await post('image/png', [body], 'binary', length)

    expectRefusal(mismatch, 'substitutions_mismatch')
    expectRefusal(required, 'substitutions_mismatch')
    expect([psp.requests.length - before, there.connections]).toEqual([0, 0])
  })

  test('whose caller goes away is never ended', async () => {
    const headers = { ...headersOf('image/png'), ...length }
    const sending = startSending(sallyport.origin, 'PUT', '/d/psp/file', headers)
    await sending.write(body.subarray(0, 200_000))
    await eventually(
      () => psp.requests.at(-1),
      (request) => request?.method === 'PUT' && request.body.length > 0,
    )

    sending.leave()

    expect((await psp.lastOver()).isWhole).toBe(false)
  })
})

test('a destination that signs from now on is not sent a body that is already on its way', async () => {
  await using there = await startRecorder()
  await reach('signs', there.origin)
  const sending = startSending(sallyport.origin, 'POST', '/d/signs/pay', headersOf(JSON_TYPE))
  await sending.write('["12')
  await sleep(1100)
  const signing = {
    recipe: 'hmac',
    algorithm: 'sha256',
    encoding: 'hex',
    key: 'key',
    template: '{body}',
    headers: { 'X-Signature': '{signature}' },
  }
  const allow = [{ methods: ['POST'], path: '/*', fields: FIELDS }]
  const body = { name: 'signs', origin: there.origin, limits, allow, signing }
  expect((await merchant.policy('PUT', '/v2/destinations/signs', body)).status).toBe(200)
  // What is read now is more than the limit of before.
  await sending.write('34567890",')
  await pause(50)
  await sending.write(`"{{$card_number: ${visa}}}"]`)
  sending.end()
  const reply = await sending.reply

  expectRefusal(reply, 'permission_denied')
  expect(there.connections).toBe(0)
})

test('a refusal reaches a caller that goes on sending, and the connection ends with the request', async () => {
  const socket = connect(Number(new URL(sallyport.origin).port), '127.0.0.1')
  let answer = ''
  let failure: Error | undefined
  socket.on('data', (chunk: Buffer) => {
    answer += chunk
  })
  socket.on('error', (error) => {
    failure = error
  })
  const chunk = (text: string) => `${text.length.toString(16)}\r\n${text}\r\n`

  socket.write(
    `POST /d/psp/pay HTTP/1.1\r\nHost: x\r\nSallyport-Key: ${merchant.proxyKey}\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n`,
  )
  socket.write(chunk('{{$card_number: !}}'))
  await eventually(
    () => answer,
    (text) => text.includes('"request_id"'),
  )
  for (let i = 0; i < 50; i++) {
    socket.write(chunk('x'.repeat(20_000)))
    await pause(1)
  }
  const isOpen = !socket.destroyed
  socket.write(chunk(''))
  await once(socket, 'close')

  expect(answer).toMatch(/^HTTP\/1\.1 400 .*\r\nConnection: close\r\n.*placeholder_malformed/s)
  expect([isOpen, failure]).toEqual([true, undefined])
})

describe('a destination that is slow to read', () => {
  setFlagsFromString('--expose-gc')
  const collectGarbage = runInNewContext('gc') as () => void

  const HELD_BYTES = 2 * 1024 * 1024

  /** Those of both ends are in it: they are in this process, too. */
  function bufferBytes(): number {
    collectGarbage()
    return process.memoryUsage().arrayBuffers
  }

  /** All that the caller can write until nothing moves any more. */
  async function writeAll(name: string, limitBytes: number) {
    const headers = headersOf('text/plain')
    const sending = startSending(sallyport.origin, 'POST', `/d/${name}/pay`, headers)
    const piece = Buffer.alloc(64 * 1024, 'x')
    let written = 0
    let isDone = false
    const finished = (async () => {
      while (written < limitBytes && !isDone) {
        await sending.write(piece)
        written += piece.length
      }
    })()
    await sending.write(`{{$card_number: ${visa}}} `)
    for (let before = -1; before !== written; ) {
      before = written
      await pause(250)
    }
    return {
      sending,
      written,
      async finish() {
        await finished
        sending.end()
        const reply = await sending.reply
        isDone = true
        return { reply, written }
      },
    }
  }

  test('slows its caller down, and little is held', async () => {
    let reading: IncomingMessage | undefined
    let read = 0
    await using there = await startRecorder({
      onHead: (request, response) => {
        reading = request
        request.pause()
        request.on('end', () => response.end('ok'))
      },
    })
    await reach('slow', there.origin, { limits })

    const before = bufferBytes()
    const stalled = await writeAll('slow', 48 * 1024 * 1024)
    const held = await eventually(
      () => bufferBytes() - before,
      (bytes) => bytes < HELD_BYTES,
    )
    reading?.on('data', (chunk: Buffer) => {
      read += chunk.length
    })
    reading?.resume()
    const { reply, written } = await stalled.finish()

    // What the system holds of both connections, and a few pieces.
    expect(stalled.written).toBeLessThan(40 * 1024 * 1024)
    expect(held).toBeLessThan(HELD_BYTES)
    expect([reply.status, reply.text]).toEqual([200, 'ok'])
    expect(read).toBe(written + VISA.length + 1)
  })

  test('and never reads: upstream_timeout, not safe to repeat', async () => {
    await using there = await startRecorder({ onHead: (request) => request.pause() })
    await reach('stuck', there.origin, { limits, timeouts: { total_ms: 1000 } })
    const stalled = await writeAll('stuck', 48 * 1024 * 1024)

    const reply = await stalled.sending.reply

    expectRefusedUnsafe(reply, 'upstream_timeout')
  })

  test('and never reads, with a limit for its head: upstream_timeout as well', async () => {
    await using there = await startRecorder({ onHead: (request) => request.pause() })
    await reach('headless', there.origin, { limits, timeouts: { headers_ms: 1000 } })
    const stalled = await writeAll('headless', 48 * 1024 * 1024)

    const reply = await stalled.sending.reply

    expectRefusedUnsafe(reply, 'upstream_timeout')
  })
})

describe('a card verification code', () => {
  const CVC = '739'
  const allow = [{ methods: ['POST'], path: '/*', fields: [...FIELDS, 'card_cvc'] }]
  const newCard = () => merchant.createCard({ card_cvc: CVC })
  const placeholder = (token: string) => `"{{$card_cvc: ${token}}}"`

  /** What a request of its own can still get of it. */
  async function isThere(token: string): Promise<boolean> {
    const reply = await post(JSON_TYPE, [`[${placeholder(token)}]`], 'codes')
    return reply.status === 200
  }

  let there: Recorder

  beforeAll(async () => {
    there = await startRecorder()
    await reach('codes', there.origin, { allow })
  })

  afterAll(async () => {
    await there[Symbol.asyncDispose]()
  })

  test('is taken once and stands in as many pieces as it is asked for in', async () => {
    const token = await newCard()
    const pieces = [1, 2, 3].map((n) => `${placeholder(token)},${n},`)

    const reply = await post(JSON_TYPE, ['[', ...pieces, '0]'], 'codes')

    expect([reply.status, reply.headers['sallyport-substitutions']]).toEqual([200, 'card_cvc=3'])
    const body = '["739",1,"739",2,"739",3,0]'
    expect((await there.lastOver()).body.toString()).toBe(body)
    expect(await isThere(token)).toBe(false)
  })

  test('first asked for on the way, it is taken then', async () => {
    const token = await newCard()

    const reply = await post(JSON_TYPE, ['["nothing yet",', `${placeholder(token)}]`], 'codes')

    expect(reply.status).toBe(200)
    expect(await isThere(token)).toBe(false)
  })

  test('is back when the first piece was refused', async () => {
    const token = await newCard()

    const reply = await post(JSON_TYPE, [`[${placeholder(token)},"{{$card_number: x}}",`], 'codes')

    expectRefusal(reply, 'token_not_found')
    expect(await isThere(token)).toBe(true)
  })

  test('is back when there was no connection', async () => {
    const token = await newCard()
    await reach('no-one', `http://127.0.0.1:${await closedPort()}`, { allow })

    const reply = await post(JSON_TYPE, [`[${placeholder(token)},`, '1]'], 'no-one')

    expectRefusal(reply, 'upstream_connect_failed')
    expect(await eventually(() => isThere(token), Boolean)).toBe(true)
  })

  test.each([
    ['refused', '"{{$card_number: x}}"]'],
    ['without a code of a second card', ''],
  ])('stays taken when a later piece is %s', async (_, rest) => {
    const token = await newCard()
    const bare = await merchant.createCard({ card_number: '4000056655665556' })
    const before = there.requests.length
    const headers = headersOf(JSON_TYPE)
    const sending = startSending(sallyport.origin, 'POST', '/d/codes/pay', headers)
    await sending.write(`[${placeholder(token)},`)
    await eventually(
      () => there.requests[before]?.body.length ?? 0,
      (length) => length > 0,
    )

    await sending.write(rest === '' ? `${placeholder(bare)}]` : rest)
    sending.end()
    const reply = await sending.reply

    expectRefusedUnsafe(reply, rest === '' ? 'cvc_not_available' : 'token_not_found')
    expect((await there.lastOver()).isWhole).toBe(false)
    await pause(50)
    expect(await isThere(token)).toBe(false)
  })

  test('stays taken when the caller goes away on the way', async () => {
    const token = await newCard()
    const before = there.requests.length
    const headers = headersOf(JSON_TYPE)
    const sending = startSending(sallyport.origin, 'POST', '/d/codes/pay', headers)
    await sending.write(`[${placeholder(token)},`)
    await eventually(
      () => there.requests[before]?.body.length ?? 0,
      (length) => length > 0,
    )

    sending.leave()
    await there.lastOver()
    await pause(50)

    expect(await isThere(token)).toBe(false)
  })
})

describe('pieces with plaintext', () => {
  const sentPieces = () => new StreamedBody({ scan: (window) => window.length }).sent
  const isZero = (piece: Buffer) => piece.every((byte) => byte === 0)

  test('are overwritten when as much has been sent behind them as a socket never holds', () => {
    const pieces = sentPieces()
    const all = Array.from({ length: 40 }, () => Buffer.alloc(64 * 1024, VISA))

    for (const piece of all) pieces.add(piece)

    const zeros = all.map(isZero)
    expect(zeros.slice(-16)).toEqual(Array(16).fill(false))
    expect(zeros.slice(0, -17)).toEqual(Array(23).fill(true))
  })

  test('are all overwritten at the end', () => {
    const pieces = sentPieces()
    const all = Array.from({ length: 40 }, () => Buffer.alloc(64 * 1024, VISA))
    for (const piece of all) pieces.add(piece)

    pieces.wipe()

    expect(all.every(isZero)).toBe(true)
  })
})
