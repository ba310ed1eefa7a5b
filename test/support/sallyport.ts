// A real installation in a folder of its own on free ports, for tests through the front door, and a merchant on it
// with the keys and calls that tests need.

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Installation, startInstallation } from '../../src/cli/installation.ts'
import { type Config, parseConfig } from '../../src/config.ts'
import type { Scope } from '../../src/core/caller.ts'
import type { Clock } from '../../src/core/clock.ts'
import { createLog } from '../../src/http/log.ts'

export const ADMIN_KEY = 'test-admin-key-0123456789-0123456789'

export type Answer<T = any> = { status: number; headers: Headers; body: T; text: string }

export type Call = (
  method: string,
  path: string,
  body?: unknown,
  headers?: Record<string, string>,
) => Promise<Answer>

export type TestMerchant = {
  id: string
  vaultKey: string
  proxyKey: string
  policyKey: string
  vault: Call
  proxy: Call
  policy: Call
  createCustomer(): Promise<string>
  /** Of a new customer unless one is given; answers with the id. */
  createCard(card?: Record<string, unknown>, customerId?: string): Promise<string>
  /** Answers with the id. */
  createToken(value: unknown, customerId?: string): Promise<string>
  /** A payment-method session of a new customer unless the body names one; answers with what the server is told. */
  createSession(body?: Record<string, unknown>): Promise<any>
  createDestination(destination: Record<string, unknown>): Promise<void>
}

export type TestSallyport = AsyncDisposable & {
  installation: Installation
  config: Config
  origin: string
  opsOrigin: string
  folder: string
  admin: Call
  as(key: string): Call
  createKey(merchantId: string, scopes: Scope[]): Promise<string>
  createMerchant(): Promise<TestMerchant>
}

export const VISA = '4242424242424242'

/** Settings are written over those of the tests: loopback destinations without TLS are allowed. */
export async function startSallyport(
  settings: Record<string, unknown> = {},
  options: {
    folder?: string
    onFatal?: (what: string, error: unknown) => void
    clock?: Clock
  } = {},
): Promise<TestSallyport> {
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'sallyport-test-')))
  const result = parseConfig({
    yaml: JSON.stringify({
      data_dir: folder,
      host: '127.0.0.1',
      port: 0,
      ops_port: 0,
      egress: { allow_private: ['127.0.0.0/8', '::1'], allow_http: true },
      shutdown_timeout_ms: 2000,
      log_level: 'silent',
      ...settings,
    }),
    env: {},
  })
  if (result.kind === 'bad') throw new Error(result.problems.join('; '))
  const installation = await startInstallation(result.config, {
    log: createLog(result.config.log_level),
    adminApiKey: ADMIN_KEY,
    onFirstAdminKey: () => {},
    ...(options.clock === undefined ? {} : { clock: options.clock }),
    onFatal: (what, error) => {
      if (options.onFatal === undefined) throw error
      options.onFatal(what, error)
    },
  })
  const scheme = result.config.tls === undefined ? 'http' : 'https'
  const origin = `${scheme}://127.0.0.1:${installation.address.port}`
  const as =
    (key: string): Call =>
    (method, path, body, headers = {}) =>
      call(origin, key, method, path, body, headers)
  const admin = as(ADMIN_KEY)

  async function createKey(merchantId: string, scopes: Scope[]): Promise<string> {
    const body = { merchant_id: merchantId, name: scopes.join(' '), scopes }
    return expectStatus(201, await admin('POST', '/v2/api-keys', body)).api_key
  }

  return {
    installation,
    config: result.config,
    origin,
    opsOrigin: `http://127.0.0.1:${installation.opsAddress.port}`,
    folder,
    admin,
    as,
    createKey,

    async createMerchant() {
      const body = { merchant_name: 'Test' }
      const { id } = expectStatus(201, await admin('POST', '/v2/merchant-accounts', body))
      const vaultKey = await createKey(id, ['vault:read', 'vault:write'])
      const proxyKey = await createKey(id, ['proxy:invoke'])
      const policyKey = await createKey(id, ['policy:write'])
      const vault = as(vaultKey)
      const policy = as(policyKey)
      const createCustomer = async () =>
        expectStatus(201, await vault('POST', '/v2/customers', {})).id
      return {
        id,
        vaultKey,
        proxyKey,
        policyKey,
        vault,
        proxy: as(proxyKey),
        policy,
        createCustomer,
        async createCard(card = {}, customerId) {
          const answer = await vault('POST', '/v2/payment-methods', {
            customer_id: customerId ?? (await createCustomer()),
            payment_method_type: 'card',
            payment_method_data: {
              card: { card_number: VISA, card_exp_month: '03', card_exp_year: '2035', ...card },
            },
          })
          return expectStatus(201, answer).id
        },
        async createToken(value, customerId) {
          const body = { customer_id: customerId, token_request: value }
          return expectStatus(201, await vault('POST', '/v2/tokenize', body)).id
        },
        async createSession(body = {}) {
          const whole = { customer_id: await createCustomer(), ...body }
          return expectStatus(201, await vault('POST', '/v2/payment-method-sessions', whole))
        },
        async createDestination(destination) {
          expectStatus(201, await policy('POST', '/v2/destinations', destination))
        },
      }
    },

    async [Symbol.asyncDispose]() {
      await installation.stop()
      if (options.folder === undefined) await rm(folder, { recursive: true, force: true })
    },
  }
}

async function call(
  origin: string,
  key: string,
  method: string,
  path: string,
  body: unknown,
  headers: Record<string, string>,
): Promise<Answer> {
  const isRaw = typeof body === 'string' || body instanceof Uint8Array
  const response = await fetch(origin + path, {
    method,
    redirect: 'manual',
    headers: {
      'sallyport-key': key,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: isRaw ? (body as string) : JSON.stringify(body) }),
  })
  const text = await response.text()
  // Ids sort by the millisecond: what is made one after the other shall be listed in that order.
  if (response.status === 201) await sleep(1)
  let parsed: unknown = text
  try {
    parsed = JSON.parse(text)
  } catch {
    // not every answer is JSON
  }
  return { status: response.status, headers: response.headers, body: parsed, text }
}

function expectStatus(status: number, answer: Answer) {
  if (answer.status !== status)
    throw new Error(`${answer.status} instead of ${status}: ${answer.text}`)
  return answer.body
}
