// No record, no reveal: the line that says what is about to be revealed is in the file before the destination sees the
// request, it tells nothing of a card, and nobody can change it unnoticed.

import { mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openAuditTrail } from '../../src/audit/trail.ts'
import { verifyAuditFile } from '../../src/audit/verify.ts'
import {
  startSallyport,
  type TestMerchant,
  type TestSallyport,
  VISA,
} from '../support/sallyport.ts'
import { pause } from '../support/time.ts'
import { eventually, expectRefusal, send, startRawUpstream, startUpstream } from './upstream.ts'

const CVC = '739'
const HOLDER = 'Ada Lovelace'

let sallyport: TestSallyport
let merchant: TestMerchant
let destinations = 0

beforeAll(async () => {
  sallyport = await startSallyport()
  merchant = await sallyport.createMerchant()
})

afterAll(async () => {
  await sallyport[Symbol.asyncDispose]()
})

type Line = Record<string, any>

const fileOf = (folder: string) => join(folder, 'audit', 'audit.jsonl')

async function lines(folder = sallyport.folder): Promise<Line[]> {
  const text = await readFile(fileOf(folder), 'utf8')
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line))
}

/** The lines of one request, once there are as many as wanted. */
const linesOf = (request: unknown, count: number) =>
  eventually(
    async () => (await lines()).filter((line) => line.request === request),
    (found) => found.length >= count,
  )

async function reach(origin: string, settings: Record<string, unknown> = {}): Promise<string> {
  destinations += 1
  const name = `d${destinations}`
  const fields = ['card_number', 'card_cvc', 'card_holder_name']
  const allow = [{ methods: ['POST', 'GET'], path: '/*', fields }]
  await merchant.createDestination({ name, origin, allow, ...settings })
  return name
}

const post = (name: string, body: string, origin = sallyport.origin, key = merchant.proxyKey) =>
  send(
    origin,
    'POST',
    `/d/${name}/pay`,
    { 'Sallyport-Key': key, 'Content-Type': 'application/json' },
    body,
  )

const charge = (name: string, token: string) =>
  post(
    name,
    `["{{$card_number: ${token}}}","{{$card_cvc: ${token}}}","{{$card_holder_name: ${token}}}"]`,
  )

const newCard = () => merchant.createCard({ card_cvc: CVC, card_holder_name: HOLDER })

describe('a request with a card in it', () => {
  test('has its line in the file before the destination sees it', async () => {
    let then: Line[] = []
    await using upstream = await startUpstream(async (_, response) => {
      then = await lines()
      response.end()
    })
    const name = await reach(upstream.origin)
    const token = await newCard()

    const reply = await charge(name, token)

    const request = reply.headers['sallyport-request-id']
    expect(then.find((line) => line.request === request)).toMatchObject({
      kind: 'reveal',
      tokens: [{ token, fields: ['card_number', 'card_cvc', 'card_holder_name'] }],
      merchant: merchant.id,
      destination: name,
      origin: upstream.origin,
      method: 'POST',
      client: '127.0.0.1',
    })
  })

  test('has it there before the connection is made', async () => {
    const path = fileOf(sallyport.folder)
    let then = ''
    await using upstream = await startRawUpstream(async (socket) => {
      then = await readFile(path, 'utf8')
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')
    })
    const token = await newCard()

    await charge(await reach(upstream.origin), token)

    expect(then).toContain(`"token":"${token}"`)
  })

  test('has a second line that says what came of it', async () => {
    await using upstream = await startUpstream((_, response) => response.writeHead(402).end())
    const name = await reach(upstream.origin)

    const reply = await charge(name, await newCard())

    const found = await linesOf(reply.headers['sallyport-request-id'], 2)
    expect(found.map(({ kind }) => kind)).toEqual(['reveal', 'outcome'])
    expect(found[1]).toMatchObject({ status: 402, cut: false, destination: name })
    expect(found[1]).not.toHaveProperty('reason')
  })

  test('that failed on its way says how', async () => {
    await using upstream = await startRawUpstream((socket) => socket.resetAndDestroy())

    const reply = await charge(await reach(upstream.origin), await newCard())

    const found = await linesOf(reply.headers['sallyport-request-id'], 2)
    expect(found[1]).toMatchObject({ kind: 'outcome', reason: 'upstream_reset', cut: false })
    expect(found[1]).not.toHaveProperty('status')
  })

  test('whose answer was cut says so', async () => {
    const long = 'x'.repeat(70_000) // a short one is held, and told as an error
    await using upstream = await startRawUpstream((socket) =>
      socket.end(`HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n${long}`),
    )

    const reply = await charge(await reach(upstream.origin), await newCard())

    const found = await linesOf(reply.headers['sallyport-request-id'], 2)
    expect(found[1]).toMatchObject({ status: 200, reason: 'upstream_reset', cut: true })
  })

  test('whose caller went away says what came of it all the same', async () => {
    const release = Promise.withResolvers<void>()
    await using upstream = await startUpstream(async (_, response) => {
      await release.promise
      response.writeHead(201).end()
    })
    const name = await reach(upstream.origin)
    const token = await newCard()
    const controller = new AbortController()
    const call = fetch(`${sallyport.origin}/d/${name}/pay`, {
      method: 'POST',
      headers: { 'Sallyport-Key': merchant.proxyKey, 'Content-Type': 'application/json' },
      body: `["{{$card_number: ${token}}}"]`,
      signal: controller.signal,
    }).catch(() => {})
    while (upstream.seen.length === 0) await new Promise((resolve) => setTimeout(resolve, 5))

    controller.abort()
    await call
    await pause(50)
    release.resolve()

    const found = await eventually(
      async () => (await lines()).filter((line) => line.destination === name),
      (all) => all.length === 2,
    )
    expect(found.map(({ kind }) => kind)).toEqual(['reveal', 'outcome'])
    expect(found[1]).toMatchObject({ status: 201, cut: true })
  })
})

