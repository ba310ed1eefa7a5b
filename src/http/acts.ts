// Acts of operators and merchants on what they own leave a line in the audit trail. The line of a change is there
// before the change, and after the object was found: what a caller merely says is an id is not written anywhere. The
// line of a creation names what was created, and without it there is no answer.

import type { FastifyRequest } from 'fastify'
import type { AdminAction, AuditEvent } from '../audit/event.ts'
import { AppError } from '../core/errors.ts'
import type { Field } from '../core/field.ts'
import {
  expectId,
  type PaymentMethodId,
  parsePaymentMethodId,
  parseSessionId,
  type SessionId,
} from '../core/ids.ts'
import { actorOf, merchantOf } from './api.ts'

export type RecordAct = (
  request: FastifyRequest,
  action: AdminAction,
  object: string,
) => Promise<void>

/** Before plaintext exists that is shown to the caller. Throws `audit_unavailable`. */
export type RecordReveal = (
  request: FastifyRequest,
  token: PaymentMethodId,
  fields: readonly Field[],
) => Promise<void>

/** Throws `audit_unavailable`. */
export function createRecordReveal(record: (event: AuditEvent) => Promise<void>): RecordReveal {
  return async (request, token, fields) => {
    const { caller } = request
    try {
      await record({
        kind: 'show',
        request: request.id,
        merchant: merchantOf(caller),
        key: caller.keyId,
        client: request.clientAddress,
        token,
        fields,
      })
    } catch (cause) {
      throw new AppError('audit_unavailable', { cause })
    }
  }
}

/** Throws `audit_unavailable`. */
export function createRecordAct(record: (event: AuditEvent) => Promise<void>): RecordAct {
  return async (request, action, object) => {
    const actor = actorOf(request)
    const who =
      actor.kind === 'key'
        ? { merchant: actor.caller.merchantId, key: actor.caller.keyId }
        : {
            merchant: actor.client.merchantId,
            profile: actor.client.profileId,
            ...heldBy(request),
          }
    try {
      await record({
        kind: 'act',
        action,
        request: request.id,
        ...who,
        client: request.clientAddress,
        object,
      })
    } catch (cause) {
      throw new AppError('audit_unavailable', { cause })
    }
  }
}

/** What a client holds the secret of: what the path names, or it would not be served (see `checkClients`). */
function heldBy({ params }: FastifyRequest): { session: SessionId } | { intent: PaymentMethodId } {
  const { id } = params as { id: string }
  const session = parseSessionId(id)
  return session === undefined ? { intent: expectId(parsePaymentMethodId, id) } : { session }
}
