// Recipe `hmac`: a message authentication code over a template, in headers of the operator's choice. It says what
// most PSPs' own schemes say; not those that sort or pick headers by what a request happens to have.

import assert from 'node:assert/strict'
import Type, { type Static } from 'typebox'
import { invalidField } from '../../core/errors.ts'
import { computeMac, parseMacKey } from '../../crypto/request-signature.ts'
import { strict } from '../../http/schemas.ts'
import { DECIDES_BODY, HEADER_NAME, isDroppedRequestHeader } from '../headers.ts'
import type { Signer } from './request.ts'
import {
  type HeaderPart,
  parseHeaderTemplate,
  parseSignedTemplate,
  type ReadValue,
  type SignedPart,
  valuesOf,
} from './template.ts'

export const KeyEncodingSchema = Type.Union([
  Type.Literal('utf8'),
  Type.Literal('hex'),
  Type.Literal('base64'),
])

export const HmacBody = Type.Object(
  {
    recipe: Type.Literal('hmac'),
    algorithm: Type.Union([Type.Literal('sha1'), Type.Literal('sha256'), Type.Literal('sha512')]),
    encoding: Type.Union([Type.Literal('hex'), Type.Literal('base64'), Type.Literal('base64url')], {
      description: 'How the signature is written.',
    }),
    key: Type.String({ minLength: 1, maxLength: 4096, description: 'Sealed, never returned.' }),
    key_encoding: Type.Optional(KeyEncodingSchema),
    template: Type.String({
      minLength: 1,
      maxLength: 4096,
      description:
        'What is signed. Variables: {method}, {path}, {query} (with its question mark), {host}, {origin}, {header:<name>}, {body} (its bytes, once at most), {body_md5_hex}, {body_sha256_base64} and so on for md5, sha1, sha256, sha512, {timestamp}, {timestamp_ms}, {date_iso}, {date_http}, {nonce}.',
    }),
    headers: Type.Record(Type.String(), Type.String({ minLength: 1, maxLength: 4096 }), {
      minProperties: 1,
      maxProperties: 16,
      description:
        'Set on the request. {signature} in one of them at least; the variables of the template but {path}, {query}, {header:<name>} and {body}. Shown: a credential belongs into inject_headers.',
    }),
  },
  strict,
)
export type HmacBody = Static<typeof HmacBody>
export type HmacSettings = Omit<HmacBody, 'key' | 'key_encoding'> & {
  readonly key_encoding: NonNullable<HmacBody['key_encoding']>
}

export function parseHmac(body: HmacBody): { settings: HmacSettings; secret: string } {
  const { key, ...shown } = body
  const settings = { ...shown, key_encoding: body.key_encoding ?? 'utf8' }
  if (parseMacKey(key, settings.key_encoding) === undefined) {
    throw invalidField('invalid_value', 'key')
  }
  const template = parseSignedTemplate(body.template)
  if (template === undefined) throw invalidField('invalid_value', 'template')
  const headers = parseHeaders(body.headers)
  if (headers === undefined) throw invalidField('invalid_value', 'headers')
  // What the recipe itself sets is replaced after it was signed: the signature would be over another value.
  const set = new Set(headers.map(({ name }) => name.toLowerCase()))
  if (template.some((part) => part.kind === 'header' && set.has(part.name))) {
    throw invalidField('invalid_value', 'template')
  }
  return { settings, secret: key }
}

type HeaderTemplate = { readonly name: string; readonly parts: readonly HeaderPart[] }

function parseHeaders(templates: HmacBody['headers']): readonly HeaderTemplate[] | undefined {
  const headers: HeaderTemplate[] = []
  const names = new Set<string>()
  for (const [name, template] of Object.entries(templates)) {
    const lower = name.toLowerCase()
    const parts = parseHeaderTemplate(template)
    if (parts === undefined || !HEADER_NAME.test(name)) return undefined
    if (isDroppedRequestHeader(lower) || DECIDES_BODY.has(lower) || names.has(lower)) {
      return undefined
    }
    names.add(lower)
    headers.push({ name, parts })
  }
  const carriesSignature = headers.some(({ parts }) =>
    parts.some(({ kind }) => kind === 'signature'),
  )
  return carriesSignature ? headers : undefined
}

/** The headers that a request must have. */
export function fieldsOfHmac(settings: HmacSettings): readonly string[] {
  const template = parseSignedTemplate(settings.template) ?? []
  return template.flatMap((part) => (part.kind === 'header' ? [part.name] : []))
}

export function compileHmac(settings: HmacSettings, secret: string): Signer {
  const { algorithm, encoding } = settings
  const key = parseMacKey(secret, settings.key_encoding)
  const template = parseSignedTemplate(settings.template)
  const headers = parseHeaders(settings.headers)
  assert(key !== undefined && template !== undefined && headers !== undefined)
  return (request, at) => {
    const read = valuesOf(request, at)
    const pieces = template.flatMap((part) => bytesOf(part, read, request.body))
    const signature = computeMac(algorithm, key, pieces).toString(encoding)
    return headers.flatMap(({ name, parts }) => [
      name,
      parts.map((part) => textOf(part, read, signature)).join(''),
    ])
  }
}

function bytesOf(part: SignedPart, read: ReadValue, body: Buffer | undefined): readonly Buffer[] {
  switch (part.kind) {
    case 'text':
      return [Buffer.from(part.text, 'latin1')]
    case 'body':
      return body === undefined ? [] : [body]
    case 'named':
    case 'header':
    case 'digest':
      return [Buffer.from(read(part), 'latin1')] // as the head is written
    default:
      return part satisfies never
  }
}

function textOf(part: HeaderPart, read: ReadValue, signature: string): string {
  switch (part.kind) {
    case 'text':
      return part.text
    case 'signature':
      return signature
    case 'named':
    case 'header':
    case 'digest':
      return read(part)
    default:
      return part satisfies never
  }
}
