// Each part of an exchange has its own time, and the whole has one: they fire when they should, they count what the
// destination takes and not what the caller does, and nothing of them is left when the answer is there.

import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Reason } from '../../src/core/errors.ts'
import {
  startSallyport,
  type TestMerchant,
  type TestSallyport,
  VISA,
} from '../support/sallyport.ts'
import { pause, timed } from '../support/time.ts'
import {
  drip,
  drips,
  expectFault,
  OK,
  type Play,
  says,
  startFaultyUpstream,
  startFullPort,
} from './faulty-upstream.ts'
import { eventually, send } from './upstream.ts'

let sallyport: TestSallyport
let merchant: TestMerchant
let token: string
let destinations = 0

beforeAll(async () => {
  sallyport = await startSallyport()
  merchant = await sallyport.createMerchant()
  token = await merchant.createCard()
})

afterAll(async () => {
  await sallyport[Symbol.asyncDispose]()
})

const timeouts = { connect_ms: 20_000, headers_ms: 20_000, body_ms: 20_000, total_ms: 20_000 }

/** A destination of its own; answers with the path of its charges. */
async function reach(
  origin: string,
  ownTimeouts: Partial<typeof timeouts>,
  settings: Record<string, unknown> = {},
): Promise<string> {
  destinations += 1
  const name = `d${destinations}`
  await merchant.createDestination({
    name,
    origin,
    timeouts: { ...timeouts, ...ownTimeouts },
    allow: [{ methods: ['POST', 'GET'], path: '/*', fields: ['card_number'] }],
    ...settings,
  })
  return `/d/${name}/pay`
}

const charge = (path: string, headers: Record<string, string> = {}) =>
  send(
    sallyport.origin,
    'POST',
    path,
    { 'Sallyport-Key': merchant.proxyKey, 'Content-Type': 'application/json', ...headers },
    `["{{$card_number: ${token}}}"]`,
  )

const LIMIT_MS = 500
const SOON_MS = 900

const HEAD = 'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n'

describe('a limit below two seconds is kept to', () => {
  test.each<[keyof typeof timeouts, string, Reason, Play]>([
    ['headers_ms', 'no answer', 'upstream_timeout', {}],
    ['headers_ms', 'a head that stops', 'upstream_timeout', says('HTTP/1.1 200 OK\r\nX-A')],
    [
      'headers_ms',
      'a head that drips',
      'upstream_timeout',
      drips('HTTP/1.1 200 OK\r\nX-A: ', 'a'.repeat(999), 50),
    ],
    [
      'headers_ms',
      'interim answers that drip',
      'upstream_timeout',
      {
        onRequest: (socket) => {
          const timer = setInterval(() => socket.write('HTTP/1.1 102 A\r\n\r\n'), 50)
          socket.once('close', () => clearInterval(timer))
        },
      },
    ],
    ['body_ms', 'no body', 'upstream_timeout', says(HEAD)],
    ['body_ms', 'a body that stops', 'upstream_timeout', says(`${HEAD}half`)],
    ['total_ms', 'no answer', 'upstream_timeout', {}],
    [
      'total_ms',
      'a head that drips',
      'upstream_timeout',
      drips('HTTP/1.1 200 OK\r\nX-A: ', 'a'.repeat(999), 50),
    ],
    ['total_ms', 'a body that drips', 'upstream_timeout', drips(HEAD, 'a'.repeat(999), 50)],
  ])('%s, for %s', async (limit, _, reason, play) => {
    await using upstream = await startFaultyUpstream(play)
    const path = await reach(upstream.origin, { [limit]: LIMIT_MS })

    const { value: reply, ms, ownMs } = await timed(() => charge(path))

    expectFault(reply, reason)
    expect(ms).toBeGreaterThan(LIMIT_MS - 20)
    expect(ownMs).toBeLessThan(SOON_MS)
    expect(upstream.requests.map(({ body }) => body)).toEqual([`["${VISA}"]`])
  })

  test.each(['connect_ms', 'total_ms'])(
    '%s, for a connection that is never made',
    async (limit) => {
      await using full = await startFullPort()
      const path = await reach(full.origin, { [limit]: LIMIT_MS })

      const { value: reply, ownMs } = await timed(() => charge(path))

      expectFault(reply, 'upstream_connect_timeout')
      expect(ownMs).toBeLessThan(SOON_MS)
    },
  )

  test.each(['connect_ms', 'total_ms'])('%s, for a handshake that never ends', async (limit) => {
    await using upstream = await startFaultyUpstream({ onConnection: () => 'unread' })
    const path = await reach(upstream.origin.replace('http:', 'https:'), { [limit]: LIMIT_MS })

    const { value: reply, ownMs } = await timed(() => charge(path))

    expectFault(reply, 'upstream_connect_timeout')
    expect(ownMs).toBeLessThan(SOON_MS)
  })

  test('total_ms, for a connection that others have', async () => {
    const told = Promise.withResolvers<void>()
    await using upstream = await startFaultyUpstream({
      onRequest: (socket) => told.promise.then(() => socket.write(OK)),
    })
    const path = await reach(upstream.origin, {}, { limits: { connections: 1 } })
    const first = charge(path)

    const { value: reply, ownMs } = await timed(() =>
      charge(path, { 'Sallyport-Timeout-Ms': '500' }),
    )
    told.resolve()

    expectFault(reply, 'upstream_connect_timeout')
    expect(ownMs).toBeLessThan(SOON_MS)
    expect((await first).status).toBe(200)
    await pause(100) // what waited is not sent when its turn comes
    expect(upstream.requests.length).toBe(1)
  })
})

