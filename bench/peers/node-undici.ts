// The least that node:http and undici can do as a reverse proxy: body in one piece, a handler object, no streams and
// no promises. No limits, no timeouts, no back pressure: a floor for these two libraries, not a proxy to use.

import type { ServerResponse } from 'node:http'
import { type Dispatcher, Pool } from 'undici'
import { contenderArguments, listen } from './announce.ts'

const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'host',
  'keep-alive',
  'transfer-encoding',
])

class Relay implements Dispatcher.DispatchHandler {
  readonly #response: ServerResponse

  constructor(response: ServerResponse) {
    this.#response = response
  }

  onRequestStart(): void {}

  onResponseStart(controller: Dispatcher.DispatchController, status: number): void {
    const raw = (controller.rawHeaders ?? []) as readonly Buffer[]
    const headers: string[] = []
    for (let i = 0; i < raw.length; i += 2) {
      const name = String(raw[i])
      const lower = name.toLowerCase()
      if (lower !== 'content-length' && HOP_BY_HOP.has(lower)) continue
      headers.push(name, String(raw[i + 1]))
    }
    this.#response.writeHead(status, headers)
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#response.write(chunk)
  }

  onResponseEnd(): void {
    this.#response.end()
  }

  onResponseError(): void {
    this.#response.destroy()
  }
}

const { upstream, upstreamTls } = contenderArguments()
const pool = new Pool(upstream, {
  connections: 256,
  pipelining: 1,
  connect: { ca: upstreamTls?.ca },
})

listen((request, response) => {
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    const headers: string[] = []
    const raw = request.rawHeaders
    for (let i = 0; i < raw.length; i += 2) {
      const name = raw[i] ?? ''
      if (!HOP_BY_HOP.has(name.toLowerCase())) headers.push(name, raw[i + 1] ?? '')
    }
    pool.dispatch(
      {
        method: request.method as Dispatcher.HttpMethod,
        path: request.url ?? '/',
        headers,
        body: chunks.length === 1 ? (chunks[0] ?? null) : Buffer.concat(chunks),
      },
      new Relay(response),
    )
  })
})
