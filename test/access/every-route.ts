// A good request for every route there is, made from the ids of somebody's things: for tests that hold for all
// routes. A route without an entry here fails the test that meets it.

import type { RegisteredRoute } from '../http/registered-routes.ts'
import { type TestMerchant, VISA } from '../support/sallyport.ts'

/** Ids of what a merchant owns. */
export type Things = {
  readonly merchant: string
  readonly profile: string
  readonly key: string
  readonly customer: string
  readonly reference: string
  readonly method: string
  readonly token: string
  readonly session: string
  /** What a page calls `method` by in `session`. */
  readonly methodToken: string
  readonly destination: string
  readonly origin: string
}

export type RouteRequest = {
  readonly method: string
  readonly path: string
  readonly body: unknown
}

/** The token that a page has for the one card of that session's customer. */
export async function methodTokenOf(merchant: TestMerchant, session: string): Promise<string> {
  const path = `/v2/payment-method-sessions/${session}/list-payment-methods`
  const { body } = await merchant.vault('GET', path)
  return body.customer_payment_methods[0].payment_method_token
}

const PARAMETER: Readonly<Record<string, keyof Things>> = {
  '/merchant-accounts/:id': 'merchant',
  '/profiles/:id': 'profile',
  '/profiles/:id/rotate-publishable-key': 'profile',
  '/api-keys/:id': 'key',
  '/customers/reference/:reference': 'reference',
  '/customers/:id': 'customer',
  '/customers/:id/saved-payment-methods': 'customer',
  '/customers/:id/payment_methods': 'customer',
  '/customers/:id/payment_methods/:method/default': 'customer',
  '/payment_methods/:id': 'method',
  '/payment_methods/:id/update': 'method',
  '/payment-methods/:id': 'method',
  '/payment-methods/:id/confirm-intent': 'method',
  '/payment-methods/:id/list-enabled-payment-methods': 'method',
  '/payment-methods/:id/update-saved-payment-method': 'method',
  '/tokenize/:id': 'token',
  '/payment-method-sessions/:id': 'session',
  '/payment-method-sessions/:id/confirm': 'session',
  '/payment-method-sessions/:id/list-payment-methods': 'session',
  '/payment-method-sessions/:id/update-saved-payment-method': 'session',
  '/payment-methods/token/:token/details': 'methodToken',
  '/destinations/:name': 'destination',
  '/destinations/:name/approve': 'destination',
  '/destinations/:name/reject': 'destination',
}

