// The values of placeholders: what was revealed of each token, selected by field and put through the filters. Plaintext
// lives here and in what is spliced from it, and `wipe` overwrites all of it.

import type { RevealedCard } from '../core/card-fields.ts'
import { EXPIRY_FIELD, EXPIRY_PARTS, isJsonPath } from '../core/field.ts'
import { type JsonPath, jsonScalar, selectJson } from '../core/json-path.ts'
import type { RevealedToken } from '../core/revealed-token.ts'
import { wipeableBuffer } from '../core/wipeable.ts'
import { applyFilters, formatExpiry, ValueNotFilterable } from './filter.ts'
import type { Placeholder } from './placeholder.ts'
import { Refusal } from './refusal.ts'

/** A placeholder, wherever it stands. */
type Asked = Omit<Placeholder, 'end'>

export type Revealed = RevealedCard | RevealedToken

/**
 * What the values of one request or window may amount to, with all that filters make on the way. Fifty bytes of
 * placeholder can ask for a megabyte: `pad(9999) | hex | hex | ...`.
 */
const MAX_SPENT_BYTES = 16 * 1024 * 1024

export class Values {
  readonly #revealed: readonly Revealed[]
  /** Where each token stands in `#revealed`. */
  readonly #indexByToken: ReadonlyMap<string, number>
  /** Of placeholders that name none. */
  readonly #token: string | undefined
  readonly #made: Uint8Array[] = []
  /** What each path of each token has selected: its text is walked once. */
  #selected: Map<RevealedToken, Map<JsonPath, readonly Buffer[]>> | undefined
  #spentBytes = 0

  constructor(
    revealed: readonly Revealed[],
    indexByToken: ReadonlyMap<string, number>,
    token: string | undefined,
  ) {
    this.#revealed = revealed
    this.#indexByToken = indexByToken
    this.#token = token
  }

  get tokenCount(): number {
    return this.#revealed.length
  }

  /** Throws Refusal. */
  of(placeholder: Asked): Uint8Array {
    const { token = this.#token, field, filters } = placeholder
    const revealed = this.#revealed[this.#indexByToken.get(token ?? '') ?? -1]
    if (revealed === undefined) throw new Refusal('placeholder_field_missing', field)
    const madeBefore = this.#made.length
    const isWhole = filters[0]?.kind === 'json' && isJsonPath(field)
    const raw = isWhole
      ? this.#json(revealed, field)
      : 'json' in revealed
        ? this.#scalar(revealed, placeholder)
        : this.#cardField(revealed, placeholder)
    const value = filters.length === 0 ? raw : this.#filtered(raw, isWhole, placeholder)
    if (value === undefined) throw new Refusal('placeholder_field_missing', field)
    this.#spentBytes += (raw ?? value).length
    for (let i = madeBefore; i < this.#made.length; i++) {
      this.#spentBytes += (this.#made[i] as Uint8Array).length
    }
    if (this.#spentBytes > MAX_SPENT_BYTES) throw new Refusal('body_too_large')
    return value
  }

  /** A field of a card as it is stored, before any filter. */
  raw({ token = this.#token, field }: Pick<Asked, 'token' | 'field'>): Uint8Array | undefined {
    const revealed = this.#revealed[this.#indexByToken.get(token ?? '') ?? -1]
    if (revealed === undefined || 'json' in revealed) return undefined
    return isJsonPath(field) || field === EXPIRY_FIELD ? undefined : revealed.field(field)
  }

  #filtered(
    raw: Uint8Array | undefined,
    isJson: boolean,
    { filters, field }: Asked,
  ): Uint8Array | undefined {
    try {
      // A date has been formatted already.
      const rest = field === EXPIRY_FIELD ? filters.slice(1) : filters
      return applyFilters(raw, rest, isJson, this.#made)
    } catch (error) {
      if (error instanceof ValueNotFilterable) throw new Refusal('value_not_encodable', field)
      throw error
    }
  }

  #cardField(card: RevealedCard, { field, filters }: Asked): Uint8Array | undefined {
    if (isJsonPath(field)) return undefined
    if (field !== EXPIRY_FIELD) return card.field(field)
    const [month, year] = EXPIRY_PARTS.map((part) => card.field(part))
    const [format] = filters
    if (month === undefined || year === undefined || format?.kind !== 'format') return undefined
    return this.#keep(formatExpiry(format.parts, month, year))
  }

  #scalar(token: RevealedToken, { field }: Asked): Uint8Array | undefined {
    if (!isJsonPath(field)) return undefined
    const selected = this.#select(token, field)
    const [first] = selected
    if (first === undefined) return undefined
    if (selected.length > 1) throw new Refusal('value_not_encodable', field)
    const scalar = jsonScalar(first)
    switch (scalar.kind) {
      case 'null':
        return undefined
      case 'no_scalar':
      case 'unpaired_surrogate':
        throw new Refusal('value_not_encodable', field)
      case 'text':
        return scalar.isNew ? this.#keep(scalar.bytes) : scalar.bytes
      default:
        return scalar satisfies never
    }
  }

  /** As JSON text: what a wildcard selects as an array. */
  #json(revealed: Revealed, path: JsonPath): Uint8Array | undefined {
    if (!('json' in revealed)) return undefined
    const selected = this.#select(revealed, path)
    if (!path.includes('[*]')) return selected[0]
    const length = selected.reduce((sum, each) => sum + each.length + 1, 1)
    const out = this.#keep(wipeableBuffer(Math.max(length, 2)))
    let at = 0
    for (const each of selected) {
      out[at] = at === 0 ? 0x5b : 0x2c
      out.set(each, at + 1)
      at += each.length + 1
    }
    if (at === 0) out[at++] = 0x5b
    out[at] = 0x5d
    return out
  }

  #select(token: RevealedToken, path: JsonPath): readonly Buffer[] {
    this.#selected ??= new Map()
    let byPath = this.#selected.get(token)
    if (byPath === undefined) {
      byPath = new Map()
      this.#selected.set(token, byPath)
    }
    let selected = byPath.get(path)
    if (selected === undefined) {
      selected = selectJson(token.json, path)
      byPath.set(path, selected)
    }
    return selected
  }

  #keep<Bytes extends Uint8Array>(bytes: Bytes): Bytes {
    this.#made.push(bytes)
    return bytes
  }

  wipe(): void {
    for (const each of this.#revealed) each.wipe()
    for (const bytes of this.#made) bytes.fill(0)
  }
}
