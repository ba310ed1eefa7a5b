// Node's own HTTP parser, llhttp, without the streams that node:http puts around it. The module is not documented, so
// the product runs on the one release of Node that it was tested with (package.json, `engines`).

import type { HTTPParser } from 'node:_http_common'
import type { Socket } from 'node:net'

export { HTTPParser, methods, type OnHeadersComplete } from 'node:_http_common'

/** Of libuv, or of TLS over it: what a parser can consume. */
export type ReadableHandle = {
  readonly isStreamBase?: boolean
  reading: boolean
  readStart(): number
  readStop(): number
}

export function handleOf(socket: Socket): ReadableHandle | undefined {
  const { _handle: handle } = socket as unknown as { _handle: ReadableHandle | null }
  return handle?.isStreamBase === true ? handle : undefined
}

/** Gives its memory back, though not within one of its callbacks: whoever ends with a parser may have been called by it. */
export function closeParserSoon(parser: HTTPParser): void {
  setImmediate(closeParser, parser)
}

function closeParser(parser: HTTPParser): void {
  parser.close()
}
