// Requests straight to a pool of connections, without the proxy before it.

import { type Cidr, parseCidr } from '../../src/core/cidr.ts'
import { createEgress, type PoolOptions } from '../../src/proxy/egress/egress.ts'
import type { EgressPool } from '../../src/proxy/egress/pool.ts'
import {
  EgressRequest,
  type RequestHandler,
  type RequestParts,
} from '../../src/proxy/egress/request.ts'
import type { Origin } from '../../src/proxy/origin.ts'

const OPTIONS: PoolOptions = {
  caPem: undefined,
  client: undefined,
  pinSha256: undefined,
  connections: 1,
  connectMs: 5000,
  headersMs: 5000,
  bodyMs: 5000,
}

/** To a server on this machine. */
export function openPool(origin: string, options: Partial<PoolOptions> = {}): EgressPool {
  const allowPrivate = [parseCidr('127.0.0.0/8') as Cidr]
  const egress = createEgress({ allowPrivate, allowHttp: true, proxy: undefined })
  return egress.openPool(origin as Origin, { ...OPTIONS, ...options })
}

export type Told = {
  status: number
  message: string
  headers: string[]
  text: string
  /** Undefined: answered. */
  error: (Error & { code?: string }) | undefined
  wasStarted: boolean
  isReused: boolean
  hasAnswerBegun: boolean
}

/** A request and all that its handler is told. `ended` is when it has ended, however. */
export class Asked implements RequestHandler {
  readonly request: EgressRequest
  readonly told: Told = {
    status: 0,
    message: '',
    headers: [],
    text: '',
    error: undefined,
    wasStarted: false,
    isReused: false,
    hasAnswerBegun: false,
  }
  /** What it says when it is to be started. */
  isWanted = true
  onChunk: (chunk: Buffer) => void = () => {}
  readonly #ended = Promise.withResolvers<Told>()
  #ends = 0

  constructor(parts: Partial<RequestParts> = {}) {
    const origin = 'http://psp.test' as Origin
    this.request = new EgressRequest(
      { origin, method: 'POST', target: '/', headers: [], body: Buffer.from('{}'), ...parts },
      this,
    )
  }

  get ended(): Promise<Told> {
    return this.#ended.promise
  }

  /** How often it was told that it had ended. */
  get ends(): number {
    return this.#ends
  }

  onRequestStart(): boolean {
    this.told.wasStarted = this.isWanted
    return this.isWanted
  }

  onResponseStart(status: number, message: string, headers: string[]): void {
    Object.assign(this.told, { status, message, headers })
  }

  onResponseData(chunk: Buffer): void {
    this.told.text += chunk.toString('latin1')
    this.onChunk(chunk)
  }

  onResponseEnd(): void {
    this.#end(undefined)
  }

  onResponseError(error: Error): void {
    this.#end(error)
  }

  #end(error: Error | undefined): void {
    const { isReused, hasAnswerBegun } = this.request
    Object.assign(this.told, { error, isReused, hasAnswerBegun })
    this.#ends += 1
    this.#ended.resolve(this.told)
  }
}

/** All that it was told, of an answer or of a failure. */
export function tellOf(pool: EgressPool, parts: Partial<RequestParts> = {}): Promise<Told> {
  const asked = new Asked(parts)
  pool.dispatch(asked.request)
  return asked.ended
}

/** The text of the answer, or the code of the error. */
export async function askPool(
  pool: EgressPool,
  parts: Partial<RequestParts> = {},
): Promise<string> {
  const { error, text } = await tellOf(pool, parts)
  return error === undefined ? text : (error.code ?? String(error))
}
