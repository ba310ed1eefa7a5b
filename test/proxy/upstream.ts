// What stands at both ends of the proxy in these tests: destinations that the test scripts itself, down to the bytes of
// their sockets, and a caller that sees an answer as it arrived. They count what they saw and promise nothing else.

import { once } from 'node:events'
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import {
  type AddressInfo,
  connect,
  createServer as createNetServer,
  type Server as NetServer,
  type Socket,
} from 'node:net'
import { expect } from 'vitest'
import { ERRORS, type Reason } from '../../src/core/errors.ts'
import { freePort } from '../support/ports.ts'
import { VISA } from '../support/sallyport.ts'

export type Seen = {
  method: string
  url: string
  rawHeaders: string[]
  headers: IncomingMessage['headers']
  body: Buffer
}

export type Upstream = AsyncDisposable & {
  origin: string
  port: number
  /** Requests that arrived whole, oldest first. */
  seen: Seen[]
  /** Connections that were ever accepted. */
  connections: number
  close(): Promise<void>
}

export type Script = (request: Seen, response: ServerResponse) => unknown

/** An HTTP server; without a script it answers every request with `{"ok":true}`. */
export async function startUpstream(
  script: Script = (_, response) => sendOk(response),
  tls?: { key: string; cert: string },
): Promise<Upstream> {
  const seen: Seen[] = []
  const listener: RequestListener = (request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const { method = '', url = '', rawHeaders, headers } = request
      const whole = { method, url, rawHeaders, headers, body: Buffer.concat(chunks) }
      seen.push(whole)
      script(whole, response)
    })
  }
  const server = tls === undefined ? createServer(listener) : createTlsServer(tls, listener)
  return listening(server, tls === undefined ? 'http' : 'https', seen)
}

export function sendOk(response: ServerResponse): void {
  response.setHeader('Content-Type', 'application/json')
  response.end('{"ok":true}')
}

/** A server below HTTP: the script gets the socket and the text of each request whose head has arrived. */
export async function startRawUpstream(
  script: (socket: Socket, head: string) => unknown,
): Promise<Upstream> {
  const seen: Seen[] = []
  const server = createNetServer((socket) => {
    let text = ''
    socket.on('error', () => {}) // resets are part of the play
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1')
      const end = text.indexOf('\r\n\r\n')
      const length = Number(/^content-length: *([0-9]+)/im.exec(text)?.[1] ?? 0)
      if (end === -1 || text.length < end + 4 + length) return
      const head = text.slice(0, end)
      const body = Buffer.from(text.slice(end + 4), 'latin1')
      const [method = '', url = ''] = head.split(' ')
      seen.push({ method, url, rawHeaders: head.split('\r\n').slice(1), headers: {}, body })
      text = ''
      script(socket, head)
    })
  })
  return listening(server as unknown as Server, 'http', seen)
}

const usedPorts = new Set<number>()

/** Never a port of before: an origin belongs to one destination, and those of earlier tests are still there. */
export async function listenOnNewPort(server: NetServer): Promise<number> {
  for (;;) {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    if (!usedPorts.has(port)) {
      usedPorts.add(port)
      return port
    }
    server.close()
    await once(server, 'close')
  }
}

async function listening(server: Server, scheme: string, seen: Seen[]): Promise<Upstream> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    upstream.connections += 1
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  const port = await listenOnNewPort(server)
  const close = async () => {
    if (!server.listening) return
    const closed = once(server, 'close')
    server.close()
    for (const socket of sockets) socket.destroy()
    await closed
  }
  const upstream: Upstream = {
    origin: `${scheme}://127.0.0.1:${port}`,
    port,
    seen,
    connections: 0,
    close,
    [Symbol.asyncDispose]: close,
  }
  return upstream
}

/** A port on which nobody listens. */
export const closedPort = freePort

export type Reply = {
  status: number
  rawHeaders: string[]
  headers: IncomingMessage['headers']
  body: Buffer
  text: string
  json: any
  /** False when the connection ended before the answer did. */
  isWhole: boolean
}

/** A request as it is told to Node, and its answer with nothing hidden. `body` in pieces is sent in chunks. */
export async function send(
  origin: string,
  method: string,
  path: string,
  headers: Record<string, string | string[]> | string[] = {},
  body?: string | Buffer | readonly string[],
): Promise<Reply> {
  const request = httpRequest(`${origin}`, { method, path, headers, agent: false })
  if (Array.isArray(body)) for (const piece of body) request.write(piece)
  else if (body !== undefined) request.write(body)
  request.end()
  const response = await new Promise<IncomingMessage | undefined>((resolve) => {
    request.on('response', resolve)
    request.on('error', () => resolve(undefined))
  })
  return response === undefined ? NO_REPLY : readReply(response)
}

/** The connection ended before a head came. */
export const NO_REPLY: Reply = {
  status: 0,
  rawHeaders: [],
  headers: {},
  body: Buffer.alloc(0),
  text: '',
  json: undefined,
  isWhole: false,
}

export async function readReply(response: IncomingMessage): Promise<Reply> {
  const chunks: Buffer[] = []
  response.on('data', (chunk: Buffer) => chunks.push(chunk))
  response.on('error', () => {}) // told by isWhole
  await new Promise((resolve) => response.once('close', resolve))
  const { statusCode: status = 0, rawHeaders, headers, complete: isWhole } = response
  const body = Buffer.concat(chunks)
  const text = body.toString()
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    // not every answer is JSON
  }
  return { status, rawHeaders, headers, body, text, json, isWhole }
}

/** Bytes to the port as they are, and all that comes back until the other side closes. */
export async function sendRaw(port: number, bytes: string): Promise<string> {
  const socket = connect(port, '127.0.0.1')
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  socket.on('error', () => {}) // a reset ends it as well
  socket.write(Buffer.from(bytes, 'latin1'))
  await once(socket, 'close')
  return Buffer.concat(chunks).toString('latin1')
}

/** The values of a header in raw headers, in order. */
export function valuesOf(rawHeaders: readonly string[], name: string): string[] {
  return rawHeaders.filter(
    (_, at) => at % 2 === 1 && rawHeaders[at - 1]?.toLowerCase() === name.toLowerCase(),
  )
}

/** An error of ours for this reason, as the contract wants it, with nothing of a card in it. */
export function expectRefusal(reply: Reply, reason: Reason): void {
  const { status, retrySafe } = ERRORS[reason]
  expect(reply.json?.error?.reason ?? reply.text).toBe(reason)
  expect(reply.status).toBe(status)
  expect(reply.json.error.retry_safe).toBe(retrySafe)
  expect(reply.headers['sallyport-retry-safe']).toBe(String(retrySafe))
  expect(reply.json.error.request_id).toMatch(/^req_[0-9a-f]{32}$/)
  expect(reply.headers['sallyport-request-id']).toBe(reply.json.error.request_id)
  expect(reply.headers['sallyport-upstream-status']).toBeUndefined()
  expect(reply.headers['cache-control']).toBe('no-store')
  expect(reply.text).not.toContain(VISA.slice(0, 8))
}

/** Asks until the answer is the wanted one: for what happens a moment after a reply. The deadline is for what never does. */
export async function eventually<T>(
  ask: () => Promise<T> | T,
  isWanted: (value: T) => boolean,
): Promise<T> {
  const deadline = Date.now() + 20_000
  for (;;) {
    const value = await ask()
    if (isWanted(value) || Date.now() > deadline) return value
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}
