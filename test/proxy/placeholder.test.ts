// The grammar of placeholders, as tables: what is one, what merely looks like one, and what is honest text.

import { expect, test } from 'vitest'
import { findOpener, hasDisguisedOpener, parsePlaceholder } from '../../src/proxy/placeholder.ts'

const parse = (text: string) =>
  parsePlaceholder(Buffer.from(text), findOpener(Buffer.from(text), 0))

test.each([
  ['the shortest spelling', '{{$card_number}}', 'card_number', undefined],
  ['a token', '{{$card_number:tok_1}}', 'card_number', 'tok_1'],
  ['blanks at every seam', '{{ $card_cvc : tok-1 }}', 'card_cvc', 'tok-1'],
  ['tabs and line breaks as blanks', '{{\t$card_cvc\r\n:\n\ttok\r}}', 'card_cvc', 'tok'],
  ['a token of 64 characters', `{{$card_bin:${'a'.repeat(64)}}}`, 'card_bin', 'a'.repeat(64)],
  ['one brace too many on either side', '{{{$card_bin8}}}', 'card_bin8', undefined],
])('a placeholder is read: %s', (_, text, field, token) => {
  const placeholder = parse(text)

  expect(placeholder).toMatchObject({ field, token })
})

test('a placeholder ends just after its braces', () => {
  const text = 'a{{$card_number: t}}}b'

  const placeholder = parsePlaceholder(Buffer.from(text), 1)

  expect(text.slice(placeholder?.end)).toBe('}b')
})

test.each(Array.from({ length: 17 }, (_, blanks) => blanks))(
  '%i blanks between the braces and the dollar make an opener',
  (blanks) => {
    const text = Buffer.from(`x{{${' '.repeat(blanks)}$card_number}}`)

    expect(findOpener(text, 0)).toBe(1)
    expect(parsePlaceholder(text, 1)?.field).toBe('card_number')
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
  expect(findOpener(Buffer.from(text), 0)).toBe(-1)
})

test.each([
  ['an unknown field', '{{$card_numbr}}'],
  ['a field of another case', '{{$Card_Number}}'],
  ['a field that objects have by themselves', '{{$constructor}}'],
  ['the prototype', '{{$__proto__}}'],
  ['a field that is not built yet', '{{$card_exp}}'],
  ['a network token, which is not built yet', '{{$network_token: t}}'],
  ['a path into a generic token, which is not built yet', '{{$.account.iban: t}}'],
  ['a filter, which is not built yet', '{{$card_number: t | last(4)}}'],
  ['a filter without a token', '{{$card_number|mask}}'],
  ['an unknown filter', '{{$card_number | explode}}'],
  ['no field', '{{$}}'],
  ['a blank before the field', '{{$ card_number}}'],
  ['a colon without a token', '{{$card_number:}}'],
  ['a colon and blanks', '{{$card_number:   }}'],
  ['two tokens', '{{$card_number: a b}}'],
  ['two colons', '{{$card_number: a: b}}'],
  ['a token with another character', '{{$card_number: a.b}}'],
  ['a token in quotes', '{{$card_number: "a"}}'],
  ['a token longer than any', `{{$card_number: ${'a'.repeat(65)}}}`],
  ['a field longer than any', `{{$${'a'.repeat(65)}}}`],
  ['one closing brace', '{{$card_number: t}'],
  ['no closing brace', '{{$card_number: t'],
  ['a blank between the closing braces', '{{$card_number: t} }'],
  ['more blanks than fit before the end', `{{$card_number${' '.repeat(17)}}}`],
  ['the end of the text after the dollar', '{{$'],
  ['a placeholder in a placeholder', '{{$card_number: {{$card_bin}}}}'],
])('malformed: %s', (_, text) => {
  expect(parse(text)).toBeUndefined()
})

test.each([
  ['JSON escapes', String.raw`\u007b\u007b$card_number}}`],
  ['JSON escapes in upper case', String.raw`\u007B\u007B$card_number}}`],
  ['the second brace escaped', String.raw`{\u007b$card_number}}`],
  ['the first brace escaped', String.raw`\u007b{$card_number}}`],
  ['the dollar escaped', String.raw`{{\u0024card_number}}`],
  ['an escaped blank', String.raw`{{\u0020$card_number}}`],
  ['an escaped tab', String.raw`{{\t$card_number}}`],
  ['decimal references', '&#123;&#123;$card_number}}'],
  ['decimal references with zeros in front', '&#000123;&#0123;$card_number}}'],
  ['hexadecimal references', '&#x7b;&#x7B;$card_number}}'],
  ['hexadecimal references with zeros in front', '&#x007b;&#X7b;$card_number}}'],
  ['named references', '&lbrace;&lcub;$card_number}}'],
  ['a plain brace and a reference', '{&#123;$card_number}}'],
  ['a reference and a plain brace', '&lbrace;{$card_number}}'],
  ['a referenced dollar', '{{&#36;card_number}}'],
  ['a named dollar', '{{&dollar;card_number}}'],
  ['a referenced blank', '{{&#32;$card_number}}'],
  ['two notations mixed', String.raw`\u007b&#x7b; $card_number}}`],
  ['one after a plain placeholder', String.raw`{{$card_number}} {\u007b$card_cvc}}`],
  ['one that overlaps a plain brace', String.raw`{{\u007b$card_number}}`],
])('an opener in disguise: %s', (_, text) => {
  expect(hasDisguisedOpener(text)).toBe(true)
})

test.each([
  ['a single escaped brace', String.raw`\u007b`],
  ['two escaped braces without a dollar', String.raw`\u007b\u007bcard_number}}`],
  ['an escaped brace before a dollar', String.raw`\u007b$card_number}`],
  ['a template of somebody else', '{{card_number}} &amp; {{ user.name }}'],
  ['a plain placeholder', String.raw`\n{{ $card_number }}&amp;`],
  ['a reference to another character', '&#124;&#124;$card_number'],
  ['closing braces only', String.raw`\u007d\u007d$`],
])('no disguise: %s', (_, text) => {
  expect(hasDisguisedOpener(text)).toBe(false)
})
