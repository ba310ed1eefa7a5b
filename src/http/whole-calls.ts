// Calls that come whole: a head and all of its body in one read, which is how a payment comes. They are parsed by
// Node's own parser and answered in one write, without the streams of node:http, for about half of its processor time.
//
// This knows the plain case and nothing else. Whatever is not exactly one whole request of the ordinary kind (a slow or
// long body, pipelining, Expect, an upgrade, HTTP/1.0, `Connection: close`, what is no HTTP, what is not for the data
// plane) is given to node:http byte for byte as it came, together with its connection, before anything was done about
// it. So limits and errors have one home, and what two parsers could read in two ways is read by one.

import { type Server, STATUS_CODES, validateHeaderName, validateHeaderValue } from 'node:http'
import type { Socket } from 'node:net'
import { FIELD_VALUE, TOKEN } from '../core/field-syntax.ts'
import { closeParserSoon, HTTPParser, handleOf, methods } from '../core/llhttp.ts'
import { type Call, type CallListener, fieldOf } from './call.ts'

/** Says whether the call is its own, and then answers it. */
export type TakeCall = (call: Call) => boolean

export type WholeCallLimits = {
  readonly keepAliveTimeout: number
  readonly connectionsCheckingInterval: number
  readonly maxHeaderSize: number
  /** Names and values. */
  readonly maxFields: number
  /** For callers that do not read. */
  readonly idleTimeout: number
}

/** Puts itself between the server's connections and node:http. */
export function takeWholeCalls(server: Server, take: TakeCall, limits: WholeCallLimits): void {
  const event = 'setSecureContext' in server ? 'secureConnection' : 'connection'
  const [toNodeHttp] = server.listeners(event) as [(this: Server, socket: Socket) => void]
  server.off(event, toNodeHttp)
  const connections = new Set<WholeCallConnection>()
  const context: Context = {
    take,
    limits,
    connections,
    keepAlive: `Connection: keep-alive\r\nKeep-Alive: timeout=${Math.floor(limits.keepAliveTimeout / 1000)}\r\n`,
    handOver: (socket) => toNodeHttp.call(server, socket),
  }
  server.on(event, (socket: Socket) => new WholeCallConnection(context, socket))

  const idleRounds = Math.ceil(limits.keepAliveTimeout / limits.connectionsCheckingInterval) + 1
  let rounds: NodeJS.Timeout | undefined
  server.on('listening', () => {
    rounds = setInterval(() => {
      for (const connection of connections) connection.onRound(idleRounds)
    }, limits.connectionsCheckingInterval).unref()
  })
  server.on('close', () => clearInterval(rounds))

  const closeIdle = server.closeIdleConnections.bind(server)
  server.closeIdleConnections = () => {
    for (const connection of connections) connection.closeIdle()
    closeIdle()
  }
  const closeAll = server.closeAllConnections.bind(server)
  server.closeAllConnections = () => {
    for (const connection of connections) connection.close()
    closeAll()
  }
}

type Context = {
  readonly take: TakeCall
  readonly limits: WholeCallLimits
  readonly connections: Set<WholeCallConnection>
  readonly keepAlive: string
  readonly handOver: (socket: Socket) => void
}

const NO_BODY = Buffer.alloc(0)
const NOTHING = {}

class WholeCallConnection {
  readonly #context: Context
  readonly socket: Socket
  readonly #parser = new HTTPParser()
  readonly #onData = (chunk: Buffer) => this.#read(chunk)
  readonly #onEnd = () => this.socket.end() // as node:http does: who has said all does not wait for an answer
  readonly #onClose = () => this.#closed()
  readonly #onTimeout = () => this.socket.destroy()
  readonly peer: string
  /** The parser reads the socket's handle itself. */
  #isConsuming = false
  /** The one that is being answered. */
  #call: WholeCall | undefined
  /** What came behind it: node:http's to read, when it has been answered. */
  #pending: Buffer | undefined
  /** Rounds without a request. */
  #idleRounds = 0
  #hasCalled = false
  /** The last answer said so: what comes now is nobody's. */
  #isClosing = false

  // ---- What the parser found in what is being read.
  #begun = 0
  #isWhole = false
  #isOrdinary = true
  #fields: string[] = []
  #method = ''
  #url = ''
  #body: Buffer = NO_BODY

