// What a case sends and what has to come of it. One request is sent and everything about it is looked at, before any is
// timed; those under load are then compared with it byte for byte.

import { cardNumber, NUMBER_DIGITS } from './card-numbers.ts'
import type { Case, Work } from './cases.ts'
import { type Caller, exchange, headerOf, statusOf, type Target } from './connection.ts'
import { startLoad, type Workload } from './load.ts'
import {
  BODIES,
  CARD,
  type CardTexts,
  FIELDS,
  payment,
  placeholders,
  withCards,
} from './payment.ts'
import { PEER_TOKENS } from './peers/peers.ts'
import { counted, placesOf, requestBytes, sameEveryTime, write } from './request-bytes.ts'
import { type Merchant, newCard, PSP_KEY, setUp } from './set-up.ts'
import { SLOW_PATHS, type SlowRequests } from './slow-clients.ts'
import { type StoredMethods, storedPayment } from './stored.ts'
import { ANSWER, type Upstream } from './upstream.ts'

const RETRIEVED = 1000
/** In a request: digits that are others each time it is sent. */
const COUNTED = '000000000000'

export type Surroundings = {
  readonly target: Target
  readonly upstream: Upstream
  /** PEM, of who signed the upstream's certificate. */
  readonly upstreamCa: string | undefined
  readonly adminKey: string
  /** Only for cases that use them. */
  readonly stored: StoredMethods | undefined
}

/** `slow`: for the connections that are not measured. */
export type Prepared = Workload & { readonly slow: SlowRequests | undefined }

/** Throws with a sentence when anything about an answer, or what the upstream got, is not as it has to be. */
export async function prepare(each: Case, surroundings: Surroundings): Promise<Prepared> {
  if (each.peer !== 'sallyport') return preparePeer(each, surroundings)
  const { work } = each
  if (work.kind === 'stored') {
    if (surroundings.stored === undefined) throw new Error('nothing was stored')
    const workload = storedPayment(surroundings.target, surroundings.stored)
    await validateOne(workload, surroundings.upstream)
    return { ...workload, slow: undefined }
  }
  const merchant = await setUp(
    surroundings.target,
    surroundings.upstream.origin,
    surroundings.adminKey,
    {
      fieldsAt: each.fieldsAt,
      tokens: work.kind === 'payment' ? BODIES[work.body].cards : 0,
      settings: {
        timeouts: { body_ms: 600_000, total_ms: 600_000 }, // a slow reader takes its time
        response: { leak_guard: each.guards === 'off' ? 'off' : 'mask' },
        ...(each.guards === 'all' ? { breaker: { failures: 10 } } : {}),
        ...(surroundings.upstreamCa === undefined ? {} : { ca_pem: surroundings.upstreamCa }),
      },
    },
  )
  switch (work.kind) {
    case 'payment':
      return preparePayment(each, work, merchant, surroundings)
    case 'create':
      return { ...creating(surroundings.target, merchant), slow: undefined }
    case 'retrieve':
      return { ...(await retrieving(surroundings.target, merchant)), slow: undefined }
    case 'list':
      return { ...(await listing(surroundings.target, merchant)), slow: undefined }
    default:
      return work satisfies never
  }
}

/** What callers send when nothing is in between. */
export function prepareDirect(upstream: Upstream): Workload {
  const target = { origin: upstream.origin, ca: undefined }
  const body = payment('json', [CARD])
  const headers = {
    'content-type': 'application/json',
    accept: 'application/json',
    authorization: PSP_KEY,
  }
  const request = requestBytes(target.origin, 'POST', '/payments', headers, body)
  const answer = Buffer.from(ANSWER)
  return {
    target,
    newCaller: sameEveryTime(request, answer),
    isExpected: nothingDiffers(body),
    reachesUpstream: true,
    same: { request, answer },
  }
}

type Payment = Extract<Work, { kind: 'payment' }>

const nothingDiffers = (arrives: string) => {
  const expected = Buffer.from(arrives)
  return (body: Buffer) => body.equals(expected)
}

