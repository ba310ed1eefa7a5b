// Which scanner reads a body, by its declared type, and the scan of a body that is there as a whole.

import { type Charset, UTF_8 } from '../charset.ts'
import type { MediaType } from '../media-type.ts'
import { nextOpener } from '../placeholder.ts'
import { Refusal } from '../refusal.ts'
import { DisguiseWatch, refuseDisguises } from './disguise.ts'
import { FormScanner } from './form.ts'
import { JsonScanner } from './json.ts'
import { LenientScanner, RefusingScanner } from './lenient.ts'
import { MultipartScanner } from './multipart.ts'
import { type Found, NOTHING_FOUND, type Scanner } from './scanner.ts'
import { textScanner } from './text.ts'
import { XmlScanner } from './xml.ts'

/** `wantsPlaces`: whether anybody asks where in the body. Throws Refusal. */
export function scanBody(body: Buffer, type: MediaType, wantsPlaces: boolean): readonly Found[] {
  if (type.kind === 'binary' || body.length === 0) return NOTHING_FOUND
  if (type.isUnreadable) throw new Refusal('content_encoding_unsupported')
  if (!mayHoldPlaceholder(body, type)) return NOTHING_FOUND
  const found: Found[] = []
  // Of a whole text that has been looked at, and in which an opener stands, a LenientScanner would say the same.
  const isLookedAt = type.kind !== 'form' && type.kind !== 'multipart'
  const scanner = isLookedAt ? strictScanner(type, wantsPlaces, 0) : bodyScanner(type, wantsPlaces)
  scanner.scan(body, true, found)
  return found
}

const MAYBE_IN_FORM = /\{\{|\\|\0|%(?:7b|5c|26|25|00)/i

/** So that the many bodies without any are not read closely. Throws Refusal. */
function mayHoldPlaceholder(body: Buffer, type: MediaType): boolean {
  switch (type.kind) {
    case 'form':
      return MAYBE_IN_FORM.test(body.toString('latin1'))
    case 'multipart':
      return true
    default:
      refuseDisguises(body)
      return nextOpener(body, 0, true) !== -1
  }
}

/** For bodies that come in windows, and parts: with all that `scanBody` does. Throws Refusal. */
export function bodyScanner(type: MediaType, wantsPlaces: boolean, depth = 0): Scanner {
  if (type.isUnreadable) throw new Refusal('content_encoding_unsupported')
  const scanner = strictScanner(type, wantsPlaces, depth)
  if (scanner === PASSING) return scanner
  // These look at what they have decoded themselves.
  const isWatchful = scanner instanceof FormScanner || scanner instanceof MultipartScanner
  return new LenientScanner(scanner, isWatchful ? undefined : new DisguiseWatch())
}

const PASSING: Scanner = { scan: (window) => window.length }
/** Of multipart bodies in parts of others. */
const MAX_DEPTH = 16

/** `depth`: how many multipart bodies it stands in. */
function strictScanner(type: MediaType, wantsPlaces: boolean, depth: number): Scanner {
  const charset: Charset = type.charset ?? UTF_8
  switch (type.kind) {
    case 'json':
      return new JsonScanner(charset, wantsPlaces)
    case 'form':
      return new FormScanner(charset)
    case 'xml':
      return new XmlScanner(type.charset)
    case 'multipart':
      return type.boundary === undefined || depth === MAX_DEPTH
        ? new RefusingScanner('malformed_body')
        : new MultipartScanner(type.boundary, type.essence === 'multipart/form-data', (partType) =>
            bodyScanner(partType, wantsPlaces, depth + 1),
          )
    case 'text':
      return textScanner(charset)
    case 'binary':
      return PASSING
    case 'structured':
      return new RefusingScanner('value_not_encodable')
    default:
      return type.kind satisfies never
  }
}
