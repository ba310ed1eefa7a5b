// Values in place of placeholders: every other byte stays, and no value is looked at again.

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { UTF_8 } from '../../src/proxy/charset.ts'
import { Refusal } from '../../src/proxy/refusal.ts'
import { FormScanner } from '../../src/proxy/scan/form.ts'
import { JsonScanner } from '../../src/proxy/scan/json.ts'
import type { Found } from '../../src/proxy/scan/scanner.ts'
import { scanHeader, textScanner } from '../../src/proxy/scan/text.ts'
import { splice, spliceText } from '../../src/proxy/splice.ts'
import { scanAll } from './scan/scanned.ts'

const scanJson = (body: Buffer) => scanAll(new JsonScanner(UTF_8, false), body)
const scanForm = (body: Buffer) => scanAll(new FormScanner(UTF_8), body)
const scanText = (body: Buffer) => scanAll(textScanner(UTF_8), body)

const values: Record<string, string> = {
  card_number: '4242424242424242',
  card_holder_name: '{{$card_number}}',
  nick_name: '","amount":1,"x":"',
}
const valueFor = ({ field }: Found) => {
  const value = values[field]
  if (value === undefined) throw new Refusal('placeholder_field_missing', field)
  return Buffer.from(value)
}

test('a value that looks like a placeholder stays a value', () => {
  const body = Buffer.from('{"a":"{{$card_holder_name}}","b":{{$card_holder_name}}}')

  const out = splice(body, scanJson(body), valueFor)

  expect(out.toString()).toBe('{"a":"{{$card_number}}","b":"{{$card_number}}"}')
})

test('values that are pieces of a placeholder make none together', () => {
  const body = Buffer.from('{{$nick_name}}{{$card_number}}')
  const pieces = ({ field }: Found) => Buffer.from(field === 'nick_name' ? 'aa' : 'bb')

  const out = splice(body, scanText(body), pieces)

  expect(out.toString()).toBe('aabb')
})

test('a value cannot leave its string', () => {
  const body = Buffer.from('{"a":"{{$nick_name}}"}')

  const out = splice(body, scanJson(body), valueFor)

  expect(JSON.parse(out.toString())).toEqual({ a: values.nick_name })
})

test('a value that cannot stand in its place refuses the whole and is named by its field', () => {
  const body = Buffer.from('{{$card_number}} {{$nick_name}}')

  expect(() => splice(body, scanText(body), valueFor)).toThrow(
    expect.objectContaining({ reason: 'value_not_encodable', field: 'nick_name' }),
  )
})

test('a field without a value refuses the whole', () => {
  const body = Buffer.from('{{$card_number}} {{$card_issuer}}')

  expect(() => splice(body, scanText(body), valueFor)).toThrow(
    expect.objectContaining({ reason: 'placeholder_field_missing', field: 'card_issuer' }),
  )
})

test('the value that was handed in is not overwritten', () => {
  const value = Buffer.from('a"b')
  const body = Buffer.from('{{$nick_name}}')

  splice(body, scanJson(body), () => value)

  expect(value.toString()).toBe('a"b')
})

test('a header keeps its bytes beyond ASCII', () => {
  const text = 'h\u00e4 {{$card_number}}'

  const out = spliceText(text, scanHeader(Buffer.from(text, 'latin1'), 'x-a'), valueFor)

  expect(out).toBe('h\u00e4 4242424242424242')
})

/** Text in which a JSON value holds placeholders between pieces of anything, and what it has to become. */
const piece = fc.string({ unit: 'binary', maxLength: 12 }).filter((text) => !text.includes('{'))
const pieces = fc.array(piece, { minLength: 1, maxLength: 6 })
const secrets = fc.array(fc.string({ unit: 'binary', maxLength: 20 }), {
  minLength: 5,
  maxLength: 5,
})
const PLACEHOLDER = '{{$card_number}}'

describe('for any text and any values', () => {
  const inTurn = (given: readonly string[]) => {
    let next = 0
    return () => Buffer.from(given[next++] as string)
  }

  test('a JSON string is read back with the values in place and all else as it was', () => {
    fc.assert(
      fc.property(pieces, secrets, fc.json(), (parts, given, other) => {
        fc.pre(!other.includes('{{'))
        const text = `{ "n" : ${JSON.stringify(parts.join(PLACEHOLDER))},"o":${other} }`
        const body = Buffer.from(text)

        const out = splice(body, scanJson(body), inTurn(given)).toString()

        const expected = parts.map((part, i) => (i === 0 ? part : given[i - 1] + part)).join('')
        expect(JSON.parse(out).n).toBe(expected)
        expect(out.endsWith(`,"o":${other} }`)).toBe(true)
      }),
    )
  })

  test('outside the placeholders every byte is the byte that came in', () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 30 }), { minLength: 1, maxLength: 6 }),
        (parts) => {
          const plain = parts.map((part) => Buffer.from(part.filter((byte) => byte !== 0x7b)))
          const gap = Buffer.from(PLACEHOLDER)
          const body = Buffer.concat(plain.flatMap((part, i) => (i === 0 ? [part] : [gap, part])))

          const out = splice(body, scanText(body), () => Buffer.from('42'))

          const wanted = plain.flatMap((part, i) => (i === 0 ? [part] : [Buffer.from('42'), part]))
          expect(out.equals(Buffer.concat(wanted))).toBe(true)
        },
      ),
    )
  })

  test('a form is read back with the values in place', () => {
    fc.assert(
      fc.property(pieces, secrets, (parts, given) => {
        const text = `a=1&n=${parts.map(encodeURIComponent).join(PLACEHOLDER)}&z=%zz`
        const body = Buffer.from(text)

        const out = splice(body, scanForm(body), inTurn(given)).toString()

        const expected = parts.map((part, i) => (i === 0 ? part : given[i - 1] + part)).join('')
        expect([...new URLSearchParams(out).keys()]).toEqual(['a', 'n', 'z'])
        expect(new URLSearchParams(out).get('n')).toBe(expected)
        expect(out.endsWith('&z=%zz')).toBe(true)
      }),
    )
  })
})
