// Where a request comes from: the peer of its connection, or, if that is one of our own front proxies, what that
// says in X-Forwarded-For, read from the right for as long as the sayer is trusted.

import type { IncomingMessage } from 'node:http'
import { isIP } from 'node:net'
import { AddressRanges, type Cidr, plainAddress } from '../core/cidr.ts'

export function createClientAddress(
  trusted: readonly Cidr[],
): (request: IncomingMessage) => string {
  const proxies = new AddressRanges(trusted)
  const peerOf = (request: IncomingMessage) => plainAddress(request.socket.remoteAddress ?? '')
  if (proxies.isEmpty) return peerOf
  return (request) => {
    let address = peerOf(request)
    const said = [request.headers['x-forwarded-for'] ?? []].flat().join(',').split(',')
    while (said.length > 0 && isIP(address) !== 0 && proxies.has(address)) {
      const next = (said.pop() ?? '').trim()
      // No address, or one with a zone, which may say anything: believe nothing that stands further left.
      if (isIP(next) === 0 || next.includes('%')) break
      address = plainAddress(next)
    }
    return address
  }
}
