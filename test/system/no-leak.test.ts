// Nothing leaks: a real process with everything switched on that prints, many cards through every way there is, good
// and bad; then all that the run wrote and answered is searched for every number, code, key and secret that went in.
//
// Where the caller is meant to see it once (the answer that makes an API key), that answer is left out.

import { randomInt } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { createServer } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { passesLuhn } from '../../src/core/card-number.ts'
import { freePort } from '../support/ports.ts'
import { type PspSimulator, startPspSimulator } from '../support/psp-simulator.ts'
import { randomCard, withoutIds } from '../vault/cards.ts'
import { run, serve } from './process.ts'

const ADMIN_KEY = 'no-leak-admin-key-0123456789-abcdefghij'
const PSP_SECRET = `sk_live_no_leak_${randomInt(2 ** 40).toString(36)}_secret`
const CARDS = 60

type Card = { number: string; cvc: string }

/** Name and bytes of everything that was written or answered. */
const written: [name: string, bytes: Buffer][] = []
const cards: Card[] = []
const keys = new Map<string, string>([['the admin key', ADMIN_KEY]])
let received: PspSimulator['received'] = []
let answered = 0

beforeAll(async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-no-leak-'))
  await using psp = await startPspSimulator({ apiKey: PSP_SECRET })
  received = psp.received
  await using disposal = new AsyncDisposableStack()

  // Takes anything and says nothing of it: for places that the simulator would show in its answer.
  const sink = createServer((request, response) => {
    request.resume().on('end', () => response.end('ok'))
  }).listen(0, '127.0.0.1')
  const breaking = createTcpServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => socket.destroy())
  }).listen(0, '127.0.0.1')
  disposal.defer(() => {
    sink.close()
    breaking.close()
  })
  await Promise.all(
    [sink, breaking].map((server) => new Promise((done) => server.once('listening', done))),
  )
  const originOf = (server: { address(): unknown }) =>
    `http://127.0.0.1:${(server.address() as AddressInfo).port}`

  const served = await serve(join(folder, 'data'), {
    SALLYPORT_ADMIN_API_KEY: ADMIN_KEY,
    SALLYPORT_LOG_LEVEL: 'trace',
    NODE_DEBUG: 'http,https,net,tls,stream',
    NODE_OPTIONS: '--trace-warnings --trace-uncaught --trace-deprecation',
  })
  disposal.use(served)

  async function call(
    key: string,
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ) {
    const response = await fetch(served.origin + path, {
      method,
      headers: {
        'sallyport-key': key,
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined
        ? {}
        : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    })
    const text = await response.text()
    const isKey = method === 'POST' && path === '/v2/api-keys'
    if (!isKey) {
      answered += 1
      const head = JSON.stringify([...response.headers])
      const name = `answer to ${method} ${path.replaceAll(/\d{4,}/g, '#')}`
      written.push([name, Buffer.from(`${head}\n${text}`)])
    }
    try {
      return { status: response.status, body: JSON.parse(text) as any }
    } catch {
      return { status: response.status, body: text as any }
    }
  }

  const merchant = (await call(ADMIN_KEY, 'POST', '/v2/merchant-accounts', { merchant_name: 'M' }))
    .body.id
  const newKey = async (name: string, ...scopes: string[]) => {
    const body = { merchant_id: merchant, name, scopes }
    const key = (await call(ADMIN_KEY, 'POST', '/v2/api-keys', body)).body.api_key as string
    keys.set(`the ${name} key`, key)
    return key
  }
  const vault = await newKey('vault', 'vault:read', 'vault:write')
  const proxy = await newKey('proxy', 'proxy:invoke')
  const policy = await newKey('policy', 'policy:write')

  const everywhere = ['body', 'header:x-pan', 'query:pan', 'path']
  const nobody = await freePort()
  const destinations = [
    ['psp', psp.origin, '/payments', ['body']],
    ['stripe', `http://localhost:${psp.port}`, '/v1/*', ['body']],
    ['sink', originOf(sink), '/*', everywhere],
    ['breaking', originOf(breaking), '/*', everywhere],
    ['nobody', `http://127.0.0.1:${nobody}`, '/*', everywhere],
  ] as const
  for (const [name, origin, path, at] of destinations) {
    const { status } = await call(policy, 'POST', '/v2/destinations', {
      name,
      origin,
      inject_headers: { Authorization: `Bearer ${PSP_SECRET}` },
      allow: [
        {
          methods: ['POST', 'GET'],
          path,
          fields: [
            { field: 'card_number', at },
            { field: 'card_cvc', at: ['body'] },
            'card_exp_month',
            'card_exp_year',
          ],
        },
        { methods: ['POST'], path: '/echo' },
      ],
    })
    expect([name, status]).toEqual([name, 201])
  }
  for (const path of ['/v2/destinations', '/v2/destinations/psp']) await call(policy, 'GET', path)
  await call(policy, 'POST', '/v2/destinations', {
    name: 'bad',
    origin: 'https://x.test',
    inject_headers: { Authorization: `Bearer ${PSP_SECRET}\n` },
  })

  const customer = (await call(vault, 'POST', '/v2/customers', { name: 'N' })).body.id
  const cardBody = (card: object, more: object = {}) => ({
    customer_id: customer,
    payment_method_type: 'card',
    payment_method_data: {
      card: { card_exp_month: '03', card_exp_year: '2035', card_holder_name: 'A B', ...card },
    },
    ...more,
  })
  const create = (body: unknown, version = '/v2') =>
    call(vault, 'POST', `${version}/payment-methods`, body)

  async function oneCard(index: number): Promise<void> {
    const number = index === 0 ? '4000000000000002' : randomCard(index % 2 ? '424242' : '555555')
    const cvc = String(randomInt(1000, 9999))
    cards.push({ number, cvc })
    const card = { card_number: number, card_cvc: cvc }

    await badInput(index, number, cvc)

    const created = await create(cardBody(card), index % 3 === 0 ? '/v1' : '/v2')
    expect(created.status).toBe(201)
    const { id } = created.body
    await create(cardBody({ ...card, card_number: number.replaceAll(/(.{4})/g, '$1 ') }))
    await call(vault, 'GET', `/v2/payment-methods/${id}`)
    await call(vault, 'PUT', `/v2/payment-methods/${id}/update-saved-payment-method`, {
      payment_method_data: { card: { nick_name: 'n', card_cvc: cvc } },
    })
    const token = await call(vault, 'POST', '/v2/tokenize', { token_request: { n: [number, cvc] } })
    expect(token.status).toBe(201)
    await charges(index, id)
    if (index % 5 === 0) await call(vault, 'DELETE', `/v2/payment-methods/${id}`)
  }

  async function badInput(index: number, number: string, cvc: string): Promise<void> {
    const card = { card_number: number, card_cvc: cvc }
    const json = JSON.stringify(cardBody(card))
    const wrong = number.slice(0, -1) + ((Number(number.at(-1)) + 1) % 10)
    const bodies: (() => Promise<unknown>)[] = [
      () => create(json.slice(0, randomInt(json.length))),
      () => create(json.replace(number, `${number}x`)),
      () => create(json.replace(`"${number}"`, number)),
      () => create(json.replace(`"${number}"`, `["${number}"]`)),
      () => create(cardBody({ ...card, card_cvc: number })),
      () => create(cardBody({ ...card, card_exp_year: '2001' })),
      () => create(cardBody({ ...card, card_number: wrong })),
      () => create(cardBody({ ...card, [`x${number}`]: 1 })),
      () => create(cardBody(card, { [number]: number })),
      () => create(cardBody(card, { metadata: { filler: number.repeat(5000) } })),
      () => call(vault, 'POST', '/v2/payment-methods', json, { 'content-type': 'text/plain' }),
      () => call(vault, 'POST', '/v2/payment-methods', json, { 'content-type': `x/${number}` }),
      () => call(vault, 'POST', '/v2/payment-methods', json, { 'content-encoding': 'gzip' }),
      () => call(`${number}`, 'POST', '/v2/payment-methods', json),
      () => call(proxy, 'POST', '/v2/payment-methods', json),
      () => call(vault, 'POST', '/v2/tokenize', `{"token_request":{"n":"${number}"`),
      () => call(vault, 'POST', '/v2/tokenize', { token_request: number, ttl_s: number }),
      () => call(vault, 'POST', '/v2/customers', { name: 'x', [number]: 1 }),
      () => call(vault, 'POST', '/v2/customers', `{"metadata":${number}`),
      () => call(vault, 'POST', `/v2/${number}`, json),
      () => call(vault, 'GET', `/v2/payment-methods/${number}`),
      () => call(vault, 'GET', `/v2/payment-methods/local_pm_${number}${'0'.repeat(16)}`),
      () => call(vault, 'GET', `/v2/customers/list?limit=${number}`),
      () => call(vault, 'GET', `/v2/customers/list?${number}=1`),
      () => call(vault, 'GET', `/v2/customers/reference/${number}`),
      () => call(vault, 'GET', '/v2/customers/list', undefined, { 'x-profile-id': number }),
      () => call(vault, 'GET', `/v2/payment-methods/${number}%zz`),
      () => call(vault, 'GET', `/v2/payment-methods/${number.repeat(20)}`),
      () => call(policy, 'GET', `/v2/destinations/${number}`),
      () => call(policy, 'DELETE', '/v2/destinations/psp', undefined, { 'x-profile-id': number }),
      () => call(vault, 'DELETE', `/v2/payment-methods/local_pm_${number}${'0'.repeat(16)}`),
      () => call(ADMIN_KEY, 'DELETE', `/v2/api-keys/${number}`),
      () => call(ADMIN_KEY, 'PUT', `/v2/merchant-accounts/${number}`, { merchant_name: 'x' }),
      () => call(ADMIN_KEY, 'DELETE', `/v2/profiles/${number}?merchant_id=${merchant}`),
      () => call(proxy, 'POST', `/d/${number}/x`, {}),
      () => call(proxy, 'POST', '/d/psp/payments', { n: `{{$card_number: ${number}}}` }),
      () => call(proxy, 'POST', '/d/psp/payments', { n: `{{$${number}: x}}` }),
      () => call(proxy, 'POST', '/v2/proxy', `{"request_body":${number}`),
      () => call(proxy, 'POST', '/v2/proxy', { destination_url: `https://${number}.test/` }),
      () => call(proxy, 'POST', '/forward/x', {}, { 'sallyport-destination': number }),
      () => call(proxy, 'POST', '/d/psp/payments', {}, { 'sallyport-token': number }),
      () => call(proxy, 'POST', '/d/psp/payments', {}, { [`sallyport-${number}`]: '1' }),
    ]
    // Every card meets a part of them, and all of them meet some card.
    await Promise.all(bodies.filter((_, at) => (at + index) % 3 === 0).map((send) => send()))
  }

  async function charges(index: number, id: string): Promise<void> {
    const number = `{{$card_number: ${id}}}`
    const source = {
      type: 'card',
      number,
      expiry_month: `{{$card_exp_month: ${id}}}`,
      expiry_year: `{{$card_exp_year: ${id}}}`,
      cvv: `{{$card_cvc: ${id}}}`,
    }
    const charge = { source, amount: 100, currency: 'USD' }
    const paid = await call(proxy, 'POST', '/d/psp/payments', charge)
    expect([paid.status, paid.body.approved]).toEqual([201, index !== 0])
    const { cvv: _, ...withoutCvc } = source
    const again = { ...charge, source: withoutCvc }
    const json = { 'content-type': 'application/json' }
    const body = { number }
    await Promise.all([
      call(proxy, 'POST', '/d/psp/payments', charge), // its code is spent
      call(proxy, 'POST', '/v2/proxy', {
        destination_url: `${psp.origin}/payments`,
        method: 'POST',
        headers: json,
        request_body: again,
      }),
      call(proxy, 'POST', '/forward/payments', again, { 'sallyport-destination': psp.origin }),
      call(proxy, 'POST', '/d/psp/echo', body), // not allowed there
      call(proxy, 'POST', '/d/psp/payments', { ...again, reference: number, amount: -1 }),
      call(proxy, 'POST', '/d/sink/x', body, { 'x-pan': number }),
      call(proxy, 'POST', `/d/sink/x/${encodeURIComponent(number)}`, body),
      call(proxy, 'GET', `/d/sink/x?pan=${encodeURIComponent(number)}`),
      call(proxy, 'POST', '/d/breaking/x', body, { 'x-pan': number }),
      call(proxy, 'POST', `/d/nobody/x?pan=${encodeURIComponent(number)}`, body),
      call(proxy, 'POST', '/d/stripe/v1/tokens', `card[number]=${encodeURIComponent(number)}`, {
        'content-type': 'application/x-www-form-urlencoded',
      }),
    ])
  }

  await oneCard(0)
  const waiting = Array.from({ length: CARDS - 1 }, (_, index) => index + 1)
  await Promise.all(
    Array.from({ length: 4 }, async () => {
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
        await oneCard(next)
      }
    }),
  )
  await call(vault, 'GET', `/v2/customers/${customer}/saved-payment-methods`)
  const metrics = await fetch(`${served.opsOrigin}/metrics`)
  written.push(['metrics', Buffer.from(await metrics.text())])
  const copied = (name: string) =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .map((path) => join(folder, path))
      .filter((path) => statSync(path).isFile())
      .map((path) => [`${name} ${path.slice(folder.length)}`, readFileSync(path)] as const)
  for (const [name, bytes] of copied('running:')) written.push([name, bytes])

  const { code, stdout, stderr } = await served.stop()
  expect(code).toBe(0)
  written.push(['stdout', Buffer.from(stdout, 'latin1')])
  written.push(['stderr', Buffer.from(stderr, 'latin1')])
  for (const [name, bytes] of copied('stopped:')) written.push([name, bytes])
  rmSync(folder, { recursive: true, force: true })
}, 120_000)

