import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generateHybridIdentity, generateIdentity, identityToRecipient } from 'age-encryption'
import { afterAll, describe, expect, test } from 'vitest'
import { AgeReader, AgeWriter, isAge, parseIdentities } from '../../src/crypto/age.ts'
import { AgeError } from '../../src/crypto/age-error.ts'

const CHUNK = 64 * 1024
const identity = await generateIdentity()
const recipient = await identityToRecipient(identity)
const folder = mkdtempSync(join(tmpdir(), 'sallyport-age-'))
const keyFile = join(folder, 'key.txt')
writeFileSync(keyFile, `${identity}\n`)

afterAll(() => rmSync(folder, { recursive: true }))

const bytesOf = (size: number) =>
  Buffer.from(Array.from({ length: size }, (_, at) => (at * 7) % 251))

async function written(plaintext: Buffer, pieceBytes: number, to = [recipient]): Promise<Buffer> {
  const age = await AgeWriter.to(to)
  const parts = [age.head]
  for (let at = 0; at < plaintext.length; at += pieceBytes) {
    parts.push(age.write(plaintext.subarray(at, at + pieceBytes)))
  }
  return Buffer.concat([...parts, age.end()])
}

async function read(file: Buffer, pieceBytes: number, keys = [identity]): Promise<Buffer> {
  const age = new AgeReader(keys)
  const parts: Buffer[] = []
  for (let at = 0; at < file.length; at += pieceBytes) {
    parts.push(...(await age.write(file.subarray(at, at + pieceBytes))))
  }
  return Buffer.concat([...parts, age.end()])
}

// Around the borders of chunks, where an end has to be told from a middle.
const SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1, 300_000]

describe.each(SIZES)('a file of %i bytes', (size) => {
  const plaintext = bytesOf(size)

  test('that is written here is read by age', async () => {
    const file = await written(plaintext, 10_007)

    const opened = execFileSync('age', ['--decrypt', '-i', keyFile], { input: file })

    expect(opened.equals(plaintext)).toBe(true)
  })

  test('that age wrote is read here, wherever it is cut', async () => {
    const file = execFileSync('age', ['-r', recipient], { input: plaintext })

    for (const pieceBytes of [999, CHUNK, CHUNK + 16, file.length]) {
      expect((await read(file, pieceBytes)).equals(plaintext)).toBe(true)
    }
  })

  test('that is cut, anywhere, is not read to an end', async () => {
    const file = await written(plaintext, CHUNK)
    const header = file.indexOf('\n---') + 60
    const borders = [1, 15, 16, 17, CHUNK, CHUNK + 16, CHUNK + 17].map((left) => file.length - left)
    const cuts = [10, header, ...borders].filter((cut) => cut >= 10 && cut < file.length)

    for (const cut of cuts) {
      await expect(read(file.subarray(0, cut), CHUNK)).rejects.toThrow(AgeError)
    }
  })
})

test('a file of one byte in each piece is read', async () => {
  const file = await written(bytesOf(100), 1)

  expect((await read(file, 1)).equals(bytesOf(100))).toBe(true)
})

test('a changed byte of header, nonce or payload is noticed', async () => {
  const file = await written(bytesOf(1000), 1000)
  for (let at = 0; at < file.length; at += 7) {
    const changed = Buffer.from(file)
    changed[at] = (changed[at] as number) ^ 1
    await expect(read(changed, CHUNK)).rejects.toThrow()
  }
})

test('chunks that changed places are noticed', async () => {
  const file = await written(bytesOf(3 * CHUNK), CHUNK)
  const at = file.length - 3 * (CHUNK + 16)
  const [first, second] = [
    file.subarray(at, at + CHUNK + 16),
    file.subarray(at + CHUNK + 16, at + 2 * (CHUNK + 16)),
  ]
  const swapped = Buffer.concat([
    file.subarray(0, at),
    second,
    first,
    file.subarray(at + 2 * (CHUNK + 16)),
  ])

  await expect(read(swapped, CHUNK)).rejects.toThrow(AgeError)
})

test('each of several readers can read it, also with a post-quantum key, and nobody else', async () => {
  const other = await generateHybridIdentity()
  const stranger = await generateIdentity()
  const file = await written(bytesOf(10), 10, [recipient, await identityToRecipient(other)])

  expect((await read(file, 100, [other])).equals(bytesOf(10))).toBe(true)
  expect((await read(file, 100, [stranger, identity])).equals(bytesOf(10))).toBe(true)
  await expect(read(file, 100, [stranger])).rejects.toThrow(
    'The age file was not encrypted to this identity.',
  )
})

test('two files of the same plaintext have nothing in common', async () => {
  const [first, second] = [await written(bytesOf(64), 64), await written(bytesOf(64), 64)]

  expect(first.subarray(-80).equals(second.subarray(-80))).toBe(false)
})

test('what is no public key is refused', async () => {
  for (const text of ['', 'age1', 'age1x', identity, recipient.slice(0, -1)]) {
    await expect(AgeWriter.to([text])).rejects.toThrow(AgeError)
  }
})

test('a header that never ends is not waited for', async () => {
  const age = new AgeReader([identity])
  await age.write(Buffer.from('age-encryption.org/v1\n'))

  await expect(age.write(Buffer.alloc(CHUNK, 'a'))).rejects.toThrow('does not end')
})

test('identity files are read as age-keygen writes them', () => {
  const made = execFileSync('age-keygen', { stdio: ['ignore', 'pipe', 'ignore'] }).toString()

  expect(parseIdentities(made)).toEqual([made.split('\n').find((line) => line.startsWith('AGE'))])
  for (const text of ['', '# nothing', 'age1xyz', `${identity}\nssh-rsa AAAA`]) {
    expect(() => parseIdentities(text)).toThrow(AgeError)
  }
})

test('an age file is known by its first line', async () => {
  expect(isAge(await written(bytesOf(1), 1))).toBe(true)
  expect(isAge(Buffer.from('age-encryption.org/v'))).toBe(false)
  expect(isAge(Buffer.from('id,card_number\n'))).toBe(false)
})
