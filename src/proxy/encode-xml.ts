// How a value is written into XML (1.0, fifth edition): text, attribute values and CDATA sections, so that a parser
// gives exactly the value back. Character references stand for what would end the value, what a parser would
// normalise (2.11, 3.3.3), and what the document's charset has not got. Characters that XML cannot hold are refused.

import { codePointAt, utf8Length } from '../core/utf8.ts'
import { wipeableBuffer } from '../core/wipeable.ts'
import type { Charset } from './charset.ts'
import type { Encoder } from './encode.ts'

/** What stands in place of a character: undefined for itself. */
type Spelling = (code: number) => string | undefined

const referenceTo = (code: number) => `&#${code};`

// & < > ] and CR everywhere: a `]` could stand before a `]>` of the template. XML 1.1 takes NEL and LS for line ends
// and wants C1 controls as references.
const C1_CONTROLS = Array.from({ length: 33 }, (_, i) => 0x7f + i)
const REFERENCED: ReadonlySet<number> = new Set([...Buffer.from('&<>]\r'), ...C1_CONTROLS, 0x2028])
const REFERENCED_IN_ATTRIBUTE: ReadonlySet<number> = new Set([
  ...REFERENCED,
  ...Buffer.from('"\'\t\n'),
])

export const encodeXmlText = (charset: Charset): Encoder =>
  spelled(charset, (code) => (REFERENCED.has(code) ? referenceTo(code) : undefined), referenceTo)

export const encodeXmlAttribute = (charset: Charset): Encoder =>
  spelled(
    charset,
    (code) => (REFERENCED_IN_ATTRIBUTE.has(code) ? referenceTo(code) : undefined),
    referenceTo,
  )

const END = ']]>'
const START = '<![CDATA['
const betweenSections = (code: number) => `${END}${referenceTo(code)}${START}`

/**
 * In a CDATA section, which is ended and begun again before every `>` and after every `]`, so that with what stands
 * around the value no `]]>` comes about; a reference has to stand between two sections.
 */
export const encodeXmlCdata = (charset: Charset): Encoder =>
  spelled(
    charset,
    (code) => {
      switch (code) {
        case 0x3e:
          return `${END}${START}>`
        case 0x5d:
          return `]${END}${START}`
        default:
          return REFERENCED.has(code) && code !== 0x26 && code !== 0x3c
            ? betweenSections(code)
            : undefined
      }
    },
    betweenSections,
  )

/** `beyond`: what stands for a character that the charset has not got. */
function spelled(charset: Charset, special: Spelling, beyond: (code: number) => string): Encoder {
  const spelling: Spelling = (code) =>
    special(code) ?? (charset.has(code) ? undefined : beyond(code))
  return (value) => {
    let length = 0
    let isSame = true
    for (let at = 0; at < value.length; ) {
      const code = codePointAt(value, at)
      if (!isXmlCharacter(code)) return undefined
      at += utf8Length(code)
      const text = spelling(code)
      isSame &&= text === undefined && (code < 0x80 || charset.isUtf8)
      length += text?.length ?? charset.lengthOf(code)
    }
    if (isSame) return value
    const out = wipeableBuffer(length)
    let end = 0
    for (let at = 0; at < value.length; ) {
      const code = codePointAt(value, at)
      at += utf8Length(code)
      const text = spelling(code)
      if (text === undefined) end = charset.write(out, end, code)
      else end += out.write(text, end, 'latin1')
    }
    return out
  }
}

/** XML 1.0, 2.2. */
function isXmlCharacter(code: number): boolean {
  return code < 0x20
    ? code === 0x09 || code === 0x0a || code === 0x0d
    : code !== 0xfffe && code !== 0xffff
}
