// A dry run refuses what a real request is refused, shows what one would send with its values masked, and does nothing
// else: no connection, no code spent, nothing to be learned of a value beyond its mask.

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { ERRORS, type Reason } from '../../src/core/errors.ts'
import { startSallyport, type TestMerchant, type TestSallyport } from '../support/sallyport.ts'
import {
  closedPort,
  eventually,
  expectRefusal,
  type Reply,
  send,
  startUpstream,
  type Upstream,
} from './upstream.ts'

/** Visa's; its first six digits are not found again in it. */
const NUMBER = '4000056655665556'
const MASKED = '400005XXXXXX5556'
const CVC = '739'
const HOLDER = 'Ada Lovelace'
const IBAN = 'DE89370400440532013000'
const INJECTED = 'sk_test_of_the_psp_0123456789'

let sallyport: TestSallyport
let merchant: TestMerchant
let psp: Upstream
/** With a code, which no test of this file spends but the one that says so. */
let card: string
/** Without a code, and with a holder whom not every place can hold. */
let bare: string
let account: string
let restrictedKey: string

const fields = [
  'card_number',
  'card_exp_month',
  'card_exp_year',
  'card_cvc',
  'card_holder_name',
  'card_network',
  'card_bin',
  'card_last4',
].map((field) => ({
  field,
  at: ['body', 'path', 'basic', 'query:pan', 'header:x-pan'],
  filters: 'any', // so that masks have to hide what filters make
}))
const paths = ['$.iban', '$.amount', '$.owner', '$.none', '$.is_open', '$.dots'].map((field) => ({
  field,
  at: ['body', 'path'],
  filters: 'any',
}))
const allow = [
  { methods: ['POST'], path: '/exact', fields: [{ field: 'card_number', at: ['body:/a/n'] }] },
  { methods: ['POST'], path: '/listed', query: ['a'], fields: [] },
  { methods: ['POST'], path: '/keys', keys: ['key_of_nobody'], fields: [] },
  { methods: ['GET', 'POST'], path: '/pay*', fields: [...fields, ...paths] },
]

beforeAll(async () => {
  sallyport = await startSallyport()
  merchant = await sallyport.createMerchant()
  psp = await startUpstream()
  card = await merchant.createCard({ card_number: NUMBER, card_cvc: CVC, card_holder_name: HOLDER })
  bare = await merchant.createCard({ card_number: '5555555555554444', card_holder_name: 'Zoë' })
  account = await merchant.createToken({
    iban: IBAN,
    amount: -12.5,
    owner: { name: HOLDER },
    none: null,
    is_open: true,
    dots: '..',
  })
  restrictedKey = await sallyport.createKey(merchant.id, ['vault:read'])
  await merchant.createDestination({
    name: 'psp',
    origin: psp.origin,
    allow,
    limits: { body_bytes: 1_000_000 },
    inject_headers: { Authorization: `Bearer ${INJECTED}`, 'X-Version': 'version-of-ours' },
    idempotency_header: 'Cko-Idempotency-Key',
  })
})

afterAll(async () => {
  await sallyport[Symbol.asyncDispose]()
  await psp.close()
})

beforeEach(() => {
  psp.seen.length = 0
})

type Sent = {
  method?: string
  path?: string
  key?: string
  headers?: Record<string, string>
  body?: string | Buffer
}

const DRY = { 'Sallyport-Dry-Run': 'true' }

const real = (sent: Sent): Promise<Reply> =>
  send(
    sallyport.origin,
    sent.method ?? 'POST',
    sent.path ?? '/d/psp/pay',
    {
      'Sallyport-Key': sent.key ?? merchant.proxyKey,
      ...(sent.body === undefined ? {} : { 'Content-Type': 'application/json' }),
      ...sent.headers,
    },
    sent.body,
  )

const dry = (sent: Sent): Promise<Reply> => real({ ...sent, headers: { ...sent.headers, ...DRY } })

