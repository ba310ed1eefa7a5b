// Destinations: where a merchant's requests may go, which fields may stand where, and what is added on the way.
// The object of the wire is parsed here into what the data plane needs; nothing allowed means nothing passes.

import Type, { type Static } from 'typebox'
import { Value } from 'typebox/value'
import { invalidField } from '../core/errors.ts'
import { EXPIRY_FIELD, type Field, parseField } from '../core/field.ts'
import { parseJsonPath } from '../core/json-path.ts'
import { strict } from '../http/schemas.ts'
import type { DestinationName } from '../store/contract.ts'
import {
  DECIDES_BODY,
  DESTINATION_METHODS,
  HEADER_NAME,
  isDroppedRequestHeader,
} from './headers.ts'
import { isKeyPair } from './key-pair.ts'
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
          query: Type.Optional(
            Type.Array(Type.String({ minLength: 1, maxLength: 128 }), {
              maxItems: 256,
              description: 'Names that the query may have, as they are written; any if left out.',
            }),
          ),
          keys: Type.Optional(
            Type.Array(Type.String({ maxLength: 64 }), {
              minItems: 1,
              maxItems: 256,
              description:
                'Ids of the API keys that may use this row; every key with `proxy:invoke` if left out.',
            }),
          ),
          fields: Type.Array(
            Type.Union([
              Type.String(),
              Type.Object(
                {
                  field: Type.String(),
                  at: Type.Array(Type.String(), { minItems: 1, maxItems: 64 }),
                  filters: Type.Optional(
                    Type.Literal('any', {
                      description:
                        'Lifts the limits on filters: a `map` of anything, pieces and hashes of a number. Whoever calls can then learn the value from refusals and answers.',
                    }),
                  ),
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
    client_certificate: Type.Optional(
      Type.Object(
        {
          cert_pem: Type.String({
            maxLength: 65_536,
            description: 'With the chain the destination needs.',
          }),
          key_pem: Type.String({ maxLength: 65_536, description: 'Sealed, never returned.' }),
        },
        { ...strict, description: 'Shown to the destination (mutual TLS).' },
      ),
    ),
    pin_sha256: Type.Optional(
      Type.Array(Type.String({ pattern: '^[A-Za-z0-9+/]{43}=$' }), {
        minItems: 1,
        maxItems: 16,
        description:
          "SHA-256 of the destination's public key (SubjectPublicKeyInfo), base64: its certificate has to have one of these.",
      }),
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
    idempotency_header: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 128,
        description:
          "Under this name the destination is given the caller's `Sallyport-Idempotency-Key`: `Idempotency-Key`, `Cko-Idempotency-Key`.",
      }),
    ),
    idempotent: Type.Boolean({
      default: false,
      description:
        'Every request may be sent once more when a kept-alive connection turns out to have been closed, not only those whose method says so. Only where the destination itself tells repetitions apart.',
    }),
    breaker: Type.Optional(
      Type.Object(
        {
          failures: Type.Integer({
            minimum: 1,
            maximum: 10_000,
            description: 'In a row: connections that fail, timeouts, broken answers.',
          }),
          open_ms: Type.Integer({
            minimum: 100,
            maximum: 600_000,
            default: 10_000,
            description: 'How long requests are refused before one is let through to try.',
          }),
        },
        {
          ...strict,
          description: 'Refuses requests with `destination_busy` while the destination is down.',
        },
      ),
    ),
    response: Type.Object(
      {
        leak_guard: Type.Union(
          ['mask', 'block', 'off'].map((mode) => Type.Literal(mode)),
          {
            default: 'mask',
            description:
              'What becomes of card numbers, codes and injected credentials that the answer repeats.',
          },
        ),
        redact: Type.Array(Type.String({ maxLength: 512 }), {
          default: [],
          maxItems: 64,
          description: 'JSONPaths of values that are masked in every JSON answer.',
        }),
        capture: Type.Array(
          Type.Object(
            {
              path: Type.String({ maxLength: 512 }),
              as: Type.Union(
                ['psp_token', 'network_transaction_id'].map((kind) => Type.Literal(kind)),
              ),
            },
            strict,
          ),
          {
            default: [],
            maxItems: 8,
            description:
              'What is kept with the payment method when an answer with a status of 2xx has it.',
          },
        ),
        declined: Type.Array(
          Type.Object(
            {
              path: Type.String({ maxLength: 512 }),
              values: Type.Array(Type.String({ maxLength: 128 }), { minItems: 1, maxItems: 64 }),
            },
            strict,
          ),
          {
            default: [],
            maxItems: 8,
            description:
              'Which answers are declines, besides those with status 402: for the guard against card testing.',
          },
        ),
      },
      { ...strict, default: {} },
    ),
    connector: Type.Optional(
      Type.String({
        pattern: '^[a-z][a-z0-9_]{0,31}$',
        description: 'Which PSP this is: whose the captured `psp_token` will be.',
      }),
    ),
    signing: Type.Optional(SigningBody),
  },
  strict,
)

export type DestinationBody = Static<typeof DestinationBody>

/** What is stored in the clear, and shown. */
export type DestinationSettings = Omit<
  DestinationBody,
  'inject_headers' | 'signing' | 'client_certificate'
> & {
  readonly inject_header_names: readonly string[]
  readonly signing?: SigningSettings
  readonly client_certificate?: { readonly cert_pem: string }
}

/** What is sealed. */
export type DestinationSecrets = {
  readonly inject_headers: Readonly<Record<string, string>>
  readonly signing?: string
  readonly client_key_pem?: string
}

/** As stored. What a setting that has come since is, its default says. */
export function readSettings(text: string): DestinationSettings {
  const filled = Value.Default(DestinationBody, JSON.parse(text)) as DestinationSettings
  const { inject_headers: _, ...settings } = filled as DestinationSettings & DestinationSecrets
  return settings
}

export type PolicyRow = {
  readonly methods: ReadonlySet<string>
  readonly matchesPath: (path: string) => boolean
  /** Names that the query may have; undefined: any. */
  readonly queryNames: ReadonlySet<string> | undefined
  /** API keys that may use it; undefined: all that may use the proxy. */
  readonly keyIds: ReadonlySet<string> | undefined
  /** For each field that may go there, where it may stand. */
  readonly places: ReadonlyMap<Field, ReadonlySet<string>>
  /** Fields that may be put through any filter. */
  readonly anyFilters: ReadonlySet<Field>
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
  const { inject_headers, signing: signingBody, client_certificate, ...settings } = body
  const signing = signingBody === undefined ? undefined : parseSigning(signingBody)
  if (client_certificate !== undefined && !isKeyPair(client_certificate)) {
    throw invalidField('invalid_value', 'client_certificate')
  }
  checkIdempotencyHeader(body.idempotency_header, injected)
  const { redact, capture, declined } = body.response
  if (!redact.every(isJsonPathText)) throw invalidField('invalid_value', 'redact')
  if (![...capture, ...declined].every(({ path }) => isJsonPathText(path))) {
    throw invalidField('invalid_value', 'path')
  }
  if (capture.some(({ as }) => as === 'psp_token') && body.connector === undefined) {
    throw invalidField('missing_field', 'connector')
  }
  return {
    name: body.name as DestinationName,
    origin,
    settings: {
      ...settings,
      origin,
      inject_header_names: Object.keys(inject_headers),
      ...(signing === undefined ? {} : { signing: signing.settings }),
      ...(client_certificate === undefined
        ? {}
        : { client_certificate: { cert_pem: client_certificate.cert_pem } }),
    },
    secrets: {
      inject_headers,
      ...(signing === undefined ? {} : { signing: signing.secret }),
      ...(client_certificate === undefined ? {} : { client_key_pem: client_certificate.key_pem }),
    },
  }
}

function isJsonPathText(text: string): boolean {
  return parseJsonPath(text) !== undefined
}

/** It is set like an injected header, so it cannot be one, nor one that frames the message. */
function checkIdempotencyHeader(name: string | undefined, injected: readonly string[]): void {
  if (name === undefined) return
  const lower = name.toLowerCase()
  const isTaken =
    !HEADER_NAME.test(name) || isDroppedRequestHeader(lower) || DECIDES_BODY.has(lower)
  if (isTaken || injected.includes(lower)) throw invalidField('invalid_value', 'idempotency_header')
}

/** Throws AppError when a field, place or path is none. */
export function compileRow(row: DestinationBody['allow'][number]): PolicyRow {
  if (!isNormalPath(row.path)) throw invalidField('invalid_value', 'path')
  const places = new Map<Field, Set<string>>()
  const anyFilters = new Set<Field>()
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
    if (typeof rule !== 'string' && rule.filters === 'any') anyFilters.add(field)
  }
  const wantsBodyPlaces = [...places.values()].some((set) =>
    [...set].some((p) => p.startsWith('body:')),
  )
  return {
    methods: new Set(row.methods),
    matchesPath: compilePathRule(row.path),
    queryNames: row.query === undefined ? undefined : new Set(row.query),
    keyIds: row.keys === undefined ? undefined : new Set(row.keys),
    places,
    anyFilters,
    wantsBodyPlaces,
  }
}
