// Whom an address belongs to, for counting.

import { isIPv6 } from 'node:net'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { networkOf } from '../../src/core/cidr.ts'

test.each([
  ['203.0.113.7', '203.0.113.7'],
  ['::ffff:203.0.113.7', '203.0.113.7'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['2001:0DB8:0001:0002::', '2001:db8:1:2::/64'],
  ['2001:db8:1:2::9', '2001:db8:1:2::/64'],
  ['2001:db8::9', '2001:db8:0:0::/64'],
  ['2001:db8::3:4:5:6:7', '2001:db8:0:3::/64'],
  ['2001:db8::1.2.3.4', '2001:db8:0:0::/64'],
  ['64:ff9b:0:1:2:3:1.2.3.4', '64:ff9b:0:1::/64'],
  ['fe80::1%eth0', 'fe80:0:0:0::/64'],
  ['::1', '0:0:0:0::/64'],
  ['::', '0:0:0:0::/64'],
  ['no address', 'no address'],
  ['', ''],
])('%s is of %s', (address, network) => {
  expect(networkOf(address)).toBe(network)
})

test('every spelling of an address is of the network that its first 64 bits are', () => {
  const group = fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 0xffff }))
  // Not IPv4 in IPv6, which is counted as IPv4.
  const first = fc.integer({ min: 1, max: 0xffff })
  const eight = fc.tuple(first, group, group, group, group, group, group, group)
  fc.assert(
    fc.property(eight, fc.nat(7), (groups, at) => {
      const texts = groups.map((each) => each.toString(16))
      const spellings = [texts.join(':'), texts.map((each) => each.padStart(4, '0')).join(':')]
      const zero = groups.indexOf(0, at)
      if (zero !== -1) {
        let end = zero
        while (groups[end] === 0) end += 1
        const short = `${texts.slice(0, zero).join(':')}::${texts.slice(end).join(':')}`
        spellings.push(short, short.toUpperCase())
      }
      for (const spelling of spellings) {
        expect(isIPv6(spelling)).toBe(true)
        expect(networkOf(spelling)).toBe(`${texts.slice(0, 4).join(':')}::/64`)
      }
    }),
  )
})
