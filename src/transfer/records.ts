// Cuts the bytes of an input into records: lines of NDJSON, or of CSV, where a quoted field may hold line ends (RFC 4180).
// Records are parts of one Buffer, which is overwritten behind them.

import { wipeableBuffer } from '../core/wipeable.ts'
import type { Input } from './input.ts'
import { TransferError } from './transfer-error.ts'

export type RawRecord = {
  /** Of the input, from 1: where the record begins. */
  readonly line: number
  /** Without its line end; may be changed, and is overwritten when the next batch is asked for. */
  readonly bytes: Buffer
}

/** The longest record: more than all that the API takes of a card and its customer. */
const MAX_RECORD_BYTES = 1024 * 1024
const READ_BYTES = 64 * 1024
const LINE_FEED = 0x0a
const CARRIAGE_RETURN = 0x0d
const QUOTE = 0x22
const COMMA = 0x2c
const BYTE_ORDER_MARK = Buffer.from('\ufeff')

/** Blank lines are left out. Throws TransferError for a record that does not end. */
export async function* recordBatches(
  input: Input,
  format: 'csv' | 'ndjson',
): AsyncGenerator<readonly RawRecord[], void, undefined> {
  const buffer = wipeableBuffer(MAX_RECORD_BYTES + READ_BYTES)
  let end = 0
  let line = 1
  let isAtStart = true
  try {
    for (;;) {
      const count = await input.read(buffer.subarray(end, end + READ_BYTES))
      const isLast = count === 0
      end += count
      let at = 0
      if (isAtStart) {
        if (!isLast && end < BYTE_ORDER_MARK.length) continue
        if (BYTE_ORDER_MARK.equals(buffer.subarray(0, BYTE_ORDER_MARK.length))) {
          at = BYTE_ORDER_MARK.length
        }
        isAtStart = false
      }
      const batch: RawRecord[] = []
      const recordEnd = recordEnds(buffer.subarray(0, end), format === 'csv', isLast)
      while (at < end) {
        const found = recordEnd(at)
        if (found === undefined) break
        const lineEnd = found.end
        const isBehindReturn = lineEnd > at && buffer[lineEnd - 1] === CARRIAGE_RETURN
        const bytes = buffer.subarray(at, isBehindReturn ? lineEnd - 1 : lineEnd)
        if (bytes.length > 0) batch.push({ line, bytes })
        line += found.lines
        at = lineEnd + 1
      }
      if (batch.length > 0) yield batch
      if (isLast) return
      at = Math.min(at, end)
      if (end - at >= MAX_RECORD_BYTES) {
        throw new TransferError(
          `Line ${line}: the record that begins here does not end within ${MAX_RECORD_BYTES / 1024} KiB. Is a quote missing?`,
        )
      }
      buffer.copyWithin(0, at, end)
      buffer.fill(0, end - at, end)
      end -= at
    }
  } finally {
    buffer.fill(0)
    input.wipe()
  }
}

type RecordEnd = { readonly end: number; readonly lines: number }

/**
 * Where the line feed of the next record is, and how many lines the record has; undefined when it is not there yet. The
 * next quote is looked for once, not for each record anew: a file without quotes would be read over and over.
 */
function recordEnds(
  bytes: Buffer,
  hasQuotes: boolean,
  isLast: boolean,
): (from: number) => RecordEnd | undefined {
  let quote = hasQuotes ? bytes.indexOf(QUOTE) : -1
  return (from) => {
    const feed = bytes.indexOf(LINE_FEED, from)
    if (feed === -1 && !isLast) return undefined
    const ownLine = { end: feed === -1 ? bytes.length : feed, lines: 1 }
    if (quote !== -1 && quote < from) quote = bytes.indexOf(QUOTE, from)
    if (quote === -1 || quote > ownLine.end) return ownLine
    const found = quotedRecordEnd(bytes, from, quote, isLast)
    // One whose quotes are not in order ends with its own line: it takes no other row along.
    return found === 'malformed' ? ownLine : found
  }
}

/** A quote opens a field at its start only, and behind the closing one there is nothing but the next field. */
function quotedRecordEnd(
  bytes: Buffer,
  from: number,
  firstQuote: number,
  isLast: boolean,
): RecordEnd | 'malformed' | undefined {
  const atInputEnd = (lines: number) => (isLast ? { end: bytes.length, lines } : undefined)
  let lines = 1
  for (let quote = firstQuote; ; ) {
    if (quote !== from && bytes[quote - 1] !== COMMA) return 'malformed'
    const closing = closingQuote(bytes, quote)
    if (closing === undefined) return isLast ? 'malformed' : undefined
    for (let at = quote; at < closing; at++) if (bytes[at] === LINE_FEED) lines += 1
    let at = closing + 1
    if (bytes[at] === CARRIAGE_RETURN) at += 1
    if (at >= bytes.length) return atInputEnd(lines)
    if (bytes[at] === LINE_FEED) return { end: at, lines }
    if (bytes[at] !== COMMA || at !== closing + 1) return 'malformed'
    while (at < bytes.length && bytes[at] !== LINE_FEED && bytes[at] !== QUOTE) at++
    if (bytes[at] === LINE_FEED) return { end: at, lines }
    if (at === bytes.length) return atInputEnd(lines)
    quote = at
  }
}

/** A doubled one stands for itself. */
function closingQuote(bytes: Buffer, opening: number): number | undefined {
  for (let at = opening + 1; ; at += 2) {
    at = bytes.indexOf(QUOTE, at)
    if (at === -1) return undefined
    if (bytes[at + 1] !== QUOTE) return at
  }
}
