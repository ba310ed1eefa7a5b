// What the server and the commands beside it open alike: store, keyring and audit trail of a data folder.

import { existsSync } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type AuditTrail, openAuditTrail } from '../audit/trail.ts'
import type { Config } from '../config.ts'
import { type Clock, systemClock } from '../core/clock.ts'
import { type Keyring, openKeyring } from '../crypto/keyring.ts'
import { openLocalRootKey } from '../crypto/root-key/local-file.ts'
import { OpenError } from '../crypto/seal.ts'
import type { Store } from '../store/contract.ts'
import { openStore } from '../store/open.ts'
import { type BinTable, EMPTY_BIN_TABLE, parseBinTable } from '../vault/bin-table.ts'
import { VERSION } from '../version.ts'
import { StartError } from './start-error.ts'

export type Vault = { readonly store: Store; readonly keyring: Keyring }

export type Parts = Vault & { readonly audit: AuditTrail; readonly clock: Clock }

/** Called once when the process has to end because nobody knows any more what is on disk. */
type OnFatal = (what: 'store' | 'audit', error: unknown) => void

/** What was opened is closed by `opened`, in reverse. Throws StartError, RootKeyFileError. */
export async function openParts(
  config: Config,
  opened: AsyncDisposableStack,
  onFatal: OnFatal,
  clock: Clock = systemClock,
): Promise<Parts> {
  const vault = await openVault(config, { mayBeNew: true, onFatal, clock })
  opened.use(vault.store)
  const audit = openAudit(config, undefined, onFatal)
  opened.defer(() => audit.close())
  return { ...vault, audit, clock }
}

/**
 * `mayBeNew`: makes the folder and everything in it where there is none. The caller disposes of the store. Throws
 * StartError, RootKeyFileError.
 */
export async function openVault(
  config: Config,
  {
    mayBeNew,
    onFatal,
    clock = systemClock,
  }: { readonly mayBeNew: boolean; readonly onFatal: OnFatal; readonly clock?: Clock },
): Promise<Vault> {
  const storeFolder = join(config.data_dir, 'store')
  // A store without its root key is not a first start: a new key would make every card unreadable for good.
  const isFirstStart = !existsSync(storeFolder)
  if (isFirstStart && !mayBeNew) {
    throw new StartError(
      `There is no installation in ${config.data_dir}. Name its settings with --config, or its folder with SALLYPORT_DATA_DIR.`,
    )
  }
  await mkdir(config.data_dir, { recursive: true, mode: 0o700 })
  const root = await openLocalRootKey(join(config.data_dir, 'root.key'), isFirstStart)
  await using opened = new AsyncDisposableStack()
  const store = opened.use(
    await openStore(
      {
        kind: config.store,
        folder: storeFolder,
        hourKeysFolder: join(config.data_dir, 'cvc-keys'),
      },
      (error) => onFatal('store', error),
    ),
  )
  try {
    const keyring = await openKeyring({
      root,
      wrappedKeys: store,
      hourKeys: store.hourKeys,
      clock,
    })
    opened.move()
    return { store, keyring }
  } catch (error) {
    if (!(error instanceof OpenError)) throw error
    throw new StartError('The root key does not belong to this store.', { cause: error })
  }
}

/** `fileName`: of a command beside the server, because one process writes to a file; undefined: the server's own. */
export function openAudit(
  config: Config,
  fileName: string | undefined,
  onFatal: OnFatal,
): AuditTrail {
  return openAuditTrail(
    {
      folder: join(config.data_dir, 'audit'),
      ...(fileName === undefined ? {} : { fileName }),
      sync: config.audit.sync,
      syncIntervalMs: config.audit.sync_interval_ms,
    },
    { clock: systemClock, version: VERSION, onFatal: (error) => onFatal('audit', error) },
  )
}

/** Throws StartError, with every line that is no good. */
export async function readBinTable(path: string | undefined): Promise<BinTable> {
  if (path === undefined) return EMPTY_BIN_TABLE
  let bytes: Buffer
  try {
    bytes = await readFile(path)
  } catch (cause) {
    throw new StartError(`The file ${path} cannot be read.`, { cause })
  }
  const parsed = parseBinTable(bytes)
  if (parsed.kind === 'ok') return parsed.table
  const lines = parsed.problems.map(({ line, reason }) => `  - line ${line}: ${reason}`)
  throw new StartError(`${path} is no table of BINs:\n${lines.join('\n')}`)
}
