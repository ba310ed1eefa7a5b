// At most one send for each idempotency key (the semantics of draft-ietf-httpapi-idempotency-key-header). A key is
// claimed, on disk, before anything is sent, and what became of the request is kept for a day: its answer, sealed, or
// that nobody knows. Only when it provably never left is the key free again.

import { hash } from 'node:crypto'
import type { Clock } from '../core/clock.ts'
import type { Reason } from '../core/errors.ts'
import type { MerchantId, ProfileId, RequestId } from '../core/ids.ts'
import type { Fingerprint } from '../crypto/fingerprint.ts'
import type { Keyring, OwnerKeys } from '../crypto/keyring.ts'
import type { IdempotencyRecord, Store } from '../store/contract.ts'
import type { Destination } from './destinations.ts'
import { type Outbound, scanHead } from './outbound.ts'
import { headerValue } from './raw-headers.ts'

export type IdempotencyDeps = {
  readonly store: Pick<
    Store,
    'claimIdempotencyKey' | 'finishIdempotencyKey' | 'releaseIdempotencyKey'
  >
  readonly keyring: Pick<Keyring, 'keysOf'>
  readonly clock: Clock
  /** This process: what another one left in flight nobody works on any more. */
  readonly instance: string
}

/** As the caller got it, masked and all. */
export type StoredAnswer = {
  readonly status: number
  readonly message: string
  /** Names and values in turn. */
  readonly headers: readonly string[]
  /** Places in it that were masked. */
  readonly redactions: number
  readonly body: Buffer
}

export type Claiming =
  | { readonly kind: 'claimed'; readonly claim: Claim }
  | { readonly kind: 'replay'; readonly answer: StoredAnswer }
  | { readonly kind: 'refuse'; readonly reason: Reason }

const KEPT_MS = 24 * 60 * 60 * 1000

export async function claimKey(
  deps: IdempotencyDeps,
  request: {
    readonly requestId: RequestId
    readonly merchantId: MerchantId
    readonly profileId: ProfileId
    readonly destination: Pick<Destination, 'name' | 'revision'>
    readonly origin: string
    readonly outbound: Outbound
    readonly key: string
  },
): Promise<Claiming> {
  const { store, keyring, clock, instance } = deps
  const { merchantId } = request
  const keys = await keyring.keysOf(merchantId)
  const createdAtMs = clock()
  const record: IdempotencyRecord = {
    merchantId,
    key: keys.fingerprint('', 'idempotency_key', Buffer.from(request.key)),
    request: keys.fingerprint('', 'idempotent_request', identityOf(request)),
    claimant: request.requestId,
    instance,
    createdAtMs,
    expiresAtMs: createdAtMs + KEPT_MS,
    state: 'in_flight',
    answer: undefined,
  }
  const known = await store.claimIdempotencyKey(record)
  const { revision } = request.destination
  if (known === 'claimed') {
    return { kind: 'claimed', claim: new Claim(store, keys, record, revision) }
  }
  const decision = decideRepetition(known, record.request, instance)
  if (decision !== 'replay' || known.answer === undefined) {
    return { kind: 'refuse', reason: decision === 'replay' ? 'outcome_unknown' : decision }
  }
  const opener = await keyring.keysOf(merchantId, known.answer)
  const { revision: was, ...answer } = decodeAnswer(
    opener.open(known.answer, 'answer', answerId(known)),
  )
  // What may be seen of an answer is the destination's to say, and it says something else by now.
  if (was !== revision) return { kind: 'refuse', reason: 'outcome_unknown' }
  return { kind: 'replay', answer }
}

export type Repetition =
  | 'replay'
  | 'idempotency_mismatch'
  | 'idempotency_in_flight'
  | 'outcome_unknown'

