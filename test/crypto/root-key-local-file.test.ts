// The root key in a file: made once, never replaced, refused when it is not what it should be. Real files in a folder
// of their own.

import { randomBytes } from 'node:crypto'
import {
  chmod,
  chown,
  link,
  mkdir,
  mkdtempDisposable,
  readdir,
  readFile,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { RootKey } from '../../src/crypto/root-key/contract.ts'
import { openLocalRootKey, RootKeyFileError } from '../../src/crypto/root-key/local-file.ts'
import { OpenError, type SealContext } from '../../src/crypto/seal.ts'

const CONTEXT: SealContext = { owner: 'mer_1', kind: 'key', id: 'data.1' }
const DATA_KEY = randomBytes(32)

const tempFolder = () => mkdtempDisposable(join(tmpdir(), 'sallyport-root-key-'))

/** Whether two root keys are the same key, seen from outside. */
async function isSameKey(one: RootKey, other: RootKey): Promise<boolean> {
  const wrapped = await one.wrap(DATA_KEY, CONTEXT)
  try {
    return (await other.unwrap(wrapped, CONTEXT)).equals(DATA_KEY)
  } catch (error) {
    if (error instanceof OpenError) return false
    throw error
  }
}

async function keyFile(path: string, mode = 0o600): Promise<void> {
  await writeFile(path, randomBytes(32))
  await chmod(path, mode) // not at creation, where the umask of the machine has a say
}

describe('a new root key', () => {
  test('is a file of 32 bytes that only its owner can read, and leaves nothing beside it', async () => {
    await using folder = await tempFolder()
    const path = join(folder.path, 'root.key')

    await openLocalRootKey(path, true)

    const made = await stat(path)
    expect(made.size).toBe(32)
    expect(made.mode & 0o777).toBe(0o600)
    expect(made.nlink).toBe(1)
    expect(await readdir(folder.path)).toEqual(['root.key'])
  })

  test('is random', async () => {
    await using folder = await tempFolder()
    await openLocalRootKey(join(folder.path, 'a.key'), true)
    await openLocalRootKey(join(folder.path, 'b.key'), true)
    const bytes = await readFile(join(folder.path, 'a.key'))
    expect(bytes.equals(await readFile(join(folder.path, 'b.key')))).toBe(false)
    expect(bytes.equals(Buffer.alloc(32))).toBe(false)
  })

  test('is the key that the file holds', async () => {
    await using folder = await tempFolder()
    const path = join(folder.path, 'root.key')
    const made = await openLocalRootKey(path, true)
    expect(await isSameKey(made, await openLocalRootKey(path, false))).toBe(true)
  })

  test('is not made where none may be', async () => {
    await using folder = await tempFolder()
    const path = join(folder.path, 'root.key')
    await expect(openLocalRootKey(path, false)).rejects.toThrow(RootKeyFileError)
    expect(await readdir(folder.path)).toEqual([])
  })

  test('is not made in a folder that does not exist, and the error is one for the operator', async () => {
    await using folder = await tempFolder()
    const path = join(folder.path, 'none', 'root.key')
    await expect(openLocalRootKey(path, true)).rejects.toThrow(RootKeyFileError)
  })

  test('is readable by its owner alone even where others left a draft behind', async () => {
    await using folder = await tempFolder()
    const path = join(folder.path, 'root.key')
    await keyFile(`${path}.new`, 0o644)

    await openLocalRootKey(path, true)

    expect((await stat(path)).mode & 0o777).toBe(0o600)
  })

  test('does not overwrite an older one through a second name that a crash left', async () => {
    // A crash after the link and before the draft is removed leaves root.key.new as a second name of the root key.
    await using folder = await tempFolder()
    const path = join(folder.path, 'root.key')
    await openLocalRootKey(path, true)
    const first = await readFile(path)
    await link(path, `${path}.new`)
    await link(path, join(folder.path, 'backup'))
    await rm(path)

    await openLocalRootKey(path, true)

    expect((await readFile(join(folder.path, 'backup'))).equals(first)).toBe(true)
  })
})

describe('several processes that start at once on an empty folder', () => {
  const ROUNDS = 10
  const PROCESSES = 8

  async function race(path: string) {
    return Promise.allSettled(Array.from({ length: PROCESSES }, () => openLocalRootKey(path, true)))
  }

  test('hold the key that the file holds, each that got one', async () => {
    // One that held another key would seal cards that nobody can open after a restart.
    for (let round = 0; round < ROUNDS; round++) {
      await using folder = await tempFolder()
      const path = join(folder.path, 'root.key')
      const outcomes = await race(path)
      const stored = await openLocalRootKey(path, false)
      for (const outcome of outcomes) {
        if (outcome.status === 'fulfilled') {
          expect(await isSameKey(outcome.value, stored)).toBe(true)
        }
      }
    }
  })

  test('all get the one key', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      await using folder = await tempFolder()
      const outcomes = await race(join(folder.path, 'root.key'))
      expect(outcomes.filter(({ status }) => status === 'rejected')).toEqual([])
    }
  })

  test('leave nothing but the root key', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      await using folder = await tempFolder()
      await race(join(folder.path, 'root.key'))
      expect(await readdir(folder.path)).toEqual(['root.key'])
    }
  })
})

