// What the declared type of a body says about where placeholders may stand in it.

import { type Charset, charsetNamed } from './charset.ts'

export type BodyKind =
  | 'json'
  | 'form'
  | 'xml'
  | 'multipart'
  | 'text'
  /** Types whose bytes are no text: an opener in them is chance, they pass unscanned. */
  | 'binary'
  /** Has a structure we do not read: a placeholder in them is refused. */
  | 'structured'

export type MediaType = {
  /** `application/json`, in lower case. */
  readonly essence: string
  readonly kind: BodyKind
  /** The one that is declared, if any. */
  readonly charset: Charset | undefined
  /** Declares a charset whose text cannot be searched byte by byte for ASCII. */
  readonly isUnreadable: boolean
  /** Of multipart types, where every receiver reads the same one. */
  readonly boundary: string | undefined
}

const BINARY =
  /^(image|audio|video|font)\/[a-z0-9.+-]+$|^application\/(octet-stream|pdf|zip|gzip|wasm|x-protobuf|grpc)$/

// The same few values come again and again; bounded, because a caller chooses them.
const known = new Map<string, MediaType>()
const MAX_KNOWN = 256

export function mediaTypeOf(contentType: string | undefined): MediaType {
  const text = contentType ?? ''
  let type = known.get(text)
  if (type === undefined) {
    type = parse(text)
    // A boundary comes once and never again.
    if (known.size < MAX_KNOWN && type.boundary === undefined) known.set(text, type)
  }
  return type
}

const PARAMETER = /;\s*([!#-'*+.^_`|~0-9a-z-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))/gi
/** RFC 9110, 8.3.1, to the letter: receivers differ in what they make of anything else. */
const STRICT =
  /^[!#-'*+.^_`|~0-9a-z-]+\/[!#-'*+.^_`|~0-9a-z-]+(?:[ \t]*;[ \t]*[!#-'*+.^_`|~0-9a-z-]+=(?:[!#-'*+.^_`|~0-9a-z-]+|"(?:[^"\\]|\\.)*"))*$/i
/** RFC 2046, 5.1.1. */
const BOUNDARY = /^[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]$/

function parse(text: string): MediaType {
  const essence = (text.split(';', 1)[0] as string).trim().toLowerCase()
  const parameters = [...text.matchAll(PARAMETER)].map(([, name = '', quoted, token = '']) => ({
    name: name.toLowerCase(),
    value: quoted === undefined ? token : quoted.replaceAll(/\\(.)/g, '$1'),
  }))
  const valuesOf = (name: string) => [
    ...new Set(parameters.flatMap((each) => (each.name === name ? [each.value] : []))),
  ]
  const charsets = new Set(valuesOf('charset').map(charsetNamed))
  const [charset] = charsets
  const [boundary, ...otherBoundaries] = valuesOf('boundary')
  const kind = kindOf(essence)
  // `xboundary` and `boundary*` are the boundary for some.
  const isSaidOnce =
    otherBoundaries.length === 0 &&
    parameters.every(({ name }) => name === 'boundary' || !/boundary|\*$/.test(name))
  const isBoundary =
    boundary !== undefined && BOUNDARY.test(boundary) && isSaidOnce && STRICT.test(text)
  return {
    essence,
    kind,
    charset,
    isUnreadable: kind !== 'binary' && (charsets.size > 1 || charsets.has(undefined)),
    boundary: isBoundary ? boundary : undefined,
  }
}

function kindOf(type: string): BodyKind {
  if (type === 'application/json' || type.endsWith('+json')) return 'json'
  if (type === 'application/x-www-form-urlencoded') return 'form'
  if (type.endsWith('/xml') || type.endsWith('+xml')) return 'xml'
  if (type.startsWith('multipart/')) return 'multipart'
  if (type === 'text/html') return 'structured'
  return BINARY.test(type) ? 'binary' : 'text'
}
