// NDJSON: one JSON object a line, with the names of the columns. The number is copied and blanked before anything parses
// the line, as in the bodies of the API.

import { fieldDetail } from '../core/errors.ts'
import { skipBlanks, stringEnd } from '../core/json-bytes.ts'
import { isJson, jsonEnd } from '../core/json-check.ts'
import { wipeableBuffer } from '../core/wipeable.ts'
import { isColumn, isSensitiveColumn, type TextColumn } from './columns.ts'
import { badRecord, type ParsedRecord } from './row.ts'

const QUOTE = 0x22
const BACKSLASH = 0x5c
const BLANK = 0x20
const ZERO = 0x30
const OPENING_BRACE = 0x7b
/** How deep metadata may be nested. */
export const MAX_JSON_DEPTH = 64

/** The names of an object, for the first line: what it has too much is refused before anything is stored. */
export function namesOf(record: Buffer): string[] | undefined {
  if (!isObject(record)) return undefined
  const names: string[] = []
  for (const { nameAt, nameEnd } of members(record)) {
    const name = readName(record, nameAt, nameEnd)
    if (name !== undefined) names.push(name)
  }
  return names
}

/** The record's bytes are changed: the number is overwritten. */
export function parseNdjsonRecord(record: Buffer, ignored: ReadonlySet<string>): ParsedRecord {
  if (!isObject(record)) return badRecord('malformed')
  let number: Buffer | undefined
  let isTwice = false
  for (const { nameAt, nameEnd, valueAt, valueEnd } of members(record)) {
    if (readName(record, nameAt, nameEnd) !== 'card_number') continue
    isTwice ||= number !== undefined
    number?.fill(0)
    number = takeNumber(record, valueAt, valueEnd)
  }
  if (isTwice) {
    number?.fill(0)
    return badRecord('malformed', 'card_number')
  }
  const parsed = JSON.parse(record.toString('utf8')) as Record<string, unknown>
  const values: Partial<Record<TextColumn, unknown>> = {}
  let problem: ParsedRecord['problem']
  for (const [name, value] of Object.entries(parsed)) {
    if (isSensitiveColumn(name)) problem = { field: name, reason: 'sensitive_data' }
    if (ignored.has(name) || name === 'card_number') continue
    if (!isColumn(name)) {
      problem ??= { field: fieldDetail(name)?.field ?? '', reason: 'unknown_column' }
    } else if (value !== null && value !== '' && name !== 'card_number') {
      values[name] = value
    }
  }
  return { number, values, problem }
}

function isObject(record: Buffer): boolean {
  return isJson(record, MAX_JSON_DEPTH + 1) && record[skipBlanks(record, 0)] === OPENING_BRACE
}

type Member = { nameAt: number; nameEnd: number; valueAt: number; valueEnd: number }

/** Of well-formed JSON, an object. */
function* members(record: Buffer): Generator<Member, void, undefined> {
  let at = skipBlanks(record, skipBlanks(record, 0) + 1)
  while (record[at] === QUOTE) {
    const nameEnd = stringEnd(record, at)
    const valueAt = skipBlanks(record, skipBlanks(record, nameEnd + 1) + 1)
    const valueEnd = jsonEnd(record, valueAt, Number.POSITIVE_INFINITY)
    yield { nameAt: at, nameEnd, valueAt, valueEnd }
    at = skipBlanks(record, skipBlanks(record, valueEnd) + 1)
  }
}

/** `card\u005fnumber` is a spelling of it, too. A name that holds more digits than any column's is not read. */
function readName(record: Buffer, nameAt: number, nameEnd: number): string | undefined {
  if (nameEnd - nameAt > 256) return undefined
  if (!record.subarray(nameAt, nameEnd).includes(BACKSLASH)) {
    return record.toString('utf8', nameAt + 1, nameEnd)
  }
  return JSON.parse(record.toString('utf8', nameAt, nameEnd + 1)) as string
}

/** A string's characters or a number's digits, copied and blanked. Other values are left for the check to refuse. */
function takeNumber(record: Buffer, valueAt: number, valueEnd: number): Buffer | undefined {
  const isString = record[valueAt] === QUOTE
  const [start, end] = isString ? [valueAt + 1, valueEnd - 1] : [valueAt, valueEnd]
  if (start >= end || record.subarray(start, end).equals(Buffer.from('null'))) return undefined
  const number = wipeableBuffer(end - start)
  record.copy(number, 0, start, end)
  record.fill(BLANK, start, end)
  if (!isString) record[start] = ZERO
  return number
}
