// The configuration: every problem at once and by name, variables before the file, defaults that are safe, and an
// example that mentions every setting.

import { readFileSync } from 'node:fs'
import { inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import { type Config, ConfigSchema, parseConfig } from '../src/config.ts'

type Env = Record<string, string | undefined>

function good(yaml: string | undefined, env: Env = {}): Config {
  const result = parseConfig({ yaml, env })
  if (result.kind === 'bad') throw new Error(result.problems.join('\n'))
  return result.config
}

function problems(yaml: string | undefined, env: Env = {}): readonly string[] {
  const result = parseConfig({ yaml, env })
  if (result.kind === 'ok') throw new Error('it was accepted')
  return result.problems
}

/** `vault`, `vault.cvc_ttl_s` and the like, as the schema has them. */
function settings(schema: any = ConfigSchema, prefix = ''): string[] {
  return Object.entries(schema.properties as Record<string, any>).flatMap(([name, inner]) => [
    prefix + name,
    ...(inner.properties === undefined ? [] : settings(inner, `${prefix}${name}.`)),
  ])
}

describe('without a file', () => {
  test('everything has a default, and the defaults are safe', () => {
    const config = good(undefined)

    expect(config).toMatchObject({
      data_dir: './data',
      host: '0.0.0.0',
      port: 8080,
      ops_host: '127.0.0.1',
      ops_port: 9090,
      ports: {},
      store: 'lmdb',
      tls: undefined,
      trusted_proxies: [],
      egress: { allow_private: [], allow_http: false, ports: [443], proxy: undefined },
      policy: { two_person: false },
      guards: { client_requests_per_address: { count: 60, window_s: 60 } },
      vault: { cvc_ttl_s: 900, volatile_ttl_s: 3600 },
      audit: { sync: 'interval', sync_interval_ms: 200 },
      log_level: 'info',
    })
  })

  test('an empty file is one without settings', () => {
    expect(good('')).toEqual(good(undefined))
    expect(good('# nothing\n')).toEqual(good(undefined))
  })

  test('the configuration is frozen through and through', () => {
    const config = good('ports: {8101: psp}')

    expect(Object.isFrozen(config)).toBe(true)
    for (const part of [config.egress, config.egress.allow_private, config.vault, config.ports]) {
      expect(Object.isFrozen(part)).toBe(true)
    }
  })

  test('one call does not see what another was told', () => {
    good('egress: {allow_http: true}', { SALLYPORT_PORTS: '8101:psp' })

    expect(good(undefined).egress.allow_http).toBe(false)
    expect(good(undefined).ports).toEqual({})
  })
})

describe('variables', () => {
  test('go before the file', () => {
    const yaml = 'port: 1\nops_port: 2\negress: {allow_http: false, allow_private: [10.0.0.0/8]}'

    const config = good(yaml, { SALLYPORT_PORT: '3', SALLYPORT_EGRESS_ALLOW_HTTP: 'true' })

    expect(config).toMatchObject({
      port: 3,
      ops_port: 2,
      egress: { allow_http: true, allow_private: ['10.0.0.0/8'] },
    })
  })

  test.each<[string, string, string, unknown]>([
    ['SALLYPORT_DATA_DIR', '/var/lib/sallyport', 'data_dir', '/var/lib/sallyport'],
    ['SALLYPORT_CELL', 'eu001', 'cell', 'eu001'],
    ['SALLYPORT_HOST', '::', 'host', '::'],
    ['SALLYPORT_PORT', '0', 'port', 0],
    ['SALLYPORT_OPS_HOST', '0.0.0.0', 'ops_host', '0.0.0.0'],
    ['SALLYPORT_OPS_PORT', '65535', 'ops_port', 65_535],
    [
      'SALLYPORT_PORTS',
      '8101:checkout, 8102:stripe',
      'ports',
      { 8101: 'checkout', 8102: 'stripe' },
    ],
    ['SALLYPORT_PROXY_HOST', 'proxy.example.com', 'proxy_host', 'proxy.example.com'],
    ['SALLYPORT_STORE', 'lmdb', 'store', 'lmdb'],
    ['SALLYPORT_TRUSTED_PROXIES', '10.0.0.0/8,::1', 'trusted_proxies', ['10.0.0.0/8', '::1/128']],
    ['SALLYPORT_TRUSTED_PROXIES', '', 'trusted_proxies', []],
    ['SALLYPORT_POLICY_TWO_PERSON', 'true', 'policy', { two_person: true }],
    ['SALLYPORT_LOG_LEVEL', 'trace', 'log_level', 'trace'],
  ])('%s=%s sets %s', (name, text, setting, value) => {
    expect(good(undefined, { [name]: text })[setting as keyof Config]).toEqual(value)
  })

  test('of TLS belong together', () => {
    const both = { SALLYPORT_TLS_CERT: 'a.pem', SALLYPORT_TLS_KEY: 'b.pem' }

    expect(good(undefined, both).tls).toEqual({ cert_file: 'a.pem', key_file: 'b.pem' })
    expect(problems(undefined, { SALLYPORT_TLS_CERT: 'a.pem' })).toEqual([
      'tls: cert_file and key_file belong together',
    ])
  })

  test('for private addresses', () => {
    const config = good(undefined, { SALLYPORT_EGRESS_ALLOW_PRIVATE: '127.0.0.0/8, fd00::/8' })

    expect(config.egress.allow_private).toEqual(['127.0.0.0/8', 'fd00::/8'])
  })

  test('for a forward proxy go before the file, and leave what it is sent', () => {
    const yaml = 'egress: {proxy: {url: "http://old.test:1", sends: name}}'

    const { proxy } = good(yaml, { SALLYPORT_EGRESS_PROXY: 'https://new.test:3128' }).egress

    expect([proxy?.url.reveal(), proxy?.sends]).toEqual(['https://new.test:3128', 'name'])
  })

  test('that are nobody else’s business are left alone', () => {
    const env = { PATH: '/bin', SALLYPORT_ADMIN_API_KEY: 'x', NODE_ENV: 'production' }

    expect(good(undefined, env)).toEqual(good(undefined))
  })

  test('that there are not are named', () => {
    expect(problems(undefined, { SALLYPORT_PROT: '80', SALLYPORT_EGRESS: 'x' })).toEqual([
      'SALLYPORT_PROT: there is no such variable',
      'SALLYPORT_EGRESS: there is no such variable',
    ])
  })

  test.each([
    ['SALLYPORT_PORT', 'http', 'port'],
    ['SALLYPORT_PORT', '65536', 'port'],
    ['SALLYPORT_PORT', '-1', 'port'],
    ['SALLYPORT_PORT', '', 'port'],
    ['SALLYPORT_PORT', '8080.5', 'port'],
    ['SALLYPORT_EGRESS_ALLOW_HTTP', 'yes', 'egress.allow_http'],
    ['SALLYPORT_EGRESS_ALLOW_HTTP', '', 'egress.allow_http'],
    ['SALLYPORT_POLICY_TWO_PERSON', 'yes', 'policy.two_person'],
    ['SALLYPORT_EGRESS_PROXY', '', 'egress.proxy'],
    ['SALLYPORT_STORE', 'postgres', 'store'],
    ['SALLYPORT_LOG_LEVEL', 'loud', 'log_level'],
    ['SALLYPORT_CELL', 'toolong', 'cell'],
    ['SALLYPORT_DATA_DIR', '', 'data_dir'],
    ['SALLYPORT_TRUSTED_PROXIES', '10.0.0.0/8,localhost', 'trusted_proxies'],
    ['SALLYPORT_EGRESS_ALLOW_PRIVATE', '10.0.0.0/33', 'egress.allow_private'],
    ['SALLYPORT_PORTS', '8101', 'ports'],
    ['SALLYPORT_PORTS', '99999:psp', 'ports'],
    ['SALLYPORT_PORTS', 'psp:8101', 'ports'],
    ['SALLYPORT_PROXY_HOST', 'Proxy', 'proxy_host'],
  ])('%s=%j is refused for %s', (name, text, setting) => {
    const found = problems(undefined, { [name]: text })

    expect(found.length).toBeGreaterThan(0)
    for (const problem of found) expect(problem.split(/[.:]/)[0]).toBe(setting.split('.')[0])
  })
})

describe('the file', () => {
  test.each([
    ['nope: 1', ['nope: there is no such setting']],
    [
      'egress: {nope: 1, neither: 2}',
      ['egress.nope: there is no such setting', 'egress.neither: there is no such setting'],
    ],
    [
      'signing_key: x\nvault: {pepper: y}',
      ['signing_key: there is no such setting', 'vault.pepper: there is no such setting'],
    ],
    ['[]', ['the file must hold a mapping of settings']],
    ['text', ['the file must hold a mapping of settings']],
    ['{', ['the file is not valid YAML']],
    ['port: 1\nport: 2', ['the file is not valid YAML']],
    ['a: &a [*a]', ['a: there is no such setting']],
  ])('%j is refused: %j', (yaml, expected) => {
    expect([...problems(yaml)].sort()).toEqual([...expected].sort())
  })

  test.each([
    ['port: "8080"', 'port'],
    ['port: 8080.5', 'port'],
    ['vault: {cvc_ttl_s: 3601}', 'vault.cvc_ttl_s'],
    ['vault: {volatile_ttl_s: 86401}', 'vault.volatile_ttl_s'],
    ['vault: {cvc_ttl_s: 0}', 'vault.cvc_ttl_s'],
    ['vault: 5', 'vault'],
    ['policy: {two_person: 1}', 'policy.two_person'],
    ['guards: 5', 'guards'],
    ['guards: {declines_per_key: {window_s: 60}}', 'guards.declines_per_key'],
    ['guards: {declines_per_key: {count: 10}}', 'guards.declines_per_key'],
    ['guards: {declines_per_key: {count: 0, window_s: 60}}', 'guards.declines_per_key.count'],
    ['guards: {requests_per_key: {count: 1000001, window_s: 1}}', 'guards.requests_per_key.count'],
    ['guards: {requests_per_key: {count: 1, window_s: 0}}', 'guards.requests_per_key.window_s'],
    ['guards: {requests_per_key: {count: 1, window_s: 86401}}', 'guards.requests_per_key.window_s'],
    ['guards: {requests_per_key: {count: 1.5, window_s: 1}}', 'guards.requests_per_key.count'],
    ['guards: {requests: {count: 1, window_s: 1}}', 'guards.requests: there is no such setting'],
    ['tls: []', 'tls'],
    ['egress: {proxy: {}}', 'egress.proxy'],
    ['egress: {proxy: {url: "http://a.test", sends: ip}}', 'egress.proxy.sends'],
    ['egress: {proxy: "http://a.test"}', 'egress.proxy'],
    ['ports: [8101]', 'ports'],
    ['ports: {8101: ""}', 'ports'],
    ['trusted_proxies: 10.0.0.0/8', 'trusted_proxies'],
    ['audit: {sync: never}', 'audit.sync'],
    ['shutdown_timeout_ms: 600001', 'shutdown_timeout_ms'],
    ['host: null', 'host'],
  ])('%j is refused for %s', (yaml, setting) => {
    expect(problems(yaml).join('\n')).toContain(setting)
  })

  test('of YAML that is broken nothing is repeated', () => {
    expect(problems('admin: "sk_secret\n').join()).not.toContain('sk_secret')
  })

  test('sets each guard alone', () => {
    const yaml = 'guards: {declines_per_key: {count: 1000000, window_s: 86400}}'

    expect(good(yaml).guards).toEqual({
      client_requests_per_address: { count: 60, window_s: 60 },
      declines_per_key: { count: 1_000_000, window_s: 86_400 },
    })
  })

  test('with a forward proxy, whose URL is a secret and which is sent addresses', () => {
    const url = 'http://user:hunter2@proxy.test:3128'

    const { egress } = good(`egress: {proxy: {url: "${url}"}}`)

    expect([egress.proxy?.url.reveal(), egress.proxy?.sends]).toEqual([url, 'address'])
    expect(`${JSON.stringify(egress)} ${inspect(egress)}`).not.toContain('hunter2')
  })

  test.each([
    'proxy.test:3128',
    'socks5://user:hunter2@proxy.test',
    'http://user:hunter2@proxy.test/path',
    'http://user:hunter2@proxy.test/?a',
    'http://user:hunter2@proxy.test#a',
    'http://user:hunter2%zz@proxy.test',
    'http://user:hunter2@',
  ])('%s is no forward proxy, which is told without repeating it', (url) => {
    const expected = ['egress.proxy.url: is not the http or https URL of a proxy']

    expect(problems(`egress: {proxy: {url: "${url}"}}`)).toEqual(expected)
    expect(problems(undefined, { SALLYPORT_EGRESS_PROXY: url })).toEqual(expected)
  })

  test('with ports of their own for destinations', () => {
    expect(good('ports: {8101: checkout, "8102": stripe}').ports).toEqual({
      8101: 'checkout',
      8102: 'stripe',
    })
  })
})

test('every problem is reported at once', () => {
  const yaml = `
    nope: 1
    port: 99999
    vault: {cvc_ttl_s: 9999, extra: 1}
    log_level: loud
  `
  const env = { SALLYPORT_NOPE: '1', SALLYPORT_STORE: 'files' }

  const text = problems(yaml, env).join('\n')

  for (const name of [
    'nope',
    'port',
    'vault.cvc_ttl_s',
    'vault.extra',
    'log_level',
    'SALLYPORT_NOPE',
    'store',
  ]) {
    expect(text).toMatch(new RegExp(`^${name}: `, 'm'))
  }
})

test('problems that no schema can see are reported with the others', () => {
  const yaml = `
    nope: 1
    trusted_proxies: [here]
    egress: {allow_private: [there]}
    tls: {cert_file: a.pem}
    ports: {99999: psp}
  `

  const text = problems(yaml).join('\n')

  for (const name of ['nope', 'trusted_proxies', 'egress.allow_private', 'tls', 'ports']) {
    expect(text).toMatch(new RegExp(`^${name}: `, 'm'))
  }
})

test('a problem is told once', () => {
  for (const yaml of ['nope: 1', 'port: x', 'log_level: loud', 'vault: {cvc_ttl_s: 0}']) {
    expect([yaml, problems(yaml).length]).toEqual([yaml, 1])
  }
})

describe('config/example.yaml', () => {
  const example = () => readFileSync(new URL('../config/example.yaml', import.meta.url), 'utf8')

  test('is a configuration', () => {
    expect(parseConfig({ yaml: example(), env: {} })).toMatchObject({ kind: 'ok' })
  })

  test('mentions every setting there is', () => {
    const text = example()

    const missing = settings().filter((setting) => {
      const name = setting.split('.').at(-1) as string
      return !new RegExp(`^\\s*(#\\s*)?${name}:`, 'm').test(text) // off by default: as a comment
    })

    expect(missing).toEqual([])
  })

  test('shows the default of each', () => {
    expect(good(example())).toEqual(good(undefined))
  })

  test('shows guards that work when they are uncommented', () => {
    const shown = example().split('guards:\n')[1]?.split('\n\n')[0]?.replaceAll(/^#/gm, '')

    expect(good(`guards:\n${shown}`).guards).toEqual({
      client_requests_per_address: { count: 60, window_s: 60 },
      requests_per_key: { count: 6000, window_s: 60 },
      distinct_payment_methods_per_key: { count: 1000, window_s: 3600 },
      declines_per_key: { count: 100, window_s: 600 },
    })
  })

  test('names variables that there are', () => {
    const names = new Set(example().match(/SALLYPORT_[A-Z_]+[A-Z]/g) ?? [])

    for (const name of names) {
      const result = parseConfig({ env: { [name]: '0' } })
      const problems = result.kind === 'bad' ? result.problems : []
      expect(problems).not.toContain(`${name}: there is no such variable`)
    }
  })
})
