// The operations port: is it alive, is it ready, what are its figures. No card data, no keys, loopback by default.
// Warnings are about what will stop working; they do not make it less ready.

import { createServer, type Server } from 'node:http'
import type { Registry } from 'prom-client'
import type { CertificateWarning } from './certificates.ts'

export type Readiness = {
  readonly isReady: boolean
  readonly checks: Readonly<Record<string, boolean>>
  readonly warnings: readonly CertificateWarning[]
}

export function createOpsServer(deps: {
  registry: Registry
  readiness: () => Promise<Readiness>
}): Server {
  return createServer({ requestTimeout: 10_000, headersTimeout: 5_000 }, (request, response) => {
    const path = (request.url ?? '').split('?', 1)[0]
    const send = (status: number, type: string, body: string) => {
      response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' })
      response.end(body)
    }
    const json = (status: number, value: object) =>
      send(status, 'application/json', JSON.stringify(value))
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      json(405, { status: 'method_not_allowed' })
      return
    }
    switch (path) {
      case '/health/live':
        json(200, { status: 'live' })
        break
      case '/health/ready':
        deps.readiness().then(
          ({ isReady, checks, warnings }) =>
            json(isReady ? 200 : 503, {
              status: isReady ? 'ready' : 'not_ready',
              checks,
              warnings,
            }),
          () => json(503, { status: 'not_ready' }),
        )
        break
      case '/metrics':
        deps.registry.metrics().then(
          (text) => send(200, deps.registry.contentType, text),
          () => json(500, { status: 'unavailable' }),
        )
        break
      default:
        json(404, { status: 'not_found' })
    }
  })
}
