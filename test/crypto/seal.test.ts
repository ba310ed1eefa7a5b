// The promise of sealing, from three sides: node:crypto with our options answers as NIST's published vectors do, the
// layout of a sealed value is pinned byte by byte, and nothing but the value itself in its own place opens.

import { createCipheriv, createDecipheriv, createSecretKey, randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  keyVersion,
  OpenError,
  open,
  type SealContext,
  type Sealed,
  type SealingKey,
  type SealKind,
  seal,
} from '../../src/crypto/seal.ts'

/** The options of seal.ts; the vectors are only worth something with these. */
const ALGORITHM = 'aes-256-gcm'
const OPTIONS = { authTagLength: 16 }

const NONCE_AT = 5
const TEXT_AT = 17
const TAG_BYTES = 16

const KEY_BYTES = Buffer.from(Array.from({ length: 32 }, (_, i) => i))
const KEY: SealingKey = { version: 7, key: createSecretKey(KEY_BYTES) }
const CARD: SealContext = { owner: 'mer_1', kind: 'card', id: 'acme0_pm_018f' }
const NUMBER = Buffer.from('4242424242424242')

/** Bytes from anywhere, to be opened. */
function asSealed(bytes: Uint8Array): Sealed {
  return bytes as Sealed
}

function flipBit(bytes: Uint8Array, bit: number): Sealed {
  const flipped = Uint8Array.from(bytes)
  flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (0x80 >> (bit & 7))
  return asSealed(flipped)
}

function expectRefused(sealed: Sealed, context = CARD, key = KEY): void {
  expect(() => open(key, sealed, context)).toThrow(OpenError)
}

const KINDS: readonly SealKind[] = [
  'card',
  'cvc',
  'details',
  'token',
  'customer',
  'destination',
  'key',
]

const name = fc.stringMatching(/^[A-Za-z0-9_.~-]{1,64}$/)
const context = fc.record({ owner: name, kind: fc.constantFrom(...KINDS), id: name })
const sealingKey = fc.record({
  version: fc.integer({ min: 0, max: 0xffffffff }),
  key: fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => createSecretKey(bytes)),
})
const plaintext = fc.uint8Array({ maxLength: 2000 })

describe('AES-256-GCM with the options of ours', () => {
  type Vector = {
    group: string
    count: number
    key: string
    iv: string
    aad: string
    ct: string
    tag: string
    pt?: string
  }
  type Vectors = {
    encrypt: readonly (Vector & { pt: string })[]
    decrypt: readonly (Vector & { outcome: string })[]
  }

  const vectors = JSON.parse(
    readFileSync(new URL('../vectors/aes-256-gcm-nist.json', import.meta.url), 'utf8'),
  ) as Vectors
  const hex = (text: string) => Buffer.from(text, 'hex')

  function decrypt(vector: Vector): Buffer {
    const decipher = createDecipheriv(ALGORITHM, hex(vector.key), hex(vector.iv), OPTIONS)
    decipher.setAAD(hex(vector.aad))
    decipher.setAuthTag(hex(vector.tag))
    return Buffer.concat([decipher.update(hex(vector.ct)), decipher.final()])
  }

  test('the vectors are there', () => {
    expect(vectors.encrypt).toHaveLength(75)
    expect(vectors.decrypt).toHaveLength(96)
    expect(vectors.decrypt.filter(({ outcome }) => outcome === 'refused')).toHaveLength(48)
  })

  test.each(vectors.encrypt)('$group, $count encrypts as published', (vector) => {
    const cipher = createCipheriv(ALGORITHM, hex(vector.key), hex(vector.iv), OPTIONS)
    cipher.setAAD(hex(vector.aad))
    const text = Buffer.concat([cipher.update(hex(vector.pt)), cipher.final()])
    expect(text.toString('hex')).toBe(vector.ct)
    expect(cipher.getAuthTag().toString('hex')).toBe(vector.tag)
  })

  test.each(vectors.decrypt)('$group, $count decrypts as published: $outcome', (vector) => {
    switch (vector.outcome) {
      case 'opens':
        expect(decrypt(vector).toString('hex')).toBe(vector.pt)
        break
      case 'refused':
        expect(() => decrypt(vector)).toThrow()
        break
      default:
        throw new Error(`unknown outcome ${vector.outcome}`)
    }
  })

  test.each([0, 4, 8, 12, 13, 14, 15, 17])('a tag of %i bytes is not even taken', (length) => {
    const [vector] = vectors.encrypt
    if (vector === undefined) throw new Error('no vectors')
    const tag = Buffer.concat([hex(vector.tag), Buffer.alloc(1)]).subarray(0, length)
    const decipher = createDecipheriv(ALGORITHM, hex(vector.key), hex(vector.iv), OPTIONS)
    expect(() => decipher.setAuthTag(tag)).toThrow()
  })
})