describe('a limit is one of its own part', () => {
  const HEAD_12 = 'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n'
  const BODY_12 = 'ok'.repeat(6)

  test.each<[string, Partial<typeof timeouts>, Play]>([
    [
      'a body that drips for longer than anything but the whole may take',
      { headers_ms: 1500, body_ms: 1500 },
      drips(HEAD_12, BODY_12, 150),
    ],
    [
      'a body that starts after longer than the time for the head',
      { headers_ms: 1000 },
      {
        onRequest: (socket) => {
          socket.write(HEAD_12)
          setTimeout(() => socket.write(BODY_12), 1400)
        },
      },
    ],
    [
      'a head that takes longer than the time between parts of a body',
      { body_ms: 1000 },
      { onRequest: (socket) => setTimeout(() => socket.write(HEAD_12 + BODY_12), 1400) },
    ],
  ])('%s: the answer comes', async (_, limits, play) => {
    await using upstream = await startFaultyUpstream(play)
    const path = await reach(upstream.origin, limits)

    const reply = await charge(path)

    expect([reply.status, reply.text, reply.isWhole]).toEqual([200, BODY_12, true])
  })

  // Held until it turns out to be too long, so that all of it is passed on at once, to a caller who is not as fast.
  test('a long body that then drips, to a caller who has to catch up first: the answer comes', async () => {
    const size = 4 * 1024 * 1024
    await using upstream = await startFaultyUpstream({
      onRequest: (socket) => {
        socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size + 20}\r\n\r\n`)
        socket.write(Buffer.alloc(size, 'x'), () => drip(socket, 'y'.repeat(20), 90))
      },
    })
    const path = await reach(upstream.origin, { body_ms: 1500 })

    const reply = await charge(path)

    expect([reply.status, reply.isWhole, reply.body.length]).toEqual([200, true, size + 20])
  })
})

describe('Sallyport-Timeout-Ms', () => {
  test.each([
    ['lowers the limit for the whole', 5000, '500'],
    ['does not raise it', 500, '5000'],
  ])('%s', async (_, total_ms, wish) => {
    await using upstream = await startFaultyUpstream({})
    const path = await reach(upstream.origin, { total_ms })

    const { value: reply, ownMs } = await timed(() =>
      charge(path, { 'Sallyport-Timeout-Ms': wish }),
    )

    expectFault(reply, 'upstream_timeout')
    expect(ownMs).toBeLessThan(SOON_MS)
  })

  test('does not raise the limits of the parts', async () => {
    await using upstream = await startFaultyUpstream({})
    const path = await reach(upstream.origin, { headers_ms: LIMIT_MS })

    const { value: reply, ownMs } = await timed(() =>
      charge(path, { 'Sallyport-Timeout-Ms': '5000' }),
    )

    expectFault(reply, 'upstream_timeout')
    expect(ownMs).toBeLessThan(SOON_MS)
  })
})

describe('a caller who reads slowly', () => {
  const size = 24 * 1024 * 1024

  /** Nothing is read for a while, then all. */
  async function readLate(
    path: string,
    waitMs: number,
  ): Promise<{ isWhole: boolean; bytes: number }> {
    const headers = { 'Sallyport-Key': merchant.proxyKey }
    const request = httpRequest(sallyport.origin, { path, headers, agent: false })
    request.end()
    const [response] = (await once(request, 'response')) as [IncomingMessage]
    let bytes = 0
    const closed = new Promise((resolve) => response.once('close', resolve))
    response.on('error', () => {}) // told by isWhole
    await sleep(waitMs)
    response.on('data', (chunk: Buffer) => {
      bytes += chunk.length
    })
    await closed
    return { isWhole: response.complete, bytes }
  }

  const sends: Play = {
    onRequest: (socket) => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`)
      socket.write(Buffer.alloc(size, 'x'))
    },
  }

  test('is waited for longer than the time between parts of a body', async () => {
    await using upstream = await startFaultyUpstream(sends)
    const path = await reach(upstream.origin, { body_ms: 1000 })

    expect(await readLate(path, 1800)).toEqual({ isWhole: true, bytes: size })
  })

  test('is not waited for longer than the whole may take', async () => {
    await using upstream = await startFaultyUpstream(sends)
    const path = await reach(upstream.origin, { total_ms: 1000 })

    const { isWhole, bytes } = await readLate(path, 1500)

    expect(isWhole).toBe(false)
    expect(bytes).toBeLessThan(size)
  })
})

test.each<[string, Play]>([
  ['no answer', {}],
  ['a body that stops', says(`${HEAD}half`)],
])('after too long with %s the connection is closed', async (_, play) => {
  await using upstream = await startFaultyUpstream(play)
  const path = await reach(upstream.origin, { headers_ms: 30_000, body_ms: 30_000, total_ms: 500 })

  const reply = await charge(path)

  expectFault(reply, 'upstream_timeout')
  const open = await eventually(
    () => upstream.openSockets,
    (count) => count === 0,
  )
  expect(open).toBe(0)
})

describe('after the answer', () => {
  test('nothing of its time is left: its connection carries a longer request', async () => {
    await using upstream = await startFaultyUpstream({
      onRequest: (socket, { place }) => setTimeout(() => socket.write(OK), place === 0 ? 0 : 1400),
    })
    const limits = { headers_ms: 2500, body_ms: 2500, total_ms: 2500 }
    const path = await reach(upstream.origin, limits, { limits: { connections: 1 } })

    const first = await charge(path)
    await sleep(1800)
    const second = await charge(path)

    expect([first.status, second.status]).toEqual([200, 200])
    expect(upstream.connections).toBe(1)
  })

  test('what came too late is nobody’s', async () => {
    await using upstream = await startFaultyUpstream({
      onRequest: (socket, { url }) => {
        const answer = `HTTP/1.1 200 OK\r\nContent-Length: ${url.length}\r\n\r\n${url}`
        setTimeout(() => socket.write(answer), url.endsWith('1') ? 1400 : 0)
      },
    })
    const path = await reach(upstream.origin, { headers_ms: 1000 }, { limits: { connections: 1 } })

    const late = charge(`${path}/1`)
    const waiting = charge(`${path}/2`)
    const replies = [await late, await waiting, await charge(`${path}/3`)]

    expectFault(replies[0] as (typeof replies)[0], 'upstream_timeout')
    expect(replies.slice(1).map(({ text }) => text)).toEqual(['/pay/2', '/pay/3'])
    expect(upstream.requests.map(({ url }) => url)).toEqual(['/pay/1', '/pay/2', '/pay/3'])
  })
})
