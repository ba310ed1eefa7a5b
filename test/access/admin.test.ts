// Merchants, profiles and API keys through the front door: what an operator makes, sees, changes and takes away.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { areScopesAllowed } from '../../src/access/scopes.ts'
import { SCOPES } from '../../src/core/caller.ts'
import { type Answer, startSallyport, type TestSallyport } from '../support/sallyport.ts'

let sallyport: TestSallyport

beforeAll(async () => {
  sallyport = await startSallyport()
})

afterAll(() => sallyport[Symbol.asyncDispose]())

const admin = (method: string, path: string, body?: unknown) => sallyport.admin(method, path, body)

function expectRefused(answer: Answer, status: number, reason: string, field?: string): void {
  expect([answer.status, answer.body.error?.reason, answer.body.error?.details?.field]).toEqual([
    status,
    reason,
    field,
  ])
}

async function newMerchant(): Promise<string> {
  return (await admin('POST', '/v2/merchant-accounts', { merchant_name: 'Test' })).body.id
}

describe('merchants', () => {
  const path = '/v2/merchant-accounts'

  test('are created, retrieved, listed, renamed and deleted', async () => {
    const created = await admin('POST', path, { merchant_name: 'Crêpes & Co.' })
    const { id } = created.body

    expect(created.status).toBe(201)
    expect(created.body).toEqual({
      id: expect.stringMatching(/^mer_[0-9a-f]{32}$/),
      merchant_name: 'Crêpes & Co.',
      created_at: expect.stringMatching(/Z$/),
    })
    expect((await admin('GET', `${path}/${id}`)).body).toEqual(created.body)
    expect((await admin('GET', path)).body).toContainEqual(created.body)

    const renamed = await admin('PUT', `${path}/${id}`, { merchant_name: 'Crêpes' })
    expect(renamed.body).toEqual({ ...created.body, merchant_name: 'Crêpes' })

    const deleted = await admin('DELETE', `${path}/${id}`)
    expect([deleted.status, deleted.body]).toEqual([200, { id }])
    expectRefused(await admin('GET', `${path}/${id}`), 404, 'not_found')
    expectRefused(await admin('PUT', `${path}/${id}`, { merchant_name: 'x' }), 404, 'not_found')
    expectRefused(await admin('DELETE', `${path}/${id}`), 404, 'not_found')
    expect((await admin('GET', path)).text).not.toContain(id)
  })

  test('may be given an id, which is theirs for good', async () => {
    const wanted = { merchant_name: 'First', merchant_id: 'Shop_1-a' }
    expect((await admin('POST', path, wanted)).body.id).toBe('Shop_1-a')

    expectRefused(await admin('POST', path, wanted), 409, 'conflict')
    await admin('DELETE', `${path}/Shop_1-a`)
    expectRefused(await admin('POST', path, wanted), 409, 'conflict')
  })

  test('of racing creations with one id one wins', async () => {
    const body = { merchant_name: 'Raced', merchant_id: 'raced' }

    const answers = await Promise.all(Array.from({ length: 10 }, () => admin('POST', path, body)))

    expect(answers.map(({ status }) => status).sort()).toEqual([201, ...Array(9).fill(409)])
  })

  test.each([
    [{}, 400, 'missing_field', 'merchant_name'],
    [{ merchant_name: '' }, 422, 'invalid_value', 'merchant_name'],
    [{ merchant_name: 5 }, 400, 'wrong_type', 'merchant_name'],
    [{ merchant_name: 'x', nope: 1 }, 400, 'unknown_field', 'nope'],
    [{ merchant_name: 'x', merchant_id: '' }, 422, 'invalid_value', 'merchant_id'],
    [{ merchant_name: 'x', merchant_id: 'a/b' }, 422, 'invalid_value', 'merchant_id'],
    [{ merchant_name: 'x', merchant_id: '~system' }, 422, 'invalid_value', 'merchant_id'],
    [{ merchant_name: 'x', merchant_id: 'x'.repeat(65) }, 422, 'invalid_value', 'merchant_id'],
  ])('are not made from %j', async (body, status, reason, field) => {
    expectRefused(await admin('POST', path, body), status, reason, field)
  })

  test('stop working at once when they are deleted', async () => {
    const merchant = await sallyport.createMerchant()
    const customer = await merchant.createCustomer()
    const card = await merchant.createCard({}, customer)

    await admin('DELETE', `${path}/${merchant.id}`)

    const calls = [
      merchant.vault('GET', `/v2/payment-methods/${card}`),
      merchant.vault('POST', '/v2/customers', {}),
      merchant.policy('GET', '/v2/destinations'),
      merchant.proxy('POST', '/v2/proxy', {}),
    ]
    for (const answer of await Promise.all(calls)) {
      expect([answer.status, answer.body.error.reason]).toEqual([401, 'unauthenticated'])
    }
  })
})

