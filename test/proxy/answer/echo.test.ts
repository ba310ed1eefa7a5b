// A destination that says everything back, and what its caller gets to see of it: never the number, in whatever form, place
// and pieces it comes back, and never the code under its name. What was masked is as long as it was, and the connection
// goes on.

import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { startSallyport, type TestMerchant, type TestSallyport } from '../../support/sallyport.ts'
import {
  type Asked,
  answered,
  answeredInChunks,
  Caller,
  CODE,
  cutAt,
  type EchoingPsp,
  holdsNamedCode,
  MASKED,
  MOMENT,
  NUMBER,
  OK,
  type Piece,
  type RawAnswer,
  readingsWithNumber,
  startEchoingPsp,
} from './echo.ts'

let sallyport: TestSallyport
let merchant: TestMerchant
let psp: EchoingPsp

beforeAll(async () => {
  sallyport = await startSallyport()
  merchant = await sallyport.createMerchant()
  psp = await startEchoingPsp()
  await merchant.createDestination({
    name: 'psp',
    origin: psp.origin,
    allow: [
      {
        methods: ['GET', 'POST'],
        path: '/*',
        fields: [
          { field: 'card_number', at: ['body', 'header:x-pan', 'query:pan', 'path', 'basic'] },
          { field: 'card_cvc', at: ['body', 'header:x-cvc', 'query:cvc'] },
        ],
      },
    ],
  })
})

afterAll(async () => {
  await psp[Symbol.asyncDispose]()
  await sallyport[Symbol.asyncDispose]()
})

beforeEach(() => {
  psp.asked.length = 0
})

/** Each has a code of its own, because one can be used once. */
const newCard = () => merchant.createCard({ card_number: NUMBER, card_cvc: CODE })

// ---- What is sent, and how.

type Shape = {
  readonly method: string
  readonly target: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  readonly hasCode: boolean
}

const number = (token: string) => `{{$card_number: ${token}}}`
const code = (token: string) => `{{$card_cvc: ${token}}}`
const encoded = (text: string) => encodeURIComponent(text)

const post = (type: string, body: string, hasCode = true): Shape => ({
  method: 'POST',
  target: '/pay',
  headers: { 'Content-Type': type },
  body,
  hasCode,
})

const BOUNDARY = 'x-boundary-x'

const SHAPES: Record<string, (token: string) => Shape> = {
  JSON: (token) =>
    post('application/json', `{"card":{"number":"${number(token)}","cvc":"${code(token)}"}}`),
  'a form': (token) =>
    post(
      'application/x-www-form-urlencoded',
      `a=1&number=${encoded(number(token))}&cvc=${encoded(code(token))}`,
    ),
  XML: (token) =>
    post('text/xml', `<pay><pan>${number(token)}</pan><cvc>${code(token)}</cvc></pay>`),
  multipart: (token) =>
    post(
      `multipart/form-data; boundary=${BOUNDARY}`,
      `--${BOUNDARY}\r\nContent-Disposition: form-data; name="pan"\r\n\r\n${number(token)}\r\n--${BOUNDARY}--\r\n`,
      false,
    ),
  'a header': (token) => ({
    ...post('application/json', '{}'),
    headers: { 'Content-Type': 'application/json', 'X-Pan': number(token), 'X-Cvc': code(token) },
  }),
  'a query': (token) => ({
    ...post('application/json', '{}'),
    target: `/pay?pan=${encoded(number(token))}&cvc=${encoded(code(token))}`,
  }),
  'a path': (token) => ({
    ...post('application/json', '{}', false),
    method: 'GET',
    target: `/cards/${encoded(number(token))}/x`,
    body: '',
  }),
  'Basic credentials': (token) => ({
    ...post('application/json', '{}', false),
    headers: {
      'Content-Type': 'application/json',
      Authorization: `Basic ${Buffer.from(`${number(token)}:secret`).toString('base64')}`,
    },
  }),
}

type Way = (caller: Caller, shape: Shape) => Promise<RawAnswer>

const WAYS: Record<string, Way> = {
  'the named destination': (caller, { method, target, headers, body }) =>
    caller.ask(method, `/d/psp${target}`, { 'Sallyport-Key': merchant.proxyKey, ...headers }, body),
  'the same shape': (caller, { method, target, headers, body }) =>
    caller.ask(
      method,
      `/forward${target}`,
      { 'Sallyport-Key': merchant.proxyKey, 'Sallyport-Destination': psp.origin, ...headers },
      body,
    ),
  'the envelope': (caller, { method, target, headers, body }) => {
    const type = headers['Content-Type'] ?? ''
    const isJson = type === 'application/json'
    const envelope = {
      destination_url: `${psp.origin}${target}`,
      method,
      headers,
      ...(body === ''
        ? {}
        : isJson
          ? { request_body: JSON.parse(body) }
          : { request_body: body, content_type: type }),
    }
    return caller.ask(
      'POST',
      '/proxy',
      { 'Sallyport-Key': merchant.proxyKey, 'Content-Type': 'application/json' },
      JSON.stringify(envelope),
    )
  },
}

