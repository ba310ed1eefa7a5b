// What is written where a placeholder stood in XML: a parser gives the value back, exactly, and no value ends the text,
// attribute or section it stands in.

import fc from 'fast-check'
import { SaxesParser } from 'saxes'
import { describe, expect, test } from 'vitest'
import { type Charset, charsetNamed } from '../../src/proxy/charset.ts'
import type { Encoder } from '../../src/proxy/encode.ts'
import { encodeXmlAttribute, encodeXmlCdata, encodeXmlText } from '../../src/proxy/encode-xml.ts'

const CHARSETS = ['utf-8', 'iso-8859-1', 'us-ascii']
const named = (name: string) => charsetNamed(name) as Charset

const encode = (encoder: Encoder, value: string) => {
  const encoded = encoder(Buffer.from(value))
  return encoded === undefined ? undefined : Buffer.from(encoded)
}

const written = (encoder: Encoder, value: string) => encode(encoder, value)?.toString('latin1')

/** XML 1.0, 2.2. */
const UNHOLDABLE = /(?![\t\n\r])[\p{Cc}--[\u007f-\u009f]]|[\ufffe\uffff]/v

/** Text and attribute values, in order. */
function parsed(document: string): string[] {
  const seen: string[] = []
  const parser = new SaxesParser()
  parser.on('error', (error) => {
    throw error
  })
  parser.on('text', (text) => seen.push(text))
  parser.on('cdata', (text) => seen.push(text))
  parser.on('opentag', ({ attributes }) => seen.push(...Object.values(attributes)))
  parser.write(document).close()
  return seen
}

const POSITIONS: [string, (charset: Charset) => Encoder, string, string][] = [
  ['text', encodeXmlText, '<a>', '</a>'],
  ['an attribute', encodeXmlAttribute, '<a b="', '"/>'],
  ['an attribute in single quotes', encodeXmlAttribute, "<a b='", "'/>"],
  ['a CDATA section', encodeXmlCdata, '<a><![CDATA[', ']]></a>'],
]

describe.each(POSITIONS)('in %s', (_, encoderOf, before, after) => {
  test.each(CHARSETS)('any value is read back as it was, in %s', (charset) => {
    const tricky = fc.constantFrom(
      ...[...'&<>"\'\r\n\t []', ']]>', '<![CDATA[', '\u0085', '\u2028'],
    )
    const value = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.array(tricky).map((parts) => parts.join('')),
    )
    fc.assert(
      fc.property(value, (text) => {
        const encoded = encode(encoderOf(named(charset)), text)

        expect(encoded !== undefined).toBe(!UNHOLDABLE.test(text))
        if (encoded === undefined) return
        const inside = encoded.toString(charset === 'utf-8' ? 'utf8' : 'latin1')
        expect(parsed(before + inside + after).join('')).toBe(text)
        if (charset === 'us-ascii') expect(encoded.every((byte) => byte < 0x80)).toBe(true)
      }),
      { numRuns: 1000 },
    )
  })

  test('a value that needs no escape is handed back as it is', () => {
    const value = Buffer.from('4242 Zoë')

    expect(encoderOf(named('utf-8'))(value)).toBe(value)
  })

  test('nothing is written as nothing', () => {
    expect(written(encoderOf(named('utf-8')), '')).toBe('')
  })
})

test.each([
  ['a&b', 'a&#38;b'],
  ['</a>', '&#60;/a&#62;'],
  [']]>', '&#93;&#93;&#62;'],
  ['a\r\nb', 'a&#13;\nb'],
  ['"\'\t', '"\'\t'],
  ['\u0085\u2028', '&#133;&#8232;'],
])('text: %j is %j', (value, expected) => {
  expect(written(encodeXmlText(named('utf-8')), value)).toBe(expected)
})

test.each([
  ['"\'', '&#34;&#39;'],
  ['a\r\n\tb', 'a&#13;&#10;&#9;b'],
  ['<&>', '&#60;&#38;&#62;'],
])('an attribute: %j is %j', (value, expected) => {
  expect(written(encodeXmlAttribute(named('utf-8')), value)).toBe(expected)
})

test.each([
  ['<&"\'', '<&"\''],
  ['>', ']]><![CDATA[>'],
  [']', ']]]><![CDATA['],
  [']]>', ']]]><![CDATA[]]]><![CDATA[]]><![CDATA[>'],
  ['\r', ']]>&#13;<![CDATA['],
])('a CDATA section: %j is %j', (value, expected) => {
  expect(written(encodeXmlCdata(named('utf-8')), value)).toBe(expected)
})

test.each([
  [encodeXmlText, 'Zoë €', 'iso-8859-1', 'Zo\u00eb &#8364;'],
  [encodeXmlText, 'Zoë', 'us-ascii', 'Zo&#235;'],
  [encodeXmlText, '😀', 'us-ascii', '&#128512;'],
  [encodeXmlText, '\u0080', 'iso-8859-1', '&#128;'],
  [encodeXmlAttribute, 'ë', 'windows-1252', '&#235;'],
  [encodeXmlCdata, 'a€', 'iso-8859-1', 'a]]>&#8364;<![CDATA['],
])('what a charset has not got is a reference: %#', (encoderOf, value, charset, expected) => {
  expect(written(encoderOf(named(charset)), value)).toBe(expected)
})
