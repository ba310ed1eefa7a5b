// Where an API key, or what a browser has in place of one, stands in a request to the control plane or the envelope: the
// forms Hyperswitch's clients use, and our own header.

import type { ClientCredential } from '../core/caller.ts'

/** `header`: the value of the header of this name. */
export function presentedKey(header: (name: string) => string | undefined): string | undefined {
  const own = header('sallyport-key') || header('api-key')
  if (own !== undefined && own !== '') return own
  const authorization = header('authorization')
  return authorization === undefined ? undefined : keyInAuthorization(authorization)
}

/** `api-key=<key>` in a list of pairs, or the bare key. */
function keyInAuthorization(value: string): string | undefined {
  const bare = value.trim()
  return keyInPairs(value) ?? (bare === '' || /[\s,=]/.test(bare) ? undefined : bare)
}

function keyInPairs(value: string): string | undefined {
  for (const part of value.split(',')) {
    const pair = part.trim()
    if (pair.startsWith('api-key=')) return pair.slice('api-key='.length)
  }
  return undefined
}

/** For destinations that inject the PSP's own: `Bearer <key>`, or the key as the user name of Basic (RFC 7617). */
export function keyOfPspSdk(authorization: string): string | undefined {
  const [scheme = '', value = ''] = authorization.trim().split(/ +/, 2)
  if (value === '') return undefined
  switch (scheme.toLowerCase()) {
    case 'bearer':
      return value
    case 'basic':
      return Buffer.from(value, 'base64').toString('utf8').split(':', 1)[0] || undefined
    default:
      return undefined
  }
}

/**
 * `publishable-key=<pk>,client-secret=<cs>`, or what `sdkAuthorization` made of the same. Undefined where an API key is
 * said, in a header of its own or as one of the pairs: then that counts, on every route.
 */
export function presentedClient(
  header: (name: string) => string | undefined,
): ClientCredential | undefined {
  if (header('sallyport-key') || header('api-key')) return undefined
  const authorization = header('authorization')
  if (authorization === undefined || authorization.length > MAX_CREDENTIAL) return undefined
  if (keyInPairs(authorization) !== undefined) return undefined
  const bare = authorization.trim()
  const pairs = pairsOf(BASE64.test(bare) ? Buffer.from(bare, 'base64').toString('latin1') : bare)
  const publishableKey = pairs.get('publishable_key')
  const clientSecret = pairs.get('client_secret')
  if (!publishableKey || !clientSecret) return undefined
  return {
    publishableKey,
    clientSecret,
    sessionId: pairs.get('payment_method_session_id'),
    profileId: pairs.get('profile_id'),
  }
}

/** Opaque to those who pass it on: a server to its page, the page to us. */
export function sdkAuthorization(
  parts: {
    readonly [part in keyof ClientCredential]: string
  },
): string {
  const text = [
    `publishable_key=${parts.publishableKey}`,
    `payment_method_session_id=${parts.sessionId}`,
    `profile_id=${parts.profileId}`,
    `client_secret=${parts.clientSecret}`,
  ].join(',')
  return Buffer.from(text, 'latin1').toString('base64')
}

const MAX_CREDENTIAL = 2048
const BASE64 = /^[A-Za-z0-9+/_-]+={0,2}$/

/** Names with dashes are those with underscores; of one that is said twice the first counts. */
function pairsOf(text: string): ReadonlyMap<string, string> {
  const pairs = new Map<string, string>()
  for (const part of text.split(',')) {
    const at = part.indexOf('=')
    const name = part.slice(0, Math.max(at, 0)).trim().replaceAll('-', '_')
    if (at > 0 && !pairs.has(name)) pairs.set(name, part.slice(at + 1).trim())
  }
  return pairs
}
