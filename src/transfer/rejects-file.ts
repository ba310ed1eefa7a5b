// The rows that were not taken, as CSV: `line,id,field,reason`. None of it is a value of the row but the id, which is left
// out where it could be a card number.

import {
  closeSync,
  existsSync,
  fdatasyncSync,
  openSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { csvField } from './csv.ts'
import type { RowProblem } from './row.ts'
import { TransferError } from './transfer-error.ts'

const HEADER = 'line,id,field,reason\n'

export type RejectsFile = {
  append(line: number, id: string, problem: RowProblem): void
  /** With what was appended on disk. */
  sync(): void
  close(): void
}

/**
 * `lastLine`: of an import that goes on, the last row that its mapping file has. What was said of rows after it is cut,
 * because these come again. Undefined for one that begins: nothing may be overwritten. Throws TransferError.
 */
export function openRejectsFile(path: string, lastLine: number | undefined): RejectsFile {
  const isThere = existsSync(path)
  if (isThere && lastLine === undefined) throw new TransferError(`${path} exists already.`)
  let fd: number
  try {
    const before = isThere ? readFileSync(path, 'utf8') : ''
    if (before !== '' && !HEADER.startsWith(before) && !before.startsWith(HEADER)) {
      throw new TransferError(`${path} exists and is no rejects file of an import.`)
    }
    const kept = before
      .slice(HEADER.length)
      .split('\n')
      .slice(0, -1)
      .filter((text) => Number.parseInt(text, 10) <= (lastLine ?? 0))
    writeFileSync(path, HEADER + kept.map((text) => `${text}\n`).join(''), { mode: 0o600 })
    fd = openSync(path, 'a')
  } catch (cause) {
    if (cause instanceof TransferError) throw cause
    throw new TransferError(`The file ${path} cannot be written.`, { cause })
  }
  let isDirty = false
  const writable = (write: () => void) => {
    try {
      write()
    } catch (cause) {
      throw new TransferError(`The file ${path} cannot be written.`, { cause })
    }
  }
  return {
    append(line, id, { field, reason }) {
      isDirty = true
      writable(() => writeSync(fd, `${line},${csvField(id)},${csvField(field)},${reason}\n`))
    },
    sync() {
      if (isDirty) writable(() => fdatasyncSync(fd))
      isDirty = false
    },
    close() {
      closeSync(fd)
    },
  }
}
