// The vault's routes, under /v1 and /v2 alike.

import type { Api } from '../http/api.ts'
import { customerRoutes } from './customers/endpoints.ts'
import { paymentMethodRoutes } from './payment-methods/endpoints.ts'
import { tokenRoutes } from './tokens/endpoints.ts'

type Deps = Parameters<typeof customerRoutes>[2] &
  Parameters<typeof paymentMethodRoutes>[2] &
  Parameters<typeof tokenRoutes>[2]

export function vaultEndpoints(api: Api, deps: Deps): void {
  for (const version of ['/v1', '/v2']) {
    customerRoutes(api, version, deps)
    // Scopes of their own: they read bodies in their own ways.
    void api.register(async (scope: Api) => paymentMethodRoutes(scope, version, deps))
    void api.register(async (scope: Api) => tokenRoutes(scope, version, deps))
  }
}
