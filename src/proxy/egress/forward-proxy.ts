// The way through a forward proxy, for networks that have no other: a CONNECT tunnel for every connection, also for
// destinations without TLS. Its URL may hold a password, so it is a secret. Its own address is the operator's choice
// and is not guarded.

import { type ClientRequest, request as requestHttp } from 'node:http'
import { request as requestHttps } from 'node:https'
import { isIP, isIPv6, type Socket } from 'node:net'
import type { Secret } from '../../core/secret.ts'

export type ForwardProxyConfig = {
  readonly url: Secret<string>
  /**
   * `address`: names are resolved and tested here, and the proxy is told an address. `name`: the proxy resolves, and has
   * to guard.
   */
  readonly sends: 'address' | 'name'
}

/** Whatever keeps the proxy from opening a tunnel; nothing of it is the destination's doing. */
class ForwardProxyFailed extends Error {
  readonly code = 'SALLYPORT_FORWARD_PROXY_FAILED'
}

export type ForwardProxy = {
  readonly sends: 'address' | 'name'
  /** To the first of the hosts (names or addresses) that the proxy reaches. */
  readonly openTunnel: (
    hosts: readonly string[],
    port: number,
    signal: AbortSignal,
  ) => Promise<Socket>
}

export function createForwardProxy(config: ForwardProxyConfig): ForwardProxy {
  const begin = createConnectRequest(config.url)
  return {
    sends: config.sends,
    async openTunnel(hosts, port, signal) {
      let failure: unknown
      for (const host of hosts) {
        try {
          return await tunnel(begin(`${isIPv6(host) ? `[${host}]` : host}:${port}`), signal)
        } catch (error) {
          if (signal.aborted) throw signal.reason
          failure = error
        }
      }
      throw new ForwardProxyFailed('', { cause: failure })
    },
  }
}

function createConnectRequest(secret: Secret<string>): (authority: string) => ClientRequest {
  const { protocol, hostname, port, username, password } = new URL(secret.reveal())
  const host = hostname.replace(/^\[|\]$/g, '')
  const isTls = protocol === 'https:'
  const credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`
  const authorization =
    credentials === ':'
      ? {}
      : { 'Proxy-Authorization': `Basic ${Buffer.from(credentials).toString('base64')}` }
  return (authority) =>
    (isTls ? requestHttps : requestHttp)({
      method: 'CONNECT',
      host,
      port: port === '' ? (isTls ? 443 : 80) : port,
      // Else Node takes the name of the Host header, which is the destination's, for the one in the proxy's certificate.
      ...(isTls ? { servername: isIP(host) === 0 ? host : '' } : {}),
      path: authority,
      headers: { Host: authority, ...authorization },
      agent: false,
    })
}

function tunnel(request: ClientRequest, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const giveUp = () => request.destroy(signal.reason)
    const settle = () => signal.removeEventListener('abort', giveUp)
    request.on('error', (error) => {
      settle()
      reject(error)
    })
    request.on('connect', ({ statusCode = 0 }, socket, head) => {
      settle()
      socket.on('error', () => {}) // whoever uses it next is told; until then nobody is there to listen
      // Nothing speaks before we do: what comes along with the answer is the proxy's own.
      if (statusCode >= 200 && statusCode < 300 && head.length === 0) {
        resolve(socket as Socket) // of a request without an agent of its own, so a socket or one with TLS
      } else {
        socket.destroy()
        reject(new ForwardProxyFailed())
      }
    })
    request.on('close', () => {
      settle()
      reject(new ForwardProxyFailed())
    })
    if (signal.aborted) giveUp()
    else signal.addEventListener('abort', giveUp, { once: true })
    request.end()
  })
}
