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
    isDefault: true,
  },
  {
    name: 'detokenize',
    peer: 'sallyport',
    title: 'Sallyport, three placeholders of one card',
    card: 'placeholders',
    fieldsAt: 'anywhere',
    isDefault: true,
  },
  {
    name: 'detokenize-pointers',
    peer: 'sallyport',
    title: 'Sallyport, the same, each held to a JSON pointer',
    card: 'placeholders',
    fieldsAt: 'pointers',
    isDefault: false,
  },
  {
    name: 'http-proxy',
    peer: 'http-proxy',
    title: 'http-proxy 1.18, plain pass-through',
    card: 'values',
    fieldsAt: 'anywhere',
    isDefault: true,
  },
  {
    name: 'node-undici',
    peer: 'node-undici',
    title: 'bare node:http + undici, plain pass-through',
    card: 'values',
    fieldsAt: 'anywhere',
    isDefault: true,
  },
]

/** Ratios are to this one, in the same round. */
export const REFERENCE = 'http-proxy'
