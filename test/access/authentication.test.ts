// Who calls: where the key may stand in a request, when it works, from where, and that every key that does not work
// looks the same.

import { readFile } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import { setTimeout as wait } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  type Answer,
  startSallyport,
  type TestMerchant,
  type TestSallyport,
} from '../support/sallyport.ts'

let sallyport: TestSallyport
let merchant: TestMerchant

beforeAll(async () => {
  sallyport = await startSallyport()
  merchant = await sallyport.createMerchant()
})

afterAll(() => sallyport[Symbol.asyncDispose]())

const LIST = '/v2/customers/list'

/** With these headers and no others. */
async function get(headers: Record<string, string>): Promise<number> {
  return (await fetch(sallyport.origin + LIST, { headers })).status
}

function expectUnknown(answer: Answer): void {
  expect([answer.status, answer.body.error.reason]).toEqual([401, 'unauthenticated'])
  expect(answer.body.error.details).toBeUndefined()
}

describe('the key may stand in', () => {
  test.each([
    ['Sallyport-Key', (key: string) => ({ 'Sallyport-Key': key })],
    ['api-key', (key: string) => ({ 'api-key': key })],
    ['Authorization, bare', (key: string) => ({ Authorization: key })],
    ['Authorization as api-key=', (key: string) => ({ Authorization: `api-key=${key}` })],
    [
      'Authorization, in a list of pairs',
      (key: string) => ({ Authorization: `publishable-key=pk_1, api-key=${key},x=y` }),
    ],
  ])('%s', async (_, headers) => {
    expect(await get(headers(merchant.vaultKey))).toBe(200)
    expect(await get(headers(`${merchant.vaultKey}0`))).toBe(401)
  })

  test.each([
    ['nowhere', () => ({})],
    ['an empty header', () => ({ 'Sallyport-Key': '' })],
    ['Authorization after Bearer', (key: string) => ({ Authorization: `Bearer ${key}` })],
    [
      'Authorization as the user of Basic',
      (key: string) => ({ Authorization: `Basic ${Buffer.from(`${key}:`).toString('base64')}` }),
    ],
    ['a list without a name', (key: string) => ({ Authorization: `x=y,${key}` })],
    ['a pair of another name', (key: string) => ({ Authorization: `key=${key}` })],
    ['a pair of an empty key', () => ({ Authorization: 'api-key=' })],
    ['quotes', (key: string) => ({ 'api-key': `"${key}"` })],
    ['another case', (key: string) => ({ 'api-key': key.toUpperCase() })],
    ['a cookie', (key: string) => ({ Cookie: `api-key=${key}` })],
    ['a header of 10,000 characters', () => ({ 'api-key': 'x'.repeat(10_000) })],
  ])('not: %s', async (_, headers) => {
    expect(await get(headers(merchant.vaultKey))).toBe(401)
  })

  test('not: the query', async () => {
    const url = `${sallyport.origin}${LIST}?api-key=${merchant.vaultKey}`

    expect((await fetch(url)).status).toBe(401)
  })

  test('not: two headers of the same name', async () => {
    const status = await new Promise((resolve, reject) => {
      const headers = ['host', 'x', 'sallyport-key', merchant.vaultKey, 'sallyport-key', 'other']
      httpRequest(sallyport.origin + LIST, { headers }, (response) => {
        response.resume()
        resolve(response.statusCode)
      })
        .on('error', reject)
        .end()
    })

    expect(status).toBe(401)
  })

  test('our own header before that of others', async () => {
    expect(await get({ 'Sallyport-Key': merchant.vaultKey, Authorization: 'Bearer psp' })).toBe(200)
    expect(await get({ 'Sallyport-Key': 'x', Authorization: merchant.vaultKey })).toBe(401)
  })
})

test('the envelope takes the same forms', async () => {
  for (const headers of [
    { authorization: `api-key=${merchant.proxyKey}` },
    { authorization: merchant.proxyKey },
    { 'api-key': merchant.proxyKey },
    { 'sallyport-key': merchant.proxyKey },
  ]) {
    const answer = await fetch(`${sallyport.origin}/v2/proxy`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(headers as Record<string, string>) },
      body: JSON.stringify({ destination_url: 'https://nowhere.test/', method: 'POST' }),
    })
    expect(((await answer.json()) as any).error.reason).toBe('destination_not_allowed')
  }
})

