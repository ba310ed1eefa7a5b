// What all scanners share: finding placeholders and the position each stands in, on the raw bytes. Nothing is parsed
// and written again, so outside the placeholders every byte stays as it was sent.

import type { Encoder } from '../encode.ts'
import type { Place } from '../place.ts'
import { nextOpener, openerAt, type Placeholder, readPlaceholder } from '../placeholder.ts'
import { Refusal } from '../refusal.ts'

/** A placeholder in its position. `start` and `end` count from the beginning of the text or window. */
export type Found = Placeholder & {
  readonly start: number
  readonly encode: Encoder
  readonly place: Place
}

export const NOTHING_FOUND: readonly Found[] = []

/**
 * Takes a body in windows. Each begins where the scanner got to in the one before: what it has not got through, it is
 * shown again with more behind it. The same placeholders are found however a body is cut.
 */
export interface Scanner {
  /**
   * Adds what it finds and answers how far it has got. With `isLast` that is the end of the window. Throws Refusal.
   */
  scan(window: Buffer, isLast: boolean, found: Found[]): number
}

/** What a scanner may leave in one window: names, tags and the like that are longer are refused. */
export const MAX_HELD_BYTES = 64 * 1024

/** What is longer no rule names, and it has no place. */
export const MAX_PLACE_LENGTH = 512

const MAX_PLACEHOLDERS = 20_000

/** Text without a structure between `from` and the end: answers how far it has got. */
export function scanRun(
  window: Buffer,
  from: number,
  isLast: boolean,
  encode: Encoder,
  place: Place,
  found: Found[],
): number {
  for (let at = from; ; ) {
    at = nextOpener(window, at, isLast)
    if (at === -1) return window.length
    if (openerAt(window, at) === 'cut') return at
    const placeholder = readPlaceholder(window, at, isLast, lastTokenOf(found))
    if (placeholder === 'cut') return at
    addFound(found, placeholder, at, encode, place)
    at = placeholder.end
  }
}

export function lastTokenOf(found: readonly Found[]): string | undefined {
  return found.length === 0 ? undefined : (found[found.length - 1] as Found).token
}

/** Throws Refusal: what a window can make us do at once has an end. */
export function addFound(
  found: Found[],
  { end, field, token, filters, isJson }: Placeholder,
  start: number,
  encode: Encoder,
  place: Place,
): void {
  if (found.length === MAX_PLACEHOLDERS) throw new Refusal('body_too_large')
  found.push({ start, end, field, token, filters, isJson, encode, place })
}
