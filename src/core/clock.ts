// Time is an argument, so that tests can move it. Milliseconds since the Unix epoch.

export type Clock = () => number

export const systemClock: Clock = Date.now

/** ISO 8601 in UTC with milliseconds, as every time on the wire is written. */
export function isoTime(ms: number): string {
  return new Date(ms).toISOString()
}