describe('a root key that exists', () => {
  test('unwraps what it wrapped before, whether or not one may be made', async () => {
    await using folder = await tempFolder()
    const path = join(folder.path, 'root.key')
    const wrapped = await (await openLocalRootKey(path, true)).wrap(DATA_KEY, CONTEXT)
    const bytes = await readFile(path)

    for (const mayCreate of [true, false]) {
      const reopened = await openLocalRootKey(path, mayCreate)
      expect((await reopened.unwrap(wrapped, CONTEXT)).equals(DATA_KEY)).toBe(true)
    }
    expect((await readFile(path)).equals(bytes)).toBe(true)
  })

  test('unwraps for the context it wrapped for and no other', async () => {
    await using folder = await tempFolder()
    const root = await openLocalRootKey(join(folder.path, 'root.key'), true)
    const wrapped = await root.wrap(DATA_KEY, CONTEXT)
    for (const other of [{ owner: 'mer_2' }, { kind: 'card' as const }, { id: 'data.2' }]) {
      await expect(root.unwrap(wrapped, { ...CONTEXT, ...other })).rejects.toThrow(OpenError)
    }
  })

  test('does not unwrap what another root key wrapped', async () => {
    await using folder = await tempFolder()
    const one = await openLocalRootKey(join(folder.path, 'a.key'), true)
    const other = await openLocalRootKey(join(folder.path, 'b.key'), true)
    const wrapped = await one.wrap(DATA_KEY, CONTEXT)
    await expect(other.unwrap(wrapped, CONTEXT)).rejects.toThrow(OpenError)
  })

  test('leaves the data key that it wrapped to its caller', async () => {
    await using folder = await tempFolder()
    const root = await openLocalRootKey(join(folder.path, 'root.key'), true)
    const dataKey = Buffer.from(DATA_KEY)
    await root.wrap(dataKey, CONTEXT)
    expect(dataKey.equals(DATA_KEY)).toBe(true)
  })

  test('may be readable only', async () => {
    await using folder = await tempFolder()
    const path = join(folder.path, 'root.key')
    await keyFile(path, 0o400)
    await expect(openLocalRootKey(path, false)).resolves.toBeDefined()
  })
})

describe.each([true, false])(
  'a file that is not a root key is refused (mayCreate: %s)',
  (mayCreate) => {
    test.each([0o640, 0o620, 0o610, 0o604, 0o602, 0o601, 0o644, 0o666, 0o777, 0o440, 0o404])(
      'when its mode is %o',
      async (mode) => {
        await using folder = await tempFolder()
        const path = join(folder.path, 'root.key')
        await keyFile(path, mode)
        await expect(openLocalRootKey(path, mayCreate)).rejects.toThrow(RootKeyFileError)
      },
    )

    test.each([0, 1, 16, 31, 33, 64, 65])('when it holds %i bytes', async (size) => {
      await using folder = await tempFolder()
      const path = join(folder.path, 'root.key')
      await writeFile(path, randomBytes(size), { mode: 0o600 })
      await expect(openLocalRootKey(path, mayCreate)).rejects.toThrow(RootKeyFileError)
      expect((await stat(path)).size).toBe(size)
    })

    test('when it is a symbolic link, even to a good one', async () => {
      await using folder = await tempFolder()
      const path = join(folder.path, 'root.key')
      await keyFile(join(folder.path, 'real.key'))
      await symlink(join(folder.path, 'real.key'), path)
      await expect(openLocalRootKey(path, mayCreate)).rejects.toThrow(RootKeyFileError)
    })

    test('when it is a symbolic link to nothing, and nothing is made behind it', async () => {
      await using folder = await tempFolder()
      const path = join(folder.path, 'root.key')
      await symlink(join(folder.path, 'elsewhere'), path)
      await expect(openLocalRootKey(path, mayCreate)).rejects.toThrow(RootKeyFileError)
      expect(await readdir(folder.path)).toEqual(['root.key'])
    })

    test('when it is a folder', async () => {
      await using folder = await tempFolder()
      const path = join(folder.path, 'root.key')
      await mkdir(path, { mode: 0o700 })
      await expect(openLocalRootKey(path, mayCreate)).rejects.toThrow(RootKeyFileError)
    })

    // Only root can give a file away, so only root can try.
    test.runIf(process.getuid?.() === 0)('when it belongs to another user', async () => {
      await using folder = await tempFolder()
      const path = join(folder.path, 'root.key')
      await keyFile(path)
      await chown(path, 65_534, 65_534)
      await expect(openLocalRootKey(path, mayCreate)).rejects.toThrow(RootKeyFileError)
    })
  },
)

test('an error about the file names the file and nothing of what it holds', async () => {
  await using folder = await tempFolder()
  const path = join(folder.path, 'root.key')
  await writeFile(path, 'not-a-root-key', { mode: 0o600 })
  const error: unknown = await openLocalRootKey(path, false).catch((thrown: unknown) => thrown)
  expect(error).toMatchObject({ name: 'RootKeyFileError' })
  expect(String(error)).toContain(path)
  expect(String(error)).not.toContain('not-a-root-key')
})
