// Routes of payment-method sessions and of sealed capture. A server opens, changes and closes sessions with its API key; a
// page or an app uses one with the profile's publishable key and the session's client secret, which is checked before its
// body is read. What it is told of a card that was refused does not say why: that would be a way of testing cards.

import type { FastifyRequest } from 'fastify'
import Type, { type Static } from 'typebox'
import { holdsCardNumber } from '../../core/card-number.ts'
import { type Clock, isoTime } from '../../core/clock.ts'
import { AppError, invalidField } from '../../core/errors.ts'
import { expectId, type PaymentMethodId, parseCustomerId, parseSessionId } from '../../core/ids.ts'
import { wipe } from '../../core/wipeable.ts'
import type { Keyring } from '../../crypto/keyring.ts'
import type { RecordAct } from '../../http/acts.ts'
import { type Api, merchantOf } from '../../http/api.ts'
import { actingMerchant, checkClients, isServer } from '../../http/client-routes.ts'
import { sdkAuthorization } from '../../http/credentials.ts'
import { liftBodies } from '../../http/lifted-bodies.ts'
import { expectNoCardNumber } from '../clean-text.ts'
import type { Customers } from '../customers/customers.ts'
import { CARD_BODY_BYTES, liftSecrets, liftValue } from '../lift.ts'
import { parseChanges, parseInstrument, parseSubtype } from '../payment-methods/parse.ts'
import type { ListedPaymentMethod, PaymentMethods } from '../payment-methods/payment-methods.ts'
import {
  cvcStorage,
  ENABLED_PAYMENT_METHODS,
  SavedMethodChanges,
  savedPaymentMethod,
} from '../payment-methods/schemas.ts'
import { IdParams, ProfileHeader } from '../schemas.ts'
import type { CaptureScript } from './capture-script.ts'
import { createOpenCaptured, type OpenCaptured, type Opened, type SealedBody } from './captured.ts'
import {
  CaptureKeyAnswer,
  CollectedData,
  ConfirmBody,
  captureKeyAnswer,
  LIFETIME_S,
  RemovalBody,
  Removed,
  SavedMethodBody,
  SessionAnswer,
  SessionBody,
  SessionChanges,
  SessionMethods,
  sessionAnswer,
  TokenDetails,
  TokenParams,
} from './schemas.ts'
import type { Session, SessionSettings, Sessions } from './sessions.ts'

type Deps = {
  readonly sessions: Sessions
  readonly customers: Customers
  readonly paymentMethods: PaymentMethods
  readonly keyring: Keyring
  readonly clock: Clock
  readonly record: RecordAct
  readonly captureScript: CaptureScript
}

const TOKEN_DATA = { bytes: 64 * 1024, depth: 64 }
const SERVER_BODY_BYTES = TOKEN_DATA.bytes + 16 * 1024

const tags = ['payment-method sessions']
const read = { scope: 'vault:read' } as const
const write = { scope: 'vault:write' } as const
const clientRead = { ...read, client: true } as const
const clientWrite = { ...write, client: true } as const

export function sessionRoutes(api: Api, version: string, deps: Deps): void {
  // Scopes of their own: they read bodies in their own ways.
  void api.register(async (scope: Api) => serverRoutes(scope, version, deps))
  void api.register(async (scope: Api) => confirmationRoutes(scope, version, deps))
  void api.register(async (scope: Api) => savedMethodRoutes(scope, version, deps))
  captureRoutes(api, version, deps)
}

