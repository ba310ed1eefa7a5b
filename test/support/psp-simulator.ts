// A payment processor on a port of its own, for tests and the demo: Checkout.com's `/payments`,
// Stripe's `/v1/...` (or others that a test hands in), and `/echo` and `/status/{code}` (without a
// key) to look at plain HTTP. It
// remembers every request as it arrived, prints nothing, and says no whole card number in an
// answer, but for `/echo`. Not promised: rate limits, webhooks, bounds on sizes, or to forget
// anything before it is closed.

import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import { gzipSync } from 'node:zlib'
import { createCheckout } from './psp-checkout.ts'
import type { Answer, Call, Processor } from './psp-processor.ts'
import { createStripe } from './psp-stripe.ts'

export interface PspSimulatorOptions {
  port?: number
  host?: string
  tls?: { key: string; cert: string }
  apiKey?: string
  /** In place of Checkout.com and Stripe. */
  processors?: readonly { readonly under: RegExp; readonly processor: Processor }[]
}

export interface ReceivedRequest {
  method: string
  url: string
  headers: Record<string, string>
  rawHeaders: string[]
  body: Buffer
  /** What a processor read as the card number, whether or not it is one. */
  cardNumber?: string
  cvc?: string
  /** As they stood there: a number and a string are not the same. */
  expiry?: { month: unknown; year: unknown }
}

export interface PspSimulator {
  origin: string
  port: number
  apiKey: string
  received: ReceivedRequest[]
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

interface Kept {
  readonly request: string
  readonly body: Buffer
  readonly answer: Answer
}

export async function startPspSimulator(options: PspSimulatorOptions = {}): Promise<PspSimulator> {
  const { port = 0, host = '127.0.0.1', tls, apiKey = 'sk_sim_0123456789' } = options
  const received: ReceivedRequest[] = []
  const cardNumbers = new Set<string>()
  const processors = (
    options.processors ?? [
      { under: /^\/payments(\/|$)/, processor: createCheckout() },
      { under: /^\/v1\//, processor: createStripe() },
    ]
  ).map((each) => ({ ...each, kept: new Map<string, Kept>() }))

  function answerFor(request: ReceivedRequest): Answer {
    const path = request.url.split('?')[0] ?? ''
    const match = processors.find(({ under }) => under.test(path))
    if (match === undefined) return notFound
    const { method, headers } = request
    const call = { method, path, headers, origin: simulator.origin }
    const { processor, kept } = match
    const { keyHeaders = ['authorization'] } = processor
    const presented = keyHeaders.map((name) => headers[name]).find((value) => value !== undefined)
    if (!isAuthorized(presented ?? '', apiKey)) return processor.unauthorized(call)
    return settle(processor, kept, call, request)
  }

  function settle(
    processor: Processor,
    kept: Map<string, Kept>,
    call: Call,
    sent: ReceivedRequest,
  ): Answer {
    if (call.method !== 'POST') return processor.answer(call, {}) ?? notFound
    const fields = processor.parse(sent.body, call.headers['content-type'] ?? '')
    if (fields === undefined) return processor.malformed(call)

    const { number, cvc, expMonth, expYear } = processor.cardOf(fields)
    if (typeof number === 'string') {
      sent.cardNumber = number
      cardNumbers.add(number)
    }
    if (typeof cvc === 'string') sent.cvc = cvc
    if (expMonth !== undefined) sent.expiry = { month: expMonth, year: expYear }

    const key = call.headers[processor.idempotencyHeader ?? '']
    const request = `${call.method} ${call.path}`
    const earlier = key === undefined ? undefined : kept.get(key)
    if (earlier !== undefined) {
      const isSame = earlier.request === request && earlier.body.equals(sent.body)
      return (isSame ? undefined : processor.keyReused?.(call)) ?? earlier.answer
    }
    const answer = processor.answer(call, fields) ?? notFound
    // As with the real ones, a request that was refused unread may be sent again under its key.
    const isKept = answer.status < 300 || answer.status === 402
    if (key !== undefined && isKept) kept.set(key, { request, body: sent.body, answer })
    return answer
  }

  function maskCardNumbers(text: string): string {
    return text.replace(/\d{12,19}/g, (digits) =>
      cardNumbers.has(digits) ? `${digits.slice(0, 6)}******${digits.slice(-4)}` : digits,
    )
  }

  async function handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const request = await receive(req)
    received.push(request)
    const status = /^\/status\/([2-5]\d\d)(\?|$)/.exec(request.url)?.[1]
    if (/^\/echo([/?]|$)/.test(request.url)) return sendJson(res, 200, {}, echoOf(request))
    if (status !== undefined) return sendStatus(res, Number(status))
    const { status: code, headers, body, xml } = answerFor(request)
    if (xml !== undefined) {
      const isGzipped = /\bgzip\b/.test(request.headers['accept-encoding'] ?? '')
      return sendXml(res, code, headers, maskCardNumbers(xml), isGzipped)
    }
    // A reference or a name may hold the number too: whatever was sent as a card is not told back.
    sendJson(res, code, headers, body, (_, value) =>
      typeof value === 'string' ? maskCardNumbers(value) : value,
    )
  }

  // A caller that hangs up in the middle of its request gets nothing; a fault of ours shows as 500.
  const listener = (req: IncomingMessage, res: ServerResponse) =>
    void handle(req, res).catch(() =>
      req.complete && !res.headersSent ? sendJson(res, 500, {}, {}) : res.destroy(),
    )
  const server = tls ? createTlsServer(tls, listener) : createServer(listener)
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
  })
  server.listen(port, host)
  await once(server, 'listening')
  const { port: boundPort } = server.address() as AddressInfo

  async function close(): Promise<void> {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()))
    // Not closeAllConnections(): it does not know sockets that are still shaking hands for TLS.
    for (const socket of sockets) socket.destroy()
    await closed
  }

  const simulator: PspSimulator = {
    origin: `${tls ? 'https' : 'http'}://${host.includes(':') ? `[${host}]` : host}:${boundPort}`,
    port: boundPort,
    apiKey,
    received,
    close,
    [Symbol.asyncDispose]: close,
  }
  return simulator
}

