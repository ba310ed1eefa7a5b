// Ports for tests that need a number before anybody listens there. None of those that the system hands out: other tests
// run at the same time, and what is free at one moment is theirs at the next.

import { once } from 'node:events'
import { createServer } from 'node:net'

const [FIRST, COUNT] = [20_000, 10_000]

let nth = process.pid * 101 // tests that run beside each other begin far apart

/** Nobody listens there, and nobody but the caller will; never the same twice. */
export async function freePort(): Promise<number> {
  for (;;) {
    nth += 1
    const port = FIRST + (nth % COUNT)
    const server = createServer().listen(port, '127.0.0.1')
    try {
      await once(server, 'listening')
    } catch {
      continue
    }
    server.close()
    await once(server, 'close')
    return port
  }
}
