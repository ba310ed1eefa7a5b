// Routes of payment methods. Their bodies are read as raw chunks, so that number and code never become strings (see
// ../lift.ts).

import { type CardDigits, parseCardNumber } from '../../core/card-number.ts'
import type { Clock } from '../../core/clock.ts'
import { AppError, invalidField } from '../../core/errors.ts'
import { type Expiry, isExpired, parseExpiry } from '../../core/expiry.ts'
import { expectId, parseCustomerId, parsePaymentMethodId } from '../../core/ids.ts'
import type { RecordAct } from '../../http/acts.ts'
import { type Api, merchantOf } from '../../http/api.ts'
import { liftBodies } from '../../http/lifted-bodies.ts'
import { cleanText } from '../clean-text.ts'
import { liftSecrets, secretOf } from '../lift.ts'
import { Deleted, IdParams } from '../schemas.ts'
import type { Credentials } from './credentials.ts'
import type { PaymentMethod, PaymentMethods } from './payment-methods.ts'
import {
  type CardBody,
  PaymentMethodAnswer,
  PaymentMethodBody,
  paymentMethodAnswer,
  UpdateBody,
} from './schemas.ts'

const BODY_LIMIT_BYTES = 64 * 1024
const CARD_LENGTH_MAX = 64

export function paymentMethodRoutes(
  api: Api,
  version: string,
  {
    paymentMethods,
    credentials,
    clock,
    record,
  }: {
    paymentMethods: PaymentMethods
    credentials: Credentials
    clock: Clock
    record: RecordAct
  },
): void {
  const path = `${version}/payment-methods`
  const tags = ['payment methods']
  const read = { scope: 'vault:read' } as const
  const write = { scope: 'vault:write' } as const
  const answer = async (method: PaymentMethod) =>
    paymentMethodAnswer(method, await credentials.shown(method.record.merchantId, method.record.id))

  liftBodies(api, BODY_LIMIT_BYTES, liftSecrets)
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
