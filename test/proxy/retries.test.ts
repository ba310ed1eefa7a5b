// A request may be sent once more in one case: a connection that was kept alive turned out to be closed, not one byte of
// an answer had come, and a repetition does no harm. Never otherwise, never twice, and once it has happened nobody is
// told that nothing was sent.

import { readFile } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import type { TlsOptions } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  startSallyport,
  type TestMerchant,
  type TestSallyport,
  VISA,
} from '../support/sallyport.ts'
import { pause, timed } from '../support/time.ts'
import { makeCertificate } from './certificates.ts'
import {
  expectFault,
  type FaultyUpstream,
  OK,
  type Play,
  startFaultyUpstream,
} from './faulty-upstream.ts'
import { eventually, expectRefusal, type Reply, send } from './upstream.ts'

const CVC = '739'
const certificate = makeCertificate('psp', { hosts: ['127.0.0.1'] })

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

/** A destination of its own; answers with its path. */
async function reach(
  { origin }: FaultyUpstream,
  settings: Record<string, unknown> = {},
): Promise<string> {
  destinations += 1
  const name = `d${destinations}`
  const methods = ['GET', 'HEAD', 'OPTIONS', 'PUT', 'DELETE', 'POST', 'PATCH']
  await merchant.createDestination({
    name,
    origin,
    allow: [{ methods, path: '/*', fields: ['card_number', 'card_cvc'] }],
    limits: { connections: 1 },
    timeouts: { total_ms: 20_000 },
    ca_pem: certificate.cert,
    ...settings,
  })
  return `/d/${name}`
}

function ask(method: string, path: string, body: string): Promise<Reply> {
  const headers = {
    'Sallyport-Key': merchant.proxyKey,
    'Content-Type': 'application/json',
    ...(body === '' ? {} : { 'Content-Length': String(body.length) }),
  }
  return send(sallyport.origin, method, path, headers, body)
}

const withCard = () => `["{{$card_number: ${token}}}"]`

/** A connection is there, and kept. */
async function warmUp(path: string): Promise<void> {
  expect((await ask('GET', `${path}/first`, '')).status).toBe(200)
}

/** Answers what comes first on a connection, as long as that is one of so many; then this happens. */
const thenOn = (connections: number, happens: Play['onRequest']): Play => ({
  onRequest: (socket, request) => {
    const isAnswered = request.place === 0 && request.connection < connections
    if (isAnswered) socket.write(OK)
    else happens?.(socket, request)
  },
})

/** The second request of the first connection finds it closed; on any other connection all goes well. */
const closesOnce = (close: Play['onRequest']): Play => ({
  onRequest: (socket, request) => {
    if (request.connection === 0 && request.place === 1) close?.(socket, request)
    else socket.write(OK)
  },
})
const ends: Play['onRequest'] = (socket) => socket.end()
const resets: Play['onRequest'] = (socket) => socket.resetAndDestroy()

const wayOf = ({ requests }: FaultyUpstream) =>
  requests.map(({ connection, place }) => `${connection}.${place}`)

/** The lines of one request, once it has an outcome. */
const linesOf = (reply: Reply) =>
  eventually(
    async () => {
      const text = await readFile(join(sallyport.folder, 'audit', 'audit.jsonl'), 'utf8')
      const lines = text.split('\n').filter((line) => line !== '')
      return lines
        .map((line) => JSON.parse(line))
        .filter(({ request }) => request === reply.headers['sallyport-request-id'])
    },
    (lines) => lines.some(({ kind }) => kind === 'outcome'),
  )

async function retriesTotal(): Promise<number> {
  const text = await (await fetch(`${sallyport.opsOrigin}/metrics`)).text()
  return Number(/^sallyport_proxy_retries_total (\d+)$/m.exec(text)?.[1])
}

