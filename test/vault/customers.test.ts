// Customers through the front door, under both versions of the API.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startSallyport, type TestMerchant, type TestSallyport } from '../support/sallyport.ts'

let sallyport: TestSallyport
let merchant: TestMerchant

beforeAll(async () => {
  sallyport = await startSallyport()
})

afterAll(() => sallyport[Symbol.asyncDispose]())

describe.each(['/v1', '/v2'])('under %s', (version) => {
  const path = `${version}/customers`

  beforeAll(async () => {
    merchant = await sallyport.createMerchant()
  })

  const person = {
    merchant_reference_id: 'ref-1',
    name: 'Zoë Ünal',
    email: 'zoe@example.com',
    phone: '5550123',
    phone_country_code: '+1',
    description: 'a "good" customer',
    default_billing_address: { line1: 'Main St 1', zip: '10115' },
    default_shipping_address: { line1: 'Side St 2' },
    metadata: { tier: 'gold', points: 1.5, tags: ['a', null] },
  }

  test('a customer is created, retrieved by id and by reference', async () => {
    const created = await merchant.vault('POST', path, person)
    const { id } = created.body

    expect(created.status).toBe(201)
    expect(created.body).toMatchObject(person)
    expect(id).toMatch(/^local_cus_[0-9a-f]{32}$/)
    expect(created.body.created_at).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
    expect((await merchant.vault('GET', `${path}/${id}`)).body).toEqual(created.body)
    expect((await merchant.vault('GET', `${path}/reference/ref-1`)).body).toEqual(created.body)
  })

  test('what is not said about a customer is null', async () => {
    const { body, status } = await merchant.vault('POST', path, {})

    expect(status).toBe(201)
    expect(body).toMatchObject({ merchant_reference_id: null, name: null, metadata: null })
  })

  test('an update changes what it names and nothing else', async () => {
    const { id } = (await merchant.vault('POST', path, { name: 'Ada', email: 'ada@example.com' }))
      .body

    const updated = await merchant.vault('PUT', `${path}/${id}`, { name: 'Ada L.' })

    expect(updated.status).toBe(200)
    expect(updated.body).toMatchObject({ id, name: 'Ada L.', email: 'ada@example.com' })
    expect((await merchant.vault('GET', `${path}/${id}`)).body).toEqual(updated.body)
  })

  test.each([
    ['a name', { name: 'a\nb' }, 'name'],
    ['metadata', { metadata: { note: '4242 4242 4242 4242' } }, 'metadata'],
    ['a default', { name: 'New', default_payment_method_id: 'nonsense' }, ''],
    ['a reference that is taken', { merchant_reference_id: 'had-already' }, undefined],
  ])(
    'an update changes all of it or nothing: not with %s that is refused',
    async (_, bad, field) => {
      const customer = await merchant.createCustomer()
      const [first, second] = [
        await merchant.createCard({}, customer),
        await merchant.createCard({ card_number: '4111111111111111' }, customer),
      ]
      await merchant.vault('POST', path, { merchant_reference_id: 'had-already' })
      await merchant.vault('PUT', `${path}/${customer}`, { default_payment_method_id: first })
      const before = (await merchant.vault('GET', `${path}/${customer}`)).body

      const whole = { default_payment_method_id: second, email: 'new@example.com', ...bad }
      const answer = await merchant.vault('PUT', `${path}/${customer}`, whole)

      expect(answer.status).toBe(field === undefined ? 409 : 422)
      expect(answer.body.error.details?.field).toBe(
        field === '' ? 'default_payment_method_id' : field,
      )
      expect((await merchant.vault('GET', `${path}/${customer}`)).body).toEqual(before)
    },
  )

  test('a reference that looks like one of our ids is refused, and hits nobody', async () => {
    const { body: victim } = await merchant.vault('POST', path, {})
    const { body: other } = await merchant.vault('POST', path, {})
    const merchant_reference_id = victim.id

    for (const answer of [
      await merchant.vault('POST', path, { merchant_reference_id }),
      await merchant.vault('PUT', `${path}/${other.id}`, { merchant_reference_id }),
    ]) {
      expect([answer.status, answer.body.error.reason]).toEqual([422, 'invalid_value'])
      expect(answer.body.error.details.field).toBe('merchant_reference_id')
    }
    expect((await merchant.vault('GET', `${path}/${other.id}`)).body).toEqual(other)
  })

  test('no name in free JSON is lost on the way out', async () => {
    const metadata = { 'a\nb': 1, '\u2028': 2, '': { 'c\rd': 3 }, constructor: 4 }
    const { body } = await merchant.vault('POST', path, { metadata })

    expect(body.metadata).toEqual(metadata)
    expect((await merchant.vault('GET', `${path}/${body.id}`)).body.metadata).toEqual(metadata)
  })

  test('customers are listed in the order they were created, in pages', async () => {
    const other = await sallyport.createMerchant()
    const ids: string[] = []
    for (let i = 0; i < 12; i++) ids.push((await other.vault('POST', path, {})).body.id)
    const list = async (query: string) =>
      (await other.vault('GET', `${path}/list${query}`)).body.map(({ id }: { id: string }) => id)

    expect(await list('')).toEqual(ids.slice(0, 10))
    expect(await list('?limit=100')).toEqual(ids)
    expect(await list('?limit=5&offset=3')).toEqual(ids.slice(3, 8))
    expect(await list('?limit=0')).toEqual([])
    expect(await list('?offset=12')).toEqual([])
  })

  test('a reference belongs to one customer at a time', async () => {
    const first = await merchant.vault('POST', path, { merchant_reference_id: 'taken' })
    const second = await merchant.vault('POST', path, { merchant_reference_id: 'other' })

    const created = await merchant.vault('POST', path, { merchant_reference_id: 'taken' })
    const moved = await merchant.vault('PUT', `${path}/${second.body.id}`, {
      merchant_reference_id: 'taken',
    })
    expect([created.status, created.body.error.reason]).toEqual([409, 'conflict'])
    expect([moved.status, moved.body.error.reason]).toEqual([409, 'conflict'])

    await merchant.vault('PUT', `${path}/${first.body.id}`, { merchant_reference_id: 'given-up' })
    const again = await merchant.vault('POST', path, { merchant_reference_id: 'taken' })
    expect(again.status).toBe(201)
  })

  test('of racing creations with one reference one wins', async () => {
    const answers = await Promise.all(
      Array.from({ length: 20 }, () =>
        merchant.vault('POST', path, { merchant_reference_id: 'raced' }),
      ),
    )

    expect(answers.map(({ status }) => status).sort()).toEqual([201, ...Array(19).fill(409)])
  })

  test('a deleted customer is gone with its payment methods, and its reference is free', async () => {
    const { id } = (await merchant.vault('POST', path, { merchant_reference_id: 'leaving' })).body
    const card = await merchant.createCard({}, id)

    const deleted = await merchant.vault('DELETE', `${path}/${id}`)

    expect([deleted.status, deleted.body]).toEqual([200, { id }])
    for (const gone of [
      `${path}/${id}`,
      `${path}/reference/leaving`,
      `${path}/${id}/saved-payment-methods`,
      `${version}/payment-methods/${card}`,
    ]) {
      const { status, body } = await merchant.vault('GET', gone)
      expect([gone, status, body.error.reason]).toEqual([gone, 404, 'not_found'])
    }
    expect((await merchant.vault('DELETE', `${path}/${id}`)).status).toBe(404)
    expect((await merchant.vault('PUT', `${path}/${id}`, {})).status).toBe(404)
    const again = await merchant.vault('POST', path, { merchant_reference_id: 'leaving' })
    expect(again.status).toBe(201)
  })

  test.each([
    ['an unknown field', { nope: 1 }, 400, 'unknown_field', 'nope'],
    ['a name that is a number', { name: 5 }, 400, 'wrong_type', 'name'],
    ['a null', { email: null }, 400, 'wrong_type', 'email'],
    ['metadata that is a list', { metadata: [] }, 400, 'wrong_type', 'metadata'],
    ['an empty name', { name: '' }, 422, 'invalid_value', 'name'],
    ['a name of 256 characters', { name: 'x'.repeat(256) }, 422, 'invalid_value', 'name'],
    [
      'a reference with a slash',
      { merchant_reference_id: 'a/b' },
      422,
      'invalid_value',
      'merchant_reference_id',
    ],
    ['a list', [], 400, 'wrong_type', undefined],
    ['malformed JSON', '{"name":', 400, 'malformed_body', undefined],
    ['a prototype', '{"metadata":{"__proto__":{"x":1}}}', 400, 'malformed_body', undefined],
  ])('%s is refused', async (_, body, status, reason, field) => {
    const answer = await merchant.vault('POST', path, body)

    expect([answer.status, answer.body.error.reason]).toEqual([status, reason])
    expect(answer.body.error.details?.field).toBe(field)
  })

  test.each(['?limit=-1', '?limit=1.5', '?limit=x', '?offset=1e3', '?limit=1&limit=2'])(
    'the page %s is refused',
    async (query) => {
      const { status, body } = await merchant.vault('GET', `${path}/list${query}`)

      expect([status, body.error.reason]).toEqual(
        query.includes('&') ? [400, 'wrong_type'] : [422, 'invalid_value'],
      )
    },
  )

  test.each([
    'x',
    'local_cus_',
    'local_pm_01a1fd58857d7608b0640c8851117ad8',
    'local_cus_01a1fd58857d7608b0640c8851117ad8',
    '..%2f..%2fx',
    '%00',
  ])('an id that cannot be one is not found like one that is not there: %s', async (id) => {
    const { status, body } = await merchant.vault('GET', `${path}/${id}`)

    expect([status, body.error.reason, body.error.code]).toEqual([404, 'not_found', 'HE_02'])
  })
})

test('both versions show the same customers', async () => {
  merchant = await sallyport.createMerchant()
  const { body } = await merchant.vault('POST', '/v1/customers', { name: 'Ada' })

  expect((await merchant.vault('GET', `/v2/customers/${body.id}`)).body).toEqual(body)
})
