// http-proxy 1.18, the proxy that most Node programs use, with connections kept alive on both sides.

import { Agent, createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import httpProxy from 'http-proxy'
import { announce, contenderArguments } from './announce.ts'

const proxy = httpProxy.createProxyServer({
  target: contenderArguments().upstream,
  agent: new Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY }),
})
proxy.on('error', (_error, _request, response) => {
  response.destroy() // the runner sees it as an error, and aborts
})

const server = createServer((request, response: ServerResponse) => proxy.web(request, response))
server.listen(0, '127.0.0.1', () => announce((server.address() as AddressInfo).port))
