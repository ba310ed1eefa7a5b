// The data plane's front. It settles who calls and which destination is meant, reads the
// body, and hands over to an exchange. Three ways in, one engine.
//
//   POST /proxy, /v1/proxy, /v2/proxy      the envelope
//   ANY  /forward/<path>                   destination by `Sallyport-Destination: <origin>`
//   ANY  /d/<name>/<path>                  destination by name; also on a port or host name of its own

import type { Authenticate, Caller } from '../core/caller.ts'
import { AppError, ERRORS, type ErrorDetails, type Reason } from '../core/errors.ts'
import type { Ids, MerchantId, ProfileId, RequestId } from '../core/ids.ts'
import { isPromise, type MaybePromise } from '../core/maybe-promise.ts'
import type { RateLimiter } from '../core/rate-limiter.ts'
import { type Call, type CallListener, fieldOf } from '../http/call.ts'
import type { ClientAddress } from '../http/client-address.ts'
import { keyOfPspSdk, presentedKey } from '../http/credentials.ts'
import { isAmbiguousHead } from '../http/framing.ts'
import type { DestinationName, Store } from '../store/contract.ts'
import { findProfile } from '../store/named-profile.ts'
import { HeldBytes } from './answer/held-bytes.ts'
import { ArrivingBody, type BodyLimits, type BodyMemory, type BodyOwner } from './arriving-body.ts'
import type { Destination, Destinations } from './destinations.ts'
import { hasDigest } from './digest-headers.ts'
import { EnvelopeRelay, parseEnvelope } from './envelope.ts'
import { type Admission, Exchange, type ExchangeDeps, type ExchangeFront } from './exchange.ts'
import { type Head, outboundHeaders, readHead } from './head.ts'
import { type Coding, parseCoding } from './inflate.ts'
import { mediaTypeOf } from './media-type.ts'
import { type DestinationUrl, matchesOrigin, type Origin, parseOrigin } from './origin.ts'
import type { Outbound } from './outbound.ts'
import { Refusal } from './refusal.ts'
import {
  type AnswerFacts,
  factsOf,
  type Relay,
  SameShapeRelay,
  sendError,
  sendOwn,
} from './relay.ts'
import { serverTiming } from './server-timing.ts'
import { BodyCut } from './streamed-body.ts'
import { ADMISSION_HOLDS_MS } from './streaming.ts'
import { readWishes, type Wishes } from './wishes.ts'

export type Way =
  | { readonly kind: 'envelope' }
  /** `target`: path and query as they go on. */
  | { readonly kind: 'forward'; readonly target: string }
  | { readonly kind: 'named'; readonly name: string; readonly target: string }

const ENVELOPE_PATH = /^\/(v1\/|v2\/)?proxy$/
const NAMED_PATH = /^\/d\/([a-z0-9][a-z0-9-]{0,62})(?=\/|\?|$)/

/** Which way in a URL is; undefined when it is none of the proxy's. */
export function wayOf(url: string): Way | undefined {
  if (url.startsWith('/forward/')) return { kind: 'forward', target: url.slice('/forward'.length) }
  if (url.startsWith('/d/')) {
    const match = NAMED_PATH.exec(url)
    return match === null
      ? undefined
      : { kind: 'named', name: match[1] as string, target: targetOf(url.slice(match[0].length)) }
  }
  if (!url.includes('proxy')) return undefined
  return ENVELOPE_PATH.test(url) ? { kind: 'envelope' } : undefined
}

function targetOf(rest: string): string {
  return rest.startsWith('/') ? rest : `/${rest}`
}

export type ProxyDeps = ExchangeDeps & {
  readonly store: Pick<Store, 'findProfile' | 'findDefaultProfile'>
  readonly authenticate: Authenticate
  readonly clientAddress: ClientAddress
  readonly destinations: Destinations
  readonly ids: Ids
  readonly bodyMemory: BodyMemory
  /** Of requests, for each API key. */
  readonly rates: RateLimiter | undefined
}

export type Proxy = { handle(call: Call, way: Way): void }

export function createProxy(deps: ProxyDeps): Proxy {
  return {
    handle(call, way) {
      new Arrival(deps, call, way).start()
    },
  }
}

