// The control plane's edge: Fastify with what all its routes share. A route names the scope it needs, or it cannot be
// registered; bodies are held to their schemas strictly; every error leaves in the one envelope.

import swagger from '@fastify/swagger'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import Fastify, {
  type FastifyBaseLogger,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  type RawReplyDefaultExpression,
  type RawRequestDefaultExpression,
  type RawServerDefault,
} from 'fastify'
import type { Authenticate, AuthenticateClient, Caller, Client, Scope } from '../core/caller.ts'
import { AppError } from '../core/errors.ts'
import type { Ids, MerchantId } from '../core/ids.ts'
import { parseWebOrigin } from '../core/web-origin.ts'
import { fieldOf } from './call.ts'
import type { ClientAddress } from './client-address.ts'
import { presentedClient, presentedKey } from './credentials.ts'
import { errorReply, fromFastify, untold } from './error-envelope.ts'
import { isAmbiguousHead } from './framing.ts'
import type { Log } from './log.ts'
import {
  CLIENT_SECURITY,
  completeOperations,
  type OpenApiPaths,
  openApiDocument,
} from './openapi.ts'
import { createRouteTable } from './route-table.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Who holds the key; there is none of a public route, and none where `client` is set. `actorOf` tells. */
    caller: Caller
    client: Client | undefined
    /** Who says that it is a client. The route's feature checks its secret, and makes it `client`, before a body is read. */
    clientClaim: Client | undefined
    clientAddress: string
  }
  interface FastifyContextConfig {
    /** What the caller's key needs. `public` routes answer without a key. */
    scope: Scope | 'public'
    /** A page or an app may call it, too, with a publishable key and a client secret, which the route checks. */
    client?: boolean
  }
}

export type Api = FastifyInstance<
  RawServerDefault,
  RawRequestDefaultExpression<RawServerDefault>,
  RawReplyDefaultExpression<RawServerDefault>,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>

const BODY_LIMIT_BYTES = 256 * 1024

export async function createApi(deps: {
  authenticate: Authenticate
  authenticateClient: AuthenticateClient
  /**
   * 0: a page or an app at this address may ask. Else in how many seconds it may. Those whose publishable key nobody has
   * are counted by themselves.
   */
  admitClient: (address: string, isKnown: boolean) => number
  clientAddress: ClientAddress
  ids: Ids
  log: Log
  version: string
  /** Paths that are served beside Fastify and described with the others. */
  otherPaths: OpenApiPaths
}): Promise<Api> {
  const api: Api = Fastify({
    logger: false,
    bodyLimit: BODY_LIMIT_BYTES,
    genReqId: deps.ids.request,
    requestIdHeader: false,
    exposeHeadRoutes: false,
    forceCloseConnections: 'idle',
    // Paths that the router itself refuses: no hook has run, no id of ours is on the answer yet.
    frameworkErrors: (_error, request, reply) => {
      reply.header('sallyport-request-id', request.id)
      reply.header('cache-control', 'no-store')
      sendError(reply, request, new AppError('not_found', { code: 'IR_02' }))
    },
    routerOptions: { ignoreTrailingSlash: false, maxParamLength: 256 },
    ajv: {
      customOptions: {
        removeAdditional: false,
        coerceTypes: false,
        useDefaults: true,
        allErrors: false,
        allowUnionTypes: true,
      },
    },
  }).withTypeProvider<TypeBoxTypeProvider>()

  api.decorateRequest('clientAddress', '')
  api.decorateRequest('client')
  api.decorateRequest('clientClaim')
  api.removeContentTypeParser('text/plain') // JSON is the one type there is
  const routes = createRouteTable()

  const parseJson = api.getDefaultJsonParser('error', 'error')
  api.removeContentTypeParser('application/json')
  api.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body, done) => {
    // Some clients declare a type for the body that a DELETE does not have.
    if (body === '' && request.method === 'DELETE') done(null, undefined)
    else void parseJson(request, body as string, done) // answers through `done` alone
  })

  api.addHook('onRoute', (route) => {
    if (route.config?.scope === undefined) throw new Error(`route ${route.url} names no scope`)
    routes.add(route.method, route.url, route.config.client === true)
  })

  api.addHook('onRequest', async (request, reply) => {
    reply.header('sallyport-request-id', request.id)
    reply.header('cache-control', 'no-store')
    const { rawHeaders, socket } = request.raw
    const header = (name: string) => fieldOf(rawHeaders, name)
    request.clientAddress = deps.clientAddress(socket.remoteAddress ?? '', () =>
      header('x-forwarded-for'),
    )
    if (isAmbiguousHead(rawHeaders)) {
      reply.header('connection', 'close') // nobody can say where its body ends
      throw new AppError('malformed_body')
    }
    const encoding = request.headers['content-encoding']?.toLowerCase() ?? 'identity'
    if (encoding !== 'identity') throw new AppError('content_encoding_unsupported')
    if (request.is404) return
    const { scope, client: isForClients } = request.routeOptions.config
    if (scope === 'public') return
    const credential = isForClients === true ? presentedClient(header) : undefined
    if (credential !== undefined) {
      const client = await deps.authenticateClient(credential)
      // First, so that the page can read why it is refused.
      const isAllowed = client && allowOrigin(reply, request.headers.origin, client.allowedOrigins)
      const waitS = deps.admitClient(request.clientAddress, client !== undefined)
      if (waitS > 0) {
        reply.header('retry-after', waitS)
        throw new AppError('rate_limited')
      }
      if (client === undefined) throw new AppError('unauthenticated')
      if (isAllowed !== true) throw new AppError('permission_denied')
      request.clientClaim = client
      return
    }
    const key = presentedKey(header)
    const caller =
      key === undefined ? undefined : await deps.authenticate(key, request.clientAddress)
    if (caller === undefined) throw new AppError('unauthenticated')
    if (!caller.scopes.has(scope)) throw new AppError('permission_denied')
    request.caller = caller
  })

  // A route for clients whose feature forgets to check them serves none.
  api.addHook('preParsing', async (request) => {
    if (request.clientClaim !== request.client) throw new AppError('unauthenticated')
  })

  api.setErrorHandler((error, request, reply) => {
    const mapped = fromFastify(error)
    if (mapped.reason === 'internal_error') deps.log.unexpected(request.id, error)
    return sendError(reply, request, request.clientClaim === undefined ? mapped : untold(mapped))
  })

  api.setNotFoundHandler((request, reply) => {
    const path = request.url.split('?', 1)[0] ?? ''
    if (isPreflight(request)) {
      const methods = routes.clientMethodsOf(path)
      if (methods.length > 0) return answerPreflight(reply, request, methods)
    }
    const methods = routes.methodsOf(path)
    if (methods.length > 0) reply.header('allow', methods.join(', ')) // RFC 9110, 15.5.6
    const error =
      methods.length > 0
        ? new AppError('method_not_allowed')
        : new AppError('not_found', { code: 'IR_02' })
    return sendError(reply, request, error)
  })

  await api.register(swagger, {
    openapi: openApiDocument(deps.version),
    transform: ({ schema, url, route }) => ({
      url,
      schema: route.config?.client === true ? { ...schema, security: CLIENT_SECURITY } : schema,
    }),
    transformObject: (document) => {
      if (!('openapiObject' in document)) return document.swaggerObject
      const { openapiObject } = document
      completeOperations(openapiObject.paths ?? {})
      return { ...openapiObject, paths: { ...openapiObject.paths, ...deps.otherPaths } }
    },
  })

  return api
}

