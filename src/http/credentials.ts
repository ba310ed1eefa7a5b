// Where an API key stands in a request to the control plane or the envelope: the forms Hyperswitch's clients use,
// and our own header.

/** `header`: the value of the header of this name. */
export function presentedKey(header: (name: string) => string | undefined): string | undefined {
  const own = header('sallyport-key') || header('api-key')
  if (own !== undefined && own !== '') return own
  const authorization = header('authorization')
  return authorization === undefined ? undefined : keyInAuthorization(authorization)
}

/** `api-key=<key>` in a list of pairs, or the bare key. */
function keyInAuthorization(value: string): string | undefined {
  for (const part of value.split(',')) {
    const pair = part.trim()
    if (pair.startsWith('api-key=')) return pair.slice('api-key='.length)
  }
  const bare = value.trim()
  return bare === '' || /[\s,=]/.test(bare) ? undefined : bare
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
