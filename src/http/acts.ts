// Acts of operators and merchants on what they own leave a line in the audit trail. The line of a change is there
// before the change, and after the object was found: what a caller merely says is an id is not written anywhere. The
// line of a creation names what was created, and without it there is no answer.

import type { FastifyRequest } from 'fastify'
import type { AdminAction, AuditEvent } from '../audit/event.ts'
import { AppError } from '../core/errors.ts'

export type RecordAct = (
  request: FastifyRequest,
  action: AdminAction,
  object: string,
) => Promise<void>

/** Throws `audit_unavailable`. */
export function createRecordAct(record: (event: AuditEvent) => Promise<void>): RecordAct {
  return async (request, action, object) => {
    const { caller } = request
    try {
      await record({
        kind: 'act',
        action,
        request: request.id,
        merchant: caller.merchantId,
        key: caller.keyId,
        client: request.clientAddress,
        object,
      })
    } catch (cause) {
      throw new AppError('audit_unavailable', { cause })
    }
  }
}
