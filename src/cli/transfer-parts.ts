// What import, export and purge have in common: they work on the store of an installation, beside its server or without
// it, each with an audit file of its own, because one process writes to a file.

import { getuid } from 'node:process'
import type { AuditTrail } from '../audit/trail.ts'
import { type Config, vaultLimits } from '../config.ts'
import { type Clock, isoTime, systemClock } from '../core/clock.ts'
import {
  createIds,
  type Ids,
  type MerchantId,
  parseMerchantId,
  type RequestId,
} from '../core/ids.ts'
import type { Store } from '../store/contract.ts'
import { TransferError } from '../transfer/transfer-error.ts'
import { createCustomers } from '../vault/customers/customers.ts'
import { createCredentials } from '../vault/payment-methods/credentials.ts'
import type { FindBin } from '../vault/payment-methods/instrument.ts'
import { LastUses } from '../vault/payment-methods/last-uses.ts'
import { createPaymentMethods } from '../vault/payment-methods/payment-methods.ts'
import { openAudit, openVault, type Vault } from './open-parts.ts'
import type { Terminal } from './terminal.ts'

export type TransferParts = {
  readonly vault: Vault
  /** Written down when the command ends. */
  readonly lastUses: LastUses
  readonly audit: AuditTrail
  readonly clock: Clock
  readonly ids: Ids
  /** Names this run in the audit trail. */
  readonly request: RequestId
  /** Who runs it, as far as the system knows: there is no API key. */
  readonly client: string
}

/** Throws StartError, RootKeyFileError. */
export async function openTransferParts(
  command: 'import' | 'export' | 'purge',
  config: Config,
  opened: AsyncDisposableStack,
  terminal: Terminal,
): Promise<TransferParts> {
  const clock = systemClock
  const ids = createIds(config.cell, clock)
  const request = ids.request()
  const onFatal = (what: 'store' | 'audit'): never => {
    terminal.tell(`\nThe ${what === 'store' ? 'store' : 'audit trail'} could not be written.\n`)
    return terminal.exit(1)
  }
  const vault = await openVault(config, { mayBeNew: false, onFatal })
  opened.use(vault.store)
  const lastUses = new LastUses(vault.store, clock, () => {})
  opened.defer(() => lastUses.flush())
  const time = isoTime(clock()).replaceAll(/[:.-]/g, '')
  const audit = openAudit(config, `${command}-${time}-${request.slice(-8)}.jsonl`, onFatal)
  opened.defer(() => audit.close())
  return {
    vault,
    lastUses,
    audit,
    clock,
    ids,
    request,
    client: `cli:${getuid?.() ?? 'unknown'}`,
  }
}

/** The only one, where none is named. Throws TransferError. */
export async function findMerchant(
  store: Pick<Store, 'findMerchant' | 'listMerchants'>,
  named: string | undefined,
): Promise<MerchantId> {
  if (named !== undefined) {
    const id = parseMerchantId(named)
    const found = id === undefined ? undefined : await store.findMerchant(id)
    if (found === undefined) throw new TransferError('There is no such merchant.')
    return found.id
  }
  const [only, ...others] = await store.listMerchants()
  if (only === undefined) throw new TransferError('There is no merchant yet.')
  if (others.length > 0) throw new TransferError('There are several merchants: say --merchant ID.')
  return only.id
}

/**
 * Has a signal asked for the end? After the first one what is under way ends; the second does not wait for it, nor for
 * an input that stands still.
 */
export function stopAsked(terminal: Terminal): () => boolean {
  let isAsked = false
  terminal.onStopSignal(() => {
    if (isAsked) terminal.exit(1)
    isAsked = true
  })
  return () => isAsked
}

/** Throws TransferError in place of what the system says of the file. */
export function orUnreadable<T>(path: string, read: () => T): T {
  try {
    return read()
  } catch (cause) {
    throw new TransferError(`The file ${path} cannot be read.`, { cause })
  }
}

/** Fails closed: what cannot be recorded is not done. */
export function recordOrStop(audit: AuditTrail): AuditTrail['record'] {
  return async (event) => {
    try {
      await audit.record(event)
    } catch (cause) {
      throw new TransferError('The audit trail cannot be written, so nothing is done.', { cause })
    }
  }
}

/** The vault's features on that store. */
export function featuresOf(
  { vault, ids, clock, lastUses }: TransferParts,
  config: Config,
  findBin: FindBin,
) {
  const { store, keyring } = vault
  return {
    customers: createCustomers({ store, keyring, ids, clock }),
    credentials: createCredentials({ store, keyring, clock }),
    methods: createPaymentMethods({
      store,
      keyring,
      ids,
      clock,
      limits: vaultLimits(config),
      lastUses,
      findBin,
    }),
  }
}
