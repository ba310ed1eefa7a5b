// What holds for every answer: the way it is cut makes no difference, lengths stay, what was masked is not found again, and
// no other code than the guard's own finds a number in what it has let pass.

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { LeakGuard, type Sensitive } from '../../../src/proxy/leak-guard/leak-guard.ts'
import {
  AMEX,
  API_KEY,
  base64,
  CODE,
  escaped,
  HASH,
  hex,
  masked,
  maskedInPieces,
  number,
  percent,
  sha256,
  text,
  VISA,
} from './sensitive.ts'

const SIGNS_KEY = 'p"s\\/w%41o+r d'
const OTHER = '4111111145551142'

const SENSITIVE: readonly (readonly Sensitive[])[] = [
  [number(VISA)],
  [number(OTHER), CODE],
  [number(AMEX), CODE, HASH],
  [HASH],
  [CODE, text(API_KEY)],
  [number(VISA), number(AMEX), CODE, HASH, text(API_KEY), text(SIGNS_KEY)],
]
const sensitive = fc.constantFrom(...SENSITIVE)

/** Any digit and separator in any spelling. */
const spelledNumber = fc
  .tuple(
    fc.constantFrom(VISA, AMEX, OTHER),
    fc.array(fc.constantFrom('', '', '', ' ', '-', '.', '+', '%20', '%2d', '\\u002E', '\\-'), {
      minLength: 1,
      maxLength: 6,
    }),
    fc.array(fc.constantFrom(0, 0, 0, 1, 2, 3), { minLength: 1, maxLength: 8 }),
  )
  .map(([digits, separators, spellings]) =>
    [...digits]
      .map((digit, at) => {
        const spelled = [digit, percent(digit), escaped(digit), `\\\\${escaped(digit)}`]
        return `${spelled[spellings[at % spellings.length] ?? 0]}${separators[at % separators.length]}`
      })
      .join(''),
  )

const FORMS = [VISA, AMEX, OTHER, API_KEY, SIGNS_KEY]
  .flatMap((value) => [
    value,
    hex(value),
    hex(value).toUpperCase(),
    base64(value, 0),
    base64(value, 1),
    base64(value, 2),
    percent(value),
    escaped(value),
    encodeURIComponent(value),
    JSON.stringify(value),
  ])
  .concat([sha256(VISA), sha256(AMEX).toUpperCase(), percent(sha256(VISA)), escaped(sha256(VISA))])

const CODES = [
  '"cvc":"123"',
  '"cvc": 123 ,',
  '\\"cvc\\":\\"123\\"',
  'cvv2=123&',
  'card%5Bcvc%5D=%31%32%33',
  '<ns:cvc>123</ns:cvc>',
  '<card cvc="4242"/>',
  '"cid":4242}',
  '"amount":123',
]

const SCRAPS = [
  ...['4', '2', '42', '123', '4242', '37', '0', '00', '1', '3', '5'],
  ...[' ', '-', '.', '+', ':', ',', '[', ']', '{', '}', '"', "'", '=', '&', '<', '>', '/', '\n'],
  ...[
    '%',
    '%3',
    '%34',
    '%4',
    '%2',
    '%25',
    '\\',
    '\\\\',
    '\\u',
    '\\u0',
    '\\u00',
    '\\u003',
    '\\u0034',
  ],
  ...['cvc', 'cvc=', '"cvc":', '<cvc>', 'sk_', 'sk_live', 'p"s', 'x', 'e', 'E5', 'a', '\xe9'],
]

const form = fc.oneof(spelledNumber, fc.constantFrom(...FORMS))
const scrap = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...SCRAPS) },
  { weight: 2, arbitrary: fc.constantFrom(...CODES) },
)
const wholeOrCut = fc.oneof(
  form,
  fc
    .tuple(form, fc.nat(), fc.nat())
    .map(([whole, from, length]) => whole.slice(from % whole.length).slice(0, length % 40)),
)
const part = fc.oneof({ weight: 5, arbitrary: scrap }, { weight: 4, arbitrary: wholeOrCut })
const body = fc.array(part, { maxLength: 12 }).map((parts) => parts.join(''))
const borders = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 10 })

const at = (cuts: readonly number[], length: number) => cuts.map((cut) => Math.floor(cut * length))

