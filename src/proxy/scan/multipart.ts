// Multipart bodies (RFC 2046, 5.1; RFC 7578): each part is scanned as its own declared type. Read strictly, because a
// receiver must not see other parts than we do: line ends are CRLF, nothing stands before the first delimiter or after
// the last. Placeholders in the headers of a part are refused.

import { type Charset, inCharset, UTF_8 } from '../charset.ts'
import { type Encoder, encodePartField } from '../encode.ts'
import { type MediaType, mediaTypeOf } from '../media-type.ts'
import type { Place } from '../place.ts'
import { nextOpener } from '../placeholder.ts'
import { Refusal } from '../refusal.ts'
import { DisguiseWatch, refuseDisguises } from './disguise.ts'
import { LenientScanner } from './lenient.ts'
import { type Found, MAX_HELD_BYTES, type Scanner } from './scanner.ts'
import { TextScanner } from './text.ts'

const OPEN_BRACE = 0x7b
const MAX_PART_HEADERS = 16 * 1024

type State = 'start' | 'delimited' | 'headers' | 'content' | 'end'

export class MultipartScanner implements Scanner {
  readonly #isFormData: boolean
  readonly #scannerFor: (type: MediaType) => Scanner
  readonly #boundary: Buffer
  readonly #delimiter: Buffer
  #state: State = 'start'
  /** The end of what came before this window, as long as a delimiter. */
  #before: Buffer = Buffer.alloc(0)
  /** At the CRLF that ends the headers of a part. */
  #isAtContent = false
  #part: { readonly name: string | undefined; readonly scanner: Scanner } | undefined

  constructor(boundary: string, isFormData: boolean, scannerFor: (type: MediaType) => Scanner) {
    this.#isFormData = isFormData
    this.#scannerFor = scannerFor
    this.#boundary = Buffer.from(boundary, 'latin1')
    this.#delimiter = Buffer.from(`\r\n--${boundary}`, 'latin1')
  }

