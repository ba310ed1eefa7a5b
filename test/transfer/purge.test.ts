import { expect, test } from 'vitest'
import type { MerchantId } from '../../src/core/ids.ts'
import { SILENT } from '../../src/transfer/progress.ts'
import { parseDuration, purgeUnused } from '../../src/transfer/purge.ts'

test.each([
  ['400d', 400 * 86_400_000],
  ['36h', 36 * 3_600_000],
  ['1d', 86_400_000],
])('%s is a duration', (text, milliseconds) => {
  expect(parseDuration(text)).toBe(milliseconds)
})

test.each(['', '0d', '0h', 'd', '400', '4.5d', '-1d', '1D', '1w', ' 1d', '1234567d'])(
  '%j is none',
  (text) => {
    expect(parseDuration(text)).toBeUndefined()
  },
)

test('what was used since its page was read stays, and no line says otherwise', async () => {
  const ids = ['a', 'b', 'c']
  const pages: any[] = [ids.map((id) => ({ id, merchantId: 'shop', createdAtMs: 1 })), []]
  const uses = new Map([['a', 5]])
  const done: string[] = []

  const result = await purgeUnused(
    'shop' as MerchantId,
    100,
    { isDryRun: false, progress: SILENT, isStopped: () => false },
    {
      page: async () => pages.shift(),
      async lastUses(_merchant, asked) {
        const answer = asked.map((id) => uses.get(id))
        uses.set('b', 200) // while the page is looked through
        return answer
      },
      isKept: async () => false,
      async recordDeletion(_merchant, id) {
        done.push(`record ${id}`)
      },
      async remove(_merchant, id) {
        done.push(`remove ${id}`)
        return 'deleted'
      },
    },
  )

  expect(result).toEqual({ looked: 3, unused: 2, kept: 0, isComplete: true })
  expect(done.sort()).toEqual(['record a', 'record c', 'remove a', 'remove c'])
})
