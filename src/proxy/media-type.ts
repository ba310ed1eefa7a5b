// What the declared type of a body says about where placeholders may stand in it.

export type BodyKind =
  | 'json'
  | 'form'
  | 'text'
  /** Types whose bytes are no text: an opener in them is chance, they pass unscanned. */
  | 'binary'
  /** Types that have a structure we do not read: a placeholder in them is refused. */
  | 'structured'

export type MediaType = {
  readonly kind: BodyKind
  /** Values beyond ASCII may stand in it as UTF-8. */
  readonly isUtf8: boolean
  /** A charset whose text cannot be searched byte by byte for ASCII. */
  readonly isUnreadable: boolean
}

const BINARY =
  /^(image|audio|video|font)\/[a-z0-9.+-]+$|^application\/(octet-stream|pdf|zip|gzip|wasm|x-protobuf|grpc)$/
const ASCII_COMPATIBLE: ReadonlySet<string> = new Set([
  'utf-8',
  'utf8',
  'us-ascii',
  'ascii',
  'iso-8859-1',
  'iso-8859-15',
  'windows-1252',
])

// The same few values come again and again; bounded, because a caller chooses them.
const known = new Map<string, MediaType>()
const MAX_KNOWN = 256

export function mediaTypeOf(contentType: string | undefined): MediaType {
  const text = contentType ?? ''
  let type = known.get(text)
  if (type === undefined) {
    type = parse(text)
    if (known.size < MAX_KNOWN) known.set(text, type)
  }
  return type
}

function parse(text: string): MediaType {
  const [essence = '', ...parameters] = text.toLowerCase().split(';')
  const type = essence.trim()
  const charsets = new Set(
    parameters.flatMap(
      (parameter) => /^\s*charset\s*=\s*"?([^"\s]*)"?\s*$/.exec(parameter)?.[1] ?? [],
    ),
  )
  const [charset] = charsets
  const kind = kindOf(type)
  return {
    kind,
    isUtf8: charset === undefined || charset === 'utf-8' || charset === 'utf8',
    isUnreadable:
      kind !== 'binary' &&
      charset !== undefined &&
      (charsets.size > 1 || !ASCII_COMPATIBLE.has(charset)),
  }
}

function kindOf(type: string): BodyKind {
  if (type === 'application/json' || type.endsWith('+json')) return 'json'
  if (type === 'application/x-www-form-urlencoded') return 'form'
  if (
    type.startsWith('multipart/') ||
    type.endsWith('/xml') ||
    type.endsWith('+xml') ||
    type === 'text/html'
  ) {
    return 'structured'
  }
  return BINARY.test(type) ? 'binary' : 'text'
}
