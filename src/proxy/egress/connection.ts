// One connection to a destination: one request at a time, its answer read by Node's own parser in its strict mode, each
// part within its time. Bytes that nobody asked for end it, so that no request gets the answer to another.

import type { Socket } from 'node:net'
import { closeParserSoon, HTTPParser, handleOf, type ReadableHandle } from '../../core/llhttp.ts'
import { wipeableBuffer } from '../../core/wipeable.ts'
import { Deadline } from './deadline.ts'
import type { Carrier, EgressRequest } from './request.ts'

/** What the pool is told. */
export interface ConnectionOwner {
  /** It can carry another request. */
  onFree(connection: Connection): void
  /** Once, at the end, whoever ended it. */
  onClosed(connection: Connection): void
}

export type AnswerLimits = {
  /** Up to the head of the answer. */
  readonly headersMs: number
  /** Between two parts of its body. */
  readonly bodyMs: number
}

/** The destination took too long. */
export class AnswerTimeout extends Error {
  readonly code = 'SALLYPORT_ANSWER_TIMEOUT'
}

/** The destination does not keep to HTTP. What the parser finds out has a code of its own (`HPE_...`). */
export class NotHttp extends Error {
  readonly code = 'SALLYPORT_NOT_HTTP'
}

/** It ended before the answer did. */
class ConnectionEnded extends Error {
  readonly code = 'SALLYPORT_CONNECTION_ENDED'
}

/** A body that streams is not as long as it was said to be. */
class WrongLength extends Error {
  readonly code = 'SALLYPORT_WRONG_LENGTH'
}

/** Of the head of an answer, or of an interim one. */
const MAX_HEAD_BYTES = 16 * 1024
/** The parser counts names and values, and both can be next to nothing. */
const MAX_FIELDS = 2000
/** Interim answers to one request: nobody asks for a `100 Continue`, others may tell of progress. */
const MAX_CONTINUES = 16
const MAX_INTERIM = 256

/** Head and body up to this leave as one piece. */
const OUTGOING_BYTES = 16 * 1024

/** How long a connection is kept that says nothing about it. */
const KEEP_ALIVE_MS = 4000
const MAX_KEEP_ALIVE_MS = 600_000
/** Given up earlier than the other side does, so that no request meets it closing. */
const KEEP_ALIVE_MARGIN_MS = 2000
const KEEP_ALIVE_TIMEOUT = /timeout=(\d{1,9})/

/** What is left of a request when its answer is over has so long to leave. */
const LINGER_MS = 4000

type Phase = 'idle' | 'head' | 'body' | 'whole'

export class Connection implements Carrier {
  readonly #socket: Socket
  readonly #owner: ConnectionOwner
  readonly #limits: AnswerLimits
  readonly #parser = new HTTPParser()
  /** What the parser reads by itself; undefined: it is given what the socket has read. */
  readonly #handle: ReadableHandle | undefined
  readonly #deadline = new Deadline(() => this.#onDeadline())
  /** Holds what may be plaintext until it has been written and the answer is there. */
  #outgoing: Buffer | undefined
  #outgoingBytes = 0
  #request: EgressRequest | undefined
  /** Its answer is over, and its body is still leaving. */
  #leaving: EgressRequest | undefined
  #phase: Phase = 'idle'
  #requests = 0
  #interims = 0
  /** The pieces of its body are still to come. */
  #isUploading = false
  #isPaused = false
  #keepsAlive = true
  /** As far as the answer says. */
  #isUntilEnd = false
  #keepAliveMs = KEEP_ALIVE_MS
  /** Of a head that is too long to come at once. */
  #fields: string[] | undefined

