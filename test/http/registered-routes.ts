// The routes an installation really registers, seen from outside: Fastify publishes every instance that is made
// (diagnostics channel `fastify.initialization`), so that no list of routes has to be kept by hand.

import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { FastifyInstance } from 'fastify'

export type RegisteredRoute = {
  readonly method: string
  /** With its parameters: `/v2/customers/:id`. */
  readonly url: string
  readonly scope: string
}

const CHANNEL = 'fastify.initialization'

export async function collectRoutes<T>(
  start: () => Promise<T>,
): Promise<{ started: T; routes: readonly RegisteredRoute[] }> {
  const routes: RegisteredRoute[] = []
  const onInstance = (message: unknown) => {
    const { fastify } = message as { fastify: FastifyInstance }
    fastify.addHook('onRoute', ({ method, url, config }) => {
      const scope = config?.scope ?? 'none'
      for (const each of [method].flat()) routes.push({ method: each, url, scope })
    })
  }
  subscribe(CHANNEL, onInstance)
  try {
    return { started: await start(), routes }
  } finally {
    unsubscribe(CHANNEL, onInstance)
  }
}
