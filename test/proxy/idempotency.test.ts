// At most one send for each idempotency key: what a repetition is told while the first request is under way and after
// it, whatever became of it and on whichever way in it comes; and when the key is free again.

import { createHash, createHmac } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rename, rm, symlink } from 'node:fs/promises'
import { createServer, type ServerResponse } from 'node:http'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Reason } from '../../src/core/errors.ts'
import { openKeyring } from '../../src/crypto/keyring.ts'
import { openLocalRootKey } from '../../src/crypto/root-key/local-file.ts'
import { claimKey, decideRepetition } from '../../src/proxy/idempotency.ts'
import { mediaTypeOf } from '../../src/proxy/media-type.ts'
import type { Outbound } from '../../src/proxy/outbound.ts'
import { openLmdbStore } from '../../src/store/lmdb/lmdb-store.ts'
import { ids, newFingerprint, seedMerchant } from '../store/records.ts'
import {
  startSallyport,
  type TestMerchant,
  type TestSallyport,
  VISA,
} from '../support/sallyport.ts'
import { pause } from '../support/time.ts'
import { startSending } from './recorder.ts'
import {
  closedPort,
  eventually,
  expectRefusal,
  type Reply,
  type Script,
  send,
  sendOk,
  startRawUpstream,
  startUpstream,
  type Upstream,
  valuesOf,
} from './upstream.ts'

const CVC = '739'
const MASTERCARD = '5555555555554444'
const MIB = 1024 * 1024

const FIELDS = [
  { field: 'card_number', at: ['body', 'header:x-pan', 'query:pan', 'basic'] },
  'card_cvc',
  'card_holder_name',
]
const ALLOW = [{ methods: ['POST', 'PUT', 'GET', 'HEAD', 'DELETE'], path: '/*', fields: FIELDS }]

let sallyport: TestSallyport
let merchant: TestMerchant
let psp: Upstream
/** What the destination says to every request. */
let answer: Script

const ok: Script = (_, response) => sendOk(response)

beforeAll(async () => {
  sallyport = await startSallyport()
  merchant = await sallyport.createMerchant()
  psp = await startUpstream((request, response) => answer(request, response))
  await merchant.createDestination({ name: 'psp', origin: psp.origin, allow: ALLOW })
})

afterAll(async () => {
  await sallyport[Symbol.asyncDispose]()
  await psp.close()
})

beforeEach(() => {
  psp.seen.length = 0
  answer = ok
})

let destinations = 0

async function reach(origin: string, settings: Record<string, unknown> = {}): Promise<string> {
  destinations += 1
  const name = `d${destinations}`
  await merchant.createDestination({ name, origin, allow: ALLOW, ...settings })
  return name
}

let keys = 0

const newKey = () => {
  keys += 1
  return `order-${keys}`
}

const newCard = (card: Record<string, unknown> = {}) =>
  merchant.createCard({ card_cvc: CVC, ...card })

type Headers = Record<string, string>

const ownHeaders = (key: string | undefined): Headers => ({
  'Sallyport-Key': merchant.proxyKey,
  'Content-Type': 'application/json',
  ...(key === undefined ? {} : { 'Sallyport-Idempotency-Key': key }),
})

const post = (
  name: string,
  key: string | undefined,
  body: string | Buffer | readonly string[] = '{"amount":1}',
  headers: Headers = {},
): Promise<Reply> =>
  send(sallyport.origin, 'POST', `/d/${name}/pay`, { ...ownHeaders(key), ...headers }, body)

const withCard = (token: string) =>
  `{"n":"{{$card_number: ${token}}}","c":"{{$card_cvc: ${token}}}"}`

/** One answer in both bodies, once it is there. */
function gate(): { script: Script; open: () => void } {
  const opened = Promise.withResolvers<void>()
  return {
    script: (_, response) => void opened.promise.then(() => sendOk(response)),
    open: () => opened.resolve(),
  }
}

const arrived = (count = 1, at: Upstream = psp) =>
  eventually(
    () => at.seen.length,
    (seen) => seen >= count,
  )

/** Asks until the first request is over; nobody was told when. */
const onceSettled = (ask: () => Promise<Reply>) =>
  eventually(ask, (reply) => reply.json?.error?.reason !== 'idempotency_in_flight')

/** Waits until the code of a card is there, or taken. */
const hasCode = (token: string, isThere: boolean) =>
  eventually(
    async () => (await merchant.vault('GET', `/v2/payment-methods/${token}`)).body,
    ({ card_cvc_token_storage }) => (card_cvc_token_storage !== null) === isThere,
  )

/** Each answer has its own. */
const OF_EACH_ANSWER = /^(sallyport-request-id|server-timing|sallyport-idempotent-replay)$/i

const passedOn = (reply: Reply) => ({
  status: reply.status,
  body: reply.body.toString('latin1'),
  isWhole: reply.isWhole,
  headers: reply.rawHeaders.filter((_, i, all) => !OF_EACH_ANSWER.test(all[i - (i % 2)] as string)),
})

function expectReplay(reply: Reply, of: Reply): void {
  expect(reply.json?.error?.reason).toBeUndefined()
  expect(passedOn(reply)).toEqual(passedOn(of))
  expect(reply.headers['sallyport-idempotent-replay']).toBe('true')
  expect(of.headers['sallyport-idempotent-replay']).toBeUndefined()
}

const idOf = (reply: Reply) => reply.headers['sallyport-request-id']

/** A caller that reads the head of its answer and then nothing more. */
async function readHeadOnly(name: string, key: string | undefined) {
  const socket = connect(Number(new URL(sallyport.origin).port), '127.0.0.1')
  socket.on('error', () => {})
  const headers = Object.entries({ Host: 'sallyport', 'Content-Length': '2', ...ownHeaders(key) })
  const lines = headers.map(([header, value]) => `${header}: ${value}\r\n`).join('')
  socket.write(`POST /d/${name}/pay HTTP/1.1\r\n${lines}\r\n{}`)
  const [chunk] = await once(socket, 'data')
  socket.pause()
  await pause(300) // until all that is between the two sides is full
  return { socket, requestId: /req_[0-9a-f]{32}/.exec(`${chunk}`)?.[0] }
}

async function auditLinesOf(request: unknown, count: number): Promise<Record<string, unknown>[]> {
  const all = () => readFile(join(sallyport.folder, 'audit', 'audit.jsonl'), 'utf8')
  return eventually(
    async () =>
      (await all())
        .split('\n')
        .filter((line) => line.includes(`"request":"${request}"`))
        .map((line) => JSON.parse(line)),
    (lines) => lines.length >= count,
  )
}

