// `sallyport demo`: the product at work in a minute. Starts an installation in a folder that is thrown away and a PSP
// simulator, stores a test card, charges it through the proxy, and shows that the card arrived there and nowhere
// else. Every step prints the `curl` that does the same. With `--once` it ends after the steps.

import { mkdtemp, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { verifyAuditFile } from '../audit/verify.ts'
import { parseConfig } from '../config.ts'
import { createLog } from '../http/log.ts'
import { type Installation, startInstallation } from './installation.ts'
import { StartError } from './start-error.ts'

/** Published for tests by the networks and processors; not a card of anybody's. */
const TEST_CARD = ['4242', '4242', '4242', '4242'].join('')
const DECLINED_TEST_CARD = ['4000', '0000', '0000', '0002'].join('')

type Options = {
  readonly isOnce: boolean
  readonly print: (text: string) => void
  readonly onStopSignal: (stop: (signal: string) => void) => void
}

/** What the demo needs of the simulator, which is shared with the tests and not part of a production image. */
type Psp = {
  readonly origin: string
  readonly apiKey: string
  readonly received: readonly { readonly cardNumber?: string | undefined }[]
  close(): Promise<void>
}

class StepFailed extends Error {}

/** The exit code. */
export async function demo({ isOnce, print, onStopSignal }: Options): Promise<number> {
  const stopped = new Promise<void>((resolve) => onStopSignal(() => resolve()))
  const folder = await mkdtemp(join(tmpdir(), 'sallyport-demo-'))
  let psp: Psp | undefined
  let installation: Installation | undefined
  try {
    psp = await startPsp()
    let adminKey = ''
    installation = await start(folder, (apiKey) => {
      adminKey = apiKey
    })
    await walkThrough(installation, adminKey, psp, folder, print)
    if (!isOnce) {
      print('Both are still running; try the commands above. Ctrl-C ends the demo.\n')
      print('(A verification code serves one charge: to charge again, leave the cvv out.)\n')
      await stopped
    }
    return 0
  } catch (error) {
    if (!(error instanceof StepFailed)) throw error
    print(`\nThe demo failed: ${error.message}\n`)
    return 1
  } finally {
    await installation?.stop()
    await psp?.close()
    await rm(folder, { recursive: true, force: true })
  }
}

async function startPsp(): Promise<Psp> {
  try {
    const { startPspSimulator } = await import('../../test/support/psp-simulator.ts')
    return await startPspSimulator()
  } catch (cause) {
    throw new StartError(
      'The demo needs the whole repository: its PSP simulator is in test/support.',
      {
        cause,
      },
    )
  }
}

async function start(
  folder: string,
  onFirstAdminKey: (apiKey: string) => void,
): Promise<Installation> {
  const result = parseConfig({
    yaml: JSON.stringify({
      data_dir: folder,
      host: '127.0.0.1',
      port: (await isFree(8080)) ? 8080 : 0,
      ops_port: (await isFree(9090)) ? 9090 : 0,
      // The simulator stands on this machine and speaks plain HTTP; real destinations need neither.
      egress: { allow_private: ['127.0.0.0/8'], allow_http: true },
      shutdown_timeout_ms: 1000,
      log_level: 'error',
    }),
    env: {},
  })
  if (result.kind === 'bad') throw new StartError(result.problems.join('\n'))
  return startInstallation(result.config, {
    log: createLog(result.config.log_level),
    adminApiKey: undefined,
    onFirstAdminKey,
    onFatal: (_what, error) => {
      throw error
    },
  })
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' })
    socket.on('connect', () => {
      socket.destroy()
      resolve(false)
    })
    socket.on('error', () => resolve(true))
  })
}

