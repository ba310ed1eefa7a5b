// Destinations through the front door: made, shown without their secrets, replaced whole, deleted; and everything
// that is refused, by name.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { makeCertificate } from '../proxy/certificates.ts'
import {
  type Answer,
  startSallyport,
  type TestMerchant,
  type TestSallyport,
} from '../support/sallyport.ts'

let sallyport: TestSallyport
let merchant: TestMerchant

beforeAll(async () => {
  // As in production: TLS only, no private addresses.
  sallyport = await startSallyport({ egress: {} })
})

afterAll(() => sallyport[Symbol.asyncDispose]())

beforeEach(async () => {
  merchant = await sallyport.createMerchant()
})

const PATH = '/v2/destinations'
const SIGNING_KEY = 'whsec_0123456789'
const SECRET = 'Bearer sk_live_0123456789'
const CERTIFICATE = `-----BEGIN CERTIFICATE-----\n${'QUJD'.repeat(20)}\n-----END CERTIFICATE-----\n`

const client = makeCertificate('client', {})

const full = {
  name: 'checkout',
  origin: 'https://api.sandbox.checkout.com',
  allow: [
    {
      methods: ['POST', 'GET'],
      path: '/payments*',
      fields: [
        {
          field: 'card_number',
          at: ['body:/source/number', 'header:X-Pan', 'query:pan', 'path', 'basic'],
        },
        '$.account.iban',
        'card_exp_month',
        { field: 'card_cvc', at: ['body'] },
      ],
    },
    { methods: ['DELETE'], path: '/x' },
  ],
  inject_headers: { Authorization: SECRET, 'X-Api-Version': '2' },
  ca_pem: CERTIFICATE,
  timeouts: { connect_ms: 1, headers_ms: 600_000, body_ms: 2, total_ms: 3 },
  limits: { body_bytes: 0, response_bytes: 1, buffer_bytes: 2, connections: 1, queue: 0 },
  require_placeholder: true,
  client_certificate: { cert_pem: client.cert, key_pem: client.key },
  pin_sha256: [`${'A'.repeat(43)}=`],
  idempotency_header: 'Cko-Idempotency-Key',
  idempotent: true,
  breaker: { failures: 3, open_ms: 1000 },
  response: {
    leak_guard: 'block',
    redact: ['$.card.number'],
    capture: [{ path: '$.source.id', as: 'psp_token' }],
    declined: [{ path: '$.approved', values: ['false'] }],
  },
  connector: 'checkout',
  signing: {
    recipe: 'hmac',
    algorithm: 'sha256',
    encoding: 'hex',
    key: SIGNING_KEY,
    key_encoding: 'utf8',
    template: '{method}{path}{body}',
    headers: { 'X-Signature': '{signature}' },
  },
}

const post = (body: unknown, headers?: Record<string, string>) =>
  merchant.policy('POST', PATH, body, headers)

function expectRefused(answer: Answer, status: number, reason: string, field?: string): void {
  expect([answer.status, answer.body.error?.reason, answer.body.error?.details?.field]).toEqual([
    status,
    reason,
    field,
  ])
}

