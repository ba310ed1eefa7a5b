// Routes of destinations (scope `policy:write`), and how the data plane's own paths are described in OpenAPI.

import Type from 'typebox'
import type { Caller } from '../core/caller.ts'
import { AppError } from '../core/errors.ts'
import type { MerchantId, ProfileId } from '../core/ids.ts'
import type { Keyring } from '../crypto/keyring.ts'
import type { RecordAct } from '../http/acts.ts'
import { type Api, merchantOf } from '../http/api.ts'
import { ERROR_ANSWER, type OpenApiPaths } from '../http/openapi.ts'
import type { DestinationName, DestinationRecord, Store } from '../store/contract.ts'
import { DestinationBody, type DestinationSettings, parseDestination } from './destination.ts'
import { EnvelopeAnswer, EnvelopeBody } from './envelope.ts'
import { DESTINATION_METHODS } from './headers.ts'
import type { OriginRules } from './origin.ts'
import { findProfile } from './profile.ts'
import type { SigningSettings } from './signing/settings.ts'

const { inject_headers: _headers, signing: _key, ...shown } = DestinationBody.properties
const DestinationAnswer = Type.Object({
  ...shown,
  inject_header_names: Type.Array(Type.String()),
  signing: Type.Optional(
    Type.Unsafe<SigningSettings>({
      type: 'object',
      additionalProperties: true,
      description: 'The recipe without its key.',
    }),
  ),
  profile_id: Type.String(),
})
const NameParams = Type.Object({ name: Type.String() })
const ProfileHeader = Type.Object({ 'x-profile-id': Type.Optional(Type.String()) })
const config = { scope: 'policy:write' } as const

export function destinationEndpoints(
  api: Api,
  deps: {
    store: Store
    keyring: Keyring
    rules: OriginRules
    record: RecordAct
  },
): void {
  const { store, keyring, rules, record } = deps
  const path = '/v2/destinations'
  const tags = ['destinations']

  async function profileOf(
    caller: Caller,
    named: string | undefined,
  ): Promise<[MerchantId, ProfileId]> {
    const merchantId = merchantOf(caller)
    const profile = await findProfile(store, merchantId, named)
    if (profile === undefined) throw new AppError('not_found')
    return [merchantId, profile.id]
  }

  async function find(
    caller: Caller,
    profile: string | undefined,
    name: string,
  ): Promise<DestinationRecord> {
    const [merchantId, profileId] = await profileOf(caller, profile)
    const found = await store.findDestination(merchantId, profileId, name as DestinationName)
    if (found === undefined) throw new AppError('not_found')
    return found
  }

  async function put(
    merchantId: MerchantId,
    profileId: ProfileId,
    revision: number,
    body: DestinationBody,
  ): Promise<DestinationRecord> {
    const { name, origin, settings, secrets } = parseDestination(body, rules)
    const keys = await keyring.keysOf(merchantId)
    const record: DestinationRecord = {
      merchantId,
      profileId,
      name,
      origin,
      revision,
      settings: JSON.stringify(settings),
      secrets: keys.seal(
        Buffer.from(JSON.stringify(secrets)),
        'destination',
        `${profileId}.${name}`,
      ),
    }
    switch (await store.putDestination(record)) {
      case 'written':
        return record
      case 'not_found':
      case 'name_taken':
      case 'origin_taken':
        throw new AppError('conflict')
    }
  }

  api.post(
    path,
    {
      config,
      schema: {
        tags,
        headers: ProfileHeader,
        body: DestinationBody,
        response: { 201: DestinationAnswer },
      },
    },
    async (request, reply) => {
      const [merchantId, profileId] = await profileOf(
        request.caller,
        request.headers['x-profile-id'],
      )
      const created = await put(merchantId, profileId, 0, request.body)
      await record(request, 'destination.create', created.name)
      return reply.code(201).send(answer(created))
    },
  )
  api.get(
    path,
    {
      config,
      schema: { tags, headers: ProfileHeader, response: { 200: Type.Array(DestinationAnswer) } },
    },
    async (request) => {
      const [merchantId, profileId] = await profileOf(
        request.caller,
        request.headers['x-profile-id'],
      )
      return (await store.listDestinations(merchantId, profileId)).map(answer)
    },
  )
  api.get(
    `${path}/:name`,
    {
      config,
      schema: {
        tags,
        params: NameParams,
        headers: ProfileHeader,
        response: { 200: DestinationAnswer },
      },
    },
    async (request) =>
      answer(await find(request.caller, request.headers['x-profile-id'], request.params.name)),
  )
  api.put(
    `${path}/:name`,
    {
      config,
      schema: {
        tags,
        params: NameParams,
        headers: ProfileHeader,
        body: DestinationBody,
        response: { 200: DestinationAnswer },
      },
    },
    async (request) => {
      const before = await find(
        request.caller,
        request.headers['x-profile-id'],
        request.params.name,
      )
      if (request.body.name !== before.name)
        throw new AppError('invalid_value', { details: { field: 'name' } })
      await record(request, 'destination.update', before.name)
      return answer(await put(before.merchantId, before.profileId, before.revision, request.body))
    },
  )
  api.delete(
    `${path}/:name`,
    {
      config,
      schema: {
        tags,
        params: NameParams,
        headers: ProfileHeader,
        response: { 200: Type.Object({ name: Type.String() }) },
      },
    },
    async (request) => {
      const found = await find(request.caller, request.headers['x-profile-id'], request.params.name)
      await record(request, 'destination.delete', found.name)
      if (!(await store.deleteDestination(found.merchantId, found.profileId, found.name))) {
        throw new AppError('not_found')
      }
      return { name: found.name }
    },
  )
}

