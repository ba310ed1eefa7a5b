// `sallyport healthcheck`: asks the running server on its operations port; for containers, which have no curl.

import type { Config } from '../config.ts'

export async function healthcheck(config: Config): Promise<number> {
  const host =
    config.ops_host === '0.0.0.0' ? '127.0.0.1' : config.ops_host === '::' ? '::1' : config.ops_host
  const url = `http://${host.includes(':') ? `[${host}]` : host}:${config.ops_port}/health/ready`
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(2000) })
    return answer.ok ? 0 : 1
  } catch {
    return 1 // not there is not ready
  }
}
