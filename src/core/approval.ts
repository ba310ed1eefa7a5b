// Who may put in force what another has proposed: another key than the one that proposed it, and only what it was shown.
// Decided here; what is decided is done where the proposals are.

import type { KeyId, RequestId } from './ids.ts'

/** A change that waits for a second pair of eyes. */
export type Proposal = {
  /** Of the request that made it: who agrees says to which one. */
  readonly id: RequestId
  readonly proposedBy: KeyId
  readonly proposedAtMs: number
}

type Refusal = {
  readonly kind: 'refuse'
  readonly reason: 'not_found' | 'conflict' | 'permission_denied'
}

export type ApprovalDecision<P extends Proposal> =
  | { readonly kind: 'approve'; readonly proposal: P }
  | Refusal

export type RejectionDecision<P extends Proposal> =
  | { readonly kind: 'reject'; readonly proposal: P }
  | Refusal

/** `proposalId`: the one that was read. Another may have taken its place since, which nobody has looked at. */
export function decideApproval<P extends Proposal>(
  waiting: P | undefined,
  approver: KeyId,
  proposalId: string,
): ApprovalDecision<P> {
  if (waiting === undefined) return { kind: 'refuse', reason: 'not_found' }
  if (waiting.id !== proposalId) return { kind: 'refuse', reason: 'conflict' }
  if (waiting.proposedBy === approver) return { kind: 'refuse', reason: 'permission_denied' }
  return { kind: 'approve', proposal: waiting }
}

/** Takes one key, the proposer's too: nothing becomes possible by it. */
export function decideRejection<P extends Proposal>(
  waiting: P | undefined,
  proposalId: string,
): RejectionDecision<P> {
  if (waiting === undefined) return { kind: 'refuse', reason: 'not_found' }
  if (waiting.id !== proposalId) return { kind: 'refuse', reason: 'conflict' }
  return { kind: 'reject', proposal: waiting }
}
