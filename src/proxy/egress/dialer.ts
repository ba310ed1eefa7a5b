// The dialer: the only way out. It resolves a destination's name once, tests every address it got and connects to one it
// tested, so that no route can forget it and no second look-up can change the answer. All of it has one time limit.

import { type LookupAddress, lookup } from 'node:dns'
import { connect, isIP, type Socket } from 'node:net'
import type { Origin } from '../origin.ts'
import type { ForwardProxy } from './forward-proxy.ts'
import { untilOpen } from './open-socket.ts'
import type { Tls } from './tls.ts'

/** A name resolved to, or was, an address that may not be reached; or it is not to be reached in this way. */
export class AddressForbidden extends Error {
  readonly code = 'SALLYPORT_ADDRESS_FORBIDDEN'
}

/** Nobody knows an address of that name, or nobody could be asked. */
class NameNotResolved extends Error {
  readonly code = 'ENOTFOUND'
}

/** It took too long to get to the destination, whatever it was that did. */
class ConnectTimeout extends Error {
  readonly code = 'SALLYPORT_CONNECT_TIMEOUT'
}

/** Every address that a name has. */
export type Resolve = (
  hostname: string,
  callback: (error: Error | null, addresses: readonly LookupAddress[]) => void,
) => void

export const systemResolve: Resolve = (hostname, callback) => {
  lookup(hostname, { all: true }, callback)
}

export type DialerDeps = {
  readonly isAllowed: (address: string) => boolean
  /** Asked again: the destination may be older than the settings. */
  readonly isAllowedPort: (port: number, hasTls: boolean) => boolean
  readonly resolve: Resolve
  /** Connections go through it where there is one. */
  readonly forwardProxy: ForwardProxy | undefined
  /** Undefined: destinations without TLS. */
  readonly tls: Tls | undefined
  /** For all of it: name, connection, forward proxy, TLS. */
  readonly connectMs: number
}

/** A connection, open and secured. Whoever asks for it may give up. */
export type Dial = (giveUp: AbortController) => Promise<Socket>

export function createDialer(deps: DialerDeps, origin: Origin): Dial {
  const { hostname, port } = new URL(origin)
  const target = {
    host: hostname.replace(/^\[|\]$/g, ''),
    port: Number(port) || (deps.tls === undefined ? 80 : 443),
  }
  return (giveUp) => {
    const timer = setTimeout(() => giveUp.abort(new ConnectTimeout()), deps.connectMs)
    return dial(deps, target, giveUp.signal).finally(() => clearTimeout(timer))
  }
}

const KEEP_ALIVE_PROBE_MS = 60_000

async function dial(
  deps: DialerDeps,
  { host, port }: { readonly host: string; readonly port: number },
  signal: AbortSignal,
): Promise<Socket> {
  const { forwardProxy, tls } = deps
  if (!deps.isAllowedPort(port, tls !== undefined)) throw new AddressForbidden()
  let socket: Socket
  if (forwardProxy === undefined) {
    socket = await open(deps, await findAddresses(deps, host, signal), port, signal)
  } else {
    const isForProxy = forwardProxy.sends === 'name' && isIP(host) === 0
    const hosts = isForProxy
      ? [host]
      : (await findAddresses(deps, host, signal)).map(({ address }) => address)
    socket = await forwardProxy.openTunnel(hosts, port, signal)
  }
  socket.setNoDelay(true)
  socket.setKeepAlive(true, KEEP_ALIVE_PROBE_MS)
  return tls === undefined ? socket : tls.secure(socket, host, signal)
}

/** The whole answer counts: one bad address among good ones is an attack or a mistake. */
async function findAddresses(
  { isAllowed, resolve }: DialerDeps,
  host: string,
  signal: AbortSignal,
): Promise<readonly LookupAddress[]> {
  const family = isIP(host)
  const addresses =
    family === 0 ? await resolved(resolve, host, signal) : [{ address: host, family }]
  if (!addresses.every(({ address }) => isAllowed(address))) throw new AddressForbidden()
  return addresses
}

function resolved(
  resolve: Resolve,
  host: string,
  signal: AbortSignal,
): Promise<readonly LookupAddress[]> {
  return new Promise((done, reject) => {
    // A look-up cannot be called back; what comes of it later is for nobody.
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
    resolve(host, (cause, addresses) => {
      if (cause === null && addresses.length > 0) done(addresses)
      else reject(new NameNotResolved('', { cause }))
    })
  })
}

/** To one of the addresses that were tested, whichever answers first. */
async function open(
  { isAllowed }: DialerDeps,
  addresses: readonly LookupAddress[],
  port: number,
  signal: AbortSignal,
): Promise<Socket> {
  const [first] = addresses as [LookupAddress]
  const socket = connect({
    port,
    // An address is never looked up; any other text is, and then these are what it stands for.
    host: addresses.length === 1 ? first.address : 'tested addresses',
    lookup: (_hostname, options, callback) => {
      if (options.all === true) callback(null, [...addresses])
      else callback(null, first.address, first.family)
    },
  })
  await untilOpen(socket, 'connect', signal)
  // Looked at once more where it counts, whatever connected this socket.
  if (!isAllowed(socket.remoteAddress ?? '')) {
    socket.destroy()
    throw new AddressForbidden()
  }
  return socket
}
