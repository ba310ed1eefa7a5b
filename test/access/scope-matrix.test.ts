// Every route against every key that lacks its scope, generated from the routes that are registered: without a key
// 401, without the scope 403, and nothing else is told. With the scope it is neither.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { SCOPES, type Scope } from '../../src/core/caller.ts'
import { collectRoutes, type RegisteredRoute } from '../http/registered-routes.ts'
import { type PspSimulator, startPspSimulator } from '../support/psp-simulator.ts'
import {
  type Answer,
  type Call,
  startSallyport,
  type TestMerchant,
  type TestSallyport,
} from '../support/sallyport.ts'
import {
  methodTokenOf,
  proxyRequests,
  type RouteRequest,
  requestFor,
  type Things,
} from './every-route.ts'

let sallyport: TestSallyport
let merchant: TestMerchant
let psp: PspSimulator
let routes: readonly RegisteredRoute[]
let things: Things
/** Two, because no key can hold both sides of the wall around the proxy. */
let lacking: Map<string, readonly Call[]>

beforeAll(async () => {
  psp = await startPspSimulator()
  const collected = await collectRoutes(() => startSallyport())
  sallyport = collected.started
  routes = collected.routes.filter(({ scope }) => scope !== 'public')
  merchant = await sallyport.createMerchant()
  await merchant.createDestination({ name: 'psp', origin: psp.origin })
  const customer = await merchant.createCustomer()
  const [profile] = (await sallyport.admin('GET', `/v2/profiles?merchant_id=${merchant.id}`)).body
  const [key] = (await sallyport.admin('GET', `/v2/api-keys?merchant_id=${merchant.id}`)).body
  const method = await merchant.createCard({}, customer)
  const session = await merchant.createSession({ customer_id: customer })
  things = {
    merchant: merchant.id,
    profile: profile.id,
    key: key.key_id,
    customer,
    reference: 'none',
    method,
    session: session.id,
    methodToken: await methodTokenOf(merchant, session.id),
    token: await merchant.createToken({ a: 1 }, customer),
    destination: 'psp',
    origin: psp.origin,
  }
  lacking = new Map()
  for (const scope of SCOPES) {
    const others = SCOPES.filter((other) => other !== scope)
    const sides: Scope[][] = [
      others.filter((other) => other !== 'proxy:invoke'),
      others.filter((other) => other !== 'policy:write' && other !== 'admin'),
    ]
    const keys = await Promise.all(sides.map((scopes) => sallyport.createKey(merchant.id, scopes)))
    lacking.set(scope, keys.map(sallyport.as))
  }
})

afterAll(async () => {
  await sallyport[Symbol.asyncDispose]()
  await psp.close()
})

function send(call: Call, { method, path, body }: RouteRequest): Promise<Answer> {
  return call(method, path, body, { 'sallyport-destination': psp.origin })
}

/** The envelope with that reason, and not one word more. */
function expectOnly(answer: Answer, status: number, code: string, reason: string): void {
  expect(answer.status).toBe(status)
  const { message, request_id, retry_safe: _, ...rest } = answer.body.error
  expect(rest).toEqual({ type: 'invalid_request', code, reason })
  expect(message).toMatch(/^The API key /)
  expect(request_id).toBe(answer.headers.get('sallyport-request-id'))
  expect(Object.keys(answer.body)).toEqual(['error'])
}

test('every route names a scope, and only the document is public', () => {
  expect(routes.length).toBeGreaterThan(40)
  expect(routes.filter(({ scope }) => !(SCOPES as readonly string[]).includes(scope))).toEqual([])
})

describe('a route of the control plane', () => {
  test('answers nothing to a caller without a key', async () => {
    for (const key of ['', 'sly_unknown']) {
      for (const route of routes) {
        const answer = await send(sallyport.as(key), requestFor(route, things))
        expectOnly(answer, 401, 'IR_01', 'unauthenticated')
      }
    }
  })

  test('answers nothing to a key without its scope', async () => {
    for (const route of routes) {
      for (const call of lacking.get(route.scope) ?? []) {
        const answer = await send(call, requestFor(route, things))
        expectOnly(answer, 403, 'IR_22', 'permission_denied')
      }
    }
  })

  test('does not read the body of who may not call it', async () => {
    for (const route of routes.filter(({ method }) => method === 'POST' || method === 'PUT')) {
      const { path } = requestFor(route, things)
      for (const call of lacking.get(route.scope) ?? []) {
        const answer = await call(route.method, path, '{"broken')
        expectOnly(answer, 403, 'IR_22', 'permission_denied')
      }
    }
  })

  test('of merchants answers nothing to a key of the installation', async () => {
    for (const route of routes.filter(({ scope }) => scope !== 'admin')) {
      const answer = await send(sallyport.admin, requestFor(route, things))
      expectOnly(answer, 403, 'IR_22', 'permission_denied')
    }
  })

  test('answers to a key with nothing but its scope', async () => {
    for (const route of routes) {
      // Last, so that the things are still there for the others.
      if (route.method === 'DELETE') continue
      const call = sallyport.as(await sallyport.createKey(merchant.id, [route.scope as Scope]))
      const answer = await send(call, requestFor(route, things))
      const isForOperators = route.method === 'POST' && route.url === '/v2/merchant-accounts'
      expect([route.method, route.url, answer.status === 403]).toEqual([
        route.method,
        route.url,
        isForOperators,
      ])
      expect(answer.status).not.toBe(401)
      expect(answer.status).toBeLessThan(500)
    }
  })
})

describe('a way into the proxy', () => {
  test('answers nothing to a caller without a key, and nothing goes out', async () => {
    for (const key of ['', 'sly_unknown']) {
      for (const request of proxyRequests(things)) {
        expectOnly(await send(sallyport.as(key), request), 401, 'IR_01', 'unauthenticated')
      }
    }
    expect(psp.received).toEqual([])
  })

  test('answers nothing to a key without proxy:invoke, and nothing goes out', async () => {
    for (const call of [...(lacking.get('proxy:invoke') ?? []), sallyport.admin]) {
      for (const request of proxyRequests(things)) {
        expectOnly(await send(call, request), 403, 'IR_22', 'permission_denied')
      }
    }
    expect(psp.received).toEqual([])
  })

  test('answers to a key with proxy:invoke by its policy', async () => {
    for (const request of proxyRequests(things)) {
      const answer = await send(merchant.proxy, request)
      expect(answer.body.error.reason).toBe('method_or_path_not_allowed')
    }
    expect(psp.received).toEqual([])
  })
})
