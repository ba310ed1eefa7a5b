import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { fieldBit } from '../../src/core/card-fields.ts'
import { type ExportPorts, exportCards } from '../../src/transfer/export.ts'
import { SILENT } from '../../src/transfer/progress.ts'

let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sallyport-export-'))
})

afterEach(() => rmSync(folder, { recursive: true, force: true }))

const OPTIONS = { progress: SILENT, isStopped: () => false }

/** A vault with these cards, and what was asked of it. */
function vaultOf(cards: Record<string, 'here' | 'elsewhere' | 'deleted'>) {
  const asked: string[] = []
  const pages: any[] = [
    Object.keys(cards).map((id) => ({ id, fields: fieldBit('card_number') })),
    [],
  ]
  const ports: ExportPorts = {
    page: async () => pages.shift(),
    async describe({ id }) {
      asked.push(`describe ${id}`)
      const place = cards[id]
      return place === 'here' || place === undefined ? { id } : place
    },
    async recordReveal(methods) {
      asked.push(`record ${methods.map(({ id }) => id)}`)
    },
    async reveal({ id }) {
      asked.push(`reveal ${id}`)
      return { field: () => Buffer.from('4242424242424242'), wipe: () => asked.push('wipe') } as any
    },
  }
  return { asked, ports }
}

/** Encrypts nothing. */
const plain = (write: (line: Buffer) => Buffer) =>
  ({ head: Buffer.from('head'), write, end: () => Buffer.from('end'), wipe() {} }) as any

test('the audit trail names the cards that leave, and no others', async () => {
  const { asked, ports } = vaultOf({ a: 'here', b: 'elsewhere', c: 'deleted', d: 'here' })

  const result = await exportCards(join(folder, 'out'), plain(Buffer.from), OPTIONS, ports)

  expect(result).toMatchObject({ cards: 2, others: 1 })
  expect(asked.slice(4)).toEqual(['record a,d', 'reveal a', 'wipe', 'reveal d', 'wipe'])
})

test('of a page from which no card leaves there is no line', async () => {
  const { asked, ports } = vaultOf({ a: 'elsewhere', b: 'deleted' })

  await exportCards(join(folder, 'out'), plain(Buffer.from), OPTIONS, ports)

  expect(asked).toEqual(['describe a', 'describe b'])
})

test('a line that cannot be written is overwritten all the same', async () => {
  const { ports } = vaultOf({ a: 'here' })
  const lines: Buffer[] = []
  const full = plain((line) => {
    lines.push(line)
    throw new Error('no space')
  })

  await expect(exportCards(join(folder, 'out'), full, OPTIONS, ports)).rejects.toThrow('no space')

  expect(lines.map((line) => line.every((byte) => byte === 0))).toEqual([true])
  expect(readdirSync(folder)).toEqual([])
})