describe('a repetition gets the stored answer, and nothing is sent', () => {
  const json = (status: number): Script => {
    return (_, response) => {
      response.writeHead(status, { 'Content-Type': 'application/json' })
      response.end(`{"id":"pay_${Math.random()}"}`)
    }
  }
  const ANSWERS: [string, Script][] = [
    ['a success', json(201)],
    ['a decline', json(402)],
    ['a failure of the PSP', json(500)],
    ['nothing but a head', (_, response) => response.writeHead(204, { 'X-Id': 'a' }).end()],
    [
      'every byte there is',
      (_, response) => {
        response.setHeader('Content-Type', 'application/octet-stream')
        response.end(Buffer.from(Array.from({ length: 256 }, (_each, byte) => byte)))
      },
    ],
    [
      'headers said twice, with letters beyond ASCII',
      (_, response) => {
        response.writeHead(303, ['Set-Cookie', 'a=1', 'X-Shop', 'Caf\xe9', 'Set-Cookie', 'b=2'])
        response.end()
      },
    ],
    [
      'a compressed body',
      (_, response) => {
        response.writeHead(200, { 'Content-Type': 'text/plain', 'Content-Encoding': 'gzip' })
        response.end(gzipSync('paid'))
      },
    ],
    [
      'a body in pieces of no announced length',
      async (_, response) => {
        for (const piece of ['pa', 'i', 'd']) {
          response.write(piece)
          await pause(2)
        }
        response.end()
      },
    ],
  ]

  test.each(ANSWERS)('%s', async (_, script) => {
    answer = script
    const key = newKey()

    const first = await post('psp', key)
    const second = await post('psp', key)
    const third = await post('psp', key)

    expect(first.isWhole).toBe(true)
    expectReplay(second, first)
    expectReplay(third, first)
    expect(psp.seen.length).toBe(1)
  })

  test.each(ANSWERS)('%s, after it was searched for a card', async (_, script) => {
    answer = script
    const key = newKey()
    const token = await newCard()

    const first = await post('psp', key, withCard(token))
    const second = await post('psp', key, withCard(token))

    expect(first.isWhole).toBe(true)
    expectReplay(second, first)
    expect(psp.seen.map(({ body }) => body.toString())).toEqual([`{"n":"${VISA}","c":"${CVC}"}`])
  })

  test('an answer of exactly one MiB', async () => {
    answer = (_, response) => response.end(Buffer.alloc(MIB, 'x'))
    const key = newKey()

    const first = await post('psp', key)
    const second = await post('psp', key)

    expect(first.body.length).toBe(MIB)
    expectReplay(second, first)
    expect(psp.seen.length).toBe(1)
  })

  test('the head of an answer to HEAD', async () => {
    answer = (_, response) => response.writeHead(200, { 'Content-Length': '12' }).end()
    const head = (key: string) =>
      send(sallyport.origin, 'HEAD', '/d/psp/pay', {
        'Sallyport-Key': merchant.proxyKey,
        'Sallyport-Idempotency-Key': key,
      })
    const key = newKey()

    const first = await head(key)
    const second = await head(key)

    expect([first.status, first.headers['content-length']]).toEqual([200, '12'])
    expectReplay(second, first)
    expect(psp.seen.length).toBe(1)
  })

  test('masked as the first caller got it', async () => {
    answer = ({ body }, response) => response.end(body)
    const key = newKey()
    const token = await newCard()

    const first = await post('psp', key, withCard(token))
    const second = await post('psp', key, withCard(token))

    expect(first.text).toContain('424242')
    expect(second.text).toBe(first.text)
    expect(second.text).not.toContain(VISA)
    expect(psp.seen.length).toBe(1)
  })

  test('and no card is revealed: its one audit line says that it is a replay', async () => {
    const key = newKey()
    const token = await newCard()
    const first = await post('psp', key, withCard(token))

    const second = await post('psp', key, withCard(token))

    expectReplay(second, first)
    const lines = await auditLinesOf(idOf(second), 1)
    expect(lines).toMatchObject([{ kind: 'outcome', status: 200, replay: true, cut: false }])
    const [reveal, outcome] = await auditLinesOf(idOf(first), 2)
    expect(reveal?.kind).toBe('reveal')
    expect(outcome).not.toHaveProperty('replay')
  })

  test('also when the card has been deleted since', async () => {
    const key = newKey()
    const token = await newCard()
    const first = await post('psp', key, withCard(token))
    await merchant.vault('DELETE', `/v2/payment-methods/${token}`)

    expectReplay(await post('psp', key, withCard(token)), first)
    expectRefusal(await post('psp', newKey(), withCard(token)), 'token_not_found')
  })

  test('also to another API key of the merchant', async () => {
    const key = newKey()
    const first = await post('psp', key)
    const otherKey = await sallyport.createKey(merchant.id, ['proxy:invoke'])

    const second = await post('psp', key, undefined, { 'Sallyport-Key': otherKey })

    expectReplay(second, first)
    expect(psp.seen.length).toBe(1)
  })

  test('whatever else the caller says in headers', async () => {
    const key = newKey()
    const first = await post('psp', key, undefined, { 'X-Trace': '1' })

    const second = await post('psp', key, undefined, {
      'X-Trace': '2',
      'Sallyport-Timeout-Ms': '5000',
      'Sallyport-Expect-Substitutions': '0',
    })

    expectReplay(second, first)
    expect(psp.seen.length).toBe(1)
  })

  test('from the answer that a process before this one stored', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sallyport-idempotency-'))
    const ask = (origin: string, key: string) =>
      send(
        origin,
        'POST',
        '/d/psp/pay',
        { 'Sallyport-Key': key, 'Sallyport-Idempotency-Key': 'order' },
        '{}',
      )
    let proxyKey: string
    let first: Reply
    {
      await using before = await startSallyport({}, { folder })
      const there = await before.createMerchant()
      proxyKey = there.proxyKey
      await there.createDestination({ name: 'psp', origin: psp.origin, allow: ALLOW })
      first = await ask(before.origin, proxyKey)
    }

    await using after = await startSallyport({}, { folder })
    const second = await ask(after.origin, proxyKey)

    expectReplay(second, first)
    expect(psp.seen.length).toBe(1)
    await rm(folder, { recursive: true })
  })
})

