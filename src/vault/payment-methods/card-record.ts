// The plaintext of a stored card: a compact binary layout, never JSON and never a string, so that its fields are
// parts of one Buffer which is overwritten as a whole.
//
//   format (1) ‖ { tag (1) ‖ length (2, big endian) ‖ bytes }*      tag: place in STORED_FIELDS

import {
  type CardField,
  type FieldSet,
  fieldBit,
  STORED_FIELDS,
  type StoredField,
} from '../../core/card-fields.ts'
import { BIN_DIGITS, LONG_BIN_DIGITS, LONG_BIN_MIN_DIGITS } from '../../core/card-number.ts'
import { wipeableBuffer } from '../../core/wipeable.ts'

const FORMAT = 1

export type CardValues = Partial<Record<StoredField, Uint8Array>>

/** A Buffer of its own; the caller seals and overwrites it. */
export function encodeCard(values: CardValues): Buffer {
  let size = 1
  for (const field of STORED_FIELDS) {
    const value = values[field]
    if (value !== undefined) size += 3 + value.length
  }
  const bytes = wipeableBuffer(size)
  bytes[0] = FORMAT
  let at = 1
  for (const [tag, field] of STORED_FIELDS.entries()) {
    const value = values[field]
    if (value === undefined) continue
    bytes[at] = tag
    bytes.writeUInt16BE(value.length, at + 1)
    bytes.set(value, at + 3)
    at += 3 + value.length
  }
  return bytes
}

/** The fields as parts of `plaintext`. */
export function decodeCard(plaintext: Buffer): CardValues {
  if (plaintext[0] !== FORMAT)
    throw new Error('a card was stored in a format this version does not know')
  const values: CardValues = {}
  for (let at = 1; at < plaintext.length; ) {
    const field = STORED_FIELDS[plaintext[at] as number]
    const end = at + 3 + plaintext.readUInt16BE(at + 1)
    if (field !== undefined) values[field] = plaintext.subarray(at + 3, end)
    at = end
  }
  return values
}

/** What a placeholder can name on a card with these values; the code is not among them. */
export function fieldsOf(values: CardValues): FieldSet {
  let set = 0
  for (const field of STORED_FIELDS) if (values[field] !== undefined) set |= fieldBit(field)
  const digits = values.card_number?.length ?? 0
  if (digits > 0) set |= fieldBit('card_bin') | fieldBit('card_last4')
  if (digits >= LONG_BIN_MIN_DIGITS) set |= fieldBit('card_bin8')
  return set
}

/** One field of a revealed card, as a part of its Buffer. */
export function fieldOf(
  values: CardValues,
  field: Exclude<CardField, 'card_cvc'>,
): Uint8Array | undefined {
  const number = values.card_number
  switch (field) {
    case 'card_bin':
      return number?.subarray(0, BIN_DIGITS)
    case 'card_bin8':
      return number !== undefined && number.length >= LONG_BIN_MIN_DIGITS
        ? number.subarray(0, LONG_BIN_DIGITS)
        : undefined
    case 'card_last4':
      return number?.subarray(number.length - 4)
    default:
      return values[field]
  }
}
