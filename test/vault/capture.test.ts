// Sealed capture through the front door, sealed here as the browser module does it: what is opened, what is not, and for
// how long. The clock is moved by hand.

import { hash } from 'node:crypto'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import nacl from 'tweetnacl'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  type Answer,
  startSallyport,
  type TestMerchant,
  type TestSallyport,
} from '../support/sallyport.ts'
import { expectNoDigitsOf, randomCard } from './cards.ts'

const PATH = '/v2/payment-method-sessions'
const HOUR_MS = 3_600_000
const SETTINGS = { guards: { client_requests_per_address: { count: 100_000, window_s: 1 } } }

/** Ten seconds before the end of an hour. */
let nowMs = Math.ceil(Date.now() / HOUR_MS) * HOUR_MS - 10_000
let sallyport: TestSallyport
let merchant: TestMerchant

beforeAll(async () => {
  sallyport = await startSallyport(SETTINGS, { clock: () => nowMs })
  merchant = await sallyport.createMerchant()
})

afterAll(async () => {
  await sallyport[Symbol.asyncDispose]()
  rmSync(sallyport.folder, { recursive: true, force: true }) // of the one it was opened from again
})

type Key = { key_id: string; public_key: string }

async function captureKey(version = '/v2'): Promise<Key> {
  return (await fetch(`${sallyport.origin}${version}/capture-key`)).json() as Promise<Key>
}

const base64url = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64url')

/** `text`: the JSON in the box. */
function sealText(key: Key, text: string) {
  const pair = nacl.box.keyPair()
  const nonce = nacl.randomBytes(24)
  const publicKey = Buffer.from(key.public_key, 'base64url')
  return {
    key_id: key.key_id,
    ephemeral_public_key: base64url(pair.publicKey),
    nonce: base64url(nonce),
    box: base64url(nacl.box(Buffer.from(text), nonce, publicKey, pair.secretKey)),
  }
}

const cardOf = (card_number: string, changes: object = {}) => ({
  card_number,
  card_exp_month: '03',
  card_exp_year: '2035',
  card_cvc: '737',
  ...changes,
})

function sealCard(key: Key, session_id: string, card: object) {
  return sealText(key, JSON.stringify({ session_id, payment_method_data: { card } }))
}

function confirm(session: any, data: object): Promise<Answer> {
  const body = { payment_method_type: 'card', payment_method_data: data }
  const headers = { authorization: session.sdk_authorization }
  return sallyport.as('')('POST', `${PATH}/${session.id}/confirm`, body, headers)
}

async function idOf(answer: Answer): Promise<string> {
  const token = answer.body.associated_payment_methods[0].payment_method_token.data
  const path = `/v2/payment-methods/token/${token}/details`
  return (await merchant.vault('GET', path)).body.payment_method_id
}

describe('the capture key', () => {
  test('is for everybody, on every page, and one for both versions', async () => {
    const answer = await fetch(`${sallyport.origin}/v2/capture-key`)

    expect(answer.status).toBe(200)
    expect(answer.headers.get('access-control-allow-origin')).toBe('*')
    expect(answer.headers.get('cache-control')).toBe('no-store')
    const body: any = await answer.json()
    expect(body).toEqual({
      key_id: `cap_${Math.floor(nowMs / HOUR_MS)}`,
      algorithm: 'x25519-xsalsa20-poly1305',
      public_key: expect.stringMatching(/^[A-Za-z0-9_-]{43}$/),
      expires_at: new Date((Math.floor(nowMs / HOUR_MS) + 2) * HOUR_MS).toISOString(),
    })
    expect(await captureKey('/v1')).toEqual(body)
  })
})

