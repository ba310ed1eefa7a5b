// What a BIN file may hold, what is found with it, and what is said of a broken one.

import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type CardDigits, cardNetwork } from '../../src/core/card-number.ts'
import {
  type BinEntry,
  type BinTable,
  EMPTY_BIN_TABLE,
  parseBinTable,
} from '../../src/vault/bin-table.ts'

const HEADER = 'bin_from,bin_to,network,type,issuer,country'

function file(...lines: string[]): Buffer {
  return Buffer.from([HEADER, ...lines, ''].join('\n'))
}

function parsed(bytes: Buffer): BinTable {
  const result = parseBinTable(bytes)
  if (result.kind === 'bad') throw new Error(JSON.stringify(result.problems))
  return result.table
}

function problemsOf(bytes: Buffer): readonly string[] {
  const result = parseBinTable(bytes)
  return result.kind === 'ok' ? [] : result.problems.map(({ line, reason }) => `${line}: ${reason}`)
}

function digits(prefix: string): CardDigits {
  return Buffer.from(prefix.padEnd(16, '0')) as CardDigits
}

const issuerOf = (table: BinTable, prefix: string) => table.find(digits(prefix))?.issuer

describe('finding', () => {
  test('a row says network, type, issuer and country', () => {
    const table = parsed(file('400000,,Visa,debit,Example Bank,DE'))
    expect(table.find(digits('400000'))).toEqual({
      network: 'Visa',
      type: 'debit',
      issuer: 'Example Bank',
      country: 'DE',
    })
    expect(table.rows).toBe(1)
  })

  test('what a row leaves empty is undefined', () => {
    const table = parsed(
      file('400000,,,,,DE', '400001,,Visa,,,', '400002,,,charge,,', '400003,,,,x,'),
    )
    const none = { network: undefined, type: undefined, issuer: undefined, country: undefined }
    expect(table.find(digits('400000'))).toEqual({ ...none, country: 'DE' })
    expect(table.find(digits('400001'))).toEqual({ ...none, network: 'Visa' })
    expect(table.find(digits('400002'))).toEqual({ ...none, type: 'charge' })
    expect(table.find(digits('400003'))).toEqual({ ...none, issuer: 'x' })
  })

  test.each([
    ['six digits', '400000,,,,A,', ['40000000', '40000099'], ['39999999', '40000100']],
    ['seven digits', '4000001,,,,A,', ['40000010', '40000019'], ['40000009', '40000020']],
    ['eight digits', '40000012,,,,A,', ['40000012'], ['40000011', '40000013']],
    ['a range of six', '400000,400001,,,A,', ['40000000', '40000199'], ['39999999', '40000200']],
    [
      'a range of eight',
      '40000005,40000011,,,A,',
      ['40000005', '40000011'],
      ['40000004', '40000012'],
    ],
    ['the first numbers', '000000,,,,A,', ['00000000', '00000099'], ['00000100', '99999999']],
    ['the last numbers', '999999,,,,A,', ['99999900', '99999999'], ['00000000', '99999899']],
    ['all of them', '000000,999999,,,A,', ['00000000', '50000000', '99999999'], []],
  ])('%s', (_what, row, inside, outside) => {
    const table = parsed(file(row))
    for (const prefix of inside) expect(issuerOf(table, prefix), prefix).toBe('A')
    for (const prefix of outside) expect(issuerOf(table, prefix), prefix).toBeUndefined()
  })

  test('the narrower of two ranges wins whole, wherever in the file and in the wider one it stands', () => {
    const rows = [
      '400000,400009,Visa,credit,Wide,DE',
      '400000,,,,First,',
      '4000005,,,,Inner,',
      '40000055,,,,Innermost,',
      '400009,,,,Last,',
      '40000999,,,,Very last,',
    ]
    for (const lines of [rows, rows.toReversed()]) {
      const table = parsed(file(...lines))
      expect(issuerOf(table, '40000000')).toBe('First')
      expect(issuerOf(table, '40000050')).toBe('Inner')
      expect(issuerOf(table, '40000054')).toBe('Inner')
      expect(issuerOf(table, '40000055')).toBe('Innermost')
      expect(issuerOf(table, '40000056')).toBe('Inner')
      expect(issuerOf(table, '40000060')).toBe('First')
      expect(issuerOf(table, '40000100')).toBe('Wide')
      expect(issuerOf(table, '40000899')).toBe('Wide')
      expect(issuerOf(table, '40000900')).toBe('Last')
      expect(issuerOf(table, '40000998')).toBe('Last')
      expect(issuerOf(table, '40000999')).toBe('Very last')
      expect(issuerOf(table, '40001000')).toBeUndefined()
      expect(table.find(digits('40000055'))?.country).toBeUndefined()
    }
  })

  test('a number of twelve digits is looked up like any other', () => {
    const table = parsed(file('501800,,Maestro,debit,,'))
    expect(table.find(Buffer.from('501800000009') as CardDigits)?.type).toBe('debit')
  })

  test('looking up changes nothing of the number', () => {
    const table = parsed(file('400000,,Visa,,,'))
    const number = digits('4000001234567899')
    table.find(number)
    expect(number.toString()).toBe('4000001234567899')
  })

  test('an entry cannot be changed by who got it', () => {
    expect(parsed(file('400000,,Visa,,,')).find(digits('400000'))).toSatisfy(Object.isFrozen)
  })

  test('the empty table finds nothing', () => {
    expect(EMPTY_BIN_TABLE.find(digits('400000'))).toBeUndefined()
    expect(EMPTY_BIN_TABLE.rows).toBe(0)
  })

  test('nested rows in any order are found as by looking at each', () => {
    // Nested by construction: ranges that a tree of digits has, many of them at the ends of wider ones.
    const six = fc.integer({ min: 400000, max: 400003 }).map(String)
    const more = fc.constantFrom('', '0', '1', '9', '00', '09', '10', '50', '90', '98', '99')
    const bins = fc.uniqueArray(
      fc.tuple(six, more).map((parts) => parts.join('')),
      { minLength: 1, maxLength: 44 },
    )
    fc.assert(
      fc.property(bins, (list) => {
        // Few issuers, so that neighbours are the same now and then.
        const issuer = (bin: string) => `Bank ${Number(bin) % 5}`
        const table = parsed(file(...list.map((bin) => `${bin},,,,${issuer(bin)},`)))
        for (let value = 39999990; value < 40000410; value++) {
          const prefix = String(value)
          const longest = list
            .filter((bin) => prefix.startsWith(bin))
            .sort((one, other) => other.length - one.length)[0]
          const expected = longest === undefined ? undefined : issuer(longest)
          expect(issuerOf(table, prefix)).toBe(expected)
        }
      }),
      { numRuns: 60 },
    )
  })

  test('more than 65,536 distinct entries are told apart', () => {
    const lines = Array.from({ length: 70_000 }, (_, i) => `${40_000_000 + i},,,,Bank ${i},`)
    const table = parsed(file(...lines))
    for (const i of [0, 1, 65_534, 65_535, 65_536, 69_999]) {
      expect(issuerOf(table, String(40_000_000 + i))).toBe(`Bank ${i}`)
    }
  })
})

