// The three settings of the leak guard, and the credentials that a destination is given by its operator: its answer must
// not hand them to the caller, whatever the request was.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  type Asked,
  answered,
  answeredInChunks,
  Caller,
  MASKED,
  NUMBER,
  numberBody,
  openWorld,
  type Reached,
  readingsWithNumber,
  reasonOf,
  type World,
} from './echo.ts'

let world: World

beforeAll(async () => {
  world = await openWorld()
})

afterAll(async () => {
  await world[Symbol.asyncDispose]()
})

const ECHO = `{"number":"${NUMBER}"}`
const PADDING = 'n o '.repeat(20_000)

describe('`block`', () => {
  let psp: Reached
  beforeAll(async () => {
    psp = await world.reach('block', { response: { leak_guard: 'block' } })
  })

  test.each([
    ['in the body', answered(ECHO)],
    ['in hex', answered(`"${Buffer.from(NUMBER).toString('hex')}"`)],
    ['in a header', answered('{}', [`X-Pan: ${NUMBER}`])],
    ['in the status text', answered('{}', [], `200 ${NUMBER}`)],
    ['in the head of an answer to nothing', answered('', [`Location: /${NUMBER}`], '302 Found')],
  ])('what would be masked %s blocks the answer', async (_, whole) => {
    using caller = new Caller(world.sallyport.origin)

    const answer = await psp.charge(whole, { caller })
    const next = await psp.charge(answered('{}'), { caller })

    expect([answer.status, reasonOf(answer)]).toEqual([502, 'response_blocked'])
    expect(answer.header('Sallyport-Retry-Safe')).toBe('false')
    expect(readingsWithNumber(answer.raw)).toEqual([])
    expect(answer.text).not.toContain('4000')
    expect(next.text).toBe('{}')
  })

  test('an honest answer passes', async () => {
    const answer = await psp.charge(answered('{"ok":true}'))

    expect([answer.status, answer.text]).toEqual([200, '{"ok":true}'])
  })

  test('a long answer that repeats it at once is blocked', async () => {
    const answer = await psp.charge(answered(`{"number":"${NUMBER}","note":"${PADDING}"}`))

    expect(reasonOf(answer)).toBe('response_blocked')
  })

  test('a long answer that repeats it late is cut before it', async () => {
    const answer = await psp.charge(() =>
      answeredInChunks([`{"note":"${PADDING}`, `","number":"${NUMBER}"}`]),
    )

    expect([answer.status, answer.isWhole]).toEqual([200, false])
    expect(readingsWithNumber(answer.raw)).toEqual([])
    const line = await world.lineOf(answer, 'outcome')
    expect(line).toMatchObject({ status: 200, reason: 'response_blocked', cut: true })
  })
})

describe('`off`', () => {
  test('the answer is left alone, and the caller says which codings it takes', async () => {
    const psp = await world.reach('off', {
      inject_headers: { Authorization: 'Bearer sk_live_0123456789' },
      response: { leak_guard: 'off' },
    })
    const echo = `{"number":"${NUMBER}","key":"sk_live_0123456789"}`
    const chunked = () => answeredInChunks([echo], ['Content-Encoding: br', `ETag: "${NUMBER}"`])

    const answer = await psp.charge(chunked, { headers: { 'Accept-Encoding': 'br;q=1, gzip' } })

    expect(answer.text).toBe(echo)
    expect(answer.header('Content-Encoding')).toBe('br')
    expect(answer.header('Transfer-Encoding')).toBe('chunked')
    expect(answer.header('ETag')).toBe(`"${NUMBER}"`)
    expect(psp.psp.asked[0]?.head).toContain('\r\nAccept-Encoding: br;q=1, gzip\r\n')
  })
})

