// Captured credentials: what is kept of PSPs' answers is shown with the payment method through the front door, to its
// merchant alone, and is gone with it. What captures them is another process on the same folder, as a worker is.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
import type { MerchantId, PaymentMethodId } from '../../src/core/ids.ts'
import { type Keyring, openKeyring } from '../../src/crypto/keyring.ts'
import { openLocalRootKey } from '../../src/crypto/root-key/local-file.ts'
import { OpenError } from '../../src/crypto/seal.ts'
import type { Store } from '../../src/store/contract.ts'
import { openStore } from '../../src/store/open.ts'
import {
  type Credentials,
  createCredentials,
  type NewCredential,
} from '../../src/vault/payment-methods/credentials.ts'
import { startSallyport, type TestMerchant, type TestSallyport } from '../support/sallyport.ts'

let sallyport: TestSallyport
let merchant: TestMerchant
let other: TestMerchant
let store: Store
let keyring: Keyring
let credentials: Credentials
let nowMs = Date.now()

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
  credentials = createCredentials({ store, keyring, clock: () => nowMs })
  merchant = await sallyport.createMerchant()
  other = await sallyport.createMerchant()
})

afterAll(async () => {
  await store[Symbol.asyncDispose]()
  await sallyport[Symbol.asyncDispose]()
})

/** Unless told otherwise, Stripe's token for it. */
function capture(id: string, text: string, changes: Partial<NewCredential> = {}): Promise<boolean> {
  return credentials.capture({
    merchantId: merchant.id as MerchantId,
    paymentMethodId: id as PaymentMethodId,
    kind: 'psp_token',
    connector: 'stripe',
    value: Buffer.from(text),
    ...changes,
  })
}

const stored = (id: string) =>
  store.listCredentials(merchant.id as MerchantId, id as PaymentMethodId)

async function shown(id: string, version = '/v2') {
  const { connector_tokens, network_transaction_id } = (
    await merchant.vault('GET', `${version}/payment-methods/${id}`)
  ).body
  return { connector_tokens, network_transaction_id }
}

const NOTHING = { connector_tokens: [], network_transaction_id: null }

describe.each(['/v1', '/v2'])('a payment method under %s', (version) => {
  test('shows no credentials before any was captured', async () => {
    expect(await shown(await merchant.createCard(), version)).toEqual(NOTHING)
  })

  test('shows the token of each PSP and the id of the network transaction', async () => {
    const id = await merchant.createCard()

    expect(await capture(id, 'pm_1Qx')).toBe(true)
    expect(await capture(id, '8415736344864224', { connector: 'adyen' })).toBe(true)
    expect(
      await capture(id, '483297487231504', { kind: 'network_transaction_id', connector: '' }),
    ).toBe(true)

    const { connector_tokens, network_transaction_id } = await shown(id, version)
    const multiUse = { token_type: 'multi_use', status: 'active' }
    expect(connector_tokens).toHaveLength(2)
    expect(connector_tokens).toContainEqual({
      connector_id: 'stripe',
      token: 'pm_1Qx',
      ...multiUse,
    })
    expect(connector_tokens).toContainEqual({
      connector_id: 'adyen',
      token: '8415736344864224',
      ...multiUse,
    })
    expect(network_transaction_id).toBe('483297487231504')
  })

  test('shows them when it is stored again and when it is changed', async () => {
    const customer = await merchant.createCustomer()
    const id = await merchant.createCard({}, customer)
    await capture(id, 'pm_1Qx')
    const card = { card_number: '4242424242424242', card_exp_month: '03', card_exp_year: '2035' }

    const again = await merchant.vault('POST', `${version}/payment-methods`, {
      customer_id: customer,
      payment_method_type: 'card',
      payment_method_data: { card },
    })
    const changed = await merchant.vault(
      'PUT',
      `${version}/payment-methods/${id}/update-saved-payment-method`,
      { payment_method_data: { card: { nick_name: 'Travel' } } },
    )

    expect(again).toMatchObject({ status: 200, body: { id } })
    expect(again.body.connector_tokens).toMatchObject([{ token: 'pm_1Qx' }])
    expect(changed.body.connector_tokens).toMatchObject([{ token: 'pm_1Qx' }])
  })
})

test('a newer token takes the place of the one of the same PSP', async () => {
  const id = await merchant.createCard()
  await capture(id, 'pm_old')
  await capture(id, 'pm_new')

  expect((await shown(id)).connector_tokens).toMatchObject([{ token: 'pm_new' }])
})

