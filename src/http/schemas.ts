// Schemas that several features' routes share.

import Type, { type TSchema } from 'typebox'

export const strict = { additionalProperties: false } as const

/** In answers: there, or null. */
export function Nullable<T extends TSchema>(schema: T) {
  return Type.Union([schema, Type.Null()])
}

export const Time = Type.String({ description: 'ISO 8601, UTC' })
export const Json = Type.Record(Type.String(), Type.Unknown())

/** Numbers come as text in a query; they are checked as text and converted where they are used. */
export const Count = Type.String({ pattern: '^[0-9]{1,9}$' })

export function page(query: { limit?: string; offset?: string }): {
  limit: number
  offset: number
} {
  return { limit: Math.min(Number(query.limit ?? 10), 100), offset: Number(query.offset ?? 0) }
}