describe('a credential that the operator has given', () => {
  const KEY = 'sk_live_51HxYzAbCdEfGhIj'
  const STARS = '*'.repeat(KEY.length)
  const USER = 'merchant-4711'
  const PASSWORD = 'pa55-word-99'
  const PAIR = Buffer.from(`${USER}:${PASSWORD}`).toString('base64')

  let bearer: Reached
  let basic: Reached
  let others: Reached
  beforeAll(async () => {
    bearer = await world.reach('bearer', { inject_headers: { Authorization: `Bearer ${KEY}` } })
    basic = await world.reach('basic', { inject_headers: { Authorization: `Basic ${PAIR}` } })
    others = await world.reach('others', {
      inject_headers: {
        'X-Api-Key': KEY,
        'Stripe-Version': '2024-06-20',
        'X-Merchant': 'merchant-0815',
        'X-Trans-Key': 'trans-12345678',
      },
    })
  })

  const heads = ({ head }: Asked) => [
    answered(JSON.stringify({ echo: head }), [
      'Content-Type: application/json',
      `X-Echo: ${head.trim().replaceAll('\r\n', ' | ')}`,
    ]),
  ]

  test.each([
    ['without a placeholder', '{}'],
    ['with one', undefined],
  ])('is masked in head and body of an answer to a request %s', async (_, body) => {
    const answer = await bearer.charge(heads, body === undefined ? {} : { body })

    expect(answer.raw.includes(KEY)).toBe(false)
    expect(answer.text).toContain(`Bearer ${STARS}`)
    expect(answer.header('X-Echo')).toContain(`Bearer ${STARS}`)
    expect(JSON.parse(answer.text).echo).toContain('Bearer')
  })

  test('is masked in every form and however long the answer is', async () => {
    const forms = [
      KEY,
      Buffer.from(KEY).toString('hex'),
      Buffer.from(`x${KEY}y`).toString('base64'),
      `%${Buffer.from(KEY).toString('hex').match(/../g)?.join('%')}`,
    ]
    for (const form of forms) {
      for (const note of ['', PADDING]) {
        const body = `{"note":"${note}","key":"${form}","more":"${note}"}`

        const answer = await bearer.charge(() => answeredInChunks([body]), { body: '{}' })

        expect(answer.isWhole).toBe(true)
        expect(answer.text.length).toBe(body.length)
        expect(answer.text).not.toContain(form)
      }
    }
  })

  test('of Basic is masked whole, and its user and password by themselves', async () => {
    const said = (what: string) => answered(JSON.stringify({ what }))
    for (const what of [PAIR, USER, PASSWORD, `${USER}:${PASSWORD}`]) {
      const answer = await basic.charge(said(what), { body: '{}' })
      expect(answer.text).not.toContain(what)
    }
  })

  test('in another header is masked, and what is none is not', async () => {
    const answer = await others.charge(heads, { body: '{}' })

    expect(answer.raw.includes(KEY)).toBe(false)
    expect(answer.raw.includes('trans-12345678')).toBe(false)
    expect(answer.header('X-Echo')).toContain('Stripe-Version: 2024-06-20 ')
    expect(answer.header('X-Echo')).toContain('X-Merchant: merchant-0815 ')
  })

  test('is masked beside the number of the request', async () => {
    const answer = await bearer.charge(({ raw }) => [answered(raw, ['Content-Type: text/plain'])])

    expect(answer.text).toContain(`Bearer ${STARS}`)
    expect(answer.text).toContain(`{"number":"${MASKED}"}`)
  })

  test('blocks the answer where that is the setting', async () => {
    const psp = await world.reach('strict', {
      inject_headers: { Authorization: `Bearer ${KEY}` },
      response: { leak_guard: 'block' },
    })

    const answer = await psp.charge(answered(`"${KEY}"`, ['Content-Type: text/plain']), {
      body: '{}',
    })
    const long = await psp.charge(() => answeredInChunks([PADDING, `"${KEY}"`, PADDING]), {
      body: '{}',
    })

    expect(reasonOf(answer)).toBe('response_blocked')
    expect(long.isWhole).toBe(false)
    expect(long.raw.includes(KEY)).toBe(false)
  })

  test('is masked in what an idempotency key repeats', async () => {
    const headers = { 'Sallyport-Idempotency-Key': 'once' }
    const first = await bearer.charge(heads, { headers })

    const again = await bearer.charge(heads, { headers })

    expect(again.header('Sallyport-Idempotent-Replay')).toBe('true')
    expect(again.text).toBe(first.text)
    expect(again.raw.includes(KEY)).toBe(false)
    expect(readingsWithNumber(again.raw)).toEqual([])
  })

  test('is masked in the envelope', async () => {
    bearer.psp.answer = (asked) => [answered(asked.raw, ['Content-Type: text/plain'])]

    const { text } = await world.merchant.proxy('POST', '/proxy', {
      destination_url: `${bearer.psp.origin}/pay`,
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      request_body: JSON.parse(numberBody(world.token)),
    })

    expect(text).toContain(STARS)
    expect(text).not.toContain(KEY)
  })
})
