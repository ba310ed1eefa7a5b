// Two persons for every external vault: with what one key proposes nobody is asked anything and no card goes anywhere
// else, until another key approves it; nothing that happened in between is approved with it.

import { mkdtemp, readdir, readFile, rename, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { auditLines } from '../support/audit.ts'
import {
  type Answer,
  type Call,
  startSallyport,
  type TestMerchant,
  type TestSallyport,
} from '../support/sallyport.ts'
import { startVgsSimulator, type VgsSimulator } from '../support/vgs-simulator.ts'
import { randomCard } from './cards.ts'

const PATH = '/v2/external-vault'
const TWO_PERSONS = { policy: { two_person: true } }
const NO_PROPOSAL = `req_${'0'.repeat(32)}`

let sallyport: TestSallyport
let merchant: TestMerchant
let first: Call
let second: Call
let firstId: string
let profile: string
/** Whose it is supposed to be. */
let vgs: VgsSimulator
/** Of somebody who has one key. */
let elsewhere: VgsSimulator

beforeAll(async () => {
  sallyport = await startSallyport(TWO_PERSONS)
  vgs = await startVgsSimulator()
  elsewhere = await startVgsSimulator()
})

afterAll(async () => {
  await sallyport[Symbol.asyncDispose]()
  await vgs[Symbol.asyncDispose]()
  await elsewhere[Symbol.asyncDispose]()
})

beforeEach(async () => {
  merchant = await sallyport.createMerchant()
  first = merchant.policy
  const keys = (await sallyport.admin('GET', `/v2/api-keys?merchant_id=${merchant.id}`)).body
  firstId = keys.find((key: any) => key.scopes.includes('policy:write')).key_id
  profile = (await sallyport.admin('GET', `/v2/profiles?merchant_id=${merchant.id}`)).body[0].id
  second = sallyport.as(await sallyport.createKey(merchant.id, ['policy:write']))
})

const settingsOf = (vault: VgsSimulator, more: object = {}) => ({
  kind: 'vgs',
  api_origin: vault.origin,
  token_url: vault.tokenUrl,
  client_id: vault.clientId,
  client_secret: vault.clientSecret,
  stores_cards: true,
  timeout_ms: 1000,
  ...more,
})
/** As anybody sees them. */
const shownOf = (vault: VgsSimulator, more: object = {}) => {
  const { client_secret: _, ...shown } = settingsOf(vault, more)
  return { ...shown, profile_id: profile }
}
const propose = (settings: object, call = first) => call('PUT', PATH, settings)
const approve = (id: string, call = second) => call('POST', `${PATH}/approve`, { proposal_id: id })
const reject = (id: string, call = second) => call('POST', `${PATH}/reject`, { proposal_id: id })
const shown = (call = first) => call('GET', PATH)

async function make(settings: object): Promise<void> {
  const { body } = await propose(settings)
  expect((await approve(body.proposal_id)).status).toBe(200)
}

function expectRefused(answer: Answer, status: number, reason: string): void {
  expect([answer.status, answer.body.error?.reason]).toEqual([status, reason])
}

describe('settings where there are none', () => {
  test('are proposed, and shown as that', async () => {
    const proposed = await propose(settingsOf(vgs))

    expect(proposed.status).toBe(202)
    expect(proposed.body).toEqual({
      ...shownOf(vgs),
      status: 'pending',
      proposal_id: proposed.headers.get('sallyport-request-id'),
      proposed_by: firstId,
      proposed_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
    })
    expect((await shown()).body).toEqual({ profile_id: profile, proposal: proposed.body })
  })

  test('are in force when another key has approved them', async () => {
    const { body } = await propose(settingsOf(vgs))

    const approved = await approve(body.proposal_id)

    expect([approved.status, approved.body]).toEqual([200, shownOf(vgs)])
    expect((await shown()).body).toEqual(shownOf(vgs))
    expect((await first('GET', `${PATH}/health`)).body).toEqual({ status: 'up' })
  })

  test('are approved once', async () => {
    const { body } = await propose(settingsOf(vgs))

    const answers = await Promise.all(Array.from({ length: 5 }, () => approve(body.proposal_id)))

    const statuses = answers.map(({ status }) => status)
    expect(statuses.filter((status) => status === 200)).toEqual([200])
    // The others came before it was gone, or after.
    expect(statuses.every((status) => [200, 404, 409].includes(status))).toBe(true)
    expectRefused(await approve(body.proposal_id), 404, 'not_found')
  })

  test('are not approved by the key that proposed them', async () => {
    const { body } = await propose(settingsOf(vgs))

    expectRefused(await approve(body.proposal_id, first), 403, 'permission_denied')
    expect((await shown()).body).toEqual({ profile_id: profile, proposal: body })
  })

  test('are neither seen nor decided by a key of another merchant', async () => {
    const { body } = await propose(settingsOf(vgs))
    const stranger = (await sallyport.createMerchant()).policy
    const headers = { 'x-profile-id': profile }
    const its = { proposal_id: body.proposal_id }

    expectRefused(await approve(body.proposal_id, stranger), 404, 'not_found')
    expectRefused(await reject(body.proposal_id, stranger), 404, 'not_found')
    expectRefused(await shown(stranger), 404, 'not_found')
    expectRefused(await stranger('POST', `${PATH}/approve`, its, headers), 404, 'not_found')
    expectRefused(await stranger('POST', `${PATH}/reject`, its, headers), 404, 'not_found')
    expectRefused(await stranger('GET', PATH, undefined, headers), 404, 'not_found')
    expect((await shown()).body.proposal).toEqual(body)
  })

  test('are not approved or rejected by a key without policy:write', async () => {
    const { body } = await propose(settingsOf(vgs))

    for (const call of [merchant.vault, merchant.proxy]) {
      expectRefused(await approve(body.proposal_id, call), 403, 'permission_denied')
      expectRefused(await reject(body.proposal_id, call), 403, 'permission_denied')
    }
    expect((await shown()).body.proposal).toEqual(body)
  })

  test('can be approved after the key that proposed them was deleted', async () => {
    const { body } = await propose(settingsOf(vgs))
    await sallyport.admin('DELETE', `/v2/api-keys/${firstId}?merchant_id=${merchant.id}`)
    expectRefused(await shown(), 401, 'unauthenticated')

    expect((await approve(body.proposal_id)).status).toBe(200)
  })

  test('are checked when they are proposed', async () => {
    const bad = settingsOf(vgs, { api_origin: 'https://user@api.example.com' })

    expectRefused(await propose(bad), 422, 'invalid_value')
    expectRefused(await shown(), 404, 'not_found')
  })

  test('can be replaced before they are approved, which is another proposal', async () => {
    const { body: before } = await propose(settingsOf(vgs))
    const after = await propose(settingsOf(elsewhere), second)

    expect(after.status).toBe(202)
    expectRefused(await approve(before.proposal_id), 409, 'conflict')
    expectRefused(await approve(after.body.proposal_id, second), 403, 'permission_denied')
    expect((await shown()).body).toEqual({ profile_id: profile, proposal: after.body })
    expect((await approve(after.body.proposal_id, first)).body).toEqual(shownOf(elsewhere))
  })

  test('are proposed for the profile that is named, and for no other', async () => {
    const { body: other } = await sallyport.admin('POST', '/v2/profiles', {
      merchant_id: merchant.id,
      profile_name: 'second',
    })
    const headers = { 'x-profile-id': other.id }
    const { body } = await first('PUT', PATH, settingsOf(vgs), headers)
    expect(body.profile_id).toBe(other.id)

    expectRefused(await approve(body.proposal_id), 404, 'not_found')
    expectRefused(await reject(body.proposal_id), 404, 'not_found')
    expectRefused(await shown(), 404, 'not_found')
    const its = { proposal_id: body.proposal_id }
    const approved = await second('POST', `${PATH}/approve`, its, headers)
    expect(approved.body).toEqual({ ...shownOf(vgs), profile_id: other.id })
    expectRefused(await shown(), 404, 'not_found')
  })

  test('are gone with their profile', async () => {
    const { body: other } = await sallyport.admin('POST', '/v2/profiles', {
      merchant_id: merchant.id,
      profile_name: 'second',
    })
    const headers = { 'x-profile-id': other.id }
    const { body } = await first('PUT', PATH, settingsOf(vgs), headers)
    await sallyport.admin('DELETE', `/v2/profiles/${other.id}?merchant_id=${merchant.id}`)

    const its = { proposal_id: body.proposal_id }
    expectRefused(await second('POST', `${PATH}/approve`, its, headers), 404, 'not_found')
  })
})

describe('a change', () => {
  beforeEach(() => make(settingsOf(vgs)))

  test('waits beside what is in force, which stays as it is', async () => {
    const proposed = await propose(settingsOf(elsewhere))

    expect(proposed.body).toMatchObject({ ...shownOf(elsewhere), status: 'pending' })
    expect((await shown()).body).toEqual({ ...shownOf(vgs), proposal: proposed.body })
  })

  test('takes its place, whole, when it is approved', async () => {
    const changed = { stores_cards: false, timeout_ms: 700 }
    const { body } = await propose(settingsOf(elsewhere, changed))

    const approved = await approve(body.proposal_id)

    expect([approved.status, approved.body]).toEqual([200, shownOf(elsewhere, changed)])
    expect((await shown()).body).toEqual(approved.body)
  })

  test('that replaced another is the one that is approved', async () => {
    const { body: harmless } = await propose(settingsOf(vgs, { timeout_ms: 700 }))
    const { body: sly } = await propose(settingsOf(elsewhere))

    expectRefused(await approve(harmless.proposal_id), 409, 'conflict')
    expect((await shown()).body).toEqual({ ...shownOf(vgs), proposal: sly })
  })

  test('of what was deleted meanwhile is gone', async () => {
    const { body } = await propose(settingsOf(elsewhere))
    await first('DELETE', PATH)

    expectRefused(await approve(body.proposal_id), 404, 'not_found')
    await make(settingsOf(vgs))
    expectRefused(await approve(body.proposal_id), 404, 'not_found')
    expect((await shown()).body).toEqual(shownOf(vgs))
  })

  test('that names no proposal is refused, and so is one that is not there', async () => {
    expectRefused(await approve(NO_PROPOSAL), 404, 'not_found')
    expectRefused(await reject(NO_PROPOSAL), 404, 'not_found')
    const { body } = await propose(settingsOf(elsewhere))

    for (const path of [`${PATH}/approve`, `${PATH}/reject`]) {
      for (const sent of [{}, { proposal_id: 5 }, { proposal_id: 'x' }, { ...body, a: 1 }]) {
        expect([400, 422]).toContain((await second('POST', path, sent)).status)
      }
    }
    expectRefused(await approve(NO_PROPOSAL), 409, 'conflict')
    expectRefused(await reject(NO_PROPOSAL), 409, 'conflict')
    expect((await shown()).body).toEqual({ ...shownOf(vgs), proposal: body })
  })
})

describe('a rejection', () => {
  test.each<[string, () => Call]>([
    ['another key', () => second],
    ['the proposer', () => first],
  ])('by %s discards a change and leaves what is in force', async (_, call) => {
    await make(settingsOf(vgs))
    const { body } = await propose(settingsOf(elsewhere))

    const rejected = await reject(body.proposal_id, call())

    expect([rejected.status, rejected.body]).toEqual([
      200,
      { profile_id: profile, proposal_id: body.proposal_id },
    ])
    expectRefused(await approve(body.proposal_id), 404, 'not_found')
    expect((await shown()).body).toEqual(shownOf(vgs))
  })

  test('where nothing was in force leaves nothing', async () => {
    const { body } = await propose(settingsOf(vgs))

    await reject(body.proposal_id)

    expectRefused(await shown(), 404, 'not_found')
  })

  test('of a proposal that was replaced leaves the newer one', async () => {
    const { body: older } = await propose(settingsOf(vgs))
    const { body: newer } = await propose(settingsOf(vgs))

    expectRefused(await reject(older.proposal_id), 409, 'conflict')
    expect((await shown()).body.proposal).toEqual(newer)
  })

  test('that meets an approval: one of them counts', async () => {
    for (let round = 0; round < 10; round += 1) {
      const { body } = await propose(settingsOf(vgs))

      const [yes, no] = await Promise.all([approve(body.proposal_id), reject(body.proposal_id)])

      expect([yes, no].filter(({ status }) => status === 200)).toHaveLength(1)
      expect((await shown()).status).toBe(yes.status === 200 ? 200 : 404)
      await first('DELETE', PATH)
    }
  })
})

describe('a deletion', () => {
  test('takes one key and is at once, with what waits', async () => {
    await make(settingsOf(vgs))
    const { body } = await propose(settingsOf(elsewhere))

    const deleted = await first('DELETE', PATH)

    expect([deleted.status, deleted.body]).toEqual([200, { profile_id: profile }])
    expectRefused(await shown(), 404, 'not_found')
    expectRefused(await approve(body.proposal_id), 404, 'not_found')
  })

  test('takes away what is only proposed', async () => {
    const { body } = await propose(settingsOf(vgs))

    expect((await second('DELETE', PATH)).status).toBe(200)

    expectRefused(await approve(body.proposal_id), 404, 'not_found')
    expectRefused(await second('DELETE', PATH), 404, 'not_found')
  })

  test('does not make setting one again the business of one key', async () => {
    await make(settingsOf(vgs))
    await first('DELETE', PATH)

    expect((await propose(settingsOf(elsewhere))).status).toBe(202)
    expect((await shown()).body).toEqual({ profile_id: profile, proposal: expect.anything() })
  })
})

describe('what is only proposed', () => {
  test('gets no card and is asked nothing', async () => {
    const before = elsewhere.connections
    const { body } = await propose(settingsOf(elsewhere))

    const card = await merchant.createCard({ card_number: randomCard() })
    const alias = await merchant.vault('GET', `/v2/payment-methods/${card}`)

    expect(alias.body.payment_method_data.card.saved_to_locker).toBe(true)
    expectRefused(await first('GET', `${PATH}/health`), 404, 'not_found')
    expect(elsewhere.connections).toBe(before)

    await approve(body.proposal_id)
    const number = randomCard()
    await merchant.createCard({ card_number: number })
    expect([...elsewhere.numbers.values()]).toContain(number)
  })

  test('leaves new cards to the vault that is in force', async () => {
    await make(settingsOf(vgs))
    const { body } = await propose(settingsOf(elsewhere))
    const before = elsewhere.connections
    const [kept, moved] = [randomCard(), randomCard()]

    await merchant.createCard({ card_number: kept })
    expect([...vgs.numbers.values()]).toContain(kept)
    expect(elsewhere.connections).toBe(before)

    await approve(body.proposal_id)
    await merchant.createCard({ card_number: moved })
    expect([...vgs.numbers.values()]).not.toContain(moved)
    expect([...elsewhere.numbers.values()]).toContain(moved)
  })

  test('shows its secret nowhere, and it lies nowhere in the clear', async () => {
    const { clientId, clientSecret } = elsewhere
    const proposed = await propose(settingsOf(elsewhere))
    const answers = [proposed, await shown(), await approve(proposed.body.proposal_id)]
    const again = await propose(settingsOf(elsewhere))
    answers.push(again, await shown(), await reject(again.body.proposal_id))
    await propose(settingsOf(elsewhere))

    for (const { text } of answers) expect(text).not.toContain(clientSecret)
    const files = await readdir(sallyport.folder, { recursive: true, withFileTypes: true })
    for (const file of files.filter((each) => each.isFile())) {
      const bytes = await readFile(join(file.parentPath, file.name))
      const found = [clientSecret, clientId, elsewhere.origin].filter((each) =>
        bytes.includes(each),
      )
      expect([file.name, found]).toEqual([file.name, []])
    }
  })
})

describe('the audit trail', () => {
  const fileOf = (folder: string) => join(folder, 'audit', 'audit.jsonl')

  test('has a line for each step, with the key that did it', async () => {
    const { body } = await propose(settingsOf(vgs))
    await approve(body.proposal_id)
    const { body: later } = await propose(settingsOf(elsewhere))
    await reject(later.proposal_id, first)
    await approve(NO_PROPOSAL)
    await first('DELETE', PATH)

    const acts = (await auditLines(sallyport)).filter(
      ({ merchant: whose, action }) =>
        whose === merchant.id && action?.startsWith('external_vault.'),
    )

    expect(acts.map(({ action, key, object }) => [action, key === firstId, object])).toEqual([
      ['external_vault.propose', true, profile],
      ['external_vault.approve', false, profile],
      ['external_vault.propose', true, profile],
      ['external_vault.reject', true, profile],
      ['external_vault.delete', true, profile],
    ])
    expect(acts[0].request).toBe(body.proposal_id)
  })

  test('that cannot be written means that nothing is proposed, approved, rejected or deleted', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sallyport-approval-'))
    let there: TestMerchant
    let key: string
    let id: string
    {
      await using before = await startSallyport(TWO_PERSONS, { folder })
      there = await before.createMerchant()
      key = await before.createKey(there.id, ['policy:write'])
      id = (await there.policy('PUT', PATH, settingsOf(vgs))).body.proposal_id
    }
    await rename(fileOf(folder), `${fileOf(folder)}.kept`)
    await symlink('/dev/full', fileOf(folder))

    const full = await startSallyport(TWO_PERSONS, { folder, onFatal: () => {} })
    const call = full.as(key)
    const answers = [
      await approve(id, call),
      await reject(id, call),
      await propose(settingsOf(elsewhere), call),
      await call('DELETE', PATH),
    ]
    const after = await shown(call)
    await Promise.allSettled([full[Symbol.asyncDispose]()]) // the device takes no sync

    for (const answer of answers) expectRefused(answer, 503, 'audit_unavailable')
    expect(after.body).toEqual({
      profile_id: expect.any(String),
      proposal: expect.objectContaining({ api_origin: vgs.origin, proposal_id: id }),
    })
    await rm(folder, { recursive: true, force: true })
  })
})

