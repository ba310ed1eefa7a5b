// The dialer: the only way out. It resolves a destination's name, tests every address it got and connects to one it
// tested, so that no route can forget it and no second look-up can change the answer. Redirects are not followed;
// HTTP/1.1 only; TLS 1.2 and later, and its checks cannot be switched off.

import { type LookupAddress, lookup as resolve } from 'node:dns'
import { BlockList, isIP, isIPv6, type LookupFunction, type Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import { buildConnector, Pool } from 'undici'
import { AddressRanges, type Cidr, plainAddress } from '../core/cidr.ts'
import type { Origin } from './origin.ts'

export type EgressConfig = { readonly allowPrivate: readonly Cidr[]; readonly allowHttp: boolean }

/** A name resolved to, or was, an address that may not be reached. */
export class AddressForbidden extends Error {
  readonly code = 'SALLYPORT_ADDRESS_FORBIDDEN'
}

// IANA IPv4 and IPv6 special-purpose address registries (RFC 6890 and updates): everything that is not the public
// internet. IPv4 in IPv6 is unwrapped before (a `::ffff:0:0/96` here would block all of IPv4).
const SPECIAL_IPV4 = [
  '0.0.0.0/8',
  '10.0.0.0/8',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16', // link local, cloud metadata
  '172.16.0.0/12',
  '192.0.0.0/24',
  '192.0.2.0/24',
  '192.31.196.0/24',
  '192.52.193.0/24',
  '192.88.99.0/24',
  '192.168.0.0/16',
  '192.175.48.0/24',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/4',
  '240.0.0.0/4',
]
/** Global unicast is 2000::/3; of that, what is special. */
const SPECIAL_IPV6 = [
  '2001::/23', // protocol assignments, Teredo among them
  '2001:db8::/32',
  '2002::/16', // 6to4: an IPv4 address in disguise
  '2620:4f:8000::/48',
  '3fff::/20',
]

const special = new BlockList()
const globalIpv6 = new BlockList()
for (const cidr of SPECIAL_IPV4) special.addSubnet(...subnet(cidr), 'ipv4')
for (const cidr of SPECIAL_IPV6) special.addSubnet(...subnet(cidr), 'ipv6')
globalIpv6.addSubnet('2000::', 3, 'ipv6')

function subnet(cidr: string): [string, number] {
  const [address = '', bits] = cidr.split('/')
  return [address, Number(bits)]
}

export function isPublicAddress(address: string): boolean {
  const plain = plainAddress(address)
  if (!isIPv6(plain)) return isIP(plain) === 4 && !special.check(plain, 'ipv4')
  return globalIpv6.check(plain, 'ipv6') && !special.check(plain, 'ipv6')
}

export type PoolOptions = {
  readonly caPem: string | undefined
  readonly connections: number
  readonly connectMs: number
  readonly headersMs: number
  readonly bodyMs: number
}

export type Egress = {
  /** The caller closes it. */
  readonly openPool: (origin: Origin, options: PoolOptions) => Pool
  readonly allowsHttp: boolean
  readonly allowsPrivate: boolean
}

export function createEgress(config: EgressConfig): Egress {
  const allowed = new AddressRanges(config.allowPrivate)
  const isAllowed = (address: string) => isPublicAddress(address) || allowed.has(address)

  // The whole answer counts: one bad address among good ones is an attack or a mistake.
  const guardedLookup: LookupFunction = (hostname, options, callback) => {
    resolve(hostname, { ...options, all: true }, (error, addresses: LookupAddress[]) => {
      if (error !== null) callback(error, '', 0)
      else if (addresses.length === 0 || !addresses.every(({ address }) => isAllowed(address))) {
        callback(new AddressForbidden(), '', 0)
      } else if (options.all === true) callback(null, addresses)
      else callback(null, addresses[0]?.address ?? '', addresses[0]?.family ?? 0)
    })
  }

  return {
    allowsHttp: config.allowHttp,
    allowsPrivate: !allowed.isEmpty,

    openPool(origin, options) {
      const connect = buildConnector({
        timeout: options.connectMs,
        allowH2: false,
        minVersion: 'TLSv1.2',
        rejectUnauthorized: true,
        lookup: guardedLookup,
        ...(options.caPem === undefined ? {} : { ca: options.caPem }),
      })
      return new Pool(origin, {
        connections: options.connections,
        pipelining: 1,
        allowH2: false,
        headersTimeout: options.headersMs,
        bodyTimeout: options.bodyMs,
        connect: (target, callback) => {
          // `lookup` is never asked about addresses, so they are tested here.
          const literal = target.hostname.replace(/^\[|\]$/g, '')
          if (isIP(literal) !== 0 && !isAllowed(literal)) {
            callback(new AddressForbidden(), null)
            return
          }
          connect(target, (...result: [Error, null] | [null, Socket | TLSSocket]) => {
            const [error, socket] = result
            if (error !== null) {
              callback(error, null)
              return
            }
            // Looked at once more where it counts, whatever connected this socket.
            if (!isAllowed(socket.remoteAddress ?? '')) {
              socket.destroy()
              callback(new AddressForbidden(), null)
              return
            }
            callback(null, socket)
          })
        },
      })
    },
  }
}
