// Files in the age format (age-encryption.org/v1, https://c2sp.org/age). Who may read one, and with which key, is the
// package's business; the payload (STREAM: chunks of 64 KiB, ChaCha20-Poly1305, RFC 8439) is done here, because the
// package keeps plaintext in buffers of its own that nobody can overwrite. What passes through here is overwritten.

import {
  createCipheriv,
  createDecipheriv,
  hkdfSync,
  type KeyObject,
  randomBytes,
} from 'node:crypto'
import { Decrypter, Encrypter } from 'age-encryption'
import { AgeError } from './age-error.ts'
import { takeKey } from './take-key.ts'

const MAGIC = Buffer.from('age-encryption.org/v1\n')
const MAC_LINE = Buffer.from('\n--- ')
const MAX_HEADER_BYTES = 64 * 1024
const CHUNK_BYTES = 64 * 1024
const PIECE_BYTES = 4096
const TAG_BYTES = 16
const PAYLOAD_NONCE_BYTES = 16
const OPTIONS = { authTagLength: TAG_BYTES }

/** Do these first bytes begin an age file? */
export function isAge(head: Uint8Array): boolean {
  return head.length >= MAGIC.length && MAGIC.equals(head.subarray(0, MAGIC.length))
}

/** `AGE-SECRET-KEY-1…` lines of an identity file, as `age-keygen` writes it. Throws AgeError. */
export function parseIdentities(text: string): readonly string[] {
  const lines = text.split('\n').map((line) => line.trim())
  const identities = lines.filter((line) => line !== '' && !line.startsWith('#'))
  const isKey = (line: string) => /^AGE-SECRET-KEY-(PQ-)?1[0-9A-Z]{32,4096}$/.test(line)
  if (identities.length === 0 || !identities.every(isKey)) {
    throw new AgeError('The identity file is none that age-keygen writes (AGE-SECRET-KEY-1…).')
  }
  return identities
}

/** The place of a chunk and whether it is the last: no two chunks of a file have the same nonce. */
class ChunkNonce {
  readonly bytes = Buffer.alloc(12)

  next(isLast: boolean): Buffer {
    if (isLast) this.bytes[11] = 1
    return this.bytes
  }

  advance(): void {
    for (let at = 10; at >= 0; at--) {
      this.bytes[at] = ((this.bytes[at] as number) + 1) & 0xff
      if (this.bytes[at] !== 0) return
    }
  }
}

function payloadKey(fileKey: Uint8Array, nonce: Uint8Array): KeyObject {
  return takeKey(Buffer.from(hkdfSync('sha256', fileKey, nonce, 'payload', 32)))
}

export class AgeWriter {
  /** Goes first. */
  readonly head: Buffer
  readonly #key: KeyObject
  readonly #nonce = new ChunkNonce()
  readonly #chunk = Buffer.from(new ArrayBuffer(CHUNK_BYTES))
  #used = 0

  private constructor(head: Buffer, key: KeyObject) {
    this.head = head
    this.#key = key
  }

  /** For the holders of these public keys (`age1…`), each alone. Throws AgeError. */
  static async to(recipients: readonly string[]): Promise<AgeWriter> {
    let fileKey: Uint8Array | undefined
    const encrypter = new Encrypter()
    for (const recipient of recipients) {
      try {
        encrypter.addRecipient(recipient)
      } catch (cause) {
        throw new AgeError('A recipient is no public key of age (age1…).', { cause })
      }
    }
    // Is told the file key and adds nothing to the header.
    encrypter.addRecipient({
      wrapFileKey(key) {
        fileKey = Uint8Array.from(key)
        return []
      },
    })
    const empty = await encrypter.encrypt(new Uint8Array(0))
    if (fileKey === undefined) throw new AgeError('The file key was not told.')
    const header = empty.subarray(0, empty.length - PAYLOAD_NONCE_BYTES - TAG_BYTES)
    const nonce = randomBytes(PAYLOAD_NONCE_BYTES)
    const key = payloadKey(fileKey, nonce)
    fileKey.fill(0)
    return new AgeWriter(Buffer.concat([header, nonce]), key)
  }