describe('profiles', () => {
  const path = '/v2/profiles'

  test('a merchant begins with a default one, which stays', async () => {
    const merchant = await newMerchant()

    const { body } = await admin('GET', `${path}?merchant_id=${merchant}`)

    expect(body).toEqual([
      {
        id: expect.stringMatching(/^pro_[0-9a-f]{32}$/),
        merchant_id: merchant,
        profile_name: 'default',
        is_default: true,
        publishable_key: expect.stringMatching(/^pk_[0-9a-f]{32}$/),
        allowed_origins: [],
        created_at: expect.any(String),
      },
    ])
    const one = `${path}/${body[0].id}?merchant_id=${merchant}`
    expectRefused(await admin('DELETE', one), 409, 'conflict')
    expect((await admin('PUT', one, { profile_name: 'main' })).body).toMatchObject({
      profile_name: 'main',
      is_default: true,
    })
  })

  test('are created, retrieved, renamed and deleted', async () => {
    const merchant = await newMerchant()
    const created = await admin('POST', path, { profile_name: 'web', merchant_id: merchant })
    expect([created.status, created.body.is_default]).toEqual([201, false])
    const one = `${path}/${created.body.id}?merchant_id=${merchant}`

    expect((await admin('GET', one)).body).toEqual(created.body)
    const renamed = await admin('PUT', one, { profile_name: 'app' })
    expect(renamed.body).toEqual({ ...created.body, profile_name: 'app' })
    expect((await admin('GET', `${path}?merchant_id=${merchant}`)).body).toHaveLength(2)
    expect((await admin('DELETE', one)).body).toEqual({ id: created.body.id })
    for (const answer of [await admin('GET', one), await admin('DELETE', one)]) {
      expectRefused(answer, 404, 'not_found')
    }
  })

  test('have a publishable key, which an operator rotates', async () => {
    const merchant = await newMerchant()
    const body = { profile_name: 'web', merchant_id: merchant }
    const created = (await admin('POST', path, body)).body
    const whose = `merchant_id=${merchant}`

    const rotated = await admin('POST', `${path}/${created.id}/rotate-publishable-key?${whose}`)

    expect(rotated.status).toBe(200)
    expect(rotated.body).toEqual({ ...created, publishable_key: expect.any(String) })
    expect(rotated.body.publishable_key).toMatch(/^pk_[0-9a-f]{32}$/)
    expect(rotated.body.publishable_key).not.toBe(created.publishable_key)
    expect((await admin('GET', `${path}/${created.id}?${whose}`)).body).toEqual(rotated.body)
    expect(created.publishable_key).not.toBe(
      (await admin('POST', path, { ...body, profile_name: 'app' })).body.publishable_key,
    )
  })

  test('allow pages of exact origins, and keep what a change does not name', async () => {
    const merchant = await newMerchant()
    const allowed_origins = ['https://shop.example', 'https://shop.example:8443']
    const body = { profile_name: 'web', merchant_id: merchant, allowed_origins }
    const created = (await admin('POST', path, body)).body
    expect(created.allowed_origins).toEqual(allowed_origins)
    const one = `${path}/${created.id}?merchant_id=${merchant}`

    const renamed = (await admin('PUT', one, { profile_name: 'app' })).body
    expect(renamed).toEqual({ ...created, profile_name: 'app' })
    const moved = (await admin('PUT', one, { allowed_origins: ['http://localhost:3000'] })).body
    expect(moved).toEqual({ ...renamed, allowed_origins: ['http://localhost:3000'] })
    expect((await admin('PUT', one, {})).body).toEqual(moved)
    expect((await admin('PUT', one, { allowed_origins: [] })).body.allowed_origins).toEqual([])
  })

  test.each([
    'http://shop.example',
    'https://shop.example/',
    'https://shop.example:443',
    'https://Shop.example',
    'https://*.shop.example',
    'shop.example',
    'null',
    '*',
    '',
    'https://user@shop.example',
    'ftp://localhost',
    'http://localhost.shop.example',
    'https://4242424242424242.example',
  ])('do not take %j for an origin', async (origin) => {
    const merchant = await newMerchant()
    const body = { profile_name: 'web', merchant_id: merchant, allowed_origins: [origin] }

    expectRefused(await admin('POST', path, body), 422, 'invalid_value', 'allowed_origins')
  })

  test('need a merchant, where the key does not say which', async () => {
    const nobody = 'mer_00000000000000000000000000000000'

    expectRefused(await admin('GET', path), 400, 'missing_field', 'merchant_id')
    expectRefused(
      await admin('POST', path, { profile_name: 'x' }),
      400,
      'missing_field',
      'merchant_id',
    )
    expectRefused(
      await admin('POST', path, { profile_name: 'x', merchant_id: nobody }),
      404,
      'not_found',
    )
  })

  test('take their destinations with them', async () => {
    const merchant = await sallyport.createMerchant()
    const { id } = (await admin('POST', path, { profile_name: 'p', merchant_id: merchant.id })).body
    const destination = { name: 'psp', origin: 'https://api.psp.test' }
    const header = { 'x-profile-id': id }
    await merchant.policy('POST', '/v2/destinations', destination, header)

    await admin('DELETE', `${path}/${id}?merchant_id=${merchant.id}`)

    expectRefused(
      await merchant.policy('GET', '/v2/destinations/psp', undefined, header),
      404,
      'not_found',
    )
    const elsewhere = await merchant.policy('POST', '/v2/destinations', destination)
    expect(elsewhere.status).toBe(201)
  })
})

