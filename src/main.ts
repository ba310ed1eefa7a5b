// The process: arguments, environment and signals become a command. The only file that touches `process`.

import { readFileSync } from 'node:fs'
import { isatty } from 'node:tty'
import { parseArgs } from 'node:util'
import { askSecret } from './cli/ask-secret.ts'
import { StartError } from './cli/start-error.ts'
import { type Terminal, UsageError } from './cli/terminal.ts'
import { type Config, parseConfig } from './config.ts'
import { AgeError } from './crypto/age-error.ts'
import { RootKeyFileError } from './crypto/root-key/local-file.ts'
import { TransferError } from './transfer/transfer-error.ts'
import { NODE_VERSION } from './version.ts'

const USAGE = `Usage: sallyport <command> [options]

  serve                 run the vault and the proxy (the default)
  demo [--once]         a merchant, a card, a charge through the proxy, explained step by step
  healthcheck           exit 0 when the running server is ready
  audit-verify FILE     check the chain of an audit file
  import FILE           cards of another vault become payment methods (see import --help)
  export                the cards of a merchant, encrypted, for another vault (see export --help)
  purge                 delete cards that were not used for long (see purge --help)

Options:
  --config FILE         settings as YAML; SALLYPORT_* variables go before them
`

const print = (text: string): void => {
  process.stdout.write(text)
}

function fail(text: string): never {
  process.stderr.write(`${text}\n`)
  process.exit(1)
}

function readConfig(file: string | undefined): Config {
  let yaml: string | undefined
  try {
    yaml = file === undefined ? undefined : readFileSync(file, 'utf8')
  } catch {
    fail(`The file ${file} cannot be read.`)
  }
  const result = parseConfig({ yaml, env: process.env })
  if (result.kind === 'bad') {
    fail(
      `The configuration has problems:\n${result.problems.map((problem) => `  - ${problem}`).join('\n')}`,
    )
  }
  return result.config
}

const stopSignals = (stop: (signal: string) => void) => {
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
}

/** Commands with options of their own. */
async function transfer(command: string, args: readonly string[]): Promise<number | undefined> {
  const terminal: Terminal = {
    print,
    tell: (text) => {
      process.stderr.write(text)
    },
    columns: process.stderr.isTTY ? process.stderr.columns : undefined,
    // Not asked of process.stdin, which would make the descriptor non-blocking.
    stdin: { fd: 0, isTty: isatty(0) },
    askSecret: (question) =>
      isatty(0) ? askSecret(process.stdin, process.stderr, question) : Promise.resolve(undefined),
    onStopSignal: stopSignals,
    exit: process.exit,
  }
  switch (command) {
    case 'import': {
      const { importCommand } = await import('./cli/import.ts')
      return importCommand(args, readConfig, terminal)
    }
    case 'export': {
      const { exportCommand } = await import('./cli/export.ts')
      return exportCommand(args, readConfig, terminal)
    }
    case 'purge': {
      const { purgeCommand } = await import('./cli/purge.ts')
      return purgeCommand(args, readConfig, terminal)
    }
    default:
      return undefined
  }
}

function requireRuntime(): void {
  if (process.versions.node === NODE_VERSION) return
  fail(
    `Sallyport runs on Node ${NODE_VERSION} and no other release; this is ${process.versions.node}. npm scripts use the right one.`,
  )
}

async function main(): Promise<void> {
  const [first = '', ...after] = process.argv.slice(2)
  if (['import', 'export', 'purge'].includes(first)) {
    requireRuntime()
    const code = await transfer(first, after)
    process.exitCode = code
    return
  }
  const { values, positionals } = parseArgs({
    options: {
      config: { type: 'string' },
      once: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
    allowPositionals: true,
  })
  const [command = 'serve', ...rest] = positionals
  if (values.help) return print(USAGE)
  requireRuntime()
  switch (command) {
    case 'serve': {
      if (process.env.NODE_DEBUG?.includes('*')) {
        fail('NODE_DEBUG=* prints what nobody has searched for card data. Name what you need.')
      }
      const { serve } = await import('./cli/serve.ts')
      await serve(readConfig(values.config), process.env.SALLYPORT_ADMIN_API_KEY, {
        print,
        onStopSignal: stopSignals,
        onUncaught: (handle) => {
          process.on('uncaughtException', handle)
        },
        exit: process.exit,
      })
      return
    }
    case 'demo': {
      const { demo } = await import('./cli/demo.ts')
      process.exitCode = await demo({ isOnce: values.once, print, onStopSignal: stopSignals })
      return
    }
    case 'healthcheck': {
      const { healthcheck } = await import('./cli/healthcheck.ts')
      process.exitCode = await healthcheck(readConfig(values.config))
      return
    }
    case 'audit-verify': {
      const [file] = rest
      if (file === undefined) fail(USAGE)
      const { auditVerify } = await import('./cli/audit-verify.ts')
      process.exitCode = await auditVerify(file, print)
      return
    }
    default:
      fail(USAGE)
  }
}

try {
  await main()
} catch (error) {
  const isSentence = [StartError, RootKeyFileError, TransferError, AgeError, UsageError].some(
    (kind) => error instanceof kind,
  )
  if (isSentence) fail((error as Error).message)
  if (
    error instanceof TypeError &&
    'code' in error &&
    String(error.code).startsWith('ERR_PARSE_ARGS')
  ) {
    fail(`${error.message}\n\n${USAGE}`)
  }
  throw error
}
