// Destinations ready for use: policy compiled, secrets opened, connections kept. Made once for each stored revision;
// when the record changes, the next request gets a new one and the old connections end with their last request.

import type { Clock } from '../core/clock.ts'
import type { MerchantId, ProfileId } from '../core/ids.ts'
import { type JsonPath, parseJsonPath } from '../core/json-path.ts'
import { isPromise, type MaybePromise } from '../core/maybe-promise.ts'
import { Secret } from '../core/secret.ts'
import type { Keyring, OwnerKeys } from '../crypto/keyring.ts'
import type { DestinationName, DestinationRecord, Store } from '../store/contract.ts'
import type { CaptureRule, DeclineRule } from './answer/capture.ts'
import {
  compileRow,
  type DestinationSecrets,
  type DestinationSettings,
  type PolicyRow,
  readSettings,
} from './destination.ts'
import type { Egress } from './egress/egress.ts'
import type { EgressPool } from './egress/pool.ts'
import type { CertificateExpiries } from './egress/tls.ts'
import { Breaker } from './guards/breaker.ts'
import { LeakGuard } from './leak-guard/leak-guard.ts'
import type { Origin } from './origin.ts'
import type { Signer } from './signing/request.ts'
import { compileSigning, fieldsToSign } from './signing/sign.ts'

export class Destination {
  readonly name: DestinationName
  readonly origin: string
  readonly settings: DestinationSettings
  readonly revision: number
  readonly rows: readonly PolicyRow[]
  /** Names and values in turn. */
  readonly injectedHeaders: Secret<readonly string[]>
  readonly injectedNames: ReadonlySet<string>
  /** Decides how bodies are read and values written, whatever the caller says the type is. */
  readonly injectedContentType: string | undefined
  readonly signing: { readonly sign: Signer; readonly fields: readonly string[] } | undefined
  /** Of its credentials, which an answer must not tell the caller. */
  readonly guard: LeakGuard | undefined
  readonly redact: readonly JsonPath[]
  readonly capture: readonly CaptureRule[]
  readonly declined: readonly DeclineRule[]
  readonly #breakers = new Map<Origin, Breaker>()
  readonly #clock: Clock
  inFlight = 0
  /** Since the last look for unused ones. */
  isUsed = true
  readonly #egress: Egress
  readonly #clientKey: Secret<string | undefined>
  readonly #pools = new Map<Origin, EgressPool>()

  constructor(
    record: DestinationRecord,
    secrets: DestinationSecrets,
    egress: Egress,
    clock: Clock,
  ) {
    this.name = record.name
    this.revision = record.revision
    this.origin = record.origin
    this.settings = readSettings(record.settings)
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
    const { response } = this.settings
    this.guard = response.leak_guard === 'off' ? undefined : credentialGuard(secrets.inject_headers)
    this.redact = response.redact.map(toPath)
    this.capture = response.capture.map(({ path, as }) => ({ path: toPath(path), as }))
    this.declined = response.declined.map(({ path, values }) => ({
      path: toPath(path),
      values: values.map((value) => Buffer.from(value)),
    }))
    this.#clock = clock
    this.#egress = egress
    this.#clientKey = new Secret(secrets.client_key_pem)
  }

