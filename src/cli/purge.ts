// `sallyport purge`: deletes persistent payment methods that nobody has used for long. Works on the store itself, also while
// the server runs.

import { parseArgs } from 'node:util'
import type { Config } from '../config.ts'
import { monotonic } from '../core/clock.ts'
import { AppError } from '../core/errors.ts'
import { createProgress, grouped, SILENT } from '../transfer/progress.ts'
import { type PurgePorts, parseDuration, purgeUnused } from '../transfer/purge.ts'
import { EMPTY_BIN_TABLE } from '../vault/bin-table.ts'
import { type Terminal, UsageError } from './terminal.ts'
import {
  featuresOf,
  findMerchant,
  openTransferParts,
  recordOrStop,
  stopAsked,
} from './transfer-parts.ts'

const HELP = `Usage: sallyport purge --unused-for 400d [options]

Deletes the persistent payment methods that were neither made nor used for that long. A use is known to the store within
a minute. One that was cut short is simply run again.

  --unused-for DURATION     days or hours: 400d, 36h (required)
  --merchant ID             of one merchant; otherwise of all
  --dry-run                 deletes nothing, and says how many it would be
  --quiet                   no progress
  --config FILE             settings of the installation

Exit code: 0 done, 1 it could not go on or was stopped.
`

const OPTIONS = {
  'unused-for': { type: 'string' },
  merchant: { type: 'string' },
  'dry-run': { type: 'boolean', default: false },
  quiet: { type: 'boolean', default: false },
  config: { type: 'string' },
  help: { type: 'boolean', short: 'h', default: false },
} as const

/** The exit code. Throws UsageError, StartError, TransferError. */
export async function purgeCommand(
  args: readonly string[],
  readConfig: (file: string | undefined) => Config,
  terminal: Terminal,
): Promise<number> {
  const { values } = parseArgs({ args: [...args], options: OPTIONS })
  if (values.help) {
    terminal.print(HELP)
    return 0
  }
  const { 'unused-for': said, 'dry-run': isDryRun } = values
  const unusedForMs = said === undefined ? undefined : parseDuration(said)
  if (unusedForMs === undefined) {
    throw new UsageError('purge', 'Say for how long: --unused-for 400d, or 36h.')
  }
  const config = readConfig(values.config)
  await using opened = new AsyncDisposableStack()
  const parts = await openTransferParts('purge', config, opened, terminal)
  const { vault, audit, clock, request, client } = parts
  const { methods } = featuresOf(parts, config, EMPTY_BIN_TABLE.find)
  const merchants =
    values.merchant === undefined
      ? (await vault.store.listMerchants()).map(({ id }) => id)
      : [await findMerchant(vault.store, values.merchant)]

  const record = recordOrStop(audit)
  const isStopped = stopAsked(terminal)
  const ports: PurgePorts = {
    page: (merchant, after, limit) => vault.store.pagePaymentMethods(merchant, after, limit),
    lastUses: (merchant, ids) => vault.store.lastUses(merchant, ids),
    isKept: (method) => methods.isInserted(method),
    recordDeletion: (merchant, id) =>
      record({
        kind: 'act',
        action: 'payment_method.delete',
        request,
        merchant,
        client,
        object: id,
      }),
    async remove(merchant, id) {
      try {
        await methods.remove(merchant, id)
        return 'deleted'
      } catch (error) {
        if (error instanceof AppError && error.reason === 'not_found') return 'gone'
        throw error
      }
    },
  }
  const sinceMs = clock() - unusedForMs
  for (const merchant of merchants) {
    const line = { kind: 'act', request, merchant, client } as const
    const progress = values.quiet ? SILENT : createProgress(terminal, monotonic, 'payment methods')
    if (!isDryRun) await record({ ...line, action: 'purge.start' })
    const options = { isDryRun, progress, isStopped }
    const result = await purgeUnused(merchant, sinceMs, options, ports).catch(async (error) => {
      progress.clear()
      if (!isDryRun) {
        await audit.record({ ...line, action: 'purge.end', isCut: true }).catch(() => {}) // what went wrong first is told
      }
      throw error
    })
    const { looked, unused, kept, isComplete } = result
    progress.clear()
    if (!isDryRun) {
      const cut = isComplete ? {} : { isCut: true }
      await record({
        ...line,
        action: 'purge.end',
        counts: { looked, deleted: unused, kept },
        ...cut,
      })
    }
    const done = isDryRun ? 'would be deleted' : 'deleted'
    terminal.print(`${merchant}: ${grouped(unused)} of ${grouped(looked)} ${done}\n`)
    if (kept > 0) {
      terminal.tell(
        `${grouped(kept)} more ${isDryRun ? 'would be' : 'were'} kept: their numbers are in an external vault. Delete them through the API.\n`,
      )
    }
    if (!isComplete) {
      terminal.tell('It was stopped. The same command goes on.\n')
      return 1
    }
  }
  return 0
}
