// What browsers seal: opened by the key of the hour alone, and whatever is wrong with it looks the same.

import {
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  diffieHellman,
  hkdfSync,
  randomBytes,
} from 'node:crypto'
import nacl from 'tweetnacl'
import { describe, expect, test } from 'vitest'
import { type CaptureBox, capturePublicKey, openCaptureBox } from '../../src/crypto/capture.ts'

const hourKey = createSecretKey(randomBytes(32))
const TEXT = Buffer.from('{"session_id":"local_pms_1","payment_method_data":{}}')

/** As the browser module does. */
function sealTo(publicKey: Uint8Array, text: Uint8Array = TEXT): CaptureBox {
  const pair = nacl.box.keyPair()
  const nonce = nacl.randomBytes(24)
  const box = nacl.box(text, nonce, publicKey, pair.secretKey)
  return { ephemeralPublicKey: pair.publicKey, nonce, box }
}

test('a box is opened by the key that it was sealed to', () => {
  expect(openCaptureBox(hourKey, sealTo(capturePublicKey(hourKey)))).toEqual(TEXT)
})

test('the same hour has the same key, another hour another', () => {
  expect(capturePublicKey(hourKey)).toEqual(capturePublicKey(hourKey))
  const other = createSecretKey(randomBytes(32))
  expect(capturePublicKey(other)).not.toEqual(capturePublicKey(hourKey))
  expect(openCaptureBox(other, sealTo(capturePublicKey(hourKey)))).toBeUndefined()
})

test('the public key is the X25519 key (RFC 7748) of what HKDF (RFC 5869) makes of the hour key', () => {
  const bytes = Buffer.from(hkdfSync('sha256', hourKey, 'installation', 'sallyport capture', 32))
  const pkcs8 = Buffer.concat([Buffer.from('302e020100300506032b656e04220420', 'hex'), bytes])
  const own = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' })

  const spki = createPublicKey(own).export({ format: 'der', type: 'spki' })

  expect(spki.subarray(-32)).toEqual(capturePublicKey(hourKey))
  expect(diffieHellman({ privateKey: own, publicKey: createPublicKey(own) })).toHaveLength(32)
})

describe('nothing is opened', () => {
  const good = sealTo(capturePublicKey(hourKey))
  const flipped = (bytes: Uint8Array, at: number) => {
    const copy = Uint8Array.from(bytes)
    copy[at] = (copy[at] ?? 0) ^ 1
    return copy
  }

  test('of a box in which any one byte was changed', () => {
    for (let at = 0; at < good.box.length; at++) {
      expect(openCaptureBox(hourKey, { ...good, box: flipped(good.box, at) })).toBeUndefined()
    }
  })

  test('with another nonce or another ephemeral key', () => {
    const other = nacl.box.keyPair().publicKey
    expect(openCaptureBox(hourKey, { ...good, nonce: flipped(good.nonce, 0) })).toBeUndefined()
    expect(openCaptureBox(hourKey, { ...good, ephemeralPublicKey: other })).toBeUndefined()
    expect(
      openCaptureBox(hourKey, { ...good, ephemeralPublicKey: new Uint8Array(32) }),
    ).toBeUndefined()
  })

  test('of what is sealed under the secret that everybody shares with it: a public key of small order', () => {
    const nobodys = nacl.box.keyPair().secretKey
    const order8 = 'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800'
    for (const key of [new Uint8Array(32), Buffer.from(order8, 'hex')]) {
      const box = nacl.box.after(TEXT, good.nonce, nacl.box.before(key, nobodys))
      expect(openCaptureBox(hourKey, { ...good, ephemeralPublicKey: key, box })).toBeUndefined()
    }
  })

  test('of parts that are too short or too long', () => {
    for (const size of [0, 15, 23, 25, 31, 33]) {
      const bytes = new Uint8Array(size)
      expect(openCaptureBox(hourKey, { ...good, ephemeralPublicKey: bytes })).toBeUndefined()
      expect(openCaptureBox(hourKey, { ...good, nonce: bytes })).toBeUndefined()
      expect(openCaptureBox(hourKey, { ...good, box: bytes })).toBeUndefined()
    }
  })
})
