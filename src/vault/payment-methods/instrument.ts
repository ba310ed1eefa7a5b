// Instruments: what a payment method is of. From each come three things: what is sealed (a placeholder can name it), what
// may be shown, and what makes it the same instrument when it comes again. All of them are pure.

import { type CardDigits, cardBin, cardNetwork, lastFour } from '../../core/card-number.ts'
import type { Expiry } from '../../core/expiry.ts'
import { type Iban, ibanCountry, ibanLastFour } from '../../core/iban.ts'
import type { PaymentMethodId, ProfileId } from '../../core/ids.ts'
import type { JsonObject } from '../../core/json.ts'
import type { AccountNumber, RoutingNumber } from '../../core/us-bank-account.ts'
import type { FingerprintKind } from '../../crypto/fingerprint.ts'
import type { ClientSecretHash } from '../../crypto/key-hash.ts'
import type { BinEntry } from '../bin-table.ts'
import type { CardPlace } from '../external/external-cards.ts'
import type { StoredValues } from './card-record.ts'

/** What the caller says about a card besides number and code; `null`: not said. */
export type CardDescription = {
  readonly card_holder_name: string | null
  readonly nick_name: string | null
  readonly card_network: string | null
  readonly card_issuer: string | null
  readonly card_type: string | null
  readonly card_issuing_country: string | null
}

type Card = {
  /** Overwritten by whoever lifted it. */
  readonly cvc: Buffer | undefined
  readonly expiry: Expiry
  readonly description: CardDescription
}

export type NewCard = Card & {
  readonly kind: 'card'
  /** Overwritten by whoever lifted it. */
  readonly number: CardDigits
}

/** A card whose number another vault keeps, under an alias of that vault's. */
export type NewProxyCard = Card & {
  readonly kind: 'proxy_card'
  /** No secret: nobody but that vault can make a number of it. */
  readonly alias: string
  readonly bin: string | null
  readonly last4: string | null
}

/** Characters of a wallet's token. */
export const WALLET_TOKEN_MAX = 16_384

export const WALLETS = ['paypal', 'apple_pay', 'google_pay'] as const

export type NewWallet = {
  readonly kind: 'wallet'
} & (
  | { readonly wallet: 'paypal'; readonly email: string }
  /** The token as the wallet's own SDK gave it, and what it says of the card behind it. */
  | {
      readonly wallet: 'apple_pay' | 'google_pay'
      readonly token: string
      readonly shown: JsonObject
    }
)

export const BANK_DEBITS = ['sepa', 'ach'] as const

export type NewBankDebit = {
  readonly kind: 'bank_debit'
  readonly accountHolderName: string | null
} /** Numbers are overwritten by whoever lifted them. */ & (
  | { readonly bank: 'sepa'; readonly iban: Iban }
  | {
      readonly bank: 'ach'
      readonly accountNumber: AccountNumber
      readonly routingNumber: RoutingNumber
    }
)

export type NewInstrument = NewCard | NewProxyCard | NewWallet | NewBankDebit

/** What may be shown of a card: at most BIN and last four of its number (PCI DSS 3.4.1). */
export type MaskedCard = CardDescription & {
  /** Both null only for a card in another vault whose owner did not say them. */
  readonly bin: string | null
  readonly last4: string | null
  readonly exp_month: string
  readonly exp_year: string
}

export type MaskedWallet =
  | { readonly paypal: { readonly email: string } }
  | { readonly apple_pay: JsonObject }
  | { readonly google_pay: JsonObject }

export type MaskedBankDebit =
  | {
      readonly sepa: {
        readonly country: string
        readonly iban_last4: string
        readonly account_holder_name: string | null
      }
    }
  | {
      readonly ach: {
        readonly account_number_last4: string
        readonly routing_number: string
        readonly account_holder_name: string | null
      }
    }

