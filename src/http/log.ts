// The log: what may be written is in these types, and nothing else can be. No request, header, body or error object
// is handed to the logger; of an unexpected error it gets name, code and stack frames, because messages quote input.

import { pino } from 'pino'

type VaultFailure =
  | 'unauthenticated'
  | 'not_found'
  | 'rate_limited'
  | 'unavailable'
  | 'timeout_unknown'
  | 'not_configured'

export interface Log {
  started(facts: { api: string; ops: string; version: string }): void
  stopping(facts: { signal: string }): void
  stopped(facts: { inFlight: number }): void
  /** A setting that is meant for development. */
  unsafe(setting: string): void
  unexpected(requestId: string | undefined, error: unknown): void
  /** In the words of the contract of external vaults: which merchant's it was, the audit trail tells. */
  externalVault(failure: VaultFailure): void
  fatal(what: 'store' | 'audit' | 'uncaught', error: unknown): void
}

export function createLog(level: string): Log {
  const logger = pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime })
  return {
    started: (facts) => logger.info({ event: 'started', ...facts }),
    stopping: (facts) => logger.info({ event: 'stopping', ...facts }),
    stopped: (facts) => logger.info({ event: 'stopped', ...facts }),
    unsafe: (setting) => logger.warn({ event: 'unsafe_setting', setting }),
    unexpected: (requestId, error) =>
      logger.error({ event: 'internal_error', request_id: requestId, ...describe(error) }),
    externalVault: (failure) => logger.warn({ event: 'external_vault', failure }),
    fatal: (what, error) => logger.fatal({ event: 'fatal', what, ...describe(error) }),
  }
}

/** Never the message: Node's own quote what they could not parse. Chains of causes, three deep. */
function describe(error: unknown, depth = 0): object {
  if (!(error instanceof Error)) return { error: typeof error }
  const frames = (error.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line))
  return {
    error: error.name,
    ...('code' in error && typeof error.code === 'string' ? { code: error.code } : {}),
    stack: frames.map((line) => line.trim()),
    ...(error.cause !== undefined && depth < 3 ? { cause: describe(error.cause, depth + 1) } : {}),
  }
}
