import { describe, expect, test } from 'vitest'
import { namesOf, parseNdjsonRecord } from '../../src/transfer/ndjson.ts'

const VISA = '4242424242424242'
const parse = (text: string, ignored: ReadonlySet<string> = new Set()) =>
  parseNdjsonRecord(Buffer.from(text), ignored)

describe('a line', () => {
  test('has its values, and the number as bytes', () => {
    const { number, values, problem } = parse(
      `{"id":"1", "card_number" : "${VISA}","card_exp_month":3,"metadata":{"a":[1]},"nick_name":null,"billing_city":""}`,
    )

    expect(number?.toString()).toBe(VISA)
    expect(values).toEqual({ id: '1', card_exp_month: 3, metadata: { a: [1] } })
    expect(problem).toBeUndefined()
  })

  test.each([
    `{"card_number":"${VISA}","id":"1"}`,
    `{"card_number":${VISA},"id":"1"}`,
    `{"card\\u005fnumber":"${VISA}","id":"1"}`,
    `{"id":"1","card_number":"${VISA}"}`,
  ])('leaves no number where it was read from: %s', (text) => {
    const record = Buffer.from(text)

    const { number, values } = parseNdjsonRecord(record, new Set())

    expect(number?.toString()).toBe(VISA)
    expect(values).toEqual({ id: '1' })
    expect(record.toString('latin1')).not.toContain('4242')
  })

  test('with the number twice is rejected, and neither stays', () => {
    const record = Buffer.from(`{"card_number":"${VISA}","card_number":"${VISA}"}`)

    const { number, problem } = parseNdjsonRecord(record, new Set())

    expect([number, problem]).toEqual([undefined, { field: 'card_number', reason: 'malformed' }])
    expect(record.toString('latin1')).not.toContain('4242')
  })

  test('with a number that is another kind of value has no card number', () => {
    expect(parse('{"card_number":null}').number).toBeUndefined()
    expect(parse(`{"card_number":["${VISA}"]}`).number?.toString()).toBe(`["${VISA}"]`)
  })

  test.each([
    '',
    'x',
    '[]',
    '"x"',
    '{"a":1',
    '{"a":1}{',
    `${'{"a":'.repeat(99)}1${'}'.repeat(99)}`,
  ])('that is no object is rejected: %s', (text) => {
    expect(parse(text).problem).toEqual({ field: '', reason: 'malformed' })
  })

  test('with a name that is not known is rejected, and the name is told where it may be', () => {
    expect(parse('{"id":"1","pan":"x"}').problem).toEqual({
      field: 'pan',
      reason: 'unknown_column',
    })
    expect(parse(`{"id":"1","${VISA}":"x"}`).problem).toEqual({
      field: '',
      reason: 'unknown_column',
    })
    expect(parse('{"id":"1","pan":"x"}', new Set(['pan'])).problem).toBeUndefined()
  })

  test('with a verification code is rejected, also when that is to be ignored', () => {
    expect(parse('{"id":"1","cvv":"100"}', new Set(['cvv'])).problem).toEqual({
      field: 'cvv',
      reason: 'sensitive_data',
    })
  })
})

test.each([
  ['ignored', `{"id":"1","pan":"${VISA}"}`],
  ['unknown', `{"id":"1","pans":"${VISA}"}`],
  ['forbidden', `{"id":"1","cvv":"${VISA}"}`],
  ['a number itself', `{"id":"1","${VISA}":"${VISA}"}`],
])('what is %s never becomes a string', (_what, text) => {
  const record = Buffer.from(text)
  const read: string[] = []
  record.toString = (...args) => {
    const part = Buffer.prototype.toString.apply(record, args)
    read.push(part)
    return part
  }

  parseNdjsonRecord(record, new Set(['pan']))

  expect(read).toContain('"1"')
  expect(read.join()).not.toContain('4242')
})

test.each(['id', 'nick_name', 'metadata'])('a line with %s twice is rejected', (name) => {
  expect(parse(`{"${name}":{"a":1},"id":"1","${name}":{"a":1}}`).problem).toEqual({
    field: name,
    reason: 'malformed',
  })
})

test('a forbidden name is told only where it may be', () => {
  expect(parse('{"id":"1","cvv\\u001b[2J":"1","card cvv,":"1"}').problem).toEqual({
    field: '',
    reason: 'sensitive_data',
  })
})

test('the names of the first line are read without its values', () => {
  expect(namesOf(Buffer.from(`{"id":"1","card\\u005fnumber":"${VISA}","x":{"y":1}}`))).toEqual([
    'id',
    'card_number',
    'x',
  ])
  expect(namesOf(Buffer.from(`{"id":"1","${VISA}":1}`))).toEqual(['id', ''])
  expect(namesOf(Buffer.from('[]'))).toBeUndefined()
})