describe('a destination', () => {
  test('is made and shown with everything but its secrets', async () => {
    const { inject_headers, signing, client_certificate, ...shown } = full
    const { key, ...shownSigning } = signing

    const made = await post(full)

    expect(made.status).toBe(201)
    expect(made.body).toEqual({
      ...shown,
      allow: [shown.allow[0], { ...shown.allow[1], fields: [] }],
      client_certificate: { cert_pem: client_certificate.cert_pem },
      inject_header_names: Object.keys(inject_headers),
      signing: shownSigning,
      profile_id: expect.stringMatching(/^pro_/),
      status: 'active',
    })
    const one = await merchant.policy('GET', `${PATH}/checkout`)
    const all = await merchant.policy('GET', PATH)
    expect(one.body).toEqual(made.body)
    expect(all.body).toEqual([made.body])
    for (const answer of [made, one, all]) {
      expect(answer.text).not.toContain('sk_live')
      expect(answer.text).not.toContain(key)
      expect(answer.text).not.toContain('PRIVATE KEY')
    }
  })

  test('has defaults that allow nothing', async () => {
    const { body } = await post({ name: 'psp', origin: 'https://api.psp.test' })

    expect(body).toMatchObject({
      allow: [],
      inject_header_names: [],
      require_placeholder: false,
      timeouts: { connect_ms: 3000, headers_ms: 30_000, body_ms: 30_000, total_ms: 60_000 },
      limits: {
        body_bytes: 67_108_864,
        response_bytes: 67_108_864,
        buffer_bytes: 262_144,
        connections: 256,
        queue: 1024,
      },
    })
  })

  test('is replaced whole', async () => {
    await post(full)

    const replaced = await merchant.policy('PUT', `${PATH}/checkout`, {
      name: 'checkout',
      origin: 'https://api.checkout.com',
    })

    expect(replaced.status).toBe(200)
    expect(replaced.body).toMatchObject({
      origin: 'https://api.checkout.com',
      allow: [],
      inject_header_names: [],
    })
    expect(replaced.body.ca_pem).toBeUndefined()
    expect(replaced.body.signing).toBeUndefined()
    expect((await merchant.policy('GET', `${PATH}/checkout`)).body).toEqual(replaced.body)
  })

  test('keeps its name', async () => {
    await post(full)

    const answer = await merchant.policy('PUT', `${PATH}/checkout`, { ...full, name: 'other' })

    expectRefused(answer, 422, 'invalid_value', 'name')
  })

  test('is deleted', async () => {
    await post(full)

    const deleted = await merchant.policy('DELETE', `${PATH}/checkout`)

    expect([deleted.status, deleted.body]).toEqual([200, { name: 'checkout' }])
    for (const [method, body] of [['GET'], ['PUT', full], ['DELETE']] as const) {
      const answer = await merchant.policy(method, `${PATH}/checkout`, body)
      expectRefused(answer, 404, 'not_found')
    }
    expect((await post(full)).status).toBe(201)
  })

  test('of which racing replacements one is the last', async () => {
    await post(full)

    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, i) =>
        merchant.policy('PUT', `${PATH}/checkout`, {
          ...full,
          origin: `https://api-${i}.psp.test`,
        }),
      ),
    )

    expect(answers.every(({ status }) => status === 200 || status === 409)).toBe(true)
    const { origin } = (await merchant.policy('GET', `${PATH}/checkout`)).body
    const written = answers.filter(({ status }) => status === 200).map(({ body }) => body.origin)
    expect(written).toContain(origin)
    // The origins of those that did not stay are free again.
    for (let i = 0; i < 10; i++) {
      const taken = `https://api-${i}.psp.test`
      const { status } = await post({ name: `n-${i}`, origin: taken })
      expect([taken, status]).toEqual([taken, taken === origin ? 409 : 201])
    }
  })
})

