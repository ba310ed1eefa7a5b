// XML as a strict processor reads it: well-formed XML 1.0 with namespaces, UTF-8, no DTD and so no
// entities but the five of the language. Comments and processing instructions are not kept.

import { SaxesParser } from 'saxes'

export interface XmlElement {
  /** Without the prefix, which is the writer's own choice. */
  readonly name: string
  readonly namespace: string
  readonly attributes: { readonly [name: string]: string }
  readonly children: readonly XmlElement[]
  /** Text and CDATA directly in it. */
  readonly text: string
}

type Building = { -readonly [Key in keyof XmlElement]: XmlElement[Key] } & { children: Building[] }

/** `undefined` for a document that is not well-formed, for whatever reason. */
export function parseXml(bytes: Uint8Array): XmlElement | undefined {
  let root: Building | undefined
  const open: Building[] = []
  const parser = new SaxesParser({ xmlns: true, position: false })
  parser.on('error', (error) => {
    throw error
  })
  parser.on('doctype', () => {
    throw new Error('a document type')
  })
  parser.on('opentag', ({ local, uri, attributes }) => {
    const element: Building = {
      name: local,
      namespace: uri,
      attributes: Object.fromEntries(
        Object.values(attributes).map(({ name, value }) => [name, value]),
      ),
      children: [],
      text: '',
    }
    open.at(-1)?.children.push(element)
    root ??= element
    open.push(element)
  })
  parser.on('closetag', () => void open.pop())
  const addText = (text: string) => {
    const element = open.at(-1)
    if (element !== undefined) element.text += text
  }
  parser.on('text', addText)
  parser.on('cdata', addText)
  try {
    parser.write(new TextDecoder('utf-8', { fatal: true }).decode(bytes)).close()
    return root
  } catch {
    return undefined
  }
}

export function childOf(element: XmlElement | undefined, name: string): XmlElement | undefined {
  return element?.children.find((child) => child.name === name)
}

/** For text and for attributes in double quotes. */
export function escapeXml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
}
