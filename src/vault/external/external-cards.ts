// Cards whose number an external vault keeps: put there, had back for one request, taken away. The vendor's failures become
// our errors here, and nowhere is less done than was asked.

import type { CardDigits } from '../../core/card-number.ts'
import { AppError, invalidField } from '../../core/errors.ts'
import type { MerchantId, PaymentMethodId, ProfileId } from '../../core/ids.ts'
import type { Keyring } from '../../crypto/keyring.ts'
import type { Store } from '../../store/contract.ts'
import type { Alias, VaultFailure } from './contract.ts'
import type { ExternalVaults } from './external-vaults.ts'

/** What an external vault calls a card by, and the profile whose vault it is. */
export type CardPlace = { readonly profileId: ProfileId; readonly alias: Alias }

/** What may be shown of a number, as far as it is known here. */
export type ShownDigits = { readonly bin: string | null; readonly last4: string | null }

export type ExternalCards = ReturnType<typeof createExternalCards>

export function createExternalCards(deps: {
  store: Pick<Store, 'listByExternalAlias'>
  keyring: Pick<Keyring, 'keysOf'>
  vaults: Pick<ExternalVaults, 'find'>
  /** What it was, the operator is told; who asked, only that it was not done. */
  onFailure: (failure: VaultFailure | 'not_configured') => void
}) {
  const { store, keyring, vaults, onFailure } = deps

  function unavailable(failure: VaultFailure | 'not_configured'): AppError {
    onFailure(failure)
    return new AppError('external_vault_unavailable')
  }

  /** A vendor may have one alias for all insertions of one number, so that several payment methods have it. */
  async function isUsed(
    merchantId: MerchantId,
    alias: Alias,
    except: PaymentMethodId | undefined,
  ): Promise<boolean> {
    const keys = await keyring.keysOf(merchantId)
    const hash = keys.fingerprint('', 'external_alias', Buffer.from(alias))
    const users = await store.listByExternalAlias(merchantId, hash)
    return users.some((id) => id !== except)
  }

  return {
    /** Are new cards of this profile kept there? */
    async storesCards(merchantId: MerchantId, profileId: ProfileId): Promise<boolean> {
      return (await vaults.find(merchantId, profileId))?.settings.stores_cards ?? false
    },

    /** Throws `external_vault_unavailable`: then it may be there all the same, under an alias that nobody knows. */
    async insert(merchantId: MerchantId, profileId: ProfileId, number: CardDigits): Promise<Alias> {
      const found = await vaults.find(merchantId, profileId)
      if (found === undefined) throw unavailable('not_configured')
      const answer = await found.vault.insert(number)
      if (answer.kind === 'failed') throw unavailable(answer.failure)
      return answer.alias
    },

    /**
     * The caller overwrites it. Throws `external_vault_unavailable`, also when the number is not the one that is `shown`
     * here: another card must not be charged. Throws `token_not_found` naming `card_number` when the vault has no card
     * under that alias.
     */
    async retrieve(
      merchantId: MerchantId,
      { profileId, alias }: CardPlace,
      shown: ShownDigits,
    ): Promise<CardDigits> {
      const found = await vaults.find(merchantId, profileId)
      if (found === undefined) throw unavailable('not_configured')
      const answer = await found.vault.retrieve(alias)
      if (answer.kind === 'retrieved') {
        if (isShownAs(answer.number, shown)) return answer.number
        answer.number.fill(0)
        throw unavailable('unavailable')
      }
      if (answer.failure === 'not_found') throw invalidField('token_not_found', 'card_number')
      throw unavailable(answer.failure)
    },

    /**
     * Of a payment method that is about to be deleted. False: what another one has, too, stays; and where the profile has no
     * vault any more there is nobody to ask. Throws `external_vault_unavailable`.
     */
    async release(
      merchantId: MerchantId,
      { profileId, alias }: CardPlace,
      id: PaymentMethodId,
    ): Promise<boolean> {
      if (await isUsed(merchantId, alias, id)) return false
      const found = await vaults.find(merchantId, profileId)
      if (found === undefined) return false
      const answer = await found.vault.delete(alias)
      if (answer.kind === 'failed') throw unavailable(answer.failure)
      return true
    },

    /**
     * Of what no payment method has in the end: it was not stored, or it is deleted and was not released before. Of several
     * that go at once the last one finds no other; two that find none both delete it there, which may be done twice. Nobody
     * is told of a failure but the operator.
     */
    async discardUnused(merchantId: MerchantId, { profileId, alias }: CardPlace): Promise<void> {
      if (await isUsed(merchantId, alias, undefined)) return
      const found = await vaults.find(merchantId, profileId)
      const answer = await found?.vault.delete(alias)
      if (answer?.kind === 'failed') onFailure(answer.failure)
    },
  }
}

function isShownAs(number: CardDigits, { bin, last4 }: ShownDigits): boolean {
  const begins = Buffer.from(bin ?? '')
  const ends = Buffer.from(last4 ?? '')
  return (
    number.subarray(0, begins.length).equals(begins) &&
    number.subarray(number.length - ends.length).equals(ends)
  )
}
