// Who issued a card, by the first six to eight digits of its number (BIN; ISO/IEC 7812-1 "issuer identification
// number"). The data is a file: an installation brings a table it has licensed, config/bins.csv holds published test
// BINs only.
//
// The file is CSV (RFC 4180, UTF-8, LF or CRLF), at most 20 million rows, in any order. Blank lines and lines that
// begin with # are comments. The first other line is the header, exactly
//
//   bin_from,bin_to,network,type,issuer,country
//
//   bin_from, bin_to   6 to 8 digits, both of one length, inclusive; an empty bin_to is the same as bin_from.
//                      400000,400001 covers 40000000 to 40000199.
//   network            as `card_network` is written everywhere: Visa, Mastercard, AmericanExpress, ...; a network that
//                      the product does not know itself may be named, too, as one word of letters and digits.
//   type               credit, debit, prepaid or charge.
//   issuer             name of the issuer, at most 100 characters, in quotes if it holds a comma.
//   country            ISO 3166-1 alpha-2, and XK.
//
// Any of the last four may be empty, not all. Where one range holds another the narrower wins, whole: nothing of the
// wider one shines through. The same range twice, or two ranges that overlap in part, is a mistake of the file. A file
// with a mistake is refused as a whole: a table that is right in parts would be wrong where nobody looks.

import { isUtf8 } from 'node:buffer'
import { type CardDigits, NETWORK_LENGTHS } from '../core/card-number.ts'

const CARD_TYPES = ['credit', 'debit', 'prepaid', 'charge'] as const

export type CardType = (typeof CARD_TYPES)[number]

/** What is known of the cards under a BIN; undefined: the file does not say. */
export type BinEntry = {
  readonly network: string | undefined
  readonly type: CardType | undefined
  readonly issuer: string | undefined
  readonly country: string | undefined
}

export type BinTable = {
  /** Rows of the file. */
  readonly rows: number
  /** Nothing of the number is kept, and no string is made of it. */
  readonly find: (digits: CardDigits) => BinEntry | undefined
}

/** Lines count from 1. Reasons are fixed texts: whoever names the wrong file does not find its content in a log. */
export type BinProblem = { readonly line: number; readonly reason: string }

export type ParsedBinTable =
  | { readonly kind: 'ok'; readonly table: BinTable }
  /** In the order of the lines, the first 20. */
  | { readonly kind: 'bad'; readonly problems: readonly BinProblem[] }

export const EMPTY_BIN_TABLE: BinTable = { rows: 0, find: () => undefined }

const HEADER = 'bin_from,bin_to,network,type,issuer,country'
const MIN_BIN_DIGITS = 6
const MAX_BIN_DIGITS = 8
const MAX_ROWS = 20_000_000
const MAX_PROBLEMS = 20
const MAX_ISSUER_CHARACTERS = 100
/** Of what a row says of its range: more than the longest that is right, and few enough for a regular expression. */
const MAX_ENTRY_BYTES = 1024
const NETWORK_NAME = /^[A-Za-z][A-Za-z0-9]{0,31}$/
const CONTROL_CHARACTER = /\p{Cc}/u

const COUNTRIES = new Set(
  `AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA
  CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB
  GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG
  KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV
  MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA RE RO RS RU RW SA SB
  SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US
  UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW`.split(/\s+/),
)

// Our own networks by their names without case: `VISA` in a file is a slip that would make two networks of one.
const OWN_NETWORKS = new Map(Object.keys(NETWORK_LENGTHS).map((name) => [name.toLowerCase(), name]))

const LF = 0x0a
const CR = 0x0d
const HASH = 0x23
const COMMA = 0x2c
const ZERO = 0x30
const NINE = 0x39
const NO_ENTRY = 0

/** Ranges of the file, on eight digits, in the order of its lines; `entries` are places in the list of entries. */
type Ranges = {
  count: number
  readonly from: Uint32Array
  readonly to: Uint32Array
  readonly entries: Uint32Array
  readonly lines: Uint32Array
}

