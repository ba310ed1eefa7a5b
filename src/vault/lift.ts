// Reading a request that carries a card: number and code are lifted out of the raw chunks into Buffers of their
// own and blanked, before anything parses the rest. A number that went through JSON.parse stays in process
// memory long after the request (569 of 1,000 in a measurement; this way: 1), because strings cannot be overwritten.
// The value of a token may be a card number or an account, so it is lifted in the same way, as a whole.

import { AppError } from '../core/errors.ts'
import { skipBlanks, stringEnd } from '../core/json-bytes.ts'
import { isJson, jsonEnd } from '../core/json-check.ts'
import { wipe, wipeableBuffer } from '../core/wipeable.ts'
import type { LiftedBody } from '../http/lifted-bodies.ts'

/** Properties whose values are lifted, wherever they stand. */
const SECRET_NAMES: ReadonlySet<string> = new Set([
  'card_number',
  'card_cvc',
  'iban',
  'account_number',
])

/** The longest body that carries an instrument. */
export const CARD_BODY_BYTES = 64 * 1024

const QUOTE = 0x22
const BLANK = 0x20
const ZERO = 0x30
const BYTE_ORDER_MARK = Buffer.from('\ufeff')
/** A body has two secrets; more can only be repeated names, of which JSON.parse keeps the last. */
const MAX_LIFTED = 10

/**
 * In place of each secret string stands the number of its Buffer, then blanks. Overwrites `chunks`; the caller overwrites
 * the secrets. Throws `malformed_body`.
 */
export function liftSecrets(chunks: readonly Buffer[]): LiftedBody {
  const bytes = Buffer.concat(chunks)
  wipe(chunks)
  const secrets: Buffer[] = []
  try {
    blankSecrets(bytes, secrets)
    return { body: JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)), secrets }
  } catch {
    // The parser's own message quotes the input, so it is not even kept as the cause.
    wipe(secrets)
    throw new AppError('malformed_body')
  } finally {
    bytes.fill(0)
  }
}

/**
 * Lifts the outermost property `name`, whatever JSON its value is. In its place stands 0. Without such a property
 * there is no secret. Overwrites `chunks`; the caller overwrites the secret. Throws `malformed_body` (also when the
 * property stands twice), `wrong_type`, `body_too_large`.
 */
export function liftValue(
  chunks: readonly Buffer[],
  name: string,
  limits: { readonly bytes: number; readonly depth: number },
): LiftedBody {
  const bytes = Buffer.concat(chunks)
  wipe(chunks)
  try {
    const isMarked = bytes.subarray(0, 3).equals(BYTE_ORDER_MARK)
    const text = isMarked ? bytes.subarray(3) : bytes
    if (!isJson(text, limits.depth + 1)) throw new AppError('malformed_body')
    if (text[skipBlanks(text, 0)] !== 0x7b) throw new AppError('wrong_type')
    const [value, second] = outermost(text, name)
    if (second !== undefined) throw new AppError('malformed_body')
    if (value !== undefined && value.length > limits.bytes) throw new AppError('body_too_large')
    const secrets = value === undefined ? [] : [takeValue(value)]
    return { body: JSON.parse(text.toString('utf8')), secrets }
  } finally {
    bytes.fill(0)
  }
}

/** The values of that name in the object that `json`, which is well formed, is: parts of it. */
function outermost(json: Buffer, name: string): Buffer[] {
  const values: Buffer[] = []
  let at = skipBlanks(json, skipBlanks(json, 0) + 1)
  while (json[at] === QUOTE) {
    const nameEnd = stringEnd(json, at)
    const start = skipBlanks(json, skipBlanks(json, nameEnd + 1) + 1)
    const end = jsonEnd(json, start, Number.POSITIVE_INFINITY)
    if (nameAt(json, at, nameEnd) === name) values.push(json.subarray(start, end))
    at = skipBlanks(json, skipBlanks(json, end) + 1)
  }
  return values
}

/** Copies the value and blanks it where it stood. */
function takeValue(value: Buffer): Buffer {
  const secret = wipeableBuffer(value.length)
  value.copy(secret)
  value.fill(BLANK)
  value[0] = ZERO
  return secret
}

/** The secret behind a property of a lifted body; undefined when the property was not lifted. */
export function secretOf(value: string, secrets: readonly Buffer[]): Buffer | undefined {
  return /^[0-9] *$/.test(value) ? secrets[Number(value.trimEnd())] : undefined
}

/**
 * In JSON a string before a colon is a name, so the structure around it does not matter. In bytes that are not
 * JSON anything may be blanked: they are refused anyway.
 */
function blankSecrets(bytes: Buffer, secrets: Buffer[]): void {
  for (let at = 0; at < bytes.length; at++) {
    if (bytes[at] !== QUOTE) continue
    const end = stringEnd(bytes, at)
    const colon = skipBlanks(bytes, end + 1)
    if (bytes[colon] === 0x3a && isSecretName(bytes, at, end)) {
      at = blankValue(bytes, skipBlanks(bytes, colon + 1), secrets) - 1
    } else {
      at = end
    }
  }
}

/** Blanks the string or number that begins at `start`; answers where scanning goes on. */
function blankValue(bytes: Buffer, start: number, secrets: Buffer[]): number {
  const first = bytes[start] ?? 0
  if (first === QUOTE) {
    const end = stringEnd(bytes, start)
    if (end > start + 1) {
      if (secrets.length === MAX_LIFTED) throw new AppError('malformed_body')
      secrets.push(Buffer.from(bytes.subarray(start + 1, end))) // copies
      bytes.fill(BLANK, start + 1, end)
      bytes[start + 1] = ZERO + secrets.length - 1
    }
    return end + 1
  }
  if (!isNumberByte(first)) return start
  let end = start
  while (isNumberByte(bytes[end] ?? 0)) end += 1
  bytes.fill(BLANK, start, end) // a number where a string belongs: it stays one, without its digits
  bytes[start] = ZERO
  return end
}

function isSecretName(bytes: Buffer, start: number, end: number): boolean {
  const name = nameAt(bytes, start, end)
  return name !== undefined && SECRET_NAMES.has(name)
}

/** What stands between the quotes, its escapes read: `card\u005fnumber` is a spelling of it, too. */
function nameAt(bytes: Buffer, start: number, end: number): string | undefined {
  const name = bytes.toString('utf8', start + 1, end)
  if (!name.includes('\\')) return name
  try {
    return JSON.parse(`"${name}"`) as string
  } catch {
    return undefined
  }
}

function isNumberByte(byte: number): boolean {
  return (
    (byte >= ZERO && byte <= 0x39) ||
    byte === 0x2d ||
    byte === 0x2b ||
    byte === 0x2e ||
    byte === 0x65 ||
    byte === 0x45
  )
}
