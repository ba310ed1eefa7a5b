// The peers that are not Node programs: each runs in the foreground, as one process, from the configuration of its name in
// this folder.

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { CARD } from '../payment.ts'
import type { ContenderArguments } from './announce.ts'
import { type Peer, programPath } from './peers.ts'

export type NativePeer = Extract<Peer, `nginx${string}` | 'haproxy'>

/** The files of each; the first is the configuration. */
const TEMPLATES: Readonly<Record<NativePeer, readonly string[]>> = {
  nginx: ['nginx.conf'],
  'nginx-lua': ['nginx-lua.conf'],
  'nginx-njs': ['nginx-njs.conf', 'nginx-njs.js', 'nginx-njs-cards.json'],
  haproxy: ['haproxy.cfg'],
}

export function isNative(peer: Peer): peer is NativePeer {
  return peer in TEMPLATES
}

/** The command to serve on `port`, with its configuration written into the folder. */
export function nativeCommand(
  peer: NativePeer,
  { upstream, folder, upstreamTls, listenerTls }: ContenderArguments,
  port: number,
): string[] {
  const { protocol, port: upstreamPort } = new URL(upstream)
  const values = {
    folder,
    port: String(port),
    upstream_scheme: protocol.slice(0, -1),
    upstream_port: upstreamPort,
    ca_file: upstreamTls?.caFile,
    cert_file: listenerTls?.certFile,
    key_file: listenerTls?.keyFile,
    card_number: CARD.number,
    card_exp_month: CARD.month,
    card_exp_year: CARD.year,
  }
  for (const name of TEMPLATES[peer]) {
    const template = readFileSync(new URL(name, import.meta.url), 'utf8')
    writeFileSync(join(folder, name), render(template, values))
  }
  const config = join(folder, TEMPLATES[peer][0] ?? '')
  return peer === 'haproxy'
    ? [programPath('haproxy') ?? 'haproxy', '-db', '-f', config]
    : [programPath('nginx') ?? 'nginx', '-e', 'stderr', '-p', folder, '-c', config]
}

/** `{{name}}` is a value; what stands from `{{#name}}` to `{{/name}}` goes when there is none. */
function render(template: string, values: Readonly<Record<string, string | undefined>>): string {
  return template
    .replace(/\{\{#(\w+)\}\}([\s\S]*?)\{\{\/\1\}\}/g, (_all, name: string, text: string) =>
      values[name] === undefined ? '' : text,
    )
    .replace(/\{\{(\w+)\}\}/g, (_all, name: string) => {
      const value = values[name]
      if (value === undefined) throw new Error(`a template asks for ${name}, which has no value`)
      return value
    })
}
