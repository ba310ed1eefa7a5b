import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openInput } from '../../src/transfer/input.ts'

test('of an input that is refused nothing stays', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-input-'))
  writeFileSync(join(folder, 'cards'), '4242424242424242')
  const fd = openSync(join(folder, 'cards'), 'r')
  const fill = Buffer.prototype.fill
  const overwritten: string[] = []
  Buffer.prototype.fill = function (...args: any) {
    overwritten.push(this.toString('latin1', 0, 16))
    return (fill as any).apply(this, args)
  }
  try {
    await expect(openInput(fd, ['AGE-SECRET-KEY-1'])).rejects.toThrow('this is no age file')
  } finally {
    Buffer.prototype.fill = fill
    closeSync(fd)
    rmSync(folder, { recursive: true })
  }

  expect(overwritten).toContain('4242424242424242')
})
