// Routes that pages and apps may call with a publishable key and a client secret.

import type { FastifyRequest } from 'fastify'
import type { Client } from '../core/caller.ts'
import type { MerchantId } from '../core/ids.ts'
import { type Api, actorOf, merchantOf } from './api.ts'

/**
 * Before the body is read: nobody is served for a publishable key alone. `expectClient` throws unless the client holds
 * the secret of what the path names.
 */
export function checkClients(
  api: Api,
  expectClient: (client: Client, id: string) => Promise<void>,
): void {
  api.addHook('onRequest', async (request) => {
    const { clientClaim } = request
    if (clientClaim === undefined) return
    await expectClient(clientClaim, (request.params as { id: string }).id)
    request.client = clientClaim
  })
}

export const isServer = (request: FastifyRequest) => actorOf(request).kind === 'key'

export function actingMerchant(request: FastifyRequest): MerchantId {
  const actor = actorOf(request)
  return actor.kind === 'key' ? merchantOf(actor.caller) : actor.client.merchantId
}
