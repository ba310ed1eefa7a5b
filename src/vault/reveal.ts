// Reveal: handing out the plaintext of cards and tokens. Nothing else in the product does it. The caller has written
// the audit record before, and wipes what it was handed as soon as the bytes have left.

import { type CardField, DERIVED_FIELDS, type RevealedCard } from '../core/card-fields.ts'
import type { CardDigits } from '../core/card-number.ts'
import type { Field } from '../core/field.ts'
import type { MerchantId } from '../core/ids.ts'
import { isPromise, type MaybePromise } from '../core/maybe-promise.ts'
import type { RevealedToken } from '../core/revealed-token.ts'
import { wipeableBuffer } from '../core/wipeable.ts'
import type { Keyring, OwnerKeys } from '../crypto/keyring.ts'
import { open } from '../crypto/seal.ts'
import type { CvcSlot, PaymentMethodRecord, TokenRecord } from '../store/contract.ts'
import type { CardPlace, ShownDigits } from './external/external-cards.ts'
import { cardPlace, decodeCard, fieldOf, type StoredValues } from './payment-methods/card-record.ts'
import type { Details } from './payment-methods/payment-methods.ts'

/**
 * At once where the merchant's keys are in memory and the card is here. `fields`: what is wanted of it; an external vault
 * is asked only for what it alone knows, and in a dry run never. Rejects or throws OpenError, and AppError for what an
 * external vault does not do.
 */
export type Reveal = (
  method: PaymentMethodRecord,
  cvc: CvcSlot | undefined,
  fields: readonly Field[],
  isDryRun: boolean,
) => MaybePromise<RevealedCard>

/** Like `Reveal`, of a generic token. */
export type RevealToken = (token: TokenRecord) => MaybePromise<RevealedToken>

/** Rejects when it is not the one that is `shown`. The caller overwrites the number. */
type RetrieveNumber = (
  merchantId: MerchantId,
  place: CardPlace,
  shown: ShownDigits,
) => Promise<CardDigits>

export function createReveal(
  keyring: Pick<Keyring, 'keysOf' | 'cvcKey'>,
  retrieveNumber: RetrieveNumber,
): Reveal {
  return (method, cvc, fields, isDryRun) => {
    if (cvc !== undefined) return revealWithCvc(method, cvc, fields, isDryRun)
    const keys = keyring.keysOf(method.merchantId, method.card)
    return isPromise(keys)
      ? keys.then((loaded) => openCard(loaded, method, fields, isDryRun))
      : openCard(keys, method, fields, isDryRun)
  }

  async function revealWithCvc(
    method: PaymentMethodRecord,
    cvc: CvcSlot,
    fields: readonly Field[],
    isDryRun: boolean,
  ): Promise<RevealedCard> {
    const keys = await keyring.keysOf(method.merchantId, method.card)
    const cvcKey = await keyring.cvcKey(method.merchantId, cvc.sealed)
    const card = await openCard(keys, method, fields, isDryRun)
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

  function openCard(
    keys: OwnerKeys,
    method: PaymentMethodRecord,
    fields: readonly Field[],
    isDryRun: boolean,
  ): MaybePromise<Card> {
    const card = new Card(keys.open(method.card, 'card', method.id))
    const { place } = card
    if (place === undefined || !fields.some((field) => OF_NUMBER.has(field))) return card
    return addNumber(card, place, method, isDryRun)
  }

  async function addNumber(
    card: Card,
    place: CardPlace,
    method: PaymentMethodRecord,
    isDryRun: boolean,
  ): Promise<Card> {
    const { merchantId, id, details } = method
    try {
      const keys = await keyring.keysOf(merchantId, details)
      const shown = shownDigits(keys.open(details, 'details', id))
      card.setNumber(isDryRun ? standIn(shown) : await retrieveNumber(merchantId, place, shown))
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

/** What only the number tells. */
const OF_NUMBER: ReadonlySet<Field> = new Set<Field>(['card_number', ...DERIVED_FIELDS])

const ZERO = 0x30
const STAND_IN_DIGITS = 16

function shownDigits(json: Buffer): ShownDigits {
  const details = JSON.parse(json.toString('utf8')) as Details
  return 'card' in details ? details.card : { bin: null, last4: null }
}

/** Zeros in place of what is hidden, or not known here. */
function standIn({ bin, last4 }: ShownDigits): Buffer {
  const number = wipeableBuffer(STAND_IN_DIGITS).fill(ZERO)
  number.write(bin ?? '', 'latin1')
  if (last4 !== null) number.write(last4, STAND_IN_DIGITS - last4.length, 'latin1')
  return number
}

class Card implements RevealedCard {
  cvc: Buffer | undefined
  readonly #plaintext: Buffer
  readonly #values: StoredValues
  #number: Buffer | undefined

  /** `plaintext` is overwritten with the card, or at once where it is none. */
  constructor(plaintext: Buffer) {
    this.#plaintext = plaintext
    try {
      this.#values = decodeCard(plaintext)
    } catch (error) {
      plaintext.fill(0)
      throw error
    }
  }

  /** Undefined: its number, if it has one, is here. */
  get place(): CardPlace | undefined {
    return cardPlace(this.#values)
  }

  /** It is overwritten with the card. */
  setNumber(number: Buffer): void {
    this.#number = number
    this.#values.card_number = number
  }

  field(name: CardField): Uint8Array | undefined {
    return name === 'card_cvc' ? this.cvc : fieldOf(this.#values, name)
  }

  wipe(): void {
    this.#plaintext.fill(0)
    this.#number?.fill(0)
    this.cvc?.fill(0)
  }
}
