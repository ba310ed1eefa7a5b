// Time is an argument, so that tests can move it. Milliseconds since the Unix epoch.

export type Clock = () => number

export const systemClock: Clock = Date.now

// Audit lines and answers come many in a second, and a Date for each would take 0.5 µs.
let knownSecond = Number.NaN
let knownText = ''

/** ISO 8601 in UTC with milliseconds, as every time on the wire is written. */
export function isoTime(ms: number): string {
  const second = Math.floor(ms / 1000)
  if (second !== knownSecond) {
    knownText = new Date(second * 1000).toISOString().slice(0, -'000Z'.length)
    knownSecond = second
  }
  const rest = Math.floor(ms) - 1000 * second
  return `${knownText}${rest < 10 ? '00' : rest < 100 ? '0' : ''}${rest}Z`
}

/** For what only measures how long ago something was: nobody sets it. */
export const monotonic: Clock = () => Math.floor(performance.now())
