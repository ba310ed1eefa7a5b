import { describe, expect, test } from 'vitest'
import { checkRow, shownId } from '../../src/transfer/card-row.ts'
import type { Row } from '../../src/transfer/row.ts'

const VISA = '4242424242424242'
const NOW_MS = Date.UTC(2030, 5, 1)

function row(values: Record<string, unknown> = {}, number: string | undefined = VISA): Row {
  return {
    line: 2,
    check: 'AAAAAAAA',
    number: number === undefined ? undefined : Buffer.from(number),
    values: {
      id: 'tok_1',
      card_exp_month: '3',
      card_exp_year: '2035',
      customer_reference: 'user-1',
      ...values,
    },
    problem: undefined,
  }
}

const check = (input: Row, takesExpired = true) => checkRow(input, { nowMs: NOW_MS, takesExpired })

function card(values: Record<string, unknown> = {}) {
  const checked = check(row(values))
  if (checked.kind === 'bad') throw new Error(JSON.stringify(checked.problem))
  return checked.card
}

function problem(values: Record<string, unknown>, number?: string, takesExpired = true) {
  const checked = check(row(values, number), takesExpired)
  return checked.kind === 'bad' ? [checked.problem.field, checked.problem.reason] : 'taken'
}

describe('a row becomes a card', () => {
  test('with nothing but what it needs', () => {
    expect(card()).toMatchObject({
      expiry: { month: '03', year: '2035' },
      customer: { named: { by: 'reference', value: 'user-1' } },
      subtype: null,
      billing: null,
      metadata: null,
      networkTransactionId: undefined,
    })
  })

  test('whose number has its blanks and dashes stripped in place', () => {
    const input = row({}, '4242-4242 4242 4242')

    const checked = check(input)

    expect(checked.kind === 'card' && checked.card.number.toString()).toBe(VISA)
    expect(checked.kind === 'card' && checked.card.number.buffer).toBe(input.number?.buffer)
  })

  test('with the billing address of its columns, in the shape of the API', () => {
    expect(
      card({ billing_line1: '1 Main St', billing_zip: '12345', billing_phone: '+4915123456780' })
        .billing,
    ).toEqual({
      address: { line1: '1 Main St', zip: '12345' },
      phone: { number: '+4915123456780' },
    })
    expect(card({ billing_email: 'a@b.test' }).billing).toEqual({ email: 'a@b.test' })
    expect(card({ billing: '{"x":{"y":1}}' }).billing).toEqual({ x: { y: 1 } })
    expect(card({ billing: { x: 1 } }).billing).toEqual({ x: 1 })
  })

  test('of a customer with an id', () => {
    const id = `local_cus_${'0'.repeat(32)}`
    expect(card({ customer_reference: undefined, customer_id: id }).customer.named).toEqual({
      by: 'id',
      value: id,
    })
  })

  test('although it has expired, unless that is asked for', () => {
    const values = { card_exp_month: '4', card_exp_year: '30' }
    expect(card(values).expiry).toEqual({ month: '04', year: '2030' })
    expect(problem(values, VISA, false)).toEqual(['card_exp_year', 'expired'])
  })
})

test.each<[string, Record<string, unknown>, string]>([
  ['id', { id: undefined }, 'missing'],
  ['id', { id: 'x'.repeat(256) }, 'too_long'],
  ['id', { id: 7 }, 'not_allowed'],
  ['card_exp_month', { card_exp_month: undefined }, 'missing'],
  ['card_exp_month', { card_exp_month: '13' }, 'not_a_month'],
  ['card_exp_year', { card_exp_year: undefined }, 'missing'],
  ['card_exp_year', { card_exp_year: '1999' }, 'not_a_year'],
  ['card_exp_year', { card_exp_year: '20350' }, 'too_long'],
  ['card_holder_name', { card_holder_name: 'x'.repeat(256) }, 'too_long'],
  ['card_holder_name', { card_holder_name: 'a\nb' }, 'not_allowed'],
  ['card_holder_name', { card_holder_name: `Jo ${VISA}` }, 'could_be_card_number'],
  ['nick_name', { nick_name: '4242 4242 4242 4242' }, 'could_be_card_number'],
  ['card_network', { card_network: 'Vi sa' }, 'not_allowed'],
  ['payment_method_subtype', { payment_method_subtype: 'Credit' }, 'not_allowed'],
  ['customer_reference', { customer_reference: undefined }, 'missing'],
  ['customer_reference', { customer_reference: 'a b' }, 'not_allowed'],
  ['customer_id', { customer_reference: undefined, customer_id: 'x' }, 'not_found'],
  ['customer_reference', { customer_reference: `x_cus_${'a'.repeat(32)}` }, 'not_allowed'],
  ['customer_email', { customer_email: 'x' }, 'not_allowed'],
  ['metadata', { metadata: '[1]' }, 'not_a_json_object'],
  ['metadata', { metadata: '{"a":' }, 'not_a_json_object'],
  ['metadata', { metadata: '{"a":[{"CVV":"100"}]}' }, 'sensitive_data'],
  ['billing', { billing: '{"a":1}', billing_zip: '1' }, 'not_allowed'],
  ['network_transaction_id', { network_transaction_id: VISA }, 'could_be_card_number'],
  ['metadata', { metadata: `{"a":[{"note":"${VISA}"}]}` }, 'could_be_card_number'],
  ['metadata', { metadata: { [VISA]: 1 } }, 'could_be_card_number'],
  ['billing', { billing: { a: Number(VISA) } }, 'could_be_card_number'],
  ['customer_billing', { customer_billing: { a: VISA } }, 'could_be_card_number'],
  ['customer_shipping', { customer_shipping: { a: VISA } }, 'could_be_card_number'],
  ['customer_metadata', { customer_metadata: { a: VISA } }, 'could_be_card_number'],
  ['customer_phone', { customer_phone: VISA }, 'could_be_card_number'],
  ['billing_phone', { billing_phone: VISA }, 'could_be_card_number'],
])('%s is at fault in %j: %s', (field, values, reason) => {
  expect(problem(values)).toEqual([field, reason])
})

test.each([undefined, '', '4242424242424241', '424242', `${VISA}x`, ' '.repeat(100) + VISA])(
  'a number that is none is rejected without a word of it: %j',
  (number) => {
    const reason = number === undefined ? 'missing' : 'not_a_card_number'
    const input = { ...row(), number: number === undefined ? undefined : Buffer.from(number) }
    expect(check(input)).toEqual({ kind: 'bad', problem: { field: 'card_number', reason } })
  },
)

test('an id that could be a card number is not shown, and its card is taken', () => {
  expect(shownId(row({ id: 'tok_1' }))).toBe('tok_1')
  expect(shownId(row({ id: VISA }))).toBe('')
  expect(shownId(row({ id: `a-${VISA}-b` }))).toBe('')
  expect(shownId(row({ id: 'a\nb' }))).toBe('')
  expect(problem({ id: VISA })).toBe('taken')
})

test('an id of ours is shown, whatever its digits look like', () => {
  const id = 'local_pm_01a1fff655377678850836f840371aa2' // has 13 that pass Luhn
  expect(shownId(row({ id }))).toBe(id)
  expect(shownId(row({ id: `${id}.${VISA}` }))).toBe('')
})
