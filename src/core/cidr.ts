// Address ranges as operators write them (RFC 4632, RFC 4291): `10.0.0.0/8`, `fd00::/8`, `203.0.113.7`.

import { BlockList, isIP, isIPv6 } from 'node:net'
import type { Brand } from './brand.ts'

/** With its prefix length. */
export type Cidr = Brand<string, 'Cidr'>

export function parseCidr(input: string): Cidr | undefined {
  const [address = '', bits, ...rest] = input.split('/')
  const family = isIP(address)
  if (family === 0 || rest.length > 0) return undefined
  const length = family === 4 ? 32 : 128
  if (bits === undefined) return `${address}/${length}` as Cidr
  if (!/^[0-9]{1,3}$/.test(bits) || Number(bits) > length) return undefined
  return input as Cidr
}

/** A set of ranges to test addresses against. IPv4 in IPv6 (`::ffff:a.b.c.d`) counts as IPv4. */
export class AddressRanges {
  readonly #ranges = new BlockList()
  readonly isEmpty: boolean

  constructor(cidrs: readonly Cidr[]) {
    this.isEmpty = cidrs.length === 0
    for (const cidr of cidrs) {
      const [address = '', bits] = cidr.split('/')
      this.#ranges.addSubnet(address, Number(bits), isIPv6(address) ? 'ipv6' : 'ipv4')
    }
  }

  /** What is no address is in no range. */
  has(address: string): boolean {
    const plain = plainAddress(address)
    return isIP(plain) !== 0 && this.#ranges.check(plain, isIPv6(plain) ? 'ipv6' : 'ipv4')
  }
}

/** An IPv4 address written as IPv6 becomes IPv4 again, so that one rule decides about it. */
export function plainAddress(address: string): string {
  if (!address.startsWith('::')) return address
  const mapped = /^::ffff:([0-9.]{7,15})$/i.exec(address)?.[1]
  if (mapped !== undefined) return mapped
  const hex = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/i.exec(address)
  if (hex === null) return address
  const value =
    (Number.parseInt(hex[1] as string, 16) << 16) | Number.parseInt(hex[2] as string, 16)
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 0xff).join('.')
}

/**
 * Whom an address belongs to, for counting: of IPv6 the first 64 bits, which one customer of a network has all to itself
 * and often more than that (RFC 6177); of IPv4 the address. What is no address is itself.
 */
export function networkOf(address: string): string {
  const plain = plainAddress(address)
  if (!isIPv6(plain)) return plain
  const [head = '', tail] = (plain.split('%', 1)[0] ?? '').split('::')
  const groups = groupsOf(head)
  // `::` stands for as many zeros as are missing.
  const after = tail === undefined ? [] : groupsOf(tail)
  while (groups.length + after.length < IPV6_GROUPS) groups.push(0)
  const network = [...groups, ...after].slice(0, 4)
  return `${network.map((group) => group.toString(16)).join(':')}::/64`
}

const IPV6_GROUPS = 8

function groupsOf(text: string): number[] {
  if (text === '') return []
  return text.split(':').flatMap((group) =>
    // The last 32 bits may be written as IPv4; they are never of the first 64.
    group.includes('.') ? [0, 0] : [Number.parseInt(group, 16)],
  )
}
