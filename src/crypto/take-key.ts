// Key bytes become a KeyObject, outside the JavaScript heap, and are overwritten.

import { createSecretKey, type KeyObject } from 'node:crypto'

export function takeKey(bytes: Buffer): KeyObject {
  const key = createSecretKey(bytes)
  bytes.fill(0)
  return key
}
