// Payment methods on the wire: the shapes of Hyperswitch's (v2), and how ours become them.

import Type, { type Static } from 'typebox'
import { isoTime } from '../../core/clock.ts'
import { Json, Nullable, strict, Time } from '../../http/schemas.ts'
import { Name } from '../schemas.ts'
import type { ShownCredentials } from './credentials.ts'
import { BANK_DEBITS, kindOf, type MaskedCard, WALLET_TOKEN_MAX, WALLETS } from './instrument.ts'
import type { ListedPaymentMethod, PaymentMethod } from './payment-methods.ts'

const CardDate = {
  card_exp_month: Type.String({ maxLength: 2, description: '1 to 12' }),
  card_exp_year: Type.String({ maxLength: 4, description: 'Two or four digits' }),
}
const Cvc = Type.Optional(
  Type.String({
    description: '3 or 4 digits. Kept apart from the card, for a short time and one use.',
  }),
)
const CardDescription = {
  card_holder_name: Type.Optional(Name),
  nick_name: Type.Optional(Name),
  card_network: Type.Optional(Type.String({ pattern: '^[A-Za-z]{2,32}$' })),
  card_issuer: Type.Optional(Name),
  card_type: Type.Optional(Type.String({ pattern: '^[A-Za-z_ ]{1,32}$' })),
  card_issuing_country: Type.Optional(Type.String({ pattern: '^[A-Za-z ]{2,64}$' })),
}

export const CardBody = Type.Object(
  {
    card_number: Type.String({
      description: '12 to 19 digits that pass Luhn; blanks and dashes are ignored.',
    }),
    ...CardDate,
    card_cvc: Cvc,
    ...CardDescription,
  },
  strict,
)

export type CardBody = Static<typeof CardBody>

const ProxyCardBody = Type.Object(
  {
    card_number: Type.String({ description: 'The alias that the external vault gave out.' }),
    ...CardDate,
    bin_number: Type.Optional(Type.String({ pattern: '^[0-9]{6}([0-9]{2})?$' })),
    last_four: Type.Optional(Type.String({ pattern: '^[0-9]{4}$' })),
    card_cvc: Cvc,
    ...CardDescription,
  },
  { ...strict, description: 'A card whose number another vault keeps.' },
)

export type ProxyCardBody = Static<typeof ProxyCardBody>

const WalletToken = Type.String({ minLength: 1, maxLength: WALLET_TOKEN_MAX })

export const WalletBody = Type.Object(
  {
    paypal: Type.Optional(Type.Object({ email: Type.String({ maxLength: 320 }) }, strict)),
    apple_pay: Type.Optional(
      Type.Object(
        {
          payment_data: Type.Union([WalletToken, Json]),
          payment_method: Type.Optional(
            Type.Object(
              {
                display_name: Type.Optional(Name),
                network: Type.Optional(Name),
                type: Type.Optional(Name),
              },
              strict,
            ),
          ),
          transaction_identifier: Type.Optional(Name),
        },
        strict,
      ),
    ),
    google_pay: Type.Optional(
      Type.Object(
        {
          type: Type.Optional(Name),
          description: Type.Optional(Name),
          info: Type.Optional(
            Type.Object(
              {
                card_network: Type.Optional(Name),
                card_details: Type.Optional(Name),
              },
              strict,
            ),
          ),
          tokenization_data: Type.Object({ type: Type.Optional(Name), token: WalletToken }, strict),
        },
        strict,
      ),
    ),
  },
  strict,
)

export type WalletBody = Static<typeof WalletBody>

const BankDebitBody = Type.Object(
  {
    sepa: Type.Optional(
      Type.Object({ iban: Type.String(), account_holder_name: Type.Optional(Name) }, strict),
    ),
    ach: Type.Optional(
      Type.Object(
        {
          account_number: Type.String({ description: '4 to 17 digits' }),
          routing_number: Type.String({ description: 'Nine digits with their check digit (ABA)' }),
          account_holder_name: Type.Optional(Name),
        },
        strict,
      ),
    ),
  },
  strict,
)

export type BankDebitBody = Static<typeof BankDebitBody>

export const PaymentMethodTypeBody = Type.Enum(['card', 'wallet', 'bank_debit'], { type: 'string' })

export type PaymentMethodType = Static<typeof PaymentMethodTypeBody>

export const PaymentMethodSubtype = Type.Optional(Type.String({ pattern: '^[a-z_]{1,32}$' }))

