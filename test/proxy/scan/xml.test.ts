// Finding placeholders in XML, as tables: at which path each stands, how its value would be written, and what is
// refused.

import fc from 'fast-check'
import { SaxesParser } from 'saxes'
import { describe, expect, test } from 'vitest'
import { charsetNamed } from '../../../src/proxy/charset.ts'
import { XmlScanner } from '../../../src/proxy/scan/xml.ts'
import { splice } from '../../../src/proxy/splice.ts'
import { cut, N, outcomeOf, refusalOf, refusedOr, scanAll, scanPieces, seen } from './scanned.ts'

const xml = (text: string) => scanAll(new XmlScanner(undefined), text)

test.each([
  ['text', `<a>${N}</a>`, '/a'],
  ['a part of a text', `<a>x ${N} y</a>`, '/a'],
  ['text of an inner element', `<a><b/><c><d>${N}</d></c></a>`, '/a/c/d'],
  ['text after an inner element', `<a><b>1</b>${N}</a>`, '/a'],
  ['an attribute', `<a><b c="1" d = '${N}'/></a>`, '/a/b/@d'],
  ['an attribute in double quotes', `<a b="${N}"></a>`, '/a/@b'],
  ['a CDATA section', `<a><![CDATA[<x>${N}]]></a>`, '/a'],
  ['a name with a prefix', `<s:a xmlns:s="u"><s:b>${N}</s:b></s:a>`, '/s:a/s:b'],
  ['a name beyond ASCII', `<é>${N}</é>`, '/é'],
  [
    'after everything that may stand before',
    `\ufeff<?xml version="1.0"?>\n<!-- {{ -->\n<a>${N}</a>`,
    '/a',
  ],
  ['after what is no placeholder', `<a><?x {{y}} ?><!-- {{z}} -->${N}</a>`, '/a'],
  ['blanks in the tags', `<a\n>${N}</a\t>`, '/a'],
])('the path of a placeholder: %s', (_, text, at) => {
  expect(seen(xml(text), text)).toEqual([[N, { in: 'body', at }]])
})

test('elements of one name each say their own place', () => {
  const text = `<a><b>${N}</b><b>${N}</b></a>`

  expect(seen(xml(text), text)).toEqual([
    [N, { in: 'body', at: '/a/b' }],
    [N, { in: 'body', at: '/a/b' }],
  ])
})

test.each([
  ['an element name', `<${N}/>`, 'malformed_body'],
  ['an attribute name', `<a ${N}="1"/>`, 'malformed_body'],
  ['an attribute without quotes', `<a b=${N}/>`, 'malformed_body'],
  ['a comment', `<a><!-- ${N} --></a>`, 'value_not_encodable'],
  ['a processing instruction', `<a><?x ${N}?></a>`, 'value_not_encodable'],
  ['the XML declaration', `<?xml version="1.0" ${N}?><a/>`, 'value_not_encodable'],
  ['before the root', `${N}<a/>`, 'malformed_body'],
  ['after the root', `<a/>${N}`, 'malformed_body'],
  ['a document type', `<!DOCTYPE a [<!ENTITY e "${N}">]><a>&e;</a>`, 'malformed_body'],
  ['a document with a document type', `<!DOCTYPE a><a>${N}</a>`, 'malformed_body'],
  ['an unclosed element', `<a><b>${N}</b>`, 'malformed_body'],
  ['an element closed by another', `<a><b>${N}</a></b>`, 'malformed_body'],
  ['a second root', `<a/><b>${N}</b>`, 'malformed_body'],
  ['CDATA outside the root', `<![CDATA[${N}]]><a/>`, 'malformed_body'],
  ['an unended CDATA section', `<a><![CDATA[${N}</a>`, 'malformed_body'],
  ['an unended attribute', `<a b="${N}`, 'malformed_body'],
  ['markup in an attribute', `<a b="<${N}"/>`, 'malformed_body'],
  ['a blank before a name', `< a>${N}</a>`, 'malformed_body'],
  ['nothing', '', 'malformed_body'],
  ['too deep', `${'<a>'.repeat(513)}${'</a>'.repeat(513)}`, 'malformed_body'],
  ['an unknown field', '<a>{{$nope}}</a>', 'placeholder_malformed'],
  ['an opener cut by markup', '<a>{{$card_number<b/>}}</a>', 'placeholder_malformed'],
  [
    'a charset that cannot be searched',
    `<?xml version="1.0" encoding="UTF-16"?><a>${N}</a>`,
    'content_encoding_unsupported',
  ],
  [
    'an unknown charset',
    `<?xml version="1.0" encoding='x'?><a>${N}</a>`,
    'content_encoding_unsupported',
  ],
  [
    'a byte order mark and another charset',
    `\ufeff<?xml version="1.0" encoding="ISO-8859-1"?><a>${N}</a>`,
    'content_encoding_unsupported',
  ],
  [
    'a declaration without an end in sight',
    `<?xml version="1.0"${' '.repeat(2000)}encoding="x"?><a>${N}</a>`,
    'malformed_body',
  ],
])('refused: %s', (_, text, reason) => {
  expect(refusalOf(() => xml(text))).toBe(reason)
})