/** Nothing of the cards, the token or the destination's credentials, and nothing was connected to. */
function expectDry(reply: Reply): void {
  expect([reply.status, reply.json?.error]).toEqual([200, undefined])
  expect(reply.json.dry_run).toBe(true)
  const text = `${reply.rawHeaders.join(' ')} ${reply.text}`.replaceAll(psp.origin, '')
  const middles = [NUMBER.slice(6, 12), '555555555']
  const pieces = [...middles, HOLDER, 'Lovelace', 'Zoë', IBAN, '2035', INJECTED, 'version-of-ours']
  for (const piece of pieces) {
    expect(text).not.toContain(piece)
    expect(text).not.toContain(Buffer.from(piece).toString('hex'))
  }
  expect(reply.text.replaceAll(psp.origin, '')).not.toContain(CVC)
  expect(psp.connections).toBe(0)
}

describe('what is shown', () => {
  test('is the request as it would leave, the row that decides and the number of substitutions', async () => {
    const reply = await dry({
      path: '/d/psp/pay?pan=1',
      headers: { 'X-Trace': 'abc' },
      body: `{"n":"{{$card_number: ${card}}}", "c":"{{$card_cvc: ${card}}}","amount":1.10}`,
    })

    expectDry(reply)
    expect(reply.headers['content-type']).toBe('application/json; charset=utf-8')
    expect(reply.headers['cache-control']).toBe('no-store')
    expect(reply.headers['sallyport-upstream-status']).toBeUndefined()
    expect(reply.headers['sallyport-substitutions']).toBe('card_number=1, card_cvc=1')
    const { headers, ...request } = reply.json.request
    expect({ ...reply.json, request }).toEqual({
      dry_run: true,
      destination: 'psp',
      policy: { row: 3, ...allow[3] },
      request: {
        method: 'POST',
        url: `${psp.origin}/pay?pan=1`,
        body: `{"n":"${MASKED}", "c":"XXXX","amount":1.10}`,
        body_encoding: 'utf8',
        is_signed: false,
      },
      substitutions: { card_number: 1, card_cvc: 1 },
    })
    expect(headers).toContainEqual(['X-Trace', 'abc'])
    expect(headers).toContainEqual(['Authorization', '[injected]'])
    expect(headers).toContainEqual(['X-Version', '[injected]'])
    const names = headers.map(([name]: [string]) => name.toLowerCase())
    expect(names.filter((name: string) => name.startsWith('sallyport-'))).toEqual([])
  })

  test.each<[string, string, string, string]>([
    ['JSON, in a string', 'application/json', '{"a":"x <N> y"}', `{"a":"x ${MASKED} y"}`],
    ['JSON, as a value', 'application/json', '{"a":<N>}', `{"a":"${MASKED}"}`],
    ['JSON, as a name', 'application/json', '{"<N>":1}', `{"${MASKED}":1}`],
    ['a form', 'application/x-www-form-urlencoded', 'a=1&n=<N>', `a=1&n=${MASKED}`],
    ['XML text', 'text/xml', '<a><N></a>', `<a>${MASKED}</a>`],
    ['an XML attribute', 'text/xml', '<a n="<N>"/>', `<a n="${MASKED}"/>`],
    ['CDATA', 'text/xml', '<a><![CDATA[<N>]]></a>', `<a><![CDATA[${MASKED}]]></a>`],
    [
      'a part of a form',
      'multipart/form-data; boundary=b',
      '--b\r\nContent-Disposition: form-data; name="n"\r\n\r\n<N>\r\n--b--\r\n',
      `--b\r\nContent-Disposition: form-data; name="n"\r\n\r\n${MASKED}\r\n--b--\r\n`,
    ],
    ['plain text', 'text/plain', 'n <N>.', `n ${MASKED}.`],
  ])('a number in %s', async (_, type, template, shown) => {
    const body = template.replace('<N>', `{{$card_number: ${card}}}`)

    const reply = await dry({ headers: { 'Content-Type': type }, body })

    expectDry(reply)
    expect(reply.json.request.body).toBe(shown)
  })

  test.each<[string, string, string]>([
    ['the month', '"{{$card_exp_month: CARD}}"', '"XXXX"'],
    ['the year as a number', '{{$card_exp_year: CARD | number}}', '0'],
    ['the expiry', '"{{$card_exp: CARD | format(MM/YYYY)}}"', '"XXXX"'],
    ['the holder', '"{{$card_holder_name: CARD}}"', '"XXXX"'],
    ['the holder in capitals', '"{{$card_holder_name: CARD | upper}}"', '"XXXX"'],
    ['the code', '"{{$card_cvc: CARD}}"', '"XXXX"'],
    ['the code as a number', '{{$card_cvc: CARD | number}}', '0'],
    ['a number as a number', '{{$card_number: CARD | number}}', '0'],
    ['a number in base64', '"{{$card_number: CARD | base64}}"', '"XXXX"'],
    ['the hash of a number', '"{{$card_number: CARD | sha256}}"', '"XXXX"'],
    ['the beginning of a number', '"{{$card_number: CARD | first(12)}}"', '"XXXX"'],
    ['a number by its own mask', '"{{$card_number: CARD | mask}}"', '"XXXX"'],
    ['a text of a token', '"{{$.iban: TOKEN}}"', '"XXXX"'],
    ['a number of a token', '{{$.amount: TOKEN | number}}', '0'],
    ['a number of a token as it is', '{{$.amount: TOKEN | json}}', '0'],
    ['a truth value of a token', '{{$.is_open: TOKEN | json}}', 'null'],
    ['an object of a token', '{{$.owner: TOKEN | json}}', '"[masked]"'],
    ['a text of a token as JSON', '{{$.iban: TOKEN | json}}', '"XXXX"'],
    ['a default', '"{{$.none: TOKEN | default(none)}}"', '"XXXX"'],
    ['what everybody may see', '"{{$card_bin: CARD}} {{$card_last4: CARD}}"', '"400005 5556"'],
    ['the network by another name', '"{{$card_network: CARD | map(visa=VI)}}"', '"VI"'],
  ])('%s', async (_, value, shown) => {
    const body = `{"a":${value.replaceAll('CARD', card).replaceAll('TOKEN', account)}}`

    const reply = await dry({ body })

    expectDry(reply)
    expect(reply.json.request.body).toBe(`{"a":${shown}}`)
    expect(JSON.parse(reply.json.request.body)).toHaveProperty('a')
  })

  test('a number in path, query, header and Basic credentials', async () => {
    await using other = await startUpstream()
    await merchant.createDestination({ name: 'head', origin: other.origin, allow })
    const number = encodeURIComponent(`{{$card_number: ${card}}}`)
    const user = Buffer.from(`{{$card_number: ${card}}}:{{$card_cvc: ${card}}}`)

    const reply = await dry({
      method: 'GET',
      path: `/d/head/pay/${number}?pan=${number}`,
      headers: {
        'X-Pan': `n={{$card_number: ${card}}}`,
        Authorization: `Basic ${user.toString('base64')}`,
      },
    })

    expectDry(reply)
    const { url, headers, body } = reply.json.request
    expect(url).toBe(`${other.origin}/pay/${MASKED}?pan=${MASKED}`)
    expect(headers).toContainEqual(['X-Pan', `n=${MASKED}`])
    const shown = Buffer.from(`${MASKED}:XXXX`).toString('base64')
    expect(headers).toContainEqual(['Authorization', `Basic ${shown}`])
    expect(body).toBeNull()
    expect(reply.json.request).not.toHaveProperty('body_encoding')
    expect(other.connections).toBe(0)
  })

  test('a body without placeholders as it is', async () => {
    const reply = await dry({ body: '{ "z":1.10, "a":"é" }' })

    expectDry(reply)
    expect(reply.json.request.body).toBe('{ "z":1.10, "a":"é" }')
    expect(reply.json.substitutions).toEqual({})
    expect(reply.headers['sallyport-substitutions']).toBeUndefined()
  })

  test('a body that is no text in base64', async () => {
    const body = Buffer.from([0xff, 0x00, 0xd8, 0x7b, 0x7b, 0x24])

    const reply = await dry({ headers: { 'Content-Type': 'image/jpeg' }, body })

    expectDry(reply)
    expect(reply.json.request).toMatchObject({
      body: body.toString('base64'),
      body_encoding: 'base64',
    })
  })

  test('a compressed body inflated', async () => {
    const body = gzipSync(`{"n":"{{$card_number: ${card}}}"}`)

    const reply = await dry({ headers: { 'Content-Encoding': 'gzip' }, body })

    expectDry(reply)
    expect(reply.json.request.body).toBe(`{"n":"${MASKED}"}`)
    const names = reply.json.request.headers.map(([name]: [string]) => name.toLowerCase())
    expect(names).not.toContain('content-encoding')
  })

  test('a body beyond the limit for buffering as a whole', async () => {
    const filler = 'x'.repeat(400_000)
    const number = `{{$card_number: ${card}}}`

    const reply = await dry({ body: `{"a":"${number}","f":"${filler}","z":"${number}"}` })

    expectDry(reply)
    expect(reply.json.request.body).toBe(`{"a":"${MASKED}","f":"${filler}","z":"${MASKED}"}`)
    expect(reply.json.substitutions).toEqual({ card_number: 2 })
  })

  test('a digest of a body that changes as one that is still to be made', async () => {
    const headers = { 'Content-MD5': 'ZGlnZXN0', Digest: 'SHA-256=ZGlnZXN0' }

    const changed = await dry({ headers, body: `["{{$card_number: ${card}}}"]` })
    const same = await dry({ headers, body: '[]' })

    expectDry(changed)
    expect(changed.json.request.headers).toContainEqual(['Content-MD5', '[computed]'])
    expect(changed.json.request.headers).toContainEqual(['Digest', '[computed]'])
    expect(same.json.request.headers).toContainEqual(['Content-MD5', 'ZGlnZXN0'])
  })

  test("the idempotency key under the destination's name for it", async () => {
    const reply = await dry({ headers: { 'Sallyport-Idempotency-Key': 'order-1' }, body: '{}' })

    expectDry(reply)
    expect(reply.json.request.headers).toContainEqual(['Cko-Idempotency-Key', 'order-1'])
  })

  test('of an envelope the request inside it', async () => {
    const reply = await dry({
      path: '/v2/proxy',
      body: JSON.stringify({
        destination_url: `${psp.origin}/pay?pan=1`,
        method: 'POST',
        headers: { 'X-Pan': '{{$card_number}}', 'X-Version': 'theirs' },
        token: card,
        request_body: { n: '{{$card_number}}' },
      }),
    })

    expectDry(reply)
    expect(reply.json.request).toMatchObject({
      method: 'POST',
      url: `${psp.origin}/pay?pan=1`,
      body: `{"n":"${MASKED}"}`,
    })
    expect(reply.json.request.headers).toEqual([
      ['X-Pan', MASKED],
      ['Content-Type', 'application/json'],
      ['Authorization', '[injected]'],
      ['X-Version', '[injected]'],
      ['Accept-Encoding', 'identity'],
    ])
  })

  test('the same on the way with a destination header', async () => {
    const reply = await dry({
      path: '/forward/pay',
      headers: { 'Sallyport-Destination': psp.origin },
      body: `["{{$card_number: ${card}}}"]`,
    })

    expectDry(reply)
    expect(reply.json.request.body).toBe(`["${MASKED}"]`)
  })

  test('that a destination signs its requests, and no signature', async () => {
    await using signed = await startUpstream()
    await merchant.createDestination({
      name: 'signed',
      origin: signed.origin,
      allow,
      signing: {
        recipe: 'hmac',
        algorithm: 'sha256',
        key: 'signing-key-of-ours',
        encoding: 'hex',
        template: '{body}',
        headers: { 'X-Signature': '{signature}' },
      },
    })

    const reply = await dry({ path: '/d/signed/pay', body: `["{{$card_number: ${card}}}"]` })

    expectDry(reply)
    expect(reply.json.request.is_signed).toBe(true)
    expect(reply.text).not.toContain('signing-key-of-ours')
    expect(reply.text).not.toContain('X-Signature')
    expect(signed.connections).toBe(0)
  })
})

