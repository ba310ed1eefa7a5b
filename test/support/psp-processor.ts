// What the simulator's server asks of a simulated processor, and how both read fields.

export type Fields = { readonly [name: string]: unknown }

export interface Call {
  readonly method: string
  readonly path: string
  readonly headers: { readonly [name: string]: string }
  readonly origin: string
}

export interface Answer {
  readonly status: number
  readonly headers: { readonly [name: string]: string }
  /** To be written as JSON. */
  readonly body?: unknown
  /** In place of a body: a document as it is to be sent; gzipped for a caller that takes it. */
  readonly xml?: string
}

/** As it stood there, whether or not it is one: to some processors `3` and `"03"` are not the same. */
export interface CardRead {
  readonly number: unknown
  readonly expMonth?: unknown
  readonly expYear?: unknown
  readonly cvc: unknown
}

export interface Processor {
  readonly idempotencyHeader?: string
  /** Where its key may stand, if not in `Authorization`; the first that is there counts. */
  readonly keyHeaders?: readonly string[]
  /** `undefined` is the answer to a body that is malformed, and nothing else is guessed from it. */
  parse(body: Buffer, contentType: string): Fields | undefined
  cardOf(fields: Fields): CardRead
  /** `undefined` when the processor has no such endpoint. */
  answer(call: Call, fields: Fields): Answer | undefined
  unauthorized(call: Call): Answer
  malformed(call: Call): Answer
  /** For a processor that refuses an idempotency key which comes back with another request. */
  keyReused?(call: Call): Answer
}

export function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The fields inside a field; none when it is not there, or is something else. */
export function nested(fields: Fields, name: string): Fields {
  const value = fields[name]
  return isFields(value) ? value : {}
}

/** Strictly, and an object: anything else is `undefined`. */
export function parseJson(body: Buffer): Fields | undefined {
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body))
    return isFields(value) ? value : undefined
  } catch {
    return undefined
  }
}