describe('the file', () => {
  test('comments, blank lines, CRLF, a byte order mark and a last line without an end are fine', () => {
    const text = `\ufeff# about\r\n\r\n${HEADER}\r\n# 999999,,\r\n400000,,Visa,,,\r\n\r\n400001,,Visa,,,DE`
    const table = parsed(Buffer.from(text))
    expect(table.rows).toBe(2)
    expect(table.find(digits('400001'))?.country).toBe('DE')
  })

  test.each([
    ['a comma in quotes', '"Example Bank, N.A."', 'Example Bank, N.A.'],
    ['doubled quotes', '"Bank ""One"""', 'Bank "One"'],
    ['quotes around nothing much', '"x"', 'x'],
    ['letters of all languages', 'Żółty Bank 銀行', 'Żółty Bank 銀行'],
    ['quotes and other letters', '"Übersee, Bank"', 'Übersee, Bank'],
    ['100 characters', 'x'.repeat(100), 'x'.repeat(100)],
    ['100 long characters', `"${'銀'.repeat(100)}"`, '銀'.repeat(100)],
    ['100 quotes', `"${'"'.repeat(200)}"`, '"'.repeat(100)],
  ])('an issuer with %s', (_what, column, issuer) => {
    expect(issuerOf(parsed(file(`400000,,Visa,credit,${column},DE`)), '400000')).toBe(issuer)
  })

  test('a network that the product does not know may be named', () => {
    expect(parsed(file('506221,,Carnet,,,MX')).find(digits('506221'))?.network).toBe('Carnet')
  })

  test.each([
    ['five digits', '40000,,Visa,,,', 'bin_from must be 6 to 8 digits'],
    ['nine digits', '400000000,,Visa,,,', 'bin_from must be 6 to 8 digits'],
    ['a whole card number', '4242424242424242,,Visa,,,', 'bin_from must be 6 to 8 digits'],
    ['a letter', '40000x,,Visa,,,', 'bin_from must be 6 to 8 digits'],
    ['no bin_from', ',400000,Visa,,,', 'bin_from must be 6 to 8 digits'],
    ['nothing behind bin_from', '400000', 'bin_from must be 6 to 8 digits'],
    ['a short bin_to', '400000,4000,Visa,,,', 'bin_to must be 6 to 8 digits, or empty'],
    ['a letter in bin_to', '400000,40000x,Visa,,,', 'bin_to must be 6 to 8 digits, or empty'],
    ['nothing behind bin_to', '400000,400001', 'bin_to must be 6 to 8 digits, or empty'],
    [
      'two lengths',
      '400000,40000099,Visa,,,',
      'bin_from and bin_to must have as many digits as each other',
    ],
    ['a range backwards', '400001,400000,Visa,,,', 'bin_to is before bin_from'],
    ['a column less', '400000,,Visa,credit,', 'must have 6 columns'],
    ['a column more', '400000,,Visa,credit,,DE,', 'must have 6 columns'],
    [
      'a quote that stays open',
      '400000,,Visa,credit,"Bank,DE',
      'a quote is not closed, or stands inside a value',
    ],
    [
      'a quote inside',
      '400000,,Visa,credit,Ba"nk,DE',
      'a quote is not closed, or stands inside a value',
    ],
    [
      'text behind a quote',
      '400000,,Visa,credit,"Ba"nk,DE',
      'a quote is not closed, or stands inside a value',
    ],
    ['nothing said', '400000,,,,,', 'says nothing about the range'],
    ['another spelling', '400000,,VISA,,,', 'the network is written Visa'],
    ['another spelling', '340000,,americanexpress,,,', 'the network is written AmericanExpress'],
    ['two words', '340000,,American Express,,,', 'network must be one word of letters and digits'],
    [
      'a type in capitals',
      '400000,,Visa,Debit,,',
      'type must be one of credit, debit, prepaid, charge',
    ],
    ['blanks around', '400000,,Visa,, Bank,', 'issuer must be plain text without blanks around it'],
    [
      'a control character',
      '400000,,Visa,,Ba\u0007nk,',
      'issuer must be plain text without blanks around it',
    ],
    [
      '101 characters',
      `400000,,Visa,,${'x'.repeat(101)},`,
      'issuer must have at most 100 characters',
    ],
    [
      'small letters',
      '400000,,Visa,,,de',
      'country must be an ISO 3166-1 alpha-2 code in capitals',
    ],
    [
      'three letters',
      '400000,,Visa,,,DEU',
      'country must be an ISO 3166-1 alpha-2 code in capitals',
    ],
    [
      'no country at all',
      '400000,,Visa,,,ZZ',
      'country must be an ISO 3166-1 alpha-2 code in capitals',
    ],
  ])('with %s is refused: %s', (_what, line, reason) => {
    expect(problemsOf(file('510000,,Mastercard,,,', line))).toEqual([`3: ${reason}`])
  })

  test.each(['x', '"', '銀'])(
    'a value of 10 MB of %s, in quotes, is a problem of its line',
    (text) => {
      const line = `400000,,Visa,credit,"${text.repeat(10_000_000)}",DE`
      expect(problemsOf(file('510000,,Mastercard,,,', line, '400001,,Visa,,,'))).toEqual([
        '3: network, type, issuer and country must have at most 1024 bytes',
      ])
    },
  )

  test('the same range twice is refused, whether it says the same or not', () => {
    expect(problemsOf(file('400000,,Visa,,,', '510000,,,,x,', '400000,400000,Visa,,,'))).toEqual([
      '4: is the same range as line 2',
    ])
    expect(problemsOf(file('40000000,40000099,Visa,,,', '400000,,Elo,,,'))).toEqual([
      '3: is the same range as line 2',
    ])
  })

  test('ranges that overlap in part are refused', () => {
    expect(problemsOf(file('400005,400015,,,B,', '400000,400010,,,A,'))).toEqual([
      '2: overlaps line 3, and neither holds the other',
    ])
  })

  test('all problems are told at once, in the order of the lines', () => {
    const lines = [
      '400000,,Visa,,,',
      'x',
      '400000,,Visa,,,',
      '400001,,Visa,,,',
      '400002,,Visa,cash,,',
    ]
    expect(problemsOf(file(...lines))).toEqual([
      '3: bin_from must be 6 to 8 digits',
      '4: is the same range as line 2',
      '6: type must be one of credit, debit, prepaid, charge',
    ])
  })

  test('of many problems the first twenty', () => {
    const many = file(...Array.from({ length: 1000 }, () => '400000,,Visa,cash,,'))
    expect(problemsOf(many)).toHaveLength(20)
    expect(problemsOf(many).at(-1)).toMatch(/^21: /)
    expect(problemsOf(file(...Array.from({ length: 1000 }, () => '400000,,Visa,,,')))).toHaveLength(
      20,
    )
  })

  test.each([
    ['nothing', '', ['1: the file ends without a row']],
    ['a header alone', `# x\n${HEADER}\n`, ['2: the file ends without a row']],
    ['another header', 'bin,network\n400000,Visa\n', [`1: the header must be ${HEADER}`]],
    ['no header', '400000,,Visa,,,\n', [`1: the header must be ${HEADER}`]],
  ])('of %s is refused', (_what, text, problems) => {
    expect(problemsOf(Buffer.from(text))).toEqual(problems)
  })

  test('that is not UTF-8 is refused, with the lines', () => {
    const latin1 = Buffer.from(`${HEADER}\n400000,,,,Bank,\n400001,,,,Öst Bank,\n`, 'latin1')
    expect(problemsOf(latin1)).toEqual(['3: is not UTF-8'])
  })

  test('nothing of a file of card numbers stands in what is said of it', () => {
    const numbers = Buffer.from('4242424242424242\n5555555555554444\n')
    const behindHeader = file(
      '4242424242424242,,5555555555554444,378282246310005,6011111111111117,x',
    )
    for (const bytes of [numbers, behindHeader]) {
      expect(problemsOf(bytes).length).toBeGreaterThan(0)
      expect(problemsOf(bytes).join()).not.toMatch(/\d{6}/)
    }
  })

  test('countries are those that ISO 3166-1 has, and Kosovo', () => {
    const accepted: string[] = []
    for (let i = 0; i < 26 * 26; i++) {
      const code = String.fromCharCode(0x41 + Math.floor(i / 26), 0x41 + (i % 26))
      if (problemsOf(file(`400000,,,,,${code}`)).length === 0) accepted.push(code)
    }
    expect(accepted).toHaveLength(250)
    expect(accepted).toContain('XK')
    const names = new Intl.DisplayNames('en', { type: 'region', fallback: 'none' })
    expect(accepted.filter((code) => names.of(code) === undefined)).toEqual([])
  })
})

