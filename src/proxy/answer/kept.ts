// An answer that is kept to be given again, to a repetition under the same idempotency key. It is held until it is
// stored: who has seen an answer can ask for it again.

import type { MaybePromise } from '../../core/maybe-promise.ts'
import type { Claim } from '../idempotency.ts'
import { type AnswerFacts, type AnswerHead, type Flow, NO_FLOW, type Relay } from '../relay.ts'
import type { HeldBytes } from './held-bytes.ts'

/** A longer one is passed on and not kept: its repetition is told that the outcome is not known any more. */
const MAX_KEPT_BYTES = 1024 * 1024

export class KeptAnswer implements Relay {
  readonly #next: Relay
  readonly #claim: Claim
  readonly #memory: HeldBytes
  #head: AnswerHead | undefined
  /** What has not been passed on. */
  #held: Buffer[] = []
  #bytes = 0
  /** Begun once the answer has become too long. */
  #forgotten: Promise<void> | undefined

  constructor(next: Relay, claim: Claim, memory: HeldBytes) {
    this.#next = next
    this.#claim = claim
    this.#memory = memory
  }

  get isHeadSent(): boolean {
    return this.#next.isHeadSent
  }

  /** Not once it has become too long. */
  get isKept(): boolean {
    return this.#forgotten === undefined
  }

  onHead(status: number, message: string, headers: readonly string[], facts: AnswerFacts): void {
    this.#head = { status, message, headers, facts }
  }

  onData(chunk: Buffer, flow: Flow): void {
    this.#bytes += chunk.length
    if (this.#forgotten === undefined) this.#memory.add(chunk.length)
    if (this.#bytes > MAX_KEPT_BYTES) {
      if (this.#forgotten === undefined) this.#forget()
      // The last piece waits for the store: before it, the caller has not got its answer.
      if (this.#held.length > 0) this.#next.onData(this.#takeHeld(), flow)
    }
    this.#held.push(chunk)
  }

  onEnd(): MaybePromise<'whole' | 'cut'> {
    if (this.#forgotten !== undefined) return this.#forgotten.then(() => this.#end())
    const { status, message, headers, facts } = this.#head as AnswerHead
    const { redactions } = facts
    const body = this.#takeHeld()
    this.#held = [body]
    return this.#claim.answered({ status, message, headers, redactions, body }).then(() => {
      this.#passHead()
      return this.#end()
    })
  }

  onCut(): void {
    this.#next.onCut()
  }

  #forget(): void {
    this.#forgotten = this.#claim.unknown()
    this.#forgotten.catch(() => {}) // told at the end
    this.#passHead()
  }

  #passHead(): void {
    const { status, message, headers, facts } = this.#head as AnswerHead
    this.#next.onHead(status, message, headers, facts)
  }

  #end(): MaybePromise<'whole' | 'cut'> {
    const last = this.#takeHeld()
    if (last.length > 0) this.#next.onData(last, NO_FLOW)
    return this.#next.onEnd()
  }

  /** In one piece: each that does not fit waits for its caller by itself. */
  #takeHeld(): Buffer {
    const held = this.#held
    this.#held = []
    return held.length === 1 ? (held[0] as Buffer) : Buffer.concat(held)
  }
}