  scan(window: Buffer, isLast: boolean, found: Found[]): number {
    let at = 0
    for (;;) {
      const state = this.#state
      const reached = this.#step(window, at, isLast, found)
      const isStuck = reached === at && this.#state === state
      at = reached
      if (isStuck || at === window.length) break
    }
    const { length } = this.#delimiter
    const seen = Buffer.concat([this.#before, window.subarray(Math.max(0, at - length), at)])
    this.#before = seen.subarray(-length)
    const isTooMuch = window.length - at > MAX_HELD_BYTES
    if (isTooMuch || (isLast && this.#state !== 'end')) throw new Refusal('malformed_body')
    return at
  }

  /** Answers `at` in the same state when it needs more. */
  #step(window: Buffer, at: number, isLast: boolean, found: Found[]): number {
    switch (this.#state) {
      case 'start': {
        const first = this.#delimiter.subarray(2)
        if (window.length < first.length && !isLast) return at
        if (!window.subarray(0, first.length).equals(first)) throw new Refusal('malformed_body')
        this.#state = 'delimited'
        return first.length
      }
      case 'delimited': {
        const next = window.toString('latin1', at, at + 2)
        if (next.length < 2) return at
        if (next !== '--' && next !== '\r\n') throw new Refusal('malformed_body')
        this.#state = next === '--' ? 'end' : 'headers'
        return at + 2
      }
      case 'headers': {
        const isEmpty = window[at] === 0x0d && window[at + 1] === 0x0a
        const end = isEmpty ? at : window.indexOf('\r\n\r\n', at)
        if (end === -1 || end - at > MAX_PART_HEADERS) {
          if (window.length - at > MAX_PART_HEADERS) throw new Refusal('malformed_body')
          return at
        }
        this.#part = this.#begin(window.subarray(at, end))
        this.#state = 'content'
        // The empty line's own end may be the beginning of the delimiter of a part without content.
        return isEmpty ? at : end + 2
      }
      case 'content':
        return this.#content(window, at, found)
      case 'end':
        if (/[^\r\n]/.test(window.toString('latin1', at))) throw new Refusal('malformed_body')
        return window.length
      default:
        return this.#state satisfies never
    }
  }

  /** `at`: at the CRLF after the headers, or further in the content. */
  #content(window: Buffer, at: number, found: Found[]): number {
    const part = this.#part
    if (part === undefined) throw new Error('content belongs to a part')
    const delimiter = window.indexOf(this.#delimiter, at)
    const isEnd = delimiter !== -1
    const end = isEnd ? delimiter : window.length - this.#delimiter.length
    if (this.#isAtContent && (isEnd || end > at)) {
      // Over the CRLF that ends the headers.
      this.#isAtContent = false
      if (!(isEnd && delimiter === at)) return at + 2
    }
    if (!isEnd && end <= at) return at
    // Receivers that take a line feed for the end of a line would see another part than we do.
    const dashed = window.indexOf(this.#delimiter.subarray(2), at)
    if (dashed !== -1 && dashed < end) throw new Refusal('malformed_body')
    const before = found.length
    const reached = part.scanner.scan(window.subarray(at, end), isEnd, found)
    for (let i = before; i < found.length; i++) {
      const each = found[i] as Found
      found[i] = {
        ...each,
        start: each.start + at,
        end: each.end + at,
        encode: this.#encodeInPart(window, each, at),
        place: placeInPart(part.name, each.place),
      }
    }
    if (!isEnd) return at + reached
    this.#state = 'delimited'
    return end + this.#delimiter.length
  }

  /**
   * So that a value makes no delimiter: not by itself, nor with what the template has on the same line before it or
   * behind it.
   */
  #encodeInPart(window: Buffer, { start, end, encode }: Found, partAt: number): Encoder {
    const line = this.#lineBefore(window, partAt + start)
    const isHalfDelimiter = line.length > 2 && this.#delimiter.indexOf(line) === 0
    if (isHalfDelimiter) throw new Refusal('value_not_encodable')
    const rest = line.length === 2 ? this.#delimiter.subarray(2) : undefined
    const next = window[partAt + end]
    return (value) => {
      const encoded = encode(value)
      if (encoded === undefined) return undefined
      const bytes = Buffer.from(encoded.buffer, encoded.byteOffset, encoded.length)
      const begins = rest?.indexOf(bytes) === 0 // an empty value does, too
      const goesOn = next === OPEN_BRACE || next === rest?.[bytes.length]
      if (!(begins && goesOn) && bytes.indexOf(this.#boundary) === -1) return encoded
      if (encoded !== value) encoded.fill(0)
      return undefined
    }
  }

  /** From the last CRLF, or as much as a delimiter is long. */
  #lineBefore(window: Buffer, at: number): Buffer {
    const { length } = this.#delimiter
    const here = window.subarray(Math.max(0, at - length), at)
    const near = here.length === length ? here : Buffer.concat([this.#before, here])
    const lineAt = near.lastIndexOf('\r\n')
    return lineAt === -1 ? near.subarray(0, 0) : near.subarray(lineAt)
  }

  #begin(raw: Buffer) {
    if (nextOpener(raw, 0, true) !== -1) throw new Refusal('value_not_encodable')
    refuseDisguises(raw)
    const headers = parseHeaders(raw)
    const encoding = headers.get('content-transfer-encoding')
    // What is encoded once more could spell a placeholder that we do not see.
    if (encoding !== undefined && !/^(7bit|8bit|binary)$/i.test(encoding)) {
      throw new Refusal('content_encoding_unsupported')
    }
    const disposition = headers.get('content-disposition') ?? ''
    const declared = headers.get('content-type')
    const type = mediaTypeOf(declared ?? 'text/plain')
    const isField =
      this.#isFormData && type.essence === 'text/plain' && !/;\s*filename/i.test(disposition)
    this.#isAtContent = true
    return {
      name: nameIn(disposition),
      scanner: isField ? fieldScanner(type) : this.#scannerFor(type),
    }
  }
}

function fieldScanner(type: MediaType): Scanner {
  if (type.isUnreadable) throw new Refusal('content_encoding_unsupported')
  const charset: Charset = type.charset ?? UTF_8
  const scanner = new TextScanner(inCharset(encodePartField, charset), { in: 'body', at: '' })
  return new LenientScanner(scanner, new DisguiseWatch())
}

const HEADER_NAME = /^[!#-'*+.^_`|~0-9A-Za-z-]+$/
const TAB = 0x09

/**
 * Names in lower case. A header that stands twice is refused, and one with a control character: nobody knows what the
 * receiver makes of it.
 */
function parseHeaders(raw: Buffer): Map<string, string> {
  const headers = new Map<string, string>()
  if (raw.length === 0) return headers
  for (const line of raw.toString('utf8').split('\r\n')) {
    const colon = line.indexOf(':')
    const name = line.slice(0, Math.max(colon, 0)).toLowerCase()
    const isControl = (character: string) => {
      const code = character.charCodeAt(0)
      return (code < 0x20 && code !== TAB) || code === 0x7f
    }
    if (!HEADER_NAME.test(name) || headers.has(name) || [...line].some(isControl)) {
      throw new Refusal('malformed_body')
    }
    headers.set(name, line.slice(colon + 1).trim())
  }
  return headers
}

const PARAMETER = /;\s*([!#-'*+.^_`|~0-9A-Za-z-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;"]+)/gy

/** The field's name, if the disposition says it once and plainly. */
function nameIn(disposition: string): string | undefined {
  const kind = /^\s*form-data\s*/i.exec(disposition)
  if (kind === null) return undefined
  let name: string | undefined
  let at = kind[0].length
  PARAMETER.lastIndex = at
  for (const [whole, parameter = '', value = ''] of disposition.matchAll(PARAMETER)) {
    at += whole.length
    if (!/^name\*?$/i.test(parameter)) continue
    if (name !== undefined || parameter.endsWith('*') || value.includes('\\')) return undefined
    name = value.startsWith('"') ? value.slice(1, -1) : value
  }
  return disposition.slice(at).trim() === '' ? name : undefined
}

/**
 * A field `payload` holding JSON: `payload/source/number`. A name like a pointer has no place, nor have the keys of a
 * form in a part: part `card` with key `_number` would be taken for part `card_number`.
 */
function placeInPart(name: string | undefined, place: Place): Place {
  const inner = place.in === 'body' ? place.at : undefined
  const isNamed = name !== undefined && name !== '' && !name.includes('/')
  const isPlain = inner === '' || inner?.startsWith('/')
  return { in: 'body', at: isNamed && isPlain ? `${name}${inner}` : undefined }
}
