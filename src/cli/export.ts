// `sallyport export`: the cards of a merchant for another vault, encrypted to its key. Two admin keys have to agree, and
// the audit trail names both before anything is opened.

import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { createAuthenticate } from '../access/authenticate.ts'
import { ExportParties } from '../audit/event.ts'
import type { Config } from '../config.ts'
import { hasField, STORED_FIELDS } from '../core/card-fields.ts'
import { monotonic } from '../core/clock.ts'
import { AppError } from '../core/errors.ts'
import { type CustomerId, type KeyId, type MerchantId, parseCustomerId } from '../core/ids.ts'
import { AgeWriter } from '../crypto/age.ts'
import { type DescribedCard, type ExportPorts, exportCards } from '../transfer/export.ts'
import { createProgress, grouped, SILENT } from '../transfer/progress.ts'
import { TransferError } from '../transfer/transfer-error.ts'
import type { Customer } from '../vault/customers/customers.ts'
import { createReveal } from '../vault/reveal.ts'
import { readBinTable } from './open-parts.ts'
import { type Terminal, UsageError } from './terminal.ts'
import {
  featuresOf,
  findMerchant,
  openTransferParts,
  orUnreadable,
  recordOrStop,
  stopAsked,
  type TransferParts,
} from './transfer-parts.ts'

const HELP = `Usage: sallyport export --recipient age1... --out FILE [options]

Writes the cards of a merchant for another vault: NDJSON in the columns that import takes, encrypted with age while it
is made. Verification codes and one-time tokens of wallets are not among them. FILE appears when it is whole, and is
never replaced.

It takes two different API keys with the scope admin, of the installation or of the merchant: from files, or asked for
at the terminal. Not from arguments or variables, which other processes can read. A key that is bound to networks
counts where 127.0.0.1 is in them.

  --recipient age1...       public key of who may read it; several, each of whom may (required)
  --out FILE                (required)
  --admin-key-file FILE     a file that holds one of the keys; say it twice
  --merchant ID             whose cards they are; not needed where there is one merchant
  --quiet                   no progress
  --config FILE             settings of the installation

Exit code: 0 the file is whole, 1 there is none.
`

const OPTIONS = {
  recipient: { type: 'string', multiple: true, default: [] as string[] },
  out: { type: 'string' },
  'admin-key-file': { type: 'string', multiple: true, default: [] as string[] },
  merchant: { type: 'string' },
  quiet: { type: 'boolean', default: false },
  config: { type: 'string' },
  help: { type: 'boolean', short: 'h', default: false },
} as const

/** The exit code. Throws UsageError, StartError, TransferError, AgeError. */
export async function exportCommand(
  args: readonly string[],
  readConfig: (file: string | undefined) => Config,
  terminal: Terminal,
): Promise<number> {
  const { values } = parseArgs({ args: [...args], options: OPTIONS })
  if (values.help) {
    terminal.print(HELP)
    return 0
  }
  const { out, recipient: recipients, 'admin-key-file': keyFiles } = values
  if (out === undefined) throw new UsageError('export', 'Name the file (--out).')
  if (recipients.length === 0) {
    throw new UsageError('export', 'Say who may read it (--recipient): cards leave encrypted only.')
  }
  if (keyFiles.length > 2) throw new UsageError('export', 'Two admin keys are needed, not more.')
  const age = await AgeWriter.to(recipients)
  const config = readConfig(values.config)
  const apiKeys = await adminKeys(keyFiles, terminal)

  await using opened = new AsyncDisposableStack()
  const parts = await openTransferParts('export', config, opened, terminal)
  const { audit, request, client } = parts
  const merchant = await findMerchant(parts.vault.store, values.merchant)
  const record = recordOrStop(audit)
  const line = { kind: 'act', request, merchant, client } as const
  const keys = await knownAdmins(parts, merchant, apiKeys)
  if (keys.length < 2) {
    await record({ ...line, action: 'export.refuse', keys })
    throw new TransferError(
      'Two different admin keys that work, of the installation or of this merchant, are needed.',
    )
  }
  await record({ ...line, action: 'export.start', keys, recipients })
  const progress = values.quiet ? SILENT : createProgress(terminal, monotonic, 'cards')
  const isStopped = stopAsked(terminal)
  try {
    const findBin = (await readBinTable(config.vault.bin_table_file)).find
    const { sha256, ...counts } = await exportCards(
      out,
      age,
      { progress, isStopped },
      portsOf(parts, merchant, keys, featuresOf(parts, config, findBin)),
    )
    progress.clear()
    await record({ ...line, action: 'export.end', keys, counts, sha256 })
    const { cards, others, volatile } = counts
    terminal.print(`${grouped(cards)} cards are in ${out} (SHA-256 ${sha256})\n`)
    if (others + volatile > 0) {
      terminal.tell(
        `Not among them: ${grouped(others)} of other kinds than cards or with the number in an external vault, ${grouped(volatile)} volatile ones.\n`,
      )
    }
    return 0
  } catch (error) {
    progress.clear()
    await audit.record({ ...line, action: 'export.end', keys, isCut: true }).catch(() => {})
    throw error
  }
}