describe('sent once more, on a connection of its own', () => {
  test.each([
    ['GET', 'was ended', ends],
    ['GET', 'was reset', resets],
    ['HEAD', 'was reset', resets],
    ['OPTIONS', 'was reset', resets],
    ['PUT', 'was ended', ends],
    ['PUT', 'was reset', resets],
    ['DELETE', 'was ended', ends],
    ['DELETE', 'was reset', resets],
  ] as const)('%s, when the connection %s', async (method, _, close) => {
    await using upstream = await startFaultyUpstream(closesOnce(close))
    const path = await reach(upstream)
    await warmUp(path)
    const before = await retriesTotal()

    const reply = await ask(method, `${path}/second`, withCard())

    expect([reply.status, reply.text]).toEqual([200, method === 'HEAD' ? '' : 'ok'])
    expect(wayOf(upstream)).toEqual(['0.0', '0.1', '1.0'])
    expect(upstream.requests[1]).toMatchObject({ method, body: `["${VISA}"]`, isWhole: true })
    expect(upstream.requests[2]).toMatchObject({ method, body: `["${VISA}"]`, isWhole: true })
    expect(await retriesTotal()).toBe(before + 1)
    const lines = await linesOf(reply)
    expect(lines.map(({ kind }) => kind)).toEqual(['reveal', 'outcome'])
    expect(lines[1]).toMatchObject({ status: 200, cut: false, retried: true })
  })

  test.each(['POST', 'PATCH'])(
    '%s, where the destination tells repetitions apart',
    async (method) => {
      await using upstream = await startFaultyUpstream(closesOnce(ends))
      const path = await reach(upstream, { idempotent: true })
      await warmUp(path)

      const reply = await ask(method, `${path}/second`, withCard())

      expect(reply.status).toBe(200)
      expect(wayOf(upstream)).toEqual(['0.0', '0.1', '1.0'])
      expect(upstream.requests[2]?.body).toBe(`["${VISA}"]`)
    },
  )

  test('over TLS', async () => {
    await using upstream = await startFaultyUpstream(closesOnce(ends), certificate)
    const path = await reach(upstream)
    await warmUp(path)

    expect((await ask('PUT', `${path}/second`, withCard())).status).toBe(200)
    expect(wayOf(upstream)).toEqual(['0.0', '0.1', '1.0'])
  })

  test('when the connection ends before all of a long body was read', async () => {
    await using upstream = await startFaultyUpstream({
      onHead: (socket, { connection, place }) => {
        if (connection === 0 && place === 1) socket.resetAndDestroy()
      },
      onRequest: (socket) => socket.write(OK),
    })
    const path = await reach(upstream)
    await warmUp(path)

    const padding = 'x'.repeat(200_000)
    const reply = await ask('PUT', `${path}/second`, `["{{$card_number: ${token}}}","${padding}"]`)

    expect(reply.status).toBe(200)
    expect(wayOf(upstream)).toEqual(['0.0', '0.1', '1.0'])
    expect(upstream.requests[1]?.isWhole).toBe(false)
    expect(upstream.requests[2]?.body).toBe(`["${VISA}","${padding}"]`)
  })

  test('in an envelope', async () => {
    await using upstream = await startFaultyUpstream(closesOnce(ends))
    const path = await reach(upstream)
    await warmUp(path)

    const envelope = {
      destination_url: `${upstream.origin}/second`,
      method: 'PUT',
      request_body: { n: `{{$card_number: ${token}}}` },
    }
    const reply = await ask('POST', '/proxy', JSON.stringify(envelope))

    expect(reply.json).toMatchObject({ response: 'ok', status_code: 200 })
    expect(wayOf(upstream)).toEqual(['0.0', '0.1', '1.0'])
  })

  test('when all connections that were kept turn out to be closed', async () => {
    const firstThree: Socket[] = []
    await using upstream = await startFaultyUpstream({
      onRequest: (socket, { connection, place }) => {
        if (place > 0) socket.resetAndDestroy()
        else if (connection > 2) socket.write(OK)
        else if (firstThree.push(socket) === 3) for (const each of firstThree) each.write(OK)
      },
    })
    const path = await reach(upstream, { limits: { connections: 8 } })
    await Promise.all([1, 2, 3].map(() => warmUp(path)))

    const replies = await Promise.all([1, 2, 3].map(() => ask('GET', `${path}/second`, '')))

    expect(replies.map(({ status }) => status)).toEqual([200, 200, 200])
  })
})

