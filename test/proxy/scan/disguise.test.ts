// Spellings of an opener that somebody behind us might decode: refused wherever they stand.

import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  DisguiseWatch,
  hasDisguisedOpener,
  refuseDisguises,
} from '../../../src/proxy/scan/disguise.ts'
import { cut, refusalOf } from './scanned.ts'

const DISGUISED: [string, string][] = [
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
  ['percent signs', '%7B%7b%24card_number%7D%7D'],
  ['a percent-encoded brace', '{%7b$card_number}}'],
  ['a percent-encoded blank', '{{%20$card_number}}'],
  ['two notations mixed', String.raw`\u007b&#x7b; $card_number}}`],
  ['one after a plain placeholder', String.raw`{{$card_number}} {\u007b$card_cvc}}`],
  ['one that overlaps a plain brace', String.raw`{{\u007b$card_number}}`],
]

test.each(DISGUISED)('an opener in disguise: %s', (_, text) => {
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
  ['a discount in percent', '10%7b off {$5}'],
])('no disguise: %s', (_, text) => {
  expect(hasDisguisedOpener(text)).toBe(false)
})

test.each([
  ['UTF-16, little end first', Buffer.from('{{$card_number}}', 'utf16le')],
  ['UTF-16, big end first', Buffer.from('{{$card_number}}', 'utf16le').swap16()],
  ['UTF-32', Buffer.concat([...'{{$a}}'].map((c) => Buffer.from([c.charCodeAt(0), 0, 0, 0])))],
])('an opener in a wider encoding is refused: %s', (_, bytes) => {
  expect(refusalOf(() => refuseDisguises(bytes))).toBe('placeholder_malformed')
})

test('a disguise is seen however the text is cut', () => {
  const spellings = fc.constantFrom(...DISGUISED.map(([, text]) => text))
  fc.assert(
    fc.property(
      fc.string({ maxLength: 3000, size: 'max' }),
      spellings,
      fc.array(fc.nat()),
      (before, spelling, cuts) => {
        const watch = new DisguiseWatch()

        const refusal = refusalOf(() => {
          for (const piece of cut(Buffer.from(before + spelling), cuts)) watch.look(piece)
        })

        expect(refusal).toBe('placeholder_malformed')
      },
    ),
  )
})
