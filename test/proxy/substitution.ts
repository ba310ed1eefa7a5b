// The substitution engine as its tests call it: a template and values in, the bytes for the destination out. Nothing
// here knows how the engine works.

import type { RevealedCard } from '../../src/core/card-fields.ts'
import type { RevealedToken } from '../../src/core/revealed-token.ts'
import { mediaTypeOf } from '../../src/proxy/media-type.ts'
import { type Outbound, scanHead, spliceHeader } from '../../src/proxy/outbound.ts'
import { Refusal } from '../../src/proxy/refusal.ts'
import { bodyScanner, scanBody } from '../../src/proxy/scan/body.ts'
import type { Found } from '../../src/proxy/scan/scanner.ts'
import { splice, spliceText } from '../../src/proxy/splice.ts'
import { StreamedBody } from '../../src/proxy/streamed-body.ts'
import { Values } from '../../src/proxy/values.ts'
import { VISA } from '../support/sallyport.ts'

/** What stands in templates for the id of a card, and of a generic token. */
export const CARD = 'PM'
export const TOKEN = 'TOK'

/** What is revealed of the two; `json` as it is stored. */
export type Secrets = { readonly card?: Readonly<Record<string, string>>; readonly json?: string }

export const DEFAULT_CARD = {
  card_number: VISA,
  card_exp_month: '03',
  card_exp_year: '2035',
  card_network: 'Visa',
  card_bin: VISA.slice(0, 6),
  card_bin8: VISA.slice(0, 8),
  card_last4: VISA.slice(-4),
}

export type Refused = { readonly reason: string; readonly field: string | undefined }

/** Of what the engine may throw; everything else is a bug. */
export function refusalOf(error: unknown): Refused {
  if (error instanceof Refusal) {
    return { reason: error.reason, field: error.field }
  }
  throw error
}

export type Outcome<T> = { readonly ok: T } | { readonly refusal: Refused }

export function outcomeOf<T>(act: () => T): Outcome<T> {
  try {
    return { ok: act() }
  } catch (error) {
    return { refusal: refusalOf(error) }
  }
}

export function valuesOf({ card = {}, json = '{}' }: Secrets): Values {
  const fields: Readonly<Record<string, string>> = { ...DEFAULT_CARD, ...card }
  const revealedCard: RevealedCard = {
    field: (name) => {
      const value = fields[name]
      return value === undefined ? undefined : Buffer.from(value)
    },
    wipe() {},
  }
  const revealedToken: RevealedToken = { json: Buffer.from(json), wipe() {} }
  const indexByToken = new Map([
    [CARD, 0],
    [TOKEN, 1],
  ])
  return new Values([revealedCard, revealedToken], indexByToken, CARD)
}

/** A body that is there as a whole. Throws what the engine throws. */
export function substitute(contentType: string, body: Buffer, secrets: Secrets): Buffer {
  const found = scanBody(body, mediaTypeOf(contentType), true)
  if (found.length === 0) return body
  const values = valuesOf(secrets)
  return splice(body, found, (each) => values.of(each))
}

/** A body that comes in these pieces. Throws what the engine throws. */
export function substitutePieces(
  contentType: string,
  pieces: readonly Buffer[],
  secrets: Secrets,
): Buffer {
  const stream = new StreamedBody(bodyScanner(mediaTypeOf(contentType), true))
  const values = valuesOf(secrets)
  const out: Buffer[] = []
  const pass = (piece: Buffer, isLast: boolean) => {
    const { text, found } = stream.take(piece, isLast)
    out.push(splice(text, found, (each) => values.of(each)))
  }
  for (const piece of pieces) pass(piece, false)
  pass(Buffer.alloc(0), true)
  return Buffer.concat(out)
}

export function cutAt(body: Buffer, borders: readonly number[]): Buffer[] {
  const inside = borders.filter((border) => border > 0 && border < body.length)
  const sorted = [...new Set(inside)].sort((a, b) => a - b)
  return [0, ...sorted].map((from, i) => body.subarray(from, sorted[i] ?? body.length))
}

export const byteByByte = (body: Buffer): Buffer[] =>
  cutAt(
    body,
    Array.from(body, (_, at) => at),
  )

/** A placeholder as it was found, with what can be compared of it. */
export type Sighting = Pick<
  Found,
  'start' | 'end' | 'field' | 'token' | 'filters' | 'isJson' | 'place'
>

const sightingOf = (
  { start, end, field, token, filters, isJson, place }: Found,
  from: number,
): Sighting => ({ start: start + from, end: end + from, field, token, filters, isJson, place })

export function sightings(contentType: string, body: Buffer): Sighting[] {
  return scanBody(body, mediaTypeOf(contentType), true).map((found) => sightingOf(found, 0))
}

export function sightingsInPieces(contentType: string, pieces: readonly Buffer[]): Sighting[] {
  const stream = new StreamedBody(bodyScanner(mediaTypeOf(contentType), true))
  const all: Sighting[] = []
  let from = 0
  const look = (piece: Buffer, isLast: boolean) => {
    const { text, found } = stream.take(piece, isLast)
    for (const each of found) all.push(sightingOf(each, from))
    from += text.length
  }
  for (const piece of pieces) look(piece, false)
  look(Buffer.alloc(0), true)
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0)
  if (from !== length) throw new Error(`${from} of ${length} bytes went on`)
  return all
}

/** Where in the head of a request a template stands. */
export type HeadPosition = 'header' | 'path' | 'query' | 'basic'

export const VALUE_HEADER = 'X-Value'

/** Path and query with what stands before them; of Basic credentials what is in them. Throws what the engine throws. */
export function substituteHead(position: HeadPosition, template: string, secrets: Secrets): string {
  const outbound: Outbound = {
    method: 'POST',
    path: position === 'path' ? template : '/echo',
    query: position === 'query' ? template : '',
    headers: headersFor(position, template),
    body: undefined,
    rest: undefined,
    contentLength: undefined,
    wasInflated: false,
    mediaType: mediaTypeOf(undefined),
    wishes: {
      token: undefined,
      expectedSubstitutions: undefined,
      isDryRun: false,
      timeoutMs: undefined,
      idempotencyKey: undefined,
    },
  }
  const scan = scanHead(outbound)
  const values = valuesOf(secrets)
  const valueFor = (found: Found) => values.of(found)
  switch (position) {
    case 'path':
      return spliceText(outbound.path, scan.path, valueFor)
    case 'query':
      return spliceText(outbound.query, scan.query, valueFor)
    default: {
      let value = outbound.headers[1] as string
      for (const found of scan.headers) value = spliceHeader(value, found, valueFor)
      return position === 'basic' ? credentialsIn(value) : value
    }
  }
}

export function headersFor(position: HeadPosition, template: string): string[] {
  switch (position) {
    case 'header':
      return [VALUE_HEADER, template]
    case 'basic':
      return ['Authorization', `Basic ${Buffer.from(template, 'latin1').toString('base64')}`]
    default:
      return []
  }
}

export const credentialsIn = (header: string): string =>
  Buffer.from(header.replace(/^Basic /, ''), 'base64').toString('latin1')
