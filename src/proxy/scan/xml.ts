// XML (1.0, fifth edition) with placeholders in text, attribute values and CDATA sections. Anywhere else, in names,
// comments, processing instructions, they are refused, and so are document type declarations, whose entities could
// spell a placeholder that we do not see. Not a validator: it reads what it needs to know where a placeholder stands,
// and refuses what it does not understand.

import { isBlank, skipBlanks } from '../../core/json-bytes.ts'
import { type Charset, charsetNamed, UTF_8 } from '../charset.ts'
import type { Encoder } from '../encode.ts'
import { encodeXmlAttribute, encodeXmlCdata, encodeXmlText } from '../encode-xml.ts'
import type { Place } from '../place.ts'
import { nextOpener, openerAt } from '../placeholder.ts'
import { Refusal } from '../refusal.ts'
import { afterByteOrderMark } from './json.ts'
import { type Found, MAX_HELD_BYTES, MAX_PLACE_LENGTH, type Scanner, scanRun } from './scanner.ts'

const LESS = 0x3c
const GREATER = 0x3e
const SLASH = 0x2f
const AMPERSAND = 0x26
const MAX_DEPTH = 512
const MAX_DECLARATION_BYTES = 1024

type State =
  | { readonly kind: 'start' | 'content' | 'tag' | 'cdata' }
  /** In a charset that we do not know. */
  | { readonly kind: 'unreadable' }
  | { readonly kind: 'attribute'; readonly name: string; readonly quote: number }
  /** Where no placeholder may stand, up to this end. */
  | { readonly kind: 'skipped'; readonly end: string }

const CONTENT: State = { kind: 'content' }
const TAG: State = { kind: 'tag' }

export class XmlScanner implements Scanner {
  /** What the media type says. */
  readonly #declared: Charset | undefined
  #encodeText: Encoder = () => undefined
  #encodeAttribute: Encoder = () => undefined
  #encodeCdata: Encoder = () => undefined
  #state: State = { kind: 'start' }
  /** Names of the open elements, as written. */
  readonly #path: string[] = []
  /** Of each open element, where it stands. */
  readonly #places: string[] = []
  #hasRoot = false
  #isCut = false

  constructor(declared: Charset | undefined) {
    this.#declared = declared
  }

