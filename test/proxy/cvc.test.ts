// A card verification code is a lease of one use: spent as soon as a byte may have left, given back when the request
// provably never did, and of many that race for it one gets it.

import { once } from 'node:events'
import { createServer } from 'node:http'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Reason } from '../../src/core/errors.ts'
import {
  startSallyport,
  type TestMerchant,
  type TestSallyport,
  VISA,
} from '../support/sallyport.ts'
import { pause } from '../support/time.ts'
import { startSending } from './recorder.ts'
import {
  closedPort,
  eventually,
  expectRefusal,
  type Reply,
  send,
  sendOk,
  startRawUpstream,
  startUpstream,
  type Upstream,
} from './upstream.ts'

const CVC = '739'

let sallyport: TestSallyport
let merchant: TestMerchant
let psp: Upstream

beforeAll(async () => {
  sallyport = await startSallyport()
  merchant = await sallyport.createMerchant()
  psp = await startUpstream()
  await destination('psp', psp.origin)
})

afterAll(async () => {
  await sallyport[Symbol.asyncDispose]()
  await psp.close()
})

const destination = (name: string, origin: string, settings: Record<string, unknown> = {}) =>
  merchant.createDestination({
    name,
    origin,
    allow: [
      {
        methods: ['POST'],
        path: '/*',
        fields: [
          'card_number',
          'card_holder_name',
          { field: 'card_cvc', at: ['body', 'header:x-cvc'] },
        ],
      },
    ],
    ...settings,
  })

/** Every test charges a card of its own: the same card again would be the same payment method. */
const newCard = () => merchant.createCard({ card_cvc: CVC })

const post = (path: string, body: string, headers: Record<string, string> = {}): Promise<Reply> =>
  send(
    sallyport.origin,
    'POST',
    path,
    { 'Sallyport-Key': merchant.proxyKey, 'Content-Type': 'application/json', ...headers },
    body,
  )

const charge = (name: string, token: string) =>
  post(`/d/${name}/pay`, `{"n":"{{$card_number: ${token}}}","c":"{{$card_cvc: ${token}}}"}`)

/** What the vault says about the code of a card. */
const shownCode = async (token: string) =>
  (await merchant.vault('GET', `/v2/payment-methods/${token}`)).body.card_cvc_token_storage

const bodies = () => psp.seen.map(({ body }) => body.toString())

test('a code is sent once, and a second use is refused', async () => {
  psp.seen.length = 0
  const token = await newCard()

  const first = await charge('psp', token)
  const second = await charge('psp', token)

  expect(first.status).toBe(200)
  expectRefusal(second, 'cvc_not_available')
  expect(second.json.error.details).toEqual({ field: 'card_cvc' })
  expect(bodies()).toEqual([`{"n":"${VISA}","c":"${CVC}"}`])
})

test('within one request a code may stand in several places', async () => {
  psp.seen.length = 0
  const token = await newCard()

  const reply = await post('/d/psp/pay', `["{{$card_cvc: ${token}}}"]`, {
    'X-Cvc': `{{$card_cvc: ${token}}}`,
  })

  expect(reply.status).toBe(200)
  expect(bodies()).toEqual([`["${CVC}"]`])
  expect(psp.seen[0]?.headers['x-cvc']).toBe(CVC)
})

test('a card without a code has none to send, and can be charged without', async () => {
  psp.seen.length = 0
  const token = await merchant.createCard()

  const withCode = await charge('psp', token)
  const without = await post('/d/psp/pay', `["{{$card_number: ${token}}}"]`)

  expectRefusal(withCode, 'cvc_not_available')
  expect(without.status).toBe(200)
  expect(bodies()).toEqual([`["${VISA}"]`])
})

test('a charge without the code leaves it there', async () => {
  const token = await newCard()

  await post('/d/psp/pay', `["{{$card_number: ${token}}}"]`)

  expect((await charge('psp', token)).status).toBe(200)
})

test('of 200 requests that race for a code exactly one carries it', async () => {
  psp.seen.length = 0
  const token = await newCard()

  const replies = await Promise.all(Array.from({ length: 200 }, () => charge('psp', token)))

  expect(replies.filter(({ status }) => status === 200).length).toBe(1)
  for (const reply of replies) if (reply.status !== 200) expectRefusal(reply, 'cvc_not_available')
  expect(bodies()).toEqual([`{"n":"${VISA}","c":"${CVC}"}`])
})