describe('the ways in are one', () => {
  type Ask = (key: string, token: string) => Promise<Reply>
  const body = (token: string) => `{"amount": 1.10,"n":"{{$card_number: ${token}}}"}`
  const WAYS: Record<string, Ask> = {
    '/d': (key, token) =>
      send(sallyport.origin, 'POST', '/d/psp/pay?a=1', ownHeaders(key), body(token)),
    '/forward': (key, token) =>
      send(
        sallyport.origin,
        'POST',
        '/forward/pay?a=1',
        { ...ownHeaders(key), 'Sallyport-Destination': psp.origin },
        body(token),
      ),
    'the envelope': (key, token) =>
      send(
        sallyport.origin,
        'POST',
        '/v2/proxy',
        { 'Sallyport-Key': merchant.proxyKey, 'Idempotency-Key': key },
        `{"destination_url":"${psp.origin}/pay?a=1","method":"POST","request_body":${body(token)}}`,
      ),
  }
  const PAIRS = Object.keys(WAYS).flatMap((one) => Object.keys(WAYS).map((two) => [one, two]))

  test.each(PAIRS)('what went through %s is repeated through %s', async (one = '', two = '') => {
    answer = (_, response) => {
      response.writeHead(402, { 'Content-Type': 'application/json', 'X-Id': 'pay_1' })
      response.end('{"declined": true}')
    }
    const key = newKey()
    const token = await newCard()

    const first = await (WAYS[one] as Ask)(key, token)
    const second = await (WAYS[two] as Ask)(key, token)

    expect(first.headers['sallyport-idempotent-replay']).toBeUndefined()
    expect(second.headers['sallyport-idempotent-replay']).toBe('true')
    for (const [way, reply] of [
      [one, first],
      [two, second],
    ] as const) {
      const { response, status_code, response_headers } =
        way === 'the envelope'
          ? reply.json
          : { response: reply.json, status_code: reply.status, response_headers: reply.headers }
      expect([status_code, response]).toEqual([402, { declined: true }])
      expect(response_headers['x-id']).toBe('pay_1')
    }
    expect(psp.seen.length).toBe(1)
  })

  test('single-token mode is part of what is asked, in the envelope as in the header', async () => {
    const key = newKey()
    const [one, two] = [await newCard(), await newCard({ card_number: MASTERCARD })]
    const number = '{"n":"{{$card_number}}"}'
    const inEnvelope = (token: string) =>
      send(
        sallyport.origin,
        'POST',
        '/v2/proxy',
        { 'Sallyport-Key': merchant.proxyKey, 'Idempotency-Key': key },
        `{"destination_url":"${psp.origin}/pay","method":"POST","token":"${token}","request_body":${number}}`,
      )

    const first = await inEnvelope(one)
    const same = await post('psp', key, number, { 'Sallyport-Token': one })
    const other = await inEnvelope(two)

    expect(first.status).toBe(200)
    expect(same.headers['sallyport-idempotent-replay']).toBe('true')
    expectRefusal(other, 'idempotency_mismatch')
    expect(psp.seen.length).toBe(1)
  })

  test('only the envelope reads Idempotency-Key; elsewhere it belongs to the PSP', async () => {
    const key = newKey()

    const replies = [
      await post('psp', undefined, undefined, { 'Idempotency-Key': key }),
      await post('psp', undefined, undefined, { 'Idempotency-Key': key }),
    ]

    expect(replies.map(({ status }) => status)).toEqual([200, 200])
    expect(psp.seen.map(({ headers }) => headers['idempotency-key'])).toEqual([key, key])
  })

  test('an envelope may say the key under both names, if it is the same', async () => {
    const ask = (headers: Headers) =>
      send(
        sallyport.origin,
        'POST',
        '/v2/proxy',
        { 'Sallyport-Key': merchant.proxyKey, ...headers },
        `{"destination_url":"${psp.origin}/pay","method":"POST","request_body":{}}`,
      )
    const [one, two] = [newKey(), newKey()]

    const both = await ask({ 'Idempotency-Key': one, 'Sallyport-Idempotency-Key': one })
    const again = await ask({ 'Sallyport-Idempotency-Key': one })
    const unlike = await ask({ 'Idempotency-Key': one, 'Sallyport-Idempotency-Key': two })

    expect(both.status).toBe(200)
    expect(again.headers['sallyport-idempotent-replay']).toBe('true')
    expectRefusal(unlike, 'invalid_value')
  })
})

describe('a key that is none is refused, never ignored', () => {
  test.each([
    ['empty', ''],
    ['a blank in it', 'a b'],
    ['a placeholder', '{{$card_number}}'],
    ['too long', 'k'.repeat(256)],
    ['a letter beyond ASCII', 'caf\xe9'],
  ])('%s', async (_, key) => {
    const reply = await post('psp', key)

    expectRefusal(reply, 'invalid_value')
    expect(psp.seen).toEqual([])
  })

  test('said twice', async () => {
    const reply = await send(
      sallyport.origin,
      'POST',
      '/d/psp/pay',
      { ...ownHeaders(undefined), 'Sallyport-Idempotency-Key': ['a', 'b'] },
      '{}',
    )

    expectRefusal(reply, 'invalid_value')
    expect(psp.seen).toEqual([])
  })

  test('the longest one works', async () => {
    const key = 'k'.repeat(255)

    const first = await post('psp', key)

    expectReplay(await post('psp', key), first)
  })
})

describe('while the first is under way', () => {
  test('a repetition is told so', async () => {
    const { script, open } = gate()
    answer = script
    const key = newKey()
    const token = await newCard()
    const running = post('psp', key, withCard(token))
    await arrived()

    const second = await post('psp', key, withCard(token))
    open()
    const first = await running
    const third = await post('psp', key, withCard(token))

    expectRefusal(second, 'idempotency_in_flight')
    expect(second.json.error).toMatchObject({ code: 'IR_16', retry_safe: false })
    expect(await auditLinesOf(idOf(second), 1)).toMatchObject([{ kind: 'refusal' }])
    expect(first.status).toBe(200)
    expectReplay(third, first)
    expect(psp.seen.length).toBe(1)
  })

  test('another request under its key is a mismatch', async () => {
    const { script, open } = gate()
    answer = script
    const key = newKey()
    const running = post('psp', key)
    await arrived()

    const other = await post('psp', key, '{"amount":2}')
    open()
    await running

    expectRefusal(other, 'idempotency_mismatch')
    expect(psp.seen.length).toBe(1)
  })

  test('of 20 at once exactly one is sent, with the one code', async () => {
    const key = newKey()
    const token = await newCard()
    answer = async (_, response) => {
      await pause(30)
      sendOk(response)
    }

    const replies = await Promise.all(
      Array.from({ length: 20 }, () => post('psp', key, withCard(token))),
    )

    expect(psp.seen.length).toBe(1)
    const sent = replies.filter(
      (reply) => reply.status === 200 && !('sallyport-idempotent-replay' in reply.headers),
    )
    expect(sent.length).toBe(1)
    for (const reply of replies) {
      if (reply.status !== 200) expectRefusal(reply, 'idempotency_in_flight')
    }
  })
})

