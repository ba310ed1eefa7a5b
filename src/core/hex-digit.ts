// Hexadecimal digits in text that is read as bytes: of percent-encoding and of JSON's escapes.

/** What the digit is worth, or -1 when it is none. */
export function hexDigit(byte: number | undefined): number {
  if (byte === undefined) return -1
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30
  const lower = byte | 0x20
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1
}
