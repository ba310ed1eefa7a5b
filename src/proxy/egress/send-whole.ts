// Requests of our own that are not proxied, to whatever a merchant named: they leave through the same dialer, with a time
// limit and a bound on the answer. What was received is copied once, into a Buffer that the caller overwrites.

import type { SendWhole, WholeAnswer, WholeRequest } from '../../core/send-whole.ts'
import { wipeableBuffer } from '../../core/wipeable.ts'
import { type Origin, parseDestinationUrl } from '../origin.ts'
import { headerValue } from '../raw-headers.ts'
import type { Egress } from './egress.ts'
import type { EgressPool } from './pool.ts'
import { EgressRequest, type RequestHandler } from './request.ts'

const OPTIONS = {
  caPem: undefined,
  client: undefined,
  pinSha256: undefined,
  connections: 64,
  connectMs: 5000,
  // The time for all of it is shorter.
  headersMs: 600_000,
  bodyMs: 600_000,
} as const

/** Pools that are kept; the one that was used least recently makes room. */
const MAX_ORIGINS = 64

/** Between two looks at whether a body has left that outlives its answer. */
const STILL_WRITING_MS = 50

export function createWholeSender(egress: Pick<Egress, 'openPool'>) {
  /** The one that was used last stands last. */
  const pools = new Map<Origin, { readonly pool: EgressPool; isUsed: boolean }>()

  function forget(origin: Origin): void {
    void pools.get(origin)?.pool.close()
    pools.delete(origin)
  }

  function poolOf(origin: Origin): EgressPool {
    const known = pools.get(origin)
    if (known !== undefined) {
      known.isUsed = true
      pools.delete(origin)
      pools.set(origin, known)
      return known.pool
    }
    const pool = egress.openPool(origin, OPTIONS)
    pools.set(origin, { pool, isUsed: true })
    const [oldest] = pools.keys()
    if (pools.size > MAX_ORIGINS && oldest !== undefined) forget(oldest)
    return pool
  }

  const send: SendWhole = (request) => {
    const url = parseDestinationUrl(request.url)
    if (url === undefined) throw new Error('a URL that was never checked')
    const { origin, path, query } = url
    const call = new WholeCall(request, origin, `${path}${query}`)
    poolOf(origin).dispatch(call.sending)
    return call.answer
  }

  return {
    send,

    /** Connections that nobody uses do not stay. */
    forgetUnused(): void {
      for (const [origin, entry] of pools) {
        if (!entry.isUsed) forget(origin)
        else entry.isUsed = false
      }
    },

    async destroy(): Promise<void> {
      await Promise.all([...pools.values()].map(({ pool }) => pool.destroy()))
    },
  }
}

class WholeCall implements RequestHandler {
  readonly sending: EgressRequest
  readonly #request: WholeRequest
  readonly #settled = Promise.withResolvers<WholeAnswer>()
  readonly #timer: NodeJS.Timeout
  #chunks: Buffer[] = []
  #bytes = 0
  #status = 0
  #wasStarted = false
  #isOver = false

  constructor(request: WholeRequest, origin: Origin, target: string) {
    const { method, headers, body, timeoutMs } = request
    this.#request = request
    this.sending = new EgressRequest({ origin, method, target, headers, body }, this)
    this.#timer = setTimeout(() => this.#giveUp(), timeoutMs)
  }

  get answer(): Promise<WholeAnswer> {
    return this.#settled.promise
  }

  onRequestStart(): boolean {
    this.#wasStarted = !this.#isOver
    return !this.#isOver
  }

  onResponseStart(status: number, _message: string, headers: string[]): void {
    this.#status = status
    if (Number(headerValue(headers, 'content-length') ?? 0) > this.#request.limitBytes) {
      this.#giveUp()
    }
  }

  onResponseData(chunk: Buffer): void {
    this.#bytes += chunk.length
    if (this.#isOver || this.#bytes > this.#request.limitBytes) {
      chunk.fill(0)
      this.#giveUp()
    } else {
      this.#chunks.push(chunk)
    }
  }

  onResponseEnd(): void {
    if (this.#isOver) return this.#wipeBody()
    const body = wipeableBuffer(this.#bytes)
    let at = 0
    for (const chunk of this.#chunks) {
      body.set(chunk, at)
      at += chunk.length
    }
    this.#settle({ kind: 'answered', status: this.#status, body })
  }

  onResponseError(): void {
    this.#settle({ kind: 'failed', mayHaveBeenSent: this.#wasStarted })
  }

  #giveUp(): void {
    this.#settle({ kind: 'failed', mayHaveBeenSent: this.#wasStarted })
    this.sending.abort(new Error('given up'))
  }

  #settle(answer: WholeAnswer): void {
    if (!this.#isOver) {
      this.#isOver = true
      clearTimeout(this.#timer)
      for (const chunk of this.#chunks) chunk.fill(0)
      this.#chunks = []
      this.#settled.resolve(answer)
    }
    this.#wipeBody()
  }

  /** An answer may be over before its request has left: what is overwritten then would be sent. */
  #wipeBody(): void {
    if (this.sending.isWriting) setTimeout(() => this.#wipeBody(), STILL_WRITING_MS)
    else this.#request.body?.fill(0)
  }
}