afterAll(() => {
  written.length = 0
})

/** Where any of the texts stands; never the text itself, which would be a leak of its own. */
function search(texts: readonly (readonly [what: string, text: string])[]): string[] {
  const found = new Set<string>()
  for (const [name, bytes] of written) {
    for (const [what, text] of texts) {
      if (bytes.includes(text, 'latin1')) found.add(`${what} in ${name}`)
    }
  }
  return [...found].sort()
}

/** All that a text can look like in base64, wherever in the encoded bytes it begins. */
function base64Of(text: string): string[] {
  return [0, 1, 2].map((shift) => {
    const encoded = Buffer.from(' '.repeat(shift) + text).toString('base64')
    // First and last groups depend on what stands beside it.
    return encoded.slice(shift === 0 ? 0 : 4, -4)
  })
}

describe('after the run', () => {
  test('all of it has been looked at', () => {
    const names = written.map(([name]) => name)

    expect(answered).toBeGreaterThan(CARDS * 20)
    for (const part of ['stdout', 'stderr', 'audit.jsonl', 'sallyport.mdb', 'metrics']) {
      expect([part, names.some((name) => name.includes(part))]).toEqual([part, true])
    }
    // The debug output of Node was really on, and the cards really went through.
    const stderr = written.find(([name]) => name === 'stderr')?.[1]
    expect(stderr?.length).toBeGreaterThan(10_000)
    const charged = new Set(received.map(({ cardNumber }) => cardNumber))
    expect(cards.filter(({ number }) => !charged.has(number))).toEqual([])
  })

  test('no card number was written or answered', () => {
    const texts = cards.flatMap(({ number }) => [
      ['a number', number] as const,
      ['a spaced number', number.replaceAll(/(.{4})(?!$)/g, '$1 ')] as const,
      ['a dashed number', number.replaceAll(/(.{4})(?!$)/g, '$1-')] as const,
      ['the hex of a number', Buffer.from(number).toString('hex')] as const,
      // The inside of a number of zeros stands in many places, and says nothing.
      [
        'the inside of a number',
        number.replaceAll('0', '').length < 4 ? number : number.slice(4, 14),
      ] as const,
      ...base64Of(number).map((text) => ['the base64 of a number', text] as const),
    ])

    expect(search(texts)).toEqual([])
  })

  test('no card verification code was written or answered as one', () => {
    const codes = new Map(cards.map(({ cvc }) => [cvc, cvc]))
    const found: string[] = []
    for (const [name, bytes] of written) {
      const inContext = /(cvc|cvv|cvn|cid|code|security)[^0-9a-z]{1,12}([0-9]{4})(?![0-9])/gi
      for (const [, , digits = ''] of bytes.toString('latin1').matchAll(inContext)) {
        if (codes.has(digits)) found.push(`a code in ${name}`)
      }
    }

    expect(found).toEqual([])
  })

  test('no API key and no secret of a PSP was written or answered', () => {
    const texts = [...keys, ['the secret of the PSP', PSP_SECRET] as const].flatMap(
      ([what, text]) => [
        [what, text] as const,
        [`the hex of ${what}`, Buffer.from(text).toString('hex')] as const,
        ...base64Of(text).map((encoded) => [`the base64 of ${what}`, encoded] as const),
      ],
    )

    expect(search(texts)).toEqual([])
  })

  test('nothing that could be a card of theirs was written or answered', () => {
    const found = new Set<string>()
    for (const [name, bytes] of written) {
      // Ids are made of hex digits of the time: in some minutes most of them are decimal.
      const text = withoutIds(bytes.toString('latin1'))
      for (const match of text.matchAll(/(?:[0-9][ .-]?){13,}/g)) {
        const digits = match[0].replaceAll(/[^0-9]/g, '')
        for (let at = digits.search(/4242|5555/); at !== -1 && at < digits.length; at++) {
          if (!/^(4242|5555)/.test(digits.slice(at))) continue
          for (let length = 13; length <= 19 && at + length <= digits.length; length++) {
            if (passesLuhn(Buffer.from(digits.slice(at, at + length)))) found.add(name)
          }
        }
      }
    }

    expect([...found]).toEqual([])
  })
})

