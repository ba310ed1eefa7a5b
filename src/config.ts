// One schema gives the parser, the type and the defaults of the configuration (YAML file and SALLYPORT_* variables;
// a variable beats the file). Pure: it reads neither files nor the environment. Every problem is reported at
// once, and nothing is opened before there is none. Durations and sizes carry their units.

import Type, { type Static } from 'typebox'
import { Compile } from 'typebox/compile'
import { Value } from 'typebox/value'
import { parse as parseYaml } from 'yaml'
import { type Cidr, parseCidr } from './core/cidr.ts'
import { CELL } from './core/ids.ts'
import { Secret } from './core/secret.ts'

const strict = { additionalProperties: false } as const
const port = (value: number) => Type.Integer({ minimum: 0, maximum: 65_535, default: value })
const rate = {
  count: Type.Integer({ minimum: 1, maximum: 1_000_000 }),
  window_s: Type.Integer({ minimum: 1, maximum: 86_400 }),
}
const limit = (description: string) => Type.Optional(Type.Object(rate, { ...strict, description }))
const cidrs = (description: string) => Type.Array(Type.String(), { default: [], description })

export const ConfigSchema = Type.Object(
  {
    data_dir: Type.String({
      minLength: 1,
      default: './data',
      description: 'Store, root key and audit trail. Created on the first start.',
    }),
    cell: Type.String({
      pattern: CELL.source,
      default: 'local',
      description: 'Five characters that every id given out by this installation begins with.',
    }),
    host: Type.String({ default: '0.0.0.0', description: 'Address of the API and the proxy.' }),
    port: port(8080),
    ops_host: Type.String({ default: '127.0.0.1', description: 'Address of health and metrics.' }),
    ops_port: port(9090),
    ports: Type.Record(Type.String({ pattern: '^[0-9]{1,5}$' }), Type.String({ minLength: 1 }), {
      default: {},
      description:
        'Ports of their own for destinations, for clients that can be told a host and a port only: {8101: checkout}.',
    }),
    proxy_host: Type.Optional(
      Type.String({
        pattern: '^[a-z0-9.-]{1,253}$',
        description:
          'With `proxy.example.com`, requests for `<name>.proxy.example.com` go to destination <name>.',
      }),
    ),
    store: Type.Literal('lmdb', { default: 'lmdb' }),
    tls: Type.Object(
      {
        cert_file: Type.Optional(
          Type.String({ description: 'Certificate chain of the main port (PEM).' }),
        ),
        key_file: Type.Optional(Type.String({ description: 'Its private key (PEM).' })),
      },
      { ...strict, default: {} },
    ),
    connections_per_address: Type.Integer({
      minimum: 1,
      maximum: 1_000_000,
      default: 2048,
      description:
        'Connections that one client address may hold at a time; trusted proxies are not counted.',
    }),
    body_memory_bytes: Type.Integer({
      minimum: 1_048_576,
      maximum: 1_099_511_627_776,
      default: 1_073_741_824,
      description: 'What the bodies of all proxied requests together may hold in memory.',
    }),
    trusted_proxies: cidrs('Proxies in front of us, whose X-Forwarded-For is believed.'),
    egress: Type.Object(
      {
        allow_private: cidrs('Private addresses that destinations may resolve to or be.'),
        allow_http: Type.Boolean({
          default: false,
          description: 'DEVELOPMENT ONLY: destinations without TLS, and on any port.',
        }),
        ports: Type.Array(Type.Integer({ minimum: 1, maximum: 65_535 }), {
          default: [443],
          description: 'Ports that destinations may have.',
        }),
        proxy: Type.Optional(
          Type.Object(
            {
              url: Type.String({
                minLength: 1,
                description:
                  'A forward proxy that every connection to a destination is made through (CONNECT): http or https, user name and password in it if it wants them.',
              }),
              sends: Type.Enum(['address', 'name'], {
                default: 'address',
                description:
                  'What the proxy is told: an address that was resolved and checked here, or the name. With the name nothing is checked here; the proxy has to keep private addresses out.',
              }),
            },
            strict,
          ),
        ),
      },
      { ...strict, default: {} },
    ),
    policy: Type.Object(
      {
        two_person: Type.Boolean({
          default: false,
          description:
            'A destination, or an external vault, is made or changed by two API keys: one proposes, another approves.',
        }),
      },
      { ...strict, default: {} },
    ),
    guards: Type.Object(
      {
        requests_per_key: limit(
          'Requests that an API key may make to the proxy: `count` at once, then `count` per `window_s`, evenly.',
        ),
        distinct_payment_methods_per_key: limit(
          'Different payment methods and tokens that an API key may use within `window_s`; those it has used still pass.',
        ),
        declines_per_key: limit(
          'After this many declines within `window_s` an API key gets nothing revealed until the first is that long ago.',
        ),
        client_requests_per_address: Type.Object(rate, {
          ...strict,
          default: { count: 60, window_s: 60 },
          description:
            'Requests that pages and apps may make from one client address with a publishable key.',
        }),
      },
      { ...strict, default: {}, description: 'Per process; those of API keys are off unless set.' },
    ),
    vault: Type.Object(
      {
        cvc_ttl_s: Type.Integer({
          minimum: 1,
          maximum: 3600,
          default: 900,
          description:
            'How long a card verification code is kept if it is not used. One hour at most.',
        }),
        volatile_ttl_s: Type.Integer({
          minimum: 1,
          maximum: 86_400,
          default: 3600,
          description: 'How long a volatile payment method is kept.',
        }),
        session_attempts: Type.Integer({
          minimum: 1,
          maximum: 1000,
          default: 10,
          description: 'How often the confirmation of a payment-method session may be tried.',
        }),
        intent_ttl_s: Type.Integer({
          minimum: 60,
          maximum: 86_400,
          default: 3600,
          description: 'How long an intent for a payment method waits for its instrument.',
        }),
        bin_table_file: Type.Optional(
          Type.String({
            description:
              'Issuers by the first digits of their cards (CSV, as config/bins.csv): network, type, issuer and country of new cards.',
          }),
        ),
      },
      { ...strict, default: {} },
    ),
    audit: Type.Object(
      {
        sync: Type.Enum(['interval', 'every-batch'], {
          default: 'interval',
          description:
            'When lines are forced to disk. They are with the operating system before any reveal.',
        }),
        sync_interval_ms: Type.Integer({ minimum: 1, maximum: 60_000, default: 200 }),
      },
      { ...strict, default: {} },
    ),
    shutdown_timeout_ms: Type.Integer({
      minimum: 0,
      maximum: 600_000,
      default: 25_000,
      description: 'How long a stop waits for requests in flight.',
    }),
    log_level: Type.Enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'], {
      default: 'info',
    }),
  },
  strict,
)

