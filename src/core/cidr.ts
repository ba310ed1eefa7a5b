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
