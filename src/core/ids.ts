// Ids of everything the product names: `<cell>_<kind>_<uuidv7 hex>` for what a merchant stores (the shape of
// Hyperswitch's global ids), `<kind>_<uuidv7 hex>` for what an operator makes. UUIDv7 (RFC 9562, 5.7):
// sortable by time, 74 random bits from the CSPRNG. An id names a thing, it never authorises.

import { randomFillSync } from 'node:crypto'
import type { Brand } from './brand.ts'
import type { Clock } from './clock.ts'
import { AppError } from './errors.ts'

export type MerchantId = Brand<string, 'MerchantId'>
export type ProfileId = Brand<string, 'ProfileId'>
export type KeyId = Brand<string, 'KeyId'>
export type CustomerId = Brand<string, 'CustomerId'>
export type PaymentMethodId = Brand<string, 'PaymentMethodId'>
export type TokenId = Brand<string, 'TokenId'>
export type SessionId = Brand<string, 'SessionId'>
export type RequestId = Brand<string, 'RequestId'>

// Random bytes are drawn 4 KB at a time, and written in hex at once: an id is a part of that text (0.05 µs; 0.4 on its own).
const ID_BYTES = 10
const pool = Buffer.allocUnsafeSlow(409 * ID_BYTES)
let poolText = ''
let poolOffset = 0
let lastMs = -1
let lastTime = ''

function refill(): void {
  randomFillSync(pool)
  for (let at = 0; at < pool.length; at += ID_BYTES) {
    pool[at] = ((pool[at] as number) & 0x0f) | 0x70 // version 7
    pool[at + 2] = ((pool[at + 2] as number) & 0x3f) | 0x80 // variant 10
  }
  poolText = pool.toString('hex')
  poolOffset = 0
}

export function uuidv7Hex(nowMs: number): string {
  if (poolOffset === poolText.length) refill()
  const at = poolOffset
  poolOffset += 2 * ID_BYTES
  if (nowMs !== lastMs) {
    lastMs = nowMs
    lastTime = nowMs.toString(16).padStart(12, '0')
  }
  return lastTime + poolText.slice(at, poolOffset)
}

export const CELL = /^[a-z0-9]{5}$/

export function isCell(value: string): boolean {
  return CELL.test(value)
}

export type Ids = {
  readonly customer: () => CustomerId
  readonly paymentMethod: () => PaymentMethodId
  readonly token: () => TokenId
  readonly session: () => SessionId
  readonly merchant: () => MerchantId
  readonly profile: () => ProfileId
  readonly key: () => KeyId
  readonly request: () => RequestId
}

/** `cell`: five lower-case letters or digits that name this installation in the ids it gives out. */
export function createIds(cell: string, clock: Clock): Ids {
  return {
    customer: () => `${cell}_cus_${uuidv7Hex(clock())}` as CustomerId,
    paymentMethod: () => `${cell}_pm_${uuidv7Hex(clock())}` as PaymentMethodId,
    token: () => `${cell}_tok_${uuidv7Hex(clock())}` as TokenId,
    session: () => `${cell}_pms_${uuidv7Hex(clock())}` as SessionId,
    merchant: () => `mer_${uuidv7Hex(clock())}` as MerchantId,
    profile: () => `pro_${uuidv7Hex(clock())}` as ProfileId,
    key: () => `key_${uuidv7Hex(clock())}` as KeyId,
    request: () => `req_${uuidv7Hex(clock())}` as RequestId,
  }
}

// Ids stand in store keys and audit lines. None of these grammars lets a NUL, a separator of ours or, put where an
// id belongs, a card number through.
const MERCHANT_ID = /^mer_[0-9a-f]{32}$/
const CHOSEN_MERCHANT_ID = /^[A-Za-z0-9_-]{1,64}$/
const LONG_NUMBER = /([0-9][_-]?){12}/
const PROFILE_ID = /^pro_[0-9a-f]{32}$/
const KEY_ID = /^key_[0-9a-f]{32}$/
/** `<cell>_<kind>_<32 hex>`; the cell is not checked, ids may have been imported from another one. */
const CUSTOMER_ID = /^[A-Za-z0-9]{1,12}_cus_[0-9a-f]{32}$/
const PAYMENT_METHOD_ID = /^[A-Za-z0-9]{1,12}_pm_[0-9a-f]{32}$/
const TOKEN_ID = /^[A-Za-z0-9]{1,12}_tok_[0-9a-f]{32}$/
const SESSION_ID = /^[A-Za-z0-9]{1,12}_pms_[0-9a-f]{32}$/

/** Ours, or one that an operator chose: without a run of twelve digits. */
export function parseMerchantId(input: string): MerchantId | undefined {
  const isChosen = CHOSEN_MERCHANT_ID.test(input) && !LONG_NUMBER.test(input)
  return isChosen || MERCHANT_ID.test(input) ? (input as MerchantId) : undefined
}

export function parseProfileId(input: string): ProfileId | undefined {
  return PROFILE_ID.test(input) ? (input as ProfileId) : undefined
}

export function parseKeyId(input: string): KeyId | undefined {
  return KEY_ID.test(input) ? (input as KeyId) : undefined
}

export function parseCustomerId(input: string): CustomerId | undefined {
  return CUSTOMER_ID.test(input) ? (input as CustomerId) : undefined
}

export function parsePaymentMethodId(input: string): PaymentMethodId | undefined {
  return PAYMENT_METHOD_ID.test(input) ? (input as PaymentMethodId) : undefined
}

export function parseTokenId(input: string): TokenId | undefined {
  return TOKEN_ID.test(input) ? (input as TokenId) : undefined
}

export function parseSessionId(input: string): SessionId | undefined {
  return SESSION_ID.test(input) ? (input as SessionId) : undefined
}

/** The id, or `not_found`: what cannot be an id looks like one of nothing. */
export function expectId<Id>(parse: (input: string) => Id | undefined, input: string): Id {
  const id = parse(input)
  if (id === undefined) throw new AppError('not_found')
  return id
}
