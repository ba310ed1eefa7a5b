// Generic tokens through the front door, under both versions of the API: what is stored is exactly what was sent, and
// nothing of it is in an answer or readable in a file.

import { readdirSync, readFileSync, statSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
import type { MerchantId, TokenId } from '../../src/core/ids.ts'
import { type Keyring, openKeyring } from '../../src/crypto/keyring.ts'
import { openLocalRootKey } from '../../src/crypto/root-key/local-file.ts'
import { OpenError } from '../../src/crypto/seal.ts'
import type { Store, TokenRecord } from '../../src/store/contract.ts'
import { openStore } from '../../src/store/open.ts'
import { createRevealToken } from '../../src/vault/reveal.ts'
import {
  type Answer,
  startSallyport,
  type TestMerchant,
  type TestSallyport,
  VISA,
} from '../support/sallyport.ts'
import { expectNoDigitsOf, randomCard, withoutIds } from './cards.ts'

const VALUE_LIMIT_BYTES = 64 * 1024
const IBAN = 'DE89370400440532013000'

let sallyport: TestSallyport
let merchant: TestMerchant
let other: TestMerchant
/** What the installation keeps, as another process on the machine has it. */
let store: Store
let keyring: Keyring

beforeAll(async () => {
  sallyport = await startSallyport()
  const { folder } = sallyport
  store = await openStore(
    { kind: 'lmdb', folder: join(folder, 'store'), hourKeysFolder: join(folder, 'cvc-keys') },
    (error) => {
      throw error
    },
  )
  const root = await openLocalRootKey(join(folder, 'root.key'), false)
  const { hourKeys } = store
  keyring = await openKeyring({ root, wrappedKeys: store, hourKeys, clock: systemClock })
  merchant = await sallyport.createMerchant()
  other = await sallyport.createMerchant()
})

afterAll(async () => {
  await store[Symbol.asyncDispose]()
  await sallyport[Symbol.asyncDispose]()
})

const tokenOf = (id: string, owner = merchant) =>
  store.findToken(owner.id as MerchantId, id as TokenId)

/** The text that is stored under a token; undefined when there is none. */
async function revealed(id: string, owner = merchant): Promise<string | undefined> {
  const token = await tokenOf(id, owner)
  return token && (await createRevealToken(keyring)(token)).json.toString()
}

const post = (body: unknown, headers?: Record<string, string>) =>
  merchant.vault('POST', '/v2/tokenize', body, headers)

/** The body as text, so that the value goes out as it is written here. */
const bodyOf = (value: string) => `{"token_request":${value}}`

function expectRefused(answer: Answer, status: number, reason: string, field?: string): void {
  expect([answer.status, answer.body.error?.reason]).toEqual([status, reason])
  expect(answer.body.error.details?.field).toBe(field)
}

describe.each(['/v1', '/v2'])('under %s', (version) => {
  const path = `${version}/tokenize`
  const create = (body: unknown) => merchant.vault('POST', path, body)

  test('a value is stored, and its token is all that is answered', async () => {
    const customer = await merchant.createCustomer()
    const before = Date.now()

    const { status, body } = await create({
      customer_id: customer,
      token_request: { account: { iban: IBAN } },
    })

    expect(status).toBe(201)
    expect(body).toEqual({
      id: expect.stringMatching(/^local_tok_[0-9a-f]{32}$/),
      created_at: expect.any(String),
      flag: 'enabled',
    })
    expect(Math.abs(Date.parse(body.created_at) - before)).toBeLessThan(10_000)
    expect(await revealed(body.id)).toBe(`{"account":{"iban":"${IBAN}"}}`)
  })

  test('the same value again is another token', async () => {
    const ids = [await create({ token_request: IBAN }), await create({ token_request: IBAN })]

    expect(new Set(ids.map(({ body }) => body.id)).size).toBe(2)
  })

  test.each([
    ['none', undefined],
    ['an empty one', ''],
    ['an empty object', {}],
    ["that of Hyperswitch's clients", { customer_id: 'cus_1', session_id: 'ses_1' }],
  ])('a token is deleted once, with this body: %s', async (_, sent) => {
    const { id } = (await create({ token_request: VISA })).body
    const headers = sent === '' ? { 'content-type': 'application/json' } : {}
    const remove = () => merchant.vault('DELETE', `${path}/${id}`, sent, headers)

    const deleted = await remove()

    expect([deleted.status, deleted.body]).toEqual([200, { id }])
    expect(await revealed(id)).toBeUndefined()
    expectRefused(await remove(), 404, 'not_found')
  })

  test.each([
    ['an unknown field', { session: 'x' }, 400, 'unknown_field', 'session'],
    ['a value', { token_request: VISA }, 400, 'unknown_field', 'token_request'],
    ['a session that is a number', { session_id: 1 }, 400, 'wrong_type', 'session_id'],
    ['broken JSON', '{"customer_id":', 400, 'malformed_body', undefined],
    ['a list', '[]', 400, 'wrong_type', undefined],
  ])('a token is not deleted with this body: %s', async (_, sent, status, reason, field) => {
    const { id } = (await create({ token_request: IBAN })).body

    const answer = await merchant.vault('DELETE', `${path}/${id}`, sent)

    expectRefused(answer, status, reason, field)
    expect(await revealed(id)).toBe(`"${IBAN}"`)
  })

  test('a token for a customer that is not there is not stored', async () => {
    const gone = await merchant.createCustomer()
    await merchant.vault('DELETE', `${version}/customers/${gone}`)

    const answer = await create({ customer_id: gone, token_request: 1 })

    expectRefused(answer, 404, 'not_found', 'customer_id')
    expectRefused(await create({ customer_id: 'x', token_request: 1 }), 404, 'not_found')
  })

  test("a customer's tokens go with the customer", async () => {
    const customer = await merchant.createCustomer()
    const id = await merchant.createToken(IBAN, customer)

    await merchant.vault('DELETE', `${version}/customers/${customer}`)

    expect(await revealed(id)).toBeUndefined()
    expectRefused(await merchant.vault('DELETE', `${path}/${id}`), 404, 'not_found')
  })

  test("another merchant's token is not there, and stays", async () => {
    const { id } = (await create({ token_request: IBAN })).body

    expectRefused(await other.vault('DELETE', `${path}/${id}`), 404, 'not_found')

    expect(await revealed(id, other)).toBeUndefined()
    expect(await revealed(id)).toBe(`"${IBAN}"`)
    const customer = await other.createCustomer()
    const answer = await create({ customer_id: customer, token_request: 1 })
    expectRefused(answer, 404, 'not_found', 'customer_id')
  })

  test('an id that is of another kind, or none, is not found', async () => {
    const card = await merchant.createCard()
    for (const id of [card, 'x', `local_tok_${VISA}`, `local_tok_${'0'.repeat(32)}`]) {
      expectRefused(await merchant.vault('DELETE', `${path}/${id}`), 404, 'not_found')
    }
    expect((await merchant.vault('GET', `${version}/payment-methods/${card}`)).status).toBe(200)
  })

  test('a token needs vault:write, and cannot be read with any scope', async () => {
    const reader = sallyport.as(await sallyport.createKey(merchant.id, ['vault:read']))
    const { id } = (await create({ token_request: IBAN })).body

    expectRefused(await reader('POST', path, { token_request: 1 }), 403, 'permission_denied')
    expectRefused(await reader('DELETE', `${path}/${id}`), 403, 'permission_denied')
    expectRefused(await reader('GET', `${path}/${id}`), 405, 'method_not_allowed')
  })
})

describe('the value', () => {
  test.each([
    ['an object', `{ "iban" : "${IBAN}", "n":1.50, "n":1e2 }`],
    ['a list', '[1, [], {}]'],
    ['a string', `"${VISA}"`],
    ['a string with escapes', '"\\u007b\\"\\\\ \\ud83d\\ude00 ü€😀"'],
    ['half a character, escaped', '"\\ud800"'],
    ['an empty string', '""'],
    ['a long number', '10000000000000000999'],
    ['a card number as a number', VISA],
    ['false', 'false'],
    ['null', 'null'],
    ['names of prototypes', '{"__proto__":{"polluted":1},"constructor":{"prototype":{"x":1}}}'],
    ['what looks like a placeholder', '"{{$card_number}}"'],
    ['what looks like the rest of a body', '{"token_request":1,"customer_id":"x","ttl_s":0}'],
    ['64 levels', `${'['.repeat(64)}${']'.repeat(64)}`],
    ['64 KB', `"${'x'.repeat(VALUE_LIMIT_BYTES - 2)}"`],
  ])('is kept byte for byte: %s', async (_, value) => {
    const { status, body } = await post(bodyOf(value))

    expect(status).toBe(201)
    expect(await revealed(body.id)).toBe(value)
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined()
  })

  test.each([
    ['an unknown field', '{"token_request":1,"x":1}', 400, 'unknown_field', 'x'],
    ['no value', '{"ttl_s":1}', 400, 'missing_field', 'token_request'],
    [
      'no value but one elsewhere',
      '{"customer_id":{"token_request":1}}',
      400,
      'missing_field',
      'token_request',
    ],
    [
      'a value by a prototype',
      '{"__proto__":{"token_request":1}}',
      400,
      'missing_field',
      'token_request',
    ],
    [
      'the name of a prototype',
      '{"token_request":1,"__proto__":{"x":1}}',
      400,
      'unknown_field',
      '__proto__',
    ],
    [
      'a constructor',
      '{"token_request":1,"constructor":{"x":1}}',
      400,
      'unknown_field',
      'constructor',
    ],
    ['two values', '{"token_request":1,"token_request":2}', 400, 'malformed_body', undefined],
    [
      'two spellings',
      '{"token_request":1,"token\\u005frequest":2}',
      400,
      'malformed_body',
      undefined,
    ],
    [
      'a customer that is a number',
      '{"token_request":1,"customer_id":1}',
      400,
      'wrong_type',
      'customer_id',
    ],
    ['a list', '[{"token_request":1}]', 400, 'wrong_type', undefined],
    ['a string', '"x"', 400, 'wrong_type', undefined],
    ['null', 'null', 400, 'wrong_type', undefined],
    ['an empty body', '', 400, 'malformed_body', undefined],
    ['65 levels', bodyOf(`${'['.repeat(65)}${']'.repeat(65)}`), 400, 'malformed_body', undefined],
    ['30,000 levels', bodyOf('['.repeat(30_000)), 400, 'malformed_body', undefined],
    [
      'one byte too many',
      bodyOf(`"${'x'.repeat(VALUE_LIMIT_BYTES - 1)}"`),
      413,
      'body_too_large',
      undefined,
    ],
    ['far too many', bodyOf(`"${'x'.repeat(200_000)}"`), 413, 'body_too_large', undefined],
    ['too much around it', `${bodyOf('1')}${' '.repeat(70_000)}`, 413, 'body_too_large', undefined],
    ['a comma at the end', bodyOf('[1,]'), 400, 'malformed_body', undefined],
    ['a leading zero', bodyOf('01'), 400, 'malformed_body', undefined],
    ['a control character', bodyOf('"\n"'), 400, 'malformed_body', undefined],
    ['a wrong escape', bodyOf('"\\x41"'), 400, 'malformed_body', undefined],
    ['NaN', bodyOf('NaN'), 400, 'malformed_body', undefined],
  ])('is refused with %s', async (_, body, status, reason, field) => {
    expectRefused(await post(body), status, reason, field)
    expect(({} as { x?: unknown }).x).toBeUndefined()
  })

  test('is refused when it is no UTF-8', async () => {
    const bytes = Buffer.concat([
      Buffer.from('{"token_request":"'),
      Buffer.from([0xc0, 0xaf]),
      Buffer.from('"}'),
    ])

    expectRefused(await post(bytes), 400, 'malformed_body')
  })

  test('is refused when it is too large and does not say so', async () => {
    const body = bodyOf(`"${'x'.repeat(200_000)}"`)
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const headers = { 'sallyport-key': merchant.vaultKey, 'content-type': 'application/json' }
      const request = httpRequest(
        `${sallyport.origin}/v2/tokenize`,
        { method: 'POST', headers },
        (response) => {
          response.resume().on('end', () => resolve(response.statusCode))
        },
      )
      request.on('error', reject)
      for (let at = 0; at < body.length; at += 10_000) request.write(body.slice(at, at + 10_000))
      request.end()
    })

    expect(status).toBe(413)
  })
})

