// Which profile a request means: the one it names, or the merchant's default one.

import { AppError } from '../core/errors.ts'
import { type MerchantId, parseProfileId } from '../core/ids.ts'
import type { MaybePromise } from '../core/maybe-promise.ts'
import type { ProfileRecord, Store } from './contract.ts'

/** Undefined when there is none of that name: one that cannot be an id, or is another merchant's, included. */
export function findProfile(
  store: Pick<Store, 'findProfile' | 'findDefaultProfile'>,
  merchantId: MerchantId,
  named: string | undefined,
): MaybePromise<ProfileRecord | undefined> {
  if (named === undefined) return store.findDefaultProfile(merchantId)
  const id = parseProfileId(named)
  return id === undefined ? undefined : store.findProfile(merchantId, id)
}

/** The same, or `not_found`. */
export async function expectProfile(
  store: Parameters<typeof findProfile>[0],
  merchantId: MerchantId,
  named: string | undefined,
): Promise<ProfileRecord> {
  const profile = await findProfile(store, merchantId, named)
  if (profile === undefined) throw new AppError('not_found')
  return profile
}
