// Reads what `strace -f -tt -y` wrote: one system call with its first and its last line, also when calls of other
// threads stand between them ("<unfinished ...>", "<... resumed>").

export type SystemCall = {
  readonly name: string
  /** Its arguments, as strace prints them. */
  readonly text: string
  readonly result: string
  readonly startLine: number
  readonly endLine: number
}

const LINE = /^(\d+) +[\d:.]+ (.*)$/
const RESUMED = /^<\.\.\. \w+ resumed>(.*)$/
const CALL = /^(\w+)\((.*)\)\s+= (.*)$/
const UNFINISHED = '<unfinished ...>'

/** In the order in which they began. */
export function readTrace(trace: string): readonly SystemCall[] {
  const calls: SystemCall[] = []
  const unfinished = new Map<string, { begun: string; startLine: number }>()
  for (const [endLine, line] of trace.split('\n').entries()) {
    const [, thread = '', said = ''] = LINE.exec(line) ?? []
    if (said.endsWith(UNFINISHED)) {
      const begun = said.slice(0, -UNFINISHED.length)
      unfinished.set(thread, { begun, startLine: endLine })
      continue
    }
    const rest = RESUMED.exec(said)?.[1]
    const first = rest === undefined ? undefined : unfinished.get(thread)
    const whole = first === undefined ? said : first.begun + rest
    const [, name, text = '', result = ''] = CALL.exec(whole) ?? []
    if (name === undefined) continue // a signal, the end of a thread
    calls.push({ name, text, result, startLine: first?.startLine ?? endLine, endLine })
  }
  return calls.sort((a, b) => a.startLine - b.startLine)
}