describe('another request under a key: idempotency_mismatch, and the first stays', () => {
  type Change = { method?: string; path?: string; body?: string | undefined; headers?: Headers }
  let token: string
  let other: string
  let elsewhere: string

  beforeAll(async () => {
    token = await newCard()
    other = await newCard({ card_number: MASTERCARD })
    elsewhere = await reach(`http://localhost:${psp.port}`)
  })

  const basic = (of: string) =>
    `Basic ${Buffer.from(`{{$card_number: ${of}}}:`).toString('base64')}`
  const BODY = '{"amount":1}'
  /** One after the other under one key; differences beyond them there are none. */
  const CHANGES: [string, () => [Change, Change]][] = [
    ['body', () => [{}, { body: '{"amount":2}' }]],
    ['blanks in the body', () => [{}, { body: '{"amount": 1}' }]],
    ['no body', () => [{}, { body: undefined }]],
    ['type of the body', () => [{}, { headers: { 'Content-Type': 'text/plain' } }]],
    ['method', () => [{}, { method: 'PUT' }]],
    ['path', () => [{}, { path: '/d/psp/refund' }]],
    ['query', () => [{}, { path: '/d/psp/pay?a=1' }]],
    ['destination', () => [{}, { path: `/d/${elsewhere}/pay` }]],
    [
      'card in the body',
      () => [
        { body: `["{{$card_number: ${token}}}"]` },
        { body: `["{{$card_number: ${other}}}"]` },
      ],
    ],
    [
      'card in the query',
      () => [
        { path: `/d/psp/pay?pan={{$card_number:${token}}}` },
        { path: `/d/psp/pay?pan={{$card_number:${other}}}` },
      ],
    ],
    [
      'card in single-token mode',
      () => [
        { body: '["{{$card_number}}"]', headers: { 'Sallyport-Token': token } },
        { body: '["{{$card_number}}"]', headers: { 'Sallyport-Token': other } },
      ],
    ],
    [
      'card in a header',
      () => [
        { headers: { 'X-Pan': `{{$card_number: ${token}}}` } },
        { headers: { 'X-Pan': `{{$card_number: ${other}}}` } },
      ],
    ],
    [
      'card in the credentials',
      () => [
        { headers: { Authorization: basic(token) } },
        { headers: { Authorization: basic(other) } },
      ],
    ],
  ]

  test.each(CHANGES)('%s', async (_, changes) => {
    const key = newKey()
    const ask = ({ method = 'POST', path = '/d/psp/pay', headers = {}, ...rest }: Change) => {
      const body = 'body' in rest ? rest.body : BODY
      return send(sallyport.origin, method, path, { ...ownHeaders(key), ...headers }, body)
    }
    const [one, two] = changes()

    const first = await ask(one)
    const second = await ask(two)
    const third = await ask(one)

    expect(first.status).toBe(200)
    expectRefusal(second, 'idempotency_mismatch')
    expect(second.json.error.code).toBe('IR_16')
    expectReplay(third, first)
    expect(psp.seen.length).toBe(1)
  })

  test('profile', async () => {
    const { body: profile } = await sallyport.admin('POST', '/v2/profiles', {
      merchant_id: merchant.id,
      profile_name: 'other',
    })
    const inProfile = { 'X-Profile-Id': profile.id }
    const created = await merchant.policy(
      'POST',
      '/v2/destinations',
      { name: 'psp', origin: psp.origin, allow: ALLOW },
      inProfile,
    )
    expect(created.status).toBe(201)
    const key = newKey()

    const first = await post('psp', key)
    const second = await post('psp', key, undefined, inProfile)

    expect(first.status).toBe(200)
    expectRefusal(second, 'idempotency_mismatch')
    expect(psp.seen.length).toBe(1)
  })
})

test('keys are of one merchant: the same one of another is free', async () => {
  const other = await sallyport.createMerchant()
  await other.createDestination({ name: 'psp', origin: psp.origin, allow: ALLOW })
  const key = newKey()

  const replies = [
    await post('psp', key),
    await post('psp', key, undefined, { 'Sallyport-Key': other.proxyKey }),
  ]

  expect(replies.map(({ status }) => status)).toEqual([200, 200])
  expect(replies[1]?.headers['sallyport-idempotent-replay']).toBeUndefined()
  expect(psp.seen.length).toBe(2)
})

