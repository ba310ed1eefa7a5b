// The scenarios, as data: who stands between caller and upstream, what is sent, and what it is compared with. Cases that are
// compared send the same bytes over the same kind of connections and get the same answer.

import type { BodyKind } from './payment.ts'
import { PEERS, type Peer } from './peers/peers.ts'

export type Work =
  /** `envelope`: the payment inside Sallyport's envelope. */
  | { readonly kind: 'payment'; readonly body: BodyKind; readonly way: 'same-shape' | 'envelope' }
  /** The payment with each time another of so many stored payment methods. */
  | { readonly kind: 'stored'; readonly amount: 'few' | 'many' }
  /** Stores a card that was never seen. */
  | { readonly kind: 'create' }
  /** Reads one of a thousand payment methods, masked. */
  | { readonly kind: 'retrieve' }
  /** Lists the thousand payment methods of one customer. */
  | { readonly kind: 'list' }

export type Case = {
  readonly name: string
  readonly peer: Peer
  /** As it stands in the table; `{few}` and `{many}` are numbers of stored payment methods. */
  readonly title: string
  readonly group: Group
  readonly work: Work
  /** What the caller sends where the card belongs. */
  readonly card: 'values' | 'placeholders'
  /** Sallyport: whether the policy names the JSON pointer of each field or allows it anywhere in the body. */
  readonly fieldsAt: 'anywhere' | 'pointers'
  /** Sallyport: `off` is without leak guard, `default` as it is installed, `all` also with breaker, rates and velocities. */
  readonly guards: 'off' | 'default' | 'all'
  /** Sallyport: every request has an idempotency key of its own. */
  readonly isIdempotent: boolean
  readonly tls: 'none' | 'upstream' | 'both'
  readonly connections: number
  /** Besides those, connections that take seconds for a request or for an answer. */
  readonly slowClients: number
  /** `short`: in every run without names; `full`: with --full; others are run by name. */
  readonly runs: 'short' | 'full' | 'named'
  /** Latencies at a steady rate are measured, too: in every run, or with --full. */
  readonly steady: 'short' | 'full' | 'never'
  /** The case that its processor time is compared with in the same round. */
  readonly to: string | undefined
}

export const GROUPS = {
  contenders: 'The same payment through every contender',
  shapes: 'Other requests',
  guards: 'With and without guards',
  tls: 'TLS',
  connections: 'Connections',
  growth: 'Growth',
  vault: 'The vault',
} as const

export type Group = keyof typeof GROUPS

/** What others are compared with. */
const REFERENCE = 'http-proxy'

const JSON_PAYMENT: Work = { kind: 'payment', body: 'json', way: 'same-shape' }
const ofBody = (body: BodyKind): Work => ({ kind: 'payment', body, way: 'same-shape' })

const BASE = {
  work: JSON_PAYMENT,
  card: 'values',
  fieldsAt: 'anywhere',
  guards: 'default',
  isIdempotent: false,
  tls: 'none',
  connections: 64,
  slowClients: 0,
  runs: 'full',
  steady: 'never',
  to: REFERENCE,
} as const satisfies Partial<Case>

type Differences = Partial<Case> & Pick<Case, 'group'>

const ours = (name: string, title: string, differences: Differences): Case => ({
  ...BASE,
  name,
  peer: 'sallyport',
  title: `Sallyport, ${title}`,
  card: 'placeholders',
  ...differences,
})

const titleOf = (peer: Peer) => PEERS.find(({ name }) => name === peer)?.title ?? peer
const kindOf = (peer: Peer) => PEERS.find(({ name }) => name === peer)?.kind

const theirs = (name: string, peer: Peer, does: string, differences: Differences): Case => ({
  ...BASE,
  name,
  peer,
  title: `${titleOf(peer)}, ${does}`,
  card: kindOf(peer) === 'detokenizes' ? 'placeholders' : 'values',
  ...differences,
})

const contender = (peer: Exclude<Peer, 'sallyport'>, runs: Case['runs']): Case =>
  theirs(peer, peer, kindOf(peer) === 'detokenizes' ? 'detokenizing' : 'pass-through', {
    group: 'contenders',
    runs,
    steady: 'full',
  })

