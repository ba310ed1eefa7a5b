// What is written where a placeholder stood: no value can end the string, pair, header or line it stands in.

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type Encoder,
  encodeHeader,
  encodeJsonString,
  encodeJsonValue,
  encodePercent,
  encodeText,
} from '../../src/proxy/encode.ts'

const encode = (encoder: Encoder, value: string) => {
  const encoded = encoder(Buffer.from(value))
  return encoded === undefined ? undefined : Buffer.from(encoded).toString()
}

const CONTROLS = Array.from({ length: 32 }, (_, code) => String.fromCharCode(code)).join('')

const HOSTILE = [
  '{{$card_number}}',
  '","amount":1,"x":"',
  '"}',
  '\\',
  '\\"',
  '\\u0022',
  '\r\nX-Evil: 1',
  '</name><pan>',
  '&amount=1',
  '=1#?/..%00%2e',
  '+ +',
  "' OR 1=1 --",
  'Zoë 😀 \u2028\u2029 \u007f',
  CONTROLS,
  '',
]

describe('in a JSON string', () => {
  test.each(HOSTILE)('%j is read back as it was', (value) => {
    expect(JSON.parse(`"${encode(encodeJsonString, value)}"`)).toBe(value)
  })

  test('it is written as JSON.stringify writes it', () => {
    for (const value of HOSTILE) {
      expect(`"${encode(encodeJsonString, value)}"`).toBe(JSON.stringify(value))
    }
  })

  test('reading back gives any value', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (value) => {
        expect(JSON.parse(`"${encode(encodeJsonString, value)}"`)).toBe(value)
      }),
    )
  })

  test('a value that needs no escape is handed back as it is', () => {
    const value = Buffer.from('4242424242424242')

    expect(encodeJsonString(value)).toBe(value)
  })
})

describe('in place of a JSON value', () => {
  test.each(HOSTILE)('%j is read back as it was', (value) => {
    expect(JSON.parse(`{"a":${encode(encodeJsonValue, value)}}`)).toEqual({ a: value })
  })

  test('reading back gives any value', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (value) => {
        expect(JSON.parse(encode(encodeJsonValue, value) as string)).toBe(value)
      }),
    )
  })

  test('a number stays a string', () => {
    expect(encode(encodeJsonValue, '007')).toBe('"007"')
  })
})

describe('in forms and URLs', () => {
  test.each(HOSTILE)('%j is read back as it was', (value) => {
    const text = `a=1&n=${encode(encodePercent, value)}&z=2`

    expect([...new URLSearchParams(text)]).toEqual([
      ['a', '1'],
      ['n', value],
      ['z', '2'],
    ])
  })

  test('only unreserved characters stand as they are', () => {
    const every = Array.from({ length: 256 }, (_, byte) => byte)

    const plain = every.filter((byte) => encodePercent(Buffer.from([byte]))?.length === 1)

    expect(String.fromCharCode(...plain)).toBe(
      '-.0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~',
    )
  })

  test('reading back gives any value', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (value) => {
        const encoded = encode(encodePercent, value) as string
        expect(decodeURIComponent(encoded)).toBe(value)
        expect(new URLSearchParams(`n=${encoded}`).get('n')).toBe(value)
      }),
    )
  })
})

describe('in a header', () => {
  test.each(['4242424242424242', "John O'Neil", '"{}&<>\\', ' ', '~'])(
    '%j stands as it is',
    (value) => {
      expect(encode(encodeHeader, value)).toBe(value)
    },
  )

  test.each(['a\r\nX-Evil: 1', 'a\nb', 'a\rb', 'a\0b', 'a\tb', 'Zoë', '\u007f', '\u0080'])(
    '%j cannot stand',
    (value) => {
      expect(encode(encodeHeader, value)).toBeUndefined()
    },
  )
})

describe('in text of which nothing is known', () => {
  test.each(['4242424242424242', '03/2030', 'Ada K. Smith-Jones', ''])(
    '%j stands as it is',
    (value) => {
      expect(encode(encodeText, value)).toBe(value)
    },
  )

  test.each([...`"'\`{}[]()<>&=;:,|\\%#?!@$^*+~_\t\r\n\0`, 'é', "O'Neil", '{{$card_cvc}}'])(
    '%j cannot stand',
    (value) => {
      expect(encode(encodeText, value)).toBeUndefined()
    },
  )
})
