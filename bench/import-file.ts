// Writes a file of cards that do not exist, for an import: Luhn-valid numbers under test BINs, each another customer's
// unless told otherwise.
//
//   node bench/import-file.ts <rows> <csv|ndjson> [rows per customer] > cards.csv

import { once } from 'node:events'
import { cardNumber } from './card-numbers.ts'

const HEADER =
  'id,card_number,card_exp_month,card_exp_year,card_holder_name,customer_reference,customer_name,billing_line1,billing_city,billing_zip,billing_country'

const [rowsText = '1000', format = 'csv', perCustomerText = '1'] = process.argv.slice(2)
const rows = Number(rowsText)
const perCustomer = Number(perCustomerText)

function rowOf(n: number): Record<string, string> {
  const customer = Math.floor(n / perCustomer)
  return {
    id: `tok_old_${n.toString(36).padStart(10, '0')}`,
    card_number: cardNumber(n),
    card_exp_month: String((n % 12) + 1),
    card_exp_year: String(2030 + (n % 8)),
    card_holder_name: `Jo Example ${n.toString(36)}`,
    customer_reference: `user-${customer.toString(36)}`,
    customer_name: `Jo Example ${customer.toString(36)}`,
    billing_line1: `${(n % 900) + 1} Example Street`,
    billing_city: 'Springfield',
    billing_zip: String(10_000 + (n % 80_000)),
    billing_country: 'US',
  }
}

const lineOf = (row: Record<string, string>) =>
  format === 'csv' ? Object.values(row).join(',') : JSON.stringify(row)

let text = format === 'csv' ? `${HEADER}\n` : ''
for (let n = 0; n < rows; n++) {
  text += `${lineOf(rowOf(n))}\n`
  if (text.length < 1 << 16 && n + 1 < rows) continue
  if (!process.stdout.write(text)) await once(process.stdout, 'drain')
  text = ''
}
