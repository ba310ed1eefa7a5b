// Captured credentials: all of one payment method's in one record, so that the write that deletes the payment method
// deletes them by their one key, whatever is being put beside it.

import { getLastVersion } from 'lmdb'
import type { CredentialRecord, Store } from '../contract.ts'
import { decodeJson, encodeJson } from './codec.ts'
import { absent, exists, FIRST, type Table, type Tables, unchanged } from './tables.ts'

type Methods = Pick<Store, 'putCredential' | 'listCredentials'>

export function openCredentials(
  { table, writeIf, lookAgain }: Tables,
  parents: { methods: Table },
) {
  const credentials = table('credentials')

  function read(
    key: string,
  ): { records: readonly CredentialRecord[]; version: number } | undefined {
    lookAgain()
    const bytes = credentials.getBinary(key)
    return bytes === undefined
      ? undefined
      : { records: decodeJson<CredentialRecord[]>(bytes), version: getLastVersion() }
  }

  const methods: Methods = {
    async putCredential(credential) {
      const { merchantId, paymentMethodId, kind, connector } = credential
      const key = `${merchantId}/${paymentMethodId}`
      for (;;) {
        const before = read(key)
        const others = (before?.records ?? []).filter(
          (each) => each.kind !== kind || each.connector !== connector,
        )
        const conditions = [
          exists(parents.methods, key),
          before === undefined
            ? absent(credentials, key)
            : unchanged(credentials, key, before.version),
        ]
        const failed = await writeIf(conditions, () => {
          const version = before === undefined ? FIRST : before.version + 1
          credentials.put(key, encodeJson([...others, credential]), version)
        })
        if (failed === -1) return true
        if (failed === 0) return false
        // Another of the same payment method was put meanwhile: that one stays, too.
      }
    },
    async listCredentials(merchantId, id) {
      return read(`${merchantId}/${id}`)?.records ?? []
    },
  }

  return {
    methods,
    /** Inside a write: `key` is the payment method's. */
    remove(key: string): void {
      credentials.remove(key)
    },
  }
}
