// A body too large to be held: it is scanned and spliced window by window, and what has not been got through is held
// back until more is there.

import type { Found, Scanner } from './scan/scanner.ts'

/** Text that can go on, and the placeholders in it. */
export type BodyWindow = { readonly text: Buffer; readonly found: readonly Found[] }

/** The caller's connection broke before its body was whole. */
export class BodyCut extends Error {}

export class StreamedBody {
  readonly #scanner: Scanner
  #held: Buffer = Buffer.alloc(0)
  /** Everything that has come in. */
  bytes = 0
  placeholders = 0
  readonly sent = new SentPieces()

  constructor(scanner: Scanner) {
    this.#scanner = scanner
  }

  /** Throws ScanRefusal. */
  take(chunk: Buffer, isLast: boolean): BodyWindow {
    this.bytes += chunk.length
    const window = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk])
    const found: Found[] = []
    const reached = this.#scanner.scan(window, isLast, found)
    this.#held = window.subarray(reached)
    this.placeholders += found.length
    return { text: window.subarray(0, reached), found }
  }
}

/**
 * Pieces with plaintext that were handed to a socket. A socket takes as many bytes as its high-water mark (64 KB)
 * before its writer has to wait until all have left, so what is followed by more than that has left and is overwritten.
 */
class SentPieces {
  readonly #pieces: Buffer[] = []
  #bytes = 0

  /** Asked for the next piece, undici has written the ones before. */
  add(piece: Buffer): void {
    this.#pieces.push(piece)
    this.#bytes += piece.length
    while (
      this.#pieces.length > 1 &&
      this.#bytes - (this.#pieces[0] as Buffer).length > KEPT_BYTES
    ) {
      const oldest = this.#pieces.shift() as Buffer
      this.#bytes -= oldest.length
      oldest.fill(0)
    }
  }

  /** When undici needs none of them any more. */
  wipe(): void {
    for (const piece of this.#pieces) piece.fill(0)
    this.#pieces.length = 0
  }
}

const KEPT_BYTES = 1024 * 1024
