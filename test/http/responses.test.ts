// What every answer of ours has, whatever was asked: it may not be cached, it names the request, and an error has
// the one envelope. Also what is not HTTP, and what is too much of it.

import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startSallyport, type TestMerchant, type TestSallyport } from '../support/sallyport.ts'

let sallyport: TestSallyport
let merchant: TestMerchant

beforeAll(async () => {
  sallyport = await startSallyport()
  merchant = await sallyport.createMerchant()
})

afterAll(() => sallyport[Symbol.asyncDispose]())

type RawAnswer = { status: number; headers: Headers; body: string }

/** The first answer to bytes as they are; the connection is given up after it. */
async function send(text: string): Promise<RawAnswer> {
  const received = await new Promise<string>((resolve) => {
    const socket = connect(sallyport.installation.address.port, '127.0.0.1', () => {
      socket.write(text)
    })
    let all = ''
    socket.setTimeout(10_000, () => socket.destroy())
    socket.on('data', (chunk) => {
      all += chunk.toString('latin1')
      if (isWhole(all)) socket.destroy()
    })
    socket.on('error', () => {})
    socket.on('close', () => resolve(all))
  })
  const [head = '', body = ''] = received.split('\r\n\r\n', 2)
  const [first = '', ...lines] = head.split('\r\n')
  const pairs = lines.map((line) => line.split(/: */, 2) as [string, string])
  return { status: Number(first.split(' ')[1]), headers: new Headers(pairs), body }
}

function isWhole(text: string): boolean {
  const length = /\r\ncontent-length: *([0-9]+)\r\n/i.exec(text)?.[1]
  const start = text.indexOf('\r\n\r\n')
  return length !== undefined && start !== -1 && text.length >= start + 4 + Number(length)
}

const get = (path: string, headers = '') =>
  `GET ${path} HTTP/1.1\r\nHost: x\r\nSallyport-Key: ${merchant.vaultKey}\r\n${headers}\r\n`

const key = () => `Sallyport-Key: ${merchant.vaultKey}\r\n`

describe('an answer', () => {
  const requests: [what: string, method: string, path: string, body?: unknown][] = [
    ['that is good', 'GET', '/v2/customers/list'],
    ['that made something', 'POST', '/v2/customers', {}],
    ['of the document', 'GET', '/openapi.json'],
    ['to bad input', 'POST', '/v2/customers', { nope: 1 }],
    ['to malformed JSON', 'POST', '/v2/customers', '{'],
    ['to malformed JSON with a card', 'POST', '/v2/payment-methods', '{'],
    ['to a body that is too large', 'POST', '/v2/customers', `"${'x'.repeat(300_000)}"`],
    ['about what is not there', 'GET', '/v2/customers/x'],
    ['about an unknown path', 'GET', '/nope'],
    ['about a wrong method', 'PATCH', '/v2/customers/x', {}],
    ['to a key without the scope', 'GET', '/v2/destinations'],
    ['of the envelope', 'POST', '/v2/proxy', {}],
    ['of the proxy', 'POST', '/d/nobody/x', {}],
    ['of the proxy by origin', 'POST', '/forward/x', {}],
    ['about a path with a broken escape', 'GET', '/v2/customers/%zz'],
    ['about a path that is too long', 'GET', `/v2/customers/${'x'.repeat(300)}`],
  ]

  test.each(requests)(
    '%s may not be stored and names the request',
    async (_, method, path, body) => {
      const answer = await merchant.vault(method, path, body)

      expect(answer.headers.get('cache-control')).toBe('no-store')
      expect(answer.headers.get('sallyport-request-id')).toMatch(/^req_[0-9a-f]{32}$/)
      expect(answer.headers.get('content-type')).toBe('application/json; charset=utf-8')
      expect(answer.headers.get('x-powered-by')).toBeNull()
      if (answer.status < 400) return
      const { error, ...others } = answer.body
      expect(others).toEqual({})
      expect(error).toMatchObject({
        type: expect.any(String),
        code: expect.stringMatching(/^[A-Z]{2}_[0-9]{2}$/),
        reason: expect.stringMatching(/^[a-z_]+$/),
        message: expect.any(String),
        request_id: answer.headers.get('sallyport-request-id'),
      })
    },
  )

  test('has a request id of our own making', async () => {
    const wanted = 'req_00000000000000000000000000000000'

    const answer = await merchant.vault('GET', '/v2/customers/list', undefined, {
      'request-id': wanted,
      'x-request-id': wanted,
      'sallyport-request-id': wanted,
    })

    expect(answer.headers.get('sallyport-request-id')).not.toBe(wanted)
  })
})