/**
 * A million rows take about 13 MB afterwards, 50 more while they are read, and a second that is not interrupted: for the
 * start, not for a request. Equal (network, type, issuer, country) are kept once.
 */
export function parseBinTable(bytes: Buffer): ParsedBinTable {
  const problems: BinProblem[] = []
  const entries = new EntryList()
  const ranges = readRows(bytes, entries, problems)
  const order = sortedOrder(ranges)
  findOverlaps(ranges, order, problems)
  if (problems.length > 0) {
    problems.sort((one, other) => one.line - other.line)
    return { kind: 'bad', problems: problems.slice(0, MAX_PROBLEMS) }
  }
  const list = entries.all()
  const pieces = cutIntoPieces(ranges, order, list.length)
  return { kind: 'ok', table: createTable(ranges.count, pieces, list) }
}

function readRows(bytes: Buffer, entries: EntryList, problems: BinProblem[]): Ranges {
  const ranges = emptyRanges(countLines(bytes))
  const isText = isUtf8(bytes)
  let isHeaderSeen = false
  let line = 0
  let start = bytes.indexOf('\ufeff') === 0 ? 3 : 0
  while (start < bytes.length && problems.length < MAX_PROBLEMS) {
    line++
    const lineFeed = bytes.indexOf(LF, start)
    const next = lineFeed === -1 ? bytes.length : lineFeed + 1
    let end = lineFeed === -1 ? bytes.length : lineFeed
    if (end > start && bytes[end - 1] === CR) end--
    const first = start
    start = next
    if (first === end || bytes[first] === HASH) continue
    if (!isText && !isUtf8(bytes.subarray(first, end))) {
      problems.push({ line, reason: 'is not UTF-8' })
    } else if (!isHeaderSeen) {
      // Without the right columns every row would be wrong, too.
      if (bytes.toString('utf8', first, end) !== HEADER) {
        problems.push({ line, reason: `the header must be ${HEADER}` })
        return ranges
      }
      isHeaderSeen = true
    } else if (ranges.count === MAX_ROWS) {
      problems.push({ line, reason: `more than ${MAX_ROWS} rows` })
      return ranges
    } else {
      const reason = readRow(bytes, first, end, line, ranges, entries)
      if (reason !== undefined) problems.push({ line, reason })
    }
  }
  if (ranges.count === 0 && problems.length === 0) {
    // Cut off, or not the file that was meant.
    problems.push({ line: Math.max(line, 1), reason: 'the file ends without a row' })
  }
  return ranges
}

function readRow(
  bytes: Buffer,
  start: number,
  end: number,
  line: number,
  ranges: Ranges,
  entries: EntryList,
): string | undefined {
  const fromEnd = endOfDigits(bytes, start, end)
  const fromDigits = fromEnd - start
  if (!isBinLength(fromDigits) || bytes[fromEnd] !== COMMA || fromEnd === end)
    return 'bin_from must be 6 to 8 digits'
  const toStart = fromEnd + 1
  const toEnd = endOfDigits(bytes, toStart, end)
  const toDigits = toEnd - toStart
  if ((toDigits > 0 && !isBinLength(toDigits)) || toEnd === end || bytes[toEnd] !== COMMA)
    return 'bin_to must be 6 to 8 digits, or empty'
  if (toDigits > 0 && toDigits !== fromDigits)
    return 'bin_from and bin_to must have as many digits as each other'
  const unit = 10 ** (MAX_BIN_DIGITS - fromDigits)
  const from = numberIn(bytes, start, fromEnd)
  const to = toDigits === 0 ? from : numberIn(bytes, toStart, toEnd)
  if (to < from) return 'bin_to is before bin_from'
  const entry = entries.place(bytes, toEnd + 1, end)
  if (typeof entry === 'string') return entry
  const at = ranges.count++
  ranges.from[at] = from * unit
  ranges.to[at] = (to + 1) * unit - 1
  ranges.entries[at] = entry
  ranges.lines[at] = line
  return undefined
}

