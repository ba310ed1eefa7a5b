// Numbers are the published test numbers of processors (vectors/card-numbers.json). Besides what is accepted, the
// tests hold that the buffer that came in is the only copy and ends with nothing but the digits.

import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type CardDigits,
  cardBin,
  cardNetwork,
  holdsCardNumber,
  holdsIssuedCardNumber,
  jsonHoldsCardNumber,
  lastFour,
  parseCardNumber,
  passesLuhn,
} from '../../src/core/card-number.ts'

type Vectors = {
  valid: readonly { number: string; network: string }[]
  luhn_invalid: readonly string[]
}

const vectors = JSON.parse(
  readFileSync(new URL('../vectors/card-numbers.json', import.meta.url), 'utf8'),
) as Vectors

function parse(text: string): CardDigits | undefined {
  return parseCardNumber(Buffer.from(text, 'utf8'))
}

function parsed(text: string): CardDigits {
  const digits = parse(text)
  if (digits === undefined) throw new Error('the test needs a valid number')
  return digits
}

/** Adds the one digit that makes the number pass Luhn. */
function withCheckDigit(body: string): string {
  for (let digit = 0; digit < 10; digit++) {
    if (passesLuhn(Buffer.from(`${body}${digit}`, 'latin1'))) return `${body}${digit}`
  }
  throw new Error('one of ten check digits always fits')
}

const digitString = (length: { minLength: number; maxLength: number }) =>
  fc.string({ unit: fc.constantFrom(...'0123456789'), ...length })

const VISA = '4242424242424242'

describe('parsing', () => {
  test('the vectors are there', () => {
    expect(vectors.valid.length).toBeGreaterThan(50)
    expect(vectors.luhn_invalid).toHaveLength(8)
  })

  test.each(vectors.valid)('$number is accepted as it is', ({ number }) => {
    expect(parse(number)?.toString('latin1')).toBe(number)
  })

  test.each(vectors.luhn_invalid)('%s has a wrong check digit and is refused', (number) => {
    expect(parse(number)).toBeUndefined()
  })

  test('one wrong digit anywhere is refused', () => {
    for (const { number } of vectors.valid) {
      for (let at = 0; at < number.length; at++) {
        const wrong = String((Number(number[at]) + 1) % 10)
        expect(parse(number.slice(0, at) + wrong + number.slice(at + 1))).toBeUndefined()
      }
    }
  })

  test.each([12, 13, 14, 15, 16, 17, 18, 19])('%i digits are accepted', (length) => {
    const number = withCheckDigit('4'.padEnd(length - 1, '0'))
    expect(parse(number)?.toString('latin1')).toBe(number)
  })

  test.each([1, 2, 4, 11, 20, 21, 64])('%i digits are refused', (length) => {
    expect(parse(withCheckDigit('4'.padEnd(length, '0').slice(1)))).toBeUndefined()
  })

  test.each([
    ['nothing', ''],
    ['blanks only', '    '],
    ['dashes only', '----------------'],
    ['a letter in front', `x${VISA}`],
    ['a letter behind', `${VISA}x`],
    ['a letter for a digit', '424242424242424O'],
    ['a sign', `+${VISA}`],
    ['a dot', '4242.4242.4242.4242'],
    ['a slash, the byte before 0', '4242/4242424242424'],
    ['a colon, the byte after 9', '4242:4242424242424'],
    ['a tab', '4242\t4242\t4242\t4242'],
    ['a line feed', `${VISA}\n`],
    ['a NUL', `${VISA}\0`],
    ['a blank that is not ASCII', '4242\u00a04242\u00a04242\u00a04242'],
    ['a dash that is not ASCII', '4242\u20114242\u20114242\u20114242'],
    ['full-width digits', '\uff14\uff12'.repeat(8)],
    ['Arabic-Indic digits', '\u0664\u0662'.repeat(8)],
  ])('%s is refused', (_what, text) => {
    expect(parse(text)).toBeUndefined()
  })

  test('blanks and dashes are stripped in place, and nothing of the number stays behind the digits', () => {
    const input = Buffer.from(' 4242-4242 4242--4242 ')

    const digits = parseCardNumber(input)

    expect(digits?.toString('latin1')).toBe(VISA)
    expect(digits?.buffer).toBe(input.buffer)
    expect(digits?.byteOffset).toBe(input.byteOffset)
    expect(input.toString('latin1')).toBe(VISA.padEnd(input.length, '\0'))
  })

  test('overwriting the digits leaves nothing in the buffer that came in', () => {
    const input = Buffer.from('4242 4242 4242 4242')
    parseCardNumber(input)?.fill(0)
    expect(input.every((byte) => byte === 0)).toBe(true)
  })

  test('separators anywhere never change the number that is read', () => {
    const separators = fc.string({ unit: fc.constantFrom(' ', '-'), maxLength: 3 })
    fc.assert(
      fc.property(
        digitString({ minLength: 11, maxLength: 18 }).map(withCheckDigit),
        fc.array(separators, { minLength: 20, maxLength: 20 }),
        (number, gaps) => {
          const written = [...number].map((digit, at) => gaps[at] + digit).join('') + gaps[19]
          const input = Buffer.from(written)

          expect(parseCardNumber(input)?.toString('latin1')).toBe(number)
          expect(input.subarray(number.length).every((byte) => byte === 0)).toBe(true)
        },
      ),
    )
  })

  test('any bytes are either refused or 12 to 19 digits that pass Luhn', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        const digits = parseCardNumber(Buffer.from(bytes))
        if (digits === undefined) return
        expect(digits.toString('latin1')).toMatch(/^[0-9]{12,19}$/)
        expect(passesLuhn(digits)).toBe(true)
      }),
    )
  })

  test('of ten check digits exactly one passes', () => {
    fc.assert(
      fc.property(digitString({ minLength: 11, maxLength: 18 }), (body) => {
        const passing = [...'0123456789'].filter((digit) => parse(body + digit) !== undefined)
        expect(passing).toHaveLength(1)
      }),
    )
  })
})

