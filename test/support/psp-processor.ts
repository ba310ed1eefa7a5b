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
  readonly body?: unknown
}

export interface Processor {
  readonly idempotencyHeader: string
  /** `undefined` is the answer to a body that is malformed, and nothing else is guessed from it. */
  parse(body: Buffer, contentType: string): Fields | undefined
  cardOf(fields: Fields): { number: unknown; cvc: unknown }
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
