// Putting revealed values in place of their placeholders: one pass over the scanned places. What was inserted is never
// looked at again, so a value that looks like a placeholder stays a value.

import { Refusal } from './refusal.ts'
import type { Found } from './scan/scanner.ts'

/** The value for a placeholder, after its filters. Throws Refusal. */
export type ValueFor = (found: Found) => Uint8Array

/** Of all values in one text or window. Escaping makes up to thirteen bytes of one. */
const MAX_ENCODED_BYTES = 16 * 1024 * 1024

/**
 * A new Buffer, which the caller overwrites after use. Throws Refusal. `found` is in the order of the text and
 * does not overlap.
 */
export function splice(text: Buffer, found: readonly Found[], valueFor: ValueFor): Buffer {
  const values: Uint8Array[] = []
  const made: Uint8Array[] = []
  try {
    let length = text.length
    let encodedBytes = 0
    for (const placeholder of found) {
      const value = valueFor(placeholder)
      const encoded = placeholder.encode(value)
      if (encoded === undefined) throw new Refusal('value_not_encodable', placeholder.field)
      if (encoded !== value) made.push(encoded)
      values.push(encoded)
      encodedBytes += encoded.length
      if (encodedBytes > MAX_ENCODED_BYTES) throw new Refusal('body_too_large')
      length += encoded.length - (placeholder.end - placeholder.start)
    }
    const out = Buffer.allocUnsafe(length)
    let from = 0
    let at = 0
    for (let i = 0; i < found.length; i++) {
      const { start, end } = found[i] as Found
      const value = values[i] as Uint8Array
      at += text.copy(out, at, from, start)
      out.set(value, at)
      at += value.length
      from = end
    }
    text.copy(out, at, from)
    return out
  } finally {
    for (const bytes of made) bytes.fill(0)
  }
}

/** For headers and URLs, which Node wants as strings: a short-lived one, the bytes it came from overwritten. */
export function spliceText(text: string, found: readonly Found[], valueFor: ValueFor): string {
  const bytes = splice(Buffer.from(text, 'latin1'), found, valueFor)
  const out = bytes.toString('latin1')
  bytes.fill(0)
  return out
}