describe('given back before the refusal is told, because nothing was sent', () => {
  test('the connection was refused', async () => {
    await destination('closed', `http://127.0.0.1:${await closedPort()}`)
    const token = await newCard()

    const refused = await charge('closed', token)

    expectRefusal(refused, 'upstream_connect_failed')
    expect((await charge('psp', token)).status).toBe(200)
  })

  test('nobody listened, and at the next request somebody does', async () => {
    const port = await closedPort()
    await destination('late', `http://127.0.0.1:${port}`)
    const token = await newCard()
    const refused = await charge('late', token)
    const received: string[] = []
    const late = createServer(async (request, response) => {
      received.push(Buffer.concat(await request.toArray()).toString())
      response.end('{}')
    })
    late.listen(port, '127.0.0.1')
    await once(late, 'listening')

    const reply = await charge('late', token)
    late.closeAllConnections()
    late.close()

    expectRefusal(refused, 'upstream_connect_failed')
    expect(reply.status).toBe(200)
    expect(received).toEqual([`{"n":"${VISA}","c":"${CVC}"}`])
  })

  test('time and again, it expires when it would have expired', async () => {
    await destination('never', `http://127.0.0.1:${await closedPort()}`)
    const token = await newCard()
    const before = await shownCode(token)

    for (let i = 0; i < 3; i++) {
      expectRefusal(await charge('never', token), 'upstream_connect_failed')
      expect(await shownCode(token)).toEqual(before)
    }

    expect(before).toMatchObject({ is_stored: true })
    expect((await charge('psp', token)).status).toBe(200)
    expect(await shownCode(token)).toBeNull()
  })

  test('one that expired while it was out is not there again', async () => {
    await using short = await startSallyport({ vault: { cvc_ttl_s: 2 } })
    await using silent = await startRawUpstream(() => {}) // accepts, and says nothing
    await using upstream = await startUpstream()
    const there = await short.createMerchant()
    const allow = [{ methods: ['POST'], path: '/*', fields: ['card_cvc'] }]
    const slow = { origin: silent.origin.replace('http:', 'https:'), allow }
    await there.createDestination({ name: 'slow', ...slow, timeouts: { connect_ms: 2200 } })
    await there.createDestination({ name: 'psp', origin: upstream.origin, allow })
    const token = await there.createCard({ card_cvc: CVC })
    const use = (name: string) =>
      send(
        short.origin,
        'POST',
        `/d/${name}/pay`,
        { 'Sallyport-Key': there.proxyKey, 'Content-Type': 'application/json' },
        `["{{$card_cvc: ${token}}}"]`,
      )

    const refused = await use('slow')
    const again = await use('psp')

    expectRefusal(refused, 'upstream_connect_timeout')
    expectRefusal(again, 'cvc_not_available')
    expect(upstream.seen).toEqual([])
  })

  test('a newer one stays when the older comes back', async () => {
    await using silent = await startRawUpstream(() => {}) // accepts, and says nothing
    const origin = silent.origin.replace('http:', 'https:')
    await destination('slow-newer', origin, { timeouts: { connect_ms: 1500 } })
    const token = await newCard()
    const running = charge('slow-newer', token)
    await eventually(
      () => shownCode(token),
      (shown) => shown === null,
    )
    const path = `/v2/payment-methods/${token}/update-saved-payment-method`
    const update = { payment_method_data: { card: { card_cvc: '146' } } }
    expect((await merchant.vault('PUT', path, update)).status).toBe(200)
    expectRefusal(await running, 'upstream_connect_timeout')
    psp.seen.length = 0

    const first = await charge('psp', token)
    const second = await charge('psp', token)

    expect(first.status).toBe(200)
    expectRefusal(second, 'cvc_not_available')
    expect(bodies()).toEqual([`{"n":"${VISA}","c":"146"}`])
  })

  test('its caller left while it waited for a connection', async () => {
    const opened = Promise.withResolvers<void>()
    await using busy = await startUpstream((_, response) => {
      void opened.promise.then(() => sendOk(response))
    })
    await destination('busy', busy.origin, { limits: { connections: 1 } })
    const running = charge('busy', await newCard())
    await eventually(
      () => busy.seen.length,
      (count) => count === 1,
    )
    const token = await newCard()
    const waiting = startSending(sallyport.origin, 'POST', '/d/busy/pay', {
      'Sallyport-Key': merchant.proxyKey,
      'Content-Type': 'application/json',
    })
    await waiting.write(`["{{$card_cvc: ${token}}}"]`)
    waiting.end()
    await eventually(
      () => shownCode(token),
      (shown) => shown === null,
    )

    waiting.leave()
    const back = await eventually(
      () => shownCode(token),
      (shown) => shown !== null,
    )
    opened.resolve()
    await running

    expect(back).toMatchObject({ is_stored: true })
    expect((await charge('psp', token)).status).toBe(200)
    expect(busy.seen.length).toBe(1)
  })

  test.each([
    ['the handshake took too long', 'slow-handshake', { connect_ms: 500 }],
    ['the whole took too long, still without a connection', 'slow-whole', { total_ms: 1000 }],
  ])('%s', async (_, name, timeouts) => {
    await using silent = await startRawUpstream(() => {}) // accepts, and says nothing
    await destination(name, silent.origin.replace('http:', 'https:'), { timeouts })
    const token = await newCard()

    const refused = await charge(name, token)

    expectRefusal(refused, 'upstream_connect_timeout')
    expect((await charge('psp', token)).status).toBe(200)
  })

  test('another value could not stand in its place', async () => {
    const token = await merchant.createCard({ card_cvc: CVC, card_holder_name: 'Zoë' })
    const body = `{{$card_cvc: ${token}}} {{$card_holder_name: ${token}}}`

    const refused = await post('/d/psp/pay', body, { 'Content-Type': 'text/plain' })

    expectRefusal(refused, 'value_not_encodable')
    expect((await charge('psp', token)).status).toBe(200)
  })

  test('another card of the same request had no code', async () => {
    const token = await newCard()
    const without = await merchant.createCard({ card_number: '5555555555554444' })

    const refused = await post(
      '/d/psp/pay',
      `["{{$card_cvc: ${token}}}","{{$card_cvc: ${without}}}"]`,
    )

    expectRefusal(refused, 'cvc_not_available')
    expect((await charge('psp', token)).status).toBe(200)
  })

  test.each([
    [
      'field_not_allowed',
      (token: string) => `["{{$card_cvc: ${token}}}","{{$card_bin: ${token}}}"]`,
    ],
    ['token_not_found', (token: string) => `["{{$card_cvc: ${token}}}","{{$card_cvc: x}}"]`],
    ['malformed_body', (token: string) => `["{{$card_cvc: ${token}}}"`],
  ] as const)('the request was refused before: %s', async (reason, body) => {
    const token = await newCard()

    const refused = await post('/d/psp/pay', body(token))

    expectRefusal(refused, reason)
    expect((await charge('psp', token)).status).toBe(200)
  })
})

