// Held against the examples that the SWIFT IBAN registry publishes, one per country, and against another
// implementation (ibantools): its table, and its verdict on numbers made to be right and made to be nearly right.

import fc from 'fast-check'
import {
  composeIBAN,
  getCountrySpecifications,
  ValidationErrorsIBAN,
  validateIBAN,
} from 'ibantools'
import { describe, expect, test } from 'vitest'
import {
  BBAN_STRUCTURES,
  type Iban,
  ibanCountry,
  ibanLastFour,
  ibanMask,
  parseIban,
} from '../../src/core/iban.ts'

// SWIFT IBAN registry, release 100: "IBAN electronic format example".
const PUBLISHED = `
  AD1200012030200359100100 AE070331234567890123456 AL47212110090000000235698741 AT611904300234573201
  AZ21NABZ00000000137010001944 BA391290079401028494 BE68539007547034 BG80BNBG96611020345678
  BH67BMAG00001299123456 BI4210000100010000332045181 BR1800360305000010009795493C1
  BY13NBRB3600900000002Z00AB00 CH9300762011623852957 CR05015202001026284066 CY17002001280000001200527600
  CZ6508000000192000145399 DE89370400440532013000 DJ2100010000000154000100186 DK5000400440116243
  DO28BAGR00000001212453611324 EE382200221020145685 EG380019000500000000263180002 ES9121000418450200051332
  FI2112345600000785 FK88SC123456789012 FO6264600001631634 FR1420041010050500013M02606
  GB29NWBK60161331926819 GE29NB0000000101904917 GI75NWBK000000007099453 GL8964710001000206
  GR1601101250000000012300695 GT82TRAJ01020000001210029690 HN88CABF00000000000250005469
  HR1210010051863000160 HU42117730161111101800000000 IE29AIBK93115212345678 IL620108000000099999999
  IQ98NBIQ850123456789012 IS140159260076545510730339 IT60X0542811101000000123456
  JO94CBJO0010000000000131000302 KW81CBKU0000000000001234560101 KZ86125KZT5004100100
  LB62099900000001001901229114 LC55HEMM000100010012001200023015 LI21088100002324013AA LT121000011101001000
  LU280019400644750000 LV80BANK0000435195001 LY83002048000020100120361 MC5811222000010123456789030
  MD24AG000225100013104168 ME25505000012345678951 MK07250120000058984 MN121234123456789123
  MR1300020001010000123456753 MT84MALT011000012345MTLCAST001S MU17BOMM0101101030300200000MUR
  NI45BAPR00000013000003558124 NL91ABNA0417164300 NO9386011117947 OM810180000001299123456
  PK36SCBL0000001123456702 PL61109010140000071219812874 PS92PALS000000000400123456702
  PT50000201231234567890154 QA58DOHB00001234567890ABCDEFG RO49AAAA1B31007593840000 RS35260005601001611379
  RU0304452522540817810538091310419 SA0380000000608010167519 SC18SSCB11010000000000001497USD
  SD2129010501234001 SE4550000000058398257466 SI56263300012039086 SK3112000000198742637541
  SM86U0322509800000000270100 SO211000001001000100141 ST23000100010051845310146
  SV62CENR00000000000000700025 TL380080012345678910157 TN5910006035183598478831
  TR330006100519786457841326 UA213223130000026007233566001 VA59001123000012345678
  VG96VPVG0000012345678901 XK051212012345678906 YE15CBYE0001018861234567891234`
  .trim()
  .split(/\s+/)

const STRUCTURES = Object.entries(BBAN_STRUCTURES)

function parse(text: string): Iban | undefined {
  return parseIban(Buffer.from(text, 'utf8'))
}

function parsed(text: string): Iban {
  const iban = parse(text)
  if (iban === undefined) throw new Error('the test needs a valid IBAN')
  return iban
}

/** `2!n1!a` as one letter for each place: `nna`. */
function placesOf(structure: string): string {
  return structure.replace(/(\d+)!([nac])/g, (_, count, kind) => kind.repeat(Number(count)))
}