describe('not sent again', () => {
  test.each(['POST', 'PATCH'])('%s', async (method) => {
    await using upstream = await startFaultyUpstream(closesOnce(ends))
    const path = await reach(upstream)
    await warmUp(path)
    const before = await retriesTotal()

    const reply = await ask(method, `${path}/second`, withCard())

    expectFault(reply, 'upstream_reset')
    expect(wayOf(upstream)).toEqual(['0.0', '0.1'])
    expect(await retriesTotal()).toBe(before)
    const [, outcome] = await linesOf(reply)
    expect(outcome).toMatchObject({ reason: 'upstream_reset' })
    expect(outcome).not.toHaveProperty('retried')
  })

  const beginnings = [
    ['one byte', 'H'],
    ['the version', 'HTTP/1.1 '],
    ['what may become an interim answer', 'HTTP/1.1 1'],
    ['a 100', 'HTTP/1.1 100 Continue\r\n\r\n'],
    ['a 103', 'HTTP/1.1 103 Early\r\n\r\n'],
    ['half a head', 'HTTP/1.1 200 OK\r\nX-A'],
    ['an empty line', '\r\n'],
  ] as const

  describe.each<[string, TlsOptions | undefined]>([
    ['', undefined],
    [', over TLS', certificate],
  ])('when an answer had begun%s', (_over, tls) => {
    test.each(beginnings)('%s', async (_, text) => {
      await using upstream = await startFaultyUpstream(
        closesOnce((socket) => socket.end(text)),
        tls,
      )
      const path = await reach(upstream)
      await warmUp(path)

      const reply = await ask('GET', `${path}/second`, withCard())

      expectFault(reply, 'upstream_reset')
      expect(wayOf(upstream)).toEqual(['0.0', '0.1'])
    })
  })

  test.each([
    ['it is no HTTP', 'upstream_protocol_error', 'SSH-2.0\r\n\r\n'],
    [
      'it breaks off in the body',
      'upstream_reset',
      'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf',
    ],
  ] as const)('when there was an answer, but %s', async (_, reason, text) => {
    await using upstream = await startFaultyUpstream(closesOnce((socket) => socket.end(text)))
    const path = await reach(upstream)
    await warmUp(path)

    const reply = await ask('GET', `${path}/second`, withCard())

    expectFault(reply, reason)
    expect(wayOf(upstream)).toEqual(['0.0', '0.1'])
  })

  test('when there was no answer in time', async () => {
    await using upstream = await startFaultyUpstream(closesOnce(() => {}))
    const path = await reach(upstream, { timeouts: { headers_ms: 700 } })
    await warmUp(path)

    const reply = await ask('GET', `${path}/second`, withCard())

    expectFault(reply, 'upstream_timeout')
    expect(wayOf(upstream)).toEqual(['0.0', '0.1'])
  })

  test.each([
    ['was ended', ends],
    ['was reset', resets],
  ])('when a connection of its own %s', async (_, close) => {
    await using upstream = await startFaultyUpstream({ ...(close && { onRequest: close }) })
    const path = await reach(upstream, { idempotent: true })

    const reply = await ask('GET', `${path}/first`, withCard())

    expectFault(reply, 'upstream_reset')
    expect(wayOf(upstream)).toEqual(['0.0'])
  })

  test('when it has been sent again', async () => {
    await using upstream = await startFaultyUpstream(thenOn(1, ends))
    const path = await reach(upstream)
    await warmUp(path)

    const reply = await ask('GET', `${path}/second`, withCard())

    expectFault(reply, 'upstream_reset')
    expect(wayOf(upstream)).toEqual(['0.0', '0.1', '1.0'])
    const [, outcome] = await linesOf(reply)
    expect(outcome).toMatchObject({ reason: 'upstream_reset', retried: true })
  })

  // The second attempt is made on the first connection, which has become free meanwhile and is closed as well.
  test('when it has been sent again, be it on a connection that was kept, too', async () => {
    let busy: Socket | undefined
    const firstTwo: Socket[] = []
    await using upstream = await startFaultyUpstream({
      onRequest: (socket, { url, connection }) => {
        if (url === '/first') {
          if (firstTwo.push(socket) === 2) for (const each of firstTwo) each.write(OK)
        } else if (url === '/busy') busy = socket
        else if (connection > 1) socket.write(OK)
        else {
          if (busy?.writable) busy.write(OK)
          busy = undefined
          void pause(20).then(() => socket.end())
        }
      },
    })
    const path = await reach(upstream, { limits: { connections: 2 } })
    await Promise.all([warmUp(path), warmUp(path)])
    const other = ask('GET', `${path}/busy`, '')
    await eventually(
      () => busy,
      (socket) => socket !== undefined,
    )

    await ask('GET', `${path}/second`, withCard())

    expect((await other).status).toBe(200)
    const sent = upstream.requests.filter(({ url }) => url === '/second')
    expect(sent.length).toBe(2)
  })

  test('when its body is streamed', async () => {
    await using upstream = await startFaultyUpstream({
      onHead: (socket, { connection, place }) => {
        if (connection === 0 && place === 1) socket.resetAndDestroy()
      },
      onRequest: (socket) => socket.write(OK),
    })
    const path = await reach(upstream, { limits: { connections: 1, buffer_bytes: 1000 } })
    await warmUp(path)

    const body = `["{{$card_number: ${token}}}","${'x'.repeat(5000)}"]`
    const reply = await ask('PUT', `${path}/second`, body)

    expectFault(reply, 'upstream_reset')
    expect(wayOf(upstream)).toEqual(['0.0', '0.1'])
  })
})

