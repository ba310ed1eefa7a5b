// Destinations: where a merchant's requests may go, which fields may stand where, and what is added on the way.
// The object of the wire is parsed here into what the data plane needs; nothing allowed means nothing passes.

import Type, { type Static } from 'typebox'
import { invalidField } from '../core/errors.ts'
import { EXPIRY_FIELD, type Field, parseField } from '../core/field.ts'
import { strict } from '../http/schemas.ts'
import type { DestinationName } from '../store/contract.ts'
import { DESTINATION_METHODS, HEADER_NAME, isDroppedRequestHeader } from './headers.ts'
import { type OriginRules, parseOriginPattern } from './origin.ts'
import { compilePathRule, isNormalPath } from './path-rule.ts'
import { ANYWHERE_IN_BODY, parsePlaceRule } from './place.ts'
import { parseSigning, SigningBody, type SigningSettings } from './signing/settings.ts'

const milliseconds = (value: number, description: string) =>
  Type.Integer({ minimum: 1, maximum: 600_000, default: value, description })

const NAME = /^[a-z0-9][a-z0-9-]{0,62}$/

export function isDestinationName(input: string): boolean {
  return NAME.test(input)
}

export const DestinationBody = Type.Object(
  {
    name: Type.String({ pattern: NAME.source }),
    origin: Type.String({
      maxLength: 300,
      description:
        '`https://api.example.com`; `https://*.example.com` allows one label in place of `*`. Never over a name under which anybody can register.',
    }),
    allow: Type.Array(
      Type.Object(
        {
          methods: Type.Array(
            Type.Union(DESTINATION_METHODS.map((method) => Type.Literal(method))),
            {
              minItems: 1,
            },
          ),
          path: Type.String({
            pattern: '^/',
            maxLength: 1024,
            description: '`*` matches any run of characters, slashes included.',
          }),
          fields: Type.Array(
            Type.Union([
              Type.String(),
              Type.Object(
                {
                  field: Type.String(),
                  at: Type.Array(Type.String(), { minItems: 1, maxItems: 64 }),
                },
                strict,
              ),
            ]),
            {
              default: [],
              description:
                'A name, or the JSONPath of a generic token, means anywhere in the body and nowhere else; with `at`: body, body:<JSON pointer | XML path | form key | part name>, header:<name>, query:<name>, path, basic.',
            },
          ),
        },
        strict,
      ),
      {
        default: [],
        maxItems: 256,
        description: 'The first row whose method and path match decides.',
      },
    ),
    inject_headers: Type.Record(Type.String(), Type.String({ minLength: 1, maxLength: 8192 }), {
      default: {},
      description:
        'Set on every request in place of the same headers of the caller. Sealed, never returned.',
    }),
    ca_pem: Type.Optional(
      Type.String({ maxLength: 65_536, description: 'Trusted instead of the system CAs.' }),
    ),
    timeouts: Type.Object(
      {
        connect_ms: milliseconds(3000, 'To a connection, TLS included.'),
        headers_ms: milliseconds(30_000, 'From the request to the head of its answer.'),
        body_ms: milliseconds(30_000, 'Between two parts of the answer.'),
        total_ms: milliseconds(60_000, 'From the decision to the end of the answer.'),
      },
      { ...strict, default: {} },
    ),
    limits: Type.Object(
      {
        body_bytes: Type.Integer({
          minimum: 0,
          maximum: 1_073_741_824,
          default: 67_108_864,
          description: 'Of a request, as inflated.',
        }),
        response_bytes: Type.Integer({
          minimum: 0,
          maximum: 1_073_741_824,
          default: 67_108_864,
          description: 'Of an answer; a longer one is not passed on, or cut.',
        }),
        buffer_bytes: Type.Integer({
          minimum: 0,
          maximum: 67_108_864,
          default: 262_144,
          description:
            'A body up to this is checked whole before a connection is opened; a longer one is checked and spliced while it streams.',
        }),
        connections: Type.Integer({
          minimum: 1,
          maximum: 65_536,
          default: 256,
          description: 'Requests in flight at a time.',
        }),
        queue: Type.Integer({
          minimum: 0,
          maximum: 1_000_000,
          default: 1024,
          description: 'Requests that wait for a connection; the next is refused.',
        }),
      },
      { ...strict, default: {} },
    ),
    require_placeholder: Type.Boolean({
      default: false,
      description: 'Refuse requests without any placeholder.',
    }),
    signing: Type.Optional(SigningBody),
  },
  strict,
)