describe('nothing of a card number is told', () => {
  test('when the body was cut anywhere', async () => {
    const number = randomCard()
    const json = `{"token_request":{"pan":"${number}","n":[${number}]},"ttl_s":60}`

    for (let end = 1; end < json.length; end++) {
      const answer = await post(json.slice(0, end))

      expectRefused(answer, 400, 'malformed_body')
      expectNoDigitsOf(number, answer)
    }
  })

  test('when it stands where none belongs', async () => {
    const number = randomCard()
    for (const body of [
      `{"token_request":"${number}x","ttl_s":"${number}"}`,
      `{"token_request":"${number}","ttl_s":${number}}`,
      `{"token_request":"${number}","customer_id":"${number}"}`,
      `{"token_request":"${number}","${number}":1}`,
      `{"token_requests":"${number}"}`,
      `"${number}"`,
      number,
      bodyOf(`"${number.repeat(5000)}"`),
    ]) {
      const answer = await post(body)
      expect(answer.status).toBeGreaterThanOrEqual(400)
      expectNoDigitsOf(number, answer)
    }
    const typed = await post(bodyOf(`"${number}"`), { 'content-type': 'text/plain' })
    expectRefused(typed, 415, 'content_encoding_unsupported')
    expectNoDigitsOf(number, typed)
    const path = `/v2/tokenize/local_tok_${number}${'0'.repeat(16)}`
    expectNoDigitsOf(number, await merchant.vault('DELETE', path))
  })
})

