// CSV (RFC 4180): comma, optional double quotes, doubled inside; the first record names the columns, in any order.

import { isUtf8 } from 'node:buffer'
import { fieldDetail } from '../core/errors.ts'
import { wipeableBuffer } from '../core/wipeable.ts'
import {
  type Column,
  couldBeValue,
  isColumn,
  isSensitiveColumn,
  type TextColumn,
} from './columns.ts'
import { badRecord, type ParsedRecord } from './row.ts'
import { TransferError } from './transfer-error.ts'

const COMMA = 0x2c
const QUOTE = 0x22

/** Which column stands in which place; undefined for one that is ignored. */
export type CsvHeader = readonly (Column | undefined)[]

/** Throws TransferError, which names every column that is not known. */
export function parseCsvHeader(record: Buffer, ignored: ReadonlySet<string>): CsvHeader {
  const spans = isUtf8(record) ? fieldSpans(record) : undefined
  if (spans === undefined) {
    throw new TransferError('The first line is not well-formed CSV in UTF-8.')
  }
  if (spans.some(({ start, end }) => couldBeValue(record.subarray(start, end)))) {
    throw new TransferError('The first line has to name the columns, and holds values.')
  }
  const names = spans.map(({ start, end }) => record.toString('utf8', start, end).trim())
  return checkNames(names, ignored)
}

/** Of any format: which of these names are columns. `undefined` in the place of an ignored one. */
export function checkNames(names: readonly string[], ignored: ReadonlySet<string>): CsvHeader {
  const shown = (name: string) => {
    const isShown = fieldDetail(name.replaceAll(/[ -]/g, '_')) !== undefined
    return isShown ? name : `the one in place ${names.indexOf(name) + 1}`
  }
  const listed = (wrong: readonly string[]) => wrong.map(shown).join(', ')
  const sensitive = names.filter(isSensitiveColumn)
  if (sensitive.length > 0) {
    throw new TransferError(
      `Verification codes, track data and PINs may not be kept, even encrypted (PCI DSS 3.3.1). Take this column out of the file: ${listed(sensitive)}.`,
    )
  }
  const unknown = names.filter((name) => !isColumn(name) && !ignored.has(name))
  if (unknown.length > 0) {
    throw new TransferError(
      `These columns are not known: ${listed(unknown)}. Rename them, or leave them out with --ignore-columns.`,
    )
  }
  const taken = names.map((name) => (isColumn(name) && !ignored.has(name) ? name : undefined))
  const twice = taken.filter((name, at) => name !== undefined && taken.indexOf(name) !== at)
  if (twice.length > 0) throw new TransferError(`A column stands twice: ${twice.join(', ')}.`)
  return taken
}

/** Throws TransferError when a row could not be complete with these columns. */
export function checkColumns(header: CsvHeader): void {
  const needed: Column[] = ['id', 'card_number', 'card_exp_month', 'card_exp_year']
  const missing: string[] = needed.filter((name) => !header.includes(name))
  if (!header.includes('customer_reference') && !header.includes('customer_id')) {
    missing.push('customer_reference or customer_id')
  }
  if (missing.length > 0)
    throw new TransferError(`These columns are missing: ${missing.join(', ')}.`)
}

/** The record's bytes are changed: quotes are undone in place, and the number is overwritten. */
export function parseCsvRecord(record: Buffer, header: CsvHeader): ParsedRecord {
  // Before quotes are undone, which leaves parts of characters behind.
  if (!isUtf8(record)) return badRecord('not_utf8')
  const spans = fieldSpans(record)
  if (spans === undefined) return badRecord('malformed')
  if (spans.length !== header.length) return badRecord('wrong_number_of_fields')
  const values: Partial<Record<TextColumn, unknown>> = {}
  let number: Buffer | undefined
  for (const [place, { start, end }] of spans.entries()) {
    const column = header[place]
    if (column === undefined || start === end) continue
    if (column === 'card_number') {
      number = wipeableBuffer(end - start)
      record.copy(number, 0, start, end)
      record.fill(0, start, end)
    } else {
      values[column] = record.toString('utf8', start, end)
    }
  }
  return { number, values, problem: undefined }
}

type Span = { readonly start: number; readonly end: number }

/** What stands in each field, without quotes; undefined when it is no CSV. Doubled quotes are undone in place. */
function fieldSpans(record: Buffer): Span[] | undefined {
  const spans: Span[] = []
  let quote = record.indexOf(QUOTE)
  let at = 0
  for (;;) {
    let span: Span
    if (record[at] === QUOTE) {
      const closing = undoQuotes(record, at + 1)
      if (closing === undefined) return undefined
      span = { start: at + 1, end: closing.textEnd }
      at = closing.next
    } else {
      const comma = record.indexOf(COMMA, at)
      const end = comma === -1 ? record.length : comma
      if (quote !== -1 && quote < at) quote = record.indexOf(QUOTE, at)
      if (quote !== -1 && quote < end) return undefined
      span = { start: at, end }
      at = end
    }
    spans.push(span)
    if (at === record.length) return spans
    if (record[at] !== COMMA) return undefined
    at += 1
  }
}

function undoQuotes(record: Buffer, from: number): { textEnd: number; next: number } | undefined {
  let textEnd = from
  for (let at = from; at < record.length; at++) {
    const byte = record[at] as number
    if (byte === QUOTE) {
      if (record[at + 1] !== QUOTE) return { textEnd, next: at + 1 }
      at += 1
    }
    record[textEnd++] = byte
  }
  return undefined
}

/** One field of a line that we write. */
export function csvField(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text
}
