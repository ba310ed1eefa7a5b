// Requests that are signed on their way out, through the front door: the destination verifies each over the bytes it
// got, by a verification that is written here anew, with node:crypto alone.

import {
  constants,
  createHash,
  createHmac,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  verify,
} from 'node:crypto'
import { readFile } from 'node:fs/promises'
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
  type Seen,
  send,
  startUpstream,
  type Upstream,
  valuesOf,
} from './upstream.ts'

let sallyport: TestSallyport
let merchant: TestMerchant
let token: string

beforeAll(async () => {
  sallyport = await startSallyport()
  merchant = await sallyport.createMerchant()
  token = await merchant.createCard()
})

afterAll(async () => {
  await sallyport[Symbol.asyncDispose]()
})

const pem = (key: KeyObject) => key.export({ type: 'pkcs8', format: 'pem' }) as string
const rsa = pem(generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey)
const p256 = pem(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey)
const ed25519 = pem(generateKeyPairSync('ed25519').privateKey)
const secret = 'c2lnbmluZyBzZWNyZXQgb2YgdGhlIHRlc3Rz'

const one = (seen: Seen, name: string): string => {
  const values = valuesOf(seen.rawHeaders, name)
  expect([name, values.length]).toEqual([name, 1])
  return values[0] as string
}

const hash = (algorithm: string, body: Buffer) => createHash(algorithm).update(body)

const isNow = (seconds: number) => Math.abs(Date.now() / 1000 - seconds) < 60

function verifyHmac(seen: Seen): void {
  const timestamp = one(seen, 'X-Timestamp')
  expect(isNow(Number(timestamp))).toBe(true)
  const nonce = one(seen, 'X-Nonce')
  expect(nonce).toMatch(/^[0-9a-f]{32}$/)
  const { host, 'content-type': type = '' } = seen.headers
  const mac = createHmac('sha256', Buffer.from(secret, 'base64'))
    .update(`${seen.method}\n${seen.url}\n${host}\n${type}\n${timestamp}\n${nonce}\n`)
    .update(seen.body)
  expect(one(seen, 'X-Signature')).toBe(`v1=${mac.digest('hex')}`)
}

/** The signature base of RFC 9421, 2.5, from what arrived. */
function baseOf(seen: Seen, input: string): string {
  const [path, query] = seen.url.split('?')
  const names = /^\(([^)]*)\)/.exec(input)?.[1]?.split(' ') ?? []
  const lines = names.map((quoted) => {
    const name = quoted.slice(1, -1)
    switch (name) {
      case '@method':
        return `${quoted}: ${seen.method}`
      case '@path':
        return `${quoted}: ${path}`
      case '@query':
        return `${quoted}: ?${query ?? ''}`
      case '@authority':
        return `${quoted}: ${seen.headers.host}`
      default:
        return `${quoted}: ${one(seen, name)}`
    }
  })
  return [...lines, `"@signature-params": ${input}`].join('\n')
}

const VERIFIERS: Record<string, (base: Buffer, signature: Buffer) => boolean> = {
  'hmac-sha256': (base, signature) =>
    createHmac('sha256', Buffer.from(secret, 'base64')).update(base).digest().equals(signature),
  ed25519: (base, signature) => verify(null, base, createPublicKey(ed25519), signature),
  'ecdsa-p256-sha256': (base, signature) =>
    verify('sha256', base, { key: createPublicKey(p256), dsaEncoding: 'ieee-p1363' }, signature),
  'rsa-pss-sha512': (base, signature) =>
    verify(
      'sha512',
      base,
      {
        key: createPublicKey(rsa),
        padding: constants.RSA_PKCS1_PSS_PADDING,
        saltLength: 64,
      },
      signature,
    ),
  'rsa-v1_5-sha256': (base, signature) => verify('sha256', base, createPublicKey(rsa), signature),
}