describe('parsing', () => {
  test('the registry has an example of every country in the table, and of no other', () => {
    expect(PUBLISHED.map((iban) => iban.slice(0, 2))).toEqual(Object.keys(BBAN_STRUCTURES))
  })

  test.each(PUBLISHED)('%s is accepted, in groups of four and in small letters, too', (iban) => {
    const printed = iban.replace(/(.{4})(?=.)/g, '$1 ')
    expect(parse(iban)?.toString('latin1')).toBe(iban)
    expect(parse(printed)?.toString('latin1')).toBe(iban)
    expect(parse(printed.replaceAll(' ', '-').toLowerCase())?.toString('latin1')).toBe(iban)
  })

  test('one wrong digit anywhere is refused', () => {
    for (const iban of PUBLISHED) {
      for (let at = 2; at < iban.length; at++) {
        if (!/\d/.test(iban.charAt(at))) continue
        const wrong = (Number(iban[at]) + 1) % 10
        expect(parse(iban.slice(0, at) + wrong + iban.slice(at + 1))).toBeUndefined()
      }
    }
  })

  // Of digits: 1B and B1 both count as 111.
  test('two neighbouring digits that changed places are refused', () => {
    for (const iban of PUBLISHED) {
      for (let at = 4; at + 1 < iban.length; at++) {
        if (iban[at] === iban[at + 1] || !/^\d\d$/.test(iban.slice(at, at + 2))) continue
        const swapped = `${iban.slice(0, at)}${iban[at + 1]}${iban[at]}${iban.slice(at + 2)}`
        expect(parse(swapped)).toBeUndefined()
      }
    }
  })

  // 97 and 00, 98 and 01, 02 and 99 leave the same remainder; only the middle ones are issued.
  test.each([
    ['TN00', 'TN97'],
    ['TN01', 'TN98'],
    ['TN99', 'TN02'],
  ])('check digits %s are refused where %s are right', (wrong, right) => {
    let found = 0
    for (let account = 0; account < 200; account++) {
      const bban = String(account).padStart(20, '0')
      if (composeIBAN({ countryCode: 'TN', bban })?.slice(0, 4) !== right) continue
      found++
      expect(parse(right + bban)).toBeDefined()
      expect(parse(wrong + bban)).toBeUndefined()
    }
    expect(found).toBeGreaterThan(0)
  })

  test.each([
    ['nothing', ''],
    ['blanks only', '    '],
    ['a country alone', 'DE'],
    ['check digits and no more', 'DE89'],
    ['no country', '89370400440532013000'],
    ['a country that has no IBAN', 'US89370400440532013000'],
    ['a territory that banks under FR', 'GF4120041010050500013M02606'],
    ['letters for check digits', 'DEAA370400440532013000'],
    ['one character less', 'DE8937040044053201300'],
    ['one character more', 'DE893704004405320130000'],
    ['more than any country has', `DE89${'0'.repeat(40)}`],
    ['a dot', 'DE89.3704.0044.0532.0130.00'],
    ['a tab', 'DE89\t3704\t0044\t0532\t0130\t00'],
    ['a line feed', 'DE89370400440532013000\n'],
    ['a NUL', 'DE89370400440532013000\0'],
    ['a blank that is not ASCII', 'DE89\u00a0370400440532013000'],
    ['full-width digits', '\uff24\uff25\uff18\uff19370400440532013000'],
    ['a byte before 0', 'DE8/370400440532013000'],
    ['a byte after 9', 'DE8:370400440532013000'],
    ['a byte before A', 'NL91@BNA0417164300'],
    ['a byte after Z', 'NL91[BNA0417164300'],
    ['a byte before a', 'NL91`BNA0417164300'],
    ['a byte after z', 'NL91{BNA0417164300'],
  ])('%s is refused', (_what, text) => {
    expect(parse(text)).toBeUndefined()
  })

  test('separators are stripped in place, and nothing of the number stays behind it', () => {
    const input = Buffer.from(' de89-3704 0044--0532 0130 00 ')

    const iban = parseIban(input)

    expect(iban?.toString('latin1')).toBe('DE89370400440532013000')
    expect(iban?.buffer).toBe(input.buffer)
    expect(iban?.byteOffset).toBe(input.byteOffset)
    expect(input.toString('latin1')).toBe('DE89370400440532013000'.padEnd(input.length, '\0'))
  })

  test('overwriting the number leaves nothing in the buffer that came in', () => {
    const input = Buffer.from('DE89 3704 0044 0532 0130 00')
    parseIban(input)?.fill(0)
    expect(input.every((byte) => byte === 0)).toBe(true)
  })
})

describe('what may be shown', () => {
  test('the country, and the last four behind as many stars for every length', () => {
    expect(ibanCountry(parsed('NO93 8601 1117 947'))).toBe('NO')
    expect(ibanLastFour(parsed('NO93 8601 1117 947'))).toBe('7947')
    expect(ibanMask(parsed('NO93 8601 1117 947'))).toBe('NO****7947')
    expect(ibanMask(parsed('MT84MALT011000012345MTLCAST001S'))).toBe('MT****001S')
  })
})

