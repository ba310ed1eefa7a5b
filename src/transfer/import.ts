// An import: rows of another vault become customers and payment methods of a merchant, and lines of the mapping file, in
// the order of the input. It may end at any moment: what the mapping file has is done, what it has not is done again, and
// the store's uniqueness rule sees to it that nothing is there twice. Nothing here knows who stores, seals and records.

import { cardBin, lastFour } from '../core/card-number.ts'
import type { CustomerId, PaymentMethodId } from '../core/ids.ts'
import {
  type CardOfRow,
  type CustomerName,
  type CustomerOfImport,
  type CustomerOfRow,
  checkRow,
  shownId,
} from './card-row.ts'
import { type CsvHeader, checkColumns, checkNames, parseCsvHeader, parseCsvRecord } from './csv.ts'
import { inOrder } from './in-order.ts'
import type { Input } from './input.ts'
import type { Counts, MappingFile, MappingLine } from './mapping-file.ts'
import { namesOf, parseNdjsonRecord } from './ndjson.ts'
import type { Progress } from './progress.ts'
import { type RawRecord, recordBatches } from './records.ts'
import type { RejectsFile } from './rejects-file.ts'
import type { ParsedRecord, Row, RowProblem } from './row.ts'
import { TransferError } from './transfer-error.ts'

/** What an import asks of the vault, for the one merchant that it is for. */
export type ImportPorts = {
  findCustomer(named: CustomerName): Promise<CustomerId | undefined>
  /** Undefined when another has the name meanwhile, or the merchant was deleted. */
  createCustomer(named: CustomerName, details: CustomerOfImport): Promise<CustomerId | undefined>
  isMerchantThere(): Promise<boolean>
  /** Undefined when there is no such customer. */
  storeCard(
    customerId: CustomerId,
    card: CardOfRow,
  ): Promise<{ readonly id: PaymentMethodId; readonly isNew: boolean } | undefined>
  /** A keyed digest, eight characters: not even who guesses the number of a record can tell. */
  digestOf(bytes: Buffer): string
}

export type ImportOptions = {
  readonly format: 'csv' | 'ndjson'
  readonly ignoredColumns: ReadonlySet<string>
  readonly takesExpired: boolean
  readonly nowMs: number
  readonly mapping: MappingFile
  /** Told the last line of the mapping file, if it has one, when all of it is known. */
  readonly openRejects: (lastLine: number) => RejectsFile | undefined
  readonly onReject: (line: number, id: string, problem: RowProblem) => void
  readonly progress: Progress
  /** Asked between rows: those under way end, and no others begin. */
  readonly isStopped: () => boolean
}

export type ImportResult = {
  /** Of the whole input, with those that an earlier run had done. */
  readonly counts: Counts
  /** Done by an earlier run. */
  readonly known: number
  /** Whose id could be a card number and is not in the mapping file. */
  readonly withoutId: number
  readonly isComplete: boolean
}

/** Writes of one turn of the event loop share a commit: hundreds of cards cost one wait for the disk. */
const ROWS_UNDER_WAY = 512
/** Of looking for a customer and making it, while others make and delete the same one. */
const MAX_ROUNDS = 3

type Done = { readonly line: MappingLine; readonly problem: RowProblem | undefined }

/** Throws TransferError, AgeError, and what the ports throw. */
export async function importCards(
  input: Input,
  options: ImportOptions,
  ports: ImportPorts,
): Promise<ImportResult> {
  const { mapping, progress } = options
  const rules = { nowMs: options.nowMs, takesExpired: options.takesExpired }
  const earlier = mapping.lines()
  let next = earlier.next()
  let lastLine = 0
  let rejects: RejectsFile | undefined
  let rows = 0
  let known = 0
  let withoutId = 0

  const customers = customersByName(ports)
  const turns = createTurns()

  async function store(row: Row): Promise<Done> {
    const id = shownId(row)
    const { line, check } = row
    const rejected = (problem: RowProblem): Done => ({
      line: { line, id, customerId: '', paymentMethodId: '', outcome: 'rejected', check },
      problem,
    })
    try {
      const checked = checkRow(row, rules)
      if (checked.kind === 'bad') return rejected(checked.problem)
      const { card } = checked
      const customerId = await customers(card.customer)
      // The same card of the same customer twice in the input: the later row has the last word.
      const place = `${customerId}/${cardBin(card.number)}${lastFour(card.number)}`
      const stored = await turns(place, () => ports.storeCard(customerId, card))
      if (stored === undefined) {
        await expectMerchant(ports)
        return rejected({ field: 'customer_id', reason: 'not_found' })
      }
      const outcome = stored.isNew ? 'created' : 'updated'
      const paymentMethodId = stored.id
      return { line: { line, id, customerId, paymentMethodId, outcome, check }, problem: undefined }
    } finally {
      row.number?.fill(0)
    }
  }

  const work = inOrder<Done>(ROWS_UNDER_WAY, ({ line, problem }) => {
    if (problem !== undefined) {
      rejects?.append(line.line, line.id, problem)
      options.onReject(line.line, line.id, problem)
    } else if (line.id === '') {
      withoutId += 1
    }
    mapping.append(line)
    if (mapping.isWorthFlushing) flush()
  })

  /** What was rejected is on disk before the mapping file says that the row is done. */
  function flush(): void {
    rejects?.sync()
    mapping.flush()
  }

  /** Is it one that an earlier run has done? */
  function isKnown(row: Row): boolean {
    if (next.done === true) return false
    const { line, check } = next.value
    if (line !== row.line || check !== row.check) {
      throw new TransferError(
        known === 0
          ? 'The mapping file belongs to another import: of another input, of other columns or with others ignored, or for another merchant.'
          : `Line ${row.line} of the input is not what it was when it was imported. Begin a new mapping file for an input that has changed.`,
      )
    }
    lastLine = line
    known += 1
    next = earlier.next()
    return true
  }

  let isStopped = false
  const waiting: Row[] = []
  try {
    reading: for await (const batch of readRows(input, options, ports)) {
      waiting.push(...batch)
      for (const row of batch) {
        isStopped = options.isStopped()
        if (isStopped) break reading
        if (isKnown(row)) {
          row.number?.fill(0)
        } else {
          if (rows === known) rejects = options.openRejects(lastLine)
          await work.begin(() => store(row))
        }
        waiting.shift()
        rows += 1
      }
      flush()
      progress.show({ rows, share: shareOf(input) })
    }
    if (!isStopped && next.done !== true) {
      throw new TransferError('The input is shorter than it was when it was imported.')
    }
  } finally {
    for (const { number } of waiting) number?.fill(0)
    // What is under way ends, and what is stored is in the mapping file, whatever went wrong.
    try {
      await work.end()
    } finally {
      try {
        flush()
      } finally {
        rejects?.close()
      }
    }
  }
  return { counts: mapping.counts, known, withoutId, isComplete: !isStopped }
}

