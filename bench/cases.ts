// The scenarios, as data. Every case sends the same payment, in 600 bytes, and has it answered by the same upstream;
// what stands between the two is the peer. Cases of one peer differ in what it is asked to do.

/** A file in `bench/peers/`, run as a process of its own. */
export type Peer = 'sallyport' | 'http-proxy' | 'node-undici'

export type Case = {
  readonly name: string
  readonly peer: Peer
  /** As it stands in the table. */
  readonly title: string
  /** What the caller sends where the card belongs. */
  readonly card: 'values' | 'placeholders'
  /** Sallyport: whether the policy names the JSON pointer of each field or allows it anywhere in the body. */
  readonly fieldsAt: 'anywhere' | 'pointers'
  /** Sallyport: `off` is without leak guard, `default` as it is installed, `all` also with breaker, rates and velocities. */
  readonly guards: 'off' | 'default' | 'all'
  /** Sallyport: every request has an idempotency key of its own. */
  readonly isIdempotent: boolean
  /** Others run when they are asked for by name. */
  readonly isDefault: boolean
}

export const CASES: readonly Case[] = [
  {
    name: 'pass-through',
    peer: 'sallyport',
    title: 'Sallyport, no placeholder',
    card: 'values',
    fieldsAt: 'anywhere',
    guards: 'default',
    isIdempotent: false,
    isDefault: true,
  },
  {
    name: 'detokenize',
    peer: 'sallyport',
    title: 'Sallyport, three placeholders of one card',
    card: 'placeholders',
    fieldsAt: 'anywhere',
    guards: 'default',
    isIdempotent: false,
    isDefault: true,
  },
  {
    name: 'detokenize-pointers',
    peer: 'sallyport',
    title: 'Sallyport, the same, each held to a JSON pointer',
    card: 'placeholders',
    fieldsAt: 'pointers',
    guards: 'default',
    isIdempotent: false,
    isDefault: false,
  },
  {
    name: 'unguarded',
    peer: 'sallyport',
    title: 'Sallyport, the same, without the leak guard',
    card: 'placeholders',
    fieldsAt: 'anywhere',
    guards: 'off',
    isIdempotent: false,
    isDefault: false,
  },
  {
    name: 'guarded',
    peer: 'sallyport',
    title: 'Sallyport, the same, with all guards on',
    card: 'placeholders',
    fieldsAt: 'anywhere',
    guards: 'all',
    isIdempotent: false,
    isDefault: false,
  },
  {
    name: 'idempotent',
    peer: 'sallyport',
    title: 'Sallyport, the same, with all guards and an idempotency key',
    card: 'placeholders',
    fieldsAt: 'anywhere',
    guards: 'all',
    isIdempotent: true,
    isDefault: false,
  },
  {
    name: 'http-proxy',
    peer: 'http-proxy',
    title: 'http-proxy 1.18, plain pass-through',
    card: 'values',
    fieldsAt: 'anywhere',
    guards: 'default',
    isIdempotent: false,
    isDefault: true,
  },
  {
    name: 'node-undici',
    peer: 'node-undici',
    title: 'bare node:http + undici, plain pass-through',
    card: 'values',
    fieldsAt: 'anywhere',
    guards: 'default',
    isIdempotent: false,
    isDefault: true,
  },
]

/** Ratios are to this one, in the same round. */
export const REFERENCE = 'http-proxy'

/** Ratios of one case of ours to another, where both ran. */
export const RATIOS: readonly {
  readonly of: string
  readonly to: string
  readonly title: string
}[] = [
  { of: 'detokenize', to: 'pass-through', title: 'Detokenizing to our own pass-through' },
  { of: 'guarded', to: 'unguarded', title: 'All guards to none' },
  { of: 'idempotent', to: 'unguarded', title: 'All guards and an idempotency key to none' },
]