export const CASES: readonly Case[] = [
  ours('pass-through', 'pass-through', {
    group: 'contenders',
    card: 'values',
    runs: 'short',
    steady: 'short',
  }),
  ours('detokenize', 'detokenizing', { group: 'contenders', runs: 'short', steady: 'short' }),
  contender('http-proxy', 'short'),
  contender('http-proxy-3', 'full'),
  contender('fastify-http-proxy', 'full'),
  contender('node-undici', 'short'),
  contender('nginx', 'short'),
  contender('nginx-lua', 'short'),
  contender('nginx-njs', 'full'),
  contender('haproxy', 'full'),

  ours('pointers', 'each field held to a JSON pointer', { group: 'shapes', to: 'detokenize' }),
  ours('form', 'form body', { group: 'shapes', work: ofBody('form'), to: 'detokenize' }),
  ours('xml', 'XML body', { group: 'shapes', work: ofBody('xml'), to: 'detokenize' }),
  ours('envelope', 'envelope', {
    group: 'shapes',
    work: { kind: 'payment', body: 'json', way: 'envelope' },
    to: 'detokenize',
  }),
  ours('ten-methods', 'ten payment methods', {
    group: 'shapes',
    work: ofBody('ten-methods'),
    to: 'http-proxy-ten-methods',
  }),
  theirs('http-proxy-ten-methods', 'http-proxy', 'ten cards', {
    group: 'shapes',
    work: ofBody('ten-methods'),
  }),
  ours('100-kb', '100 KB body', {
    group: 'shapes',
    work: ofBody('large'),
    to: 'http-proxy-100-kb',
  }),
  ours('100-kb-pass-through', '100 KB body, pass-through', {
    group: 'shapes',
    work: ofBody('large'),
    card: 'values',
    to: 'http-proxy-100-kb',
  }),
  theirs('http-proxy-100-kb', 'http-proxy', '100 KB body', {
    group: 'shapes',
    work: ofBody('large'),
  }),

  ours('unguarded', 'without the leak guard', {
    group: 'guards',
    guards: 'off',
    to: 'detokenize',
  }),
  ours('guarded', 'with breaker, rates and velocities, too', {
    group: 'guards',
    guards: 'all',
    to: 'unguarded',
  }),
  ours('idempotent', 'an idempotency key for each request', {
    group: 'guards',
    isIdempotent: true,
    to: 'detokenize',
  }),

  ours('tls-upstream', 'TLS to the upstream', {
    group: 'tls',
    tls: 'upstream',
    to: 'http-proxy-tls-upstream',
  }),
  theirs('http-proxy-tls-upstream', 'http-proxy', 'TLS to the upstream', {
    group: 'tls',
    tls: 'upstream',
  }),
  ours('tls-both', 'TLS on both sides', {
    group: 'tls',
    tls: 'both',
    to: 'http-proxy-tls-both',
  }),
  theirs('http-proxy-tls-both', 'http-proxy', 'TLS on both sides', { group: 'tls', tls: 'both' }),

  ours('1-connection', '1 connection', {
    group: 'connections',
    connections: 1,
    to: 'http-proxy-1-connection',
  }),
  theirs('http-proxy-1-connection', 'http-proxy', '1 connection', {
    group: 'connections',
    connections: 1,
  }),
  ours('1000-connections', '1,000 connections', {
    group: 'connections',
    connections: 1000,
    to: 'http-proxy-1000-connections',
  }),
  theirs('http-proxy-1000-connections', 'http-proxy', '1,000 connections', {
    group: 'connections',
    connections: 1000,
  }),
  ours('slow-clients', '64 connections beside 1,000 slow ones', {
    group: 'connections',
    slowClients: 1000,
    to: 'http-proxy-slow-clients',
  }),
  theirs('http-proxy-slow-clients', 'http-proxy', '64 connections beside 1,000 slow ones', {
    group: 'connections',
    slowClients: 1000,
  }),

  ours('stored-few', '{few} stored payment methods, each time another', {
    group: 'growth',
    work: { kind: 'stored', amount: 'few' },
    to: undefined,
  }),
  ours('stored-many', '{many} stored payment methods, each time another', {
    group: 'growth',
    work: { kind: 'stored', amount: 'many' },
    to: 'stored-few',
  }),

  ours('vault-create', 'a new card stored, on disk', {
    group: 'vault',
    work: { kind: 'create' },
    to: undefined,
  }),
  ours('vault-retrieve', 'a payment method read, masked', {
    group: 'vault',
    work: { kind: 'retrieve' },
    to: undefined,
  }),
  ours('vault-list', "a customer's thousand payment methods listed, one at a time", {
    group: 'vault',
    work: { kind: 'list' },
    connections: 1,
    to: undefined,
  }),
]

/** Processor time of one case by that of another, where both ran in one round. */
export const RATIOS: readonly {
  readonly of: string
  readonly to: string
  readonly title: string
  /** Not above it. */
  readonly target: number | undefined
}[] = [
  { of: 'detokenize', to: REFERENCE, title: 'detokenizing to http-proxy, plain', target: 0.65 },
  { of: 'detokenize', to: 'nginx-lua', title: 'detokenizing to nginx + Lua', target: 2.2 },
  { of: 'detokenize', to: 'pass-through', title: 'detokenizing to pass-through', target: 1.3 },
  { of: 'stored-many', to: 'stored-few', title: 'revealing from many to from few', target: 1.3 },
  { of: 'pass-through', to: REFERENCE, title: 'pass-through to http-proxy', target: undefined },
  { of: 'detokenize', to: 'nginx', title: 'detokenizing to nginx, plain', target: undefined },
]

/** What `--check` holds against the recorded ratios: they need nothing that npm does not install. */
export const CHECKED: readonly { readonly of: string; readonly to: string }[] = [
  { of: 'detokenize', to: REFERENCE },
  { of: 'pass-through', to: REFERENCE },
  { of: 'detokenize', to: 'pass-through' },
]

export const TARGETS = {
  addedP50Ms: 0.3,
  addedP99Ms: 1.5,
  storedCardsPerSecond: 5000,
  retrievedPerSecondPerCore: 15_000,
  listedP50Ms: 10,
  idleRssBytes: 150e6,
} as const
