// Two persons for every destination: what one key proposes is seen by who reviews it and by nobody else, and goes
// into force when another key approves it; nothing that happened in between is approved with it.

import { mkdtemp, readFile, rename, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { startUpstream, type Upstream } from '../proxy/upstream.ts'
import {
  type Answer,
  type Call,
  startSallyport,
  type TestMerchant,
  type TestSallyport,
  VISA,
} from '../support/sallyport.ts'

const PATH = '/v2/destinations'
const TWO_PERSONS = { policy: { two_person: true } }
const ORIGIN = 'https://api.psp.test'
const psp = { name: 'psp', origin: ORIGIN }
type Destination = { name: string } & Record<string, unknown>

const NO_PROPOSAL = `req_${'0'.repeat(32)}`

let sallyport: TestSallyport
let merchant: TestMerchant
let first: Call
let second: Call
let firstId: string

beforeAll(async () => {
  sallyport = await startSallyport(TWO_PERSONS)
})

afterAll(() => sallyport[Symbol.asyncDispose]())

beforeEach(async () => {
  merchant = await sallyport.createMerchant()
  first = merchant.policy
  const keys = (await sallyport.admin('GET', `/v2/api-keys?merchant_id=${merchant.id}`)).body
  firstId = keys.find((key: any) => key.scopes.includes('policy:write')).key_id
  second = sallyport.as(await sallyport.createKey(merchant.id, ['policy:write']))
})

const propose = (destination: Destination, call = first) => call('POST', PATH, destination)
const change = (destination: Destination, call = first) =>
  call('PUT', `${PATH}/${destination.name}`, destination)
const approve = (name: string, id: string, call = second) =>
  call('POST', `${PATH}/${name}/approve`, { proposal_id: id })
const reject = (name: string, id: string, call = second) =>
  call('POST', `${PATH}/${name}/reject`, { proposal_id: id })
const shown = (name: string) => first('GET', `${PATH}/${name}`)

async function make(destination: Destination): Promise<void> {
  const { body } = await propose(destination)
  expect((await approve(destination.name, body.proposal_id)).status).toBe(200)
}

function expectRefused(answer: Answer, status: number, reason: string): void {
  expect([answer.status, answer.body.error?.reason]).toEqual([status, reason])
}

describe('a new destination', () => {
  test('is proposed, and shown as that', async () => {
    const proposed = await propose(psp)

    expect(proposed.status).toBe(202)
    expect(proposed.body).toMatchObject({
      ...psp,
      status: 'proposed',
      proposal_id: proposed.headers.get('sallyport-request-id'),
      proposed_by: firstId,
      proposed_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
    })
    expect((await shown('psp')).body).toEqual(proposed.body)
    expect((await first('GET', PATH)).body).toEqual([proposed.body])
  })

  test('is active when another key has approved it', async () => {
    const { body } = await propose(psp)

    const approved = await approve('psp', body.proposal_id)

    const { proposal_id: _id, proposed_by: _by, proposed_at: _at, ...settings } = body
    expect(approved.status).toBe(200)
    expect(approved.body).toEqual({ ...settings, status: 'active' })
    expect((await shown('psp')).body).toEqual(approved.body)
    expect((await first('GET', PATH)).body).toEqual([approved.body])
  })

  test('is approved once', async () => {
    const { body } = await propose(psp)

    const answers = await Promise.all(
      Array.from({ length: 5 }, () => approve('psp', body.proposal_id)),
    )

    const statuses = answers.map(({ status }) => status)
    expect(statuses.filter((status) => status === 200)).toEqual([200])
    // The others came before it was gone, or after.
    expect(statuses.every((status) => [200, 404, 409].includes(status))).toBe(true)
    expectRefused(await approve('psp', body.proposal_id), 404, 'not_found')
  })

  test('is not approved by the key that proposed it', async () => {
    const { body } = await propose(psp)

    expectRefused(await approve('psp', body.proposal_id, first), 403, 'permission_denied')
    expect((await shown('psp')).body.status).toBe('proposed')
  })

  test('is not approved by a key of another merchant', async () => {
    const { body } = await propose(psp)
    const stranger = (await sallyport.createMerchant()).policy

    expectRefused(await approve('psp', body.proposal_id, stranger), 404, 'not_found')
    expectRefused(await reject('psp', body.proposal_id, stranger), 404, 'not_found')
    expect((await shown('psp')).body).toEqual(body)
  })

  test('is not approved by a key without policy:write', async () => {
    const { body } = await propose(psp)
    const vault = (await approve('psp', body.proposal_id, merchant.vault)).body
    const proxy = (await approve('psp', body.proposal_id, merchant.proxy)).body

    expect([vault.error.reason, proxy.error.reason]).toEqual([
      'permission_denied',
      'permission_denied',
    ])
    expect((await shown('psp')).body.status).toBe('proposed')
  })

  test('can be approved after the key that proposed it was deleted', async () => {
    const { body } = await propose(psp)
    await sallyport.admin('DELETE', `/v2/api-keys/${firstId}?merchant_id=${merchant.id}`)
    expectRefused(await shown('psp'), 401, 'unauthenticated')

    expect((await approve('psp', body.proposal_id)).status).toBe(200)
  })

  test('is checked when it is proposed', async () => {
    expectRefused(await propose({ ...psp, name: 'A' }), 422, 'invalid_value')
    const bad = { ...psp, inject_headers: { Host: 'x' } }
    expectRefused(await propose(bad), 422, 'invalid_value')
    expect((await first('GET', PATH)).body).toEqual([])
  })

  test('of a name or an origin that is there is a conflict at once', async () => {
    await make(psp)

    expectRefused(await propose({ ...psp, origin: 'https://x.test' }), 409, 'conflict')
    expectRefused(await propose({ ...psp, name: 'other' }), 409, 'conflict')
    expectRefused(await shown('other'), 404, 'not_found')
  })

  test('whose origin was taken meanwhile is a conflict when it is approved', async () => {
    const late = await propose({ ...psp, name: 'late' })
    await make(psp)

    expectRefused(await approve('late', late.body.proposal_id), 409, 'conflict')

    await first('DELETE', `${PATH}/psp`)
    expect((await approve('late', late.body.proposal_id)).status).toBe(200)
  })

  test('of one origin in two proposals goes to one of them, however they race', async () => {
    const names = ['a', 'b', 'c', 'd']
    const ids = await Promise.all(
      names.map(async (name) => (await propose({ ...psp, name })).body.proposal_id),
    )

    const answers = await Promise.all(names.map((name, i) => approve(name, ids[i])))

    expect(answers.map(({ status }) => status).sort()).toEqual([200, 409, 409, 409])
    const all = (await first('GET', PATH)).body
    expect(all.filter(({ status }: any) => status === 'active')).toHaveLength(1)
  })

  test('can be changed before it is approved, which is another proposal', async () => {
    const { body: before } = await propose(psp)
    const after = await change({ ...psp, require_placeholder: true }, second)

    expect([after.status, after.body.status]).toEqual([202, 'proposed'])
    expectRefused(await approve('psp', before.proposal_id), 409, 'conflict')
    expectRefused(await approve('psp', after.body.proposal_id, second), 403, 'permission_denied')
    const approved = await approve('psp', after.body.proposal_id, first)
    expect(approved.body).toMatchObject({ status: 'active', require_placeholder: true })
  })

  test('is proposed in the profile that is named, and nowhere else', async () => {
    const { body: profile } = await sallyport.admin('POST', '/v2/profiles', {
      merchant_id: merchant.id,
      profile_name: 'second',
    })
    const headers = { 'x-profile-id': profile.id }
    const { body } = await first('POST', PATH, psp, headers)

    expectRefused(await approve('psp', body.proposal_id), 404, 'not_found')
    const there = { proposal_id: body.proposal_id }
    const approved = await second('POST', `${PATH}/psp/approve`, there, headers)
    expect(approved.body).toMatchObject({ status: 'active', profile_id: profile.id })
  })
})

describe('a change', () => {
  const changed = { ...psp, origin: 'https://new.psp.test', require_placeholder: true }

  beforeEach(() => make(psp))

  test('waits beside what is active, which stays as it is', async () => {
    const before = (await shown('psp')).body

    const proposed = await change(changed)

    expect([proposed.status, proposed.body.status]).toEqual([202, 'proposed'])
    expect(proposed.body).toMatchObject(changed)
    const expected = { ...before, proposal: proposed.body }
    expect((await shown('psp')).body).toEqual(expected)
    expect((await first('GET', PATH)).body).toEqual([expected])
  })

  test('takes the place of the active one, whole, when it is approved', async () => {
    const { body } = await change(changed)

    const approved = await approve('psp', body.proposal_id)

    expect(approved.body).toMatchObject({ ...changed, status: 'active' })
    expect((await shown('psp')).body).toEqual(approved.body)
    expect((await propose({ ...psp, name: 'old-origin' })).status).toBe(202)
  })

  test('that replaced another is the one that is approved', async () => {
    const { body: harmless } = await change(psp)
    const { body: sly } = await change(changed)

    expectRefused(await approve('psp', harmless.proposal_id), 409, 'conflict')
    expect((await shown('psp')).body).toMatchObject({ ...psp, proposal: sly })
  })

  test('to an origin of another is a conflict at once', async () => {
    await make({ name: 'other', origin: 'https://other.test' })

    const taken = { ...psp, origin: 'https://other.test' }
    expectRefused(await change(taken), 409, 'conflict')
    expect((await shown('psp')).body).not.toHaveProperty('proposal')
  })

  test('keeps the name', async () => {
    const answer = await first('PUT', `${PATH}/psp`, { ...psp, name: 'other' })

    expectRefused(answer, 422, 'invalid_value')
  })

  test('of what is not there is not found', async () => {
    expectRefused(await change({ ...psp, name: 'nobody' }), 404, 'not_found')
    expectRefused(await approve('nobody', NO_PROPOSAL), 404, 'not_found')
    expectRefused(await reject('nobody', NO_PROPOSAL), 404, 'not_found')
    expectRefused(await approve('psp', NO_PROPOSAL), 404, 'not_found')
    expectRefused(await reject('psp', NO_PROPOSAL), 404, 'not_found')
  })

  test('of what was deleted and made again meanwhile is gone', async () => {
    const { body } = await change(changed)
    await first('DELETE', `${PATH}/psp`)
    await make(psp)

    expectRefused(await approve('psp', body.proposal_id), 404, 'not_found')
    expect((await shown('psp')).body.origin).toBe(ORIGIN)
  })

  test('that names no proposal is refused', async () => {
    await change(changed)

    for (const body of [{}, { proposal_id: 5 }, { proposal_id: 'x' }, { proposal_id: '', a: 1 }]) {
      const answer = await second('POST', `${PATH}/psp/approve`, body)
      expect([400, 422]).toContain(answer.status)
    }
    expect((await shown('psp')).body.origin).toBe(ORIGIN)
  })
})

describe('a rejection', () => {
  test.each<[string, () => Call]>([
    ['another key', () => second],
    ['the proposer', () => first],
  ])('by %s discards a change and leaves what is active', async (_, call) => {
    await make(psp)
    const { body } = await change({ ...psp, require_placeholder: true })

    const rejected = await reject('psp', body.proposal_id, call())

    expect([rejected.status, rejected.body]).toEqual([
      200,
      { name: 'psp', proposal_id: body.proposal_id },
    ])
    expectRefused(await approve('psp', body.proposal_id), 404, 'not_found')
    const after = (await shown('psp')).body
    expect(after).toMatchObject({ status: 'active', require_placeholder: false })
    expect(after).not.toHaveProperty('proposal')
  })

  test('of a new destination leaves nothing', async () => {
    const { body } = await propose(psp)

    await reject('psp', body.proposal_id)

    expectRefused(await shown('psp'), 404, 'not_found')
    expect((await first('GET', PATH)).body).toEqual([])
  })

  test('of a proposal that was replaced leaves the newer one', async () => {
    const { body: older } = await propose(psp)
    const { body: newer } = await propose(psp)

    expectRefused(await reject('psp', older.proposal_id), 409, 'conflict')
    expect((await shown('psp')).body).toEqual(newer)
  })

  test('that meets an approval: one of them counts', async () => {
    for (let round = 0; round < 10; round += 1) {
      const destination = { name: `psp-${round}`, origin: `https://api-${round}.psp.test` }
      const { body } = await propose(destination)

      const [yes, no] = await Promise.all([
        approve(destination.name, body.proposal_id),
        reject(destination.name, body.proposal_id),
      ])

      expect([yes, no].filter(({ status }) => status === 200)).toHaveLength(1)
      expect((await shown(destination.name)).status).toBe(yes.status === 200 ? 200 : 404)
    }
  })
})

describe('a deletion', () => {
  test('takes one key and is at once, with what waits', async () => {
    await make(psp)
    const { body } = await change({ ...psp, require_placeholder: true })

    const deleted = await first('DELETE', `${PATH}/psp`)

    expect([deleted.status, deleted.body]).toEqual([200, { name: 'psp' }])
    expectRefused(await shown('psp'), 404, 'not_found')
    expectRefused(await approve('psp', body.proposal_id), 404, 'not_found')
    expect((await first('GET', PATH)).body).toEqual([])
  })

  test('of an origin that a wildcard covers is refused: its requests would go by the policy of that', async () => {
    const wide = (await first('POST', PATH, { name: 'wide', origin: 'https://*.psp.test' })).body
    await second('POST', `${PATH}/wide/approve`, { proposal_id: wide.proposal_id })
    const exact = (await first('POST', PATH, psp)).body
    await second('POST', `${PATH}/psp/approve`, { proposal_id: exact.proposal_id })

    expectRefused(await first('DELETE', `${PATH}/psp`), 409, 'conflict')
    await first('DELETE', `${PATH}/wide`)
    expect((await first('DELETE', `${PATH}/psp`)).status).toBe(200)
  })

  test('takes away a name that has only a proposal', async () => {
    const { body } = await propose(psp)

    const deleted = await second('DELETE', `${PATH}/psp`)

    expect([deleted.status, deleted.body]).toEqual([200, { name: 'psp' }])
    expectRefused(await approve('psp', body.proposal_id), 404, 'not_found')
    expectRefused(await second('DELETE', `${PATH}/psp`), 404, 'not_found')
  })
})

test('no secret of a proposal is shown', async () => {
  const secret = {
    ...psp,
    inject_headers: { Authorization: 'Bearer sk_live_0123456789' },
    signing: {
      recipe: 'hmac',
      algorithm: 'sha256',
      encoding: 'hex',
      key: 'whsec_0123456789',
      key_encoding: 'utf8',
      template: '{method}{path}{body}',
      headers: { 'X-Signature': '{signature}' },
    },
  }
  const created = await propose(secret)
  const alone = await shown('psp')
  const approved = await approve('psp', created.body.proposal_id)
  const changed = await change(secret)
  const answers = [created, alone, approved, changed, await shown('psp'), await first('GET', PATH)]

  for (const { text } of answers) {
    expect(text).toContain('"inject_header_names":["Authorization"]')
    expect(text).toContain('"recipe":"hmac"')
    expect(text).not.toContain('sk_live')
    expect(text).not.toContain('whsec')
  }
})

describe('through the proxy', () => {
  let upstream: Upstream
  let token: string
  let destination: Destination

  beforeEach(async () => {
    upstream = await startUpstream()
    token = await merchant.createCard()
    destination = {
      name: 'psp',
      origin: upstream.origin,
      allow: [{ methods: ['POST'], path: '/pay', fields: ['card_number'] }],
      inject_headers: { 'X-Account': 'old' },
    }
    return () => upstream.close()
  })

  /** By every way that there is. */
  const pay = async () => {
    const body = { number: `{{$card_number: ${token}}}` }
    return [
      await merchant.proxy('POST', '/d/psp/pay', body),
      await merchant.proxy('POST', '/forward/pay', body, {
        'sallyport-destination': upstream.origin,
      }),
      await merchant.proxy('POST', '/proxy', {
        destination_url: `${upstream.origin}/pay`,
        method: 'POST',
        request_body: body,
      }),
    ]
  }
  const reasons = (answers: Answer[]) => answers.map(({ body }) => body.error?.reason)

  test('nothing goes to a proposed destination, and to an approved one what it allows', async () => {
    const { body } = await propose(destination)

    const refused = await pay()
    expect(reasons(refused)).toEqual(Array(3).fill('destination_not_allowed'))
    expect(upstream.connections).toBe(0)

    await approve('psp', body.proposal_id)

    expect((await pay()).map(({ status }) => status)).toEqual([200, 200, 200])
    for (const seen of upstream.seen) expect(JSON.parse(seen.body.toString()).number).toBe(VISA)
    expect(upstream.seen).toHaveLength(3)
  })

  test('a proposed change leaves the active policy in force until it is approved', async () => {
    await make(destination)
    const { body } = await change({
      ...destination,
      allow: [{ methods: ['POST'], path: '/pay', fields: [] }],
      inject_headers: { 'X-Account': 'new' },
    })

    await pay()
    expect(upstream.seen.map(({ headers }) => headers['x-account'])).toEqual(Array(3).fill('old'))

    await approve('psp', body.proposal_id)

    expect(reasons(await pay())).toEqual(Array(3).fill('field_not_allowed'))
    await merchant.proxy('POST', '/d/psp/pay', {})
    expect(upstream.seen.at(-1)?.headers['x-account']).toBe('new')
    expect(upstream.seen).toHaveLength(4)
  })

  test('a change of origin goes nowhere new until it is approved', async () => {
    await using elsewhere = await startUpstream()
    await make(destination)
    const { body } = await change({ ...destination, origin: elsewhere.origin })

    await pay()
    expect([upstream.seen.length, elsewhere.connections]).toEqual([3, 0])

    await approve('psp', body.proposal_id)

    expect((await merchant.proxy('POST', '/d/psp/pay', {})).status).toBe(200)
    expect([upstream.seen.length, elsewhere.seen.length]).toEqual([3, 1])
  })
})

describe('the audit trail', () => {
  const fileOf = (folder: string) => join(folder, 'audit', 'audit.jsonl')

  test('has a line for each step, with the key that did it', async () => {
    const { body } = await propose(psp)
    await approve('psp', body.proposal_id)
    const { body: later } = await change(psp)
    await reject('psp', later.proposal_id, first)
    await approve('psp', NO_PROPOSAL)
    await first('DELETE', `${PATH}/psp`)

    const text = await readFile(fileOf(sallyport.folder), 'utf8')
    const acts = text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line))
      .filter(({ kind, merchant: whose, object }) => {
        return kind === 'act' && whose === merchant.id && object === 'psp'
      })

    expect(acts.map(({ action, key }) => [action, key === firstId])).toEqual([
      ['destination.propose', true],
      ['destination.approve', false],
      ['destination.propose', true],
      ['destination.reject', true],
      ['destination.delete', true],
    ])
    expect(acts[0].request).toBe(body.proposal_id)
  })

  test('that cannot be written means that nothing is proposed, approved or rejected', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sallyport-approval-'))
    let there: TestMerchant
    let key: string
    let id: string
    {
      await using before = await startSallyport(TWO_PERSONS, { folder })
      there = await before.createMerchant()
      key = await before.createKey(there.id, ['policy:write'])
      id = (await there.policy('POST', PATH, psp)).body.proposal_id
    }
    await rename(fileOf(folder), `${fileOf(folder)}.kept`)
    await symlink('/dev/full', fileOf(folder))

    const full = await startSallyport(TWO_PERSONS, { folder, onFatal: () => {} })
    const call = full.as(key)
    const answers = [
      await approve('psp', id, call),
      await reject('psp', id, call),
      await propose({ ...psp, name: 'other', origin: 'https://other.test' }, call),
    ]
    const after = await call('GET', PATH)
    await Promise.allSettled([full[Symbol.asyncDispose]()]) // the device takes no sync

    for (const answer of answers) expectRefused(answer, 503, 'audit_unavailable')
    expect(after.body).toMatchObject([{ name: 'psp', status: 'proposed', proposal_id: id }])
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
    const waiting = async (name: string): Promise<string> => {
      const { body } = await call('GET', `${PATH}/${name}`)
      return (body.proposal ?? body).proposal_id
    }
    const stop = () => started[Symbol.asyncDispose]()
    return { call, other, waiting, [Symbol.asyncDispose]: stop }
  }

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sallyport-approval-'))
    await using off = await startSallyport({}, { folder })
    there = await off.createMerchant()
    key = await off.createKey(there.id, ['policy:write'])
    await there.createDestination(psp)
    return () => rm(folder, { recursive: true, force: true })
  })

  test('turned on leaves active what is', async () => {
    await using on = await start(TWO_PERSONS)

    expect((await on.call('GET', `${PATH}/psp`)).body.status).toBe('active')
  })

  test('turned off leaves what waits to another key, and changes are direct', async () => {
    const another = { name: 'another', origin: 'https://another.test' }
    const third = { name: 'third', origin: 'https://third.test' }
    {
      await using on = await start(TWO_PERSONS)
      for (const each of [another, third]) expect((await propose(each, on.call)).status).toBe(202)
    }

    await using off = await start({})
    const direct = await propose({ name: 'direct', origin: 'https://direct.test' }, off.call)
    const own = await approve('another', await off.waiting('another'), off.call)
    const approved = await approve('another', await off.waiting('another'), off.other)
    const notThere = await change(third, off.call)
    const rejected = await reject('third', await off.waiting('third'), off.call)

    expect([direct.status, direct.body.status]).toEqual([201, 'active'])
    expectRefused(own, 403, 'permission_denied')
    expect([approved.status, approved.body.status]).toEqual([200, 'active'])
    expectRefused(notThere, 404, 'not_found')
    expect(rejected.status).toBe(200)
    expect((await change(another, off.call)).status).toBe(200)
  })

  test('turned off lets a change overtake one that waits, which is then proposed anew', async () => {
    const strict = { ...psp, require_placeholder: true }
    {
      await using on = await start(TWO_PERSONS)
      expect((await change(psp, on.call)).status).toBe(202)
    }
    {
      await using off = await start({})
      expect((await change(strict, off.call)).status).toBe(200)
    }

    await using on = await start(TWO_PERSONS)
    const overtaken = await approve('psp', await on.waiting('psp'), on.other)
    const between = (await on.call('GET', `${PATH}/psp`)).body
    const anew = await change(psp, on.call)

    expectRefused(overtaken, 409, 'conflict')
    expect(between).toMatchObject({ status: 'active', require_placeholder: true })
    expect((await approve('psp', anew.body.proposal_id, on.other)).body).toMatchObject({
      status: 'active',
      require_placeholder: false,
    })
  })
})