describe('networks', () => {
  test.each(vectors.valid)('$number is $network', ({ number, network }) => {
    expect(cardNetwork(parsed(number))).toBe(network)
  })

  // The edges of ranges that lie beside or inside another network's.
  test.each([
    ['222099', undefined],
    ['222100', 'Mastercard'],
    ['272099', 'Mastercard'],
    ['272100', undefined],
    ['510000', 'Mastercard'],
    ['559999', 'Mastercard'],
    ['340000', 'AmericanExpress'],
    ['370000', 'AmericanExpress'],
    ['300000', 'DinersClub'],
    ['305999', 'DinersClub'],
    ['360000', 'DinersClub'],
    ['390000', 'DinersClub'],
    ['352800', 'JCB'],
    ['358999', 'JCB'],
    ['352799', undefined],
    ['359000', undefined],
    ['644000', 'Discover'],
    ['649999', 'Discover'],
    ['650000', 'Discover'],
    ['652150', 'RuPay'],
    ['653149', 'RuPay'],
    ['653150', 'Discover'],
    ['508500', 'RuPay'],
    ['606985', 'RuPay'],
    ['607984', 'RuPay'],
    ['817200', 'RuPay'],
    ['817199', 'UnionPay'],
    ['820200', undefined],
    ['100000', undefined],
    ['900000', undefined],
  ])('a number of 16 digits from %s on is %s', (prefix, network) => {
    expect(cardNetwork(parsed(withCheckDigit(prefix.padEnd(15, '0'))))).toBe(network)
  })
})

describe('what may be shown', () => {
  test('the BIN is the first six digits and the last four are the last four, at every length', () => {
    for (const { number } of vectors.valid) {
      expect(cardBin(parsed(number))).toBe(number.slice(0, 6))
      expect(lastFour(parsed(number))).toBe(number.slice(-4))
    }
  })

  test('the shortest number still hides two digits', () => {
    const digits = parsed(withCheckDigit('50180000000'))
    expect(digits).toHaveLength(12)
    expect(cardBin(digits).length + lastFour(digits).length).toBe(10)
  })
})