  scan(window: Buffer, isLast: boolean, found: Found[]): number {
    this.#isCut = false
    let at = 0
    while (at < window.length && !this.#isCut) at = this.#step(window, at, isLast, found)
    const isWhole =
      this.#state.kind === 'unreadable' ||
      (this.#hasRoot && this.#path.length === 0 && this.#state === CONTENT)
    const isTooMuch = window.length - at > MAX_HELD_BYTES
    if (isTooMuch || (isLast && (this.#isCut || !isWhole))) throw new Refusal('malformed_body')
    return at
  }

  /** What begins here goes on in the next window. */
  #cut(at: number): number {
    this.#isCut = true
    return at
  }

  /** One piece of markup or text. */
  #step(window: Buffer, at: number, isLast: boolean, found: Found[]): number {
    const state = this.#state
    switch (state.kind) {
      case 'start':
        return this.#start(window, isLast)
      case 'content':
        return this.#content(window, at, isLast, found)
      case 'tag':
        return this.#tag(window, at)
      case 'attribute': {
        const quote = window.indexOf(state.quote, at)
        const end = quote === -1 ? window.length : quote
        const value = window.subarray(0, end)
        if (value.indexOf(LESS, at) !== -1) throw new Refusal('malformed_body')
        const place = this.#place(`/@${state.name}`)
        const encode = this.#encodeAttribute
        const reached = scanReferring(value, at, quote !== -1, encode, place, found)
        if (quote === -1) return this.#cut(reached)
        this.#state = TAG
        return quote + 1
      }
      case 'cdata': {
        const { end, isEnd } = pieceBefore(window, at, ']]>')
        const piece = window.subarray(0, end)
        const reached = scanRun(piece, at, isEnd, this.#encodeCdata, this.#place(), found)
        if (!isEnd) return this.#cut(reached)
        this.#state = CONTENT
        return end + 3
      }
      case 'skipped': {
        const { end, isEnd } = pieceBefore(window, at, state.end)
        const piece = window.subarray(0, end)
        const opener = nextOpener(piece, at, isEnd)
        if (opener !== -1 && openerAt(piece, opener) === 'yes') {
          throw new Refusal('value_not_encodable')
        }
        if (!isEnd) return this.#cut(opener === -1 ? end : opener)
        this.#state = CONTENT
        return end + state.end.length
      }
      case 'unreadable': {
        const opener = nextOpener(window, at, isLast)
        if (opener === -1) return window.length
        if (openerAt(window, opener) === 'cut') return this.#cut(opener)
        throw new Refusal('content_encoding_unsupported')
      }
      default:
        return state satisfies never
    }
  }

  /** Byte order mark and XML declaration, which settle the charset. */
  #start(window: Buffer, isLast: boolean): number {
    const from = afterByteOrderMark(window)
    // A declaration that is cut is waited for.
    const isDeclared = window.toString('latin1', from, from + 5) === '<?xml'
    if (
      window.length < MAX_DECLARATION_BYTES &&
      !window.includes(isDeclared ? '?>' : '>') &&
      !isLast
    ) {
      return this.#cut(0)
    }
    if (hasLongDeclaration(window)) throw new Refusal('malformed_body')
    const said = encodingOf(window)
    const declared = said === undefined ? undefined : charsetNamed(said)
    // RFC 7303, 3: a byte order mark and the media type come before the declaration; where they differ, nobody knows
    // which one the receiver believes.
    const charsets = [from > 0 ? UTF_8 : undefined, this.#declared, declared]
    const [charset = UTF_8, ...others] = new Set(charsets.filter((each) => each !== undefined))
    if (others.length > 0 || (said !== undefined && declared === undefined)) {
      this.#state = { kind: 'unreadable' }
      return from
    }
    this.#encodeText = encodeXmlText(charset)
    this.#encodeAttribute = encodeXmlAttribute(charset)
    this.#encodeCdata = encodeXmlCdata(charset)
    this.#state = CONTENT
    return from
  }

  #content(window: Buffer, from: number, isLast: boolean, found: Found[]): number {
    const less = window.indexOf(LESS, from)
    const end = less === -1 ? window.length : less
    if (end > from) {
      if (this.#path.length === 0) {
        if (skipBlanks(window, from) < end) throw new Refusal('malformed_body')
        return end
      }
      const isEnd = less !== -1 || isLast
      const text = window.subarray(0, end)
      const reached = scanReferring(text, from, isEnd, this.#encodeText, this.#place(), found)
      return isEnd ? reached : this.#cut(reached)
    }
    return this.#markup(window, less, isLast)
  }

  #markup(window: Buffer, at: number, isLast: boolean): number {
    if (window.length - at < '<![CDATA['.length && !isLast) return this.#cut(at)
    const head = window.toString('latin1', at, at + 9)
    if (head.startsWith('<!--')) {
      this.#state = { kind: 'skipped', end: '-->' }
      return at + 4
    }
    if (head.startsWith('<?')) {
      this.#state = { kind: 'skipped', end: '?>' }
      return at + 2
    }
    if (head === '<![CDATA[' && this.#path.length > 0) {
      this.#state = { kind: 'cdata' }
      return at + 9
    }
    if (head.startsWith('<!')) throw new Refusal('malformed_body')
    return head.startsWith('</') ? this.#endTag(window, at) : this.#startTag(window, at)
  }

  #startTag(window: Buffer, at: number): number {
    const end = nameEnd(window, at + 1)
    if (end === window.length) return this.#cut(at)
    if ((this.#hasRoot && this.#path.length === 0) || this.#path.length === MAX_DEPTH) {
      throw new Refusal('malformed_body')
    }
    const name = nameOf(window, at + 1, end)
    this.#path.push(name)
    this.#places.push(`${this.#places.at(-1) ?? ''}/${name}`)
    this.#hasRoot = true
    this.#state = TAG
    return end
  }

  #endTag(window: Buffer, at: number): number {
    const greater = window.indexOf(GREATER, at)
    if (greater === -1) return this.#cut(at)
    const end = nameEnd(window, at + 2)
    const isClosed = skipBlanks(window, end) === greater
    this.#places.pop()
    if (!isClosed || nameOf(window, at + 2, end) !== this.#path.pop()) {
      throw new Refusal('malformed_body')
    }
    return greater + 1
  }

  #tag(window: Buffer, from: number): number {
    const at = skipBlanks(window, from)
    switch (window[at]) {
      case undefined:
        return at
      case GREATER:
        this.#state = CONTENT
        return at + 1
      case SLASH:
        if (at + 1 === window.length) return this.#cut(at)
        if (window[at + 1] !== GREATER) throw new Refusal('malformed_body')
        this.#path.pop()
        this.#places.pop()
        this.#state = CONTENT
        return at + 2
      default: {
        const end = nameEnd(window, at)
        const equals = skipBlanks(window, end)
        const quoteAt = skipBlanks(window, equals + 1)
        if (quoteAt >= window.length) return this.#cut(at)
        const quote = window[quoteAt] as number
        if (window[equals] !== 0x3d || (quote !== 0x22 && quote !== 0x27)) {
          throw new Refusal('malformed_body')
        }
        this.#state = { kind: 'attribute', name: nameOf(window, at, end), quote }
        return quoteAt + 1
      }
    }
  }

  #place(attribute = '') {
    const at = `${this.#places.at(-1)}${attribute}`
    return { in: 'body', at: at.length > MAX_PLACE_LENGTH ? undefined : at } as const
  }
}

