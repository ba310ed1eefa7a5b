// The document at /openapi.json and the routes that are registered are the same list, and what is answered is what
// the document says.

import { Compile } from 'typebox/schema'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ERRORS } from '../../src/core/errors.ts'
import { type PspSimulator, startPspSimulator } from '../support/psp-simulator.ts'
import {
  type Answer,
  startSallyport,
  type TestMerchant,
  type TestSallyport,
  VISA,
} from '../support/sallyport.ts'
import { collectRoutes, type RegisteredRoute } from './registered-routes.ts'

let sallyport: TestSallyport
let psp: PspSimulator
let routes: readonly RegisteredRoute[]
let document: any

beforeAll(async () => {
  psp = await startPspSimulator()
  const collected = await collectRoutes(() => startSallyport())
  sallyport = collected.started
  routes = collected.routes
  const answer = await fetch(`${sallyport.origin}/openapi.json`)
  expect(answer.headers.get('content-type')).toBe('application/json; charset=utf-8')
  document = await answer.json()
})

afterAll(async () => {
  await sallyport[Symbol.asyncDispose]()
  await psp.close()
})

const described = () =>
  Object.entries(document.paths as object).flatMap(([path, operations]) =>
    Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`),
  )

/** Served beside Fastify. */
const PROXY = [
  'POST /proxy',
  'POST /v1/proxy',
  'POST /v2/proxy',
  ...['/forward/{path}', '/d/{name}/{path}'].flatMap((path) =>
    ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'].map((m) => `${m} ${path}`),
  ),
]

test('every registered route is described, and every described one is registered', () => {
  const registered = routes
    .filter(({ url }) => url !== '/openapi.json')
    .map(({ method, url }) => `${method} ${url.replaceAll(/:([a-z]+)/g, '{$1}')}`)

  expect(described().sort()).toEqual([...registered, ...PROXY].sort())
})

test('the document is OpenAPI 3.1 with our version, our errors and a way to authenticate', () => {
  expect(document.openapi).toBe('3.1.0')
  expect(document.info.title).toBe('Sallyport')
  const { Error: error } = document.components.schemas
  expect(error.properties.error.properties.reason.enum).toEqual(Object.keys(ERRORS))
  const named = document.security.flatMap((each: object) => Object.keys(each))
  const schemes = Object.keys(document.components.securitySchemes)
  expect([...named, 'client'].sort()).toEqual(schemes.sort())
})

test('the routes that pages may call, and no others, say with what', () => {
  const forPages = Object.entries(document.paths as object).flatMap(([path, operations]) =>
    Object.entries(operations as object)
      .filter(([, { security }]) => security?.some((each: object) => 'client' in each))
      .map(([method, { security }]) => {
        expect(security).toEqual([...document.security, { client: [] }])
        return `${method.toUpperCase()} ${path}`
      }),
  )

  const session = 'payment-method-sessions/{id}'
  const named = [
    `GET /${session}`,
    `DELETE /${session}`,
    `POST /${session}/confirm`,
    `GET /${session}/list-payment-methods`,
    `PUT /${session}/update-saved-payment-method`,
    'POST /payment-methods/{id}/confirm-intent',
  ]
  const expected = ['/v1/', '/v2/'].flatMap((version) =>
    named.map((each) => each.replace('/', version)),
  )
  expect(forPages.sort()).toEqual(expected.sort())
})

test('a body that may be left out is not required, any other is', () => {
  const optional = Object.entries(document.paths as object).flatMap(([path, operations]) =>
    Object.entries(operations as object)
      .filter(([, { requestBody }]) => requestBody?.required === false)
      .map(([method]) => `${method} ${path}`),
  )

  expect(optional.sort()).toEqual([
    'delete /v1/payment-method-sessions/{id}',
    'delete /v1/tokenize/{id}',
    'delete /v2/payment-method-sessions/{id}',
    'delete /v2/tokenize/{id}',
  ])
  expect(document.paths['/v2/payment-methods'].post.requestBody.required).toBe(true)
})

test('every parameter in a path is declared', () => {
  for (const [path, operations] of Object.entries(document.paths as object)) {
    const names = [...path.matchAll(/\{([a-z]+)\}/g)].map((match) => match[1])
    for (const operation of Object.values(operations) as any[]) {
      const declared = (operation.parameters ?? [])
        .filter((parameter: any) => parameter.in === 'path')
        .map((parameter: any) => parameter.name)
      expect([path, declared.sort()]).toEqual([path, names.sort()])
    }
  }
})

test('every operation says what it answers, and that it may answer with our error', () => {
  for (const [path, operations] of Object.entries(document.paths as object)) {
    for (const [method, { responses }] of Object.entries(operations) as [string, any][]) {
      const good = Object.keys(responses).filter((status) => status.startsWith('2'))
      expect([method, path, good.length > 0]).toEqual([method, path, true])
      expect(responses.default.content['application/json'].schema).toEqual({
        $ref: '#/components/schemas/Error',
      })
    }
  }
})

test('no example or default in the document is a secret', () => {
  expect(JSON.stringify(document)).not.toMatch(/sly_|[0-9]{12,}/)
})

describe('the answer of', () => {
  let merchant: TestMerchant

  beforeAll(async () => {
    merchant = await sallyport.createMerchant()
  })

  function schemaOf(method: string, path: string, status: number): object {
    const { responses } = document.paths[path][method.toLowerCase()]
    const answer = responses[status] ?? responses.default
    const { schema } = answer.content['application/json']
    return '$ref' in schema ? document.components.schemas.Error : schema
  }

  function expectDescribed(answer: Answer, method: string, path: string, status: number): void {
    expect([method, path, answer.status]).toEqual([method, path, status])
    const schema = Compile(schemaOf(method, path, status))
    expect([path, schema.Errors(answer.body)[1]]).toEqual([path, []])
    // Fastify drops what a schema does not name, so this is about what the schema requires.
    expect(schema.Check({})).toBe(false)
  }

  test('merchants, profiles and keys', async () => {
    const { admin } = sallyport
    const made = await admin('POST', '/v2/merchant-accounts', { merchant_name: 'M' })
    expectDescribed(made, 'POST', '/v2/merchant-accounts', 201)
    const query = `?merchant_id=${made.body.id}`
    const key = { merchant_id: made.body.id, name: 'k', scopes: ['vault:read'] }
    expectDescribed(await admin('POST', '/v2/api-keys', key), 'POST', '/v2/api-keys', 201)
    expectDescribed(await admin('GET', `/v2/api-keys${query}`), 'GET', '/v2/api-keys', 200)
    expectDescribed(await admin('GET', `/v2/profiles${query}`), 'GET', '/v2/profiles', 200)
    expectDescribed(
      await admin('GET', '/v2/merchant-accounts'),
      'GET',
      '/v2/merchant-accounts',
      200,
    )
  })

  test('customers, payment methods and tokens', async () => {
    for (const version of ['/v1', '/v2']) {
      const { vault } = merchant
      const full = { name: 'N', metadata: { a: { b: [1, null, 'x'] } } }
      const customer = await vault('POST', `${version}/customers`, full)
      expectDescribed(customer, 'POST', `${version}/customers`, 201)
      const { id } = customer.body
      const card = await merchant.createCard({ card_cvc: '737' }, id)
      const one = `${version}/payment-methods`
      expectDescribed(await vault('GET', `${one}/${card}`), 'GET', `${one}/{id}`, 200)
      const saved = `${version}/customers/{id}/saved-payment-methods`
      expectDescribed(await vault('GET', saved.replace('{id}', id)), 'GET', saved, 200)
      const list = `${version}/customers/list`
      expectDescribed(await vault('GET', list), 'GET', list, 200)
      const removed = await vault('DELETE', `${one}/${card}`)
      expectDescribed(removed, 'DELETE', `${one}/{id}`, 200)
      const tokens = `${version}/tokenize`
      const token = await vault('POST', tokens, { token_request: { a: [1] }, ttl_s: 60 })
      expectDescribed(token, 'POST', tokens, 201)
      const gone = await vault('DELETE', `${tokens}/${token.body.id}`)
      expectDescribed(gone, 'DELETE', `${tokens}/{id}`, 200)
    }
  })

  test('payment-method sessions, to servers and to pages', async () => {
    for (const version of ['/v1', '/v2']) {
      const { vault } = merchant
      const path = `${version}/payment-method-sessions`
      const made = await vault('POST', path, { keep_alive: true, tokenization_data: { a: 1 } })
      expectDescribed(made, 'POST', path, 201)
      const { id, sdk_authorization: authorization } = made.body
      const page = (method: string, rest: string, body?: unknown) =>
        sallyport.as('')(method, `${path}/${id}${rest}`, body, { authorization })
      const body = {
        payment_method_type: 'card',
        payment_method_data: {
          card: { card_number: VISA, card_exp_month: '3', card_exp_year: '2035', card_cvc: '737' },
        },
      }
      const confirmed = await page('POST', '/confirm', body)
      expectDescribed(confirmed, 'POST', `${path}/{id}/confirm`, 200)
      const list = `${path}/{id}/list-payment-methods`
      for (const call of [page, vault]) {
        const base = call === page ? '' : `${path}/${id}`
        expectDescribed(await call('GET', base), 'GET', `${path}/{id}`, 200)
        expectDescribed(await call('GET', `${base}/list-payment-methods`), 'GET', list, 200)
      }
      const token = confirmed.body.associated_payment_methods[0].payment_method_token.data
      const update = await page('PUT', '/update-saved-payment-method', {
        payment_method_token: token,
        payment_method_data: { card: { nick_name: 'n' } },
      })
      expectDescribed(update, 'PUT', `${path}/{id}/update-saved-payment-method`, 200)
      const changed = await vault('PUT', `${path}/${id}`, { keep_alive: false })
      const details = `${version}/payment-methods/token/{token}/details`
      const found = await vault('GET', details.replace('{token}', token))
      expectDescribed(found, 'GET', details, 200)
      expect(changed.status).toBe(200)
      const refused = await page('POST', '/confirm', { ...body, payment_method_type: 'wallet' })
      expectDescribed(refused, 'POST', `${path}/{id}/confirm`, 422)
      expect((await vault('DELETE', `${path}/${id}`)).body).toEqual({ id })
      const key = await sallyport.as('')('GET', `${version}/capture-key`)
      expectDescribed(key, 'GET', `${version}/capture-key`, 200)
    }
  })

  test('destinations, with every kind of field rule', async () => {
    const destination = {
      name: 'psp',
      origin: psp.origin,
      allow: [
        {
          methods: ['POST'],
          path: '/echo*',
          fields: ['card_exp_month', { field: 'card_number', at: ['body:/n', 'header:x-n'] }],
        },
      ],
      inject_headers: { Authorization: 'Bearer x' },
    }
    const path = '/v2/destinations'
    expectDescribed(await merchant.policy('POST', path, destination), 'POST', path, 201)
    expectDescribed(await merchant.policy('GET', path), 'GET', path, 200)
    expectDescribed(await merchant.policy('GET', `${path}/psp`), 'GET', `${path}/{name}`, 200)
  })

  test('the envelope', async () => {
    const answer = await merchant.proxy('POST', '/v2/proxy', {
      destination_url: `${psp.origin}/echo`,
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      request_body: { a: 1 },
    })

    expectDescribed(answer, 'POST', '/v2/proxy', 200)
  })

  test('errors of both planes', async () => {
    const { vault, proxy } = merchant
    const one = '/v2/payment-methods'
    expectDescribed(await vault('GET', `${one}/x`), 'GET', `${one}/{id}`, 404)
    expectDescribed(await vault('POST', one, { nope: 1 }), 'POST', one, 400)
    expectDescribed(await vault('GET', '/v2/destinations'), 'GET', '/v2/destinations', 403)
    expectDescribed(await proxy('POST', '/proxy', {}), 'POST', '/proxy', 400)
    expectDescribed(await proxy('GET', '/d/nobody/x'), 'GET', '/d/{name}/{path}', 403)
  })
})
