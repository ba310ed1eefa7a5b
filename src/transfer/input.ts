// Where the bytes of an import come from: a file or standard input, read piece by piece into Buffers of our own, and
// decrypted on the way where they are an age file. The plaintext is nowhere else, and never on disk.

import { createHash } from 'node:crypto'
import { fstatSync, read } from 'node:fs'
import { Socket } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import { promisify } from 'node:util'
import { wipeableBuffer } from '../core/wipeable.ts'
import { AgeReader, isAge } from '../crypto/age.ts'
import { TransferError } from './transfer-error.ts'

/** Bytes that are read once, from the first to the last. */
export interface Input {
  /** At the start of `target`; 0 at the end. */
  read(target: Buffer): Promise<number>
  /** Of the file itself, for the progress. `sizeBytes` is undefined where nobody knows it. */
  readonly readBytes: number
  readonly sizeBytes: number | undefined
  readonly isEncrypted: boolean
  /** SHA-256 of the file itself, after its end. */
  digest(): Buffer
  /** Overwrites what was read and not handed out. */
  wipe(): void
}

const readFd = promisify(read)
const PIECE_BYTES = 64 * 1024
const BUSY_MS = 5

/** What a file that cannot be read here begins with, and what to do. */
const FOREIGN: readonly (readonly [begin: Buffer, sentence: string])[] = [
  [
    Buffer.from('-----BEGIN AGE ENCRYPTED FILE'),
    'This age file is armored. Decrypt it on the way: age --decrypt -i KEY FILE | sallyport import -',
  ],
  [
    Buffer.from('-----BEGIN PGP'),
    'This is a PGP file. Decrypt it on the way: gpg --decrypt FILE | sallyport import -',
  ],
  [
    Buffer.from([0x1f, 0x8b]),
    'This is a gzip file. Unpack it on the way: gunzip -c FILE | sallyport import -',
  ],
  [
    Buffer.from('PK\x03\x04', 'latin1'),
    'This is a zip file or a spreadsheet. It has to be CSV or NDJSON.',
  ],
  [Buffer.from([0xff, 0xfe]), 'This file is in UTF-16. It has to be UTF-8.'],
  [Buffer.from([0xfe, 0xff]), 'This file is in UTF-16. It has to be UTF-8.'],
]
const BYTE_ORDER_MARK = Buffer.from('\ufeff')

/**
 * Reads the first piece and finds out what it is. `identities`: keys for an age file. The caller closes `fd`. Throws
 * TransferError for what cannot be read, AgeError for an age file that does not open.
 */
export async function openInput(fd: number, identities: readonly string[]): Promise<Input> {
  const file = new FileInput(fd)
  try {
    return inputIn(file, await file.peek(), identities)
  } catch (error) {
    file.wipe()
    throw error
  }
}

/** `head`: what the file begins with. */
function inputIn(file: FileInput, head: Buffer, identities: readonly string[]): Input {
  for (const [begin, sentence] of FOREIGN) {
    if (head.subarray(0, begin.length).equals(begin)) throw new TransferError(sentence)
  }
  if (isAge(head)) {
    if (identities.length === 0) {
      throw new TransferError('This is an age file: name the file with its key (--identity).')
    }
    return new AgeInput(file, new AgeReader(identities))
  }
  const isMarked = head.subarray(0, 3).equals(BYTE_ORDER_MARK)
  // Packets of PGP begin with the highest bit set (RFC 9580, 4.2), and no text that we read does but for its mark.
  if ((head[0] ?? 0) >= 0x80 && !isMarked) {
    throw new TransferError(
      'This is no text; if it is a PGP file, decrypt it on the way: gpg --decrypt FILE | sallyport import -',
    )
  }
  if (identities.length > 0)
    throw new TransferError('--identity was given, and this is no age file.')
  return file
}

class FileInput implements Input {
  readonly isEncrypted = false
  readonly sizeBytes: number | undefined
  readBytes = 0
  readonly #fd: number
  readonly #hash = createHash('sha256')
  readonly #first = wipeableBuffer(PIECE_BYTES)
  #firstAt = 0
  #firstEnd = 0

  constructor(fd: number) {
    this.#fd = fd
    const stat = fstatSync(fd)
    if (stat.isDirectory()) throw new TransferError('The input is a folder.')
    if (stat.isFIFO() || stat.isSocket()) makeNonBlocking(fd)
    this.sizeBytes = stat.isFile() ? stat.size : undefined
  }

  /** What it begins with, which is read again afterwards. */
  async peek(): Promise<Buffer> {
    while (this.#firstEnd < this.#first.length) {
      const count = await this.#readInto(this.#first.subarray(this.#firstEnd))
      if (count === 0) break
      this.#firstEnd += count
    }
    return this.#first.subarray(0, this.#firstEnd)
  }

  async read(target: Buffer): Promise<number> {
    if (this.#firstAt < this.#firstEnd) {
      const count = this.#first.copy(target, 0, this.#firstAt, this.#firstEnd)
      this.#firstAt += count
      if (this.#firstAt === this.#firstEnd) this.#first.fill(0)
      return count
    }
    return this.#readInto(target)
  }

  async #readInto(target: Buffer): Promise<number> {
    for (;;) {
      try {
        const { bytesRead } = await readFd(this.#fd, target, 0, target.length, null)
        this.#hash.update(target.subarray(0, bytesRead))
        this.readBytes += bytesRead
        return bytesRead
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException
        if (code === 'EOF') return 0 // a closed pipe on Windows
        if (code !== 'EAGAIN')
          throw new TransferError('The input cannot be read.', { cause: error })
        await wait(BUSY_MS)
      }
    }
  }

  digest(): Buffer {
    return this.#hash.copy().digest()
  }

  wipe(): void {
    this.#first.fill(0)
  }
}

/** A process cannot exit while one of its threads waits for a pipe (libuv joins them), and a sender may stand still. */
function makeNonBlocking(fd: number): void {
  new Socket({ fd, readable: false }).unref() // it never reads, and is never closed
}

class AgeInput implements Input {
  readonly isEncrypted = true
  readonly #file: FileInput
  readonly #age: AgeReader
  readonly #ciphertext = Buffer.alloc(PIECE_BYTES)
  #opened: Buffer[] = []
  #isAtEnd = false

  constructor(file: FileInput, age: AgeReader) {
    this.#file = file
    this.#age = age
  }

  get readBytes(): number {
    return this.#file.readBytes
  }

  get sizeBytes(): number | undefined {
    return this.#file.sizeBytes
  }

  async read(target: Buffer): Promise<number> {
    for (;;) {
      const [piece] = this.#opened
      if (piece !== undefined) {
        const count = piece.copy(target)
        piece.fill(0, 0, count)
        if (count === piece.length) this.#opened.shift()
        else this.#opened[0] = piece.subarray(count)
        if (count > 0) return count
      } else if (this.#isAtEnd) {
        return 0
      } else {
        const count = await this.#file.read(this.#ciphertext)
        this.#isAtEnd = count === 0
        this.#opened = this.#isAtEnd
          ? [this.#age.end()]
          : await this.#age.write(this.#ciphertext.subarray(0, count))
      }
    }
  }

  digest(): Buffer {
    return this.#file.digest()
  }

  wipe(): void {
    for (const piece of this.#opened) piece.fill(0)
    this.#file.wipe()
  }
}