/** Where references may stand: not around a placeholder, whose value would become a part of their name. */
function scanReferring(
  window: Buffer,
  from: number,
  isLast: boolean,
  encode: Encoder,
  place: Place,
  found: Found[],
): number {
  const before = found.length
  const reached = scanRun(window, from, isLast, encode, place, found)
  for (let i = before; i < found.length; i++) {
    const { start } = found[i] as Found
    if (openReferenceBefore(window, start) > 0) throw new Refusal('malformed_body')
  }
  return isLast ? reached : reached - openReferenceBefore(window, reached)
}

const MAX_REFERENCE_BYTES = 64
const REFERENCE_BYTES: ReadonlySet<number> = new Set(
  Buffer.from('#-.0123456789:ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz'),
)

/** The length of a `&` or `&#12` just before `at`. */
function openReferenceBefore(window: Buffer, at: number): number {
  for (let length = 1; length <= Math.min(at, MAX_REFERENCE_BYTES); length++) {
    const byte = window[at - length] as number
    if (byte === AMPERSAND) return length
    if (!REFERENCE_BYTES.has(byte)) return 0
  }
  return 0
}

/** What the XML declaration names, if there is one that does. */
export function encodingOf(body: Buffer): string | undefined {
  const head = body.toString('latin1', afterByteOrderMark(body), MAX_DECLARATION_BYTES)
  if (!BEGINS_DECLARATION.test(head)) return undefined
  const declaration = head.slice(0, head.indexOf('?>') + 2)
  return /\sencoding\s*=\s*["']([^"']*)["']/.exec(declaration)?.[1]
}

const BEGINS_DECLARATION = /^<\?xml[ \t\r\n]/

/** Begins with a declaration that could name a charset further on than we look. */
function hasLongDeclaration(body: Buffer): boolean {
  const head = body.toString('latin1', afterByteOrderMark(body), MAX_DECLARATION_BYTES)
  return BEGINS_DECLARATION.test(head) && !head.includes('?>')
}

/** Where text ends: before `end`, or before what may be its beginning. */
function pieceBefore(window: Buffer, from: number, end: string): { end: number; isEnd: boolean } {
  const found = window.indexOf(end, from)
  if (found !== -1) return { end: found, isEnd: true }
  return { end: Math.max(from, window.length - end.length + 1), isEnd: false }
}

function nameEnd(window: Buffer, from: number): number {
  let at = from
  while (at < window.length && !isBlank(window[at]) && !DELIMITERS.has(window[at] as number))
    at += 1
  return at
}

const DELIMITERS: ReadonlySet<number> = new Set(Buffer.from('/>=<"\''))
const NAME = /^[A-Za-z_:\u0080-\u{10ffff}][-A-Za-z0-9._:\u0080-\u{10ffff}]*$/u

function nameOf(window: Buffer, from: number, end: number): string {
  const name = window.toString('utf8', from, end)
  if (!NAME.test(name)) throw new Refusal('malformed_body')
  return name
}
