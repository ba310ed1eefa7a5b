// What PSPs said about a payment method in their answers: their own tokens for it, and the id under which the card network
// knows the first payment. No card data: both are shown to the merchant that pays with them next. Sealed all the same.

import { holdsIssuedCardNumber } from '../../core/card-number.ts'
import type { Clock } from '../../core/clock.ts'
import type { MerchantId, PaymentMethodId } from '../../core/ids.ts'
import type { Keyring } from '../../crypto/keyring.ts'
import type { CredentialRecord, Store } from '../../store/contract.ts'

export type NewCredential = Pick<
  CredentialRecord,
  'merchantId' | 'paymentMethodId' | 'kind' | 'connector'
> & {
  /** No secret of the card: it is not overwritten. */
  readonly value: Buffer
}

export type ShownCredentials = {
  readonly pspTokens: readonly { readonly connector: string; readonly token: string }[]
  /** The newest one, whoever told it. */
  readonly networkTransactionId: string | undefined
}

export type Credentials = ReturnType<typeof createCredentials>

const MAX_BYTES = 1024

export function createCredentials(deps: { store: Store; keyring: Keyring; clock: Clock }) {
  const { store, keyring, clock } = deps

  type Place = Pick<CredentialRecord, 'paymentMethodId' | 'kind' | 'connector'>
  const sealId = ({ paymentMethodId, kind, connector }: Place) =>
    `${paymentMethodId}.${kind}.${connector}`

  return {
    /**
     * Keeps the value in place of an earlier one. False when it is none, when it holds a card number, which is never
     * stored to be shown, and when the payment method was deleted meanwhile.
     */
    async capture({ value, ...place }: NewCredential): Promise<boolean> {
      if (!isCredential(value)) return false
      const keys = await keyring.keysOf(place.merchantId)
      return store.putCredential({
        ...place,
        createdAtMs: clock(),
        value: keys.seal(value, 'credential', sealId(place)),
      })
    },

    async shown(merchantId: MerchantId, id: PaymentMethodId): Promise<ShownCredentials> {
      const pspTokens: { connector: string; token: string }[] = []
      let newest: { createdAtMs: number; text: string } | undefined
      for (const record of await store.listCredentials(merchantId, id)) {
        const { kind, connector, createdAtMs, value } = record
        const keys = await keyring.keysOf(merchantId, value)
        const text = keys.open(value, 'credential', sealId(record)).toString('latin1')
        switch (kind) {
          case 'psp_token':
            pspTokens.push({ connector, token: text })
            break
          case 'network_transaction_id':
            if (newest === undefined || createdAtMs > newest.createdAtMs)
              newest = { createdAtMs, text }
            break
          default:
            kind satisfies never
        }
      }
      return { pspTokens, networkTransactionId: newest?.text }
    },
  }
}

/** Visible characters and blanks, as all PSPs and networks write theirs, so that what is shown is what was captured. */
function isCredential(value: Buffer): boolean {
  const isText = value.every((byte) => byte >= 0x20 && byte <= 0x7e)
  return isText && value.length > 0 && value.length <= MAX_BYTES && !holdsIssuedCardNumber(value)
}
