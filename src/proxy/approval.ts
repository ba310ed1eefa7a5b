// Who may make a proposed destination active: another key than the one that proposed it, and only what it was shown.
// Decided here; what is decided is done in endpoints.ts.

import type { KeyId } from '../core/ids.ts'
import type { DestinationProposal } from '../store/contract.ts'

type Refusal = {
  readonly kind: 'refuse'
  readonly reason: 'not_found' | 'conflict' | 'permission_denied'
}

export type ApprovalDecision =
  | { readonly kind: 'approve'; readonly proposal: DestinationProposal }
  | Refusal

export type RejectionDecision =
  | { readonly kind: 'reject'; readonly proposal: DestinationProposal }
  | Refusal

/** `proposalId`: the one that was read. Another may have taken its place since, which nobody has looked at. */
export function decideApproval(
  waiting: DestinationProposal | undefined,
  approver: KeyId,
  proposalId: string,
): ApprovalDecision {
  if (waiting === undefined) return { kind: 'refuse', reason: 'not_found' }
  if (waiting.id !== proposalId) return { kind: 'refuse', reason: 'conflict' }
  if (waiting.proposedBy === approver) return { kind: 'refuse', reason: 'permission_denied' }
  return { kind: 'approve', proposal: waiting }
}

/** Takes one key, the proposer's too: nothing becomes possible by it. */
export function decideRejection(
  waiting: DestinationProposal | undefined,
  proposalId: string,
): RejectionDecision {
  if (waiting === undefined) return { kind: 'refuse', reason: 'not_found' }
  if (waiting.id !== proposalId) return { kind: 'refuse', reason: 'conflict' }
  return { kind: 'reject', proposal: waiting }
}