const verifyHttp = (algorithm: string) => (seen: Seen) => {
  const input = one(seen, 'Signature-Input').replace(/^psp=/, '')
  expect(isNow(Number(/;created=([0-9]+)/.exec(input)?.[1]))).toBe(true)
  expect(input).toContain(`;keyid="key-1"`)
  const signature = Buffer.from(one(seen, 'Signature').slice('psp=:'.length, -1), 'base64')
  const base = Buffer.from(baseOf(seen, input), 'latin1')
  expect(VERIFIERS[algorithm]?.(base, signature)).toBe(true)
  const digest = hash('sha512', seen.body).digest('base64')
  expect(one(seen, 'Content-Digest')).toBe(`sha-512=:${digest}:`)
}

function verifyCybersource(seen: Seen): void {
  const parameters = new Map(
    [...one(seen, 'Signature').matchAll(/(\w+)="([^"]*)"/g)].map(([, name, value]) => [
      name,
      value,
    ]),
  )
  const text = parameters
    .get('headers')
    ?.split(' ')
    .map((name) =>
      name === 'request-target'
        ? `request-target: ${seen.method.toLowerCase()} ${seen.url}`
        : `${name}: ${one(seen, name)}`,
    )
    .join('\n')
  const mac = createHmac('sha256', Buffer.from(secret, 'base64')).update(text ?? '')
  expect(parameters.get('signature')).toBe(mac.digest('base64'))
  expect(one(seen, 'v-c-merchant-id')).toBe('shop')
  expect(isNow(Date.parse(one(seen, 'date')) / 1000)).toBe(true)
  if (seen.method === 'GET') return expect(seen.headers.digest).toBeUndefined()
  expect(parameters.get('headers')).toContain(' digest ')
  const digest = hash('sha256', seen.body).digest('base64')
  expect(one(seen, 'Digest')).toBe(`SHA-256=${digest}`)
}

/** RFC 5849, 3.4.1, for queries without anything to encode. */
function verifyOauth(seen: Seen): void {
  const header = one(seen, 'Authorization')
  const said = [...header.matchAll(/([a-z_]+)="([^"]*)"/g)].map(
    ([, name = '', value = '']) => [name, decodeURIComponent(value)] as const,
  )
  const values = new Map(said)
  const signature = Buffer.from(values.get('oauth_signature') ?? '', 'base64')
  const [path, query] = seen.url.split('?')
  const pairs = said
    .filter(([name]) => name !== 'oauth_signature')
    .map(([name, value]) => `${name}=${value}`)
  if (query !== undefined) pairs.push(...query.split('&'))
  const base = [
    seen.method,
    encodeURIComponent(`http://${seen.headers.host}${path}`),
    encodeURIComponent(pairs.sort().join('&')),
  ].join('&')
  expect(verify('sha256', Buffer.from(base), createPublicKey(rsa), signature)).toBe(true)
  expect(values.get('oauth_body_hash')).toBe(hash('sha256', seen.body).digest('base64'))
  expect(isNow(Number(values.get('oauth_timestamp')))).toBe(true)
}

type Recipe = {
  readonly name: string
  readonly signing: Record<string, unknown>
  /** Where the key stands in it. */
  readonly key: string
  readonly verify: (seen: Seen) => void
}

const http = (algorithm: string, key: string, more = {}): Recipe => ({
  name: algorithm,
  signing: {
    recipe: 'http_message_signatures',
    key_id: 'key-1',
    algorithm,
    key,
    label: 'psp',
    components: ['@method', '@path', '@query', '@authority', 'content-digest', 'x-shop'],
    content_digest: 'sha-512',
    ...more,
  },
  key: 'key',
  verify: verifyHttp(algorithm),
})

