// A vault shaped like VGS's on a port of its own: access tokens by OAuth client credentials, POST, GET and DELETE on
// /aliases. It does what a test tells it to do wrong, once each, and remembers what it was asked, without the secrets.

import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'

/** What becomes of one request. `do`: it is carried out all the same. */
export type Fault =
  | { readonly status: number; readonly body?: string; readonly do?: boolean }
  | { readonly say: 'nothing' | 'half' | 'reset'; readonly do?: boolean }
  | { readonly body: string; readonly do?: boolean }
  /** The answer about an alias says this in place of what is true. */
  | { readonly instead: { readonly alias?: string; readonly value?: string } }

export type VgsSimulator = AsyncDisposable & {
  readonly origin: string
  readonly tokenUrl: string
  readonly clientId: string
  readonly clientSecret: string
  /** Number by alias. */
  readonly numbers: Map<string, string>
  /** `METHOD /path`, in the order of arrival. */
  readonly asked: string[]
  /** Sockets that were ever accepted. */
  readonly connections: number
  /** For the next requests to the API, in turn. */
  readonly faults: Fault[]
  /** For the next requests for a token. */
  readonly tokenFaults: Fault[]
  /** Told of each request to the API as it arrives. */
  onAsked: () => void
  /** Before each answer of the API. */
  delayMs: number
  tokenLifeS: number
  /** One alias for one number, as VGS does where a vault is set to fingerprinting. */
  isFingerprinting: boolean
  /** Tokens that were given out are not taken any more. */
  revokeTokens(): void
  /** From now on connections are refused. */
  refuse(): void
  /** As another client of the vault would; answers with the alias. */
  keep(number: string, alias?: string): string
}

const TOKEN_PATH = '/auth/realms/vgs/protocol/openid-connect/token'

export async function startVgsSimulator(): Promise<VgsSimulator> {
  const tokens = new Set<string>()
  const sockets = new Set<Socket>()
  let connections = 0

  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('error', () => {}) // whoever asks may give up
    request.on('end', () => handle(request, Buffer.concat(chunks).toString(), response))
  })
  server.on('connection', (socket: Socket) => {
    connections += 1
    sockets.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => sockets.delete(socket))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const origin = `http://127.0.0.1:${port}`

  const vgs: VgsSimulator = {
    origin,
    tokenUrl: `${origin}${TOKEN_PATH}`,
    clientId: `AC${randomBytes(4).toString('hex')}`,
    clientSecret: randomBytes(16).toString('hex'),
    numbers: new Map(),
    asked: [],
    get connections() {
      return connections
    },
    faults: [],
    tokenFaults: [],
    onAsked: () => {},
    delayMs: 0,
    tokenLifeS: 300,
    isFingerprinting: false,
    revokeTokens: () => tokens.clear(),
    refuse() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
    keep(number, alias = `tok_sandbox_${randomBytes(12).toString('base64url')}`) {
      vgs.numbers.set(alias, number)
      return alias
    },
    async [Symbol.asyncDispose]() {
      if (!server.listening) return
      const closed = once(server, 'close')
      server.close()
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }

  function handle(request: IncomingMessage, body: string, response: ServerResponse): void {
    const { method = '', url = '' } = request
    vgs.asked.push(`${method} ${url}`)
    const isToken = url === TOKEN_PATH
    if (!isToken) vgs.onAsked()
    const fault = (isToken ? vgs.tokenFaults : vgs.faults).shift()
    const answer = () => (isToken ? giveToken(body) : answerApi(request, body))
    if (fault === undefined) {
      const [status, json] = answer()
      setTimeout(() => sendJson(response, status, json), isToken ? 0 : vgs.delayMs)
      return
    }
    if ('instead' in fault) {
      const alias = aliasIn(url)
      const { instead } = fault
      const item = revealed(instead.alias ?? alias, instead.value ?? vgs.numbers.get(alias) ?? '')
      return sendJson(response, 200, { data: [item] })
    }
    if (fault.do === true) answer()
    if ('say' in fault) return saySo(response, fault.say)
    response.statusCode = 'status' in fault ? fault.status : 200
    response.end(fault.body ?? '{"errors":[{"status":0,"title":"made up"}]}')
  }

  function giveToken(form: string): [number, unknown] {
    const said = new URLSearchParams(form)
    const isClient =
      said.get('grant_type') === 'client_credentials' &&
      said.get('client_id') === vgs.clientId &&
      said.get('client_secret') === vgs.clientSecret
    if (!isClient) return [401, { error: 'invalid_client' }]
    const token = `ey${randomBytes(24).toString('base64url')}`
    tokens.add(token)
    return [200, { access_token: token, expires_in: vgs.tokenLifeS, token_type: 'Bearer' }]
  }

  function answerApi(
    { method, url = '', headers }: IncomingMessage,
    body: string,
  ): [number, unknown] {
    const token = /^Bearer (\S+)$/.exec(headers.authorization ?? '')?.[1]
    if (token === undefined || !tokens.has(token)) return error(401)
    if (method === 'POST' && url === '/aliases') {
      const [item] = JSON.parse(body).data
      const known = [...vgs.numbers].find(([, number]) => number === item.value)?.[0]
      const alias = (vgs.isFingerprinting ? known : undefined) ?? vgs.keep(item.value)
      return [201, { data: [revealed(alias, item.value)] }]
    }
    const alias = aliasIn(url)
    const number = vgs.numbers.get(alias)
    if (number === undefined) return error(404)
    if (method === 'GET') return [200, { data: [revealed(alias, number)] }]
    vgs.numbers.delete(alias)
    return [204, undefined]
  }
  return vgs
}

function aliasIn(url: string): string {
  return decodeURIComponent(/^\/aliases\/([^/?]+)$/.exec(url)?.[1] ?? '')
}

function revealed(alias: string, value: string) {
  return {
    value,
    classifiers: ['card-number'],
    aliases: [{ alias, format: 'UUID' }],
    created_at: '2026-01-01T00:00:00Z',
    storage: 'PERSISTENT',
  }
}

function error(status: number): [number, unknown] {
  return [status, { errors: [{ status, title: 'refused' }] }]
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.statusCode = status
  if (body === undefined) return void response.end()
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify(body))
}

function saySo(response: ServerResponse, what: 'nothing' | 'half' | 'reset'): void {
  switch (what) {
    case 'nothing':
      return
    case 'half':
      response.setHeader('content-length', '1000')
      response.write('{"data":[{"value":"42424')
      setTimeout(() => response.destroy(), 20)
      return
    case 'reset':
      response.socket?.resetAndDestroy()
      return
    default:
      what satisfies never
  }
}
