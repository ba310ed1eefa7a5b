// The listener of API and proxy: looks at the path and hands the request to the data plane or the control plane.
// HTTP/1.1 only, strict parsing, and every limit has a number.

import {
  createServer as createHttpServer,
  type IncomingMessage,
  type Server,
  ServerResponse,
} from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { hasOwnTime } from './own-time.ts'
import { type TakeCall, takeWholeCalls } from './whole-calls.ts'

export type RequestHandler = (request: IncomingMessage, response: ServerResponse) => void

export type TlsFiles = { readonly cert: Buffer; readonly key: Buffer }

const LIMITS = {
  headersTimeout: 10_000,
  requestTimeout: 30_000,
  keepAliveTimeout: 15_000,
  connectionsCheckingInterval: 2_000,
  maxHeaderSize: 16 * 1024,
  requireHostHeader: false, // looked at with the rest of the head, so that its refusal has our shape
  insecureHTTPParser: false,
} as const

const MAX_CONNECTIONS = 20_000
/** For callers that do not read their answers. Above the longest time a destination may be given (600 s). */
const IDLE_TIMEOUT_MS = 660_000
const MAX_HEADERS = 200

/** Before anything is known of a request: no id, no route, the connection ends. */
const BAD_REQUEST =
  '{"error":{"type":"invalid_request","code":"IR_06","reason":"malformed_body","message":"The request is not valid HTTP."}}'

/** `take` is asked about every request that comes whole, before `handle`. */
export function createServer(
  handle: RequestHandler,
  take: TakeCall,
  tls: TlsFiles | undefined,
): Server {
  const server =
    tls === undefined
      ? createHttpServer(LIMITS, handle)
      : createHttpsServer(
          { ...LIMITS, ...tls, minVersion: 'TLSv1.2', ALPNProtocols: ['http/1.1'] },
          handle,
        )
  server.maxConnections = MAX_CONNECTIONS
  server.timeout = IDLE_TIMEOUT_MS
  server.maxHeadersCount = MAX_HEADERS
  takeWholeCalls(server, take, {
    ...LIMITS,
    maxFields: MAX_HEADERS * 2,
    idleTimeout: IDLE_TIMEOUT_MS,
  })
  server.on('checkExpectation', (_request, response) => {
    response.writeHead(417, { 'cache-control': 'no-store', connection: 'close' })
    response.end()
  })
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    // Node says it once for a request, and leaves the rest to us.
    if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT' && hasOwnTime(socket)) return
    if (error.code === 'ECONNRESET' || !socket.writable || isOfAnotherRequest(socket)) {
      socket.destroy()
      return
    }
    const status =
      error.code === 'HPE_HEADER_OVERFLOW'
        ? '431 Request Header Fields Too Large'
        : error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
          ? '408 Request Timeout'
          : '400 Bad Request'
    socket.end(
      `HTTP/1.1 ${status}\r\nContent-Type: application/json; charset=utf-8\r\nCache-Control: no-store\r\nContent-Length: ${BAD_REQUEST.length}\r\nConnection: close\r\n\r\n${BAD_REQUEST}`,
    )
  })
  return server
}

/**
 * Garbage behind a request that is being answered: what we wrote now would be taken for its answer. Node keeps the
 * answer in `_httpMessage` and looks there in its own handler, too.
 */
function isOfAnotherRequest(socket: object): boolean {
  if (!('_httpMessage' in socket) || !(socket._httpMessage instanceof ServerResponse)) return false
  const response = socket._httpMessage
  return response.headersSent || response.req.complete
}

export async function listen(server: Server, host: string, port: number): Promise<AddressInfo> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      resolve()
    })
  })
  return server.address() as AddressInfo
}

/** Stops accepting, lets requests in flight end, and after `timeoutMs` ends what is left; answers with its number. */
export async function drain(servers: readonly Server[], timeoutMs: number): Promise<number> {
  let cut = 0
  const closed = Promise.all(
    servers.map((server) => new Promise<void>((resolve) => server.close(() => resolve()))),
  )
  const timer = setTimeout(() => {
    for (const server of servers) {
      server.getConnections((_error, count) => {
        cut += count
      })
      server.closeAllConnections()
    }
  }, timeoutMs)
  for (const server of servers) server.closeIdleConnections()
  // Connections that are busy now and kept alive afterwards would hold the stop up.
  const sweep = setInterval(() => {
    for (const server of servers) server.closeIdleConnections()
  }, 100)
  await closed
  clearTimeout(timer)
  clearInterval(sweep)
  return cut
}