/** What a second request under a key is told. */
export function decideRepetition(
  known: Pick<IdempotencyRecord, 'request' | 'state' | 'instance'>,
  request: Fingerprint,
  instance: string,
): Repetition {
  if (known.request !== request) return 'idempotency_mismatch'
  switch (known.state) {
    case 'answered':
      return 'replay'
    case 'unknown':
      return 'outcome_unknown'
    case 'in_flight':
      return known.instance === instance ? 'idempotency_in_flight' : 'outcome_unknown'
    default:
      return known.state satisfies never
  }
}

/**
 * What makes two requests the same: everything that decides what is bought of whom and paid with what, placeholders as
 * they were sent. Of the headers that is the type of the body, whose account it is and what names a card: others, a trace
 * id, may differ.
 */
function identityOf(request: {
  readonly profileId: ProfileId
  readonly destination: Pick<Destination, 'name'>
  readonly origin: string
  readonly outbound: Outbound
}): Buffer {
  const { profileId, destination, origin, outbound } = request
  const { method, path, query, headers, body, wishes } = outbound
  const withPlaceholders = scanHead(outbound).headers.map((found) => [
    headers[found.at - 1]?.toLowerCase(),
    headers[found.at],
  ])
  return Buffer.from(
    JSON.stringify([
      profileId,
      destination.name,
      origin,
      method,
      path,
      query,
      headerValue(headers, 'content-type') ?? '',
      headerValue(headers, 'authorization') ?? '',
      withPlaceholders,
      wishes.token ?? '',
      body === undefined ? '' : hash('sha256', body),
    ]),
  )
}

/** The right to send one request. Settled once, in one of three ways; the first counts, and the others wait for it. */
export class Claim {
  readonly #store: IdempotencyDeps['store']
  readonly #keys: OwnerKeys
  readonly #record: IdempotencyRecord
  readonly #revision: number
  #settling: Promise<unknown> | undefined

  constructor(
    store: IdempotencyDeps['store'],
    keys: OwnerKeys,
    record: IdempotencyRecord,
    revision: number,
  ) {
    this.#store = store
    this.#keys = keys
    this.#record = record
    this.#revision = revision
  }

  async answered(answer: StoredAnswer): Promise<void> {
    this.#settling ??= this.#keep(answer)
    await this.#settling
  }

  /** It may have been sent, and there is no answer to keep. */
  async unknown(): Promise<void> {
    this.#settling ??= this.#store.finishIdempotencyKey({ ...this.#record, state: 'unknown' })
    await this.#settling
  }

  /** It provably never left. */
  async release(): Promise<void> {
    this.#settling ??= this.#store.releaseIdempotencyKey(this.#record)
    await this.#settling
  }

  async #keep(answer: StoredAnswer): Promise<void> {
    try {
      const sealed = this.#keys.seal(
        encodeAnswer({ ...answer, revision: this.#revision }),
        'answer',
        answerId(this.#record),
      )
      await this.#store.finishIdempotencyKey({ ...this.#record, state: 'answered', answer: sealed })
    } catch (error) {
      // Nobody works on it any more: what it was is not known to who asks next.
      await this.#store.finishIdempotencyKey({ ...this.#record, state: 'unknown' })
      throw error
    }
  }
}

/** What the answer is sealed for: another request under this key, a day later, has another one. */
function answerId(record: Pick<IdempotencyRecord, 'key' | 'claimant'>): string {
  return `${record.key}.${record.claimant}`
}

/** Of which revision of the destination it was. */
type RevisedAnswer = StoredAnswer & { readonly revision: number }

/** Length of the head (4, big endian) ‖ the head as JSON ‖ the body. */
function encodeAnswer({ body, ...rest }: RevisedAnswer): Buffer {
  const head = Buffer.from(JSON.stringify(rest))
  const length = Buffer.alloc(4)
  length.writeUInt32BE(head.length)
  return Buffer.concat([length, head, body])
}

function decodeAnswer(bytes: Buffer): RevisedAnswer {
  const end = 4 + bytes.readUInt32BE(0)
  const head = JSON.parse(bytes.toString('utf8', 4, end)) as Omit<RevisedAnswer, 'body'>
  return { ...head, body: bytes.subarray(end) }
}