describe('a lifetime', () => {
  test('is answered as the time of its end', async () => {
    for (const ttl_s of [1, 31_536_000]) {
      const { status, body } = await post({ token_request: 1, ttl_s })

      expect(status).toBe(201)
      expect(Date.parse(body.expires_at) - Date.parse(body.created_at)).toBe(ttl_s * 1000)
      const { expiresAtMs } = (await tokenOf(body.id)) as TokenRecord
      expect(expiresAtMs).toBe(Date.parse(body.expires_at))
    }
    expect((await tokenOf(await merchant.createToken(1)))?.expiresAtMs).toBeUndefined()
  })

  test.each([
    [0, 422, 'invalid_value'],
    [-1, 422, 'invalid_value'],
    [31_536_001, 422, 'invalid_value'],
    [1.5, 400, 'wrong_type'],
    ['60', 400, 'wrong_type'],
    [null, 400, 'wrong_type'],
  ])('is not %j', async (ttl_s, status, reason) => {
    expectRefused(await post({ token_request: 1, ttl_s }), status, reason, 'ttl_s')
  })

  test('ends with the token being swept', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sallyport-tokens-'))
    const settings = { vault: { volatile_ttl_s: 1 } }
    let key: string, short: string, long: string, guest: string
    {
      await using first = await startSallyport(settings, { folder })
      const { vault, vaultKey } = await first.createMerchant()
      const create = async (ttl_s: number): Promise<string> =>
        (await vault('POST', '/v2/tokenize', { token_request: IBAN, ttl_s })).body.id
      key = vaultKey
      ;[short, long] = [await create(1), await create(3600)]
      const card = { card_number: VISA, card_exp_month: '03', card_exp_year: '2035' }
      const body = { payment_method_type: 'card', payment_method_data: { card } }
      guest = (await vault('POST', '/v2/payment-methods', body)).body.id
      await wait(1100)
    }
    {
      // A start sweeps; that it has can be seen by the card, whose end was the last.
      await using restarted = await startSallyport(settings, { folder })
      const vault = restarted.as(key)
      await expect
        .poll(async () => (await vault('GET', `/v2/payment-methods/${guest}`)).status, {
          timeout: 20_000,
        })
        .toBe(404)
      expect((await vault('DELETE', `/v2/tokenize/${short}`)).status).toBe(404)
      expect((await vault('DELETE', `/v2/tokenize/${long}`)).status).toBe(200)
    }
    await rm(folder, { recursive: true, force: true })
  })
})

