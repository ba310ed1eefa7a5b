// Erasure: what a customer leaves behind when it is deleted. Looked for in the files of the store, table by table.

import { join } from 'node:path'
import { type Key, open } from 'lmdb'
import { expect, test } from 'vitest'
import { auditLines } from '../support/audit.ts'
import { startPspSimulator } from '../support/psp-simulator.ts'
import { startSallyport } from '../support/sallyport.ts'
import { randomCard } from './cards.ts'

/** Of all tables there are: the keys of what is stored, as text. */
async function storedKeys(folder: string): Promise<string[]> {
  const env = open({ path: join(folder, 'store', 'sallyport.mdb'), readOnly: true, maxDbs: 64 })
  const names = [...env.getKeys({})].map(String)
  const keys = names.flatMap((name) => {
    const table = env.openDB<Buffer, Key>({ name, encoding: 'binary', cache: false })
    return [...table.getKeys({})].map((key) => `${name}: ${JSON.stringify(key)}`)
  })
  await env.close()
  return keys
}

test('a deleted customer leaves nothing but its lines in the audit trail', async () => {
  const psp = await startPspSimulator()
  const sallyport = await startSallyport()
  await using _ = { [Symbol.asyncDispose]: () => psp.close() }
  await using __ = sallyport
  const merchant = await sallyport.createMerchant()
  await merchant.createDestination({
    name: 'psp',
    origin: psp.origin,
    connector: 'psp',
    inject_headers: { Authorization: `Bearer ${psp.apiKey}` },
    allow: [
      {
        methods: ['POST'],
        path: '/payments',
        fields: ['card_number', 'card_exp_month', 'card_exp_year'],
      },
    ],
    response: { capture: [{ path: '$.source.id', as: 'psp_token' }] },
  })
  const { body } = await merchant.vault('POST', '/v2/customers', {
    merchant_reference_id: 'erased',
    name: 'Zoë',
  })
  const customer = body.id
  const card = await merchant.createCard({ card_number: randomCard(), card_cvc: '737' }, customer)
  const token = await merchant.createToken({ iban: 'x' }, customer)
  const intent = await merchant.vault('POST', '/v2/payment-methods/create-intent', {
    customer_id: customer,
  })
  await merchant.vault('PUT', `/v2/customers/${customer}`, { default_payment_method_id: card })
  const session = await merchant.vault('POST', '/v2/payment-method-sessions', {
    customer_id: customer,
  })
  const charge = await merchant.proxy(
    'POST',
    '/d/psp/payments',
    {
      source: {
        type: 'card',
        number: '{{$card_number}}',
        expiry_month: '{{$card_exp_month}}',
        expiry_year: '{{$card_exp_year}}',
      },
      amount: 100,
      currency: 'USD',
    },
    { 'sallyport-token': card },
  )
  expect([intent.status, session.status, charge.status]).toEqual([201, 201, 201])
  const things = [customer, card, token, intent.body.id, session.body.id]
  const ofThings = (keys: string[]) => keys.filter((key) => things.some((id) => key.includes(id)))
  expect(ofThings(await storedKeys(sallyport.folder)).length).toBeGreaterThan(8)

  const deleted = await merchant.vault('DELETE', `/v2/customers/${customer}`)

  expect(deleted.status).toBe(200)
  const left = await storedKeys(sallyport.folder)
  expect(ofThings(left)).toEqual([])
  expect(left.filter((key) => key.startsWith('customer_references'))).toEqual([])
  for (const [path, id] of [
    ['customers', customer],
    ['payment-methods', card],
    ['payment-methods', intent.body.id],
    ['payment-method-sessions', session.body.id],
  ]) {
    expect((await merchant.vault('GET', `/v2/${path}/${id}`)).status).toBe(404)
  }
  const acts = (await auditLines(sallyport)).filter((line) => line.object === customer)
  expect(acts.map(({ action }) => action)).toContain('customer.delete')
})
