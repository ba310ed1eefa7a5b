// External vaults on the wire: whose vault it is, who asks there, and whether new cards are kept there.

import Type, { type Static } from 'typebox'
import { strict } from '../../http/schemas.ts'

const shown = {
  kind: Type.Literal('vgs', { description: 'Very Good Security, Vault API' }),
  api_origin: Type.String({
    maxLength: 300,
    description: '`https://<vault id>.live.vault-api.verygoodvault.com`',
  }),
  token_url: Type.String({
    maxLength: 2048,
    description: 'Where access tokens are asked for, by OAuth client credentials.',
  }),
  client_id: Type.String({ minLength: 1, maxLength: 256 }),
  stores_cards: Type.Boolean({
    default: false,
    description:
      'New cards of customers are inserted there, and here only their alias is kept. Cards that are stored already stay where they are; volatile ones stay here.',
  }),
  timeout_ms: Type.Integer({
    minimum: 100,
    maximum: 60_000,
    default: 5000,
    description: 'For one request to the vault.',
  }),
}

export const ExternalVaultBody = Type.Object(
  {
    ...shown,
    client_secret: Type.String({
      minLength: 1,
      maxLength: 4096,
      description: 'Sealed, never returned.',
    }),
  },
  strict,
)

export type ExternalVaultBody = Static<typeof ExternalVaultBody>

export const ExternalVaultAnswer = Type.Object({ ...shown, profile_id: Type.String() })

export const HealthAnswer = Type.Object({
  status: Type.Enum(['up', 'degraded', 'down'], {
    description: 'Whether numbers could be had now, credentials included.',
  }),
  failure: Type.Optional(
    Type.Enum(['unauthenticated', 'not_found', 'rate_limited', 'unavailable', 'timeout_unknown']),
  ),
})