describe('what a mask does not tell', () => {
  /** Each digit, with or without a zero before it, becomes a text of another length. */
  const lengths = Array.from(
    { length: 10 },
    (_, digit) => `0${digit}=${'a'.repeat(digit + 1)},${digit}=${'a'.repeat(digit + 1)}`,
  )
  const byLength = `map(${lengths.join(',')})`

  test.each([
    ['to which text of its own length a digit was mapped', `$card_exp_month: T | ${byLength}`],
    ['how many zeros a piece began with', '$card_number: T | last(9) | first(6) | number | string'],
    ['how long a holder is', '$card_holder_name: T'],
    ['how long a code is', '$card_cvc: T'],
  ])('%s', async (_, placeholder) => {
    const [one, two] = await Promise.all([
      merchant.createCard({
        card_number: '4000000000000002',
        card_cvc: '111',
        card_holder_name: 'A',
        card_exp_month: '1',
      }),
      merchant.createCard({
        card_number: '4111111111111111',
        card_cvc: '9999',
        card_holder_name: 'Al',
        card_exp_month: '9',
        card_exp_year: '2039',
      }),
    ])
    const shownOf = async (token: string) => {
      const reply = await dry({ body: `["{{${placeholder.replace('T', token)}}}"]` })
      expectDry(reply)
      return reply.json.request.body
    }

    expect(await shownOf(one)).toBe(await shownOf(two))
  })

  test.each([
    ['a holder', '$card_holder_name: T | map(x=a)'],
    ['an expiry', '$card_exp: T | format(MMYY) | map(0129=a)'],
    ['a year, as a number', '$card_exp_year: T | map(1=1) | number'],
  ])('whether a map has %s', async (_, placeholder) => {
    const reply = await dry({ body: `{"a":{{${placeholder.replace('T', card)}}}}` })

    expectDry(reply)
    expect(['{"a":"XXXX"}', '{"a":0}']).toContain(reply.json.request.body)
  })

  test('that a network is in no map is told: the network is no secret', async () => {
    const reply = await dry({ body: `["{{$card_network: ${card} | map(mastercard=MC)}}"]` })

    expectRefusal(reply, 'value_not_encodable')
  })
})

