// External vaults on the wire: whose vault it is, who asks there, whether new cards are kept there, and what is proposed.

import Type, { type Static } from 'typebox'
import { ProposalId, ProposedBy, strict, Time } from '../../http/schemas.ts'

const STORES_CARDS = {
  description:
    'New cards of customers are inserted there, and here only their alias is kept. Cards that are stored already stay where they are; volatile ones stay here.',
}
const TIMEOUT_MS = {
  minimum: 100,
  maximum: 60_000,
  description: 'For one request to the vault.',
}
/** Without defaults, which the serializer would write in place of what is not there. */
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
  stores_cards: Type.Boolean(STORES_CARDS),
  timeout_ms: Type.Integer(TIMEOUT_MS),
}

export const ExternalVaultBody = Type.Object(
  {
    ...shown,
    stores_cards: Type.Boolean({ ...STORES_CARDS, default: false }),
    timeout_ms: Type.Integer({ ...TIMEOUT_MS, default: 5000 }),
    client_secret: Type.String({
      minLength: 1,
      maxLength: 4096,
      description: 'Sealed, never returned.',
    }),
  },
  strict,
)

export type ExternalVaultBody = Static<typeof ExternalVaultBody>

export const ActiveVaultAnswer = Type.Object({ ...shown, profile_id: Type.String() })

export const ProposedVaultAnswer = Type.Object({
  ...ActiveVaultAnswer.properties,
  status: Type.Literal('pending', {
    description: 'Not in force until another API key than the one that proposed it approves it.',
  }),
  proposal_id: ProposalId,
  proposed_by: ProposedBy,
  proposed_at: Time,
})

export const ExternalVaultAnswer = Type.Object({
  ...Type.Partial(Type.Object(shown)).properties,
  profile_id: Type.String(),
  proposal: Type.Optional(
    Type.Object(ProposedVaultAnswer.properties, {
      description:
        'What waits to take the place of the settings in force, whole. The secret is not shown: it may differ under the same client id.',
    }),
  ),
})

export const HealthAnswer = Type.Object({
  status: Type.Enum(['up', 'degraded', 'down'], {
    description: 'Whether numbers could be had now, credentials included.',
  }),
  failure: Type.Optional(
    Type.Enum(['unauthenticated', 'not_found', 'rate_limited', 'unavailable', 'timeout_unknown']),
  ),
})
