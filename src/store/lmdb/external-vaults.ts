// Where the cards of a profile are kept by somebody else or are proposed to be, and which payment methods have theirs under
// one alias there.

import type { MerchantId, PaymentMethodId } from '../../core/ids.ts'
import type { Fingerprint } from '../../crypto/fingerprint.ts'
import type { ExternalVaultProposal, ExternalVaultRecord, Store } from '../contract.ts'
import { encodeJson } from './codec.ts'
import { openProposalTable } from './proposals.ts'
import type { openRemembered } from './remembered.ts'
import {
  absent,
  exists,
  FIRST,
  NONE,
  type Table,
  type Tables,
  unchanged,
  versionByChance,
} from './tables.ts'

type Methods = Pick<
  Store,
  | 'putExternalVault'
  | 'findExternalVault'
  | 'deleteExternalVault'
  | 'putExternalVaultProposal'
  | 'findExternalVaultProposal'
  | 'deleteExternalVaultProposal'
  | 'listByExternalAlias'
>

export function openExternalVaults(
  tables: Tables,
  remembered: ReturnType<typeof openRemembered>,
  parents: { merchants: Table; profiles: Table },
) {
  const { table, written, lookAgain, keysUnder, removeAllUnder } = tables
  const { table: vaults, find } = remembered<ExternalVaultRecord>('external_vaults')
  const proposals = openProposalTable<ExternalVaultProposal>(tables, 'external_vault_proposals')
  const methodsOfAlias = table('methods_of_external_alias')
  /** So that a payment method is forgotten there, too, by its id alone. */
  const aliasOfMethod = table('external_alias_of_method')

  const hasOwner = ({ merchantId, profileId }: ExternalVaultRecord) => [
    exists(parents.merchants, merchantId),
    exists(parents.profiles, `${merchantId}/${profileId}`),
  ]

  const methods: Methods = {
    async putExternalVault(vault) {
      const key = `${vault.merchantId}/${vault.profileId}`
      const place =
        vault.revision === 0 ? absent(vaults, key) : unchanged(vaults, key, vault.revision)
      return written([...hasOwner(vault), place], () => {
        const revision = versionByChance()
        vaults.put(key, encodeJson({ ...vault, revision }), revision)
      })
    },
    findExternalVault(merchantId, profileId) {
      return find(`${merchantId}/${profileId}`)
    },
    async deleteExternalVault(merchantId, profileId) {
      const key = `${merchantId}/${profileId}`
      return written([exists(vaults, key)], () => {
        vaults.remove(key)
        proposals.table.remove(key)
      })
    },
    async putExternalVaultProposal(proposal) {
      const { vault } = proposal
      return proposals.put(`${vault.merchantId}/${vault.profileId}`, proposal, hasOwner(vault))
    },
    async findExternalVaultProposal(merchantId, profileId) {
      return proposals.find(`${merchantId}/${profileId}`)
    },
    async deleteExternalVaultProposal(proposal) {
      const { vault } = proposal
      return proposals.delete(`${vault.merchantId}/${vault.profileId}`, proposal)
    },
    async listByExternalAlias(merchantId, alias) {
      const prefix = `${merchantId}/${alias}`
      return keysUnder(methodsOfAlias, prefix).map(
        (key) => key.slice(prefix.length + 1) as PaymentMethodId,
      )
    },
  }

  return {
    methods,

    /** Inside a write: with the payment method. */
    putAlias(merchantId: MerchantId, id: PaymentMethodId, alias: Fingerprint): void {
      methodsOfAlias.put(`${merchantId}/${alias}/${id}`, NONE, FIRST)
      aliasOfMethod.put(`${merchantId}/${id}`, Buffer.from(alias), FIRST)
    },

    /** Inside a write. */
    removeAlias(merchantId: MerchantId, id: PaymentMethodId): void {
      lookAgain()
      const alias = aliasOfMethod.getBinary(`${merchantId}/${id}`)
      if (alias === undefined) return
      methodsOfAlias.remove(`${merchantId}/${alias.toString('latin1')}/${id}`)
      aliasOfMethod.remove(`${merchantId}/${id}`)
    },

    /** Inside a write: of all profiles of a merchant. */
    removeUnder(prefix: string): void {
      removeAllUnder(vaults, prefix)
      removeAllUnder(proposals.table, prefix)
    },

    /** Inside a write: a profile's own. */
    removeOf(key: string): void {
      vaults.remove(key)
      proposals.table.remove(key)
    },
  }
}