describe('nothing happens', () => {
  test.each([
    ['a name that nobody knows', async () => 'http://name.invalid'],
    ['a port on which nobody listens', async () => `http://127.0.0.1:${await closedPort()}`],
  ])('%s is not noticed', async (_, originOf) => {
    const name = `gone-${psp.port}-${_.length}`
    await merchant.createDestination({ name, origin: await originOf(), allow })

    const reply = await dry({ path: `/d/${name}/pay`, body: `["{{$card_number: ${card}}}"]` })

    expectDry(reply)
    expect(reply.json.request.body).toBe(`["${MASKED}"]`)
  })

  test('a code is there after any number of dry runs, and gone after one request', async () => {
    await using other = await startUpstream()
    await merchant.createDestination({ name: 'codes', origin: other.origin, allow })
    const token = await merchant.createCard({ card_cvc: CVC })
    const sent = { path: '/d/codes/pay', body: `["{{$card_cvc: ${token}}}"]` }

    const runs = [await dry(sent), await dry(sent), await dry(sent)]
    const first = await real(sent)
    const afterwards = await dry(sent)

    expect(runs.map(({ status }) => status)).toEqual([200, 200, 200])
    expect(first.status).toBe(200)
    expect(other.seen.map(({ body }) => body.toString())).toEqual([`["${CVC}"]`])
    expectRefusal(afterwards, 'cvc_not_available')
  })

  test('an idempotency key is free after it', async () => {
    await using other = await startUpstream()
    await merchant.createDestination({ name: 'keyed', origin: other.origin, allow })
    const headers = { 'Sallyport-Idempotency-Key': 'dry-then-real' }

    await dry({ path: '/d/keyed/pay', headers, body: '{"a":1}' })
    const reply = await real({ path: '/d/keyed/pay', headers, body: '{"a":2}' })

    expect(reply.status).toBe(200)
    expect(reply.headers['sallyport-idempotent-replay']).toBeUndefined()
    expect(other.seen.length).toBe(1)
  })

  test('values that take up much are counted once, as in a real request', async () => {
    await using other = await startUpstream()
    const limits = { body_bytes: 1_000_000 }
    await merchant.createDestination({ name: 'much', origin: other.origin, allow, limits })
    const much = `"{{$card_exp_month: ${bare} | pad(255) | hex | hex | hex | hex}}"`
    const sent = { path: '/d/much/pay', body: `[${Array(1500).fill(much).join(',')}]` }

    const dryly = await dry(sent)
    const really = await real(sent)

    expect([dryly.status, really.status]).toEqual([200, 200])
  })
})

