// Every contender of the benchmark that can run here carries a payment as it has to, with and without TLS, over
// connections that it keeps, and is gone when the runner is.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { type AddressInfo, connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Agent, request } from 'undici'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { Contender } from '../../bench/contender.ts'
import { CARD, placeholders } from '../../bench/payment.ts'
import { type Certificates, makeCertificates } from '../../bench/peers/certificates.ts'
import { PEER_TOKENS, PEERS, type Peer } from '../../bench/peers/peers.ts'

const ANSWER = '{"id":"pay_1"}'

let folder: string
let certificates: Certificates
const toClose: (() => unknown)[] = []

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'sallyport-peers-'))
  certificates = makeCertificates(folder)
})
afterEach(async () => {
  for (const close of toClose.splice(0).reverse()) await close()
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

async function startUpstream(tls: Certificates | undefined) {
  const bodies: string[] = []
  let connections = 0
  const server = tls === undefined ? createServer() : createTlsServer(tls)
  server.on('connection', () => {
    connections += 1
  })
  server.on('request', async (incoming: IncomingMessage, response) => {
    bodies.push(Buffer.concat(await incoming.toArray()).toString())
    response.setHeader('content-type', 'application/json').end(ANSWER)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  toClose.push(() => {
    server.close()
    server.closeAllConnections()
  })
  const scheme = tls === undefined ? 'http' : 'https'
  return {
    origin: `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}`,
    bodies,
    get connections() {
      return connections
    },
  }
}

async function start(peer: Peer, upstream: string, tls: 'none' | 'upstream' | 'both') {
  const contender = await Contender.start(peer, {
    upstream,
    folder: mkdtempSync(join(folder, 'of-')),
    adminKey: 'k'.repeat(48),
    isPinned: false,
    isGuarded: false,
    profileFolder: undefined,
    tls,
    certificates,
  })
  toClose.push(() => contender.stop())
  return contender
}

/** One connection, kept; its certificate has to be right. */
function caller(origin: string, ca: string | undefined) {
  const dispatcher = new Agent({ connections: 1, connect: { ca } })
  toClose.push(() => dispatcher.close())
  return async (body: string) => {
    const answer = await request(`${origin}/payments`, {
      dispatcher,
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
    })
    return { status: answer.statusCode, text: await answer.body.text() }
  }
}

const payment = (card: object, filler: string) => JSON.stringify({ filler, card })
const FILLERS = { short: 'x'.repeat(400), long: 'x'.repeat(100_000) }

describe.each(PEERS.filter(({ name }) => name !== 'sallyport'))('$title', (peer) => {
  const asked = (n: number) =>
    peer.kind === 'plain' ? CARD : placeholders(PEER_TOKENS[n % PEER_TOKENS.length] ?? '')

  test.skipIf(peer.missing())('carries payments over connections that it keeps', async () => {
    const upstream = await startUpstream(undefined)
    const contender = await start(peer.name, upstream.origin, 'none')
    const pay = caller(contender.origin, contender.ca)
    for (let n = 0; n < 20; n++) {
      expect(await pay(payment(asked(n), FILLERS.short))).toEqual({ status: 200, text: ANSWER })
    }
    expect(await pay(payment(asked(0), FILLERS.long))).toEqual({ status: 200, text: ANSWER })
    expect(new Set(upstream.bodies)).toEqual(
      new Set([payment(CARD, FILLERS.short), payment(CARD, FILLERS.long)]),
    )
    expect(upstream.bodies).toHaveLength(21)
    expect(upstream.connections).toBe(1)

    const { cpuUs, rssBytes } = await contender.usage()
    expect(cpuUs).toBeGreaterThanOrEqual(0)
    expect(rssBytes).toBeGreaterThan(1_000_000)
    expect((await contender.resources()).openFiles).toBeGreaterThan(3)
  })

  test.skipIf(peer.missing())('speaks TLS on both sides', async () => {
    const upstream = await startUpstream(certificates)
    const contender = await start(peer.name, upstream.origin, 'both')
    expect(contender.origin).toMatch(/^https:/)
    const pay = caller(contender.origin, contender.ca)
    for (let n = 0; n < 3; n++) {
      expect(await pay(payment(asked(n), FILLERS.short))).toEqual({ status: 200, text: ANSWER })
    }
    expect(upstream.bodies).toEqual(Array(3).fill(payment(CARD, FILLERS.short)))
    expect(upstream.connections).toBe(1)
  })

  test.skipIf(peer.missing())('wants the right certificate of the upstream', async () => {
    const others = makeCertificates(mkdtempSync(join(folder, 'others-')))
    const upstream = await startUpstream(others)
    const contender = await start(peer.name, upstream.origin, 'upstream')
    await caller(contender.origin, undefined)(payment(CARD, '')).catch(() => {})
    expect(upstream.bodies).toEqual([])
  })
})

test('Sallyport serves with the certificate', async () => {
  const contender = await start('sallyport', 'https://127.0.0.1:1', 'both')
  const answer = await caller(contender.origin, contender.ca)('{}')
  expect(answer.status).toBe(404) // there is nothing at that path
})

test.each(
  PEERS.filter(({ name }) => name === 'nginx' || name === 'haproxy' || name === 'node-undici'),
)('$name goes with its runner, even when that is killed', async (peer) => {
  if (peer.missing() !== undefined) return
  const runner = spawn(
    process.execPath,
    [
      fileURLToPath(new URL('./start-contender.ts', import.meta.url)),
      peer.name,
      mkdtempSync(join(folder, 'killed-')),
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  toClose.push(() => runner.kill('SIGKILL'))
  const [origin] = await once(runner.stdout.setEncoding('utf8'), 'data')
  const port = Number(new URL(origin).port)
  expect(await isListening(port)).toBe(true)
  runner.kill('SIGKILL')
  await expect.poll(() => isListening(port), { timeout: 5000 }).toBe(false)
})

async function isListening(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}
