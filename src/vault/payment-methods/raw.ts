// Raw details for those who may see them: the plaintext of a payment method as JSON bytes, which the caller overwrites.
// Numbers never become strings; what is no secret comes from the masked details.

import type { RevealedCard } from '../../core/card-fields.ts'
import { wipeableBuffer } from '../../core/wipeable.ts'
import type { Details } from './payment-methods.ts'

/**
 * `{"card":{…}}`, `{"wallet":{…}}` or `{"bank_debit":{…}}` as they may be created again, without the code and without what
 * nobody said.
 */
export function rawPaymentMethodData(details: Details, revealed: RevealedCard): Buffer {
  if ('card' in details) {
    const { bin: _bin, last4: _last4, exp_month, exp_year, ...description } = details.card
    const rest = { card_exp_month: exp_month, card_exp_year: exp_year, ...description }
    return object('{"card":{', 'card_number', revealed.field('card_number'), rest, '}}')
  }
  if ('bank_debit' in details) {
    const bank = details.bank_debit
    if ('sepa' in bank) {
      const { account_holder_name } = bank.sepa
      const iban = revealed.field('iban')
      return object('{"bank_debit":{"sepa":{', 'iban', iban, { account_holder_name }, '}}}')
    }
    const { routing_number, account_holder_name } = bank.ach
    const rest = { routing_number, account_holder_name }
    const number = revealed.field('account_number')
    return object('{"bank_debit":{"ach":{', 'account_number', number, rest, '}}}')
  }
  if ('wallet' in details) {
    const { wallet } = details
    if ('paypal' in wallet) return Buffer.from(JSON.stringify({ wallet }))
    // One-time data of a wallet's SDK, encrypted for whoever processes the payment: a string everywhere else, too.
    const token = Buffer.from(revealed.field('wallet_token') ?? []).toString('utf8')
    if ('apple_pay' in wallet) {
      const { transaction_identifier, ...payment_method } = wallet.apple_pay
      const apple_pay = { payment_data: token, payment_method, transaction_identifier }
      return Buffer.from(JSON.stringify({ wallet: { apple_pay } }))
    }
    const { type, description, ...info } = wallet.google_pay
    const google_pay = { type, description, info, tokenization_data: { token } }
    return Buffer.from(JSON.stringify({ wallet: { google_pay } }))
  }
  return Buffer.from('{}')
}

/** `secret` is digits and letters: nothing of it has to be escaped. */
function object(
  opening: string,
  name: string,
  secret: Uint8Array | undefined,
  rest: object,
  closing: string,
): Buffer {
  const head = Buffer.from(`${opening}"${name}":"`)
  const said = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== null))
  const members = JSON.stringify(said).slice(1, -1)
  const tail = Buffer.from(`"${members === '' ? '' : `,${members}`}${closing}`)
  const digits = secret ?? Buffer.alloc(0)
  const bytes = wipeableBuffer(head.length + digits.length + tail.length)
  bytes.set(head)
  bytes.set(digits, head.length)
  bytes.set(tail, head.length + digits.length)
  return bytes
}