describe('the key is free at the very next request, because the first was not sent', () => {
  test('nobody listened, and now somebody does: the same request is sent, with its code', async () => {
    const port = await closedPort()
    const name = await reach(`http://127.0.0.1:${port}`)
    const key = newKey()
    const token = await newCard()
    const refused = await post(name, key, withCard(token))
    const bodies: string[] = []
    const late = createServer(async (request, response) => {
      bodies.push(Buffer.concat(await request.toArray()).toString())
      response.end('{}')
    })
    late.listen(port, '127.0.0.1')
    await once(late, 'listening')

    const first = await post(name, key, withCard(token))
    const second = await post(name, key, withCard(token))
    late.closeAllConnections()
    late.close()

    expectRefusal(refused, 'upstream_connect_failed')
    expect(first.status).toBe(200)
    expectReplay(second, first)
    expect(bodies).toEqual([`{"n":"${VISA}","c":"${CVC}"}`])
  })

  type Refused = (key: string) => Promise<Reply>
  const card = (body: (token: string) => string, headers: Headers = {}): Refused => {
    return async (key) => post('psp', key, body(await newCard()), headers)
  }
  const REFUSALS: [Reason, string, Refused][] = [
    [
      'upstream_connect_failed',
      'nobody listens',
      async (key) => post(await reach(`http://127.0.0.1:${await closedPort()}`), key),
    ],
    [
      'destination_address_forbidden',
      'the address is private',
      async (key) => post(await reach('http://10.1.2.3'), key),
    ],
    [
      'upstream_tls_failed',
      'there is no TLS',
      async (key) => post(await reach(`https://127.0.0.1:${psp.port}`), key),
    ],
    ['token_not_found', 'no such token', card(() => '["{{$card_number: nothing}}"]')],
    ['placeholder_without_token', 'no token at all', card(() => '["{{$card_number}}"]')],
    [
      'cvc_not_available',
      'no code',
      async (key) => {
        const token = await newCard()
        await post('psp', undefined, withCard(token))
        return post('psp', key, withCard(token))
      },
    ],
    [
      'placeholder_field_missing',
      'no such field',
      card((token) => `["{{$card_holder_name: ${token}}}"]`),
    ],
    [
      'value_not_encodable',
      'a value that cannot stand there',
      async (key) => {
        const token = await newCard({ card_holder_name: 'Zoë' })
        const type = { 'Content-Type': 'text/plain' }
        return post('psp', key, `{{$card_holder_name: ${token}}}`, type)
      },
    ],
    ['field_not_allowed', 'policy', card((token) => `["{{$card_bin: ${token}}}"]`)],
    ['substitutions_mismatch', 'a wish', card(withCard, { 'Sallyport-Expect-Substitutions': '3' })],
    [
      'destination_busy',
      'the breaker is open',
      async (key) => {
        const name = await reach(`http://127.0.0.1:${await closedPort()}`, {
          breaker: { failures: 1 },
        })
        await post(name, undefined)
        return post(name, key)
      },
    ],
  ]

  test.each(REFUSALS)('%s: %s', async (reason, _, refused) => {
    const key = newKey()

    const reply = await refused(key)
    psp.seen.length = 0
    const next = await post('psp', key, '{"another":"request"}')

    expectRefusal(reply, reason)
    expect(next.status).toBe(200)
    expect(next.headers['sallyport-idempotent-replay']).toBeUndefined()
    expect(psp.seen.map(({ body }) => body.toString())).toEqual(['{"another":"request"}'])
  })

  test('upstream_connect_timeout: no connection came about', async () => {
    await using silent = await startRawUpstream(() => {}) // accepts, and says nothing
    const settings = { timeouts: { connect_ms: 500 } }
    const name = await reach(silent.origin.replace('http:', 'https:'), settings)
    const key = newKey()

    const reply = await post(name, key)
    const next = await post('psp', key, '{"another":"request"}')

    expectRefusal(reply, 'upstream_connect_timeout')
    expect(next.status).toBe(200)
    expect(psp.seen.length).toBe(1)
  })

  test('the caller left while the request waited for a connection', async () => {
    const { script, open } = gate()
    await using busy = await startUpstream(script)
    const name = await reach(busy.origin, { limits: { connections: 1 } })
    const running = post(name, undefined)
    await arrived(1, busy)
    const key = newKey()
    const token = await newCard()
    const waiting = startSending(sallyport.origin, 'POST', `/d/${name}/pay`, ownHeaders(key))
    await waiting.write(withCard(token))
    waiting.end()
    await hasCode(token, false) // so it has claimed its key

    waiting.leave()
    await hasCode(token, true)
    open()
    await running
    const next = await eventually(
      () => post(name, key, withCard(token)),
      (reply) => reply.status === 200,
    )

    expect(next.headers['sallyport-idempotent-replay']).toBeUndefined()
    expect(busy.seen.map(({ body }) => body.toString())).toEqual([
      '{"amount":1}',
      `{"n":"${VISA}","c":"${CVC}"}`,
    ])
  })

  test('audit_unavailable: the line could not be written', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sallyport-idempotency-'))
    const file = join(folder, 'audit', 'audit.jsonl')
    let there: TestMerchant
    let token: string
    {
      await using before = await startSallyport({}, { folder })
      there = await before.createMerchant()
      token = await there.createCard({ card_cvc: CVC })
      await there.createDestination({ name: 'psp', origin: psp.origin, allow: ALLOW })
    }
    const ask = (origin: string, body = withCard(token)) => {
      const headers = { ...ownHeaders('order'), 'Sallyport-Key': there.proxyKey }
      return send(origin, 'POST', '/d/psp/pay', headers, body)
    }
    await rename(file, `${file}.kept`)
    await symlink('/dev/full', file)
    const full = await startSallyport({}, { folder, onFatal: () => {} })

    const refused = await ask(full.origin)
    const otherRefused = await ask(full.origin, `["{{$card_number: ${token}}}"]`)
    await Promise.allSettled([full[Symbol.asyncDispose]()]) // the device takes no sync

    expectRefusal(refused, 'audit_unavailable')
    expectRefusal(otherRefused, 'audit_unavailable') // and no mismatch: the key was free
    expect(psp.seen).toEqual([])
    await rm(file)
    await rename(`${file}.kept`, file)
    await using after = await startSallyport({}, { folder })
    expect((await ask(after.origin)).status).toBe(200)
    expect(psp.seen.map(({ body }) => body.toString())).toEqual([`{"n":"${VISA}","c":"${CVC}"}`])
    await rm(folder, { recursive: true, force: true })
  })
})

describe('outcome_unknown, because it may have been sent', () => {
  type Unknown = [Reason, string, Parameters<typeof startRawUpstream>[0], Record<string, unknown>]
  const say = (text: string) => (socket: { write(text: string): unknown }) => socket.write(text)
  const UNKNOWN: Unknown[] = [
    ['upstream_reset', 'a reset', (socket) => socket.resetAndDestroy(), {}],
    ['upstream_timeout', 'no answer in time', () => {}, { timeouts: { total_ms: 1500 } }],
    ['upstream_timeout', 'no head in time', () => {}, { timeouts: { headers_ms: 500 } }],
    ['upstream_protocol_error', 'garbage', (socket) => socket.end('SSH-2.0\r\n\r\n'), {}],
    [
      'upstream_reset',
      'an answer that breaks off',
      (socket) => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nonly'),
      {},
    ],
    [
      'upstream_timeout',
      'an answer that stops',
      say('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nonly'),
      { timeouts: { body_ms: 500 } },
    ],
    [
      'response_blocked',
      'an answer that must not be passed on',
      say(`HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n${VISA}`),
      { response: { leak_guard: 'block' } },
    ],
    [
      'response_blocked',
      'an answer that is announced too long',
      say('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n'),
      { limits: { response_bytes: 8 } },
    ],
    [
      'response_blocked',
      'an answer that turns out too long',
      say('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n123456789\r\n0\r\n\r\n'),
      { limits: { response_bytes: 8 } },
    ],
  ]

  test.each(UNKNOWN)('%s: %s', async (reason, _, script, settings) => {
    await using upstream = await startRawUpstream(script)
    const name = await reach(upstream.origin, settings)
    const key = newKey()
    const token = await newCard()

    const first = await post(name, key, withCard(token))
    const second = await post(name, key, withCard(token))
    const other = await post(name, key)
    const third = await post(name, key, withCard(token))

    expectRefusal(first, reason)
    expectRefusal(second, 'outcome_unknown')
    expect(second.json.error).toMatchObject({ code: 'IR_16', retry_safe: false })
    expectRefusal(other, 'idempotency_mismatch')
    expectRefusal(third, 'outcome_unknown')
    expect(upstream.seen.length).toBe(1)
  })

  test.each([
    ['without a card', () => '{"amount":1}'],
    ['searched for a card', withCard],
  ])('an answer beyond one MiB is passed on whole and not kept: %s', async (_, body) => {
    const long = Buffer.alloc(3 * MIB, 'long ')
    answer = (_request, response) => response.end(long)
    const key = newKey()
    const token = await newCard()

    const first = await post('psp', key, body(token))
    const second = await post('psp', key, body(token))

    expect([first.status, first.isWhole, first.body.equals(long)]).toEqual([200, true, true])
    expectRefusal(second, 'outcome_unknown')
    expect(psp.seen.length).toBe(1)
  })

  test('an answer beyond one MiB that breaks off is cut, not ended', async () => {
    await using upstream = await startRawUpstream((socket) => {
      const head = `HTTP/1.1 200 OK\r\nContent-Length: ${3 * MIB}\r\n\r\n`
      socket.end(`${head}${'x'.repeat(2 * MIB)}`)
    })
    const name = await reach(upstream.origin)
    const key = newKey()

    const first = await post(name, key)
    const second = await onceSettled(() => post(name, key))

    expect([first.status, first.isWhole]).toEqual([200, false])
    expectRefusal(second, 'outcome_unknown')
    expect(upstream.seen.length).toBe(1)
  })

  test('it was under way when the process ended', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sallyport-idempotency-'))
    await using silent = await startRawUpstream(() => {})
    const ask = (origin: string, key: string) =>
      send(
        origin,
        'POST',
        '/d/psp/pay',
        { 'Sallyport-Key': key, 'Sallyport-Idempotency-Key': 'order' },
        '{}',
      )
    let proxyKey: string
    {
      await using before = await startSallyport({ shutdown_timeout_ms: 100 }, { folder })
      const there = await before.createMerchant()
      proxyKey = there.proxyKey
      await there.createDestination({ name: 'psp', origin: silent.origin, allow: ALLOW })
      void ask(before.origin, proxyKey)
      await arrived(1, silent)
    }

    await using after = await startSallyport({}, { folder })

    expectRefusal(await ask(after.origin, proxyKey), 'outcome_unknown')
    expectRefusal(await ask(after.origin, proxyKey), 'outcome_unknown')
    expect(silent.seen.length).toBe(1)
    await rm(folder, { recursive: true })
  })
})

