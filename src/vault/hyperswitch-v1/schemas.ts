// Hyperswitch's older API on the wire (v1, paths without a version): its shapes, and how ours become them.

import Type, { type Static } from 'typebox'
import { isoTime } from '../../core/clock.ts'
import { Json, Nullable, strict, Time } from '../../http/schemas.ts'
import type { Customer } from '../customers/customers.ts'
import { CustomerText, Reference } from '../customers/schemas.ts'
import type { ListedPaymentMethod } from '../payment-methods/payment-methods.ts'
import { CardBody, savedPaymentMethod, WalletBody } from '../payment-methods/schemas.ts'
import { Name } from '../schemas.ts'

export const CustomerBody = Type.Object(
  {
    customer_id: Type.Optional(Reference),
    ...CustomerText,
    address: Type.Optional(Json),
    metadata: Type.Optional(Json),
  },
  strict,
)

export const CustomerAnswer = Type.Object({
  customer_id: Type.String({ description: "The merchant's own, or the one that was made." }),
  name: Nullable(Type.String()),
  email: Nullable(Type.String()),
  phone: Nullable(Type.String()),
  phone_country_code: Nullable(Type.String()),
  description: Nullable(Type.String()),
  address: Nullable(Json),
  metadata: Nullable(Json),
  created_at: Time,
  default_payment_method_id: Nullable(Type.String()),
})

export const CustomerDeleted = Type.Object({
  customer_id: Type.String(),
  customer_deleted: Type.Literal(true),
  address_deleted: Type.Literal(true),
  payment_methods_deleted: Type.Literal(true),
})

export const customerIdOf = ({ id, details }: Customer) => details.merchant_reference_id ?? id

export function customerAnswer(customer: Customer): Static<typeof CustomerAnswer> {
  const { name, email, phone, phone_country_code, description, metadata } = customer.details
  return {
    customer_id: customerIdOf(customer),
    name,
    email,
    phone,
    phone_country_code,
    description,
    address: customer.details.default_billing_address,
    metadata,
    created_at: isoTime(customer.createdAtMs),
    default_payment_method_id: customer.defaultPaymentMethodId ?? null,
  }
}

const Card = Type.Object(
  { ...CardBody.properties, card_issuing_country_code: Type.Optional(Name) },
  strict,
)

export const PaymentMethodBody = Type.Object(
  {
    customer_id: Type.String(),
    payment_method: Type.Enum(['card', 'wallet'], { type: 'string' }),
    payment_method_type: Type.Optional(Type.String({ pattern: '^[a-z_]{1,32}$' })),
    payment_method_issuer: Type.Optional(Name),
    card_network: CardBody.properties.card_network,
    card: Type.Optional(Card),
    wallet: Type.Optional(WalletBody),
    payment_method_data: Type.Optional(Type.Object({ card: Card }, strict)),
    metadata: Type.Optional(Json),
    billing: Type.Optional(Json),
  },
  strict,
)

const CardAnswer = Type.Object({
  scheme: Nullable(Type.String()),
  issuer_country: Nullable(Type.String()),
  last4_digits: Nullable(Type.String()),
  expiry_month: Type.String(),
  expiry_year: Type.String(),
  card_token: Type.Null(),
  card_holder_name: Nullable(Type.String()),
  card_fingerprint: Type.Null(),
  nick_name: Nullable(Type.String()),
  card_network: Nullable(Type.String()),
  card_isin: Nullable(Type.String({ description: 'First six digits' })),
  card_issuer: Nullable(Type.String()),
  card_type: Nullable(Type.String()),
  saved_to_locker: Type.Boolean(),
})

const shared = {
  customer_id: Type.String(),
  payment_method_id: Type.String({ description: 'The token: put it into placeholders.' }),
  payment_method: Nullable(Type.String()),
  payment_method_type: Nullable(Type.String()),
  card: Nullable(CardAnswer),
  recurring_enabled: Type.Boolean(),
  installment_payment_enabled: Type.Literal(false),
  payment_experience: Type.Null(),
  metadata: Nullable(Json),
  created: Time,
  last_used_at: Nullable(Time),
}

export const PaymentMethodAnswer = Type.Object({
  merchant_id: Type.String(),
  ...shared,
  client_secret: Type.Null(),
})

export const PaymentMethodDeleted = Type.Object({
  payment_method_id: Type.String(),
  deleted: Type.Literal(true),
})

export const DefaultAnswer = Type.Object({
  default_payment_method_id: Type.String(),
  customer_id: Type.String(),
  payment_method: Nullable(Type.String()),
  payment_method_type: Nullable(Type.String()),
})

export const PaymentMethodList = Type.Object({
  customer_payment_methods: Type.Array(
    Type.Object({
      ...shared,
      payment_token: Type.Null(),
      requires_cvv: Type.Boolean(),
      default_payment_method_set: Type.Boolean(),
      billing: Nullable(Json),
      bank: Nullable(Type.Object({ mask: Type.String() })),
      surcharge_details: Type.Null(),
    }),
  ),
  is_guest_customer: Type.Literal(false),
})

function sharedAnswer(method: ListedPaymentMethod, customerId: string) {
  const { payment_method_data, ...saved } = savedPaymentMethod(method, false)
  const card = payment_method_data?.card
  return {
    customer_id: customerId,
    payment_method_id: saved.id,
    payment_method: saved.payment_method_type,
    payment_method_type: saved.payment_method_subtype,
    card: card === undefined ? null : { ...card, scheme: card.card_network, card_token: null },
    recurring_enabled: saved.recurring_enabled,
    installment_payment_enabled: false as const,
    payment_experience: null,
    metadata: method.details.metadata,
    created: saved.created,
    last_used_at: saved.last_used_at,
  }
}

export function paymentMethodAnswer(
  method: ListedPaymentMethod,
  customerId: string,
): Static<typeof PaymentMethodAnswer> {
  return {
    merchant_id: method.record.merchantId,
    ...sharedAnswer(method, customerId),
    client_secret: null,
  }
}

export function listAnswer(
  methods: readonly ListedPaymentMethod[],
  customer: Customer,
): Static<typeof PaymentMethodList> {
  return {
    customer_payment_methods: methods.map((method) => {
      const isDefault = method.record.id === customer.defaultPaymentMethodId
      const { requires_cvv, billing, bank } = savedPaymentMethod(method, isDefault)
      return {
        ...sharedAnswer(method, customerIdOf(customer)),
        payment_token: null,
        requires_cvv,
        default_payment_method_set: isDefault,
        billing,
        bank,
        surcharge_details: null,
      }
    }),
    is_guest_customer: false,
  }
}
