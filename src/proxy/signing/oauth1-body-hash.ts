// Recipe `oauth1_body_hash`: OAuth 1.0a (RFC 5849) with RSA-SHA256 and the body hash extension, as Mastercard's APIs
// take it and its published signers make it. They differ from RFC 5849, 3.4.1.3.2 in two places, and so does this:
// the oauth_ values enter the parameter string as they are, not percent-encoded, and so does a query without escapes.

import assert from 'node:assert/strict'
import Type, { type Static } from 'typebox'
import { invalidField } from '../../core/errors.ts'
import { computeDigest, computeSignature, parseSigningKey } from '../../crypto/request-signature.ts'
import { strict } from '../../http/schemas.ts'
import { encodePercent } from '../encode.ts'
import { type SignedRequest, type Signer, type SigningMoment, unixSeconds } from './request.ts'

export const Oauth1BodyHashBody = Type.Object(
  {
    recipe: Type.Literal('oauth1_body_hash'),
    // Only what stands unquoted and unescaped in a header and in a query.
    consumer_key: Type.String({ pattern: '^[A-Za-z0-9!._~-]{1,256}$' }),
    private_key_pem: Type.String({
      minLength: 1,
      maxLength: 16_384,
      description: 'An unencrypted RSA key. Sealed, never returned.',
    }),
  },
  strict,
)
export type Oauth1BodyHashBody = Static<typeof Oauth1BodyHashBody>
export type Oauth1BodyHashSettings = Omit<Oauth1BodyHashBody, 'private_key_pem'>

const ALGORITHM = 'rsa-v1_5-sha256'

export function parseOauth1BodyHash(body: Oauth1BodyHashBody): {
  settings: Oauth1BodyHashSettings
  secret: string
} {
  const { private_key_pem: secret, ...settings } = body
  if (parseSigningKey(secret, ALGORITHM) === undefined) {
    throw invalidField('invalid_value', 'private_key_pem')
  }
  return { settings, secret }
}

export function compileOauth1BodyHash(settings: Oauth1BodyHashSettings, secret: string): Signer {
  const key = parseSigningKey(secret, ALGORITHM)
  assert(key !== undefined)
  return (request, at) => {
    const parameters = oauthParameters(settings, request, at)
    const base = signatureBaseString(request, parameters)
    const signature = computeSignature(ALGORITHM, key, Buffer.from(base, 'latin1'))
    const written = [
      ...parameters,
      ['oauth_signature', percentEncode(Buffer.from(signature.toString('base64')))] as const,
    ].map(([name, value]) => `${name}="${value}"`)
    return ['Authorization', `OAuth ${written.join(',')}`]
  }
}

type Parameter = readonly [name: string, value: string]

function oauthParameters(
  settings: Oauth1BodyHashSettings,
  request: SignedRequest,
  at: SigningMoment,
): readonly Parameter[] {
  return [
    ['oauth_body_hash', computeDigest('sha256', request.body).toString('base64')],
    ['oauth_consumer_key', settings.consumer_key],
    ['oauth_nonce', at.nonce()],
    ['oauth_signature_method', 'RSA-SHA256'],
    ['oauth_timestamp', String(unixSeconds(at))],
    ['oauth_version', '1.0'],
  ]
}

/** RFC 5849, 3.4.1.1. */
export function signatureBaseString(
  request: Pick<SignedRequest, 'method' | 'origin' | 'path' | 'query'>,
  parameters: readonly Parameter[],
): string {
  const pairs = [...queryParameters(request.query), ...parameters].toSorted(
    (a, b) => compare(a[0], b[0]) || compare(a[1], b[1]),
  )
  const joined = pairs.map(([name, value]) => `${name}=${value}`).join('&')
  return [request.method.toUpperCase(), `${request.origin}${request.path}`, joined]
    .map((text) => percentEncode(Buffer.from(text, 'latin1')))
    .join('&')
}

/** By code unit, which for ASCII is the byte order that 3.4.1.3.2 asks for; a locale's order is another. */
function compare(a: string, b: string): number {
  if (a === b) return 0
  return a < b ? -1 : 1
}

/** A plus sign stays one: the published signers do not read the query as a form. */
function queryParameters(query: string): readonly Parameter[] {
  if (query.length <= 1) return []
  const spelled = query.includes('%')
    ? (text: string) => percentEncode(percentDecode(text))
    : (text: string) => text
  return query
    .slice(1)
    .split('&')
    .map((pair) => {
      const at = pair.indexOf('=')
      const name = at === -1 ? pair : pair.slice(0, at)
      return [spelled(name), spelled(at === -1 ? '' : pair.slice(at + 1))]
    })
}

/** RFC 5849, 3.6. There are no bytes that it refuses. */
function percentEncode(bytes: Buffer): string {
  return Buffer.from(encodePercent(bytes) as Uint8Array).toString('latin1')
}

/** To bytes, whatever they spell; a percent sign that begins no escape is itself. */
function percentDecode(text: string): Buffer {
  const decoded = text.replace(/%([0-9A-Fa-f]{2})/g, (_, hex) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  )
  return Buffer.from(decoded, 'latin1')
}
