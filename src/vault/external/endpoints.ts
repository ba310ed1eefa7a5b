// Routes of a profile's external vault (scope `policy:write`: it decides where cards go).

import Type from 'typebox'
import type { RecordAct } from '../../http/acts.ts'
import { type Api, merchantOf } from '../../http/api.ts'
import { ProfileHeader } from '../schemas.ts'
import type { ExternalVaults } from './external-vaults.ts'
import { ExternalVaultAnswer, ExternalVaultBody, HealthAnswer } from './schemas.ts'

export function externalVaultRoutes(
  api: Api,
  { externalVaults, record }: { externalVaults: ExternalVaults; record: RecordAct },
): void {
  const path = '/v2/external-vault'
  const tags = ['external vault']
  const config = { scope: 'policy:write' } as const

  api.put(
    path,
    {
      config,
      schema: {
        tags,
        summary: "Set the profile's external vault",
        description:
          'Replaces the one before. Cards that were inserted into another vault are not moved, and cannot be reached until that one is set again.',
        headers: ProfileHeader,
        body: ExternalVaultBody,
        response: { 200: ExternalVaultAnswer },
      },
    },
    async (request) => {
      const merchantId = merchantOf(request.caller)
      const profileId = await externalVaults.profileOf(merchantId, request.headers['x-profile-id'])
      const body = externalVaults.parse(request.body)
      await record(request, 'external_vault.update', profileId)
      const settings = await externalVaults.put(merchantId, profileId, body)
      return { ...settings, profile_id: profileId }
    },
  )
  api.get(
    path,
    { config, schema: { tags, headers: ProfileHeader, response: { 200: ExternalVaultAnswer } } },
    async (request) => {
      const merchantId = merchantOf(request.caller)
      const profileId = await externalVaults.profileOf(merchantId, request.headers['x-profile-id'])
      const settings = await externalVaults.settings(merchantId, profileId)
      return { ...settings, profile_id: profileId }
    },
  )
  api.get(
    `${path}/health`,
    {
      config,
      schema: {
        tags,
        summary: 'Ask the vault whether it would answer',
        headers: ProfileHeader,
        response: { 200: HealthAnswer },
      },
    },
    async (request) => {
      const merchantId = merchantOf(request.caller)
      const profileId = await externalVaults.profileOf(merchantId, request.headers['x-profile-id'])
      const health = await externalVaults.health(merchantId, profileId)
      return {
        status: health.state,
        ...('failure' in health ? { failure: health.failure } : {}),
      }
    },
  )
  api.delete(
    path,
    {
      config,
      schema: {
        tags,
        description:
          'Cards stay in the vault that they were inserted into: they cannot be charged any more, and deleting them forgets them here alone.',
        headers: ProfileHeader,
        response: { 200: Type.Object({ profile_id: Type.String() }) },
      },
    },
    async (request) => {
      const merchantId = merchantOf(request.caller)
      const profileId = await externalVaults.profileOf(merchantId, request.headers['x-profile-id'])
      await externalVaults.settings(merchantId, profileId)
      await record(request, 'external_vault.delete', profileId)
      await externalVaults.remove(merchantId, profileId)
      return { profile_id: profileId }
    },
  )
}
