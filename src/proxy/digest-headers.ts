// Headers that hold a digest of the body: Content-MD5 (RFC 1864), Digest (RFC 3230), Content-Digest and Repr-Digest
// (RFC 9530). The caller computed them over a body with placeholders; when that is not the one that goes out, they are
// computed again by the same algorithms, or the request is refused.

import { invalidField } from '../core/errors.ts'
import { computeDigest, type DigestAlgorithm } from '../crypto/request-signature.ts'

const NAMES: ReadonlySet<string> = new Set([
  'content-md5',
  'digest',
  'content-digest',
  'repr-digest',
])

/** Most names are of no such length, and need no look. */
const LENGTHS: ReadonlySet<number> = new Set([...NAMES].map(({ length }) => length))

/** In any case. */
export function isDigestHeader(name: string): boolean {
  return LENGTHS.has(name.length) && NAMES.has(name.toLowerCase())
}

const ALGORITHMS: ReadonlyMap<string, DigestAlgorithm> = new Map([
  ['md5', 'md5'],
  ['sha', 'sha1'],
  ['sha-256', 'sha256'],
  ['sha-512', 'sha512'],
])

/** `headers`: names and values in turn. */
export function hasDigest(headers: readonly string[]): boolean {
  for (let i = 0; i < headers.length; i += 2) if (isDigestHeader(headers[i] as string)) return true
  return false
}

/** Throws AppError for an algorithm that we do not know. */
export function refuseUnknownDigests(headers: readonly string[]): void {
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    if (isDigestHeader(name) && name.toLowerCase() !== 'content-md5') {
      algorithmsOf(name, headers[i + 1] as string)
    }
  }
}

/** In base64. */
type Digest = (algorithm: DigestAlgorithm) => string

/** In place. Throws AppError for an algorithm that we do not know. */
export function refreshDigests(headers: string[], body: Buffer): void {
  const known = new Map<DigestAlgorithm, string>()
  const digest: Digest = (algorithm) => {
    const text = known.get(algorithm) ?? computeDigest(algorithm, body).toString('base64')
    known.set(algorithm, text)
    return text
  }
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string
    if (isDigestHeader(name)) {
      headers[i + 1] = refreshed(name.toLowerCase(), headers[i + 1] as string, digest)
    }
  }
}

function refreshed(name: string, value: string, digest: Digest): string {
  if (name === 'content-md5') return digest('md5')
  return algorithmsOf(name, value)
    .map(({ said, hash }) =>
      name === 'digest' ? `${said}=${digest(hash)}` : `${said}=:${digest(hash)}:`,
    )
    .join(', ')
}

/** There are four algorithms; a list of hundreds is no honest one. */
const MAX_ITEMS = 8

/** As the header spells each, and as node:crypto does. */
function algorithmsOf(name: string, value: string): { said: string; hash: DigestAlgorithm }[] {
  const items = value.split(',', MAX_ITEMS + 1)
  return items.map((item) => {
    const said = item.slice(0, Math.max(item.indexOf('='), 0)).trim()
    const hash = ALGORITHMS.get(said.toLowerCase())
    if (hash === undefined || items.length > MAX_ITEMS) {
      throw invalidField('invalid_value', name.toLowerCase())
    }
    return { said, hash }
  })
}
