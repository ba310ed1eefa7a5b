// What the OpenAPI document says besides its routes.

import type { OpenAPIV3_1 } from 'openapi-types'
import { ERRORS } from '../core/errors.ts'

export type OpenApiPaths = Record<string, Record<string, unknown>>

export function openApiDocument(version: string) {
  return {
    openapi: '3.1.0',
    info: {
      title: 'Sallyport',
      version,
      description:
        'Vault proxy for payments: vault a card once, send PSP requests with placeholders.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    components: {
      securitySchemes: {
        sallyport_key: { type: 'apiKey', in: 'header', name: 'Sallyport-Key' },
        api_key: { type: 'apiKey', in: 'header', name: 'api-key' },
        authorization: { type: 'apiKey', in: 'header', name: 'Authorization' },
        client: {
          type: 'apiKey',
          in: 'header',
          name: 'Authorization',
          description:
            'Of pages and apps: `publishable-key=<key>,client-secret=<secret>`, or the `sdk_authorization` of a session.',
        },
      },
      schemas: {
        Error: {
          type: 'object',
          required: ['error'],
          properties: {
            error: {
              type: 'object',
              required: ['type', 'code', 'reason', 'message', 'request_id'],
              properties: {
                type: {
                  type: 'string',
                  enum: [...new Set(Object.values(ERRORS).map((row) => row.type))],
                },
                code: { type: 'string' },
                reason: { type: 'string', enum: Object.keys(ERRORS) },
                message: { type: 'string' },
                details: { type: 'object', properties: { field: { type: 'string' } } },
                retry_safe: {
                  type: 'boolean',
                  description:
                    'Proxy answers only: true when the destination cannot have seen the request.',
                },
                request_id: { type: 'string' },
              },
            },
          },
        },
      },
    },
    security: KEYS,
  } satisfies Partial<OpenAPIV3_1.Document>
}

const KEYS = [{ sallyport_key: [] }, { api_key: [] }, { authorization: [] }]

/** Of routes that pages and apps may call, too. */
export const CLIENT_SECURITY = [...KEYS, { client: [] }]

/** Every operation may answer with our error. */
export const ERROR_ANSWER = {
  description: 'An error of Sallyport',
  content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
} as const

type Operation = {
  responses?: Record<string, unknown>
  requestBody?: {
    required?: boolean
    content: Record<string, { schema?: { type?: string | readonly string[] } }>
  }
}

/** What Fastify's routes do not say: our errors, and that a body which may be null may be left out. */
export function completeOperations(paths: object): void {
  const operations = Object.values(paths).flatMap((path) => Object.values(path as object))
  for (const { responses, requestBody } of operations as Operation[]) {
    if (responses !== undefined) responses.default = ERROR_ANSWER
    for (const { schema } of Object.values(requestBody?.content ?? {})) {
      if (requestBody && schema?.type?.includes('null')) requestBody.required = false
    }
  }
}
