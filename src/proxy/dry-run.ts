// A dry run goes all the way but the sending: policy, tokens and values are asked as for a real request, which is shown
// as it would leave, with values masked and injected ones left out. It connects to nothing, takes no code and leaves a
// line in the audit trail like any reveal.
//
// Whoever may ask for it may not learn more of a value than its mask says, however often they ask: no mask is longer or
// shorter for what a filter made of the value, and that a `map` has no such key is not told.

import { isUtf8 } from 'node:buffer'
import type { Field } from '../core/field.ts'
import { wipeableBuffer } from '../core/wipeable.ts'
import type { PolicyRow } from './destination.ts'
import type { Destination } from './destinations.ts'
import { hasDigest } from './digest-headers.ts'
import type { Filter } from './filter.ts'
import type { Origin } from './origin.ts'
import { credentialsOf, type HeadScan, type Outbound, spliceHeader } from './outbound.ts'
import { prepareHeaders } from './outgoing.ts'
import { isNormalPath } from './path-rule.ts'
import { findRow } from './policy.ts'
import { Refusal } from './refusal.ts'
import type { Found } from './scan/scanner.ts'
import { splice, spliceText, type ValueFor } from './splice.ts'
import type { Values } from './values.ts'

type Parts = {
  readonly outbound: Outbound
  readonly origin: Origin
  readonly head: HeadScan
  readonly text: Buffer | undefined
  readonly inBody: readonly Found[]
  readonly substitutions: ReadonlyMap<Field, number> | undefined
  /** Its answer would be looked into. */
  readonly isInspected: boolean
}

/** Of a body: escaped in JSON, a longer one may not fit into a string. */
const MAX_SHOWN_BYTES = 64 * 1024 * 1024

/** JSON. Throws Refusal for values that could not be written where they stand. */
export function renderedRequest(
  parts: Parts,
  destination: Destination,
  row: PolicyRow,
  values: Values | undefined,
): Buffer {
  const { outbound, origin, head, text, inBody, substitutions } = parts
  const real = once((found) => realValue(found, values as Values))
  checkReal(parts, destination, row, real)
  const masked: ValueFor = (found) => maskedValue(found, real(found))

  const path = spliceText(outbound.path, head.path, masked)
  const query = spliceText(outbound.query, head.query, masked)
  const body = text === undefined ? undefined : splice(text, inBody, masked)
  if (body !== undefined && body.length > MAX_SHOWN_BYTES) throw new Refusal('body_too_large')
  const encoding = body === undefined || isUtf8(body) ? 'utf8' : 'base64'
  const index = destination.rows.indexOf(row)
  return Buffer.from(
    JSON.stringify({
      dry_run: true,
      destination: destination.name,
      policy: { row: index, ...destination.settings.allow[index] },
      request: {
        method: outbound.method,
        url: `${origin}${path}${query}`,
        headers: shownHeaders(parts, destination, masked),
        body: body?.toString(encoding) ?? null,
        ...(body === undefined ? {} : { body_encoding: encoding }),
        is_signed: destination.signing !== undefined,
      },
      substitutions: Object.fromEntries(substitutions ?? []),
    }),
  )
}

function shownHeaders(
  { outbound, head, inBody, isInspected }: Parts,
  destination: Destination,
  masked: ValueFor,
): [name: string, value: string][] {
  const isBodyChanged = inBody.length > 0 || outbound.wasInflated
  const headers = [...outbound.headers]
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    const value = headers[i + 1] as string
    const found = head.headers.find(({ at }) => at === i + 1)
    if (destination.injectedNames.has(name.toLowerCase())) headers[i + 1] = '[injected]'
    else if (isBodyChanged && hasDigest([name, value])) headers[i + 1] = '[computed]'
    else if (found !== undefined) headers[i + 1] = spliceHeader(value, found, masked)
  }
  const request = { body: undefined, isSpliced: false, isInspected }
  prepareHeaders({ ...outbound, headers }, destination, request)
  return headers.flatMap((name, i): [string, string][] =>
    i % 2 === 0 ? [[name, headers[i + 1] as string]] : [],
  )
}