test('nothing of a value is in an answer, nor to be read in any file', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-tokens-'))
  const numbers = Array.from({ length: 50 }, () => randomCard())
  const answers: Answer[] = []
  const files = () =>
    readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .map((name) => join(folder, name))
      .filter((name) => statSync(name).isFile())
  {
    await using instance = await startSallyport({ log_level: 'silent' }, { folder })
    const owner = await instance.createMerchant()
    for (const [n, number] of numbers.entries()) {
      const body = { token_request: { pan: number, note: `secret of ${number}` } }
      const made = await owner.vault('POST', '/v2/tokenize', body)
      expect(made.status).toBe(201)
      answers.push(made)
      if (n % 5 === 0) {
        answers.push(await owner.vault('DELETE', `/v2/tokenize/${made.body.id}`))
      }
    }
    const written = files()
    expect(written.some((name) => name.endsWith('sallyport.mdb'))).toBe(true)
    for (const name of written) expectWithout(readFileSync(name), numbers)
  }
  const lines = readFileSync(join(folder, 'audit', 'audit.jsonl'), 'utf8')
    .trim()
    .split('\n')
  const acts = lines.map((line) => JSON.parse(line)).filter(({ kind }) => kind === 'act')
  const tokenActs = acts.filter(({ action }) => action.startsWith('token.'))
  expect(tokenActs.filter(({ action }) => action === 'token.create')).toHaveLength(50)
  expect(tokenActs.filter(({ action }) => action === 'token.delete')).toHaveLength(10)
  expect(tokenActs.map(({ object }) => object)).toEqual(answers.map(({ body }) => body.id))
  for (const name of files()) expectWithout(readFileSync(name), numbers)
  for (const answer of answers) {
    expect(withoutIds(answer.text)).not.toContain('secret')
    for (const number of numbers) expectNoDigitsOf(number, answer)
  }
  await rm(folder, { recursive: true, force: true })
})

