// A long run of everything at once: requests that pass, that are refused, whose destination breaks off, whose callers
// leave in the middle. Afterwards memory must not have grown, and what the process holds open must be what it held
// before.

import { randomBytes } from 'node:crypto'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Caller, openSocket, type Target } from './connection.ts'
import { Contender } from './contender.ts'
import { seconds, startLoad } from './load.ts'
import {
  BODIES,
  type BodyKind,
  CARD,
  type CardTexts,
  payment,
  placeholders,
  withCards,
} from './payment.ts'
import type { Resources } from './peers/announce.ts'
import { envelope } from './prepare.ts'
import { median } from './quantiles.ts'
import { placesOf, requestBytes, write } from './request-bytes.ts'
import { type Merchant, setUp } from './set-up.ts'
import { ANSWER, type AnswerOtherwise, answerBytes, startUpstream } from './upstream.ts'

const CONNECTIONS = 64
const LEAVERS = 8
/** How long a leaver waits at most, and the destination with each half of its answer. */
const LEAVING_MS = 120
const SAMPLE_S = 1
const SHORTEST_S = 20
const LONGEST_S = 1800
const WARM_UP_REQUESTS = 5000
/** By then idle connections to the destination have been closed. */
const SETTLE_S = 45
/**
 * Of the contender. Without a limit V8 lets garbage lie as long as there is memory, and that looks like a leak; with
 * it, a leak ends the process.
 */
const HEAP_OPTION = '--max-old-space-size=96'
/** After the first fifth of the samples, the median of the last fifth may be above that of the second by so much. */
const MAX_GROWTH_BYTES = 16e6
/** Idempotency keys in turn: later requests are repetitions, and the store does not grow all the time. */
const KEYS = 2000
const KEY_DIGITS = 8

const PATHS = { reset: '/payments/reset', half: '/payments/half', late: '/payments/late' } as const

/** A destination that breaks off before, and in the middle of, its answer, and one that takes its time. */
const answerBadly: AnswerOtherwise = (path, socket) => {
  const answer = answerBytes(ANSWER)
  const half = answer.subarray(0, answer.length - 100)
  switch (path) {
    case PATHS.reset:
      socket.destroy()
      return true
    case PATHS.half:
      socket.end(half)
      return true
    case PATHS.late:
      setTimeout(() => socket.write(half), LEAVING_MS / 2)
      setTimeout(() => socket.write(answer.subarray(half.length)), LEAVING_MS)
      return true
    default:
      return false
  }
}

type Kind = {
  readonly name: string
  /** Of each hundred requests. */
  readonly share: number
  readonly request: Buffer
  readonly isRight: (status: string, body: Buffer) => boolean
}

const UNKNOWN_TOKEN = `local_pm_${'0'.repeat(12)}70008${'0'.repeat(15)}`
const KEY_MARK = '#'.repeat(KEY_DIGITS)

function kindsOf(target: Target, upstream: string, { proxyKey, tokens }: Merchant): Kind[] {
  const real = [CARD]
  const asked = [placeholders(tokens[0] ?? '')]
  const request = (
    body: BodyKind,
    cards: readonly CardTexts[],
    { path = '/payments', key }: { path?: string; key?: string } = {},
  ) =>
    requestBytes(
      target.origin,
      'POST',
      `/d/psp${path}`,
      {
        'content-type': BODIES[body].contentType,
        'sallyport-key': proxyKey,
        ...(key === undefined ? {} : { 'sallyport-idempotency-key': key }),
      },
      payment(body, cards),
    )
  const right = Buffer.from(ANSWER)
  const answered = (status: string, body: Buffer) => status === '200' && body.equals(right)
  const refused = (expected: string, reason: string) => (status: string, body: Buffer) =>
    status === expected && body.includes(`"reason":"${reason}"`)
  const inEnvelope = requestBytes(
    target.origin,
    'POST',
    '/v2/proxy',
    { 'content-type': 'application/json', 'sallyport-key': proxyKey },
    envelope(payment('json', asked), upstream),
  )
  return [
    { name: 'pass-through', share: 20, request: request('json', real), isRight: answered },
    { name: 'detokenize', share: 45, request: request('json', asked), isRight: answered },
    { name: 'form', share: 10, request: request('form', asked), isRight: answered },
    {
      name: 'envelope',
      share: 10,
      request: inEnvelope,
      isRight: (status, body) => status === '200' && body.includes('"status_code":200'),
    },
    {
      name: 'idempotent',
      share: 5,
      request: request('json', asked, { key: `order-${KEY_MARK}` }),
      // The first with this key may be under way.
      isRight: (status, body) =>
        answered(status, body) || refused('409', 'idempotency_in_flight')(status, body),
    },
    {
      name: 'unknown token',
      share: 4,
      request: request('json', [placeholders(UNKNOWN_TOKEN)]),
      isRight: refused('404', 'token_not_found'),
    },
    {
      name: 'refused path',
      share: 4,
      request: request('json', asked, { path: '/refunds' }),
      isRight: refused('403', 'method_or_path_not_allowed'),
    },
    {
      name: 'upstream reset',
      share: 2,
      request: request('json', asked, { path: PATHS.reset }),
      isRight: refused('502', 'upstream_reset'),
    },
  ]
}