describe('a sealed card', () => {
  test('is stored like one that was sent in the open', async () => {
    const session = await merchant.createSession()
    const number = randomCard()
    const sealed = sealCard(await captureKey(), session.id, cardOf(number))

    const answer = await confirm(session, { sealed })

    expect([answer.status, answer.text]).toEqual([200, answer.text])
    expectNoDigitsOf(number, answer)
    expect(answer.body.card_cvc_token_storage.is_stored).toBe(true)
    const id = await idOf(answer)
    expect((await merchant.vault('GET', `/v2/payment-methods/${id}`)).body).toMatchObject({
      customer_id: session.customer_id,
      payment_method_data: { card: { last4_digits: number.slice(-4), expiry_year: '2035' } },
    })
    const known = await merchant.vault('POST', '/v2/payment-methods', {
      customer_id: session.customer_id,
      payment_method_type: 'card',
      payment_method_data: { card: cardOf(number) },
    })
    expect([known.status, known.body.id]).toEqual([200, id])
  })

  test('may be any instrument that a page can bring', async () => {
    const session = await merchant.createSession()
    const text = JSON.stringify({
      session_id: session.id,
      payment_method_data: { bank_debit: { sepa: { iban: 'DE89370400440532013000' } } },
    })
    const path = `${PATH}/${session.id}/confirm`

    const answer = await merchant.vault('POST', path, {
      payment_method_type: 'bank_debit',
      payment_method_data: { sealed: sealText(await captureKey(), text) },
    })

    expect(answer.status).toBe(200)
  })

  test('is of no use in another session, nor a second time in its own', async () => {
    const [session, another] = [await merchant.createSession(), await merchant.createSession()]
    const sealed = sealCard(await captureKey(), session.id, cardOf(randomCard()))

    expect((await confirm(another, { sealed })).status).toBe(422)
    expect((await confirm(session, { sealed })).status).toBe(200)
    const again = await confirm(session, { sealed })

    expect([again.status, again.body.error.reason]).toEqual([409, 'conflict'])
    const { body } = await merchant.vault('GET', `${PATH}/${another.id}`)
    expect(body.associated_payment_methods).toEqual([])
  })

  test('of which anything was altered is refused, and a page is told no more than of a bad card', async () => {
    const key = await captureKey()
    const number = randomCard()
    const seen = new Map<string, string>()
    const flip = (text: string) => (text.startsWith('A') ? 'B' : 'A') + text.slice(1)
    const variants = (session: any): Record<string, object> => {
      const good = sealCard(key, session.id, cardOf(number))
      const inside = (data: unknown) =>
        sealText(key, JSON.stringify({ session_id: session.id, payment_method_data: data }))
      return {
        'a card that fails Luhn': {
          sealed: sealCard(key, session.id, cardOf('4242424242424241')),
        },
        'an expired card': {
          sealed: sealCard(key, session.id, cardOf(number, { card_exp_year: '2019' })),
        },
        box: { sealed: { ...good, box: flip(good.box) } },
        nonce: { sealed: { ...good, nonce: flip(good.nonce) } },
        'ephemeral key': {
          sealed: { ...good, ephemeral_public_key: flip(good.ephemeral_public_key) },
        },
        'key id': { sealed: { ...good, key_id: 'cap_1' } },
        'another key id': { sealed: { ...good, key_id: `cap_${Math.floor(nowMs / HOUR_MS) - 1}` } },
        'no JSON': { sealed: sealText(key, `{"session_id":"${session.id}",`) },
        'no object': { sealed: sealText(key, '[]') },
        'no session': { sealed: sealText(key, JSON.stringify({ payment_method_data: {} })) },
        nothing: { sealed: inside({}) },
        'an unknown field': { sealed: inside({ card: { ...cardOf(number), x: 1 } }) },
        'an alias of another vault': { sealed: inside({ proxy_card: cardOf(number) }) },
        'two instruments': {
          sealed: inside({ card: cardOf(number), wallet: { paypal: { email: 'a@b.example' } } }),
        },
        'a sealed one again': { sealed: inside({ sealed: good }) },
        'something in the open beside it': { sealed: good, card: cardOf(number) },
      }
    }
    for (const what of Object.keys(variants({ id: '' }))) {
      const session = await merchant.createSession()
      const answer = await confirm(session, variants(session)[what] ?? {})
      expectNoDigitsOf(number, answer)
      seen.set(what, answer.text.replaceAll(/req_[0-9a-f]{32}/g, ''))
      const { body } = await merchant.vault('GET', `${PATH}/${session.id}`)
      expect([what, body.associated_payment_methods]).toEqual([what, []])
    }

    expect(seen.size).toBe(16)
    expect(new Set(seen.values()).size).toBe(1)
    expect([...seen.values()][0]).toMatch(/"reason":"invalid_value".*"request_id":""/)
    expect([...seen.values()][0]).not.toContain('details')
  })

  test('that a server sends is refused with the field', async () => {
    const session = await merchant.createSession()
    const key = await captureKey()
    const path = `${PATH}/${session.id}/confirm`
    const fieldOf = async (sealed: object) => {
      const body = { payment_method_type: 'card', payment_method_data: { sealed } }
      return (await merchant.vault('POST', path, body)).body.error.details.field
    }

    expect(await fieldOf(sealCard(key, 'local_pms_x', cardOf(randomCard())))).toBe('sealed')
    const bad = cardOf('4242424242424241')
    expect(await fieldOf(sealCard(key, session.id, bad))).toBe('card_number')
  })

  test('counts as a try', async () => {
    const session = await merchant.createSession()
    const sealed = sealCard(await captureKey(), 'local_pms_x', cardOf(randomCard()))
    for (let n = 0; n < 10; n++) expect((await confirm(session, { sealed })).status).toBe(422)

    expect((await confirm(session, { sealed })).status).toBe(429)
  })

  test('brings the code of a saved one', async () => {
    const customer_id = await merchant.createCustomer()
    const id = await merchant.createCard({}, customer_id)
    const session = await merchant.createSession({ customer_id })
    const path = `${PATH}/${session.id}`
    const { body } = await merchant.vault('GET', `${path}/list-payment-methods`)
    const [{ payment_method_token }] = body.customer_payment_methods
    const send = (sealed: object) =>
      sallyport.as('')(
        'PUT',
        `${path}/update-saved-payment-method`,
        { payment_method_token, payment_method_data: { sealed } },
        { authorization: session.sdk_authorization },
      )
    const key = await captureKey()

    expect((await send(sealCard(key, session.id, cardOf(randomCard())))).status).toBe(422)
    expect((await send(sealCard(key, 'local_pms_x', { card_cvc: '737' }))).status).toBe(422)
    expect((await send(sealCard(key, session.id, { card_cvc: '73' }))).status).toBe(422)
    const answer = await send(sealCard(key, session.id, { card_cvc: '737', nick_name: 'mine' }))

    expect(answer.status).toBe(200)
    expect((await merchant.vault('GET', `/v2/payment-methods/${id}`)).body).toMatchObject({
      card_cvc_token_storage: { is_stored: true },
      payment_method_data: { card: { nick_name: 'mine', expiry_year: '2035' } },
    })
  })
})

