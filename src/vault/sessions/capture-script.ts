// The module that pages import: NaCl (tweetnacl, public domain) and browser/capture.js as one file, put together when the
// server starts. Its bytes are the same for every start of one version, so that a page can pin their hash.

import { hash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'

export type CaptureScript = {
  readonly text: string
  /** `sha384-…`, as in an `integrity` attribute (Subresource Integrity). */
  readonly integrity: string
}

export function readCaptureScript(): CaptureScript {
  const nacl = readFileSync(createRequire(import.meta.url).resolve('tweetnacl/nacl-fast.min.js'))
  const own = readFileSync(new URL('./browser/capture.js', import.meta.url), 'utf8')
  // In the way of CommonJS, or it would put itself on the page's window.
  const text = `const nacl = (() => {
const module = { exports: {} }
${nacl.toString('utf8').trim()}
return module.exports
})()

${own}`
  return { text, integrity: `sha384-${hash('sha384', text, 'base64')}` }
}
