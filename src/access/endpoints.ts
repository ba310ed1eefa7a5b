// Routes of the operator (scope `admin`): merchants, profiles, API keys.

import Type, { type Static } from 'typebox'
import { type Caller, SCOPES, type Scope } from '../core/caller.ts'
import { holdsCardNumber } from '../core/card-number.ts'
import { type Cidr, parseCidr } from '../core/cidr.ts'
import { AppError, invalidField } from '../core/errors.ts'
import {
  type KeyId,
  type MerchantId,
  type ProfileId,
  parseKeyId,
  parseMerchantId,
  parseProfileId,
} from '../core/ids.ts'
import { parseWebOrigin, type WebOrigin } from '../core/web-origin.ts'
import type { RecordAct } from '../http/acts.ts'
import type { Api } from '../http/api.ts'
import { Nullable, strict, Time } from '../http/schemas.ts'
import {
  type Admin,
  apiKeyAnswer,
  merchantAnswer,
  type NewApiKey,
  permitAdmin,
  profileAnswer,
} from './admin.ts'

const Name = Type.String({ minLength: 1, maxLength: 255 })
const IdParams = Type.Object({ id: Type.String() })
const Id = Type.Object({ id: Type.String() })

const Merchant = Type.Object({ id: Type.String(), merchant_name: Type.String(), created_at: Time })
const Profile = Type.Object({
  id: Type.String(),
  merchant_id: Type.String(),
  profile_name: Type.String(),
  is_default: Type.Boolean(),
  publishable_key: Nullable(
    Type.String({
      description:
        'Names the profile in requests of browsers, with the client secret of a session. No secret.',
    }),
  ),
  allowed_origins: Type.Array(Type.String()),
  created_at: Time,
})
const AllowedOrigins = Type.Array(Type.String(), {
  maxItems: 100,
  uniqueItems: true,
  description:
    'Origins of pages that may call with the publishable key: `https://shop.example`, exactly as browsers send them. Without TLS only `http://localhost[:port]`.',
})

const apiKeyFields = {
  name: Name,
  scopes: Type.Array(Type.Union(SCOPES.map((scope) => Type.Literal(scope))), {
    minItems: 1,
    uniqueItems: true,
    description: '`proxy:invoke` cannot stand with `policy:write` or `admin`.',
  }),
  expiration: Type.Optional(Nullable(Type.String({ description: 'ISO 8601; null: never' }))),
  allowed_cidrs: Type.Optional(Type.Array(Type.String())),
}
const ApiKeyBody = Type.Object(apiKeyFields, strict)
const NewApiKeyBody = Type.Object(
  {
    merchant_id: Type.Optional(
      Nullable(Type.String({ description: 'null: a key of the installation' })),
    ),
    ...apiKeyFields,
  },
  strict,
)
const ApiKey = Type.Object({
  key_id: Type.String(),
  merchant_id: Nullable(Type.String()),
  name: Type.String(),
  scopes: Type.Array(Type.String()),
  expiration: Nullable(Time),
  allowed_cidrs: Type.Array(Type.String()),
  created: Time,
})
const NewApiKeyAnswer = Type.Object({
  ...ApiKey.properties,
  api_key: Type.String({ description: 'Shown this once.' }),
})

/** Whose: for keys of the installation; a merchant's own admin key need not say it. */
const Whose = Type.Object({ merchant_id: Type.Optional(Type.String()) }, strict)

const config = { scope: 'admin' } as const

export function accessEndpoints(api: Api, deps: { admin: Admin; record: RecordAct }): void {
  merchantRoutes(api, deps)
  profileRoutes(api, deps)
  apiKeyRoutes(api, deps)
}

type Deps = Parameters<typeof accessEndpoints>[1]

