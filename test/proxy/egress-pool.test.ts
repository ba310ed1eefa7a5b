// The connections to one origin: how many there are, who gets which, when they end; and that a request waits no longer
// than it has to, and never for good.

import { once } from 'node:events'
import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { describe, expect, test } from 'vitest'
import { makeCertificate } from './certificates.ts'
import { Asked, openPool, tellOf } from './egress-client.ts'
import { closedPort, eventually, startRawUpstream } from './upstream.ts'

const ok = (text: string, fields = '') =>
  `HTTP/1.1 200 OK\r\n${fields}Content-Length: ${text.length}\r\n\r\n${text}`

/** Answers each request with its target, in the order in which it is told to. */
async function startHolding() {
  const held: (() => void)[] = []
  const upstream = await startRawUpstream((socket, head) => {
    held.push(() => socket.write(ok(head.split(' ')[1] ?? '')))
  })
  const answerOne = async () => {
    await eventually(
      () => held.length,
      (count) => count > 0,
    )
    held.shift()?.()
  }
  return Object.assign(upstream, { held, answerOne })
}

describe('connections', () => {
  test('are as many as are needed, and no more than there may be', async () => {
    await using upstream = await startHolding()
    const pool = openPool(upstream.origin, { connections: 3 })

    const all = ['/1', '/2', '/3', '/4', '/5'].map((target) => tellOf(pool, { target }))
    await eventually(
      () => upstream.held.length,
      (count) => count === 3,
    )
    await sleep(50)
    const atOnce = [upstream.held.length, upstream.connections]
    for (let n = 0; n < 5; n++) await upstream.answerOne()
    const texts = (await Promise.all(all)).map(({ text }) => text)
    await pool.destroy()

    expect(atOnce).toEqual([3, 3])
    expect(texts).toEqual(['/1', '/2', '/3', '/4', '/5'])
    expect(upstream.connections).toBe(3)
  })

  test('serve those who wait in the order in which they came', async () => {
    await using upstream = await startHolding()
    const pool = openPool(upstream.origin)

    const all = ['/1', '/2', '/3', '/4'].map((target) => tellOf(pool, { target }))
    for (let n = 0; n < 4; n++) await upstream.answerOne()
    await Promise.all(all)
    await pool.destroy()

    expect(upstream.seen.map(({ url }) => url)).toEqual(['/1', '/2', '/3', '/4'])
  })

  test('that were used last are used first', async () => {
    const used: Socket[] = []
    await using upstream = await startRawUpstream((socket) => {
      used.push(socket)
      setTimeout(() => socket.write(ok('')), 20)
    })
    const pool = openPool(upstream.origin, { connections: 2 })
    await Promise.all([tellOf(pool), tellOf(pool)])

    await tellOf(pool)
    await tellOf(pool)
    await tellOf(pool)
    await pool.destroy()

    expect(used[3]).toBe(used[2])
    expect(used[4]).toBe(used[2])
  })

  test('that become free serve whoever waits for a new one', async () => {
    await using upstream = await startRawUpstream((socket) => socket.write(ok('')))
    let dials = 0
    const slow = openPool(upstream.origin, { connections: 2 })
    await tellOf(slow)
    const both = await Promise.all([tellOf(slow), tellOf(slow)])
    dials = upstream.connections
    await slow.destroy()

    expect(both.map(({ error }) => error)).toEqual([undefined, undefined])
    expect(dials).toBeLessThanOrEqual(2)
  })

  test('that ended are replaced for those who wait', async () => {
    let answers = 0
    await using upstream = await startRawUpstream((socket) => {
      answers += 1
      if (answers === 1) socket.resetAndDestroy()
      else socket.end(ok(String(answers)))
    })
    const pool = openPool(upstream.origin)

    const told = await Promise.all([1, 2, 3].map(() => tellOf(pool)))
    await pool.destroy()

    expect(told.map(({ error, text }) => error?.code ?? text)).toEqual(['ECONNRESET', '2', '3'])
  })
})

/** On a thread of its own, so that it answers while the other side is still busy with its write. */
const TLS_UPSTREAM = `
  const { parentPort, workerData } = require('node:worker_threads')
  let connections = 0
  const server = require('node:https').createServer(workerData, (_, response) => {
    response.end(String(connections))
  })
  server.on('secureConnection', () => { connections += 1 })
  server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port))
`

test('connections with TLS are kept as well, also when many answers come at once', async () => {
  const { key, cert } = makeCertificate('psp', { hosts: ['127.0.0.1'] })
  const upstream = new Worker(TLS_UPSTREAM, { eval: true, workerData: { key, cert } })
  const [port] = await once(upstream, 'message')
  const pool = openPool(`https://127.0.0.1:${port}`, { connections: 16, caPem: cert })

  const told = await Promise.all(Array.from({ length: 2000 }, () => tellOf(pool)))
  await pool.destroy()
  await upstream.terminate()

  expect(Math.max(...told.map(({ text }) => Number(text)))).toBeLessThanOrEqual(16)
})

