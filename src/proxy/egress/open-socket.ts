// Waiting for a socket to open, without ever leaving one behind half open.

import type { Socket } from 'node:net'

/** Rejects with the socket's error, or with the signal's reason; the socket is destroyed then. */
export function untilOpen(
  socket: Socket,
  event: 'connect' | 'secureConnect',
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const giveUp = () => socket.destroy(signal.reason)
    const settle = () => signal.removeEventListener('abort', giveUp)
    // It stays: between this and whoever uses the socket next, an error without a listener would end the process.
    socket.on('error', (error) => {
      settle()
      reject(error)
    })
    // Whoever closes it need not have an error to tell.
    socket.once('close', () => {
      settle()
      reject(new Error('closed before it was open'))
    })
    socket.once(event, () => {
      settle()
      resolve()
    })
    if (signal.aborted) giveUp()
    else signal.addEventListener('abort', giveUp, { once: true })
  })
}
