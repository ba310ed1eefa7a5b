// Routes of destinations (scope `policy:write`), and how the data plane's own paths are described in OpenAPI.
//
// Where two persons decide, what one key sends is stored as a proposal, which the data plane never reads, until another
// key approves it. That takes nothing but what was stored: it was checked when it was proposed.

import type { FastifyRequest } from 'fastify'
import Type from 'typebox'
import { decideApproval, decideRejection } from '../core/approval.ts'
import type { Caller } from '../core/caller.ts'
import { type Clock, isoTime } from '../core/clock.ts'
import { AppError } from '../core/errors.ts'
import type { MerchantId, ProfileId, RequestId } from '../core/ids.ts'
import type { Keyring } from '../crypto/keyring.ts'
import type { RecordAct } from '../http/acts.ts'
import { type Api, merchantOf } from '../http/api.ts'
import { ERROR_ANSWER, type OpenApiPaths } from '../http/openapi.ts'
import { ProposalBody, ProposalId, ProposedBy, Time } from '../http/schemas.ts'
import type {
  DestinationName,
  DestinationProposal,
  DestinationRecord,
  Store,
} from '../store/contract.ts'
import { expectProfile } from '../store/named-profile.ts'
import { DestinationBody, parseDestination, readSettings } from './destination.ts'
import { EnvelopeAnswer, EnvelopeBody } from './envelope.ts'
import { DESTINATION_METHODS } from './headers.ts'
import { matchesOrigin, type Origin, type OriginRules } from './origin.ts'
import type { SigningSettings } from './signing/settings.ts'
import { IDEMPOTENCY_KEY_GRAMMAR } from './wishes.ts'

const {
  inject_headers: _headers,
  signing: _key,
  client_certificate: _certificate,
  ...shown
} = DestinationBody.properties
const described = {
  ...shown,
  inject_header_names: Type.Array(Type.String()),
  signing: Type.Optional(
    Type.Unsafe<SigningSettings>({
      type: 'object',
      additionalProperties: true,
      description: 'The recipe without its key.',
    }),
  ),
  client_certificate: Type.Optional(Type.Object({ cert_pem: Type.String() })),
  profile_id: Type.String(),
}
const STATUS =
  '`active`: in force. `proposed`: not, until another API key than the one that proposed it approves it.'