describe('name and origin', () => {
  test('are unique within a profile', async () => {
    await post(full)
    await post({ name: 'other', origin: 'https://other.test' })

    expectRefused(await post({ ...full, origin: 'https://x.test' }), 409, 'conflict')
    expectRefused(await post({ ...full, name: 'x' }), 409, 'conflict')
    expectRefused(
      await post({ name: 'x', origin: 'HTTPS://API.sandbox.checkout.com:443/' }),
      409,
      'conflict',
    )
    const moved = { name: 'other', origin: full.origin }
    expectRefused(await merchant.policy('PUT', `${PATH}/other`, moved), 409, 'conflict')
    expect((await merchant.policy('GET', `${PATH}/other`)).body.origin).toBe('https://other.test')
  })

  test('may be the same in another profile', async () => {
    const { body: profile } = await sallyport.admin('POST', '/v2/profiles', {
      merchant_id: merchant.id,
      profile_name: 'second',
    })
    await post(full)

    const made = await post(full, { 'x-profile-id': profile.id })

    expect([made.status, made.body.profile_id]).toEqual([201, profile.id])
    expect((await merchant.policy('GET', PATH)).body).toHaveLength(1)
    const headers = { 'x-profile-id': profile.id }
    await merchant.policy('DELETE', `${PATH}/checkout`, undefined, headers)
    expect((await merchant.policy('GET', PATH)).body).toHaveLength(1)
  })

  test('of racing creations with one origin one wins', async () => {
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, i) =>
        post({ name: `n-${i}`, origin: 'https://api.psp.test' }),
      ),
    )

    expect(answers.map(({ status }) => status).sort()).toEqual([201, ...Array(9).fill(409)])
  })

  test.each(['', 'A', '-a', 'a_b', 'a.b', 'a/b', 'ü', 'x'.repeat(64)])(
    'the name %j is refused',
    async (name) => {
      expectRefused(await post({ ...full, name }), 422, 'invalid_value', 'name')
    },
  )

  test.each([
    'http://api.psp.test',
    'https://api.psp.test:8443',
    'ftp://api.psp.test',
    'api.psp.test',
    '//api.psp.test',
    'https:api.psp.test',
    'https://',
    'https://api.psp.test/v1',
    'https://api.psp.test?x',
    'https://api.psp.test#x',
    'https://user@api.psp.test',
    'https://user:pw@api.psp.test',
    'https://api.psp.test.',
    'https://.psp.test',
    'https://api..psp.test',
    'https://api.psp.test\\@evil.test',
    'https://api.psp%2etest',
    'https://äpi.psp.test',
    'https://api。psp.test',
    'https://①②⑦.0.0.1',
    'https://api psp.test',
    ' https://api.psp.test',
    'https://api.psp.test\n',
    'https://127.0.0.1',
    'https://169.254.169.254',
    'https://2130706433',
    'https://0x7f.1',
    'https://0177.0.0.1',
    'https://[::1]',
    'https://[::ffff:7f00:1]',
    'https://8.8.8.8',
    'https://*',
    'https://*.test',
    'https://*.*.psp.test',
    'https://a*.psp.test',
    'https://api.*.psp.test',
    'https://**.psp.test',
    'https://*.psp.test:8443',
    'http://*.psp.test',
    'https://*.0.0.1',
    `https://${'a'.repeat(64)}.test`,
    `https://${'a.'.repeat(140)}test`,
  ])('the origin %j is refused', async (origin) => {
    expectRefused(await post({ ...full, origin }), 422, 'invalid_value', 'origin')
  })

  test.each([
    ['https://api.psp.test', 'https://api.psp.test'],
    ['HTTPS://API.PSP.TEST:443/', 'https://api.psp.test'],
    ['https://*.psp.test', 'https://*.psp.test'],
    ['https://xn--pi-lia.psp.test', 'https://xn--pi-lia.psp.test'],
  ])('the origin %j is kept as %j', async (origin, kept) => {
    expect((await post({ ...full, origin })).body.origin).toBe(kept)
  })

  test('without TLS, with a port and as an address only where the configuration allows it', async () => {
    await using open = await startSallyport()
    const { policy } = await open.createMerchant()

    for (const [name, origin] of [
      ['http', 'http://api.psp.test'],
      ['port', 'https://api.psp.test:8443'],
      ['address', 'http://127.0.0.1:8080'],
    ]) {
      expect((await policy('POST', PATH, { name, origin })).status).toBe(201)
    }
  })
})

describe('what is not built yet is refused by name', () => {
  test.each([
    ['preset', 'checkout'],
    ['nope', 1],
  ])('%s', async (field, value) => {
    expectRefused(await post({ ...full, [field]: value }), 400, 'unknown_field', field)
    expect((await merchant.policy('GET', PATH)).body).toEqual([])
  })

  test.each([
    ['in a row', { allow: [{ methods: ['GET'], path: '/', when: 1 }] }, 'when'],
    [
      'in a field',
      {
        allow: [
          { methods: ['GET'], path: '/', fields: [{ field: 'card_cvc', at: ['body'], as: 1 }] },
        ],
      },
      undefined,
    ],
    ['in the timeouts', { timeouts: { idle_ms: 1 } }, 'idle_ms'],
    ['in the limits', { limits: { rate: 1 } }, 'rate'],
  ])('%s', async (_, more, field) => {
    const answer = await post({ ...full, ...more })

    expect([answer.status < 500, answer.status >= 400]).toEqual([true, true])
    if (field !== undefined) expectRefused(answer, 400, 'unknown_field', field)
  })
})

