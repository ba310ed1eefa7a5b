// The vault's routes, under /v1 and /v2 alike, and those of Hyperswitch's older API.

import type { Api } from '../http/api.ts'
import { customerRoutes } from './customers/endpoints.ts'
import { externalVaultRoutes } from './external/endpoints.ts'
import { hyperswitchV1Routes } from './hyperswitch-v1/endpoints.ts'
import { paymentMethodRoutes } from './payment-methods/endpoints.ts'
import { sessionRoutes } from './sessions/endpoints.ts'
import { tokenRoutes } from './tokens/endpoints.ts'

type Deps = Parameters<typeof customerRoutes>[2] &
  Parameters<typeof paymentMethodRoutes>[2] &
  Parameters<typeof tokenRoutes>[2] &
  Parameters<typeof sessionRoutes>[2] &
  Parameters<typeof externalVaultRoutes>[1]

export function vaultEndpoints(api: Api, deps: Deps): void {
  hyperswitchV1Routes(api, deps)
  externalVaultRoutes(api, deps)
  for (const version of ['/v1', '/v2']) {
    customerRoutes(api, version, deps)
    // Scopes of their own: they read bodies in their own ways.
    void api.register(async (scope: Api) => paymentMethodRoutes(scope, version, deps))
    void api.register(async (scope: Api) => tokenRoutes(scope, version, deps))
    sessionRoutes(api, version, deps)
  }
}
