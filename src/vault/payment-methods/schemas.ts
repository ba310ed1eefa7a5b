// Payment methods on the wire: the shapes of Hyperswitch's (v2), and how ours become them.

import Type, { type Static } from 'typebox'
import { isoTime } from '../../core/clock.ts'
import { Json, Nullable, strict, Time } from '../../http/schemas.ts'
import { Name } from '../schemas.ts'
import type { ShownCredentials } from './credentials.ts'
import type { PaymentMethod } from './payment-methods.ts'

const CardBody = Type.Object(
  {
    card_number: Type.String({
      description: '12 to 19 digits that pass Luhn; blanks and dashes are ignored.',
    }),
    card_exp_month: Type.String({ maxLength: 2, description: '1 to 12' }),
    card_exp_year: Type.String({ maxLength: 4, description: 'Two or four digits' }),
    card_cvc: Type.Optional(
      Type.String({
        description: '3 or 4 digits. Kept apart from the card, for a short time and one use.',
      }),
    ),
    card_holder_name: Type.Optional(Name),
    nick_name: Type.Optional(Name),
    card_network: Type.Optional(Type.String({ pattern: '^[A-Za-z]{2,32}$' })),
    card_issuer: Type.Optional(Name),
    card_type: Type.Optional(Type.String({ pattern: '^[A-Za-z_ ]{1,32}$' })),
    card_issuing_country: Type.Optional(Type.String({ pattern: '^[A-Za-z ]{2,64}$' })),
  },
  strict,
)

export type CardBody = Static<typeof CardBody>

export const PaymentMethodBody = Type.Object(
  {
    customer_id: Type.Optional(Type.String()),
    payment_method_type: Type.Literal('card'),
    payment_method_subtype: Type.Optional(Type.String({ pattern: '^[a-z_]{1,32}$' })),
    payment_method_data: Type.Object({ card: CardBody }, strict),
    storage_type: Type.Optional(
      Type.Union([Type.Literal('persistent'), Type.Literal('volatile')], {
        description: 'Without a customer always volatile.',
      }),
    ),
    billing: Type.Optional(Json),
    metadata: Type.Optional(Json),
  },
  strict,
)

export const UpdateBody = Type.Object(
  {
    payment_method_data: Type.Object(
      {
        card: Type.Object(
          {
            card_holder_name: Type.Optional(Name),
            nick_name: Type.Optional(Name),
            card_cvc: Type.Optional(Type.String()),
          },
          strict,
        ),
      },
      strict,
    ),
  },
  strict,
)

const CardAnswer = Type.Object({
  issuer_country: Nullable(Type.String()),
  last4_digits: Type.String(),
  expiry_month: Type.String(),
  expiry_year: Type.String(),
  card_holder_name: Nullable(Type.String()),
  card_fingerprint: Type.Null(),
  nick_name: Nullable(Type.String()),
  card_network: Nullable(Type.String()),
  card_isin: Type.String({ description: 'First six digits' }),
  card_issuer: Nullable(Type.String()),
  card_type: Nullable(Type.String()),
  saved_to_locker: Type.Boolean(),
})

const shared = {
  id: Type.String({ description: 'The token: put it into placeholders.' }),
  customer_id: Nullable(Type.String()),
  payment_method_type: Type.Literal('card'),
  payment_method_subtype: Nullable(Type.String()),
  recurring_enabled: Type.Boolean(),
  created: Time,
  last_used_at: Type.Null(),
  payment_method_data: Type.Object({ card: CardAnswer }),
  billing: Nullable(Json),
}

const ConnectorToken = Type.Object({
  connector_id: Type.String({
    description: '`connector` of the destination that answered with it.',
  }),
  token_type: Type.Literal('multi_use'),
  status: Type.Literal('active'),
  token: Type.String(),
})

export const PaymentMethodAnswer = Type.Object({
  ...shared,
  merchant_id: Type.String(),
  connector_tokens: Type.Array(ConnectorToken, {
    description:
      "Tokens of PSPs for this payment method, captured from their answers. Not shown in the list of a customer's.",
  }),
  network_token: Type.Null(),
  storage_type: Type.Union([Type.Literal('persistent'), Type.Literal('volatile')]),
  card_cvc_token_storage: Nullable(Type.Object({ is_stored: Type.Boolean(), expires_at: Time })),
  network_transaction_id: Nullable(
    Type.String({
      description:
        'The last one captured, for payments without the customer. Not in lists, either.',
    }),
  ),
  metadata: Nullable(Json),
})

export const SavedPaymentMethods = Type.Object({
  customer_payment_methods: Type.Array(
    Type.Object({
      ...shared,
      bank: Type.Null(),
      requires_cvv: Type.Boolean(),
      is_default: Type.Boolean(),
    }),
  ),
})

function sharedAnswer({ record, details }: PaymentMethod) {
  const { card } = details
  return {
    id: record.id,
    customer_id: record.customerId ?? null,
    payment_method_type: 'card' as const,
    payment_method_subtype: details.subtype,
    recurring_enabled: record.customerId !== undefined && record.expiresAtMs === undefined,
    created: isoTime(record.createdAtMs),
    last_used_at: null,
    payment_method_data: {
      card: {
        issuer_country: card.card_issuing_country,
        last4_digits: card.last4,
        expiry_month: card.exp_month,
        expiry_year: card.exp_year,
        card_holder_name: card.card_holder_name,
        card_fingerprint: null,
        nick_name: card.nick_name,
        card_network: card.card_network,
        card_isin: card.bin,
        card_issuer: card.card_issuer,
        card_type: card.card_type,
        saved_to_locker: true,
      },
    },
    billing: details.billing,
  }
}

export function paymentMethodAnswer(
  method: PaymentMethod,
  credentials: ShownCredentials,
): Static<typeof PaymentMethodAnswer> {
  return {
    ...sharedAnswer(method),
    merchant_id: method.record.merchantId,
    connector_tokens: credentials.pspTokens.map(({ connector, token }) => ({
      connector_id: connector,
      token_type: 'multi_use',
      status: 'active',
      token,
    })),
    network_token: null,
    storage_type: method.record.expiresAtMs === undefined ? 'persistent' : 'volatile',
    card_cvc_token_storage:
      method.cvcExpiresAtMs === undefined
        ? null
        : { is_stored: true, expires_at: isoTime(method.cvcExpiresAtMs) },
    network_transaction_id: credentials.networkTransactionId ?? null,
    metadata: method.details.metadata,
  }
}

export function savedPaymentMethod(method: PaymentMethod) {
  return { ...sharedAnswer(method), bank: null, requires_cvv: true, is_default: false }
}
