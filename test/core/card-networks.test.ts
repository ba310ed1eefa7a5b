// Our table of networks beside a maintained one (credit-card-type, of Braintree), prefix by prefix. Where they differ
// stands here with the reason: another difference is a mistake of one of them, or news.

import creditCardType from 'credit-card-type'
import { expect, test } from 'vitest'
import {
  type CardDigits,
  type CardNetwork,
  cardNetwork,
  NETWORK_LENGTHS,
} from '../../src/core/card-number.ts'

const THEIR_NAMES: Readonly<Record<string, CardNetwork>> = {
  'american-express': 'AmericanExpress',
  'diners-club': 'DinersClub',
  discover: 'Discover',
  elo: 'Elo',
  hiper: 'Hiper',
  hipercard: 'Hipercard',
  jcb: 'JCB',
  maestro: 'Maestro',
  mastercard: 'Mastercard',
  mir: 'Mir',
  naranja: 'Naranja',
  troy: 'Troy',
  unionpay: 'UnionPay',
  verve: 'Verve',
  visa: 'Visa',
}

type Difference = {
  readonly ours: CardNetwork | undefined
  readonly theirs: CardNetwork | undefined
  /** Of six digits, inclusive. */
  readonly prefixes: string
  readonly why: string
}

const CATCH_ALL = 'theirs calls all of 6 Maestro that it has no other name for'
const ONE_UNIONPAY = 'theirs leaves gaps in 62, which is UnionPay from end to end'
const NO_RUPAY = 'theirs does not know RuPay'
const CO_BRAND = 'a card of Naranja that runs on the rails of another network'

const DIFFERENCES: readonly Difference[] = [
  { ours: 'Maestro', theirs: undefined, prefixes: '060400-060499', why: 'in older Maestro lists' },
  { ours: undefined, theirs: 'JCB', prefixes: '180000-180099', why: 'of 15 digits, retired' },
  { ours: undefined, theirs: 'JCB', prefixes: '213100-213199', why: 'of 15 digits, retired' },
  {
    ours: 'DinersClub',
    theirs: undefined,
    prefixes: '309500-309599',
    why: 'in the IIN ranges that Discover publishes for Diners Club International',
  },
  { ours: 'Visa', theirs: 'Naranja', prefixes: '402918', why: CO_BRAND },
  { ours: 'Visa', theirs: 'Maestro', prefixes: '493698', why: 'was Switch, which has ended' },
  { ours: 'RuPay', theirs: 'Maestro', prefixes: '508500-508999', why: NO_RUPAY },
  { ours: 'Mastercard', theirs: 'Naranja', prefixes: '527572', why: CO_BRAND },
  {
    ours: undefined,
    theirs: 'Maestro',
    prefixes: '590000-599999',
    why: 'theirs has 59 as Maestro',
  },
  { ours: undefined, theirs: 'Maestro', prefixes: '600000-601099', why: CATCH_ALL },
  { ours: undefined, theirs: 'Maestro', prefixes: '601200-606281', why: CATCH_ALL },
  { ours: undefined, theirs: 'Maestro', prefixes: '606283-606984', why: CATCH_ALL },
  { ours: 'RuPay', theirs: 'Maestro', prefixes: '606985-607984', why: NO_RUPAY },
  { ours: undefined, theirs: 'Maestro', prefixes: '607985-608000', why: CATCH_ALL },
  { ours: 'RuPay', theirs: 'Maestro', prefixes: '608001-608500', why: NO_RUPAY },
  { ours: undefined, theirs: 'Maestro', prefixes: '608501-619999', why: CATCH_ALL },
  { ours: 'UnionPay', theirs: 'Maestro', prefixes: '621830-621839', why: ONE_UNIONPAY },
  { ours: 'UnionPay', theirs: 'Maestro', prefixes: '621980-621999', why: ONE_UNIONPAY },
  { ours: 'UnionPay', theirs: 'Maestro', prefixes: '627100-627199', why: ONE_UNIONPAY },
  { ours: 'UnionPay', theirs: 'Maestro', prefixes: '627300-627599', why: ONE_UNIONPAY },
  { ours: 'UnionPay', theirs: 'Maestro', prefixes: '627800-628199', why: ONE_UNIONPAY },
  { ours: 'UnionPay', theirs: 'Maestro', prefixes: '629000-629099', why: ONE_UNIONPAY },
  { ours: 'UnionPay', theirs: 'Maestro', prefixes: '629300-629999', why: ONE_UNIONPAY },
  { ours: undefined, theirs: 'Maestro', prefixes: '640000-643999', why: CATCH_ALL },
  { ours: 'RuPay', theirs: 'Discover', prefixes: '652150-653149', why: NO_RUPAY },
  { ours: undefined, theirs: 'Maestro', prefixes: '660000-669999', why: CATCH_ALL },
  { ours: undefined, theirs: 'Maestro', prefixes: '680000-699999', why: CATCH_ALL },
  { ours: 'RuPay', theirs: undefined, prefixes: '817200-820199', why: NO_RUPAY },
]