/** The envelope's own limit; the destination's limit holds for the body in it. */
const ENVELOPE_LIMIT_BYTES = 64 * 1024 * 1024
/** A refused request with a body beyond this is not read to its end: its connection is closed. */
const DRAIN_LIMIT_BYTES = 64 * 1024

/** A request that has come in, until it is an exchange or refused. */
class Arrival implements ExchangeFront, BodyOwner, CallListener {
  readonly #deps: ProxyDeps
  readonly #call: Call
  readonly #way: Way
  readonly #requestId: RequestId
  readonly #startedAtMs: number
  readonly #startMark = performance.now()
  #client = ''
  #head: Head | undefined
  #caller: Caller | undefined
  #wishes: Wishes | undefined
  #retryAfterSeconds: number | undefined
  #exchange: Exchange | undefined
  readonly #body: ArrivingBody
  readonly answerMemory: HeldBytes
  isOver = false

  constructor(deps: ProxyDeps, call: Call, way: Way) {
    this.#deps = deps
    this.#call = call
    this.#way = way
    this.#requestId = deps.ids.request()
    this.#startedAtMs = deps.clock()
    this.#body = new ArrivingBody(call, deps.bodyMemory, this)
    this.answerMemory = new HeldBytes(deps.bodyMemory)
  }

  start(): void {
    try {
      this.#start()
    } catch (error) {
      this.onFailed(error)
    }
  }

