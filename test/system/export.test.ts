// `sallyport export` as an operator runs it, and its way back in.

import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { parseCidr } from '../../src/core/cidr.ts'
import type { MerchantId } from '../../src/core/ids.ts'
import { ADMIN_KEY } from './shop.ts'
import {
  csvOf,
  execute,
  mapped,
  newAdminKey,
  oldCards,
  openSite,
  type Site,
  withAdmin,
} from './transfer.ts'

let site: Site
let recipient: string

beforeEach(async () => {
  site = await openSite()
  recipient = newIdentity('key.txt')
  writeFileSync(site.file('first'), `${ADMIN_KEY}\n`)
})

afterEach(() => rm(site.folder, { recursive: true, force: true }))

/** Its public key. */
function newIdentity(name: string): string {
  execFileSync('age-keygen', ['-o', site.file(name)], { stdio: 'ignore' })
  return execFileSync('age-keygen', ['-y', site.file(name)])
    .toString()
    .trim()
}

const cards = oldCards(600)

async function stockUp(of: readonly (typeof cards)[number][] = cards): Promise<void> {
  writeFileSync(site.file('cards.csv'), csvOf(of))
  const args = ['import', site.file('cards.csv'), '--mapping', site.file('ids.csv')]
  const { code, stderr } = await site.run(args)
  if (code !== 0) throw new Error(stderr)
}

async function exportTo(name: string, second: string, ...more: string[]) {
  writeFileSync(site.file('second'), second)
  return site.run([
    'export',
    '--recipient',
    recipient,
    '--out',
    site.file(name),
    '--admin-key-file',
    site.file('first'),
    '--admin-key-file',
    site.file('second'),
    ...more,
  ])
}

const decrypted = (name: string, identity = 'key.txt') =>
  execFileSync('age', ['--decrypt', '-i', site.file(identity), site.file(name)])
    .toString()
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line))

