// What a case sends and what has to come of it. Sallyport is set up through its API like any installation: merchant,
// keys, destination, card. Then one request is sent and everything about it is looked at, before any is timed.

import type { Case } from './cases.ts'
import { type LoadRequest, UNIQUE } from './load.ts'
import { CARD, POINTERS, payment, placeholders, withCard } from './payment.ts'
import { ANSWER, type Upstream } from './upstream.ts'

const PSP_KEY = 'Bearer sk_bench_0123456789abcdef0123456789abcdef'
const FIELDS = ['card_number', 'card_exp_month', 'card_exp_year'] as const

export type Prepared = {
  readonly request: LoadRequest
  /** What the upstream has to get, byte for byte. */
  readonly arrives: string
  /** Headers that the answer has to carry. */
  readonly answerHeaders: Readonly<Record<string, string>>
}

export async function prepare(
  { peer, card, fieldsAt, guards, isIdempotent }: Case,
  origin: string,
  upstream: string,
  adminKey: string,
): Promise<Prepared> {
  const headers = { 'content-type': 'application/json', accept: 'application/json' }
  if (peer !== 'sallyport') {
    const body = payment(CARD)
    return {
      request: { url: `${origin}/payments`, headers: { ...headers, authorization: PSP_KEY }, body },
      arrives: body,
      answerHeaders: {},
    }
  }

  const { proxyKey, token } = await setUp(origin, upstream, adminKey, fieldsAt, {
    response: { leak_guard: guards === 'off' ? 'off' : 'mask' },
    ...(guards === 'all' ? { breaker: { failures: 10 } } : {}),
  })
  const asked = card === 'values' ? CARD : placeholders(token)
  const body = payment(asked)
  return {
    request: {
      url: `${origin}/d/psp/payments`,
      headers: {
        ...headers,
        'sallyport-key': proxyKey,
        ...(isIdempotent ? { 'sallyport-idempotency-key': UNIQUE } : {}),
      },
      body,
    },
    arrives: withCard(body, asked, CARD),
    answerHeaders: {
      'sallyport-upstream-status': '200',
      ...(card === 'placeholders'
        ? { 'sallyport-substitutions': FIELDS.map((field) => `${field}=1`).join(', ') }
        : {}),
    },
  }
}

/** A merchant, its key for the proxy, the destination `psp` and a card, through the API like any installation. */
export async function setUp(
  origin: string,
  upstream: string,
  adminKey: string,
  fieldsAt: Case['fieldsAt'],
  settings: Readonly<Record<string, unknown>> = {},
): Promise<{ proxyKey: string; token: string }> {
  const post = async (key: string, path: string, body: object) => {
    const answer = await fetch(origin + path, {
      method: 'POST',
      headers: { 'sallyport-key': key, 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    const text = await answer.text()
    if (answer.status !== 201) throw new Error(`${path} answered ${answer.status}: ${text}`)
    return JSON.parse(text) as Record<string, string>
  }
  const text = (answer: Record<string, string>, name: string) => {
    const value = answer[name]
    if (value === undefined) throw new Error(`the answer has no ${name}`)
    return value
  }

  const merchant = text(
    await post(adminKey, '/v2/merchant-accounts', { merchant_name: 'Bench' }),
    'id',
  )
  const key = async (scope: string) =>
    text(
      await post(adminKey, '/v2/api-keys', { merchant_id: merchant, name: scope, scopes: [scope] }),
      'api_key',
    )
  await post(await key('policy:write'), '/v2/destinations', {
    name: 'psp',
    origin: upstream,
    inject_headers: { Authorization: PSP_KEY },
    ...settings,
    allow: [
      {
        methods: ['POST'],
        path: '/payments',
        fields: FIELDS.map((field) =>
          fieldsAt === 'anywhere' ? field : { field, at: [`body:${POINTERS[field]}`] },
        ),
      },
    ],
  })
  const vaultKey = await key('vault:write')
  const customer = text(await post(vaultKey, '/v2/customers', {}), 'id')
  const method = await post(vaultKey, '/v2/payment-methods', {
    customer_id: customer,
    payment_method_type: 'card',
    payment_method_data: {
      card: {
        card_number: CARD.number,
        card_exp_month: CARD.month,
        card_exp_year: CARD.year,
        card_holder_name: 'Jo Example',
      },
    },
  })
  return { proxyKey: await key('proxy:invoke'), token: text(method, 'id') }
}

/** Throws with a sentence when anything about the answer, or what the upstream got, is not as it has to be. */
export async function validate(prepared: Prepared, upstream: Upstream): Promise<void> {
  const { request, arrives, answerHeaders } = prepared
  upstream.expect(arrives)
  const headers = Object.entries(request.headers).map(([name, value]): [string, string] => [
    name,
    value.replace(UNIQUE, 'validation'),
  ])
  const answer = await fetch(request.url, {
    method: 'POST',
    headers,
    body: request.body,
  })
  const text = await answer.text()
  const got = upstream.last
  const body = got?.body.toString() ?? ''
  expectSame('the status', answer.status, 200)
  expectSame('the answer', text, ANSWER)
  expectSame('its type', answer.headers.get('content-type'), 'application/json')
  for (const [name, value] of Object.entries(answerHeaders)) {
    expectSame(`its ${name}`, answer.headers.get(name), value)
  }
  expectSame('the body at the upstream', body, arrives)
  expectSame('its length', got?.headers['content-length'], String(Buffer.byteLength(arrives)))
  expectSame('its card number', JSON.parse(body).source.number, CARD.number)
  expectSame('the key of the upstream', got?.headers.authorization, PSP_KEY)
  expectSame('our key at the upstream', got?.headers['sallyport-key'], undefined)
}

function expectSame(what: string, actual: unknown, expected: unknown): void {
  if (actual !== expected) {
    throw new Error(`${what} is ${JSON.stringify(actual)} and not ${JSON.stringify(expected)}`)
  }
}
