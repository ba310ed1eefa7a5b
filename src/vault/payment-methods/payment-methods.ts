// Payment methods: instruments, stored sealed. Two sealed parts: the instrument (what a placeholder can name, opened by
// `reveal` alone) and the details (what may be shown). The same instrument of the same customer is one payment method,
// whoever races; the store promises that.

import type { Client } from '../../core/caller.ts'
import type { Clock } from '../../core/clock.ts'
import { AppError } from '../../core/errors.ts'
import {
  type CustomerId,
  type Ids,
  type MerchantId,
  type PaymentMethodId,
  type ProfileId,
  parsePaymentMethodId,
} from '../../core/ids.ts'
import type { JsonObject } from '../../core/json.ts'
import type { Fingerprint } from '../../crypto/fingerprint.ts'
import { isSameHash, newClientSecret } from '../../crypto/key-hash.ts'
import type { Keyring, OwnerKeys } from '../../crypto/keyring.ts'
import { seal } from '../../crypto/seal.ts'
import type { CvcSlot, PaymentMethodRecord, Store } from '../../store/contract.ts'
import { expectProfile } from '../../store/named-profile.ts'
import type { CardPlace, ExternalCards } from '../external/external-cards.ts'
import { cardPlace, decodeCard, encodeCard, fieldsOf, type StoredValues } from './card-record.ts'
import {
  cardTexts,
  cvcOf,
  type FindBin,
  identityOf,
  type NewInstrument,
  type Shown,
  shownOf,
  valuesOf,
} from './instrument.ts'
import type { LastUses } from './last-uses.ts'

/** What may be shown. */
export type Details = Shown & {
  readonly subtype: string | null
  readonly billing: JsonObject | null
  readonly metadata: JsonObject | null
}

export type NewPaymentMethod = {
  /** Id of the one whose external vault it is kept in, or its alias is of. Undefined: the merchant's default one. */
  readonly profile: string | undefined
  /** Undefined: a guest. */
  readonly customerId: CustomerId | undefined
  readonly isVolatile: boolean
  readonly instrument: NewInstrument
  readonly subtype: string | null
  readonly billing: JsonObject | null
  readonly metadata: JsonObject | null
}

export type PaymentMethod = {
  readonly record: PaymentMethodRecord
  readonly details: Details
  readonly cvcExpiresAtMs: number | undefined
  readonly lastUsedAtMs: number | undefined
}

/** One of a list: whether a code is stored is told of a single one only. */
export type ListedPaymentMethod = Omit<PaymentMethod, 'cvcExpiresAtMs'>

export type NewIntent = {
  /** Id of the one whose pages may confirm it. Undefined: the merchant's default one. */
  readonly profile: string | undefined
  readonly customerId: CustomerId
  readonly billing: JsonObject | null
  readonly metadata: JsonObject | null
}

/** What is not named stays. */
export type Changes = {
  readonly card_holder_name?: string
  readonly nick_name?: string
  readonly cvc?: Buffer | undefined
  readonly billing?: JsonObject
  readonly metadata?: JsonObject
}

/** Records what is about to be changed; rejects when that cannot be recorded. */
export type BeforeUpdate = (id: PaymentMethodId) => Promise<void>

export type VaultLimits = {
  readonly cvcTtlMs: number
  readonly volatileTtlMs: number
  /** How long an intent waits for its instrument. */
  readonly intentTtlMs: number
  /** How often a client may try to bring it. */
  readonly intentTries: number
}

export type PaymentMethods = ReturnType<typeof createPaymentMethods>

