// Customers on the wire: the shapes of Hyperswitch's (v2), and how ours become them.

import Type, { type Static } from 'typebox'
import { isoTime } from '../../core/clock.ts'
import { Json, Nullable, strict, Time } from '../../http/schemas.ts'
import { Name } from '../schemas.ts'
import type { Customer } from './customers.ts'

export const Reference = Type.String({ pattern: '^[A-Za-z0-9_.:@-]{1,64}$' })

export const CustomerText = {
  name: Type.Optional(Name),
  email: Type.Optional(Type.String({ minLength: 3, maxLength: 255 })),
  phone: Type.Optional(Type.String({ minLength: 1, maxLength: 32 })),
  phone_country_code: Type.Optional(Type.String({ minLength: 1, maxLength: 8 })),
  description: Type.Optional(Type.String({ maxLength: 255 })),
}

const customerFields = {
  merchant_reference_id: Type.Optional(Reference),
  ...CustomerText,
  default_billing_address: Type.Optional(Json),
  default_shipping_address: Type.Optional(Json),
  metadata: Type.Optional(Json),
}

export const CustomerBody = Type.Object(customerFields, strict)

export const CustomerChanges = Type.Object(
  {
    ...customerFields,
    default_payment_method_id: Type.Optional(
      Nullable(Type.String({ description: "One of the customer's; null: none." })),
    ),
  },
  strict,
)

export const CustomerAnswer = Type.Object({
  id: Type.String(),
  merchant_reference_id: Nullable(Type.String()),
  connector_customer_ids: Type.Null(),
  name: Nullable(Type.String()),
  email: Nullable(Type.String()),
  phone: Nullable(Type.String()),
  phone_country_code: Nullable(Type.String()),
  description: Nullable(Type.String()),
  default_billing_address: Nullable(Json),
  default_shipping_address: Nullable(Json),
  metadata: Nullable(Json),
  created_at: Time,
  default_payment_method_id: Nullable(Type.String()),
})

export function customerAnswer(customer: Customer): Static<typeof CustomerAnswer> {
  return {
    id: customer.id,
    connector_customer_ids: null,
    ...customer.details,
    created_at: isoTime(customer.createdAtMs),
    default_payment_method_id: customer.defaultPaymentMethodId ?? null,
  }
}