export type Shown =
  | { readonly card: MaskedCard; readonly external?: External }
  | { readonly wallet: MaskedWallet }
  | { readonly bank_debit: MaskedBankDebit }
  /** The instrument is still to come; a client that holds the secret may bring it. */
  | { readonly awaiting: Awaiting }
  /** An intent whose customer had its instrument already: as this payment method. */
  | { readonly became: PaymentMethodId }

export type Awaiting = {
  readonly secretHash: ClientSecretHash
  /** The one whose pages may bring it. */
  readonly profileId: ProfileId
  readonly tries: number
}

/** The number is in an external vault: put there by us, or by the merchant, who then also removes it. */
export type External = 'inserted' | 'referenced'

export function kindOf(shown: Shown): 'card' | 'wallet' | 'bank_debit' | 'awaiting' {
  if ('card' in shown) return 'card'
  if ('wallet' in shown) return 'wallet'
  return 'bank_debit' in shown ? 'bank_debit' : 'awaiting'
}

export type FindBin = (digits: CardDigits) => BinEntry | undefined

/**
 * `known`: what was shown of the same instrument before; what is not said again stays. `place`: where another vault keeps
 * its number.
 */
export function shownOf(
  instrument: NewInstrument,
  known: Shown | undefined,
  place: CardPlace | undefined,
  findBin: FindBin,
): Shown {
  const knownCard = known !== undefined && 'card' in known ? known : undefined
  switch (instrument.kind) {
    case 'card': {
      const { number } = instrument
      const bin = findBin(number)
      const card = maskedCard(instrument, knownCard?.card, {
        card_network: bin?.network ?? cardNetwork(number) ?? null,
        card_issuer: bin?.issuer ?? null,
        card_type: bin?.type ?? null,
        card_issuing_country: bin?.country ?? null,
      })
      return {
        card: { ...card, bin: cardBin(number), last4: lastFour(number) },
        ...(place === undefined ? {} : { external: 'inserted' }),
      }
    }
    case 'proxy_card': {
      const card = maskedCard(instrument, knownCard?.card, {})
      return {
        card: {
          ...card,
          bin: instrument.bin ?? knownCard?.card.bin ?? null,
          last4: instrument.last4 ?? knownCard?.card.last4 ?? null,
        },
        external: 'referenced',
      }
    }
    case 'wallet':
      return instrument.wallet === 'paypal'
        ? { wallet: { paypal: { email: instrument.email } } }
        : { wallet: { [instrument.wallet]: instrument.shown } as MaskedWallet }
    case 'bank_debit':
      return { bank_debit: maskedBankDebit(instrument) }
    default:
      return instrument satisfies never
  }
}

/** What is said now, before what was said then, before what the table of BINs knows. */
function maskedCard(
  { description, expiry }: Card,
  before: CardDescription | undefined,
  known: Partial<CardDescription>,
): Omit<MaskedCard, 'bin' | 'last4'> {
  const first = (field: keyof CardDescription) =>
    description[field] ?? before?.[field] ?? known[field] ?? null
  return {
    card_holder_name: first('card_holder_name'),
    nick_name: first('nick_name'),
    card_network: first('card_network'),
    card_issuer: first('card_issuer'),
    card_type: first('card_type'),
    card_issuing_country: first('card_issuing_country'),
    exp_month: expiry.month,
    exp_year: expiry.year,
  }
}

function maskedBankDebit(instrument: NewBankDebit): MaskedBankDebit {
  const account_holder_name = instrument.accountHolderName
  if (instrument.bank === 'sepa') {
    const { iban } = instrument
    return {
      sepa: { country: ibanCountry(iban), iban_last4: ibanLastFour(iban), account_holder_name },
    }
  }
  const { accountNumber, routingNumber } = instrument
  // Of a short one four digits would be all of it.
  const hidden = Math.max(4, accountNumber.length - 4)
  return {
    ach: {
      account_number_last4: accountNumber.toString('latin1', hidden),
      routing_number: routingNumber,
      account_holder_name,
    },
  }
}

