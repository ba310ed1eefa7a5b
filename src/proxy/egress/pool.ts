// The connections to one origin: as many as are needed, up to a limit; beyond it requests wait for their turn. The one
// that was free last is used first, so that those that are not needed become idle and end.

import { type AnswerLimits, Connection, type ConnectionOwner } from './connection.ts'
import type { Dial } from './dialer.ts'
import type { EgressRequest } from './request.ts'
import type { CertificateExpiries } from './tls.ts'

/** Nothing is sent any more. */
class PoolClosed extends Error {}

export class EgressPool implements ConnectionOwner {
  /** Undefined without TLS. */
  readonly certificateExpiries: CertificateExpiries | undefined
  readonly #dial: Dial
  readonly #maxConnections: number
  readonly #limits: AnswerLimits
  readonly #waiting: EgressRequest[] = []
  readonly #idle: Connection[] = []
  readonly #connections = new Set<Connection>()
  readonly #dials = new Set<AbortController>()
  readonly #closed = Promise.withResolvers<void>()
  #isClosing = false
  #isServing = false

  constructor(
    dial: Dial,
    limits: AnswerLimits & { readonly connections: number },
    certificateExpiries: CertificateExpiries | undefined,
  ) {
    this.#dial = dial
    this.#limits = limits
    this.#maxConnections = limits.connections
    this.certificateExpiries = certificateExpiries
  }

  dispatch(request: EgressRequest): void {
    if (this.#isClosing) return request.handler.onResponseError(new PoolClosed())
    this.#waiting.push(request)
    if (this.#idle.length > 0) this.#serveSoon()
    else this.#dialAsNeeded()
  }

  /** A kept connection turned out to be closed: the others may be, too, and nobody is to find out with this request. */
  dispatchAgain(request: EgressRequest): void {
    if (this.#isClosing) return request.handler.onResponseError(new PoolClosed())
    this.#endIdle()
    this.#waiting.unshift(request)
    this.#dialAsNeeded()
  }

  /** When its requests have ended; there must be no more of them. */
  close(): Promise<void> {
    this.#isClosing = true
    if (this.#waiting.length === 0) this.#endIdle()
    this.#settle()
    return this.#closed.promise
  }

  /** Its requests fail. */
  destroy(): Promise<void> {
    this.#isClosing = true
    const error = new PoolClosed()
    for (const request of this.#waiting.splice(0)) request.handler.onResponseError(error)
    for (const giveUp of this.#dials) giveUp.abort(error)
    for (const connection of this.#connections) connection.abort(error)
    this.#settle()
    return this.#closed.promise
  }

  onFree(connection: Connection): void {
    this.#idle.push(connection)
    if (this.#waiting.length > 0) this.#serveLater()
    else if (this.#isClosing) this.#endIdle()
  }

  onClosed(connection: Connection): void {
    this.#connections.delete(connection)
    const at = this.#idle.indexOf(connection)
    if (at !== -1) this.#idle.splice(at, 1)
    this.#dialAsNeeded()
    this.#settle()
  }

  /**
   * Only once everything has been looked at that has come by now: a kept connection that was closed meanwhile, or an
   * answer on it that nobody asked for, has to be known before it is written to.
   */
  #serveSoon(): void {
    if (this.#isServing) return
    this.#isServing = true
    setImmediate(serve, this)
  }

  /** After one more look: the end of a connection, or too much of an answer, often comes right after the answer. */
  #serveLater(): void {
    if (this.#isServing) return
    this.#isServing = true
    setImmediate(serveNext, this)
  }

  serve(): void {
    this.#isServing = false
    while (this.#waiting.length > 0) {
      const connection = this.#idle.pop()
      if (connection === undefined) break
      if (connection.isUsable) this.#serveOn(connection)
    }
    this.#dialAsNeeded()
    if (this.#isClosing && this.#waiting.length === 0) this.#endIdle()
  }

  #serveOn(connection: Connection): void {
    for (;;) {
      const request = this.#waiting.shift()
      if (request === undefined) return this.onFree(connection)
      if (connection.start(request)) return
    }
  }

  #dialAsNeeded(): void {
    while (
      this.#waiting.length > this.#idle.length + this.#dials.size &&
      this.#connections.size + this.#dials.size < this.#maxConnections
    ) {
      this.#dialOne()
    }
  }

  #dialOne(): void {
    const giveUp = new AbortController()
    this.#dials.add(giveUp)
    this.#dial(giveUp).then(
      (socket) => {
        this.#dials.delete(giveUp)
        const connection = new Connection(socket, this, this.#limits)
        this.#connections.add(connection)
        if (giveUp.signal.aborted) connection.abort(new PoolClosed())
        else if (connection.isUsable) this.#serveOn(connection)
      },
      (error: Error) => {
        this.#dials.delete(giveUp)
        // One of those who wait for a new connection: whoever comes next may be luckier.
        if (this.#waiting.length > this.#idle.length + this.#dials.size) {
          this.#waiting.shift()?.handler.onResponseError(error)
        }
        this.#dialAsNeeded()
        this.#settle()
      },
    )
  }

  #endIdle(): void {
    for (const connection of this.#idle.splice(0)) connection.abort(new PoolClosed())
  }

  #settle(): void {
    const isLeft = this.#waiting.length + this.#dials.size + this.#connections.size > 0
    if (this.#isClosing && !isLeft) this.#closed.resolve()
  }
}

function serveNext(pool: EgressPool): void {
  setImmediate(serve, pool)
}

function serve(pool: EgressPool): void {
  pool.serve()
}
