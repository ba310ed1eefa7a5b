// Routes that pages may call: one whose feature forgets to check the client secret serves nobody who has only a publishable
// key, which everybody has.

import { describe, expect, test } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
import { createIds } from '../../src/core/ids.ts'
import { type Api, actorOf, createApi } from '../../src/http/api.ts'
import { createLog } from '../../src/http/log.ts'

const ids = createIds('test1', systemClock)
const client = { merchantId: ids.merchant(), profileId: ids.profile() }
const config = { scope: 'vault:read', client: true } as const
const authorization = 'publishable-key=pk_1,client-secret=cs_right'

/** Everybody's publishable key works, no API key does. */
function startApi(): Promise<Api> {
  return createApi({
    authenticate: () => undefined,
    authenticateClient: ({ clientSecret }) => ({
      ...client,
      clientSecret,
      sessionId: undefined,
      allowedOrigins: [],
    }),
    admitClient: () => 0,
    clientAddress: (peer) => peer,
    ids,
    log: createLog('silent'),
    version: '0',
    otherPaths: {},
  })
}

describe.each(['GET', 'POST', 'DELETE'] as const)('%s on a route for clients', (method) => {
  test('is not served where nobody checks the client secret, and its body is not read', async () => {
    const api = await startApi()
    let isServed = false
    api.route({
      method,
      url: '/forgetful',
      config,
      handler: async () => {
        isServed = true
        return {}
      },
    })

    const answer = await api.inject({
      method,
      url: '/forgetful',
      headers: { authorization, 'content-type': 'application/json' },
      ...(method === 'GET' ? {} : { payload: '{"broken' }),
    })

    expect([answer.statusCode, isServed]).toEqual([401, false])
  })

  test('is served to a client that was checked', async () => {
    const api = await startApi()
    api.addHook('onRequest', async (request) => {
      request.client = request.clientClaim
    })
    api.route({ method, url: '/careful', config, handler: async (request) => actorOf(request) })

    const answer = await api.inject({ method, url: '/careful', headers: { authorization } })

    expect(answer.json()).toMatchObject({ kind: 'client', client })
  })
})
