// Routes of customers.

import Type from 'typebox'
import { invalidField } from '../../core/errors.ts'
import { expectId, parseCustomerId, parsePaymentMethodId } from '../../core/ids.ts'
import type { RecordAct } from '../../http/acts.ts'
import { type Api, merchantOf } from '../../http/api.ts'
import { PageQuery, page } from '../../http/schemas.ts'
import type { PaymentMethods } from '../payment-methods/payment-methods.ts'
import { SavedPaymentMethods, savedPaymentMethod } from '../payment-methods/schemas.ts'
import { Deleted, IdParams } from '../schemas.ts'
import { expectCleanDetails } from './clean-details.ts'
import type { Customers } from './customers.ts'
import { CustomerAnswer, CustomerBody, CustomerChanges, customerAnswer } from './schemas.ts'

export function customerRoutes(
  api: Api,
  version: string,
  {
    customers,
    paymentMethods,
    record,
  }: { customers: Customers; paymentMethods: PaymentMethods; record: RecordAct },
): void {
  const path = `${version}/customers`
  const tags = ['customers']
  const read = { scope: 'vault:read' } as const
  const write = { scope: 'vault:write' } as const

  api.post(
    path,
    { config: write, schema: { tags, body: CustomerBody, response: { 201: CustomerAnswer } } },
    async (request, reply) => {
      const customer = await customers.create(
        merchantOf(request.caller),
        expectCleanDetails(request.body),
      )
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
      schema: { tags, params: IdParams, body: CustomerChanges, response: { 200: CustomerAnswer } },
    },
    async (request) => {
      const id = expectId(parseCustomerId, request.params.id)
      const merchantId = merchantOf(request.caller)
      const { default_payment_method_id: named, ...said } = request.body
      const details = expectCleanDetails(said)
      const newDefault = typeof named === 'string' ? parsePaymentMethodId(named) : named
      if (newDefault === undefined && named !== undefined) {
        throw invalidField('invalid_value', 'default_payment_method_id')
      }
      await customers.expectStored(merchantId, id)
      await record(request, 'customer.update', id)
      return customerAnswer(await customers.update(merchantId, id, details, newDefault))
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
      const id = expectId(parseCustomerId, request.params.id)
      const merchantId = merchantOf(request.caller)
      const methods = await paymentMethods.list(merchantId, id)
      const byDefault = await customers.defaultOf(merchantId, id)
      return {
        customer_payment_methods: methods.map((method) =>
          savedPaymentMethod(method, method.record.id === byDefault),
        ),
      }
    },
  )
}