export const PaymentMethodData = Type.Object(
  {
    card: Type.Optional(CardBody),
    proxy_card: Type.Optional(ProxyCardBody),
    wallet: Type.Optional(WalletBody),
    bank_debit: Type.Optional(BankDebitBody),
  },
  { ...strict, description: 'Exactly one of them, as `payment_method_type` says.' },
)

export const StorageType = Type.Optional(
  Type.Enum(['persistent', 'volatile'], { description: 'Without a customer always volatile.' }),
)

/** Network tokens are not built yet: nobody is told that there will be one. */
export const NetworkTokenization = Type.Optional(
  Type.Object({ enable: Type.Literal('Skip') }, strict),
)

export const PaymentMethodBody = Type.Object(
  {
    customer_id: Type.Optional(Type.String()),
    payment_method_type: PaymentMethodTypeBody,
    payment_method_subtype: PaymentMethodSubtype,
    payment_method_data: PaymentMethodData,
    storage_type: StorageType,
    network_tokenization: NetworkTokenization,
    billing: Type.Optional(Json),
    metadata: Type.Optional(Json),
  },
  strict,
)

export const IntentBody = Type.Object(
  {
    customer_id: Type.String(),
    billing: Type.Optional(Json),
    metadata: Type.Optional(Json),
  },
  strict,
)

export const ConfirmIntentBody = Type.Object(
  {
    customer_id: Type.Optional(Type.String({ description: 'The one it was created for.' })),
    payment_method_type: PaymentMethodTypeBody,
    payment_method_subtype: PaymentMethodSubtype,
    payment_method_data: PaymentMethodData,
  },
  strict,
)

const CardChanges = Type.Object(
  {
    card_holder_name: Type.Optional(Name),
    nick_name: Type.Optional(Name),
    card_cvc: Type.Optional(Type.String()),
  },
  strict,
)

export const SavedMethodChanges = Type.Object({ card: CardChanges }, strict)

export const UpdateBody = Type.Object(
  {
    payment_method_data: Type.Optional(SavedMethodChanges),
    billing: Type.Optional(Json),
    metadata: Type.Optional(Json),
  },
  strict,
)

const CardAnswer = Type.Object({
  issuer_country: Nullable(Type.String()),
  last4_digits: Nullable(Type.String()),
  expiry_month: Type.String(),
  expiry_year: Type.String(),
  card_holder_name: Nullable(Type.String()),
  card_fingerprint: Type.Null(),
  nick_name: Nullable(Type.String()),
  card_network: Nullable(Type.String()),
  card_isin: Nullable(Type.String({ description: 'First six digits' })),
  card_issuer: Nullable(Type.String()),
  card_type: Nullable(Type.String()),
  saved_to_locker: Type.Boolean({ description: 'False: another vault keeps its number.' }),
})

const MethodDataAnswer = Nullable(
  Type.Object({
    card: Type.Optional(CardAnswer),
    wallet: Type.Optional(Json),
    bank_debit: Type.Optional(Json),
  }),
)

