// What a PSP calls a card is kept with the payment method before the caller has the answer, when the answer says that the
// payment was made with it, and with it alone.

import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { buildApp } from '../../../src/app.ts'
import { openAuditTrail } from '../../../src/audit/trail.ts'
import { systemClock } from '../../../src/core/clock.ts'
import { openKeyring } from '../../../src/crypto/keyring.ts'
import { openLocalRootKey } from '../../../src/crypto/root-key/local-file.ts'
import { createLog } from '../../../src/http/log.ts'
import type { Store } from '../../../src/store/contract.ts'
import { openStore } from '../../../src/store/open.ts'
import { EMPTY_BIN_TABLE } from '../../../src/vault/bin-table.ts'
import { startSallyport } from '../../support/sallyport.ts'
import {
  answered,
  answeredInChunks,
  Caller,
  NUMBER,
  numberBody,
  openWorld,
  type Piece,
  type Reached,
  startEchoingPsp,
  type World,
} from './echo.ts'

const CAPTURE = {
  connector: 'checkout',
  response: {
    capture: [
      { path: '$.source.id', as: 'psp_token' },
      { path: '$.scheme_id', as: 'network_transaction_id' },
    ],
  },
}

let world: World
let psp: Reached
let card: string

beforeAll(async () => {
  world = await openWorld()
  psp = await world.reach('checkout', CAPTURE)
})

afterAll(async () => {
  await world[Symbol.asyncDispose]()
})

beforeEach(async () => {
  card = await world.merchant.createCard({ card_number: NUMBER })
})

async function shown(id = card) {
  const { body } = await world.merchant.vault('GET', `/v2/payment-methods/${id}`)
  const { connector_tokens, network_transaction_id } = body
  const tokens = (connector_tokens as { connector_id: string; token: string }[]).map(
    ({ connector_id, token }) => `${connector_id}: ${token}`,
  )
  return { tokens, networkTransactionId: network_transaction_id }
}

const NOTHING = { tokens: [], networkTransactionId: null }
const PAID = '{"id":"pay_1","source":{"id":"src_abc"},"scheme_id":"123456789012345"}'
const KEPT = { tokens: ['checkout: src_abc'], networkTransactionId: '123456789012345' }

const charge = (answer: Buffer | (() => readonly Piece[]), body = numberBody(card)) =>
  psp.charge(answer, { body })

describe('of an answer that says so', () => {
  test.each([
    ['200', '200 OK'],
    ['201', '201 Created'],
    ['202', '202 Accepted'],
  ])('with status %s both are there when the caller has it', async (_, status) => {
    const answer = await charge(answered(PAID, ['Content-Type: application/json'], status))

    expect(answer.text).toBe(PAID)
    expect(await shown()).toEqual(KEPT)
  })

  test('there is a line in the audit trail for each, without what was captured', async () => {
    const answer = await charge(answered(PAID.replace('123456789012345', '')))

    const line = await world.lineOf(answer, 'capture')
    expect(line).toMatchObject({
      kind: 'capture',
      merchant: world.merchant.id,
      token: card,
      as: 'psp_token',
      destination: 'checkout',
    })
    expect(JSON.stringify(line)).not.toContain('src_abc')
  })

  test('in chunks or compressed it is the same', async () => {
    await charge(() => answeredInChunks([PAID.slice(0, 30), PAID.slice(30)]))
    const inChunks = await shown()
    await charge(
      answered(gzipSync(PAID.replace('src_abc', 'src_gz')), [
        'Content-Type: application/json',
        'Content-Encoding: gzip',
      ]),
    )
    const compressed = await shown()

    expect(inChunks).toEqual(KEPT)
    expect(compressed.tokens).toEqual(['checkout: src_gz'])
  })

  test('through the envelope it is the same', async () => {
    psp.psp.answer = () => [answered(PAID)]

    await world.merchant.proxy('POST', '/proxy', {
      destination_url: `${psp.psp.origin}/pay`,
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      request_body: JSON.parse(numberBody(card)),
    })

    expect(await shown()).toEqual(KEPT)
  })

  test('what is redacted in it is captured all the same', async () => {
    const discreet = await world.reach('discreet', {
      ...CAPTURE,
      response: { ...CAPTURE.response, redact: ['$.source.id'] },
    })

    const answer = await discreet.charge(answered(PAID), { body: numberBody(card) })

    expect(answer.text).toContain('"source":{"id":"*******"}')
    expect(await shown()).toEqual(KEPT)
  })

  test('without the leak guard it is the same', async () => {
    const open = await world.reach('open', {
      ...CAPTURE,
      response: { ...CAPTURE.response, leak_guard: 'off' },
    })

    await open.charge(answered(PAID), { body: numberBody(card) })

    expect(await shown()).toEqual(KEPT)
  })

  test('the next one is kept in its place, and those of other connectors beside it', async () => {
    const other = await world.reach('other', { ...CAPTURE, connector: 'adyen' })
    await charge(answered(PAID))
    await charge(answered(PAID.replace('src_abc', 'src_new')))

    await other.charge(answered('{"source":{"id":"8416"}}'), { body: numberBody(card) })

    const { tokens } = await shown()
    expect(tokens.toSorted()).toEqual(['adyen: 8416', 'checkout: src_new'])
  })

  test('several placeholders of one payment method are one', async () => {
    const token = `{{$card_number: ${card}}}`

    await charge(answered(PAID), `{"number":"${token}","again":"${token}"}`)

    expect(await shown()).toEqual(KEPT)
  })

  test('a number is kept as it is written', async () => {
    await charge(answered('{"source":{"id":8416000000000001}}'))

    expect((await shown()).tokens).toEqual(['checkout: 8416000000000001'])
  })
})

