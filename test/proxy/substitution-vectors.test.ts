// The vectors of test/vectors/substitution: what becomes of a value in each position, and what is refused. Each runs
// through the engine's functions, in one piece and byte by byte, and through the front door to a real destination.

import { readdirSync, readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CARD_FIELDS } from '../../src/core/card-fields.ts'
import { startSallyport, type TestMerchant, type TestSallyport } from '../support/sallyport.ts'
import {
  byteByByte,
  credentialsIn,
  type HeadPosition,
  headersFor,
  type Outcome,
  outcomeOf,
  type Secrets,
  substitute,
  substituteHead,
  substitutePieces,
  TOKEN,
  VALUE_HEADER,
} from './substitution.ts'
import { send, startUpstream, type Upstream } from './upstream.ts'

/** A long text is written as what repeats in it. */
type Text = string | Repeated | readonly (string | Repeated)[]
type Repeated = { readonly repeat: string; readonly times: number }

type Vector = {
  readonly name: string
  /** Instead of that of the file. */
  readonly content_type?: string
  /** `PM` stands for the id of a card in it, `TOK` for that of a generic token. */
  readonly template: Text
  /** Of template and output; else UTF-8. In the head both are always Latin-1. */
  readonly encoding?: 'latin1'
  readonly card?: Readonly<Record<string, string>>
  /** The token is an object with this as its `value`. */
  readonly value?: Text
  /** Or it is this JSON. */
  readonly json?: string
  /** Where only one of them can tell. */
  readonly levels?: readonly ('engine' | 'front_door')[]
  readonly outcome: 'substituted' | 'passed' | 'refused'
  readonly output?: Text
  readonly reason?: string
  readonly field?: string
}

type VectorFile = {
  readonly position: 'body' | HeadPosition
  readonly content_type?: string
  readonly vectors: readonly Vector[]
}

const folder = new URL('../vectors/substitution/', import.meta.url)
const FILES = readdirSync(folder).map(
  (file) =>
    [
      file.replace('.json', ''),
      JSON.parse(readFileSync(new URL(file, folder), 'utf8')) as VectorFile,
    ] as const,
)

const KNOWN_KEYS = new Set(
  'name content_type template encoding card value json levels outcome output reason field'.split(
    ' ',
  ),
)

function plain(text: Text): string {
  if (typeof text === 'string') return text
  return 'repeat' in text ? text.repeat.repeat(text.times) : text.map(plain).join('')
}

function secretsOf({ card, value, json }: Vector): Secrets {
  const token = json ?? JSON.stringify({ value: plain(value ?? '') })
  return card === undefined ? { json: token } : { card, json: token }
}

/** The bytes to be sent on; undefined for a refusal. A word that is not known fails. */
function expectedOf(vector: Vector, template: Buffer, encoding: 'latin1' | 'utf8') {
  switch (vector.outcome) {
    case 'substituted':
      if (vector.output === undefined) throw new Error('no output')
      return Buffer.from(plain(vector.output), encoding)
    case 'passed':
      return template
    case 'refused':
      if (vector.reason === undefined) throw new Error('no reason')
      return undefined
    default:
      throw new Error(`unknown outcome ${JSON.stringify(vector.outcome satisfies never)}`)
  }
}

const runsAt = ({ levels }: Vector, level: 'engine' | 'front_door') =>
  levels === undefined || levels.includes(level)

test('every file of vectors is there and says nothing that the runner does not know', () => {
  expect(FILES.map(([name]) => name).sort()).toEqual(
    (
      'basic-password basic-user charsets csv filters form-key form-percent-encoded form-value ' +
      'header json-string json-value multipart-field multipart-json-part multipart-xml-part ' +
      'nested-form path query strictness text xml-attribute-double xml-attribute-single ' +
      'xml-cdata xml-iso-8859-1 xml-text'
    ).split(' '),
  )
  for (const [name, { vectors }] of FILES) {
    for (const vector of vectors) {
      const unknown = Object.keys(vector).filter((key) => !KNOWN_KEYS.has(key))
      expect(unknown, `${name}: ${vector.name}`).toEqual([])
    }
  }
})

describe.each(FILES)('the engine, %s', (_, file) => {
  test.each(file.vectors.filter((vector) => runsAt(vector, 'engine')))('$name', (vector) => {
    const encoding = file.position === 'body' ? (vector.encoding ?? 'utf8') : 'latin1'
    const template = Buffer.from(plain(vector.template), encoding)
    const secrets = secretsOf(vector)
    const expected = expectedOf(vector, template, encoding)

    for (const run of runsOf(file, vector, template, secrets)) {
      const outcome = outcomeOf(run)
      if (expected === undefined) expectRefused(outcome, vector)
      else expect(textOf(outcome, encoding)).toEqual({ ok: expected.toString(encoding) })
    }
  })
})

function runsOf(
  { position, content_type }: VectorFile,
  vector: Vector,
  template: Buffer,
  secrets: Secrets,
): readonly (() => Buffer)[] {
  if (position !== 'body') {
    const head = template.toString('latin1')
    return [() => Buffer.from(substituteHead(position, head, secrets), 'latin1')]
  }
  const type = vector.content_type ?? content_type ?? ''
  return [
    () => substitute(type, template, secrets),
    () => substitutePieces(type, [template], secrets),
    () => substitutePieces(type, byteByByte(template), secrets),
  ]
}

