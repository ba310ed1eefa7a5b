// A contender's side of the runner: says on which port it listens, tells its use of the processor where the runner
// cannot read it from /proc, and ends when the runner goes, however that happens.

export type Usage = { readonly cpuUs: number; readonly rssBytes: number }

export type Contender = {
  /** Origin without a slash at its end. */
  readonly upstream: string
  /** Empty, its own, and removed by the runner. */
  readonly folder: string
}

export function contenderArguments(): Contender {
  const [upstream = '', folder = ''] = process.argv.slice(2)
  return { upstream, folder }
}

export function announce(port: number): void {
  process.on('disconnect', () => process.exit())
  process.on('message', () => {
    const { user, system } = process.cpuUsage()
    const usage: Usage = { cpuUs: user + system, rssBytes: process.memoryUsage.rss() }
    process.send?.(usage)
  })
  process.stdout.write(`${JSON.stringify({ port })}\n`)
}
