// Requests as the bytes that go over the wire, made once, and where in them something is another each time.

import type { Caller } from './connection.ts'

/** Names and values as they are sent; Host and Content-Length are added. */
export function requestBytes(
  origin: string,
  method: string,
  path: string,
  headers: Readonly<Record<string, string>>,
  body: string,
): Buffer {
  const lines = Object.entries({
    host: new URL(origin).host,
    ...headers,
    ...(body === '' ? {} : { 'content-length': String(Buffer.byteLength(body)) }),
  }).map(([name, value]) => `${name}: ${value}\r\n`)
  return Buffer.from(`${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n${body}`)
}

/** Every place where `mark` stands. */
export function placesOf(bytes: Buffer, mark: string): readonly number[] {
  const places: number[] = []
  for (let at = bytes.indexOf(mark); at !== -1; at = bytes.indexOf(mark, at + mark.length)) {
    places.push(at)
  }
  if (places.length === 0) throw new Error(`${mark} is not in the request`)
  return places
}

export function write(bytes: Buffer, places: readonly number[], text: string): void {
  for (const at of places) bytes.write(text, at, 'latin1')
}

/** The same request every time, and one right answer. */
export function sameEveryTime(request: Buffer, answer: Buffer): () => Caller {
  const caller: Caller = {
    next: () => request,
    isRight: (status, body) => status === '200' && body.equals(answer),
  }
  return () => caller
}

/** `mark`, digits, is a number that is counted up with every request of all connections. */
export function counted(request: Buffer, mark: string, answer: Buffer): () => Caller {
  let count = 0
  return () => {
    const bytes = Buffer.from(request)
    const places = placesOf(bytes, mark)
    return {
      next() {
        count += 1
        write(bytes, places, String(count).padStart(mark.length, '0'))
        return bytes
      },
      isRight: (status, body) => status === '200' && body.equals(answer),
    }
  }
}
