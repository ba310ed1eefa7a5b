// The headers of a request as they leave: what the caller and the destination's settings asked for, with what depends on
// the body that goes out. One function for what is sent and for what a dry run shows.

import type { Destination } from './destinations.ts'
import { refreshDigests } from './digest-headers.ts'
import type { Outbound } from './outbound.ts'
import { setHeader } from './raw-headers.ts'

/** Changes `outbound.headers`. All but a signature, which is made of the outcome. */
export function prepareHeaders(
  { headers, mediaType, rest, contentLength, wasInflated, wishes }: Outbound,
  { settings }: Destination,
  request: {
    readonly body: Buffer | undefined
    /** Values were put into it. */
    readonly isSpliced: boolean
    /** Its answer will be looked into. */
    readonly isInspected: boolean
  },
): void {
  const { body, isSpliced, isInspected } = request
  // Unscanned, so as long as it was when it came.
  if (rest !== undefined && mediaType.kind === 'binary' && contentLength !== undefined) {
    headers.push('Content-Length', String(contentLength))
  }
  if (body !== undefined && (isSpliced || wasInflated)) refreshDigests(headers, body)
  const { idempotency_header } = settings
  if (wishes.idempotencyKey !== undefined && idempotency_header !== undefined) {
    setHeader(headers, idempotency_header, wishes.idempotencyKey)
  }
  if (isInspected) setHeader(headers, 'Accept-Encoding', 'identity')
}
