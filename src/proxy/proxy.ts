// The data plane's front: a bare node:http handler. It settles who calls and which destination is meant, reads the
// body, and hands over to an exchange. Three ways in, one engine.
//
//   POST /proxy, /v1/proxy, /v2/proxy      the envelope
//   ANY  /forward/<path>                   destination by `Sallyport-Destination: <origin>`
//   ANY  /d/<name>/<path>                  destination by name; also on a port or host name of its own

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Readable } from 'node:stream'
import type { Authenticate, Caller } from '../core/caller.ts'
import { AppError, ERRORS, type ErrorDetails, type Reason } from '../core/errors.ts'
import type { Ids, MerchantId, ProfileId, RequestId } from '../core/ids.ts'
import { isPromise, type MaybePromise } from '../core/maybe-promise.ts'
import { keyOfPspSdk, presentedKey } from '../http/credentials.ts'
import { isAmbiguousHead } from '../http/framing.ts'
import { giveTimeBack, keepOwnTime } from '../http/own-time.ts'
import type { DestinationName, Store } from '../store/contract.ts'
import type { Destination, Destinations } from './destinations.ts'
import { hasDigest } from './digest-headers.ts'
import { EnvelopeRelay, parseEnvelope } from './envelope.ts'
import {
  ADMISSION_HOLDS_MS,
  type Admission,
  Exchange,
  type ExchangeDeps,
  type ExchangeFront,
} from './exchange.ts'
import { expectedSubstitutions, type Head, OWN_HEADERS, outboundHeaders, readHead } from './head.ts'
import { type Coding, inflated, parseCoding } from './inflate.ts'
import { mediaTypeOf } from './media-type.ts'
import { type DestinationUrl, matchesOrigin, type Origin, parseOrigin } from './origin.ts'
import type { Outbound } from './outbound.ts'
import { findProfile } from './profile.ts'
import { Refusal } from './refusal.ts'
import { type AnswerFacts, type Relay, SameShapeRelay, sendError } from './relay.ts'
import { BodyCut } from './streamed-body.ts'

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
  readonly clientAddress: (request: IncomingMessage) => string
  readonly destinations: Destinations
  readonly ids: Ids
  readonly bodyMemory: BodyMemory
}

/** What all requests together may hold in memory while their bodies are read and sent. */
export type BodyMemory = { heldBytes: number; readonly limitBytes: number }

export type Proxy = { handle(request: IncomingMessage, response: ServerResponse, way: Way): void }

export function createProxy(deps: ProxyDeps): Proxy {
  return {
    handle(request, response, way) {
      new Arrival(deps, request, response, way).start()
    },
  }
}

/** The envelope's own limit; the destination's limit holds for the body in it. */
const ENVELOPE_LIMIT_BYTES = 64 * 1024 * 1024
/** A refused request with a body beyond this is not read to its end: its connection is closed. */
const DRAIN_LIMIT_BYTES = 64 * 1024

/** How long the remainder of a body is waited for that nobody wants any more. */
const REST_MS = 10_000

/** A request that has come in, until it is an exchange or refused. */
class Arrival implements ExchangeFront {
  readonly #deps: ProxyDeps
  readonly #request: IncomingMessage
  readonly #response: ServerResponse
  readonly #way: Way
  readonly #requestId: RequestId
  readonly #startedAtMs: number
  #client = ''
  #head: Head | undefined
  #caller: Caller | undefined
  #exchange: Exchange | undefined
  #body: Buffer | undefined
  #rest: AsyncIterable<Buffer> | undefined
  /** In which it was read. */
  #coding: Coding = 'identity'
  /** Counted in the memory that all bodies share, until the answer is over. */
  #heldBytes = 0
  #isOver = false

  constructor(deps: ProxyDeps, request: IncomingMessage, response: ServerResponse, way: Way) {
    this.#deps = deps
    this.#request = request
    this.#response = response
    this.#way = way
    this.#requestId = deps.ids.request()
    this.#startedAtMs = deps.clock()
  }

  start(): void {
    try {
      this.#start()
    } catch (error) {
      this.#failed(error)
    }
  }

