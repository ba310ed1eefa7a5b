// Origins and URLs as they may name a destination. Compared as text after one strict reading, never repaired: what a
// URL parser would quietly turn into something else (user info, IP spellings, dots, percent signs) is refused.

import { isIP } from 'node:net'
import type { Brand } from '../core/brand.ts'

/** `https://api.example.com` or `http://127.0.0.1:8080`: lower case, default port left out. */
export type Origin = Brand<string, 'Origin'>

export type DestinationUrl = {
  readonly origin: Origin
  readonly path: string
  readonly query: string
}

const HOST_NAME =
  /^(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/
const VISIBLE_ASCII = /^[\x21-\x7e]*$/
const URL_PARTS = /^(https?):\/\/([^/?#]*)(\/[^?#]*)?(\?[^#]*)?$/i

/** `query` with its question mark, or empty. Path and query stay as they are written. */
export function parseDestinationUrl(input: string): DestinationUrl | undefined {
  // Visible ASCII only: some letters beyond it become ASCII ones when they are lowered.
  const parts = VISIBLE_ASCII.test(input) ? URL_PARTS.exec(input) : null
  if (parts === null) return undefined
  const [, scheme = '', authority = '', path = '/', query = ''] = parts
  const origin = originOf(scheme.toLowerCase(), authority.toLowerCase())
  return origin === undefined ? undefined : { origin, path, query }
}

export function parseOrigin(input: string): Origin | undefined {
  const url = parseDestinationUrl(input)
  return url !== undefined && url.query === '' && /^https?:\/\/[^/]*\/?$/i.test(input)
    ? url.origin
    : undefined
}

function originOf(scheme: string, authority: string): Origin | undefined {
  const parts = /^(\[[0-9a-f:.]+\]|[^:[\]]+)(?::([0-9]{1,5}))?$/.exec(authority)
  if (parts === null) return undefined
  const [, host = '', port] = parts
  const isLiteral = host.startsWith('[')
  if (isLiteral ? isIP(host.slice(1, -1)) !== 6 : !HOST_NAME.test(host)) return undefined
  // A name of digits and dots that is no IPv4 address is one of its other spellings (0x7f.1, 2130706433).
  if (!isLiteral && /(^|\.)(0x[0-9a-f]*|[0-9]+)$/.test(host) && isIP(host) !== 4) return undefined
  if (port !== undefined && (Number(port) > 65_535 || Number(port) === 0)) return undefined
  const isDefault = port === undefined || Number(port) === (scheme === 'https' ? 443 : 80)
  return `${scheme}://${host}${isDefault ? '' : `:${Number(port)}`}` as Origin
}

export type OriginRules = {
  /** Development: without TLS, and on any port. */
  readonly allowHttp: boolean
  readonly ports: readonly number[]
  /** Addresses may stand in place of names where private networks are open. */
  readonly allowAddresses: boolean
}

/** What a destination may call its origin: like an origin, or with `*` in place of the first of three labels or more. */
export function parseOriginPattern(input: string, rules: OriginRules): string | undefined {
  const isWildcard = /^https?:\/\/\*\./i.test(input)
  const origin = parseOrigin(isWildcard ? input.replace('*', 'wildcard') : input)
  if (origin === undefined) return undefined
  const { protocol, port, hostname } = new URL(origin)
  const isPlain = protocol !== 'https:' || !rules.ports.includes(port === '' ? 443 : Number(port))
  if (!rules.allowHttp && isPlain) return undefined
  if (isAddress(hostname)) {
    return isWildcard || !(rules.allowAddresses || rules.allowHttp) ? undefined : origin
  }
  if (!isWildcard) return origin
  return hostname.split('.').length >= 3 ? origin.replace('wildcard', '*') : undefined
}

function isAddress(hostname: string): boolean {
  return isIP(hostname.replace(/^\[|\]$/g, '')) !== 0
}

/** A URL that something of ours may be sent to, by the same rules. */
export function parseAllowedUrl(input: string, rules: OriginRules): DestinationUrl | undefined {
  const url = parseDestinationUrl(input)
  return url === undefined || parseOriginPattern(url.origin, rules) === undefined ? undefined : url
}

export function matchesOrigin(pattern: string, origin: Origin): boolean {
  if (pattern === origin) return true
  return pattern.includes('*') && origin.replace(/^(https?:\/\/)[^./:]+\./, '$1*.') === pattern
}
