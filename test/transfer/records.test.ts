import { expect, test } from 'vitest'
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