const ProposedAnswer = Type.Object({
  ...described,
  status: Type.Literal('proposed', { description: STATUS }),
  proposal_id: ProposalId,
  proposed_by: ProposedBy,
  proposed_at: Time,
})
const DestinationAnswer = Type.Object({
  ...described,
  status: Type.Union([Type.Literal('active'), Type.Literal('proposed')], { description: STATUS }),
  proposal_id: Type.Optional(ProposalId),
  proposed_by: Type.Optional(ProposedBy),
  proposed_at: Type.Optional(Time),
  proposal: Type.Optional(
    Type.Object(ProposedAnswer.properties, {
      description:
        'What waits to take the place of an active destination, whole. Values of headers and keys are not shown: they may differ under the same names.',
    }),
  ),
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
    clock: Clock
    wantsTwoPersons: boolean
  },
): void {
  const { store, keyring, rules, record, clock, wantsTwoPersons } = deps
  const path = '/v2/destinations'
  const tags = ['destinations']

  async function profileOf(
    caller: Caller,
    named: string | undefined,
  ): Promise<[MerchantId, ProfileId]> {
    const merchantId = merchantOf(caller)
    return [merchantId, (await expectProfile(store, merchantId, named)).id]
  }

  /** What is there under that name: the destination in force, and what waits for a second person. */
  async function look(caller: Caller, profile: string | undefined, text: string) {
    const [merchantId, profileId] = await profileOf(caller, profile)
    const name = text as DestinationName
    const waiting = await store.findProposal(merchantId, profileId, name)
    const active = await store.findDestination(merchantId, profileId, name)
    if (active === undefined && waiting === undefined) throw new AppError('not_found')
    return { merchantId, profileId, active, waiting }
  }

  async function seal(
    merchantId: MerchantId,
    profileId: ProfileId,
    revision: number,
    body: DestinationBody,
  ): Promise<DestinationRecord> {
    const { name, origin, settings, secrets } = parseDestination(body, rules)
    const keys = await keyring.keysOf(merchantId)
    return {
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
  }

  /** Without it the wildcard's policy would be the one for its origin: that is no mere taking away. */
  async function isUnderWildcard({ merchantId, profileId, name, origin }: DestinationRecord) {
    const others = await store.listDestinations(merchantId, profileId)
    return others.some(
      (other) => other.name !== name && matchesOrigin(other.origin, origin as Origin),
    )
  }

  async function put(destination: DestinationRecord): Promise<void> {
    switch (await store.putDestination(destination)) {
      case 'written':
        return
      case 'not_found':
      case 'name_taken':
      case 'origin_taken':
        throw new AppError('conflict')
    }
  }

  /** Throws `conflict` for what can be seen already; of what happens meanwhile the store's own answer tells. */
  async function expectFits(destination: DestinationRecord): Promise<void> {
    const { merchantId, profileId, name, origin, revision } = destination
    const current = await store.findDestination(merchantId, profileId, name)
    const holder = await store.findDestinationByOrigin(merchantId, profileId, origin)
    const isOriginTaken = holder?.origin === origin && holder.name !== name
    if ((current?.revision ?? 0) !== revision || isOriginTaken) throw new AppError('conflict')
  }

  async function propose(request: FastifyRequest, destination: DestinationRecord) {
    await expectFits(destination)
    const proposal: DestinationProposal = {
      id: request.id as RequestId, // every request's id is made by `ids.request`
      proposedBy: request.caller.keyId,
      proposedAtMs: clock(),
      destination,
    }
    await record(request, 'destination.propose', destination.name)
    if (!(await store.putProposal(proposal))) throw new AppError('conflict')
    return proposedAnswer(proposal)
  }

  api.post(
    path,
    {
      config,
      schema: {
        tags,
        headers: ProfileHeader,
        body: DestinationBody,
        response: { 201: DestinationAnswer, 202: ProposedAnswer },
      },
    },
    async (request, reply) => {
      const [merchantId, profileId] = await profileOf(
        request.caller,
        request.headers['x-profile-id'],
      )
      const created = await seal(merchantId, profileId, 0, request.body)
      if (wantsTwoPersons) return reply.code(202).send(await propose(request, created))
      await put(created)
      await record(request, 'destination.create', created.name)
      return reply.code(201).send(activeAnswer(created))
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
      // In this order, what is approved between the two is seen twice rather than not at all.
      const proposals = await store.listProposals(merchantId, profileId)
      const destinations = await store.listDestinations(merchantId, profileId)
      const waiting = new Map(proposals.map((each) => [each.destination.name, each]))
      const active = new Set(destinations.map(({ name }) => name))
      return [
        ...destinations.map((each) => activeAnswer(each, waiting.get(each.name))),
        ...proposals.filter((each) => !active.has(each.destination.name)).map(proposedAnswer),
      ]
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
    async (request) => {
      const { active, waiting } = await look(
        request.caller,
        request.headers['x-profile-id'],
        request.params.name,
      )
      if (active !== undefined) return activeAnswer(active, waiting)
      if (waiting !== undefined) return proposedAnswer(waiting)
      throw new AppError('not_found')
    },
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
        response: { 200: DestinationAnswer, 202: ProposedAnswer },
      },
    },
    async (request, reply) => {
      const { merchantId, profileId, active, waiting } = await look(
        request.caller,
        request.headers['x-profile-id'],
        request.params.name,
      )
      const before = active ?? (wantsTwoPersons ? waiting?.destination : undefined)
      if (before === undefined) throw new AppError('not_found')
      if (request.body.name !== before.name)
        throw new AppError('invalid_value', { details: { field: 'name' } })
      const changed = await seal(merchantId, profileId, active?.revision ?? 0, request.body)
      if (wantsTwoPersons) return reply.code(202).send(await propose(request, changed))
      await record(request, 'destination.update', before.name)
      await put(changed)
      return activeAnswer(changed)
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
      const { merchantId, profileId, active, waiting } = await look(
        request.caller,
        request.headers['x-profile-id'],
        request.params.name,
      )
      const name = active?.name ?? waiting?.destination.name
      if (name === undefined) throw new AppError('not_found')
      if (wantsTwoPersons && active !== undefined && (await isUnderWildcard(active))) {
        throw new AppError('conflict')
      }
      await record(request, 'destination.delete', name)
      const wasActive = await store.deleteDestination(merchantId, profileId, name)
      const wasWaiting = waiting !== undefined && (await store.deleteProposal(waiting))
      if (!wasActive && !wasWaiting) throw new AppError('not_found')
      return { name }
    },
  )
  api.post(
    `${path}/:name/approve`,
    {
      config,
      schema: {
        tags,
        summary: 'Make a proposed destination active',
        description: 'Takes another API key than the one that proposed it.',
        params: NameParams,
        headers: ProfileHeader,
        body: ProposalBody,
        response: { 200: DestinationAnswer },
      },
    },
    async (request) => {
      const { waiting } = await look(
        request.caller,
        request.headers['x-profile-id'],
        request.params.name,
      )
      const decision = decideApproval(waiting, request.caller.keyId, request.body.proposal_id)
      if (decision.kind === 'refuse') throw new AppError(decision.reason)
      const { destination } = decision.proposal
      await expectFits(destination)
      await record(request, 'destination.approve', destination.name)
      // Taken away first, so that of a rejection, a newer proposal and an approval that meet only one counts. What
      // fails after it has to be proposed anew.
      if (!(await store.deleteProposal(decision.proposal))) throw new AppError('conflict')
      await put(destination)
      return activeAnswer(destination)
    },
  )
  api.post(
    `${path}/:name/reject`,
    {
      config,
      schema: {
        tags,
        summary: 'Discard a proposed destination',
        params: NameParams,
        headers: ProfileHeader,
        body: ProposalBody,
        response: { 200: Type.Object({ name: Type.String(), proposal_id: Type.String() }) },
      },
    },
    async (request) => {
      const { waiting } = await look(
        request.caller,
        request.headers['x-profile-id'],
        request.params.name,
      )
      const decision = decideRejection(waiting, request.body.proposal_id)
      if (decision.kind === 'refuse') throw new AppError(decision.reason)
      const { id, destination } = decision.proposal
      await record(request, 'destination.reject', destination.name)
      if (!(await store.deleteProposal(decision.proposal))) throw new AppError('conflict')
      return { name: destination.name, proposal_id: id }
    },
  )
}

