// From the body of a request, whose numbers and codes were lifted, to an instrument. Every refusal names the field.

import type { Static } from 'typebox'
import { parseCardNumber } from '../../core/card-number.ts'
import { AppError, invalidField } from '../../core/errors.ts'
import { type Expiry, isExpired, parseExpiry } from '../../core/expiry.ts'
import { parseIban } from '../../core/iban.ts'
import type { JsonObject } from '../../core/json.ts'
import { parseAccountNumber, parseRoutingNumber } from '../../core/us-bank-account.ts'
import { cleanText } from '../clean-text.ts'
import { secretOf } from '../lift.ts'
import {
  type CardDescription,
  type NewInstrument,
  type NewWallet,
  WALLET_TOKEN_MAX,
} from './instrument.ts'
import type { Changes } from './payment-methods.ts'
import type {
  BankDebitBody,
  CardBody,
  PaymentMethodData,
  PaymentMethodType,
  ProxyCardBody,
  WalletBody,
} from './schemas.ts'

const LONGEST_NUMBER = 64
/**
 * Mailbox (RFC 5321, 4.1.2) without quotes, host name (RFC 1123, 2.1). Nothing invisible: two addresses that look the same
 * would be two accounts.
 */
const EMAIL =
  /^(?!\.)[^\s@"(),:;<>[\\\]\p{C}\p{Z}\p{Default_Ignorable_Code_Point}\u2800]{1,64}(?<!\.)@(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$/u

/**
 * `secrets`: what was lifted out of the body, all of it has to be the instrument's. Throws `missing_field`,
 * `invalid_value`, `malformed_body`.
 */
export function parseInstrument(
  type: PaymentMethodType,
  data: Static<typeof PaymentMethodData>,
  secrets: readonly Buffer[],
  nowMs: number,
): NewInstrument {
  const names = Object.keys(data)
  if (names.length > 1) throw invalidField('invalid_value', 'payment_method_data')
  const used: Buffer[] = []
  const take = (text: string): Buffer | undefined => {
    const secret = secretOf(text, secrets)
    if (secret !== undefined) used.push(secret)
    return secret !== undefined && secret.length <= LONGEST_NUMBER ? secret : undefined
  }
  const instrument = parseData(type, data, take, nowMs)
  // Said twice, or where no number belongs.
  if (used.length !== secrets.length) throw new AppError('malformed_body')
  return instrument
}

type Take = (text: string) => Buffer | undefined

function parseData(
  type: PaymentMethodType,
  { card, proxy_card, wallet, bank_debit }: Static<typeof PaymentMethodData>,
  take: Take,
  nowMs: number,
): NewInstrument {
  switch (type) {
    case 'card': {
      if (proxy_card !== undefined) return parseProxyCard(proxy_card, take, nowMs)
      return parseCard(said('card', card), take, nowMs)
    }
    case 'wallet':
      return parseWallet(said('wallet', wallet))
    case 'bank_debit':
      return parseBankDebit(said('bank_debit', bank_debit), take)
    default:
      return type satisfies never
  }
}

function said<T>(field: string, value: T | undefined): T {
  if (value === undefined) throw invalidField('missing_field', field)
  return value
}

function parseCard(card: CardBody, take: Take, nowMs: number): NewInstrument {
  const secret = take(card.card_number)
  const number = secret === undefined ? undefined : parseCardNumber(secret)
  if (number === undefined) throw invalidField('invalid_value', 'card_number')
  return {
    kind: 'card',
    number,
    expiry: parseDate(card, nowMs),
    cvc: parseCvc(card.card_cvc, take),
    description: parseDescription(card),
  }
}

function parseProxyCard(card: ProxyCardBody, take: Take, nowMs: number): NewInstrument {
  const alias = take(card.card_number)
  const isAlias =
    alias?.every((byte) => byte > 0x20 && byte < 0x7f && byte !== 0x22 && byte !== 0x5c) ?? false
  if (alias === undefined || !isAlias) throw invalidField('invalid_value', 'card_number')
  return {
    kind: 'proxy_card',
    alias: alias.toString('latin1'),
    bin: card.bin_number ?? null,
    last4: card.last_four ?? null,
    expiry: parseDate(card, nowMs),
    cvc: parseCvc(card.card_cvc, take),
    description: parseDescription(card),
  }
}

function parseDate(
  { card_exp_month, card_exp_year }: Pick<CardBody, 'card_exp_month' | 'card_exp_year'>,
  nowMs: number,
): Expiry {
  const parsed = parseExpiry(card_exp_month, card_exp_year)
  if (parsed === undefined) {
    const isMonth = parseExpiry(card_exp_month, '2000') !== undefined
    throw invalidField('invalid_value', isMonth ? 'card_exp_year' : 'card_exp_month')
  }
  if (isExpired(parsed, nowMs)) throw invalidField('invalid_value', 'card_exp_year')
  return parsed
}

/** Undefined when none was said. */
function parseCvc(text: string | undefined, take: Take): Buffer | undefined {
  if (text === undefined) return undefined
  const secret = take(text)
  const isCode =
    secret !== undefined &&
    (secret.length === 3 || secret.length === 4) &&
    secret.every((byte) => byte >= 0x30 && byte <= 0x39)
  if (!isCode) throw invalidField('invalid_value', 'card_cvc')
  return secret
}

type SaidOfCard = { readonly [Name in keyof CardDescription]?: string | undefined }

function parseDescription(card: SaidOfCard): CardDescription {
  return {
    card_holder_name: cleanText('card_holder_name', card.card_holder_name),
    nick_name: cleanText('nick_name', card.nick_name),
    card_network: card.card_network ?? null,
    card_issuer: cleanText('card_issuer', card.card_issuer),
    card_type: card.card_type ?? null,
    card_issuing_country: card.card_issuing_country ?? null,
  }
}

function parseWallet(wallet: WalletBody): NewWallet {
  const { paypal, apple_pay, google_pay } = wallet
  if (Object.keys(wallet).length !== 1) throw invalidField('invalid_value', 'wallet')
  if (paypal !== undefined) {
    const email = cleanText('email', paypal.email)?.normalize('NFC') ?? ''
    if (!EMAIL.test(email)) throw invalidField('invalid_value', 'email')
    return { kind: 'wallet', wallet: 'paypal', email }
  }
  if (apple_pay !== undefined) {
    const { payment_method, transaction_identifier } = apple_pay
    return {
      kind: 'wallet',
      wallet: 'apple_pay',
      token: jsonText('payment_data', apple_pay.payment_data),
      shown: cleanTexts({
        ...payment_method,
        ...(transaction_identifier === undefined ? {} : { transaction_identifier }),
      }),
    }
  }
  const { tokenization_data, info, ...named } = said('google_pay', google_pay)
  return {
    kind: 'wallet',
    wallet: 'google_pay',
    token: tokenization_data.token,
    shown: cleanTexts({ ...info, ...named }),
  }
}

/** A token that comes as JSON is kept as its text, which may be longer than what was sent. Throws `invalid_value`. */
function jsonText(field: string, token: string | JsonObject): string {
  const text = typeof token === 'string' ? token : JSON.stringify(token)
  if (text.length > WALLET_TOKEN_MAX) throw invalidField('invalid_value', field)
  return text
}

function cleanTexts(texts: Readonly<Record<string, unknown>>): JsonObject {
  for (const [name, text] of Object.entries(texts)) {
    if (typeof text === 'string') cleanText(name, text)
  }
  return texts
}

function parseBankDebit(bank: BankDebitBody, take: Take): NewInstrument {
  const { sepa, ach } = bank
  if (Object.keys(bank).length !== 1) throw invalidField('invalid_value', 'bank_debit')
  if (sepa !== undefined) {
    const secret = take(sepa.iban)
    const iban = secret === undefined ? undefined : parseIban(secret)
    if (iban === undefined) throw invalidField('invalid_value', 'iban')
    const accountHolderName = cleanText('account_holder_name', sepa.account_holder_name)
    return { kind: 'bank_debit', bank: 'sepa', iban, accountHolderName }
  }
  const { account_number, routing_number, account_holder_name } = said('ach', ach)
  const secret = take(account_number)
  const accountNumber = secret === undefined ? undefined : parseAccountNumber(secret)
  if (accountNumber === undefined) throw invalidField('invalid_value', 'account_number')
  const routingNumber = parseRoutingNumber(routing_number)
  if (routingNumber === undefined) throw invalidField('invalid_value', 'routing_number')
  return {
    kind: 'bank_debit',
    bank: 'ach',
    accountNumber,
    routingNumber,
    accountHolderName: cleanText('account_holder_name', account_holder_name),
  }
}

/** Of wallets and banks it is which one, and may be left out. Throws `invalid_value`. */
export function parseSubtype(instrument: NewInstrument, said: string | undefined): string | null {
  const known =
    instrument.kind === 'wallet'
      ? instrument.wallet
      : instrument.kind === 'bank_debit'
        ? instrument.bank
        : undefined
  if (known !== undefined && said !== undefined && said !== known) {
    throw invalidField('invalid_value', 'payment_method_subtype')
  }
  return known ?? said ?? null
}

/** Names and code of a card that is stored already. Throws as `parseInstrument`. */
export function parseChanges(
  card: Pick<CardBody, 'card_holder_name' | 'nick_name' | 'card_cvc'>,
  secrets: readonly Buffer[],
): Pick<Changes, 'card_holder_name' | 'nick_name' | 'cvc'> {
  if (secrets.length !== (card.card_cvc === undefined ? 0 : 1)) throw new AppError('malformed_body')
  const holder = cleanText('card_holder_name', card.card_holder_name)
  const nick = cleanText('nick_name', card.nick_name)
  return {
    ...(holder === null ? {} : { card_holder_name: holder }),
    ...(nick === null ? {} : { nick_name: nick }),
    cvc: parseCvc(card.card_cvc, (text) => secretOf(text, secrets)),
  }
}
