// How a value is written where its placeholder stood. The position decides, not the caller, so that no value can
// end the string, header or pair it stands in. Values are bytes of UTF-8; `undefined` means it cannot stand there.

import { wipeableBuffer } from '../core/wipeable.ts'

/** A value that needs no escaping comes back as it is; a new Buffer is overwritten by the caller. */
export type Encoder = (value: Uint8Array) => Uint8Array | undefined

const QUOTE = 0x22
const BACKSLASH = 0x5c
const HEX = Buffer.from('0123456789ABCDEF')

/** Inside a JSON string (RFC 8259, 7), as JSON.stringify escapes. */
export const encodeJsonString: Encoder = (value) => {
  let extra = 0
  for (const byte of value) {
    if (byte === QUOTE || byte === BACKSLASH || SHORT_ESCAPES[byte] !== undefined) extra += 1
    else if (byte < 0x20) extra += 5
  }
  if (extra === 0) return value
  const out = wipeableBuffer(value.length + extra)
  let at = 0
  for (const byte of value) {
    const short = SHORT_ESCAPES[byte]
    if (byte === QUOTE || byte === BACKSLASH) {
      out[at++] = BACKSLASH
      out[at++] = byte
    } else if (short !== undefined) {
      out[at++] = BACKSLASH
      out[at++] = short
    } else if (byte < 0x20) {
      at += out.write(`\\u00${byte.toString(16).padStart(2, '0')}`, at, 'latin1')
    } else {
      out[at++] = byte
    }
  }
  return out
}

// \b \t \n \f \r
const SHORT_ESCAPES: readonly (number | undefined)[] = Object.assign([], {
  8: 0x62,
  9: 0x74,
  10: 0x6e,
  12: 0x66,
  13: 0x72,
})

/** In place of a JSON value: a JSON string. */
export const encodeJsonValue: Encoder = (value) => {
  const inner = encodeJsonString(value) as Uint8Array
  const out = wipeableBuffer(inner.length + 2)
  out[0] = QUOTE
  out.set(inner, 1)
  out[out.length - 1] = QUOTE
  if (inner !== value) inner.fill(0)
  return out
}

/** In place of a JSON value, where filters have made JSON text. */
export const encodeRawJson: Encoder = (value) => value

/** In forms and URLs: all but unreserved characters are percent-encoded (RFC 3986, 2.3). */
export const encodePercent: Encoder = (value) => {
  let extra = 0
  for (const byte of value) if (!isUnreserved(byte)) extra += 2
  if (extra === 0) return value
  const out = wipeableBuffer(value.length + extra)
  let at = 0
  for (const byte of value) {
    if (isUnreserved(byte)) {
      out[at++] = byte
    } else {
      out[at++] = 0x25
      out[at++] = HEX[byte >> 4] as number
      out[at++] = HEX[byte & 15] as number
    }
  }
  return out
}

/** In a header: visible ASCII and blanks (RFC 9110, 5.5, without obs-text). */
export const encodeHeader: Encoder = (value) =>
  value.every((byte) => byte >= 0x20 && byte <= 0x7e) ? value : undefined

/** The user of Basic credentials (RFC 7617, 2), which the first colon ends. */
export const encodeBasicUser: Encoder = (value) =>
  value.includes(0x3a) ? undefined : encodeHeader(value)

/** A field of multipart/form-data, which the next delimiter ends: it begins with a line end. */
export const encodePartField: Encoder = (value) =>
  value.every((byte) => byte !== 0x0d && byte !== 0x0a && byte !== 0) ? value : undefined

/** In plain text and unknown types nothing is known about what would end a value: only what ends none. */
export const encodeText: Encoder = (value) =>
  value.every(
    (byte) =>
      isAlphanumeric(byte) || byte === 0x20 || byte === 0x2e || byte === 0x2f || byte === 0x2d,
  )
    ? value
    : undefined

function isAlphanumeric(byte: number): boolean {
  return (
    (byte >= 0x30 && byte <= 0x39) ||
    (byte >= 0x41 && byte <= 0x5a) ||
    (byte >= 0x61 && byte <= 0x7a)
  )
}

function isUnreserved(byte: number): boolean {
  return isAlphanumeric(byte) || byte === 0x2d || byte === 0x2e || byte === 0x5f || byte === 0x7e
}
