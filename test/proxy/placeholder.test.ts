// The grammar of placeholders, as tables: what is one, what merely looks like one, and what is honest text.

import { expect, test } from 'vitest'
import {
  MAX_PLACEHOLDER_BYTES,
  nextOpener,
  openerAt,
  type Placeholder,
  readPlaceholder,
} from '../../src/proxy/placeholder.ts'
import { Refusal } from '../../src/proxy/refusal.ts'

const findOpener = (text: Buffer, from = 0) => nextOpener(text, from, true)

function parse(text: string): Placeholder {
  const bytes = Buffer.from(text)
  const placeholder = readPlaceholder(bytes, findOpener(bytes), true)
  if (placeholder === 'cut') throw new Error('nothing is cut at the end')
  return placeholder
}

/** What is refused, by the field or filter at fault. */
function refusedFor(text: string): string | undefined {
  try {
    parse(text)
  } catch (error) {
    if (error instanceof Refusal && error.reason === 'placeholder_malformed') return error.field
    throw error
  }
  throw new Error('it is not refused')
}

test.each([
  ['the shortest spelling', '{{$card_number}}', 'card_number', undefined],
  ['a token', '{{$card_number:tok_1}}', 'card_number', 'tok_1'],
  ['blanks at every seam', '{{ $card_cvc : tok-1 }}', 'card_cvc', 'tok-1'],
  ['tabs and line breaks as blanks', '{{\t$card_cvc\r\n:\n\ttok\r}}', 'card_cvc', 'tok'],
  ['a token of 64 characters', `{{$card_bin:${'a'.repeat(64)}}}`, 'card_bin', 'a'.repeat(64)],
  ['one brace too many on either side', '{{{$card_bin8}}}', 'card_bin8', undefined],
  ['a path into a generic token', '{{$.account.iban: tok}}', '$.account.iban', 'tok'],
  [
    'a path in another spelling',
    "{{ $['account']['two words'][0].* }}",
    "$.account['two words'][0][*]",
    undefined,
  ],
])('a placeholder is read: %s', (_, text, field, token) => {
  const placeholder = parse(text)

  expect(placeholder).toMatchObject({ field, token })
})

test('a placeholder ends just after its braces', () => {
  const text = 'a{{$card_number: t}}}b'

  expect(text.slice(parse(text).end)).toBe('}b')
})

test.each(Array.from({ length: 17 }, (_, blanks) => blanks))(
  '%i blanks between the braces and the dollar make an opener',
  (blanks) => {
    const text = Buffer.from(`x{{${' '.repeat(blanks)}$card_number}}`)

    expect(findOpener(text)).toBe(1)
    expect(parse(text.toString()).field).toBe('card_number')
  },
)

test.each([
  ['17 blanks', `{{${' '.repeat(17)}$card_number}}`],
  ['no dollar', '{{card_number}}'],
  ['one brace', '{$card_number}'],
  ['a blank between the braces', '{ {$card_number}}'],
  ['another character before the dollar', '{{.$card_number}}'],
  ['a no-break space, which is no blank', '{{\u00a0$card_number}}'],
  ['a form feed, which is no blank', '{{\f$card_number}}'],
  ['the end of the text', '{{'],
  ['nothing', ''],
])('no opener: %s', (_, text) => {
  expect(findOpener(Buffer.from(text))).toBe(-1)
})

test.each<[string, string, string[]]>([
  ['one', '{{$card_number|mask}}', ['mask']],
  ['one after a token', '{{$card_number: t | last(4)}}', ['last']],
  ['several', '{{$card_number|digits|last(4)|pad(6)}}', ['digits', 'last', 'pad']],
  ['blanks at every seam', '{{$card_bin\t|\r\nlast  ( 4 )\n|  mask }}', ['last', 'mask']],
  ['a date and its format', '{{$card_exp | format(MM/YY) | base64}}', ['format', 'base64']],
  ['an argument with braces of another kind', "{{$card_bin|default('(a) b, c')}}", ['default']],
  ['as many as there may be', `{{$card_bin${'|upper'.repeat(8)}}}`, Array(8).fill('upper')],
])('filters are read: %s', (_, text, kinds) => {
  expect(parse(text).filters.map(({ kind }) => kind)).toEqual(kinds)
})

test.each([
  ['no filter', '{{$card_number}}', false],
  ['a number', '{{$card_number|number}}', true],
  ['a number and a default', '{{$card_number|number|default(null)}}', true],
  ['JSON', '{{$.a|json}}', true],
  ['a number made a string again', '{{$card_number|number|string}}', false],
  ['a default before a number', '{{$card_number|default(0)|number}}', true],
  ['something made of JSON', '{{$.a|json|base64}}', false],
])('it is known whether JSON comes out: %s', (_, text, isJson) => {
  expect(parse(text).isJson).toBe(isJson)
})

