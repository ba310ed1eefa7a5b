// Bodies with secrets in them are read as raw chunks, never by a JSON parser as they are: `lift` takes the secrets out and
// parses what is left.

import { AppError } from '../core/errors.ts'
import { wipe } from '../core/wipeable.ts'
import type { Api } from './api.ts'

export type LiftedBody = {
  /** Without the secrets; what stands in their places is between whoever lifted them and the route. */
  readonly body: unknown
  readonly secrets: readonly Buffer[]
}

declare module 'fastify' {
  interface FastifyRequest {
    /** What was lifted out of the body; overwritten when the request has ended. */
    secrets: readonly Buffer[]
  }
}

/** JSON bodies of these routes are read as raw chunks, which `lift` overwrites. */
export function liftBodies(
  api: Api,
  limitBytes: number,
  lift: (chunks: readonly Buffer[]) => LiftedBody,
): void {
  api.decorateRequest('secrets')
  api.removeContentTypeParser('application/json')
  api.addContentTypeParser('application/json', (request, payload, done) => {
    request.secrets = []
    const chunks: Buffer[] = []
    let size = 0
    payload.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size > limitBytes) chunk.fill(0)
      else chunks.push(chunk)
    })
    payload.on('error', (error: Error) => {
      wipe(chunks)
      done(error)
    })
    payload.on('end', () => {
      try {
        if (size > limitBytes) {
          wipe(chunks)
          throw new AppError('body_too_large')
        }
        // Some clients declare a type for the body that a DELETE does not have.
        if (size === 0 && request.method === 'DELETE') {
          done(null, undefined)
          return
        }
        const lifted = lift(chunks)
        request.secrets = lifted.secrets
        done(null, lifted.body)
      } catch (error) {
        done(error as Error)
      }
    })
  })
  // With the answer, not with the end of the connection: a caller may hang up while what it sent is being sealed.
  api.addHook('onSend', async (request) => {
    wipe(request.secrets ?? [])
  })
}
