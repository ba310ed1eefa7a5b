// What one request can make us do has an end, and every request has one, too.

import { afterAll, beforeAll, expect, test } from 'vitest'
import { startSallyport, type TestMerchant, type TestSallyport } from '../support/sallyport.ts'
import { pause } from '../support/time.ts'
import {
  eventually,
  expectRefusal,
  send,
  startRawUpstream,
  startUpstream,
  type Upstream,
} from './upstream.ts'

let sallyport: TestSallyport
let merchant: TestMerchant
let echo: Upstream
let holding: Upstream

beforeAll(async () => {
  sallyport = await startSallyport({ body_memory_bytes: 2 * 1024 * 1024 })
  merchant = await sallyport.createMerchant()
  echo = await startUpstream()
  await reach('echo', echo)
  holding = await startUpstream()
  await reach('holding', holding, HOLDING)
})

afterAll(async () => {
  await sallyport[Symbol.asyncDispose]()
  await echo.close()
  await holding.close()
})

async function reach(name: string, upstream: Upstream, limits: object = {}): Promise<void> {
  await merchant.createDestination({
    name,
    origin: upstream.origin,
    allow: [{ methods: ['GET', 'POST'], path: '/*', fields: ['card_last4'] }],
    limits,
  })
}

const ours = () => ({
  'Sallyport-Key': merchant.proxyKey,
  'Content-Type': 'application/json',
})

test('a status text beyond ASCII does not keep the answer from the caller', async () => {
  await using upstream = await startRawUpstream((socket) =>
    socket.end(Buffer.from('HTTP/1.1 200 R\xe9ussi\r\nContent-Length: 2\r\n\r\nok', 'latin1')),
  )
  await reach('french', upstream)

  const reply = await send(sallyport.origin, 'GET', '/d/french/', ours())

  expect([reply.status, reply.text]).toEqual([200, 'ok'])
})

/** Bodies up to this are held; the counting is about one that is there as a whole. */
const HOLDING = { buffer_bytes: 4 * 1024 * 1024 }

test('placeholders beyond counting are refused', async () => {
  const many = Array.from({ length: 20_001 }, (_, n) => `{{$card_last4: t${n}}}`)

  const reply = await send(sallyport.origin, 'POST', '/d/holding/', ours(), JSON.stringify(many))

  expectRefusal(reply, 'body_too_large')
})

test('filters that would make megabytes of a placeholder, again and again, are refused', async () => {
  const card = await merchant.createCard()
  const one = `{{$card_last4: ${card}|pad(255)|hex|hex|hex|hex|hex|hex|hex}}`
  const many = JSON.stringify(Array.from({ length: 1000 }, () => one))

  const reply = await send(sallyport.origin, 'POST', '/d/echo/', ours(), many)

  expectRefusal(reply, 'body_too_large')
})

test('bodies that together weigh too much are refused, and room is made when they are gone', async () => {
  const body = Buffer.alloc(3 * 1024 * 1024, 0x20)

  const reply = await send(sallyport.origin, 'POST', '/d/holding/', ours(), body)
  // A connection is gone a moment after its answer.
  const after = await eventually(
    () => send(sallyport.origin, 'POST', '/d/holding/', ours(), body.subarray(0, 1e6)),
    ({ status }) => status === 200,
  )

  expectRefusal(reply, 'destination_busy')
  expect(after.status).toBe(200)
})

test('a body beyond the buffer limit streams, and weighs no more than what is held of it', async () => {
  const body = Buffer.alloc(3 * 1024 * 1024, 0x20)

  const replies = await Promise.all(
    Array.from({ length: 4 }, () => send(sallyport.origin, 'POST', '/d/echo/', ours(), body)),
  )

  expect(replies.map(({ status }) => status)).toEqual([200, 200, 200, 200])
  expect(echo.seen.filter(({ body: seen }) => seen.equals(body)).length).toBe(4)
})

test('a caller that hangs up keeps its place in the queue until the destination lets go', async () => {
  const answers: (() => void)[] = []
  await using upstream = await startUpstream((_, response) => {
    answers.push(() => response.end('{}'))
  })
  await reach('slow', upstream, { connections: 1, queue: 1 })
  const first = send(sallyport.origin, 'POST', '/d/slow/1', ours(), '{}')
  await expect.poll(() => upstream.seen.length).toBe(1)
  const gone = new AbortController()
  const second = fetch(`${sallyport.origin}/d/slow/2`, {
    method: 'POST',
    headers: ours(),
    body: '{}',
    signal: gone.signal,
  }).catch(() => undefined)
  await pause(100)
  gone.abort()
  await second

  const third = await send(sallyport.origin, 'POST', '/d/slow/3', ours(), '{}')
  answers[0]?.()

  expectRefusal(third, 'destination_busy')
  expect((await first).status).toBe(200)
  // What was abandoned was never sent, and its place is free again.
  const fourth = send(sallyport.origin, 'POST', '/d/slow/4', ours(), '{}')
  await expect.poll(() => upstream.seen.map(({ url }) => url)).toEqual(['/1', '/4'])
  answers[1]?.()
  expect((await fourth).status).toBe(200)
})

test('a request whose body trickles in is judged by what holds when it is whole', async () => {
  const key = await sallyport.createKey(merchant.id, ['proxy:invoke'])
  const keys = (await sallyport.admin('GET', `/v2/api-keys?merchant_id=${merchant.id}`)).body
  const { key_id } = keys.at(-1)
  const before = echo.seen.length
  const body = new ReadableStream({
    async start(controller) {
      controller.enqueue(Buffer.from('{"a":'))
      await new Promise((resolve) => setTimeout(resolve, 1200))
      await sallyport.admin('DELETE', `/v2/api-keys/${key_id}?merchant_id=${merchant.id}`)
      controller.enqueue(Buffer.from('1}'))
      controller.close()
    },
  })

  const answer = await fetch(`${sallyport.origin}/d/echo/`, {
    method: 'POST',
    headers: { 'Sallyport-Key': key },
    body,
    duplex: 'half',
  } as RequestInit)

  expect(answer.status).toBe(401)
  expect(echo.seen.length).toBe(before)
})
