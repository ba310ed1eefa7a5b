// What a caller asks of the proxy itself, in headers of ours. A wish we do not know is not ignored: it may be the one
// that keeps a payment from being made twice.

import { invalidField } from '../core/errors.ts'
import type { Head } from './head.ts'

export type Wishes = {
  /** Single-token mode: the token of every placeholder that names none. */
  readonly token: string | undefined
  readonly expectedSubstitutions: number | undefined
  /** Show what would be sent, and send nothing. */
  readonly isDryRun: boolean
  /** For the whole, where that is less than the destination's own limit. */
  readonly timeoutMs: number | undefined
  /** Under which the request is sent once at most. */
  readonly idempotencyKey: string | undefined
}

/** Headers of ours that this version knows. */
export const KNOWN_HEADERS: ReadonlySet<string> = new Set([
  'sallyport-key',
  'sallyport-destination',
  'sallyport-token',
  'sallyport-expect-substitutions',
  'sallyport-dry-run',
  'sallyport-timeout-ms',
  'sallyport-idempotency-key',
])

const COUNT = /^[0-9]{1,6}$/
const MILLISECONDS = /^[1-9][0-9]{0,6}$/
/** It may go on to the destination, unscanned, so nothing that looks like a placeholder fits into it. */
export const IDEMPOTENCY_KEY_GRAMMAR = /^[A-Za-z0-9_.:/+=~@-]{1,255}$/

const NONE: Wishes = {
  token: undefined,
  expectedSubstitutions: undefined,
  isDryRun: false,
  timeoutMs: undefined,
  idempotencyKey: undefined,
}

/** Throws AppError. `isEnvelope`: there the header `Idempotency-Key` is ours, too. */
export function readWishes({ own, idempotencyKey }: Head, isEnvelope: boolean): Wishes {
  const envelopeKey = isEnvelope ? unquoted(idempotencyKey) : undefined
  if (own.size === 0 && envelopeKey === undefined) return NONE
  for (const name of own.keys()) {
    if (!KNOWN_HEADERS.has(name)) throw invalidField('unknown_field', name)
  }
  const ownKey = own.get('sallyport-idempotency-key')
  if (ownKey !== undefined && envelopeKey !== undefined && ownKey !== envelopeKey) {
    throw invalidField('invalid_value', 'idempotency-key')
  }
  const key = ownKey ?? envelopeKey
  if (key !== undefined && !IDEMPOTENCY_KEY_GRAMMAR.test(key)) {
    throw invalidField(
      'invalid_value',
      ownKey === undefined ? 'idempotency-key' : 'sallyport-idempotency-key',
    )
  }
  const token = own.get('sallyport-token')
  const isPlain = own.size === (own.has('sallyport-key') ? 1 : 0)
  if (isPlain && key === undefined) return NONE
  return {
    token,
    expectedSubstitutions: numberIn(own, 'sallyport-expect-substitutions', COUNT),
    isDryRun: isTrue(own, 'sallyport-dry-run'),
    timeoutMs: numberIn(own, 'sallyport-timeout-ms', MILLISECONDS),
    idempotencyKey: key,
  }
}

/** The draft wants a structured string, `"abc"`; most send the bare word. */
function unquoted(text: string | undefined): string | undefined {
  return text?.replace(/^"(.*)"$/, '$1')
}

type Own = Head['own']

function numberIn(own: Own, name: string, grammar: RegExp): number | undefined {
  const text = own.get(name)
  if (text === undefined) return undefined
  if (!grammar.test(text)) throw invalidField('invalid_value', name)
  return Number(text)
}

function isTrue(own: Own, name: string): boolean {
  const text = own.get(name)
  if (text !== undefined && text !== 'true' && text !== 'false') {
    throw invalidField('invalid_value', name)
  }
  return text === 'true'
}
