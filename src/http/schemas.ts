// Schemas that several features' routes share.

import Type, { type Static, type TSchema } from 'typebox'

export const strict = { additionalProperties: false } as const

/**
 * There, or null. Of two types in one schema rather than one of two schemas: to choose between those an answer's serializer
 * validates each of them, which was two thirds of what a long list costs.
 */
export function Nullable<T extends TSchema>(schema: T) {
  const { type, enum: values } = schema as { type?: string; enum?: readonly unknown[] }
  if (type === undefined) throw new Error('a schema without a type cannot be made nullable')
  return Type.Unsafe<Static<T> | null>({
    ...schema,
    type: [type, 'null'],
    ...(values === undefined ? {} : { enum: [...values, null] }),
  })
}

export const Time = Type.String({ description: 'ISO 8601, UTC' })
/** Any object. (A record of TypeBox's has a pattern for its names, which no line end matches: answers would lack those.) */
export const Json = Type.Unsafe<Record<string, unknown>>(
  Type.Object({}, { additionalProperties: true }),
)

export const ProposalId = Type.String({
  description: 'What is approved or rejected, and nothing newer.',
})
export const ProposedBy = Type.String({
  description: 'Id of the API key, which cannot approve it.',
})
export const ProposalBody = Type.Object(
  {
    proposal_id: Type.String({
      pattern: '^req_[0-9a-f]{32}$',
      description: 'As it was shown: refused when another proposal has taken its place.',
    }),
  },
  strict,
)

/** Numbers come as text in a query; they are checked as text and converted where they are used. */
const Count = Type.String({ pattern: '^[0-9]{1,9}$' })

export const PageQuery = Type.Object(
  { limit: Type.Optional(Count), offset: Type.Optional(Count) },
  strict,
)

export function page(query: Static<typeof PageQuery>): {
  limit: number
  offset: number
} {
  return { limit: Math.min(Number(query.limit ?? 10), 100), offset: Number(query.offset ?? 0) }
}
