// An export: the cards of a merchant as NDJSON in the columns of an import, encrypted with age as it is made. Codes and
// one-time tokens of wallets are never among them. Of every batch there is an audit record before any of it is opened.

import { createHash, type Hash } from 'node:crypto'
import { closeSync, fsyncSync, lstatSync, openSync, writeSync } from 'node:fs'
import { link, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { type FieldSet, hasField, type RevealedCard } from '../core/card-fields.ts'
import type { PaymentMethodId } from '../core/ids.ts'
import type { JsonObject } from '../core/json.ts'
import { wipeableBuffer } from '../core/wipeable.ts'
import type { AgeWriter } from '../crypto/age.ts'
import type { PaymentMethodRecord } from '../store/contract.ts'
import type { TextColumn } from './columns.ts'
import type { Progress } from './progress.ts'
import { syncFolder } from './sync-folder.ts'
import { TransferError } from './transfer-error.ts'

/** What an export asks of the vault, for the one merchant that it is for. */
export type ExportPorts = {
  /** In the order of their ids, after the one that is named. */
  page(after: PaymentMethodId | undefined, limit: number): Promise<readonly PaymentMethodRecord[]>
  /** Settles when the record is with the operating system, or rejects: then nothing is opened. */
  recordReveal(methods: readonly PaymentMethodRecord[]): Promise<void>
  /** The caller wipes it. */
  reveal(method: PaymentMethodRecord): Promise<RevealedCard>
  /** What is no secret of it: every column but the number. `elsewhere`: another vault has that. */
  describe(method: PaymentMethodRecord): Promise<DescribedCard | 'elsewhere' | 'deleted'>
}

export type DescribedCard = Partial<Record<TextColumn, string | JsonObject | null>> & {
  readonly id: PaymentMethodId
}

export type ExportResult = {
  readonly cards: number
  /** Bank accounts, wallets, cards of other vaults. */
  readonly others: number
  /** They expire by themselves. */
  readonly volatile: number
  readonly sha256: string
}

const PAGE = 256
const OPENING = Buffer.from('{"card_number":"')

/**
 * `path` is not there until it is whole, and is never replaced. Throws TransferError, and what the ports throw: then
 * there is no file.
 */
export async function exportCards(
  path: string,
  age: AgeWriter,
  options: { readonly progress: Progress; readonly isStopped: () => boolean },
  ports: ExportPorts,
): Promise<ExportResult> {
  const draft = new Draft(path)
  try {
    draft.write(age.head)
    const counts = await writeCards(age, draft, options, ports)
    draft.write(age.end())
    return { ...counts, sha256: await draft.keep() }
  } catch (error) {
    await draft.discard()
    throw error
  } finally {
    age.wipe()
  }
}

async function writeCards(
  age: AgeWriter,
  draft: Draft,
  { progress, isStopped }: { readonly progress: Progress; readonly isStopped: () => boolean },
  ports: ExportPorts,
): Promise<Omit<ExportResult, 'sha256'>> {
  let cards = 0
  let others = 0
  let volatile = 0
  let after: PaymentMethodId | undefined
  for (;;) {
    const page = await ports.page(after, PAGE)
    after = page.at(-1)?.id
    if (after === undefined) return { cards, others, volatile }
    if (isStopped()) throw new TransferError('It was stopped: there is no file.')
    const persistent = page.filter(({ expiresAtMs }) => expiresAtMs === undefined)
    const methods = persistent.filter(({ fields }) => isCard(fields))
    volatile += page.length - persistent.length
    others += persistent.length - methods.length
    const leaving: { method: PaymentMethodRecord; described: DescribedCard }[] = []
    for (const method of methods) {
      const described = await ports.describe(method)
      if (described === 'elsewhere') others += 1
      if (described === 'elsewhere' || described === 'deleted') continue
      leaving.push({ method, described })
    }
    if (leaving.length > 0) await ports.recordReveal(leaving.map(({ method }) => method))
    for (const { method, described } of leaving) {
      const line = lineOf(described, await ports.reveal(method))
      try {
        draft.write(age.write(line))
      } finally {
        line.fill(0)
      }
      cards += 1
    }
    progress.show({ rows: cards, share: undefined })
  }
}

function isCard(fields: FieldSet): boolean {
  return hasField(fields, 'card_number')
}

/** The number goes from Buffer to Buffer: it is digits, and nothing of it has to be escaped. Wipes the card. */
function lineOf(described: DescribedCard, card: RevealedCard): Buffer {
  using opened = new DisposableStack()
  opened.defer(() => card.wipe())
  const number = card.field('card_number') ?? new Uint8Array(0)
  const said = Object.entries(described).filter(([, value]) => value !== null)
  const rest = Buffer.from(`",${JSON.stringify(Object.fromEntries(said)).slice(1)}\n`)
  const line = wipeableBuffer(OPENING.length + number.length + rest.length)
  line.set(OPENING)
  line.set(number, OPENING.length)
  line.set(rest, OPENING.length + number.length)
  return line
}

/** A file that appears under its name when it is whole and on disk. */
class Draft {
  readonly #path: string
  readonly #draft: string
  readonly #fd: number
  readonly #hash: Hash = createHash('sha256')
  #isOpen = true

  constructor(path: string) {
    this.#path = path
    this.#draft = `${path}.draft`
    // Before anything is opened; what comes meanwhile is not replaced, either.
    if (lstatSync(path, { throwIfNoEntry: false }) !== undefined) {
      throw new TransferError(`${path} exists already.`)
    }
    try {
      this.#fd = openSync(this.#draft, 'wx', 0o600)
    } catch (cause) {
      const isThere = (cause as NodeJS.ErrnoException).code === 'EEXIST'
      throw new TransferError(
        isThere
          ? `${this.#draft} is there: another export writes it, or one that was killed left it behind. Delete it then.`
          : `The file ${this.#draft} cannot be made.`,
        { cause },
      )
    }
  }

  write(bytes: Uint8Array): void {
    try {
      for (let at = 0; at < bytes.length; ) {
        at += writeSync(this.#fd, bytes, at, bytes.length - at)
      }
    } catch (cause) {
      throw new TransferError(`The file ${this.#draft} cannot be written.`, { cause })
    }
    this.#hash.update(bytes)
  }

  /** Answers with the SHA-256 of the file, in hex. */
  async keep(): Promise<string> {
    fsyncSync(this.#fd)
    this.#close()
    try {
      await link(this.#draft, this.#path) // unlike a rename, never replaces a file
    } catch (cause) {
      throw new TransferError(`${this.#path} exists already, or cannot be made.`, { cause })
    }
    await rm(this.#draft)
    syncFolder(dirname(this.#path))
    return this.#hash.digest('hex')
  }

  async discard(): Promise<void> {
    if (this.#isOpen) this.#close()
    await rm(this.#draft, { force: true })
  }

  #close(): void {
    this.#isOpen = false
    closeSync(this.#fd)
  }
}
