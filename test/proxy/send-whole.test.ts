// Requests of our own that leave through the same dialer: what is an answer, what is none, and that bodies do not stay.

import type { Socket } from 'node:net'
import { expect, test } from 'vitest'
import { type Cidr, parseCidr } from '../../src/core/cidr.ts'
import type { WholeAnswer, WholeRequest } from '../../src/core/send-whole.ts'
import { createEgress } from '../../src/proxy/egress/egress.ts'
import { createWholeSender } from '../../src/proxy/egress/send-whole.ts'
import { pause } from '../support/time.ts'
import { drips, says, saysAndResets, startFaultyUpstream } from './faulty-upstream.ts'
import { closedPort, eventually, startRawUpstream, startUpstream } from './upstream.ts'

const LIMIT_BYTES = 1000

function openSender(allowed = ['127.0.0.0/8']) {
  const allowPrivate = allowed.map((each) => parseCidr(each) as Cidr)
  const egress = createEgress({ allowPrivate, allowHttp: true, proxy: undefined })
  const sender = createWholeSender(egress)
  return {
    ask: (url: string, more: Partial<WholeRequest> = {}): Promise<WholeAnswer> =>
      sender.send({
        url,
        method: 'POST',
        headers: ['content-type', 'text/plain'],
        body: Buffer.from('4242424242424242'),
        timeoutMs: 2000,
        limitBytes: LIMIT_BYTES,
        ...more,
      }),
    forgetUnused: sender.forgetUnused,
    [Symbol.asyncDispose]: sender.destroy,
  }
}

const failed = (mayHaveBeenSent: boolean) => ({ kind: 'failed', mayHaveBeenSent })
const isWiped = (body: Buffer) => body.every((byte) => byte === 0)

test('an answer comes as a whole, whatever its status, and the body that was sent is overwritten', async () => {
  await using upstream = await startUpstream((_, response) => {
    response.statusCode = 418
    response.write('one ')
    setTimeout(() => response.end('two'), 20)
  })
  await using sender = openSender()
  const body = Buffer.from('4242424242424242')

  const answer = await sender.ask(`${upstream.origin}/a/b?c=d`, { body })

  expect(answer).toEqual({ kind: 'answered', status: 418, body: Buffer.from('one two') })
  const [seen] = upstream.seen
  expect([seen?.method, seen?.url, seen?.body.toString()]).toEqual([
    'POST',
    '/a/b?c=d',
    '4242424242424242',
  ])
  expect(isWiped(body)).toBe(true)
})

test('a connection serves one request after the other, until nobody uses it', async () => {
  await using upstream = await startUpstream()
  await using sender = openSender()

  for (let n = 0; n < 3; n++) await sender.ask(upstream.origin)
  expect(upstream.connections).toBe(1)

  sender.forgetUnused()
  await sender.ask(upstream.origin)
  expect(upstream.connections).toBe(1)
  sender.forgetUnused()
  sender.forgetUnused()
  await sender.ask(upstream.origin)
  expect(upstream.connections).toBe(2)
})

test('of many origins the one that was used least recently makes room', async () => {
  await using upstream = await startUpstream()
  await using sender = openSender()
  const port = await closedPort()
  const others = (from: number, to: number) =>
    Promise.all(
      Array.from({ length: to - from }, (_, n) => sender.ask(`http://127.0.0.${from + n}:${port}`)),
    )
  await sender.ask(upstream.origin)

  await others(1, 64) // with the first 64 of them, which is as many as are kept
  await sender.ask(upstream.origin)
  await others(64, 126)
  await sender.ask(upstream.origin)
  expect(upstream.connections).toBe(1)

  await others(126, 190)
  await sender.ask(upstream.origin)
  expect(upstream.connections).toBe(2)
})

test('a redirect is an answer', async () => {
  await using elsewhere = await startUpstream()
  await using upstream = await startUpstream((_, response) => {
    response.writeHead(307, { location: elsewhere.origin })
    response.end()
  })
  await using sender = openSender()

  expect(await sender.ask(upstream.origin)).toMatchObject({ kind: 'answered', status: 307 })
  expect(elsewhere.connections).toBe(0)
})

test.each([
  ['as its head says', `HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n${'x'.repeat(1001)}`],
  [
    'without saying so',
    `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n${'x'.repeat(1001)}\r\n0\r\n\r\n`,
  ],
])('an answer that is too long %s is none', async (_, text) => {
  await using upstream = await startFaultyUpstream(says(text))
  await using sender = openSender()
  const body = Buffer.from('4242424242424242')

  expect(await sender.ask(upstream.origin, { body })).toEqual(failed(true))
  expect(isWiped(body)).toBe(true)
  expect(
    await eventually(
      () => upstream.openSockets,
      (open) => open === 0,
    ),
  ).toBe(0)
})

test.each([
  ['is reset', saysAndResets('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf')],
  ['is no HTTP', says('SSH-2.0\r\n\r\n')],
  ['trickles', drips('HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n', 'x'.repeat(999), 20)],
])('an answer that %s is none', async (_, play) => {
  await using upstream = await startFaultyUpstream(play)
  await using sender = openSender()
  const body = Buffer.from('4242424242424242')

  expect(await sender.ask(upstream.origin, { body, timeoutMs: 200 })).toEqual(failed(true))
  expect(isWiped(body)).toBe(true)
})

test('where nobody listens, or nobody may go, nothing was sent', async () => {
  const port = await closedPort()
  await using upstream = await startUpstream()
  await using sender = openSender()
  await using strict = openSender([])

  for (const [by, url] of [
    [sender, `http://127.0.0.1:${port}`],
    [sender, 'http://10.255.255.1'],
    [strict, upstream.origin],
  ] as const) {
    const body = Buffer.from('4242424242424242')
    expect([url, await by.ask(url, { body, timeoutMs: 300 })]).toEqual([url, failed(false)])
    expect(isWiped(body)).toBe(true)
  }
  expect(upstream.connections).toBe(0)
})

test('what waits for a connection when its time is over is not sent later', async () => {
  const sockets: Socket[] = []
  await using upstream = await startRawUpstream((socket) => sockets.push(socket))
  await using sender = openSender()
  const first = Array.from({ length: 64 }, () => sender.ask(upstream.origin, { timeoutMs: 5000 }))
  await eventually(
    () => upstream.seen.length,
    (count) => count === 64,
  )
  const body = Buffer.from('4242424242424242')

  const late = await sender.ask(upstream.origin, { body, timeoutMs: 100 })
  for (const socket of sockets) socket.write('HTTP/1.1 204 No Content\r\n\r\n')
  await Promise.all(first)
  await pause(50)

  expect(late).toEqual(failed(false))
  expect(isWiped(body)).toBe(true)
  expect(upstream.seen).toHaveLength(64)
})
