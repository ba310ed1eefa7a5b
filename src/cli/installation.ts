// A running installation: opens what it needs in order, listens, and takes it all down again in reverse.

import { readFile } from 'node:fs/promises'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type App, buildApp } from '../app.ts'
import type { Config } from '../config.ts'
import type { Clock } from '../core/clock.ts'
import type { Log } from '../http/log.ts'
import { drain, listen } from '../http/server.ts'
import { VERSION } from '../version.ts'
import { openParts, readBinTable } from './open-parts.ts'
import { StartError } from './start-error.ts'

export type Installation = {
  readonly address: AddressInfo
  readonly opsAddress: AddressInfo
  readonly destinationPorts: Readonly<Record<string, number>>
  readonly admin: App['admin']
  /** Lets requests in flight end, flushes the audit trail, closes the store. */
  stop(): Promise<{ cut: number }>
}

const SWEEP_INTERVAL_MS = 60_000
const MIN_ADMIN_KEY_LENGTH = 32

export async function startInstallation(
  config: Config,
  deps: {
    log: Log
    /** Called once when the process has to end because nobody knows any more what is on disk. */
    onFatal: (what: 'store' | 'audit', error: unknown) => void
    /** The operator's choice for the first admin key. */
    adminApiKey: string | undefined
    /** Told on the very first start without such a choice. It is nowhere else, so it is told before anything can fail. */
    onFirstAdminKey: (apiKey: string) => void
    /** The system's unless given. */
    clock?: Clock
  },
): Promise<Installation> {
  const { log } = deps
  if (config.egress.allow_http) log.unsafe('egress.allow_http')
  if (config.egress.proxy?.sends === 'name') log.unsafe('egress.proxy.sends')
  if (
    deps.adminApiKey !== undefined &&
    !/^[\x21-\x2b\x2d-\x3c\x3e-\x7e]{32,256}$/.test(deps.adminApiKey)
  ) {
    throw new StartError(
      `SALLYPORT_ADMIN_API_KEY needs ${MIN_ADMIN_KEY_LENGTH} to 256 visible characters without comma and equals sign.`,
    )
  }

  const tls =
    config.tls === undefined
      ? undefined
      : { cert: await readPem(config.tls.cert_file), key: await readPem(config.tls.key_file) }

  const bins = await readBinTable(config.vault.bin_table_file)

  await using opened = new AsyncDisposableStack()
  const { store, keyring, audit, clock } = await openParts(config, opened, deps.onFatal, deps.clock)
  const app = await buildApp(config, {
    store,
    keyring,
    audit,
    clock,
    log,
    version: VERSION,
    tls,
    bins,
  })
  opened.defer(() => app.close())

  const firstAdminKey = await ensureAdminKey(app, deps.adminApiKey)
  if (firstAdminKey !== undefined) deps.onFirstAdminKey(firstAdminKey)

  const servers = [app.server, ...app.destinationServers.map(({ server }) => server)]
  opened.defer(() => {
    for (const server of [...servers, app.opsServer]) server.close()
  })
  const address = await listenOn(app.server, config.host, config.port)
  const destinationPorts: Record<string, number> = {}
  for (const { port, server } of app.destinationServers) {
    destinationPorts[config.ports[String(port)] ?? ''] = (
      await listenOn(server, config.host, port)
    ).port
  }
  const opsAddress = await listenOn(app.opsServer, config.ops_host, config.ops_port)

  const sweep = () => {
    app.sweep().catch((error) => log.unexpected(undefined, error))
  }
  sweep()
  const timer = setInterval(sweep, SWEEP_INTERVAL_MS).unref()

  const closing = opened.move()
  return {
    address,
    opsAddress,
    destinationPorts,
    admin: app.admin,
    async stop() {
      clearInterval(timer)
      const cut = await drain(servers, config.shutdown_timeout_ms)
      app.opsServer.closeAllConnections()
      await closing.disposeAsync()
      return { cut }
    },
  }
}

async function ensureAdminKey(app: App, chosen: string | undefined): Promise<string | undefined> {
  const known = await app.admin.apiKeys(undefined)
  if (known.some(({ scopes }) => scopes.includes('admin'))) return undefined
  const created = await app.admin.createApiKey(
    {
      merchantId: undefined,
      name: 'first admin key',
      scopes: ['admin'],
      expiresAtMs: undefined,
      allowedCidrs: [],
    },
    chosen,
  )
  return chosen === undefined ? created.apiKey : undefined
}

async function listenOn(server: Server, host: string, port: number): Promise<AddressInfo> {
  try {
    return await listen(server, host, port)
  } catch (cause) {
    throw new StartError(`Cannot listen on ${host}, port ${port}. Is it in use?`, { cause })
  }
}

async function readPem(path: string): Promise<Buffer> {
  try {
    return await readFile(path)
  } catch (error) {
    throw new StartError(`The file ${path} cannot be read.`, { cause: error })
  }
}