async function preparePeer(each: Case, surroundings: Surroundings): Promise<Prepared> {
  const { target, upstream } = surroundings
  if (each.work.kind !== 'payment') throw new Error('only Sallyport has a vault')
  const { contentType, cards } = BODIES[each.work.body]
  const asked = PEER_TOKENS.slice(0, cards).map((token) =>
    each.card === 'placeholders' ? placeholders(token) : CARD,
  )
  const body = payment(each.work.body, asked)
  const arrives = withCards(
    body,
    asked,
    asked.map(() => CARD),
  )
  const headers = {
    'content-type': contentType,
    accept: 'application/json',
    authorization: PSP_KEY,
  }
  const request = requestBytes(target.origin, 'POST', '/payments', headers, body)
  await validate(target, request, upstream, { arrives, contentType, headers: {} })
  return {
    target,
    newCaller: sameEveryTime(request, Buffer.from(ANSWER)),
    isExpected: nothingDiffers(arrives),
    reachesUpstream: true,
    same: { request, answer: Buffer.from(ANSWER) },
    slow: slowRequests(target, '', headers, body),
  }
}

async function preparePayment(
  { card, isIdempotent }: Case,
  { body: kind, way }: Payment,
  { proxyKey, tokens }: Merchant,
  { target, upstream }: Surroundings,
): Promise<Prepared> {
  const { contentType } = BODIES[kind]
  const asked: CardTexts[] = tokens.map((token) =>
    card === 'placeholders' ? placeholders(token) : CARD,
  )
  const body = payment(kind, asked)
  const arrives = withCards(
    body,
    asked,
    asked.map(() => CARD),
  )
  const own = {
    'content-type': contentType,
    accept: 'application/json',
    'sallyport-key': proxyKey,
    ...(isIdempotent ? { 'sallyport-idempotency-key': `order-${COUNTED}` } : {}),
  }
  const request =
    way === 'envelope'
      ? requestBytes(target.origin, 'POST', '/v2/proxy', own, envelope(body, upstream.origin))
      : requestBytes(target.origin, 'POST', '/d/psp/payments', own, body)
  const answer = await validate(target, request, upstream, {
    arrives,
    contentType,
    isEnvelope: way === 'envelope',
    headers: {
      'sallyport-upstream-status': '200',
      ...(card === 'placeholders'
        ? { 'sallyport-substitutions': FIELDS.map((f) => `${f}=${tokens.length}`).join(', ') }
        : {}),
    },
  })
  return {
    target,
    newCaller: isIdempotent ? counted(request, COUNTED, answer) : sameEveryTime(request, answer),
    isExpected: nothingDiffers(arrives),
    reachesUpstream: true,
    same: isIdempotent ? undefined : { request, answer },
    slow: slowRequests(target, '/d/psp', own, body),
  }
}

function slowRequests(
  { origin }: Target,
  path: string,
  headers: Readonly<Record<string, string>>,
  body: string,
): SlowRequests {
  return {
    send: requestBytes(origin, 'POST', path + SLOW_PATHS.send, headers, body),
    read: requestBytes(origin, 'GET', path + SLOW_PATHS.read, headers, ''),
  }
}

/** With the payment in it as it is. */
export const envelope = (body: string, upstream: string) =>
  `{"destination_url":"${upstream}/payments","method":"POST","headers":{"accept":"application/json"},"request_body":${body}}`

/** Answers with the body of the answer, which is the right one. */
async function validate(
  target: Target,
  request: Buffer,
  upstream: Upstream,
  right: {
    readonly arrives: string
    readonly contentType: string
    readonly isEnvelope?: boolean
    /** That the answer has to carry. */
    readonly headers: Readonly<Record<string, string>>
  },
): Promise<Buffer> {
  upstream.expect(nothingDiffers(right.arrives))
  const answer = await exchange(target, request)
  expectSame('the status', statusOf(answer.head), '200')
  const text = answer.body.toString()
  if (right.isEnvelope) {
    const told = JSON.parse(text)
    expectSame('the answer', JSON.stringify(told.response), ANSWER)
    expectSame('its status', told.status_code, 200)
  } else {
    expectSame('the answer', text, ANSWER)
    expectSame('its type', headerOf(answer.head, 'content-type'), 'application/json')
  }
  for (const [name, value] of Object.entries(right.headers)) {
    expectSame(`its ${name}`, headerOf(answer.head, name), value)
  }
  const got = upstream.first
  expectSame('the body at the upstream', got?.body.toString(), right.arrives)
  const head = got?.head ?? ''
  expectSame('its length', headerOf(head, 'content-length'), String(right.arrives.length))
  expectSame('its type', headerOf(head, 'content-type'), right.contentType)
  expectSame('the key of the upstream', headerOf(head, 'authorization'), PSP_KEY)
  expectSame('our key at the upstream', headerOf(head, 'sallyport-key'), undefined)
  return answer.body
}

