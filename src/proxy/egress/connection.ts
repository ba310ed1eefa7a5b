// What a request may ask about the connection it runs on, when that fails: was it a kept-alive one that the other side
// may have closed long ago, and has any of the answer come? undici does not tell, so its clients are extended by
// somebody who sees every socket they get.

import type { Socket } from 'node:net'
import { type buildConnector, Client, type Dispatcher } from 'undici'
import { filterInterim, type InterimFilter } from './interim.ts'

/**
 * Of one client, so of one request at a time: what it says is about the request that called `onRequestStart` last, and
 * holds until that request has ended.
 */
export interface Connection {
  /** Called by a request as it is told of its own start. Only then is it known which socket it will be written to. */
  onRequestStart(): void
  /** Another request was begun on the same socket before. */
  readonly isReused: boolean
  /** A byte has been read since the request began, be it of an interim answer. */
  readonly hasAnswerBegun: boolean
  /** It broke, rather than ended: undici takes what came of an answer without a length for all of it. */
  readonly hasBroken: boolean
  /** Bytes that were handed to the socket have not left yet: their Buffer is still needed. */
  readonly isWriting: boolean
}

/** A handler for `dispatch` that wants to know. */
export interface ConnectionListener extends Dispatcher.DispatchHandler {
  /** Before anything else, possibly more than once: the request has been given to this connection. */
  onConnection?(connection: Connection): void
}

class ClientConnection implements Connection {
  #socket: Socket | undefined
  #interim: InterimFilter | undefined
  #requests = 0
  #bytesReadBefore = 0

  /** The first one, or one in place of another that was closed. */
  onSocket(socket: Socket): void {
    this.#socket = socket
    this.#interim = filterInterim(socket)
    this.#requests = 0
  }

  onRequestStart(): void {
    this.#requests += 1
    this.#bytesReadBefore = this.#socket?.bytesRead ?? 0
    this.#interim?.expectAnswer()
  }

  get isReused(): boolean {
    return this.#requests > 1
  }

  get hasBroken(): boolean {
    return this.#socket !== undefined && this.#socket.errored !== null
  }

  get isWriting(): boolean {
    const socket = this.#socket
    return socket !== undefined && !socket.destroyed && socket.writableLength > 0
  }

  get hasAnswerBegun(): boolean {
    return (this.#socket?.bytesRead ?? 0) > this.#bytesReadBefore
  }
}

class ConnectionClient extends Client {
  readonly #connection: ClientConnection

  constructor(url: URL, options: Client.Options, connection: ClientConnection) {
    super(url, options)
    this.#connection = connection
  }

  override dispatch(
    options: Dispatcher.DispatchOptions,
    handler: Dispatcher.DispatchHandler,
  ): boolean {
    const listener: ConnectionListener = handler
    listener.onConnection?.(this.#connection)
    return super.dispatch(options, handler)
  }
}

/** For the `factory` of a pool whose connections `connect` makes. */
export function createClient(
  url: URL,
  options: Client.Options,
  connect: buildConnector.connector,
): Client {
  const connection = new ClientConnection()
  const connectAndTell: buildConnector.connector = (target, callback) =>
    connect(target, (...result) => {
      if (result[1] !== null) connection.onSocket(result[1])
      callback(...result)
    })
  return new ConnectionClient(url, { ...options, connect: connectAndTell }, connection)
}