test('of the ids of several network transactions the newest is shown', async () => {
  const id = await merchant.createCard()
  const kind = 'network_transaction_id'
  for (const [connector, text] of [
    ['stripe', 'first'],
    ['adyen', 'last'],
    ['worldpay', 'middle'],
  ] as const) {
    nowMs += text === 'middle' ? -1 : 10
    await capture(id, text, { kind, connector })
  }

  expect(await shown(id)).toEqual({ connector_tokens: [], network_transaction_id: 'last' })
})

describe('nothing is captured', () => {
  const refused: [string, Buffer][] = [
    ['empty', Buffer.alloc(0)],
    ['a card number', Buffer.from('4242424242424242')],
    ['a card number in groups', Buffer.from('3782 822463 10005')],
    ['a text around a card number', Buffer.from('card 5555555555554444 of Ada')],
    ['longer than 1,024 characters', Buffer.alloc(1025, 'a')],
    ['of several lines', Buffer.from('pm_1\npm_2')],
    ['not ASCII', Buffer.from('pm_é')],
    ['no text', Buffer.from([0xff, 0xfe])],
  ]
  test.each(refused)('when the value is %s', async (_, value) => {
    const id = await merchant.createCard()

    expect(await capture(id, '', { value })).toBe(false)
    expect(await capture(id, '', { value, kind: 'network_transaction_id' })).toBe(false)

    expect(await stored(id)).toEqual([])
    expect(await shown(id)).toEqual(NOTHING)
  })

  test('for a payment method that was deleted', async () => {
    const id = await merchant.createCard()
    await merchant.vault('DELETE', `/v2/payment-methods/${id}`)

    expect(await capture(id, 'pm_1Qx')).toBe(false)
  })

  test("for another merchant's payment method", async () => {
    const id = await merchant.createCard()

    expect(await capture(id, 'pm_1Qx', { merchantId: other.id as MerchantId })).toBe(false)

    expect(await shown(id)).toEqual(NOTHING)
  })
})

test('a value of 1,024 characters is shown whole, and the caller keeps its Buffer', async () => {
  const id = await merchant.createCard()
  const value = Buffer.alloc(1024, 'abc ~')

  expect(await capture(id, '', { value })).toBe(true)

  expect((await shown(id)).connector_tokens[0].token).toBe(value.toString())
  expect(value).toEqual(Buffer.alloc(1024, 'abc ~'))
})

test.each([
  ['it is deleted', (id: string) => merchant.vault('DELETE', `/v2/payment-methods/${id}`)],
  [
    'its customer is deleted',
    (_: string, customer: string) => merchant.vault('DELETE', `/v2/customers/${customer}`),
  ],
])('the credentials of a payment method are gone when %s', async (_, end) => {
  const customer = await merchant.createCustomer()
  const id = await merchant.createCard({}, customer)
  await capture(id, 'pm_1Qx')
  expect(await stored(id)).toHaveLength(1)

  expect((await end(id, customer)).status).toBe(200)

  expect(await stored(id)).toEqual([])
})

test("another merchant is not shown a payment method's credentials", async () => {
  const id = await merchant.createCard()
  await capture(id, 'pm_1Qx')

  const answer = await other.vault('GET', `/v2/payment-methods/${id}`)

  expect(answer.status).toBe(404)
  expect(answer.text).not.toContain('pm_1Qx')
  expect(await credentials.shown(other.id as MerchantId, id as PaymentMethodId)).toEqual({
    pspTokens: [],
    networkTransactionId: undefined,
  })
})

test('a stored credential opens in its own place only', async () => {
  const id = await merchant.createCard()
  const target = await merchant.createCard()
  await capture(id, 'pm_1Qx')
  const [record] = await stored(id)
  if (record === undefined) throw new Error('not captured')
  const paymentMethodId = target as PaymentMethodId
  const shownOf = (moved: string) =>
    credentials.shown(merchant.id as MerchantId, moved as PaymentMethodId)

  await store.putCredential({ ...record, paymentMethodId })
  await expect(shownOf(target)).rejects.toThrow(OpenError)

  await store.putCredential({ ...record, connector: 'adyen' })
  await expect(shownOf(id)).rejects.toThrow(OpenError)
})

test('a captured credential is in no file as it was captured', async () => {
  const id = await merchant.createCard()
  const token = `pm_${'unreadable'.repeat(3)}`
  await capture(id, token)
  await shown(id)

  const { folder } = sallyport
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) =>
    entry.isFile(),
  )
  const texts = files.map(({ parentPath, name }) => readFileSync(join(parentPath, name), 'latin1'))
  expect(texts.some((text) => text.includes(id))).toBe(true)
  expect(texts.filter((text) => text.includes(token))).toEqual([])
})