describe('a caller that hangs up after its request was sent', () => {
  async function leave(key: string, token: string, until: () => Promise<unknown>): Promise<void> {
    const sending = startSending(sallyport.origin, 'POST', '/d/psp/pay', ownHeaders(key))
    await sending.write(withCard(token))
    sending.end()
    await until()
    sending.leave()
    await sending.reply
    await pause(30) // until it is noticed
  }
  test('finds the answer when it asks again', async () => {
    const { script, open } = gate()
    answer = script
    const key = newKey()
    const token = await newCard()

    await leave(key, token, arrived)
    const early = await post('psp', key, withCard(token))
    open()
    const late = await onceSettled(() => post('psp', key, withCard(token)))

    expectRefusal(early, 'idempotency_in_flight')
    expect([late.text, late.headers['sallyport-idempotent-replay']]).toEqual([
      '{"ok":true}',
      'true',
    ])
    expect(psp.seen.length).toBe(1)
  })

  test('finds it whole when it left in the middle of it', async () => {
    const opened = Promise.withResolvers<void>()
    answer = (_, response) => {
      response.write('first half, ')
      void opened.promise.then(() => response.end('second half'))
    }
    const key = newKey()
    const token = await newCard()

    await leave(key, token, () => arrived().then(() => pause(30)))
    opened.resolve()
    const late = await onceSettled(() => post('psp', key, withCard(token)))

    expect(late.text).toBe('first half, second half')
    expect(psp.seen.length).toBe(1)
  })

  test('is told outcome_unknown when the answer was too long to be kept', async () => {
    const started = Promise.withResolvers<ServerResponse>()
    answer = (_, response) => started.resolve(response)
    const key = newKey()
    const token = await newCard()

    await leave(key, token, arrived)
    ;(await started.promise).end(Buffer.alloc(20 * MIB))
    const late = await onceSettled(() => post('psp', key, withCard(token)))

    expectRefusal(late, 'outcome_unknown')
    expect(psp.seen.length).toBe(1)
  })

  test('holds no place when it left while an answer that is too long to be kept waited for it', async () => {
    await using upstream = await startUpstream(({ url }, response) => {
      response.end(Buffer.alloc(url === '/pay' ? 40 * MIB : 0))
    })
    const name = await reach(upstream.origin, { limits: { connections: 1, queue: 0 } })
    const key = newKey()
    const { socket } = await readHeadOnly(name, key)

    socket.destroy()
    const other = await eventually(
      () => send(sallyport.origin, 'GET', `/d/${name}/other`, ownHeaders(undefined)),
      (reply) => reply.status === 200,
    )
    const late = await post(name, key, '{}')

    expect(other.status).toBe(200)
    expectRefusal(late, 'outcome_unknown')
  })

  test('finds the failure as unknown', async () => {
    await using upstream = await startRawUpstream((socket) => {
      setTimeout(() => socket.resetAndDestroy(), 100)
    })
    const name = await reach(upstream.origin)
    const key = newKey()
    const sending = startSending(sallyport.origin, 'POST', `/d/${name}/pay`, ownHeaders(key))
    await sending.write('{"amount":1}')
    sending.end()
    await arrived(1, upstream)

    sending.leave()
    const late = await onceSettled(() => post(name, key))

    expectRefusal(late, 'outcome_unknown')
    expect(upstream.seen.length).toBe(1)
  })
})

describe('what is kept tells nothing', () => {
  async function filesUnder(folder: string): Promise<[string, string][]> {
    const entries = await readdir(folder, { recursive: true, withFileTypes: true })
    const files = entries.filter((entry) => entry.isFile())
    return Promise.all(
      files.map(async (entry): Promise<[string, string]> => {
        const path = join(entry.parentPath, entry.name)
        return [path, (await readFile(path)).toString('latin1')]
      }),
    )
  }

  test('neither key nor answer nor card is in any file, nor a hash that anybody can make', async () => {
    const key = 'a-key-that-names-the-order-20260301'
    const secret = 'the PSP said something about a person'
    await using echo = await startUpstream(({ body }, response) => {
      response.end(`${secret}: ${body}`)
    })
    const name = await reach(echo.origin, { response: { leak_guard: 'off' } })
    const token = await newCard()

    const first = await post(name, key, withCard(token))
    expectReplay(await post(name, key, withCard(token)), first)

    expect(first.text).toContain(VISA)
    const files = await filesUnder(sallyport.folder)
    expect(files.length).toBeGreaterThan(2)
    const hashes = ['md5', 'sha1', 'sha256', 'sha512'].flatMap((algorithm) =>
      (['hex', 'base64', 'base64url', 'latin1'] as const).map((encoding) =>
        createHash(algorithm).update(key).digest().toString(encoding),
      ),
    )
    const encoded = [Buffer.from(key).toString('hex'), Buffer.from(key).toString('base64url')]
    for (const sought of [key, secret, VISA, ...hashes, ...encoded]) {
      expect(files.filter(([, text]) => text.includes(sought)).map(([path]) => path)).toEqual([])
    }
  })
})