function merchantRoutes(api: Api, { admin, record }: Deps): void {
  const path = '/v2/merchant-accounts'
  const tags = ['merchants']

  api.post(
    path,
    {
      config,
      schema: {
        tags,
        body: Type.Object(
          { merchant_name: Name, merchant_id: Type.Optional(Type.String()) },
          strict,
        ),
        response: { 201: Merchant },
      },
    },
    async (request, reply) => {
      if (request.caller.merchantId !== undefined) throw new AppError('permission_denied')
      const { merchant_name, merchant_id } = request.body
      const wantedId = merchant_id === undefined ? undefined : parseMerchantId(merchant_id)
      if (merchant_id !== undefined && wantedId === undefined) {
        throw invalidField('invalid_value', 'merchant_id')
      }
      const merchant = await admin.createMerchant(
        plainName('merchant_name', merchant_name),
        wantedId,
      )
      await record(request, 'merchant.create', merchant.id)
      return reply.code(201).send(merchantAnswer(merchant))
    },
  )
  api.get(
    path,
    { config, schema: { tags, response: { 200: Type.Array(Merchant) } } },
    async (request) => {
      const { merchantId } = request.caller
      const merchants =
        merchantId === undefined ? await admin.merchants() : [await admin.merchant(merchantId)]
      return merchants.map(merchantAnswer)
    },
  )
  api.get(
    `${path}/:id`,
    { config, schema: { tags, params: IdParams, response: { 200: Merchant } } },
    async (request) =>
      merchantAnswer(await admin.merchant(merchantParam(request.caller, request.params.id))),
  )
  api.put(
    `${path}/:id`,
    {
      config,
      schema: {
        tags,
        params: IdParams,
        body: Type.Object({ merchant_name: Name }, strict),
        response: { 200: Merchant },
      },
    },
    async (request) => {
      const id = merchantParam(request.caller, request.params.id)
      await admin.merchant(id)
      await record(request, 'merchant.update', id)
      return merchantAnswer(
        await admin.renameMerchant(id, plainName('merchant_name', request.body.merchant_name)),
      )
    },
  )
  api.delete(
    `${path}/:id`,
    { config, schema: { tags, params: IdParams, response: { 200: Id } } },
    async (request) => {
      if (request.caller.merchantId !== undefined) throw new AppError('permission_denied')
      const id = merchantParam(request.caller, request.params.id)
      await admin.merchant(id)
      await record(request, 'merchant.delete', id)
      await admin.deleteMerchant(id)
      return { id }
    },
  )
}

function profileRoutes(api: Api, { admin, record }: Deps): void {
  const path = '/v2/profiles'
  const tags = ['profiles']

  api.post(
    path,
    {
      config,
      schema: {
        tags,
        body: Type.Object(
          {
            profile_name: Name,
            merchant_id: Type.Optional(Type.String()),
            allowed_origins: Type.Optional(AllowedOrigins),
          },
          strict,
        ),
        response: { 201: Profile },
      },
    },
    async (request, reply) => {
      const merchantId = someMerchant(request.caller, request.body.merchant_id)
      const profile = await admin.createProfile(
        merchantId,
        plainName('profile_name', request.body.profile_name),
        (request.body.allowed_origins ?? []).map(webOrigin),
      )
      await record(request, 'profile.create', profile.id)
      return reply.code(201).send(profileAnswer(profile))
    },
  )
  api.get(
    path,
    { config, schema: { tags, querystring: Whose, response: { 200: Type.Array(Profile) } } },
    async (request) => {
      const merchantId = someMerchant(request.caller, request.query.merchant_id)
      return (await admin.profiles(merchantId)).map(profileAnswer)
    },
  )
  api.get(
    `${path}/:id`,
    { config, schema: { tags, params: IdParams, querystring: Whose, response: { 200: Profile } } },
    async (request) => {
      const merchantId = someMerchant(request.caller, request.query.merchant_id)
      return profileAnswer(await admin.profile(merchantId, profileParam(request.params.id)))
    },
  )
  api.put(
    `${path}/:id`,
    {
      config,
      schema: {
        tags,
        params: IdParams,
        querystring: Whose,
        body: Type.Object(
          {
            profile_name: Type.Optional(Name),
            allowed_origins: Type.Optional(AllowedOrigins),
          },
          { ...strict, description: 'What is not named stays.' },
        ),
        response: { 200: Profile },
      },
    },
    async (request) => {
      const merchantId = someMerchant(request.caller, request.query.merchant_id)
      const id = profileParam(request.params.id)
      const { profile_name, allowed_origins } = request.body
      const changes = {
        ...(profile_name === undefined ? {} : { name: plainName('profile_name', profile_name) }),
        ...(allowed_origins === undefined
          ? {}
          : { allowedOrigins: allowed_origins.map(webOrigin) }),
      }
      await admin.profile(merchantId, id)
      await record(request, 'profile.update', id)
      return profileAnswer(await admin.replaceProfile(merchantId, id, changes))
    },
  )
  api.post(
    `${path}/:id/rotate-publishable-key`,
    {
      config,
      schema: { tags, params: IdParams, querystring: Whose, response: { 200: Profile } },
    },
    async (request) => {
      const merchantId = someMerchant(request.caller, request.query.merchant_id)
      const id = profileParam(request.params.id)
      await admin.profile(merchantId, id)
      await record(request, 'profile.rotate_publishable_key', id)
      return profileAnswer(await admin.rotatePublishableKey(merchantId, id))
    },
  )
  api.delete(
    `${path}/:id`,
    { config, schema: { tags, params: IdParams, querystring: Whose, response: { 200: Id } } },
    async (request) => {
      const merchantId = someMerchant(request.caller, request.query.merchant_id)
      const id = profileParam(request.params.id)
      await admin.profile(merchantId, id)
      await record(request, 'profile.delete', id)
      await admin.deleteProfile(merchantId, id)
      return { id }
    },
  )
}

