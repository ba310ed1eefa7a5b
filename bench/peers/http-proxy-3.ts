// http-proxy-3, the maintained successor of http-proxy, with connections kept alive on both sides. Of its two ways to the
// upstream this is the one over node:http, which is its default; the one over fetch costs four times as much.

import { Agent } from 'node:http'
import { Agent as TlsAgent } from 'node:https'
import { createProxyServer } from 'http-proxy-3'
import { contenderArguments, listen } from './announce.ts'

const { upstream, upstreamTls } = contenderArguments()
const settings = { keepAlive: true, maxSockets: Number.POSITIVE_INFINITY }
const proxy = createProxyServer({
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