  constructor(socket: Socket, owner: ConnectionOwner, limits: AnswerLimits) {
    this.#socket = socket
    this.#owner = owner
    this.#limits = limits
    const parser = this.#parser
    parser.initialize(HTTPParser.RESPONSE, this, MAX_HEAD_BYTES, HTTPParser.kLenientNone)
    parser[HTTPParser.kOnMessageBegin] = () => this.#onMessageBegin()
    parser[HTTPParser.kOnHeaders] = (fields) => this.#onFields(fields)
    parser[HTTPParser.kOnHeadersComplete] = (
      _1,
      _2,
      fields,
      _3,
      _4,
      status,
      text,
      _5,
      keepsAlive,
    ) => this.#onHead(fields, status ?? 0, text ?? '', keepsAlive)
    parser[HTTPParser.kOnBody] = (chunk) => this.#onBody(chunk)
    parser[HTTPParser.kOnMessageComplete] = () => this.#onMessageComplete()
    parser[HTTPParser.kOnExecute] = (result) => this.#onExecuted(result)
    this.#handle = handleOf(socket)
    if (this.#handle !== undefined) parser.consume(this.#handle)
    socket.on('data', (chunk: Buffer) => this.#onData(chunk)) // which also makes it read
    socket.on('end', () => this.#onEnd())
    socket.on('error', (error) => this.#fail(error))
    socket.on('close', () => this.#onClose())
  }

  /** False once it is ending. */
  get isUsable(): boolean {
    return !this.#socket.destroyed && !this.#socket.readableEnded && this.#socket.writable
  }

  /** False: the request was not to be sent any more, and nothing was written. */
  start(request: EgressRequest): boolean {
    if (!request.handler.onRequestStart()) return false
    this.#requests += 1
    request.isReused = this.#requests > 1
    request.hasAnswerBegun = false
    request.carrier = this
    this.#request = request
    this.#phase = 'head'
    this.#interims = 0
    if (request.pieces !== undefined) {
      this.#deadline.clear()
      void this.#upload(request, request.pieces)
    } else {
      this.#deadline.set(this.#limits.headersMs)
      this.#write(request.head, request.body)
    }
    return true
  }

  abort(error: Error): void {
    this.#fail(error)
  }

  pause(): void {
    if (this.#phase !== 'body' || this.#isPaused) return
    this.#isPaused = true
    this.#deadline.clear() // it is not the destination that takes the time
    this.#socket.pause()
    this.#setReading(false)
  }

  resume(): void {
    if (!this.#isPaused) return
    this.#isPaused = false
    if (this.#phase === 'body') this.#deadline.set(this.#limits.bodyMs)
    this.#socket.resume()
    this.#setReading(true)
  }

  /** What is consumed does not know of the socket's own pauses. */
  #setReading(isReading: boolean): void {
    const handle = this.#handle
    if (handle === undefined || this.#socket.destroyed || handle.reading === isReading) return
    handle.reading = isReading
    if (isReading) handle.readStart()
    else handle.readStop()
  }

  // ---- The request.

  #write(head: string, body: Buffer | undefined): void {
    const bodyBytes = body?.length ?? 0
    const isJoined = head.length + bodyBytes <= OUTGOING_BYTES
    const bytes = isJoined ? head.length + bodyBytes : head.length
    if (this.#outgoing === undefined || this.#outgoing.length < bytes) {
      this.#outgoing = wipeableBuffer(Math.max(bytes, OUTGOING_BYTES))
    }
    const outgoing = this.#outgoing
    outgoing.write(head, 0, 'latin1')
    this.#outgoingBytes = bytes
    if (isJoined) {
      if (body !== undefined) outgoing.set(body, head.length)
      this.#socket.write(outgoing.subarray(0, bytes))
    } else {
      this.#socket.cork()
      this.#socket.write(outgoing.subarray(0, bytes))
      this.#socket.write(body as Buffer)
      this.#socket.uncork()
    }
  }

  async #upload(request: EgressRequest, pieces: AsyncIterable<Buffer>): Promise<void> {
    this.#isUploading = true
    const { declaredBytes } = request
    let sentBytes = 0
    try {
      for await (const piece of pieces) {
        if (this.#request !== request) return // over, whichever way
        if (piece.length === 0) continue
        const isFirst = sentBytes === 0
        sentBytes += piece.length
        if (declaredBytes !== undefined && sentBytes > declaredBytes) throw new WrongLength()
        if (!this.#writePiece(request, piece, isFirst)) await this.#untilDrained(request)
      }
      if (this.#request !== request) return
      if (declaredBytes !== undefined && sentBytes !== declaredBytes) throw new WrongLength()
      if (sentBytes === 0) this.#write(`${request.head}content-length: 0\r\n\r\n`, undefined)
      else if (declaredBytes === undefined) this.#socket.write('\r\n0\r\n\r\n')
      this.#isUploading = false
      if (this.#phase === 'head') this.#deadline.set(this.#limits.headersMs)
    } catch (error) {
      if (this.#request === request) this.#fail(error as Error)
    }
  }

  /** False: no more until what there is has left. */
  #writePiece({ head, declaredBytes }: EgressRequest, piece: Buffer, isFirst: boolean): boolean {
    const socket = this.#socket
    socket.cork()
    if (declaredBytes === undefined) {
      if (isFirst) this.#write(`${head}transfer-encoding: chunked\r\n`, undefined)
      socket.write(`\r\n${piece.length.toString(16)}\r\n`, 'latin1')
    } else if (isFirst) {
      this.#write(`${head}content-length: ${declaredBytes}\r\n\r\n`, undefined)
    }
    const takesMore = socket.write(piece)
    socket.uncork()
    return takesMore
  }

  /** Or until it is all over. */
  async #untilDrained(request: EgressRequest): Promise<void> {
    const socket = this.#socket
    if (this.#phase === 'head') this.#deadline.set(this.#limits.headersMs)
    await new Promise<void>((resolve) => {
      const settle = () => {
        socket.off('drain', settle)
        socket.off('close', settle)
        resolve()
      }
      socket.on('drain', settle)
      socket.on('close', settle)
      if (socket.destroyed) settle()
    })
    if (this.#request === request && this.#phase === 'head') this.#deadline.clear()
  }

  // ---- The answer.

  /** What was read before the parser did, or in place of it. */
  #onData(chunk: Buffer): void {
    this.#onExecuted(this.#parser.execute(chunk))
  }

  #onExecuted(result: number | Error): void {
    const request = this.#request
    if (request === undefined) {
      this.#socket.destroy() // nobody asked
      return
    }
    request.hasAnswerBegun = true
    if (this.#phase === 'whole') {
      if (typeof result !== 'number') this.#keepsAlive = false // there was more than an answer
      this.#onWhole()
    } else if (typeof result !== 'number') {
      this.#socket.destroy(result) // told in a moment, so that what has been passed on leaves before
    }
  }

  #onEnd(): void {
    if (this.#phase !== 'body' || !this.#isUntilEnd) return this.#fail(new ConnectionEnded())
    const error = this.#parser.finish()
    if (error !== undefined) this.#fail(error)
    else this.#onWhole()
  }

  #onMessageBegin(): void {
    if (this.#phase === 'whole') this.#keepsAlive = false // a second answer in one read
    if (this.#request !== undefined) this.#request.hasAnswerBegun = true
  }

  /** Of a long head, or after the body: those are dropped. */
  #onFields(fields: string[]): void {
    if (this.#phase !== 'head') return
    if (this.#fields === undefined) this.#fields = fields
    else this.#fields.push(...fields)
    if (this.#fields.length > 2 * MAX_FIELDS) this.#fail(new NotHttp())
  }

  /** 1: no body follows. */
  #onHead(
    someFields: string[] | undefined,
    status: number,
    message: string,
    keepsAlive: boolean,
  ): 0 | 1 {
    const request = this.#request
    if (request === undefined || this.#phase !== 'head') return 0
    const fields = someFields ?? this.#fields ?? []
    this.#fields = undefined
    if (status < 200) {
      this.#onInterim(status)
      return 1
    }
    const hasNoBody = request.isHead || status === 204 || status === 304
    this.#phase = 'body'
    this.#isUntilEnd = !keepsAlive
    this.#keepsAlive = keepsAlive && !request.isLast
    this.#keepAliveMs = KEEP_ALIVE_MS
    this.#readFields(fields, hasNoBody)
    this.#deadline.set(this.#limits.bodyMs)
    try {
      request.handler.onResponseStart(status, message, fields)
    } catch (error) {
      this.#fail(error as Error)
    }
    return hasNoBody ? 1 : 0
  }

  /** Not the answer yet (RFC 9110, 15.2). Nobody asks for another protocol. */
  #onInterim(status: number): void {
    this.#interims += 1
    if (status === 101) this.#fail(new ConnectionEnded())
    else if (this.#interims > (status === 100 ? MAX_CONTINUES : MAX_INTERIM)) {
      this.#fail(new NotHttp())
    }
  }

  /** What they say about the connection. */
  #readFields(fields: readonly string[], hasNoBody: boolean): void {
    for (let i = 0; i < fields.length; i += 2) {
      const name = fields[i] as string
      const value = fields[i + 1] as string
      if (name.length === 10 && name.toLowerCase() === 'keep-alive') {
        const seconds = KEEP_ALIVE_TIMEOUT.exec(value)?.[1]
        if (seconds === undefined) continue
        const ms = Number(seconds) * 1000 - KEEP_ALIVE_MARGIN_MS
        this.#keepAliveMs = Math.min(ms, MAX_KEEP_ALIVE_MS)
        if (ms <= 0) this.#keepsAlive = false
      } else if (hasNoBody && announcesBody(name, value)) {
        this.#keepsAlive = false // it may come all the same
      }
    }
  }

  #onBody(chunk: Buffer): void {
    const request = this.#request
    if (request === undefined || this.#phase !== 'body') return
    if (!this.#isPaused) this.#deadline.set(this.#limits.bodyMs)
    try {
      request.handler.onResponseData(chunk)
    } catch (error) {
      this.#fail(error as Error)
    }
  }

  #onMessageComplete(): void {
    if (this.#phase === 'body') this.#phase = 'whole' // of an interim one, nothing ends
  }

  #onWhole(): void {
    const request = this.#request as EgressRequest
    this.#request = undefined
    this.#phase = 'idle'
    if (this.#isPaused) this.resume()
    if (this.#isUploading) {
      request.carrier = undefined
      this.#socket.destroy()
    } else if (this.#socket.writableLength > 0) {
      this.#leaving = request
      this.#deadline.set(LINGER_MS)
      setImmediate(lookAtLeaving, this) // over TLS it is told a turn later that all has left
    } else {
      this.#onFree(request)
    }
    request.handler.onResponseEnd()
  }

  /** Whoever answers before the request has left does not want the rest of it. */
  lookAtLeaving(): void {
    const request = this.#leaving
    if (request === undefined) return
    if (this.#socket.writableLength > 0) {
      this.#socket.end()
    } else {
      this.#leaving = undefined
      this.#onFree(request)
    }
  }

  /** Nothing of the request or its answer is under way any more. */
  #onFree(request: EgressRequest): void {
    request.carrier = undefined
    this.#wipe()
    if (this.#keepsAlive) {
      this.#deadline.set(this.#keepAliveMs)
      this.#owner.onFree(this)
    } else {
      this.#socket.destroy()
    }
  }

  // ---- Ends.

  #onDeadline(): void {
    this.#fail(new AnswerTimeout())
  }

  /** Of an idle one, nobody is told. */
  #fail(error: Error): void {
    const request = this.#request
    this.#request = undefined
    this.#phase = 'idle'
    this.#socket.destroy()
    if (request === undefined) return
    request.carrier = undefined // what has not left by now does not leave any more
    request.handler.onResponseError(error)
  }

  #onClose(): void {
    this.#fail(new ConnectionEnded())
    if (this.#leaving !== undefined) this.#leaving.carrier = undefined
    this.#leaving = undefined
    this.#deadline.end()
    this.#wipe()
    if (this.#handle !== undefined) this.#parser.unconsume()
    closeParserSoon(this.#parser)
    this.#owner.onClosed(this)
  }

  #wipe(): void {
    this.#outgoing?.fill(0, 0, this.#outgoingBytes)
  }
}

function lookAtLeaving(connection: Connection): void {
  connection.lookAtLeaving()
}

function announcesBody(name: string, value: string): boolean {
  const lower = name.toLowerCase()
  return lower === 'transfer-encoding' || (lower === 'content-length' && value !== '0')
}