describe('what goes with the request and its answer is refused for', () => {
  test.each([
    ['a leak guard of no known mode', { response: { leak_guard: 'log' } }, 'leak_guard'],
    ['a redaction with a filter', { response: { redact: ['$..card'] } }, 'redact'],
    ['a capture of no path', { response: { capture: [{ path: 'id', as: 'psp_token' }] } }, 'path'],
    ['a decline of no path', { response: { declined: [{ path: '', values: ['x'] }] } }, 'path'],
    ['an idempotency header that frames', { idempotency_header: 'Host' }, 'idempotency_header'],
    ['one that is injected', { idempotency_header: 'x-version' }, 'idempotency_header'],
    ['one that is no name', { idempotency_header: 'a b' }, 'idempotency_header'],
    ['a pin that is none', { pin_sha256: ['x'] }, 'pin_sha256'],
    [
      'a certificate that is none',
      { client_certificate: { cert_pem: 'x', key_pem: 'y' } },
      'client_certificate',
    ],
    ['a connector that is no name', { connector: 'A B' }, 'connector'],
    ['a breaker that never closes again', { breaker: { failures: 1, open_ms: 0 } }, 'open_ms'],
  ])('%s', async (_, more, field) => {
    const answer = await post({ ...full, inject_headers: { 'X-Version': '1' }, ...more })

    expect([answer.status >= 400, answer.status < 500]).toEqual([true, true])
    expect(JSON.stringify(answer.body.error.details)).toContain(field.split('.')[0])
  })

  test('a captured PSP token of nobody knows which PSP', async () => {
    const capture = [{ path: '$.source.id', as: 'psp_token' }]

    const answer = await post({ ...full, connector: undefined, response: { capture } })

    expectRefused(answer, 400, 'missing_field', 'connector')
  })
})

describe('a policy is refused for', () => {
  const row = (more: object) => ({ allow: [{ methods: ['POST'], path: '/x', ...more }] })

  test.each([
    ['no method', row({ methods: [] }), 422, 'invalid_value', 'methods'],
    ['an unknown method', row({ methods: ['FETCH'] }), 422, 'invalid_value', 'methods'],
    ['a method in small letters', row({ methods: ['post'] }), 422, 'invalid_value', 'methods'],
    ['TRACE', row({ methods: ['TRACE'] }), 422, 'invalid_value', 'methods'],
    ['CONNECT', row({ methods: ['CONNECT'] }), 422, 'invalid_value', 'methods'],
    ['no path', row({ path: undefined }), 400, 'missing_field', 'path'],
    ['a path without a slash', row({ path: 'x' }), 422, 'invalid_value', 'path'],
    ['dots in the path', row({ path: '/a/../b' }), 422, 'invalid_value', 'path'],
    ['two slashes in the path', row({ path: '//a' }), 422, 'invalid_value', 'path'],
    ['an encoded slash in the path', row({ path: '/a%2Fb' }), 422, 'invalid_value', 'path'],
    ['a query in the path', row({ path: '/a?b' }), 422, 'invalid_value', 'path'],
    ['a blank in the path', row({ path: '/a b' }), 422, 'invalid_value', 'path'],
    ['an unknown field', row({ fields: ['card_pin'] }), 422, 'invalid_value', 'fields'],
    ['all of a generic token', row({ fields: ['$'] }), 422, 'invalid_value', 'fields'],
    ['a path with a script', row({ fields: ['$[?(@.a)]'] }), 422, 'invalid_value', 'fields'],
    ['an expiry in one', row({ fields: ['card_exp'] }), 422, 'invalid_value', 'fields'],
    ['a field that is a number', row({ fields: [5] }), 400, 'wrong_type', 'fields'],
    // A rule is a text or an object; the validator tells that it is no text first.
    [
      'a field without a place',
      row({ fields: [{ field: 'card_cvc', at: [] }] }),
      400,
      'wrong_type',
      'fields',
    ],
    [
      'a place that is none',
      row({ fields: [{ field: 'card_cvc', at: ['everywhere'] }] }),
      422,
      'invalid_value',
      'at',
    ],
    [
      'a header that is none',
      row({ fields: [{ field: 'card_cvc', at: ['header:a b'] }] }),
      422,
      'invalid_value',
      'at',
    ],
    [
      'an empty place in the body',
      row({ fields: [{ field: 'card_cvc', at: ['body:'] }] }),
      422,
      'invalid_value',
      'at',
    ],
    [
      'a place that is a text',
      row({ fields: [{ field: 'card_cvc', at: 'body' }] }),
      400,
      'wrong_type',
      'at',
    ],
    ['rows that are none', { allow: {} }, 400, 'wrong_type', 'allow'],
    ['257 rows', { allow: Array(257).fill(row({}).allow[0]) }, 422, 'invalid_value', 'allow'],
  ])('%s', async (_, more, status, reason, field) => {
    const answer = await post({ ...full, ...more })

    expect([answer.status, answer.body.error.reason]).toEqual([status, reason])
    expect([field, 'fields']).toContain(answer.body.error.details.field)
  })
})

