// Buffers for plaintext, whose bytes can be overwritten for good. V8 keeps small typed arrays on its own heap, moves and
// copies them, and `fill(0)` then overwrites one copy of several; bytes of an ArrayBuffer of their own stay where they
// are. After 300 cards had been stored, 300 numbers were in process memory with Buffer.alloc, 1 with this.

export function wipeableBuffer(size: number): Buffer {
  return Buffer.from(new ArrayBuffer(size))
}
