// Enough of HTTP/1.1 to load a proxy and to stand behind it: whole messages, one after the other on a connection, with
// their bytes as they came. It costs a few microseconds a message, a tenth of what a client or a server of Node's
// does, so that the proxy between the two is the slowest of the three. It trusts both sides: nothing for the open internet.

const HEAD_END = Buffer.from('\r\n\r\n')
const LENGTH = /\r\ncontent-length: *(\d+)/i
const CHUNKED = /\r\ntransfer-encoding: *chunked/i
/** What goes with a status that says so has no body, and no length needs to say it. */
const NO_BODY = /^HTTP\/1\.[01] (1\d\d|204|304)/

/** `head`: start line and headers. `body` is only good until the next bytes are read. */
export type OnMessage = (head: string, body: Buffer) => void

export class MessageReader {
  readonly #onMessage: OnMessage
  /** Bytes of a message that is not whole yet. */
  #held: Buffer[] = []
  #heldBytes = 0
  /** Looking again is not worth it before there are so many. */
  #neededBytes = 0

  constructor(onMessage: OnMessage) {
    this.#onMessage = onMessage
  }

  /** Throws when it is no HTTP. */
  read(chunk: Buffer): void {
    let bytes = chunk
    if (this.#heldBytes > 0) {
      this.#held.push(chunk)
      this.#heldBytes += chunk.length
      if (this.#heldBytes < this.#neededBytes) return
      bytes = Buffer.concat(this.#held)
      this.#held = []
      this.#heldBytes = 0
    }
    for (let at = 0; at < bytes.length; ) {
      const end = this.#message(bytes, at)
      if (end === undefined) {
        const rest = bytes.subarray(at)
        this.#held = [rest]
        this.#heldBytes = rest.length
        return
      }
      at = end
    }
  }

  /** Tells of the one that begins at `at`, and where it ends. */
  #message(bytes: Buffer, at: number): number | undefined {
    this.#neededBytes = 0
    const headEnd = bytes.indexOf(HEAD_END, at)
    if (headEnd === -1) return undefined
    const head = bytes.toString('latin1', at, headEnd)
    const bodyAt = headEnd + HEAD_END.length
    const length = LENGTH.exec(head)
    if (length !== null) {
      const end = bodyAt + Number(length[1])
      if (end > bytes.length) {
        this.#neededBytes = end - at
        return undefined
      }
      this.#onMessage(head, bytes.subarray(bodyAt, end))
      return end
    }
    if (CHUNKED.test(head)) {
      const whole = chunkedBody(bytes, bodyAt)
      if (whole === undefined) return undefined
      this.#onMessage(head, whole.body)
      return whole.end
    }
    if (head.startsWith('HTTP/') && !NO_BODY.test(head)) {
      throw new Error('an answer has neither a length nor chunks')
    }
    this.#onMessage(head, bytes.subarray(bodyAt, bodyAt))
    return bodyAt
  }
}

/** Undefined when its end has not come. */
function chunkedBody(bytes: Buffer, from: number): { body: Buffer; end: number } | undefined {
  const parts: Buffer[] = []
  for (let at = from; ; ) {
    const lineEnd = bytes.indexOf('\r\n', at)
    if (lineEnd === -1) return undefined
    const size = Number.parseInt(bytes.toString('latin1', at, lineEnd), 16)
    if (Number.isNaN(size)) throw new Error('a chunk has no size')
    const end = lineEnd + 2 + size
    if (end + 2 > bytes.length) return undefined
    if (size === 0) return { body: Buffer.concat(parts), end: end + 2 } // nobody here sends trailers
    parts.push(bytes.subarray(lineEnd + 2, end))
    at = end + 2
  }
}
