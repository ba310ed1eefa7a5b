// The head of a request that came in: what it says to us, read in one pass over the raw headers, and what of it goes on.

import { AppError } from '../core/errors.ts'
import type { Destination } from './destinations.ts'
import { connectionNames, DECIDES_BODY, isDroppedRequestHeader } from './headers.ts'

/** What the head of a request says to us, and where each header stands. */
export type Head = {
  readonly lowerNames: readonly string[]
  readonly own: ReadonlyMap<string, string>
  readonly authorization: string | undefined
  readonly contentType: string | undefined
  readonly contentEncoding: string | undefined
  readonly connection: string | undefined
  readonly contentLength: number | undefined
  readonly isChunked: boolean
  readonly profile: string | undefined
  readonly idempotencyKey: string | undefined
}

/** One pass over the raw headers. Throws AppError when one of ours is said twice. */
export function readHead(raw: readonly string[]): Head {
  const lowerNames: string[] = new Array(raw.length / 2)
  const own = new Map<string, string>()
  let authorization: string | undefined
  let contentType: string | undefined
  let contentEncoding: string | undefined
  let connection: string | undefined
  let contentLength: number | undefined
  let isChunked = false
  let profile: string | undefined
  let idempotencyKey: string | undefined
  for (let i = 0; i < raw.length; i += 2) {
    const name = (raw[i] as string).toLowerCase()
    const value = raw[i + 1] as string
    lowerNames[i / 2] = name
    switch (name) {
      case 'authorization':
        authorization = value
        break
      case 'content-type':
        contentType = value
        break
      case 'content-encoding':
        contentEncoding = contentEncoding === undefined ? value : `${contentEncoding}, ${value}`
        break
      case 'connection':
        connection = connection === undefined ? value : `${connection}, ${value}`
        break
      case 'content-length':
        contentLength = Number(value)
        break
      case 'transfer-encoding':
        isChunked = true
        break
      case 'x-profile-id':
        profile = value
        break
      case 'idempotency-key':
        idempotencyKey = idempotencyKey === undefined ? value : `${idempotencyKey}, ${value}`
        break
      default:
        if (name.startsWith('sallyport-')) {
          if (own.has(name)) throw new AppError('invalid_value')
          own.set(name, value)
        }
    }
  }
  return {
    lowerNames,
    own,
    authorization,
    contentType,
    contentEncoding,
    connection,
    contentLength,
    isChunked,
    profile,
    idempotencyKey,
  }
}

/**
 * Built from scratch: the caller's headers but those of the hop, ours and the injected ones, and of a body that was
 * inflated its coding; then the injected.
 */
export function outboundHeaders(
  raw: readonly string[],
  head: Head,
  destination: Destination,
  wasInflated: boolean,
): string[] {
  const { injectedNames, injectedHeaders } = destination
  const nominated = connectionNames(head.connection)
  // Without these the receiver would read the body in another way than we do.
  if (nominated !== undefined && !nominated.isDisjointFrom(DECIDES_BODY)) {
    throw new AppError('malformed_body')
  }
  const headers: string[] = []
  for (let i = 0; i < raw.length; i += 2) {
    const name = head.lowerNames[i / 2] as string
    if (isDroppedRequestHeader(name) || injectedNames.has(name) || nominated?.has(name)) continue
    if (wasInflated && name === 'content-encoding') continue
    headers.push(raw[i] as string, raw[i + 1] as string)
  }
  headers.push(...injectedHeaders.reveal())
  return headers
}
