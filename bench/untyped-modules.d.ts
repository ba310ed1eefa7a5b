// What the benchmarks use of packages that bring no types.

declare module 'autocannon' {
  namespace autocannon {
    type Options = {
      url: string
      method: string
      headers: Record<string, string>
      body: string
      connections: number
      /** Seconds. */
      duration: number
      /** Milliseconds between looks at whether to stop. */
      sampleInt: number
      /** Seconds. */
      timeout: number
      /** Any other answer is a mismatch. */
      expectBody: string
      tlsOptions: { ca: string | undefined }
    }
    type Result = { errors: number; timeouts: number; non2xx: number; mismatches: number }
    interface Run {
      on(
        event: 'response',
        listener: (client: unknown, status: number, bytes: number, durationMs: number) => void,
      ): this
      stop(): void
    }
  }
  function autocannon(
    options: autocannon.Options,
    done: (error: Error | null, result: autocannon.Result) => void,
  ): autocannon.Run
  export = autocannon
}

declare module 'http-proxy' {
  import type { Agent, IncomingMessage, ServerResponse } from 'node:http'

  interface Proxy {
    web(request: IncomingMessage, response: ServerResponse): void
    on(
      event: 'error',
      listener: (error: Error, request: IncomingMessage, response: ServerResponse) => void,
    ): this
  }
  const httpProxy: { createProxyServer(options: { target: string; agent: Agent }): Proxy }
  export = httpProxy
}
