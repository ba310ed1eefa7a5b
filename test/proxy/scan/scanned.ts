// What scanning tests ask of a scanner: what it finds and where, what it refuses, and the same for a text in pieces.

import type { Encoder } from '../../../src/proxy/encode.ts'
import type { Place } from '../../../src/proxy/place.ts'
import { Refusal } from '../../../src/proxy/refusal.ts'
import type { Found, Scanner } from '../../../src/proxy/scan/scanner.ts'

/** A placeholder that can be named without a token: for tests of the position. */
export const N = '{{$card_number: t}}'

export function scanAll(scanner: Scanner, text: string | Buffer): Found[] {
  const found: Found[] = []
  scanner.scan(Buffer.from(text), true, found)
  return found
}

/** Each placeholder as its raw spelling and its place. */
export function seen(found: readonly Found[], text: string): [string, Place][] {
  const bytes = Buffer.from(text)
  return found.map(({ start, end, place }) => [bytes.toString('utf8', start, end), place])
}

export function refusalOf(act: () => unknown): string | undefined {
  try {
    act()
    return undefined
  } catch (error) {
    if (error instanceof Refusal) return error.reason
    throw error
  }
}

/** The pieces between the cuts, which need not be in order. */
export function cut(text: Buffer, cuts: readonly number[]): Buffer[] {
  const at = [...new Set(cuts.map((each) => each % (text.length + 1)))].sort((a, b) => a - b)
  return [0, ...at].map((from, i) => text.subarray(from, at[i] ?? text.length))
}

/**
 * What the scanner says of a text that comes in pieces, told as of one that comes as a whole: offsets count from its
 * beginning.
 */
export function scanPieces(scanner: Scanner, pieces: readonly Buffer[]): Found[] {
  const all: Found[] = []
  let held: Buffer = Buffer.alloc(0)
  let passed = 0
  for (const [index, piece] of pieces.entries()) {
    const window = Buffer.concat([held, piece])
    const found: Found[] = []
    const reached = scanner.scan(window, index === pieces.length - 1, found)
    for (const each of found) {
      if (each.end > reached) throw new Error('found beyond what was got through')
      all.push({ ...each, start: each.start + passed, end: each.end + passed })
    }
    held = window.subarray(reached)
    passed += reached
  }
  if (held.length > 0) throw new Error('something is left at the end')
  return all
}

/** Everything that can be compared of a scan: what it finds and how a value would be written there, or its refusal. */
export function outcomeOf(scan: () => readonly Found[]): unknown {
  try {
    return scan().map(({ encode, ...found }) => ({ ...found, written: written(encode) }))
  } catch (error) {
    if (error instanceof Refusal) return error.reason
    throw error
  }
}

/** Where two things are wrong, which of them is told may depend on which is seen first. */
export const refusedOr = (outcome: unknown) => (typeof outcome === 'string' ? 'refused' : outcome)

const SAMPLES = ['4242', 'a"b', 'a:b', "<&]]>'", 'Zo\u00eb \u{1f600}', 'a\r\nb'].map((text) =>
  Buffer.from(text),
)

function written(encode: Encoder): (string | undefined)[] {
  return SAMPLES.map((sample) => {
    const encoded = encode(sample)
    return encoded === undefined ? undefined : Buffer.from(encoded).toString('latin1')
  })
}
