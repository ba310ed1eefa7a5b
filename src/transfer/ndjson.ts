// NDJSON: one JSON object a line, with the names of the columns. The number is copied and blanked, and the line is never
// parsed as a whole: what no column holds, forbidden or ignored, does not become a string.

import { fieldDetail } from '../core/errors.ts'
import { skipBlanks, stringEnd } from '../core/json-bytes.ts'
import { isJson, jsonEnd } from '../core/json-check.ts'
import { wipeableBuffer } from '../core/wipeable.ts'
import {
  type Column,
  couldBeValue,
  isColumn,
  isSensitiveColumn,
  type TextColumn,
} from './columns.ts'
import { badRecord, type ParsedRecord } from './row.ts'

const QUOTE = 0x22
const BLANK = 0x20
const OPENING_BRACE = 0x7b
/** How deep metadata may be nested. */
export const MAX_JSON_DEPTH = 64

/**
 * The names of an object, for the first line: what it has too much is refused before anything is stored. Empty in place of
 * one that may not be read.
 */
export function namesOf(record: Buffer): string[] | undefined {
  if (!isObject(record)) return undefined
  return [...members(record)].map((member) => readName(record, member) ?? '')
}

/** The record's bytes are changed: the number is overwritten. Of what is no column only the name is read. */
export function parseNdjsonRecord(record: Buffer, ignored: ReadonlySet<string>): ParsedRecord {
  if (!isObject(record)) return badRecord('malformed')
  const seen = new Set<Column>()
  const values: Partial<Record<TextColumn, unknown>> = {}
  let number: Buffer | undefined
  let problem: ParsedRecord['problem']
  for (const member of members(record)) {
    const name = readName(record, member)
    if (name !== undefined && isSensitiveColumn(name)) {
      problem = { field: fieldDetail(name)?.field ?? '', reason: 'sensitive_data' }
    } else if (name !== undefined && ignored.has(name)) {
      // Its value is not even read.
    } else if (name === undefined || !isColumn(name)) {
      problem ??= { field: fieldDetail(name ?? '')?.field ?? '', reason: 'unknown_column' }
    } else if (seen.has(name)) {
      number?.fill(0)
      record.fill(0)
      return badRecord('malformed', name)
    } else {
      seen.add(name)
      if (name === 'card_number') {
        number = takeNumber(record, member)
      } else {
        const value = readValue(record, member)
        if (value !== null && value !== '') values[name] = value
      }
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

/** `card\u005fnumber` is a spelling of it, too. Undefined for one that could be a card number: it is not read. */
function readName(record: Buffer, { nameAt, nameEnd }: Member): string | undefined {
  if (couldBeValue(record.subarray(nameAt, nameEnd))) return undefined
  return JSON.parse(record.toString('utf8', nameAt, nameEnd + 1)) as string
}

function readValue(record: Buffer, { valueAt, valueEnd }: Member): unknown {
  return JSON.parse(record.toString('utf8', valueAt, valueEnd))
}

/** A string's characters or a number's digits, copied and blanked. Other values are left for the check to refuse. */
function takeNumber(record: Buffer, { valueAt, valueEnd }: Member): Buffer | undefined {
  const isString = record[valueAt] === QUOTE
  const [start, end] = isString ? [valueAt + 1, valueEnd - 1] : [valueAt, valueEnd]
  if (start >= end || record.subarray(start, end).equals(Buffer.from('null'))) return undefined
  const number = wipeableBuffer(end - start)
  record.copy(number, 0, start, end)
  record.fill(BLANK, start, end)
  return number
}