const RECIPES: readonly Recipe[] = [
  {
    name: 'hmac',
    signing: {
      recipe: 'hmac',
      algorithm: 'sha256',
      encoding: 'hex',
      key: secret,
      key_encoding: 'base64',
      template:
        '{method}\n{path}{query}\n{host}\n{header:content-type}\n{timestamp}\n{nonce}\n{body}',
      headers: {
        'X-Signature': 'v1={signature}',
        'X-Timestamp': '{timestamp}',
        'X-Nonce': '{nonce}',
      },
    },
    key: 'key',
    verify: verifyHmac,
  },
  http('hmac-sha256', secret, { key_encoding: 'base64' }),
  http('ed25519', ed25519),
  http('ecdsa-p256-sha256', p256),
  http('rsa-pss-sha512', rsa),
  http('rsa-v1_5-sha256', rsa),
  {
    name: 'cybersource',
    signing: { recipe: 'cybersource', merchant_id: 'shop', key_id: 'key-1', secret },
    key: 'secret',
    verify: verifyCybersource,
  },
  {
    name: 'oauth1',
    signing: { recipe: 'oauth1_body_hash', consumer_key: 'shop', private_key_pem: rsa },
    key: 'private_key_pem',
    verify: verifyOauth,
  },
]

describe.each(RECIPES)('$name', ({ name, signing, key, verify }) => {
  let psp: Upstream
  const destination = `signed-${name.replaceAll('_', '')}`

  const settings = () => ({
    name: destination,
    origin: psp.origin,
    allow: [
      {
        methods: ['POST', 'GET'],
        path: '/*',
        fields: [{ field: 'card_number', at: ['body', 'query:pan', 'header:x-shop'] }],
      },
    ],
  })

  beforeAll(async () => {
    psp = await startUpstream()
    await merchant.createDestination({ ...settings(), signing })
  })

  afterAll(async () => {
    await psp.close()
  })

  beforeEach(() => {
    psp.seen.length = 0
  })

  const headersOf = (more: Record<string, string> = {}) => ({
    'Sallyport-Key': merchant.proxyKey,
    'Content-Type': 'application/json',
    'X-Shop': 'shop 1',
    ...more,
  })

  const post = (path: string, body: string | Buffer, more: Record<string, string> = {}) =>
    send(sallyport.origin, 'POST', `/d/${destination}${path}`, headersOf(more), body)

  const seen = () => {
    expect(psp.seen.length).toBe(1)
    return psp.seen[0] as Seen
  }

  test('what arrives is what was signed, with the card in body, query and header', async () => {
    const reply = await post(
      `/pay?a=1&pan={{$card_number:${token}}}`,
      `{"number":"{{$card_number: ${token}}}"}`,
      { 'X-Shop': `{{$card_number: ${token}}}` },
    )

    expect([reply.status, reply.text]).toEqual([200, '{"ok":true}'])
    expect(seen().body.toString()).toBe(`{"number":"${VISA}"}`)
    expect([seen().url, seen().headers['x-shop']]).toEqual([`/pay?a=1&pan=${VISA}`, VISA])
    verify(seen())
  })

  test('without a card, without a body and as a GET, a request is signed', async () => {
    const path = `/d/${destination}/status?id=7`
    const replies = [
      await post('/pay', '{"a":1}'),
      await send(sallyport.origin, 'POST', `/d/${destination}/pay`, headersOf()),
      await send(sallyport.origin, 'GET', path, headersOf()),
    ]

    expect(replies.map(({ status }) => status)).toEqual([200, 200, 200])
    for (const each of psp.seen) verify(each)
  })

  test('a large body is held and signed as a whole', async () => {
    const noise = 'x'.repeat(600_000)
    const text = `["{{$card_number: ${token}}}","${noise}","{{$card_number: ${token}}}"]`
    const pieces = [text.slice(0, 400_000), text.slice(400_000)]

    const reply = await sendPieces(sallyport.origin, `/d/${destination}/pay`, headersOf(), pieces)

    expect(reply.status).toBe(200)
    expect(seen().body.equals(Buffer.from(`["${VISA}","${noise}","${VISA}"]`))).toBe(true)
    expect(seen().headers['content-length']).toBe(String(seen().body.length))
    verify(seen())
  })

  test('a large binary body is held and signed as a whole, unread', async () => {
    const body = Buffer.alloc(600_000, '{{$')

    const reply = await post('/upload', body, { 'Content-Type': 'image/png' })

    expect(reply.status).toBe(200)
    expect(seen().body.equals(body)).toBe(true)
    verify(seen())
  })

  test('a compressed body is signed as it goes out', async () => {
    const body = gzipSync(`["{{$card_number: ${token}}}"]`)

    const reply = await post('/pay', body, { 'Content-Encoding': 'gzip' })

    expect(reply.status).toBe(200)
    expect(seen().body.toString()).toBe(`["${VISA}"]`)
    verify(seen())
  })

  test('a request in an envelope is signed', async () => {
    const answer = await merchant.proxy('POST', '/proxy', {
      request_body: { number: `{{$card_number: ${token}}}` },
      destination_url: `${psp.origin}/pay?a=1`,
      method: 'POST',
      headers: { 'Content-Type': 'application/json', 'X-Shop': 'shop 1' },
    })

    expect(answer.status).toBe(200)
    verify(seen())
  })

  test("the caller's own signatures and digests are replaced", async () => {
    const reply = await post('/pay', `["{{$card_number: ${token}}}"]`, {
      Signature: 'psp=:AAAA:',
      'Signature-Input': 'psp=();created=1',
      'Content-Digest': 'sha-512=:AAAA:',
      Digest: 'SHA-256=AAAA',
      'X-Signature': 'v1=00',
      'X-Timestamp': '1',
      'X-Nonce': '1',
      'v-c-merchant-id': 'other',
      Date: 'Thu, 01 Jan 1970 00:00:00 GMT',
      Authorization: 'OAuth oauth_signature="AAAA"',
    })

    expect(reply.status).toBe(200)
    verify(seen())
  })

  test('the key is shown to nobody, and a replacement has to say it again', async () => {
    const shown = await merchant.policy('GET', `/v2/destinations/${destination}`)
    const listed = await merchant.policy('GET', '/v2/destinations')
    const { [key]: _, ...withoutKey } = signing
    const path = `/v2/destinations/${destination}`

    const missing = await merchant.policy('PUT', path, { ...settings(), signing: withoutKey })
    const unchanged = await post('/pay', '{}')
    const again = await merchant.policy('PUT', path, { ...settings(), signing })
    const after = await post('/pay', '{}')

    const inner = String(signing[key]).split('\n')[1] ?? String(signing[key])
    for (const text of [shown.text, listed.text, again.text]) {
      expect(text).not.toContain(inner)
      expect(text).not.toContain(JSON.stringify(signing[key]).slice(1, -1))
    }
    expect(shown.body.signing).toMatchObject(withoutKey)
    expect(shown.body.signing).not.toHaveProperty(key)
    expect([missing.status, missing.body.error.reason]).toEqual([400, 'missing_field'])
    expect([unchanged.status, again.status, after.status]).toEqual([200, 200, 200])
    for (const each of psp.seen) verify(each)
  })

  test('replaced without signing, nothing is signed any more', async () => {
    const path = `/v2/destinations/${destination}`

    await merchant.policy('PUT', path, settings())
    await post('/pay', '{}')

    for (const header of ['Signature', 'X-Signature', 'Authorization', 'Digest']) {
      expect(seen().headers[header.toLowerCase()]).toBeUndefined()
    }
  })
})

test.each([
  ['hmac', RECIPES[0]],
  ['http_message_signatures', RECIPES[2]],
] as const)(
  '%s: a signed header that is missing refuses before anything is revealed, with a card or without',
  async (name, recipe) => {
    await using psp = await startUpstream()
    const destination = `missing-${name.replaceAll('_', '-')}`
    await merchant.createDestination({
      name: destination,
      origin: psp.origin,
      allow: [{ methods: ['POST'], path: '/*', fields: ['card_number'] }],
      signing: recipe?.signing,
    })
    const headers = { 'Sallyport-Key': merchant.proxyKey }
    const path = `/d/${destination}/pay`

    const replies = [
      await send(sallyport.origin, 'POST', path, headers, `{{$card_number: ${token}}}`),
      await send(sallyport.origin, 'POST', path, headers, '{}'),
    ]

    for (const reply of replies) {
      expectRefusal(reply, 'missing_field')
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
    }
    expect([psp.seen.length, psp.connections]).toEqual([0, 0])
  },
)
