// Checks the chain of an audit file line by line in constant memory and names the first line that does not follow
// from the one before. Needs the file only. Works on bytes: a line is what ends with a line feed, and nothing else.

import { hash } from 'node:crypto'
import { createReadStream } from 'node:fs'

export type Verdict =
  | { readonly kind: 'intact'; readonly lines: number }
  | {
      readonly kind: 'broken'
      readonly line: number
      readonly why: 'not_a_line' | 'chain' | 'sequence'
    }

const HEAD = /^\{"seq":([0-9]{1,15}),"time":"[^"]{1,40}","prev":"([0-9a-f]{64})",/
const HEAD_BYTES = 160
const LINE_FEED = 0x0a

export async function verifyAuditFile(path: string): Promise<Verdict> {
  let previous = '0'.repeat(64)
  let lines = 0
  let rest: Buffer = Buffer.alloc(0)
  for await (const chunk of createReadStream(path)) {
    const bytes = rest.length === 0 ? (chunk as Buffer) : Buffer.concat([rest, chunk as Buffer])
    let start = 0
    for (let end = bytes.indexOf(LINE_FEED); end !== -1; end = bytes.indexOf(LINE_FEED, start)) {
      const line = bytes.subarray(start, end)
      lines += 1
      const head = HEAD.exec(line.toString('latin1', 0, HEAD_BYTES))
      if (head === null) return { kind: 'broken', line: lines, why: 'not_a_line' }
      if (head[2] !== previous) return { kind: 'broken', line: lines, why: 'chain' }
      if (Number(head[1]) !== lines) return { kind: 'broken', line: lines, why: 'sequence' }
      previous = hash('sha256', line)
      start = end + 1
    }
    rest = bytes.subarray(start)
  }
  if (rest.length > 0) return { kind: 'broken', line: lines + 1, why: 'not_a_line' }
  return { kind: 'intact', lines }
}