async function adminKeys(files: readonly string[], terminal: Terminal): Promise<readonly string[]> {
  const keys = files.map((file) => orUnreadable(file, () => readFileSync(file, 'utf8').trim()))
  for (const which of ['First', 'Second'].slice(files.length)) {
    const key = await terminal.askSecret(`${which} admin API key: `)
    if (key === undefined) {
      throw new UsageError('export', 'Two admin keys are needed (--admin-key-file).')
    }
    keys.push(key.trim())
  }
  return keys
}

/** The different keys among them that may administer this merchant. */
async function knownAdmins(
  { vault, clock }: TransferParts,
  merchant: MerchantId,
  apiKeys: readonly string[],
): Promise<readonly KeyId[]> {
  const authenticate = createAuthenticate({ ...vault, clock })
  const known = new Set<KeyId>()
  for (const apiKey of apiKeys) {
    const caller = await authenticate(apiKey, '127.0.0.1')
    const isOfOthers = caller?.merchantId !== undefined && caller.merchantId !== merchant
    if (caller?.scopes.has('admin') && !isOfOthers) known.add(caller.keyId)
  }
  return [...known]
}

function portsOf(
  { vault, audit, request, client }: TransferParts,
  merchant: MerchantId,
  keys: readonly KeyId[],
  { customers, credentials, methods }: ReturnType<typeof featuresOf>,
): ExportPorts {
  const { store, keyring } = vault
  // Asked for no number that is in an external vault: those are not exported.
  const reveal = createReveal(keyring, () =>
    Promise.reject(new TransferError('A number turned out to be in an external vault.')),
  )
  const parties = new ExportParties({ request, merchant, keys, client })
  const record = recordOrStop(audit)
  // Payment methods of one customer are mostly beside each other.
  let customer: Customer | undefined
  const customerOf = async (id: CustomerId): Promise<Customer> => {
    if (customer?.id !== id) customer = await customers.retrieve(merchant, id)
    return customer
  }

  return {
    page: (after, limit) => store.pagePaymentMethods(merchant, after, limit),
    recordReveal(batch) {
      const tokens = batch.map(({ id, fields }) => ({
        token: id,
        fields: STORED_FIELDS.filter((field) => hasField(fields, field)),
      }))
      return record({ kind: 'reveal', tokens, parties })
    },
    reveal: async (method) => reveal(method, undefined, ['card_number'], false),
    async describe({ id, customerId }): Promise<DescribedCard | 'elsewhere' | 'deleted'> {
      try {
        const { details } = await methods.retrieve(merchant, id)
        const isHere = 'card' in details && details.external === undefined
        if (!isHere || customerId === undefined) return 'elsewhere'
        const { card, subtype, billing, metadata } = details
        const owner = await customerOf(customerId)
        const { networkTransactionId } = await credentials.shown(merchant, id)
        return {
          id,
          card_exp_month: card.exp_month,
          card_exp_year: card.exp_year,
          card_holder_name: card.card_holder_name,
          nick_name: card.nick_name,
          card_network: card.card_network,
          card_issuer: card.card_issuer,
          card_type: card.card_type,
          card_issuing_country: card.card_issuing_country,
          payment_method_subtype: subtype,
          ...customerNameOf(owner),
          customer_name: owner.details.name,
          customer_email: owner.details.email,
          customer_phone: owner.details.phone,
          customer_phone_country_code: owner.details.phone_country_code,
          customer_description: owner.details.description,
          customer_billing: owner.details.default_billing_address,
          customer_shipping: owner.details.default_shipping_address,
          customer_metadata: owner.details.metadata,
          billing,
          network_transaction_id: networkTransactionId ?? null,
          metadata,
        }
      } catch (error) {
        if (error instanceof AppError && error.reason === 'not_found') return 'deleted'
        throw error
      }
    },
  }
}

/** One without a reference, or with one that is the id of another, is found or made by its own id. */
function customerNameOf({
  id,
  details: { merchant_reference_id: reference },
}: Customer): Pick<DescribedCard, 'customer_reference' | 'customer_id'> {
  return reference === null || parseCustomerId(reference) !== undefined
    ? { customer_id: id }
    : { customer_reference: reference }
}
