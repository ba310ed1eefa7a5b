import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { checkColumns, csvField, parseCsvHeader, parseCsvRecord } from '../../src/transfer/csv.ts'

const NONE: ReadonlySet<string> = new Set()
const header = (text: string, ignored = NONE) => parseCsvHeader(Buffer.from(text), ignored)
const VISA = '4242424242424242'

describe('the header', () => {
  test('names columns in any order, quoted or not, with blanks around them', () => {
    expect(header('"nick_name", card_number ,id')).toEqual(['nick_name', 'card_number', 'id'])
  })

  test('with columns that are not known is refused, and all of them are named', () => {
    expect(() => header('id,pan,expiry')).toThrow(/not known: pan, expiry\./)
  })

  test('may have columns that are to be ignored', () => {
    expect(header('id,pan,nick_name', new Set(['pan', 'nick_name']))).toEqual([
      'id',
      undefined,
      undefined,
    ])
  })

  test('with a column twice is refused', () => {
    expect(() => header('id,nick_name,id')).toThrow('A column stands twice: id.')
  })

  test.each([
    'cvc',
    'CVV2',
    'card_cvc',
    'Card Security Code',
    'card_verification_value',
    'cid',
    'track2',
    'track_1_data',
    'PIN block',
    'pin',
  ])('with %s is refused, also when that is to be ignored', (name) => {
    expect(() => header(`id,${name}`, new Set([name]))).toThrow(
      `(PCI DSS 3.3.1). Take this column out of the file: ${name}.`,
    )
  })

  test('that is a row is refused without repeating it', () => {
    for (const text of [
      `tok_1,${VISA},3,2035`,
      `tok_1,4242 4242 4242 4242,3,2035`,
      `tok_1,${'x'.repeat(300)}`,
    ]) {
      expect(() => header(text)).toThrow(
        /^The first line has to name the columns, and holds values\.$/,
      )
    }
  })

  test('a name that could be digits of a number is told by its place', () => {
    expect(() => header('id,pan-42,42-42')).toThrow('not known: pan-42, the one in place 3.')
  })

  test('has to have what every row needs', () => {
    const check = (text: string) => () => checkColumns(header(text))
    expect(check('id,card_number')).toThrow(
      'missing: card_exp_month, card_exp_year, customer_reference or customer_id.',
    )
    expect(check('id,card_number,card_exp_month,card_exp_year,customer_id')).not.toThrow()
    expect(check('id,card_number,card_exp_month,card_exp_year,customer_reference')).not.toThrow()
  })
})

describe('a row', () => {
  const columns = header('id,card_number,nick_name')
  const parse = (text: string | Buffer) => parseCsvRecord(Buffer.from(text), columns)

  test('has a text for each column, and the number as bytes', () => {
    const { number, values, problem } = parse(`"a ""b"", c",${VISA},"x\ny"`)

    expect(number?.toString()).toBe(VISA)
    expect(values).toEqual({ id: 'a "b", c', nick_name: 'x\ny' })
    expect(problem).toBeUndefined()
  })

  test('leaves no number where it was read from', () => {
    const record = Buffer.from(`1,"${VISA}",x`)

    parseCsvRecord(record, columns)

    expect(record.toString('latin1')).not.toMatch(/[0-9]{2}/)
  })

  test('has no value where the field is empty', () => {
    expect(parse(',"",')).toEqual({ number: undefined, values: {}, problem: undefined })
  })

  test.each([
    ['1,2', 'wrong_number_of_fields'],
    ['1,2,3,4', 'wrong_number_of_fields'],
    ['1,2,"3', 'malformed'],
    ['1,2,"3"x', 'malformed'],
    ['1,2,x"3"', 'malformed'],
    ['1,2,3"', 'malformed'],
  ])('%s is rejected as %s', (text, reason) => {
    expect(parse(text).problem).toEqual({ field: '', reason })
  })

  test('that is no UTF-8 is rejected', () => {
    expect(parse(Buffer.from('1,2,\xe9', 'latin1')).problem?.reason).toBe('not_utf8')
  })
})

test('what is written as a field is read as the same text', () => {
  const columns = header('id,nick_name')
  const text = fc.string({ unit: 'grapheme', minLength: 1 })
  fc.assert(
    fc.property(text, text, (id, nick_name) => {
      const record = Buffer.from(`${csvField(id)},${csvField(nick_name)}`)
      expect(parseCsvRecord(record, columns).values).toEqual({ id, nick_name })
    }),
  )
})
