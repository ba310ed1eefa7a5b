// Reads a line at the terminal that is not shown, as passwords are read.

import type { ReadStream } from 'node:tty'

const ENTER = new Set([0x0a, 0x0d])
const CTRL_C = 0x03
const CTRL_D = 0x04
const ERASE = new Set([0x08, 0x7f])
const MAX_LENGTH = 512

/** Undefined when it was given up (Ctrl-C, Ctrl-D). */
export async function askSecret(
  input: ReadStream,
  output: NodeJS.WritableStream,
  question: string,
): Promise<string | undefined> {
  output.write(question)
  input.setRawMode(true)
  const typed: number[] = []
  try {
    for await (const chunk of input.iterator({ destroyOnReturn: false })) {
      for (const byte of chunk as Buffer) {
        if (ENTER.has(byte)) return Buffer.from(typed).toString('utf8')
        if (byte === CTRL_C || byte === CTRL_D) return undefined
        if (ERASE.has(byte)) typed.pop()
        else if (typed.length < MAX_LENGTH) typed.push(byte)
      }
    }
    return undefined
  } finally {
    typed.fill(0)
    input.setRawMode(false)
    input.pause()
    output.write('\n')
  }
}
