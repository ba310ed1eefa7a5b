// @fastify/http-proxy over its own undici, which is its default, with as many connections as the other peers have and
// without a log.

import type { AddressInfo } from 'node:net'
import httpProxy from '@fastify/http-proxy'
import Fastify from 'fastify'
import { announce, contenderArguments } from './announce.ts'

const { upstream, upstreamTls, listenerTls } = contenderArguments()
const app = Fastify({ logger: false, https: listenerTls ?? null })
await app.register(httpProxy, {
  upstream,
  disableRequestLogging: true,
  undici: {
    connections: 256,
    pipelining: 1,
    connect: { ca: upstreamTls?.ca, rejectUnauthorized: true }, // any certificate will do by default
  },
})
await app.listen({ host: '127.0.0.1', port: 0 })
announce((app.server.address() as AddressInfo).port)
