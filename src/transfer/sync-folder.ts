// A file is on disk when its folder says so.

import { closeSync, fsyncSync, openSync } from 'node:fs'

export function syncFolder(path: string): void {
  const fd = openSync(path, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