// ---- What comes back.

const separated = (separator: string) => (text: string) =>
  text.replaceAll(/(?<=[0-9])(?=[0-9])/g, separator)

/** On one line. */
const lineOf = ({ raw }: Asked) => raw.toString('latin1').replaceAll(/[\r\n]+/g, ' | ')
const base64 = (asked: Asked, before: number) =>
  Buffer.concat([Buffer.alloc(before, 0x78), asked.raw]).toString('base64')
const escaped = (text: string) =>
  text.replaceAll(/[0-9]/g, (digit) => `\\u00${digit.charCodeAt(0).toString(16)}`)
const percent = ({ raw }: Asked) => `%${raw.toString('hex').match(/../g)?.join('%')}`
const JSON_TYPE = ['Content-Type: application/json']
const TEXT_TYPE = ['Content-Type: text/plain']
const FORM_TYPE = ['Content-Type: application/x-www-form-urlencoded']

/** Whether the code still stands under its name there, or is encoded together with it. */
type Echo = { readonly answer: (asked: Asked) => Buffer; readonly showsNames?: true }

const json = (text: string) => answered(`{"echo":${text}}`, JSON_TYPE)

const ECHOES: Record<string, Echo> = {
  'as it is': { answer: (asked) => answered(asked.raw, TEXT_TYPE), showsNames: true },
  'as it is, without a type': { answer: (asked) => answered(asked.raw, []), showsNames: true },
  'as a JSON string': {
    answer: (asked) => json(JSON.stringify(asked.raw.toString('latin1'))),
    showsNames: true,
  },
  'as JSON in a JSON string': {
    answer: (asked) => json(JSON.stringify(JSON.stringify(asked.raw.toString('latin1')))),
    showsNames: true,
  },
  'as a JSON string with its digits escaped': {
    answer: (asked) => json(escaped(JSON.stringify(asked.raw.toString('latin1')))),
  },
  'in a form': {
    answer: (asked) => answered(`echo=${encoded(asked.raw.toString('latin1'))}`, FORM_TYPE),
    showsNames: true,
  },
  'percent-encoded, all of it': { answer: (asked) => answered(percent(asked), FORM_TYPE) },
  'in hex': { answer: (asked) => answered(asked.raw.toString('hex'), TEXT_TYPE) },
  'in upper-case hex': {
    answer: (asked) => answered(asked.raw.toString('hex').toUpperCase(), TEXT_TYPE),
  },
  'in base64': { answer: (asked) => json(`"${base64(asked, 0)}"`) },
  'in base64, a byte later': { answer: (asked) => json(`"${base64(asked, 1)}"`) },
  'in base64, two bytes later': { answer: (asked) => json(`"${base64(asked, 2)}"`) },
  'in base64url': { answer: (asked) => json(`"${asked.raw.toString('base64url')}"`) },
  'with blanks between digits': {
    answer: (asked) => answered(separated(' ')(lineOf(asked)), TEXT_TYPE),
  },
  'with dashes between digits': {
    answer: (asked) => answered(separated('-')(lineOf(asked)), TEXT_TYPE),
  },
  'with dots between digits': {
    answer: (asked) => answered(separated('.')(lineOf(asked)), TEXT_TYPE),
  },
  'in a header': {
    answer: (asked) => answered('{}', [...JSON_TYPE, `X-Echo: ${lineOf(asked)}`]),
    showsNames: true,
  },
  'in a header, in base64': {
    answer: (asked) => answered('{}', [...JSON_TYPE, `X-Echo: ${base64(asked, 1)}`]),
  },
  'in the name of a header': {
    answer: () => answered('{}', [...JSON_TYPE, `X-${NUMBER}-Seen: yes`]),
  },
  'in Location': {
    answer: (asked) => answered('', [`Location: https://x.test/?r=${percent(asked)}`], '302 Found'),
  },
  'in Set-Cookie, twice': {
    answer: (asked) =>
      answered('{}', [
        ...JSON_TYPE,
        `Set-Cookie: last=${encoded(lineOf(asked))}; Path=/`,
        `Set-Cookie: pan=${NUMBER}`,
      ]),
    showsNames: true,
  },
  'in the status text': {
    answer: () => answered('{}', JSON_TYPE, `402 Card ${NUMBER} cvc=${CODE} declined`),
    showsNames: true,
  },
}

function expectNothingOf(answer: RawAnswer, echo: Echo, hasCode: boolean): void {
  expect(readingsWithNumber(answer.raw)).toEqual([])
  if (hasCode && echo.showsNames) expect(holdsNamedCode(answer.raw)).toBe(false)
}