type Parsed = Static<typeof ConfigSchema>

export type Config = Readonly<Omit<Parsed, 'trusted_proxies' | 'egress' | 'tls'>> & {
  readonly trusted_proxies: readonly Cidr[]
  readonly egress: {
    readonly allow_private: readonly Cidr[]
    readonly allow_http: boolean
    readonly ports: readonly number[]
    readonly proxy: { readonly url: Secret<string>; readonly sends: 'address' | 'name' } | undefined
  }
  readonly tls: { readonly cert_file: string; readonly key_file: string } | undefined
}

/** How long the vault keeps what is not to stay, and how often a page may try. */
export function vaultLimits({ vault }: Config) {
  return {
    cvcTtlMs: vault.cvc_ttl_s * 1000,
    volatileTtlMs: vault.volatile_ttl_s * 1000,
    intentTtlMs: vault.intent_ttl_s * 1000,
    intentTries: vault.session_attempts,
  }
}

export type ConfigResult =
  | { readonly kind: 'ok'; readonly config: Config }
  | { readonly kind: 'bad'; readonly problems: readonly string[] }

type FromText = (text: string) => unknown
const text: FromText = (value) => value
const integer: FromText = (value) => (/^[0-9]{1,9}$/.test(value) ? Number(value) : value)
const boolean: FromText = (value) => (value === 'true' ? true : value === 'false' ? false : value)
const list: FromText = (value) =>
  value
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '')
/** `8101:checkout,8102:stripe` */
const pairs: FromText = (value) =>
  Object.fromEntries(
    (list(value) as string[]).map((item) => item.split(':', 2) as [string, string]),
  )

/** The variables, the place of each in the configuration and how its text is read. */
const VARIABLES: Readonly<Record<string, readonly [path: readonly string[], read: FromText]>> = {
  SALLYPORT_DATA_DIR: [['data_dir'], text],
  SALLYPORT_CELL: [['cell'], text],
  SALLYPORT_HOST: [['host'], text],
  SALLYPORT_PORT: [['port'], integer],
  SALLYPORT_OPS_HOST: [['ops_host'], text],
  SALLYPORT_OPS_PORT: [['ops_port'], integer],
  SALLYPORT_PORTS: [['ports'], pairs],
  SALLYPORT_PROXY_HOST: [['proxy_host'], text],
  SALLYPORT_STORE: [['store'], text],
  SALLYPORT_TLS_CERT: [['tls', 'cert_file'], text],
  SALLYPORT_TLS_KEY: [['tls', 'key_file'], text],
  SALLYPORT_TRUSTED_PROXIES: [['trusted_proxies'], list],
  SALLYPORT_EGRESS_ALLOW_PRIVATE: [['egress', 'allow_private'], list],
  SALLYPORT_EGRESS_ALLOW_HTTP: [['egress', 'allow_http'], boolean],
  SALLYPORT_EGRESS_PROXY: [['egress', 'proxy', 'url'], text],
  SALLYPORT_POLICY_TWO_PERSON: [['policy', 'two_person'], boolean],
  SALLYPORT_LOG_LEVEL: [['log_level'], text],
}