describe('beside ibantools', () => {
  const specifications = getCountrySpecifications()

  // Countries that ibantools takes numbers of. Those banks print account numbers in the form of an IBAN, and the
  // registry does not know the form.
  const NOT_REGISTERED = 'AO BF BJ CF CG CI CM CV DZ GA GQ GW IR KM MA MG ML MZ NE SN TD TG'.split(
    ' ',
  )
  // Their accounts have IBANs of FR and FI; numbers that begin with their own letters are not issued.
  const TERRITORIES = 'AX BL GF GP MF MQ NC PF PM RE TF WF YT'.split(' ')

  // Where the characters that may stand in the BBAN differ; ours is what release 100 of the registry has.
  const OTHER_STRUCTURES = [
    ['BY', 'the bank identifier is letters and digits'],
    ['DO', 'the bank identifier is letters and digits'],
    ['GE', 'the bank identifier is letters only'],
    ['IE', 'the bank identifier is letters only'],
    ['PK', 'the bank identifier is letters only, the account letters and digits'],
    ['PS', 'the bank identifier is letters only, the account letters and digits'],
    ['TR', 'the reserved place is a digit'],
    ['VG', 'the bank identifier is letters only'],
  ] as const
  const sameStructures = STRUCTURES.filter(([country]) =>
    OTHER_STRUCTURES.every(([other]) => other !== country),
  )

  function regexpOf(structure: string): string {
    const set = { n: '[0-9]', a: '[A-Z]', c: '[A-Z0-9]' }
    return [...placesOf(structure)].map((kind) => set[kind as keyof typeof set]).join('')
  }

  /** Written out place by place: `^[0-9]{2}` as `[0-9][0-9]`. */
  function writtenOut(regexp: string | null): string | undefined {
    return regexp
      ?.replaceAll(/[\^$]/g, '')
      .replaceAll('[0-9A-Z]', '[A-Z0-9]')
      .replaceAll(/(\[[^\]]+\])\{(\d+)\}/g, (_, set, count) => set.repeat(Number(count)))
  }

  test('the same countries, but for those that are not in the registry', () => {
    const theirs = Object.keys(specifications).filter(
      (country) => specifications[country]?.chars != null,
    )
    const missing = theirs.filter((country) => !(country in BBAN_STRUCTURES))
    expect(missing.sort()).toEqual([...NOT_REGISTERED, ...TERRITORIES].sort())
    expect(Object.keys(BBAN_STRUCTURES).filter((country) => !theirs.includes(country))).toEqual([])
  })

  test.each(STRUCTURES)('%s has the same length', (country, structure) => {
    expect(4 + placesOf(structure).length).toBe(specifications[country]?.chars)
  })

  test.each(sameStructures)('%s has the same structure', (country, structure) => {
    expect(regexpOf(structure)).toBe(writtenOut(specifications[country]?.bban_regexp ?? null))
  })

  test.each(OTHER_STRUCTURES)('%s differs: %s', (country) => {
    expect(regexpOf(BBAN_STRUCTURES[country])).not.toBe(
      writtenOut(specifications[country]?.bban_regexp ?? null),
    )
  })

  const DIGITS = '0123456789'
  const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'
  const setOf = { n: DIGITS, a: LETTERS, c: DIGITS + LETTERS }

  /** A number of the country with right check digits, by ibantools. */
  const composed = ([country, structure]: readonly [string, string]): fc.Arbitrary<string> =>
    fc
      .tuple(
        ...[...placesOf(structure)].map((kind) =>
          fc.constantFrom(...setOf[kind as keyof typeof setOf]),
        ),
      )
      .map((characters) => {
        const iban = composeIBAN({ countryCode: country, bban: characters.join('') })
        if (iban === null) throw new Error('ibantools refuses the structure')
        return iban
      })

  /** Check digits inside the BBAN are not looked at here, and are there. */
  function acceptsTheirs(iban: string): boolean {
    return validateIBAN(iban).errorCodes.every(
      (code) => code === ValidationErrorsIBAN.WrongAccountBankBranchChecksum,
    )
  }

  test('what it composes is accepted as it is', () => {
    fc.assert(
      fc.property(fc.constantFrom(...sameStructures).chain(composed), (iban) => {
        expect(parse(iban)?.toString('latin1')).toBe(iban)
      }),
      { numRuns: 2000 },
    )
  })

  test('both say the same of a number that was altered', () => {
    const anything = fc.constantFrom(...DIGITS, ...LETTERS, '')
    let accepted = 0
    fc.assert(
      fc.property(
        fc.constantFrom(...sameStructures).chain(composed),
        fc.array(fc.tuple(fc.nat(), anything), { maxLength: 2 }),
        (iban, changes) => {
          const altered = changes.reduce((text, [where, what]) => {
            const at = where % text.length
            return text.slice(0, at) + what + text.slice(at + 1)
          }, iban)
          expect(parse(altered) !== undefined).toBe(acceptsTheirs(altered))
          if (parse(altered) !== undefined) accepted++
        },
      ),
      { numRuns: 5000 },
    )
    expect(accepted).toBeGreaterThan(500)
    expect(accepted).toBeLessThan(4500)
  })

  test('both say the same of each pair of check digits', () => {
    for (const iban of PUBLISHED) {
      if (OTHER_STRUCTURES.some(([country]) => iban.startsWith(country))) continue
      for (let pair = 0; pair < 100; pair++) {
        const text = iban.slice(0, 2) + String(pair).padStart(2, '0') + iban.slice(4)
        expect(parse(text) !== undefined, text).toBe(acceptsTheirs(text))
      }
    }
  })
})