const shared = {
  id: Type.String({ description: 'The token: put it into placeholders.' }),
  customer_id: Nullable(Type.String()),
  payment_method_type: Nullable(Type.String()),
  payment_method_subtype: Nullable(Type.String()),
  recurring_enabled: Type.Boolean(),
  created: Time,
  last_used_at: Nullable(Time),
  payment_method_data: MethodDataAnswer,
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

const methodAnswer = {
  ...shared,
  merchant_id: Type.String(),
  status: Type.Enum(['active', 'awaiting_data']),
  connector_tokens: Type.Array(ConnectorToken, {
    description:
      "Tokens of PSPs for this payment method, captured from their answers. Not shown in the list of a customer's.",
  }),
  network_token: Type.Null(),
  storage_type: Type.Enum(['persistent', 'volatile']),
  card_cvc_token_storage: Nullable(Type.Object({ is_stored: Type.Boolean(), expires_at: Time })),
  network_transaction_id: Nullable(
    Type.String({
      description:
        'The last one captured, for payments without the customer. Not in lists, either.',
    }),
  ),
  metadata: Nullable(Json),
}

export const PaymentMethodAnswer = Type.Object({
  ...methodAnswer,
  raw_payment_method_data: Type.Optional(
    Type.Object(
      {
        card: Type.Optional(Json),
        wallet: Type.Optional(Json),
        bank_debit: Type.Optional(Json),
      },
      { description: 'With `fetch_raw_detail=true`, for keys with scope `vault:reveal`.' },
    ),
  ),
})

export const IntentAnswer = Type.Object({
  ...methodAnswer,
  client_secret: Type.String({ description: 'Shown this once.' }),
})

const listed = {
  ...shared,
  bank: Nullable(Type.Object({ mask: Type.String() })),
  requires_cvv: Type.Boolean(),
  is_default: Type.Boolean(),
  network_tokenization: Type.Null(),
  psp_tokenization_enabled: Type.Boolean(),
}

export const SavedPaymentMethod = Type.Object(listed)

export const SavedPaymentMethods = Type.Object({
  customer_payment_methods: Type.Array(SavedPaymentMethod),
})

const EnabledPaymentMethod = Type.Object({
  payment_method_type: Type.String(),
  payment_method_subtype: Type.String(),
})

export const EnabledPaymentMethods = Type.Object({
  payment_methods_enabled: Type.Array(EnabledPaymentMethod),
})

/** What can be collected. */
export const ENABLED_PAYMENT_METHODS: Static<typeof EnabledPaymentMethod>[] = [
  ...['credit', 'debit'].map((subtype) => ['card', subtype] as const),
  ...WALLETS.map((subtype) => ['wallet', subtype] as const),
  ...BANK_DEBITS.map((subtype) => ['bank_debit', subtype] as const),
].map(([payment_method_type, payment_method_subtype]) => ({
  payment_method_type,
  payment_method_subtype,
}))

function cardAnswer(card: MaskedCard, isHere: boolean): Static<typeof CardAnswer> {
  return {
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
    saved_to_locker: isHere,
  }
}

function dataAnswer(details: ListedPaymentMethod['details']): Static<typeof MethodDataAnswer> {
  if ('card' in details) return { card: cardAnswer(details.card, details.external === undefined) }
  if ('wallet' in details) return { wallet: details.wallet }
  return 'bank_debit' in details ? { bank_debit: details.bank_debit } : null
}

function sharedAnswer({ record, details, lastUsedAtMs }: ListedPaymentMethod) {
  const kind = kindOf(details)
  return {
    id: record.id,
    customer_id: record.customerId ?? null,
    payment_method_type: kind === 'awaiting' ? null : kind,
    payment_method_subtype: details.subtype,
    recurring_enabled:
      kind !== 'awaiting' && record.customerId !== undefined && record.expiresAtMs === undefined,
    created: isoTime(record.createdAtMs),
    last_used_at: lastUsedAtMs === undefined ? null : isoTime(lastUsedAtMs),
    payment_method_data: dataAnswer(details),
    billing: details.billing,
  }
}

export function paymentMethodAnswer(
  method: PaymentMethod,
  credentials: ShownCredentials,
): Static<typeof PaymentMethodAnswer> {
  const isAwaiting = 'awaiting' in method.details
  return {
    ...sharedAnswer(method),
    merchant_id: method.record.merchantId,
    status: isAwaiting ? 'awaiting_data' : 'active',
    connector_tokens: credentials.pspTokens.map(({ connector, token }) => ({
      connector_id: connector,
      token_type: 'multi_use',
      status: 'active',
      token,
    })),
    network_token: null,
    storage_type: isAwaiting || method.record.expiresAtMs === undefined ? 'persistent' : 'volatile',
    card_cvc_token_storage: cvcStorage(method.cvcExpiresAtMs),
    network_transaction_id: credentials.networkTransactionId ?? null,
    metadata: method.details.metadata,
  }
}

export function cvcStorage(expiresAtMs: number | undefined) {
  return expiresAtMs === undefined ? null : { is_stored: true, expires_at: isoTime(expiresAtMs) }
}

export function savedPaymentMethod(
  method: ListedPaymentMethod,
  isDefault: boolean,
): Static<typeof SavedPaymentMethod> {
  const { details } = method
  return {
    ...sharedAnswer(method),
    bank: 'bank_debit' in details ? { mask: bankMask(details.bank_debit) } : null,
    requires_cvv: 'card' in details,
    is_default: isDefault,
    network_tokenization: null,
    psp_tokenization_enabled: false,
  }
}

function bankMask(
  bank: { sepa: { iban_last4: string } } | { ach: { account_number_last4: string } },
) {
  return 'sepa' in bank ? bank.sepa.iban_last4 : bank.ach.account_number_last4
}
