// A name server (RFC 1035) that says what the test tells it to, question by question, and a resolver that asks it.
// Every answer has a time to live of 0, so nobody on the way may remember it.

import { createSocket } from 'node:dgram'
import type { LookupAddress } from 'node:dns'
import { Resolver } from 'node:dns/promises'
import { once } from 'node:events'
import { isIPv4 } from 'node:net'
import type { Resolve } from '../../src/proxy/egress/dialer.ts'

export type DnsQuestion = { readonly name: string; readonly type: 'A' | 'AAAA' }

/** Addresses of the type that was asked for; none is an empty answer. */
export type DnsScript = (question: DnsQuestion) => readonly string[] | 'NXDOMAIN' | 'SERVFAIL'

export type DnsServer = AsyncDisposable & {
  readonly resolve: Resolve
  /** Oldest first. */
  readonly asked: DnsQuestion[]
}

const TYPES = { A: 1, AAAA: 28 } as const
const CODES = { SERVFAIL: 2, NXDOMAIN: 3 } as const

export async function startDnsServer(script: DnsScript): Promise<DnsServer> {
  const asked: DnsQuestion[] = []
  const socket = createSocket('udp4')
  socket.on('message', (query, { port, address }) => {
    const labels: string[] = []
    let at = 12
    for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
      labels.push(query.toString('latin1', at + 1, at + 1 + length))
      at += 1 + length
    }
    const type = query.readUInt16BE(at + 1) === TYPES.A ? 'A' : 'AAAA'
    const question: DnsQuestion = { name: labels.join('.'), type }
    asked.push(question)
    const answer = script(question)
    const records = typeof answer === 'string' ? [] : answer.map(addressBytes)
    const head = Buffer.alloc(12)
    query.copy(head, 0, 0, 2)
    head.writeUInt16BE(0x8180 | (typeof answer === 'string' ? CODES[answer] : 0), 2)
    head.writeUInt16BE(1, 4)
    head.writeUInt16BE(records.length, 6)
    const sections = records.map((bytes) => {
      const fixed = Buffer.alloc(12)
      fixed.writeUInt16BE(0xc00c, 0) // the name that was asked for
      fixed.writeUInt16BE(TYPES[type], 2)
      fixed.writeUInt16BE(1, 4)
      fixed.writeUInt16BE(bytes.length, 10)
      return Buffer.concat([fixed, bytes])
    })
    socket.send(Buffer.concat([head, query.subarray(12, at + 5), ...sections]), port, address)
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  const resolver = new Resolver({ timeout: 20_000, tries: 1 })
  resolver.setServers([`127.0.0.1:${socket.address().port}`])

  return {
    asked,
    resolve(hostname, callback) {
      findAddresses(resolver, hostname).then(
        (addresses) => callback(null, addresses),
        (error) => callback(error, []),
      )
    },
    async [Symbol.asyncDispose]() {
      const closed = once(socket, 'close')
      socket.close()
      await closed
    },
  }
}

async function findAddresses(resolver: Resolver, hostname: string): Promise<LookupAddress[]> {
  const none = (error: NodeJS.ErrnoException): string[] => {
    if (error.code === 'ENODATA') return []
    throw error
  }
  const [ipv4, ipv6] = await Promise.all([
    resolver.resolve4(hostname).catch(none),
    resolver.resolve6(hostname).catch(none),
  ])
  return [...ipv4, ...ipv6].map((address) => ({ address, family: isIPv4(address) ? 4 : 6 }))
}

function addressBytes(address: string): Buffer {
  if (isIPv4(address)) return Buffer.from(address.split('.').map(Number))
  // The URL parser knows every spelling, and has only groups and `::` left.
  const [before = '', after = ''] = new URL(`http://[${address}]`).hostname
    .slice(1, -1)
    .split('::', 2)
  const groups = (text: string) => (text === '' ? [] : text.split(':'))
  const gap = Array(8 - groups(before).length - groups(after).length).fill('0')
  const all = [...groups(before), ...gap, ...groups(after)]
  return Buffer.from(all.map((group) => group.padStart(4, '0')).join(''), 'hex')
}
