// The vault's routes, under /v1 and /v2 alike. Routes of cards and tokens read the body as raw chunks, so that number,
// code and value never become strings (see lift.ts).

import Type from 'typebox'
import { type CardDigits, holdsCardNumber, parseCardNumber } from '../core/card-number.ts'
import type { Clock } from '../core/clock.ts'
import { AppError, invalidField } from '../core/errors.ts'
import { type Expiry, isExpired, parseExpiry } from '../core/expiry.ts'
import { parseCustomerId, parsePaymentMethodId, parseTokenId } from '../core/ids.ts'
import type { RecordAct } from '../http/acts.ts'
import { type Api, merchantOf } from '../http/api.ts'
import { Count, page } from '../http/schemas.ts'
import type { Credentials } from './credentials.ts'
import type { CustomerDetails, Customers } from './customers.ts'
import { type LiftedBody, liftSecrets, liftValue, secretOf, wipe } from './lift.ts'
import type { PaymentMethod, PaymentMethods } from './payment-methods.ts'
import {
  type CardBody,
  CustomerAnswer,
  CustomerBody,
  customerAnswer,
  PaymentMethodAnswer,
  PaymentMethodBody,
  paymentMethodAnswer,
  SavedPaymentMethods,
  savedPaymentMethod,
  TokenAnswer,
  TokenBody,
  TokenRemoval,
  tokenAnswer,
  UpdateBody,
} from './schemas.ts'
import type { Tokens } from './tokens.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Number and code of the card in the body, or the token's value; overwritten when the request has ended. */
    secrets: readonly Buffer[]
  }
}

const CARD_BODY_LIMIT_BYTES = 64 * 1024
const CARD_LENGTH_MAX = 64
const TOKEN_VALUE_LIMITS = { bytes: 64 * 1024, depth: 64 }
/** The value, and what may stand around it. */
const TOKEN_BODY_LIMIT_BYTES = TOKEN_VALUE_LIMITS.bytes + 4 * 1024

const IdParams = Type.Object({ id: Type.String() })
const Deleted = Type.Object({ id: Type.String() })

export function vaultEndpoints(
  api: Api,
  deps: {
    customers: Customers
    paymentMethods: PaymentMethods
    credentials: Credentials
    tokens: Tokens
    clock: Clock
    record: RecordAct
  },
): void {
  for (const version of ['/v1', '/v2']) {
    customerRoutes(api, version, deps)
    void api.register(async (scope: Api) => cardRoutes(scope, version, deps))
    void api.register(async (scope: Api) => tokenRoutes(scope, version, deps))
  }
}

type Deps = Parameters<typeof vaultEndpoints>[1]

function customerRoutes(
  api: Api,
  version: string,
  { customers, paymentMethods, record }: Deps,
): void {
  const path = `${version}/customers`
  const tags = ['customers']
  const read = { scope: 'vault:read' } as const
  const write = { scope: 'vault:write' } as const

  api.post(
    path,
    { config: write, schema: { tags, body: CustomerBody, response: { 201: CustomerAnswer } } },
    async (request, reply) => {
      const customer = await customers.create(merchantOf(request.caller), detailsOf(request.body))
      await record(request, 'customer.create', customer.id)
      return reply.code(201).send(customerAnswer(customer))
    },
  )
  api.get(
    `${path}/list`,
    {
      config: read,
      schema: {
        tags,
        querystring: Type.Object(
          { limit: Type.Optional(Count), offset: Type.Optional(Count) },
          { additionalProperties: false },
        ),
        response: { 200: Type.Array(CustomerAnswer) },
      },
    },
    async (request) => {
      const found = await customers.list(merchantOf(request.caller), page(request.query))
      return found.map(customerAnswer)
    },
  )
  api.get(
    `${path}/reference/:reference`,
    {
      config: read,
      schema: {
        tags,
        params: Type.Object({ reference: Type.String() }),
        response: { 200: CustomerAnswer },
      },
    },
    async (request) =>
      customerAnswer(
        await customers.retrieveByReference(merchantOf(request.caller), request.params.reference),
      ),
  )
  api.get(
    `${path}/:id`,
    { config: read, schema: { tags, params: IdParams, response: { 200: CustomerAnswer } } },
    async (request) =>
      customerAnswer(
        await customers.retrieve(
          merchantOf(request.caller),
          expectId(parseCustomerId, request.params.id),
        ),
      ),
  )
  api.put(
    `${path}/:id`,
    {
      config: write,
      schema: { tags, params: IdParams, body: CustomerBody, response: { 200: CustomerAnswer } },
    },
    async (request) => {
      const id = expectId(parseCustomerId, request.params.id)
      await customers.expectStored(merchantOf(request.caller), id)
      await record(request, 'customer.update', id)
      return customerAnswer(
        await customers.update(merchantOf(request.caller), id, detailsOf(request.body)),
      )
    },
  )
  api.delete(
    `${path}/:id`,
    { config: write, schema: { tags, params: IdParams, response: { 200: Deleted } } },
    async (request) => {
      const id = expectId(parseCustomerId, request.params.id)
      await customers.expectStored(merchantOf(request.caller), id)
      await record(request, 'customer.delete', id)
      await customers.remove(merchantOf(request.caller), id)
      return { id }
    },
  )
  api.get(
    `${path}/:id/saved-payment-methods`,
    { config: read, schema: { tags, params: IdParams, response: { 200: SavedPaymentMethods } } },
    async (request) => {
      const methods = await paymentMethods.list(
        merchantOf(request.caller),
        expectId(parseCustomerId, request.params.id),
      )
      return { customer_payment_methods: methods.map(savedPaymentMethod) }
    },
  )
}

