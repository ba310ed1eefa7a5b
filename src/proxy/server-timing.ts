// The Server-Timing header: where the time of a request went, for the developer tools and traces of the caller. Made
// for every answer, so by hand.

/** Milliseconds; undefined is a part that did not happen, as an answer that never came. */
export type Timings = {
  readonly vaultMs: number | undefined
  readonly connectMs: number | undefined
  readonly upstreamMs: number | undefined
  readonly totalMs: number | undefined
}

/** `vault;dur=0.1, connect;dur=12, upstream;dur=83.2, total;dur=95.4`, or empty. */
export function serverTiming({ vaultMs, connectMs, upstreamMs, totalMs }: Timings): string {
  let text = ''
  if (vaultMs !== undefined) text = `vault;dur=${tenths(vaultMs)}`
  if (connectMs !== undefined) text += `${separator(text)}connect;dur=${tenths(connectMs)}`
  if (upstreamMs !== undefined) text += `${separator(text)}upstream;dur=${tenths(upstreamMs)}`
  if (totalMs !== undefined) text += `${separator(text)}total;dur=${tenths(totalMs)}`
  return text
}

const separator = (text: string) => (text === '' ? '' : ', ')

/**
 * A clock that was set back must not make a duration negative. Of two whole numbers: a fraction as text costs more than
 * all the rest here.
 */
function tenths(ms: number): string {
  const count = Math.max(0, Math.round(ms * 10))
  const whole = Math.floor(count / 10)
  const rest = count - 10 * whole
  return rest === 0 ? `${whole}` : `${whole}.${rest}`
}