describe('the audit trail', () => {
  const linesOf = (request: unknown, count: number) =>
    eventually(
      async () => {
        const text = await readFile(join(sallyport.folder, 'audit', 'audit.jsonl'), 'utf8')
        const lines = text.split('\n').filter((line) => line !== '')
        return lines.map((line) => JSON.parse(line)).filter((line) => line.request === request)
      },
      (found) => found.length >= count,
    )

  test('has a line of what is revealed and one of the end, both marked', async () => {
    const reply = await dry({ body: `["{{$card_number: ${card}}}","{{$card_cvc: ${card}}}"]` })

    const lines = await linesOf(reply.headers['sallyport-request-id'], 2)
    expect(lines).toMatchObject([
      {
        kind: 'reveal',
        dryRun: true,
        destination: 'psp',
        tokens: [{ token: card, fields: ['card_number', 'card_cvc'] }],
      },
      { kind: 'outcome', dryRun: true, cut: false, destination: 'psp' },
    ])
    expect(lines[1]).not.toHaveProperty('status')
    expect(lines[1]).not.toHaveProperty('reason')
  })

  test('has one line of a dry run without placeholders', async () => {
    const reply = await dry({ body: '{}' })

    const lines = await linesOf(reply.headers['sallyport-request-id'], 1)
    expect(lines).toMatchObject([{ kind: 'outcome', dryRun: true }])
  })

  test('has no such mark on a real request', async () => {
    await using other = await startUpstream()
    await merchant.createDestination({ name: 'marked', origin: other.origin, allow })

    const reply = await real({ path: '/d/marked/pay', body: `["{{$card_number: ${card}}}"]` })

    const lines = await linesOf(reply.headers['sallyport-request-id'], 2)
    expect(lines.map(({ kind, dryRun }) => [kind, dryRun])).toEqual([
      ['reveal', undefined],
      ['outcome', undefined],
    ])
  })
})