function expectWithout(bytes: Buffer, numbers: readonly string[]): void {
  expect(bytes.includes('secret of')).toBe(false)
  for (const number of numbers) {
    expect(bytes.includes(number)).toBe(false)
    expect(bytes.includes(Buffer.from(number).toString('base64').slice(0, 20))).toBe(false)
  }
}

describe('revealing', () => {
  test('hands out the text as it is stored, until it is wiped', async () => {
    const token = await tokenOf(await merchant.createToken({ iban: IBAN }))
    const opened = await createRevealToken(keyring)(token as TokenRecord)

    expect(opened.json.toString()).toBe(`{"iban":"${IBAN}"}`)
    opened.wipe()
    expect(opened.json.every((byte) => byte === 0)).toBe(true)
  })

  test('is at once when the keys are in memory', async () => {
    const owner = await sallyport.createMerchant()
    const reveal = createRevealToken(keyring)
    const token = (await tokenOf(await owner.createToken(1), owner)) as TokenRecord

    const first = reveal(token)

    expect(first).toBeInstanceOf(Promise)
    await first
    expect(reveal(token)).toMatchObject({ json: Buffer.from('1') })
  })

  test('fails for a value that was moved to another place', async () => {
    const token = (await tokenOf(await merchant.createToken(IBAN))) as TokenRecord
    const second = (await tokenOf(await merchant.createToken(VISA))) as TokenRecord
    const reveal = createRevealToken(keyring)

    for (const moved of [
      { ...token, id: second.id },
      { ...token, merchantId: other.id as MerchantId },
    ]) {
      await expect(async () => reveal(moved)).rejects.toThrow(OpenError)
    }
  })

  test('fails when the merchant is gone', async () => {
    const gone = await sallyport.createMerchant()
    const id = await gone.createToken(IBAN)
    await sallyport.admin('DELETE', `/v2/merchant-accounts/${gone.id}`)

    await expect(revealed(id, gone)).rejects.toThrow(OpenError)
  })
})
