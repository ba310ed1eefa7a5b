// Sallyport as it is installed: the real composition with its store, keys and audit trail in a folder. Two settings
// differ from the defaults: destinations on loopback and without TLS are allowed.

import { startInstallation } from '../../src/cli/installation.ts'
import { parseConfig } from '../../src/config.ts'
import { createLog } from '../../src/http/log.ts'
import { announce, contenderArguments } from './announce.ts'

/** Counted for every request, and never reached. */
const GUARDS = {
  requests_per_key: { count: 1_000_000, window_s: 1 },
  distinct_payment_methods_per_key: { count: 1000, window_s: 60 },
  declines_per_key: { count: 1000, window_s: 60 },
}

const { folder, listenerTls } = contenderArguments()
const result = parseConfig({
  yaml: JSON.stringify({
    data_dir: folder,
    host: '127.0.0.1',
    port: 0,
    ops_port: 0,
    ...(listenerTls === undefined
      ? {}
      : { tls: { cert_file: listenerTls.certFile, key_file: listenerTls.keyFile } }),
    egress: { allow_private: ['127.0.0.0/8'], allow_http: true },
    guards: process.env.BENCH_GUARDS === 'on' ? GUARDS : {},
    log_level: 'error', // the data plane logs nothing per request; this is about the start
  }),
  env: {},
})
if (result.kind === 'bad') throw new Error(result.problems.join('; '))

const installation = await startInstallation(result.config, {
  log: createLog(result.config.log_level),
  adminApiKey: process.env.BENCH_ADMIN_KEY,
  onFirstAdminKey: () => {},
  onFatal: (_what, error) => {
    throw error
  },
})
announce(installation.address.port)
