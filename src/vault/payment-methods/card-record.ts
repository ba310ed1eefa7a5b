// The plaintext of a stored instrument: a compact binary layout, never JSON and never a string, so that its fields are
// parts of one Buffer which is overwritten as a whole.
//
//   format (1) ‖ { tag (1) ‖ length (2, big endian) ‖ bytes }*      tag: place in STORED_FIELDS, or one of the below

import {
  type CardField,
  type FieldSet,
  fieldBit,
  STORED_FIELDS,
  type StoredField,
} from '../../core/card-fields.ts'
import { BIN_DIGITS, LONG_BIN_DIGITS, LONG_BIN_MIN_DIGITS } from '../../core/card-number.ts'
import type { ProfileId } from '../../core/ids.ts'
import { wipeableBuffer } from '../../core/wipeable.ts'
import type { CardPlace } from '../external/external-cards.ts'

const FORMAT = 1

/** What no placeholder can name: where the number is, if it is in another vault. Tags are storage format. */
const INTERNAL_TAGS = { external_alias: 255, external_profile: 254 } as const

type StoredName = StoredField | keyof typeof INTERNAL_TAGS

const TAGS: readonly (readonly [StoredName, number])[] = [
  ...STORED_FIELDS.map((field, tag) => [field, tag] as const),
  ...(Object.entries(INTERNAL_TAGS) as [keyof typeof INTERNAL_TAGS, number][]),
]
const NAMES: readonly (StoredName | undefined)[] = Array.from(
  { length: 256 },
  (_, tag) => TAGS.find(([, each]) => each === tag)?.[0],
)

export type StoredValues = Partial<Record<StoredName, Uint8Array>>

/** A Buffer of its own; the caller seals and overwrites it. */
export function encodeCard(values: StoredValues): Buffer {
  let size = 1
  for (const [name] of TAGS) {
    const value = values[name]
    if (value !== undefined) size += 3 + value.length
  }
  const bytes = wipeableBuffer(size)
  bytes[0] = FORMAT
  let at = 1
  for (const [name, tag] of TAGS) {
    const value = values[name]
    if (value === undefined) continue
    bytes[at] = tag
    bytes.writeUInt16BE(value.length, at + 1)
    bytes.set(value, at + 3)
    at += 3 + value.length
  }
  return bytes
}

/** The fields as parts of `plaintext`. */
export function decodeCard(plaintext: Buffer): StoredValues {
  if (plaintext[0] !== FORMAT)
    throw new Error('a card was stored in a format this version does not know')
  const values: StoredValues = {}
  for (let at = 1; at < plaintext.length; ) {
    const name = NAMES[plaintext[at] as number]
    const end = at + 3 + plaintext.readUInt16BE(at + 1)
    if (name !== undefined) values[name] = plaintext.subarray(at + 3, end)
    at = end
  }
  return values
}

/** Undefined: its number, if it has one, is among the values. */
export function cardPlace(values: StoredValues): CardPlace | undefined {
  const { external_alias: alias, external_profile: profile } = values
  if (alias === undefined || profile === undefined) return undefined
  return {
    alias: Buffer.from(alias).toString('latin1'),
    profileId: Buffer.from(profile).toString('latin1') as ProfileId, // as it was stored
  }
}

/** What a placeholder can name on a card with these values; the code is not among them. */
export function fieldsOf(values: StoredValues): FieldSet {
  let set = 0
  if (values.external_alias !== undefined) {
    set |= fieldBit('card_number') | fieldBit('card_bin') | fieldBit('card_last4')
  }
  for (const field of STORED_FIELDS) if (values[field] !== undefined) set |= fieldBit(field)
  const digits = values.card_number?.length ?? 0
  if (digits > 0) set |= fieldBit('card_bin') | fieldBit('card_last4')
  if (digits >= LONG_BIN_MIN_DIGITS) set |= fieldBit('card_bin8')
  return set
}

/** One field of a revealed card, as a part of its Buffer. */
export function fieldOf(
  values: StoredValues,
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
