// `sallyport import` as an operator runs it.

import { execFileSync } from 'node:child_process'
import { appendFileSync, existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { setTimeout } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import type { MerchantId } from '../../src/core/ids.ts'
import { randomCard } from '../vault/cards.ts'
import { serve } from './process.ts'
import { ADMIN_KEY, call } from './shop.ts'
import { csvOf, execute, mapped, oldCards, openSite, type Site, withAdmin } from './transfer.ts'

let site: Site

beforeEach(async () => {
  site = await openSite()
})

afterEach(() => rm(site.folder, { recursive: true, force: true }))

/** The file is imported with `ids.csv` as its mapping. */
const importFile = (name: string, content: string | Buffer, ...args: string[]) => {
  writeFileSync(site.file(name), content)
  return site.run(['import', site.file(name), '--mapping', site.file('ids.csv'), ...args])
}

const ids = () => mapped(site.file('ids.csv'))

/** The payment methods of the merchant, as its API shows them. */
async function withApi<T>(ask: (get: (path: string) => Promise<any>) => Promise<T>): Promise<T> {
  await using served = await serve(site.data)
  const key = await vaultKey(served.origin)
  return await ask(async (path) => (await call(served.origin, key, 'GET', path)).body)
}

async function vaultKey(origin: string): Promise<string> {
  const body = { merchant_id: 'shop', name: 'k', scopes: ['vault:read', 'vault:write'] }
  return (await call(origin, ADMIN_KEY, 'POST', '/v2/api-keys', body)).body.api_key
}

describe('an import', () => {
  test('makes a customer and a payment method of each row, and maps the old id to it', async () => {
    const cards = oldCards(3)

    const { code, stdout, stderr } = await importFile('cards.csv', csvOf(cards))

    expect([code, stdout, stderr]).toEqual([0, '3 rows: 3 created, 0 updated, 0 rejected\n', ''])
    expect(ids().map(({ line, id, outcome }) => [line, id, outcome])).toEqual(
      cards.map(({ id }, index) => [String(index + 2), id, 'created']),
    )
    await withApi(async (get) => {
      for (const [index, { payment_method_id, customer_id }] of ids().entries()) {
        const method = await get(`/v2/payment-methods/${payment_method_id}`)
        const { last4_digits, card_holder_name, expiry_month } = method.payment_method_data.card
        expect([last4_digits, card_holder_name, expiry_month, method.storage_type]).toEqual([
          cards[index]?.number.slice(-4),
          'Jo Example',
          '03',
          'persistent',
        ])
        expect((await get(`/v2/customers/reference/user-${index}`)).id).toBe(customer_id)
      }
    })
  })

  test('takes every column, from CSV and NDJSON alike', async () => {
    const row = {
      id: 'tok "1", old',
      card_number: '5555 5555 5555 4444',
      card_exp_month: '12',
      card_exp_year: '40',
      card_holder_name: 'Zoë, Ünal',
      nick_name: 'travel',
      card_network: 'Mastercard',
      card_issuer: 'Test Bank',
      card_type: 'credit',
      card_issuing_country: 'US',
      payment_method_subtype: 'credit',
      customer_reference: 'user-1',
      customer_name: 'Zoë Ünal',
      customer_email: 'zoe@example.test',
      billing_line1: '1 Main St\nBack door'.replace('\n', ', '),
      billing_country: 'DE',
      network_transaction_id: '016150703802094',
      metadata: { plan: 'gold', nested: [1, { a: null }] },
    }
    const quoted = (value: unknown) => {
      const text = typeof value === 'string' ? value : JSON.stringify(value)
      return `"${text.replaceAll('"', '""')}"`
    }
    const csv = `${Object.keys(row).reverse().join(',')}\n${Object.values(row).reverse().map(quoted).join(',')}\n`
    expect((await importFile('a.csv', csv)).code).toBe(0)
    const again = await site.run(
      ['import', '-', '--format', 'ndjson', '--mapping', site.file('b')],
      {
        input: JSON.stringify(row),
      },
    )
    expect(again.stdout).toBe('1 rows: 0 created, 1 updated, 0 rejected\n')

    const [id] = readFileSync(site.file('ids.csv'), 'utf8').match(/local_pm_[0-9a-f]{32}/) ?? []
    expect(readFileSync(site.file('b'), 'utf8')).toContain(`"tok ""1"", old",`)
    expect(readFileSync(site.file('b'), 'utf8')).toContain(`${id},updated,`)
    const [method, customer] = await withApi(async (get) => [
      await get(`/v2/payment-methods/${id}`),
      await get('/v2/customers/reference/user-1'),
    ])
    expect(method).toMatchObject({
      payment_method_subtype: 'credit',
      payment_method_data: {
        card: {
          last4_digits: '4444',
          expiry_year: '2040',
          card_holder_name: 'Zoë, Ünal',
          nick_name: 'travel',
          card_issuer: 'Test Bank',
        },
      },
      billing: { address: { line1: '1 Main St, Back door', country: 'DE' } },
      network_transaction_id: '016150703802094',
      metadata: { plan: 'gold', nested: [1, { a: null }] },
    })
    expect([customer.name, customer.email]).toEqual(['Zoë Ünal', 'zoe@example.test'])
  })

  test('leaves a customer that comes with an id this id', async () => {
    const customer = 'other_cus_0191fff4aaaa7aaa8aaaaaaaaaaaaaaa'
    const header = 'id,card_number,card_exp_month,card_exp_year,customer_id,customer_name'
    const rows = oldCards(2).map(({ id, number }) => `${id},${number},3,2035,${customer},Jo`)
    const csv = [header, ...rows].join('\n')

    const first = await importFile('cards.csv', csv)
    rmSync(site.file('ids.csv'))
    const again = await importFile('cards.csv', csv)

    expect(first.stdout).toBe('2 rows: 2 created, 0 updated, 0 rejected\n')
    expect(again.stdout).toBe('2 rows: 0 created, 2 updated, 0 rejected\n')
    expect(ids().map(({ customer_id }) => customer_id)).toEqual([customer, customer])
    const made = await withApi((get) => get(`/v2/customers/${customer}`))
    expect(made).toMatchObject({ id: customer, merchant_reference_id: null, name: 'Jo' })
  })

  test('takes no id of a customer for a reference', async () => {
    const customer = 'other_cus_0191fff4aaaa7aaa8aaaaaaaaaaaaaaa'

    const { code, stderr } = await importFile(
      'cards.csv',
      csvOf(oldCards(1).map((card) => ({ ...card, customer }))),
    )

    expect([code, stderr]).toEqual([2, 'line 2 (old_0): customer_reference: not allowed\n'])
  })

  test('with a stray quote in a row rejects that row, and takes those behind it', async () => {
    const cards = oldCards(10)
    const lines = csvOf(cards).split('\r\n')
    for (const at of [4, 9]) lines[at] = lines[at]?.replace('Jo Example', '5" Bob') ?? ''

    const { stdout, stderr } = await importFile('cards.csv', lines.join('\r\n'))

    expect(stdout).toBe('10 rows: 8 created, 0 updated, 2 rejected\n')
    expect(stderr).toBe('line 5: malformed\nline 10: malformed\n')
    expect(ids().map(({ outcome }) => outcome)).toEqual(
      cards.map((_card, index) => ([3, 8].includes(index) ? 'rejected' : 'created')),
    )
  })

  test('leaves a network transaction id that is known already', async () => {
    const csv = (transaction: string) =>
      `id,card_number,card_exp_month,card_exp_year,customer_reference,network_transaction_id\nx,4242424242424242,3,2035,u,${transaction}\n`
    const shown = async () => {
      const [row] = ids()
      const method = await withApi((get) => get(`/v2/payment-methods/${row?.payment_method_id}`))
      return method.network_transaction_id
    }
    const again = async (transaction: string) => {
      rmSync(site.file('ids.csv'), { force: true })
      await importFile('cards.csv', csv(transaction))
    }

    await again('')
    await again('016150703802094')
    expect(await shown()).toBe('016150703802094')
    await again('MCC0000011128')
    expect(await shown()).toBe('016150703802094')
  })

  test('rejects what is wrong by line, field and reason, and never by value', async () => {
    const [good, twin] = oldCards(2)
    const bad = '4242424242424241'
    const header = 'id,card_number,card_exp_month,card_exp_year,nick_name,customer_reference'
    const rows = [
      `ok,${good?.number},3,2035,,user-1`,
      `luhn,${bad},3,2035,,user-1`,
      `month,${good?.number},13,2035,,user-1`,
      `${twin?.number},${good?.number},3,35,${twin?.number},user-1`,
      `fields,${good?.number}`,
      `"open,${bad},3,2035,,user-1`,
    ]

    const { code, stdout, stderr } = await importFile(
      'cards.csv',
      `${header}\n${rows.join('\n')}`,
      '--rejects',
      site.file('rejects.csv'),
    )

    expect([code, stdout]).toEqual([2, '6 rows: 1 created, 0 updated, 5 rejected\n'])
    expect(stderr.split('\n')).toEqual([
      'line 3 (luhn): card_number: not a card number',
      'line 4 (month): card_exp_month: not a month',
      'line 5: nick_name: could be card number',
      'line 6: wrong number of fields',
      'line 7: malformed',
      '',
    ])
    expect(readFileSync(site.file('rejects.csv'), 'utf8')).toBe(
      'line,id,field,reason\n3,luhn,card_number,not_a_card_number\n4,month,card_exp_month,not_a_month\n5,,nick_name,could_be_card_number\n6,,,wrong_number_of_fields\n7,,,malformed\n',
    )
    const written = stdout + stderr + readFileSync(site.file('ids.csv'), 'utf8')
    for (const number of [bad, good?.number ?? '', twin?.number ?? '']) {
      expect(written).not.toContain(number.slice(6, 12))
    }
  })

  test('tells of twenty rejected rows and counts the others', async () => {
    const cards = oldCards(25).map((card) => ({ ...card, number: '4242424242424241' }))

    const { code, stderr } = await importFile('cards.csv', csvOf(cards))

    expect(code).toBe(2)
    expect(stderr.split('\n').slice(19)).toEqual([
      'line 21 (old_19): card_number: not a card number',
      '… and 5 more',
      '',
    ])
  })

  test('with a column that is not known, or not to be kept, stores nothing', async () => {
    const [card] = oldCards(1)
    const csv = csvOf([card ?? { id: '', number: '', customer: '' }])

    const unknown = await importFile('a.csv', csv.replace('card_holder_name', 'holder'))
    const code = await importFile('b.csv', csv.replace('card_holder_name', 'cvv'))

    expect([unknown.code, code.code]).toEqual([1, 1])
    expect(unknown.stderr).toContain('These columns are not known: holder.')
    expect(code.stderr).toContain('(PCI DSS 3.3.1)')
    expect(ids()).toEqual([])
    const ignored = await importFile(
      'a.csv',
      csv.replace('card_holder_name', 'holder'),
      '--ignore-columns',
      'holder',
    )
    expect(ignored.code).toBe(0)
  })

  test('of a file without a header repeats nothing of it', async () => {
    const [card] = oldCards(1)

    const { code, stderr } = await importFile('a.csv', `x,${card?.number},3,2035\n`)

    expect([code, stderr]).toEqual([
      1,
      'The first line has to name the columns, and holds values.\n',
    ])
  })

  test('with an id of a customer that is none rejects the row', async () => {
    const csv = `id,card_number,card_exp_month,card_exp_year,customer_id\nx,${randomCard()},3,2035,42\n`

    const { code, stderr } = await importFile('a.csv', csv)

    expect([code, stderr]).toEqual([2, 'line 2 (x): customer_id: not found\n'])
  })

  test('gives the same card of the same customer one id, however often it stands there', async () => {
    const number = randomCard()
    const cards = Array.from({ length: 50 }, (_, index) => ({
      id: `old_${index}`,
      number,
      customer: index % 2 === 0 ? 'user-a' : 'user-b',
    }))

    await importFile('a.csv', csvOf(cards))

    const of = (parity: number) =>
      new Set(ids().flatMap((row, at) => (at % 2 === parity ? [row.payment_method_id] : [])))
    expect([of(0).size, of(1).size, of(0).isDisjointFrom(of(1))]).toEqual([1, 1, true])
  })

  test('works while the server runs, which sees the cards at once', async () => {
    await using served = await serve(site.data)
    const key = await vaultKey(served.origin)

    const { code } = await importFile('a.csv', csvOf(oldCards(2)))

    expect(code).toBe(0)
    for (const { payment_method_id } of ids()) {
      const { status } = await call(
        served.origin,
        key,
        'GET',
        `/v2/payment-methods/${payment_method_id}`,
      )
      expect(status).toBe(200)
    }
  })

  test('leaves a chain of audit lines of its own: who, what, and each card', async () => {
    await importFile('a.csv', csvOf(oldCards(2)))

    const lines = site.audit().filter(({ client }) => /^cli:[0-9]+$/.test(client))
    const [start] = lines
    const actions = lines.map(({ action, request, merchant }) => [
      action,
      request === start?.request,
      merchant,
    ])
    expect(actions.sort()).toEqual(
      [
        'customer.create',
        'customer.create',
        'import.end',
        'import.start',
        'payment_method.create',
        'payment_method.create',
      ].map((action) => [action, true, 'shop']),
    )
    expect(lines.find(({ action }) => action === 'import.end')).toMatchObject({
      counts: { created: 2, updated: 0, rejected: 0, known: 0 },
      digest: expect.stringMatching(/^[A-Za-z0-9_-]{43}$/),
    })
    const objects = lines
      .filter(({ action }) => action === 'payment_method.create')
      .map(({ object }) => object)
    expect(objects.sort()).toEqual(
      ids()
        .map(({ payment_method_id }) => payment_method_id)
        .sort(),
    )
  })
})

describe('an import that goes on', () => {
  test('after kill -9 at any time ends with every row once, under the same ids', async () => {
    const cards = oldCards(4000)
    const csv = csvOf(cards)
    writeFileSync(site.file('cards.csv'), csv)
    const mapping = site.file('ids.csv')
    const written = () => (existsSync(mapping) ? statSync(mapping).size : 0)
    const ends: (number | null)[] = []
    for (const bytes of [1, 150_000, 350_000]) {
      const args = ['import', site.file('cards.csv'), '--mapping', mapping, '--quiet']
      const { code } = await site.run(args, { killWhen: () => written() > bytes })
      ends.push(code)
    }
    expect([ends, mapped(mapping).length < cards.length]).toEqual([[null, null, null], true])

    const { code, stdout } = await importFile('cards.csv', csv)

    expect([code, stdout.split(':')[0]]).toEqual([0, '4,000 rows'])
    expect(ids().map(({ id }) => id)).toEqual(cards.map(({ id }) => id))
    // The store knows the same ids, and no others.
    const fresh = await site.run([
      'import',
      site.file('cards.csv'),
      '--mapping',
      site.file('again.csv'),
    ])
    expect(fresh.stdout).toBe('4,000 rows: 0 created, 4,000 updated, 0 rejected\n')
    expect(mapped(site.file('again.csv')).map((row) => row.payment_method_id)).toEqual(
      ids().map((row) => row.payment_method_id),
    )
  })

  test('cuts a torn last line of the mapping file, and what was rejected behind it', async () => {
    const cards = oldCards(6).map((card, index) =>
      index === 4 ? { ...card, number: '4242424242424241' } : card,
    )
    const rejects = ['--rejects', site.file('rejects.csv')]
    await importFile('cards.csv', csvOf(cards), ...rejects)
    const whole = readFileSync(site.file('ids.csv'), 'utf8')
    const told = readFileSync(site.file('rejects.csv'), 'utf8')
    const idsOf = (text: string) => text.match(/local_pm_[0-9a-f]{32}/g)

    for (const cut of [30, 60, 200, 400, whole.length - 60, whole.length - 10]) {
      writeFileSync(site.file('ids.csv'), whole.slice(0, whole.length - cut))
      const { code } = await importFile('cards.csv', csvOf(cards), ...rejects)

      expect(code).toBe(2)
      expect(idsOf(readFileSync(site.file('ids.csv'), 'utf8'))).toEqual(idsOf(whole))
      expect(readFileSync(site.file('rejects.csv'), 'utf8')).toBe(told)
    }
  })

  test('and has ended changes nothing, and says again what was rejected', async () => {
    const cards = [...oldCards(2), { id: 'bad', number: '4242', customer: 'user-9' }]
    const first = await importFile('cards.csv', csvOf(cards))
    const before = readFileSync(site.file('ids.csv'), 'utf8')
    const linesBefore = site.audit().filter(({ action }) => action === 'payment_method.update')

    const second = await importFile('cards.csv', csvOf(cards))

    expect([first.code, second.code]).toEqual([2, 2])
    expect(second.stdout).toBe(
      '3 rows: 2 created, 0 updated, 1 rejected (3 of them by an earlier run)\n',
    )
    expect(readFileSync(site.file('ids.csv'), 'utf8')).toBe(before)
    expect(site.audit().filter(({ action }) => action === 'payment_method.update')).toEqual(
      linesBefore,
    )
  })

  test('takes rows that were added, and no row that was changed', async () => {
    const cards = oldCards(3)
    await importFile('cards.csv', csvOf(cards.slice(0, 2)))

    const longer = await importFile('cards.csv', csvOf(cards))
    const changed = await importFile('cards.csv', csvOf(cards).replace('old_1,', 'old_9,'))
    const shorter = await importFile('cards.csv', csvOf(cards.slice(0, 1)))

    expect(longer.stdout).toContain('(2 of them by an earlier run)')
    expect([changed.code, changed.stderr.split('.')[0]]).toEqual([
      1,
      'Line 3 of the input is not what it was when it was imported',
    ])
    expect([shorter.code, shorter.stderr]).toEqual([
      1,
      'The input is shorter than it was when it was imported.\n',
    ])
    expect(ids().length).toBe(3)
  })

  test('refuses another input, from a file or from standard input, and files that are none of its own', async () => {
    await importFile('cards.csv', csvOf(oldCards(2)))

    const other = await importFile('other.csv', csvOf(oldCards(2)))
    const piped = await site.run(
      ['import', '-', '--format', 'csv', '--mapping', site.file('ids.csv')],
      { input: csvOf(oldCards(2)) },
    )
    writeFileSync(site.file('notes'), 'line one\nline two\n')
    const notes = await site.run([
      'import',
      site.file('cards.csv'),
      '--mapping',
      site.file('notes'),
    ])

    for (const { code, stderr } of [other, piped]) {
      expect(code).toBe(1)
      expect(stderr).toMatch(/^The mapping file belongs to another import/)
    }
    expect(notes.stderr).toMatch(/exists and is no mapping file of an import\.$/m)
    expect(readFileSync(site.file('notes'), 'utf8')).toBe('line one\nline two\n')
  })

  test.each([
    ['a column is called otherwise', (csv: string) => csv.replace('first,', 'card_issuer,'), []],
    ['a column is left out', (csv: string) => csv, ['--ignore-columns', 'first,nick_name']],
  ])('refuses when %s', async (_what, change, args) => {
    const csv = csvOf(oldCards(2)).replace('id,', 'first,').replace('card_holder_name', 'nick_name')
    const named = csv.replace('customer_reference', 'customer_reference,id').split('\r\n')
    const file = named.map((line, at) => (at === 0 || line === '' ? line : `${line},z`)).join('\n')
    const first = await importFile('cards.csv', file, '--ignore-columns', 'first')
    expect(first.stdout).toBe('2 rows: 2 created, 0 updated, 0 rejected\n')

    const { code, stderr } = await importFile('cards.csv', change(file), ...args)

    expect([code, stderr]).toEqual([1, expect.stringMatching(/^The mapping file belongs to/)])
  })

  test('refuses names of NDJSON that are ignored only now', async () => {
    const row = { id: 'x', card_number: randomCard(), card_exp_month: 3, card_exp_year: 35 }
    const text = JSON.stringify({ ...row, customer_reference: 'u', nick_name: 'n' })
    await importFile('cards.ndjson', text)

    const { code } = await importFile('cards.ndjson', text, '--ignore-columns', 'nick_name')

    expect(code).toBe(1)
  })

  test('does not overwrite a rejects file of another', async () => {
    appendFileSync(site.file('rejects.csv'), 'line,id,field,reason\n7,x,,malformed\n')

    const { code } = await importFile(
      'cards.csv',
      csvOf(oldCards(1)),
      '--rejects',
      site.file('rejects.csv'),
    )

    expect([code, existsSync(site.file('ids.csv'))]).toEqual([1, false])
    expect(readFileSync(site.file('rejects.csv'), 'utf8')).toContain('7,x,,malformed')
  })
})

describe('an import that runs', () => {
  /** Of standard input that stands still behind some rows, which are stored. */
  async function standingStill() {
    const lines = csvOf(oldCards(3000)).split(/(?<=\r\n)/)
    const started = site.start([
      'import',
      '-',
      '--format',
      'csv',
      '--mapping',
      site.file('ids.csv'),
    ])
    onTestFinished(() => void started.child.kill('SIGKILL'))
    started.send(lines.slice(0, 2000).join(''))
    const isStored = () => existsSync(site.file('ids.csv')) && ids().length >= 1999 - 512
    await vi.waitUntil(isStored, { timeout: 20_000, interval: 20 })
    await setTimeout(500) // at most as many are under way, and end
    return { ...started, rest: lines.slice(2000).join('') }
  }

  test('ends when its merchant is deleted meanwhile', async () => {
    const running = await standingStill()
    await withAdmin(site, (admin) => admin.deleteMerchant('shop' as MerchantId))

    running.send(running.rest)
    const { code, stderr } = await running.end()

    expect([code, stderr]).toEqual([1, 'The merchant was deleted meanwhile.\n'])
  }, 30_000)

  test('has its mapping file for itself, and the lock goes with it', async () => {
    const running = await standingStill()
    const lock = `${site.file('ids.csv')}.lock`

    const second = await importFile('cards.csv', csvOf(oldCards(1)))
    running.send(running.rest)
    const { code, stdout } = await running.end()

    expect([second.code, second.stderr]).toEqual([
      1,
      `Another import writes to ${site.file('ids.csv')}: its process is in ${lock}. If there is none, delete that.\n`,
    ])
    expect([code, stdout]).toEqual([0, '3,000 rows: 3,000 created, 0 updated, 0 rejected\n'])
    expect(existsSync(lock)).toBe(false)
  }, 30_000)

  test('takes over the lock of one that is no more', async () => {
    writeFileSync(`${site.file('ids.csv')}.lock`, `${2 ** 22 + 1}\n`)

    const { code } = await importFile('cards.csv', csvOf(oldCards(1)))

    expect(code).toBe(0)
    expect(existsSync(`${site.file('ids.csv')}.lock`)).toBe(false)
  })

  test('says in one sentence that something else writes its mapping file', async () => {
    const running = await standingStill()
    appendFileSync(site.file('ids.csv'), 'x\n')

    running.send(running.rest)
    const { code, stderr } = await running.end()

    expect([code, stderr]).toEqual([
      1,
      `Something else writes to ${site.file('ids.csv')}: one import at a time.\n`,
    ])
  }, 30_000)

  test.each(['SIGTERM', 'SIGINT'] as const)(
    'ends at once on the second %s',
    async (signal) => {
      const running = await standingStill()
      running.child.kill(signal)
      await setTimeout(200)
      expect(running.child.exitCode).toBe(null)

      running.child.kill(signal)
      const ended = await Promise.race([running.ended, setTimeout(5000, undefined, { ref: false })])

      expect(ended?.code).toBe(1)
      const whole = await importFile('cards.csv', csvOf([]))
      expect(whole.stderr).toMatch(/^The input is (shorter|empty)/)
    },
    30_000,
  )
})

describe('an encrypted input', () => {
  const cards = oldCards(2000)

  test('of PGP goes through gpg, and nothing of it is on the disk', async () => {
    const home = site.file('gnupg')
    execFileSync('mkdir', ['-m', '700', home])
    const gpg = ['--homedir', home, '--batch', '--quiet', '--trust-model', 'always']
    execFileSync('gpg', [
      ...gpg,
      '--passphrase',
      '',
      '--quick-generate-key',
      'vault@example.test',
      'default',
      'default',
      'never',
    ])
    writeFileSync(site.file('plain.csv'), csvOf(cards))
    execFileSync('gpg', [
      ...gpg,
      '--recipient',
      'vault@example.test',
      '--output',
      site.file('cards.csv.gpg'),
      '--encrypt',
      site.file('plain.csv'),
    ])
    rmSync(site.file('plain.csv'))

    const direct = await site.run([
      'import',
      site.file('cards.csv.gpg'),
      '--format',
      'csv',
      '--mapping',
      site.file('ids.csv'),
    ])
    const { stdout } = await execute(
      'bash',
      [
        '-o',
        'pipefail',
        '-c',
        // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the shell's
        'gpg "${@:4}" --decrypt "$1" | "$2" src/main.ts import - --format csv --mapping "$3"',
        'bash',
        site.file('cards.csv.gpg'),
        process.execPath,
        site.file('ids.csv'),
        ...gpg,
      ],
      { env: { ...process.env, SALLYPORT_DATA_DIR: site.data } },
    )
    execFileSync('gpgconf', ['--homedir', home, '--kill', 'all'])

    expect([
      direct.code,
      direct.stderr.includes('gpg --decrypt FILE | sallyport import -'),
    ]).toEqual([1, true])
    expect(stdout).toBe('2,000 rows: 2,000 created, 0 updated, 0 rejected\n')
    const [{ number } = { number: '' }] = cards
    const found = await execute('grep', ['-rlF', number, site.folder]).catch(({ code }) => code)
    expect(found).toBe(1)
  }, 120_000)

  test('of age is decrypted with its identity as it streams', async () => {
    execFileSync('age-keygen', ['-o', site.file('key.txt')], { stdio: 'ignore' })
    const recipient = execFileSync('age-keygen', ['-y', site.file('key.txt')])
      .toString()
      .trim()
    const encrypted = execFileSync('age', ['-r', recipient], { input: csvOf(cards) })

    const without = await importFile('cards.csv.age', encrypted)
    const cut = await importFile(
      'cut.csv.age',
      encrypted.subarray(0, -1),
      '--identity',
      site.file('key.txt'),
    )
    const whole = await importFile('cards.csv.age', encrypted, '--identity', site.file('key.txt'))

    expect([without.code, without.stderr]).toEqual([
      1,
      'This is an age file: name the file with its key (--identity).\n',
    ])
    expect([cut.code, cut.stderr.includes('cut off or was altered')]).toEqual([1, true])
    // What came before the cut is not done again.
    expect(whole.code).toBe(0)
    expect(whole.stdout).toMatch(/^2,000 rows: 2,000 created, 0 updated, 0 rejected/)
    const end = site.audit().findLast(({ action }) => action === 'import.end')
    const sum = execFileSync('sha256sum', [site.file('cards.csv.age')])
      .toString()
      .slice(0, 64)
    expect(end?.sha256).toBe(sum)
  })

  test('of age that was encrypted to somebody else does not open', async () => {
    for (const name of ['mine', 'theirs']) {
      execFileSync('age-keygen', ['-o', site.file(name)], { stdio: 'ignore' })
    }
    const theirs = execFileSync('age-keygen', ['-y', site.file('theirs')])
      .toString()
      .trim()
    const encrypted = execFileSync('age', ['-r', theirs], { input: csvOf(oldCards(1)) })

    const { code, stderr } = await importFile(
      'a.csv.age',
      encrypted,
      '--identity',
      site.file('mine'),
    )

    expect([code, stderr]).toEqual([1, 'The age file was not encrypted to this identity.\n'])
  })
})

test('what it is told wrongly it says, and how to do better', async () => {
  const runs: [args: string[], sentence: string][] = [
    [['import'], 'Name one file.'],
    [['import', 'x.csv'], 'Name the mapping file (--mapping).'],
    [['import', 'x.txt', '--mapping', site.file('m')], 'Say what the input is'],
    [['import', site.file('none.csv'), '--mapping', site.file('m')], 'cannot be read.'],
    [['import', 'x.csv', '--mapping', 'm', '--fast'], "Unknown option '--fast'"],
  ]
  const ends = await Promise.all(runs.map(([args]) => site.run(args)))

  for (const [index, { code, stderr }] of ends.entries()) {
    expect(code).toBe(1)
    expect(stderr).toContain(runs[index]?.[1])
  }
  const help = await site.run(['import', '--help'])
  expect([help.code, help.stdout.includes('network_transaction_id')]).toEqual([0, true])
})
