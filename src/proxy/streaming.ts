// A body too large to be held, on its way: each window goes through decide, audit, reveal and splice before it goes on.
// The head of the request has been sent by then, so a refusal breaks it off unfinished.

import { AppError, invalidField, type Reason } from '../core/errors.ts'
import type { PolicyRow } from './destination.ts'
import { decidePlaces } from './policy.ts'
import { Revealing, type RevealingDeps, type RevealingOwner } from './revealing.ts'
import type { Found, Scanner } from './scan/scanner.ts'
import { splice } from './splice.ts'
import { BodyCut, type BodyWindow, StreamedBody } from './streamed-body.ts'
import type { Values } from './values.ts'

/** How long it is taken for granted that an admission holds. */
export const ADMISSION_HOLDS_MS = 1000

/** The exchange whose body it is. */
export interface StreamingOwner
  extends Pick<
    RevealingOwner,
    'isOver' | 'merchantId' | 'token' | 'codes' | 'refusalOf' | 'onAgreed' | 'onFailed'
  > {
  readonly isCallerGone: boolean
  readonly row: PolicyRow
  readonly limitBytes: number
  stillHolds(): Promise<boolean>
  /** Before they are written anywhere. Throws when they must not be. */
  onRevealed(found: readonly Found[], values: Values): void
  /** All of the body has been through: throws AppError when that is not what was expected. */
  onWhole(placeholders: number): void
  onCallerCut(): void
}

export class Streaming {
  readonly #deps: RevealingDeps
  readonly #owner: StreamingOwner
  readonly #body: StreamedBody
  readonly #rest: AsyncIterable<Buffer>
  #admittedAtMs: number

  /** `rest`: what comes after the first window. */
  constructor(
    deps: RevealingDeps,
    owner: StreamingOwner,
    scanner: Scanner,
    rest: AsyncIterable<Buffer>,
  ) {
    this.#deps = deps
    this.#rest = rest
    this.#owner = owner
    this.#body = new StreamedBody(scanner)
    this.#admittedAtMs = deps.clock()
  }

  /** The first window, which the exchange decides about together with the head. Throws Refusal. */
  begin(bytes: Buffer): BodyWindow {
    return this.#body.take(bytes, false)
  }

  /** `first`: what became of the first window. */
  async *pieces(first: {
    readonly bytes: Buffer | undefined
    readonly hasPlaintext: boolean
  }): AsyncGenerator<Buffer, void> {
    const owner = this.#owner
    const body = this.#body
    try {
      if (first.bytes !== undefined && first.bytes.length > 0) {
        if (first.hasPlaintext) body.sent.add(first.bytes)
        yield first.bytes
      }
      for await (const chunk of this.#rest) {
        if (owner.isOver) break
        if (body.bytes + chunk.length > owner.limitBytes) throw new AppError('body_too_large')
        yield* this.#piece(body.take(chunk, false))
      }
      if (!owner.isOver) yield* this.#piece(body.take(Buffer.alloc(0), true))
      if (!owner.isOver) owner.onWhole(body.placeholders)
      if (owner.isOver) throw new Error('over') // ending here would end the request as if it were whole
    } catch (error) {
      if (!owner.isOver && (owner.isCallerGone || error instanceof BodyCut)) owner.onCallerCut()
      owner.onFailed(error)
      throw new Error('given up while its body was streaming') // which breaks the connection off
    }
  }

  /** When none of the pieces has to be written any more. */
  wipe(): void {
    this.#body.sent.wipe()
  }

  async *#piece({ text, found }: BodyWindow): AsyncGenerator<Buffer, void> {
    if (found.length === 0) {
      if (text.length === 0) return
      this.#body.sent.count(text)
      yield text
      return
    }
    const owner = this.#owner
    const refusal = decidePlaces(owner.row, found)
    if (refusal !== undefined) throw invalidField(refusal.reason, refusal.field)
    await this.#admitAgain()
    const values = await this.#valuesOf(found)
    if (owner.isOver) return values.wipe()
    let piece: Buffer
    try {
      owner.onRevealed(found, values)
      piece = splice(text, found, (each) => values.of(each))
    } finally {
      values.wipe()
    }
    this.#body.sent.add(piece)
    yield piece
  }

  /** A key may be revoked, and a policy changed, while a body streams. */
  async #admitAgain(): Promise<void> {
    const nowMs = this.#deps.clock()
    if (nowMs - this.#admittedAtMs <= ADMISSION_HOLDS_MS) return
    if (!(await this.#owner.stillHolds())) throw new AppError('permission_denied')
    this.#admittedAtMs = nowMs
  }

  #valuesOf(found: readonly Found[]): Promise<Values> {
    return new Promise((resolve, reject) => {
      const { merchantId, token, codes } = this.#owner
      const owner: RevealingOwner = {
        isDryRun: false, // a dry run is held, never streamed
        isOver: false, // somebody waits for the answer, whatever has become of the exchange
        merchantId,
        token,
        codes,
        refusalOf: (records) => this.#owner.refusalOf(records),
        onAgreed: () => this.#owner.onAgreed(),
        onValues: resolve,
        onRefused: (reason: Reason, field) => reject(invalidField(reason, field)),
        onFailed: reject,
      }
      new Revealing(this.#deps, owner).begin(found)
    })
  }
}
