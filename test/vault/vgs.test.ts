// VGS's adapter over a server shaped like VGS's: the contract of external vaults, and what is VGS's own: its access tokens,
// and answers that are nearly right.

import { expect, test } from 'vitest'
import { type CardDigits, parseCardNumber } from '../../src/core/card-number.ts'
import { type Cidr, parseCidr } from '../../src/core/cidr.ts'
import { Secret } from '../../src/core/secret.ts'
import { createEgress } from '../../src/proxy/egress/egress.ts'
import { createWholeSender } from '../../src/proxy/egress/send-whole.ts'
import type { ExternalVault } from '../../src/vault/external/contract.ts'
import { createVgs } from '../../src/vault/external/vgs.ts'
import { VISA } from '../support/sallyport.ts'
import { type Fault, startVgsSimulator, type VgsSimulator } from '../support/vgs-simulator.ts'
import { describeExternalVault, type OpenVault, type Trouble } from './external-vault-contract.ts'

const TIMEOUT_MS = 300

type Opened = OpenVault & {
  readonly vgs: VgsSimulator
  readonly clock: { nowMs: number }
}

async function open(): Promise<Opened> {
  const vgs = await startVgsSimulator()
  const clock = { nowMs: 1_000_000 }
  const { vault, close } = openVault(vgs, clock)
  return {
    vgs,
    clock,
    vault,
    keep: (value) => vgs.keep(value),
    kept: (alias) => vgs.numbers.get(alias),
    get count() {
      return vgs.numbers.size
    },
    cause: (trouble) => cause(vgs, trouble),
    async [Symbol.asyncDispose]() {
      await close()
      await vgs[Symbol.asyncDispose]()
    },
  }
}

function openVault(
  vgs: VgsSimulator,
  clock: { readonly nowMs: number },
): { vault: ExternalVault; close: () => Promise<void> } {
  const allowPrivate = [parseCidr('127.0.0.0/8') as Cidr]
  const egress = createEgress({ allowPrivate, allowHttp: true, proxy: undefined })
  const sender = createWholeSender(egress)
  const vault = createVgs(
    { send: sender.send, clock: () => clock.nowMs },
    {
      apiOrigin: vgs.origin,
      tokenUrl: vgs.tokenUrl,
      clientId: vgs.clientId,
      clientSecret: new Secret(vgs.clientSecret),
      timeoutMs: TIMEOUT_MS,
    },
  )
  return { vault, close: sender.destroy }
}

const FAULTS: Readonly<Record<Exclude<Trouble, 'cannot_be_reached' | 'has_no_tokens'>, Fault[]>> = {
  refuses_credentials_once: [{ status: 401 }],
  refuses_credentials: [{ status: 401 }, { status: 401 }],
  forbids: [{ status: 403 }],
  limits_rate: [{ status: 429 }],
  fails: [{ status: 500 }],
  is_silent: [{ say: 'nothing' }],
  breaks_off: [{ say: 'half' }],
  resets: [{ say: 'reset' }],
  says_nonsense: [{ body: '<html>' }],
  says_too_much: [{ body: ' '.repeat(70_000) }],
  does_and_is_silent: [{ say: 'nothing', do: true }],
}

function cause(vgs: VgsSimulator, trouble: Trouble): void {
  if (trouble === 'has_no_tokens') {
    vgs.tokenFaults.push({ status: 500 })
  } else if (trouble === 'cannot_be_reached') {
    vgs.refuse()
  } else {
    vgs.faults.push(...FAULTS[trouble])
  }
}

describeExternalVault('VGS', open)

const card = () => parseCardNumber(Buffer.from(VISA)) as CardDigits
const tokenRequests = ({ asked }: VgsSimulator) => asked.filter((each) => each.includes('/token'))

async function failureOf(vault: ExternalVault, alias: string): Promise<string> {
  const answer = await vault.retrieve(alias)
  return answer.kind === 'failed' ? answer.failure : answer.kind
}

test('one access token serves many requests, and of many at once only one asks for it', async () => {
  await using opened = await open()
  const { vgs, vault } = opened
  const alias = vgs.keep(VISA)

  await Promise.all(Array.from({ length: 20 }, () => vault.retrieve(alias)))

  expect(tokenRequests(vgs)).toHaveLength(1)
})

test('an access token is replaced half a minute before it expires', async () => {
  await using opened = await open()
  const { vgs, vault, clock } = opened
  const alias = vgs.keep(VISA)
  await vault.retrieve(alias)

  clock.nowMs += 269_999
  await vault.retrieve(alias)
  expect(tokenRequests(vgs)).toHaveLength(1)
  clock.nowMs += 1
  await vault.retrieve(alias)
  expect(tokenRequests(vgs)).toHaveLength(2)
})

test('an access token of a short life is used for half of it', async () => {
  await using opened = await open()
  const { vgs, vault, clock } = opened
  vgs.tokenLifeS = 10
  const alias = vgs.keep(VISA)
  await vault.retrieve(alias)

  clock.nowMs += 4999
  await vault.retrieve(alias)
  expect(tokenRequests(vgs)).toHaveLength(1)
  clock.nowMs += 1
  await vault.retrieve(alias)
  expect(tokenRequests(vgs)).toHaveLength(2)
})

test('access tokens that were revoked are replaced once, whoever notices', async () => {
  await using opened = await open()
  const { vgs, vault } = opened
  const alias = vgs.keep(VISA)
  await vault.retrieve(alias)
  vgs.revokeTokens()

  const answers = await Promise.all(Array.from({ length: 10 }, () => failureOf(vault, alias)))

  expect(new Set(answers)).toEqual(new Set(['retrieved']))
  expect(tokenRequests(vgs)).toHaveLength(2)
})

