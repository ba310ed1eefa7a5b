// Which external vault a profile has, if any, and the adapter for it, made once and kept as long as the settings are the
// same. What is stored is sealed as a whole.

import type { Clock } from '../../core/clock.ts'
import { AppError, invalidField } from '../../core/errors.ts'
import type { MerchantId, ProfileId } from '../../core/ids.ts'
import { Secret } from '../../core/secret.ts'
import type { SendWhole } from '../../core/send-whole.ts'
import type { Keyring } from '../../crypto/keyring.ts'
import type { ExternalVaultProposal, ExternalVaultRecord, Store } from '../../store/contract.ts'
import { expectProfile } from '../../store/named-profile.ts'
import type { ExternalVault, Health } from './contract.ts'
import type { ExternalVaultBody } from './schemas.ts'
import { createVgs } from './vgs.ts'

/** Of a URL that may be asked something; undefined: it may not, or is none. */
export type ParseUrl = (
  text: string,
) => { readonly origin: string; readonly path: string; readonly query: string } | undefined

type Settings = Omit<ExternalVaultBody, 'client_secret'>

type Ready = {
  readonly record: ExternalVaultRecord
  readonly settings: Settings
  readonly vault: ExternalVault
  /** Since the last look for unused ones. */
  isUsed: boolean
}

export type ExternalVaults = ReturnType<typeof createExternalVaults>

export function createExternalVaults(deps: {
  store: Pick<
    Store,
    | 'putExternalVault'
    | 'findExternalVault'
    | 'deleteExternalVault'
    | 'putExternalVaultProposal'
    | 'findExternalVaultProposal'
    | 'deleteExternalVaultProposal'
    | 'findProfile'
    | 'findDefaultProfile'
  >
  keyring: Pick<Keyring, 'keysOf'>
  clock: Clock
  send: SendWhole
  parseUrl: ParseUrl
}) {
  const { store, keyring, clock, send, parseUrl } = deps
  const ready = new Map<string, Ready>()

  async function open({
    merchantId,
    profileId,
    settings,
  }: ExternalVaultRecord): Promise<ExternalVaultBody> {
    const keys = await keyring.keysOf(merchantId, settings)
    const plaintext = keys.open(settings, 'external_vault', profileId)
    const body = JSON.parse(plaintext.toString('utf8')) as ExternalVaultBody
    plaintext.fill(0)
    return body
  }

  async function find(merchantId: MerchantId, profileId: ProfileId): Promise<Ready | undefined> {
    const key = `${merchantId}/${profileId}`
    const record = await store.findExternalVault(merchantId, profileId)
    if (record === undefined) {
      ready.delete(key)
      return undefined
    }
    const known = ready.get(key)
    if (known?.record === record) {
      known.isUsed = true
      return known
    }
    const { client_secret, ...settings } = await open(record)
    const vault = createAdapter(settings, new Secret(client_secret))
    const made: Ready = { record, settings, vault, isUsed: true }
    ready.set(key, made)
    return made
  }

  function createAdapter(settings: Settings, clientSecret: Secret<string>): ExternalVault {
    const { kind, api_origin, token_url, client_id, timeout_ms } = settings
    switch (kind) {
      case 'vgs':
        return createVgs(
          { send, clock },
          {
            apiOrigin: api_origin,
            tokenUrl: token_url,
            clientId: client_id,
            clientSecret,
            timeoutMs: timeout_ms,
          },
        )
      default:
        return kind satisfies never
    }
  }

  return {
    find,

    /** `named`: what the request says; the merchant's default one if it says none. Throws `not_found`. */
    async profileOf(merchantId: MerchantId, named: string | undefined): Promise<ProfileId> {
      return (await expectProfile(store, merchantId, named)).id
    },

    /** Checks what the schema cannot say. Throws `invalid_value`. */
    parse(body: ExternalVaultBody): ExternalVaultBody {
      const api = parseUrl(body.api_origin)
      if (api === undefined || api.path !== '/' || api.query !== '') {
        throw invalidField('invalid_value', 'api_origin')
      }
      if (parseUrl(body.token_url) === undefined) throw invalidField('invalid_value', 'token_url')
      return { ...body, api_origin: api.origin }
    },

    /** `revision`: the one that it is to replace, 0 where there is none. */
    async seal(
      merchantId: MerchantId,
      profileId: ProfileId,
      revision: number,
      body: ExternalVaultBody,
    ): Promise<ExternalVaultRecord> {
      const keys = await keyring.keysOf(merchantId)
      const plaintext = Buffer.from(JSON.stringify(body))
      const settings = keys.seal(plaintext, 'external_vault', profileId)
      plaintext.fill(0)
      return { merchantId, profileId, revision, settings }
    },

    /** Without the secret. */
    async settingsOf(record: ExternalVaultRecord): Promise<Settings> {
      const { client_secret: _, ...settings } = await open(record)
      return settings
    },

    /** What is in force, and what waits for a second person. */
    async look(merchantId: MerchantId, profileId: ProfileId) {
      // In this order, what is approved between the two is seen twice rather than not at all.
      const waiting = await store.findExternalVaultProposal(merchantId, profileId)
      const active = await store.findExternalVault(merchantId, profileId)
      return { active, waiting }
    },

    /** In force from now on. Throws `conflict` when what it was to replace is not there any more. */
    async put(record: ExternalVaultRecord): Promise<void> {
      if (!(await store.putExternalVault(record))) throw new AppError('conflict')
    },

    /** In place of an earlier proposal. Throws `conflict` for a profile that is gone. */
    async propose(proposal: ExternalVaultProposal): Promise<void> {
      if (!(await store.putExternalVaultProposal(proposal))) throw new AppError('conflict')
    },

    /** Throws `conflict` when another one has taken its place. */
    async withdraw(proposal: ExternalVaultProposal): Promise<void> {
      if (!(await store.deleteExternalVaultProposal(proposal))) throw new AppError('conflict')
    },

    /** Of what is in force; with what is proposed nobody is asked. Throws `not_found`. */
    async health(merchantId: MerchantId, profileId: ProfileId): Promise<Health> {
      const found = await find(merchantId, profileId)
      if (found === undefined) throw new AppError('not_found')
      return found.vault.health()
    },

    /** With what waits. Throws `not_found`. */
    async remove(
      merchantId: MerchantId,
      profileId: ProfileId,
      waiting: ExternalVaultProposal | undefined,
    ): Promise<void> {
      const wasActive = await store.deleteExternalVault(merchantId, profileId)
      const wasWaiting = waiting !== undefined && (await store.deleteExternalVaultProposal(waiting))
      if (!wasActive && !wasWaiting) throw new AppError('not_found')
    },

    /** Secrets and access tokens of vaults that nobody asks do not stay in memory. */
    forgetUnused(): void {
      for (const [key, entry] of ready) {
        if (!entry.isUsed) ready.delete(key)
        else entry.isUsed = false
      }
    },
  }
}