describe('from one hour to the next', () => {
  test('what was sealed to the last key is opened, to the one before it no more', async () => {
    const first = await captureKey()
    const session = await merchant.createSession({ expires_in: 3600 })
    const waiting = sealCard(first, session.id, cardOf(randomCard()))

    nowMs += 10_000 // the next hour
    const second = await captureKey()
    expect(second.key_id).not.toBe(first.key_id)
    expect(second.public_key).not.toBe(first.public_key)
    nowMs += HOUR_MS - 10_001 // a moment before the session and the key end
    expect((await confirm(session, { sealed: waiting })).status).toBe(200)

    nowMs += 10_001
    const late = await merchant.createSession()
    const sealedToFirst = sealCard(first, late.id, cardOf(randomCard()))
    expect((await confirm(late, { sealed: sealedToFirst })).status).toBe(422)
    const sealedToSecond = sealCard(second, late.id, cardOf(randomCard()))
    expect((await confirm(late, { sealed: sealedToSecond })).status).toBe(200)
  })

  test('the key is destroyed on disk, and another process does not open for it either', async () => {
    const key = await captureKey()
    const hour = Number(key.key_id.slice('cap_'.length))
    const keys = join(sallyport.folder, 'cvc-keys')
    expect(readdirSync(keys)).toContain(`${hour}.key`)
    const folder = sallyport.folder
    nowMs += 2 * HOUR_MS

    // A process sweeps when it starts.
    await sallyport.installation.stop()
    sallyport = await startSallyport(SETTINGS, { folder, clock: () => nowMs })
    await expect.poll(() => readdirSync(keys)).not.toContain(`${hour}.key`)

    merchant = await sallyport.createMerchant()
    const session = await merchant.createSession()
    const sealed = sealCard(key, session.id, cardOf(randomCard()))
    expect((await confirm(session, { sealed })).status).toBe(422)
    nowMs -= 2 * HOUR_MS
    const earlier = await merchant.createSession()
    const again = sealCard(key, earlier.id, cardOf(randomCard()))
    expect((await confirm(earlier, { sealed: again })).status).toBe(422)
  })
})

describe('the browser module', () => {
  test('is one file with a hash to pin, and is not sent again', async () => {
    const url = `${sallyport.origin}/v2/capture.js`
    const answer = await fetch(url)
    const text = await answer.text()

    expect(answer.status).toBe(200)
    expect(answer.headers.get('content-type')).toBe('text/javascript; charset=utf-8')
    expect(answer.headers.get('access-control-allow-origin')).toBe('*')
    expect(answer.headers.get('cross-origin-resource-policy')).toBe('cross-origin')
    expect(answer.headers.get('x-content-type-options')).toBe('nosniff')
    const integrity = `sha384-${hash('sha384', text, 'base64')}`
    expect(answer.headers.get('sallyport-integrity')).toBe(integrity)
    expect(text).toContain(readFileSync('src/vault/sessions/browser/capture.js', 'utf8'))
    expect(text.length).toBeLessThan(48 * 1024)
    const etag = answer.headers.get('etag') ?? ''
    const again = await fetch(url, { headers: { 'if-none-match': etag } })
    expect([again.status, await again.text(), again.headers.get('etag')]).toEqual([304, '', etag])
    expect(again.headers.get('content-length')).toBeNull()
  })

  test('has the same bytes from every installation of a version', async () => {
    await using other = await startSallyport()
    const [one, two] = await Promise.all(
      [sallyport, other].map(async ({ origin }) => (await fetch(`${origin}/v2/capture.js`)).text()),
    )

    expect(one).toBe(two)
  })
})
