// Hyperswitch's older API (v1, paths without a version) over the same customers and payment methods. A customer is called
// by the merchant's own id there, which is `merchant_reference_id` everywhere else.

import Type from 'typebox'
import type { Clock } from '../../core/clock.ts'
import { AppError, invalidField } from '../../core/errors.ts'
import { expectId, type MerchantId, parseCustomerId, parsePaymentMethodId } from '../../core/ids.ts'
import type { RecordAct } from '../../http/acts.ts'
import { type Api, merchantOf } from '../../http/api.ts'
import { liftBodies } from '../../http/lifted-bodies.ts'
import { PageQuery, page } from '../../http/schemas.ts'
import { expectNoCardNumber } from '../clean-text.ts'
import { expectCleanDetails } from '../customers/clean-details.ts'
import type { Customer, CustomerDetails, Customers } from '../customers/customers.ts'
import { CARD_BODY_BYTES, liftSecrets } from '../lift.ts'
import { parseChanges, parseInstrument, parseSubtype } from '../payment-methods/parse.ts'
import type { PaymentMethods } from '../payment-methods/payment-methods.ts'
import { SavedMethodChanges } from '../payment-methods/schemas.ts'
import { IdParams } from '../schemas.ts'
import {
  CustomerAnswer,
  CustomerBody,
  CustomerDeleted,
  customerAnswer,
  customerIdOf,
  DefaultAnswer,
  listAnswer,
  PaymentMethodAnswer,
  PaymentMethodBody,
  PaymentMethodDeleted,
  PaymentMethodList,
  paymentMethodAnswer,
} from './schemas.ts'

const READ = { scope: 'vault:read' } as const
const WRITE = { scope: 'vault:write' } as const

export type HyperswitchV1Deps = {
  customers: Customers
  paymentMethods: PaymentMethods
  clock: Clock
  record: RecordAct
}

export function hyperswitchV1Routes(api: Api, deps: HyperswitchV1Deps): void {
  customerRoutes(api, deps)
  void api.register(async (scope: Api) => paymentMethodRoutes(scope, deps))
}

function finder(customers: Customers) {
  return async (merchantId: MerchantId, text: string): Promise<Customer> => {
    const id = parseCustomerId(text)
    return id === undefined
      ? customers.retrieveByReference(merchantId, text)
      : customers.retrieve(merchantId, id)
  }
}

function detailsOf(body: Type.Static<typeof CustomerBody>): Partial<CustomerDetails> {
  const { customer_id, address, ...rest } = expectCleanDetails(body)
  return {
    ...rest,
    ...(customer_id === undefined ? {} : { merchant_reference_id: customer_id }),
    ...(address === undefined ? {} : { default_billing_address: address }),
  }
}

function customerRoutes(api: Api, { customers, paymentMethods, record }: HyperswitchV1Deps): void {
  const tags = ['Hyperswitch v1: customers']
  const find = finder(customers)

  api.post(
    '/customers',
    { config: WRITE, schema: { tags, body: CustomerBody, response: { 200: CustomerAnswer } } },
    async (request) => {
      const customer = await customers.create(merchantOf(request.caller), detailsOf(request.body))
      await record(request, 'customer.create', customer.id)
      return customerAnswer(customer)
    },
  )
  api.get(
    '/customers/list',
    {
      config: READ,
      schema: {
        tags,
        querystring: PageQuery,
        response: { 200: Type.Array(CustomerAnswer) },
      },
    },
    async (request) => {
      const found = await customers.list(merchantOf(request.caller), page(request.query))
      return found.map(customerAnswer)
    },
  )
  api.get(
    '/customers/:id',
    { config: READ, schema: { tags, params: IdParams, response: { 200: CustomerAnswer } } },
    async (request) => customerAnswer(await find(merchantOf(request.caller), request.params.id)),
  )
  api.post(
    '/customers/:id',
    {
      config: WRITE,
      schema: { tags, params: IdParams, body: CustomerBody, response: { 200: CustomerAnswer } },
    },
    async (request) => {
      const merchantId = merchantOf(request.caller)
      const details = detailsOf(request.body)
      const { id } = await find(merchantId, request.params.id)
      await record(request, 'customer.update', id)
      return customerAnswer(await customers.update(merchantId, id, details))
    },
  )
  api.delete(
    '/customers/:id',
    { config: WRITE, schema: { tags, params: IdParams, response: { 200: CustomerDeleted } } },
    async (request) => {
      const merchantId = merchantOf(request.caller)
      const customer = await find(merchantId, request.params.id)
      await record(request, 'customer.delete', customer.id)
      await customers.remove(merchantId, customer.id)
      return {
        customer_id: customerIdOf(customer),
        customer_deleted: true,
        address_deleted: true,
        payment_methods_deleted: true,
      } as const
    },
  )
  api.get(
    '/customers/:id/payment_methods',
    { config: READ, schema: { tags, params: IdParams, response: { 200: PaymentMethodList } } },
    async (request) => {
      const merchantId = merchantOf(request.caller)
      const customer = await find(merchantId, request.params.id)
      return listAnswer(await paymentMethods.list(merchantId, customer.id), customer)
    },
  )
  api.post(
    '/customers/:id/payment_methods/:method/default',
    {
      config: WRITE,
      schema: {
        tags,
        params: Type.Object({ id: Type.String(), method: Type.String() }),
        response: { 200: DefaultAnswer },
      },
    },
    async (request) => {
      const merchantId = merchantOf(request.caller)
      const customer = await find(merchantId, request.params.id)
      const methodId = expectId(parsePaymentMethodId, request.params.method)
      const method = await paymentMethods.retrieve(merchantId, methodId)
      if (method.record.customerId !== customer.id) throw new AppError('not_found')
      await record(request, 'customer.update', customer.id)
      await customers.update(merchantId, customer.id, {}, methodId)
      const { payment_method, payment_method_type } = paymentMethodAnswer(method, '')
      return {
        default_payment_method_id: methodId,
        customer_id: customerIdOf(customer),
        payment_method,
        payment_method_type,
      }
    },
  )
}

