// Expiry dates of cards: what people write, parsed into what is stored (`03`, `2030`).

export type Expiry = { readonly month: string; readonly year: string }

/** `3` or `03`; two digits mean this century. `undefined` when it is not a month or year. */
export function parseExpiry(month: string, year: string): Expiry | undefined {
  if (!/^(0?[1-9]|1[0-2])$/.test(month) || !/^(20)?[0-9]{2}$/.test(year)) return undefined
  return { month: month.padStart(2, '0'), year: year.padStart(4, '20') }
}

// A card is good to the last day of its month, wherever its holder is: UTC-12 is the last place to see it end.
const LATEST_ZONE_MS = 12 * 3_600_000

export function isExpired(expiry: Expiry, nowMs: number): boolean {
  return nowMs >= Date.UTC(Number(expiry.year), Number(expiry.month), 1) + LATEST_ZONE_MS
}
