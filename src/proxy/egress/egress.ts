// The way out to the destinations: pools of connections that were all made by the dialer. Redirects are not followed;
// HTTP/1.1 only.

import { AddressRanges, type Cidr } from '../../core/cidr.ts'
import type { Origin } from '../origin.ts'
import { isPublicAddress } from './address.ts'
import type { AnswerLimits } from './connection.ts'
import { createDialer, type Resolve, systemResolve } from './dialer.ts'
import { createForwardProxy, type ForwardProxyConfig } from './forward-proxy.ts'
import { EgressPool } from './pool.ts'
import { createTls, type TlsOptions } from './tls.ts'

export type EgressConfig = {
  readonly allowPrivate: readonly Cidr[]
  readonly allowHttp: boolean
  /** With TLS; 443 alone if left out. */
  readonly ports?: readonly number[]
  readonly proxy: ForwardProxyConfig | undefined
}

export type PoolOptions = TlsOptions &
  AnswerLimits & {
    readonly connections: number
    /** For all that it takes: name, connection, forward proxy, TLS. */
    readonly connectMs: number
  }

export type Egress = {
  /** The caller closes it. */
  readonly openPool: (origin: Origin, options: PoolOptions) => EgressPool
  readonly allowsHttp: boolean
  readonly allowsPrivate: boolean
}

export function createEgress(
  config: EgressConfig,
  { resolve = systemResolve }: { readonly resolve?: Resolve } = {},
): Egress {
  const allowed = new AddressRanges(config.allowPrivate)
  const isAllowed = (address: string) => isPublicAddress(address) || allowed.has(address)
  const ports = new Set(config.ports ?? [443])
  const isAllowedPort = (port: number, hasTls: boolean) =>
    config.allowHttp || (hasTls && ports.has(port))
  const forwardProxy = config.proxy === undefined ? undefined : createForwardProxy(config.proxy)

  return {
    allowsHttp: config.allowHttp,
    allowsPrivate: !allowed.isEmpty,

    openPool(origin, options) {
      const { connectMs } = options
      const tls = origin.startsWith('https:') ? createTls(options) : undefined
      const deps = { isAllowed, isAllowedPort, resolve, forwardProxy, tls, connectMs }
      return new EgressPool(createDialer(deps, origin), options, tls?.expiries)
    },
  }
}