describe('a text that holds a card number', () => {
  test.each([
    '4242424242424242',
    '4242 4242 4242 4242',
    'Ada 4242-4242-4242-4242',
    '4242 4242 4242 4242 03/35',
    '4242424242424242 0335 100',
    '0335 4242424242424242',
    '000042424242424242420000',
  ])('%s', (text) => {
    expect(holdsCardNumber(text)).toBe(true)
  })

  test.each(['Ada', '', '42424242424', '2026-11-21', '+49 30 1234567', '1234567890123'])(
    'and one that does not: %j',
    (text) => {
      expect(holdsCardNumber(text)).toBe(false)
    },
  )
})

describe('a text that holds a card number as networks issue them', () => {
  const holds = (text: string) => holdsIssuedCardNumber(Buffer.from(text))

  test.each(vectors.valid)('$number, alone and between other characters', ({ number }) => {
    expect(holds(number)).toBe(true)
    expect(holds(`tok_${number}_1`)).toBe(true)
  })

  test.each([
    '4242 4242 4242 4242',
    '3782-822463-10005',
    '4242.4242.4242.4242',
    'pm-2030-4242424242424242',
    '4242424242424242-12/34',
    '0335 4242 4242 4242 4242 100',
    '1111111111111111 4242424242424242',
  ])('%s', (text) => {
    expect(holds(text)).toBe(true)
  })

  test.each([
    ['nothing', ''],
    ['letters', 'pm_card_visa'],
    ['a wrong check digit', '4242424242424241'],
    ['digits before it', '14242424242424242'],
    ['digits behind it', '42424242424242421'],
    ['digits of no network', '9900000000000005'],
    ['a length in which Visa issues none', withCheckDigit('48329748723150')],
    ['a length in which Mastercard issues none', withCheckDigit('54671028374615')],
    ['a length in which nobody issues any', withCheckDigit('4242424242424242424')],
    ['a letter in its middle', '42424242a42424242'],
    ['two separators in its middle', '42424242  42424242'],
  ])('and one that does not: %s', (_, text) => {
    expect(holds(text)).toBe(false)
  })
})

describe('JSON that holds a card number', () => {
  test.each([
    ['a text', '4242424242424242'],
    ['groups of digits', 'card 3782-822463-10005'],
    ['a number', { a: [{ b: 4242424242424242 }] }],
    ['a name', { '4242 4242 4242 4242': null }],
    ['a text in a list in an object', { a: { b: [true, 'pan:4242424242424242'] } }],
    ['a text with an id beside it', `local_pm_${'0'.repeat(32)} 4242424242424242`],
    ['a text behind a control character', '\u00014242424242424242'],
    ['a member that is __proto__', JSON.parse('{"__proto__":"4242424242424242"}')],
  ])('%s', (_, json) => {
    expect(jsonHoldsCardNumber(json)).toBe(true)
  })

  test.each([
    ['nothing', undefined],
    ['null', null],
    ['a wrong check digit', { order: '4242424242424241' }],
    ['a longer number', { order: '142424242424242420' }],
    ['a telephone number', `+${withCheckDigit('491512345678')}`],
    ['an article number', { ean: Number(withCheckDigit('400638133393')) }],
    ['a fraction', { score: 0.4242424242424242, latitude: 37.8282246310005 }],
    ['an id of ours', 'local_pm_01a1fff4242424242424242f840371aa'],
    ['a UUID', '0191fff4-7f4d-7aaf-8aaf-f42424242424'],
    ['a UUID that looks like one', 'afafafaf-4242-4242-4242-424240371aaf'],
    ['a digest', `${'ab'.repeat(10)}4242424242424242${'cd'.repeat(14)}`],
  ])('and some that does not: %s', (_, json) => {
    expect(jsonHoldsCardNumber(json)).toBe(false)
  })

  test('is found as deep as JSON may go', () => {
    const deep = `${'['.repeat(50_000)}"4242424242424242"${']'.repeat(50_000)}`
    expect(jsonHoldsCardNumber(JSON.parse(deep))).toBe(true)
  })
})
