// A request to the data plane and the way back to its caller, in one object: whatever carries it. Most come whole in one
// read and never meet node:http (whole-calls.ts); all others are node:http's, and wrapped here.

import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http'

/** Whoever answers a call. */
export interface CallListener {
  /** Nothing more happens to the call. Not whole: its connection closed before all of the answer had left. */
  onCallClosed(isWhole: boolean): void
}

export interface Call {
  readonly method: string
  /** As it came: path and query. */
  readonly url: string
  /** Names and values in turn, as they came. */
  readonly rawHeaders: readonly string[]
  /** Address of the other end of the connection. */
  readonly peer: string
  /** All of the body where that is there already, empty when there is none; undefined: `source` has it. */
  readonly body: Buffer | undefined
  readonly source: IncomingMessage | undefined
  /** Nothing of the request is still to come. */
  readonly isRead: boolean
  /** Who wants to know how it ends, once. */
  listen(listener: CallListener): void

  /** Told to node:http or to the connection. */
  readonly isHeadSent: boolean
  /** There is nobody to write to. */
  readonly isClosed: boolean
  readonly isEnded: boolean
  /** Without a status text, the one that goes with it. Throws as node:http does for what must not stand in a head. */
  writeHead(status: number, text: string | undefined, fields: readonly string[]): void
  /** False: `onceDrained` tells when it is time for more. */
  write(chunk: Buffer): boolean
  onceDrained(resume: () => void): void
  end(chunk?: Buffer): void
  /** The end of an answer that closes its connection while some of the request is still to come. */
  endUnread(chunk: Buffer): void
  /** Broken off, so that it does not look whole. */
  destroy(): void
}

/** The value of a header; of one said several times the list that they stand for (RFC 9110, 5.3). */
export function fieldOf(rawHeaders: readonly string[], lowerName: string): string | undefined {
  let value: string | undefined
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i] as string
    if (name.length !== lowerName.length || name.toLowerCase() !== lowerName) continue
    value = value === undefined ? rawHeaders[i + 1] : `${value}, ${rawHeaders[i + 1]}`
  }
  return value
}

/** What a caller may still send of a body that was refused, before its connection is closed. */
const LINGER_MS = 2000

export class NodeCall implements Call {
  readonly source: IncomingMessage
  readonly body = undefined
  readonly #response: ServerResponse

  constructor(request: IncomingMessage, response: ServerResponse) {
    this.source = request
    this.#response = response
  }

  listen(listener: CallListener): void {
    const response = this.#response
    response.on('close', () => listener.onCallClosed(response.writableFinished))
  }

  get method(): string {
    return this.source.method ?? ''
  }

  get url(): string {
    return this.source.url ?? ''
  }

  get rawHeaders(): readonly string[] {
    return this.source.rawHeaders
  }

  get peer(): string {
    return this.source.socket.remoteAddress ?? ''
  }

  get isRead(): boolean {
    return this.source.complete
  }

  get isHeadSent(): boolean {
    return this.#response.headersSent
  }

  get isClosed(): boolean {
    return this.#response.destroyed
  }

  get isEnded(): boolean {
    return this.#response.writableEnded
  }

  writeHead(status: number, text: string | undefined, fields: readonly string[]): void {
    // Said in any case: a head that could not be written leaves its own text behind.
    this.#response.writeHead(status, text ?? STATUS_CODES[status] ?? '', fields as string[])
  }

  write(chunk: Buffer): boolean {
    return this.#response.write(chunk)
  }

  onceDrained(resume: () => void): void {
    this.#response.once('drain', resume)
  }

  end(chunk?: Buffer): void {
    this.#response.end(chunk)
  }

  /**
   * Closed with bytes of the request unread, a connection is reset, and a caller that is still writing may never see its
   * answer: they are read and thrown away first (RFC 9112, 9.6).
   */
  endUnread(chunk: Buffer): void {
    const response = this.#response
    response.write(chunk)
    response.socket?.uncork() // now: what is read next may be no HTTP, and end the connection
    const end = () => response.end()
    const timer = setTimeout(end, LINGER_MS)
    response.once('close', () => clearTimeout(timer))
    this.source.once('end', end)
    this.source.resume()
  }

  destroy(): void {
    this.#response.destroy()
  }
}
