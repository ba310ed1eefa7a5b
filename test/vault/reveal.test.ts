// What is left of plaintext when a card cannot be handed out: nothing. A real keyring, adapter and vault; what the keyring
// opens, and what the vault hands over, is remembered on the way, to be looked at afterwards.

import { mkdtempDisposable } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { CardField, RevealedCard } from '../../src/core/card-fields.ts'
import { type Cidr, parseCidr } from '../../src/core/cidr.ts'
import type { MerchantId, PaymentMethodId } from '../../src/core/ids.ts'
import { Secret } from '../../src/core/secret.ts'
import { type Keyring, type OwnerKeys, openKeyring } from '../../src/crypto/keyring.ts'
import { openLocalRootKey } from '../../src/crypto/root-key/local-file.ts'
import { createEgress } from '../../src/proxy/egress/egress.ts'
import { createWholeSender } from '../../src/proxy/egress/send-whole.ts'
import type { PaymentMethodRecord } from '../../src/store/contract.ts'
import { createExternalCards } from '../../src/vault/external/external-cards.ts'
import { createVgs } from '../../src/vault/external/vgs.ts'
import { encodeCard, type StoredValues } from '../../src/vault/payment-methods/card-record.ts'
import { createReveal } from '../../src/vault/reveal.ts'
import { VISA } from '../support/sallyport.ts'
import { startVgsSimulator, type VgsSimulator } from '../support/vgs-simulator.ts'

const MERCHANT = 'acme0_mer_1' as MerchantId
const ID = 'acme0_pm_1' as PaymentMethodId
const OTHER = '4000056655665556'

let vgs: VgsSimulator
let keyring: Keyring
let keys: OwnerKeys
let close: () => Promise<void>
let reveal: (
  method: PaymentMethodRecord,
  fields: readonly CardField[],
  isDryRun?: boolean,
) => Promise<RevealedCard>
/** Of cards and numbers, in the order in which they came. */
let plaintexts: { what: 'card' | 'number'; bytes: Buffer }[]
let failures: string[]

beforeAll(async () => {
  const folder = await mkdtempDisposable(join(tmpdir(), 'sallyport-reveal-'))
  const rows: any[] = []
  keyring = await openKeyring({
    root: await openLocalRootKey(join(folder.path, 'root.key'), true),
    wrappedKeys: {
      insertWrappedKey: async (row) => rows.push(row) > 0,
      listWrappedKeys: async (owner) => rows.filter((row) => row.owner === owner),
    },
    hourKeys: {} as any, // no codes here
    clock: Date.now,
  })
  await keyring.createOwner(MERCHANT)
  keys = await keyring.keysOf(MERCHANT)

  vgs = await startVgsSimulator()
  const allowPrivate = [parseCidr('127.0.0.0/8') as Cidr]
  const egress = createEgress({ allowPrivate, allowHttp: true, proxy: undefined })
  const sender = createWholeSender(egress)
  const vault = createVgs(
    { send: sender.send, clock: Date.now },
    {
      apiOrigin: vgs.origin,
      tokenUrl: vgs.tokenUrl,
      clientId: vgs.clientId,
      clientSecret: new Secret(vgs.clientSecret),
      timeoutMs: 2000,
    },
  )
  const remembering = {
    ...vault,
    async retrieve(alias: string) {
      const answer = await vault.retrieve(alias)
      if (answer.kind === 'retrieved') plaintexts.push({ what: 'number', bytes: answer.number })
      return answer
    },
  }
  const cards = createExternalCards({
    store: { listByExternalAlias: async () => [] },
    keyring,
    vaults: { find: async () => ({ vault: remembering }) as any },
    onFailure: (failure) => failures.push(failure),
  })
  const opening: OwnerKeys = {
    ...keys,
    open(sealed, kind, id) {
      const bytes = keys.open(sealed, kind, id)
      if (kind === 'card') plaintexts.push({ what: 'card', bytes })
      return bytes
    },
  }
  const revealNow = createReveal({ ...keyring, keysOf: () => opening }, cards.retrieve)
  reveal = async (method, fields, isDryRun = false) =>
    revealNow(method, undefined, fields, isDryRun)

  close = async () => {
    await sender.destroy()
    await vgs[Symbol.asyncDispose]()
    await folder[Symbol.asyncDispose]()
  }
})

