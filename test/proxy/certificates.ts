// Certificates made for a test as it runs, so that none in the repository ever expires and no program is needed: just
// enough X.509 (RFC 5280) in DER for an authority and for servers under it. Keys are P-256, serials random.

import { generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto'
import { isIP } from 'node:net'

export type Certificate = {
  /** PEM, as TLS servers want them. */
  readonly key: string
  readonly cert: string
  readonly name: string
  readonly privateKey: KeyObject
}

const DAY_MS = 86_400_000

/** Signed by `issuer`, or by itself. `hosts`: names and IPv4 addresses it is for. */
export function makeCertificate(
  name: string,
  options: {
    issuer?: Certificate
    isAuthority?: boolean
    hosts?: string[]
    from?: Date
    until?: Date
  } = {},
): Certificate {
  const { issuer, isAuthority = false, hosts = [], until = new Date(Date.now() + DAY_MS) } = options
  const { from = new Date(until.getTime() - 30 * DAY_MS) } = options
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const extensions = [
    sequence(oid(OIDS.basicConstraints), TRUE, octets(isAuthority ? sequence(TRUE) : sequence())),
  ]
  if (hosts.length > 0) {
    extensions.push(sequence(oid(OIDS.subjectAltName), octets(sequence(...hosts.map(altName)))))
  }
  const body = sequence(
    der(0xa0, integer(Buffer.from([2]))), // version 3
    integer(Buffer.from([1, ...randomBytes(8)])),
    sequence(oid(OIDS.ecdsaWithSha256)),
    distinguishedName(issuer?.name ?? name),
    sequence(time(from), time(until)),
    distinguishedName(name),
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, sequence(...extensions)),
  )
  const signature = sign('sha256', body, issuer?.privateKey ?? privateKey)
  const whole = sequence(
    body,
    sequence(oid(OIDS.ecdsaWithSha256)),
    der(0x03, Buffer.from([0]), signature),
  )
  const lines = whole.toString('base64').match(/.{1,64}/g) ?? []
  return {
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    cert: `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`,
    name,
    privateKey,
  }
}

/** The bytes after the tag and the length, as X.690 wants them. */
const OIDS = {
  commonName: '550403',
  basicConstraints: '551d13',
  subjectAltName: '551d11',
  ecdsaWithSha256: '2a8648ce3d040302',
} as const

const TRUE = Buffer.from([0x01, 0x01, 0xff])

function der(tag: number, ...parts: Uint8Array[]): Buffer {
  const content = Buffer.concat(parts)
  const { length } = content
  const size = length < 0x80 ? [length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...size]), content])
}

const sequence = (...parts: Uint8Array[]) => der(0x30, ...parts)
const integer = (bytes: Buffer) => der(0x02, bytes)
const octets = (bytes: Buffer) => der(0x04, bytes)
const oid = (hex: string) => der(0x06, Buffer.from(hex, 'hex'))

const distinguishedName = (name: string) =>
  sequence(der(0x31, sequence(oid(OIDS.commonName), der(0x0c, Buffer.from(name)))))

/** UTCTime: `YYMMDDhhmmssZ`. */
const time = (date: Date) =>
  der(0x17, Buffer.from(`${date.toISOString().slice(2, 19).replaceAll(/[-:T]/g, '')}Z`))

const altName = (host: string) =>
  isIP(host) === 4
    ? der(0x87, Buffer.from(host.split('.').map(Number)))
    : der(0x82, Buffer.from(host))
