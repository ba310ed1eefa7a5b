// Recipe `http_message_signatures`: RFC 9421 for requests, with Content-Digest (RFC 9530) computed when it is signed.
// Components take no parameters, so every one has one reading; responses, and so @status, are not signed.

import assert from 'node:assert/strict'
import Type, { type Static } from 'typebox'
import { invalidField } from '../../core/errors.ts'
import {
  computeDigest,
  computeMac,
  computeSignature,
  parseMacKey,
  parseSigningKey,
} from '../../crypto/request-signature.ts'
import { strict } from '../../http/schemas.ts'
import { KeyEncodingSchema } from './hmac.ts'
import {
  fieldValue,
  hostOf,
  isSignableField,
  type SignedRequest,
  type Signer,
  type SigningMoment,
  unixSeconds,
} from './request.ts'

const PRINTABLE = '^[\\x20-\\x7e]+$' // what a String of RFC 8941, 3.3.3 may hold

export const HttpMessageSignaturesBody = Type.Object(
  {
    recipe: Type.Literal('http_message_signatures'),
    key_id: Type.String({ pattern: PRINTABLE, maxLength: 256 }),
    algorithm: Type.Union([
      Type.Literal('hmac-sha256'),
      Type.Literal('ed25519'),
      Type.Literal('ecdsa-p256-sha256'),
      Type.Literal('rsa-pss-sha512'),
      Type.Literal('rsa-v1_5-sha256'),
    ]),
    key: Type.String({
      minLength: 1,
      maxLength: 16_384,
      description: 'An unencrypted private key as PEM, or the shared secret. Sealed, not returned.',
    }),
    key_encoding: Type.Optional(KeyEncodingSchema),
    label: Type.Optional(Type.String({ pattern: '^[a-z*][a-z0-9_.*-]{0,63}$' })),
    components: Type.Array(Type.String({ maxLength: 128 }), {
      minItems: 1,
      maxItems: 64,
      description:
        '@method, @target-uri, @authority, @scheme, @request-target, @path, @query, and names of headers in lower case.',
    }),
    content_digest: Type.Optional(Type.Union([Type.Literal('sha-256'), Type.Literal('sha-512')])),
    created: Type.Optional(Type.Boolean()),
    expires_s: Type.Optional(Type.Integer({ minimum: 1, maximum: 86_400 })),
    nonce: Type.Optional(Type.Boolean()),
    include_alg: Type.Optional(Type.Boolean()),
    tag: Type.Optional(Type.String({ pattern: PRINTABLE, maxLength: 256 })),
  },
  strict,
)
export type HttpMessageSignaturesBody = Static<typeof HttpMessageSignaturesBody>
export type HttpMessageSignaturesSettings = Omit<HttpMessageSignaturesBody, 'key'> & {
  readonly label: string
  readonly created: boolean
}

const DERIVED = [
  '@method',
  '@target-uri',
  '@authority',
  '@scheme',
  '@request-target',
  '@path',
  '@query',
] as const
type Component =
  | { readonly kind: 'derived'; readonly name: (typeof DERIVED)[number] }
  | { readonly kind: 'content-digest' }
  | { readonly kind: 'field'; readonly name: string }

const SET_BY_US: ReadonlySet<string> = new Set(['signature', 'signature-input'])

export function parseHttpMessageSignatures(body: HttpMessageSignaturesBody): {
  settings: HttpMessageSignaturesSettings
  secret: string
} {
  const { key, ...shown } = body
  const components = body.components.map(parseComponent)
  // A component stands at most once (RFC 9421, 2.5).
  if (components.includes(undefined) || new Set(body.components).size < components.length) {
    throw invalidField('invalid_value', 'components')
  }
  const hasDigest = body.components.includes('content-digest')
  if (body.content_digest !== undefined && !hasDigest) {
    throw invalidField('invalid_value', 'content_digest')
  }
  if (body.key_encoding !== undefined && body.algorithm !== 'hmac-sha256') {
    throw invalidField('invalid_value', 'key_encoding')
  }
  const settings: HttpMessageSignaturesSettings = {
    ...shown,
    ...(hasDigest ? { content_digest: body.content_digest ?? 'sha-256' } : {}),
    ...(body.algorithm === 'hmac-sha256' ? { key_encoding: body.key_encoding ?? 'utf8' } : {}),
    label: body.label ?? 'sig1',
    created: body.created ?? true,
  }
  if (parseKey(settings, key) === undefined) throw invalidField('invalid_value', 'key')
  return { settings, secret: key }
}

