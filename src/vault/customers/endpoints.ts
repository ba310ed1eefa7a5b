// Routes of customers.

import Type from 'typebox'
import { expectId, parseCustomerId } from '../../core/ids.ts'
import type { RecordAct } from '../../http/acts.ts'
import { type Api, merchantOf } from '../../http/api.ts'
import { Count, page } from '../../http/schemas.ts'
import { cleanText } from '../clean-text.ts'
import type { PaymentMethods } from '../payment-methods/payment-methods.ts'
import { SavedPaymentMethods, savedPaymentMethod } from '../payment-methods/schemas.ts'
import { Deleted, IdParams } from '../schemas.ts'
import type { CustomerDetails, Customers } from './customers.ts'
import { CustomerAnswer, CustomerBody, customerAnswer } from './schemas.ts'

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

/** What the body says; TypeBox's optional properties may be undefined, ours may not. */
function detailsOf(body: Type.Static<typeof CustomerBody>): Partial<CustomerDetails> {
  for (const field of ['name', 'email', 'description'] as const) cleanText(field, body[field])
  return body as Partial<CustomerDetails>
}
