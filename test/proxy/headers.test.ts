// Which headers pass, as tables.

import { expect, test } from 'vitest'
import {
  connectionNames,
  isDroppedRequestHeader,
  isDroppedResponseHeader,
} from '../../src/proxy/headers.ts'
import { passedHeaders } from '../../src/proxy/relay.ts'

const HOP = [
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]

test.each([
  ...HOP,
  'content-length',
  'host',
  'expect',
  'http2-settings',
  'proxy-anything',
  'sallyport-key',
  'sallyport-anything',
  'x-profile-id',
])('%s does not go to the destination', (name) => {
  expect(isDroppedRequestHeader(name)).toBe(true)
})

test.each([
  'authorization',
  'api-key',
  'cookie',
  'content-type',
  'content-encoding',
  'accept-encoding',
  'idempotency-key',
  'x-forwarded-for',
  'x-sallyport-key',
  'user-agent',
  'date',
  'via',
])('%s goes to the destination', (name) => {
  expect(isDroppedRequestHeader(name)).toBe(false)
})

test.each([...HOP, 'sallyport-request-id', 'sallyport-upstream-status'])(
  '%s does not come back',
  (name) => {
    expect(isDroppedResponseHeader(name)).toBe(true)
  },
)

test.each(['content-length', 'content-type', 'set-cookie', 'location', 'www-authenticate', 'etag'])(
  '%s comes back',
  (name) => {
    expect(isDroppedResponseHeader(name)).toBe(false)
  },
)

test.each([
  [undefined, []],
  ['keep-alive', []],
  ['close', []],
  ['Close', []],
  ['X-Hop', ['x-hop']],
  ['keep-alive, X-Hop ,x-other', ['keep-alive', 'x-hop', 'x-other']],
  ['close,x-hop', ['close', 'x-hop']],
])('Connection: %s names %j', (value, names) => {
  expect([...(connectionNames(value) ?? [])]).toEqual(names)
})

test('headers of an answer keep their case, their order and their duplicates', () => {
  const headers = ['X-B', '1', 'Set-Cookie', 'a=1', 'x-a', '2', 'Set-Cookie', 'b=2']

  expect(passedHeaders(headers)).toEqual(headers)
})

test.each([
  ['in one line', ['Connection', 'close, X-Hop', 'X-Hop', '1', 'X-End', '2']],
  ['behind the header it names', ['X-Hop', '1', 'X-End', '2', 'Connection', 'x-hop']],
  ['in two lines', ['Connection', 'X-Hop', 'X-Hop', '1', 'Connection', 'close', 'X-End', '2']],
])('what Connection names in an answer does not come back: %s', (_, headers) => {
  expect(passedHeaders(headers)).toEqual(['X-End', '2'])
})
