// http-proxy 1.18, the proxy that most Node programs use, with connections kept alive on both sides.

import { Agent } from 'node:http'
import { Agent as TlsAgent } from 'node:https'
import httpProxy from 'http-proxy'
import { contenderArguments, listen } from './announce.ts'

const { upstream, upstreamTls } = contenderArguments()
const settings = { keepAlive: true, maxSockets: Number.POSITIVE_INFINITY }
const proxy = httpProxy.createProxyServer({
  target: upstream,
  agent:
    upstreamTls === undefined
      ? new Agent(settings)
      : new TlsAgent({ ...settings, ca: upstreamTls.ca }),
})
proxy.on('error', (_error, _request, response) => {
  response.destroy() // the runner sees it as an error, and aborts
})

listen((request, response) => proxy.web(request, response))
