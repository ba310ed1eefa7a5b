// The body of a request on its way in: read into memory as a whole, or up to a limit with the remainder to come, within
// what all bodies together may hold. Compressed ones are inflated on the way.

import { Readable } from 'node:stream'
import { AppError } from '../core/errors.ts'
import type { Call } from '../http/call.ts'
import { giveTimeBack, keepOwnTime } from '../http/own-time.ts'
import type { Head } from './head.ts'
import { type Coding, inflated } from './inflate.ts'
import { Refusal } from './refusal.ts'
import { BodyCut } from './streamed-body.ts'

/** What all requests together may hold in memory while their bodies are read and sent. */
export type BodyMemory = { heldBytes: number; readonly limitBytes: number }

export type BodyLimits = { readonly bodyBytes: number; readonly bufferBytes: number }

/** The request that it is of. */
export interface BodyOwner {
  readonly isOver: boolean
  onFailed(error: unknown): void
}

/** Undefined: there is none. `rest`: what comes after, of one longer than the buffer limit. */
export type OnBody = (body: Buffer | undefined, rest: AsyncIterable<Buffer> | undefined) => void

/** How long the remainder of a body is waited for that nobody wants any more. */
const REST_MS = 10_000

export class ArrivingBody {
  readonly #call: Call
  readonly #memory: BodyMemory
  readonly #owner: BodyOwner
  #body: Buffer | undefined
  #rest: AsyncIterable<Buffer> | undefined
  /** In which it was read. */
  #coding: Coding = 'identity'
  /** Counted in the memory that all bodies share, until the answer is over. */
  #heldBytes = 0

  constructor(call: Call, memory: BodyMemory, owner: BodyOwner) {
    this.#call = call
    this.#memory = memory
    this.#owner = owner
  }

  get isRead(): boolean {
    return this.#body !== undefined
  }

  /**
   * Hands over the body in one piece, the very chunk where it came in one; or, beyond `bufferBytes`, its beginning and
   * what is still to come. Asked again, what has been read is there at once. Throws AppError.
   */
  read(
    { contentLength = 0, isChunked }: Pick<Head, 'contentLength' | 'isChunked'>,
    coding: Coding,
    limits: BodyLimits,
    onBody: OnBody,
  ): void {
    if (contentLength > limits.bodyBytes) throw new AppError('body_too_large')
    if (!isChunked && contentLength === 0) {
      onBody(undefined, undefined)
    } else if (this.#body === undefined) {
      this.#coding = coding
      const { body } = this.#call
      const isReady = body !== undefined && coding === 'identity'
      if (isReady && body.length <= limits.bufferBytes) this.#take(body, limits, onBody)
      else this.#gather(limits, onBody)
    } else {
      if (this.#body.length > limits.bodyBytes) throw new AppError('body_too_large')
      // The destination has changed since: it would have been read in another way, or held as a whole.
      const isHalf = this.#rest !== undefined && this.#body.length <= limits.bufferBytes
      if (coding !== this.#coding || isHalf) throw new AppError('permission_denied')
      onBody(this.#body, this.#rest)
    }
  }

  /** It came with its head. */
  #take(body: Buffer, { bodyBytes }: BodyLimits, onBody: OnBody): void {
    if (body.length > bodyBytes) throw new AppError('body_too_large')
    if (this.#memory.heldBytes + body.length > this.#memory.limitBytes) {
      throw new AppError('destination_busy')
    }
    this.#heldBytes = body.length
    this.#memory.heldBytes += body.length
    this.#body = body
    onBody(body, undefined)
  }

  #gather(limits: BodyLimits, onBody: OnBody): void {
    const request = this.#call.source
    const owner = this.#owner
    const incoming = request ?? Readable.from([this.#call.body], { objectMode: false })
    const source = this.#coding === 'identity' ? incoming : inflated(incoming, this.#coding)
    const chunks: Buffer[] = []
    const onRead = (rest: AsyncIterable<Buffer> | undefined) => {
      try {
        this.#body = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks)
        this.#rest = rest
        onBody(this.#body, rest)
      } catch (error) {
        owner.onFailed(error)
      }
    }
    const onData = (chunk: Buffer) => {
      if (owner.isOver) return
      this.#heldBytes += chunk.length
      this.#memory.heldBytes += chunk.length
      chunks.push(chunk)
      if (this.#heldBytes > limits.bodyBytes) {
        owner.onFailed(new AppError('body_too_large'))
      } else if (this.#memory.heldBytes > this.#memory.limitBytes) {
        owner.onFailed(new AppError('destination_busy'))
      }
      if (owner.isOver) {
        chunks.length = 0
        this.#release()
      } else if (this.#heldBytes > limits.bufferBytes) {
        source.pause()
        source.off('data', onData)
        source.off('end', onEnd)
        if (request !== undefined) keepOwnTime(request.socket) // the destination's, from here on
        onRead(restOf(source))
      }
    }
    const onEnd = () => {
      if (!owner.isOver) onRead(undefined)
    }
    source.on('data', onData)
    source.on('end', onEnd)
    if (source !== incoming) {
      source.on('error', (error) => {
        // Whoever reads the rest learns it there, and knows whether anything was sent.
        if (this.#rest === undefined) owner.onFailed(error)
      })
    }
  }

  /** What is still to come of the request is thrown away, for so long. */
  onAnswerOver(): void {
    if (this.#rest !== undefined) this.#boundRest()
    this.#release()
  }

  #boundRest(): void {
    const request = this.#call.source
    if (request === undefined) return
    giveTimeBack(request.socket)
    if (request.complete) return
    const timer = setTimeout(() => request.destroy(), REST_MS).unref()
    request.once('end', () => clearTimeout(timer))
    request.once('close', () => clearTimeout(timer))
  }

  #release(): void {
    this.#memory.heldBytes -= this.#heldBytes
    this.#heldBytes = 0
  }
}

/** What a paused source still has to give. Whoever stops asking lets the remainder pass unread. */
async function* restOf(source: Readable): AsyncGenerator<Buffer, void> {
  try {
    yield* source.iterator({ destroyOnReturn: false })
  } catch (error) {
    throw error instanceof Refusal ? error : new BodyCut('', { cause: error })
  } finally {
    source.resume()
  }
}
