import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseCsvRecord } from '../../src/transfer/csv.ts'
import { recordBatches } from '../../src/transfer/records.ts'
import { inputOf } from './rows.ts'

async function cut(text: string | Buffer, format: 'csv' | 'ndjson' = 'csv', pieceBytes?: number) {
  const records: [line: number, text: string][] = []
  for await (const batch of recordBatches(inputOf(text, pieceBytes), format)) {
    for (const { line, bytes } of batch) records.push([line, bytes.toString('utf8')])
  }
  return records
}

const TEXT = 'a,b\r\n"x\n""y""\r\nz",1\n\n\n"",2\r\nlast,"3"'
const RECORDS = [
  [1, 'a,b'],
  [2, '"x\n""y""\r\nz",1'],
  [7, '"",2'],
  [8, 'last,"3"'],
]

test('records end where no quoted field does, and know the line they begin on', async () => {
  expect(await cut(TEXT)).toEqual(RECORDS)
})

test('records are the same wherever the input is cut', async () => {
  for (let pieceBytes = 1; pieceBytes <= TEXT.length; pieceBytes++) {
    expect(await cut(TEXT, 'csv', pieceBytes)).toEqual(RECORDS)
  }
})

test('a byte order mark is no part of the first record', async () => {
  for (const pieceBytes of [1, 2, 3, 100]) {
    expect(await cut('\ufeffa,b\n1,2', 'csv', pieceBytes)).toEqual([
      [1, 'a,b'],
      [2, '1,2'],
    ])
  }
})

test('quotes in NDJSON do not keep a line open', async () => {
  expect(await cut('{"a":"}\n{"b":1}\n', 'ndjson')).toEqual([
    [1, '{"a":"}'],
    [2, '{"b":1}'],
  ])
})

test('a quote that is never closed is told by the line it stands on', async () => {
  const text = `a,b\n1,2\n"open,2\n${'x,y\n'.repeat(300_000)}`

  await expect(cut(text)).rejects.toThrow(/^Line 3: .* Is a quote missing\?$/)
})

test('an input without any record has none', async () => {
  expect([await cut(''), await cut('\n\r\n\n')]).toEqual([[], []])
})

test('what records held is overwritten behind them', async () => {
  const seen: Buffer[] = []
  for await (const batch of recordBatches(inputOf('one\ntwo\nthree\n', 4), 'ndjson')) {
    seen.push(...batch.map(({ bytes }) => bytes))
  }

  expect(seen.length).toBe(3)
  expect(seen.every((bytes) => bytes.every((byte) => byte === 0))).toBe(true)
})

test.each([
  ['in a field without quotes', 'x,5" Bob,1'],
  ['at the start of a field', 'x,"Bob,1'],
  ['behind a closing one', 'x,"5" Bob",1'],
])('a stray quote %s costs its own row, and no other', async (_where, bad) => {
  const lines = Array.from({ length: 10 }, (_, index) => (index % 5 === 3 ? bad : `y,"z",${index}`))
  for (const pieceBytes of [1, 7, 1000]) {
    for (const end of ['', '\n', '\r\n']) {
      expect(await cut(lines.join('\n') + end, 'csv', pieceBytes)).toEqual(
        lines.map((text, index) => [index + 1, text]),
      )
    }
  }
})

test('a record of several lines is one whose quotes are in order, and none is lost, wherever it is cut', async () => {
  const piece = fc.constantFrom('"', '""', ',', '\n', '\r\n', '\r', 'a', ',"', '",')
  await fc.assert(
    fc.asyncProperty(fc.array(piece, { maxLength: 40 }), fc.nat(20), async (pieces, size) => {
      const text = pieces.join('')
      const records = await cut(text)

      expect(await cut(text, 'csv', size + 1)).toEqual(records)
      expect(
        records
          .map(([, record]) => record)
          .join('')
          .replaceAll(/[\r\n]/g, ''),
      ).toBe(text.replaceAll(/[\r\n]/g, ''))
      const lines = text.split('\n')
      for (const [line, record] of records) {
        const count = record.split('\n').length
        expect(
          lines
            .slice(line - 1, line - 1 + count)
            .join('\n')
            .replace(/\r$/, ''),
        ).toBe(record)
        if (count === 1) continue
        const { problem } = parseCsvRecord(Buffer.from(record), [])
        expect(problem?.reason).not.toBe('malformed')
      }
    }),
    { numRuns: 2000 },
  )
})
