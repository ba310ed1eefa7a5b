// The reader of the benchmark's load and upstream: whatever way the bytes come in, the messages are the same.

import { describe, expect, test } from 'vitest'
import { MessageReader } from '../../bench/http-message.ts'

const MESSAGES = [
  ['a request with a length', 'POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello', 'hello'],
  ['a request without a body', 'GET / HTTP/1.1\r\nHost: a\r\n\r\n', ''],
  [
    'an answer with a length',
    'HTTP/1.1 200 OK\r\nContent-Type: a/b\r\ncontent-length:2\r\n\r\n{}',
    '{}',
  ],
  [
    'an answer in chunks',
    'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1;x=y\r\nd\r\n0\r\n\r\n',
    'abcd',
  ],
  ['an answer that has no body', 'HTTP/1.1 204 No Content\r\nDate: x\r\n\r\n', ''],
] as const

function read(chunks: readonly Buffer[]) {
  const messages: { start: string; body: string }[] = []
  const reader = new MessageReader((head, body) =>
    messages.push({ start: head.slice(0, head.indexOf('\r\n')), body: body.toString() }),
  )
  for (const chunk of chunks) reader.read(chunk)
  return messages
}

describe('messages', () => {
  const all = Buffer.from(MESSAGES.map(([, bytes]) => bytes).join(''))
  const expected = MESSAGES.map(([, bytes, body]) => ({
    start: bytes.slice(0, bytes.indexOf('\r\n')),
    body,
  }))

  test.each(MESSAGES)('%s is read', (_title, bytes, body) => {
    expect(read([Buffer.from(bytes)]).map((message) => message.body)).toEqual([body])
  })

  test('many in one piece are told one by one', () => {
    expect(read([all])).toEqual(expected)
  })

  test('cut anywhere they are the same', () => {
    for (let at = 1; at < all.length; at++) {
      expect(read([all.subarray(0, at), all.subarray(at)])).toEqual(expected)
    }
  })

  test('byte by byte they are the same', () => {
    expect(read([...all].map((byte) => Buffer.from([byte])))).toEqual(expected)
  })

  test('half of one is not told', () => {
    expect(read([Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel')])).toEqual([])
  })

  test('an answer that ends with its connection is an error, as nothing says when it is whole', () => {
    expect(() => read([Buffer.from('HTTP/1.1 200 OK\r\nDate: x\r\n\r\nabc')])).toThrow('neither')
  })
})
