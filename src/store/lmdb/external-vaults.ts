// Where the cards of a profile are kept by somebody else, and which payment methods have theirs under one alias there.

import type { MerchantId, PaymentMethodId } from '../../core/ids.ts'
import type { Fingerprint } from '../../crypto/fingerprint.ts'
import type { ExternalVaultRecord, Store } from '../contract.ts'
import { encodeJson } from './codec.ts'
import type { openRemembered } from './remembered.ts'
import { exists, FIRST, NONE, type Table, type Tables, versionByChance } from './tables.ts'

type Methods = Pick<
  Store,
  'putExternalVault' | 'findExternalVault' | 'deleteExternalVault' | 'listByExternalAlias'
>

export function openExternalVaults(
  { table, written, lookAgain, keysUnder, removeAllUnder }: Tables,
  remembered: ReturnType<typeof openRemembered>,
  parents: { profiles: Table },
) {
  const { table: vaults, find } = remembered<ExternalVaultRecord>('external_vaults')
  const methodsOfAlias = table('methods_of_external_alias')
  /** So that a payment method is forgotten there, too, by its id alone. */
  const aliasOfMethod = table('external_alias_of_method')

  const methods: Methods = {
    async putExternalVault(vault) {
      const key = `${vault.merchantId}/${vault.profileId}`
      return written([exists(parents.profiles, key)], () => {
        vaults.put(key, encodeJson(vault), versionByChance())
      })
    },
    findExternalVault(merchantId, profileId) {
      return find(`${merchantId}/${profileId}`)
    },
    async deleteExternalVault(merchantId, profileId) {
      const key = `${merchantId}/${profileId}`
      return written([exists(vaults, key)], () => vaults.remove(key))
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

    /** Inside a write: `prefix` is a merchant's, or a profile's. */
    removeUnder(prefix: string): void {
      removeAllUnder(vaults, prefix)
    },

    /** Inside a write: a profile's own. */
    removeOf(key: string): void {
      vaults.remove(key)
    },
  }
}
