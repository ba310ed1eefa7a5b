// What a command sees of the process it runs in. Made by main.ts.

import type { Screen } from '../transfer/progress.ts'

export type Terminal = Screen & {
  /** Standard output. */
  readonly print: (text: string) => void
  /** The descriptor of standard input, and whether a person sits at it. */
  readonly stdin: { readonly fd: number; readonly isTty: boolean }
  /** Shows the question and reads a line that is not shown. Undefined where no person sits. */
  readonly askSecret: (question: string) => Promise<string | undefined>
  readonly onStopSignal: (stop: (signal: string) => void) => void
  readonly exit: (code: number) => never
}

/** What was asked for cannot be: the sentence, and where the help is. */
export class UsageError extends Error {
  override readonly name = 'UsageError'

  constructor(command: string, sentence: string) {
    super(`${sentence}\nSee sallyport ${command} --help.`)
  }
}