const BODY: Readonly<Record<string, (things: Things) => unknown>> = {
  'POST /merchant-accounts': () => ({ merchant_name: 'New' }),
  'PUT /merchant-accounts/:id': () => ({ merchant_name: 'Renamed' }),
  'POST /profiles': ({ merchant }) => ({ profile_name: 'new', merchant_id: merchant }),
  'PUT /profiles/:id': () => ({
    profile_name: 'renamed',
    allowed_origins: ['https://shop.example'],
  }),
  'POST /profiles/:id/rotate-publishable-key': () => undefined,
  'POST /api-keys': ({ merchant }) => ({
    merchant_id: merchant,
    name: 'new',
    scopes: ['vault:read'],
  }),
  'PUT /api-keys/:id': () => ({ name: 'changed', scopes: ['vault:write'] }),
  'POST /customers': () => ({ name: 'New' }),
  'PUT /customers/:id': () => ({ name: 'Changed' }),
  'POST /payment-methods': ({ customer }) => ({
    customer_id: customer,
    payment_method_type: 'card',
    payment_method_data: {
      card: { card_number: VISA, card_exp_month: '12', card_exp_year: '2040', card_cvc: '999' },
    },
  }),
  'POST /customers/:id': () => ({ name: 'Changed' }),
  'POST /customers/:id/payment_methods/:method/default': () => undefined,
  'POST /payment_methods': ({ customer }) => ({
    customer_id: customer,
    payment_method: 'card',
    card: { card_number: VISA, card_exp_month: '12', card_exp_year: '2040', card_cvc: '999' },
  }),
  'POST /payment_methods/:id/update': () => ({ card: { nick_name: 'changed', card_cvc: '999' } }),
  'POST /payment-methods/create-intent': ({ customer }) => ({ customer_id: customer }),
  'POST /payment-methods/:id/confirm-intent': () => ({
    payment_method_type: 'card',
    payment_method_data: {
      card: { card_number: VISA, card_exp_month: '12', card_exp_year: '2040' },
    },
  }),
  'PUT /payment-methods/:id/update-saved-payment-method': () => ({
    payment_method_data: { card: { nick_name: 'changed', card_cvc: '999' } },
  }),
  'POST /tokenize': ({ customer }) => ({
    customer_id: customer,
    token_request: { account: { iban: 'DE89370400440532013000' } },
  }),
  'POST /payment-method-sessions': ({ customer }) => ({
    customer_id: customer,
    tokenization_data: { a: 1 },
  }),
  'PUT /payment-method-sessions/:id': () => ({ keep_alive: true }),
  'POST /payment-method-sessions/:id/confirm': () => ({
    payment_method_type: 'card',
    payment_method_data: {
      card: { card_number: VISA, card_exp_month: '12', card_exp_year: '2040', card_cvc: '999' },
    },
  }),
  'PUT /payment-method-sessions/:id/update-saved-payment-method': ({ methodToken }) => ({
    payment_method_token: methodToken,
    payment_method_data: { card: { nick_name: 'changed', card_cvc: '999' } },
  }),
  'POST /destinations': ({ destination, origin }) => ({ name: destination, origin, allow: [] }),
  'PUT /destinations/:name': ({ destination, origin }) => ({
    name: destination,
    origin,
    allow: [],
  }),
  // Where nobody listens: its health is asked for, too.
  'PUT /external-vault': () => ({
    kind: 'vgs',
    api_origin: 'http://127.0.0.1:9',
    token_url: 'http://127.0.0.1:9/token',
    client_id: 'client',
    client_secret: 'secret',
  }),
  'POST /external-vault/approve': () => ({ proposal_id: `req_${'0'.repeat(32)}` }),
  'POST /external-vault/reject': () => ({ proposal_id: `req_${'0'.repeat(32)}` }),
  'POST /destinations/:name/approve': () => ({ proposal_id: `req_${'0'.repeat(32)}` }),
  'POST /destinations/:name/reject': () => ({ proposal_id: `req_${'0'.repeat(32)}` }),
}

export function requestFor(route: RegisteredRoute, things: Things): RouteRequest {
  const unversioned = route.url.replace(/^\/v[12]/, '')
  const parameter = PARAMETER[unversioned]
  if (route.url.includes(':') && parameter === undefined) {
    throw new Error(`${route.url} has no entry in test/access/every-route.ts`)
  }
  const hasBody = route.method === 'POST' || route.method === 'PUT' || route.method === 'PATCH'
  const body = BODY[`${route.method} ${unversioned}`]
  if (hasBody && body === undefined) {
    throw new Error(`${route.method} ${route.url} has no entry in test/access/every-route.ts`)
  }
  return {
    method: route.method,
    path:
      parameter === undefined
        ? route.url
        : route.url
            .replace(':method', () => things.method)
            .replace(/:[a-z]+/, () => things[parameter]),
    body: body?.(things),
  }
}

/** The ways into the proxy, which are no routes of Fastify. */
export function proxyRequests(things: Things): readonly RouteRequest[] {
  const charge = {
    source: { type: 'card', number: `{{$card_number: ${things.method}}}` },
    amount: 1,
    currency: 'USD',
  }
  const envelope = {
    destination_url: `${things.origin}/payments`,
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    request_body: charge,
  }
  return [
    ...['/proxy', '/v1/proxy', '/v2/proxy'].map((path) => ({
      method: 'POST',
      path,
      body: envelope,
    })),
    ...['GET', 'POST', 'PUT', 'PATCH', 'DELETE'].map((method) => ({
      method,
      path: `/d/${things.destination}/payments`,
      body: method === 'GET' ? undefined : charge,
    })),
    { method: 'POST', path: '/forward/payments', body: charge },
  ]
}
