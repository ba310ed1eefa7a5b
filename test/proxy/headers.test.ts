// Which headers pass, as tables; and what a declared type says about a body.

import { describe, expect, test } from 'vitest'
import {
  connectionNames,
  isDroppedRequestHeader,
  isDroppedResponseHeader,
} from '../../src/proxy/headers.ts'
import { mediaTypeOf } from '../../src/proxy/media-type.ts'
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

describe('media types', () => {
  test.each([
    ['application/json', 'json'],
    ['Application/JSON ; charset=utf-8', 'json'],
    ['application/vnd.api+json', 'json'],
    ['application/x-www-form-urlencoded', 'form'],
    ['application/xml', 'structured'],
    ['text/xml; charset=utf-8', 'structured'],
    ['application/soap+xml', 'structured'],
    ['text/html', 'structured'],
    ['multipart/form-data; boundary=x', 'structured'],
    ['image/png', 'binary'],
    ['application/pdf', 'binary'],
    ['application/octet-stream', 'binary'],
    ['text/plain', 'text'],
    ['text/csv', 'text'],
    ['application/unknown', 'text'],
    ['application/json, application/octet-stream', 'text'],
    ['application/octet-stream, application/json', 'text'],
    ['image/png, application/json', 'text'],
    ['image', 'text'],
    ['', 'text'],
    [undefined, 'text'],
  ])('%s is %s', (contentType, kind) => {
    expect(mediaTypeOf(contentType).kind).toBe(kind)
  })

  test.each([
    ['application/json', true, false],
    ['application/json; charset=UTF-8', true, false],
    ['application/json; charset="utf8"', true, false],
    ['text/plain; charset=us-ascii', false, false],
    ['text/plain; charset=iso-8859-1', false, false],
    ['application/json; charset=utf-16', false, true],
    ['application/json; a=b; charset=utf-16le', false, true],
    ['application/json;charset = "UTF-32"', false, true],
    ['text/plain; charset=utf-7', false, true],
    ['text/plain; charset=ibm037', false, true],
    ['text/plain; charset=', false, true],
    ['image/png; charset=utf-16', false, false],
  ])('%s: UTF-8 %s, unreadable %s', (contentType, isUtf8, isUnreadable) => {
    expect(mediaTypeOf(contentType)).toMatchObject({ isUtf8, isUnreadable })
  })
})