test.each(['undici', 'stream,net'])(
  'the debug output of Node (%s) is not to be had with cards in it',
  async (debugged) => {
    const folder = mkdtempSync(join(tmpdir(), 'sallyport-no-leak-'))
    await using psp = await startPspSimulator()
    const command = run(['serve'], {
      SALLYPORT_DATA_DIR: join(folder, 'data'),
      SALLYPORT_HOST: '127.0.0.1',
      SALLYPORT_PORT: String(await freePort()),
      SALLYPORT_OPS_PORT: '0',
      SALLYPORT_EGRESS_ALLOW_HTTP: 'true',
      SALLYPORT_EGRESS_ALLOW_PRIVATE: '127.0.0.0/8',
      SALLYPORT_ADMIN_API_KEY: ADMIN_KEY,
      NODE_DEBUG: debugged,
    })
    const number = randomCard()
    // A start that is refused keeps the promise as well.
    const started = await new Promise<string | undefined>((resolve) => {
      command.child.stdout?.on('data', () => {
        const line = command
          .output()
          .stdout.split('\n')
          .find((each) => each.includes('"started"'))
        if (line?.endsWith('}')) resolve(JSON.parse(line).api)
      })
      void command.ended.then(() => resolve(undefined))
    })
    if (started !== undefined) {
      await chargeInQuery(started, psp.origin, number)
      expect(psp.received.at(-1)?.url).toContain(number)
      command.child.kill('SIGTERM')
    }

    const { stdout, stderr } = await command.ended

    expect((stdout + stderr).includes(number)).toBe(false)
    rmSync(folder, { recursive: true, force: true })
  },
)

