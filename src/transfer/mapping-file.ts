// The mapping file: a CSV with one line for every row of the input, in its order, written after the store has
// acknowledged the row. It is what the merchant reads, and how an import that was killed knows where it stopped: its last
// whole line tells. `check` recognises the row it stands for.
//
//   line,id,customer_id,payment_method_id,outcome,check
//
// While an import writes it there is a file `….lock` beside it, with the number of its process.

import {
  closeSync,
  fdatasync,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { kill, pid } from 'node:process'
import { csvField } from './csv.ts'
import { syncFolder } from './sync-folder.ts'
import { TransferError } from './transfer-error.ts'

/** `updated`: this card of this customer was stored already, and has the id it had. */
export type Outcome = 'created' | 'updated' | 'rejected'

export type MappingLine = {
  readonly line: number
  /** The old vault's, or empty where it could be a card number. */
  readonly id: string
  readonly customerId: string
  readonly paymentMethodId: string
  readonly outcome: Outcome
  readonly check: string
}

export type Counts = Record<Outcome, number>

const HEADER = 'line,id,customer_id,payment_method_id,outcome,check\n'
const LINE_FEED = 0x0a
const PIECE_BYTES = 256 * 1024
/** The end of a line; the id before it may be anything. */
const LINE_END = /,(created|updated|rejected),([A-Za-z0-9_-]{8})$/
const FLUSH_BYTES = 64 * 1024
const SYNC_MS = 1000

export class MappingFile {
  readonly #path: string
  readonly #fd: number
  #size: number
  #pending: string[] = []
  #pendingLength = 0
  #isDirty = false
  #syncing: Promise<void> | undefined
  readonly #timer: NodeJS.Timeout
  #failure: { readonly error: unknown } | undefined
  /** Somebody has been told of the failure. */
  #isTold = false
  readonly counts: Counts = { created: 0, updated: 0, rejected: 0 }

  /** There was none. */
  readonly isNew: boolean

  private constructor(path: string, fd: number, size: number, isNew: boolean) {
    this.#path = path
    this.isNew = isNew
    this.#fd = fd
    this.#size = size
    this.#timer = setInterval(() => this.#syncSoon(), SYNC_MS).unref()
  }

  /** Makes the file, or goes on with one that an import left behind; a torn last line is cut. Throws TransferError. */
  static open(path: string): MappingFile {
    lock(path)
    try {
      return MappingFile.#openLocked(path)
    } catch (error) {
      unlock(path)
      throw error
    }
  }

  static #openLocked(path: string): MappingFile {
    const fd = openFile(path)
    let size = fstatSync(fd).size
    const isNew = size === 0
    if (size < HEADER.length && HEADER.startsWith(readAt(fd, 0, size).toString('latin1'))) {
      ftruncateSync(fd, 0) // new, or torn in its first line
      writeSync(fd, HEADER)
      syncFolder(dirname(path))
      size = HEADER.length
    }
    if (readAt(fd, 0, Math.min(size, HEADER.length)).toString('latin1') !== HEADER) {
      closeSync(fd)
      throw new TransferError(`${path} exists and is no mapping file of an import.`)
    }
    const whole = lastLineEnd(fd, size)
    if (whole < size) ftruncateSync(fd, whole)
    return new MappingFile(path, fd, whole, isNew)
  }

  /**
   * The lines that are there; counts what became of them. To be read to their end before anything is appended.
   */
  *lines(): Generator<{ line: number; check: string }, void, undefined> {
    let rest = ''
    for (let at = HEADER.length; at < this.#size; ) {
      const bytes = readAt(this.#fd, at, Math.min(PIECE_BYTES, this.#size - at))
      at += bytes.length
      const lines = (rest + bytes.toString('latin1')).split('\n')
      rest = lines.pop() ?? ''
      for (const text of lines) {
        const end = LINE_END.exec(text)
        if (end === null) throw new TransferError(`${this.#path} is no mapping file of an import.`)
        this.counts[end[1] as Outcome] += 1
        yield { line: Number.parseInt(text, 10), check: end[2] as string }
      }
    }
  }

  /** Kept in memory up to `flush`. */
  append({ line, id, customerId, paymentMethodId, outcome, check }: MappingLine): void {
    this.counts[outcome] += 1
    const text = `${line},${csvField(id)},${customerId},${paymentMethodId},${outcome},${check}\n`
    this.#pending.push(text)
    this.#pendingLength += text.length
  }

  get isWorthFlushing(): boolean {
    return this.#pendingLength >= FLUSH_BYTES
  }

  /** Hands what was appended to the operating system. After it has failed once it does nothing but throw. */
  flush(): void {
    if (this.#failure === undefined) {
      try {
        this.#write()
      } catch (error) {
        this.#failure = { error }
      }
    }
    this.#throwFailure()
  }

  #write(): void {
    if (this.#pending.length === 0) return
    if (fstatSync(this.#fd).size !== this.#size) {
      throw new TransferError(`Something else writes to ${this.#path}: one import at a time.`)
    }
    const bytes = Buffer.from(this.#pending.join(''))
    this.#pending = []
    this.#pendingLength = 0
    for (let at = 0; at < bytes.length; ) {
      at += writeSync(this.#fd, bytes, at, bytes.length - at)
    }
    this.#size += bytes.length
    this.#isDirty = true
  }

  #throwFailure(): void {
    if (this.#failure === undefined) return
    this.#isTold = true
    const { error } = this.#failure
    if (error instanceof TransferError) throw error
    throw new TransferError(`The file ${this.#path} cannot be written.`, { cause: error })
  }

  #syncSoon(): void {
    if (!this.#isDirty || this.#syncing !== undefined) return
    this.#isDirty = false
    this.#syncing = new Promise((resolve) => {
      fdatasync(this.#fd, (error) => {
        this.#syncing = undefined
        if (error) this.#failure ??= { error }
        resolve()
      })
    })
  }

  /** With everything on disk. Throws what nobody has been told of. */
  async close(): Promise<void> {
    clearInterval(this.#timer)
    try {
      if (this.#isTold) return
      this.flush()
      await this.#syncing
      this.#syncSoon()
      await this.#syncing
      this.#throwFailure()
    } finally {
      await this.#syncing
      closeSync(this.#fd)
      unlock(this.#path)
    }
  }
}

const lockOf = (path: string) => `${path}.lock`

/** Throws TransferError while another process has it. One that a process left behind is taken over. */
function lock(path: string): void {
  for (let isFirst = true; ; isFirst = false) {
    try {
      writeFileSync(lockOf(path), `${pid}\n`, { flag: 'wx', mode: 0o600 })
      return
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') {
        throw new TransferError(`The file ${lockOf(path)} cannot be made.`, { cause })
      }
    }
    if (!isFirst || isHeld(path)) {
      throw new TransferError(
        `Another import writes to ${path}: its process is in ${lockOf(path)}. If there is none, delete that.`,
      )
    }
    unlock(path)
  }
}

function unlock(path: string): void {
  rmSync(lockOf(path), { force: true })
}

/** Our own number, in a container, is that of one before us. */
function isHeld(path: string): boolean {
  let holder: number
  try {
    holder = Number.parseInt(readFileSync(lockOf(path), 'utf8'), 10)
  } catch {
    return false // it went away meanwhile, or the next try says what is wrong
  }
  if (holder === pid) return false
  try {
    return Number.isNaN(holder) || kill(holder, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

function openFile(path: string): number {
  try {
    return openSync(path, 'a+', 0o600)
  } catch (cause) {
    throw new TransferError(`The file ${path} cannot be written.`, { cause })
  }
}

function readAt(fd: number, from: number, count: number): Buffer {
  const bytes = Buffer.alloc(count)
  for (let at = 0; at < count; ) {
    const read = readSync(fd, bytes, at, count - at, from + at)
    if (read === 0) throw new TransferError('The mapping file shrank while it was read.')
    at += read
  }
  return bytes
}

/** Just behind the last line feed. Ids may hold none, so every one ends a line. */
function lastLineEnd(fd: number, size: number): number {
  let end = size
  while (end > 0) {
    const from = Math.max(0, end - PIECE_BYTES)
    const feed = readAt(fd, from, end - from).lastIndexOf(LINE_FEED)
    if (feed !== -1) return from + feed + 1
    end = from
  }
  return 0
}
