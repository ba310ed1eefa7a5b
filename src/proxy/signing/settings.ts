// How a destination says that its requests are signed: a recipe, which is data, not code. All of it is proven when the
// destination is written, so that a request can be refused for what it lacks but never for how signing was set up.

import Type from 'typebox'
import { CybersourceBody, type CybersourceSettings, parseCybersource } from './cybersource.ts'
import { HmacBody, type HmacSettings, parseHmac } from './hmac.ts'
import {
  HttpMessageSignaturesBody,
  type HttpMessageSignaturesSettings,
  parseHttpMessageSignatures,
} from './http-message-signatures.ts'
import {
  Oauth1BodyHashBody,
  type Oauth1BodyHashSettings,
  parseOauth1BodyHash,
} from './oauth1-body-hash.ts'

export type SigningBody =
  | HmacBody
  | HttpMessageSignaturesBody
  | CybersourceBody
  | Oauth1BodyHashBody

/** Stored in the clear, and shown. */
export type SigningSettings =
  | HmacSettings
  | HttpMessageSignaturesSettings
  | CybersourceSettings
  | Oauth1BodyHashSettings

const RECIPES = [HmacBody, HttpMessageSignaturesBody, CybersourceBody, Oauth1BodyHashBody] as const

/** A union by `recipe`. Written with `if`: of an `anyOf`, Ajv tells the faults of a recipe that was not asked for. */
export const SigningBody = Type.Unsafe<SigningBody>({
  type: 'object',
  description:
    'How each request is signed over its final bytes. The key is sealed, never returned, and has to be repeated by PUT.',
  required: ['recipe'],
  properties: {
    recipe: { type: 'string', enum: RECIPES.map(({ properties }) => properties.recipe.const) },
  },
  allOf: RECIPES.map((recipe) => ({
    if: { properties: { recipe: recipe.properties.recipe } },
    // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
    then: recipe,
  })),
})

/** Throws AppError naming the field at fault. `secret` is to be sealed. */
export function parseSigning(body: SigningBody): { settings: SigningSettings; secret: string } {
  switch (body.recipe) {
    case 'hmac':
      return parseHmac(body)
    case 'http_message_signatures':
      return parseHttpMessageSignatures(body)
    case 'cybersource':
      return parseCybersource(body)
    case 'oauth1_body_hash':
      return parseOauth1BodyHash(body)
    default:
      return body satisfies never
  }
}
