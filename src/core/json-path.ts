// Selecting from stored JSON by path, on its bytes: a small part of JSONPath (RFC 9535): names, indices and wildcards;
// no filters, no scripts, no recursion, nothing that is evaluated. It walks the text rather than parsed values, because
// what it selects may be a card number, which must not become a string; and bytes have no prototype.

import type { Brand } from './brand.ts'
import { hexDigit } from './hex-digit.ts'
import { skipBlanks, stringEnd } from './json-bytes.ts'
import { jsonEnd } from './json-check.ts'
import { writeUtf8 } from './utf8.ts'
import { wipeableBuffer } from './wipeable.ts'

/**
 * In canonical spelling: `$.account['two words'].list[0][*]`. Quotes inside names, backslashes and control characters
 * stand in none.
 */
export type JsonPath = Brand<string, 'JsonPath'>

type Segment =
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'index'; readonly index: number }
  | { readonly kind: 'wildcard' }

const SEGMENT =
  /\.(?:([A-Za-z_][A-Za-z0-9_-]*)|(\*))|\[(?:'([A-Za-z0-9_ .:@/+-]+)'|(0|[1-9][0-9]{0,5})|(\*))\]/y
const PLAIN_NAME = /^[A-Za-z_][A-Za-z0-9_-]*$/
const MAX_LENGTH = 256

/** Undefined for everything but a `$` with at least one segment of the subset. */
export function parseJsonPath(text: string): JsonPath | undefined {
  const end = jsonPathEnd(text, 0)
  return end > 0 && end === text.length ? canonical(text) : undefined
}

/** Just after the longest path that begins at `from` with its `$`; `from` when there is none. */
export function jsonPathEnd(text: string, from: number): number {
  if (text[from] !== '$') return from
  let at = from + 1
  for (;;) {
    SEGMENT.lastIndex = at
    if (!SEGMENT.test(text) || SEGMENT.lastIndex - from > MAX_LENGTH) break
    at = SEGMENT.lastIndex
  }
  return at === from + 1 ? from : at
}

function canonical(text: string): JsonPath {
  let path = '$'
  for (const segment of segmentsOf(text)) {
    switch (segment.kind) {
      case 'name':
        path += PLAIN_NAME.test(segment.name) ? `.${segment.name}` : `['${segment.name}']`
        break
      case 'index':
        path += `[${segment.index}]`
        break
      case 'wildcard':
        path += '[*]'
        break
      default:
        segment satisfies never
    }
  }
  return path as JsonPath
}

function segmentsOf(path: string): Segment[] {
  const segments: Segment[] = []
  for (let at = 1; at < path.length; at = SEGMENT.lastIndex) {
    SEGMENT.lastIndex = at
    const [, plain, , quoted, index] = SEGMENT.exec(path) as RegExpExecArray
    const name = plain ?? quoted
    if (name !== undefined) segments.push({ kind: 'name', name })
    else if (index !== undefined) segments.push({ kind: 'index', index: Number(index) })
    else segments.push({ kind: 'wildcard' })
  }
  return segments
}

/**
 * The JSON texts that the path selects, as parts of `json`, which has to be well formed. `duplicates`: of a name that
 * stands twice in one object the last, as JSON.parse reads it, or all.
 */
export function selectJson(
  json: Buffer,
  path: JsonPath,
  duplicates: 'last' | 'all' = 'last',
): Buffer[] {
  const start = skipBlanks(json, 0)
  let selected: [number, number][] = [[start, valueEnd(json, start)]]
  for (const segment of segmentsOf(path)) {
    selected = selected.flatMap(([from]) => childrenOf(json, from, segment, duplicates))
  }
  return selected.map(([from, to]) => json.subarray(from, to))
}

const QUOTE = 0x22
const COMMA = 0x2c

