// A purge: persistent payment methods that nobody has used for long are deleted (PCI DSS 3.2.1). Of each there is an audit
// record before it goes. One that was cut short is run again.

import type { MerchantId, PaymentMethodId } from '../core/ids.ts'
import type { PaymentMethodRecord } from '../store/contract.ts'
import type { Progress } from './progress.ts'

/** What a purge asks of the vault. */
export type PurgePorts = {
  page(
    merchant: MerchantId,
    after: PaymentMethodId | undefined,
    limit: number,
  ): Promise<readonly PaymentMethodRecord[]>
  /** In the order of the ids; undefined: never. */
  lastUses(
    merchant: MerchantId,
    ids: readonly PaymentMethodId[],
  ): Promise<readonly (number | undefined)[]>
  /** Its number is in an external vault, where it would stay. */
  isKept(method: PaymentMethodRecord): Promise<boolean>
  /** Settles when the record is with the operating system, or rejects: then nothing is deleted. */
  recordDeletion(merchant: MerchantId, id: PaymentMethodId): Promise<void>
  remove(merchant: MerchantId, id: PaymentMethodId): Promise<'deleted' | 'gone'>
}

export type PurgeResult = {
  readonly looked: number
  /** Unused for that long: deleted, but in a dry run. */
  readonly unused: number
  /** Unused, too, but with the number in an external vault. */
  readonly kept: number
  readonly isComplete: boolean
}

const PAGE = 512

/** Of one merchant: what was neither made nor used since `sinceMs`. */
export async function purgeUnused(
  merchant: MerchantId,
  sinceMs: number,
  options: {
    readonly isDryRun: boolean
    readonly progress: Progress
    readonly isStopped: () => boolean
  },
  ports: PurgePorts,
): Promise<PurgeResult> {
  let looked = 0
  let unused = 0
  let kept = 0
  let after: PaymentMethodId | undefined
  for (;;) {
    const page = await ports.page(merchant, after, PAGE)
    after = page.at(-1)?.id
    if (after === undefined) return { looked, unused, kept, isComplete: true }
    if (options.isStopped()) return { looked, unused, kept, isComplete: false }
    const uses = await ports.lastUses(
      merchant,
      page.map(({ id }) => id),
    )
    const old = page.filter(
      ({ expiresAtMs, createdAtMs }, index) =>
        expiresAtMs === undefined && Math.max(createdAtMs, uses[index] ?? 0) < sinceMs,
    )
    // In one turn, so that all of them are one commit.
    const ends = await Promise.all(
      old.map((method) => removeOne(method, sinceMs, options.isDryRun, ports)),
    )
    looked += page.length
    const count = (end: string) => ends.filter((each) => each === end).length
    unused += count('deleted')
    kept += count('kept')
    options.progress.show({ rows: looked, share: undefined })
  }
}

async function removeOne(
  method: PaymentMethodRecord,
  sinceMs: number,
  isDryRun: boolean,
  { isKept, lastUses, recordDeletion, remove }: PurgePorts,
): Promise<'deleted' | 'gone' | 'kept' | 'used'> {
  const { merchantId, id } = method
  if (await isKept(method)) return 'kept'
  if (isDryRun) return 'deleted'
  // It may have been used since its page was read.
  const [usedAtMs = 0] = await lastUses(merchantId, [id])
  if (usedAtMs >= sinceMs) return 'used'
  await recordDeletion(merchantId, id)
  return remove(merchantId, id)
}

const UNITS_MS: Readonly<Record<string, number>> = { d: 86_400_000, h: 3_600_000 }

/** `400d`, `36h` in milliseconds; undefined for anything else. */
export function parseDuration(text: string): number | undefined {
  const [, count, unit] = /^([0-9]{1,6})([dh])$/.exec(text) ?? []
  const unitMs = unit === undefined ? undefined : UNITS_MS[unit]
  return unitMs === undefined || Number(count) === 0 ? undefined : Number(count) * unitMs
}