/** Lengths that only one of the tables has; ours decide what is refused where it looks like a whole number. */
const LENGTH_DIFFERENCES: Readonly<
  Partial<Record<CardNetwork, { ours: readonly number[]; theirs: readonly number[]; why: string }>>
> = {
  Visa: { ours: [13], theirs: [], why: 'the first Visa cards; Authorize.Net still tests with one' },
  Maestro: {
    ours: [],
    theirs: [14, 15, 17],
    why: 'seldom or never issued; Visa transaction ids have 15',
  },
  UnionPay: { ours: [], theirs: [14, 15], why: 'never seen; Visa transaction ids have 15' },
}

function ours(prefix: string): CardNetwork | undefined {
  return cardNetwork(Buffer.from(prefix.padEnd(16, '0')) as CardDigits)
}

/** Several: theirs has to see more digits. */
function theirs(prefix: string): readonly (CardNetwork | undefined)[] {
  return creditCardType(prefix).map(({ type }) => THEIR_NAMES[type])
}

const written = (value: number, digits: number) => String(value).padStart(digits, '0')

test('both know the same networks, but for RuPay', () => {
  const theirNetworks = Object.values(creditCardType.types).map((type) => THEIR_NAMES[type])
  expect(new Set([...theirNetworks, 'RuPay'])).toEqual(new Set(Object.keys(NETWORK_LENGTHS)))
})

test('all prefixes of six digits are of the same network, but for those in the table', () => {
  type Run = { ours: CardNetwork | undefined; theirs: CardNetwork | undefined; at: number[] }
  const runs: Run[] = []
  const eightDigitDifferences: string[] = []
  for (let value = 0; value < 1_000_000; value++) {
    const prefix = written(value, 6)
    const names = theirs(prefix)
    if (names.length > 1) {
      for (let more = 0; more < 100; more++) {
        const longer = prefix + written(more, 2)
        const [name, ...others] = theirs(longer)
        if (others.length > 0 || name !== ours(longer)) eightDigitDifferences.push(longer)
      }
    } else if (names[0] !== ours(prefix)) {
      const last = runs.at(-1)
      const [one, other] = [ours(prefix), names[0]]
      // Runs end where the first digits change, as reasons do.
      const goesOn = last?.at.at(-1) === value - 1 && value % 100_000 !== 0
      if (last !== undefined && goesOn && last.ours === one && last.theirs === other) {
        last.at.push(value)
      } else {
        runs.push({ ours: one, theirs: other, at: [value] })
      }
    }
  }
  const found = runs.map(({ at, ...networks }) => {
    const [first = 0, last = 0] = [at[0], at.at(-1)]
    const prefixes = first === last ? written(first, 6) : `${written(first, 6)}-${written(last, 6)}`
    return { ...networks, prefixes }
  })
  expect(found).toEqual(DIFFERENCES.map(({ why: _, ...difference }) => difference))
  expect(eightDigitDifferences).toEqual([])
})

test.each(Object.entries(THEIR_NAMES))('%s: numbers of the same lengths', (type, network) => {
  const known = LENGTH_DIFFERENCES[network] ?? { ours: [], theirs: [] }
  const lengths = creditCardType.getTypeInfo(type).lengths
  const own = NETWORK_LENGTHS[network]
  expect(own.filter((length) => !lengths.includes(length))).toEqual(known.ours)
  expect(lengths.filter((length) => !own.includes(length))).toEqual(known.theirs)
})