function expectSame(what: string, actual: unknown, expected: unknown): void {
  if (actual !== expected) {
    throw new Error(`${what} is ${JSON.stringify(actual)} and not ${JSON.stringify(expected)}`)
  }
}

/** Where requests differ, the first is compared like all that follow. */
async function validateOne(workload: Workload, upstream: Upstream): Promise<void> {
  upstream.expect(workload.isExpected)
  const caller = workload.newCaller()
  const { head, body } = await exchange(workload.target, caller.next())
  if (!caller.isRight(statusOf(head), body)) {
    throw new Error(`an answer was wrong: ${statusOf(head)} ${body}`)
  }
  if (workload.reachesUpstream && (upstream.requests !== 1 || upstream.wrongBodies > 0)) {
    throw new Error(`the upstream got ${upstream.first?.body ?? 'nothing'}`)
  }
}

/** Numbers are counted up from `first`, so none was stored before. */
function creatingCards(target: Target, { vaultKey, customer }: Merchant) {
  const mark = '0'.repeat(NUMBER_DIGITS)
  const request = requestBytes(
    target.origin,
    'POST',
    '/v2/payment-methods',
    { 'sallyport-key': vaultKey, 'content-type': 'application/json' },
    JSON.stringify(newCard(customer, mark)),
  )
  let count = 0
  return (onCreated: (id: string) => void): Caller => {
    const bytes = Buffer.from(request)
    const places = placesOf(bytes, mark)
    let lastFour = ''
    return {
      next() {
        const number = cardNumber(count)
        count += 1
        lastFour = number.slice(-4)
        write(bytes, places, number)
        return bytes
      },
      isRight(status, body) {
        onCreated(/"id":"([^"]+)"/.exec(body.toString('latin1'))?.[1] ?? '')
        return status === '201' && body.includes(`"last4_digits":"${lastFour}"`)
      },
    }
  }
}

function creating(target: Target, merchant: Merchant): Workload {
  const newCaller = creatingCards(target, merchant)
  return {
    target,
    newCaller: () => newCaller(() => {}),
    isExpected: () => false,
    reachesUpstream: false,
    same: undefined,
  }
}

/** Ids of at least so many cards of one customer, each another. */
async function storeThousand(target: Target, merchant: Merchant): Promise<readonly string[]> {
  const ids: string[] = []
  const newCaller = creatingCards(target, merchant)
  const { promise: enough, resolve } = Promise.withResolvers<void>()
  const load = await startLoad(
    {
      target,
      newCaller: () =>
        newCaller((id) => {
          ids.push(id)
          if (ids.length >= RETRIEVED) resolve()
        }),
    },
    64,
  )
  await Promise.race([enough, load.failed])
  await load.stop()
  return ids
}

async function listing(target: Target, merchant: Merchant): Promise<Workload> {
  const ids = await storeThousand(target, merchant)
  const path = `/v2/customers/${merchant.customer}/saved-payment-methods`
  const request = requestBytes(
    target.origin,
    'GET',
    path,
    { 'sallyport-key': merchant.vaultKey },
    '',
  )
  return {
    target,
    newCaller: () => ({
      next: () => request,
      isRight: (status, body) =>
        status === '200' && body.includes(ids[0] ?? '') && body.includes(ids.at(-1) ?? ''),
    }),
    isExpected: () => false,
    reachesUpstream: false,
    same: undefined,
  }
}

async function retrieving(target: Target, merchant: Merchant): Promise<Workload> {
  const ids = await storeThousand(target, merchant)
  const mark = '#'.repeat(ids[0]?.length ?? 0)
  const request = requestBytes(
    target.origin,
    'GET',
    `/v2/payment-methods/${mark}`,
    { 'sallyport-key': merchant.vaultKey },
    '',
  )
  const workload: Workload = {
    target,
    newCaller() {
      const bytes = Buffer.from(request)
      const places = placesOf(bytes, mark)
      let id = ''
      return {
        next() {
          id = ids[Math.floor(Math.random() * ids.length)] as string
          write(bytes, places, id)
          return bytes
        },
        isRight: (status, body) => status === '200' && body.includes(id),
      }
    },
    isExpected: () => false,
    reachesUpstream: false,
    same: undefined,
  }
  return workload
}
