// A contender's side of the runner: says on which port it listens, answers what the runner asks about its process, and
// ends when the runner goes, however that happens.

import { readdirSync } from 'node:fs'
import { createServer, type RequestListener } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { Certificates } from './certificates.ts'

export type Usage = { readonly cpuUs: number; readonly rssBytes: number }

export type Resources = {
  /** What keeps the event loop of a Node program alive, counted by kind. */
  readonly active: Readonly<Record<string, number>>
  readonly openFiles: number
}

export type ContenderArguments = {
  /** Origin without a slash at its end. */
  readonly upstream: string
  /** Empty, its own, and removed by the runner. */
  readonly folder: string
  /** There when the upstream speaks TLS. */
  readonly upstreamTls?: Certificates | undefined
  /** There when it is to serve TLS itself. */
  readonly listenerTls?: Certificates | undefined
}

export function contenderArguments(): ContenderArguments {
  return JSON.parse(process.argv[2] ?? '')
}

export const ANSWERS = {
  usage(): Usage {
    const { user, system } = process.cpuUsage()
    return { cpuUs: user + system, rssBytes: process.memoryUsage.rss() }
  },
  resources(): Resources {
    const active: Record<string, number> = {}
    for (const kind of process.getActiveResourcesInfo()) active[kind] = (active[kind] ?? 0) + 1
    return { active, openFiles: readdirSync('/dev/fd').length - 1 } // one is that of the list
  },
} as const

export type Question = keyof typeof ANSWERS

export function announce(port: number): void {
  process.on('disconnect', () => process.exit())
  process.on('message', (question: Question) => {
    process.send?.({ question, answer: ANSWERS[question]() })
  })
  process.stdout.write(`${JSON.stringify({ port })}\n`)
}

/** On a free port, with TLS if asked. */
export function listen(handle: RequestListener): void {
  const { listenerTls } = contenderArguments()
  const server =
    listenerTls === undefined ? createServer(handle) : createTlsServer(listenerTls, handle)
  server.listen(0, '127.0.0.1', () => announce((server.address() as AddressInfo).port))
}
