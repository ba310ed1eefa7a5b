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

  /** Throws Refusal. */
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
  /** `sentBytes`: all that was sent up to its end. */
  readonly #pieces: { readonly bytes: Buffer; readonly sentBytes: number }[] = []
  #sentBytes = 0

  /** Without plaintext. Asked for the next piece, the connection has written the ones before. */
  count(piece: Buffer): void {
    this.#sentBytes += piece.length
    for (;;) {
      const oldest = this.#pieces[0]
      if (oldest === undefined || this.#sentBytes - oldest.sentBytes <= KEPT_BYTES) return
      oldest.bytes.fill(0)
      this.#pieces.shift()
    }
  }

  add(piece: Buffer): void {
    this.count(piece)
    this.#pieces.push({ bytes: piece, sentBytes: this.#sentBytes })
  }

  /** When none of them has to be written any more. */
  wipe(): void {
    for (const { bytes } of this.#pieces) bytes.fill(0)
    this.#pieces.length = 0
  }
}

const KEPT_BYTES = 1024 * 1024