describe('the way a body is cut makes no difference', () => {
  test('at random borders', () => {
    fc.assert(
      fc.property(sensitive, body, borders, (values, whole, cuts) => {
        const pieces = maskedInPieces(values, whole, at(cuts, whole.length))

        expect(pieces).toEqual(masked(values, whole))
      }),
      { numRuns: 4000 },
    )
  })

  test('byte by byte', () => {
    fc.assert(
      fc.property(sensitive, body, (values, whole) => {
        const pieces = maskedInPieces(
          values,
          whole,
          Array.from(whole, (_, at) => at),
        )

        expect(pieces).toEqual(masked(values, whole))
      }),
      { numRuns: 1500 },
    )
  })

  test('at every border', () => {
    const whole = [...FORMS, ...CODES].join('~')
    for (const values of SENSITIVE) {
      const expected = masked(values, whole)
      expect(expected.count).toBeGreaterThan(1)
      for (let border = 0; border <= whole.length; border++) {
        expect(maskedInPieces(values, whole, [border])).toEqual(expected)
      }
    }
  })

  const widest = `cvc=${'\\\\\\\\\\\\\\u0020'.repeat(30)}123,`
  test.each([VISA, percent(VISA), escaped(VISA), widest, `"cvc": ${percent('123')} ,`])(
    'at borders of what is looked at quickly: %s',
    (found) => {
      const values = [number(VISA), CODE]
      for (let before = 16_384 - found.length - 80; before <= 16_384; before++) {
        const whole = `${'x'.repeat(before)}~${found}~${'x'.repeat(100)}`

        expect(masked(values, whole).count).toBe(1)
        expect(maskedInPieces(values, whole, [before + 1]).count).toBe(1)
      }
    },
  )

  // Long ones are not read but where a quick look says so: borders of what it looks at are borders, too.
  test('of long bodies, wherever something stands in them', () => {
    const filler = fc.constantFrom('x', '{"id":"pay_1","amount":1200},', ' ', 'a=%2F&', '4-', '\\')
    const long = fc
      .array(fc.tuple(filler, fc.integer({ min: 1, max: 20_000 }), body), {
        minLength: 1,
        maxLength: 4,
      })
      .map((parts) =>
        parts.map(([unit, length, rest]) => `${unit.repeat(length / unit.length)}${rest}`).join(''),
      )
    fc.assert(
      fc.property(sensitive, long, borders, (values, whole, cuts) => {
        const small = Array.from({ length: whole.length >> 8 }, (_, at) => at << 8)
        const expected = maskedInPieces(values, whole, small)

        expect(masked(values, whole)).toEqual(expected)
        expect(maskedInPieces(values, whole, at(cuts, whole.length))).toEqual(expected)
      }),
      { numRuns: 250 },
    )
  })
})

describe('lengths stay, and what was masked is not found again', () => {
  const expectOnce = (values: readonly Sensitive[], whole: string) => {
    const guard = new LeakGuard(values)
    const { text: out } = masked(values, whole)
    const starred = guard.maskHeader('x', whole)?.value ?? whole

    expect(out).toHaveLength(whole.length)
    // The zeros of a bare number may be found, and stay zeros.
    expect(masked(values, out).text).toBe(out)
    expect(starred).toHaveLength(whole.length)
    expect(guard.maskHeader('x', starred)).toBeUndefined()
  }

  // What goes on in letters or digits is none; if they are of another value and masked, it looks like one. So here no two
  // of them adjoin.
  const apart = fc
    .array(
      fc.oneof(
        { weight: 5, arbitrary: scrap.map((text) => ({ text, isValue: false })) },
        { weight: 4, arbitrary: wholeOrCut.map((text) => ({ text, isValue: true })) },
      ),
      { maxLength: 12 },
    )
    .map((parts) =>
      parts
        .map(({ text, isValue }, at) => (isValue && parts[at - 1]?.isValue ? `\n${text}` : text))
        .join(''),
    )

  test('of numbers, hashes and texts', () => {
    fc.assert(
      fc.property(sensitive, apart, (values, whole) =>
        expectOnce(
          values.filter(({ kind }) => kind !== 'code'),
          whole,
        ),
      ),
      { numRuns: 4000 },
    )
  })

  // A code that goes on in letters is none; if they are masked, it looks like one. So here nothing does.
  test('of codes', () => {
    fc.assert(
      fc.property(sensitive, fc.array(part, { maxLength: 12 }), (values, parts) =>
        expectOnce(values, parts.join('\n')),
      ),
      { numRuns: 2000 },
    )
  })
})

/** As it is, and without its escapes. */
const readings = (some: string) => [
  some,
  some.replaceAll(/(?:%|\\u00)([0-9a-f]{2})/gi, (_, pair) =>
    Buffer.from(pair, 'hex').toString('latin1'),
  ),
]

test('no number is left in what comes out', () => {
  const forms = [VISA, AMEX, OTHER].map((digits) => ({
    number: [number(digits)],
    expression: new RegExp([...digits].join('[ .+-]?')),
    literals: [
      hex(digits),
      ...[0, 1, 2].map((before) =>
        base64(digits, before).slice(
          Math.ceil((8 * before) / 6),
          Math.floor((8 * (before + digits.length)) / 6),
        ),
      ),
    ],
  }))
  fc.assert(
    fc.property(fc.constantFrom(...forms), body, (values, whole) => {
      const { text: out, count } = masked(values.number, whole)

      const holds = (some: string) =>
        readings(some).some(
          (reading) =>
            values.expression.test(reading) ||
            values.literals.some((literal) => reading.includes(literal)),
        )
      expect(holds(out)).toBe(false)
      if (holds(whole)) expect(count).toBeGreaterThan(0)
    }),
    { numRuns: 4000 },
  )
})