function paymentMethodRoutes(
  api: Api,
  { customers, paymentMethods, clock, record }: HyperswitchV1Deps,
): void {
  const path = '/payment_methods'
  const tags = ['Hyperswitch v1: payment methods']
  const find = finder(customers)
  /** What belongs to a guest has no place in these shapes. */
  const expectCustomerOf = async (merchantId: MerchantId, text: string) => {
    const method = await paymentMethods.retrieve(merchantId, expectId(parsePaymentMethodId, text))
    const { customerId } = method.record
    if (customerId === undefined) throw new AppError('not_found')
    return { method, customer: await customers.retrieve(merchantId, customerId) }
  }

  liftBodies(api, CARD_BODY_BYTES, liftSecrets)
  api.post(
    path,
    {
      config: WRITE,
      schema: { tags, body: PaymentMethodBody, response: { 200: PaymentMethodAnswer } },
    },
    async (request) => {
      const { body, secrets } = request
      const merchantId = merchantOf(request.caller)
      const instrument = parseInstrument(body.payment_method, dataOf(body), secrets, clock())
      const customer = await find(merchantId, body.customer_id)
      const created = {
        profile: undefined,
        customerId: customer.id,
        isVolatile: false,
        instrument,
        subtype: parseSubtype(instrument, body.payment_method_type),
        billing: expectNoCardNumber('billing', body.billing) ?? null,
        metadata: expectNoCardNumber('metadata', body.metadata) ?? null,
      }
      const method = await paymentMethods.create(merchantId, created, (id) =>
        record(request, 'payment_method.update', id),
      )
      if (method.isNew) await record(request, 'payment_method.create', method.record.id)
      return paymentMethodAnswer(method, customerIdOf(customer))
    },
  )
  api.get(
    `${path}/:id`,
    { config: READ, schema: { tags, params: IdParams, response: { 200: PaymentMethodAnswer } } },
    async (request) => {
      const { method, customer } = await expectCustomerOf(
        merchantOf(request.caller),
        request.params.id,
      )
      return paymentMethodAnswer(method, customerIdOf(customer))
    },
  )
  api.post(
    `${path}/:id/update`,
    {
      config: WRITE,
      schema: {
        tags,
        params: IdParams,
        body: SavedMethodChanges,
        response: { 200: PaymentMethodAnswer },
      },
    },
    async (request) => {
      const merchantId = merchantOf(request.caller)
      const changes = parseChanges(request.body.card, request.secrets)
      const { method, customer } = await expectCustomerOf(merchantId, request.params.id)
      await record(request, 'payment_method.update', method.record.id)
      const updated = await paymentMethods.update(merchantId, method.record.id, changes)
      return paymentMethodAnswer(updated, customerIdOf(customer))
    },
  )
  api.delete(
    `${path}/:id`,
    { config: WRITE, schema: { tags, params: IdParams, response: { 200: PaymentMethodDeleted } } },
    async (request) => {
      const merchantId = merchantOf(request.caller)
      const id = expectId(parsePaymentMethodId, request.params.id)
      await paymentMethods.expectStored(merchantId, id)
      await record(request, 'payment_method.delete', id)
      await paymentMethods.remove(merchantId, id)
      return { payment_method_id: id, deleted: true } as const
    },
  )
}

/** What this API says in two places, where the others say it in one. */
function dataOf(body: Type.Static<typeof PaymentMethodBody>) {
  if (body.payment_method === 'wallet') {
    if (body.wallet === undefined) throw invalidField('missing_field', 'wallet')
    return { wallet: body.wallet }
  }
  const said = body.card ?? body.payment_method_data?.card
  if (said === undefined) throw invalidField('missing_field', 'card')
  const { card_issuing_country_code: countryCode, ...card } = said
  const network = card.card_network ?? body.card_network
  const issuer = card.card_issuer ?? body.payment_method_issuer
  const country = card.card_issuing_country ?? countryCode
  return {
    card: {
      ...card,
      ...(network === undefined ? {} : { card_network: network }),
      ...(issuer === undefined ? {} : { card_issuer: issuer }),
      ...(country === undefined ? {} : { card_issuing_country: country }),
    },
  }
}
