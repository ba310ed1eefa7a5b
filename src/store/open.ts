// The only file that names backends.

import type { Store } from './contract.ts'
import { openLmdbStore } from './lmdb/lmdb-store.ts'

export type StoreConfig = {
  readonly kind: 'lmdb'
  readonly folder: string
  readonly hourKeysFolder: string
}

/** `onFatal` is called when nobody can know any more what is on disk: the process has to end. */
export function openStore(config: StoreConfig, onFatal: (error: unknown) => void): Promise<Store> {
  switch (config.kind) {
    case 'lmdb':
      return openLmdbStore({
        folder: config.folder,
        hourKeysFolder: config.hourKeysFolder,
        onFatal,
      })
    default:
      return config.kind satisfies never
  }
}