/** Of an object or array at `start`. */
function childrenOf(
  json: Buffer,
  start: number,
  segment: Segment,
  duplicates: 'last' | 'all',
): [number, number][] {
  const isObject = json[start] === 0x7b
  if (!isObject && json[start] !== 0x5b) return []
  if (segment.kind === (isObject ? 'index' : 'name')) return []
  const byName = new Map<string, [number, number]>()
  const children: [number, number][] = []
  let index = 0
  for (let at = skipBlanks(json, start + 1); json[at] !== 0x7d && json[at] !== 0x5d; index++) {
    let name = ''
    if (isObject) {
      const nameEnd = stringEnd(json, at)
      const raw = json.toString('utf8', at + 1, nameEnd)
      name = raw.includes('\\') ? (JSON.parse(`"${raw}"`) as string) : raw
      at = skipBlanks(json, skipBlanks(json, nameEnd + 1) + 1)
    }
    const end = valueEnd(json, at)
    switch (segment.kind) {
      case 'name':
        if (name === segment.name) children[duplicates === 'all' ? children.length : 0] = [at, end]
        break
      case 'index':
        if (index === segment.index) children.push([at, end])
        break
      case 'wildcard':
        if (isObject && duplicates === 'last') byName.set(name, [at, end])
        else children.push([at, end])
        break
      default:
        segment satisfies never
    }
    at = skipBlanks(json, end)
    if (json[at] === COMMA) at = skipBlanks(json, at + 1)
  }
  return [...children, ...byName.values()]
}

/** Just after the value that begins at `start`. */
const valueEnd = (json: Buffer, start: number) => jsonEnd(json, start, Number.POSITIVE_INFINITY)

/** A JSON scalar as the bytes of its text: a string's are a Buffer of their own. */
export type JsonScalar =
  | { readonly kind: 'text'; readonly bytes: Buffer; readonly isNew: boolean }
  | { readonly kind: 'null' | 'no_scalar' | 'unpaired_surrogate' }

export function jsonScalar(json: Buffer): JsonScalar {
  switch (json[0]) {
    case 0x7b:
    case 0x5b:
      return { kind: 'no_scalar' }
    case 0x6e:
      return { kind: 'null' }
    case QUOTE: {
      const bytes = decodeJsonString(json.subarray(1, json.length - 1))
      return bytes === undefined
        ? { kind: 'unpaired_surrogate' }
        : { kind: 'text', bytes, isNew: true }
    }
    default:
      return { kind: 'text', bytes: json, isNew: false }
  }
}

/** \b \f \n \r \t; whatever else is escaped stands for itself. */
const UNESCAPED: ReadonlyMap<number, number> = new Map([
  [0x62, 0x08],
  [0x66, 0x0c],
  [0x6e, 0x0a],
  [0x72, 0x0d],
  [0x74, 0x09],
])

/** What stands between the quotes, decoded to UTF-8; undefined when it holds an unpaired surrogate. */
function decodeJsonString(raw: Buffer): Buffer | undefined {
  const out = wipeableBuffer(raw.length)
  let length = 0
  for (let at = 0; at < raw.length; ) {
    const byte = raw[at] as number
    if (byte !== 0x5c) {
      out[length++] = byte
      at += 1
      continue
    }
    const kind = raw[at + 1] as number
    if (kind !== 0x75) {
      out[length++] = UNESCAPED.get(kind) ?? kind
      at += 2
      continue
    }
    let code = hexUnit(raw, at + 2)
    at += 6
    if (code >= 0xd800 && code <= 0xdfff) {
      const isPair = code < 0xdc00 && raw[at] === 0x5c && raw[at + 1] === 0x75
      const low = isPair ? hexUnit(raw, at + 2) : 0
      if (low < 0xdc00 || low > 0xdfff) {
        out.fill(0)
        return undefined
      }
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00)
      at += 6
    }
    length = writeUtf8(out, length, code)
  }
  return out.subarray(0, length)
}

function hexUnit(raw: Buffer, at: number): number {
  let unit = 0
  for (let i = 0; i < 4; i++) unit = unit * 16 + hexDigit(raw[at + i])
  return unit
}