describe('a setting is refused for', () => {
  test.each([
    [
      'a header of the hop',
      { inject_headers: { Connection: 'x' } },
      422,
      'invalid_value',
      'inject_headers',
    ],
    [
      'a header of the frame',
      { inject_headers: { 'Content-Length': '1' } },
      422,
      'invalid_value',
      'inject_headers',
    ],
    ['a host', { inject_headers: { host: 'x' } }, 422, 'invalid_value', 'inject_headers'],
    [
      'a header of ours',
      { inject_headers: { 'Sallyport-Key': 'x' } },
      422,
      'invalid_value',
      'inject_headers',
    ],
    [
      'a header name with a blank',
      { inject_headers: { 'a b': 'x' } },
      422,
      'invalid_value',
      'inject_headers',
    ],
    [
      'a line break in a header',
      { inject_headers: { a: 'x\r\nB: y' } },
      422,
      'invalid_value',
      'inject_headers',
    ],
    [
      'an umlaut in a header',
      { inject_headers: { a: 'ü' } },
      422,
      'invalid_value',
      'inject_headers',
    ],
    ['an empty header', { inject_headers: { a: '' } }, 422, 'invalid_value', 'a'],
    ['a header that is a list', { inject_headers: { a: ['x'] } }, 400, 'wrong_type', 'a'],
    [
      'signing by an unknown recipe',
      { signing: { recipe: 'rot13' } },
      422,
      'invalid_value',
      'recipe',
    ],
    ['signing without a recipe', { signing: {} }, 400, 'missing_field', 'recipe'],
    ['half a recipe', { signing: { recipe: 'hmac' } }, 400, 'missing_field', 'algorithm'],
    [
      'an unknown part of a recipe',
      { signing: { ...full.signing, salt: 'x' } },
      400,
      'unknown_field',
      'salt',
    ],
    [
      'a template with an unknown variable',
      { signing: { ...full.signing, template: '{pan}' } },
      422,
      'invalid_value',
      'template',
    ],
    [
      'a signature that goes nowhere',
      { signing: { ...full.signing, headers: { 'X-A': 'x' } } },
      422,
      'invalid_value',
      'headers',
    ],
    [
      'a buffer beyond measure',
      { limits: { buffer_bytes: 67_108_865 } },
      422,
      'invalid_value',
      'buffer_bytes',
    ],
    [
      'a buffer below nothing',
      { limits: { buffer_bytes: -1 } },
      422,
      'invalid_value',
      'buffer_bytes',
    ],
    ['no certificate', { ca_pem: 'x' }, 422, 'invalid_value', 'ca_pem'],
    [
      'a key among certificates',
      { ca_pem: CERTIFICATE.replaceAll('CERTIFICATE', 'PRIVATE KEY') },
      422,
      'invalid_value',
      'ca_pem',
    ],
    ['no time', { timeouts: { connect_ms: 0 } }, 422, 'invalid_value', 'connect_ms'],
    ['too much time', { timeouts: { total_ms: 600_001 } }, 422, 'invalid_value', 'total_ms'],
    ['half a millisecond', { timeouts: { total_ms: 0.5 } }, 400, 'wrong_type', 'total_ms'],
    ['a time as text', { timeouts: { total_ms: '1' } }, 400, 'wrong_type', 'total_ms'],
    ['no connections', { limits: { connections: 0 } }, 422, 'invalid_value', 'connections'],
    ['less than nothing', { limits: { body_bytes: -1 } }, 422, 'invalid_value', 'body_bytes'],
    ['maybe', { require_placeholder: 'yes' }, 400, 'wrong_type', 'require_placeholder'],
    ['no origin', { origin: undefined }, 400, 'missing_field', 'origin'],
    ['no name', { name: undefined }, 400, 'missing_field', 'name'],
  ])('%s', async (_, more, status, reason, field) => {
    const answer = await post({ ...full, ...more })

    expectRefused(answer, status, reason, field)
    expect(answer.text).not.toContain('sk_live')
    expect((await merchant.policy('GET', PATH)).body).toEqual([])
  })

  test('two spellings of one header', async () => {
    const headers = { Authorization: SECRET, authorization: 'Bearer other' }

    expectRefused(
      await post({ ...full, inject_headers: headers }),
      422,
      'invalid_value',
      'inject_headers',
    )
  })
})
