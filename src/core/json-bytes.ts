// Finding one's way in JSON text as bytes (RFC 8259), where a parser would make strings of what must not become one, or
// would not keep the bytes.

const QUOTE = 0x22
const BACKSLASH = 0x5c

export function isBlank(byte: number | undefined): boolean {
  // Most bytes are beyond all of them.
  if (byte === undefined || byte > 0x20) return false
  return byte === 0x20 || byte === 0x09 || byte === 0x0a || byte === 0x0d
}

export function skipBlanks(bytes: Uint8Array, from: number): number {
  let at = from
  while (at < bytes.length && isBlank(bytes[at])) at += 1
  return at
}

/** The closing quote of the string that opens at `start`; the length of the bytes when there is none. */
export function stringEnd(bytes: Uint8Array, start: number): number {
  let at = start + 1
  while (at < bytes.length && bytes[at] !== QUOTE) at += bytes[at] === BACKSLASH ? 2 : 1
  return Math.min(at, bytes.length)
}
