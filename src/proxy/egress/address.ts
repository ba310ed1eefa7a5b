// Which addresses are the public internet. Pure: it knows tables, not networks.

import { BlockList, isIP, isIPv6 } from 'node:net'
import { plainAddress } from '../../core/cidr.ts'

// IANA's IPv4 and IPv6 special-purpose address registries (RFC 6890 and updates), also the ranges there that are
// globally reachable: no PSP is in any of them. IPv4 in IPv6 is unwrapped before (a `::ffff:0:0/96` here would block
// all of IPv4).
const SPECIAL_IPV4 = [
  '0.0.0.0/8', // this host and network
  '10.0.0.0/8',
  '100.64.0.0/10', // shared by carriers; metadata of Alibaba's cloud
  '127.0.0.0/8',
  '168.63.129.16/32', // not in the registries, but inside Azure it is the host's own service, metadata and DNS
  '169.254.0.0/16', // link local, cloud metadata
  '172.16.0.0/12',
  '192.0.0.0/24', // protocol assignments; metadata of Oracle's cloud
  '192.0.2.0/24',
  '192.31.196.0/24',
  '192.52.193.0/24',
  '192.88.99.0/24', // relays of 6to4
  '192.168.0.0/16',
  '192.175.48.0/24',
  '198.18.0.0/15',
  '198.51.100.0/24',
  '203.0.113.0/24',
  '224.0.0.0/4', // multicast
  '240.0.0.0/4', // reserved, and broadcast
]
/**
 * Global unicast is 2000::/3, which leaves out loopback, IPv4-compatible, NAT64 (64:ff9b::/96, 64:ff9b:1::/48), discard
 * (100::/64, 100:0:0:1::/64), segment routing (5f00::/16), unique local, link local and multicast. Of it, what is special:
 */
const SPECIAL_IPV6 = [
  '2001::/23', // protocol assignments, Teredo and ORCHID among them
  '2001:db8::/32',
  '2002::/16', // 6to4: an IPv4 address in disguise
  '2620:4f:8000::/48',
  '3fff::/20',
]

const special = new BlockList()
const globalIpv6 = new BlockList()
for (const cidr of SPECIAL_IPV4) special.addSubnet(...subnet(cidr), 'ipv4')
for (const cidr of SPECIAL_IPV6) special.addSubnet(...subnet(cidr), 'ipv6')
globalIpv6.addSubnet('2000::', 3, 'ipv6')

function subnet(cidr: string): [string, number] {
  const [address = '', bits] = cidr.split('/')
  return [address, Number(bits)]
}

export function isPublicAddress(address: string): boolean {
  const plain = plainAddress(address)
  if (!isIPv6(plain)) return isIP(plain) === 4 && !special.check(plain, 'ipv4')
  return globalIpv6.check(plain, 'ipv6') && !special.check(plain, 'ipv6')
}