/** What a real request would do, its bytes overwritten at once. Nothing but the path becomes a string. */
function checkReal(
  { outbound, head, text, inBody }: Parts,
  destination: Destination,
  row: PolicyRow,
  real: ValueFor,
): void {
  const check = (bytes: Buffer, found: readonly Found[]) => {
    if (found.length > 0) splice(bytes, found, real).fill(0)
  }
  for (const { at, isBasic, found } of head.headers) {
    const value = outbound.headers[at] as string
    check(isBasic ? credentialsOf(value) : Buffer.from(value, 'latin1'), found)
  }
  if (head.path.length > 0) {
    const path = spliceText(outbound.path, head.path, real)
    if (!isNormalPath(path) || findRow(destination.rows, outbound.method, path) !== row) {
      throw new Refusal('value_not_encodable')
    }
  }
  check(Buffer.from(outbound.query, 'latin1'), head.query)
  if (text !== undefined) check(text, inBody)
}

/** What a request may ask for has a limit, against which each value counts once. */
function once(valueFor: ValueFor): ValueFor {
  const known = new Map<Found, Uint8Array>()
  return (found) => {
    const value = known.get(found) ?? valueFor(found)
    known.set(found, value)
    return value
  }
}

/** What everybody may see of a card. */
const SHOWN: ReadonlySet<Field> = new Set<Field>([
  'card_network',
  'card_issuer',
  'card_type',
  'card_issuing_country',
  'card_bin',
  'card_bin8',
  'card_last4',
])

const X = 0x58
const BIN = 6
const LAST = 4
/** Of a shorter number too little would be left out. */
const MIN_NUMBER = 13

// They may stand wherever what they stand for may.
const TEXT = Buffer.from('XXXX')
const JSON_STRING = Buffer.from('"XXXX"')
const JSON_CONTAINER = Buffer.from('"[masked]"')
const JSON_NUMBER = Buffer.from('0')
const JSON_LITERAL = Buffer.from('null')

const isMap = ({ kind }: Filter) => kind === 'map'
const isDefault = ({ kind }: Filter) => kind === 'default'

/**
 * Throws Refusal. What comes before a `map` is looked at, and of what comes out of it a stand-in is answered: whether it
 * has the key would tell the value, a few dry runs later.
 */
function realValue(found: Found, values: Values): Uint8Array {
  const { field, filters, isJson } = found
  const map = filters.findIndex(isMap)
  if (map === -1 || SHOWN.has(field)) return values.of(found)
  values.of({ ...found, filters: [...filters.slice(0, map), ...filters.filter(isDefault)] })
  if (!isJson) return TEXT
  return filters.findLast((filter) => !isDefault(filter))?.kind === 'number'
    ? JSON_NUMBER
    : JSON_STRING
}

/** Of one length whatever the value, but for a whole number, whose length its network tells. */
function maskedValue({ field, filters, isJson }: Found, value: Uint8Array): Uint8Array {
  if (SHOWN.has(field)) return value
  if (field === 'card_number' && filters.length === 0 && value.length >= MIN_NUMBER) {
    const masked = wipeableBuffer(value.length).fill(X)
    masked.set(value.subarray(0, BIN))
    masked.set(value.subarray(-LAST), value.length - LAST)
    return masked
  }
  return isJson ? maskedJson(value) : TEXT
}

function maskedJson(text: Uint8Array): Buffer {
  switch (String.fromCharCode(text[0] as number)) {
    case '"':
      return JSON_STRING
    case '{':
    case '[':
      return JSON_CONTAINER
    case 't':
    case 'f':
    case 'n':
      return JSON_LITERAL
    default:
      return JSON_NUMBER
  }
}