describe('API keys', () => {
  const path = '/v2/api-keys'

  test('are shown once and never again', async () => {
    const merchant = await newMerchant()
    const created = await admin('POST', path, {
      merchant_id: merchant,
      name: 'web',
      scopes: ['vault:read', 'vault:write'],
      expiration: '2099-01-01T00:00:00+02:00',
      allowed_cidrs: ['10.0.0.0/8', '203.0.113.7'],
    })
    const { api_key, ...shown } = created.body

    expect(created.status).toBe(201)
    expect(api_key).toMatch(/^sly_[0-9a-f]{64}$/)
    expect(shown).toEqual({
      key_id: expect.stringMatching(/^key_[0-9a-f]{32}$/),
      merchant_id: merchant,
      name: 'web',
      scopes: ['vault:read', 'vault:write'],
      expiration: '2098-12-31T22:00:00.000Z',
      allowed_cidrs: ['10.0.0.0/8', '203.0.113.7/32'],
      created: expect.any(String),
    })
    const one = `${path}/${shown.key_id}?merchant_id=${merchant}`
    expect((await admin('GET', one)).body).toEqual(shown)
    expect((await admin('GET', `${path}?merchant_id=${merchant}`)).body).toEqual([shown])
  })

  test('are replaced whole, and the key itself stays', async () => {
    const merchant = await newMerchant()
    const { body } = await admin('POST', path, {
      merchant_id: merchant,
      name: 'k',
      scopes: ['vault:read'],
      allowed_cidrs: ['10.0.0.0/8'],
    })
    const one = `${path}/${body.key_id}?merchant_id=${merchant}`
    const use = () => sallyport.as(body.api_key)('POST', '/v2/customers', {})
    expect((await use()).status).toBe(401)

    const replaced = await admin('PUT', one, { name: 'k2', scopes: ['vault:write'] })

    expect(replaced.status).toBe(200)
    expect(replaced.body).toMatchObject({ name: 'k2', allowed_cidrs: [], expiration: null })
    expect(replaced.text).not.toContain(body.api_key)
    expect((await use()).status).toBe(201)
  })

  test('of the installation are apart from those of merchants', async () => {
    const merchant = await newMerchant()
    const made = await admin('POST', path, { name: 'auditor', scopes: ['audit:read'] })
    const { key_id } = made.body

    expect([made.status, made.body.merchant_id]).toEqual([201, null])
    expect((await admin('GET', path)).text).toContain(key_id)
    expect((await admin('GET', `${path}/${key_id}`)).status).toBe(200)
    expectRefused(await admin('GET', `${path}/${key_id}?merchant_id=${merchant}`), 404, 'not_found')
    expectRefused(
      await admin('DELETE', `${path}/${key_id}?merchant_id=${merchant}`),
      404,
      'not_found',
    )
    expect((await admin('DELETE', `${path}/${key_id}`)).status).toBe(200)
  })

  test.each([
    [{ scopes: ['vault:read'] }, 400, 'missing_field', 'name'],
    [{ name: 'x' }, 400, 'missing_field', 'scopes'],
    [{ name: 'x', scopes: [] }, 422, 'invalid_value', 'scopes'],
    [{ name: 'x', scopes: ['root'] }, 422, 'invalid_value', 'scopes'],
    [{ name: 'x', scopes: ['vault:read', 'vault:read'] }, 422, 'invalid_value', 'scopes'],
    [{ name: 'x', scopes: 'vault:read' }, 400, 'wrong_type', 'scopes'],
    [{ name: 'x', scopes: ['vault:read'], api_key: 'mine' }, 400, 'unknown_field', 'api_key'],
    [
      { name: 'x', scopes: ['vault:read'], expiration: 'never' },
      422,
      'invalid_value',
      'expiration',
    ],
    [
      { name: 'x', scopes: ['vault:read'], expiration: '2099-01-01' },
      422,
      'invalid_value',
      'expiration',
    ],
    [
      { name: 'x', scopes: ['vault:read'], expiration: '2001-01-01T00:00:00Z' },
      422,
      'invalid_value',
      'expiration',
    ],
    [
      { name: 'x', scopes: ['vault:read'], expiration: '2099-99-99T00:00:00Z' },
      422,
      'invalid_value',
      'expiration',
    ],
    [{ name: 'x', scopes: ['vault:read'], expiration: 5 }, 400, 'wrong_type', 'expiration'],
    [
      { name: 'x', scopes: ['vault:read'], allowed_cidrs: ['10.0.0.0/33'] },
      422,
      'invalid_value',
      'allowed_cidrs',
    ],
    [
      { name: 'x', scopes: ['vault:read'], allowed_cidrs: ['localhost'] },
      422,
      'invalid_value',
      'allowed_cidrs',
    ],
    [{ name: 'x', scopes: ['vault:read'], allowed_cidrs: [1] }, 400, 'wrong_type', 'allowed_cidrs'],
  ])('are not made from %j', async (body, status, reason, field) => {
    const merchant_id = await newMerchant()

    expectRefused(await admin('POST', path, { merchant_id, ...body }), status, reason, field)

    const { body: keys } = await admin('GET', `${path}?merchant_id=${merchant_id}`)
    expect(keys).toEqual([])
  })

  test.each([
    ['policy:write', ['proxy:invoke', 'policy:write']],
    ['admin', ['admin', 'vault:read', 'proxy:invoke']],
  ])('that call the proxy cannot also have %s', async (_, scopes) => {
    const merchant_id = await newMerchant()
    const key = await admin('POST', path, { merchant_id, name: 'k', scopes: ['proxy:invoke'] })
    const one = `${path}/${key.body.key_id}?merchant_id=${merchant_id}`

    const made = await admin('POST', path, { merchant_id, name: 'k', scopes })
    const changed = await admin('PUT', one, { name: 'k', scopes })

    expectRefused(made, 422, 'invalid_value', 'scopes')
    expectRefused(changed, 422, 'invalid_value', 'scopes')
    expect((await admin('GET', one)).body.scopes).toEqual(['proxy:invoke'])
  })

  test.each(SCOPES.filter((scope) => scope !== 'admin' && scope !== 'audit:read'))(
    'of the installation cannot have %s',
    async (scope) => {
      for (const scopes of [[scope], ['audit:read', scope]]) {
        expectRefused(
          await admin('POST', path, { name: 'k', scopes }),
          422,
          'invalid_value',
          'scopes',
        )
      }
    },
  )
})

