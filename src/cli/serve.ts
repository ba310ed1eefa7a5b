// `sallyport serve`: runs an installation until it is told to stop.

import type { Config } from '../config.ts'
import { createLog } from '../http/log.ts'
import { VERSION } from '../version.ts'
import { startInstallation } from './installation.ts'

export type Process = {
  /** Standard output, for what a person has to see. */
  readonly print: (text: string) => void
  readonly onStopSignal: (stop: (signal: string) => void) => void
  readonly onUncaught: (handle: (error: unknown) => void) => void
  readonly exit: (code: number) => never
}

export async function serve(
  config: Config,
  adminApiKey: string | undefined,
  process: Process,
): Promise<void> {
  const log = createLog(config.log_level)
  process.onUncaught((error) => {
    log.fatal('uncaught', error)
    process.exit(1)
  })
  const installation = await startInstallation(config, {
    log,
    adminApiKey,
    onFirstAdminKey: (apiKey) => {
      process.print(`
  This is the first start. The admin API key, shown this once:

    ${apiKey}

`)
    },
    onFatal: (what, error) => {
      log.fatal(what, error)
      process.exit(1)
    },
  })
  const { address, opsAddress } = installation
  const scheme = config.tls === undefined ? 'http' : 'https'
  log.started({
    api: `${scheme}://${hostText(address.address)}:${address.port}`,
    ops: `http://${hostText(opsAddress.address)}:${opsAddress.port}`,
    version: VERSION,
  })

  let isStopping = false
  process.onStopSignal((signal) => {
    if (isStopping) return
    isStopping = true
    log.stopping({ signal })
    installation.stop().then(
      ({ cut }) => {
        log.stopped({ inFlight: cut })
        process.exit(0)
      },
      (error) => {
        log.fatal('uncaught', error)
        process.exit(1)
      },
    )
  })
}

function hostText(host: string): string {
  return host.includes(':') ? `[${host}]` : host
}