function cardRoutes(
  api: Api,
  version: string,
  { paymentMethods, credentials, clock, record }: Deps,
): void {
  const path = `${version}/payment-methods`
  const tags = ['payment methods']
  const read = { scope: 'vault:read' } as const
  const write = { scope: 'vault:write' } as const
  const answer = async (method: PaymentMethod) =>
    paymentMethodAnswer(method, await credentials.shown(method.record.merchantId, method.record.id))

  liftBodies(api, CARD_BODY_LIMIT_BYTES, liftSecrets)
  api.post(
    path,
    {
      config: write,
      schema: {
        tags,
        body: PaymentMethodBody,
        response: { 200: PaymentMethodAnswer, 201: PaymentMethodAnswer },
      },
    },
    async (request, reply) => {
      const { body, secrets } = request
      const { card } = body.payment_method_data
      const customer =
        body.customer_id === undefined ? undefined : expectId(parseCustomerId, body.customer_id)
      if (customer === undefined && body.storage_type === 'persistent') {
        throw invalidField('invalid_value', 'storage_type')
      }
      const newCard = {
        number: cardNumber(card.card_number, secrets),
        expiry: expiry(card, clock()),
        cvc: card.card_cvc === undefined ? undefined : cvc(card.card_cvc, secrets),
        description: {
          card_holder_name: cleanText('card_holder_name', card.card_holder_name),
          nick_name: cleanText('nick_name', card.nick_name),
          card_network: card.card_network ?? null,
          card_issuer: cleanText('card_issuer', card.card_issuer),
          card_type: card.card_type ?? null,
          card_issuing_country: card.card_issuing_country ?? null,
        },
      }
      if (secrets.length !== (card.card_cvc === undefined ? 1 : 2)) {
        throw new AppError('malformed_body') // said twice, or where no card belongs
      }
      const method = await paymentMethods.create(merchantOf(request.caller), {
        customerId: customer,
        isVolatile: customer === undefined || body.storage_type === 'volatile',
        card: newCard,
        subtype: body.payment_method_subtype ?? null,
        billing: body.billing ?? null,
        metadata: body.metadata ?? null,
      })
      const action = method.isNew ? 'payment_method.create' : 'payment_method.update'
      await record(request, action, method.record.id)
      return reply.code(method.isNew ? 201 : 200).send(await answer(method))
    },
  )
  api.get(
    `${path}/:id`,
    { config: read, schema: { tags, params: IdParams, response: { 200: PaymentMethodAnswer } } },
    async (request) => {
      const id = expectId(parsePaymentMethodId, request.params.id)
      return answer(await paymentMethods.retrieve(merchantOf(request.caller), id))
    },
  )
  api.put(
    `${path}/:id/update-saved-payment-method`,
    {
      config: write,
      schema: { tags, params: IdParams, body: UpdateBody, response: { 200: PaymentMethodAnswer } },
    },
    async (request) => {
      const { card } = request.body.payment_method_data
      const id = expectId(parsePaymentMethodId, request.params.id)
      const holder = cleanText('card_holder_name', card.card_holder_name)
      const nick = cleanText('nick_name', card.nick_name)
      if (request.secrets.length !== (card.card_cvc === undefined ? 0 : 1)) {
        throw new AppError('malformed_body')
      }
      const changes = {
        ...(holder === null ? {} : { card_holder_name: holder }),
        ...(nick === null ? {} : { nick_name: nick }),
        cvc: card.card_cvc === undefined ? undefined : cvc(card.card_cvc, request.secrets),
      }
      await paymentMethods.expectStored(merchantOf(request.caller), id)
      await record(request, 'payment_method.update', id)
      const method = await paymentMethods.update(merchantOf(request.caller), id, changes)
      return answer(method)
    },
  )
  api.delete(
    `${path}/:id`,
    { config: write, schema: { tags, params: IdParams, response: { 200: Deleted } } },
    async (request) => {
      const id = expectId(parsePaymentMethodId, request.params.id)
      await paymentMethods.expectStored(merchantOf(request.caller), id)
      await record(request, 'payment_method.delete', id)
      await paymentMethods.remove(merchantOf(request.caller), id)
      return { id }
    },
  )
}