/** What is sealed. Its texts are copies, its numbers the instrument's own Buffers. `place` as above. */
export function valuesOf(
  instrument: NewInstrument,
  shown: Shown,
  place: CardPlace | undefined,
): StoredValues {
  switch (instrument.kind) {
    case 'card':
    case 'proxy_card':
      return { ...cardTexts(shown), ...numberOf(instrument, place) }
    case 'wallet':
      return instrument.wallet === 'paypal'
        ? { wallet_email: Buffer.from(instrument.email) }
        : { wallet_token: Buffer.from(instrument.token) }
    case 'bank_debit':
      return {
        ...(instrument.bank === 'sepa'
          ? { iban: instrument.iban }
          : {
              account_number: instrument.accountNumber,
              routing_number: Buffer.from(instrument.routingNumber),
            }),
        ...(instrument.accountHolderName === null
          ? {}
          : { account_holder_name: Buffer.from(instrument.accountHolderName) }),
      }
    default:
      return instrument satisfies never
  }
}

function numberOf(
  instrument: NewCard | NewProxyCard,
  place: CardPlace | undefined,
): Pick<StoredValues, 'card_number' | 'external_alias' | 'external_profile'> {
  if (place !== undefined) {
    return {
      external_alias: Buffer.from(place.alias),
      external_profile: Buffer.from(place.profileId),
    }
  }
  // Nobody could ever make a number of it.
  if (instrument.kind === 'proxy_card') throw new Error('an alias without its vault')
  return { card_number: instrument.number }
}

/** The fields of a card that are no secret, as they are shown. */
export function cardTexts(shown: Shown): StoredValues {
  if (!('card' in shown)) return {}
  const { card } = shown
  const texts = {
    card_exp_month: card.exp_month,
    card_exp_year: card.exp_year,
    card_holder_name: card.card_holder_name,
    nick_name: card.nick_name,
    card_network: card.card_network,
    card_issuer: card.card_issuer,
    card_type: card.card_type,
    card_issuing_country: card.card_issuing_country,
  }
  const values: StoredValues = {}
  for (const [name, text] of Object.entries(texts)) {
    if (text !== null) values[name as keyof typeof texts] = Buffer.from(text)
  }
  return values
}

/**
 * What makes it the same instrument, for its fingerprint. An alias is the same within one profile's vault: those of two
 * may call two cards by it. The caller overwrites `bytes`.
 */
export function identityOf(
  instrument: NewInstrument,
  profileId: ProfileId,
): { kind: FingerprintKind; bytes: Buffer } {
  switch (instrument.kind) {
    case 'card':
      return { kind: 'card', bytes: Buffer.from(instrument.number) }
    case 'proxy_card':
      return { kind: 'proxy_card', bytes: Buffer.from(`${profileId}\0${instrument.alias}`) }
    case 'wallet': {
      // Mailboxes differ by case in theory (RFC 5321, 2.4), accounts of wallets do not.
      const account =
        instrument.wallet === 'paypal' ? sameForAllCases(instrument.email) : instrument.token
      return { kind: 'wallet', bytes: Buffer.from(`${instrument.wallet}\0${account}`) }
    }
    case 'bank_debit': {
      const parts =
        instrument.bank === 'sepa'
          ? [Buffer.from('sepa\0'), instrument.iban]
          : [Buffer.from(`ach\0${instrument.routingNumber}\0`), instrument.accountNumber]
      return { kind: 'bank_debit', bytes: Buffer.concat(parts) }
    }
    default:
      return instrument satisfies never
  }
}

/** Small letters may be composed of others than the large ones were. */
function sameForAllCases(text: string): string {
  return text.normalize('NFC').toLowerCase().normalize('NFC')
}

/** The code that came with it. */
export function cvcOf(instrument: NewInstrument): Buffer | undefined {
  return instrument.kind === 'card' || instrument.kind === 'proxy_card' ? instrument.cvc : undefined
}
