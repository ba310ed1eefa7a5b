// Customers: who a merchant's payment methods belong to. Everything that is said of one is sealed as one record, the
// merchant's own reference too; it is looked up by its keyed hash.

import type { Clock } from '../../core/clock.ts'
import { AppError, invalidField } from '../../core/errors.ts'
import type { CustomerId, Ids, MerchantId, PaymentMethodId } from '../../core/ids.ts'
import type { JsonObject } from '../../core/json.ts'
import type { Fingerprint } from '../../crypto/fingerprint.ts'
import type { Keyring } from '../../crypto/keyring.ts'
import type { CustomerRecord, PaymentMethodRecord, Store } from '../../store/contract.ts'

export type CustomerDetails = {
  readonly merchant_reference_id: string | null
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
  readonly createdAtMs: number
  readonly details: CustomerDetails
  readonly defaultPaymentMethodId: PaymentMethodId | undefined
}

type RemoveOwned = () => Promise<readonly PaymentMethodRecord[] | undefined>

export type Customers = ReturnType<typeof createCustomers>

const NO_DETAILS: CustomerDetails = {
  merchant_reference_id: null,
  name: null,
  email: null,
  phone: null,
  phone_country_code: null,
  description: null,
  default_billing_address: null,
  default_shipping_address: null,
  metadata: null,
}

export function createCustomers(deps: {
  store: Store
  keyring: Keyring
  ids: Ids
  clock: Clock
  /** What `remove` deletes of the customer's goes in external vaults, too. Undefined: what is there is not touched. */
  releasing?: (
    merchantId: MerchantId,
    id: CustomerId,
    remove: RemoveOwned,
  ) => ReturnType<RemoveOwned>
}) {
  const { store, keyring, ids, clock, releasing } = deps

  async function referenceHash(merchantId: MerchantId, reference: string): Promise<Fingerprint> {
    const keys = await keyring.keysOf(merchantId)
    return keys.fingerprint('', 'customer_reference', Buffer.from(reference))
  }

  async function sealed(merchantId: MerchantId, id: CustomerId, details: CustomerDetails) {
    const keys = await keyring.keysOf(merchantId)
    const { merchant_reference_id: reference } = details
    return {
      reference: reference === null ? undefined : await referenceHash(merchantId, reference),
      details: keys.seal(Buffer.from(JSON.stringify(details)), 'customer', id),
    }
  }

  async function view(record: CustomerRecord): Promise<Customer> {
    const keys = await keyring.keysOf(record.merchantId, record.details)
    const details = keys.open(record.details, 'customer', record.id)
    return {
      id: record.id,
      createdAtMs: record.createdAtMs,
      details: JSON.parse(details.toString('utf8')) as CustomerDetails,
      defaultPaymentMethodId: await storedDefault(record),
    }
  }

  /** Undefined also for one that was deleted or has expired. */
  async function storedDefault(record: CustomerRecord): Promise<PaymentMethodId | undefined> {
    const { merchantId, defaultPaymentMethodId: methodId } = record
    return methodId !== undefined && (await isUsable(merchantId, record.id, methodId))
      ? methodId
      : undefined
  }

  async function isUsable(
    merchantId: MerchantId,
    id: CustomerId,
    methodId: PaymentMethodId,
  ): Promise<boolean> {
    const method = await store.findPaymentMethod(merchantId, methodId)
    return (
      method?.customerId === id &&
      method.fields !== 0 && // an intent has nothing to pay with yet
      (method.expiresAtMs === undefined || method.expiresAtMs > clock())
    )
  }

  async function find(merchantId: MerchantId, id: CustomerId): Promise<CustomerRecord> {
    const record = await store.findCustomer(merchantId, id)
    if (record === undefined) throw new AppError('not_found')
    return record
  }

  return {
    /** Throws `conflict` when another customer has the reference, or the id that an import brings along. */
    async create(
      merchantId: MerchantId,
      input: Partial<CustomerDetails>,
      id: CustomerId = ids.customer(),
    ): Promise<Customer> {
      const details = { ...NO_DETAILS, ...input }
      const record: CustomerRecord = {
        merchantId,
        id,
        createdAtMs: clock(),
        revision: 0,
        defaultPaymentMethodId: undefined,
        ...(await sealed(merchantId, id, details)),
      }
      if (!(await store.insertCustomer(record))) throw new AppError('conflict')
      return { id, createdAtMs: record.createdAtMs, details, defaultPaymentMethodId: undefined }
    },

    /** Throws `not_found`. */
    async expectStored(merchantId: MerchantId, id: CustomerId): Promise<void> {
      await find(merchantId, id)
    },

    async retrieve(merchantId: MerchantId, id: CustomerId): Promise<Customer> {
      return view(await find(merchantId, id))
    },

    async retrieveByReference(merchantId: MerchantId, reference: string): Promise<Customer> {
      const record = await store.findCustomerByReference(
        merchantId,
        await referenceHash(merchantId, reference),
      )
      if (record === undefined) throw new AppError('not_found')
      return view(record)
    },

    async list(
      merchantId: MerchantId,
      page: { offset: number; limit: number },
    ): Promise<Customer[]> {
      return Promise.all((await store.listCustomers(merchantId, page)).map(view))
    },

    /**
     * All of it or nothing; what is not named stays. A default of null: none. Throws `invalid_value` when the default is not
     * a payment method of that customer, and `conflict`.
     */
    async update(
      merchantId: MerchantId,
      id: CustomerId,
      changes: Partial<CustomerDetails>,
      newDefault?: PaymentMethodId | null | undefined,
    ): Promise<Customer> {
      const before = await find(merchantId, id)
      const { details } = await view(before)
      if (newDefault != null && !(await isUsable(merchantId, id, newDefault))) {
        throw invalidField('invalid_value', 'default_payment_method_id')
      }
      const record: CustomerRecord = {
        ...before,
        ...(await sealed(merchantId, id, { ...details, ...changes })),
        ...(newDefault === undefined ? {} : { defaultPaymentMethodId: newDefault ?? undefined }),
      }
      if ((await store.replaceCustomer(record)) !== 'written') throw new AppError('conflict')
      return view(record)
    },

    /** Which of the customer's payment methods is the default. Throws `not_found`. */
    async defaultOf(merchantId: MerchantId, id: CustomerId): Promise<PaymentMethodId | undefined> {
      return storedDefault(await find(merchantId, id))
    },

    /** With everything that belongs to the customer. Throws as `releasing` before it removes anything. */
    async remove(merchantId: MerchantId, id: CustomerId): Promise<void> {
      const remove = () => store.deleteCustomer(merchantId, id)
      const removed = await (releasing?.(merchantId, id, remove) ?? remove())
      if (removed === undefined) throw new AppError('not_found')
    },
  }
}