describe('a path', () => {
  test.each([
    '/',
    '/v2',
    '/v3/customers',
    '/v2/customers//x/y',
    '/V2/customers',
    '/forward',
    '/d',
    '/d/Upper/x',
    '/proxy/x',
    '/proxy?x=1',
    '/metrics',
    '/health/live',
    '/favicon.ico',
    '/__proto__',
    '/v2/nope?card=1',
  ])('that is unknown is told so: %s', async (path) => {
    for (const method of ['GET', 'POST', 'DELETE']) {
      const { status, body } = await merchant.vault(method, path)
      expect([method, status, body.error.reason, body.error.code]).toEqual([
        method,
        404,
        'not_found',
        'IR_02',
      ])
    }
  })

  test.each([
    ['PATCH', '/v2/customers'],
    ['DELETE', '/v1/payment-methods'],
    ['PUT', '/v2/payment-methods/x'],
    ['POST', '/v2/customers/x'],
    ['POST', '/v2/customers/list'],
    ['POST', '/openapi.json'],
    ['OPTIONS', '/v2/destinations'],
    ['PUT', '/v2/proxy'],
    ['GET', '/proxy'],
    ['GET', '/v2/payment-methods'],
  ])('that is known does not take another method: %s %s', async (method, path) => {
    const { status, body } = await merchant.vault(method, path)

    expect([status, body.error.reason, body.error.code]).toEqual([
      405,
      'method_not_allowed',
      'IR_03',
    ])
  })

  test('that is unknown does not repeat what was sent to it', async () => {
    const answer = await merchant.vault('POST', '/v2/nope', '{"card":4242424242424242')

    expect(answer.status).toBeGreaterThanOrEqual(400)
    expect(answer.text).not.toContain('42424242')
  })

  test('a method is not overridden by a header', async () => {
    const id = await merchant.createCustomer()
    const headers = { 'x-http-method-override': 'DELETE', 'x-method-override': 'DELETE' }

    expect((await merchant.vault('GET', `/v2/customers/${id}`, undefined, headers)).status).toBe(
      200,
    )
    expect((await merchant.vault('GET', `/v2/customers/${id}`)).status).toBe(200)
  })

  test('forwarding headers do not change which path or host is meant', async () => {
    const headers = {
      'x-forwarded-host': 'evil.test',
      'x-original-url': '/v2/nope',
      'x-rewrite-url': '/v2/nope',
      'x-forwarded-prefix': '/x',
      'x-forwarded-proto': 'https',
    }

    const answer = await merchant.vault('GET', '/v2/customers/list', undefined, headers)

    expect(answer.status).toBe(200)
    expect(answer.text).not.toContain('evil')
  })
})

const TOO_MUCH: readonly (readonly [what: string, request: () => string])[] = [
  ['with a header of 20 KB', () => get('/openapi.json', `X: ${'x'.repeat(20_000)}\r\n`)],
  [
    'with many headers of 20 KB together',
    () => get('/openapi.json', `X: ${'x'.repeat(300)}\r\n`.repeat(70)),
  ],
  ['with 250 headers', () => get('/openapi.json', 'X: 1\r\n'.repeat(250))],
  ['with a path of 20 KB', () => get(`/${'x'.repeat(20_000)}`)],
]