test.each([
  ['wrong credentials', { status: 401 }, 'unauthenticated'],
  ['a bad request', { status: 400 }, 'unauthenticated'],
  ['too many requests', { status: 429 }, 'rate_limited'],
  ['no answer', { say: 'nothing' }, 'unavailable'],
  ['a redirect', { status: 302 }, 'unavailable'],
  ['no JSON', { body: 'access_token=x' }, 'unavailable'],
  ['no token', { body: '{"expires_in":300}' }, 'unavailable'],
  ['a token with a line in it', { body: '{"access_token":"a\\r\\nb"}' }, 'unavailable'],
] satisfies [string, Fault, string][])(
  'a token endpoint that says %s: nothing is asked of the vault',
  async (_, fault, failure) => {
    await using opened = await open()
    const { vgs, vault } = opened
    const alias = vgs.keep(VISA)
    vgs.tokenFaults.push(fault)

    expect(await failureOf(vault, alias)).toBe(failure)
    expect(vgs.asked).toEqual(tokenRequests(vgs))
  },
)

test('answers that are nearly right are no answers', async () => {
  await using opened = await open()
  const { vgs, vault } = opened
  const aliases = '"aliases":[{"alias":"tok_a"}]'
  const right = `{"value":"4242424242424242",${aliases}}`
  const bodies = [
    '',
    '{}',
    '{"data":[]}',
    `{"data":${right}}`,
    `{"data":{"0":${right}}}`,
    `{"data":[{"value":4242424242424242,${aliases}}]}`,
    `{"data":[{"value":null,${aliases}}]}`,
    `{"data":[{"value":["4242424242424242"],${aliases}}]}`,
    `{"data":[{"value":"4242424242424242","value":"5555555555554444",${aliases}}]}`,
    `{"data":[${right}]`,
    `{"data":[{"x":${'['.repeat(20)}${']'.repeat(20)},${right.slice(1)}]}`,
  ]
  for (const body of bodies) {
    vgs.faults.push({ body })
    expect([body, await failureOf(vault, 'tok_a')]).toEqual([body, 'unavailable'])
  }
  vgs.faults.push({ body: `{"data":[${right}]}` })
  expect(await failureOf(vault, 'tok_a')).toBe('retrieved')
})

test.each([
  ['is about another alias', '{"value":"V","aliases":[{"alias":"tok_b"}]}'],
  ['writes it in capitals', '{"value":"V","aliases":[{"alias":"TOK_A"}]}'],
  ['says more than it', '{"value":"V","aliases":[{"alias":"tok_aa"}]}'],
  ['says less than it', '{"value":"V","aliases":[{"alias":"tok_"}]}'],
  ['names none', '{"value":"V","aliases":[]}'],
  ['says nothing of aliases', '{"value":"V"}'],
  [
    'has no texts for aliases',
    '{"value":"V","aliases":[{"alias":null},{"alias":["tok_a"]},"tok_a"]}',
  ],
  ['has a second value', '{"value":"V","aliases":[{"alias":"tok_a"}]},{"value":"V"}'],
  ['has it on a second value', '{"value":"V"},{"value":"V","aliases":[{"alias":"tok_a"}]}'],
  ['is about another one that is no card', '{"value":"123","aliases":[{"alias":"tok_b"}]}'],
])('an answer that %s is none', async (_, items) => {
  await using opened = await open()
  const { vgs, vault } = opened
  vgs.faults.push({ body: `{"data":[${items.replaceAll('"V"', `"${VISA}"`)}]}` })

  expect(await failureOf(vault, 'tok_a')).toBe('unavailable')
})

test('an alias may be one of several, in any spelling of JSON', async () => {
  await using opened = await open()
  const { vgs, vault } = opened
  const aliases = '[{"alias":"4242420000004242"},{"alias":"tok\\u005fa"}]'
  vgs.faults.push({ body: `{"data":[{"aliases":${aliases},"value":"${VISA}"}]}` })

  expect(await failureOf(vault, 'tok_a')).toBe('retrieved')
})

test('an alias that could not be kept as one is none', async () => {
  await using opened = await open()
  const { vgs, vault } = opened
  const aliases = ['', 'two words', 'quote\\"d', 'ä', 'x'.repeat(65), VISA, `tok_${VISA}`]
  for (const alias of aliases) {
    vgs.faults.push({ status: 201, body: `{"data":[{"aliases":[{"alias":"${alias}"}]}]}` })
    const failure = 'unavailable'
    expect([alias, await vault.insert(card())]).toEqual([alias, { kind: 'failed', failure }])
  }
})

test('an alias that a server would take for another path is asked of nobody', async () => {
  await using opened = await open()
  const { vgs, vault } = opened

  for (const alias of ['.', '..']) {
    expect(await failureOf(vault, alias)).toBe('not_found')
    expect(await vault.delete(alias)).toEqual({ kind: 'deleted' })
  }

  expect(vgs.asked).toEqual([])
})

test('an alias is one segment of the path, whatever stands in it', async () => {
  await using opened = await open()
  const { vgs, vault } = opened
  const alias = vgs.keep(VISA, '424242/000?x=1#4242')

  expect(await failureOf(vault, alias)).toBe('retrieved')
  expect(vgs.asked.at(-1)).toBe('GET /aliases/424242%2F000%3Fx%3D1%234242')
})
