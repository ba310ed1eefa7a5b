// Very Good Security's vault: Vault HTTP API, `/aliases`, with an access token by OAuth client credentials (RFC 6749, 4.4)
// of its service accounts (scopes aliases:write, aliases:read, aliases:delete; reading has to be enabled by VGS for the
// vault). docs.verygoodsecurity.com, "Vault API" and "Authentication and Authorization".
//
// Numbers are written into requests and read out of answers as bytes. Aliases and access tokens are strings.

import type { CardDigits } from '../../core/card-number.ts'
import { parseCardNumber } from '../../core/card-number.ts'
import type { Clock } from '../../core/clock.ts'
import { isJson } from '../../core/json-check.ts'
import { type JsonPath, jsonScalar, parseJsonPath, selectJson } from '../../core/json-path.ts'
import { Secret } from '../../core/secret.ts'
import type { SendWhole, WholeAnswer, WholeRequest } from '../../core/send-whole.ts'
import { wipeableBuffer } from '../../core/wipeable.ts'
import {
  type Alias,
  type Deleted,
  type ExternalVault,
  type Failed,
  type Health,
  type Inserted,
  isAlias,
  type Retrieved,
  type VaultFailure,
} from './contract.ts'

export type VgsSettings = {
  /** `https://<vault id>.live.vault-api.verygoodvault.com` */
  readonly apiOrigin: string
  /** `https://auth.verygoodsecurity.com/auth/realms/vgs/protocol/openid-connect/token` */
  readonly tokenUrl: string
  readonly clientId: string
  readonly clientSecret: Secret<string>
  /** For one request to either of them. */
  readonly timeoutMs: number
}

const MAX_ANSWER_BYTES = 64 * 1024
const MAX_DEPTH = 16
/** An access token is not used in the last part of its life: it has to arrive while it is valid. */
const TOKEN_MARGIN_MS = 30_000
const ACCESS_TOKEN = /^[A-Za-z0-9._~+/=-]{1,16384}$/
/** An alias nobody has. */
const NO_ALIAS = 'tok_sallyport_health'

const ITEMS = pathOf('$.data[*]')
const VALUE = pathOf('$.data[0].value')
const ALIAS = pathOf('$.data[0].aliases[0].alias')
/** One value may have several, in several formats. */
const ALIASES = pathOf('$.data[0].aliases[*].alias')

/** Of a request whose answer decides about `not_found` by itself. */
type CallFailure = Exclude<VaultFailure, 'not_found'>
type Answered = Extract<WholeAnswer, { kind: 'answered' }>
type Token = { readonly text: Secret<string>; readonly expiresAtMs: number }

export function createVgs(
  deps: { readonly send: SendWhole; readonly clock: Clock },
  settings: VgsSettings,
): ExternalVault {
  const { send, clock } = deps
  const { apiOrigin, tokenUrl, clientId, clientSecret, timeoutMs } = settings
  let token: Token | undefined
  /** Whoever needs one meanwhile waits for the same. */
  let asking: Promise<Token | Failed<CallFailure>> | undefined

  const limits = { timeoutMs, limitBytes: MAX_ANSWER_BYTES }

  async function askForToken(): Promise<Token | Failed<CallFailure>> {
    const form = new URLSearchParams({
      grant_type: 'client_credentials',
      client_id: clientId,
      client_secret: clientSecret.reveal(),
    })
    const answer = await send({
      url: tokenUrl,
      method: 'POST',
      headers: ['content-type', 'application/x-www-form-urlencoded', ...ACCEPT],
      body: Buffer.from(form.toString()),
      ...limits,
    })
    if (answer.kind === 'failed') return failed('unavailable') // nothing has been done by it
    try {
      const { status, body } = answer
      if (status === 400 || status === 401 || status === 403) return failed('unauthenticated')
      if (status === 429) return failed('rate_limited')
      const said = status === 200 ? parseToken(body) : undefined
      if (said === undefined) return failed('unavailable')
      token = {
        text: new Secret(said.text),
        expiresAtMs: clock() + Math.max(said.lifeMs - TOKEN_MARGIN_MS, said.lifeMs / 2),
      }
      return token
    } finally {
      answer.body.fill(0)
    }
  }

  /** `refused`: one that the vault does not take any more. */
  async function currentToken(refused: Token | undefined): Promise<Token | Failed<CallFailure>> {
    if (token !== undefined && token !== refused && token.expiresAtMs > clock()) return token
    asking ??= askForToken().finally(() => {
      asking = undefined
    })
    return asking
  }

  /** `bodyOf`: it is overwritten when it was sent, and may have to be sent again. The caller overwrites the answer. */
  async function call(
    method: WholeRequest['method'],
    path: string,
    bodyOf?: () => Buffer,
  ): Promise<Answered | Failed<CallFailure>> {
    let refused: Token | undefined
    for (;;) {
      const bearer = await currentToken(refused)
      if ('kind' in bearer) return bearer
      const answer = await send({
        url: `${apiOrigin}${path}`,
        method,
        headers: [
          'authorization',
          `Bearer ${bearer.text.reveal()}`,
          ...(bodyOf === undefined ? [] : ['content-type', 'application/json']),
          ...ACCEPT,
        ],
        body: bodyOf?.(),
        ...limits,
      })
      if (answer.kind === 'failed') {
        return failed(answer.mayHaveBeenSent ? 'timeout_unknown' : 'unavailable')
      }
      if (answer.status === 401 && refused === undefined) {
        answer.body.fill(0)
        refused = bearer
        continue
      }
      const failure = failureOf(answer.status)
      if (failure === undefined) return answer
      answer.body.fill(0)
      return failed(failure)
    }
  }

  return {
    async insert(number): Promise<Inserted> {
      const answer = await call('POST', '/aliases', () => insertion(number))
      if (answer.kind === 'failed') return answer
      try {
        const isMade = answer.status === 200 || answer.status === 201
        const alias = isMade ? textAt(answer.body, ALIAS) : undefined
        if (alias === undefined) return failed('unavailable')
        // One that holds the number would be kept as what is no secret.
        if (!isAlias(alias) || alias.includes(number)) {
          alias.fill(0)
          return failed('unavailable')
        }
        return { kind: 'inserted', alias: alias.toString('latin1') }
      } finally {
        answer.body.fill(0)
      }
    },

    async retrieve(alias): Promise<Retrieved> {
      const path = pathOfAlias(alias)
      if (path === undefined) return failed('not_found')
      const answer = await call('GET', path)
      if (answer.kind === 'failed') return answer
      try {
        if (isGone(answer.status)) return failed('not_found')
        // An answer that got mixed up on its way is a card of somebody else.
        const isAsked = answer.status === 200 && isAbout(answer.body, alias)
        const value = isAsked ? textAt(answer.body, VALUE) : undefined
        if (value === undefined) return failed('unavailable')
        const number = parseCardNumber(value)
        if (number !== undefined) return { kind: 'retrieved', number }
        value.fill(0)
        return failed('not_found') // there is something under that alias, and it is no card
      } finally {
        answer.body.fill(0)
      }
    },

    async delete(alias): Promise<Deleted> {
      const path = pathOfAlias(alias)
      if (path === undefined) return { kind: 'deleted' }
      const answer = await call('DELETE', path)
      if (answer.kind === 'failed') return answer
      answer.body.fill(0)
      const { status } = answer
      const isDone = status === 200 || status === 204 || isGone(status)
      return isDone ? { kind: 'deleted' } : failed('unavailable')
    },

    async health(): Promise<Health> {
      const answer = await call('GET', pathOfAlias(NO_ALIAS) as string)
      if (answer.kind === 'failed') {
        const { failure } = answer
        return { state: failure === 'rate_limited' ? 'degraded' : 'down', failure }
      }
      answer.body.fill(0)
      return isGone(answer.status) ? { state: 'up' } : { state: 'degraded', failure: 'unavailable' }
    },
  }
}

