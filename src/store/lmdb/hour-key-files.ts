// The keys of card verification codes as one small file per hour, beside the store and not in it: a page of the
// store outlives what was deleted from it, and a backup copies the store. A file is overwritten before it goes.

import { randomUUID } from 'node:crypto'
import { constants } from 'node:fs'
import { type FileHandle, link, mkdir, open, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { HourKeyStore } from '../../crypto/keyring.ts'
import type { Sealed } from '../../crypto/seal.ts'

const FILE_NAME = /^([0-9]{1,9})\.key$/

export async function openHourKeyFiles(folder: string): Promise<HourKeyStore> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const pathOf = (hour: number) => join(folder, `${hour}.key`)

  async function find(hour: number): Promise<Sealed | undefined> {
    try {
      return (await readFile(pathOf(hour))) as Uint8Array as Sealed
    } catch (error) {
      if (isCode(error, 'ENOENT')) return undefined
      throw error
    }
  }

  return {
    findHourKey: find,

    async insertHourKey(hour, wrapped) {
      const draft = join(folder, `${hour}.${randomUUID()}.draft`)
      {
        await using file = await open(draft, 'w', 0o600)
        await file.writeFile(wrapped)
        await file.sync()
      }
      try {
        await link(draft, pathOf(hour)) // fails when another process was first
        await syncFolder(folder)
        return wrapped
      } catch (error) {
        const first = isCode(error, 'EEXIST') ? await find(hour) : undefined
        if (first === undefined) throw error
        return first
      } finally {
        await rm(draft)
      }
    },

    async destroyHourKeysBefore(hour) {
      for (const name of await readdir(folder)) {
        const fileHour = FILE_NAME.exec(name)?.[1]
        if (fileHour !== undefined && Number(fileHour) < hour) await destroy(join(folder, name))
      }
    },
  }
}

async function destroy(path: string): Promise<void> {
  try {
    await using file: FileHandle = await open(path, 'r+')
    const { size } = await file.stat()
    await file.write(Buffer.alloc(size), 0, size, 0)
    await file.sync()
  } catch (error) {
    if (isCode(error, 'ENOENT')) return // another process was first
    throw error
  }
  await rm(path, { force: true })
}

export async function syncFolder(path: string): Promise<void> {
  await using folder = await open(path, constants.O_RDONLY)
  await folder.sync()
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
