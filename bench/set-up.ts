// A Sallyport set up through its API like any installation: a merchant, its keys, the destination `psp`, cards.

import type { Case } from './cases.ts'
import { exchange, statusOf, type Target } from './connection.ts'
import { CARD, FIELDS, POINTERS } from './payment.ts'
import { requestBytes } from './request-bytes.ts'

export const PSP_KEY = 'Bearer sk_bench_0123456789abcdef0123456789abcdef'

export type Merchant = {
  readonly id: string
  readonly proxyKey: string
  readonly vaultKey: string
  readonly customer: string
  /** Payment methods, all with the card of payment.ts. */
  readonly tokens: readonly string[]
}

export async function setUp(
  target: Target,
  upstreamOrigin: string,
  adminKey: string,
  options: {
    readonly fieldsAt: Case['fieldsAt']
    readonly tokens: number
    /** Of the destination. */
    readonly settings?: Readonly<Record<string, unknown>>
  },
): Promise<Merchant> {
  const post = async (key: string, path: string, body: object) => {
    const text = JSON.stringify(body)
    const headers = { 'sallyport-key': key, 'content-type': 'application/json' }
    const answer = await exchange(target, requestBytes(target.origin, 'POST', path, headers, text))
    const status = statusOf(answer.head)
    if (status !== '201') throw new Error(`${path} answered ${status}: ${answer.body}`)
    return JSON.parse(answer.body.toString()) as Record<string, string>
  }
  const text = (answer: Record<string, string>, name: string) => {
    const value = answer[name]
    if (value === undefined) throw new Error(`the answer has no ${name}`)
    return value
  }

  const id = text(await post(adminKey, '/v2/merchant-accounts', { merchant_name: 'Bench' }), 'id')
  const key = async (...scopes: string[]) =>
    text(
      await post(adminKey, '/v2/api-keys', { merchant_id: id, name: 'Bench', scopes }),
      'api_key',
    )
  await post(await key('policy:write'), '/v2/destinations', {
    name: 'psp',
    origin: upstreamOrigin,
    inject_headers: { Authorization: PSP_KEY },
    ...options.settings,
    allow: [
      {
        methods: ['GET', 'POST'],
        path: '/payments*',
        fields: FIELDS.map((field) =>
          options.fieldsAt === 'anywhere' ? field : { field, at: [`body:${POINTERS[field]}`] },
        ),
      },
    ],
  })
  const vaultKey = await key('vault:write', 'vault:read')
  const tokens: string[] = []
  let customer = ''
  while (tokens.length < options.tokens || customer === '') {
    // One customer for each: of one customer the same card would be one payment method.
    customer = text(await post(vaultKey, '/v2/customers', {}), 'id')
    if (tokens.length === options.tokens) break
    const method = await post(vaultKey, '/v2/payment-methods', newCard(customer, CARD.number))
    tokens.push(text(method, 'id'))
  }
  return { id, proxyKey: await key('proxy:invoke'), vaultKey, customer, tokens }
}

export function newCard(customer: string, number: string) {
  return {
    customer_id: customer,
    payment_method_type: 'card',
    payment_method_data: {
      card: {
        card_number: number,
        card_exp_month: CARD.month,
        card_exp_year: CARD.year,
        card_holder_name: 'Jo Example',
      },
    },
  }
}
