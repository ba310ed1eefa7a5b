// Who may approve a proposal, and which one: a table of the decision that all of them go by.

import { expect, test } from 'vitest'
import { decideApproval, decideRejection } from '../../src/core/approval.ts'
import type { KeyId, RequestId } from '../../src/core/ids.ts'

const proposer = 'key_a' as KeyId
const other = 'key_b' as KeyId
const waiting = { id: 'req_1' as RequestId, proposedBy: proposer, proposedAtMs: 0 }
const refuse = (reason: string) => ({ kind: 'refuse', reason })

test.each([
  ['another key approves what it read', waiting, other, 'req_1', { kind: 'approve' }],
  ['the proposer does not', waiting, proposer, 'req_1', refuse('permission_denied')],
  ['nor does anybody what was replaced', waiting, other, 'req_0', refuse('conflict')],
  ['of which the proposer is told the same', waiting, proposer, 'req_0', refuse('conflict')],
  ['nor what is not there', undefined, other, 'req_1', refuse('not_found')],
])('on an approval: %s', (_, proposal, approver, id, expected) => {
  const decision = decideApproval(proposal, approver, id)

  expect(decision).toEqual(expected.kind === 'approve' ? { ...expected, proposal } : expected)
})

test.each([
  ['what was read is discarded', waiting, 'req_1', { kind: 'reject' }],
  ['what was replaced is not', waiting, 'req_0', refuse('conflict')],
  ['what is not there neither', undefined, 'req_1', refuse('not_found')],
])('on a rejection: %s', (_, proposal, id, expected) => {
  const decision = decideRejection(proposal, id)

  expect(decision).toEqual(expected.kind === 'reject' ? { ...expected, proposal } : expected)
})
