// Which headers pass. The upstream request is built from scratch: what frames a message or belongs to one hop is
// never copied (RFC 9110, 7.6.1; RFC 9112, 6), in either direction; all others pass as they are, duplicates kept.

/** TRACE and CONNECT are left out: one echoes injected credentials, the other is no request. */
export const DESTINATION_METHODS = [
  'GET',
  'HEAD',
  'POST',
  'PUT',
  'PATCH',
  'DELETE',
  'OPTIONS',
] as const

/** A token (RFC 9110, 5.6.2). */
export const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}$/

/** They say how the body is read, so nobody but the caller or the operator may change them once it is read. */
export const DECIDES_BODY: ReadonlySet<string> = new Set(['content-type', 'content-encoding'])

const HOP_BY_HOP = [
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authenticate',
  'proxy-authentication-info',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]

const OURS = 'sallyport-'

/** Most other names are of another length than any of these, and no hash is made of them. */
const namedAnyOf = (...names: readonly string[]) => {
  const set: ReadonlySet<string> = new Set(names)
  const lengths = new Uint8Array(64)
  for (const { length } of names) lengths[length] = 1
  return (name: string) => lengths[name.length] === 1 && set.has(name)
}

const isDroppedFromRequest = namedAnyOf(
  ...HOP_BY_HOP,
  'content-length',
  'expect',
  'host',
  'http2-settings',
  'x-profile-id', // ours
)

const isDroppedFromResponse = namedAnyOf(...HOP_BY_HOP)

/** `name` in lower case. */
export function isDroppedRequestHeader(name: string): boolean {
  return isDroppedFromRequest(name) || name.startsWith('proxy-') || name.startsWith(OURS)
}

export function isDroppedResponseHeader(name: string): boolean {
  return isDroppedFromResponse(name) || name.startsWith(OURS)
}

/** Headers that `Connection` names belong to this hop as well. Undefined for the usual values. */
export function connectionNames(connection: string | undefined): ReadonlySet<string> | undefined {
  if (connection === undefined) return undefined
  const lower = connection.toLowerCase()
  if (lower === 'keep-alive' || lower === 'close') return undefined
  return new Set(lower.split(',').map((name) => name.trim()))
}