describe('the table of published test BINs', () => {
  const bytes = readFileSync(new URL('../../config/bins.csv', import.meta.url))
  const table = parsed(bytes)
  const rows = bytes
    .toString()
    .split('\n')
    .filter((line) => /^\d/.test(line))
    .map((line) => line.split(','))

  test('every row is found, and its network is what the number says itself', () => {
    expect(table.rows).toBe(rows.length)
    for (const [bin = '', , network, type = '', , country = ''] of rows) {
      const number = digits(bin)
      expect(table.find(number)).toEqual({
        network,
        type: type === '' ? undefined : type,
        issuer: undefined,
        country: country === '' ? undefined : country,
      } as BinEntry)
      expect(cardNetwork(number), bin).toBe(network)
    }
  })

  test.each([
    ['4242424242424242', { network: 'Visa', type: 'credit', country: 'US' }],
    ['4000056655665556', { network: 'Visa', type: 'debit', country: 'US' }],
    ['5105105105105100', { network: 'Mastercard', type: 'prepaid', country: 'US' }],
    ['4000002760000016', { network: 'Visa', type: undefined, country: 'DE' }],
    ['36227206271667', { network: 'DinersClub', type: undefined, country: 'US' }],
    ['5066991111111118', { network: 'Elo', type: undefined, country: 'BR' }],
  ])('%s is %j', (number, entry) => {
    expect(table.find(Buffer.from(number) as CardDigits)).toEqual({ ...entry, issuer: undefined })
  })

  test('a BIN that nobody publishes is not in it', () => {
    expect(table.find(digits('49990000'))).toBeUndefined()
  })
})