/** The distinct entries of a file. Rows repeat few of them, so that only the first of its kind is looked at closely. */
class EntryList {
  readonly #places = new Map<string, number | string>()
  readonly #entries: (BinEntry | undefined)[] = [undefined] // place 0 is NO_ENTRY

  /** A place in the list, or what is wrong with these columns. */
  place(bytes: Buffer, start: number, end: number): number | string {
    if (end - start > MAX_ENTRY_BYTES)
      return `network, type, issuer and country must have at most ${MAX_ENTRY_BYTES} bytes`
    const columns = bytes.toString('latin1', start, end)
    const known = this.#places.get(columns)
    if (known !== undefined) return known
    const entry = parseEntry(bytes.toString('utf8', start, end))
    const place = typeof entry === 'string' ? entry : this.#entries.push(entry) - 1
    this.#places.set(columns, place)
    return place
  }

  all(): readonly (BinEntry | undefined)[] {
    return this.#entries
  }
}

function parseEntry(columns: string): BinEntry | string {
  const fields = csvFields(columns)
  if (fields === undefined) return 'a quote is not closed, or stands inside a value'
  if (fields.length !== 4) return `must have ${HEADER.split(',').length} columns`
  const [network = '', type = '', issuer = '', country = ''] = fields
  if (!fields.some((field) => field !== '')) return 'says nothing about the range'
  const own = OWN_NETWORKS.get(network.toLowerCase())
  if (own !== undefined && own !== network) return `the network is written ${own}`
  if (network !== '' && !NETWORK_NAME.test(network))
    return 'network must be one word of letters and digits'
  if (type !== '' && !isCardType(type)) return `type must be one of ${CARD_TYPES.join(', ')}`
  if (issuer !== issuer.trim() || CONTROL_CHARACTER.test(issuer))
    return 'issuer must be plain text without blanks around it'
  if (issuer.length > MAX_ISSUER_CHARACTERS)
    return `issuer must have at most ${MAX_ISSUER_CHARACTERS} characters`
  if (country !== '' && !COUNTRIES.has(country))
    return 'country must be an ISO 3166-1 alpha-2 code in capitals'
  return Object.freeze({
    network: network === '' ? undefined : network,
    type: type === '' ? undefined : type,
    issuer: issuer === '' ? undefined : issuer,
    country: country === '' ? undefined : country,
  })
}

function isCardType(text: string): text is CardType {
  return CARD_TYPES.some((type) => type === text)
}

/** RFC 4180 within one line; undefined when its quotes do not add up. */
function csvFields(line: string): string[] | undefined {
  const fields: string[] = []
  let rest = line
  for (;;) {
    const quoted = /^"((?:[^"]|"")*)"(?=,|$)/.exec(rest)
    const value = quoted?.[0] ?? /^[^,]*/.exec(rest)?.[0] ?? ''
    if (quoted === null && value.includes('"')) return undefined
    fields.push(quoted?.[1]?.replaceAll('""', '"') ?? value)
    if (value.length === rest.length) return fields
    rest = rest.slice(value.length + 1)
  }
}

/**
 * Places of the ranges by where they begin, of two that begin together the wider first. Sorted as numbers that hold
 * both, the eight digits (27 bits) and the place (25 bits).
 */
function sortedOrder(ranges: Ranges): Uint32Array {
  const keys = new Float64Array(ranges.count)
  const places = 2 ** 25
  for (let i = 0; i < ranges.count; i++) keys[i] = (ranges.from[i] as number) * places + i
  keys.sort()
  const order = Uint32Array.from(keys, (key) => key % places)
  for (let i = 0; i < order.length; ) {
    const from = ranges.from[order[i] as number]
    let end = i + 1
    while (end < order.length && ranges.from[order[end] as number] === from) end++
    if (end - i > 1) {
      const to = (place: number) => ranges.to[place] as number
      order.subarray(i, end).sort((one, other) => to(other) - to(one) || one - other)
    }
    i = end
  }
  return order
}