describe.each(Object.keys(WAYS))('through %s', (wayName) => {
  const way = WAYS[wayName] as Way

  describe.each(Object.keys(SHAPES))('what was sent in %s', (shapeName) => {
    const shapeOf = SHAPES[shapeName] as (token: string) => Shape
    const isPossible = !(wayName === 'the envelope' && shapeName === 'multipart')

    test.runIf(isPossible).each(Object.entries(ECHOES))(
      'is not seen when it comes back %s',
      async (_, echo) => {
        const shape = shapeOf(await newCard())
        psp.answer = (asked) => [echo.answer(asked)]
        using caller = new Caller(sallyport.origin)

        const answer = await way(caller, shape)
        psp.answer = () => [OK]
        const next = await WAYS['the named destination']?.(caller, post('application/json', '{}'))

        expect(psp.asked).toHaveLength(2)
        // What the destination was told was the number, or nothing here says anything.
        expect(readingsWithNumber(psp.asked[0]?.raw as Buffer)).not.toEqual([])
        expect(answer.isWhole).toBe(true)
        expect(answer.status).toBeLessThan(403)
        expectNothingOf(answer, echo, shape.hasCode)
        expect(next?.text).toBe('{"ok":true}')
      },
    )
  })
})

// ---- Cut anywhere.

describe('however the answer is cut', () => {
  let token: string
  beforeAll(async () => {
    token = await newCard()
  })

  const charge = (caller: Caller) =>
    caller.ask(
      'POST',
      '/d/psp/pay',
      { 'Sallyport-Key': merchant.proxyKey, 'Content-Type': 'application/json' },
      `{"number":"${number(token)}"}`,
    )

  const FORMS: [form: string, said: string][] = [
    ['as it is', `"pan":"${NUMBER}"`],
    ['as a bare number', `"pan":${NUMBER}`],
    ['with blanks', '"pan":"4000 0566 5566 5556"'],
    ['with its digits escaped', `"pan":"${escaped(NUMBER)}"`],
    ['percent-encoded', `"pan":"%${Buffer.from(NUMBER).toString('hex').match(/../g)?.join('%')}"`],
    ['in hex', `"pan":"${Buffer.from(NUMBER).toString('hex')}"`],
    ['in base64', `"pan":"${Buffer.from(`x${NUMBER}yz`).toString('base64')}"`],
  ]

  /** Of one answer, as many as there are places to cut. */
  async function expectMaskedWherever(
    places: readonly number[],
    piecesOf: (at: number) => readonly Piece[],
    length: number,
  ) {
    using caller = new Caller(sallyport.origin)
    const bodies = new Set<string>()
    for (const at of places) {
      psp.answer = () => piecesOf(at)
      const answer = await charge(caller)
      expect(answer.isWhole).toBe(true)
      expect(answer.body).toHaveLength(length)
      bodies.add(answer.body.toString('latin1'))
    }
    expect(bodies.size).toBe(1)
    for (const body of bodies) expect(readingsWithNumber(Buffer.from(body, 'latin1'))).toEqual([])
  }

  const everyPlaceIn = (from: number, to: number) =>
    Array.from({ length: to - from + 1 }, (_, i) => from + i)

  describe.each(FORMS)('%s', (_, said) => {
    test('a short one with its length is masked', async () => {
      const body = `{"id":"ch_1",${said},"ok":true}`
      const whole = answered(body)

      await expectMaskedWherever(
        everyPlaceIn(whole.indexOf('pan'), whole.length),
        (at) => cutAt(whole, at),
        body.length,
      )
    })

    test('a short one in chunks is masked', async () => {
      const body = `{"id":"ch_1",${said},"ok":true}`

      await expectMaskedWherever(
        everyPlaceIn(1, body.length - 1),
        (at) => answeredInChunks([body.slice(0, at), body.slice(at)]),
        body.length,
      )
    })

    const before = `{"id":"ch_1","note":"${'n o '.repeat(17_500)}",`
    const after = `,"more":"${'m o '.repeat(17_500)}"}`
    const long = before + said + after

    test('a long one with its length is masked', async () => {
      const whole = answered(long)
      const start = whole.indexOf('"pan"') + 6

      await expectMaskedWherever(
        everyPlaceIn(start, start + said.length - 4),
        (at) => cutAt(whole, at),
        long.length,
      )
    })

    test('a long one in chunks is masked', async () => {
      const start = before.length + 6

      await expectMaskedWherever(
        everyPlaceIn(start, start + said.length - 4),
        (at) => answeredInChunks([long.slice(0, at), long.slice(at)]),
        long.length,
      )
    })

    test('a long one of which each byte of it comes by itself is masked', async () => {
      const bytes = [...said].flatMap((byte): Piece[] => [byte, MOMENT])

      await expectMaskedWherever(
        [0],
        () => [answered(long).subarray(0, -said.length - after.length), ...bytes, after],
        long.length,
      )
    })
  })

  test('a long one that follows the length of the buffer is masked across it', async () => {
    for (const at of everyPlaceIn(65_536 - 17, 65_537)) {
      const start = '{"pan":"'.padStart(at, ' ')
      const body = `${start}${NUMBER}"}${' '.repeat(70_000)}`
      psp.answer = () => [answered(body)]
      using caller = new Caller(sallyport.origin)

      const answer = await charge(caller)

      expect(answer.text).toBe(body.replace(NUMBER, MASKED))
    }
  })
})