describe('idempotency_header', () => {
  const HEADER = 'Cko-Idempotency-Key'

  test("gives the destination the key under that name, in place of the caller's own", async () => {
    await using upstream = await startUpstream()
    const name = await reach(upstream.origin, { idempotency_header: HEADER })
    const [one, two, three] = [newKey(), newKey(), newKey()]

    await post(name, one)
    await post(name, two, undefined, { [HEADER.toLowerCase()]: 'of the caller' })
    await send(
      sallyport.origin,
      'POST',
      '/v2/proxy',
      { 'Sallyport-Key': merchant.proxyKey, 'Idempotency-Key': three },
      `{"destination_url":"${upstream.origin}/pay","method":"POST","request_body":{},"headers":{"${HEADER}":"of the caller"}}`,
    )

    expect(upstream.seen.map(({ rawHeaders }) => valuesOf(rawHeaders, HEADER))).toEqual([
      [one],
      [two],
      [three],
    ])
    expect(upstream.seen[2]?.headers).not.toHaveProperty('idempotency-key')
  })

  test('leaves the header to the caller when it has no key for us', async () => {
    await using upstream = await startUpstream()
    const name = await reach(upstream.origin, { idempotency_header: HEADER })

    await post(name, undefined)
    await post(name, undefined, undefined, { [HEADER]: 'of the caller' })

    expect(upstream.seen.map(({ rawHeaders }) => valuesOf(rawHeaders, HEADER))).toEqual([
      [],
      ['of the caller'],
    ])
  })

  test('is a part of what is signed', async () => {
    await using upstream = await startUpstream()
    const secret = 'c2lnbmluZyBzZWNyZXQgb2YgdGhlIHRlc3Rz'
    const name = await reach(upstream.origin, {
      idempotency_header: HEADER,
      signing: {
        recipe: 'hmac',
        algorithm: 'sha256',
        encoding: 'hex',
        key: secret,
        key_encoding: 'base64',
        template: `{header:${HEADER.toLowerCase()}}\n{body}`,
        headers: { 'X-Signature': '{signature}' },
      },
    })
    const key = newKey()

    const first = await post(name, key, '{}', { [HEADER]: 'of the caller' })
    const second = await post(name, key, '{}')

    expect(first.status).toBe(200)
    const mac = createHmac('sha256', Buffer.from(secret, 'base64')).update(`${key}\n{}`)
    expect(upstream.seen[0]?.headers['x-signature']).toBe(mac.digest('hex'))
    expectReplay(second, first)
    expect(upstream.seen.length).toBe(1)
  })

  test('that is not set means that the destination learns nothing of the key', async () => {
    const key = 'nobody-else-s-business'

    await post('psp', key)
    await send(
      sallyport.origin,
      'POST',
      '/v2/proxy',
      { 'Sallyport-Key': merchant.proxyKey, 'Idempotency-Key': `${key}-in-an-envelope` },
      `{"destination_url":"${psp.origin}/pay","method":"POST","request_body":{}}`,
    )

    expect(psp.seen.length).toBe(2)
    for (const { rawHeaders, url } of psp.seen) {
      expect([url, ...rawHeaders].join('\n')).not.toMatch(/sallyport|idempotency|business/i)
    }
  })
})

describe('a dry run with a key', () => {
  const DRY = { 'Sallyport-Dry-Run': 'true' }

  test('claims nothing', async () => {
    const key = newKey()
    const token = await newCard()

    const shown = await post('psp', key, withCard(token), DRY)
    const other = await post('psp', key, '{"another":"request"}')

    expect([shown.status, shown.json.dry_run]).toEqual([200, true])
    expect(other.status).toBe(200)
    expect(other.headers['sallyport-idempotent-replay']).toBeUndefined()
    expect(psp.seen.length).toBe(1)
  })

  test('of an answered request is shown, not answered with what is stored', async () => {
    const key = newKey()
    await post('psp', key)

    const shown = await post('psp', key, '{"another":"request"}', DRY)

    expect([shown.status, shown.json.dry_run]).toEqual([200, true])
    expect(shown.headers['sallyport-idempotent-replay']).toBeUndefined()
    expect(psp.seen.length).toBe(1)
  })
})

describe('a body that would stream without a key', () => {
  const pieces = (token: string, last: string) => [
    `{"n":"{{$card_number: ${token}}}","a":"`,
    'a'.repeat(MIB),
    `","m":"{{$card_`,
    `number: ${token}}}","z":"`,
    'z'.repeat(MIB),
    `${last}"}`,
  ]

  test('is held, compared to its last byte, and sent whole', async () => {
    const key = newKey()
    const token = await newCard()

    const first = await post('psp', key, pieces(token, '1'))
    const same = await post('psp', key, pieces(token, '1').join(''))
    const other = await post('psp', key, pieces(token, '2'))

    expect(first.status).toBe(200)
    expectReplay(same, first)
    expectRefusal(other, 'idempotency_mismatch')
    const whole = pieces(token, '1').join('').replaceAll(`{{$card_number: ${token}}}`, VISA)
    expect(psp.seen.map(({ body }) => body.toString() === whole)).toEqual([true])
  })

  test('that breaks off claims nothing', async () => {
    const key = newKey()
    const sending = startSending(sallyport.origin, 'POST', '/d/psp/pay', ownHeaders(key))
    await sending.write('x'.repeat(MIB))
    sending.leave()
    await sending.reply

    const next = await post('psp', key)

    expect(next.status).toBe(200)
    expect(psp.seen.length).toBe(1)
  })

  test('of a binary type is held as well', async () => {
    const type = { 'Content-Type': 'application/octet-stream' }
    const body = Buffer.alloc(2 * MIB, '{{$nothing of ours ')
    const key = newKey()

    const first = await post('psp', key, body, type)
    const second = await post('psp', key, body, type)

    expect(first.status).toBe(200)
    expectReplay(second, first)
    expect(psp.seen.map((seen) => seen.body.equals(body))).toEqual([true])
  })
})

const metrics = () => fetch(`${sallyport.opsOrigin}/metrics`).then((reply) => reply.text())
const isIdle = (text: string) => /^sallyport_proxy_in_flight 0$/m.test(text)

test('whatever became of a request, its place is free again and nothing counts as in flight', async () => {
  let now: Script = ok
  await using upstream = await startUpstream((request, response) => now(request, response))
  const name = await reach(upstream.origin, {
    limits: { connections: 1, queue: 0 },
    timeouts: { headers_ms: 1000 },
  })
  const token = await newCard()
  const key = newKey()
  const states: string[] = []
  const ask = async (...[body, headers]: [string?, Headers?]) => {
    const reply = await post(name, key, body, headers)
    states.push(reply.json?.error?.reason ?? `${reply.status}`)
  }

  await ask('["{{$card_number: nothing}}"]')
  await ask(withCard(token))
  await ask(withCard(token))
  await ask()
  await ask('{}', { 'Sallyport-Dry-Run': 'true' })
  now = () => {}
  const unknown = newKey()
  for (let i = 0; i < 2; i++) {
    const reply = await post(name, unknown)
    states.push(reply.json.error.reason)
  }
  now = ok
  const last = await post(name, newKey())

  expect(states).toEqual([
    'token_not_found',
    '200',
    '200',
    'idempotency_mismatch',
    '200',
    'upstream_timeout',
    'outcome_unknown',
  ])
  expect(last.status).toBe(200)
  expect(isIdle(await eventually(metrics, isIdle))).toBe(true)
  expect(upstream.seen.length).toBe(3)
})