const notFound: Answer = { status: 404, headers: {}, body: { error: 'not_found' } }

function isAuthorized(authorization: string, apiKey: string): boolean {
  const [scheme = '', credentials = ''] = authorization.split(' ')
  switch (scheme.toLowerCase()) {
    case 'bearer':
      return credentials === apiKey
    case 'basic':
      return Buffer.from(credentials, 'base64').toString().split(':')[0] === apiKey
    default:
      return authorization === apiKey
  }
}

async function receive(req: IncomingMessage): Promise<ReceivedRequest> {
  const chunks: Buffer[] = []
  for await (const chunk of req) chunks.push(chunk)
  const headers: Record<string, string> = {}
  for (const [name, values] of Object.entries(req.headersDistinct)) {
    headers[name] = values?.join(', ') ?? ''
  }
  const { method = '', url = '', rawHeaders } = req
  return { method, url, headers, rawHeaders, body: Buffer.concat(chunks) }
}

function echoOf({ method, url, rawHeaders, body }: ReceivedRequest): object {
  const headers = Array.from({ length: rawHeaders.length / 2 }, (_, pair) =>
    rawHeaders.slice(pair * 2, pair * 2 + 2),
  )
  return { method, url, headers, body_base64: body.toString('base64') }
}

function sendStatus(res: ServerResponse, status: number): void {
  res.statusCode = status
  res.setHeader('X-Dup', ['a', 'b'])
  if (status === 204 || status === 304) return void res.end()
  res.setHeader('Content-Type', 'text/plain; charset=utf-8')
  res.end(`status ${status}\n`)
}

function sendJson(
  res: ServerResponse,
  status: number,
  headers: Answer['headers'],
  body: unknown,
  replacer?: (name: string, value: unknown) => unknown,
): void {
  const text = body === undefined ? '' : JSON.stringify(body, replacer)
  if (text !== '') res.setHeader('Content-Type', 'application/json')
  res.setHeader('Content-Length', Buffer.byteLength(text))
  res.writeHead(status, headers).end(text)
}

function sendXml(
  res: ServerResponse,
  status: number,
  headers: Answer['headers'],
  xml: string,
  isGzipped: boolean,
): void {
  const bytes = isGzipped ? gzipSync(xml) : Buffer.from(xml)
  if (isGzipped) res.setHeader('Content-Encoding', 'gzip')
  res.setHeader('Content-Length', bytes.length)
  res.writeHead(status, headers).end(bytes)
}
