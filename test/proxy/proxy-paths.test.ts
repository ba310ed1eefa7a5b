// What the OpenAPI document says of the proxy's headers, and the headers that it reads and writes, are the same.

import { expect, test } from 'vitest'
import { proxyPaths } from '../../src/proxy/endpoints.ts'
import { KNOWN_HEADERS } from '../../src/proxy/wishes.ts'
import { startSallyport, VISA } from '../support/sallyport.ts'
import { closedPort, type Reply, send, startRawUpstream, startUpstream } from './upstream.ts'

type Operation = {
  parameters: { in: string; name: string }[]
  responses: Record<string, { headers: object }>
}

const operation = (path: string) => (proxyPaths()[path] as { post: Operation }).post

const requestHeaders = (path: string) =>
  operation(path)
    .parameters.filter((parameter) => parameter.in === 'header')
    .map(({ name }) => name.toLowerCase())

const answerHeaders = (path: string, status: string) =>
  Object.keys(operation(path).responses[status]?.headers ?? {}).map((name) => name.toLowerCase())

const WAYS = ['/proxy', '/v1/proxy', '/v2/proxy', '/forward/{path}', '/d/{name}/{path}']

test.each(WAYS)('%s: every header of ours that is read is described, and no other', (path) => {
  const described = requestHeaders(path).filter((name) => name.startsWith('sallyport-'))

  // The key is how callers authenticate; a destination is needed by one way only.
  const elsewhere = [
    'sallyport-key',
    ...(path.startsWith('/forward') ? [] : ['sallyport-destination']),
  ]
  const known = [...KNOWN_HEADERS].filter((name) => !elsewhere.includes(name))
  expect(described.sort()).toEqual(known.sort())
})

test('the header that is ours in the envelope only is described there only', () => {
  const described = WAYS.filter((path) => requestHeaders(path).includes('idempotency-key'))

  expect(described).toEqual(['/proxy', '/v1/proxy', '/v2/proxy'])
})

test('every header of ours that is written is described, and every described one is written', async () => {
  await using sallyport = await startSallyport({
    guards: { requests_per_key: { count: 8, window_s: 3600 } },
  })
  await using psp = await startUpstream((_, response) => {
    response.setHeader('Content-Type', 'application/json')
    response.end(`{"n":"${VISA}"}`)
  })
  await using broken = await startRawUpstream((socket) => socket.resetAndDestroy())
  const merchant = await sallyport.createMerchant()
  const token = await merchant.createCard()
  const allow = [{ methods: ['POST'], path: '/*', fields: ['card_number'] }]
  const closed = `http://127.0.0.1:${await closedPort()}`
  const origins = { psp: psp.origin, broken: broken.origin, closed }
  for (const [name, origin] of Object.entries(origins)) {
    await merchant.createDestination({ name, origin, allow })
  }
  const headers = {
    'Sallyport-Key': merchant.proxyKey,
    'Sallyport-Idempotency-Key': 'k',
    'Content-Type': 'application/json',
  }
  const body = `["{{$card_number: ${token}}}"]`
  const charge = (name: string) => send(sallyport.origin, 'POST', `/d/${name}/x`, headers, body)

  const replies: Reply[] = [await charge('psp'), await charge('psp')]
  const { 'Sallyport-Idempotency-Key': _key, ...plain } = headers
  const failing = (name: string) => send(sallyport.origin, 'POST', `/d/${name}/x`, plain, body)
  for (let i = 0; i < 7; i++) replies.push(await failing(i % 2 === 0 ? 'broken' : 'closed'))

  // What any answer over HTTP has is not ours to describe.
  const common = ['content-type', 'content-length', 'cache-control', 'date', 'connection']
  const written = (isError: boolean) => {
    const ofThem = replies.filter(({ status }) => status >= 400 === isError)
    const names = ofThem.flatMap((reply) => Object.keys(reply.headers))
    return [...new Set(names)].filter((name) => !common.includes(name)).sort()
  }
  expect(replies.at(-1)?.status).toBe(429)
  expect(written(false)).toEqual(answerHeaders('/d/{name}/{path}', '2XX').sort())
  expect(written(true)).toEqual(answerHeaders('/d/{name}/{path}', 'default').sort())
})
