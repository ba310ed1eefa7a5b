// Reveal: handing out the plaintext of cards and tokens. Nothing else in the product does it. The caller has written
// the audit record before, and wipes what it was handed as soon as the bytes have left.

import type { CardField, RevealedCard } from '../core/card-fields.ts'
import { isPromise, type MaybePromise } from '../core/maybe-promise.ts'
import type { RevealedToken } from '../core/revealed-token.ts'
import type { Keyring, OwnerKeys } from '../crypto/keyring.ts'
import { open } from '../crypto/seal.ts'
import type { CvcSlot, PaymentMethodRecord, TokenRecord } from '../store/contract.ts'
import { type CardValues, decodeCard, fieldOf } from './payment-methods/card-record.ts'

/** At once where the merchant's keys are in memory. Rejects or throws OpenError. */
export type Reveal = (
  method: PaymentMethodRecord,
  cvc: CvcSlot | undefined,
) => MaybePromise<RevealedCard>

/** Like `Reveal`, of a generic token. */
export type RevealToken = (token: TokenRecord) => MaybePromise<RevealedToken>

export function createReveal(keyring: Pick<Keyring, 'keysOf' | 'cvcKey'>): Reveal {
  return (method, cvc) => {
    if (cvc !== undefined) return revealWithCvc(method, cvc)
    const keys = keyring.keysOf(method.merchantId, method.card)
    return isPromise(keys)
      ? keys.then((loaded) => openCard(loaded, method))
      : openCard(keys, method)
  }

  async function revealWithCvc(method: PaymentMethodRecord, cvc: CvcSlot): Promise<RevealedCard> {
    const keys = await keyring.keysOf(method.merchantId, method.card)
    const cvcKey = await keyring.cvcKey(method.merchantId, cvc.sealed)
    const card = openCard(keys, method)
    if (cvcKey === undefined) return card // its key has been destroyed: there is no code any more
    try {
      const context = { owner: method.merchantId, kind: 'cvc', id: method.id } as const
      card.cvc = open(cvcKey, cvc.sealed, context)
      return card
    } catch (error) {
      card.wipe()
      throw error
    }
  }
}

export function createRevealToken(keyring: Pick<Keyring, 'keysOf'>): RevealToken {
  return (token) => {
    const keys = keyring.keysOf(token.merchantId, token.value)
    return isPromise(keys)
      ? keys.then((loaded) => openToken(loaded, token))
      : openToken(keys, token)
  }
}

function openToken(keys: OwnerKeys, token: TokenRecord): RevealedToken {
  const json = keys.open(token.value, 'token', token.id)
  return {
    json,
    wipe() {
      json.fill(0)
    },
  }
}

function openCard(keys: OwnerKeys, method: PaymentMethodRecord): Card {
  return new Card(keys.open(method.card, 'card', method.id))
}

class Card implements RevealedCard {
  cvc: Buffer | undefined
  readonly #plaintext: Buffer
  readonly #values: CardValues

  constructor(plaintext: Buffer) {
    this.#plaintext = plaintext
    this.#values = decodeCard(plaintext)
  }

  field(name: CardField): Uint8Array | undefined {
    return name === 'card_cvc' ? this.cvc : fieldOf(this.#values, name)
  }

  wipe(): void {
    this.#plaintext.fill(0)
    this.cvc?.fill(0)
  }
}