function settingsOf(record: DestinationRecord) {
  const settings = readSettings(record.settings)
  return {
    ...settings,
    inject_header_names: [...settings.inject_header_names],
    profile_id: record.profileId,
  }
}

function activeAnswer(record: DestinationRecord, waiting?: DestinationProposal) {
  return {
    ...settingsOf(record),
    status: 'active' as const,
    ...(waiting === undefined ? {} : { proposal: proposedAnswer(waiting) }),
  }
}

function proposedAnswer({ id, proposedBy, proposedAtMs, destination }: DestinationProposal) {
  return {
    ...settingsOf(destination),
    status: 'proposed' as const,
    proposal_id: id,
    proposed_by: proposedBy,
    proposed_at: isoTime(proposedAtMs),
  }
}

const header = (name: string, description: string, schema: object = { type: 'string' }) => ({
  in: 'header',
  name,
  required: false,
  description,
  schema,
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
const answerHeader = (description: string, schema: object = { type: 'string' }) => ({
  description,
  schema,
})
const EVERY_ANSWER_HEADERS = {
  'Sallyport-Request-Id': answerHeader('Names the request in the audit trail'),
  'Server-Timing': answerHeader(
    '`vault;dur=0.4, connect;dur=0, upstream;dur=83.2, total;dur=83.6` in milliseconds, up to the head of the answer; parts that did not happen are left out. One of the destination stands beside it',
  ),
}
const ANSWER_HEADERS = {
  ...EVERY_ANSWER_HEADERS,
  'Sallyport-Upstream-Status': answerHeader("The destination's status, if it answered"),
  'Sallyport-Substitutions': answerHeader('`card_number=1, card_cvc=1`, if there were any'),
  'Sallyport-Redactions': answerHeader(
    'Places that were masked in the answer, if there were any: in its head, and in a body of up to 64 KB',
    { type: 'integer', minimum: 1 },
  ),
  'Sallyport-Idempotent-Replay': answerHeader(
    'This is the stored answer to an earlier request under the same key; nothing was sent',
    { type: 'string', enum: ['true'] },
  ),
}
const PROXY_ERROR = {
  ...ERROR_ANSWER,
  headers: {
    ...EVERY_ANSWER_HEADERS,
    'Sallyport-Retry-Safe': answerHeader(
      '`true` when the destination cannot have seen the request',
      { type: 'string', enum: ['true', 'false'] },
    ),
    'Proxy-Status': answerHeader('RFC 9209: `sallyport; error=connection_timeout`'),
    'Retry-After': answerHeader('Seconds, with `rate_limited`', { type: 'integer', minimum: 1 }),
    'Stripe-Should-Retry': answerHeader('Where trying again is not safe; SDKs of Stripe go by it', {
      type: 'string',
      enum: ['false'],
    }),
  },
}
const IDEMPOTENCY_KEY = { type: 'string', pattern: IDEMPOTENCY_KEY_GRAMMAR.source }

/** The proxy is no Fastify route, so it is described here, with the schemas that validate it. */
export function proxyPaths(): OpenApiPaths {
  const tags = ['proxy']
  const common = [
    header('Sallyport-Token', 'Token of every placeholder that names none'),
    header(
      'Sallyport-Expect-Substitutions',
      'Refuse the request unless it has this many placeholders',
      { type: 'integer', minimum: 0, maximum: 999_999 },
    ),
    header(
      'Sallyport-Dry-Run',
      'With `true` nothing is sent and no code is spent. Refused as the request would be, or 200 with the request as it would leave, values masked: `{ dry_run, destination, policy, request, substitutions }`',
      { type: 'string', enum: ['true', 'false'] },
    ),
    header(
      'Sallyport-Timeout-Ms',
      "For the whole, where that is less than the destination's `total_ms`",
      { type: 'integer', minimum: 1, maximum: 9_999_999 },
    ),
    header(
      'Sallyport-Idempotency-Key',
      'Sent once at most: a repetition within a day gets the stored answer, `idempotency_in_flight` while the first is under way, `idempotency_mismatch` when it is another request, `outcome_unknown` when nobody knows what became of the first',
      IDEMPOTENCY_KEY,
    ),
    header('X-Profile-Id', 'Profile of the destination; the default one if left out'),
  ]
  const envelope = {
    post: {
      tags,
      summary: 'Send a request in an envelope',
      parameters: [
        ...common,
        header('Idempotency-Key', 'The same as `Sallyport-Idempotency-Key`', IDEMPOTENCY_KEY),
      ],
      requestBody: { required: true, content: { 'application/json': { schema: EnvelopeBody } } },
      responses: {
        200: {
          description: 'The destination answered, whatever its status',
          headers: ANSWER_HEADERS,
          content: { 'application/json': { schema: EnvelopeAnswer } },
        },
        default: PROXY_ERROR,
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
            default: PROXY_ERROR,
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
      {
        ...header('Sallyport-Destination', 'Origin, like https://api.example.com'),
        required: true,
      },
    ]),
    '/d/{name}/{path}': sameShape([inPath('name', 'Name of the destination'), rest]),
  }
}