function tokenRoutes(api: Api, version: string, { tokens, record }: Deps): void {
  const path = `${version}/tokenize`
  const tags = ['tokens']
  const write = { scope: 'vault:write' } as const
  liftBodies(api, TOKEN_BODY_LIMIT_BYTES, (chunks) =>
    liftValue(chunks, 'token_request', TOKEN_VALUE_LIMITS),
  )

  api.post(
    path,
    { config: write, schema: { tags, body: TokenBody, response: { 201: TokenAnswer } } },
    async (request, reply) => {
      const { customer_id, ttl_s } = request.body
      const [json] = request.secrets
      if (json === undefined) throw invalidField('missing_field', 'token_request')
      const token = await tokens.create(merchantOf(request.caller), {
        customerId: customer_id === undefined ? undefined : expectId(parseCustomerId, customer_id),
        ttlMs: ttl_s === undefined ? undefined : ttl_s * 1000,
        json,
      })
      await record(request, 'token.create', token.id)
      return reply.code(201).send(tokenAnswer(token))
    },
  )
  api.delete(
    `${path}/:id`,
    {
      config: write,
      schema: { tags, params: IdParams, body: TokenRemoval, response: { 200: Deleted } },
    },
    async (request) => {
      const id = expectId(parseTokenId, request.params.id)
      await tokens.expectStored(merchantOf(request.caller), id)
      await record(request, 'token.delete', id)
      await tokens.remove(merchantOf(request.caller), id)
      return { id }
    },
  )
}

/** JSON bodies of these routes are read as raw chunks, which `lift` overwrites. */
function liftBodies(
  api: Api,
  limitBytes: number,
  lift: (chunks: readonly Buffer[]) => LiftedBody,
): void {
  api.decorateRequest('secrets')
  api.removeContentTypeParser('application/json')
  api.addContentTypeParser('application/json', (request, payload, done) => {
    request.secrets = []
    const chunks: Buffer[] = []
    let size = 0
    payload.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size > limitBytes) chunk.fill(0)
      else chunks.push(chunk)
    })
    payload.on('error', (error: Error) => {
      wipe(chunks)
      done(error)
    })
    payload.on('end', () => {
      try {
        if (size > limitBytes) {
          wipe(chunks)
          throw new AppError('body_too_large')
        }
        // Some clients declare a type for the body that a DELETE does not have.
        if (size === 0 && request.method === 'DELETE') {
          done(null, undefined)
          return
        }
        const lifted = lift(chunks)
        request.secrets = lifted.secrets
        done(null, lifted.body)
      } catch (error) {
        done(error as Error)
      }
    })
  })
  // With the answer, not with the end of the connection: a caller may hang up while what it sent is being sealed.
  api.addHook('onSend', async (request) => {
    wipe(request.secrets ?? [])
  })
}

/** An id that cannot be one is not found, like one that is not there. */
/** What is no id looks like one of nothing. */
function expectId<Id>(parse: (input: string) => Id | undefined, input: string): Id {
  const id = parse(input)
  if (id === undefined) throw new AppError('not_found')
  return id
}

function cardNumber(value: string, secrets: readonly Buffer[]): CardDigits {
  const secret = secretOf(value, secrets)
  const digits =
    secret === undefined || secret.length > CARD_LENGTH_MAX ? undefined : parseCardNumber(secret)
  if (digits === undefined) throw invalidField('invalid_value', 'card_number')
  return digits
}

function cvc(value: string, secrets: readonly Buffer[]): Buffer {
  const secret = secretOf(value, secrets)
  const isCode =
    secret !== undefined &&
    (secret.length === 3 || secret.length === 4) &&
    secret.every((byte) => byte >= 0x30 && byte <= 0x39)
  if (!isCode) throw invalidField('invalid_value', 'card_cvc')
  return secret
}

function expiry(card: CardBody, nowMs: number): Expiry {
  const parsed = parseExpiry(card.card_exp_month, card.card_exp_year)
  if (parsed === undefined) {
    const isMonth = parseExpiry(card.card_exp_month, '2000') !== undefined
    throw invalidField('invalid_value', isMonth ? 'card_exp_year' : 'card_exp_month')
  }
  if (isExpired(parsed, nowMs)) throw invalidField('invalid_value', 'card_exp_year')
  return parsed
}

const CONTROL_CHARACTER = /\p{Cc}/u

function cleanText(field: string, text: string | undefined): string | null {
  if (text === undefined) return null
  if (CONTROL_CHARACTER.test(text) || !text.isWellFormed() || holdsCardNumber(text))
    throw invalidField('invalid_value', field)
  return text
}

/** What the body says; TypeBox's optional properties may be undefined, ours may not. */
function detailsOf(body: Type.Static<typeof CustomerBody>): Partial<CustomerDetails> {
  for (const field of ['name', 'email', 'description'] as const) cleanText(field, body[field])
  return body as Partial<CustomerDetails>
}