test('a request without a card has one line', async () => {
  await using upstream = await startUpstream()

  const reply = await post(await reach(upstream.origin), '{}')

  const found = await linesOf(reply.headers['sallyport-request-id'], 1)
  expect(found).toMatchObject([{ kind: 'outcome', status: 200, cut: false }])
})

test.each([
  ['a wrong token', 'token_not_found', `["{{$card_number: local_pm_${'0'.repeat(32)}}}"]`],
  ['a typing error', 'placeholder_malformed', '["{{$card_nmber}}"]'],
])('a refusal of a known caller has one line: %s', async (_, reason, body) => {
  await using upstream = await startUpstream()

  const reply = await post(await reach(upstream.origin), body)

  const found = await linesOf(reply.headers['sallyport-request-id'], 1)
  expect(found).toMatchObject([{ kind: 'refusal', reason, merchant: merchant.id }])
})

test('a refusal before the destination is known has one line, too', async () => {
  const reply = await post('nowhere', '{}')

  const found = await linesOf(reply.headers['sallyport-request-id'], 1)
  expect(found).toMatchObject([{ kind: 'refusal', reason: 'destination_not_allowed' }])
})

test('nothing of a card, a holder or a key is in the file', async () => {
  await using upstream = await startUpstream()
  const name = await reach(upstream.origin, { inject_headers: { Authorization: 'Bearer sk_psp' } })
  const token = await newCard()
  await charge(name, token)
  await charge(name, token)
  await post(name, `["{{$card_number: ${VISA}}}"]`)
  await post(name, `{"${VISA}":"{{$card_${VISA}}}"}`)
  await send(sallyport.origin, 'POST', `/d/${name}/${VISA}`, {
    'Sallyport-Key': merchant.proxyKey,
    'Sallyport-Destination': `https://${VISA}.example`,
  })
  await pause(50)

  const text = await readFile(fileOf(sallyport.folder), 'utf8')

  for (const secret of [VISA, VISA.slice(0, 8), HOLDER, 'sk_psp'])
    expect(text).not.toContain(secret)
  for (const key of [merchant.proxyKey, merchant.vaultKey, merchant.policyKey]) {
    expect(text).not.toContain(key)
  }
  // The digits of a code are in many a number; as a value of its own they are not.
  expect(text).not.toMatch(new RegExp(`"${CVC}"`))
})

