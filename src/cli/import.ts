// `sallyport import FILE`: cards of another vault become payment methods of a merchant. Works on the store itself, also
// while the server runs.

import { closeSync, existsSync, openSync, readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import type { AuditTrail } from '../audit/trail.ts'
import type { Config } from '../config.ts'
import { monotonic } from '../core/clock.ts'
import { AppError } from '../core/errors.ts'
import type { MerchantId } from '../core/ids.ts'
import { parseIdentities } from '../crypto/age.ts'
import type { OwnerKeys } from '../crypto/keyring.ts'
import { columnsHelp } from '../transfer/columns.ts'
import { type ImportPorts, importCards } from '../transfer/import.ts'
import { openInput } from '../transfer/input.ts'
import { MappingFile } from '../transfer/mapping-file.ts'
import { createProgress, grouped, SILENT } from '../transfer/progress.ts'
import { openRejectsFile } from '../transfer/rejects-file.ts'
import { TransferError } from '../transfer/transfer-error.ts'
import type { FindBin } from '../vault/payment-methods/instrument.ts'
import { readBinTable } from './open-parts.ts'
import { type Terminal, UsageError } from './terminal.ts'
import {
  featuresOf,
  findMerchant,
  openTransferParts,
  orUnreadable,
  recordOrStop,
  stopAsked,
  type TransferParts,
} from './transfer-parts.ts'

const HELP = `Usage: sallyport import FILE --mapping OUT.csv [options]

Moves cards of another vault in, for one merchant. FILE is CSV (RFC 4180, its first line names the columns) or NDJSON
(one object a line with the same names), in UTF-8, or either of them as an age file, which is decrypted as it is read.
With - it is standard input, so that PGP goes through its own tool:

  gpg --decrypt cards.csv.gpg | sallyport import - --format csv --mapping ids.csv

Each row that is stored has a line in OUT.csv: line,id,customer_id,payment_method_id,outcome,check. Whatever ends an
import, the same command goes on where it stopped. An import that has ended may be run again and changes nothing.
A first SIGTERM or SIGINT ends it after the rows under way, a second one at once.

  --mapping OUT.csv         the old ids and the new ones (required)
  --format csv|ndjson       where the name of FILE does not end in .csv, .ndjson or .jsonl (and .age)
  --merchant ID             whose cards they are; not needed where there is one merchant
  --identity KEYFILE        the key of an age file, as age-keygen writes it
  --rejects OUT.csv         the rows that were not taken: line,id,field,reason
  --ignore-columns A,B      columns that are left out
  --reject-expired          does not take cards whose last day is over
  --quiet                   no progress
  --config FILE             settings of the installation

Exit code: 0 all rows are stored, 2 some were rejected, 1 it could not go on.

Columns, in any order. Verification codes, track data and PINs are refused by name (PCI DSS 3.3.1):

${columnsHelp()}
`

const OPTIONS = {
  mapping: { type: 'string' },
  format: { type: 'string' },
  merchant: { type: 'string' },
  identity: { type: 'string' },
  rejects: { type: 'string' },
  'ignore-columns': { type: 'string' },
  'reject-expired': { type: 'boolean', default: false },
  quiet: { type: 'boolean', default: false },
  config: { type: 'string' },
  help: { type: 'boolean', short: 'h', default: false },
} as const

const SHOWN_REJECTS = 20

/** The exit code. Throws UsageError, StartError, TransferError, AgeError. */
export async function importCommand(
  args: readonly string[],
  readConfig: (file: string | undefined) => Config,
  terminal: Terminal,
): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: OPTIONS,
    allowPositionals: true,
  })
  if (values.help) {
    terminal.print(HELP)
    return 0
  }
  const [file, ...more] = positionals
  const { mapping: mappingPath, rejects: rejectsPath } = values
  if (file === undefined || more.length > 0) throw new UsageError('import', 'Name one file.')
  if (mappingPath === undefined)
    throw new UsageError('import', 'Name the mapping file (--mapping).')
  const format = formatOf(file, values.format)
  const config = readConfig(values.config)

  if (file === '-' && terminal.stdin.isTty) {
    throw new UsageError('import', 'Standard input is a terminal.')
  }
  const { identity } = values
  const identities =
    identity === undefined
      ? []
      : parseIdentities(orUnreadable(identity, () => readFileSync(identity, 'utf8')))
  const fd = file === '-' ? terminal.stdin.fd : orUnreadable(file, () => openSync(file, 'r'))
  // What an import leaves behind is short-lived; by default V8 lets the heap grow fourfold before it looks (280 MB in all
  // instead of 150, and no faster).
  setFlagsFromString('--heap-growing-percent=30')
  await using opened = new AsyncDisposableStack()
  if (file !== '-') opened.defer(() => closeSync(fd))
  const input = await openInput(fd, identities)
  opened.defer(() => input.wipe())

  const parts = await openTransferParts('import', config, opened, terminal)
  const { audit, clock, request, client } = parts
  const merchant = await findMerchant(parts.vault.store, values.merchant)
  const keys = await parts.vault.keyring.keysOf(merchant)
  const findBin = (await readBinTable(config.vault.bin_table_file)).find
  if (rejectsPath !== undefined && !existsSync(mappingPath) && existsSync(rejectsPath)) {
    throw new TransferError(`${rejectsPath} exists already.`)
  }
  const mapping = MappingFile.open(mappingPath)
  opened.defer(() => mapping.close())

  const record = recordOrStop(audit)
  const line = { kind: 'act', request, merchant, client } as const
  await record({ ...line, action: 'import.start' })
  const progress = values.quiet ? SILENT : createProgress(terminal, monotonic, 'rows')
  const isStopped = stopAsked(terminal)
  let shown = 0
  try {
    const { counts, known, withoutId, isComplete } = await importCards(
      input,
      {
        format,
        ignoredColumns: new Set(values['ignore-columns']?.split(',').map((name) => name.trim())),
        takesExpired: !values['reject-expired'],
        nowMs: clock(),
        mapping,
        openRejects: (lastLine) =>
          rejectsPath === undefined
            ? undefined
            : openRejectsFile(rejectsPath, mapping.isNew ? undefined : lastLine),
        onReject(rowLine, id, { field, reason }) {
          shown += 1
          if (shown > SHOWN_REJECTS) return
          progress.clear()
          const named = id === '' ? '' : ` (${id})`
          const place = field === '' ? '' : `${field}: `
          terminal.tell(`line ${rowLine}${named}: ${place}${reason.replaceAll('_', ' ')}\n`)
        },
        progress,
        isStopped,
      },
      portsOf(parts, merchant, keys, { config, findBin, record }),
    )
    progress.clear()
    const digest = input.digest()
    await record({
      ...line,
      action: 'import.end',
      counts: { ...counts, known },
      ...(isComplete ? digestMembers(digest, input.isEncrypted, keys) : { isCut: true }),
    })
    if (shown > SHOWN_REJECTS) terminal.tell(`… and ${grouped(shown - SHOWN_REJECTS)} more\n`)
    if (withoutId > 0) {
      terminal.tell(
        `${grouped(withoutId)} ids could be card numbers and are not in the mapping file; their lines are.\n`,
      )
    }
    const { created, updated, rejected } = counts
    terminal.print(
      `${grouped(created + updated + rejected)} rows: ${grouped(created)} created, ${grouped(updated)} updated, ${grouped(rejected)} rejected${known === 0 ? '' : ` (${grouped(known)} of them by an earlier run)`}\n`,
    )
    if (!isComplete) {
      terminal.tell('It was stopped. The same command goes on.\n')
      return 1
    }
    return rejected > 0 ? 2 : 0
  } catch (error) {
    progress.clear()
    await audit
      .record({ ...line, action: 'import.end', counts: mapping.counts, isCut: true })
      .catch(() => {}) // what went wrong first is what is told
    throw error
  }
}

