// Stores many payment methods in the data folder of an installation that is not running: each card sealed under the
// merchant's key, with its fingerprint and its place among its customer's. In large transactions of LMDB's own, because
// ten million acknowledged one by one take an hour; at the end the store is asked for the last one.
// The last part of each id goes to a file, in the order of the card numbers.
//
//   node bench/fill.ts <data folder> <merchant> <customer> <count> <file for ids>

import { closeSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { type Database, open } from 'lmdb'
import { systemClock } from '../src/core/clock.ts'
import { type CustomerId, createIds, type MerchantId } from '../src/core/ids.ts'
import { type OwnerKeys, openKeyring } from '../src/crypto/keyring.ts'
import { openLocalRootKey } from '../src/crypto/root-key/local-file.ts'
import type { PaymentMethodRecord } from '../src/store/contract.ts'
import { encodePaymentMethod } from '../src/store/lmdb/codec.ts'
import { openStore } from '../src/store/open.ts'
import {
  encodeCard,
  fieldsOf,
  type StoredValues,
} from '../src/vault/payment-methods/card-record.ts'
import type { Details } from '../src/vault/payment-methods/payment-methods.ts'
import { cardNumber } from './card-numbers.ts'
import { CARD } from './payment.ts'
import { ID_BYTES } from './stored.ts'

const BATCH = 50_000

const [folder = '', merchant = '', customer = '', countText = '', idsFile = ''] =
  process.argv.slice(2)
const merchantId = merchant as MerchantId
const customerId = customer as CustomerId
const count = Number(countText)
const ids = createIds('local', systemClock)
const HOLDER = 'Jo Example'

function methodOf(keys: OwnerKeys, number: string): PaymentMethodRecord {
  const id = ids.paymentMethod()
  const values: StoredValues = {
    card_number: Buffer.from(number),
    card_exp_month: Buffer.from(CARD.month),
    card_exp_year: Buffer.from(CARD.year),
    card_holder_name: Buffer.from(HOLDER),
    card_network: Buffer.from('Visa'),
  }
  const details: Details = {
    subtype: null,
    card: {
      card_holder_name: HOLDER,
      nick_name: null,
      card_network: 'Visa',
      card_issuer: null,
      card_type: null,
      card_issuing_country: null,
      bin: number.slice(0, 6),
      last4: number.slice(-4),
      exp_month: CARD.month,
      exp_year: CARD.year,
    },
    billing: null,
    metadata: null,
  }
  return {
    merchantId,
    id,
    customerId,
    fingerprint: keys.fingerprint(customerId, 'card', Buffer.from(number)),
    createdAtMs: systemClock(),
    expiresAtMs: undefined,
    revision: 0,
    fields: fieldsOf(values),
    card: keys.seal(encodeCard(values), 'card', id),
    details: keys.seal(Buffer.from(JSON.stringify(details)), 'details', id),
  }
}

const storeFolder = join(folder, 'store')
const root = await openLocalRootKey(join(folder, 'root.key'), false)
await using store = await openStore(
  { kind: 'lmdb', folder: storeFolder, hourKeysFolder: join(folder, 'cvc-keys') },
  (error) => {
    throw error
  },
)
const keyring = await openKeyring({
  root,
  wrappedKeys: store,
  hourKeys: store.hourKeys,
  clock: systemClock,
})
const keys = await keyring.keysOf(merchantId)

// As the store opens them (src/store/lmdb/lmdb-store.ts).
const env = open({ path: join(storeFolder, 'sallyport.mdb'), overlappingSync: false, maxDbs: 32 })
const table = (name: string): Database<Buffer, string> =>
  env.openDB({ name, encoding: 'binary', useVersions: true, cache: false })
const methods = table('payment_methods')
const methodsOfCustomer = table('payment_methods_of_customer')
const fingerprints = table('fingerprints')
const NONE = Buffer.alloc(0)
const FIRST = 1

const end = () => process.exit(1)
process.on('disconnect', end)
const file = openSync(idsFile, 'wx', 0o600)
let last: PaymentMethodRecord | undefined
for (let from = 0; from < count; from += BATCH) {
  const parts: string[] = []
  env.transactionSync(() => {
    for (let n = from; n < Math.min(from + BATCH, count); n++) {
      const method = methodOf(keys, cardNumber(n))
      const { id, fingerprint } = method
      methods.putSync(`${merchantId}/${id}`, encodePaymentMethod(method), FIRST)
      methodsOfCustomer.putSync(`${merchantId}/${customerId}/${id}`, NONE, FIRST)
      fingerprints.putSync(`${merchantId}/${fingerprint}`, Buffer.from(id), FIRST)
      parts.push(id.slice(-ID_BYTES * 2))
      last = method
    }
  })
  writeSync(file, Buffer.from(parts.join(''), 'hex'))
  await new Promise((resolve) => setImmediate(resolve)) // so that the end of the runner is noticed
}
closeSync(file)

if (last?.fingerprint !== undefined) {
  const found = await store.findByFingerprint(merchantId, last.fingerprint)
  if (found?.id !== last.id) throw new Error('the store does not find what was written')
}
await env.close()
process.off('disconnect', end)
process.disconnect?.()