describe('the chain', () => {
  let folder: string
  let file: string
  let whole: string

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'sallyport-audit-'))
    file = join(folder, 'copy.jsonl')
    await charge(await reach('http://127.0.0.1:1'), await newCard())
    whole = await readFile(fileOf(sallyport.folder), 'utf8')
  })

  afterAll(() => rm(folder, { recursive: true, force: true }))

  const verdictOn = async (text: string) => {
    await writeFile(file, text)
    return verifyAuditFile(file)
  }

  test('of a file in use is intact', async () => {
    const verdict = await verifyAuditFile(fileOf(sallyport.folder))

    expect(verdict.kind).toBe('intact')
  })

  const edit = (change: (all: string[]) => string[]) => {
    const all = whole.trimEnd().split('\n')
    return `${change(all).join('\n')}\n`
  }

  test.each<[string, (all: string[]) => string[], number]>([
    ['an edited line', (all) => all.with(4, (all[4] as string).replace('"key":"', '"key":"x')), 6],
    ['a line that is gone', (all) => all.toSpliced(4, 1), 5],
    [
      'two lines that changed places',
      (all) => all.with(4, all[5] as string).with(5, all[4] as string),
      5,
    ],
    ['a line said twice', (all) => all.toSpliced(4, 0, all[4] as string), 6],
    ['a line of somebody else', (all) => all.toSpliced(4, 0, '{"kind":"reveal"}'), 5],
    ['an empty line', (all) => all.toSpliced(4, 0, ''), 5],
    ['no first line', (all) => all.slice(1), 1],
  ])('is broken by %s, and the first bad line is named', async (_, change, line) => {
    const verdict = await verdictOn(edit(change))

    expect(verdict).toMatchObject({ kind: 'broken', line })
  })

  test('is intact as far as it goes when a copy of the file is', async () => {
    expect(await verdictOn(whole)).toEqual({
      kind: 'intact',
      lines: whole.trimEnd().split('\n').length,
    })
  })

  test('goes on where it ended when the installation starts again', async () => {
    const data = await mkdtemp(join(tmpdir(), 'sallyport-audit-'))
    for (let start = 1; start <= 2; start += 1) {
      await using again = await startSallyport({}, { folder: data })
      if (start === 1) await again.createMerchant()
    }

    const found = await lines(data)
    const verdict = await verifyAuditFile(fileOf(data))

    expect(verdict.kind).toBe('intact')
    expect(found.filter(({ kind }) => kind === 'start').length).toBe(2)
    expect(found.at(-1)?.kind).toBe('stop')
    await rm(data, { recursive: true, force: true })
  })
})

test('lines of one turn are whole, however many and long they are and whatever is in them', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-audit-'))
  const config = { folder, sync: 'interval', syncIntervalMs: 1000 } as const
  const trail = openAuditTrail(config, { clock: Date.now, version: 'test', onFatal: () => {} })
  const versions = Array.from({ length: 300 }, (_, i) => `${i}${'é€𝄞'.repeat(i * 7)}`)

  const first = versions.map((version) => trail.record({ kind: 'start', version }))
  await Promise.all(first)
  await trail.record({ kind: 'start', version: 'short' })
  await trail.close()

  const file = join(folder, 'audit.jsonl')
  expect(await verifyAuditFile(file)).toEqual({ kind: 'intact', lines: versions.length + 3 })
  const written = (await readFile(file, 'utf8'))
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  const expected = ['test', ...versions, 'short', 'test']
  expect(written.map(({ version }) => version)).toEqual(expected)
  await rm(folder, { recursive: true, force: true })
})

describe('a trail that cannot be written', () => {
  test('acknowledges nothing and says that it does not work', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sallyport-audit-'))
    await symlink('/dev/full', join(folder, 'audit.jsonl'))
    const config = { folder, sync: 'interval', syncIntervalMs: 1000 } as const
    const trail = openAuditTrail(config, { clock: Date.now, version: 'test', onFatal: () => {} })

    await expect(trail.record({ kind: 'start', version: 'x' })).rejects.toThrow()
    await expect(trail.record({ kind: 'start', version: 'y' })).rejects.toThrow()

    expect(trail.isWorking).toBe(false)
    await trail.close().catch(() => {}) // the device takes no sync either
    await rm(folder, { recursive: true, force: true })
  })

  test('means audit_unavailable: no connection, no card, and the code is still there', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sallyport-audit-'))
    await using upstream = await startUpstream()
    let there: TestMerchant
    let token: string
    {
      await using before = await startSallyport({}, { folder })
      there = await before.createMerchant()
      token = await there.createCard({ card_cvc: CVC })
      await there.createDestination({
        name: 'psp',
        origin: upstream.origin,
        allow: [{ methods: ['POST'], path: '/*', fields: ['card_number', 'card_cvc'] }],
      })
    }
    await rename(fileOf(folder), `${fileOf(folder)}.kept`)
    await symlink('/dev/full', fileOf(folder))
    const body = `["{{$card_number: ${token}}}","{{$card_cvc: ${token}}}"]`

    const full = await startSallyport({}, { folder, onFatal: () => {} })
    const reply = await post('psp', body, full.origin, there.proxyKey)
    const again = await post('psp', body, full.origin, there.proxyKey)
    const ready = await fetch(`${full.opsOrigin}/health/ready`)
    await Promise.allSettled([full[Symbol.asyncDispose]()]) // the device takes no sync

    expectRefusal(reply, 'audit_unavailable')
    expectRefusal(again, 'audit_unavailable')
    expect(upstream.connections).toBe(0)
    expect(ready.status).toBe(503)

    await rm(fileOf(folder))
    await rename(`${fileOf(folder)}.kept`, fileOf(folder))
    await using after = await startSallyport({}, { folder })
    expect((await post('psp', body, after.origin, there.proxyKey)).status).toBe(200)
    expect(upstream.seen[0]?.body.toString()).toBe(`["${VISA}","${CVC}"]`)
    await rm(folder, { recursive: true, force: true }).catch(() => mkdir(folder))
  })
})