const NO_HTTP: readonly (readonly [what: string, request: () => string])[] = [
  ['that is no HTTP', () => 'card 4242424242424242\r\n\r\n'],
  ['with a bare line feed in a header', () => get('/', 'X: a\nY: b\r\n')],
  ['with a blank before the colon', () => get('/', 'X : a\r\n')],
  ['with a folded line', () => get('/', 'X: a\r\n b\r\n')],
  ['with a NUL', () => get('/', 'X: a\0b\r\n')],
  ['with two lengths', () => get('/', 'Content-Length: 1\r\nContent-Length: 2\r\n')],
  [
    'with length and chunks',
    () =>
      `POST /v2/customers HTTP/1.1\r\nHost: x\r\n${key()}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  ],
  ['of another version', () => `GET / HTTP/3.0\r\nHost: x\r\n\r\n`],
  ['of HTTP/2', () => 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
]

describe('a head', () => {
  test.each(TOO_MUCH)('%s is answered 431', async (_, request) => {
    const answer = await send(request())

    expect(answer.status).toBe(431)
    expect(JSON.parse(answer.body).error.reason).toBe('malformed_body')
    expect(answer.headers.get('connection')).toBe('close')
  })

  test.each(NO_HTTP)(
    '%s is answered 400 in our envelope, and the connection ends',
    async (_, request) => {
      const answer = await send(request())

      expect(answer.status).toBe(400)
      const { error } = JSON.parse(answer.body)
      expect(error).toMatchObject({
        type: 'invalid_request',
        code: 'IR_06',
        reason: 'malformed_body',
      })
      expect(answer.body).not.toMatch(/[0-9]{6}/)
      expect(answer.headers.get('connection')).toBe('close')
    },
  )

  test.each([
    ['with another transfer coding', 'gzip, chunked', 400],
    ['with an identity transfer coding', 'identity, chunked', 400],
  ])('%s is refused', async (_, coding, status) => {
    const answer = await send(
      `POST /v2/customers HTTP/1.1\r\nHost: x\r\n${key()}Content-Type: application/json\r\nTransfer-Encoding: ${coding}\r\n\r\n2\r\n{}\r\n0\r\n\r\n`,
    )

    expect(answer.status).toBe(status)
    expect(JSON.parse(answer.body).error.reason).toBe('malformed_body')
  })

  test('without a host, or that expects what there is not, is refused', async () => {
    expect((await send('GET /openapi.json HTTP/1.1\r\n\r\n')).status).toBe(400)
    expect((await send(get('/openapi.json', 'Expect: miracles\r\n'))).status).toBe(417)
  })

  test('that is refused before it is read has an answer that may not be stored either', async () => {
    const requests = [
      ...[...TOO_MUCH, ...NO_HTTP].map(([what, request]) => [what, request()] as const),
      ['without a host', 'GET /openapi.json HTTP/1.1\r\n\r\n'] as const,
      ['with an expectation', get('/openapi.json', 'Expect: miracles\r\n')] as const,
    ]

    const answers = await Promise.all(requests.map(([, request]) => send(request)))

    const stored = requests.filter(
      (_, index) => answers[index]?.headers.get('cache-control') !== 'no-store',
    )
    expect(stored.map(([what]) => what)).toEqual([])
  })

  test('that wants to become a tunnel or a socket does not', async () => {
    const upgrade = await send(
      get('/v2/customers/list', 'Connection: Upgrade\r\nUpgrade: websocket\r\n'),
    )
    expect(upgrade.status).toBe(200)

    const tunnel = await send('CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n')
    expect(tunnel.status).not.toBe(200)
  })
})

test('one address holds so many connections and no more', async () => {
  await using few = await startSallyport({ connections_per_address: 3 })
  const open = () => {
    const socket = connect(few.installation.address.port, '127.0.0.1')
    socket.on('error', () => {})
    return socket
  }
  const held = [open(), open(), open()]
  await Promise.all(held.map((socket) => new Promise((done) => socket.once('connect', done))))

  await new Promise((done) => open().once('close', done))

  held[0]?.destroy()
  await expect
    .poll(
      () =>
        fetch(`${few.origin}/openapi.json`).then(
          ({ status }) => status,
          () => 0,
        ),
      {
        timeout: 20_000,
      },
    )
    .toBe(200)
  for (const socket of held) socket.destroy()
})