const ACCEPT = ['accept', 'application/json', 'accept-encoding', 'identity']

function failed<Failure extends VaultFailure>(failure: Failure): Failed<Failure> {
  return { kind: 'failed', failure }
}

/** Undefined: the answer is about what was asked. */
function failureOf(status: number): CallFailure | undefined {
  if (status === 401 || status === 403) return 'unauthenticated'
  if (status === 429) return 'rate_limited'
  return status >= 500 ? 'unavailable' : undefined
}

const isGone = (status: number) => status === 404 || status === 410

/** Undefined for what a server would take for another path. */
function pathOfAlias(alias: string): string | undefined {
  return /^\.{1,2}$/.test(alias) ? undefined : `/aliases/${encodeURIComponent(alias)}`
}

const BEFORE = Buffer.from('{"data":[{"value":"')
const AFTER = Buffer.from(
  '","classifiers":["card-number"],"format":"UUID","storage":"PERSISTENT"}]}',
)

function insertion(number: CardDigits): Buffer {
  const body = wipeableBuffer(BEFORE.length + number.length + AFTER.length)
  body.set(BEFORE)
  body.set(number, BEFORE.length)
  body.set(AFTER, BEFORE.length + number.length)
  return body
}

/** Does the answer name that alias, byte for byte, and the one value it has? */
function isAbout(body: Buffer, alias: Alias): boolean {
  if (!isJson(body, MAX_DEPTH) || selectJson(body, ITEMS, 'all').length !== 1) return false
  const asked = Buffer.from(alias, 'latin1')
  return selectJson(body, ALIASES, 'all').some((json) => {
    const scalar = jsonScalar(json)
    if (scalar.kind !== 'text' || !scalar.isNew) return false
    const isSame = scalar.bytes.equals(asked)
    scalar.bytes.fill(0)
    return isSame
  })
}

/** Of a string in the answer, the bytes in a Buffer of its own; undefined when there is none. */
function textAt(body: Buffer, path: JsonPath): Buffer | undefined {
  if (!isJson(body, MAX_DEPTH)) return undefined
  const [value, second] = selectJson(body, path, 'all')
  // Said twice, it is anybody's guess which of the two is meant.
  if (value === undefined || second !== undefined) return undefined
  const scalar = jsonScalar(value)
  return scalar.kind === 'text' && scalar.isNew ? scalar.bytes : undefined
}

function parseToken(body: Buffer): { text: string; lifeMs: number } | undefined {
  if (!isJson(body, MAX_DEPTH)) return undefined
  const answer: unknown = JSON.parse(body.toString('utf8'))
  if (typeof answer !== 'object' || answer === null) return undefined
  const text = 'access_token' in answer ? answer.access_token : undefined
  const seconds = 'expires_in' in answer ? answer.expires_in : undefined
  if (typeof text !== 'string' || !ACCESS_TOKEN.test(text)) return undefined
  // It need not be said (RFC 6749, 5.1): then it is used as long as it is taken.
  const lifeMs = typeof seconds === 'number' && seconds > 0 ? seconds * 1000 : 300_000
  return { text, lifeMs }
}

function pathOf(text: string): JsonPath {
  const path = parseJsonPath(text)
  if (path === undefined) throw new Error('no path')
  return path
}