function answer(record: DestinationRecord) {
  const settings = JSON.parse(record.settings) as DestinationSettings
  return {
    ...settings,
    inject_header_names: [...settings.inject_header_names],
    profile_id: record.profileId,
  }
}

const header = (name: string, description: string, required = false) => ({
  in: 'header',
  name,
  required,
  description,
  schema: { type: 'string' },
})
const inPath = (name: string, description: string) => ({
  in: 'path',
  name,
  required: true,
  description,
  schema: { type: 'string' },
})
const ANY_BODY = {
  description:
    'Whatever the destination takes, with placeholders; may be compressed with gzip, deflate, br or zstd.',
  content: { '*/*': {} },
}
const answerHeader = (description: string) => ({ description, schema: { type: 'string' } })
const ANSWER_HEADERS = {
  'Sallyport-Request-Id': answerHeader('Names the request in the audit trail'),
  'Sallyport-Upstream-Status': answerHeader("The destination's status, if it answered"),
  'Sallyport-Substitutions': answerHeader('`card_number=1, card_cvc=1`, if there were any'),
}
/** The proxy is no Fastify route, so it is described here, with the schemas that validate it. */
export function proxyPaths(): OpenApiPaths {
  const tags = ['proxy']
  const common = [
    header('Sallyport-Token', 'Token of every placeholder that names none'),
    header(
      'Sallyport-Expect-Substitutions',
      'Refuse the request unless it has this many placeholders',
    ),
    header('X-Profile-Id', 'Profile of the destination; the default one if left out'),
  ]
  const envelope = {
    post: {
      tags,
      summary: 'Send a request in an envelope',
      parameters: common,
      requestBody: { required: true, content: { 'application/json': { schema: EnvelopeBody } } },
      responses: {
        200: {
          description: 'The destination answered, whatever its status',
          headers: ANSWER_HEADERS,
          content: { 'application/json': { schema: EnvelopeAnswer } },
        },
        default: ERROR_ANSWER,
      },
    },
  }
  const sameShape = (parameters: object[]) =>
    Object.fromEntries(
      DESTINATION_METHODS.map((method) => [
        method.toLowerCase(),
        {
          tags,
          summary: 'Send a request as it is',
          parameters: [...parameters, ...common],
          ...(method === 'GET' || method === 'HEAD' ? {} : { requestBody: ANY_BODY }),
          responses: {
            '2XX': { description: "The destination's own answer", headers: ANSWER_HEADERS },
            default: ERROR_ANSWER,
          },
        },
      ]),
    )
  const rest = inPath('path', 'Path at the destination, slashes included')
  return {
    '/proxy': envelope,
    '/v1/proxy': envelope,
    '/v2/proxy': envelope,
    '/forward/{path}': sameShape([
      rest,
      header('Sallyport-Destination', 'Origin, like https://api.example.com', true),
    ]),
    '/d/{name}/{path}': sameShape([inPath('name', 'Name of the destination'), rest]),
  }
}
