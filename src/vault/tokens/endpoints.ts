// Routes of generic tokens. Their bodies are read as raw chunks, so that a token's value never becomes a string.

import { invalidField } from '../../core/errors.ts'
import { expectId, parseCustomerId, parseTokenId } from '../../core/ids.ts'
import type { RecordAct } from '../../http/acts.ts'
import { type Api, merchantOf } from '../../http/api.ts'
import { liftBodies } from '../../http/lifted-bodies.ts'
import { liftValue } from '../lift.ts'
import { Deleted, IdParams } from '../schemas.ts'
import { TokenAnswer, TokenBody, TokenRemoval, tokenAnswer } from './schemas.ts'
import type { Tokens } from './tokens.ts'

const VALUE_LIMITS = { bytes: 64 * 1024, depth: 64 }
/** The value, and what may stand around it. */
const BODY_LIMIT_BYTES = VALUE_LIMITS.bytes + 4 * 1024

export function tokenRoutes(
  api: Api,
  version: string,
  { tokens, record }: { tokens: Tokens; record: RecordAct },
): void {
  const path = `${version}/tokenize`
  const tags = ['tokens']
  const write = { scope: 'vault:write' } as const
  liftBodies(api, BODY_LIMIT_BYTES, (chunks) => liftValue(chunks, 'token_request', VALUE_LIMITS))

  api.post(
    path,
    { config: write, schema: { tags, body: TokenBody, response: { 201: TokenAnswer } } },
    async (request, reply) => {
      const { customer_id, ttl_s } = request.body
      const [json] = request.secrets
      if (json === undefined) throw invalidField('missing_field', 'token_request')
      const token = await tokens.create(merchantOf(request.caller), {
        customerId: customer_id === undefined ? undefined : expectId(parseCustomerId, customer_id),
        ttlMs: ttl_s === undefined ? undefined : ttl_s * 1000,
        json,
      })
      await record(request, 'token.create', token.id)
      return reply.code(201).send(tokenAnswer(token))
    },
  )
  api.delete(
    `${path}/:id`,
    {
      config: write,
      schema: { tags, params: IdParams, body: TokenRemoval, response: { 200: Deleted } },
    },
    async (request) => {
      const id = expectId(parseTokenId, request.params.id)
      await tokens.expectStored(merchantOf(request.caller), id)
      await record(request, 'token.delete', id)
      await tokens.remove(merchantOf(request.caller), id)
      return { id }
    },
  )
}