/** A card whose number stands in the query of a request. */
async function chargeInQuery(origin: string, psp: string, number: string): Promise<void> {
  const post = async (key: string, path: string, body: unknown) => {
    const response = await fetch(origin + path, {
      method: 'POST',
      headers: { 'sallyport-key': key, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    return (await response.json()) as any
  }
  const { id } = await post(ADMIN_KEY, '/v2/merchant-accounts', { merchant_name: 'M' })
  const newKey = async (scope: string) =>
    (await post(ADMIN_KEY, '/v2/api-keys', { merchant_id: id, name: 'k', scopes: [scope] })).api_key
  await post(await newKey('policy:write'), '/v2/destinations', {
    name: 'psp',
    origin: psp,
    allow: [
      {
        methods: ['POST'],
        path: '/status/*',
        fields: [{ field: 'card_number', at: ['query:pan'] }],
      },
    ],
  })
  const card = { card_number: number, card_exp_month: '03', card_exp_year: '2035' }
  const method = await post(await newKey('vault:write'), '/v2/payment-methods', {
    payment_method_type: 'card',
    payment_method_data: { card },
  })
  const pan = encodeURIComponent(`{{$card_number: ${method.id}}}`)
  await fetch(`${origin}/d/psp/status/204?pan=${pan}`, {
    method: 'POST',
    headers: { 'sallyport-key': await newKey('proxy:invoke') },
  })
}
