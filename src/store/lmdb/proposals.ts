// Proposals, in tables of their own: what looks for a destination, or for an external vault, never comes across one.

import { getLastVersion } from 'lmdb'
import type { Proposal } from '../../core/approval.ts'
import type { MerchantId, ProfileId } from '../../core/ids.ts'
import type { DestinationName, DestinationProposal, Store } from '../contract.ts'
import { decodeJson, encodeJson } from './codec.ts'
import {
  type Condition,
  exists,
  type Table,
  type Tables,
  unchanged,
  versionByChance,
} from './tables.ts'

type Methods = Pick<Store, 'putProposal' | 'findProposal' | 'listProposals' | 'deleteProposal'>

/** Under each key the one that waits. */
export function openProposalTable<P extends Proposal>(
  { table: openTable, written, lookAgain }: Pick<Tables, 'table' | 'written' | 'lookAgain'>,
  name: string,
) {
  const table = openTable(name)

  function read(key: string): { proposal: P; version: number } | undefined {
    lookAgain()
    const bytes = table.getBinary(key)
    return bytes === undefined
      ? undefined
      : { proposal: decodeJson<P>(bytes), version: getLastVersion() }
  }

  return {
    table,
    put(key: string, proposal: P, conditions: readonly Condition[]): Promise<boolean> {
      return written(conditions, () => table.put(key, encodeJson(proposal), versionByChance()))
    },
    find(key: string): P | undefined {
      return read(key)?.proposal
    },
    async delete(key: string, { id }: P): Promise<boolean> {
      const found = read(key)
      if (found === undefined || found.proposal.id !== id) return false
      // When it was changed since, it is another one now, or gone.
      return written([unchanged(table, key, found.version)], () => table.remove(key))
    },
  }
}

export function openProposals(tables: Tables, parents: { merchants: Table; profiles: Table }) {
  const { recordsUnder, removeAllUnder } = tables
  const proposals = openProposalTable<DestinationProposal>(tables, 'proposals')

  const methods: Methods = {
    async putProposal(proposal) {
      const { merchantId, profileId, name } = proposal.destination
      const profileKey = `${merchantId}/${profileId}`
      return proposals.put(`${profileKey}/${name}`, proposal, [
        exists(parents.merchants, merchantId),
        exists(parents.profiles, profileKey),
      ])
    },
    async findProposal(merchantId, profileId, name) {
      return proposals.find(`${merchantId}/${profileId}/${name}`)
    },
    async listProposals(merchantId, profileId) {
      return recordsUnder<DestinationProposal>(proposals.table, `${merchantId}/${profileId}`)
    },
    async deleteProposal(proposal) {
      const { merchantId, profileId, name } = proposal.destination
      return proposals.delete(`${merchantId}/${profileId}/${name}`, proposal)
    },
  }

  return {
    methods,
    /** Inside a write: of a merchant, or of one of its profiles. */
    removeUnder(prefix: string): void {
      removeAllUnder(proposals.table, prefix)
    },
    /** Inside a write. */
    remove(merchantId: MerchantId, profileId: ProfileId, name: DestinationName): void {
      proposals.table.remove(`${merchantId}/${profileId}/${name}`)
    },
  }
}
