// Customers: who a merchant's payment methods belong to. What describes a person is sealed as one record; ids,
// the merchant's own reference and times are not.

import type { Clock } from '../core/clock.ts'
import { AppError } from '../core/errors.ts'
import type { CustomerId, Ids, MerchantId } from '../core/ids.ts'
import type { JsonObject } from '../core/json.ts'
import type { Keyring } from '../crypto/keyring.ts'
import type { CustomerRecord, Store } from '../store/contract.ts'

export type CustomerDetails = {
  readonly name: string | null
  readonly email: string | null
  readonly phone: string | null
  readonly phone_country_code: string | null
  readonly description: string | null
  readonly default_billing_address: JsonObject | null
  readonly default_shipping_address: JsonObject | null
  readonly metadata: JsonObject | null
}

export type Customer = {
  readonly id: CustomerId
  readonly reference: string | undefined
  readonly createdAtMs: number
  readonly details: CustomerDetails
}

export type CustomerChanges = { reference?: string | undefined; details: Partial<CustomerDetails> }

export type Customers = ReturnType<typeof createCustomers>

const NO_DETAILS: CustomerDetails = {
  name: null,
  email: null,
  phone: null,
  phone_country_code: null,
  description: null,
  default_billing_address: null,
  default_shipping_address: null,
  metadata: null,
}

export function createCustomers(deps: { store: Store; keyring: Keyring; ids: Ids; clock: Clock }) {
  const { store, keyring, ids, clock } = deps

  async function sealDetails(merchantId: MerchantId, id: CustomerId, details: CustomerDetails) {
    const keys = await keyring.keysOf(merchantId)
    return keys.seal(Buffer.from(JSON.stringify(details)), 'customer', id)
  }

  async function view(record: CustomerRecord): Promise<Customer> {
    const keys = await keyring.keysOf(record.merchantId, record.details)
    const details = keys.open(record.details, 'customer', record.id)
    return {
      id: record.id,
      reference: record.reference,
      createdAtMs: record.createdAtMs,
      details: JSON.parse(details.toString('utf8')) as CustomerDetails,
    }
  }

  async function find(merchantId: MerchantId, id: CustomerId): Promise<CustomerRecord> {
    const record = await store.findCustomer(merchantId, id)
    if (record === undefined) throw new AppError('not_found')
    return record
  }

  return {
    /** Throws `conflict` when another customer has the reference. */
    async create(merchantId: MerchantId, input: CustomerChanges): Promise<Customer> {
      const id = ids.customer()
      const details = { ...NO_DETAILS, ...input.details }
      const record: CustomerRecord = {
        merchantId,
        id,
        reference: input.reference,
        createdAtMs: clock(),
        revision: 0,
        details: await sealDetails(merchantId, id, details),
      }
      if (!(await store.insertCustomer(record))) throw new AppError('conflict')
      return { id, reference: record.reference, createdAtMs: record.createdAtMs, details }
    },

    /** Throws `not_found`. */
    async expectStored(merchantId: MerchantId, id: CustomerId): Promise<void> {
      await find(merchantId, id)
    },

    async retrieve(merchantId: MerchantId, id: CustomerId): Promise<Customer> {
      return view(await find(merchantId, id))
    },

    async retrieveByReference(merchantId: MerchantId, reference: string): Promise<Customer> {
      const record = await store.findCustomerByReference(merchantId, reference)
      if (record === undefined) throw new AppError('not_found')
      return view(record)
    },

    async list(
      merchantId: MerchantId,
      page: { offset: number; limit: number },
    ): Promise<Customer[]> {
      return Promise.all((await store.listCustomers(merchantId, page)).map(view))
    },

    /** What is not named stays. Throws `conflict`. */
    async update(
      merchantId: MerchantId,
      id: CustomerId,
      changes: CustomerChanges,
    ): Promise<Customer> {
      const before = await find(merchantId, id)
      const { details } = await view(before)
      const after = { ...details, ...changes.details }
      const record: CustomerRecord = {
        ...before,
        reference: changes.reference ?? before.reference,
        details: await sealDetails(merchantId, id, after),
      }
      if ((await store.replaceCustomer(record)) !== 'written') throw new AppError('conflict')
      return { id, reference: record.reference, createdAtMs: record.createdAtMs, details: after }
    },

    /** With everything that belongs to the customer. */
    async remove(merchantId: MerchantId, id: CustomerId): Promise<void> {
      if (!(await store.deleteCustomer(merchantId, id))) throw new AppError('not_found')
    },
  }
}