describe('the storage format', () => {
  // Not made by this code nor by Node: AES from the openssl command line, counter mode and GHASH written out by hand
  // from SP 800-38D. key 00..1f, nonce cafebabefacedbaddecaf888, associated data owner NUL kind NUL id NUL version.
  const KNOWN = [
    [
      7,
      '0100000007cafebabefacedbaddecaf888be9194149e487b29723969ef4f2fbd0d95f868f16e16cc66bf99bd3fb48b9700',
    ],
    [
      0xf0000001,
      '01f0000001cafebabefacedbaddecaf888be9194149e487b29723969ef4f2fbd0dd344e105657fa1687b156f510e5bd9d6',
    ],
  ] as const

  test.each(KNOWN)('a value stored under version %i of a key opens', (version, stored) => {
    const sealed = asSealed(Buffer.from(stored, 'hex'))
    expect(open({ version, key: KEY.key }, sealed, CARD).toString()).toBe('4242424242424242')
    expect(keyVersion(sealed)).toBe(version)
  })

  test('a sealed value is format, key version, nonce, ciphertext and tag, and nothing else', () => {
    fc.assert(
      fc.property(sealingKey, plaintext, context, (key, text, place) => {
        const sealed = Buffer.from(seal(key, text, place))
        const head = Buffer.from([1, 0, 0, 0, 0])
        head.writeUInt32BE(key.version, 1)
        const nonce = sealed.subarray(NONCE_AT, TEXT_AT)
        const cipher = createCipheriv(ALGORITHM, key.key, nonce, OPTIONS)
        cipher.setAAD(Buffer.from(`${place.owner}\0${place.kind}\0${place.id}\0${key.version}`))
        const byHand = [head, nonce, cipher.update(text), cipher.final(), cipher.getAuthTag()]

        expect(sealed.equals(Buffer.concat(byHand))).toBe(true)
        expect(sealed.length).toBe(TEXT_AT + text.length + TAG_BYTES)
      }),
    )
  })

  test('the head tells the version of the key', () => {
    fc.assert(
      fc.property(sealingKey, (key) => {
        expect(keyVersion(seal(key, NUMBER, CARD))).toBe(key.version)
      }),
    )
  })

  test('what is too short or of another format tells no version', () => {
    const sealed = seal(KEY, new Uint8Array(0), CARD)
    for (let length = 0; length < sealed.length; length++) {
      expect(() => keyVersion(asSealed(sealed.subarray(0, length)))).toThrow(OpenError)
    }
    for (let format = 0; format < 256; format++) {
      if (format === 1) continue
      const other = Uint8Array.from(sealed)
      other[0] = format
      expect(() => keyVersion(asSealed(other))).toThrow(OpenError)
    }
  })
})