/** Every connection sends all kinds, mixed the same way. */
function mixed(kinds: readonly Kind[]): () => Caller {
  const order: Kind[] = []
  for (let n = 0; n < 100; n++) {
    // The kind that is furthest behind its share comes next.
    const behind = (kind: Kind) =>
      (kind.share * (n + 1)) / 100 - order.filter((k) => k === kind).length
    order.push(kinds.toSorted((a, b) => behind(b) - behind(a))[0] as Kind)
  }
  let callers = 0
  let keys = 0
  return () => {
    callers += 1
    let sent = callers * 7
    let kind = order[0] as Kind
    const requests = new Map(kinds.map((each) => [each, Buffer.from(each.request)]))
    return {
      next() {
        kind = order[sent % order.length] as Kind
        sent += 1
        const request = requests.get(kind) as Buffer
        if (kind.name === 'idempotent') {
          keys += 1
          write(
            request,
            placesOf(kind.request, KEY_MARK),
            String(keys % KEYS).padStart(KEY_DIGITS, '0'),
          )
        }
        return request
      },
      isRight: (status, body) => kind.isRight(status, body),
    }
  }
}

type Leavers = { readonly count: number; stop(): Promise<void> }

/** Connections that are closed at any moment between the request and its whole answer, over and over. */
function startLeavers(target: Target, requests: readonly Buffer[]): Leavers {
  let isOver = false
  let count = 0
  const leave = async (): Promise<void> => {
    while (!isOver) {
      let socket: Socket | undefined
      try {
        socket = await openSocket(target)
        socket.on('error', () => {}) // the answer may be cut: that is one of the cases
        socket.resume()
        socket.write(requests[count % requests.length] ?? '')
        count += 1
        await seconds((Math.random() * LEAVING_MS) / 1000)
      } finally {
        socket?.destroy()
      }
    }
  }
  const all = Promise.all(Array.from({ length: LEAVERS }, leave))
  return {
    get count() {
      return count
    },
    async stop() {
      isOver = true
      await all
    },
  }
}

export type Soak = {
  readonly requests: number
  readonly leftEarly: number
  readonly seconds: number
  readonly rssBytes: readonly number[]
  readonly growthBytes: number
  readonly before: Resources
  readonly after: Resources
  /** Sentences; none when all is well. */
  readonly problems: readonly string[]
}

