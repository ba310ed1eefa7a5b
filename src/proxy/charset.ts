// The charsets of bodies: how values, which are UTF-8 in the vault, are written into them. All are supersets of ASCII,
// so that scanning for ASCII works; what a charset has not got is refused or, in XML, written as a reference.

import { codePointAt, utf8Length, writeUtf8 } from '../core/utf8.ts'
import { wipeableBuffer } from '../core/wipeable.ts'
import type { Encoder } from './encode.ts'

export type Charset = {
  readonly isUtf8: boolean
  /** Whether it has this code point. */
  readonly has: (code: number) => boolean
  /** Of a code point that it has. */
  readonly lengthOf: (code: number) => number
  /** Answers where it ends. */
  readonly write: (out: Uint8Array, at: number, code: number) => number
}

export const UTF_8: Charset = {
  isUtf8: true,
  has: () => true,
  lengthOf: utf8Length,
  write: writeUtf8,
}

const singleByte = (has: (code: number) => boolean): Charset => ({
  isUtf8: false,
  has,
  lengthOf: () => 1,
  write: (out, at, code) => {
    out[at] = code
    return at + 1
  },
})

// Without its C1 controls: where WHATWG's names are meant, these bytes are other characters (windows-1252).
const LATIN_1 = singleByte((code) => code < 0x80 || (code >= 0xa0 && code <= 0xff))
/** What is the same in all the charsets below that are not written out here. */
const ASCII = singleByte((code) => code < 0x80)

const CHARSETS: ReadonlyMap<string, Charset> = new Map([
  ['utf-8', UTF_8],
  ['utf8', UTF_8],
  ['iso-8859-1', LATIN_1],
  ['iso8859-1', LATIN_1],
  ['latin1', LATIN_1],
  ['us-ascii', ASCII],
  ['ascii', ASCII],
  ['iso-8859-15', ASCII],
  ['windows-1252', ASCII],
])

/** Undefined for one whose text cannot be searched byte by byte for ASCII, or that is not known. */
export function charsetNamed(name: string): Charset | undefined {
  return CHARSETS.get(name.toLowerCase())
}

/** An encoder of bytes that works on any superset of ASCII, with its values written in the charset first. */
export function inCharset(encode: Encoder, charset: Charset): Encoder {
  if (charset.isUtf8) return encode
  return (value) => {
    if (value.every((byte) => byte < 0x80)) return encode(value)
    const out = wipeableBuffer(value.length)
    let length = 0
    for (let at = 0; at < value.length; ) {
      const code = codePointAt(value, at)
      if (!charset.has(code)) {
        out.fill(0)
        return undefined
      }
      length = charset.write(out, length, code)
      at += utf8Length(code)
    }
    const written = out.subarray(0, length)
    const encoded = encode(written)
    if (encoded !== written) out.fill(0)
    return encoded
  }
}
