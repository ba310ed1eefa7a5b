// Confirmations that come to nothing in the end, because the session was deleted meanwhile: nothing of them stays. And
// tokens of payment methods that somebody made up. In part beside the server, over the same store and with the same keys.

import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
import { AppError } from '../../src/core/errors.ts'
import {
  createIds,
  type MerchantId,
  type PaymentMethodId,
  type SessionId,
  type TokenId,
} from '../../src/core/ids.ts'
import { openKeyring } from '../../src/crypto/keyring.ts'
import { openLocalRootKey } from '../../src/crypto/root-key/local-file.ts'
import type { Store } from '../../src/store/contract.ts'
import { openStore } from '../../src/store/open.ts'
import { createSessions, type Sessions } from '../../src/vault/sessions/sessions.ts'
import { createTokens } from '../../src/vault/tokens/tokens.ts'
import { auditLines } from '../support/audit.ts'
import { startSallyport, type TestMerchant, type TestSallyport } from '../support/sallyport.ts'
import { startVgsSimulator, type VgsSimulator } from '../support/vgs-simulator.ts'
import { randomCard } from './cards.ts'

const PATH = '/v2/payment-method-sessions'

let sallyport: TestSallyport
let merchant: TestMerchant
/** Whose new cards go to a vault that may be slow. */
let storing: TestMerchant
let vgs: VgsSimulator

/** As another process of the installation has them. */
let store: Store
let sessions: Sessions
/** What `sessions` made of session data. */
let tokens: TokenId[]
/** How often keys were read from the store. */
let keyReads = 0

beforeAll(async () => {
  sallyport = await startSallyport()
  merchant = await sallyport.createMerchant()
  storing = await sallyport.createMerchant()
  vgs = await startVgsSimulator()
  const settings = {
    kind: 'vgs',
    api_origin: vgs.origin,
    token_url: vgs.tokenUrl,
    client_id: vgs.clientId,
    client_secret: vgs.clientSecret,
    stores_cards: true,
  }
  expect((await storing.policy('PUT', '/v2/external-vault', settings)).status).toBe(200)

  const { folder } = sallyport
  const opened = await openStore(
    {
      kind: 'lmdb',
      folder: join(folder, 'store'),
      hourKeysFolder: join(folder, 'cvc-keys'),
    },
    (error) => {
      throw error
    },
  )
  store = opened
  const keyring = await openKeyring({
    root: await openLocalRootKey(join(folder, 'root.key'), false),
    wrappedKeys: {
      insertWrappedKey: (key) => opened.insertWrappedKey(key),
      listWrappedKeys(owner) {
        keyReads += 1
        return opened.listWrappedKeys(owner)
      },
    },
    hourKeys: store.hourKeys,
    clock: systemClock,
  })
  const ids = createIds('local', systemClock)
  const common = { store, keyring, ids, clock: systemClock }
  const made = createTokens(common)
  sessions = createSessions({
    ...common,
    tokens: {
      ...made,
      async create(...input) {
        const token = await made.create(...input)
        tokens.push(token.id)
        return token
      },
    },
    maxAttempts: 10,
  })
})

beforeEach(() => {
  tokens = []
  vgs.delayMs = 0
  vgs.onAsked = () => {}
})

afterAll(async () => {
  await store[Symbol.asyncDispose]()
  await sallyport[Symbol.asyncDispose]()
  await vgs[Symbol.asyncDispose]()
})

const cardBody = () => ({
  payment_method_type: 'card',
  payment_method_data: {
    card: { card_number: randomCard(), card_exp_month: '03', card_exp_year: '2035' },
  },
})