function portsOf(
  parts: TransferParts,
  merchant: MerchantId,
  keys: OwnerKeys,
  deps: {
    readonly config: Config
    readonly findBin: FindBin
    readonly record: AuditTrail['record']
  },
): ImportPorts {
  const { request, client } = parts
  const { config, findBin, record } = deps
  const features = featuresOf(parts, config, findBin)
  const recorded = (
    action: 'customer.create' | 'payment_method.create' | 'payment_method.update',
    object: string,
  ) => record({ kind: 'act', action, request, merchant, client, object })

  return {
    async findCustomer({ by, value }) {
      const { customers } = features
      const found =
        by === 'id'
          ? customers.retrieve(merchant, value)
          : customers.retrieveByReference(merchant, value)
      return (await absentIf('not_found', found))?.id
    },
    async createCustomer({ by, value }, details) {
      const input = { merchant_reference_id: by === 'id' ? null : value, ...details }
      const id = by === 'id' ? value : undefined
      const made = await absentIf('conflict', features.customers.create(merchant, input, id))
      if (made === undefined) return undefined
      await recorded('customer.create', made.id)
      return made.id
    },
    isMerchantThere: async () => (await parts.vault.store.findMerchant(merchant)) !== undefined,
    async storeCard(customerId, { number, expiry, description, ...card }) {
      const stored = await absentIf(
        'not_found',
        features.methods.create(
          merchant,
          {
            profile: undefined,
            customerId,
            isVolatile: false,
            instrument: { kind: 'card', number, cvc: undefined, expiry, description },
            subtype: card.subtype,
            billing: card.billing,
            metadata: card.metadata,
          },
          (id) => recorded('payment_method.update', id),
        ),
      )
      if (stored === undefined) return undefined
      const { record: method, isNew } = stored
      const { networkTransactionId } = card
      // One that is known is of a payment here, or of an import before: the old vault's is no newer.
      const isWanted =
        networkTransactionId !== undefined &&
        (isNew ||
          (await features.credentials.shown(merchant, method.id)).networkTransactionId ===
            undefined)
      if (isWanted) {
        await features.credentials.capture({
          merchantId: merchant,
          paymentMethodId: method.id,
          kind: 'network_transaction_id',
          connector: '',
          value: Buffer.from(networkTransactionId),
        })
      }
      if (isNew) await recorded('payment_method.create', method.id)
      return { id: method.id, isNew }
    },
    digestOf: (bytes) => keys.fingerprint('', 'import_row', bytes).slice(0, 8),
  }
}

/** Undefined in place of that refusal. */
async function absentIf<T>(
  reason: 'not_found' | 'conflict',
  work: Promise<T>,
): Promise<T | undefined> {
  try {
    return await work
  } catch (error) {
    if (error instanceof AppError && error.reason === reason) return undefined
    throw error
  }
}

function digestMembers(digest: Buffer, isEncrypted: boolean, keys: OwnerKeys) {
  return isEncrypted
    ? { sha256: digest.toString('hex') }
    : { digest: keys.fingerprint('', 'import', digest) }
}

function formatOf(file: string, said: string | undefined): 'csv' | 'ndjson' {
  const format = said ?? /\.(csv|ndjson|jsonl)(\.age)?$/i.exec(file)?.[1]?.toLowerCase()
  if (format === 'csv') return 'csv'
  if (format === 'ndjson' || format === 'jsonl') return 'ndjson'
  throw new UsageError('import', 'Say what the input is: --format csv or --format ndjson.')
}
