// What holds for every template and every value: bytes around placeholders stay, the way a body is cut makes no
// difference, and a parser of the format that is not ours gives exactly the value back.

import fc from 'fast-check'
import { SaxesParser } from 'saxes'
import { describe, expect, test } from 'vitest'
import {
  byteByByte,
  cutAt,
  outcomeOf,
  type Secrets,
  sightings,
  sightingsInPieces,
  substitute,
  substituteHead,
  substitutePieces,
} from './substitution.ts'

const VALUE = '{{$.value: TOK}}'
const secret = (value: string): Secrets => ({ json: JSON.stringify({ value }) })

const JSON_TYPE = 'application/json'
const FORM = 'application/x-www-form-urlencoded'
const XML = 'text/xml'
const LATIN_1_XML = 'text/xml; charset=iso-8859-1'
const MULTIPART = 'multipart/form-data; boundary=Bnd'

// ---- Values: any Unicode, and what the formats give a meaning to.

const HOSTILE = [
  ...[
    '"',
    "'",
    '\\',
    '<',
    '>',
    '&',
    ']',
    ']]',
    ']]>',
    '<![CDATA[',
    '<!--',
    '-->',
    '&amp;',
    '&#60;',
  ],
  ...[
    '\r\n',
    '\r',
    '\n',
    '\t',
    ' ',
    '  ',
    '\0',
    '\x01',
    '\x7f',
    '\x85',
    '\xa0',
    '\u2028',
    '\u2029',
  ],
  ...[
    '{{$card_number}}',
    '{{',
    '{{$',
    '}}',
    '$&',
    '$1',
    '$$',
    '\\u0022',
    '%00',
    '%',
    '%2',
    '+',
    '=',
  ],
  ...[';', '#', '?', '/', ':', ',', '--Bnd', 'Bnd', '\r\n--Bnd--', 'é', 'ß', '€', '😀', '\ufffe'],
  ...['\ufeff', '\uffff', '\u202e', 'e\u0301', '\u{10ffff}', '41', '0', 'u007b', 'lt;', '#60;'],
]
const value = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.string({ unit: 'grapheme', maxLength: 20 }),
  fc.array(fc.constantFrom(...HOSTILE), { maxLength: 8 }).map((pieces) => pieces.join('')),
)

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what XML has not got
const NOT_IN_XML = /[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/

/** Of saxes, strict: the text of the root element and its attributes. */
function readXml(text: string): { text: string; attributes: Record<string, string> } {
  let content = ''
  let attributes: Record<string, string> = {}
  const parser = new SaxesParser({ xmlns: true })
  parser.on('text', (piece) => {
    content += piece
  })
  parser.on('cdata', (piece) => {
    content += piece
  })
  parser.on('opentag', (tag) => {
    attributes = Object.fromEntries(
      Object.entries(tag.attributes).map(([name, attribute]) => [name, attribute.value]),
    )
  })
  parser.on('error', (error) => {
    throw error
  })
  parser.write(text).close()
  return { text: content, attributes }
}

describe('a parser of the format gives the value back', () => {
  test('in a JSON string, its name and in place of a value', () => {
    fc.assert(
      fc.property(value, (text) => {
        const body = Buffer.from(`{"a":"x${VALUE}\\n","b":${VALUE},"${VALUE}":[${VALUE}]}`)

        const output = substitute(JSON_TYPE, body, secret(text)).toString()

        const read = new Map(Object.entries(JSON.parse(output)))
        if (text === 'a' || text === 'b') return
        expect(read.get('a')).toBe(`x${text}\n`)
        expect(read.get('b')).toBe(text)
        if (text !== '__proto__') expect(read.get(text)).toEqual([text])
      }),
      { numRuns: 2000 },
    )
  })

  test('in a form, as key and value, however the placeholder is encoded', () => {
    fc.assert(
      fc.property(value, fc.array(fc.boolean()), (text, isEncoded) => {
        const spelled = [...VALUE]
          .map((character, at) =>
            isEncoded[at % Math.max(isEncoded.length, 1)]
              ? `%${character.charCodeAt(0).toString(16)}`
              : character,
          )
          .join('')
        const body = Buffer.from(`a=x+${spelled}+y&${spelled}=1&b=${spelled}`)

        const output = substitute(FORM, body, secret(text)).toString()

        expect([...new URLSearchParams(output)]).toEqual([
          ['a', `x ${text} y`],
          [text, '1'],
          ['b', text],
        ])
      }),
      { numRuns: 2000 },
    )
  })

  test('in a query', () => {
    fc.assert(
      fc.property(value, (text) => {
        const output = substituteHead('query', `?a=${VALUE.replace(' ', '')}&b=2`, secret(text))

        expect([...new URLSearchParams(output)]).toEqual([
          ['a', text],
          ['b', '2'],
        ])
      }),
      { numRuns: 500 },
    )
  })

  test('in a path', () => {
    fc.assert(
      fc.property(value, (text) => {
        const output = substituteHead('path', `/a/x${VALUE.replace(' ', '')}y`, secret(text))

        expect(output).toMatch(/^[!-~]*$/)
        expect(output.split('/')).toHaveLength(3)
        expect(decodeURIComponent(output)).toBe(`/a/x${text}y`)
      }),
      { numRuns: 500 },
    )
  })

  const around = fc.array(fc.constantFrom(']', ']]', 'x', '&amp;', ' ', '\n', ';', 'é'), {
    maxLength: 3,
  })
  const xmlPositions = [
    ['text', (p: string) => `<a>${p}</a>`, 'text'],
    ['a CDATA section', (p: string) => `<a><![CDATA[${p}]]></a>`, 'text'],
    ['an attribute', (p: string) => `<a b="${p}"/>`, 'attribute'],
    ['an attribute between single quotes', (p: string) => `<a b='${p}'/>`, 'attribute'],
  ] as const
  for (const [charset, type, encoding] of [
    ['UTF-8', XML, 'utf8'],
    ['ISO-8859-1', LATIN_1_XML, 'latin1'],
  ] as const) {
    test.each(xmlPositions)(`in XML in ${charset}, in %s`, (_, wrap, part) => {
      fc.assert(
        fc.property(value, around, around, (text, before, after) => {
          const inside = wrap([...before, VALUE, ...after].join(''))
          // An end of a section that the template writes itself is none of the value's.
          fc.pre(!inside.slice(wrap('').indexOf('<a') + 12, -9).includes(']]>'))
          const body = Buffer.from(inside, encoding)

          const outcome = outcomeOf(() => substitute(type, body, secret(text)))

          if (NOT_IN_XML.test(text)) {
            expect(outcome).toEqual({
              refusal: { reason: 'value_not_encodable', field: '$.value' },
            })
            return
          }
          const output = 'ok' in outcome ? outcome.ok.toString(encoding) : ''
          // The same parser says what the template says around the value.
          const marked = readXml(inside.replace(VALUE, 'MARK'))
          const read = readXml(output)
          if (part === 'text') expect(read.text).toBe(marked.text.replace('MARK', () => text))
          else expect(read.attributes.b).toBe(marked.attributes.b?.replace('MARK', () => text))
        }),
        { numRuns: 1000 },
      )
    })
  }

  test('in parts of multipart/form-data', async () => {
    await fc.assert(
      fc.asyncProperty(value, async (text) => {
        const body = Buffer.from(
          `--Bnd\r\nContent-Disposition: form-data; name="f"\r\n\r\n${VALUE}\r\n` +
            '--Bnd\r\nContent-Disposition: form-data; name="j"; filename="j"\r\n' +
            `Content-Type: application/json\r\n\r\n{"a":${VALUE}}\r\n--Bnd--\r\n`,
        )

        const outcome = outcomeOf(() => substitute(MULTIPART, body, secret(text)))

        if (/[\r\n\0]|Bnd/.test(text)) {
          expect(outcome).toEqual({ refusal: { reason: 'value_not_encodable', field: '$.value' } })
          return
        }
        const output = 'ok' in outcome ? outcome.ok : Buffer.alloc(0)
        const form = await new Response(output, {
          headers: { 'content-type': MULTIPART },
        }).formData()
        expect([...form.keys()]).toEqual(['f', 'j'])
        expect(form.get('f')).toBe(text)
        const json = await (form.get('j') as File).text()
        expect(JSON.parse(json)).toEqual({ a: text })
      }),
      { numRuns: 500 },
    )
  })

  test('in text, headers and credentials, or the value is refused', () => {
    fc.assert(
      fc.property(value, (text) => {
        const put = (from: string) => from.replace(VALUE, () => text)
        const outcomes = [
          [
            outcomeOf(() => substitute('text/plain', Buffer.from(`a ${VALUE} b`), secret(text))),
            /^[A-Za-z0-9 ./-]*$/,
            put(`a ${VALUE} b`),
          ],
          [
            outcomeOf(() => substituteHead('header', `a ${VALUE} b`, secret(text))),
            /^[ -~]*$/,
            put(`a ${VALUE} b`),
          ],
          [
            outcomeOf(() => substituteHead('basic', `${VALUE}:b`, secret(text))),
            /^[ -9;-~]*$/,
            put(`${VALUE}:b`),
          ],
          [
            outcomeOf(() => substituteHead('basic', `a:${VALUE}`, secret(text))),
            /^[ -~]*$/,
            put(`a:${VALUE}`),
          ],
        ] as const
        for (const [outcome, allowed, expected] of outcomes) {
          if (allowed.test(text)) expect(outcome).toEqual({ ok: expect.anything() })
          expect('ok' in outcome ? outcome.ok.toString() : outcome.refusal).toEqual(
            allowed.test(text) ? expected : { reason: 'value_not_encodable', field: '$.value' },
          )
        }
      }),
      { numRuns: 1000 },
    )
  })
})

// ---- Templates: pieces of every format with placeholders of every kind, some of them damaged.

const PLACEHOLDERS = [
  '{{$card_number}}',
  '{{ $card_last4 : PM }}',
  '{{\r\n\t$card_exp|format(MM/YY)}}',
  "{{$card_network|map(visa='V I',mc=MC)|upper}}",
  "{{$.o['two words'][0]: TOK}}",
  '{{$.o: TOK | json}}',
  '{{$card_issuer|default(none)|last(2)}}',
]
const SECRETS: Secrets = { json: '{"o":{"two words":["a\\"<]]>&\\\\é"]}}' }
const placeholder = fc.constantFrom(...PLACEHOLDERS)

const TEMPLATES: readonly (readonly [name: string, type: string, parts: readonly string[]])[] = [
  [
    'JSON',
    JSON_TYPE,
    ['{"a\\u00e9":"x ', ' \\" y","b":[1,', ',{"c":"', '"},-1.5e3,true],"', '":null}'],
  ],
  ['a form', FORM, ['a=x%20', '+y&b%5Bc%5D=', '&', '=%26&&d=%7b%zz', '&e']],
  [
    'XML',
    XML,
    [
      '<?xml version="1.0" encoding="UTF-8"?>\n<!-- {{c}} --><?p i?><s:a xmlns:s="u" b="',
      '" c = \'x',
      "'><d>]] ",
      ' &amp;</d><e/><![CDATA[ ]] ',
      ' ]]]]></s:a>\n',
    ],
  ],
  [
    'multipart',
    MULTIPART,
    [
      '--Bnd\r\nContent-Disposition: form-data; name="f"\r\n\r\n\r\n--Bn ',
      '\r\n--Bnd\r\nContent-Type: image/png\r\n\r\n{{$x\0\r\n--Bnd\r\nContent-Type: application/json\r\n\r\n{"a":"',
      '"}\r\n--Bnd\r\nContent-Type: text/xml\r\n\r\n<a>',
      '</a>\r\n--Bnd\r\nContent-Type: multipart/mixed; boundary=in\r\n\r\n--in\r\n\r\n',
      '\r\n--in--\r\n--Bnd--\r\n',
    ],
  ],
  ['text', 'text/plain', ['a ', '\n', ' {{x}} ', ' { {', ' $\r\n']],
  ['CSV', 'text/csv', ['a,b\r\n', ',', '\r\n', ',,', '']],
]

const PIECES = [
  ...['{', '{{', '{{$', '}', '}}', '$', '"', "'", '\\', '<', '>', '&', ']]>', '<!--', '-->', '\0'],
  ...[
    '\\u007b',
    '&#123;',
    '%7b',
    '%',
    '%2',
    '\r\n',
    '\r\n--Bnd\r\n',
    '--',
    ',',
    ':',
    '[',
    '{{$x}}',
  ],
  ...['|', '\ufeff', '\\u007b{$', '&#x7b;{$', '{%7b%24', '   ', '<![CDATA[', '?>', '</a>', '='],
]

const joined = (parts: readonly string[], between: (at: number) => string) =>
  parts.map((part, at) => part + (at < parts.length - 1 ? between(at) : '')).join('')

/** A template with its placeholders put in, and what else somebody put into it. */
const filled = fc
  .record({
    template: fc.constantFrom(...TEMPLATES),
    placeholders: fc.array(placeholder, { minLength: 4, maxLength: 4 }),
    damage: fc.array(
      fc.tuple(fc.double({ min: 0, max: 1, noNaN: true }), fc.constantFrom(...PIECES)),
      {
        maxLength: 2,
      },
    ),
  })
  .map(({ template: [, type, parts], placeholders, damage }) => {
    let text = joined(parts, (i) => placeholders[i] ?? '')
    for (const [where, piece] of damage) {
      const at = Math.floor(where * text.length)
      text = text.slice(0, at) + piece + text.slice(at)
    }
    return { type, body: Buffer.from(text) }
  })

const borders = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 12 })

