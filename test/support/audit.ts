// The lines of an installation's audit trail, as far as they are with the operating system.

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

export async function auditLines({ folder }: { folder: string }): Promise<any[]> {
  const text = await readFile(join(folder, 'audit', 'audit.jsonl'), 'utf8')
  return text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
}
