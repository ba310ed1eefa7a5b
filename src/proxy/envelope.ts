// The envelope, Hyperswitch's way in: one JSON object that says what to send where. Its `request_body` is taken out as
// the caller's own bytes, so that key order and the spelling of numbers survive; the rest is parsed and checked.

import { isUtf8 } from 'node:buffer'
import Type, { type Static } from 'typebox'
import { Compile } from 'typebox/compile'
import { AppError, invalidField } from '../core/errors.ts'
import { FIELD_VALUE } from '../core/field-syntax.ts'
import { isBlank, skipBlanks, stringEnd } from '../core/json-bytes.ts'
import type { Call } from '../http/call.ts'
import { fromValidation } from '../http/error-envelope.ts'
import { strict } from '../http/schemas.ts'
import type { HeldBytes } from './answer/held-bytes.ts'
import { type Charset, charsetNamed, UTF_8 } from './charset.ts'
import { HEADER_NAME, isDroppedRequestHeader } from './headers.ts'
import { mediaTypeOf } from './media-type.ts'
import { type DestinationUrl, parseDestinationUrl } from './origin.ts'
import type { Outbound } from './outbound.ts'
import { Refusal } from './refusal.ts'
import { type AnswerFacts, type Flow, passedHeaders, type Relay, sendOwn } from './relay.ts'
import { JsonScanner } from './scan/json.ts'
import { encodingOf } from './scan/xml.ts'
import type { Wishes } from './wishes.ts'

export const EnvelopeBody = Type.Object(
  {
    request_body: Type.Optional(
      Type.Unknown({
        description:
          'Any JSON, sent byte for byte but for its placeholders; with a content type that is not JSON a string. Without it, or null: no body.',
      }),
    ),
    destination_url: Type.String({ maxLength: 8192 }),
    method: Type.Union(
      ['GET', 'POST', 'PUT', 'DELETE', 'PATCH'].map((method) => Type.Literal(method)),
    ),
    headers: Type.Optional(Type.Record(Type.String(), Type.String())),
    content_type: Type.Optional(Type.String({ maxLength: 256 })),
    token: Type.Optional(
      Type.String({
        maxLength: 128,
        description: 'Single-token mode: for every placeholder that names none.',
      }),
    ),
    token_type: Type.Optional(
      Type.String({
        description: '`payment_method_id` and the like; has to agree with the token.',
      }),
    ),
  },
  strict,
)

export const EnvelopeAnswer = Type.Object({
  response: Type.Unknown({
    description: 'JSON as it came; anything else as a string; null without a body.',
  }),
  status_code: Type.Integer(),
  response_headers: Type.Record(Type.String(), Type.String()),
  response_encoding: Type.Optional(Type.Union([Type.Literal('utf8'), Type.Literal('base64')])),
})

type Envelope = Static<typeof EnvelopeBody>

const validator = Compile(EnvelopeBody)

/** By the kind of token that each type of Hyperswitch's means. */
const TOKEN_TYPES: Readonly<Record<string, 'pm' | 'tok'>> = {
  paymentmethodid: 'pm',
  volatilepaymentmethodid: 'pm',
  paymentmethodtoken: 'pm',
  tokenizationid: 'tok',
}

/** About what servers take. */
const MAX_HEADER_BYTES = 32 * 1024

