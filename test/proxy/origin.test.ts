// Origins as text: one strict reading, nothing repaired. The dangerous spellings of addresses and hosts are refused, or
// at least never become an origin that somebody has allowed.

import { describe, expect, test } from 'vitest'
import {
  matchesOrigin,
  type Origin,
  parseDestinationUrl,
  parseOrigin,
  parseOriginPattern,
} from '../../src/proxy/origin.ts'

const open = { allowHttp: true, allowAddresses: true, ports: [443] }
const closed = { allowHttp: false, allowAddresses: false, ports: [443] }

test.each([
  ['https://api.example.com', 'https://api.example.com'],
  ['https://api.example.com/', 'https://api.example.com'],
  ['HTTPS://API.Example.COM', 'https://api.example.com'],
  ['https://api.example.com:443', 'https://api.example.com'],
  ['https://api.example.com:0443', 'https://api.example.com'],
  ['https://api.example.com:8443', 'https://api.example.com:8443'],
  ['http://api.example.com:80', 'http://api.example.com'],
  ['http://api.example.com:443', 'http://api.example.com:443'],
  ['http://127.0.0.1:8080', 'http://127.0.0.1:8080'],
  ['http://[::1]:8080', 'http://[::1]:8080'],
  ['https://xn--bcher-kva.example', 'https://xn--bcher-kva.example'],
  ['https://localhost', 'https://localhost'],
])('%s is read as %s', (input, origin) => {
  expect(parseOrigin(input)).toBe(origin)
})

/** Spellings that URL parsers turn into the allowed host, the loopback or the metadata address. */
const SPELLINGS = [
  // user information and what looks like it
  'https://user@api.example.com',
  'https://user:pass@api.example.com',
  'https://api.example.com@evil.test',
  'https://evil.test#@api.example.com',
  'https://evil.test\\@api.example.com',
  'https://api.example.com\\@evil.test',
  'https://api.example.com\\.evil.test',
  'https://:@api.example.com',
  'https://@api.example.com',
  // dots
  'https://api.example.com.',
  'https://.api.example.com',
  'https://api..example.com',
  'https://api。example。com',
  'https://api.example．com',
  'http://127.0.0.1.',
  'http://127。0。0。1',
  // percent signs
  'https://api%2eexample.com',
  'https://%61pi.example.com',
  'https://api.example.com%00.evil.test',
  'https://api.example.com%23.evil.test',
  'http://[fe80::1%25eth0]',
  'http://[fe80::1%eth0]',
  // letters that become others
  'https://ａpi.example.com',
  'https://api.eＸample.com',
  'https://api.exaⓜple.com',
  'https://api.example.c\u00adom',
  'https://api.\u212Aings.com',
  'https://api.example.com\u200b',
  'https://\u017Fecure.example.com',
  // blanks and control characters
  ' https://api.example.com',
  'https://api.example.com ',
  'https://api.example.com\n',
  'https://api.exam\tple.com',
  'https://api.exam\nple.com',
  'https://api.example.com\0',
  'ht\ntps://api.example.com',
  // addresses
  'http://0x7f.1',
  'http://0x7f000001',
  'http://0x7F.0.0.0x1',
  'http://2130706433',
  'http://127.1',
  'http://127.0.1',
  'http://0177.0.0.1',
  'http://017700000001',
  'http://127.0.0.01',
  'http://127.0.0.256',
  'http://127.0.0.1.1',
  'http://0',
  'http://0x',
  'http://①②⑦.0.0.1',
  'http://１２７.0.0.1',
  'http://2852039166',
  'http://0xa9fea9fe',
  'http://api.example.0x7f',
  'http://api.example.1',
  'http://[::1',
  'http://::1',
  'http://[::ffff:127.0.0.256]',
  'http://[:::]',
  'http://[127.0.0.1]',
  'http://[]',
  // ports
  'https://api.example.com:',
  'https://api.example.com:0',
  'https://api.example.com:65536',
  'https://api.example.com:99999999',
  'https://api.example.com:-1',
  'https://api.example.com:+443',
  'https://api.example.com:4 43',
  'https://api.example.com:443:443',
  'https://api.example.com:443@evil.test',
  'https://api.example.com:0x1bb',
  // schemes and slashes
  'ftp://api.example.com',
  'file:///etc/passwd',
  'https:/api.example.com',
  'https:api.example.com',
  'https:\\\\api.example.com',
  '//api.example.com',
  'https:///api.example.com',
  'api.example.com',
  'data:text/plain,x',
  'https://',
  '',
  // labels
  'https://-api.example.com',
  'https://api.example-.com',
  'https://*.example.com',
  `https://${'a'.repeat(64)}.example.com`,
  `https://${'a.'.repeat(127)}example.com`,
  'https://api,example.com',
  'https://api.example.com;evil.test',
  'https://api.example.com<evil',
]

describe('refused as an origin and as a URL', () => {
  test.each(SPELLINGS)('%j', (input) => {
    expect(parseOrigin(input)).toBeUndefined()
    expect(parseDestinationUrl(`${input}/a`)).toBeUndefined()
  })
})

test.each([
  'https://api.example.com/a',
  'https://api.example.com//',
  'https://api.example.com?a',
  'https://api.example.com/?',
  'https://api.example.com#',
])('%s is more than an origin', (input) => {
  expect(parseOrigin(input)).toBeUndefined()
})