  constructor(context: Context, socket: Socket) {
    this.#context = context
    this.socket = socket
    this.peer = socket.remoteAddress ?? ''
    const parser = this.#parser
    parser.initialize(
      HTTPParser.REQUEST,
      NOTHING,
      context.limits.maxHeaderSize,
      HTTPParser.kLenientNone,
    )
    parser[HTTPParser.kOnMessageBegin] = () => {
      this.#begun += 1
    }
    parser[HTTPParser.kOnHeaders] = (fields, url) => {
      if (this.#method !== '') this.#isOrdinary = false // trailers
      this.#fields.push(...fields)
      this.#url += url
    }
    parser[HTTPParser.kOnHeadersComplete] = (
      major,
      minor,
      fields,
      method,
      url,
      _status,
      _text,
      isUpgrade,
      keepsAlive,
    ) => {
      this.#method = methods[method] as string
      if (fields !== undefined) this.#fields = fields
      if (url !== undefined) this.#url = url
      if (major !== 1 || minor !== 1 || isUpgrade || !keepsAlive) this.#isOrdinary = false
      return 0
    }
    parser[HTTPParser.kOnBody] = (chunk) => {
      this.#body = this.#body.length === 0 ? chunk : Buffer.concat([this.#body, chunk])
    }
    parser[HTTPParser.kOnMessageComplete] = () => {
      this.#isWhole = true
    }
    parser[HTTPParser.kOnExecute] = (result) => this.#onExecuted(result)
    context.connections.add(this)
    const handle = handleOf(socket)
    if (handle !== undefined) {
      parser.consume(handle)
      this.#isConsuming = true
    }
    socket.setTimeout(context.limits.idleTimeout)
    socket.on('data', this.#onData) // which also makes it read
    socket.on('end', this.#onEnd)
    socket.on('timeout', this.#onTimeout)
    socket.on('error', ignore) // 'close' follows
    socket.on('close', this.#onClose)
  }

  #read(chunk: Buffer): void {
    if (this.#isClosing) return
    if (this.#call !== undefined || this.#pending !== undefined) this.#hold(chunk)
    else this.#take(this.#parser.execute(chunk), chunk)
  }

  #onExecuted(result: number | Error): void {
    if (this.#isClosing) return
    if (this.#call !== undefined) this.#hold(this.#parser.getCurrentBuffer())
    else this.#take(result, undefined)
  }

  /** The next request before the answer to this one. */
  #hold(chunk: Buffer): void {
    this.#unconsume()
    this.#pending = this.#pending === undefined ? chunk : Buffer.concat([this.#pending, chunk])
    this.socket.pause()
  }

  #take(result: number | Error, chunk: Buffer | undefined): void {
    const isOne = typeof result === 'number' && this.#begun === 1 && this.#isWhole
    const isLong = this.#fields.length > this.#context.limits.maxFields
    const expects = fieldOf(this.#fields, 'expect') !== undefined
    if (!isOne || !this.#isOrdinary || isLong || expects) {
      return this.#handOver(chunk ?? this.#parser.getCurrentBuffer())
    }
    const call = new WholeCall(this, this.#method, this.#url, this.#fields, this.#body)
    this.#call = call
    this.#begun = 0
    this.#isWhole = false
    this.#fields = []
    this.#method = ''
    this.#url = ''
    this.#body = NO_BODY
    this.#hasCalled = true
    this.#idleRounds = 0
    if (!this.#context.take(call)) {
      this.#call = undefined
      this.#handOver(chunk ?? this.#parser.getCurrentBuffer())
    }
  }

  /** node:http begins where this began: at a border between requests. */
  #handOver(chunk: Buffer | undefined): void {
    const { socket } = this
    this.#leave()
    socket.off('data', this.#onData)
    socket.off('end', this.#onEnd)
    socket.off('timeout', this.#onTimeout)
    socket.off('close', this.#onClose)
    this.#context.handOver(socket)
    socket.off('error', ignore) // node:http has one of its own by now
    if (chunk !== undefined) socket.emit('data', chunk)
  }

  #leave(): void {
    this.#context.connections.delete(this)
    this.#unconsume()
    closeParserSoon(this.#parser)
  }

  #unconsume(): void {
    if (this.#isConsuming) this.#parser.unconsume()
    this.#isConsuming = false
  }

  #closed(): void {
    this.#leave()
    const call = this.#call
    this.#call = undefined
    call?.onConnectionClosed()
  }

  /** The answer has left. `closes`: it was the last one. */
  onAnswered(closes: boolean): void {
    this.#call = undefined
    this.#idleRounds = 0
    if (closes) {
      this.#isClosing = true
      this.socket.destroySoon()
    } else if (this.#pending !== undefined) {
      process.nextTick(handOverHeld, this)
    }
  }

  handOverHeld(): void {
    if (this.socket.destroyed) return
    this.#handOver(this.#pending)
    this.socket.resume() // what came after that is in the socket
  }

  get keepAlive(): string {
    return this.#context.keepAlive
  }

  onRound(limit: number): void {
    if (this.#call !== undefined || this.#pending !== undefined) return
    this.#idleRounds += 1
    // Who connects and says nothing is node:http's to wait for.
    if (!this.#hasCalled) this.#handOver(undefined)
    else if (this.#idleRounds > limit) this.socket.destroy()
  }

  closeIdle(): void {
    if (this.#call === undefined && this.#pending === undefined) this.socket.destroy()
  }

  close(): void {
    this.socket.destroy()
  }
}

function ignore(): void {}

function handOverHeld(connection: WholeCallConnection): void {
  connection.handOverHeld()
}

/** Answers up to this are put together with their head. */
const JOINED_BYTES = 16 * 1024
const LAST_CHUNK = Buffer.from('0\r\n\r\n')
const LINE_END = Buffer.from('\r\n')

class WholeCall implements Call {
  readonly method: string
  readonly url: string
  readonly rawHeaders: readonly string[]
  readonly body: Buffer
  readonly source = undefined
  readonly isRead = true
  #listener: CallListener | undefined
  readonly #connection: WholeCallConnection
  /** Not written yet: it leaves with the first bytes of the body. */
  #head = ''
  #hasBody = true
  #isChunked = false
  #closes = false
  #isOver = false
  isHeadSent = false
  isEnded = false

  constructor(
    connection: WholeCallConnection,
    method: string,
    url: string,
    rawHeaders: readonly string[],
    body: Buffer,
  ) {
    this.#connection = connection
    this.method = method
    this.url = url
    this.rawHeaders = rawHeaders
    this.body = body
  }

  listen(listener: CallListener): void {
    this.#listener = listener
  }

  get peer(): string {
    return this.#connection.peer
  }

  get isClosed(): boolean {
    return this.#isOver || this.#connection.socket.destroyed
  }

  writeHead(status: number, text: string | undefined, fields: readonly string[]): void {
    let head = `HTTP/1.1 ${status} ${text ?? STATUS_CODES[status] ?? ''}\r\n`
    let hasLength = false
    let hasDate = false
    let closes = false
    for (let i = 0; i < fields.length; i += 2) {
      const name = fields[i] as string
      const value = fields[i + 1] as string
      if (!TOKEN.test(name)) validateHeaderName(name)
      if (!FIELD_VALUE.test(value)) validateHeaderValue(name, value)
      switch (name.length) {
        case 4:
          hasDate ||= name.toLowerCase() === 'date'
          break
        case 10:
          closes ||= name.toLowerCase() === 'connection' // we say nothing there but `close`
          break
        case 14:
          hasLength ||= name.toLowerCase() === 'content-length'
          break
        default:
      }
      head += `${name}: ${value}\r\n`
    }
    this.#hasBody = this.method !== 'HEAD' && status !== 204 && status !== 304
    this.#isChunked = this.#hasBody && !hasLength
    this.#closes = closes
    if (!hasDate) head += dateLine()
    if (!closes) head += this.#connection.keepAlive
    if (this.#isChunked) head += 'Transfer-Encoding: chunked\r\n'
    this.#head = `${head}\r\n`
    this.isHeadSent = true
  }

  write(chunk: Buffer): boolean {
    if (this.isClosed) return true
    if (!this.#hasBody || chunk.length === 0) return true
    return this.#isChunked ? this.#writeAll(framed(chunk)) : this.#writeAll(chunk)
  }

  #writeAll(bytes: Buffer): boolean {
    const { socket } = this.#connection
    const head = this.#head
    if (head === '') return socket.write(bytes)
    this.#head = ''
    if (bytes.length <= JOINED_BYTES) {
      const joined = Buffer.allocUnsafe(head.length + bytes.length)
      joined.write(head, 'latin1')
      bytes.copy(joined, head.length)
      return socket.write(joined)
    }
    socket.cork()
    socket.write(head, 'latin1')
    const hasRoom = socket.write(bytes)
    socket.uncork()
    return hasRoom
  }

  onceDrained(resume: () => void): void {
    this.#connection.socket.once('drain', resume)
  }

  end(chunk?: Buffer): void {
    if (this.isEnded) return
    this.isEnded = true
    if (this.isClosed) return
    let last = this.#hasBody && chunk !== undefined ? chunk : NO_BODY
    if (this.#isChunked) {
      last = last.length === 0 ? LAST_CHUNK : Buffer.concat([framed(last), LAST_CHUNK])
    }
    if (last.length > 0 || this.#head !== '') this.#writeAll(last)
    const { socket } = this.#connection
    // What the kernel has taken at once needs no callback.
    if (socket.writableLength === 0) this.#leftAll()
    else socket.write(NO_BODY, (error) => error || this.#leftAll())
  }

  #leftAll(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#connection.onAnswered(this.#closes)
    this.#listener?.onCallClosed(true)
  }

  onConnectionClosed(): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#listener?.onCallClosed(false)
  }

  /** All of the request was read. */
  endUnread(chunk: Buffer): void {
    this.end(chunk)
  }

  destroy(): void {
    this.#connection.socket.destroy()
  }
}

/** As one chunk of a body (RFC 9112, 7.1). */
function framed(chunk: Buffer): Buffer {
  const size = Buffer.from(`${chunk.length.toString(16)}\r\n`, 'latin1')
  return Buffer.concat([size, chunk, LINE_END])
}

let dateSecond = 0
let dateText = ''

function dateLine(): string {
  const second = Math.floor(Date.now() / 1000)
  if (second !== dateSecond) {
    dateSecond = second
    dateText = `Date: ${new Date(second * 1000).toUTCString()}\r\n`
  }
  return dateText
}