/** Throws AppError. `wishes`: what the headers of the request itself say. */
export function parseEnvelope(
  bytes: Buffer,
  wishes: Wishes,
): { url: DestinationUrl; outbound: Outbound } {
  const { envelope, requestBody } = readEnvelope(bytes)
  const url = parseDestinationUrl(envelope.destination_url)
  if (url === undefined) throw invalidField('invalid_value', 'destination_url')

  const headers: string[] = []
  let contentType = envelope.content_type
  let headerBytes = 0
  for (const [name, value] of Object.entries(envelope.headers ?? {})) {
    headerBytes += name.length + value.length
    if (headerBytes > MAX_HEADER_BYTES) throw invalidField('invalid_value', 'headers')
    if (!HEADER_NAME.test(name) || !FIELD_VALUE.test(value))
      throw invalidField('invalid_value', 'headers')
    const lower = name.toLowerCase()
    if (isDroppedRequestHeader(lower)) continue
    if (lower === 'content-encoding' && value.toLowerCase() !== 'identity') {
      throw new AppError('content_encoding_unsupported')
    }
    if (lower === 'content-type') {
      if (envelope.content_type !== undefined && envelope.content_type !== value) {
        throw invalidField('invalid_value', 'content_type')
      }
      contentType = value
      continue
    }
    headers.push(name, value)
  }
  if (contentType !== undefined && !FIELD_VALUE.test(contentType)) {
    throw invalidField('invalid_value', 'content_type')
  }
  const body = bodyOf(requestBody, contentType, envelope.method)
  if (body !== undefined) headers.push('Content-Type', contentType ?? 'application/json')
  const token = envelope.token ?? wishes.token
  checkTokenType(token, envelope.token_type)
  return {
    url,
    outbound: {
      method: envelope.method,
      path: url.path,
      query: url.query,
      headers,
      body,
      rest: undefined,
      contentLength: undefined,
      wasInflated: false,
      mediaType: mediaTypeOf(contentType ?? 'application/json'),
      wishes: token === wishes.token ? wishes : { ...wishes, token },
    },
  }
}

function bodyOf(
  raw: Buffer | undefined,
  contentType: string | undefined,
  method: string,
): Buffer | undefined {
  if (raw === undefined || raw.equals(NULL)) return undefined
  // Hyperswitch's clients have to say something; an empty object with a GET means no body.
  if (method === 'GET') {
    if (/^\{\s*\}$/.test(raw.toString('latin1'))) return undefined
    throw invalidField('invalid_value', 'request_body')
  }
  const type = mediaTypeOf(contentType ?? 'application/json')
  if (type.kind === 'json') {
    checkJson(raw)
    refuseOtherCharset(raw, type.charset)
    return raw
  }
  if (raw[0] !== 0x22) throw invalidField('wrong_type', 'request_body')
  const text = Buffer.from(parseJson(raw) as string)
  const said = type.kind === 'xml' ? encodingOf(text) : undefined
  refuseOtherCharset(text, type.charset ?? (said === undefined ? UTF_8 : charsetNamed(said)))
  return text
}

/** What is Unicode here would be sent as bytes that the declared charset reads as something else. */
function refuseOtherCharset(text: Buffer, charset: Charset | undefined): void {
  if (charset !== undefined && charset !== UTF_8 && text.some((byte) => byte > 0x7f)) {
    throw new AppError('content_encoding_unsupported')
  }
}

const NULL = Buffer.from('null')

function checkJson(raw: Buffer): void {
  try {
    new JsonScanner(UTF_8, false).scan(raw, true, [])
  } catch (error) {
    if (error instanceof Refusal) throw invalidField(error.reason, error.field)
    throw error
  }
}

function checkTokenType(token: string | undefined, type: string | undefined): void {
  if (type === undefined) return
  const kind = TOKEN_TYPES[type.replaceAll('_', '').toLowerCase()]
  const tokenKind = token === undefined ? kind : /_(pm|tok)_/.exec(token)?.[1]
  if (kind === undefined || (tokenKind !== undefined && tokenKind !== kind)) {
    throw invalidField('invalid_value', 'token_type')
  }
}

function readEnvelope(bytes: Buffer): { envelope: Envelope; requestBody: Buffer | undefined } {
  const span = findMember(bytes, 'request_body')
  const rest =
    span === undefined
      ? bytes
      : Buffer.concat([bytes.subarray(0, span.start), NULL, bytes.subarray(span.end)])
  const envelope = parseJson(rest)
  const error = validator.Errors(envelope).find(({ keyword }) => keyword !== 'boolean')
  if (error !== undefined) throw fromValidation(error as never)
  return {
    envelope: envelope as Envelope,
    requestBody: span === undefined ? undefined : bytes.subarray(span.start, span.end),
  }
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch {
    throw new AppError('malformed_body') // the parser's message quotes the input
  }
}

/**
 * Where the value of a top-level member stands. Braces are counted outside strings, and those of placeholders balance,
 * so the value may hold bare ones. What is not JSON around it is noticed when the rest is parsed.
 */