describe('an idle connection', () => {
  const openAfter = async (upstream: { origin: string }, sockets: Set<Socket>, ms: number) => {
    const pool = openPool(upstream.origin)
    await tellOf(pool)
    await sleep(ms)
    const open = sockets.size
    await pool.destroy()
    return open
  }

  test.each([
    ['ends before the other side ends it', 'Keep-Alive: timeout=3\r\n', 600, 1],
    ['ends before the other side ends it', 'Keep-Alive: timeout=3, max=100\r\n', 1400, 0],
    ['ends at once when that is too soon', 'Keep-Alive: timeout=2\r\n', 50, 0],
    ['ends at once when that is too soon', 'keep-alive: timeout=0\r\n', 50, 0],
    ['goes on by itself', '', 1400, 1],
    ['goes on where nothing of use is said', 'Keep-Alive: max=5\r\n', 600, 1],
  ])('%s: %j', async (_, fields, ms, count) => {
    const sockets = new Set<Socket>()
    await using upstream = await startRawUpstream((socket) => {
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket))
      socket.write(ok('', fields))
    })

    expect(await openAfter(upstream, sockets, ms)).toBe(count)
  })

  test('ends after four seconds', async () => {
    const sockets = new Set<Socket>()
    await using upstream = await startRawUpstream((socket) => {
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket))
      socket.write(ok(''))
    })

    expect(await openAfter(upstream, sockets, 5000)).toBe(0)
  })

  test('that the other side has closed is not used', async () => {
    await using upstream = await startRawUpstream((socket) => socket.end(ok('')))
    const pool = openPool(upstream.origin)

    const told = []
    for (let n = 0; n < 10; n++) {
      told.push(await tellOf(pool))
      await sleep(5)
    }
    await pool.destroy()

    expect(told.map(({ error, isReused }) => [error, isReused])).toEqual(
      Array(10).fill([undefined, false]),
    )
  })
})

describe('when no connection can be made', () => {
  test('each request fails by its own, and none waits for good', async () => {
    const pool = openPool(`http://127.0.0.1:${await closedPort()}`, { connections: 2 })

    const told = await Promise.all(Array.from({ length: 7 }, () => tellOf(pool)))
    await pool.destroy()

    expect(told.map(({ error }) => error?.code)).toEqual(Array(7).fill('ECONNREFUSED'))
    expect(told.every(({ wasStarted }) => !wasStarted)).toBe(true)
  })
})

describe('a request that is not to be sent any more', () => {
  test('leaves its place to the next one, and nothing else is told about it', async () => {
    await using upstream = await startHolding()
    const pool = openPool(upstream.origin)
    const unwanted = new Asked({ target: '/unwanted' })
    unwanted.isWanted = false

    const first = tellOf(pool, { target: '/1' })
    pool.dispatch(unwanted.request)
    const second = tellOf(pool, { target: '/2' })
    await upstream.answerOne()
    await upstream.answerOne()
    const told = [await first, await second]
    await pool.destroy()

    expect(told.map(({ text }) => text)).toEqual(['/1', '/2'])
    expect(upstream.seen.map(({ url }) => url)).toEqual(['/1', '/2'])
    expect([upstream.connections, unwanted.ends]).toEqual([1, 0])
  })
})

describe('a request that is sent again', () => {
  test('does not find out about other connections that were closed', async () => {
    await using upstream = await startRawUpstream((socket) => socket.write(ok('')))
    const pool = openPool(upstream.origin, { connections: 2 })
    await Promise.all([tellOf(pool), tellOf(pool)])
    const asked = new Asked()

    pool.dispatchAgain(asked.request)
    const { isReused } = await asked.ended
    await pool.destroy()

    expect(isReused).toBe(false)
    expect(upstream.connections).toBe(3)
  })
})

describe('closed', () => {
  test('its requests come to their end, those that wait as well, and nothing stays open', async () => {
    await using upstream = await startHolding()
    const pool = openPool(upstream.origin)
    const both = [tellOf(pool, { target: '/1' }), tellOf(pool, { target: '/2' })]

    const closed = pool.close()
    const late = await tellOf(pool)
    await upstream.answerOne()
    await upstream.answerOne()
    const told = await Promise.all(both)
    await closed

    expect(told.map(({ text }) => text)).toEqual(['/1', '/2'])
    expect([late.wasStarted, late.error === undefined]).toEqual([false, false])
  })

  test('an idle connection ends at once', async () => {
    await using upstream = await startRawUpstream((socket) => socket.write(ok('')))
    const pool = openPool(upstream.origin)
    await tellOf(pool)

    const startMark = performance.now()
    await pool.close()
    await pool.close()

    expect(performance.now() - startMark).toBeLessThan(1000)
  })
})

describe('destroyed', () => {
  test('its requests fail, wherever they are', async () => {
    await using upstream = await startHolding()
    const pool = openPool(upstream.origin)
    const sent = tellOf(pool)
    const waiting = tellOf(pool)
    await eventually(
      () => upstream.held.length,
      (count) => count === 1,
    )

    await pool.destroy()
    const told = await Promise.all([sent, waiting, tellOf(pool)])

    expect(told.map(({ error }) => error instanceof Error)).toEqual([true, true, true])
    expect(told.map(({ wasStarted }) => wasStarted)).toEqual([true, false, false])
  })

  test('a connection that is being made is given up', async () => {
    await using upstream = await startRawUpstream(() => {})
    const pool = openPool(upstream.origin.replace('http:', 'https:'))
    const asked = tellOf(pool)
    await sleep(50)

    const startMark = performance.now()
    await pool.destroy()

    expect(performance.now() - startMark).toBeLessThan(1000)
    expect((await asked).wasStarted).toBe(false)
  })
})