describe('an export', () => {
  test('is the cards in the columns of an import, for the holder of the key', async () => {
    await stockUp()
    const { id, apiKey } = await newAdminKey(site)

    const { code, stdout } = await exportTo('out.age', apiKey)

    const sum = execFileSync('sha256sum', [site.file('out.age')])
      .toString()
      .slice(0, 64)
    expect([code, stdout]).toEqual([
      0,
      `600 cards are in ${site.file('out.age')} (SHA-256 ${sum})\n`,
    ])
    const ids = mapped(site.file('ids.csv')).map((row) => row.payment_method_id)
    const rows = decrypted('out.age')
    expect(rows.map(({ card_number }) => card_number).sort()).toEqual(
      cards.map(({ number }) => number).sort(),
    )
    expect(rows.map((row) => row.id).sort()).toEqual([...ids].sort())
    expect(rows[0]).toEqual({
      card_number: expect.stringMatching(/^[0-9]{16}$/),
      id: expect.stringMatching(/^local_pm_/),
      card_exp_month: '03',
      card_exp_year: '2035',
      card_holder_name: 'Jo Example',
      card_network: 'Visa',
      customer_reference: expect.stringMatching(/^user-[0-9]+$/),
    })
    expect(statSync(site.file('out.age')).mode & 0o777).toBe(0o600)
    // The audit trail named both keys and every card before anything was opened, and no number.
    const lines = site.audit().filter(({ keys }) => keys !== undefined)
    expect(lines.map(({ kind, action }) => action ?? kind)).toEqual([
      'export.start',
      'reveal',
      'reveal',
      'reveal',
      'export.end',
    ])
    expect(new Set(lines.map(({ keys }) => keys.length))).toEqual(new Set([2]))
    expect(lines[0]).toMatchObject({ merchant: 'shop', recipients: [recipient] })
    expect(lines[0]?.keys).toContain(id)
    const revealed = lines.flatMap(({ tokens = [] }) => tokens)
    expect(revealed.map(({ token }) => token).sort()).toEqual([...ids].sort())
    expect(revealed[0].fields).toContain('card_number')
    expect(lines.at(-1)).toMatchObject({ counts: { cards: 600 }, sha256: sum })
    const found = await execute('grep', ['-rlF', cards[7]?.number ?? '', site.data]).catch(
      ({ code }) => code,
    )
    expect(found).toBe(1)
  })

  test('goes into another installation, and the same cards come out of that', async () => {
    const metadata = { plan: 'gold' }
    writeFileSync(
      site.file('rich.ndjson'),
      `${JSON.stringify({
        id: 'x',
        card_number: '5555555555554444',
        card_exp_month: '1',
        card_exp_year: '2031',
        card_holder_name: 'Zoë "Z" Ünal',
        nick_name: 'travel',
        card_issuer: 'Test Bank',
        card_type: 'credit',
        card_issuing_country: 'DE',
        payment_method_subtype: 'credit',
        customer_reference: 'user-1',
        customer_name: 'Zoë',
        customer_email: 'zoe@example.test',
        customer_metadata: { vip: true },
        billing: { address: { line1: '1 Main St' }, email: 'b@example.test' },
        network_transaction_id: '016150703802094',
        metadata,
      })}\n`,
    )
    const args = ['import', site.file('rich.ndjson'), '--mapping', site.file('rich.csv')]
    expect((await site.run(args)).code).toBe(0)
    const { apiKey } = await newAdminKey(site)
    expect((await exportTo('out.ndjson.age', apiKey)).code).toBe(0)
    const [sent] = decrypted('out.ndjson.age')

    const other = await openSite()
    try {
      const moved = await other.run([
        'import',
        site.file('out.ndjson.age'),
        '--identity',
        site.file('key.txt'),
        '--mapping',
        other.file('ids.csv'),
      ])
      expect([moved.stderr, moved.code]).toEqual(['', 0])
      const second = await newAdminKey(other)
      writeFileSync(other.file('a'), ADMIN_KEY)
      writeFileSync(other.file('b'), second.apiKey)
      const back = await other.run([
        'export',
        '--recipient',
        recipient,
        '--out',
        site.file('back.age'),
        '--admin-key-file',
        other.file('a'),
        '--admin-key-file',
        other.file('b'),
      ])
      expect(back.code).toBe(0)
      const [row] = mapped(other.file('ids.csv'))
      expect(row?.id).toBe(sent.id)
      expect(decrypted('back.age')).toEqual([{ ...sent, id: row?.payment_method_id }])
      expect(sent).toMatchObject({ metadata, customer_metadata: { vip: true } })
    } finally {
      await rm(other.folder, { recursive: true, force: true })
    }
  })

  test('and import into the same installation change no id, also of customers without a reference', async () => {
    await stockUp(cards.slice(0, 3))
    const customer = await withAdmin(site, async (_admin, { store }) => {
      const [first] = await store.listCustomers('shop' as MerchantId, { offset: 0, limit: 1 })
      return first?.id ?? ''
    })
    // One more card for that customer, named by its id alone.
    const csv = `id,card_number,card_exp_month,card_exp_year,customer_id\nz,4111111111111111,1,2033,${customer}\n`
    writeFileSync(site.file('more.csv'), csv)
    await site.run(['import', site.file('more.csv'), '--mapping', site.file('more-ids.csv')])
    const { apiKey } = await newAdminKey(site)
    await exportTo('out.ndjson.age', apiKey)

    const { stdout } = await site.run([
      'import',
      site.file('out.ndjson.age'),
      '--identity',
      site.file('key.txt'),
      '--mapping',
      site.file('again.csv'),
    ])

    expect(stdout).toBe('4 rows: 0 created, 4 updated, 0 rejected\n')
    for (const row of mapped(site.file('again.csv'))) expect(row.payment_method_id).toBe(row.id)
  })

  test('of a customer without a reference goes into another installation under the same id', async () => {
    const customer = 'here_cus_0191fff4aaaa7aaa8aaaaaaaaaaaaaaa'
    const csv = (name: string) =>
      `id,card_number,card_exp_month,card_exp_year,customer_id,customer_name\nz,4111111111111111,1,2033,${customer},${name}\n`
    writeFileSync(site.file('cards.csv'), csv('Jo'))
    await site.run(['import', site.file('cards.csv'), '--mapping', site.file('ids.csv')])
    const { apiKey } = await newAdminKey(site)
    await exportTo('out.ndjson.age', apiKey)
    const [sent] = decrypted('out.ndjson.age')
    expect([sent.customer_id, sent.customer_reference]).toEqual([customer, undefined])

    const other = await openSite()
    try {
      const moved = await other.run([
        'import',
        site.file('out.ndjson.age'),
        '--identity',
        site.file('key.txt'),
        '--mapping',
        other.file('ids.csv'),
      ])

      expect([moved.stderr, moved.code]).toEqual(['', 0])
      expect(mapped(other.file('ids.csv'))[0]?.customer_id).toBe(customer)
      const second = await newAdminKey(other)
      writeFileSync(site.file('first'), ADMIN_KEY)
      writeFileSync(site.file('second'), second.apiKey)
      const back = await other.run([
        'export',
        '--recipient',
        recipient,
        '--out',
        site.file('back.age'),
        '--admin-key-file',
        site.file('first'),
        '--admin-key-file',
        site.file('second'),
      ])
      expect(back.code).toBe(0)
      const [row] = mapped(other.file('ids.csv'))
      expect(decrypted('back.age')).toEqual([{ ...sent, id: row?.payment_method_id }])
    } finally {
      await rm(other.folder, { recursive: true, force: true })
    }
  })

  test('may have several readers', async () => {
    await stockUp(cards.slice(0, 1))
    const { apiKey } = await newAdminKey(site)
    const other = newIdentity('other.txt')

    await exportTo('out.age', apiKey, '--recipient', other)

    expect(decrypted('out.age', 'key.txt')).toEqual(decrypted('out.age', 'other.txt'))
  })

  test('asks at a terminal for the keys that no file has, and does not show them', async () => {
    await stockUp(cards.slice(0, 1))
    const { apiKey } = await newAdminKey(site)
    const command = `${process.execPath} src/main.ts export --recipient ${recipient} --out ${site.file('out.age')}`
    const child = spawn('script', ['-qec', command, '/dev/null'], {
      env: { ...process.env, SALLYPORT_DATA_DIR: site.data },
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    let shown = ''
    const asked = { First: `${ADMIN_KEY}x\x7f\r`, Second: `${apiKey}\r` }
    child.stdout.on('data', (chunk: Buffer) => {
      shown += chunk
      for (const [which, answer] of Object.entries(asked)) {
        if (!shown.endsWith(`${which} admin API key: `)) continue
        setTimeout(() => child.stdin.write(answer), 100)
      }
    })
    const [code] = await once(child, 'close')

    expect([code, shown.includes('1 cards are in')]).toEqual([0, true])
    expect(shown).not.toContain(ADMIN_KEY.slice(0, 10))
    expect(shown).not.toContain(apiKey.slice(0, 10))
    expect(decrypted('out.age').length).toBe(1)
  })

  test('never replaces a file, and leaves none when it fails', async () => {
    await stockUp(cards.slice(0, 1))
    const { apiKey } = await newAdminKey(site)
    writeFileSync(site.file('out.age'), 'mine')

    const { code, stderr } = await exportTo('out.age', apiKey)

    expect([code, stderr.includes('exists already')]).toEqual([1, true])
    expect(readFileSync(site.file('out.age'), 'utf8')).toBe('mine')
    expect(site.audit().filter(({ kind }) => kind === 'reveal')).toEqual([])
    expect(existsSync(site.file('out.age.draft'))).toBe(false)
  })
})

describe('an export is refused', () => {
  const refusal =
    /^Two different admin keys that work, of the installation or of this merchant, are needed\.$/m

  test.each([
    ['the same key twice', async () => ADMIN_KEY],
    ['a key that does not exist', async () => `sly_${'0'.repeat(64)}`],
    ['an empty key', async () => ''],
    [
      'a key without the scope',
      async () => (await newAdminKey(site, 'shop', { scopes: ['vault:read'] })).apiKey,
    ],
    [
      'a key of another merchant',
      async () => {
        await withAdmin(site, (admin) => admin.createMerchant('Other', 'other' as MerchantId))
        return (await newAdminKey(site, 'other')).apiKey
      },
    ],
    [
      'a key that is bound to another network',
      async () => {
        const cidr = parseCidr('192.0.2.0/24')
        if (cidr === undefined) throw new Error('no range')
        return (await newAdminKey(site, undefined, { allowedCidrs: [cidr] })).apiKey
      },
    ],
  ])('with %s', async (_what, second) => {
    await stockUp(cards.slice(0, 1))

    const { code, stdout, stderr } = await exportTo('out.age', await second(), '--merchant', 'shop')

    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toMatch(refusal)
    expect(existsSync(site.file('out.age')) || existsSync(site.file('out.age.draft'))).toBe(false)
    const lines = site.audit()
    expect(lines.filter(({ kind }) => kind === 'reveal')).toEqual([])
    const refused = lines.find(({ action }) => action === 'export.refuse')
    expect(refused?.keys.length).toBe(1)
  })

  test('without a recipient, with one that is none, and with nobody to ask for a key', async () => {
    const out = ['--out', site.file('out.age')]
    const ends = await Promise.all([
      site.run(['export', ...out]),
      site.run(['export', ...out, '--recipient', 'age1nobody']),
      site.run(['export', ...out, '--recipient', recipient]),
    ])

    expect(ends.map(({ code }) => code)).toEqual([1, 1, 1])
    expect(ends[0]?.stderr).toContain('cards leave encrypted only')
    expect(ends[1]?.stderr).toContain('no public key of age')
    expect(ends[2]?.stderr).toContain('Two admin keys are needed (--admin-key-file).')
  })

  test('when the audit trail cannot be written, before anything is opened', async () => {
    await stockUp(cards.slice(0, 1))
    const { apiKey } = await newAdminKey(site)
    writeFileSync(site.file('second'), apiKey)
    const command = ['export', '--recipient', recipient, '--out', site.file('out.age')]
    for (const name of ['first', 'second']) command.push('--admin-key-file', site.file(name))
    // Any file of more than no bytes is refused by the system.
    const { code, stderr } = await execute(
      'bash',
      ['-c', 'ulimit -f 0; exec "$0" src/main.ts "$@"', process.execPath, ...command],
      { env: { ...process.env, SALLYPORT_DATA_DIR: site.data } },
    ).catch((error) => error)

    expect([code, stderr]).toEqual([1, 'The audit trail cannot be written, so nothing is done.\n'])
    expect(existsSync(site.file('out.age'))).toBe(false)
  })
})