/** Read when the first admin key is made, and not a part of the configuration. */
const OTHER_VARIABLES: ReadonlySet<string> = new Set(['SALLYPORT_ADMIN_API_KEY'])

const validator = Compile(ConfigSchema)

export function parseConfig(input: {
  yaml?: string | undefined
  env: Readonly<Record<string, string | undefined>>
}): ConfigResult {
  const problems: string[] = []
  let raw: Record<string, unknown> = {}
  if (input.yaml !== undefined) {
    try {
      const parsed: unknown = parseYaml(input.yaml) ?? {}
      if (typeof parsed === 'object' && !Array.isArray(parsed))
        raw = parsed as Record<string, unknown>
      else problems.push('the file must hold a mapping of settings')
    } catch {
      problems.push('the file is not valid YAML')
    }
  }
  for (const [name, value] of Object.entries(input.env)) {
    if (!name.startsWith('SALLYPORT_') || value === undefined || OTHER_VARIABLES.has(name)) continue
    const variable = VARIABLES[name]
    if (variable === undefined) problems.push(`${name}: there is no such variable`)
    else place(raw, variable[0], variable[1](value))
  }

  const filled = Value.Default(ConfigSchema, raw) as Parsed
  const unsound = new Set<string | undefined>()
  for (const error of validator.Errors(filled)) {
    problems.push(...sentences(error))
    unsound.add(error.instancePath.split('/')[1])
  }

  // What the schema cannot say, of the settings that are what it says.
  const ranges = (path: string, values: () => readonly string[]) =>
    unsound.has(path.split('.')[0])
      ? []
      : values().flatMap((value) => {
          const cidr = parseCidr(value)
          if (cidr === undefined)
            problems.push(`${path}: ${JSON.stringify(value)} is no address range`)
          return cidr === undefined ? [] : [cidr]
        })
  const trusted_proxies = ranges('trusted_proxies', () => filled.trusted_proxies)
  const allow_private = ranges('egress.allow_private', () => filled.egress.allow_private)
  const proxy = unsound.has('egress') ? undefined : filled.egress.proxy
  if (proxy !== undefined && !isProxyUrl(proxy.url)) {
    problems.push('egress.proxy.url: is not the http or https URL of a proxy') // it may hold a password
  }
  const { cert_file, key_file } = unsound.has('tls') ? {} : filled.tls
  if ((cert_file === undefined) !== (key_file === undefined)) {
    problems.push('tls: cert_file and key_file belong together')
  }
  for (const text of unsound.has('ports') ? [] : Object.keys(filled.ports)) {
    const isPort = /^[0-9]{1,5}$/.test(text) && Number(text) <= 65_535
    if (!isPort) problems.push(`ports: ${JSON.stringify(text)} is no port`)
  }
  if (problems.length > 0) return { kind: 'bad', problems }

  return {
    kind: 'ok',
    config: deepFreeze({
      ...filled,
      trusted_proxies,
      egress: {
        ...filled.egress,
        allow_private,
        proxy: proxy === undefined ? undefined : { ...proxy, url: new Secret(proxy.url) },
      },
      tls: cert_file === undefined || key_file === undefined ? undefined : { cert_file, key_file },
    }),
  }
}

function isProxyUrl(text: string): boolean {
  const url = URL.parse(text)
  if (url === null || !/^https?:$/.test(url.protocol)) return false
  try {
    decodeURIComponent(url.username + url.password)
  } catch {
    return false
  }
  return url.pathname === '/' && url.search === '' && url.hash === ''
}

function place(target: Record<string, unknown>, path: readonly string[], value: unknown): void {
  const [first = '', ...rest] = path
  if (rest.length === 0) {
    target[first] = value
    return
  }
  const inner = target[first]
  const next = typeof inner === 'object' && inner !== null ? { ...inner } : {}
  target[first] = next
  place(next as Record<string, unknown>, rest, value)
}

type SchemaError = { keyword: string; instancePath: string; message: string; params: object }

function sentences(error: SchemaError): string[] {
  const path = error.instancePath.slice(1).replaceAll('/', '.')
  if (error.keyword === 'boolean') return [] // said again by additionalProperties, with all names
  if ('additionalProperties' in error.params) {
    const names = error.params.additionalProperties as string[]
    return names.map(
      (name) => `${path === '' ? name : `${path}.${name}`}: there is no such setting`,
    )
  }
  return [`${path === '' ? 'the configuration' : path}: ${error.message}`]
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    Object.freeze(value)
    for (const inner of Object.values(value)) deepFreeze(inner)
  }
  return value
}
