// Proposals of destinations, in a table of their own: what looks for a destination never comes across one.

import { getLastVersion } from 'lmdb'
import type { MerchantId, ProfileId } from '../../core/ids.ts'
import type { DestinationName, DestinationProposal, Store } from '../contract.ts'
import { decodeJson, encodeJson } from './codec.ts'
import { exists, type Table, type Tables, unchanged, versionByChance } from './tables.ts'

type Methods = Pick<Store, 'putProposal' | 'findProposal' | 'listProposals' | 'deleteProposal'>

export function openProposals(
  { table, written, lookAgain, recordsUnder, removeAllUnder }: Tables,
  parents: { merchants: Table; profiles: Table },
) {
  const proposals = table('proposals')

  function read(key: string): { proposal: DestinationProposal; version: number } | undefined {
    lookAgain()
    const bytes = proposals.getBinary(key)
    return bytes === undefined
      ? undefined
      : { proposal: decodeJson<DestinationProposal>(bytes), version: getLastVersion() }
  }

  const methods: Methods = {
    async putProposal(proposal) {
      const { merchantId, profileId, name } = proposal.destination
      const profileKey = `${merchantId}/${profileId}`
      const conditions = [
        exists(parents.merchants, merchantId),
        exists(parents.profiles, profileKey),
      ]
      return written(conditions, () => {
        proposals.put(`${profileKey}/${name}`, encodeJson(proposal), versionByChance())
      })
    },
    async findProposal(merchantId, profileId, name) {
      return read(`${merchantId}/${profileId}/${name}`)?.proposal
    },
    async listProposals(merchantId, profileId) {
      return recordsUnder<DestinationProposal>(proposals, `${merchantId}/${profileId}`)
    },
    async deleteProposal({ id, destination: { merchantId, profileId, name } }) {
      const key = `${merchantId}/${profileId}/${name}`
      const found = read(key)
      if (found === undefined || found.proposal.id !== id) return false
      // When it was changed since, it is another one now, or gone.
      return written([unchanged(proposals, key, found.version)], () => {
        proposals.remove(key)
      })
    },
  }

  return {
    methods,
    /** Inside a write: of a merchant, or of one of its profiles. */
    removeUnder(prefix: string): void {
      removeAllUnder(proposals, prefix)
    },
    /** Inside a write. */
    remove(merchantId: MerchantId, profileId: ProfileId, name: DestinationName): void {
      proposals.remove(`${merchantId}/${profileId}/${name}`)
    },
  }
}
