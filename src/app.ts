// The composition root: every wire of the product, readable top to bottom. Nothing here touches the process; what is
// opened is handed in and closed by whoever opened it.

import { randomUUID } from 'node:crypto'
import { createAdmin } from './access/admin.ts'
import { createAuthenticate, createAuthenticateClient } from './access/authenticate.ts'
import { accessEndpoints } from './access/endpoints.ts'
import type { AuditTrail } from './audit/trail.ts'
import { type Config, vaultLimits } from './config.ts'
import { networkOf } from './core/cidr.ts'
import { type Clock, monotonic } from './core/clock.ts'
import { createIds } from './core/ids.ts'
import { RateLimiter } from './core/rate-limiter.ts'
import type { Keyring } from './crypto/keyring.ts'
import { createRecordAct, createRecordReveal } from './http/acts.ts'
import { createApi, serveOpenApi } from './http/api.ts'
import { type Call, fieldOf, NodeCall } from './http/call.ts'
import { certificateWarnings, type WatchedCertificate } from './http/certificates.ts'
import { createClientAddress } from './http/client-address.ts'
import { limitConnections } from './http/connection-limit.ts'
import type { Log } from './http/log.ts'
import { createMetrics } from './http/metrics.ts'
import { createOpsServer } from './http/ops.ts'
import { createServer, type RequestHandler, type TlsFiles } from './http/server.ts'
import { isDestinationName } from './proxy/destination.ts'
import { createDestinations } from './proxy/destinations.ts'
import { createEgress } from './proxy/egress/egress.ts'
import { createWholeSender } from './proxy/egress/send-whole.ts'
import { certificateExpiryMs } from './proxy/egress/tls.ts'
import { destinationEndpoints, proxyPaths } from './proxy/endpoints.ts'
import { CardTestingGuard } from './proxy/guards/card-testing.ts'
import { parseAllowedUrl } from './proxy/origin.ts'
import { createProxy, type Way, wayOf } from './proxy/proxy.ts'
import { DURATION_BUCKETS, ProxyStats } from './proxy/stats.ts'
import type { Store } from './store/contract.ts'
import type { BinTable } from './vault/bin-table.ts'
import { createCustomers } from './vault/customers/customers.ts'
import { vaultEndpoints } from './vault/endpoints.ts'
import { createExternalCards } from './vault/external/external-cards.ts'
import { createExternalVaults } from './vault/external/external-vaults.ts'
import { createCredentials } from './vault/payment-methods/credentials.ts'
import { LastUses } from './vault/payment-methods/last-uses.ts'
import { createPaymentMethods } from './vault/payment-methods/payment-methods.ts'
import { createReveal, createRevealToken } from './vault/reveal.ts'
import { readCaptureScript } from './vault/sessions/capture-script.ts'
import { createSessions } from './vault/sessions/sessions.ts'
import { createTokens } from './vault/tokens/tokens.ts'

export type AppDeps = {
  readonly store: Store
  readonly keyring: Keyring
  readonly audit: AuditTrail
  readonly clock: Clock
  readonly log: Log
  readonly version: string
  readonly tls: TlsFiles | undefined
  readonly bins: BinTable
}