test.each([
  ['with a key', newKey],
  ['without one', () => undefined],
])('a caller that leaves in the middle of a long answer is counted once: %s', async (_, keyOf) => {
  answer = (_request, response) => response.write(Buffer.alloc(2 * MIB))
  const { socket, requestId } = await readHeadOnly('psp', keyOf())

  socket.destroy()

  await auditLinesOf(requestId, 1)
  await pause(100)
  const lines = await auditLinesOf(requestId, 1)
  expect(lines).toMatchObject([{ kind: 'outcome', status: 200, cut: true }])
  expect(lines[0]).not.toHaveProperty('reason')
  expect(isIdle(await eventually(metrics, isIdle))).toBe(true)
})

describe('time and other processes', () => {
  const DAY_MS = 86_400_000

  /** What stands behind a claim, in a folder of its own, under a clock that is moved by hand. */
  async function startClaims() {
    const folder = await mkdtemp(join(tmpdir(), 'sallyport-claims-'))
    const time = { nowMs: Date.parse('2026-03-01T12:00:00.000Z') }
    const clock = () => time.nowMs
    const store = await openLmdbStore({
      folder: join(folder, 'store'),
      hourKeysFolder: join(folder, 'cvc-keys'),
      onFatal: (error) => {
        throw error
      },
    })
    const root = await openLocalRootKey(join(folder, 'root.key'), true)
    const keyring = await openKeyring({
      root,
      wrappedKeys: store,
      hourKeys: store.hourKeys,
      clock,
    })
    const { merchant: owner, profile } = await seedMerchant(store)
    await keyring.createOwner(owner.id)
    const outbound: Outbound = {
      method: 'POST',
      path: '/pay',
      query: '',
      headers: ['Content-Type', 'application/json'],
      body: Buffer.from('{}'),
      rest: undefined,
      contentLength: 2,
      wasInflated: false,
      mediaType: mediaTypeOf('application/json'),
      wishes: {
        token: undefined,
        expectedSubstitutions: undefined,
        isDryRun: false,
        timeoutMs: undefined,
        idempotencyKey: 'order',
      },
    }
    const claim = (instance = 'this process') =>
      claimKey(
        { store, keyring, clock, instance },
        {
          requestId: ids.request(),
          merchantId: owner.id,
          profileId: profile.id,
          destination: { name: 'psp' as never, revision: 1 },
          origin: 'https://api.psp.test',
          outbound,
          key: 'order',
        },
      )
    return {
      store,
      time,
      claim,
      async [Symbol.asyncDispose]() {
        await store[Symbol.asyncDispose]()
        await rm(folder, { recursive: true })
      },
    }
  }

  const ANSWER = {
    status: 200,
    message: 'OK',
    headers: ['X-Id', 'a'],
    redactions: 1,
    body: Buffer.from('paid'),
  }

  async function claimed(claiming: ReturnType<typeof claimKey>) {
    const found = await claiming
    if (found.kind !== 'claimed') throw new Error(found.kind)
    return found.claim
  }

  test('an answer is kept for a day and not a millisecond longer', async () => {
    await using claims = await startClaims()
    await (await claimed(claims.claim())).answered(ANSWER)

    claims.time.nowMs += DAY_MS - 1
    expect(await claims.claim()).toEqual({ kind: 'replay', answer: ANSWER })
    claims.time.nowMs += 1

    expect((await claims.claim()).kind).toBe('claimed')
  })

  test('an unknown outcome is remembered for a day, too', async () => {
    await using claims = await startClaims()
    await (await claimed(claims.claim())).unknown()

    claims.time.nowMs += DAY_MS - 1
    expect(await claims.claim()).toEqual({ kind: 'refuse', reason: 'outcome_unknown' })
    claims.time.nowMs += 1

    expect((await claims.claim()).kind).toBe('claimed')
  })

  test('a sweep takes what has expired, and nothing else', async () => {
    await using claims = await startClaims()
    await (await claimed(claims.claim())).answered(ANSWER)

    expect(await claims.store.sweepExpired(claims.time.nowMs + DAY_MS - 1)).toBe(0)
    expect((await claims.claim()).kind).toBe('replay')
    expect(await claims.store.sweepExpired(claims.time.nowMs + DAY_MS)).toBe(1)

    expect((await claims.claim()).kind).toBe('claimed')
  })

  test('what another process has in flight may have been sent', async () => {
    await using claims = await startClaims()
    await claims.claim('a process before this one')

    expect(await claims.claim()).toEqual({ kind: 'refuse', reason: 'outcome_unknown' })
    expect(await claims.claim('a process before this one')).toEqual({
      kind: 'refuse',
      reason: 'idempotency_in_flight',
    })
  })

  test.each(['answered', 'unknown', 'release'] as const)(
    'a claim is settled once: after %s nothing else counts',
    async (first) => {
      await using claims = await startClaims()
      const claim = await claimed(claims.claim())
      await (first === 'answered' ? claim.answered(ANSWER) : claim[first]())

      await claim.unknown()
      await claim.release()
      await claim.answered({ ...ANSWER, status: 500 })

      const expected = {
        answered: { kind: 'replay', answer: ANSWER },
        unknown: { kind: 'refuse', reason: 'outcome_unknown' },
        release: { kind: 'claimed' },
      }
      expect(await claims.claim()).toMatchObject(expected[first])
    },
  )

  test('an answer that comes a day late does not touch whoever has the key by then', async () => {
    await using claims = await startClaims()
    const late = await claimed(claims.claim())
    claims.time.nowMs += DAY_MS
    const next = await claimed(claims.claim())

    await late.answered(ANSWER)
    expect(await claims.claim()).toEqual({ kind: 'refuse', reason: 'idempotency_in_flight' })
    await next.answered({ ...ANSWER, status: 201 })

    expect(await claims.claim()).toMatchObject({ kind: 'replay', answer: { status: 201 } })
  })

  const request = newFingerprint()
  test.each([
    ['answered', true, 'this', 'replay'],
    ['unknown', true, 'this', 'outcome_unknown'],
    ['in_flight', true, 'this', 'idempotency_in_flight'],
    ['in_flight', true, 'other', 'outcome_unknown'],
    ['answered', true, 'other', 'replay'],
    ['answered', false, 'this', 'idempotency_mismatch'],
    ['unknown', false, 'this', 'idempotency_mismatch'],
    ['in_flight', false, 'this', 'idempotency_mismatch'],
    ['in_flight', false, 'other', 'idempotency_mismatch'],
  ] as const)(
    '%s, the same request: %s, of %s process: %s',
    (state, isSame, instance, expected) => {
      const known = { request: isSame ? request : newFingerprint(), state, instance }

      expect(decideRepetition(known, request, 'this')).toBe(expected)
    },
  )
})