test('a card verification code is used once: the request is not sent again, and the code is spent', async () => {
  await using upstream = await startFaultyUpstream(closesOnce(ends))
  const path = await reach(upstream)
  const card = await merchant.createCard({ card_cvc: CVC })
  const body = `{"c":"{{$card_cvc: ${card}}}"}`
  await warmUp(path)

  const reply = await ask('PUT', `${path}/second`, body)
  const again = await ask('PUT', `${path}/third`, body)

  expectFault(reply, 'upstream_reset')
  expectRefusal(again, 'cvc_not_available')
  expect(wayOf(upstream)).toEqual(['0.0', '0.1'])
})

describe('when the second connection is not made, the verdict is that of the first', () => {
  test('refused', async () => {
    await using upstream = await startFaultyUpstream(
      closesOnce((socket) => {
        upstream.refuse()
        socket.end()
      }),
    )
    const path = await reach(upstream)
    await warmUp(path)

    const reply = await ask('PUT', `${path}/second`, withCard())

    expectFault(reply, 'upstream_reset')
    expect(wayOf(upstream)).toEqual(['0.0', '0.1'])
    const [, outcome] = await linesOf(reply)
    expect(outcome).toMatchObject({ reason: 'upstream_reset', retried: true })
  })

  test.each([
    ['connect_ms', 'upstream_reset'],
    ['total_ms', 'upstream_timeout'],
  ] as const)('not in time: %s', async (limit, reason) => {
    await using upstream = await startFaultyUpstream(closesOnce(ends), certificate)
    const path = await reach(upstream, { timeouts: { [limit]: 1000 } })
    await warmUp(path)
    upstream.stall()

    const reply = await ask('PUT', `${path}/second`, withCard())

    expectFault(reply, reason)
    expect(wayOf(upstream)).toEqual(['0.0', '0.1'])
  })
})

test('both attempts together have the time of one request', async () => {
  await using upstream = await startFaultyUpstream(
    thenOn(1, (socket, { connection }) => {
      if (connection === 0) setTimeout(() => socket.end(), 1000)
    }),
  )
  const path = await reach(upstream, { timeouts: { total_ms: 2000 } })
  await warmUp(path)

  const { value: reply, ownMs } = await timed(() => ask('GET', `${path}/second`, withCard()))

  expectFault(reply, 'upstream_timeout')
  expect(ownMs).toBeLessThan(2600) // and not the second attempt's own 2000 after the first
  expect(wayOf(upstream)).toEqual(['0.0', '0.1', '1.0'])
})

test('under an idempotency key it is not sent again: at most once means once', async () => {
  await using upstream = await startFaultyUpstream(closesOnce(ends))
  const path = await reach(upstream)
  await warmUp(path)
  const put = () =>
    send(
      sallyport.origin,
      'PUT',
      `${path}/second`,
      { 'Sallyport-Key': merchant.proxyKey, 'Sallyport-Idempotency-Key': 'one' },
      withCard(),
    )

  const replies = [await put(), await put()]

  expect(replies.map(({ json }) => json.error.reason)).toEqual([
    'upstream_reset',
    'outcome_unknown',
  ])
  expect(wayOf(upstream)).toEqual(['0.0', '0.1'])
})