function parseComponent(name: string): Component | undefined {
  const derived = DERIVED.find((known) => known === name)
  if (derived !== undefined) return { kind: 'derived', name: derived }
  if (name === 'content-digest') return { kind: 'content-digest' }
  return isSignableField(name) && !SET_BY_US.has(name) ? { kind: 'field', name } : undefined
}

function parseKey(
  settings: HttpMessageSignaturesSettings,
  secret: string,
): ((base: Buffer) => Buffer) | undefined {
  const { algorithm } = settings
  if (algorithm === 'hmac-sha256') {
    const key = parseMacKey(secret, settings.key_encoding ?? 'utf8')
    return key && ((base) => computeMac('sha256', key, [base]))
  }
  const key = parseSigningKey(secret, algorithm)
  return key && ((base) => computeSignature(algorithm, key, base))
}

/** The headers that a request must have. */
export function fieldsOfHttpMessageSignatures(
  settings: HttpMessageSignaturesSettings,
): readonly string[] {
  return settings.components.filter((name) => parseComponent(name)?.kind === 'field')
}

export function compileHttpMessageSignatures(
  settings: HttpMessageSignaturesSettings,
  secret: string,
): Signer {
  const sign = parseKey(settings, secret)
  assert(sign !== undefined)
  return (request, at) => {
    const { base, parameters, contentDigest } = signatureBase(settings, request, at)
    const signature = sign(Buffer.from(base, 'latin1')).toString('base64')
    return [
      ...(contentDigest === undefined ? [] : ['Content-Digest', contentDigest]),
      'Signature-Input',
      `${settings.label}=${parameters}`,
      'Signature',
      `${settings.label}=:${signature}:`,
    ]
  }
}

/** RFC 9421, 2.5. */
export function signatureBase(
  settings: HttpMessageSignaturesSettings,
  request: SignedRequest,
  at: SigningMoment,
): { base: string; parameters: string; contentDigest: string | undefined } {
  const contentDigest = settings.content_digest && digestOf(settings.content_digest, request.body)
  const parameters = signatureParameters(settings, at)
  const lines = settings.components.map((name) => {
    const component = parseComponent(name)
    assert(component !== undefined)
    return `"${name}": ${componentValue(component, request, contentDigest)}`
  })
  const base = [...lines, `"@signature-params": ${parameters}`].join('\n')
  return { base, parameters, contentDigest }
}

/** RFC 9421, 2.3. The order is the one of the RFC's examples; a verifier takes any. */
function signatureParameters(settings: HttpMessageSignaturesSettings, at: SigningMoment): string {
  const now = unixSeconds(at)
  const { created, key_id, include_alg, algorithm, expires_s, nonce, tag } = settings
  return [
    `(${settings.components.map((name) => `"${name}"`).join(' ')})`,
    ...(created ? [`created=${now}`] : []),
    `keyid=${quoted(key_id)}`,
    ...(include_alg ? [`alg="${algorithm}"`] : []),
    ...(expires_s === undefined ? [] : [`expires=${now + expires_s}`]),
    ...(nonce ? [`nonce=${quoted(at.nonce())}`] : []),
    ...(tag === undefined ? [] : [`tag=${quoted(tag)}`]),
  ].join(';')
}

/** RFC 8941, 4.1.6. */
function quoted(text: string): string {
  return `"${text.replace(/["\\]/g, '\\$&')}"`
}

/** RFC 9530, 2; without a body, of no bytes. */
function digestOf(algorithm: 'sha-256' | 'sha-512', body: Buffer | undefined): string {
  const digest = computeDigest(algorithm === 'sha-256' ? 'sha256' : 'sha512', body)
  return `${algorithm}=:${digest.toString('base64')}:`
}

function componentValue(
  component: Component,
  request: SignedRequest,
  contentDigest: string | undefined,
): string {
  switch (component.kind) {
    case 'derived':
      return derivedValue(component.name, request)
    case 'content-digest':
      assert(contentDigest !== undefined)
      return contentDigest
    case 'field':
      return fieldValue(request, component.name)
    default:
      return component satisfies never
  }
}

/** RFC 9421, 2.2. */
function derivedValue(name: (typeof DERIVED)[number], request: SignedRequest): string {
  const { method, origin, path, query } = request
  switch (name) {
    case '@method':
      return method
    case '@target-uri':
      return `${origin}${path}${query}`
    case '@authority':
      return hostOf(request)
    case '@scheme':
      return origin.slice(0, origin.indexOf(':'))
    case '@request-target':
      return `${path}${query}`
    case '@path':
      return path
    case '@query':
      return query === '' ? '?' : query // 2.2.7: an absent query is signed as an empty one
    default:
      return name satisfies never
  }
}
