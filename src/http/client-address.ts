// Where a request comes from: the peer of its connection, or, if that is one of our own front proxies, what that
// says in X-Forwarded-For, read from the right for as long as the sayer is trusted.

import { isIP } from 'node:net'
import { AddressRanges, type Cidr, plainAddress } from '../core/cidr.ts'

/** `peer`: of the connection. `forwardedFor`: X-Forwarded-For, which is looked at only where the peer is trusted. */
export type ClientAddress = (peer: string, forwardedFor: () => string | undefined) => string

export function createClientAddress(trusted: readonly Cidr[]): ClientAddress {
  const proxies = new AddressRanges(trusted)
  if (proxies.isEmpty) return plainAddress
  return (peer, forwardedFor) => {
    let address = plainAddress(peer)
    const said = (forwardedFor() ?? '').split(',')
    while (said.length > 0 && isIP(address) !== 0 && proxies.has(address)) {
      const next = (said.pop() ?? '').trim()
      // No address, or one with a zone, which may say anything: believe nothing that stands further left.
      if (isIP(next) === 0 || next.includes('%')) break
      address = plainAddress(next)
    }
    return address
  }
}