  #start(): void {
    this.#client = this.#deps.clientAddress(this.#request)
    const { rawHeaders } = this.#request
    if (isAmbiguousHead(rawHeaders)) throw new AppError('malformed_body')
    this.#head = readHead(rawHeaders)
    this.#response.on('close', () => {
      if (this.#rest !== undefined) this.#boundRest()
      this.#release()
      if (this.#response.writableFinished) return
      this.#isOver = true
      this.#exchange?.onCallerGone()
    })
    if (this.#way.kind === 'envelope' && this.#request.method !== 'POST') {
      throw new AppError('method_not_allowed')
    }
    this.#admit()
  }

  /** Who asks, and for which destination. */
  #admit(): void {
    const key = this.#presentedKey()
    if (key === undefined) throw new AppError('unauthenticated')
    this.#when(this.#deps.authenticate(key, this.#client), (caller) => this.#onCaller(caller))
  }

  #presentedKey(): string | undefined {
    if (this.#way.kind === 'envelope') return presentedKey(this.#request.headers)
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
    for (const name of head.lowerNames) {
      // A wish we do not know is not ignored: it may be the one that keeps a payment from being made twice.
      const isUnknown = name.startsWith('sallyport-') && !OWN_HEADERS.has(name)
      if (isUnknown || (this.#way.kind === 'envelope' && name === 'idempotency-key')) {
        throw new AppError('unknown_field')
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
          const expected = expectedSubstitutions(head)
          const { url, outbound } = parseEnvelope(body ?? Buffer.alloc(0), {
            expectedSubstitutions: expected,
            token: head.own.get('sallyport-token'),
          })
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
    const relay = new EnvelopeRelay(this.#response)
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
    const expected = expectedSubstitutions(head)
    const mediaType = mediaTypeOf(destination.injectedContentType ?? head.contentType)
    // What is not scanned goes on as it came.
    const coding = mediaType.kind === 'binary' ? 'identity' : codingOf(head)
    const wasInflated = coding !== 'identity'
    const { rawHeaders } = this.#request
    const headers = outboundHeaders(rawHeaders, head, destination, wasInflated)
    const { body_bytes, buffer_bytes } = destination.settings.limits
    // What is signed or digested has to be there as a whole.
    const isHeld =
      destination.signing !== undefined || (mediaType.kind !== 'binary' && hasDigest(headers))
    const limits = { bodyBytes: body_bytes, bufferBytes: isHeld ? body_bytes : buffer_bytes }
    this.#readBody(coding, limits, (body, rest) => {
      const method = this.#request.method ?? ''
      const question = target.indexOf('?')
      const relay = new SameShapeRelay(this.#response, method)
      this.#exchangeWith(merchantId, profileId, destination, origin, relay).begin({
        method,
        path: question === -1 ? target : target.slice(0, question),
        query: question === -1 ? '' : target.slice(question),
        headers,
        body,
        rest,
        contentLength: wasInflated ? undefined : head.contentLength,
        wasInflated,
        mediaType,
        token: head.own.get('sallyport-token'),
        expectedSubstitutions: expected,
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

  /**
   * Hands over the body in one piece, the very chunk where it came in one; or, beyond `bufferBytes`, its beginning and
   * what is still to come.
   */
  #readBody(
    coding: Coding,
    limits: { readonly bodyBytes: number; readonly bufferBytes: number },
    done: (body: Buffer | undefined, rest: AsyncIterable<Buffer> | undefined) => void,
  ): void {
    const head = this.#head as Head
    if ((head.contentLength ?? 0) > limits.bodyBytes) throw new AppError('body_too_large')
    if (!head.isChunked && (head.contentLength ?? 0) === 0) {
      done(undefined, undefined)
      return
    }
    if (this.#body !== undefined) {
      if (this.#body.length > limits.bodyBytes) throw new AppError('body_too_large')
      // The destination has changed since: it would have been read in another way, or held as a whole.
      const isHalf = this.#rest !== undefined && this.#body.length <= limits.bufferBytes
      if (coding !== this.#coding || isHalf) throw new AppError('permission_denied')
      done(this.#body, this.#rest)
      return
    }
    this.#coding = coding
    const source = coding === 'identity' ? this.#request : inflated(this.#request, coding)
    const { bodyMemory, clock } = this.#deps
    const chunks: Buffer[] = []
    const onRead = (rest: AsyncIterable<Buffer> | undefined) => {
      try {
        this.#body = chunks.length === 1 ? chunks[0] : Buffer.concat(chunks)
        this.#rest = rest
        // A key may have been revoked, and a policy changed, while a body trickled in.
        if (clock() - this.#startedAtMs > ADMISSION_HOLDS_MS) this.#admit()
        else done(this.#body, rest)
      } catch (error) {
        this.#failed(error)
      }
    }
    const onData = (chunk: Buffer) => {
      if (this.#isOver) return
      this.#heldBytes += chunk.length
      bodyMemory.heldBytes += chunk.length
      chunks.push(chunk)
      if (this.#heldBytes > limits.bodyBytes) this.#refuse('body_too_large', undefined)
      else if (bodyMemory.heldBytes > bodyMemory.limitBytes) {
        this.#refuse('destination_busy', undefined)
      }
      if (this.#isOver) {
        chunks.length = 0
        this.#release()
      } else if (this.#heldBytes > limits.bufferBytes) {
        source.pause()
        source.off('data', onData)
        source.off('end', onEnd)
        keepOwnTime(this.#request.socket) // the destination's, from here on
        onRead(restOf(source))
      }
    }
    const onEnd = () => {
      if (!this.#isOver) onRead(undefined)
    }
    source.on('data', onData)
    source.on('end', onEnd)
    if (source !== this.#request) {
      source.on('error', (error) => {
        // Whoever reads the rest learns it there, and knows whether anything was sent.
        if (this.#rest === undefined) this.#failed(error)
      })
    }
  }

  /** The answer is over and its request is not: what is still to come of it is thrown away, for so long. */
  #boundRest(): void {
    const request = this.#request
    giveTimeBack(request.socket)
    if (request.complete) return
    const timer = setTimeout(() => request.destroy(), REST_MS).unref()
    request.once('end', () => clearTimeout(timer))
    request.once('close', () => clearTimeout(timer))
  }

  #release(): void {
    this.#deps.bodyMemory.heldBytes -= this.#heldBytes
    this.#heldBytes = 0
  }

  /** Goes on at once where the answer is there, later where it is not; errors of either end the request. */
  #when<T>(value: MaybePromise<T>, next: (value: T) => void): void {
    if (isPromise(value)) {
      value
        .then((settled) => {
          if (!this.#isOver) next(settled)
        })
        .catch((error) => this.#failed(error))
    } else {
      next(value)
    }
  }

  #failed(error: unknown): void {
    if (this.#isOver) return
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
    this.#isOver = true
    const { stats, clock, audit } = this.#deps
    stats.finished(undefined, reason, clock() - this.#startedAtMs)
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
    const facts = {
      requestId: this.#requestId,
      upstreamStatus: undefined,
      substitutions: '',
      mayHaveBeenSent: false,
    }
    this.onRefused(reason, facts, details)
  }

  onRefused(reason: Reason, facts: AnswerFacts, details: ErrorDetails | undefined): void {
    if (this.#response.destroyed || this.#response.headersSent) return
    const head = this.#head
    const isLong =
      head === undefined || head.isChunked || (head.contentLength ?? 0) > DRAIN_LIMIT_BYTES
    // Without a head nobody can say where its body ends.
    const closes =
      head === undefined || (!this.#request.complete && (isLong || ERRORS[reason].status === 413))
    sendError(this.#response, reason, facts, details, closes)
  }
}

function codingOf(head: Head): Coding {
  const coding = parseCoding(head.contentEncoding)
  if (coding === undefined) throw new AppError('content_encoding_unsupported')
  return coding
}

/** What a paused source still has to give. Whoever stops asking lets the remainder pass unread. */
async function* restOf(source: Readable): AsyncGenerator<Buffer, void> {
  try {
    yield* source.iterator({ destroyOnReturn: false })
  } catch (error) {
    throw error instanceof Refusal ? error : new BodyCut('', { cause: error })
  } finally {
    source.resume()
  }
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