test('a card that was being stored when its session was deleted is deleted, here and in another vault', async () => {
  const session = await storing.createSession()
  vgs.delayMs = 300
  let deletion: Promise<unknown> | undefined
  vgs.onAsked = () => {
    deletion ??= storing.vault('DELETE', `${PATH}/${session.id}`)
  }

  const confirm = `${PATH}/${session.id}/confirm`
  const answer = await sallyport.as('')('POST', confirm, cardBody(), {
    authorization: session.sdk_authorization,
  })

  expect([answer.status, answer.body.error?.reason]).toEqual([409, 'conflict'])
  expect(await deletion).toMatchObject({ status: 200 })
  const list = `/v2/customers/${session.customer_id}/saved-payment-methods`
  expect((await storing.vault('GET', list)).body.customer_payment_methods).toEqual([])
  await expect.poll(() => vgs.numbers.size).toBe(0)
  const acts = (await auditLines(sallyport)).filter((line) => line.session === session.id)
  expect(acts.map(({ action }) => action)).toEqual([
    'payment_method.create',
    'payment_method.delete',
  ])
  expect(acts[0].object).toBe(acts[1].object)
})

/** A confirmation with a card that is there already, as if it had just been made, whose session is deleted meanwhile. */
async function confirmInVain(meanwhile: (methodId: string) => Promise<unknown>) {
  const customer_id = await merchant.createCustomer()
  const session = await merchant.createSession({ customer_id, tokenization_data: { a: 1 } })
  const methodId = await merchant.createCard({}, customer_id)
  const merchantId = merchant.id as MerchantId
  const record = await store.findPaymentMethod(merchantId, methodId as PaymentMethodId)
  if (record === undefined) throw new Error('the payment method is not in the store')
  const undone: string[] = []
  const confirmation = sessions.confirm(merchantId, session.id as SessionId, {
    returnUrl: undefined,
    async vault() {
      await meanwhile(methodId)
      await merchant.vault('DELETE', `${PATH}/${session.id}`)
      const details = { subtype: null, billing: null, metadata: null } as any
      return { record, details, cvcExpiresAtMs: undefined, lastUsedAtMs: undefined, isNew: true }
    },
    async undo({ id }) {
      undone.push(id)
    },
  })
  await expect(confirmation).rejects.toMatchObject({ reason: 'conflict' })
  return { methodId, undone, merchantId }
}

test('nor does the token stay that was made of the data of the session', async () => {
  const { undone, methodId, merchantId } = await confirmInVain(async () => {})

  expect(undone).toEqual([methodId])
  expect(tokens).toHaveLength(1)
  expect(await store.findToken(merchantId, tokens[0] as TokenId)).toBeUndefined()
})

test('a card that somebody else stored again meanwhile stays', async () => {
  const { undone } = await confirmInVain(async (methodId) => {
    const { body } = await merchant.vault('GET', `/v2/payment-methods/${methodId}`)
    const again = await merchant.vault('POST', '/v2/payment-methods', {
      customer_id: body.customer_id,
      payment_method_type: 'card',
      payment_method_data: {
        card: { card_number: '4242424242424242', card_exp_month: '03', card_exp_year: '2035' },
      },
    })
    expect([again.status, again.body.id]).toEqual([200, methodId])
  })

  expect(undone).toEqual([])
})

test('a token that says a newer key than there is is unknown, and the keys are not read anew for it', async () => {
  const session = await merchant.createSession()
  const confirm = `${PATH}/${session.id}/confirm`
  const { body } = await merchant.vault('POST', confirm, cardBody())
  const token: string = body.associated_payment_methods[0].payment_method_token.data
  const resolve = (text: string) => sessions.resolve(merchant.id as MerchantId, text)
  const bytes = Buffer.from(token.slice('pmt_'.length), 'base64url')
  bytes.writeUInt32BE(99, 1 + session.id.length + 1) // the version in its sealed part
  expect((await resolve(token)).session.record.id).toBe(session.id)
  const before = keyReads

  for (let n = 0; n < 5; n++) {
    const forged = `pmt_${bytes.toString('base64url')}`
    await expect(resolve(forged)).rejects.toThrow(AppError)
    await expect(resolve(forged)).rejects.toMatchObject({ reason: 'not_found' })
  }

  expect(keyReads).toBe(before)
})
