// A running installation: opens what it needs in order, listens, and takes it all down again in reverse.

import { existsSync } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { type App, buildApp } from '../app.ts'
import { openAuditTrail } from '../audit/trail.ts'
import type { Config } from '../config.ts'
import { systemClock } from '../core/clock.ts'
import { openKeyring } from '../crypto/keyring.ts'
import { openLocalRootKey } from '../crypto/root-key/local-file.ts'
import { OpenError } from '../crypto/seal.ts'
import type { Log } from '../http/log.ts'
import { drain, listen } from '../http/server.ts'
import { openStore } from '../store/open.ts'
import { VERSION } from '../version.ts'

/** A sentence for the operator: why it does not start and what to do. */
export class StartError extends Error {
  override readonly name = 'StartError'
}

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
  },
): Promise<Installation> {
  const { log, onFatal } = deps
  const clock = systemClock
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

  await using opened = new AsyncDisposableStack()
  await mkdir(config.data_dir, { recursive: true, mode: 0o700 })
  const storeFolder = join(config.data_dir, 'store')
  // A store without its root key is not a first start: a new key would make every card unreadable for good.
  const isFirstStart = !existsSync(storeFolder)
  const root = await openLocalRootKey(join(config.data_dir, 'root.key'), isFirstStart)
  const store = opened.use(
    await openStore(
      {
        kind: config.store,
        folder: storeFolder,
        hourKeysFolder: join(config.data_dir, 'cvc-keys'),
      },
      (error) => onFatal('store', error),
    ),
  )
  const keyring = await openKeyring({
    root,
    wrappedKeys: store,
    hourKeys: store.hourKeys,
    clock,
  }).catch((error) => {
    if (!(error instanceof OpenError)) throw error
    throw new StartError('The root key does not belong to this store.', { cause: error })
  })
  const audit = openAuditTrail(
    {
      folder: join(config.data_dir, 'audit'),
      sync: config.audit.sync,
      syncIntervalMs: config.audit.sync_interval_ms,
    },
    { clock, version: VERSION, onFatal: (error) => onFatal('audit', error) },
  )
  opened.defer(() => audit.close())
  const app = await buildApp(config, { store, keyring, audit, clock, log, version: VERSION, tls })
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
