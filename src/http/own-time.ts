// Connections whose request may take longer than the server's own limit, because whoever handles it keeps the time: a
// body that streams to a destination has as long as the destination allows.

import type { Duplex } from 'node:stream'

const connections = new WeakSet<Duplex>()

export function keepOwnTime(connection: Duplex): void {
  connections.add(connection)
}

export function giveTimeBack(connection: Duplex): void {
  connections.delete(connection)
}

export function hasOwnTime(connection: Duplex): boolean {
  return connections.has(connection)
}
