// Payment methods: cards, stored sealed. Two sealed parts: the card (what a placeholder can name, opened by
// `reveal` alone) and the details (what may be shown). The same card of the same customer is one payment
// method, whoever races; the store promises that.

import { type CardDigits, cardBin, cardNetwork, lastFour } from '../../core/card-number.ts'
import type { Clock } from '../../core/clock.ts'
import { AppError } from '../../core/errors.ts'
import type { Expiry } from '../../core/expiry.ts'
import type { CustomerId, Ids, MerchantId, PaymentMethodId } from '../../core/ids.ts'
import type { JsonObject } from '../../core/json.ts'
import type { Keyring, OwnerKeys } from '../../crypto/keyring.ts'
import { seal } from '../../crypto/seal.ts'
import type { CvcSlot, PaymentMethodRecord, Store } from '../../store/contract.ts'
import { type CardValues, decodeCard, encodeCard, fieldsOf } from './card-record.ts'

/** What the caller says about a card besides number and code; `null`: not said. */
export type CardDescription = {
  readonly card_holder_name: string | null
  readonly nick_name: string | null
  readonly card_network: string | null
  readonly card_issuer: string | null
  readonly card_type: string | null
  readonly card_issuing_country: string | null
}

/** What may be shown of a card: at most BIN and last four of its number (PCI DSS 3.4.1). */
export type MaskedCard = CardDescription & {
  readonly bin: string
  readonly last4: string
  readonly exp_month: string
  readonly exp_year: string
}

export type Details = {
  readonly subtype: string | null
  readonly card: MaskedCard
  readonly billing: JsonObject | null
  readonly metadata: JsonObject | null
}

export type NewCard = {
  /** Both are overwritten by whoever lifted them. */
  readonly number: CardDigits
  readonly cvc: Buffer | undefined
  readonly expiry: Expiry
  readonly description: CardDescription
}

export type NewPaymentMethod = {
  /** Undefined: a guest. */
  readonly customerId: CustomerId | undefined
  readonly isVolatile: boolean
  readonly card: NewCard
  readonly subtype: string | null
  readonly billing: JsonObject | null
  readonly metadata: JsonObject | null
}

export type PaymentMethod = {
  readonly record: PaymentMethodRecord
  readonly details: Details
  readonly cvcExpiresAtMs: number | undefined
}

export type CardChanges = {
  readonly card_holder_name?: string
  readonly nick_name?: string
  readonly cvc?: Buffer | undefined
}

export type VaultLimits = { readonly cvcTtlMs: number; readonly volatileTtlMs: number }

export type PaymentMethods = ReturnType<typeof createPaymentMethods>