/** Making and changing sessions, which takes an API key. */
function serverRoutes(api: Api, version: string, deps: Deps): void {
  const { sessions, record } = deps
  const path = `${version}/payment-method-sessions`
  liftBodies(api, SERVER_BODY_BYTES, (chunks) => liftValue(chunks, 'tokenization_data', TOKEN_DATA))

  api.post(
    path,
    {
      config: write,
      schema: {
        tags,
        headers: ProfileHeader,
        body: SessionBody,
        response: { 201: SessionAnswer },
      },
    },
    async (request, reply) => {
      const { customer_id, expires_in = LIFETIME_S, ...said } = request.body
      const merchantId = merchantOf(request.caller)
      const customerId =
        customer_id === undefined ? undefined : expectId(parseCustomerId, customer_id)
      const settings: SessionSettings = {
        billing: null,
        return_url: null,
        network_tokenization: null,
        storage_type: null,
        keep_alive: false,
        ...settingsOf(said),
      }
      expectStorage(settings.storage_type, customerId === undefined)
      const { session, profile, clientSecret } = await sessions.create(merchantId, {
        profile: request.headers['x-profile-id'],
        customerId,
        lifetimeMs: expires_in * 1000,
        settings,
        tokenData: request.secrets[0],
      })
      await record(request, 'session.create', session.record.id)
      const { publishableKey } = profile
      return reply.code(201).send(
        sessionAnswer(session, {
          clientSecret,
          sdkAuthorization:
            publishableKey === undefined
              ? null
              : sdkAuthorization({
                  publishableKey,
                  sessionId: session.record.id,
                  profileId: profile.id,
                  clientSecret,
                }),
          added: [],
          cvcExpiresAtMs: undefined,
        }),
      )
    },
  )
  api.put(
    `${path}/:id`,
    {
      config: write,
      schema: { tags, params: IdParams, body: SessionChanges, response: { 200: SessionAnswer } },
    },
    async (request) => {
      const merchantId = merchantOf(request.caller)
      const id = expectId(parseSessionId, request.params.id)
      const changes = settingsOf(request.body)
      const before = await sessions.find(merchantId, id)
      expectStorage(changes.storage_type ?? null, before.record.customerId === undefined)
      await record(request, 'session.update', id)
      const session = await sessions.update(merchantId, id, changes, request.secrets[0])
      return shownSession(request, session, deps)
    },
  )
}

/** What carries cards: number and code never become strings. */
function confirmationRoutes(api: Api, version: string, deps: Deps): void {
  const { sessions, paymentMethods, keyring, clock, record } = deps
  const path = `${version}/payment-method-sessions`
  const openCollected = createOpenCaptured(keyring, CollectedData)
  const openChanges = createOpenCaptured(keyring, SavedMethodChanges)
  checkClients(api, sessions.expectClient)
  liftBodies(api, CARD_BODY_BYTES, liftSecrets)

  api.post(
    `${path}/:id/confirm`,
    {
      config: clientWrite,
      schema: { tags, params: IdParams, body: ConfirmBody, response: { 200: SessionAnswer } },
    },
    async (request) => {
      const { body } = request
      const merchantId = actingMerchant(request)
      const id = expectId(parseSessionId, request.params.id)
      const { sealed, ...plain } = body.payment_method_data
      if (body.return_url !== undefined) expectReturnUrl(body.return_url, request)
      const session = await sessions.confirm(merchantId, id, {
        returnUrl: body.return_url,
        async vault(claimed) {
          try {
            return await withOpened(request, { sealed, plain }, openCollected, (opened) =>
              vault(request, claimed, opened),
            )
          } catch (error) {
            const isRefused = error instanceof AppError && error.status < 500
            if (isRefused) await record(request, 'session.refuse', id)
            throw error
          }
        },
        async undo({ id: methodId }) {
          await record(request, 'payment_method.delete', methodId)
          await paymentMethods.remove(merchantId, methodId)
        },
      })
      return shownSession(request, session, deps)
    },
  )

  async function vault(
    request: FastifyRequest,
    { record: { merchantId, profileId, customerId }, details }: Session,
    opened: Opened<Static<typeof CollectedData>>,
  ) {
    const body = request.body as Static<typeof ConfirmBody>
    const storage = body.storage_type ?? details.storage_type
    expectStorage(storage, customerId === undefined)
    // It may be chosen where the session leaves it open.
    if (storage !== (details.storage_type ?? storage)) {
      throw invalidField('invalid_value', 'storage_type')
    }
    const isVolatile = customerId === undefined || storage === 'volatile'
    const instrument = parseInstrument(
      body.payment_method_type,
      opened.data,
      opened.secrets,
      clock(),
    )
    const created = {
      profile: profileId,
      customerId,
      isVolatile,
      instrument,
      subtype: parseSubtype(instrument, body.payment_method_subtype),
      billing: details.billing,
      metadata: null,
    }
    const method = await paymentMethods.create(merchantId, created, (id) =>
      record(request, 'payment_method.update', id),
    )
    if (method.isNew) await record(request, 'payment_method.create', method.record.id)
    return method
  }

  api.put(
    `${path}/:id/update-saved-payment-method`,
    {
      config: clientWrite,
      schema: { tags, params: IdParams, body: SavedMethodBody, response: { 200: SessionAnswer } },
    },
    async (request) => {
      const { payment_method_token, payment_method_data } = request.body
      const { sealed, ...plain } = payment_method_data
      const merchantId = actingMerchant(request)
      const id = expectId(parseSessionId, request.params.id)
      const session = await sessions.find(merchantId, id)
      const { cvcExpiresAtMs } = await withOpened(
        request,
        { sealed, plain },
        openChanges,
        async ({ data, secrets }) => {
          if (data.card === undefined) throw invalidField('missing_field', 'card')
          const changes = parseChanges(data.card, secrets)
          const { id: methodId } = await sessions.openMethodToken(session, payment_method_token)
          await record(request, 'payment_method.update', methodId)
          return paymentMethods.update(merchantId, methodId, changes)
        },
      )
      return {
        ...(await shownSession(request, session, deps)),
        card_cvc_token_storage: cvcStorage(cvcExpiresAtMs),
      }
    },
  )
}

