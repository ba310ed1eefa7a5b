// Who calls: an API key becomes a caller, or nothing. Keys are looked up by a keyed hash, so there is no
// comparison to time. Unknown, expired, revoked and calling from elsewhere all look the same. A publishable key becomes a
// client, which may do nothing until what it holds a client secret of has agreed.

import type { Authenticate, AuthenticateClient, Caller } from '../core/caller.ts'
import { AddressRanges } from '../core/cidr.ts'
import type { Clock } from '../core/clock.ts'
import { isPromise } from '../core/maybe-promise.ts'
import { parsePublishableKey } from '../crypto/key-hash.ts'
import type { Keyring } from '../crypto/keyring.ts'
import type { ApiKeyRecord, Store } from '../store/contract.ts'

type Compiled = { caller: Caller; expiresAtMs: number; network: AddressRanges | undefined }

const MAX_KEY_LENGTH = 256

export function createAuthenticate(deps: {
  store: Pick<Store, 'findApiKeyByHash'>
  keyring: Pick<Keyring, 'hashApiKey'>
  clock: Clock
}): Authenticate {
  // The store hands out the same record as long as it is unchanged, so this never goes stale.
  const compiled = new WeakMap<ApiKeyRecord, Compiled>()

  function check(record: ApiKeyRecord | undefined, clientAddress: string): Caller | undefined {
    if (record === undefined) return undefined
    let key = compiled.get(record)
    if (key === undefined) {
      key = compile(record)
      compiled.set(record, key)
    }
    if (deps.clock() >= key.expiresAtMs) return undefined
    if (key.network !== undefined && !key.network.has(clientAddress)) return undefined
    return key.caller
  }

  return (apiKey, clientAddress) => {
    if (apiKey.length > MAX_KEY_LENGTH) return undefined
    const record = deps.store.findApiKeyByHash(deps.keyring.hashApiKey(apiKey))
    return isPromise(record)
      ? record.then((found) => check(found, clientAddress))
      : check(record, clientAddress)
  }
}

function compile(record: ApiKeyRecord): Compiled {
  return {
    caller: { keyId: record.id, merchantId: record.merchantId, scopes: new Set(record.scopes) },
    expiresAtMs: record.expiresAtMs ?? Number.POSITIVE_INFINITY,
    network: record.allowedCidrs.length === 0 ? undefined : new AddressRanges(record.allowedCidrs),
  }
}

export function createAuthenticateClient(
  store: Pick<Store, 'findProfileByPublishableKey'>,
): AuthenticateClient {
  return async ({ publishableKey, clientSecret, sessionId, profileId }) => {
    const key = parsePublishableKey(publishableKey)
    const profile = key === undefined ? undefined : await store.findProfileByPublishableKey(key)
    if (profile === undefined || (profileId ?? profile.id) !== profile.id) return undefined
    const { merchantId, id, allowedOrigins = [] } = profile
    return { merchantId, profileId: id, clientSecret, sessionId, allowedOrigins }
  }
}