  /** Each origin of a wildcard fails by itself. */
  breaker(origin: Origin): Breaker | undefined {
    const { breaker: settings } = this.settings
    if (settings === undefined) return undefined
    let breaker = this.#breakers.get(origin)
    if (breaker === undefined) {
      breaker = new Breaker(settings, this.#clock)
      this.#breakers.set(origin, breaker)
      const [oldest] = this.#breakers.keys()
      if (this.#breakers.size > MAX_ORIGINS && oldest !== undefined) this.#breakers.delete(oldest)
    }
    return breaker
  }

  /** One of its origins is held to be down. */
  get isBroken(): boolean {
    return [...this.#breakers.values()].some(({ state }) => state !== 'closed')
  }

  /** One pool for each origin; a wildcard has several, of which the oldest make room. */
  pool(origin: Origin): EgressPool {
    let pool = this.#pools.get(origin)
    if (pool === undefined) {
      const { timeouts, limits, ca_pem, client_certificate, pin_sha256 } = this.settings
      const keyPem = this.#clientKey.reveal()
      pool = this.#egress.openPool(origin, {
        caPem: ca_pem,
        client:
          client_certificate === undefined || keyPem === undefined
            ? undefined
            : { certPem: client_certificate.cert_pem, keyPem },
        pinSha256: pin_sha256,
        connections: limits.connections,
        connectMs: timeouts.connect_ms,
        headersMs: timeouts.headers_ms,
        bodyMs: timeouts.body_ms,
      })
      this.#pools.set(origin, pool)
      const [oldest] = this.#pools
      if (this.#pools.size > MAX_ORIGINS && oldest !== undefined) {
        this.#pools.delete(oldest[0])
        void oldest[1].close()
      }
    }
    return pool
  }

  /** When those that its connections show, trust or were shown expire: of each kind the first. */
  certificates(): readonly { kind: keyof CertificateExpiries; expiresAtMs: number }[] {
    const known = [...this.#pools.values()].flatMap((pool) => pool.certificateExpiries ?? [])
    return CERTIFICATE_KINDS.flatMap((kind) => {
      const times = known.flatMap((expiries) => expiries[kind] ?? [])
      return times.length === 0 ? [] : [{ kind, expiresAtMs: Math.min(...times) }]
    })
  }

  /** Requests in flight end in their own time; one that comes later still gets a new pool, which idles out. */
  retire(): void {
    for (const pool of this.#pools.values()) void pool.close()
    this.#pools.clear()
  }

  /** Requests in flight fail. */
  async destroy(): Promise<void> {
    await Promise.all([...this.#pools.values()].map((pool) => pool.destroy()))
  }
}

const MAX_ORIGINS = 64

const CERTIFICATE_KINDS = ['client', 'ca', 'server'] as const

/** It was one when the destination was stored. */
function toPath(text: string): JsonPath {
  const path = parseJsonPath(text)
  if (path === undefined) throw new Error('a destination was stored with a path that is none')
  return path
}

/** Headers that say who asks: of the others an honest answer may repeat the value, a version or a date. */
const CREDENTIAL = /authorization|key|token|secret|passw|signature|credential|auth|cookie/
const MIN_CREDENTIAL_LENGTH = 8

function credentialGuard(headers: Readonly<Record<string, string>>): LeakGuard | undefined {
  const texts = Object.entries(headers)
    .filter(([name]) => CREDENTIAL.test(name.toLowerCase()))
    .flatMap(([, value]) => credentialsIn(value))
    .filter((text) => text.length >= MIN_CREDENTIAL_LENGTH)
  if (texts.length === 0) return undefined
  return new LeakGuard(texts.map((text) => ({ kind: 'text', text: Buffer.from(text) })))
}

/** Without the scheme before it; of Basic credentials user and password, too (RFC 7617). */
function credentialsIn(value: string): string[] {
  const [, scheme = '', rest = value] = /^([A-Za-z-]+) +(\S+)$/.exec(value) ?? []
  if (scheme.toLowerCase() !== 'basic') return [rest]
  const pair = Buffer.from(rest, 'base64').toString('utf8')
  const colon = pair.indexOf(':')
  return [rest, ...(colon === -1 ? [pair] : [pair.slice(0, colon), pair.slice(colon + 1)])]
}

/** For whoever operates this. */
function labelOf({ merchantId, profileId, name }: DestinationRecord): string {
  return `${merchantId}/${profileId}/${name}`
}

export type Destinations = ReturnType<typeof createDestinations>

export function createDestinations(deps: {
  store: Pick<Store, 'findDestination' | 'findDestinationByOrigin'>
  keyring: Pick<Keyring, 'keysOf'>
  egress: Egress
  clock: Clock
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
    const destination = new Destination(record, secrets, deps.egress, deps.clock)
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

    /** Of those in memory. */
    certificates: () =>
      [...ready.values()].flatMap(({ record, destination }) =>
        destination.certificates().map((each) => ({ destination: labelOf(record), ...each })),
      ),

    /** Of those in memory that have one. Half open, all requests but one are still refused. */
    breakers: () =>
      [...ready.values()].flatMap(({ record, destination }) =>
        destination.settings.breaker === undefined
          ? []
          : [{ destination: labelOf(record), isOpen: destination.isBroken }],
      ),

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