describe('spent, because a byte may have left', () => {
  test.each([
    ['a reset', 'upstream_reset', (socket) => socket.resetAndDestroy()],
    ['no answer in time', 'upstream_timeout', () => {}],
    ['garbage', 'upstream_protocol_error', (socket) => socket.end('SSH-2.0\r\n\r\n')],
  ] as [string, Reason, Parameters<typeof startRawUpstream>[0]][])(
    '%s: %s',
    async (what, reason, script) => {
      await using broken = await startRawUpstream(script)
      const name = what.replaceAll(' ', '-')
      const timeouts = reason === 'upstream_timeout' ? { total_ms: 1500 } : {}
      await destination(name, broken.origin, { timeouts })
      const token = await newCard()

      const failed = await charge(name, token)
      await pause(50)
      const again = await charge('psp', token)

      expectRefusal(failed, reason)
      expectRefusal(again, 'cvc_not_available')
      expect(broken.seen.length).toBe(1)
    },
  )

  test.each([402, 500])('an answer of %i', async (status) => {
    await using refusing = await startUpstream((_, response) => {
      response.writeHead(status).end()
    })
    await destination(`says-${status}`, refusing.origin)
    const token = await newCard()

    await charge(`says-${status}`, token)

    expectRefusal(await charge('psp', token), 'cvc_not_available')
  })
})

test('a code that has expired is gone', async () => {
  await using short = await startSallyport({ vault: { cvc_ttl_s: 1 } })
  await using upstream = await startUpstream()
  const there = await short.createMerchant()
  await there.createDestination({
    name: 'psp',
    origin: upstream.origin,
    allow: [{ methods: ['POST'], path: '/*', fields: ['card_cvc'] }],
  })
  const token = await there.createCard({ card_cvc: CVC })
  await new Promise((resolve) => setTimeout(resolve, 1050))

  const reply = await send(
    short.origin,
    'POST',
    '/d/psp/pay',
    { 'Sallyport-Key': there.proxyKey, 'Content-Type': 'application/json' },
    `["{{$card_cvc: ${token}}}"]`,
  )

  expectRefusal(reply, 'cvc_not_available')
  expect(upstream.seen).toEqual([])
})