describe('the setting', () => {
  let folder: string
  let there: TestMerchant
  let key: string

  /** The same installation with the setting on or off, and its two keys. */
  async function start(settings: Record<string, unknown>) {
    const started = await startSallyport(settings, { folder })
    const call = started.as(there.policyKey)
    const other = started.as(key)
    const waiting = async (): Promise<string> => (await shown(call)).body.proposal.proposal_id
    const stop = () => started[Symbol.asyncDispose]()
    return { call, other, waiting, [Symbol.asyncDispose]: stop }
  }

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sallyport-approval-'))
    await using off = await startSallyport({}, { folder })
    there = await off.createMerchant()
    key = await off.createKey(there.id, ['policy:write'])
    const direct = await there.policy('PUT', PATH, settingsOf(vgs))
    expect(direct.status).toBe(200)
    profile = direct.body.profile_id
    return () => rm(folder, { recursive: true, force: true })
  })

  test('turned on leaves in force what is', async () => {
    await using on = await start(TWO_PERSONS)

    expect((await shown(on.call)).body).toEqual(shownOf(vgs))
  })

  test('turned off leaves what waits to another key', async () => {
    {
      await using on = await start(TWO_PERSONS)
      expect((await propose(settingsOf(elsewhere), on.call)).status).toBe(202)
    }

    await using off = await start({})
    expectRefused(await approve(await off.waiting(), off.call), 403, 'permission_denied')
    expect((await approve(await off.waiting(), off.other)).body).toEqual(shownOf(elsewhere))
  })

  test.each<[string, (call: Call) => Promise<unknown>]>([
    ['replaced', (call) => propose(settingsOf(vgs, { timeout_ms: 700 }), call)],
    ['set again as they were', (call) => propose(settingsOf(vgs), call)],
  ])('turned off lets settings be %s, and what waits is then proposed anew', async (_, change) => {
    {
      await using on = await start(TWO_PERSONS)
      expect((await propose(settingsOf(elsewhere), on.call)).status).toBe(202)
    }
    {
      await using off = await start({})
      expect(await change(off.call)).toMatchObject({ status: 200 })
    }

    await using on = await start(TWO_PERSONS)
    const overtaken = await approve(await on.waiting(), on.other)
    const between = (await shown(on.call)).body
    const anew = await propose(settingsOf(elsewhere), on.call)

    expectRefused(overtaken, 409, 'conflict')
    expect(between).toMatchObject({ api_origin: vgs.origin, proposal: expect.anything() })
    expect((await approve(anew.body.proposal_id, on.other)).body).toEqual(shownOf(elsewhere))
  })
})
