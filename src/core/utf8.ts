// UTF-8 (RFC 3629) one code point at a time, for text that must not become a string as a whole.

/** Answers where it ends. */
export function writeUtf8(out: Uint8Array, at: number, code: number): number {
  if (code < 0x80) {
    out[at] = code
    return at + 1
  }
  if (code < 0x800) {
    out[at] = 0xc0 | (code >> 6)
    out[at + 1] = 0x80 | (code & 63)
    return at + 2
  }
  if (code < 0x10000) {
    out[at] = 0xe0 | (code >> 12)
    out[at + 1] = 0x80 | ((code >> 6) & 63)
    out[at + 2] = 0x80 | (code & 63)
    return at + 3
  }
  out[at] = 0xf0 | (code >> 18)
  out[at + 1] = 0x80 | ((code >> 12) & 63)
  out[at + 2] = 0x80 | ((code >> 6) & 63)
  out[at + 3] = 0x80 | (code & 63)
  return at + 4
}

/** The code point that begins at `at`, of well-formed UTF-8. */
export function codePointAt(bytes: Uint8Array, at: number): number {
  const lead = bytes[at] as number
  const next = (i: number) => (bytes[at + i] as number) & 63
  if (lead < 0x80) return lead
  if (lead < 0xe0) return ((lead & 31) << 6) | next(1)
  if (lead < 0xf0) return ((lead & 15) << 12) | (next(1) << 6) | next(2)
  return ((lead & 7) << 18) | (next(1) << 12) | (next(2) << 6) | next(3)
}

/** How many bytes the code point takes. */
export function utf8Length(code: number): number {
  if (code < 0x80) return 1
  if (code < 0x800) return 2
  return code < 0x10000 ? 3 : 4
}
