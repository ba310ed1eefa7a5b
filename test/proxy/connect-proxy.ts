// A forward proxy as networks have them: it knows CONNECT, wants credentials if the test says so, and leads every
// authority to where the test says.

import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { connect, type Socket } from 'node:net'
import { listenOnNewPort } from './upstream.ts'

export type ConnectProxy = AsyncDisposable & {
  port: number
  /** What it was asked to connect to, oldest first. */
  asked: string[]
  /** The heads of these requests. */
  headers: IncomingMessage['headers'][]
  /** Connections that were ever accepted, and those that are still open. */
  connections: number
  open: Set<Socket>
}

/**
 * A port of this machine; or what is said instead, as it goes over the wire, after which it waits; nothing said: it hangs
 * up; undefined: it says nothing and waits.
 */
export type ConnectScript = (authority: string) => number | string | undefined

export async function startConnectProxy(
  script: ConnectScript,
  tls?: { key: string; cert: string },
): Promise<ConnectProxy> {
  const none: RequestListener = (_, response) => response.writeHead(405).end()
  const server: Server = tls === undefined ? createServer(none) : createTlsServer(tls, none)
  const proxy: ConnectProxy = {
    port: await listenOnNewPort(server),
    asked: [],
    headers: [],
    connections: 0,
    open: new Set(),
    async [Symbol.asyncDispose]() {
      for (const socket of proxy.open) socket.destroy()
      server.close()
    },
  }
  server.on('connection', (socket: Socket) => {
    proxy.connections += 1
    proxy.open.add(socket)
    socket.once('close', () => proxy.open.delete(socket))
    socket.on('error', () => {}) // whoever hangs up first
  })
  server.on('connect', ({ url = '', headers }: IncomingMessage, socket: Socket) => {
    proxy.asked.push(url)
    proxy.headers.push(headers)
    socket.on('error', () => {})
    const answer = script(url)
    if (typeof answer !== 'number') {
      socket.resume().on('end', () => socket.end()) // so that the end is noticed
      if (answer === '') socket.end()
      else if (answer !== undefined) socket.write(answer)
      return
    }
    const onward = connect(answer, '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n')
      socket.pipe(onward).pipe(socket)
    })
    onward.on('error', () => socket.end('HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n'))
    socket.once('close', () => onward.destroy())
  })
  return proxy
}