test.each([
  ['the same', 'utf-8', 'UTF-8', undefined],
  ['another', 'iso-8859-1', 'UTF-8', 'content_encoding_unsupported'],
  ['none in the document', 'iso-8859-1', undefined, undefined],
])('the charset of the type and of the document: %s', (_, type, document, refusal) => {
  const declaration = document === undefined ? '' : `<?xml version="1.0" encoding="${document}"?>`

  expect(
    refusalOf(() => scanAll(new XmlScanner(charsetNamed(type)), `${declaration}<a>${N}</a>`)),
  ).toBe(refusal)
})

describe('a value is read back as it was', () => {
  const HOSTILE = [
    '</a><b>',
    ']]>',
    ']]',
    ']',
    '>',
    '&amp;&#13;',
    '"\'',
    ' a\tb\nc\rd\r\ne ',
    '<![CDATA[',
    '-->',
    '?>',
    'Zoë € 😀 \u0085\u2028',
    '{{$card_number}}',
  ]

  /** What a parser makes of the document: text and attributes. */
  function parsed(document: Buffer, encoding: BufferEncoding): string {
    let text = ''
    const parser = new SaxesParser()
    parser.on('error', (error) => {
      throw error
    })
    parser.on('text', (data) => {
      text += data
    })
    parser.on('cdata', (data) => {
      text += data
    })
    parser.on('opentag', ({ attributes }) => {
      text += Object.values(attributes).join('')
    })
    parser.write(document.toString(encoding)).close()
    return text
  }

  test.each(['utf-8', 'iso-8859-1', 'us-ascii'])('in %s', (charset) => {
    const encoding = charset === 'utf-8' ? 'utf8' : 'latin1'
    for (const value of HOSTILE) {
      for (const [before, after, left, right] of [
        ['<a>x', 'y</a>', 'x', 'y'],
        ['<a>]]', '&gt;</a>', ']]', '>'],
        ['<a b="x', 'y"/>', 'x', 'y'],
        ["<a b='x", "y'/>", 'x', 'y'],
        ['<a><![CDATA[x', 'y]]></a>', 'x', 'y'],
        ['<a><![CDATA[]', ']]></a>', ']', ''],
        ['<a><![CDATA[]]', '>]]></a>', ']]', '>'],
      ]) {
        const body = Buffer.from(`${before}${N}${after}`)
        const found = scanAll(new XmlScanner(charsetNamed(charset)), body)

        const out = splice(body, found, () => Buffer.from(value))

        expect([before, parsed(out, encoding)]).toEqual([before, `${left}${value}${right}`])
      }
    }
  })

  test.each(['\0', 'a\u0001b', '\u001f', '\ufffe', '\uffff'])('%j cannot stand in XML', (value) => {
    const body = Buffer.from(`<a>${N}</a>`)

    expect(() =>
      splice(body, scanAll(new XmlScanner(undefined), body), () => Buffer.from(value)),
    ).toThrow(expect.objectContaining({ reason: 'value_not_encodable', field: 'card_number' }))
  })
})

test('a document in pieces is read as it is as a whole', () => {
  const parts = fc.constantFrom(
    ...['<a>', '</a>', '<b c="', '"', "<b c='", "'", '/>', '>', '<', '<![CDATA[', ']]>', ']'],
    ...[
      '<!--',
      '-->',
      '<?x',
      '?>',
      '<?xml version="1.0" encoding="us-ascii"?>',
      '\ufeff',
      ' ',
      'é',
    ],
    ...[
      '&#123;',
      '{',
      '{{',
      N,
      `<a>${N}</a>`,
      `<b c='${N}'/>`,
      '{{$card_bin | last(2)}}',
      '{{$nope}}',
    ],
  )
  fc.assert(
    fc.property(fc.array(parts, { maxLength: 10 }), fc.array(fc.nat()), (texts, cuts) => {
      const text = Buffer.from(texts.join(''))

      const whole = outcomeOf(() => scanAll(new XmlScanner(undefined), text))
      const inPieces = outcomeOf(() => scanPieces(new XmlScanner(undefined), cut(text, cuts)))

      expect(refusedOr(inPieces)).toEqual(refusedOr(whole))
    }),
    { numRuns: 5000 },
  )
})