  #start(): void {
    const { rawHeaders } = this.#call
    this.#client = this.#deps.clientAddress(this.#call.peer, () =>
      fieldOf(rawHeaders, 'x-forwarded-for'),
    )
    if (isAmbiguousHead(rawHeaders)) throw new AppError('malformed_body')
    this.#head = readHead(rawHeaders)
    this.#call.listen(this)
    if (this.#way.kind === 'envelope' && this.#call.method !== 'POST') {
      throw new AppError('method_not_allowed')
    }
    this.#admit()
  }

  onCallClosed(isWhole: boolean): void {
    this.#body.onAnswerOver()
    this.answerMemory.release()
    if (isWhole) return
    this.isOver = true
    this.#exchange?.onCallerGone()
  }

  /** Who asks, and for which destination. */
  #admit(): void {
    const key = this.#presentedKey()
    if (key === undefined) throw new AppError('unauthenticated')
    this.#when(this.#deps.authenticate(key, this.#client), (caller) => this.#onCaller(caller))
  }

  #presentedKey(): string | undefined {
    if (this.#way.kind === 'envelope') {
      return presentedKey((name) => fieldOf(this.#call.rawHeaders, name))
    }
    const head = this.#head as Head
    const said = head.own.get('sallyport-key')
    if (said !== undefined || head.authorization === undefined) return said
    return keyOfPspSdk(head.authorization)
  }

  #onCaller(caller: Caller | undefined): void {
    if (caller === undefined) throw new AppError('unauthenticated')
    this.#caller = caller
    const { merchantId } = caller
    if (merchantId === undefined || !caller.scopes.has('proxy:invoke')) {
      throw new AppError('permission_denied')
    }
    const head = this.#head as Head
    if (this.#wishes === undefined) {
      this.#wishes = readWishes(head, this.#way.kind === 'envelope')
      const retryAfterSeconds = this.#deps.rates?.admit(caller.keyId) ?? 0
      if (retryAfterSeconds > 0) {
        this.#retryAfterSeconds = retryAfterSeconds
        throw new AppError('rate_limited')
      }
    }
    const profile = findProfile(this.#deps.store, merchantId, head.profile)
    this.#when(profile, (found) => {
      if (found === undefined) throw new AppError('not_found')
      this.#onProfile(merchantId, found.id)
    })
  }

  #onProfile(merchantId: MerchantId, profileId: ProfileId): void {
    const head = this.#head as Head
    const { destinations } = this.#deps
    const said = head.own.get('sallyport-destination')
    const origin = said === undefined ? undefined : parseOrigin(said)
    if (said !== undefined && origin === undefined) throw new AppError('destination_not_allowed')
    switch (this.#way.kind) {
      case 'envelope': {
        const limits = { bodyBytes: ENVELOPE_LIMIT_BYTES, bufferBytes: ENVELOPE_LIMIT_BYTES }
        this.#readBody(codingOf(head), limits, (body) => {
          const wishes = this.#wishes as Wishes
          const { url, outbound } = parseEnvelope(body ?? Buffer.alloc(0), wishes)
          if (origin !== undefined && origin !== url.origin) {
            throw new AppError('destination_not_allowed')
          }
          this.#when(destinations.byOrigin(merchantId, profileId, url.origin), (destination) =>
            this.#onEnvelope(merchantId, profileId, destination, url, outbound),
          )
        })
        break
      }
      case 'forward': {
        if (origin === undefined) throw new AppError('destination_not_allowed')
        const { target } = this.#way
        this.#when(destinations.byOrigin(merchantId, profileId, origin), (destination) =>
          this.#onDestination(merchantId, profileId, destination, origin, target),
        )
        break
      }
      case 'named': {
        const { name, target } = this.#way
        this.#when(
          destinations.byName(merchantId, profileId, name as DestinationName),
          (destination) =>
            this.#onDestination(
              merchantId,
              profileId,
              destination,
              originFor(destination, origin),
              target,
            ),
        )
        break
      }
      default:
        this.#way satisfies never
    }
  }

  #onEnvelope(
    merchantId: MerchantId,
    profileId: ProfileId,
    destination: Destination | undefined,
    url: DestinationUrl,
    outbound: Outbound,
  ): void {
    if (destination === undefined) throw new AppError('destination_not_allowed')
    if ((outbound.body?.length ?? 0) > destination.settings.limits.body_bytes) {
      throw new AppError('body_too_large')
    }
    const { injectedNames, injectedHeaders } = destination
    const headers: string[] = []
    for (let i = 0; i < outbound.headers.length; i += 2) {
      const name = outbound.headers[i] as string
      if (!injectedNames.has(name.toLowerCase()))
        headers.push(name, outbound.headers[i + 1] as string)
    }
    headers.push(...injectedHeaders.reveal())
    const { injectedContentType } = destination
    const mediaType =
      injectedContentType === undefined ? outbound.mediaType : mediaTypeOf(injectedContentType)
    const relay = new EnvelopeRelay(this.#call, this.answerMemory)
    this.#exchangeWith(merchantId, profileId, destination, url.origin, relay).begin({
      ...outbound,
      headers,
      mediaType,
    })
  }

  #onDestination(
    merchantId: MerchantId,
    profileId: ProfileId,
    destination: Destination | undefined,
    origin: Origin | undefined,
    target: string,
  ): void {
    if (destination === undefined || origin === undefined)
      throw new AppError('destination_not_allowed')
    const head = this.#head as Head
    // The key came in the PSP's own header: only where that header is replaced, so that the key never leaves.
    if (!head.own.has('sallyport-key') && !destination.injectedNames.has('authorization')) {
      throw new AppError('unauthenticated')
    }
    const wishes = this.#wishes as Wishes
    const mediaType = mediaTypeOf(destination.injectedContentType ?? head.contentType)
    // What is not scanned goes on as it came.
    const coding = mediaType.kind === 'binary' ? 'identity' : codingOf(head)
    const wasInflated = coding !== 'identity'
    const headers = outboundHeaders(this.#call.rawHeaders, head, destination, wasInflated)
    const { body_bytes, buffer_bytes } = destination.settings.limits
    // What is signed, digested, compared with another request or shown has to be there as a whole.
    const isHeld =
      destination.signing !== undefined ||
      wishes.idempotencyKey !== undefined ||
      wishes.isDryRun ||
      (mediaType.kind !== 'binary' && hasDigest(headers))
    const limits = { bodyBytes: body_bytes, bufferBytes: isHeld ? body_bytes : buffer_bytes }
    this.#readBody(coding, limits, (body, rest) => {
      const question = target.indexOf('?')
      const relay = new SameShapeRelay(this.#call)
      this.#exchangeWith(merchantId, profileId, destination, origin, relay).begin({
        method: this.#call.method,
        path: question === -1 ? target : target.slice(0, question),
        query: question === -1 ? '' : target.slice(question),
        headers,
        body,
        rest,
        contentLength: wasInflated ? undefined : head.contentLength,
        wasInflated,
        mediaType,
        wishes,
      })
    })
  }

  #exchangeWith(
    merchantId: MerchantId,
    profileId: ProfileId,
    destination: Destination,
    origin: Origin,
    relay: Relay,
  ): Exchange {
    this.#exchange = new Exchange(
      this.#deps,
      {
        requestId: this.#requestId,
        caller: this.#caller as Caller,
        merchantId,
        profileId,
        client: this.#client,
        destination,
        origin,
        startedAtMs: this.#startedAtMs,
        startMark: this.#startMark,
      },
      relay,
      this,
    )
    return this.#exchange
  }

  async stillHolds({ merchantId, profileId, destination }: Admission): Promise<boolean> {
    const key = this.#presentedKey()
    if (key === undefined) return false
    const caller = await this.#deps.authenticate(key, this.#client)
    if (caller?.merchantId !== merchantId || !caller.scopes.has('proxy:invoke')) return false
    const { destinations } = this.#deps
    return (await destinations.byName(merchantId, profileId, destination.name)) === destination
  }

  /** Hands over the body, as `ArrivingBody` does, or begins anew when that took its time. */
  #readBody(
    coding: Coding,
    limits: BodyLimits,
    done: (body: Buffer | undefined, rest: AsyncIterable<Buffer> | undefined) => void,
  ): void {
    const wasRead = this.#body.isRead
    this.#body.read(this.#head as Head, coding, limits, (body, rest) => {
      // A key may have been revoked, and a policy changed, while a body trickled in.
      const isLate = this.#deps.clock() - this.#startedAtMs > ADMISSION_HOLDS_MS
      if (isLate && !wasRead && body !== undefined) this.#admit()
      else done(body, rest)
    })
  }

  /** Goes on at once where the answer is there, later where it is not; errors of either end the request. */
  #when<T>(value: MaybePromise<T>, next: (value: T) => void): void {
    if (isPromise(value)) {
      value
        .then((settled) => {
          if (!this.isOver) next(settled)
        })
        .catch((error) => this.onFailed(error))
    } else {
      next(value)
    }
  }

  onFailed(error: unknown): void {
    if (this.isOver) return
    if (error instanceof AppError) {
      this.#refuse(error.reason, error.details)
      return
    }
    if (error instanceof Refusal) {
      this.#refuse(error.reason, undefined)
      return
    }
    if (error instanceof BodyCut) return // its caller is gone, and the response knows
    this.#deps.onBug(this.#requestId, error)
    this.#refuse('internal_error', undefined)
  }

  #refuse(reason: Reason, details: ErrorDetails | undefined): void {
    this.isOver = true
    const { stats, clock, audit } = this.#deps
    stats.finished(reason, clock() - this.#startedAtMs)
    const caller = this.#caller
    if (caller?.merchantId !== undefined) {
      audit.append({
        kind: 'refusal',
        request: this.#requestId,
        merchant: caller.merchantId,
        key: caller.keyId,
        client: this.#client,
        reason,
      })
    }
    const elapsedMs = performance.now() - this.#startMark
    const facts = {
      ...factsOf(this.#requestId),
      serverTiming: serverTiming({
        vaultMs: elapsedMs,
        connectMs: undefined,
        upstreamMs: undefined,
        totalMs: elapsedMs,
      }),
      retryAfterSeconds: this.#retryAfterSeconds,
    }
    this.onRefused(reason, facts, details)
  }

  onRefused(reason: Reason, facts: AnswerFacts, details: ErrorDetails | undefined): void {
    if (this.#call.isClosed || this.#call.isHeadSent) return
    const head = this.#head
    const isLong =
      head === undefined || head.isChunked || (head.contentLength ?? 0) > DRAIN_LIMIT_BYTES
    // Without a head nobody can say where its body ends.
    const closes =
      head === undefined || (!this.#call.isRead && (isLong || ERRORS[reason].status === 413))
    sendError(this.#call, reason, facts, details, closes)
  }

  onRendered(json: Buffer, facts: AnswerFacts): void {
    if (!this.#call.isClosed) sendOwn(this.#call, json, facts)
  }
}

function codingOf(head: Head): Coding {
  const coding = parseCoding(head.contentEncoding)
  if (coding === undefined) throw new AppError('content_encoding_unsupported')
  return coding
}

/** An origin named beside the destination has to be one of its own; a wildcard needs it. */
function originFor(
  destination: Destination | undefined,
  said: Origin | undefined,
): Origin | undefined {
  if (destination === undefined) return undefined
  const { origin } = destination
  if (said !== undefined) return matchesOrigin(origin, said) ? said : undefined
  return origin.includes('*') ? undefined : (origin as Origin)
}
