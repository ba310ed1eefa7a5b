// Where a placeholder stands, and where a destination lets a field stand.

import type { Brand } from '../core/brand.ts'

export type Place =
  /**
   * `at`: JSON pointer, XML path, form key or part name; undefined where nobody asked, or where it has none (the name
   * of a property).
   */
  | { readonly in: 'body'; readonly at: string | undefined }
  | { readonly in: 'header'; readonly name: string }
  | { readonly in: 'query'; readonly name: string }
  | { readonly in: 'path' }
  /** The decoded user and password of Basic credentials. */
  | { readonly in: 'basic' }

/** `body`, `body:/source/number`, `body:card[number]`, `header:x-pan`, `query:pan`, `path`, `basic`. */
export type PlaceRule = Brand<string, 'PlaceRule'>

const RULE =
  /^(body|path|basic|body:.{1,512}|header:[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}|query:.{1,128})$/s

export function parsePlaceRule(input: string): PlaceRule | undefined {
  if (!RULE.test(input)) return undefined
  return (input.startsWith('header:') ? input.toLowerCase() : input) as PlaceRule
}

export const ANYWHERE_IN_BODY = 'body' as PlaceRule

export function isPlaceAllowed(rules: ReadonlySet<string>, place: Place): boolean {
  switch (place.in) {
    case 'body':
      return rules.has('body') || (place.at !== undefined && rules.has(`body:${place.at}`))
    case 'header':
      return rules.has(`header:${place.name}`)
    case 'query':
      return rules.has(`query:${place.name}`)
    case 'path':
    case 'basic':
      return rules.has(place.in)
    default:
      return place satisfies never
  }
}
