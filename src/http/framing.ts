// Heads that two servers might read in two ways: the ground of request smuggling (RFC 9112, 11.2). Node's parser
// refuses most of them; these pass it.

/** No Host, or a header that says what a message is said twice; a coding other than `chunked`; underscores for dashes. */
export function isAmbiguousHead(rawHeaders: readonly string[]): boolean {
  let seen = 0
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string
    // Most names are of no such length, and need no look.
    const bit = BIT_BY_LENGTH[name.length]
    if (bit === undefined) continue
    const lower = name.toLowerCase()
    if (lower === 'transfer_encoding' || lower === 'content_length') return true
    if (!SINGLE.has(lower)) continue
    if ((seen & bit) !== 0) return true
    seen |= bit
    if (bit === CODING && (rawHeaders[i + 1] as string).toLowerCase() !== 'chunked') return true
  }
  return (seen & HOST) === 0
}

const SINGLE: ReadonlySet<string> = new Set([
  'host',
  'content-type',
  'content-length',
  'transfer-encoding',
])
const HOST = 1
const CODING = 8
const BIT_BY_LENGTH: readonly (number | undefined)[] = Object.assign([], {
  4: HOST,
  12: 2,
  14: 4,
  17: CODING,
})