function savedMethodRoutes(api: Api, version: string, deps: Deps): void {
  const { sessions, customers, paymentMethods, record } = deps
  const path = `${version}/payment-method-sessions`
  checkClients(api, sessions.expectClient)

  api.get(
    `${path}/:id`,
    { config: clientRead, schema: { tags, params: IdParams, response: { 200: SessionAnswer } } },
    async (request) => {
      const id = expectId(parseSessionId, request.params.id)
      return shownSession(request, await sessions.find(actingMerchant(request), id), deps)
    },
  )
  api.get(
    `${path}/:id/list-payment-methods`,
    { config: clientRead, schema: { tags, params: IdParams, response: { 200: SessionMethods } } },
    async (request) => {
      const merchantId = actingMerchant(request)
      const id = expectId(parseSessionId, request.params.id)
      const session = await sessions.find(merchantId, id)
      const { customerId } = session.record
      const methods =
        customerId === undefined
          ? await addedMethods(session, deps)
          : await paymentMethods.list(merchantId, customerId)
      const defaultId =
        customerId === undefined ? undefined : await customers.defaultOf(merchantId, customerId)
      const items: Static<typeof SessionMethods>['customer_payment_methods'] = []
      for (const method of methods) {
        const { id: methodId, ...shown } = savedPaymentMethod(
          method,
          method.record.id === defaultId,
        )
        items.push({
          payment_method_token: await sessions.methodToken(session, method.record.id),
          ...(isServer(request) ? { id: methodId } : {}),
          ...shown,
        })
      }
      return { payment_methods_enabled: ENABLED_PAYMENT_METHODS, customer_payment_methods: items }
    },
  )
  api.delete(
    `${path}/:id`,
    {
      config: clientWrite,
      schema: {
        tags,
        params: IdParams,
        body: RemovalBody,
        response: { 200: Removed },
        description:
          'With a `payment_method_token` that payment method is removed; without, for API keys only, the session.',
      },
    },
    async (request) => {
      const merchantId = actingMerchant(request)
      const id = expectId(parseSessionId, request.params.id)
      const token = request.body?.payment_method_token
      if (token === undefined && !isServer(request)) throw new AppError('permission_denied')
      const session = await sessions.find(merchantId, id)
      if (token === undefined) {
        await record(request, 'session.delete', id)
        await sessions.remove(merchantId, id)
        return { id }
      }
      const { id: methodId } = await sessions.openMethodToken(session, token)
      await record(request, 'payment_method.delete', methodId)
      await paymentMethods.remove(merchantId, methodId)
      return { payment_method_token: token }
    },
  )
  api.get(
    `${version}/payment-methods/token/:token/details`,
    { config: read, schema: { tags, params: TokenParams, response: { 200: TokenDetails } } },
    async (request) => {
      const found = await sessions.resolve(merchantOf(request.caller), request.params.token)
      return {
        payment_method_id: found.method.id,
        token_type: 'payment_method_session_token' as const,
        payment_method_session_id: found.session.record.id,
        customer_id: found.method.customerId ?? null,
        expires_at: isoTime(found.session.record.expiresAtMs),
      }
    },
  )
}

