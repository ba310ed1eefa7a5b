// How many connections one address may hold, so that a single client cannot take them all. Our own front proxies
// speak for many clients and are not counted.

import type { Server } from 'node:http'
import { AddressRanges, type Cidr, plainAddress } from '../core/cidr.ts'

export function limitConnections(
  server: Server,
  perAddress: number,
  exempt: readonly Cidr[],
): void {
  const proxies = new AddressRanges(exempt)
  const held = new Map<string, number>()
  server.on('connection', (socket) => {
    const address = plainAddress(socket.remoteAddress ?? '')
    if (proxies.has(address)) return
    const count = (held.get(address) ?? 0) + 1
    if (count > perAddress) {
      socket.destroy()
      return
    }
    held.set(address, count)
    socket.once('close', () => {
      const left = (held.get(address) ?? 1) - 1
      if (left === 0) held.delete(address)
      else held.set(address, left)
    })
  })
}
