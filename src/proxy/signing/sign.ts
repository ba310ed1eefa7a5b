// Signing of a request's final bytes, after its placeholders have been replaced and before it is sent. The compiled
// signer keeps the key outside the JavaScript heap and nothing of any request.

import { Refusal } from '../refusal.ts'
import { compileCybersource } from './cybersource.ts'
import { compileHmac, fieldsOfHmac } from './hmac.ts'
import {
  compileHttpMessageSignatures,
  fieldsOfHttpMessageSignatures,
} from './http-message-signatures.ts'
import { compileOauth1BodyHash } from './oauth1-body-hash.ts'
import { type FieldSource, fieldValue, type Signer } from './request.ts'
import type { SigningSettings } from './settings.ts'

/** For what `parseSigning` gave. The signer throws Refusal when the request lacks what is signed. */
export function compileSigning(settings: SigningSettings, secret: string): Signer {
  switch (settings.recipe) {
    case 'hmac':
      return compileHmac(settings, secret)
    case 'http_message_signatures':
      return compileHttpMessageSignatures(settings, secret)
    case 'cybersource':
      return compileCybersource(settings, secret)
    case 'oauth1_body_hash':
      return compileOauth1BodyHash(settings, secret)
    default:
      return settings satisfies never
  }
}

/** The headers that a request must have to be signed, in lower case. */
export function fieldsToSign(settings: SigningSettings): readonly string[] {
  switch (settings.recipe) {
    case 'hmac':
      return fieldsOfHmac(settings)
    case 'http_message_signatures':
      return fieldsOfHttpMessageSignatures(settings)
    case 'cybersource':
    case 'oauth1_body_hash':
      return []
    default:
      return settings satisfies never
  }
}

/** What will make the signer refuse, told while the placeholders still stand: before anything is revealed. */
export function findSigningRefusal(
  fields: readonly string[],
  request: FieldSource,
): Refusal | undefined {
  try {
    for (const name of fields) fieldValue(request, name)
    return undefined
  } catch (error) {
    if (error instanceof Refusal) return error
    throw error
  }
}

/** The request's headers with those of the signer in place of all of the same names. */
export function withSignedHeaders(headers: readonly string[], signed: readonly string[]): string[] {
  const replaced = new Set<string>()
  for (let i = 0; i < signed.length; i += 2) replaced.add((signed[i] as string).toLowerCase())
  const kept: string[] = []
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    if (!replaced.has(name.toLowerCase())) kept.push(name, headers[i + 1] as string)
  }
  return [...kept, ...signed]
}