export async function soak(options: {
  readonly isPinned: boolean
  readonly requests: number
  readonly say: (text: string) => void
}): Promise<Soak> {
  const { isPinned, say } = options
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-soak-'))
  const removeFolder = () => rmSync(folder, { recursive: true, force: true })
  process.on('exit', removeFolder)
  const adminKey = randomBytes(24).toString('hex')
  const upstream = await startUpstream({ answerOtherwise: answerBadly })
  const data = join(folder, 'data')
  mkdirSync(data)
  process.env.NODE_OPTIONS = HEAP_OPTION // a child's; this process has read its own
  const contender = await Contender.start('sallyport', {
    upstream: upstream.origin,
    folder: data,
    adminKey,
    isPinned,
    isGuarded: false,
    profileFolder: undefined,
  })
  try {
    const target = { origin: contender.origin, ca: contender.ca }
    const merchant = await setUp(target, upstream.origin, adminKey, {
      fieldsAt: 'anywhere',
      tokens: 1,
      settings: { breaker: { failures: 10_000 } }, // its timers are to be seen, its refusals not
    })
    const kinds = kindsOf(target, upstream.origin, merchant)
    const newCaller = mixed(kinds)
    const bodies = (['json', 'form'] as const).flatMap((kind) => {
      const asked = [placeholders(merchant.tokens[0] ?? '')]
      return [withCards(payment(kind, asked), asked, [CARD]), payment(kind, [CARD])].map((text) =>
        Buffer.from(text),
      )
    })
    upstream.expect((body) => bodies.some((right) => body.equals(right)))
    const cut = [PATHS.late, PATHS.half].map((path) =>
      requestBytes(
        target.origin,
        'POST',
        `/d/psp${path}`,
        { 'content-type': 'application/json', 'sallyport-key': merchant.proxyKey },
        payment('json', [placeholders(merchant.tokens[0] ?? '')]),
      ),
    )

    const pass = async (requests: number, onSecond: () => Promise<void>) => {
      const load = await startLoad({ target, newCaller }, CONNECTIONS)
      const leavers = startLeavers(target, cut)
      let answers = 0
      const giveUpMs = performance.now() + LONGEST_S * 1000
      while (answers < requests && performance.now() < giveUpMs) {
        await Promise.race([seconds(SAMPLE_S), load.failed])
        answers += load.takeDurationsMs().length
        await onSecond()
      }
      await leavers.stop()
      await load.stop()
      return { answers: answers + load.takeDurationsMs().length, leftEarly: leavers.count }
    }

    await pass(WARM_UP_REQUESTS, async () => {})
    say(`settling for ${SETTLE_S} s ...\n`)
    await seconds(SETTLE_S)
    const before = await contender.resources()

    const rssBytes: number[] = []
    const startMs = performance.now()
    const { answers, leftEarly } = await pass(options.requests, async () => {
      const { rssBytes: now } = await contender.usage()
      rssBytes.push(now)
      if (rssBytes.length % 10 === 0) say(`${rssBytes.length} s: ${(now / 1e6).toFixed(0)} MB\n`)
    })
    const lasted = (performance.now() - startMs) / 1000
    say(`settling for ${SETTLE_S} s ...\n`)
    await seconds(SETTLE_S)
    const after = await contender.resources()

    const growthBytes = growthOf(rssBytes)
    const result: Soak = {
      requests: answers,
      leftEarly,
      seconds: lasted,
      rssBytes,
      growthBytes,
      before,
      after,
      problems: [
        ...(answers < options.requests ? [`only ${answers} requests in ${LONGEST_S} s`] : []),
        ...(rssBytes.length < SHORTEST_S
          ? [`${rssBytes.length} s are too short to judge memory by; ask for more requests`]
          : []),
        ...(growthBytes > MAX_GROWTH_BYTES
          ? [`memory grew by ${(growthBytes / 1e6).toFixed(0)} MB`]
          : []),
        ...(upstream.wrongBodies > 0 ? [`${upstream.wrongBodies} bodies were wrong`] : []),
        ...leaksOf(before, after),
      ],
    }
    say(`\n${soakText(result)}\n`)
    return result
  } finally {
    await contender.stop()
    upstream.close()
    process.off('exit', removeFolder)
    removeFolder()
  }
}

/** From the second fifth of the samples to the last: the first fifth is for caches and compilers. */
export function growthOf(rssBytes: readonly number[]): number {
  const fifth = Math.floor(rssBytes.length / 5)
  return median(rssBytes.slice(-fifth)) - median(rssBytes.slice(fifth, 2 * fifth))
}

/** More than before of anything. */
export function leaksOf(before: Resources, after: Resources): string[] {
  const leaks: string[] = []
  for (const [kind, count] of Object.entries(after.active)) {
    const had = before.active[kind] ?? 0
    if (count > had) leaks.push(`${count} × ${kind}, before there were ${had}`)
  }
  if (after.openFiles > before.openFiles) {
    leaks.push(`${after.openFiles} open files and sockets, before there were ${before.openFiles}`)
  }
  return leaks
}

function soakText(result: Soak): string {
  const { requests, leftEarly, seconds: lasted, rssBytes, growthBytes, before, after } = result
  const mb = (bytes: number) => `${(bytes / 1e6).toFixed(0)} MB`
  const list = ({ active, openFiles }: Resources) =>
    [`${openFiles} open files`, ...Object.entries(active).map(([k, n]) => `${n} ${k}`)].join(', ')
  return [
    `${requests} requests and ${leftEarly} callers that left early in ${lasted.toFixed(0)} s.`,
    `RSS from ${mb(Math.min(...rssBytes))} to ${mb(Math.max(...rssBytes))}; from the second fifth of the time to the last ` +
      `${growthBytes < 0 ? '' : '+'}${mb(growthBytes)} (at most ${mb(MAX_GROWTH_BYTES)}).`,
    `Held open before: ${list(before)}`,
    `Held open after:  ${list(after)}`,
    ...(result.problems.length === 0 ? ['Memory is flat, nothing leaked.'] : result.problems),
  ].join('\n')
}