export type DestinationBody = Static<typeof DestinationBody>

/** What is stored in the clear, and shown. */
export type DestinationSettings = Omit<DestinationBody, 'inject_headers' | 'signing'> & {
  readonly inject_header_names: readonly string[]
  readonly signing?: SigningSettings
}

/** What is sealed. */
export type DestinationSecrets = {
  readonly inject_headers: Readonly<Record<string, string>>
  readonly signing?: string
}

export type PolicyRow = {
  readonly methods: ReadonlySet<string>
  readonly matchesPath: (path: string) => boolean
  /** For each field that may go there, where it may stand. */
  readonly places: ReadonlyMap<Field, ReadonlySet<string>>
  /** Whether any field is held to a place inside the body. */
  readonly wantsBodyPlaces: boolean
}

/** Names stand in audit lines: none can be a card number. */
const LONG_NUMBER = /([0-9]-?){12}/
const HEADER_VALUE = /^[\x20-\x7e]*$/
const PEM_CERTIFICATES =
  /^\s*(-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----\s*)+$/

/** Everything that the schema cannot say. Throws AppError naming the field. */
export function parseDestination(
  body: DestinationBody,
  rules: OriginRules,
): {
  name: DestinationName
  origin: string
  settings: DestinationSettings
  secrets: DestinationSecrets
} {
  if (LONG_NUMBER.test(body.name)) throw invalidField('invalid_value', 'name')
  const origin = parseOriginPattern(body.origin, rules)
  if (origin === undefined) throw invalidField('invalid_value', 'origin')
  for (const row of body.allow) compileRow(row)
  for (const [name, value] of Object.entries(body.inject_headers)) {
    if (
      !HEADER_NAME.test(name) ||
      isDroppedRequestHeader(name.toLowerCase()) ||
      !HEADER_VALUE.test(value)
    ) {
      throw invalidField('invalid_value', 'inject_headers')
    }
  }
  const injected = Object.keys(body.inject_headers).map((name) => name.toLowerCase())
  if (new Set(injected).size < injected.length)
    throw invalidField('invalid_value', 'inject_headers')
  if (body.ca_pem !== undefined && !PEM_CERTIFICATES.test(body.ca_pem)) {
    throw invalidField('invalid_value', 'ca_pem')
  }
  const { inject_headers, signing: signingBody, ...settings } = body
  const signing = signingBody === undefined ? undefined : parseSigning(signingBody)
  return {
    name: body.name as DestinationName,
    origin,
    settings: {
      ...settings,
      origin,
      inject_header_names: Object.keys(inject_headers),
      ...(signing === undefined ? {} : { signing: signing.settings }),
    },
    secrets: { inject_headers, ...(signing === undefined ? {} : { signing: signing.secret }) },
  }
}

/** Throws AppError when a field, place or path is none. */
export function compileRow(row: DestinationBody['allow'][number]): PolicyRow {
  if (!isNormalPath(row.path)) throw invalidField('invalid_value', 'path')
  const places = new Map<Field, Set<string>>()
  for (const rule of row.fields) {
    const [name, at] = typeof rule === 'string' ? [rule, [ANYWHERE_IN_BODY]] : [rule.field, rule.at]
    const field = parseField(name)
    // Paths stand in audit lines: none can be a card number. An expiry is allowed with its month and its year.
    if (field === undefined || field === EXPIRY_FIELD || LONG_NUMBER.test(name))
      throw invalidField('invalid_value', 'fields')
    const allowed = places.get(field) ?? new Set()
    for (const text of at) {
      const place = parsePlaceRule(text)
      if (place === undefined) throw invalidField('invalid_value', 'at')
      allowed.add(place)
    }
    places.set(field, allowed)
  }
  const wantsBodyPlaces = [...places.values()].some((set) =>
    [...set].some((p) => p.startsWith('body:')),
  )
  return {
    methods: new Set(row.methods),
    matchesPath: compilePathRule(row.path),
    places,
    wantsBodyPlaces,
  }
}