  /** Takes the bytes in, which the caller overwrites, and answers with what is ready to be written. */
  write(plaintext: Uint8Array): Buffer {
    const ready: Buffer[] = []
    for (let at = 0; at < plaintext.length; ) {
      if (this.#used === CHUNK_BYTES) ready.push(this.#seal(false))
      const part = plaintext.subarray(at, at + CHUNK_BYTES - this.#used)
      this.#chunk.set(part, this.#used)
      this.#used += part.length
      at += part.length
    }
    return Buffer.concat(ready)
  }

  /** What is left; nothing can be written after it. */
  end(): Buffer {
    return this.#seal(true)
  }

  #seal(isLast: boolean): Buffer {
    const cipher = createCipheriv('chacha20-poly1305', this.#key, this.#nonce.next(isLast), OPTIONS)
    const sealed = [cipher.update(this.#chunk.subarray(0, this.#used)), cipher.final()]
    sealed.push(cipher.getAuthTag())
    this.#nonce.advance()
    this.#chunk.fill(0)
    this.#used = 0
    return Buffer.concat(sealed)
  }

  wipe(): void {
    this.#chunk.fill(0)
  }
}

/** Bytes in, plaintext out. Ciphertext that was cut, altered or moved does not come out. */
export class AgeReader {
  readonly #decrypter = new Decrypter()
  #header: Buffer = Buffer.alloc(0)
  #key: KeyObject | undefined
  readonly #nonce = new ChunkNonce()
  readonly #chunk = Buffer.alloc(CHUNK_BYTES + TAG_BYTES)
  #used = 0
  #isFirst = true

  /** Of `parseIdentities`. */
  constructor(identities: readonly string[]) {
    for (const identity of identities) this.#decrypter.addIdentity(identity)
  }

  /** What can be read by now: the caller overwrites it. Throws AgeError. */
  async write(ciphertext: Uint8Array): Promise<Buffer[]> {
    let rest: Uint8Array = ciphertext
    if (this.#key === undefined) {
      this.#header = Buffer.concat([this.#header, ciphertext])
      const body = await this.#readHeader()
      if (body === undefined) return []
      rest = body
    }
    const opened: Buffer[] = []
    for (let at = 0; at < rest.length; ) {
      // A full chunk is known to be not the last one when more follows.
      if (this.#used === this.#chunk.length) opened.push(this.#open(false))
      const part = rest.subarray(at, at + this.#chunk.length - this.#used)
      this.#chunk.set(part, this.#used)
      this.#used += part.length
      at += part.length
    }
    return opened
  }

  /** The last of it. Throws AgeError when the file ends before its end. */
  end(): Buffer {
    if (this.#key === undefined) throw new AgeError('The age file ends in its header.')
    const isOnly = this.#isFirst
    const last = this.#open(true)
    if (last.length === 0 && !isOnly) throw new AgeError('The age file is not well formed.')
    return last
  }

  /** What stands behind the header and its nonce, once both are there. */
  async #readHeader(): Promise<Buffer | undefined> {
    const mac = this.#header.indexOf(MAC_LINE)
    const end = mac === -1 ? -1 : this.#header.indexOf(0x0a, mac + 1)
    if (end === -1 && this.#header.length > MAX_HEADER_BYTES) {
      throw new AgeError('The header of the age file does not end.')
    }
    const bodyAt = end + 1 + PAYLOAD_NONCE_BYTES
    if (end === -1 || this.#header.length < bodyAt) return undefined
    let fileKey: Uint8Array
    try {
      fileKey = await this.#decrypter.decryptHeader(this.#header.subarray(0, end + 1))
    } catch (cause) {
      throw new AgeError('The age file was not encrypted to this identity.', { cause })
    }
    this.#key = payloadKey(fileKey, this.#header.subarray(end + 1, bodyAt))
    fileKey.fill(0)
    return this.#header.subarray(bodyAt)
  }

  #open(isLast: boolean): Buffer {
    const tagAt = this.#used - TAG_BYTES
    if (this.#key === undefined || tagAt < 0) throw new AgeError('The age file is cut off.')
    const nonce = this.#nonce.next(isLast)
    const decipher = createDecipheriv('chacha20-poly1305', this.#key, nonce, OPTIONS)
    decipher.setAuthTag(this.#chunk.subarray(tagAt, this.#used))
    const plaintext = Buffer.from(new ArrayBuffer(tagAt))
    // Of larger pieces Node leaves copies in memory that it has given back (171 card numbers after 30 chunks; this way 0).
    for (let at = 0; at < tagAt; at += PIECE_BYTES) {
      const piece = decipher.update(this.#chunk.subarray(at, Math.min(at + PIECE_BYTES, tagAt)))
      plaintext.set(piece, at)
      piece.fill(0)
    }
    try {
      decipher.final()
    } catch (cause) {
      plaintext.fill(0) // not authenticated: nobody may see it
      throw new AgeError('The age file is cut off or was altered.', { cause })
    }
    this.#nonce.advance()
    this.#used = 0
    this.#isFirst = false
    return plaintext
  }
}
