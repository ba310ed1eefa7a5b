// Routes of a profile's external vault (scope `policy:write`: it decides where cards go).
//
// Where two persons decide, what one key sends is stored as a proposal, with which nobody is asked anything, until another
// key approves it. That takes nothing but what was stored: it was checked when it was proposed.

import Type from 'typebox'
import { decideApproval, decideRejection } from '../../core/approval.ts'
import type { Caller } from '../../core/caller.ts'
import { type Clock, isoTime } from '../../core/clock.ts'
import { AppError } from '../../core/errors.ts'
import type { RequestId } from '../../core/ids.ts'
import type { RecordAct } from '../../http/acts.ts'
import { type Api, merchantOf } from '../../http/api.ts'
import { ProposalBody } from '../../http/schemas.ts'
import type { ExternalVaultProposal, ExternalVaultRecord } from '../../store/contract.ts'
import { ProfileHeader } from '../schemas.ts'
import type { ExternalVaults } from './external-vaults.ts'
import {
  ActiveVaultAnswer,
  ExternalVaultAnswer,
  ExternalVaultBody,
  HealthAnswer,
  ProposedVaultAnswer,
} from './schemas.ts'

export function externalVaultRoutes(
  api: Api,
  {
    externalVaults,
    record,
    clock,
    wantsTwoPersons,
  }: {
    externalVaults: ExternalVaults
    record: RecordAct
    clock: Clock
    wantsTwoPersons: boolean
  },
): void {
  const path = '/v2/external-vault'
  const tags = ['external vault']
  const config = { scope: 'policy:write' } as const

  /** What the profile has: settings in force, and what waits for a second person. */
  async function look(caller: Caller, profile: string | undefined) {
    const merchantId = merchantOf(caller)
    const profileId = await externalVaults.profileOf(merchantId, profile)
    return { merchantId, profileId, ...(await externalVaults.look(merchantId, profileId)) }
  }

  async function activeAnswer(vault: ExternalVaultRecord) {
    return { ...(await externalVaults.settingsOf(vault)), profile_id: vault.profileId }
  }

  async function proposedAnswer({ id, proposedBy, proposedAtMs, vault }: ExternalVaultProposal) {
    return {
      ...(await activeAnswer(vault)),
      status: 'pending' as const,
      proposal_id: id,
      proposed_by: proposedBy,
      proposed_at: isoTime(proposedAtMs),
    }
  }

  api.put(
    path,
    {
      config,
      schema: {
        tags,
        summary: "Set the profile's external vault",
        description:
          'Replaces the one before. Cards that were inserted into another vault are not moved, and cannot be reached until that one is set again. Where two persons decide, this is a proposal (202), and what was in force stays so.',
        headers: ProfileHeader,
        body: ExternalVaultBody,
        response: { 200: ActiveVaultAnswer, 202: ProposedVaultAnswer },
      },
    },
    async (request, reply) => {
      const { caller, headers } = request
      const { merchantId, profileId, active } = await look(caller, headers['x-profile-id'])
      const body = externalVaults.parse(request.body)
      const vault = await externalVaults.seal(merchantId, profileId, active?.revision ?? 0, body)
      if (wantsTwoPersons) {
        const proposal: ExternalVaultProposal = {
          id: request.id as RequestId, // every request's id is made by `ids.request`
          proposedBy: caller.keyId,
          proposedAtMs: clock(),
          vault,
        }
        await record(request, 'external_vault.propose', profileId)
        await externalVaults.propose(proposal)
        return reply.code(202).send(await proposedAnswer(proposal))
      }
      await record(request, 'external_vault.update', profileId)
      await externalVaults.put(vault)
      return activeAnswer(vault)
    },
  )
  api.get(
    path,
    {
      config,
      schema: {
        tags,
        summary: 'The settings in force, and those that wait',
        description: 'Where only a proposal is there: `profile_id` and `proposal`.',
        headers: ProfileHeader,
        response: { 200: ExternalVaultAnswer },
      },
    },
    async (request) => {
      const { caller, headers } = request
      const { profileId, active, waiting } = await look(caller, headers['x-profile-id'])
      if (active === undefined && waiting === undefined) throw new AppError('not_found')
      return {
        ...(active === undefined ? { profile_id: profileId } : await activeAnswer(active)),
        ...(waiting === undefined ? {} : { proposal: await proposedAnswer(waiting) }),
      }
    },
  )
  api.get(
    `${path}/health`,
    {
      config,
      schema: {
        tags,
        summary: 'Ask the vault whether it would answer',
        headers: ProfileHeader,
        response: { 200: HealthAnswer },
      },
    },
    async (request) => {
      const merchantId = merchantOf(request.caller)
      const profileId = await externalVaults.profileOf(merchantId, request.headers['x-profile-id'])
      const health = await externalVaults.health(merchantId, profileId)
      return {
        status: health.state,
        ...('failure' in health ? { failure: health.failure } : {}),
      }
    },
  )
  api.delete(
    path,
    {
      config,
      schema: {
        tags,
        description:
          'With what waits, by one key. Cards stay in the vault that they were inserted into: they cannot be charged any more, and deleting them forgets them here alone.',
        headers: ProfileHeader,
        response: { 200: Type.Object({ profile_id: Type.String() }) },
      },
    },
    async (request) => {
      const { caller, headers } = request
      const { merchantId, profileId, active, waiting } = await look(caller, headers['x-profile-id'])
      if (active === undefined && waiting === undefined) throw new AppError('not_found')
      await record(request, 'external_vault.delete', profileId)
      await externalVaults.remove(merchantId, profileId, waiting)
      return { profile_id: profileId }
    },
  )
  api.post(
    `${path}/approve`,
    {
      config,
      schema: {
        tags,
        summary: 'Put a proposed external vault in force',
        description: 'Takes another API key than the one that proposed it.',
        headers: ProfileHeader,
        body: ProposalBody,
        response: { 200: ActiveVaultAnswer },
      },
    },
    async (request) => {
      const { caller, headers } = request
      const { profileId, active, waiting } = await look(caller, headers['x-profile-id'])
      const decision = decideApproval(waiting, caller.keyId, request.body.proposal_id)
      if (decision.kind === 'refuse') throw new AppError(decision.reason)
      const { vault } = decision.proposal
      if ((active?.revision ?? 0) !== vault.revision) throw new AppError('conflict')
      await record(request, 'external_vault.approve', profileId)
      // Taken away first, so that of a rejection, a newer proposal and an approval that meet only one counts. What
      // fails after it has to be proposed anew.
      await externalVaults.withdraw(decision.proposal)
      await externalVaults.put(vault)
      return activeAnswer(vault)
    },
  )
  api.post(
    `${path}/reject`,
    {
      config,
      schema: {
        tags,
        summary: 'Discard a proposed external vault',
        headers: ProfileHeader,
        body: ProposalBody,
        response: { 200: Type.Object({ profile_id: Type.String(), proposal_id: Type.String() }) },
      },
    },
    async (request) => {
      const { caller, headers } = request
      const { profileId, waiting } = await look(caller, headers['x-profile-id'])
      const decision = decideRejection(waiting, request.body.proposal_id)
      if (decision.kind === 'refuse') throw new AppError(decision.reason)
      await record(request, 'external_vault.reject', profileId)
      await externalVaults.withdraw(decision.proposal)
      return { profile_id: profileId, proposal_id: decision.proposal.id }
    },
  )
}