describe('refused like a real request', () => {
  const number = () => `{{$card_number: ${card}}}`
  const json = (value: string): Sent => ({ body: `{"a":"${value}"}` })

  test.each<[Reason, string, () => Sent]>([
    ['field_not_allowed', 'in another place', () => ({ path: '/d/psp/exact', ...json(number()) })],
    ['field_not_allowed', 'in another header', () => ({ headers: { 'X-A': number() } })],
    ['field_not_allowed', 'another path of a token', () => json(`{{$.bic: ${account}}}`)],
    ['token_not_found', 'a token of nobody', () => json('{{$card_number: local_pm_x}}')],
    ['placeholder_field_missing', 'of a card', () => json(`{{$.iban: ${card}}}`)],
    ['placeholder_field_missing', 'of a token', () => json(`{{$.none: ${account}}}`)],
    ['placeholder_field_missing', 'before a map', () => json(`{{$.none: ${account} | map(a=b)}}`)],
    ['placeholder_without_token', 'in a body', () => json('{{$card_number}}')],
    ['placeholder_malformed', 'an unknown field', () => json('{{$card_numbr: x}}')],
    ['placeholder_malformed', 'an unknown filter', () => json(`{{$card_number: ${card} | x}}`)],
    ['cvc_not_available', 'no code', () => json(`{{$card_cvc: ${bare}}}`)],
    [
      'value_not_encodable',
      'in a header',
      () => ({ headers: { 'X-Pan': `{{$card_holder_name: ${bare}}}` } }),
    ],
    [
      'value_not_encodable',
      'in plain text',
      () => ({
        headers: { 'Content-Type': 'text/plain' },
        body: `{{$card_holder_name: ${bare}}}`,
      }),
    ],
    [
      'value_not_encodable',
      'in a path, which it would leave',
      () => ({ path: `/d/psp/pay/{{$.dots:${account}}}/x` }),
    ],
    ['value_not_encodable', 'an object', () => json(`{{$.owner: ${account}}}`)],
    ['value_not_encodable', 'no number', () => json(`{{$card_holder_name: ${card} | number}}`)],
    [
      'body_too_large',
      'what placeholders ask for',
      () => json(`{{$card_exp_month: ${bare} | pad(255) | hex | hex | hex | hex}}`.repeat(3000)),
    ],
    [
      'body_too_large',
      'a body',
      () => ({ headers: { 'Content-Length': '1000001' }, body: 'x'.repeat(1_000_001) }),
    ],
    [
      'substitutions_mismatch',
      'fewer than expected',
      () => ({ headers: { 'Sallyport-Expect-Substitutions': '2' }, ...json(number()) }),
    ],
    ['method_or_path_not_allowed', 'a path', () => ({ path: '/d/psp/other', body: '{}' })],
    ['method_or_path_not_allowed', 'a method', () => ({ method: 'PUT', body: '{}' })],
    ['method_or_path_not_allowed', 'a query', () => ({ path: '/d/psp/listed?b=1', body: '{}' })],
    ['permission_denied', 'a row of other keys', () => ({ path: '/d/psp/keys', body: '{}' })],
    ['permission_denied', 'a key without the scope', () => ({ key: restrictedKey, body: '{}' })],
    ['unauthenticated', 'no such key', () => ({ key: 'nobody', body: '{}' })],
    ['destination_not_allowed', 'no such destination', () => ({ path: '/d/nobody/x' })],
    ['path_not_normal', 'dots', () => ({ path: '/d/psp/pay/../x', body: '{}' })],
    ['malformed_body', 'no JSON', () => ({ body: `{"a":"${number()}"` })],
    [
      'content_encoding_unsupported',
      'an unknown coding',
      () => ({ headers: { 'Content-Encoding': 'lz4' }, ...json(number()) }),
    ],
    [
      'invalid_value',
      'an unknown digest',
      () => ({ headers: { Digest: 'crc32=abcd' }, ...json(number()) }),
    ],
    ['unknown_field', 'an unknown wish', () => ({ headers: { 'Sallyport-Nope': '1' } })],
  ])('%s: %s', async (reason, _, sentBy) => {
    const really = await real(sentBy())
    const dryly = await dry(sentBy())

    expectRefusal(dryly, reason)
    const { request_id: _real, ...expected } = really.json.error
    const { request_id: _dry, ...error } = dryly.json.error
    expect(error).toEqual(expected)
    expect(dryly.status).toBe(ERRORS[reason].status)
    expect(psp.seen).toEqual([])
  })

  test('for the end of a long body, where a real request has gone by then', async () => {
    const filler = 'x'.repeat(400_000)

    const reply = await dry({ body: `{"f":"${filler}","z":"{{$card_numbr: x}}"}` })

    expectRefusal(reply, 'placeholder_malformed')
    expect(psp.connections).toBe(0)
  })
})

test.each(['yes', '1', 'TRUE', ''])(
  'a dry run that is wished for as %j is refused',
  async (text) => {
    const reply = await real({ headers: { 'Sallyport-Dry-Run': text }, body: '{}' })

    expectRefusal(reply, 'invalid_value')
    expect(psp.seen).toEqual([])
  },
)

test('one that is expressly not wished for is sent', async () => {
  await using other = await startUpstream()
  await merchant.createDestination({ name: 'not-dry', origin: other.origin, allow })

  const reply = await real({
    path: '/d/not-dry/pay',
    headers: { 'Sallyport-Dry-Run': 'false' },
    body: '{}',
  })

  expect(reply.json).toEqual({ ok: true })
  expect(other.seen.length).toBe(1)
})
