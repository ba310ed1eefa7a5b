// An answer on its way back, looked at before it is passed on: what this request revealed and the PSP repeats is masked
// (or the answer blocked), what the operator does not want to be seen is redacted, and what is worth keeping is told.
//
// Small answers are held until they have been searched. Longer ones are searched as they stream, unless something has
// to be looked at as a whole; then they are blocked. What cannot be searched is never passed on.

import { brotliDecompressSync, gunzipSync, inflateSync, zstdDecompressSync } from 'node:zlib'
import { skipBlanks } from '../../core/json-bytes.ts'
import type { JsonPath } from '../../core/json-path.ts'
import { isPromise, type MaybePromise } from '../../core/maybe-promise.ts'
import { isDigestHeader } from '../digest-headers.ts'
import type { LeakGuard, LeakStream } from '../leak-guard/leak-guard.ts'
import { mediaTypeOf } from '../media-type.ts'
import { headerList, headerValue, removeHeaders } from '../raw-headers.ts'
import {
  AnswerBlocked,
  type AnswerFacts,
  type AnswerHead,
  type Flow,
  hasNoBody,
  NO_FLOW,
  type Relay,
} from '../relay.ts'
import type { HeldBytes } from './held-bytes.ts'
import { redactJson } from './redact.ts'

export type Inspection = {
  /** Asked when the head is there, and when the body is: of a request that streams more may have been revealed. */
  readonly guards: () => readonly LeakGuard[]
  readonly mode: 'mask' | 'block'
  /** Card data was revealed: held, so that the number of masked places stands in the head. */
  readonly isHeld: boolean
  readonly redact: readonly JsonPath[]
  /** Told of JSON before anything is redacted in it; the answer waits. */
  readonly onJson: ((status: number, body: Buffer) => MaybePromise<void>) | undefined
  readonly memory: HeldBytes
  /** Of the request: then its answer has no body. */
  readonly isHead: boolean
}

/** A body that is held and turns out longer is searched as it streams. */
const HELD_BYTES = 64 * 1024
/** One that is looked at as a whole: longer, it is blocked where values are redacted, and nothing is learned from it. */
const WHOLE_BYTES = 1024 * 1024
/** Asked for as it is; a destination that compresses it all the same. */
const COMPRESSED_BYTES = 256 * 1024
const INFLATED_BYTES = 4 * 1024 * 1024

const INFLATE = {
  gzip: gunzipSync,
  'x-gzip': gunzipSync,
  deflate: inflateSync,
  br: brotliDecompressSync,
  zstd: zstdDecompressSync,
} as const

/** Text in these cannot be searched byte by byte for ASCII. */
const UNSEARCHABLE = /charset\s*=\s*"?\s*(utf-?(7|16|32)|ucs-?[24]|iso-10646|ebcdic|ibm-?\d|cp037)/i

/**
 * Names of headers that are made of the body as it was. Of a number only six digits are masked: whoever has the rest, and
 * one of these, has it in a million tries. Many servers make an ETag by themselves.
 */
const TELLTALE = /etag|digest|md5|sha-?\d|crc|checksum|hash|hmac|signature/

/** Its headers are masked in place. */
type Head = AnswerHead & { readonly headers: string[] }

export class InspectedAnswer implements Relay {
  readonly #next: Relay
  readonly #inspection: Inspection
  #guards: readonly LeakGuard[] = []
  #head: Head | undefined
  #coding: keyof typeof INFLATE | undefined
  /** Something is looked for that must not be passed on. */
  #mustBeSearched = false
  #isJson = false
  #isText = true
  /** Undefined once the body is passed on as it comes. */
  #held: Buffer[] | undefined
  #heldBytes = 0
  #isPassed = false
  #limit = HELD_BYTES
  #streams: readonly LeakStream[] = []
  #wideText: WideText | undefined
  /** Places that were masked or redacted. */
  redactions = 0

  constructor(next: Relay, inspection: Inspection) {
    this.#next = next
    this.#inspection = inspection
  }

