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
import type { Authenticate, Caller, Scope } from '../core/caller.ts'
import { AppError } from '../core/errors.ts'
import type { Ids, MerchantId } from '../core/ids.ts'
import { fieldOf } from './call.ts'
import type { ClientAddress } from './client-address.ts'
import { presentedKey } from './credentials.ts'
import { errorReply, fromFastify } from './error-envelope.ts'
import { isAmbiguousHead } from './framing.ts'
import type { Log } from './log.ts'
import { addErrorAnswers, type OpenApiPaths, openApiDocument } from './openapi.ts'
import { createRouteTable } from './route-table.ts'

declare module 'fastify' {
  interface FastifyRequest {
    caller: Caller
    clientAddress: string
  }
  interface FastifyContextConfig {
    /** What the caller's key needs. `public` routes answer without a key. */
    scope: Scope | 'public'
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
      },
    },
  }).withTypeProvider<TypeBoxTypeProvider>()

  api.decorateRequest('clientAddress', '')
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
    routes.add(route.method, route.url)
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
    const { scope } = request.routeOptions.config
    if (scope === 'public') return
    const key = presentedKey(header)
    const caller =
      key === undefined ? undefined : await deps.authenticate(key, request.clientAddress)
    if (caller === undefined) throw new AppError('unauthenticated')
    if (!caller.scopes.has(scope)) throw new AppError('permission_denied')
    request.caller = caller
  })

  api.setErrorHandler((error, request, reply) => {
    const mapped = fromFastify(error)
    if (mapped.reason === 'internal_error') deps.log.unexpected(request.id, error)
    return sendError(reply, request, mapped)
  })

  api.setNotFoundHandler((request, reply) => {
    const path = request.url.split('?', 1)[0] ?? ''
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
    transformObject: (document) => {
      if (!('openapiObject' in document)) return document.swaggerObject
      const { openapiObject } = document
      addErrorAnswers(openapiObject.paths ?? {})
      return { ...openapiObject, paths: { ...openapiObject.paths, ...deps.otherPaths } }
    },
  })

  return api
}

function sendError(reply: FastifyReply, request: FastifyRequest, error: AppError): FastifyReply {
  const { status, body } = errorReply(error, request.id)
  return reply.code(status).type('application/json; charset=utf-8').send(JSON.stringify(body))
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

/** Routes of merchants' things cannot be used with a key of the installation. */
export function merchantOf(caller: Caller): MerchantId {
  if (caller.merchantId === undefined) throw new AppError('permission_denied')
  return caller.merchantId
}
