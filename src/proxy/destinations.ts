// Destinations ready for use: policy compiled, secrets opened, connections kept. Made once for each stored revision;
// when the record changes, the next request gets a new one and the old connections end with their last request.

import type { Pool } from 'undici'
import type { MerchantId, ProfileId } from '../core/ids.ts'
import { isPromise, type MaybePromise } from '../core/maybe-promise.ts'
import { Secret } from '../core/secret.ts'
import type { Keyring, OwnerKeys } from '../crypto/keyring.ts'
import type { DestinationName, DestinationRecord, Store } from '../store/contract.ts'
import {
  compileRow,
  type DestinationSecrets,
  type DestinationSettings,
  type PolicyRow,
} from './destination.ts'
import type { Egress } from './egress.ts'
import type { Origin } from './origin.ts'
import type { Signer } from './signing/request.ts'
import { compileSigning, fieldsToSign } from './signing/sign.ts'

export class Destination {
  readonly name: DestinationName
  readonly origin: string
  readonly settings: DestinationSettings
  readonly rows: readonly PolicyRow[]
  /** Names and values in turn. */
  readonly injectedHeaders: Secret<readonly string[]>
  readonly injectedNames: ReadonlySet<string>
  /** Decides how bodies are read and values written, whatever the caller says the type is. */
  readonly injectedContentType: string | undefined
  readonly signing: { readonly sign: Signer; readonly fields: readonly string[] } | undefined
  inFlight = 0
  /** Since the last look for unused ones. */
  isUsed = true
  readonly #egress: Egress
  readonly #pools = new Map<Origin, Pool>()

  constructor(record: DestinationRecord, secrets: DestinationSecrets, egress: Egress) {
    this.name = record.name
    this.origin = record.origin
    this.settings = JSON.parse(record.settings) as DestinationSettings
    this.rows = this.settings.allow.map(compileRow)
    this.injectedHeaders = new Secret(Object.entries(secrets.inject_headers).flat())
    this.injectedNames = new Set(
      Object.keys(secrets.inject_headers).map((name) => name.toLowerCase()),
    )
    this.injectedContentType = Object.entries(secrets.inject_headers).find(
      ([name]) => name.toLowerCase() === 'content-type',
    )?.[1]
    const { signing } = this.settings
    this.signing =
      signing === undefined || secrets.signing === undefined
        ? undefined
        : { sign: compileSigning(signing, secrets.signing), fields: fieldsToSign(signing) }
    this.#egress = egress
  }

  /** One pool for each origin; a wildcard has several, of which the oldest make room. */
  pool(origin: Origin): Pool {
    let pool = this.#pools.get(origin)
    if (pool === undefined) {
      const { timeouts, limits, ca_pem } = this.settings
      pool = this.#egress.openPool(origin, {
        caPem: ca_pem,
        connections: limits.connections,
        connectMs: timeouts.connect_ms,
        headersMs: timeouts.headers_ms,
        bodyMs: timeouts.body_ms,
      })
      this.#pools.set(origin, pool)
      const [oldest] = this.#pools
      if (this.#pools.size > MAX_ORIGINS && oldest !== undefined) {
        this.#pools.delete(oldest[0])
        retire(oldest[1])
      }
    }
    return pool
  }

  /** Requests in flight end in their own time; one that comes later still gets a new pool, which idles out. */
  retire(): void {
    for (const pool of this.#pools.values()) retire(pool)
    this.#pools.clear()
  }

  /** Requests in flight fail. */
  async destroy(): Promise<void> {
    await Promise.all([...this.#pools.values()].map((pool) => pool.destroy()))
  }
}

const MAX_ORIGINS = 64

function retire(pool: Pool): void {
  pool.close().catch(() => {}) // it was closed already; its requests are told by their own handlers
}

export type Destinations = ReturnType<typeof createDestinations>

export function createDestinations(deps: {
  store: Pick<Store, 'findDestination' | 'findDestinationByOrigin'>
  keyring: Pick<Keyring, 'keysOf'>
  egress: Egress
}) {
  const ready = new Map<string, { record: DestinationRecord; destination: Destination }>()

  function make(record: DestinationRecord, keys: OwnerKeys): Destination {
    const id = `${record.profileId}.${record.name}`
    const key = `${record.merchantId}/${id}`
    const known = ready.get(key)
    if (known?.record === record) return known.destination // another request was first
    const plaintext = keys.open(record.secrets, 'destination', id)
    const secrets = JSON.parse(plaintext.toString('utf8')) as DestinationSecrets
    plaintext.fill(0)
    const destination = new Destination(record, secrets, deps.egress)
    known?.destination.retire()
    ready.set(key, { record, destination })
    return destination
  }

  function use(record: DestinationRecord | undefined): MaybePromise<Destination | undefined> {
    if (record === undefined) return undefined
    const known = ready.get(`${record.merchantId}/${record.profileId}.${record.name}`)
    if (known?.record === record) {
      known.destination.isUsed = true
      return known.destination
    }
    const keys = deps.keyring.keysOf(record.merchantId, record.secrets)
    return isPromise(keys) ? keys.then((loaded) => make(record, loaded)) : make(record, keys)
  }

  /** A deleted one: its secrets are not kept any longer than it is asked for. */
  function forget(key: string): void {
    ready.get(key)?.destination.retire()
    ready.delete(key)
  }

  const useWhenFound = (record: MaybePromise<DestinationRecord | undefined>) =>
    isPromise(record) ? record.then(use) : use(record)

  return {
    byName(
      merchantId: MerchantId,
      profileId: ProfileId,
      name: DestinationName,
    ): MaybePromise<Destination | undefined> {
      const record = deps.store.findDestination(merchantId, profileId, name)
      if (record === undefined) forget(`${merchantId}/${profileId}.${name}`)
      return useWhenFound(record)
    },

    byOrigin: (merchantId: MerchantId, profileId: ProfileId, origin: Origin) =>
      useWhenFound(deps.store.findDestinationByOrigin(merchantId, profileId, origin)),

    /** Secrets of destinations that were deleted, or that nobody calls, do not stay in memory. */
    forgetUnused(): void {
      for (const [key, { destination }] of ready) {
        if (!destination.isUsed && destination.inFlight === 0) forget(key)
        else destination.isUsed = false
      }
    },

    async destroy(): Promise<void> {
      await Promise.all([...ready.values()].map(({ destination }) => destination.destroy()))
    },
  }
}
