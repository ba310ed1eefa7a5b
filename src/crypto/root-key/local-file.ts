// The root key in a file of 32 random bytes, readable by its owner alone. For development and small installs:
// whoever can read the file and the store can read the cards. Refused when group or others may read it.

import { createSecretKey, type KeyObject, randomBytes, randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, link, open as openFile, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { getuid } from 'node:process'
import { open, seal } from '../seal.ts'
import { takeKey } from '../take-key.ts'
import type { RootKey } from './contract.ts'

const KEY_BYTES = 32
const VERSION = 1

/** A sentence for the operator: what is wrong with the file and what to do. */
export class RootKeyFileError extends Error {
  override readonly name = 'RootKeyFileError'
}

/** Makes the file if `mayCreate`; never replaces one that exists. Throws RootKeyFileError. */
export async function openLocalRootKey(path: string, mayCreate: boolean): Promise<RootKey> {
  const key = (await read(path)) ?? (mayCreate ? await create(path) : undefined)
  if (key === undefined) {
    throw new RootKeyFileError(
      `The store exists but its root key ${path} does not. Put the root key file back; without it the cards cannot be read.`,
    )
  }
  const sealingKey = { version: VERSION, key }
  return {
    wrap: async (dataKey, context) => seal(sealingKey, dataKey, context),
    unwrap: async (wrapped, context) => open(sealingKey, wrapped, context),
  }
}

async function read(path: string): Promise<KeyObject | undefined> {
  let file: FileHandle
  try {
    file = await openFile(path, constants.O_RDONLY | constants.O_NOFOLLOW)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw new RootKeyFileError(`The root key file ${path} cannot be opened.`, { cause: error })
  }
  await using opened = file
  const stat = await opened.stat()
  if (!stat.isFile()) throw new RootKeyFileError(`The root key ${path} is not a file.`)
  // Windows has no such owners and modes; there the folder's access list is the operator's duty. (os.userInfo fails for
  // users that no file lists, as containers have them.)
  if (getuid !== undefined) {
    if ((stat.mode & 0o077) !== 0) {
      throw new RootKeyFileError(
        `The root key file ${path} can be read by others. Run: chmod 600 ${path}`,
      )
    }
    if (stat.uid !== getuid())
      throw new RootKeyFileError(`The root key file ${path} belongs to another user.`)
  }
  const bytes = await opened.readFile()
  if (bytes.length !== KEY_BYTES) {
    throw new RootKeyFileError(`The root key file ${path} must hold exactly ${KEY_BYTES} bytes.`)
  }
  return takeKey(bytes)
}

async function create(path: string): Promise<KeyObject> {
  const bytes = randomBytes(KEY_BYTES)
  // Written whole under a name of its own first: a crash leaves no half root key, a racing process no mix of two.
  const draft = `${path}.${randomUUID()}.new`
  try {
    {
      await using file = await openFile(draft, 'wx', 0o600)
      await file.writeFile(bytes)
      await file.sync()
    }
    try {
      await link(draft, path) // unlike a rename, never replaces a root key that appeared meanwhile
    } catch (error) {
      const first =
        (error as NodeJS.ErrnoException).code === 'EEXIST' ? await read(path) : undefined
      if (first === undefined) throw error
      return first
    } finally {
      await rm(draft)
    }
    await using folder = await openFile(dirname(path), constants.O_RDONLY)
    await folder.sync()
    return createSecretKey(bytes)
  } catch (error) {
    if (error instanceof RootKeyFileError) throw error
    throw new RootKeyFileError(`The root key file ${path} cannot be made.`, { cause: error })
  } finally {
    bytes.fill(0)
  }
}
