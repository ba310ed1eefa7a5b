// The load of autocannon, for who wants to see that our own measures the same. It costs its core about three times as
// much for a request, so that fast contenders wait for it: see `busy`.

import autocannon from 'autocannon'
import type { Target } from './connection.ts'
import type { Load } from './load.ts'

const RESPONSE_TIMEOUT_S = 10
const STOP_POLL_MS = 100
const NEVER_S = 3600

/** `request`: the same every time, and so is its answer. */
export function startAutocannon(
  target: Target,
  request: Buffer,
  answer: string,
  connections: number,
): Load {
  let durationsMs: number[] = []
  const { promise: ended, resolve, reject } = Promise.withResolvers<autocannon.Result>()
  const [head = '', body = ''] = request.toString().split('\r\n\r\n')
  const [start = '', ...lines] = head.split('\r\n')
  const [method = '', path = ''] = start.split(' ')
  const run = autocannon(
    {
      url: target.origin + path,
      method,
      headers: Object.fromEntries(
        lines.map((line) => line.split(': ', 2)).filter(([name]) => name !== 'content-length'),
      ),
      body,
      connections,
      duration: NEVER_S,
      sampleInt: STOP_POLL_MS,
      timeout: RESPONSE_TIMEOUT_S,
      expectBody: answer,
      tlsOptions: { ca: target.ca },
    },
    (error, result) => (error === null ? resolve(result) : reject(error)),
  )
  run.on('response', (_client, _status, _bytes, durationMs) => {
    durationsMs.push(durationMs)
  })
  return {
    failed: new Promise(() => {}), // it tells at its end
    abandoned: connections, // it leaves in the middle
    takeDurationsMs() {
      const taken = durationsMs
      durationsMs = []
      return taken
    },
    async stop() {
      run.stop()
      const { errors, timeouts, non2xx, mismatches } = await ended
      if (errors + timeouts + non2xx + mismatches > 0) {
        throw new Error(
          `${errors} errors, ${timeouts} timeouts, ${non2xx} not 2xx, ${mismatches} wrong answers`,
        )
      }
    },
  }
}
