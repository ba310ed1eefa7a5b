// Recipe `cybersource`: the HTTP signature of the Cybersource REST API, spelled as its developer guide ("Generate the
// Signature Hash") and its current clients spell it: `request-target` without the parentheses of older ones.

import assert from 'node:assert/strict'
import Type, { type Static } from 'typebox'
import { invalidField } from '../../core/errors.ts'
import { computeDigest, computeMac, parseMacKey } from '../../crypto/request-signature.ts'
import { strict } from '../../http/schemas.ts'
import { expectsBody, hostOf, httpDate, type Signer } from './request.ts'

export const CybersourceBody = Type.Object(
  {
    recipe: Type.Literal('cybersource'),
    merchant_id: Type.String({ pattern: '^[A-Za-z0-9_.-]{1,64}$' }),
    key_id: Type.String({ pattern: '^[A-Za-z0-9-]{1,64}$' }),
    secret: Type.String({
      minLength: 1,
      maxLength: 1024,
      description: 'The shared secret key, base64. Sealed, never returned.',
    }),
    date_header: Type.Optional(Type.Union([Type.Literal('date'), Type.Literal('v-c-date')])),
  },
  strict,
)
export type CybersourceBody = Static<typeof CybersourceBody>
export type CybersourceSettings = Omit<CybersourceBody, 'secret' | 'date_header'> & {
  readonly date_header: NonNullable<CybersourceBody['date_header']>
}

export function parseCybersource(body: CybersourceBody): {
  settings: CybersourceSettings
  secret: string
} {
  const { secret, ...shown } = body
  if (parseMacKey(secret, 'base64') === undefined) {
    throw invalidField('invalid_value', 'secret')
  }
  return { settings: { ...shown, date_header: body.date_header ?? 'date' }, secret }
}

const HEADER_NAMES = { date: 'Date', 'v-c-date': 'v-c-date' } as const

export function compileCybersource(settings: CybersourceSettings, secret: string): Signer {
  const { merchant_id, key_id, date_header } = settings
  const key = parseMacKey(secret, 'base64')
  assert(key !== undefined)
  return (request, at) => {
    const { method, body } = request
    const date = httpDate(at)
    // "Do not include the digest with GET requests"; the clients leave it out of DELETE as well.
    const digest =
      expectsBody(method) || (body !== undefined && body.length > 0)
        ? `SHA-256=${computeDigest('sha256', body).toString('base64')}`
        : undefined
    const target = `${method.toLowerCase()} ${request.path}${request.query}`
    const signed: readonly (readonly [string, string])[] = [
      ['host', hostOf(request)],
      [date_header, date],
      ['request-target', target],
      ...(digest === undefined ? [] : [['digest', digest] as const]),
      ['v-c-merchant-id', merchant_id],
    ]
    const text = signed.map(([name, value]) => `${name}: ${value}`).join('\n')
    const signature = computeMac('sha256', key, [Buffer.from(text, 'latin1')]).toString('base64')
    const names = signed.map(([name]) => name).join(' ')
    return [
      'v-c-merchant-id',
      merchant_id,
      HEADER_NAMES[date_header],
      date,
      ...(digest === undefined ? [] : ['Digest', digest]),
      'Signature',
      `keyid="${key_id}", algorithm="HmacSHA256", headers="${names}", signature="${signature}"`,
    ]
  }
}