describe('sealing', () => {
  test('what was sealed opens in its place, any bytes under any key', () => {
    fc.assert(
      fc.property(sealingKey, plaintext, context, (key, text, place) => {
        const opened = open(key, seal(key, text, place), place)
        expect(opened.equals(text)).toBe(true)
      }),
    )
  })

  test('the plaintext that was given is left as it was', () => {
    const text = Buffer.from(NUMBER)
    seal(KEY, text, CARD)
    expect(text.equals(NUMBER)).toBe(true)
  })

  test('overwriting what was opened does not touch the sealed value', () => {
    const sealed = seal(KEY, NUMBER, CARD)
    open(KEY, sealed, CARD).fill(0)
    expect(open(KEY, sealed, CARD).equals(NUMBER)).toBe(true)
  })

  test('the plaintext does not stand in the sealed value', () => {
    expect(Buffer.from(seal(KEY, NUMBER, CARD)).includes(NUMBER)).toBe(false)
  })

  test('two seals of the same plaintext differ in nonce, ciphertext and tag', () => {
    const [one, two] = [seal(KEY, NUMBER, CARD), seal(KEY, NUMBER, CARD)].map((sealed) => ({
      nonce: sealed.subarray(NONCE_AT, TEXT_AT),
      text: sealed.subarray(TEXT_AT, -TAG_BYTES),
      tag: sealed.subarray(-TAG_BYTES),
    }))
    expect(one?.nonce).not.toEqual(two?.nonce)
    expect(one?.text).not.toEqual(two?.text)
    expect(one?.tag).not.toEqual(two?.tag)
  })

  test('the nonces of 20,000 seals are unique', () => {
    const nonces = new Set<string>()
    for (let i = 0; i < 20_000; i++) {
      nonces.add(Buffer.from(seal(KEY, NUMBER, CARD)).toString('hex', NONCE_AT, TEXT_AT))
    }
    expect(nonces.size).toBe(20_000)
  })

  test('every sealed value has memory of its own', () => {
    // In Node's shared pool a sealed record would lie beside plaintext that somebody else reads past.
    expect(seal(KEY, NUMBER, CARD).buffer).not.toBe(seal(KEY, NUMBER, CARD).buffer)
  })
})

describe('an altered value does not open', () => {
  test('with any one bit of it flipped', () => {
    const sealed = seal(KEY, NUMBER, CARD)
    for (let bit = 0; bit < sealed.length * 8; bit++) expectRefused(flipBit(sealed, bit))
  })

  test('with any one bit flipped, whatever is sealed', () => {
    fc.assert(
      fc.property(sealingKey, plaintext, context, fc.nat(), (key, text, place, at) => {
        const sealed = seal(key, text, place)
        expectRefused(flipBit(sealed, at % (sealed.length * 8)), place, key)
      }),
    )
  })

  test('cut to any shorter length', () => {
    const sealed = seal(KEY, NUMBER, CARD)
    for (let length = 0; length < sealed.length; length++) {
      expectRefused(asSealed(sealed.subarray(0, length)))
      expectRefused(asSealed(sealed.subarray(sealed.length - length)))
    }
  })

  test('extended in front or behind', () => {
    fc.assert(
      fc.property(plaintext, fc.uint8Array({ minLength: 1, maxLength: 64 }), (text, more) => {
        const sealed = seal(KEY, text, CARD)
        expectRefused(asSealed(Buffer.concat([sealed, more])))
        expectRefused(asSealed(Buffer.concat([more, sealed])))
      }),
    )
  })

  test('with its tag cut to any shorter one that GCM knows', () => {
    const sealed = seal(KEY, randomBytes(64), CARD)
    for (const tagBytes of [4, 8, 12, 13, 14, 15]) {
      expectRefused(asSealed(sealed.subarray(0, sealed.length - TAG_BYTES + tagBytes)))
    }
  })

  test('sealed with tags of four bytes by somebody who has the key', () => {
    const text = Buffer.alloc(64)
    const nonce = randomBytes(12)
    const cipher = createCipheriv(ALGORITHM, KEY.key, nonce, { authTagLength: 4 })
    cipher.setAAD(Buffer.from(`${CARD.owner}\0${CARD.kind}\0${CARD.id}\0${KEY.version}`))
    const head = Buffer.from([1, 0, 0, 0, KEY.version])
    expectRefused(
      asSealed(
        Buffer.concat([head, nonce, cipher.update(text), cipher.final(), cipher.getAuthTag()]),
      ),
    )
  })

  test('put together from two values of the same place', () => {
    const one = seal(KEY, NUMBER, CARD)
    const two = seal(KEY, NUMBER, CARD)
    for (const at of [TEXT_AT, TEXT_AT + 1, one.length - TAG_BYTES, one.length - 1]) {
      expectRefused(asSealed(Buffer.concat([one.subarray(0, at), two.subarray(at)])))
    }
  })

  test('when it is only bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expectRefused(asSealed(bytes))
        expectRefused(asSealed(Buffer.concat([Buffer.from([1, 0, 0, 0, KEY.version]), bytes])))
      }),
    )
  })
})