/** What a page needs before it has a session to speak of: for everybody, and nothing secret. */
function captureRoutes(api: Api, version: string, { keyring, captureScript }: Deps): void {
  const { text, integrity } = captureScript
  const config = { scope: 'public' } as const
  const etag = `"${integrity}"`

  api.get(
    `${version}/capture-key`,
    { config, schema: { tags, security: [], response: { 200: CaptureKeyAnswer } } },
    async (_request, reply) => {
      reply.header('access-control-allow-origin', '*')
      return captureKeyAnswer(await keyring.captureKey())
    },
  )
  api.get(
    `${version}/capture.js`,
    {
      config,
      schema: {
        tags,
        security: [],
        description:
          'The browser module. `Sallyport-Integrity` is its hash for the `integrity` attribute; it changes with the version of Sallyport alone.',
        response: {
          200: { description: 'An ES module.', content: JAVASCRIPT },
          304: Type.Unsafe<undefined>({ type: 'null', description: 'It is the one you have.' }),
        },
      },
    },
    (request, reply) => {
      reply.headers({
        'access-control-allow-origin': '*',
        'access-control-expose-headers': 'sallyport-integrity',
        'cross-origin-resource-policy': 'cross-origin',
        'x-content-type-options': 'nosniff',
        'cache-control': 'public, no-cache', // kept, and asked about each time
        etag,
        'sallyport-integrity': integrity,
      })
      if (request.headers['if-none-match'] === etag) return reply.code(304).send()
      return reply.type('text/javascript; charset=utf-8').send(text)
    },
  )
}

const JAVASCRIPT = { 'text/javascript': { schema: { type: 'string' } } }

/**
 * `use` gets what was sent in the open, or what was sealed to the session that the path names; its secrets are overwritten
 * after that. Throws `invalid_value` where something stands in the open beside what was sealed.
 */
async function withOpened<Data extends object, Result>(
  { secrets, params }: FastifyRequest,
  { sealed, plain }: { sealed: Static<typeof SealedBody> | undefined; plain: Data },
  open: OpenCaptured<Data>,
  use: (opened: Opened<Data>) => Promise<Result>,
): Promise<Result> {
  if (sealed !== undefined && (Object.keys(plain).length > 0 || secrets.length > 0)) {
    throw invalidField('invalid_value', 'payment_method_data')
  }
  const id = expectId(parseSessionId, (params as Static<typeof IdParams>).id)
  const opened = sealed === undefined ? { data: plain, secrets } : await open(id, sealed)
  try {
    return await use(opened)
  } finally {
    wipe(opened.secrets)
  }
}

/** A guest's is never kept for long. */
function expectStorage(storage: SessionSettings['storage_type'], isGuest: boolean): void {
  if (isGuest && storage === 'persistent') throw invalidField('invalid_value', 'storage_type')
}

/** What the body says; TypeBox's optional properties may be undefined, ours may not. */
function settingsOf(said: Static<typeof SessionChanges>): Partial<SessionSettings> {
  const { tokenization_data: _, ...settings } = said
  if (settings.return_url !== undefined) parseUrl(settings.return_url)
  expectNoCardNumber('billing', settings.billing)
  return settings as Partial<SessionSettings>
}

function parseUrl(text: string): URL {
  const url = URL.parse(text)
  if (url === null || !/^https?:$/.test(url.protocol) || holdsCardNumber(text)) {
    throw invalidField('invalid_value', 'return_url')
  }
  return url
}

/** A page may send the customer on to pages of the same merchant, or it could be made to send them anywhere. */
function expectReturnUrl(text: string, { client }: FastifyRequest): void {
  const { origin } = parseUrl(text)
  if (client !== undefined && !client.allowedOrigins.includes(origin)) {
    throw invalidField('invalid_value', 'return_url')
  }
}

/** What was added in the session and is still there. */
async function addedMethods(
  { record, details }: Session,
  { paymentMethods }: Pick<Deps, 'paymentMethods'>,
): Promise<readonly (ListedPaymentMethod & { cvcExpiresAtMs: number | undefined })[]> {
  const retrieve = (id: PaymentMethodId) =>
    paymentMethods.retrieve(record.merchantId, id).catch((error: unknown) => {
      if (error instanceof AppError) return undefined // removed or expired since
      throw error
    })
  const found = await Promise.all(details.added.map(retrieve))
  return found.filter((method) => method !== undefined)
}

/** As this caller may see it: only a server is told ids of payment methods. */
async function shownSession(
  request: FastifyRequest,
  session: Session,
  deps: Pick<Deps, 'sessions' | 'paymentMethods'>,
): Promise<Static<typeof SessionAnswer>> {
  const methods = await addedMethods(session, deps)
  const added = await Promise.all(
    methods.map(async ({ record: { id } }) => ({
      payment_method_token: {
        type: 'payment_method_session_token' as const,
        data: await deps.sessions.methodToken(session, id),
      },
      ...(isServer(request) ? { payment_method_id: id } : {}),
    })),
  )
  return sessionAnswer(session, {
    clientSecret: null,
    sdkAuthorization: null,
    added,
    cvcExpiresAtMs: methods.at(-1)?.cvcExpiresAtMs,
  })
}
