// Origins of web pages (RFC 6454; what a browser writes into `Origin`), as an operator allows them: exact ones, each in the
// one spelling that browsers send, so that comparing them is comparing texts.

import type { Brand } from './brand.ts'
import { holdsCardNumber } from './card-number.ts'

export type WebOrigin = Brand<string, 'WebOrigin'>

const MAX_LENGTH = 255
/** No wildcards: a parser of URLs takes them for names. */
const HOST = /^([a-z0-9-]+\.)*[a-z0-9-]+$|^\[[0-9a-f:]+\]$/
/** Pages without TLS can be read and changed on their way, but for those of the machine that shows them. */
const OWN_MACHINE: ReadonlySet<string> = new Set(['localhost', '127.0.0.1', '[::1]'])

/** `https://shop.example[:port]`, or `http://localhost[:port]`; undefined for everything else, `null` included. */
export function parseWebOrigin(text: string): WebOrigin | undefined {
  const url = text.length > MAX_LENGTH ? null : URL.parse(text)
  if (url === null || url.origin !== text || !HOST.test(url.hostname) || holdsCardNumber(text)) {
    return undefined
  }
  const isAllowed =
    url.protocol === 'https:' || (url.protocol === 'http:' && OWN_MACHINE.has(url.hostname))
  return isAllowed ? (text as WebOrigin) : undefined
}
