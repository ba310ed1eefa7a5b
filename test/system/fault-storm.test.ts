// Ten thousand requests, 64 at a time, to destinations that fail in every way they can. Whatever each caller was told is
// compared with what the destination had read of its request: nothing is sent twice that must not be, nobody is told
// that it is safe to try again when it is not, nobody gets another's answer, and nothing is left behind.

import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startInstallation } from '../../src/cli/installation.ts'
import { parseConfig } from '../../src/config.ts'
import type { Log } from '../../src/http/log.ts'
import { makeCertificate } from '../proxy/certificates.ts'
import {
  type Arrival,
  type FaultyUpstream,
  type Play,
  startFaultyUpstream,
} from '../proxy/faulty-upstream.ts'
import { closedPort, eventually, NO_REPLY, type Reply, readReply } from '../proxy/upstream.ts'
import { VISA } from '../support/sallyport.ts'
import { ADMIN_KEY, call, cardBody, openShop } from './shop.ts'

const REQUESTS = 10_000
const AT_A_TIME = 64
const CONNECTIONS = 16
const SEED = 20_260_721

/** Numbers from 0 to 1 that are the same for the same texts (FNV-1a, then the finalizer of MurmurHash3). */
function chance(...texts: readonly (string | number)[]): number {
  let hash = 0x811c9dc5 ^ SEED
  for (const char of texts.join('/')) hash = Math.imul(hash ^ char.charCodeAt(0), 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return ((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32
}

const pick = <T>(from: readonly T[], ...texts: readonly (string | number)[]): T =>
  from[Math.floor(chance(...texts) * from.length)] as T

/** Requests of whose answer a byte was written. */
const answered = new Set<Arrival>()

function say(socket: Socket, request: Arrival, text: string): void {
  if (!socket.writable) return // it was ended before the request came
  answered.add(request)
  socket.write(text)
}

const soon = (socket: Socket, act: (socket: Socket) => void, ms: number) => {
  const timer = setTimeout(() => act(socket), ms)
  socket.once('close', () => clearTimeout(timer))
}
const end = (socket: Socket) => socket.end()
const reset = (socket: Socket) => socket.resetAndDestroy()

const idOf = (text: string) => /r[0-9]{5}/.exec(text)?.[0] ?? ''
const answerTo = ({ url }: Arrival, lines = '') =>
  `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n${lines}Content-Length: 15\r\n\r\n{"id":"${idOf(url)}"}`
const HALF = 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf'
const CHUNKED = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'
const POISON = 'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"id":"poison"}'

type Fault = (socket: Socket, request: Arrival) => void

const GOOD: Fault[] = [
  (socket, request) => say(socket, request, answerTo(request)),
  (socket, request) => say(socket, request, answerTo(request)),
  (socket, request) => say(socket, request, `HTTP/1.1 100 Continue\r\n\r\n${answerTo(request)}`),
  (socket, request) => say(socket, request, `HTTP/1.1 103 Early\r\n\r\n${answerTo(request)}`),
  (socket, request) => soon(socket, () => say(socket, request, answerTo(request)), 20),
  (socket, request) => {
    const body = `{"id":"${idOf(request.url)}"}`
    say(socket, request, `${CHUNKED}f\r\n${body}\r\n0\r\n\r\n`)
  },
]

/** An answer, and then something that must not harm the next request. */
const TRAPS: Fault[] = [
  (socket, request) => say(socket, request, answerTo(request) + POISON),
  (socket, request) => say(socket, request, `${answerTo(request)}surplus`),
  (socket, request) => {
    say(socket, request, answerTo(request, 'Connection: close\r\n'))
    socket.end()
  },
  (socket, request) => {
    say(socket, request, answerTo(request))
    socket.end()
  },
  ...[0, 1, 2, 3].flatMap((ms): Fault[] => [
    (socket, request) => {
      say(socket, request, answerTo(request))
      soon(socket, end, ms)
    },
    (socket, request) => {
      say(socket, request, answerTo(request))
      soon(socket, reset, ms)
    },
  ]),
]

const FAULTS: Fault[] = [
  reset,
  reset,
  reset,
  end,
  end,
  end,
  () => {},
  (socket, request) => say(socket, request, 'HTTP/1.1 200 OK\r\nX-A'),
  (socket, request) => say(socket, request, HALF),
  (socket, request) => {
    say(socket, request, 'HTTP/1.1 1')
    soon(socket, end, 2)
  },
  (socket, request) => {
    say(socket, request, 'H')
    soon(socket, reset, 2)
  },
  (socket, request) => {
    say(socket, request, HALF)
    soon(socket, end, 2)
  },
  (socket, request) => {
    say(socket, request, HALF)
    soon(socket, reset, 2)
  },
  (socket, request) => {
    say(socket, request, `${CHUNKED}4\r\nhalf\r\n`)
    soon(socket, end, 2)
  },
  (socket, request) => say(socket, request, `${CHUNKED}4\r\nhalf\r\nzz\r\n`),
  (socket, request) => say(socket, request, 'SSH-2.0-OpenSSH_9.9\r\n\r\n'),
  (socket, request) => say(socket, request, `HTTP/1.1 200 OK\r\nX-A: ${'a'.repeat(40_000)}\r\n`),
  (socket, request) =>
    say(socket, request, 'HTTP/1.1 101 A\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n'),
]

/** Two attempts of one request are two draws. */
const attempts = new Map<string, number>()

const play: Play = {
  onConnection(socket, connection) {
    const draw = chance('connection', connection)
    if (draw < 0.03) reset(socket)
    else if (draw < 0.06) soon(socket, reset, 5)
    else if (draw < 0.08) soon(socket, end, 5)
    else if (draw >= 0.09) return undefined
    soon(socket, reset, 900) // whoever reads nothing never learns that the other side has gone
    return 'unread'
  },
  onHead(socket, request) {
    if (!request.isWhole && chance('head', request.url) < 0.5) reset(socket)
  },
  onRequest(socket, request) {
    const id = idOf(request.url)
    const attempt = attempts.get(id) ?? 0
    attempts.set(id, attempt + 1)
    const draw = chance('what', id, attempt)
    const from = draw < 0.5 ? GOOD : draw < 0.65 ? TRAPS : FAULTS
    pick(from, 'which', id, attempt)(socket, request)
  },
}

type Wanted = {
  readonly id: string
  readonly destination: 'plain' | 'declared' | 'tls' | 'closed'
  readonly method: 'POST' | 'PUT' | 'GET' | 'DELETE'
  /** What is to arrive. */
  readonly body: string
  readonly placeholders: string
}

const LONG = 'x'.repeat(150_000)

function wanted(index: number, cards: readonly string[]): Wanted {
  const id = `r${String(index).padStart(5, '0')}`
  const draw = chance('destination', id)
  const destination =
    draw < 0.45 ? 'plain' : draw < 0.75 ? 'declared' : draw < 0.97 ? 'tls' : 'closed'
  const method = pick(['POST', 'POST', 'POST', 'PUT', 'GET', 'DELETE'] as const, 'method', id)
  const padding = chance('long', id) < 0.03 ? LONG : ''
  const hasCard = chance('card', id) < 0.5
  const bodyWith = (number: string) => `{"id":"${id}","n":"${number}","padding":"${padding}"}`
  return {
    id,
    destination,
    method,
    body: bodyWith(hasCard ? VISA : 'none'),
    placeholders: bodyWith(hasCard ? `{{$card_number: ${pick(cards, 'which card', id)}}}` : 'none'),
  }
}

let folder: string
const unexpected: unknown[] = []
const upstreams: FaultyUpstream[] = []
const asked = new Map<string, { wanted: Wanted; reply: Reply }>()
let metrics = ''
let socketsBefore = 0
let socketsAfter = 0
let socketsInPools: number[] = []

/** Node counts some accepted sockets that the upstreams reset, are closed and have no handle any more: not these. */
const closedHandles = () =>
  (process as any)._getActiveHandles().filter((handle: any) => handle.closed === true).length
const openSockets = () =>
  process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length -
  closedHandles()

const log: Log = {
  started() {},
  stopping() {},
  stopped() {},
  unsafe() {},
  unexpected: (_requestId, error) => unexpected.push(error),
  externalVault() {},
  fatal: (_what, error) => unexpected.push(error),
}

beforeAll(async () => {
  socketsBefore = openSockets()
  folder = await mkdtemp(join(tmpdir(), 'sallyport-storm-'))
  const result = parseConfig({
    yaml: JSON.stringify({
      data_dir: folder,
      host: '127.0.0.1',
      port: 0,
      ops_port: 0,
      egress: { allow_private: ['127.0.0.0/8'], allow_http: true },
      shutdown_timeout_ms: 2000,
    }),
    env: {},
  })
  if (result.kind === 'bad') throw new Error(result.problems.join('; '))
  const installation = await startInstallation(result.config, {
    log,
    adminApiKey: ADMIN_KEY,
    onFirstAdminKey: () => {},
    onFatal: (_what, error) => unexpected.push(error),
  })
  const origin = `http://127.0.0.1:${installation.address.port}`
  const shop = await openShop({ origin })
  const certificate = makeCertificate('psp', { hosts: ['127.0.0.1'] })
  for (const tls of [undefined, undefined, certificate]) {
    upstreams.push(await startFaultyUpstream(play, tls))
  }
  const settings = {
    allow: [{ methods: ['POST', 'PUT', 'GET', 'DELETE'], path: '/*', fields: ['card_number'] }],
    limits: { connections: CONNECTIONS, queue: AT_A_TIME },
    timeouts: { connect_ms: 1000, headers_ms: 400, body_ms: 400, total_ms: 5000 },
    ca_pem: certificate.cert,
  }
  const [plain, declared, tls] = upstreams as [FaultyUpstream, FaultyUpstream, FaultyUpstream]
  for (const destination of [
    { name: 'plain', origin: plain.origin },
    { name: 'declared', origin: declared.origin, idempotent: true },
    { name: 'tls', origin: tls.origin },
    { name: 'closed', origin: `http://127.0.0.1:${await closedPort()}` },
  ]) {
    const body = { ...settings, ...destination }
    const { status } = await call(origin, shop.policyKey, 'POST', '/v2/destinations', body)
    expect(status).toBe(201)
  }
  const vault = (path: string, body: unknown) => call(origin, shop.vaultKey, 'POST', path, body)
  const customers = await Promise.all([1, 2, 3, 4].map(() => vault('/v2/customers', {})))
  const cards = await Promise.all(
    customers.map(async ({ body }) => {
      const created = await vault('/v2/payment-methods', cardBody(body.id, VISA))
      return created.body.id as string
    }),
  )

  const agent = new Agent({ keepAlive: true, maxSockets: AT_A_TIME })
  let next = 0
  const caller = async () => {
    while (next < REQUESTS) {
      const each = wanted(next, cards)
      next += 1
      asked.set(each.id, { wanted: each, reply: await ask(origin, agent, shop.proxyKey, each) })
    }
  }
  await Promise.all(Array.from({ length: AT_A_TIME }, caller))
  agent.destroy()

  const opsOrigin = `http://127.0.0.1:${installation.opsAddress.port}`
  metrics = await eventually(
    async () => (await fetch(`${opsOrigin}/metrics`)).text(),
    (text) => /^sallyport_proxy_in_flight 0$/m.test(text),
  )
  socketsInPools = await eventually(
    () => upstreams.map((upstream) => upstream.openSockets),
    (open) => open.every((count) => count <= CONNECTIONS),
  )
  await installation.stop()
  for (const upstream of upstreams) await upstream[Symbol.asyncDispose]()
  socketsAfter = await eventually(openSockets, (count) => count <= socketsBefore)
}, 300_000)

afterAll(async () => {
  await rm(folder, { recursive: true, force: true })
})

async function ask(origin: string, agent: Agent, key: string, each: Wanted): Promise<Reply> {
  const { destination, method, id, placeholders } = each
  const request = httpRequest(origin, {
    method,
    path: `/d/${destination}/pay/${id}`,
    agent,
    headers: {
      'Sallyport-Key': key,
      'Content-Type': 'application/json',
      'Content-Length': String(placeholders.length),
    },
  })
  request.end(placeholders)
  const response = await new Promise<IncomingMessage | undefined>((resolve) => {
    request.on('response', resolve)
    request.on('error', () => resolve(undefined))
  })
  return response === undefined ? NO_REPLY : readReply(response)
}

/** What was read of each request, oldest first, over all destinations. */
function arrivalsById(): Map<string, Arrival[]> {
  const byId = new Map<string, Arrival[]>()
  for (const request of upstreams.flatMap(({ requests }) => requests)) {
    const id = idOf(request.url)
    byId.set(id, [...(byId.get(id) ?? []), request])
  }
  return byId
}

const isToldSafe = ({ headers }: Reply) => headers['sallyport-retry-safe'] === 'true'
const isWholeAnswer = ({ status, isWhole }: Reply) => status === 200 && isWhole

test('it was a storm: every outcome has occurred, and often', () => {
  const replies = [...asked.values()].map(({ reply }) => reply)
  const count = (is: (reply: Reply) => boolean) => replies.filter(is).length

  expect(replies.length).toBe(REQUESTS)
  expect(count(isWholeAnswer)).toBeGreaterThan(REQUESTS / 4)
  expect(count(isToldSafe)).toBeGreaterThan(100)
  expect(count(({ status, isWhole }) => status === 200 && !isWhole)).toBeGreaterThan(100)
  for (const reason of ['upstream_reset', 'upstream_timeout', 'upstream_protocol_error']) {
    expect([reason, count(({ json }) => json?.error?.reason === reason) > 100]).toEqual([
      reason,
      true,
    ])
  }
})

test('every caller got an answer, and none was a fault of ours', () => {
  const reasons = new Set([...asked.values()].map(({ reply }) => reply.json?.error?.reason))

  expect([...asked.values()].filter(({ reply }) => reply.status === 0)).toEqual([])
  expect(reasons).not.toContain('internal_error')
  expect(reasons).not.toContain('destination_busy')
  expect(unexpected).toEqual([])
})

test('who was told that it is safe to try again had not been heard of', () => {
  const arrivals = arrivalsById()
  const strays = upstreams.flatMap((upstream) => upstream.strays).map(idOf)

  const heardOf = [...asked.values()]
    .filter(({ reply }) => isToldSafe(reply))
    .filter(({ wanted: { id } }) => arrivals.has(id) || strays.includes(id))

  expect(heardOf).toEqual([])
})

test('who got an answer got its own, and the request had arrived whole', () => {
  const arrivals = arrivalsById()
  for (const { wanted, reply } of asked.values()) {
    if (!isWholeAnswer(reply)) continue
    const last = arrivals.get(wanted.id)?.at(-1)
    expect(reply.text).toBe(`{"id":"${wanted.id}"}`)
    expect([wanted.id, last?.isWhole]).toEqual([wanted.id, true])
    expect(last?.body === wanted.body).toBe(true)
  }
})

test('nothing else arrived than what was sent', () => {
  for (const [id, requests] of arrivalsById()) {
    const { method, body } = (asked.get(id) as { wanted: Wanted }).wanted
    for (const request of requests) {
      expect([id, request.method]).toEqual([id, method])
      expect([id, body.startsWith(request.body)]).toEqual([id, true])
    }
  }
})

test('a second time arrived only what may be repeated, and only after a kept connection had broken without a byte', () => {
  const isRepeatable = ({ method, destination }: Wanted) =>
    method !== 'POST' || destination === 'declared'
  const repeated = [...arrivalsById()].filter(([, requests]) => requests.length > 1)

  expect(repeated.length).toBeGreaterThan(100)
  for (const [id, requests] of repeated) {
    const { wanted } = asked.get(id) as { wanted: Wanted }
    const [first] = requests as [Arrival]
    expect([id, requests.length]).toEqual([id, 2])
    expect([id, isRepeatable(wanted)]).toEqual([id, true])
    expect([id, first.place > 0, answered.has(first)]).toEqual([id, true, false])
  }
})

test('nothing is in flight any more, and every retry was counted', async () => {
  const repeated = [...arrivalsById().values()].filter((requests) => requests.length > 1)
  const figure = (name: string) => Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(metrics)?.[1])

  expect(figure('sallyport_proxy_in_flight')).toBe(0)
  expect(figure('sallyport_proxy_retries_total')).toBeGreaterThanOrEqual(repeated.length)
})

test('no more connections are open than a pool has, and none when Sallyport has stopped', () => {
  expect(Math.max(...socketsInPools)).toBeLessThanOrEqual(CONNECTIONS)
  expect(socketsAfter).toBeLessThanOrEqual(socketsBefore)
})

test('the audit trail says of every request what its caller was told', async () => {
  const text = await readFile(join(folder, 'audit', 'audit.jsonl'), 'utf8')
  const outcomes = new Map<string, any[]>()
  for (const line of text.split('\n')) {
    if (!line.includes('"kind":"outcome"')) continue
    const outcome = JSON.parse(line)
    outcomes.set(outcome.request, [...(outcomes.get(outcome.request) ?? []), outcome])
  }
  let retried = 0

  for (const { reply } of asked.values()) {
    const lines = outcomes.get(String(reply.headers['sallyport-request-id'])) ?? []
    expect(lines.length).toBe(1)
    const [{ reason, cut, retried: wasRetried = false }] = lines
    if (wasRetried) retried += 1
    if (reply.isWhole) expect(reason).toBe(reply.json?.error?.reason)
    expect(cut).toBe(!reply.isWhole)
  }

  expect(metrics).toContain(`\nsallyport_proxy_retries_total ${retried}\n`)
})
