// The payment processor at the end of every case: a plain node:http server with one short answer. It compares every
// body it gets, also under load, so that a contender which is fast because it is wrong is found out.

import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'

/** About 250 bytes. */
export const ANSWER = JSON.stringify({
  id: 'pay_7f3kq2nv5b6ehm4twzj1x0c8ra',
  status: 'Authorized',
  approved: true,
  amount: 6540,
  currency: 'EUR',
  response_code: '10000',
  auth_code: '643381',
  reference: 'order-2026-000117',
  processed_on: '2026-05-04T10:11:12Z',
  source: { scheme: 'Visa', last4: '4242' },
})

export type Upstream = {
  readonly origin: string
  /** From now on this is the right body, and the count of wrong ones starts at zero. */
  expect(body: string): void
  readonly wrongBodies: number
  readonly last: { readonly headers: IncomingHttpHeaders; readonly body: Buffer } | undefined
  close(): void
}

// Longer than any run, so that no contender meets a connection that is being closed.
const KEEP_ALIVE_MS = 600_000

export async function startUpstream(): Promise<Upstream> {
  let expected = Buffer.alloc(0)
  let wrongBodies = 0
  let last: Upstream['last']
  const answer = Buffer.from(ANSWER)
  const head = ['Content-Type', 'application/json', 'Content-Length', String(answer.length)]

  const server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS }, (request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const [first] = chunks
      const body = chunks.length === 1 && first !== undefined ? first : Buffer.concat(chunks)
      if (!body.equals(expected)) wrongBodies += 1
      last = { headers: request.headers, body }
      response.writeHead(200, head)
      response.end(answer)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    expect(body) {
      expected = Buffer.from(body)
      wrongBodies = 0
    },
    get wrongBodies() {
      return wrongBodies
    },
    get last() {
      return last
    },
    close() {
      server.close()
      server.closeAllConnections()
    },
  }
}
