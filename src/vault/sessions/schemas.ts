// Payment-method sessions on the wire: the shapes of Hyperswitch's, and how ours become them.

import Type, { type Static } from 'typebox'
import { isoTime } from '../../core/clock.ts'
import { CAPTURE_ALGORITHM } from '../../crypto/capture.ts'
import type { CaptureKey } from '../../crypto/keyring.ts'
import { Json, Nullable, strict, Time } from '../../http/schemas.ts'
import {
  cvcStorage,
  EnabledPaymentMethods,
  NetworkTokenization,
  PaymentMethodData,
  PaymentMethodSubtype,
  PaymentMethodTypeBody,
  SavedMethodChanges,
  SavedPaymentMethod,
  StorageType,
} from '../payment-methods/schemas.ts'
import { SealedBody } from './captured.ts'
import type { Session } from './sessions.ts'

const Url = Type.String({ minLength: 1, maxLength: 2048 })

const settings = {
  billing: Type.Optional(Json),
  return_url: Type.Optional(Url),
  network_tokenization: NetworkTokenization,
  storage_type: StorageType,
  keep_alive: Type.Optional(
    Type.Boolean({ description: 'More than one payment method may be added.' }),
  ),
  tokenization_data: Type.Optional(
    Type.Unknown({
      description:
        'Any JSON of up to 64 KiB, which becomes a token when the session is confirmed. No route returns it.',
    }),
  ),
}

export const LIFETIME_S = 900

export const SessionBody = Type.Object(
  {
    customer_id: Type.Optional(Type.String({ description: 'Without one it is a guest’s.' })),
    expires_in: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 3600,
        description: `Seconds, ${LIFETIME_S} when nothing is said. Never extended.`,
      }),
    ),
    ...settings,
  },
  strict,
)

export const SessionChanges = Type.Object(settings, {
  ...strict,
  description: 'What is not named stays.',
})

/** A card in another vault is brought by a server: a page may name any alias. */
const { proxy_card: _, ...collected } = PaymentMethodData.properties

export const CollectedData = Type.Object(collected, strict)

export const ConfirmBody = Type.Object(
  {
    payment_method_type: PaymentMethodTypeBody,
    payment_method_subtype: PaymentMethodSubtype,
    payment_method_data: Type.Object(
      { ...collected, sealed: Type.Optional(SealedBody) },
      { ...strict, description: 'Exactly one of them.' },
    ),
    return_url: Type.Optional(Url),
    storage_type: StorageType,
  },
  strict,
)

const MethodToken = Type.String({ maxLength: 256 })

export const SavedMethodBody = Type.Object(
  {
    payment_method_token: MethodToken,
    payment_method_data: Type.Object(
      {
        card: Type.Optional(SavedMethodChanges.properties.card),
        sealed: Type.Optional(SealedBody),
      },
      { ...strict, description: 'One of them.' },
    ),
  },
  strict,
)

export const RemovalBody = Nullable(Type.Object({ payment_method_token: MethodToken }, strict))

export const Removed = Type.Object({
  id: Type.Optional(Type.String()),
  payment_method_token: Type.Optional(Type.String()),
})

const forServers = {
  description: 'For API keys only.',
}

export const SessionAnswer = Type.Object({
  id: Type.String(),
  customer_id: Nullable(Type.String()),
  billing: Nullable(Json),
  psp_tokenization: Type.Null(),
  network_tokenization: Nullable(Type.Object({ enable: Type.Literal('Skip') })),
  tokenization_data: Type.Null(),
  storage_type: Nullable(Type.String({ enum: StorageType.enum })),
  keep_alive: Type.Boolean(),
  expires_at: Time,
  client_secret: Type.String({ description: 'Shown once, when the session is made.' }),
  sdk_authorization: Nullable(
    Type.String({
      description:
        'What a page sends as `Authorization`: publishable key and client secret. Shown once, too.',
    }),
  ),
  return_url: Nullable(Type.String()),
  next_action: Type.Null(),
  authentication_details: Type.Null(),
  associated_payment_methods: Type.Array(
    Type.Object({
      payment_method_token: Type.Object({
        type: Type.Literal('payment_method_session_token'),
        data: Type.String(),
      }),
      payment_method_id: Type.Optional(Type.String(forServers)),
    }),
    { description: 'What was added in this session.' },
  ),
  associated_token_id: Nullable(Type.String({ description: 'Of `tokenization_data`.' })),
  card_cvc_token_storage: Nullable(Type.Object({ is_stored: Type.Boolean(), expires_at: Time })),
})

const { id: _id, ...listed } = SavedPaymentMethod.properties

export const SessionMethods = Type.Object({
  ...EnabledPaymentMethods.properties,
  customer_payment_methods: Type.Array(
    Type.Object({
      payment_method_token: Type.String(),
      id: Type.Optional(Type.String(forServers)),
      ...listed,
    }),
  ),
})

export const TokenParams = Type.Object({ token: Type.String() })

export const TokenDetails = Type.Object({
  payment_method_id: Type.String(),
  token_type: Type.Literal('payment_method_session_token'),
  payment_method_session_id: Type.String(),
  customer_id: Nullable(Type.String()),
  expires_at: Time,
})

export const CaptureKeyAnswer = Type.Object({
  key_id: Type.String(),
  algorithm: Type.Literal(CAPTURE_ALGORITHM),
  public_key: Type.String({ description: 'base64url' }),
  expires_at: Type.String({ description: 'ISO 8601, UTC. Then its private half is destroyed.' }),
})

export function captureKeyAnswer(key: CaptureKey): Static<typeof CaptureKeyAnswer> {
  return {
    key_id: key.keyId,
    algorithm: CAPTURE_ALGORITHM,
    public_key: Buffer.from(key.publicKey).toString('base64url'),
    expires_at: isoTime(key.expiresAtMs),
  }
}

export function sessionAnswer(
  { record, details }: Session,
  shown: {
    /** Null: was shown already. */
    clientSecret: string | null
    sdkAuthorization: string | null
    added: Static<typeof SessionAnswer>['associated_payment_methods']
    cvcExpiresAtMs: number | undefined
  },
): Static<typeof SessionAnswer> {
  return {
    id: record.id,
    customer_id: record.customerId ?? null,
    billing: details.billing,
    psp_tokenization: null,
    network_tokenization: details.network_tokenization,
    tokenization_data: null,
    storage_type: details.storage_type,
    keep_alive: details.keep_alive,
    expires_at: isoTime(record.expiresAtMs),
    client_secret: shown.clientSecret ?? 'CLIENT_SECRET_REDACTED',
    sdk_authorization: shown.sdkAuthorization,
    return_url: details.return_url,
    next_action: null,
    authentication_details: null,
    associated_payment_methods: shown.added,
    associated_token_id: details.token_id,
    card_cvc_token_storage: cvcStorage(shown.cvcExpiresAtMs),
  }
}