function shareOf({ readBytes, sizeBytes }: Input): number | undefined {
  return sizeBytes === undefined || sizeBytes === 0 ? undefined : readBytes / sizeBytes
}

/** Refuses up front what the first line shows: columns that are missing, unknown or not to be kept. */
async function* readRows(
  input: Input,
  { format, ignoredColumns }: Pick<ImportOptions, 'format' | 'ignoredColumns'>,
  { digestOf }: Pick<ImportPorts, 'digestOf'>,
): AsyncGenerator<readonly Row[], void, undefined> {
  let header: CsvHeader | undefined
  // Read otherwise it is another row, and what an earlier run has done of it is not what this one would do.
  let reading = ''
  const parse = ({ bytes }: RawRecord): ParsedRecord =>
    format === 'csv'
      ? parseCsvRecord(bytes, header ?? [])
      : parseNdjsonRecord(bytes, ignoredColumns)
  for await (const batch of recordBatches(input, format)) {
    const rows: Row[] = []
    for (const record of batch) {
      if (header === undefined) {
        header = readHeader(record.bytes, format, ignoredColumns)
        reading = JSON.stringify(format === 'csv' ? header : [...ignoredColumns].sort())
        if (format === 'csv') continue
      }
      const check = digestOf(Buffer.from(`${digestOf(record.bytes)} ${reading}`))
      rows.push({ line: record.line, check, ...parse(record) })
    }
    yield rows
  }
  if (header === undefined && format === 'csv') throw new TransferError('The input is empty.')
}

function readHeader(
  record: Buffer,
  format: 'csv' | 'ndjson',
  ignored: ReadonlySet<string>,
): CsvHeader {
  if (format === 'csv') {
    const header = parseCsvHeader(record, ignored)
    checkColumns(header)
    return header
  }
  const names = namesOf(record)
  if (names === undefined) throw new TransferError('The first line is no JSON object.')
  return checkNames(names, ignored)
}

/** Rows under way that name the same customer find or make it once. */
function customersByName(
  ports: Pick<ImportPorts, 'findCustomer' | 'createCustomer' | 'isMerchantThere'>,
): (customer: CustomerOfRow) => Promise<CustomerId> {
  const underWay = new Map<string, Promise<CustomerId>>()

  async function findOrCreate({ named, details }: CustomerOfRow): Promise<CustomerId> {
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const id = (await ports.findCustomer(named)) ?? (await ports.createCustomer(named, details))
      if (id !== undefined) return id
      await expectMerchant(ports)
    }
    throw new TransferError('A customer could neither be found nor made.')
  }

  return (customer) => {
    const name = `${customer.named.by} ${customer.named.value}`
    const known = underWay.get(name)
    if (known !== undefined) return known
    const found = findOrCreate(customer).finally(() => underWay.delete(name))
    underWay.set(name, found)
    return found
  }
}

async function expectMerchant(ports: Pick<ImportPorts, 'isMerchantThere'>): Promise<void> {
  if (await ports.isMerchantThere()) return
  throw new TransferError('The merchant was deleted meanwhile.')
}

/** Works of the same name one after the other, in the order they came in. */
function createTurns(): <T>(name: string, work: () => Promise<T>) => Promise<T> {
  const last = new Map<string, Promise<unknown>>()
  return async (name, work) => {
    const before = last.get(name)
    const mine = before === undefined ? work() : before.then(work, work)
    last.set(name, mine)
    try {
      return await mine
    } finally {
      if (last.get(name) === mine) last.delete(name)
    }
  }
}
