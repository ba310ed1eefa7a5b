// Buffers for plaintext: each is one's own, however small, and overwriting it overwrites nothing else.

import { expect, test } from 'vitest'
import { wipeableBuffer } from '../../src/core/wipeable.ts'

test('they are zeros, of the size that was asked for, and no two share a byte', () => {
  const sizes = [0, 1, 3, 16, 19, 100, 255, 256, 257, 5000]
  const buffers = Array.from({ length: 2000 }, (_, i) => {
    const size = sizes[i % sizes.length] as number
    const buffer = wipeableBuffer(size)
    expect(buffer.length).toBe(size)
    expect(buffer.every((byte) => byte === 0)).toBe(true)
    return buffer.fill(1 + (i % 251))
  })

  const isOwn = (buffer: Buffer, i: number) => buffer.every((byte) => byte === 1 + (i % 251))
  expect(buffers.every(isOwn)).toBe(true)

  buffers[500]?.fill(0)
  expect(buffers.every((buffer, i) => i === 500 || isOwn(buffer, i))).toBe(true)
})