describe('what stands around placeholders', () => {
  test.each(TEMPLATES)('stays byte for byte: %s', (name, type, parts) => {
    const spellings = ['{{$card_last4}}', '{{ $card_last4: PM }}', '{{\n$card_number|last(4)}}']
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...spellings), { minLength: 4 }), (placeholders) => {
        const body = Buffer.from(joined(parts, (i) => placeholders[i] ?? ''))

        const output = substitute(type, body, SECRETS).toString()

        // The second one of the JSON is in place of a value.
        expect(output).toBe(joined(parts, (i) => (name === 'JSON' && i === 1 ? '"4242"' : '4242')))
      }),
      { numRuns: 50 },
    )
  })

  test('stays also around what stands in damaged templates', () => {
    fc.assert(
      fc.property(filled, ({ type, body }) => {
        const outcome = outcomeOf(() => substitute(type, body, SECRETS))
        if ('refusal' in outcome) return
        const found = sightings(type, body)
        let rest = outcome.ok
        let from = 0
        for (const { start, end } of found) {
          expect(body.toString('latin1', start, end)).toMatch(/^"?(\{|%7b){2}/i)
          const literal = body.subarray(from, start)
          const at = rest.indexOf(literal)
          expect(at).toBeGreaterThanOrEqual(0)
          rest = rest.subarray(at + literal.length)
          from = end
        }
        expect(rest.subarray(rest.length - (body.length - from))).toEqual(body.subarray(from))
      }),
      { numRuns: 2000 },
    )
  })

  test('passes as it is when there is none, well formed or not', () => {
    const piece = fc.oneof(
      fc.uint8Array({ maxLength: 30 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
      fc.constantFrom(
        ...TEMPLATES.flatMap(([, , parts]) => parts).map((part) => part.replaceAll('{', '(')),
        ...PIECES.filter((each) => !/[{\0]|7b|123/.test(each)),
      ),
    )
    const type = fc.constantFrom(...TEMPLATES.map(([, each]) => each), '', 'text/html', 'image/png')
    fc.assert(
      fc.property(type, fc.array(piece, { maxLength: 6 }), borders, (contentType, pieces, cuts) => {
        const text = pieces.join('').replaceAll(/[{\0]|%00/g, '')
        fc.pre(!/u007b|&#x?0*(123|7b)|%7b|%25|lbrace|lcub/i.test(text))
        const body = Buffer.from(text, 'latin1')

        expect(substitute(contentType, body, {})).toEqual(body)
        const cut = cutAt(
          body,
          cuts.map((cut) => Math.floor(cut * body.length)),
        )
        expect(substitutePieces(contentType, cut, {}).equals(body)).toBe(true)
      }),
      { numRuns: 5000 },
    )
  })
})

describe('the way a body is cut makes no difference', () => {
  test.each(TEMPLATES)('at every border: %s', (name, type, parts) => {
    const spelled = (text: string) => (name === 'a form' ? text.replaceAll('=', '%3d') : text)
    const body = Buffer.from(joined(parts, (i) => spelled(PLACEHOLDERS[i + 1] ?? '')))
    const whole = sightings(type, body)
    const secrets = { json: '{"o":{"two words":["Jane"]}}' }
    const output = substitute(type, body, secrets)
    expect(whole).toHaveLength(4)

    for (let border = 0; border <= body.length; border++) {
      const pieces = cutAt(body, [border])
      expect(sightingsInPieces(type, pieces)).toEqual(whole)
      expect(substitutePieces(type, pieces, secrets).equals(output)).toBe(true)
    }
    for (let size = 1; size <= 70; size++) {
      const every = Array.from(body, (_, at) => at).filter((at) => at % size === 0)
      expect(sightingsInPieces(type, cutAt(body, every))).toEqual(whole)
    }
  })

  test('whatever else stands in it', () => {
    fc.assert(
      fc.property(filled, borders, fc.boolean(), ({ type, body }, cuts, isByteByByte) => {
        const pieces = isByteByByte
          ? byteByByte(body)
          : cutAt(
              body,
              cuts.map((cut) => Math.floor(cut * body.length)),
            )
        const whole = outcomeOf(() => sightings(type, body))
        const inPieces = outcomeOf(() => sightingsInPieces(type, pieces))

        // Of several faults the one that is seen first is told, and that may be another one.
        if ('refusal' in whole) expect('refusal' in inPieces).toBe(true)
        else expect(inPieces).toEqual(whole)
      }),
      { numRuns: 10_000 },
    )
  })

  const FAULTS: readonly (readonly [string, string, string])[] = [
    ['JSON', '{{$card_numbr}}', 'placeholder_malformed'],
    ['JSON', '{{$card_number|nosuch}}', 'placeholder_malformed'],
    ['JSON', '\\u007b{$card_number}}', 'placeholder_malformed'],
    ['JSON', '" "', 'malformed_body'],
    ['a form', '{{$card_numbr}}', 'placeholder_malformed'],
    ['a form', '%257b%257b%24', 'placeholder_malformed'],
    ['a form', '%{{$card_number}}', 'value_not_encodable'],
    ['XML', '{{$card_numbr}}', 'placeholder_malformed'],
    ['multipart', '{{$card_numbr}}', 'placeholder_malformed'],
    ['text', '{{$card_numbr}}', 'placeholder_malformed'],
    ['text', '%7b%7b$card_number}}', 'placeholder_malformed'],
  ]
  test.each(FAULTS)('nor for the reason of a refusal: %s, %s', (name, fault, reason) => {
    const [, type, parts] = TEMPLATES.find(([each]) => each === name) ?? ['', '', []]
    const body = Buffer.from(
      joined(parts, (i) => (i === 0 ? PLACEHOLDERS[0] + fault : '{{$card_last4}}')),
    )
    const whole = outcomeOf(() => sightings(type, body))
    expect(whole).toMatchObject({ refusal: { reason } })

    for (let border = 0; border <= body.length; border++) {
      expect(outcomeOf(() => sightingsInPieces(type, cutAt(body, [border])))).toEqual(whole)
    }
    expect(outcomeOf(() => sightingsInPieces(type, byteByByte(body)))).toEqual(whole)
  })
})

test('an opener in what comes out was in a value', () => {
  const harmless = value.map((text) => text.replaceAll(/[{$]/g, '').trim() || 'x')
  fc.assert(
    fc.property(filled, harmless, ({ type, body }, text) => {
      const secrets = { json: JSON.stringify({ o: { 'two words': [text] } }) }
      const outcome = outcomeOf(() => substitute(type, body, secrets))

      if ('refusal' in outcome || type === MULTIPART) return
      expect(outcome.ok.toString('latin1')).not.toMatch(/\{\{[ \t\r\n]{0,16}\$/)
    }),
    { numRuns: 3000 },
  )
})