describe('nothing is kept', () => {
  const json = ['Content-Type: application/json']
  test.each([
    ['of a redirect', answered(PAID, json, '302 Found')],
    ['of a decline', answered(PAID, json, '402 Payment Required')],
    ['of a refusal', answered(PAID, json, '422 No')],
    ['of a failure', answered(PAID, json, '500 No')],
    ['of what is no JSON', answered(PAID, ['Content-Type: text/plain'])],
    ['of what says it is JSON and is not', answered(`${PAID},`)],
    ['without the path', answered('{"source":"src_abc"}')],
    ['of null', answered('{"source":{"id":null}}')],
    ['of an object', answered('{"source":{"id":{"id":"src_abc"}}}')],
    ['of an array', answered('{"source":{"id":["src_abc"]}}')],
    ['of nothing', answered('{"source":{"id":""}}')],
    ['of a card number', answered('{"source":{"id":"5555555555554444"}}')],
    ['of a card number among others', answered('{"source":{"id":"src_5555-5555-5555-4444_1"}}')],
    ['of a text with a line end', answered('{"source":{"id":"src\\nabc"}}')],
    ['of more than is a token', answered(`{"source":{"id":"${'x'.repeat(2000)}"}}`)],
    ['of more than is held', answered(`${PAID}${' '.repeat(1024 * 1024)}`)],
  ])('%s', async (_, answer) => {
    const { isWhole } = await charge(answer)

    expect(isWhole).toBe(true)
    expect(await shown()).toEqual(NOTHING)
  })

  test('when two payment methods were in the request', async () => {
    const second = await world.merchant.createCard({ card_number: NUMBER })

    await charge(answered(PAID), `["{{$card_number: ${card}}}","{{$card_number: ${second}}}"]`)

    expect(await shown()).toEqual(NOTHING)
    expect(await shown(second)).toEqual(NOTHING)
  })

  test('when none was', async () => {
    const answer = await charge(answered(PAID), '{}')

    expect(answer.text).toBe(PAID)
    expect(await shown()).toEqual(NOTHING)
  })

  test('of an answer that is given again under its idempotency key', async () => {
    const headers = { 'Sallyport-Idempotency-Key': `key-${card}` }
    const body = numberBody(card)
    await psp.charge(answered(PAID), { headers, body })
    await charge(answered(PAID.replace('src_abc', 'src_later')))

    const again = await psp.charge(answered('{}'), { headers, body })

    expect([again.text, again.header('Sallyport-Idempotent-Replay')]).toEqual([PAID, 'true'])
    expect((await shown()).tokens).toEqual(['checkout: src_later'])
  })

  test('of an answer that was blocked', async () => {
    const strict = await world.reach('strict', {
      ...CAPTURE,
      response: { ...CAPTURE.response, leak_guard: 'block' },
    })

    const answer = await strict.charge(answered(`{"source":{"id":"src_abc"},"n":"${NUMBER}"}`), {
      body: numberBody(card),
    })

    expect(answer.status).toBe(502)
    expect(await shown()).toEqual(NOTHING)
  })
})

test('the payment has been made, whatever becomes of its token: a store that cannot keep it fails nothing', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-capture-'))
  await using psp = await startEchoingPsp(() => [answered(PAID)])
  const before = await startSallyport({}, { folder })
  const merchant = await before.createMerchant()
  const id = await merchant.createCard({ card_number: NUMBER })
  await merchant.createDestination({
    name: 'checkout',
    origin: psp.origin,
    allow: [{ methods: ['POST'], path: '/*', fields: ['card_number'] }],
    ...CAPTURE,
  })
  await before[Symbol.asyncDispose]()
  const failures: unknown[] = []
  await using store = await openStore(
    { kind: 'lmdb', folder: join(folder, 'store'), hourKeysFolder: join(folder, 'cvc-keys') },
    (error) => {
      throw error
    },
  )
  const keyring = await openKeyring({
    root: await openLocalRootKey(join(folder, 'root.key'), false),
    wrappedKeys: store,
    hourKeys: store.hourKeys,
    clock: systemClock,
  })
  const audit = openAuditTrail(
    { folder: join(folder, 'audit'), sync: 'every-batch', syncIntervalMs: 200 },
    { clock: systemClock, version: 'test', onFatal: (error) => failures.push(error) },
  )
  const app = await buildApp(before.config, {
    store: withoutCredentials(store),
    keyring,
    audit,
    clock: systemClock,
    log: { ...createLog('silent'), unexpected: (_, error) => failures.push(error) },
    version: 'test',
    tls: undefined,
    bins: EMPTY_BIN_TABLE,
  })
  await new Promise<void>((resolve) => app.server.listen(0, '127.0.0.1', resolve))
  const { port } = app.server.address() as AddressInfo
  using caller = new Caller(`http://127.0.0.1:${port}`)

  const answer = await caller.ask(
    'POST',
    '/d/checkout/pay',
    { 'Sallyport-Key': merchant.proxyKey, 'Content-Type': 'application/json' },
    numberBody(id),
  )

  expect([answer.status, answer.text]).toEqual([200, PAID])
  expect(failures).toEqual([FULL])
  caller.close()
  await app.close()
  app.server.close()
  await audit.close()
  await rm(folder, { recursive: true, force: true })
  expect(existsSync(folder)).toBe(false)
})

const FULL = new Error('no room for credentials')

/** The same store, in which nothing more can be captured. */
function withoutCredentials(store: Store): Store {
  return new Proxy(store, {
    get(target, name) {
      if (name === 'putCredential') return () => Promise.reject(FULL)
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}