describe('a key', () => {
  async function newKey(more: object) {
    const { body } = await sallyport.admin('POST', '/v2/api-keys', {
      merchant_id: merchant.id,
      name: 'k',
      scopes: ['vault:read', 'proxy:invoke'],
      ...more,
    })
    return {
      call: sallyport.as(body.api_key),
      path: `/v2/api-keys/${body.key_id}?merchant_id=${merchant.id}`,
    }
  }

  test('is revoked at once', async () => {
    const { call, path } = await newKey({})
    expect((await call('GET', LIST)).status).toBe(200)

    await sallyport.admin('DELETE', path)

    expectUnknown(await call('GET', LIST))
    expectUnknown(await call('POST', '/v2/proxy', {}))
    expectUnknown(await call('POST', '/d/psp/payments', {}))
  })

  test('loses a scope at once', async () => {
    const { call, path } = await newKey({})
    expect((await call('GET', LIST)).status).toBe(200)

    await sallyport.admin('PUT', path, { name: 'k', scopes: ['vault:write'] })

    expect((await call('GET', LIST)).body.error.reason).toBe('permission_denied')
    expect((await call('POST', '/v2/proxy', {})).body.error.reason).toBe('permission_denied')
  })

  test('expires', async () => {
    const { call } = await newKey({ expiration: new Date(Date.now() + 2500).toISOString() })
    expect((await call('GET', LIST)).status).toBe(200)

    await wait(2600)

    expectUnknown(await call('GET', LIST))
    expectUnknown(await call('POST', '/v2/proxy', {}))
  })

  test('may be held to addresses', async () => {
    const here = await newKey({ allowed_cidrs: ['10.0.0.0/8', '127.0.0.1'] })
    const elsewhere = await newKey({ allowed_cidrs: ['10.0.0.0/8', '::1', '127.0.0.2/32'] })

    expect((await here.call('GET', LIST)).status).toBe(200)
    expectUnknown(await elsewhere.call('GET', LIST))
    expectUnknown(await elsewhere.call('POST', '/v2/proxy', {}))
    expectUnknown(await elsewhere.call('POST', '/forward/x', {}))
  })

  test('that does not work looks the same whatever the reason', async () => {
    const revoked = await newKey({})
    await sallyport.admin('DELETE', revoked.path)
    const elsewhere = await newKey({ allowed_cidrs: ['10.0.0.0/8'] })
    const calls = [revoked.call, elsewhere.call, sallyport.as('sly_x'), sallyport.as('')]

    const answers = await Promise.all(calls.map((call) => call('GET', LIST)))

    const texts = answers.map(({ text }) => text.replace(/req_[0-9a-f]{32}/, ''))
    expect(new Set(texts).size).toBe(1)
  })

  test('says X-Forwarded-For of nobody who is not trusted', async () => {
    const { call } = await newKey({ allowed_cidrs: ['10.1.2.3'] })

    expectUnknown(await call('GET', LIST, undefined, { 'x-forwarded-for': '10.1.2.3' }))
    expectUnknown(await call('GET', LIST, undefined, { forwarded: 'for=10.1.2.3' }))
    expectUnknown(await call('GET', LIST, undefined, { 'x-real-ip': '10.1.2.3' }))
  })
})

describe('behind trusted proxies the client is', () => {
  let behind: TestSallyport
  let keyPath: string
  let clientKey: string

  beforeAll(async () => {
    behind = await startSallyport({ trusted_proxies: ['127.0.0.0/8', '10.0.0.0/8', 'fd00::/8'] })
    const { id } = (await behind.admin('POST', '/v2/merchant-accounts', { merchant_name: 'M' }))
      .body
    const { body } = await behind.admin('POST', '/v2/api-keys', {
      merchant_id: id,
      name: 'k',
      scopes: ['vault:read'],
      allowed_cidrs: ['203.0.113.7', '2001:db8::/32'],
    })
    keyPath = `/v2/api-keys/${body.key_id}?merchant_id=${id}`
    clientKey = body.api_key
  })

  afterAll(() => behind[Symbol.asyncDispose]())

  test.each([
    ['203.0.113.7', 200],
    ['2001:db8::5', 200],
    ['::ffff:203.0.113.7', 200],
    [' 203.0.113.7 ', 200],
    ['203.0.113.7, 10.0.0.1', 200],
    ['203.0.113.7,10.0.0.1,10.9.9.9', 200],
    ['203.0.113.7, fd00::1', 200],
    ['198.51.100.1', 401],
    ['', 401],
    // What stands left of somebody who is not trusted was said by him.
    ['203.0.113.7, 198.51.100.1', 401],
    ['203.0.113.7, 198.51.100.1, 10.0.0.1', 401],
    ['203.0.113.7, unknown, 10.0.0.1', 401],
    ['203.0.113.7,', 401],
    ['203.0.113.7:1234', 401],
    ['198.51.100.1, 203.0.113.7', 200],
    ['spoofed, 203.0.113.7, 10.0.0.1', 200],
  ])('of %j: %i', async (forwarded, status) => {
    const answer = await behind.as(clientKey)('GET', LIST, undefined, {
      'x-forwarded-for': forwarded,
    })

    expect(answer.status).toBe(status)
  })

  test('the same in the audit trail', async () => {
    await behind.as(clientKey)('GET', LIST, undefined, { 'x-forwarded-for': '203.0.113.7' })
    await behind.admin('DELETE', keyPath, undefined, {
      'x-forwarded-for': '198.51.100.9, 10.0.0.1',
    })

    const lines = (await readFile(`${behind.folder}/audit/audit.jsonl`, 'utf8')).trim().split('\n')

    expect(JSON.parse(lines.at(-1) ?? '')).toMatchObject({
      action: 'api_key.delete',
      client: '198.51.100.9',
    })
  })
})