function sendError(reply: FastifyReply, request: FastifyRequest, error: AppError): FastifyReply {
  const { status, body } = errorReply(error, request.id)
  return reply.code(status).type('application/json; charset=utf-8').send(JSON.stringify(body))
}

/** Only pages say an origin: an app on a telephone has none. False: it is not one of the merchant's. */
function allowOrigin(
  reply: FastifyReply,
  origin: string | undefined,
  allowed: readonly string[],
): boolean {
  if (origin === undefined) return true
  if (!allowed.includes(origin)) return false
  reply.header('access-control-allow-origin', origin)
  reply.header('access-control-expose-headers', 'sallyport-request-id, retry-after')
  reply.header('vary', 'origin')
  return true
}

function isPreflight({ method, headers }: FastifyRequest): boolean {
  return method === 'OPTIONS' && headers['access-control-request-method'] !== undefined
}

/**
 * What a browser asks before it sends a page's request (Fetch standard, 4.8). It says no credentials, so nobody knows
 * yet which pages may: the request itself is judged.
 */
function answerPreflight(
  reply: FastifyReply,
  request: FastifyRequest,
  methods: readonly string[],
): FastifyReply {
  const origin = parseWebOrigin(request.headers.origin ?? '')
  if (origin === undefined) return sendError(reply, request, new AppError('permission_denied'))
  return reply
    .code(204)
    .headers({
      'access-control-allow-origin': origin,
      'access-control-allow-methods': methods.join(', '),
      'access-control-allow-headers': 'authorization, content-type, x-profile-id',
      'access-control-max-age': '600',
      vary: 'origin',
    })
    .send()
}

/** The document at /openapi.json, made once from the schemas that validate. Registered after all others. */
export function serveOpenApi(api: Api): void {
  let document: string | undefined
  api.get(
    '/openapi.json',
    { config: { scope: 'public' }, schema: { hide: true } },
    (_request, reply) => {
      document ??= JSON.stringify(api.swagger())
      return reply.type('application/json; charset=utf-8').send(document)
    },
  )
}

export type Actor =
  | { readonly kind: 'key'; readonly caller: Caller }
  | { readonly kind: 'client'; readonly client: Client }

/** Of a route that is not public. */
export function actorOf({ caller, client }: FastifyRequest): Actor {
  return client === undefined ? { kind: 'key', caller } : { kind: 'client', client }
}

/** Routes of merchants' things cannot be used with a key of the installation. */
export function merchantOf(caller: Caller): MerchantId {
  if (caller.merchantId === undefined) throw new AppError('permission_denied')
  return caller.merchantId
}