test('every set of scopes with proxy:invoke and the power over destinations is refused', () => {
  for (let bits = 1; bits < 1 << SCOPES.length; bits++) {
    const scopes: string[] = SCOPES.filter((_, index) => (bits >> index) & 1)
    const isMixed =
      scopes.includes('proxy:invoke') &&
      (scopes.includes('policy:write') || scopes.includes('admin'))
    const isInstallation = scopes.every((scope) => scope === 'admin' || scope === 'audit:read')

    expect([scopes, areScopesAllowed(scopes, false)]).toEqual([scopes, !isMixed])
    expect([scopes, areScopesAllowed(scopes, true)]).toEqual([scopes, isInstallation])
  }
})

describe('the admin of a merchant', () => {
  async function merchantAdmin() {
    const merchant = await sallyport.createMerchant()
    const key = await sallyport.createKey(merchant.id, ['admin'])
    return { merchant, as: sallyport.as(key) }
  }

  test('administers its own merchant without naming it', async () => {
    const { merchant, as } = await merchantAdmin()

    expect((await as('GET', '/v2/merchant-accounts')).body).toMatchObject([{ id: merchant.id }])
    const renamed = await as('PUT', `/v2/merchant-accounts/${merchant.id}`, { merchant_name: 'M' })
    expect(renamed.body.merchant_name).toBe('M')
    const profile = await as('POST', '/v2/profiles', { profile_name: 'p' })
    expect(profile.body.merchant_id).toBe(merchant.id)
    const key = await as('POST', '/v2/api-keys', { name: 'k', scopes: ['vault:read'] })
    expect(key.body.merchant_id).toBe(merchant.id)
    expect((await as('GET', '/v2/api-keys')).body).toHaveLength(5)
    expect((await as('GET', '/v2/profiles')).body).toHaveLength(2)
  })

  test('makes no merchants and deletes none, not even its own', async () => {
    const { merchant, as } = await merchantAdmin()

    const made = await as('POST', '/v2/merchant-accounts', { merchant_name: 'x' })
    const deleted = await as('DELETE', `/v2/merchant-accounts/${merchant.id}`)

    for (const answer of [made, deleted]) expectRefused(answer, 403, 'permission_denied')
  })

  test('cannot make a key of the installation by naming none', async () => {
    const { merchant, as } = await merchantAdmin()

    const made = await as('POST', '/v2/api-keys', {
      merchant_id: null,
      name: 'k',
      scopes: ['admin'],
    })

    expect(made.body.merchant_id).toBe(merchant.id)
  })

  test('does not see the keys of the installation', async () => {
    const { as } = await merchantAdmin()
    const [first] = (await admin('GET', '/v2/api-keys')).body

    expectRefused(await as('GET', `/v2/api-keys/${first.key_id}`), 404, 'not_found')
    expectRefused(await as('DELETE', `/v2/api-keys/${first.key_id}`), 404, 'not_found')
    expect((await as('GET', '/v2/api-keys')).text).not.toContain(first.key_id)
  })
})