test('what holds nothing stays as it is', () => {
  const SCRAPS_WITHOUT_NAMES = SCRAPS.filter((scrap) => !scrap.includes('cvc'))
  const harmless = fc.array(
    fc.oneof(
      fc.constantFrom(
        ...SCRAPS_WITHOUT_NAMES,
        '"cvc":"12345"',
        '"cvc":"12"',
        '"amount":123',
        base64('5555555555554444', 1),
      ),
      fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
    ),
    { maxLength: 9 },
  )
  const values = [number('4111111145551142'), CODE, HASH, text(API_KEY)]
  fc.assert(
    fc.property(harmless, borders, (parts, cuts) => {
      const whole = parts.join('')

      expect(masked(values, whole)).toEqual({ text: whole, count: 0 })
      expect(maskedInPieces(values, whole, at(cuts, whole.length)).text).toBe(whole)
    }),
    { numRuns: 2000 },
  )
})

describe('hidden digits make no difference to what comes out', () => {
  const middle = fc.integer({ min: 0, max: 999_999 }).map((hidden) => `${hidden}`.padStart(6, '0'))
  const visa = middle.map((hidden) => `424242${hidden}4242`)
  const spelling = fc.constantFrom<(digits: string) => string>(
    (digits) => digits,
    (digits) => digits.replaceAll(/(....)(?=.)/g, '$1 '),
    (digits) => digits.replaceAll(/(..)(?=.)/g, '$1-'),
    (digits) => `{"n": ${digits} }`,
    (digits) => `{"n":${hex(digits)}}`,
    percent,
    escaped,
    hex,
    (digits) => base64(digits, 0),
    (digits) => base64(digits, 1),
    (digits) => base64(digits, 2),
    (digits) => Buffer.from(`>>>${digits}??`).toString('base64url'),
    (digits) => `17${digits}0`,
  )

  test('of the number that was revealed, whatever the answer is', () => {
    fc.assert(
      fc.property(visa, visa, body, borders, (one, other, whole, cuts) => {
        const echo = `${whole}~${one}~${hex(one)}~${base64(one, 1)}`

        const expected = masked([number(other)], echo)

        expect(masked([number(one)], echo)).toEqual(expected)
        expect(maskedInPieces([number(other)], echo, at(cuts, echo.length))).toEqual(expected)
      }),
      { numRuns: 2000 },
    )
  })

  test('of the numbers in the answer, in every form and however it is cut', () => {
    const echo = fc.array(fc.tuple(part, spelling), { minLength: 1, maxLength: 4 })
    fc.assert(
      fc.property(visa, visa, visa, echo, borders, (revealed, one, other, parts, cuts) => {
        const write = (digits: string) =>
          parts.map(([before, spell]) => `${before}\n\n${spell(digits)}\n\n`).join('')
        const values = [number(revealed), CODE, text(API_KEY)]

        const expected = masked(values, write(one))

        expect(expected.count).toBeGreaterThanOrEqual(parts.length)
        expect(masked(values, write(other))).toEqual(expected)
        expect(maskedInPieces(values, write(other), at(cuts, write(other).length))).toEqual(
          expected,
        )
      }),
      { numRuns: 3000 },
    )
  })

  test('nor do the digits of codes', () => {
    const codes = fc.constantFrom(...CODES.filter((some) => !some.includes('amount')))
    const digits = fc.integer({ min: 0, max: 999 }).map((some) => `${some}`.padStart(3, '0'))
    fc.assert(
      fc.property(codes, digits, part, borders, (echo, some, before, cuts) => {
        const other = `${before}\n${echo.replace('123', some)}`

        const expected = masked([CODE], `${before}\n${echo}`)

        expect(expected.count).toBeGreaterThan(0)
        expect(masked([CODE], other)).toEqual(expected)
        expect(maskedInPieces([CODE], other, at(cuts, other.length))).toEqual(expected)
      }),
      { numRuns: 2000 },
    )
  })
})

test('the quick look denies nothing that would be found', () => {
  // Of a text with such signs there are forms that cannot be looked for quickly: all is searched.
  const blind = text('\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f')
  const names = ['cvc', 'CVV2', 'Cv_Code', 'security-code', 'verification', 'cid', 'csc', 'amount']
  const between = ['', '"', "'", ' ', '\n', '+', ':', '=', '>', '<', '/>', '<![CDATA[', 'a="b"']
  const spelled = [
    '%22',
    '%3A',
    '%3d',
    '\\',
    '\\"',
    '\\:',
    '\\[',
    '\\u003e',
    '\\u0020',
    '%20',
    '\\u0063vc',
  ]
  const named = fc
    .array(fc.constantFrom(...names, ...between, ...between, ...spelled, '123', '0000', ':123,'), {
      maxLength: 14,
    })
    .map((parts) => parts.join(''))
  fc.assert(
    fc.property(sensitive, fc.oneof(named, body), fc.nat(60), (values, some, padding) => {
      const whole = `${' '.repeat(padding)}${some}`

      expect(masked(values, whole)).toEqual(masked([...values, blind], whole))
    }),
    { numRuns: 15_000 },
  )
})