describe('a value in another place does not open', () => {
  const sealed = seal(KEY, NUMBER, CARD)

  test.each([
    ['moved to another merchant', { ...CARD, owner: 'mer_2' }],
    ['moved to no merchant', { ...CARD, owner: '' }],
    ['moved to another record', { ...CARD, id: 'acme0_pm_018e' }],
    ['read as a verification code', { ...CARD, kind: 'cvc' }],
    ['read as details', { ...CARD, kind: 'details' }],
    ['read as a key', { ...CARD, kind: 'key' }],
    ['under a name in other case', { ...CARD, owner: 'MER_1' }],
    ['with owner and id exchanged', { ...CARD, owner: CARD.id, id: CARD.owner }],
  ] satisfies [string, SealContext][])('%s', (_how, place) => {
    expectRefused(sealed, place)
  })

  test('a boundary between owner, kind and id cannot be moved', () => {
    const near = seal(KEY, NUMBER, { owner: 'ab', kind: 'card', id: 'c' })
    expectRefused(near, { owner: 'a', kind: 'card', id: 'bc' })
    expectRefused(near, { owner: 'abc', kind: 'card', id: '' })
  })

  test('any other place than its own', () => {
    fc.assert(
      fc.property(sealingKey, plaintext, context, context, (key, text, place, other) => {
        fc.pre(JSON.stringify(place) !== JSON.stringify(other))
        expectRefused(seal(key, text, place), other, key)
      }),
    )
  })

  test('under another key of the same version', () => {
    expectRefused(sealed, CARD, { version: KEY.version, key: createSecretKey(randomBytes(32)) })
  })

  test('under another version of the same key bytes, with the head as it was or rewritten', () => {
    const other = { version: KEY.version + 1, key: KEY.key }
    expectRefused(sealed, CARD, other)
    const rewritten = Buffer.from(sealed)
    rewritten.writeUInt32BE(other.version, 1)
    expectRefused(asSealed(rewritten), CARD, other)
  })
})

test('every refusal looks the same', () => {
  const sealed = seal(KEY, NUMBER, CARD)
  const attempts: readonly (() => Buffer)[] = [
    () => open(KEY, asSealed(new Uint8Array(0)), CARD),
    () => open(KEY, flipBit(sealed, 0), CARD),
    () => open(KEY, flipBit(sealed, 8), CARD),
    () => open(KEY, flipBit(sealed, TEXT_AT * 8), CARD),
    () => open(KEY, flipBit(sealed, sealed.length * 8 - 1), CARD),
    () => open(KEY, sealed, { ...CARD, owner: 'mer_2' }),
    () => open({ version: KEY.version, key: createSecretKey(randomBytes(32)) }, sealed, CARD),
    () => open({ version: KEY.version, key: createSecretKey(randomBytes(16)) }, sealed, CARD),
  ]
  for (const attempt of attempts) {
    const error = caught(attempt)
    expect(error).toBeInstanceOf(OpenError)
    expect(error).toMatchObject({ name: 'OpenError', message: 'could not open a sealed value' })
    expect(Object.keys(error)).toEqual(['name'])
    expect('cause' in error).toBe(false)
  }
})

function caught(attempt: () => unknown): Error {
  try {
    attempt()
  } catch (error) {
    if (error instanceof Error) return error
  }
  throw new Error('it did not throw an Error')
}
