// How values are written into the charsets of bodies.

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Charset, charsetNamed, inCharset, UTF_8 } from '../../src/proxy/charset.ts'
import { encodeJsonString, encodePercent, encodeText } from '../../src/proxy/encode.ts'

const named = (name: string) => charsetNamed(name) as Charset

const write = (charset: string, value: string) => {
  const encoded = inCharset((bytes) => bytes, named(charset))(Buffer.from(value))
  return encoded === undefined ? undefined : Buffer.from(encoded).toString('latin1')
}

test.each(['utf-8', 'UTF-8', 'utf8'])('%s is UTF-8', (name) => {
  expect(charsetNamed(name)).toBe(UTF_8)
})

test.each([
  'iso-8859-1',
  'ISO-8859-1',
  'latin1',
  'us-ascii',
  'ascii',
  'iso-8859-15',
  'windows-1252',
])('%s is known', (name) => {
  expect(charsetNamed(name)?.isUtf8).toBe(false)
})

test.each([
  '',
  ' utf-8',
  'utf-7',
  'utf-16',
  'utf-16le',
  'utf-32',
  'ucs-2',
  'ibm037',
  'shift_jis',
  'gbk',
  'gb18030',
  'iso-2022-jp',
  'hz-gb-2312',
  'constructor',
  '__proto__',
])('%j cannot be searched, or is not known', (name) => {
  expect(charsetNamed(name)).toBeUndefined()
})

describe('a value', () => {
  test.each([
    ['utf-8', 'Zoë €', Buffer.from('Zoë €').toString('latin1')],
    ['iso-8859-1', 'Zoë ÿ\u00a0', 'Zo\u00eb \u00ff\u00a0'],
    ['iso-8859-1', '€', undefined],
    ['iso-8859-1', 'Ā', undefined],
    ['iso-8859-1', '😀', undefined],
    // WHATWG reads these bytes as windows-1252: other characters.
    ['iso-8859-1', '\u0080', undefined],
    ['iso-8859-1', '\u009f', undefined],
    ['us-ascii', 'Zoe', 'Zoe'],
    ['us-ascii', 'Zoë', undefined],
    ['windows-1252', 'Zoë', undefined],
    ['iso-8859-15', 'Zoë', undefined],
    ['iso-8859-15', '\u007f', '\u007f'],
    ['us-ascii', '', ''],
  ])('in %s: %j is %j', (charset, value, expected) => {
    expect(write(charset, value)).toBe(expected)
  })

  test('in Latin-1 is read back as it was, or refused', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (value) => {
        const written = write('iso-8859-1', value)
        expect(written ?? value).toBe(value)
        expect(written === undefined).toBe(/[^\0-\x7f\xa0-\xff]/u.test(value))
      }),
    )
  })

  test('is escaped after it has been written', () => {
    const percent = inCharset(encodePercent, named('iso-8859-1'))(Buffer.from('ë&'))
    const json = inCharset(encodeJsonString, named('iso-8859-1'))(Buffer.from('ë"'))

    expect(Buffer.from(percent ?? []).toString()).toBe('%EB%26')
    expect(Buffer.from(json ?? []).toString('latin1')).toBe('\u00eb\\"')
  })

  test('that cannot stand there is refused in every charset', () => {
    expect(inCharset(encodeText, UTF_8)(Buffer.from('ë'))).toBeUndefined()
    expect(inCharset(encodeText, named('iso-8859-1'))(Buffer.from('ë'))).toBeUndefined()
  })

  test('that is ASCII is handed back as it is', () => {
    const value = Buffer.from('4242')

    expect(inCharset(encodeText, named('us-ascii'))(value)).toBe(value)
  })
})
