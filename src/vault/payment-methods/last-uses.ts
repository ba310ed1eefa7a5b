// When payment methods were last used, to the minute. A use costs the request that makes it one look into a map; they are
// written down together, every minute or when there are many. What a crash takes with it is at most a minute of them.

import type { Clock } from '../../core/clock.ts'
import type { MerchantId, PaymentMethodId } from '../../core/ids.ts'
import {
  type PaymentMethodRecord,
  type PaymentMethodUse,
  type Store,
  USE_INTERVAL_MS,
} from '../../store/contract.ts'

/** So many that the store writes several to a page; ten megabytes. */
const MAX_PENDING = 65_536

type Uses = ReadonlyMap<PaymentMethodId, PaymentMethodUse>

export class LastUses {
  readonly #store: Pick<Store, 'noteUses' | 'lastUses'>
  readonly #clock: Clock
  readonly #onFailed: (error: unknown) => void
  #pending = new Map<PaymentMethodId, PaymentMethodUse>()
  /** Written down last, or under way there: another use within a minute is the same one. */
  #written: Uses = new Map()
  #flushing: Promise<void> | undefined

  /** `onFailed`: a use could not be written down. Nobody waits for it, so nobody else is told. */
  constructor(
    store: Pick<Store, 'noteUses' | 'lastUses'>,
    clock: Clock,
    onFailed: (error: unknown) => void,
  ) {
    this.#store = store
    this.#clock = clock
    this.#onFailed = onFailed
  }

  note({ merchantId, id }: Pick<PaymentMethodRecord, 'merchantId' | 'id'>): void {
    const usedAtMs = this.#clock()
    const known = this.#pending.get(id) ?? this.#written.get(id)
    if (known !== undefined && usedAtMs < known.usedAtMs + USE_INTERVAL_MS) return
    this.#pending.set(id, { merchantId, id, usedAtMs })
    if (this.#pending.size >= MAX_PENDING && this.#flushing === undefined) void this.flush()
  }

  /** Settles when all that was noted before is written down. Never rejects. */
  async flush(): Promise<void> {
    await this.#flushing
    if (this.#pending.size === 0) return
    this.#flushing ??= this.#writeDown()
    await this.#flushing
  }

  async #writeDown(): Promise<void> {
    const uses = this.#pending
    this.#written = uses
    this.#pending = new Map()
    try {
      await this.#store.noteUses([...uses.values()])
    } catch (error) {
      // Not lost: the next flush tries them again.
      for (const [id, use] of uses) if (!this.#pending.has(id)) this.#pending.set(id, use)
      this.#onFailed(error)
    } finally {
      this.#flushing = undefined
    }
  }

  /** In the order of `ids`: what this process knows, or what is stored. */
  async of(
    merchantId: MerchantId,
    ids: readonly PaymentMethodId[],
  ): Promise<readonly (number | undefined)[]> {
    const stored = await this.#store.lastUses(merchantId, ids)
    return ids.map((id, index) => {
      const known = this.#pending.get(id) ?? this.#written.get(id)
      const storedMs = stored[index]
      if (known?.merchantId !== merchantId) return storedMs
      return Math.max(known.usedAtMs, storedMs ?? 0)
    })
  }
}