function textOf(outcome: Outcome<Buffer>, encoding: 'latin1' | 'utf8') {
  return 'ok' in outcome ? { ok: outcome.ok.toString(encoding) } : outcome
}

function expectRefused(outcome: Outcome<Buffer>, { reason, field }: Vector): void {
  const said = 'refusal' in outcome ? outcome.refusal : { ok: outcome.ok.toString() }
  expect(said).toMatchObject(field === undefined ? { reason } : { reason, field })
}

describe('the front door', () => {
  let sallyport: TestSallyport
  let merchant: TestMerchant
  let upstream: Upstream
  const cards = new Map<string, Promise<string>>()
  const tokens = new Map<string, Promise<string>>()

  beforeAll(async () => {
    sallyport = await startSallyport()
    merchant = await sallyport.createMerchant()
    upstream = await startUpstream()
    const at = ['body', `header:${VALUE_HEADER.toLowerCase()}`, 'query:v', 'path', 'basic']
    const fields = [...CARD_FIELDS, '$.value', '$.list[*]'].map((field) => ({
      field,
      at,
      filters: 'any',
    }))
    await merchant.createDestination({
      name: 'v',
      origin: upstream.origin,
      allow: [{ methods: ['POST'], path: '/echo*', fields }],
    })
  })

  afterAll(async () => {
    await upstream.close()
    await sallyport[Symbol.asyncDispose]()
  })

  /** One each for all vectors with the same. */
  function stored({ card, json }: Secrets): Promise<[card: string, token: string]> {
    const cardKey = JSON.stringify(card ?? {})
    const tokenKey = json ?? '{}'
    const cardId = cards.get(cardKey) ?? merchant.createCard(card)
    const tokenId = tokens.get(tokenKey) ?? createToken(tokenKey)
    cards.set(cardKey, cardId)
    tokens.set(tokenKey, tokenId)
    return Promise.all([cardId, tokenId])
  }

  async function createToken(json: string): Promise<string> {
    const answer = await merchant.vault('POST', '/v2/tokenize', `{"token_request":${json}}`)
    expect(answer.text).toContain('"id"')
    return answer.body.id
  }

  test.each(FILES)('%s', async (_, file) => {
    const vectors = file.vectors.filter((vector) => runsAt(vector, 'front_door'))
    for (let at = 0; at < vectors.length; at += 16) {
      await Promise.all(
        vectors.slice(at, at + 16).map((vector) => expectThroughFrontDoor(file, vector)),
      )
    }
  })

  async function expectThroughFrontDoor(file: VectorFile, vector: Vector): Promise<void> {
    const { position } = file
    const encoding = position === 'body' ? (vector.encoding ?? 'utf8') : 'latin1'
    const [cardId, tokenId] = await stored(secretsOf(vector))
    const text = plain(vector.template)
      .replaceAll(/PM|%50%4d/g, cardId)
      .replaceAll(TOKEN, tokenId)
    const template = Buffer.from(text, encoding)
    const expected = expectedOf(vector, template, encoding)
    const run = `${Math.random()}`
    const type = vector.content_type ?? file.content_type ?? ''
    const headers: Record<string, string> = {
      'Sallyport-Key': merchant.proxyKey,
      'Sallyport-Token': cardId,
      'X-Run': run,
    }
    const [name, value] = position === 'body' ? [] : headersFor(position, text)
    if (name !== undefined && value !== undefined) headers[name] = value
    if (position === 'body' && type !== '') headers['Content-Type'] = type
    const path = position === 'path' ? text : position === 'query' ? `/echo${text}` : '/echo'

    const reply = await send(
      sallyport.origin,
      'POST',
      `/d/v${path}`,
      headers,
      position === 'body' ? template : undefined,
    )

    const arrived = upstream.seen.find((seen) => seen.headers['x-run'] === run)
    if (expected === undefined) {
      expect({ name: vector.name, reason: reply.json?.error?.reason ?? reply.text }).toEqual({
        name: vector.name,
        reason: vector.reason,
      })
      if (isTellable(vector.field)) expect(reply.json.error.details?.field).toBe(vector.field)
      expect(arrived).toBeUndefined()
      return
    }
    const outputs = {
      body: () => arrived?.body.toString(encoding),
      header: () => arrived?.headers[VALUE_HEADER.toLowerCase()],
      path: () => arrived?.url,
      query: () => arrived?.url.replace('/echo', ''),
      basic: () => credentialsIn(arrived?.headers.authorization ?? ''),
    } as const
    expect({ name: vector.name, output: outputs[position]() ?? reply.text }).toEqual({
      name: vector.name,
      output: expected.toString(encoding),
    })
  }

  /** What may stand in `details.field`. */
  function isTellable(field: string | undefined): boolean {
    return field !== undefined && /^[A-Za-z_$][A-Za-z0-9_.$]{0,63}$/.test(field)
  }
})