export function createPaymentMethods(deps: {
  store: Store
  keyring: Keyring
  ids: Ids
  clock: Clock
  limits: VaultLimits
}) {
  const { store, keyring, ids, clock, limits } = deps

  async function sealCvc(
    merchantId: MerchantId,
    id: PaymentMethodId,
    cvc: Buffer | undefined,
  ): Promise<CvcSlot | undefined> {
    if (cvc === undefined) return undefined
    const key = await keyring.newCvcKey(merchantId)
    return {
      expiresAtMs: clock() + limits.cvcTtlMs,
      sealed: seal(key, cvc, { owner: merchantId, kind: 'cvc', id }),
    }
  }

  function sealCard(keys: OwnerKeys, id: PaymentMethodId, values: CardValues) {
    const plaintext = encodeCard(values)
    const card = keys.seal(plaintext, 'card', id)
    plaintext.fill(0)
    return { card, fields: fieldsOf(values) }
  }

  const sealDetails = (keys: OwnerKeys, id: PaymentMethodId, details: Details) =>
    keys.seal(Buffer.from(JSON.stringify(details)), 'details', id)

  async function openDetails(record: PaymentMethodRecord): Promise<Details> {
    const keys = await keyring.keysOf(record.merchantId, record.details)
    return JSON.parse(keys.open(record.details, 'details', record.id).toString('utf8')) as Details
  }

  const isExpired = (record: PaymentMethodRecord) =>
    record.expiresAtMs !== undefined && record.expiresAtMs <= clock()

  async function find(merchantId: MerchantId, id: PaymentMethodId): Promise<PaymentMethodRecord> {
    const record = await store.findPaymentMethod(merchantId, id)
    if (record === undefined) throw new AppError('not_found')
    if (isExpired(record)) throw new AppError('token_expired')
    return record
  }

  async function view(record: PaymentMethodRecord): Promise<PaymentMethod> {
    const cvc = await store.findCvc(record.merchantId, record.id)
    return {
      record,
      details: await openDetails(record),
      cvcExpiresAtMs: cvc !== undefined && cvc.expiresAtMs > clock() ? cvc.expiresAtMs : undefined,
    }
  }

  /** Undefined when it was changed or deleted meanwhile. */
  async function storeAgain(
    before: PaymentMethodRecord,
    input: NewPaymentMethod,
    keys: OwnerKeys,
  ): Promise<PaymentMethod | undefined> {
    const known = await openDetails(before)
    const details: Details = {
      subtype: input.subtype ?? known.subtype,
      card: mask(input.card, { ...known.card, ...said(input.card.description) }),
      billing: input.billing ?? known.billing,
      metadata: input.metadata ?? known.metadata,
    }
    const cvc = await sealCvc(before.merchantId, before.id, input.card.cvc)
    const record: PaymentMethodRecord = {
      ...before,
      ...sealCard(keys, before.id, cardValues(input.card.number, details.card)),
      details: sealDetails(keys, before.id, details),
    }
    return (await store.replacePaymentMethod(record, cvc)) ? view(record) : undefined
  }

  return {
    /** Stores the card, or finds it stored already and updates what was said of it (`isNew: false`). */
    async create(
      merchantId: MerchantId,
      input: NewPaymentMethod,
    ): Promise<PaymentMethod & { readonly isNew: boolean }> {
      const keys = await keyring.keysOf(merchantId)
      const { card, customerId } = input
      const isUnique = customerId !== undefined && !input.isVolatile
      const fingerprint = isUnique ? keys.fingerprint(customerId, 'card', card.number) : undefined
      const nowMs = clock()
      for (;;) {
        const known =
          fingerprint === undefined
            ? undefined
            : await store.findByFingerprint(merchantId, fingerprint)
        if (known !== undefined) {
          const stored = await storeAgain(known, input, keys)
          if (stored !== undefined) return { ...stored, isNew: false }
          continue
        }
        const id = ids.paymentMethod()
        const details: Details = {
          subtype: input.subtype,
          card: mask(card, card.description),
          billing: input.billing,
          metadata: input.metadata,
        }
        const cvc = await sealCvc(merchantId, id, card.cvc)
        const record: PaymentMethodRecord = {
          merchantId,
          id,
          customerId,
          fingerprint,
          createdAtMs: nowMs,
          expiresAtMs: input.isVolatile ? nowMs + limits.volatileTtlMs : undefined,
          revision: 0,
          ...sealCard(keys, id, cardValues(card.number, details.card)),
          details: sealDetails(keys, id, details),
        }
        const result = await store.insertPaymentMethod(record, cvc)
        switch (result.kind) {
          case 'inserted':
            return { record, details, cvcExpiresAtMs: cvc?.expiresAtMs, isNew: true }
          case 'no_customer':
            throw new AppError('not_found', { details: { field: 'customer_id' } })
          case 'exists':
            continue // another request stored it meanwhile: it is found now
          default:
            return result satisfies never
        }
      }
    },

    /** Throws `not_found`. */
    async expectStored(merchantId: MerchantId, id: PaymentMethodId): Promise<void> {
      if ((await store.findPaymentMethod(merchantId, id)) === undefined) {
        throw new AppError('not_found')
      }
    },

    async retrieve(merchantId: MerchantId, id: PaymentMethodId): Promise<PaymentMethod> {
      return view(await find(merchantId, id))
    },

    async list(merchantId: MerchantId, customerId: CustomerId): Promise<PaymentMethod[]> {
      if ((await store.findCustomer(merchantId, customerId)) === undefined)
        throw new AppError('not_found')
      const records = await store.listPaymentMethods(merchantId, customerId)
      return Promise.all(records.filter((record) => !isExpired(record)).map(view))
    },

    /** Names and code; the card is opened and sealed again without leaving this function. */
    async update(
      merchantId: MerchantId,
      id: PaymentMethodId,
      changes: CardChanges,
    ): Promise<PaymentMethod> {
      const { cvc: newCvc, ...names } = changes
      for (;;) {
        const before = await find(merchantId, id)
        const keys = await keyring.keysOf(merchantId, before.card)
        const known = await openDetails(before)
        const details: Details = { ...known, card: { ...known.card, ...names } }
        const plaintext = keys.open(before.card, 'card', id)
        let sealed: ReturnType<typeof sealCard>
        try {
          const number = decodeCard(plaintext).card_number as CardDigits
          sealed = sealCard(keys, id, cardValues(number, details.card))
        } finally {
          plaintext.fill(0)
        }
        const record = { ...before, ...sealed, details: sealDetails(keys, id, details) }
        const cvc = await sealCvc(merchantId, id, newCvc)
        if (await store.replacePaymentMethod(record, cvc)) return view(record)
      }
    },

    async remove(merchantId: MerchantId, id: PaymentMethodId): Promise<void> {
      if (!(await store.deletePaymentMethod(merchantId, id))) throw new AppError('not_found')
    },
  }
}

function mask(card: NewCard, description: CardDescription): MaskedCard {
  return {
    card_holder_name: description.card_holder_name,
    nick_name: description.nick_name,
    card_network: description.card_network ?? cardNetwork(card.number) ?? null,
    card_issuer: description.card_issuer,
    card_type: description.card_type,
    card_issuing_country: description.card_issuing_country,
    bin: cardBin(card.number),
    last4: lastFour(card.number),
    exp_month: card.expiry.month,
    exp_year: card.expiry.year,
  }
}

/** The part of a description that says something. */
function said(description: CardDescription): Partial<CardDescription> {
  return Object.fromEntries(Object.entries(description).filter(([, value]) => value !== null))
}

function cardValues(number: CardDigits, card: MaskedCard): CardValues {
  const values: CardValues = {
    card_number: number,
    card_exp_month: Buffer.from(card.exp_month),
    card_exp_year: Buffer.from(card.exp_year),
  }
  const {
    card_holder_name,
    nick_name,
    card_network,
    card_issuer,
    card_type,
    card_issuing_country,
  } = card
  const texts = {
    card_holder_name,
    nick_name,
    card_network,
    card_issuer,
    card_type,
    card_issuing_country,
  }
  for (const [name, text] of Object.entries(texts)) {
    if (text !== null) values[name as keyof typeof texts] = Buffer.from(text)
  }
  return values
}
