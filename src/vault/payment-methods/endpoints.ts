// Routes of payment methods. Their bodies are read as raw chunks, so that numbers and codes never become strings (see
// ../lift.ts).

import type { FastifyReply } from 'fastify'
import Type, { type Static } from 'typebox'
import { fieldsIn } from '../../core/card-fields.ts'
import type { Clock } from '../../core/clock.ts'
import { AppError, invalidField } from '../../core/errors.ts'
import { expectId, parseCustomerId, parsePaymentMethodId } from '../../core/ids.ts'
import type { RecordAct, RecordReveal } from '../../http/acts.ts'
import { type Api, merchantOf } from '../../http/api.ts'
import { actingMerchant, checkClients, isServer } from '../../http/client-routes.ts'
import { liftBodies } from '../../http/lifted-bodies.ts'
import type { PaymentMethodRecord } from '../../store/contract.ts'
import { expectNoCardNumber } from '../clean-text.ts'
import { CARD_BODY_BYTES, liftSecrets } from '../lift.ts'
import type { Reveal } from '../reveal.ts'
import { Deleted, IdParams, ProfileHeader } from '../schemas.ts'
import type { Credentials } from './credentials.ts'
import { cvcOf, type NewInstrument, shownOf } from './instrument.ts'
import { parseChanges, parseInstrument, parseSubtype } from './parse.ts'
import type { PaymentMethod, PaymentMethods } from './payment-methods.ts'
import { rawPaymentMethodData } from './raw.ts'
import {
  ConfirmIntentBody,
  ENABLED_PAYMENT_METHODS,
  EnabledPaymentMethods,
  IntentAnswer,
  IntentBody,
  PaymentMethodAnswer,
  PaymentMethodBody,
  paymentMethodAnswer,
  UpdateBody,
} from './schemas.ts'

const Retrieval = Type.Object(
  {
    fetch_raw_detail: Type.Optional(Type.Enum(['true', 'false'])),
    force_sync: Type.Optional(
      Type.Enum(['true', 'false'], { description: 'What is shown is never older than the store.' }),
    ),
  },
  { additionalProperties: false },
)

