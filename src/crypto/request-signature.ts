// Signatures over requests that leave: message authentication codes, key-pair signatures and digests, on KeyObjects.
// A key is parsed for one algorithm and tried once, so that signing with it later cannot fail.

import {
  constants,
  createHash,
  createHmac,
  createPrivateKey,
  type KeyObject,
  sign as signMessage,
} from 'node:crypto'
import { takeKey } from './take-key.ts'

export type MacAlgorithm = 'sha1' | 'sha256' | 'sha512'
export type DigestAlgorithm = 'md5' | MacAlgorithm
/** As RFC 9421, 3.3 names them. */
export type KeyPairAlgorithm =
  | 'rsa-v1_5-sha256'
  | 'rsa-pss-sha512'
  | 'ecdsa-p256-sha256'
  | 'ed25519'
export type KeyEncoding = 'utf8' | 'hex' | 'base64'

const HEX = /^([0-9A-Fa-f]{2})+$/
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/

/** Undefined when the text is not exactly of its encoding, which Buffer.from would quietly cut short, or is empty. */
export function parseMacKey(text: string, encoding: KeyEncoding): KeyObject | undefined {
  if (text === '' || !isEncoded(text, encoding)) return undefined
  return takeKey(Buffer.from(text, encoding))
}

function isEncoded(text: string, encoding: KeyEncoding): boolean {
  switch (encoding) {
    case 'utf8':
      return text.isWellFormed() // a lone surrogate would become another key
    case 'hex':
      return HEX.test(text)
    case 'base64':
      return BASE64.test(text)
    default:
      return encoding satisfies never
  }
}

/** The pieces are signed as if they were one, without ever being joined. */
export function computeMac(
  algorithm: MacAlgorithm,
  key: KeyObject,
  pieces: Iterable<Uint8Array>,
): Buffer {
  const mac = createHmac(algorithm, key)
  for (const piece of pieces) mac.update(piece)
  return mac.digest()
}

export function computeDigest(algorithm: DigestAlgorithm, body: Uint8Array | undefined): Buffer {
  const hash = createHash(algorithm)
  if (body !== undefined) hash.update(body)
  return hash.digest()
}

// One unencrypted private key and nothing beside it (RFC 7468; the older forms of PKCS #1 and SEC 1).
const PRIVATE_KEY =
  /^\s*-----BEGIN ((?:RSA |EC )?PRIVATE KEY)-----[A-Za-z0-9+/=\s]+-----END \1-----\s*$/
// Shorter ones are breakable; the time that longer ones take would be every other request's too.
const RSA_BITS = { min: 2048, max: 8192 }

/** Undefined when the PEM is no private key, or one that the algorithm does not go with. */
export function parseSigningKey(pem: string, algorithm: KeyPairAlgorithm): KeyObject | undefined {
  if (!PRIVATE_KEY.test(pem)) return undefined
  try {
    const key = createPrivateKey(pem)
    if (!fits(key, algorithm)) return undefined
    // RSA-PSS keys may themselves restrict digest and salt (RFC 4055, 3.1): a trial says whether they do.
    computeSignature(algorithm, key, Buffer.alloc(0))
    return key
  } catch {
    return undefined // OpenSSL's reasons are about the key's text, which nobody is to be told
  }
}

function fits(key: KeyObject, algorithm: KeyPairAlgorithm): boolean {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key
  const bits = details?.modulusLength ?? 0
  const isRsaSize = bits >= RSA_BITS.min && bits <= RSA_BITS.max
  switch (algorithm) {
    case 'rsa-v1_5-sha256':
      return type === 'rsa' && isRsaSize
    case 'rsa-pss-sha512':
      return (type === 'rsa' || type === 'rsa-pss') && isRsaSize
    case 'ecdsa-p256-sha256':
      return type === 'ec' && details?.namedCurve === 'prime256v1'
    case 'ed25519':
      return type === 'ed25519'
    default:
      return algorithm satisfies never
  }
}

/** RFC 9421, 3.3.1 to 3.3.6. */
export function computeSignature(
  algorithm: KeyPairAlgorithm,
  key: KeyObject,
  message: Uint8Array,
): Buffer {
  switch (algorithm) {
    case 'rsa-v1_5-sha256':
      return signMessage('sha256', message, { key, padding: constants.RSA_PKCS1_PADDING })
    case 'rsa-pss-sha512':
      return signMessage('sha512', message, {
        key,
        padding: constants.RSA_PKCS1_PSS_PADDING,
        saltLength: 64,
      })
    case 'ecdsa-p256-sha256':
      return signMessage('sha256', message, { key, dsaEncoding: 'ieee-p1363' })
    case 'ed25519':
      return signMessage(null, message, key)
    default:
      return algorithm satisfies never
  }
}
