// When payment methods were last used. A use costs the request that makes it one entry in a map; they are written down
// together, every minute or when there are many. What a crash takes with it is at most a minute of them.

import type { Clock } from '../../core/clock.ts'
import type { MerchantId, PaymentMethodId } from '../../core/ids.ts'
import type { PaymentMethodRecord, PaymentMethodUse, Store } from '../../store/contract.ts'

const MAX_PENDING = 4096

export class LastUses {
  readonly #store: Pick<Store, 'noteUses' | 'lastUses'>
  readonly #clock: Clock
  readonly #onFailed: (error: unknown) => void
  #pending = new Map<PaymentMethodId, PaymentMethodUse>()

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
    this.#pending.set(id, { merchantId, id, usedAtMs: this.#clock() })
    if (this.#pending.size >= MAX_PENDING) void this.flush()
  }

  /** Never rejects. */
  async flush(): Promise<void> {
    if (this.#pending.size === 0) return
    const uses = [...this.#pending.values()]
    this.#pending = new Map()
    try {
      await this.#store.noteUses(uses)
    } catch (error) {
      this.#onFailed(error)
    }
  }

  /** In the order of `ids`: what this process knows, or what is stored. */
  async of(
    merchantId: MerchantId,
    ids: readonly PaymentMethodId[],
  ): Promise<readonly (number | undefined)[]> {
    const stored = await this.#store.lastUses(merchantId, ids)
    return ids.map((id, index) => {
      const pending = this.#pending.get(id)
      return pending?.merchantId === merchantId ? pending.usedAtMs : stored[index]
    })
  }
}