function apiKeyRoutes(api: Api, { admin, record }: Deps): void {
  const path = '/v2/api-keys'
  const tags = ['API keys']

  api.post(
    path,
    { config, schema: { tags, body: NewApiKeyBody, response: { 201: NewApiKeyAnswer } } },
    async (request, reply) => {
      const merchantId = anyOwner(request.caller, request.body.merchant_id ?? undefined)
      const created = await admin.createApiKey(newKey(merchantId, request.body))
      await record(request, 'api_key.create', created.record.id)
      return reply.code(201).send({ ...apiKeyAnswer(created.record), api_key: created.apiKey })
    },
  )
  api.get(
    path,
    { config, schema: { tags, querystring: Whose, response: { 200: Type.Array(ApiKey) } } },
    async (request) => {
      const keys = await admin.apiKeys(anyOwner(request.caller, request.query.merchant_id))
      return keys.map(apiKeyAnswer)
    },
  )
  api.get(
    `${path}/:id`,
    { config, schema: { tags, params: IdParams, querystring: Whose, response: { 200: ApiKey } } },
    async (request) => {
      const merchantId = anyOwner(request.caller, request.query.merchant_id)
      return apiKeyAnswer(await admin.apiKey(merchantId, keyParam(request.params.id)))
    },
  )
  api.put(
    `${path}/:id`,
    {
      config,
      schema: {
        tags,
        params: IdParams,
        querystring: Whose,
        body: ApiKeyBody,
        response: { 200: ApiKey },
      },
    },
    async (request) => {
      const merchantId = anyOwner(request.caller, request.query.merchant_id)
      const id = keyParam(request.params.id)
      await admin.apiKey(merchantId, id)
      await record(request, 'api_key.update', id)
      return apiKeyAnswer(await admin.replaceApiKey(id, newKey(merchantId, request.body)))
    },
  )
  api.delete(
    `${path}/:id`,
    { config, schema: { tags, params: IdParams, querystring: Whose, response: { 200: Id } } },
    async (request) => {
      const merchantId = anyOwner(request.caller, request.query.merchant_id)
      const id = keyParam(request.params.id)
      await admin.apiKey(merchantId, id)
      await record(request, 'api_key.delete', id)
      await admin.deleteApiKey(merchantId, id)
      return { id }
    },
  )
}

/** Names are stored in the clear. */
function plainName(field: string, name: string): string {
  if (holdsCardNumber(name)) throw invalidField('invalid_value', field)
  return name
}

function newKey(merchantId: MerchantId | undefined, body: Static<typeof ApiKeyBody>): NewApiKey {
  return {
    merchantId,
    name: plainName('name', body.name),
    scopes: body.scopes as Scope[],
    expiresAtMs: body.expiration == null ? undefined : time('expiration', body.expiration),
    allowedCidrs: (body.allowed_cidrs ?? []).map(cidr),
  }
}

function cidr(input: string): Cidr {
  const parsed = parseCidr(input)
  if (parsed === undefined) throw invalidField('invalid_value', 'allowed_cidrs')
  return parsed
}

function webOrigin(input: string): WebOrigin {
  const origin = parseWebOrigin(input)
  if (origin === undefined) throw invalidField('invalid_value', 'allowed_origins')
  return origin
}

const ISO_TIME = /^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{5,15}(Z|[+-][0-9]{2}:[0-9]{2})$/

function time(field: string, input: string): number {
  const ms = ISO_TIME.test(input) ? Date.parse(input) : Number.NaN
  if (Number.isNaN(ms)) throw invalidField('invalid_value', field)
  return ms
}

/** The merchant the caller names, or its own; what it may not administer looks absent. */
function anyOwner(caller: Caller, named: string | undefined): MerchantId | undefined {
  if (named === undefined) return caller.merchantId
  return merchantParam(caller, named)
}

function someMerchant(caller: Caller, named: string | undefined): MerchantId {
  const merchantId = anyOwner(caller, named)
  if (merchantId === undefined) throw invalidField('missing_field', 'merchant_id')
  return merchantId
}

function merchantParam(caller: Caller, input: string): MerchantId {
  const id = parseMerchantId(input)
  if (id === undefined) throw new AppError('not_found')
  permitAdmin(caller, id)
  return id
}

function profileParam(input: string): ProfileId {
  const id = parseProfileId(input)
  if (id === undefined) throw new AppError('not_found')
  return id
}

function keyParam(input: string): KeyId {
  const id = parseKeyId(input)
  if (id === undefined) throw new AppError('not_found')
  return id
}
