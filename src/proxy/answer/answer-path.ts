// What stands between a destination's answer and its caller, for one request: what was revealed and must not come back,
// the inspection that looks for it, and the keeping of answers under an idempotency key.

import type { MaybePromise } from '../../core/maybe-promise.ts'
import type { Destination } from '../destinations.ts'
import type { Claim } from '../idempotency.ts'
import { LeakGuard } from '../leak-guard/leak-guard.ts'
import type { Relay } from '../relay.ts'
import type { Found } from '../scan/scanner.ts'
import type { Values } from '../values.ts'
import type { HeldBytes } from './held-bytes.ts'
import { InspectedAnswer } from './inspected.ts'
import { KeptAnswer } from './kept.ts'
import { Sensitives } from './sensitive.ts'

const NO_GUARDS: readonly LeakGuard[] = []

export class AnswerPath {
  readonly #destination: Destination
  readonly #memory: HeldBytes
  #sensitives: Sensitives | undefined
  #guard: LeakGuard | undefined
  /** How many of the sensitive values `#guard` looks for. */
  #guarded = 0
  #inspected: InspectedAnswer | undefined
  #kept: KeptAnswer | undefined

  constructor(destination: Destination, memory: HeldBytes) {
    this.#destination = destination
    this.#memory = memory
  }

  /** Before they are written anywhere. Throws Refusal. */
  onRevealed(found: readonly Found[], values: Values): void {
    if (this.#destination.settings.response.leak_guard === 'off') return
    this.#sensitives ??= new Sensitives()
    this.#sensitives.add(found, values)
  }

  /** `relay`, with before it what the answer has to go through. */
  leadTo(
    relay: Relay,
    request: {
      readonly isHead: boolean
      /** Its body is still on its way: more may be revealed. */
      readonly isStreamed: boolean
      readonly claim: Claim | undefined
      /** Told of JSON before anything is redacted in it; the answer waits. */
      readonly onJson: ((status: number, body: Buffer) => MaybePromise<void>) | undefined
    },
  ): Relay {
    const { isHead, isStreamed, claim, onJson } = request
    if (claim !== undefined) this.#kept = new KeptAnswer(relay, claim, this.#memory)
    const next = this.#kept ?? relay
    const { guard, redact, settings } = this.#destination
    const { leak_guard } = settings.response
    const hasRevealed = isStreamed || (this.#sensitives?.list.length ?? 0) > 0
    const isHeld = leak_guard !== 'off' && hasRevealed
    const isSearched = isHeld || guard !== undefined
    if (!isSearched && onJson === undefined && redact.length === 0) return next
    this.#inspected = new InspectedAnswer(next, {
      guards: () => this.#guardsNow(),
      mode: leak_guard === 'block' ? 'block' : 'mask',
      isHeld,
      redact,
      onJson,
      memory: this.#memory,
      isHead,
    })
    return this.#inspected
  }

  /** It has to be asked for as it is, uncompressed. */
  get isInspected(): boolean {
    return this.#inspected !== undefined
  }

  /** It is on its way to the caller, and will not be searched for what is revealed from now on. */
  get isPassing(): boolean {
    return this.#inspected?.isPassing === true
  }

  /** It is read to its end, whether its caller waits for it or not. */
  get isKept(): boolean {
    return this.#kept?.isKept === true
  }

  /** Places that were masked or redacted. */
  get redactions(): number {
    return this.#inspected?.redactions ?? 0
  }

  wipe(): void {
    this.#inspected?.wipe()
    this.#sensitives?.wipe()
    this.#guard?.wipe()
  }

  /** For all that has been revealed up to now, and for the destination's own credentials. */
  #guardsNow(): readonly LeakGuard[] {
    const { guard } = this.#destination
    const revealed = this.#sensitives?.list ?? []
    if (revealed.length > this.#guarded) {
      this.#guard?.wipe()
      this.#guard = new LeakGuard(revealed)
      this.#guarded = revealed.length
    }
    if (this.#guard === undefined) return guard === undefined ? NO_GUARDS : [guard]
    return guard === undefined ? [this.#guard] : [this.#guard, guard]
  }
}
