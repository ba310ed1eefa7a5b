// The home of the root key. Seam: local file, custodian shares, PKCS#11 token. A home may be a device that never
// lets the key out, so it wraps and unwraps data keys itself, and both may take their time.

import type { SealContext, Sealed } from '../seal.ts'

export interface RootKey {
  /** Seals a data key for `context`. */
  wrap(dataKey: Uint8Array, context: SealContext): Promise<Sealed>
  /** The data key in a Buffer the caller overwrites. Throws OpenError when it was not wrapped by this root key. */
  unwrap(wrapped: Sealed, context: SealContext): Promise<Buffer>
}
