// Inputs of imports for tests, from text to rows.

import { createHash } from 'node:crypto'
import type { Input } from '../../src/transfer/input.ts'

/** Hands out `bytes` in pieces of that size, in the Buffers it is given. */
export function inputOf(bytes: string | Buffer, pieceBytes = 64 * 1024): Input {
  const all = Buffer.from(bytes)
  let at = 0
  return {
    async read(target) {
      const piece = all.subarray(at, at + Math.min(pieceBytes, target.length))
      piece.copy(target)
      at += piece.length
      return piece.length
    },
    get readBytes() {
      return at
    },
    sizeBytes: all.length,
    isEncrypted: false,
    digest: () => createHash('sha256').update(all).digest(),
    wipe() {},
  }
}
