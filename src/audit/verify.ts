// Checks the chain of an audit file line by line in constant memory and names the first line that does not follow
// from the one before. Needs the file only.

import { hash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'

export type Verdict =
  | { readonly kind: 'intact'; readonly lines: number }
  | {
      readonly kind: 'broken'
      readonly line: number
      readonly why: 'not_a_line' | 'chain' | 'sequence'
    }

const HEAD = /^\{"seq":([0-9]{1,15}),"time":"[^"]{1,40}","prev":"([0-9a-f]{64})",/

export async function verifyAuditFile(path: string): Promise<Verdict> {
  let previous = '0'.repeat(64)
  let lines = 0
  for await (const line of createInterface({ input: createReadStream(path), crlfDelay: 0 })) {
    lines += 1
    const head = HEAD.exec(line)
    if (head === null) return { kind: 'broken', line: lines, why: 'not_a_line' }
    if (head[2] !== previous) return { kind: 'broken', line: lines, why: 'chain' }
    if (Number(head[1]) !== lines) return { kind: 'broken', line: lines, why: 'sequence' }
    previous = hash('sha256', line)
  }
  return { kind: 'intact', lines }
}