export async function buildApp(config: Config, deps: AppDeps) {
  const { store, keyring, audit, clock, log, version } = deps
  const ids = createIds(config.cell, clock)
  const stats = new ProxyStats()
  const authenticate = createAuthenticate({ store, keyring, clock })
  const clientAddress = createClientAddress(config.trusted_proxies)
  const admin = createAdmin({ store, keyring, ids, clock })
  const record = createRecordAct(audit.record)
  const lastUses = new LastUses(store, clock, (error) => log.unexpected(undefined, error))

  const egress = createEgress({
    allowPrivate: config.egress.allow_private,
    allowHttp: config.egress.allow_http,
    ports: config.egress.ports,
    proxy: config.egress.proxy,
  })
  const rules = {
    allowHttp: egress.allowsHttp,
    allowAddresses: egress.allowsPrivate,
    ports: config.egress.ports,
  }
  const destinations = createDestinations({ store, keyring, egress, clock: monotonic })
  const whole = createWholeSender(egress)
  const externalVaults = createExternalVaults({
    store,
    keyring,
    clock: monotonic,
    send: whole.send,
    parseUrl: (text) => parseAllowedUrl(text, rules),
  })
  const externalCards = createExternalCards({
    store,
    keyring,
    vaults: externalVaults,
    onFailure: log.externalVault,
  })
  const reveal = createReveal(keyring, externalCards.retrieve)
  const credentials = createCredentials({ store, keyring, clock })
  const { requests_per_key, client_requests_per_address, ...cardTestingLimits } = config.guards
  const rates = requests_per_key && new RateLimiter(requests_per_key, monotonic)
  const clientRates = new RateLimiter(client_requests_per_address, monotonic)
  // Of their own: who has no publishable key fills no table of those who have one.
  const strangerRates = new RateLimiter(client_requests_per_address, monotonic)
  const cardTesting =
    Object.keys(cardTestingLimits).length > 0
      ? new CardTestingGuard(cardTestingLimits, monotonic)
      : undefined
  const proxy = createProxy({
    store,
    reveal,
    onRevealed: (method) => lastUses.note(method),
    revealToken: createRevealToken(keyring),
    audit,
    clock,
    stats,
    authenticate,
    clientAddress,
    destinations,
    ids,
    keyring,
    instance: randomUUID(),
    captureCredential: credentials.capture,
    rates,
    cardTesting,
    bodyMemory: { heldBytes: 0, limitBytes: config.body_memory_bytes },
    onBug: log.unexpected,
  })

  const api = await createApi({
    authenticate,
    authenticateClient: createAuthenticateClient(store),
    admitClient: (address, isKnown) =>
      (isKnown ? clientRates : strangerRates).admit(networkOf(address)),
    clientAddress,
    ids,
    log,
    version,
    otherPaths: proxyPaths(),
  })
  accessEndpoints(api, { admin, record })
  const tokens = createTokens({ store, keyring, ids, clock })
  const paymentMethods = createPaymentMethods({
    store,
    keyring,
    ids,
    clock,
    limits: vaultLimits(config),
    lastUses,
    findBin: (digits) => deps.bins.find(digits),
    externalCards,
  })
  vaultEndpoints(api, {
    customers: createCustomers({
      store,
      keyring,
      ids,
      clock,
      releasing: paymentMethods.releasingAllOf,
    }),
    paymentMethods,
    externalVaults,
    credentials,
    tokens,
    sessions: createSessions({
      store,
      keyring,
      ids,
      clock,
      tokens,
      maxAttempts: config.vault.session_attempts,
    }),
    keyring,
    captureScript: readCaptureScript(),
    clock,
    reveal,
    record,
    recordReveal: createRecordReveal(audit.record),
    wantsTwoPersons: config.policy.two_person,
  })
  destinationEndpoints(api, {
    store,
    keyring,
    rules,
    record,
    clock,
    wantsTwoPersons: config.policy.two_person,
  })
  serveOpenApi(api)
  await api.ready()

  const hostSuffix = config.proxy_host === undefined ? undefined : `.${config.proxy_host}`
  const take = (call: Call): boolean => {
    const { url, rawHeaders } = call
    // A host of its own comes first: there the whole path is the destination's.
    const way =
      (hostSuffix && wayOfHost(fieldOf(rawHeaders, 'host'), hostSuffix, url)) || wayOf(url)
    if (way) proxy.handle(call, way)
    return way !== undefined
  }
  const handle: RequestHandler = (request, response) => {
    if (!take(new NodeCall(request, response))) api.routing(request, response)
  }

  const server = createServer(handle, take, deps.tls)
  const destinationServer = (name: string) => {
    const takeAll = (call: Call) => {
      proxy.handle(call, { kind: 'named', name, target: call.url })
      return true
    }
    return createServer(
      (request, response) => takeAll(new NodeCall(request, response)),
      takeAll,
      deps.tls,
    )
  }
  const destinationServers = Object.entries(config.ports).map(([port, name]) => ({
    port: Number(port),
    server: destinationServer(name),
  }))
  for (const each of [server, ...destinationServers.map((listening) => listening.server)]) {
    limitConnections(each, config.connections_per_address, config.trusted_proxies)
  }
  const ownCertificate = deps.tls === undefined ? [] : listenerCertificate(deps.tls)
  const certificates = () => [...ownCertificate, ...destinations.certificates()]
  const { breakers } = destinations
  const registry = createMetrics(stats, DURATION_BUCKETS, version, { certificates, breakers })
  const opsServer = createOpsServer({
    registry,
    readiness: async () => {
      const isStoreUp = await store.ping().then(
        () => true,
        () => false,
      )
      return {
        isReady: isStoreUp && audit.isWorking,
        checks: { store: isStoreUp, audit: audit.isWorking },
        warnings: certificateWarnings(certificates(), clock()),
      }
    },
  })

  return {
    admin,
    api,
    server,
    destinationServers,
    opsServer,

    /** What time does to stored things; called every minute or so. */
    async sweep(): Promise<void> {
      rates?.sweep()
      clientRates.sweep()
      strangerRates.sweep()
      cardTesting?.sweep()
      await lastUses.flush()
      await store.sweepExpired(clock())
      await keyring.destroyExpiredCvcKeys()
      destinations.forgetUnused()
      externalVaults.forgetUnused()
      whole.forgetUnused()
    },

    async close(): Promise<void> {
      await api.close()
      await lastUses.flush()
      await destinations.destroy()
      await whole.destroy()
    },
  }
}

export type App = Awaited<ReturnType<typeof buildApp>>

/** Of what cannot be read nothing is told; the port was opened with it all the same. */
function listenerCertificate({ cert }: TlsFiles): readonly WatchedCertificate[] {
  try {
    const expiresAtMs = certificateExpiryMs(cert.toString('latin1'))
    return [{ destination: undefined, kind: 'listener', expiresAtMs }]
  } catch {
    return []
  }
}

/** `checkout.proxy.example.com` goes to destination `checkout`. */
function wayOfHost(host: string | undefined, suffix: string, url: string): Way | undefined {
  const name = host?.toLowerCase().replace(/:[0-9]+$/, '')
  if (!name?.endsWith(suffix)) return undefined
  const destination = name.slice(0, -suffix.length)
  return isDestinationName(destination)
    ? { kind: 'named', name: destination, target: url }
    : undefined
}
