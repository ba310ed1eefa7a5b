// Compressed request bodies (RFC 9110, 8.4.1; RFC 8878 for zstd): inflated, so that placeholders in them are found. A
// small body can become a huge one, so what comes out is bounded by what goes in.

import { type Readable, Transform } from 'node:stream'
import {
  constants,
  createBrotliDecompress,
  createGunzip,
  createInflate,
  createZstdDecompress,
} from 'node:zlib'
import { Refusal } from './refusal.ts'
import { BodyCut } from './streamed-body.ts'

/** With windows of up to 8 MB (RFC 9659), and not of 128. */
const createZstdOfHttp = () =>
  createZstdDecompress({ params: { [constants.ZSTD_d_windowLogMax]: 23 } })

const INFLATERS = {
  gzip: createGunzip,
  'x-gzip': createGunzip,
  deflate: createInflate,
  br: createBrotliDecompress,
  zstd: createZstdOfHttp,
} as const

export type Coding = keyof typeof INFLATERS | 'identity'

/** Undefined for several codings on top of each other, and for any other one. */
export function parseCoding(contentEncoding: string | undefined): Coding | undefined {
  const name = contentEncoding?.trim().toLowerCase() ?? 'identity'
  return name === 'identity' || Object.hasOwn(INFLATERS, name) ? (name as Coding) : undefined
}

/** Text seldom shrinks to less than a tenth. */
const MAX_RATIO = 100
/** Up to this the ratio is not looked at. */
const FREE_BYTES = 1024 * 1024

/** Fails with Refusal. The source is not destroyed: its connection still has to carry the answer. */
export function inflated(source: Readable, coding: Exclude<Coding, 'identity'>): Readable {
  const inflater = INFLATERS[coding]()
  let fed = 0
  let made = 0
  const bounded = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      made += chunk.length
      const isTooMuch = made > FREE_BYTES && made > MAX_RATIO * inflater.bytesWritten
      if (isTooMuch) done(new Refusal('body_too_large'))
      else done(null, chunk)
    },
    flush(done) {
      // What follows the compressed data would be lost.
      done(inflater.bytesWritten < fed ? new Refusal('malformed_body') : null)
    },
  })
  source.on('data', (chunk: Buffer) => {
    fed += chunk.length
  })
  source.on('close', () => {
    if (!source.readableEnded) bounded.destroy(new BodyCut())
  })
  inflater.on('error', () => bounded.destroy(new Refusal('malformed_body')))
  bounded.on('close', () => {
    source.unpipe(inflater)
    inflater.destroy()
  })
  source.pipe(inflater).pipe(bounded)
  return bounded
}
