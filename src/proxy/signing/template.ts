// Templates of what is signed and of the headers that carry a signature: text with variables in single braces.
// Every opening brace begins a variable that is known, or the template is refused; there is no escape and no code.

import { isoTime } from '../../core/clock.ts'
import { computeDigest, type DigestAlgorithm } from '../../crypto/request-signature.ts'
import {
  fieldValue,
  hostOf,
  httpDate,
  isSignableField,
  type SignedRequest,
  type SigningMoment,
  unixSeconds,
} from './request.ts'

// Card data may stand in them: they can be signed, but must not be repeated in a header.
const REQUEST_VARIABLES = ['path', 'query'] as const
const PLAIN_VARIABLES = [
  'method',
  'host',
  'origin',
  'timestamp',
  'timestamp_ms',
  'date_iso',
  'date_http',
  'nonce',
] as const
type NamedVariable = (typeof REQUEST_VARIABLES)[number] | (typeof PLAIN_VARIABLES)[number]

type Value =
  | { readonly kind: 'named'; readonly name: NamedVariable }
  | { readonly kind: 'header'; readonly name: string }
  | {
      readonly kind: 'digest'
      readonly name: string
      readonly algorithm: DigestAlgorithm
      readonly encoding: 'hex' | 'base64'
    }

type Text = { readonly kind: 'text'; readonly text: string }

/** What is signed; the body stands in it as its bytes. */
export type SignedPart = Text | Value | { readonly kind: 'body' }
/** The value of a header. */
export type HeaderPart = Text | Value | { readonly kind: 'signature' }

const SIGNED_TEXT = /^[\t\r\n\x20-\x7e]*$/
const HEADER_TEXT = /^[\x20-\x7e]*$/
const DIGEST = /^body_(md5|sha1|sha256|sha512)_(hex|base64)$/

/** Undefined when it is none. */
export function parseSignedTemplate(template: string): readonly SignedPart[] | undefined {
  if (!SIGNED_TEXT.test(template)) return undefined
  const parts = parse<SignedPart>(template, (name) =>
    name === 'body' ? { kind: 'body' } : parseValue(name),
  )
  // Twice the body is twice the work for a caller who chooses its size.
  return parts === undefined || parts.filter(({ kind }) => kind === 'body').length > 1
    ? undefined
    : parts
}

/** Undefined when it is none. */
export function parseHeaderTemplate(template: string): readonly HeaderPart[] | undefined {
  if (!HEADER_TEXT.test(template)) return undefined
  return parse<HeaderPart>(template, (name) => {
    if (name === 'signature') return { kind: 'signature' }
    const value = parseValue(name)
    if (value === undefined || value.kind === 'header') return undefined
    return REQUEST_VARIABLES.some((known) => known === value.name) ? undefined : value
  })
}

function parse<Part>(
  template: string,
  parseName: (name: string) => Part | undefined,
): readonly (Part | Text)[] | undefined {
  const parts: (Part | Text)[] = []
  let at = 0
  while (at < template.length) {
    const opened = template.indexOf('{', at)
    const text = template.slice(at, opened === -1 ? undefined : opened)
    if (text !== '') parts.push({ kind: 'text', text })
    if (opened === -1) break
    const closed = template.indexOf('}', opened)
    const part = closed === -1 ? undefined : parseName(template.slice(opened + 1, closed))
    if (part === undefined) return undefined
    parts.push(part)
    at = closed + 1
  }
  return parts
}

function parseValue(name: string): Value | undefined {
  const named = [...REQUEST_VARIABLES, ...PLAIN_VARIABLES].find((known) => known === name)
  if (named !== undefined) return { kind: 'named', name: named }
  if (name.startsWith('header:')) {
    const header = name.slice('header:'.length)
    return isSignableField(header) ? { kind: 'header', name: header } : undefined
  }
  const digest = DIGEST.exec(name)
  if (digest === null) return undefined
  const [, algorithm, encoding] = digest
  return {
    kind: 'digest',
    name,
    algorithm: algorithm as DigestAlgorithm, // the expression has no others
    encoding: encoding as 'hex' | 'base64',
  }
}

export type ReadValue = (value: Value) => string

/** One request's values: a nonce, a time or a digest is the same wherever one recipe names it. */
export function valuesOf(request: SignedRequest, at: SigningMoment): ReadValue {
  const known = new Map<string, string>()
  return (value) => {
    const id = `${value.kind} ${value.name}`
    const text = known.get(id) ?? read(value, request, at)
    known.set(id, text)
    return text
  }
}

function read(value: Value, request: SignedRequest, at: SigningMoment): string {
  switch (value.kind) {
    case 'named':
      return readNamed(value.name, request, at)
    case 'header':
      return fieldValue(request, value.name)
    case 'digest':
      return computeDigest(value.algorithm, request.body).toString(value.encoding)
    default:
      return value satisfies never
  }
}

function readNamed(name: NamedVariable, request: SignedRequest, at: SigningMoment): string {
  switch (name) {
    case 'method':
    case 'origin':
    case 'path':
    case 'query':
      return request[name]
    case 'host':
      return hostOf(request)
    case 'timestamp':
      return String(unixSeconds(at))
    case 'timestamp_ms':
      return String(at.nowMs)
    case 'date_iso':
      return isoTime(at.nowMs)
    case 'date_http':
      return httpDate(at)
    case 'nonce':
      return at.nonce()
    default:
      return name satisfies never
  }
}