test.each<[string, string, string | undefined]>([
  ['an unknown field', '{{$card_numbr}}', 'card_numbr'],
  ['a field of another case', '{{$Card_Number}}', 'Card_Number'],
  ['a field that objects have by themselves', '{{$constructor}}', 'constructor'],
  ['the prototype', '{{$__proto__}}', '__proto__'],
  ['an expiry without a format', '{{$card_exp}}', 'format'],
  ['an expiry with another filter first', '{{$card_exp | last(2)}}', 'last'],
  ['an expiry with a default first', '{{$card_exp | default(x) | format(MMYY)}}', 'default'],
  ['an expiry formatted twice', '{{$card_exp | format(MMYY) | format(MMYY)}}', 'format'],
  ['a format of something that is no date', '{{$card_exp_month | format(MM)}}', 'format'],
  ['a network token, which is not built yet', '{{$network_token: t}}', 'network_token'],
  ['a script in a path', '{{$.a[?(@.b)]: t}}', undefined],
  ['a recursive path', '{{$..a: t}}', undefined],
  ['a path to everything', '{{$: t}}', ''],
  ['a path longer than any', `{{$${'.a'.repeat(200)}: t}}`, undefined],
  ['an unknown filter', '{{$card_number | explode}}', 'explode'],
  ['a filter of another case', '{{$card_number | Mask}}', 'Mask'],
  ['a filter that objects have by themselves', '{{$card_number | toString}}', 'toString'],
  ['no filter after a bar', '{{$card_number | }}', ''],
  ['a filter too many', `{{$card_bin${'|upper'.repeat(9)}}}`, 'upper'],
  ['two filters without a bar', '{{$card_number | upper lower}}', undefined],
  ['a filter without its argument', '{{$card_number | last}}', 'last'],
  ['an argument to one that takes none', '{{$card_number | mask(1)}}', 'mask'],
  ['an argument without an end', '{{$card_number | last(4 }}', 'last'],
  ['an argument with an open quote', "{{$card_number | default('a)}}", 'default'],
  ['a quote in an argument', '{{$card_number | default("a")}}', 'default'],
  ['a backslash in an argument', '{{$card_number | default(\\u0061)}}', 'default'],
  ['a reference in an argument', '{{$card_number | default(&#97;)}}', 'default'],
  ['a tag in an argument', '{{$card_number | default(<a>)}}', 'default'],
  ['a line break in an argument', '{{$card_number | default(a\nb)}}', 'default'],
  ['a letter beyond ASCII in an argument', '{{$card_number | default(\u00e9)}}', 'default'],
  ['a brace in an argument', "{{$card_number | default('}')}}", 'default'],
  ['a default that is no JSON where JSON stands', '{{$card_number|number|default(x)}}', 'default'],
  ['a token after the filters', '{{$card_number | mask: t}}', undefined],
  ['no field', '{{$}}', ''],
  ['a blank before the field', '{{$ card_number}}', ''],
  ['a colon without a token', '{{$card_number:}}', undefined],
  ['a colon and blanks', '{{$card_number:   }}', undefined],
  ['two tokens', '{{$card_number: a b}}', undefined],
  ['two colons', '{{$card_number: a: b}}', undefined],
  ['a token with another character', '{{$card_number: a.b}}', undefined],
  ['a token in quotes', '{{$card_number: "a"}}', undefined],
  ['a token longer than any', `{{$card_number: ${'a'.repeat(65)}}}`, undefined],
  ['a field longer than any', `{{$${'a'.repeat(65)}}}`, 'a'.repeat(64)],
  ['one closing brace', '{{$card_number: t}', undefined],
  ['no closing brace', '{{$card_number: t', undefined],
  ['a blank between the closing braces', '{{$card_number: t} }', undefined],
  ['more blanks than fit before the end', `{{$card_number${' '.repeat(17)}}}`, undefined],
  ['the end of the text after the dollar', '{{$', ''],
  ['a placeholder in a placeholder', '{{$card_number: {{$card_bin}}}}', undefined],
  [
    'more bytes than any has',
    `{{$card_bin|default(${'a'.repeat(MAX_PLACEHOLDER_BYTES)})}}`,
    undefined,
  ],
])('malformed: %s', (_, text, field) => {
  expect(refusedFor(text)).toBe(field)
})

test('a placeholder that is cut anywhere is waited for', () => {
  const text = Buffer.from("{{ $card_number : t | default('a b') }}")

  for (let length = 1; length < text.length; length++) {
    const piece = text.subarray(0, length)
    expect(nextOpener(piece, 0, false)).toBe(0)
    expect(openerAt(piece, 0)).toBe(length < 4 ? 'cut' : 'yes')
    if (length >= 4) expect(readPlaceholder(piece, 0, false)).toBe('cut')
  }
})

test('nobody waits longer than a placeholder can be', () => {
  const text = Buffer.from(`{{$card_number: t ${' '.repeat(MAX_PLACEHOLDER_BYTES)}`)

  expect(() => readPlaceholder(text, 0, false)).toThrow(Refusal)
})