  get isHeadSent(): boolean {
    return this.#next.isHeadSent
  }

  /** The body goes on as it comes: what is revealed from now on is not searched for. */
  get isPassing(): boolean {
    return this.#head !== undefined && this.#held === undefined
  }

  onHead(status: number, message: string, rawHeaders: readonly string[], facts: AnswerFacts): void {
    const { guards, mode, isHeld, redact, onJson, isHead } = this.#inspection
    this.#guards = guards()
    const headers = [...rawHeaders]
    this.#head = { status, message: this.#searchHead(message, headers), headers, facts }
    if (isHead || hasNoBody(status)) {
      if (isHeld) withoutTelltales(headers)
      this.#passHead()
      return
    }
    const type = mediaTypeOf(headerValue(headers, 'content-type'))
    this.#isJson = type.kind === 'json'
    this.#isText = type.kind !== 'binary'
    const isRedacted = this.#isText && redact.length > 0
    this.#mustBeSearched = isHeld || isRedacted || this.#guards.length > 0
    this.#checkSearchable(headers, isHeld)
    const isWhole = isRedacted || (this.#isJson && onJson !== undefined)
    if (this.#coding !== undefined) this.#limit = COMPRESSED_BYTES
    else if (isWhole) this.#limit = WHOLE_BYTES
    // What is blocked in its first bytes can still be answered with an error.
    const mayBeBlocked = mode === 'block' && this.#guards.length > 0
    // One look at all of it costs less than following a stream.
    const isSmall = Number(headerValue(headers, 'content-length') ?? Number.NaN) <= HELD_BYTES
    if (isHeld || isWhole || isSmall || mayBeBlocked || this.#coding !== undefined) {
      this.#held = []
    } else {
      this.#stream()
      this.#passHead()
    }
  }

  onData(chunk: Buffer, flow: Flow): void {
    if (this.#held === undefined) {
      const out = this.#searched(chunk)
      if (out.length > 0) this.#next.onData(out, flow)
      return
    }
    this.#held.push(chunk)
    this.#heldBytes += chunk.length
    this.#inspection.memory.add(chunk.length)
    if (this.#heldBytes <= this.#limit) return
    const isCoded = this.#coding !== undefined && this.#mustBeSearched
    const isRedacted = this.#inspection.redact.length > 0
    const held = inOnePiece(this.#held)
    this.#held = [held]
    const mayBeJson = this.#isJson || (this.#isText && firstOfText(held) !== OTHER)
    if (isCoded || (isRedacted && mayBeJson)) {
      throw new AnswerBlocked('too long to be searched')
    }
    const inHead = this.redactions
    this.#stream()
    // What is found in the beginning already is told instead of cut off.
    const out = this.#searched(held)
    this.#held = undefined
    this.#passHead(inHead)
    if (out.length > 0) this.#next.onData(out, flow)
  }

  onEnd(): MaybePromise<'whole' | 'cut'> {
    if (this.#held === undefined) {
      this.#endStreams()
      return this.#next.onEnd()
    }
    const body = this.#inflate(inOnePiece(this.#held))
    const inHead = this.redactions
    this.#searchWhole(body)
    const isMasked = this.redactions > inHead
    const { status } = this.#head as Head
    const told = this.#isJson ? this.#inspection.onJson?.(status, withoutMark(body)) : undefined
    return isPromise(told)
      ? told.then(() => this.#finish(body, isMasked))
      : this.#finish(body, isMasked)
  }

  onCut(): void {
    this.#next.onCut()
  }

  /** The exchange is over, whether the answer was or not. */
  wipe(): void {
    for (const stream of this.#streams) stream.wipe()
    // What has been passed on is still being written.
    if (!this.#isPassed) for (const chunk of this.#held ?? []) chunk.fill(0)
  }

  #searchWhole(body: Buffer): void {
    const { guards, isHeld } = this.#inspection
    try {
      const isWide = isHeld && this.#isText && (hasWideMark(body) || hasWideDigits(body))
      if (isWide) throw new AnswerBlocked(WIDE)
      for (const guard of guards()) this.#found(guard.maskBody(body))
    } catch (error) {
      body.fill(0)
      throw error
    }
  }

  #finish(body: Buffer, isMasked: boolean): MaybePromise<'whole' | 'cut'> {
    const { redact } = this.#inspection
    const { headers } = this.#head as Head
    let isChanged = isMasked
    if (this.#isText && redact.length > 0 && body.length > 0) {
      const count = redactJson(withoutMark(body), redact)
      // Whatever its type is said to be: many clients parse what looks like JSON.
      if (count === undefined && (this.#isJson || firstOfText(body) === JSON_OPENER)) {
        throw new AnswerBlocked('no JSON')
      }
      this.redactions += count ?? 0
      if (count !== undefined && count > 0) isChanged = true
    }
    if (isChanged) withoutTelltales(headers)
    if (this.#coding !== undefined) removeHeaders(headers, isOfCodedBody)
    setLength(headers, body.length)
    this.#passHead()
    if (body.length > 0) this.#next.onData(body, NO_FLOW)
    return this.#next.onEnd()
  }

  /** Masks in place; of the status text a copy. Names, too, can be what somebody sent. */
  #searchHead(message: string, headers: string[]): string {
    let text = message
    for (const guard of this.#guards) {
      for (let i = 0; i < headers.length; i += 2) {
        const name = headers[i] as string
        headers[i + 1] = this.#maskInHead(guard, name, headers[i + 1] as string)
        headers[i] = this.#maskInHead(guard, '', name)
      }
      text = this.#maskInHead(guard, '', text)
    }
    return text
  }

  #maskInHead(guard: LeakGuard, name: string, value: string): string {
    const masked = guard.maskHeader(name, value)
    if (masked === undefined) return value
    this.#found(masked.count)
    return masked.value
  }

  #checkSearchable(headers: readonly string[], isHeld: boolean): void {
    const coding = headerList(headers, 'content-encoding')
    if (coding !== '' && coding !== 'identity') {
      if (Object.hasOwn(INFLATE, coding)) this.#coding = coding as keyof typeof INFLATE
      else if (this.#mustBeSearched) throw new AnswerBlocked('an unknown coding')
      else this.#isJson = false // whatever it is, it is passed on as it is
    }
    // It is taken off by nobody: the caller would get it as the body.
    const hop = headerList(headers, 'transfer-encoding')
    if (this.#mustBeSearched && hop !== '' && hop !== 'chunked') {
      throw new AnswerBlocked('a coding of the connection')
    }
    if (isHeld && UNSEARCHABLE.test(headerValue(headers, 'content-type') ?? '')) {
      throw new AnswerBlocked('a charset that cannot be searched')
    }
  }

  #inflate(body: Buffer): Buffer {
    if (this.#coding === undefined || body.length === 0) return body
    try {
      return INFLATE[this.#coding](body, { maxOutputLength: INFLATED_BYTES })
    } catch (error) {
      if (this.#mustBeSearched) throw new AnswerBlocked('cannot be inflated', { cause: error })
      this.#coding = undefined
      this.#isJson = false
      return body
    }
  }

  #found(count: number): void {
    if (count === 0) return
    this.redactions += count
    if (this.#inspection.mode === 'block') throw new AnswerBlocked('repeats what was revealed')
  }

  /** From here on the body is searched as it comes. */
  #stream(): void {
    const { guards, isHeld } = this.#inspection
    this.#guards = guards() // more may have been revealed while the beginning was held
    this.#streams = this.#guards.map((guard) => guard.stream())
    // Its head leaves before anybody knows whether something will be masked in it.
    if (isHeld) withoutTelltales((this.#head as Head).headers)
    if (isHeld && this.#isText) this.#wideText = new WideText()
  }

  #searched(chunk: Buffer): Buffer {
    if (this.#wideText?.isIn(chunk) === true) throw new AnswerBlocked(WIDE)
    return this.#through(0, chunk)
  }

  /** Through the streams from the `first` on. */
  #through(first: number, chunk: Buffer): Buffer {
    let out = chunk
    for (let i = first; i < this.#streams.length; i++) {
      const stream = this.#streams[i] as LeakStream
      const before = stream.count
      out = stream.push(out)
      this.#found(stream.count - before)
    }
    return out
  }

  #endStreams(): void {
    for (const [i, stream] of this.#streams.entries()) {
      const before = stream.count
      const last = stream.end()
      this.#found(stream.count - before)
      const out = last.length === 0 ? last : this.#through(i + 1, last)
      if (out.length > 0) this.#next.onData(out, NO_FLOW)
    }
  }

  #passHead(redactions = this.redactions): void {
    this.#isPassed = true
    const { status, message, headers, facts } = this.#head as Head
    const counted = redactions === 0 ? facts : { ...facts, redactions }
    this.#next.onHead(status, message, headers, counted)
  }
}

const JSON_OPENER = 'the beginning of an object or array'
const ONLY_BLANKS = 'only blanks'
const OTHER = 'something else'

function firstOfText(body: Buffer): typeof JSON_OPENER | typeof ONLY_BLANKS | typeof OTHER {
  const text = withoutMark(body)
  const first = text[skipBlanks(text, 0)]
  if (first === undefined) return ONLY_BLANKS
  return first === 0x7b || first === 0x5b ? JSON_OPENER : OTHER
}

/** JSON has no byte order mark, but some write one, and most clients read over it (RFC 8259, 8.1). */
function withoutMark(body: Buffer): Buffer {
  const hasMark = body[0] === 0xef && body[1] === 0xbb && body[2] === 0xbf
  return hasMark ? body.subarray(3) : body
}

const isOfCodedBody = (name: string) =>
  isDigestHeader(name) || name.toLowerCase() === 'content-encoding'

function withoutTelltales(headers: string[]): void {
  removeHeaders(headers, (name) => TELLTALE.test(name.toLowerCase()))
}

function setLength(headers: string[], length: number): void {
  let hasLength = false
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    if (name.length !== 14 || name.toLowerCase() !== 'content-length') continue
    hasLength = true
    headers[i + 1] = String(length)
  }
  if (!hasLength) headers.push('Content-Length', String(length))
}

/** What was in several is overwritten: it may be what has to be masked. */
function inOnePiece(chunks: readonly Buffer[]): Buffer {
  const [first] = chunks
  if (chunks.length === 1 && first !== undefined) return first
  const whole = Buffer.concat(chunks)
  for (const chunk of chunks) chunk.fill(0)
  return whole
}

const WIDE = 'UTF-16 or UTF-32'
/** As long as what tells it, in UTF-32. */
const WIDE_REACH = 8

/** A byte order mark of UTF-16 or UTF-32, or digits with NULs between them: no search for ASCII finds a number there. */
class WideText {
  #before = Buffer.alloc(0)
  #isStart = true

  isIn(chunk: Buffer): boolean {
    const seam = Buffer.concat([this.#before, chunk.subarray(0, WIDE_REACH)])
    const isWide =
      (this.#isStart && hasWideMark(seam)) || hasWideDigits(seam) || hasWideDigits(chunk)
    this.#isStart &&= seam.length < 2
    this.#before = Buffer.concat([this.#before, chunk.subarray(-WIDE_REACH)]).subarray(-WIDE_REACH)
    return isWide
  }
}

function hasWideMark(text: Buffer): boolean {
  return (text[0] === 0xff && text[1] === 0xfe) || (text[0] === 0xfe && text[1] === 0xff)
}

function hasWideDigits(text: Buffer): boolean {
  for (let at = text.indexOf(0); at !== -1; ) {
    let next = at + 1
    while (text[next] === 0) next += 1
    if (isDigit(text[at - 1]) && isDigit(text[next]) && text[next + 1] === 0) return true
    at = text.indexOf(0, next)
  }
  return false
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x30 && byte <= 0x39
}