function findMember(bytes: Buffer, wanted: string): { start: number; end: number } | undefined {
  let depth = 0
  let found: { start: number; end: number } | undefined
  let open: number | undefined
  for (let at = 0; at < bytes.length; at++) {
    switch (bytes[at]) {
      case 0x22: {
        const end = stringEnd(bytes, at)
        if (end === bytes.length) throw new AppError('malformed_body')
        const colon = skipBlanks(bytes, end + 1)
        if (
          depth === 1 &&
          open === undefined &&
          bytes[colon] === 0x3a &&
          isName(bytes, at, end, wanted)
        ) {
          if (found !== undefined) throw new AppError('malformed_body') // said twice
          open = skipBlanks(bytes, colon + 1)
          at = open - 1
        } else {
          at = end
        }
        break
      }
      case 0x7b:
      case 0x5b:
        depth += 1
        break
      case 0x7d:
      case 0x5d:
        depth -= 1
        if (depth === 0 && open !== undefined) {
          found = { start: open, end: trimEnd(bytes, open, at) }
          open = undefined
        }
        break
      case 0x2c:
        if (depth === 1 && open !== undefined) {
          found = { start: open, end: trimEnd(bytes, open, at) }
          open = undefined
        }
        break
      default:
    }
  }
  if (open !== undefined) throw new AppError('malformed_body')
  return found
}

function isName(bytes: Buffer, start: number, end: number, wanted: string): boolean {
  const raw = bytes.toString('utf8', start + 1, end)
  if (!raw.includes('\\')) return raw === wanted
  return parseJson(bytes.subarray(start, end + 1)) === wanted
}

function trimEnd(bytes: Buffer, from: number, to: number): number {
  let end = to
  while (end > from && isBlank(bytes[end - 1])) end -= 1
  return end
}

/** Gathers the answer and tells it as one JSON object with status 200, whatever the destination's was. */
export class EnvelopeRelay implements Relay {
  readonly isHeadSent = false
  readonly #call: Call
  readonly #memory: HeldBytes
  readonly #chunks: Buffer[] = []
  #status = 0
  #facts: AnswerFacts | undefined
  #headers: readonly string[] = []

  constructor(call: Call, memory: HeldBytes) {
    this.#call = call
    this.#memory = memory
  }

  onHead(
    status: number,
    _message: string,
    rawHeaders: readonly string[],
    facts: AnswerFacts,
  ): void {
    this.#status = status
    this.#facts = facts
    this.#headers = passedHeaders(rawHeaders)
  }

  onData(chunk: Buffer, _flow: Flow): void {
    this.#memory.add(chunk.length)
    this.#chunks.push(chunk)
  }

  onEnd(): 'whole' | 'cut' {
    const headers: Record<string, string> = {}
    for (let i = 0; i < this.#headers.length; i += 2) {
      const name = (this.#headers[i] as string).toLowerCase()
      const value = this.#headers[i + 1] as string
      headers[name] = Object.hasOwn(headers, name) ? `${headers[name]}, ${value}` : value
    }
    const { json, encoding } = answerJson(Buffer.concat(this.#chunks), headers)
    const tail = `,"status_code":${this.#status},"response_headers":${JSON.stringify(headers)}${
      encoding === undefined ? '' : `,"response_encoding":"${encoding}"`
    }}`
    const body = Buffer.concat([Buffer.from('{"response":'), json, Buffer.from(tail)])
    sendOwn(this.#call, body, this.#facts as AnswerFacts)
    return 'whole'
  }

  onCut(): void {
    this.#call.destroy()
  }
}

function answerJson(
  body: Buffer,
  headers: Readonly<Record<string, string>>,
): { json: Buffer; encoding?: 'utf8' | 'base64' } {
  if (body.length === 0) return { json: NULL }
  if (
    headers['content-encoding'] === undefined &&
    mediaTypeOf(headers['content-type']).kind === 'json'
  ) {
    if (isJson(body)) return { json: body }
  }
  const isText = headers['content-encoding'] === undefined && isUtf8(body)
  const encoding = isText ? 'utf8' : 'base64'
  return { json: Buffer.from(JSON.stringify(body.toString(encoding))), encoding }
}

function isJson(body: Buffer): boolean {
  try {
    JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body))
    return true
  } catch {
    return false
  }
}