async function walkThrough(
  { address, opsAddress }: Installation,
  adminKey: string,
  psp: Psp,
  folder: string,
  print: (text: string) => void,
): Promise<void> {
  const origin = `http://127.0.0.1:${address.port}`
  /** Everything the caller ever saw. */
  let seen = ''
  let step = 0

  async function call<Answer>(
    title: string,
    key: string,
    method: string,
    path: string,
    body: object,
    expected: number,
  ): Promise<Answer> {
    step += 1
    const json = JSON.stringify(body, null, 2)
    print(`\n${step}. ${title}\n\n`)
    print(`   curl -X ${method} ${origin}${path} \\\n     -H 'Sallyport-Key: ${key}' \\\n`)
    print(`     -H 'Content-Type: application/json' \\\n     -d '${indented(copyable(json), 8)}'\n`)
    const answer = await fetch(origin + path, {
      method,
      headers: { 'sallyport-key': key, 'content-type': 'application/json' },
      body: json,
    })
    const text = await answer.text()
    seen += `${JSON.stringify([...answer.headers])}${text}`
    print(`\n   ${answer.status} ${answer.statusText}\n`)
    for (const name of ['sallyport-upstream-status', 'sallyport-substitutions']) {
      const value = answer.headers.get(name)
      if (value !== null) print(`   ${name}: ${value}\n`)
    }
    const parsed: unknown = JSON.parse(text)
    print(`   ${indented(masked(JSON.stringify(summary(parsed), null, 2)), 3)}\n`)
    if (answer.status !== expected) {
      throw new StepFailed(`step ${step} answered ${answer.status} instead of ${expected}`)
    }
    return parsed as Answer
  }

  print(`Sallyport at ${origin}, operations at http://127.0.0.1:${opsAddress.port}/health/ready\n`)
  print(`A PSP simulator at ${psp.origin}\n`)
  const merchant = await call<{ id: string }>(
    'The operator makes a merchant.',
    adminKey,
    'POST',
    '/v2/merchant-accounts',
    { merchant_name: 'Demo shop' },
    201,
  )
  const keyFor = async (title: string, scopes: string[]): Promise<string> => {
    const body = { merchant_id: merchant.id, name: scopes.join(', '), scopes }
    return (await call<{ api_key: string }>(title, adminKey, 'POST', '/v2/api-keys', body, 201))
      .api_key
  }
  const vaultKey = await keyFor('A key for its vault.', ['vault:read', 'vault:write'])
  const policyKey = await keyFor('A key for who decides where cards may go.', ['policy:write'])
  const proxyKey = await keyFor('A key for its shop: it may call the proxy and nothing else.', [
    'proxy:invoke',
  ])

  await call<unknown>(
    'Where cards may go: this PSP, this path, these fields, in these places. Its secret key stays here.',
    policyKey,
    'POST',
    '/v2/destinations',
    {
      name: 'psp',
      origin: psp.origin,
      inject_headers: { Authorization: `Bearer ${psp.apiKey}` },
      allow: [
        {
          methods: ['POST'],
          path: '/payments',
          fields: [
            { field: 'card_number', at: ['body:/source/number'] },
            'card_exp_month',
            'card_exp_year',
            { field: 'card_cvc', at: ['body:/source/cvv'] },
          ],
        },
      ],
    },
    201,
  )

  const customer = await call<{ id: string }>(
    'The shop makes a customer.',
    vaultKey,
    'POST',
    '/v2/customers',
    { name: 'Ada Lovelace' },
    201,
  )
  const storeCard = async (title: string, number: string): Promise<string> => {
    const card = {
      card_number: number,
      card_exp_month: '03',
      card_exp_year: '2035',
      card_cvc: '737',
    }
    const body = {
      customer_id: customer.id,
      payment_method_type: 'card',
      payment_method_data: { card },
    }
    return (await call<{ id: string }>(title, vaultKey, 'POST', '/v2/payment-methods', body, 201))
      .id
  }
  const token = await storeCard('It stores a card, once, and keeps the id.', TEST_CARD)
  const declined = await storeCard('And another, which the PSP will decline.', DECLINED_TEST_CARD)

  const charge = (title: string, paymentMethod: string, expected: number) =>
    call<{ approved?: boolean }>(
      title,
      proxyKey,
      'POST',
      '/d/psp/payments',
      {
        source: {
          type: 'card',
          number: `{{$card_number: ${paymentMethod}}}`,
          expiry_month: `{{$card_exp_month: ${paymentMethod}}}`,
          expiry_year: `{{$card_exp_year: ${paymentMethod}}}`,
          cvv: `{{$card_cvc: ${paymentMethod}}}`,
        },
        amount: 6540,
        currency: 'USD',
        reference: 'ORD-1',
      },
      expected,
    )
  const payment = await charge(
    "It charges the card: the PSP's own request, with placeholders where the card would be.",
    token,
    201,
  )
  if (payment.approved !== true) throw new StepFailed('the payment was not approved')
  const refusal = await charge('The PSP declines the other one.', declined, 201)
  if (refusal.approved !== false) throw new StepFailed('the payment was not declined')

  const leak = await call<{ error?: { reason: string } }>(
    'A stolen key tries to get the number into a field that the PSP shows again.',
    proxyKey,
    'POST',
    '/d/psp/payments',
    { source: { type: 'card' }, metadata: { note: `{{$card_number: ${token}}}` }, amount: 1 },
    403,
  )
  if (leak.error?.reason !== 'field_not_allowed') throw new StepFailed('the leak was not refused')

  print('\nProof\n\n')
  const arrived = psp.received.map(({ cardNumber }) => cardNumber)
  check(print, 'the PSP received the card that was stored', arrived.includes(TEST_CARD))
  check(print, 'the PSP received the declined card, and nothing else', arrived.length === 2)
  check(
    print,
    'the caller never saw either number',
    ![TEST_CARD, DECLINED_TEST_CARD].some((n) => seen.includes(n)),
  )
  const verdict = await verifyAuditFile(join(folder, 'audit', 'audit.jsonl'))
  check(print, 'the audit trail is unbroken', verdict.kind === 'intact')
  print('\n')
}

function check(print: (text: string) => void, fact: string, isTrue: boolean): void {
  print(`   ${isTrue ? 'yes' : 'NO '}  ${fact}\n`)
  if (!isTrue) throw new StepFailed(`it is not true that ${fact}`)
}

/** Long answers are shown by what matters in this story. */
function summary(answer: unknown): unknown {
  if (typeof answer !== 'object' || answer === null || !('card_cvc_token_storage' in answer)) {
    return answer
  }
  const { id, payment_method_data, card_cvc_token_storage } = answer as Record<string, unknown>
  return { id, payment_method_data, card_cvc_token_storage }
}

function masked(text: string): string {
  return text.replace(/\b([0-9]{6})[0-9]{6}([0-9]{4})\b/g, '$1******$2')
}

/** In a command that is to be copied, the shell makes the number that is not shown. */
function copyable(json: string): string {
  return json
    .replace(TEST_CARD, `'"$(printf '4242%.0s' 1 2 3 4)"'`)
    .replace(DECLINED_TEST_CARD, `'"$(printf '4000%08d0002' 0)"'`)
}

function indented(text: string, blanks: number): string {
  return text.replaceAll('\n', `\n${' '.repeat(blanks)}`)
}