test.each([
  ['https://a.test', '/', ''],
  ['https://a.test?x=1', '/', '?x=1'],
  ['https://a.test/b/%7e?x=%20&y', '/b/%7e', '?x=%20&y'],
  ['https://a.test/b?c=/d?e', '/b', '?c=/d?e'],
  ['https://a.test//b/../c', '//b/../c', ''],
])('path and query of %s stay as they are written', (input, path, query) => {
  expect(parseDestinationUrl(input)).toEqual({ origin: 'https://a.test', path, query })
})

test.each(['https://a.test/#', 'https://a.test/b#c', 'https://a.test/?b#c'])(
  'a URL with a fragment is refused: %s',
  (input) => {
    expect(parseDestinationUrl(input)).toBeUndefined()
  },
)

// What cannot stand in a request line must not come as far as a reveal.
test.each([
  ['a blank', 'https://a.test/b?c d'],
  ['a line break', 'https://a.test/b?c\r\nX-Evil: 1'],
  ['a NUL', 'https://a.test/b?c\0'],
  ['a tab', 'https://a.test/b?c\td'],
  ['beyond ASCII', 'https://a.test/b?c=é'],
  ['a character whose low byte is a brace', 'https://a.test/b?c=\u017b'],
])('a URL with %s in its query is refused', (_, input) => {
  expect(parseDestinationUrl(input)).toBeUndefined()
})

describe('an address has one spelling for each destination', () => {
  test.each([
    ['http://[::ffff:127.0.0.1]', 'http://127.0.0.1'],
    ['http://[::ffff:7f00:1]', 'http://127.0.0.1'],
    ['http://[0:0:0:0:0:0:0:1]', 'http://[::1]'],
    ['http://[::0001]', 'http://[::1]'],
    ['http://localhost', 'http://127.0.0.1'],
    ['https://127.0.0.1', 'http://127.0.0.1'],
    ['http://127.0.0.1:81', 'http://127.0.0.1'],
  ])('%s is not the allowed %s', (input, allowed) => {
    expect(parseOrigin(input)).not.toBe(allowed)
  })
})

describe('what a destination may call its origin', () => {
  test.each([
    ['a name', 'https://api.example.com', closed, 'https://api.example.com'],
    [
      'a name with the usual port',
      'https://api.example.com:443',
      closed,
      'https://api.example.com',
    ],
    ['one label left open', 'https://*.adyen.com', closed, 'https://*.adyen.com'],
    ['one label of four left open', 'https://*.a.adyen.com', closed, 'https://*.a.adyen.com'],
    [
      'a port that is open',
      'https://psp.example.com:8443',
      { ...closed, ports: [443, 8443] },
      'https://psp.example.com:8443',
    ],
    ['http in development', 'http://psp.test:8080', open, 'http://psp.test:8080'],
    ['an address where private networks are open', 'http://10.0.0.1', open, 'http://10.0.0.1'],
    [
      'an address with TLS',
      'https://10.0.0.1',
      { allowHttp: false, allowAddresses: true, ports: [443] },
      'https://10.0.0.1',
    ],
  ])('allowed: %s', (_, input, rules, origin) => {
    expect(parseOriginPattern(input, rules)).toBe(origin)
  })

  test.each([
    ['no TLS', 'http://api.example.com', closed],
    ['another port', 'https://api.example.com:8443', closed],
    ['the usual port where it is not open', 'https://a.example.com', { ...closed, ports: [8443] }],
    ['plain HTTP on a port that is open', 'http://a.example.com:443', closed],
    ['an address', 'https://93.184.216.34', closed],
    ['an IPv6 address', 'https://[2606:2800:220:1::1]', closed],
    ['every host under a top-level domain', 'https://*.com', open],
    ['every host', 'https://*', open],
    ['a star within a label', 'https://api*.example.com', open],
    ['a star in another label', 'https://api.*.com', open],
    ['two stars', 'https://*.*.example.com', open],
    ['a star before an address', 'https://*.0.0.1', open],
    ['a path', 'https://api.example.com/v1', open],
    ['user information', 'https://user@api.example.com', open],
    ['a letter that becomes another', 'https://api.\u212Aings.com', open],
    ['nothing', '', open],
  ])('refused: %s', (_, input, rules) => {
    expect(parseOriginPattern(input, rules)).toBeUndefined()
  })
})

test.each([
  ['https://api.adyen.com', 'https://api.adyen.com', true],
  ['https://*.adyen.com', 'https://pal.adyen.com', true],
  ['https://*.adyen.com', 'https://adyen.com', false],
  ['https://*.adyen.com', 'https://a.b.adyen.com', false],
  ['https://*.adyen.com', 'https://evil-adyen.com', false],
  ['https://*.adyen.com', 'https://pal.adyen.com.evil.test', false],
  ['https://*.adyen.com', 'https://pal.adyen.com:8443', false],
  ['https://*.adyen.com', 'http://pal.adyen.com', false],
  ['http://*.adyen.com:81', 'http://pal.adyen.com:81', true],
  ['https://api.adyen.com', 'https://pal.adyen.com', false],
])('%s and %s: %s', (pattern, origin, matches) => {
  expect(matchesOrigin(pattern, origin as Origin)).toBe(matches)
})