afterAll(() => close())

beforeEach(() => {
  plaintexts = []
  failures = []
})

function record(card: Buffer, details: string): PaymentMethodRecord {
  return {
    merchantId: MERCHANT,
    id: ID,
    card: keys.seal(card, 'card', ID),
    details: keys.seal(Buffer.from(details), 'details', ID),
  } as PaymentMethodRecord
}

const shown = (bin: string | null, last4: string | null) =>
  JSON.stringify({ card: { bin, last4 }, external: 'referenced' })

function elsewhere(number: string, details: string): PaymentMethodRecord {
  const values: StoredValues = {
    external_alias: Buffer.from(vgs.keep(number)),
    external_profile: Buffer.from('acme0_pro_1'),
    card_holder_name: Buffer.from('Jane Doe'),
  }
  return record(encodeCard(values), details)
}

const left = () => plaintexts.map(({ what, bytes }) => [what, bytes.every((byte) => byte === 0)])
const textOf = (value: Uint8Array | undefined) => value && Buffer.from(value).toString('latin1')

describe('plaintext is overwritten', () => {
  test('with the card, and not before', async () => {
    const card = await reveal(elsewhere(VISA, shown('424242', '4242')), ['card_number'])

    expect(left()).toEqual([
      ['card', false],
      ['number', false],
    ])
    card.wipe()
    expect(left()).toEqual([
      ['card', true],
      ['number', true],
    ])
  })

  test.each([
    ['of another format', Buffer.from(`\x02${VISA}`)],
    ['that is cut off', Buffer.from(`\x01\x00\x00\x10${VISA}\x02`, 'latin1')],
  ])('of a card %s', async (_, plaintext) => {
    await expect(reveal(record(plaintext, shown(null, null)), ['card_number'])).rejects.toThrow()

    expect(left()).toEqual([['card', true]])
  })

  test.each([true, false])(
    'where the details cannot be read; in a dry run: %s',
    async (isDryRun) => {
      const method = elsewhere(VISA, '{"card":')

      await expect(reveal(method, ['card_number'], isDryRun)).rejects.toThrow()

      expect(left()).toEqual([['card', true]])
      expect(failures).toEqual([])
    },
  )

  test.each([
    ['another BIN', '510000', null],
    ['another last four', null, '0000'],
    ['another long BIN', '42424200', '4242'],
    ['another card', '400005', '5556'],
  ])('of a number with %s than is known here', async (_, bin, last4) => {
    await expect(reveal(elsewhere(VISA, shown(bin, last4)), ['card_last4'])).rejects.toMatchObject({
      reason: 'external_vault_unavailable',
    })

    expect(left()).toEqual([
      ['card', true],
      ['number', true],
    ])
    expect(failures).toEqual(['unavailable'])
  })
})

test.each([
  ['all of it', '42424242', '4242'],
  ['the BIN', '424242', null],
  ['the last four', null, '4242'],
  ['nothing', null, null],
])('a number is handed out where %s is known here', async (_, bin, last4) => {
  const card = await reveal(elsewhere(VISA, shown(bin, last4)), ['card_number'])

  expect(textOf(card.field('card_number'))).toBe(VISA)
})

test('of a card whose number is here, the details are not opened', async () => {
  const values: StoredValues = { card_number: Buffer.from(OTHER) }

  const card = await reveal(record(encodeCard(values), '{"card":'), ['card_number'])

  expect(textOf(card.field('card_number'))).toBe(OTHER)
})