export function paymentMethodRoutes(
  api: Api,
  version: string,
  {
    paymentMethods,
    credentials,
    clock,
    reveal,
    record,
    recordReveal,
  }: {
    paymentMethods: PaymentMethods
    credentials: Credentials
    clock: Clock
    reveal: Reveal
    record: RecordAct
    recordReveal: RecordReveal
  },
): void {
  const path = `${version}/payment-methods`
  const tags = ['payment methods']
  const read = { scope: 'vault:read' } as const
  const write = { scope: 'vault:write' } as const
  const answer = async (method: PaymentMethod) =>
    paymentMethodAnswer(method, await credentials.shown(method.record.merchantId, method.record.id))

  checkClients(api, paymentMethods.expectClient)
  liftBodies(api, CARD_BODY_BYTES, liftSecrets)
  api.post(
    path,
    {
      config: write,
      schema: {
        tags,
        headers: ProfileHeader,
        body: PaymentMethodBody,
        response: { 200: PaymentMethodAnswer, 201: PaymentMethodAnswer },
      },
    },
    async (request, reply) => {
      const { body, secrets } = request
      const { payment_method_type: type, payment_method_data: data } = body
      const customer =
        body.customer_id === undefined ? undefined : expectId(parseCustomerId, body.customer_id)
      const isVolatile = customer === undefined || body.storage_type === 'volatile'
      if (isVolatile && (body.storage_type === 'persistent' || data.proxy_card !== undefined)) {
        throw invalidField('invalid_value', 'storage_type')
      }
      const instrument = parseInstrument(type, data, secrets, clock())
      const merchantId = merchantOf(request.caller)
      const created = {
        profile: request.headers['x-profile-id'],
        customerId: customer,
        isVolatile,
        instrument,
        subtype: parseSubtype(instrument, body.payment_method_subtype),
        billing: expectNoCardNumber('billing', body.billing) ?? null,
        metadata: expectNoCardNumber('metadata', body.metadata) ?? null,
      }
      const method = await paymentMethods.create(merchantId, created, (id) =>
        record(request, 'payment_method.update', id),
      )
      if (method.isNew) await record(request, 'payment_method.create', method.record.id)
      return reply.code(method.isNew ? 201 : 200).send(await answer(method))
    },
  )
  api.post(
    `${path}/create-intent`,
    {
      config: write,
      schema: { tags, headers: ProfileHeader, body: IntentBody, response: { 201: IntentAnswer } },
    },
    async (request, reply) => {
      const { customer_id, billing, metadata } = request.body
      if (request.secrets.length > 0) throw new AppError('malformed_body')
      const merchantId = merchantOf(request.caller)
      const { method, clientSecret } = await paymentMethods.createIntent(merchantId, {
        profile: request.headers['x-profile-id'],
        customerId: expectId(parseCustomerId, customer_id),
        billing: expectNoCardNumber('billing', billing) ?? null,
        metadata: expectNoCardNumber('metadata', metadata) ?? null,
      })
      await record(request, 'payment_method.create', method.record.id)
      return reply.code(201).send({ ...(await answer(method)), client_secret: clientSecret })
    },
  )
  api.post(
    `${path}/:id/confirm-intent`,
    {
      config: { ...write, client: true },
      schema: {
        tags,
        params: IdParams,
        body: ConfirmIntentBody,
        response: { 200: PaymentMethodAnswer },
      },
    },
    async (request) => {
      const { body, secrets } = request
      const id = expectId(parsePaymentMethodId, request.params.id)
      const merchantId = actingMerchant(request)
      const { payment_method_type: type, payment_method_data: data } = body
      if (!isServer(request)) await paymentMethods.countTry(merchantId, id)
      // A page could name anybody's alias.
      if (data.proxy_card !== undefined && !isServer(request)) {
        throw invalidField('invalid_value', 'proxy_card')
      }
      const instrument = parseInstrument(type, data, secrets, clock())
      const intent = await paymentMethods.expectStored(merchantId, id)
      if (body.customer_id !== undefined && body.customer_id !== intent.customerId) {
        throw invalidField('invalid_value', 'customer_id')
      }
      const subtype = parseSubtype(instrument, body.payment_method_subtype)
      const method = await paymentMethods.confirmIntent(
        merchantId,
        id,
        { instrument, subtype },
        (changed) => record(request, 'payment_method.update', changed),
      )
      return isServer(request) ? answer(method) : pageAnswer(method, intent, instrument)
    },
  )
  api.get(
    `${path}/:id`,
    {
      config: read,
      schema: {
        tags,
        params: IdParams,
        querystring: Retrieval,
        response: { 200: PaymentMethodAnswer },
      },
    },
    async (request, reply) => {
      const { caller, query } = request
      const id = expectId(parsePaymentMethodId, request.params.id)
      const wantsRaw = query.fetch_raw_detail === 'true'
      if (wantsRaw && !caller.scopes.has('vault:reveal')) throw new AppError('permission_denied')
      const method = await paymentMethods.retrieve(merchantOf(caller), id)
      const shown = await answer(method)
      if (!wantsRaw || shown.status === 'awaiting_data') return shown
      const fields = fieldsIn(method.record.fields)
      await recordReveal(request, id, fields)
      const revealed = await reveal(method.record, undefined, fields, false)
      let raw: Buffer
      try {
        raw = rawPaymentMethodData(method.details, revealed)
      } finally {
        revealed.wipe()
      }
      return sendRaw(reply, shown, raw)
    },
  )
  api.get(
    `${path}/:id/list-enabled-payment-methods`,
    { config: read, schema: { tags, params: IdParams, response: { 200: EnabledPaymentMethods } } },
    async (request) => {
      const id = expectId(parsePaymentMethodId, request.params.id)
      await paymentMethods.expectStored(merchantOf(request.caller), id)
      return { payment_methods_enabled: ENABLED_PAYMENT_METHODS }
    },
  )
  api.put(
    `${path}/:id/update-saved-payment-method`,
    {
      config: write,
      schema: { tags, params: IdParams, body: UpdateBody, response: { 200: PaymentMethodAnswer } },
    },
    async (request) => {
      const { payment_method_data: data, billing, metadata } = request.body
      const id = expectId(parsePaymentMethodId, request.params.id)
      const changes = {
        ...parseChanges(data?.card ?? {}, request.secrets),
        ...(billing === undefined ? {} : { billing: expectNoCardNumber('billing', billing) }),
        ...(metadata === undefined ? {} : { metadata: expectNoCardNumber('metadata', metadata) }),
      }
      await paymentMethods.expectStored(merchantOf(request.caller), id)
      await record(request, 'payment_method.update', id)
      return answer(await paymentMethods.update(merchantOf(request.caller), id, changes))
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

/**
 * What a page is told of the intent that it confirmed: what it said itself. Whether the customer had that instrument
 * already, under which id, and what is known of it besides, is told to servers.
 */
function pageAnswer(
  { record, cvcExpiresAtMs }: PaymentMethod,
  { id, createdAtMs }: PaymentMethodRecord,
  said: NewInstrument,
): Static<typeof PaymentMethodAnswer> {
  const shown = shownOf(said, undefined, undefined, () => undefined)
  const method = {
    record: { ...record, id, createdAtMs },
    details: { ...shown, subtype: null, billing: null, metadata: null },
    cvcExpiresAtMs: cvcOf(said) === undefined ? undefined : cvcExpiresAtMs,
    lastUsedAtMs: undefined,
  }
  return paymentMethodAnswer(method, { pspTokens: [], networkTransactionId: undefined })
}

/** The answer with the plaintext in it: as bytes, which are overwritten when the system has them. */
function sendRaw(
  reply: FastifyReply,
  shown: Static<typeof PaymentMethodAnswer>,
  raw: Buffer,
): FastifyReply {
  const head = Buffer.from(`${JSON.stringify(shown).slice(0, -1)},"raw_payment_method_data":`)
  const body = Buffer.concat([head, raw, Buffer.from('}')])
  raw.fill(0)
  // A caller that has hung up closes no more.
  if (reply.raw.destroyed) body.fill(0)
  else reply.raw.once('close', () => body.fill(0))
  return reply.code(200).type('application/json; charset=utf-8').send(body)
}