function findOverlaps(ranges: Ranges, order: Uint32Array, problems: BinProblem[]): void {
  const open: number[] = []
  for (const place of order) {
    if (problems.length === MAX_PROBLEMS) return
    const [from, to] = [ranges.from[place] as number, ranges.to[place] as number]
    while (open.length > 0 && (ranges.to[open.at(-1) as number] as number) < from) open.pop()
    const around = open.at(-1)
    open.push(place)
    if (around === undefined) continue
    const line = ranges.lines[place] as number
    const other = ranges.lines[around] as number
    if (ranges.from[around] === from && ranges.to[around] === to) {
      problems.push({ line, reason: `is the same range as line ${other}` })
    } else if ((ranges.to[around] as number) < to) {
      problems.push({ line, reason: `overlaps line ${other}, and neither holds the other` })
    }
  }
}

/** What the numbers are under from `starts[i]` up to the next: a place in the list of entries, or none. */
type Pieces = { readonly starts: Uint32Array; readonly entries: Uint16Array | Uint32Array }

/** Cuts nested ranges into pieces that do not overlap: a look-up is one binary search over where they begin. */
function cutIntoPieces(ranges: Ranges, order: Uint32Array, distinctEntries: number): Pieces {
  const starts = new Uint32Array(2 * order.length)
  const entries = new Uint32Array(2 * order.length)
  let count = 0
  const begin = (at: number, entry: number) => {
    if (count > 0 && starts[count - 1] === at) count-- // an empty piece
    if (count > 0 ? entries[count - 1] === entry : entry === NO_ENTRY) return
    starts[count] = at
    entries[count++] = entry
  }
  const open: number[] = []
  const closeBefore = (from: number) => {
    for (let last = open.at(-1); last !== undefined; last = open.at(-1)) {
      const to = ranges.to[last] as number
      if (to >= from) return
      open.pop()
      const around = open.at(-1)
      begin(to + 1, around === undefined ? NO_ENTRY : (ranges.entries[around] as number))
    }
  }
  for (const place of order) {
    closeBefore(ranges.from[place] as number)
    begin(ranges.from[place] as number, ranges.entries[place] as number)
    open.push(place)
  }
  closeBefore(Number.POSITIVE_INFINITY)
  // Copies, of the length and width that is needed.
  const used = entries.subarray(0, count)
  return {
    starts: starts.slice(0, count),
    entries: distinctEntries <= 2 ** 16 ? Uint16Array.from(used) : used.slice(),
  }
}

/** Apart from `cutIntoPieces`: a function keeps alive all that its neighbours use, the ranges with it. */
function createTable(
  rows: number,
  { starts, entries }: Pieces,
  list: readonly (BinEntry | undefined)[],
): BinTable {
  return {
    rows,
    find: (digits) => {
      const prefix = numberIn(digits, 0, MAX_BIN_DIGITS)
      let [low, high] = [0, starts.length]
      while (low < high) {
        const middle = (low + high) >>> 1
        if ((starts[middle] as number) <= prefix) low = middle + 1
        else high = middle
      }
      return low === 0 ? undefined : list[entries[low - 1] as number]
    },
  }
}

function emptyRanges(lines: number): Ranges {
  return {
    count: 0,
    from: new Uint32Array(lines),
    to: new Uint32Array(lines),
    entries: new Uint32Array(lines),
    lines: new Uint32Array(lines),
  }
}

function countLines(bytes: Buffer): number {
  let lines = 1
  for (let at = bytes.indexOf(LF); at !== -1; at = bytes.indexOf(LF, at + 1)) lines++
  return lines
}

function endOfDigits(bytes: Uint8Array, start: number, end: number): number {
  let at = start
  while (at < end && (bytes[at] as number) >= ZERO && (bytes[at] as number) <= NINE) at++
  return at
}

function isBinLength(digits: number): boolean {
  return digits >= MIN_BIN_DIGITS && digits <= MAX_BIN_DIGITS
}

function numberIn(bytes: Uint8Array, start: number, end: number): number {
  let value = 0
  for (let i = start; i < end; i++) value = value * 10 + ((bytes[i] as number) - ZERO)
  return value
}