export function createPaymentMethods(deps: {
  store: Store
  keyring: Keyring
  ids: Ids
  clock: Clock
  limits: VaultLimits
  lastUses: Pick<LastUses, 'of' | 'note'>
  findBin: FindBin
  /** Undefined: all numbers are kept here, and what is elsewhere is not touched. */
  externalCards?: ExternalCards
}) {
  const { store, keyring, ids, clock, limits, lastUses, findBin, externalCards } = deps

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

  function sealValues(keys: OwnerKeys, id: PaymentMethodId, values: StoredValues) {
    const plaintext = encodeCard(values)
    const card = keys.seal(plaintext, 'card', id)
    plaintext.fill(0)
    return { card, fields: fieldsOf(values) }
  }

  const sealDetails = (keys: OwnerKeys, id: PaymentMethodId, details: Details) =>
    keys.seal(Buffer.from(JSON.stringify(details)), 'details', id)

  const openWith = (keys: OwnerKeys, { details, id }: PaymentMethodRecord) =>
    JSON.parse(keys.open(details, 'details', id).toString('utf8')) as Details

  async function openDetails(record: PaymentMethodRecord): Promise<Details> {
    return openWith(await keyring.keysOf(record.merchantId, record.details), record)
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
    const { merchantId, id } = record
    const cvc = await store.findCvc(merchantId, id)
    const [lastUsedAtMs] = await lastUses.of(merchantId, [id])
    return {
      record,
      details: await openDetails(record),
      cvcExpiresAtMs: cvc !== undefined && cvc.expiresAtMs > clock() ? cvc.expiresAtMs : undefined,
      lastUsedAtMs,
    }
  }

  function fingerprintOf(
    keys: OwnerKeys,
    input: NewPaymentMethod,
    profileId: ProfileId,
  ): Fingerprint | undefined {
    const { customerId, isVolatile, instrument } = input
    if (customerId === undefined || isVolatile) return undefined
    const { kind, bytes } = identityOf(instrument, profileId)
    const fingerprint = keys.fingerprint(customerId, kind, bytes)
    bytes.fill(0)
    return fingerprint
  }

  /** Undefined: its number is kept here. Throws `not_found`, `external_vault_unavailable`. */
  async function placeNew(
    merchantId: MerchantId,
    profileId: ProfileId,
    { instrument, customerId, isVolatile }: NewPaymentMethod,
  ): Promise<CardPlace | undefined> {
    if (instrument.kind === 'proxy_card') return { profileId, alias: instrument.alias }
    // What is volatile goes by itself, which nobody would tell the vault.
    if (instrument.kind !== 'card' || isVolatile || customerId === undefined) return undefined
    if (!(await externalCards?.storesCards(merchantId, profileId))) return undefined
    if ((await store.findCustomer(merchantId, customerId)) === undefined) throw noCustomer()
    const alias = await externalCards?.insert(merchantId, profileId, instrument.number)
    return alias === undefined ? undefined : { profileId, alias }
  }

  /** What is inserted into an external vault on the way, and is nobody's in the end, does not stay there. */
  async function placing<T>(
    merchantId: MerchantId,
    profileId: ProfileId,
    input: NewPaymentMethod,
    act: (place: () => Promise<CardPlace | undefined>) => Promise<T>,
  ): Promise<T> {
    let place: CardPlace | undefined
    try {
      return await act(async () => {
        place ??= await placeNew(merchantId, profileId, input)
        return place
      })
    } finally {
      if (place !== undefined && input.instrument.kind === 'card') {
        await externalCards?.discardUnused(merchantId, place)
      }
    }
  }

  /** Of a stored card. Undefined: its number is here. */
  async function placeOf(
    { merchantId, id, card }: PaymentMethodRecord,
    details: Details,
  ): Promise<CardPlace | undefined> {
    if (!('card' in details) || details.external === undefined) return undefined
    const keys = await keyring.keysOf(merchantId, card)
    const plaintext = keys.open(card, 'card', id)
    try {
      return cardPlace(decodeCard(plaintext))
    } finally {
      plaintext.fill(0)
    }
  }

  /** Of a card whose number we put into an external vault. */
  async function insertedPlace(record: PaymentMethodRecord): Promise<CardPlace | undefined> {
    const details = await openDetails(record)
    const isInserted = 'card' in details && details.external === 'inserted'
    return isInserted ? placeOf(record, details) : undefined
  }

  /** Before it is deleted: a card that was inserted into an external vault goes there first. True: it is gone there. */
  async function release(record: PaymentMethodRecord): Promise<boolean> {
    const place = await insertedPlace(record)
    if (place === undefined) return false
    if (externalCards === undefined) throw new AppError('external_vault_unavailable')
    return externalCards.release(record.merchantId, place, record.id)
  }

  /**
   * Deletes with what external vaults keep: there first, and afterwards what was stored or confirmed meanwhile, or had its
   * number in common with others that are gone now. Throws `external_vault_unavailable`: then nothing is deleted here.
   */
  async function releasing(
    known: readonly PaymentMethodRecord[],
    remove: () => Promise<readonly PaymentMethodRecord[] | undefined>,
  ): Promise<readonly PaymentMethodRecord[] | undefined> {
    const released = new Set<PaymentMethodId>()
    for (const record of known) if (await release(record)) released.add(record.id)
    const removed = await remove()
    for (const record of removed ?? []) {
      const place = released.has(record.id) ? undefined : await insertedPlace(record)
      if (place !== undefined) await externalCards?.discardUnused(record.merchantId, place)
    }
    return removed
  }

  /** What is stored of `input` under that id. */
  async function compose(
    keys: OwnerKeys,
    merchantId: MerchantId,
    id: PaymentMethodId,
    input: NewPaymentMethod,
    known: Details | undefined,
    place: CardPlace | undefined,
  ) {
    const { instrument } = input
    const details: Details = {
      ...shownOf(instrument, known, place, findBin),
      subtype: input.subtype ?? known?.subtype ?? null,
      billing: input.billing ?? known?.billing ?? null,
      metadata: input.metadata ?? known?.metadata ?? null,
    }
    return {
      details,
      cvc: await sealCvc(merchantId, id, cvcOf(instrument)),
      alias: place && keys.fingerprint('', 'external_alias', Buffer.from(place.alias)),
      sealed: {
        ...sealValues(keys, id, valuesOf(instrument, details, place)),
        details: sealDetails(keys, id, details),
      },
    }
  }

  /** Undefined when it was changed or deleted meanwhile. */
  async function storeAgain(
    before: PaymentMethodRecord,
    input: NewPaymentMethod,
    keys: OwnerKeys,
  ): Promise<PaymentMethod | undefined> {
    const { merchantId, id } = before
    const known = await openDetails(before)
    const place = await placeOf(before, known)
    const { cvc, sealed } = await compose(keys, merchantId, id, input, known, place)
    const record: PaymentMethodRecord = { ...before, ...sealed }
    if (!(await store.replacePaymentMethod(record, cvc))) return undefined
    lastUses.note(record) // whoever brings it again is not done with it
    return view(record)
  }

  return {
    /**
     * Stores the instrument, or finds it stored already and updates what was said of it (`isNew: false`), after
     * `beforeUpdate` has settled.
     */
    async create(
      merchantId: MerchantId,
      input: NewPaymentMethod,
      beforeUpdate: BeforeUpdate,
    ): Promise<PaymentMethod & { readonly isNew: boolean }> {
      const keys = await keyring.keysOf(merchantId)
      const { id: profileId } = await expectProfile(store, merchantId, input.profile)
      const fingerprint = fingerprintOf(keys, input, profileId)
      const nowMs = clock()
      return placing(merchantId, profileId, input, async (takePlace) => {
        for (;;) {
          const known =
            fingerprint === undefined
              ? undefined
              : await store.findByFingerprint(merchantId, fingerprint)
          if (known !== undefined) {
            await beforeUpdate(known.id)
            const stored = await storeAgain(known, input, keys)
            if (stored !== undefined) return { ...stored, isNew: false }
            continue
          }
          const id = ids.paymentMethod()
          const place = await takePlace()
          const composed = await compose(keys, merchantId, id, input, undefined, place)
          const { details, cvc, alias, sealed } = composed
          const record: PaymentMethodRecord = {
            merchantId,
            id,
            customerId: input.customerId,
            fingerprint,
            createdAtMs: nowMs,
            expiresAtMs: input.isVolatile ? nowMs + limits.volatileTtlMs : undefined,
            revision: 0,
            ...sealed,
          }
          const result = await store.insertPaymentMethod(record, cvc, alias)
          switch (result.kind) {
            case 'inserted':
              return {
                record,
                details,
                cvcExpiresAtMs: cvc?.expiresAtMs,
                lastUsedAtMs: undefined,
                isNew: true,
              }
            case 'no_customer':
              throw noCustomer()
            case 'exists':
              continue // another request stored it meanwhile: it is found now
            default:
              return result satisfies never
          }
        }
      })
    },

    /** A payment method whose instrument is still to come. The secret is seen this once. */
    async createIntent(
      merchantId: MerchantId,
      input: NewIntent,
    ): Promise<{ method: PaymentMethod; clientSecret: string }> {
      const keys = await keyring.keysOf(merchantId)
      const id = ids.paymentMethod()
      const clientSecret = newClientSecret()
      const details: Details = {
        awaiting: {
          secretHash: keyring.hashClientSecret(id, clientSecret),
          profileId: (await expectProfile(store, merchantId, input.profile)).id,
          tries: 0,
        },
        subtype: null,
        billing: input.billing,
        metadata: input.metadata,
      }
      const nowMs = clock()
      const record: PaymentMethodRecord = {
        merchantId,
        id,
        customerId: input.customerId,
        fingerprint: undefined,
        createdAtMs: nowMs,
        expiresAtMs: nowMs + limits.intentTtlMs,
        revision: 0,
        ...sealValues(keys, id, {}),
        details: sealDetails(keys, id, details),
      }
      const result = await store.insertPaymentMethod(record, undefined)
      if (result.kind === 'no_customer') {
        throw noCustomer()
      }
      const method = { record, details, cvcExpiresAtMs: undefined, lastUsedAtMs: undefined }
      return { method, clientSecret }
    },

    /** Throws `unauthenticated` unless the client holds the secret of that intent. */
    async expectClient(client: Client, named: string): Promise<void> {
      const id = parsePaymentMethodId(named)
      const record =
        id === undefined ? undefined : await store.findPaymentMethod(client.merchantId, id)
      const details =
        record === undefined || isExpired(record) ? undefined : await openDetails(record)
      const isPermitted =
        id !== undefined &&
        details !== undefined &&
        'awaiting' in details &&
        details.awaiting.profileId === client.profileId &&
        isSameHash(details.awaiting.secretHash, keyring.hashClientSecret(id, client.clientSecret))
      if (!isPermitted) throw new AppError('unauthenticated')
    },

    /** A client tries to bring the instrument. Throws `rate_limited` when it has tried too often, and `conflict`. */
    async countTry(merchantId: MerchantId, id: PaymentMethodId): Promise<void> {
      for (;;) {
        const before = await find(merchantId, id)
        const known = awaitingOf(await openDetails(before))
        const { awaiting } = known
        if (awaiting.tries >= limits.intentTries) throw new AppError('rate_limited')
        const keys = await keyring.keysOf(merchantId)
        const counted: Details = { ...known, awaiting: { ...awaiting, tries: awaiting.tries + 1 } }
        const record = { ...before, details: sealDetails(keys, id, counted) }
        if (await store.replacePaymentMethod(record, undefined)) return
      }
    },

    /**
     * Gives the intent its instrument, after `beforeUpdate` has settled for each payment method that changes. Where its
     * customer has that instrument already, the answer is that payment method, and the intent's id leads to it until the
     * intent expires. Throws `not_found`, `token_expired`, and `conflict` for what is no intent any more.
     */
    async confirmIntent(
      merchantId: MerchantId,
      id: PaymentMethodId,
      input: Pick<NewPaymentMethod, 'instrument' | 'subtype'>,
      beforeUpdate: BeforeUpdate,
    ): Promise<PaymentMethod> {
      const intent = await find(merchantId, id)
      const { awaiting } = awaitingOf(await openDetails(intent))
      const { profileId } = awaiting
      const { customerId } = intent
      const whole: NewPaymentMethod = {
        ...input,
        profile: profileId,
        customerId,
        isVolatile: false,
        billing: null,
        metadata: null,
      }
      return placing(merchantId, profileId, whole, async (takePlace) => {
        for (;;) {
          const before = await find(merchantId, id)
          const known = awaitingOf(await openDetails(before))
          const keys = await keyring.keysOf(merchantId)
          const { billing, metadata } = known
          const said: NewPaymentMethod = { ...whole, billing, metadata }
          const fingerprint = fingerprintOf(keys, said, profileId)
          const same = fingerprint && (await store.findByFingerprint(merchantId, fingerprint))
          await beforeUpdate(id)
          if (same !== undefined) {
            await beforeUpdate(same.id)
            const stored = await storeAgain(same, said, keys)
            if (stored === undefined) continue // changed or deleted meanwhile
            const details: Details = { became: same.id, subtype: null, billing, metadata }
            const led = { ...before, details: sealDetails(keys, id, details) }
            if (await store.replacePaymentMethod(led, undefined)) return stored
            continue // another confirmation was first
          }
          const place = await takePlace()
          const composed = await compose(keys, merchantId, id, said, undefined, place)
          const { details, cvc, alias, sealed } = composed
          const record: PaymentMethodRecord = {
            ...before,
            ...sealed,
            fingerprint,
            expiresAtMs: undefined,
          }
          const result = await store.confirmPaymentMethod(record, cvc, alias)
          switch (result.kind) {
            case 'confirmed':
              return { record, details, cvcExpiresAtMs: cvc?.expiresAtMs, lastUsedAtMs: undefined }
            case 'changed':
            case 'exists':
              continue // it is looked at again, and what was stored meanwhile is found
            default:
              return result satisfies never
          }
        }
      })
    },

    /** `remove` deletes the customer with all its payment methods. Throws `external_vault_unavailable`: then it does not. */
    async releasingAllOf(
      merchantId: MerchantId,
      customerId: CustomerId,
      remove: () => Promise<readonly PaymentMethodRecord[] | undefined>,
    ): Promise<readonly PaymentMethodRecord[] | undefined> {
      return releasing(await store.listPaymentMethods(merchantId, customerId), remove)
    },

    /** Is its number in an external vault, where we put it and have to delete it? */
    async isInserted(record: PaymentMethodRecord): Promise<boolean> {
      return (await insertedPlace(record)) !== undefined
    },

    /** Throws `not_found`. */
    async expectStored(merchantId: MerchantId, id: PaymentMethodId): Promise<PaymentMethodRecord> {
      const record = await store.findPaymentMethod(merchantId, id)
      if (record === undefined) throw new AppError('not_found')
      return record
    },

    async retrieve(merchantId: MerchantId, id: PaymentMethodId): Promise<PaymentMethod> {
      const method = await view(await find(merchantId, id))
      const { details } = method
      return 'became' in details ? view(await find(merchantId, details.became)) : method
    },

    /** Those with an instrument, in the order they were created. */
    async list(merchantId: MerchantId, customerId: CustomerId): Promise<ListedPaymentMethod[]> {
      if ((await store.findCustomer(merchantId, customerId)) === undefined)
        throw new AppError('not_found')
      const stored = await store.listPaymentMethods(merchantId, customerId)
      const records = stored.filter((record) => record.fields !== 0 && !isExpired(record))
      const uses = await lastUses.of(
        merchantId,
        records.map(({ id }) => id),
      )
      const listed: ListedPaymentMethod[] = []
      for (const [index, record] of records.entries()) {
        const keys = keyring.keysOf(merchantId, record.details)
        // Without a turn of the loop for each where the keys are in memory: there may be thousands.
        const loaded = keys instanceof Promise ? await keys : keys
        listed.push({ record, details: openWith(loaded, record), lastUsedAtMs: uses[index] })
      }
      return listed
    },

    /** The instrument is opened and sealed again without leaving this function. Throws `conflict` for names of what is no card. */
    async update(
      merchantId: MerchantId,
      id: PaymentMethodId,
      changes: Changes,
    ): Promise<PaymentMethod> {
      const { cvc: newCvc, billing, metadata, ...names } = changes
      const changesCard = newCvc !== undefined || Object.keys(names).length > 0
      for (;;) {
        const before = await find(merchantId, id)
        const keys = await keyring.keysOf(merchantId, before.card)
        const known = await openDetails(before)
        if (changesCard && !('card' in known)) throw new AppError('conflict')
        const details: Details = {
          ...known,
          ...('card' in known ? { card: { ...known.card, ...names } } : {}),
          billing: billing ?? known.billing,
          metadata: metadata ?? known.metadata,
        }
        const record: PaymentMethodRecord = {
          ...before,
          ...(changesCard ? sealAgain(keys, before, details) : {}),
          details: sealDetails(keys, id, details),
        }
        const cvc = await sealCvc(merchantId, id, newCvc)
        if (await store.replacePaymentMethod(record, cvc)) return view(record)
      }
    },

    /** Throws `not_found`, and `external_vault_unavailable`: then nothing is deleted here, and it may be repeated. */
    async remove(merchantId: MerchantId, id: PaymentMethodId): Promise<void> {
      const record = await store.findPaymentMethod(merchantId, id)
      if (record === undefined) throw new AppError('not_found')
      const removed = await releasing([record], async () => {
        const last = await store.deletePaymentMethod(merchantId, id)
        return last && [last]
      })
      if (removed === undefined) throw new AppError('not_found')
    },
  }

  /** The same number or alias under the texts that `details` has now. */
  function sealAgain(keys: OwnerKeys, { card, id }: PaymentMethodRecord, details: Details) {
    const plaintext = keys.open(card, 'card', id)
    try {
      return sealValues(keys, id, { ...decodeCard(plaintext), ...cardTexts(details) })
    } finally {
      plaintext.fill(0)
    }
  }
}

/** Throws `conflict` for what is no intent, or none any more. */
function awaitingOf(details: Details): Extract<Details, { awaiting: unknown }> {
  if (!('awaiting' in details)) throw new AppError('conflict')
  return details
}

function noCustomer(): AppError {
  return new AppError('not_found', { details: { field: 'customer_id' } })
}
