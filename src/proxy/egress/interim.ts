// Interim answers that nobody asked for. undici breaks a connection off when it reads a `100 Continue`, and the answer
// that follows is lost although the request arrived and money may have moved (RFC 9110, section 15.2: a client has to
// be able to parse them). So they are taken out of what undici reads. Only the beginning of an answer is looked at, and
// of an ordinary one a single byte; everything that is not exactly an interim answer passes as it came.

import type { Socket } from 'node:net'

/** What an answer begins with, as far as it has come. */
export type Opening =
  | { readonly kind: 'unfinished' }
  /** A whole `100 Continue` of so many bytes. */
  | { readonly kind: 'continue'; readonly length: number }
  /** Another interim answer (102, 103, ...), which undici knows how to read. */
  | { readonly kind: 'interim'; readonly length: number }
  /** A final answer, a switch of protocols (101) or no HTTP/1.1 at all. */
  | { readonly kind: 'other' }

const UNFINISHED: Opening = { kind: 'unfinished' }
const OTHER: Opening = { kind: 'other' }

const BEFORE_CODE = 'HTTP/1.1 '
const ONE = 0x31
const CR = 0x0d
const LF = 0x0a
const INTERIM = /^HTTP\/1\.1 1(?!01)[0-9]{2}[ \r]/
/** What may still become one. */
const INTERIM_SO_FAR = /^HTTP\/1\.1 1([0-9]|(?!01)[0-9]{2})?$/

export function openingOf(bytes: Buffer): Opening {
  if (bytes.length > BEFORE_CODE.length && bytes[BEFORE_CODE.length] !== ONE) return OTHER
  const text = bytes.toString('latin1', 0, 13)
  if (text.length < 13) {
    return BEFORE_CODE.startsWith(text) || INTERIM_SO_FAR.test(text) ? UNFINISHED : OTHER
  }
  if (!INTERIM.test(text)) return OTHER
  const end = bytes.indexOf('\r\n\r\n')
  // Lines that end in any other way are where two parsers could disagree about what the head is.
  const head = end === -1 ? bytes : bytes.subarray(0, end)
  for (let at = head.indexOf(LF); at !== -1; at = head.indexOf(LF, at + 1)) {
    if (head[at - 1] !== CR) return OTHER
  }
  if (end === -1) return UNFINISHED
  return {
    kind: text.startsWith('100', BEFORE_CODE.length) ? 'continue' : 'interim',
    length: end + 4,
  }
}

/** Of one head. */
const MAX_BYTES = 16 * 1024
/** Of one answer. */
const MAX_CONTINUES = 16

/** Named like what undici's own parser throws: the other side does not keep to HTTP. */
class EndlessInterim extends Error {
  override readonly name = 'HTTPParserError'
  readonly code = 'HPE_ENDLESS_INTERIM'
}

export class InterimFilter {
  #isLooking = false
  #continues = 0
  #held: Buffer | undefined

  /** False once the final answer has begun. */
  get isLooking(): boolean {
    return this.#isLooking
  }

  /** A request begins: what comes next is the beginning of its answer. */
  expectAnswer(): void {
    this.#isLooking = true
    this.#continues = 0
    this.#held = undefined
  }

  /** What of all that has come is there to be read, undefined when that is nothing yet. Throws EndlessInterim. */
  take(chunk: Buffer): Buffer | undefined {
    let rest = this.#held === undefined ? chunk : Buffer.concat([this.#held, chunk])
    this.#held = undefined
    const passed: Buffer[] = []
    while (this.#isLooking && rest.length > 0) {
      const opening = openingOf(rest)
      switch (opening.kind) {
        case 'unfinished':
          if (rest.length > MAX_BYTES) throw new EndlessInterim()
          this.#held = rest
          return joined(passed)
        case 'continue':
          this.#continues += 1
          if (this.#continues > MAX_CONTINUES) throw new EndlessInterim()
          rest = rest.subarray(opening.length)
          break
        case 'interim':
          passed.push(rest.subarray(0, opening.length))
          rest = rest.subarray(opening.length)
          break
        case 'other':
          this.#isLooking = false
          break
        default:
          opening satisfies never
      }
    }
    if (rest.length > 0) passed.push(rest)
    return joined(passed)
  }
}

function joined(parts: readonly Buffer[]): Buffer | undefined {
  return parts.length > 1 ? Buffer.concat(parts) : parts[0]
}

/** Puts a filter between the socket and who reads from it, as undici does: on 'readable', until there is nothing more. */
export function filterInterim(socket: Socket): InterimFilter {
  const filter = new InterimFilter()
  const read = socket.read.bind(socket)
  socket.read = (size) => {
    // The stream itself reads with a size, to fetch more.
    if (!filter.isLooking || size !== undefined) return read(size)
    for (;;) {
      const chunk: Buffer | null = read()
      if (chunk === null) return null
      try {
        const passed = filter.take(chunk)
        if (passed !== undefined) return passed
      } catch (error) {
        socket.destroy(error as Error) // take throws nothing else
        return null
      }
    }
  }
  return filter
}
