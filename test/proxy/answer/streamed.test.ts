// Bodies too large to be held are revealed piece by piece, while the answer may be on its way already: whatever has been
// revealed by then is searched in it, and nothing is revealed any more that would not be.

import { createServer, type Server } from 'node:http'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { pause } from '../../support/time.ts'
import { startSending } from '../recorder.ts'
import { listenOnNewPort } from '../upstream.ts'
import {
  type Asked,
  answered,
  answeredInChunks,
  Caller,
  CODE,
  MASKED,
  NUMBER,
  numberBody,
  openWorld,
  type Reached,
  readingsWithNumber,
  type World,
} from './echo.ts'

const AMEX = '378282246310005'

let world: World
let psp: Reached
let amex: string

beforeAll(async () => {
  world = await openWorld()
  psp = await world.reach('psp')
  amex = await world.merchant.createCard({ card_number: AMEX })
})

afterAll(async () => {
  await world[Symbol.asyncDispose]()
})

const number = (token: string) => `{{$card_number: ${token}}}`
const FILLER = '"n o t h i n g",'.repeat(8000)

/** Over 256 KB, with one number at the beginning, one at the end and a code after it. */
const longBody = (card: string) =>
  `["${number(world.token)}",${FILLER}${FILLER}${FILLER}{"number":"${number(amex)}","cvc":"{{$card_cvc: ${card}}}"}]`

const newCard = () => world.merchant.createCard({ card_number: NUMBER, card_cvc: CODE })

function expectNothingOfIt(answer: { raw: Buffer }) {
  expect(readingsWithNumber(answer.raw)).toEqual([])
  expect(answer.raw.includes(AMEX.slice(0, 8))).toBe(false)
  expect(answer.raw.includes(`"${CODE}"`)).toBe(false)
}

describe('all that a long body revealed is masked', () => {
  test('in a short answer, and counted', async () => {
    const answer = await psp.charge(
      ({ body: said }) => {
        const text = said.toString('latin1')
        return [
          answered(`{"first":${text.slice(1, 19)},"last":${text.slice(text.indexOf('{'), -1)}}`),
        ]
      },
      { body: longBody(await newCard()).match(/.{1,30000}/g) ?? [] },
    )

    expect(answer.text).toBe(
      `{"first":"${MASKED}","last":{"number":"378282*****0005","cvc":"***"}}`,
    )
    expect(answer.header('Sallyport-Redactions')).toBe('3')
  })

  test('in a long answer, and counted in the audit line', async () => {
    const answer = await psp.charge(({ body }) => [answered(body)], {
      body: longBody(await newCard()),
    })

    expectNothingOfIt(answer)
    expect(answer.isWhole).toBe(true)
    expect(answer.text.startsWith(`["${MASKED}"`)).toBe(true)
    expect(answer.text.endsWith('{"number":"378282*****0005","cvc":"***"}]')).toBe(true)
    expect((await world.lineOf(answer, 'outcome')).redactions).toBe(3)
  })

  test('in an answer in chunks, and in its head', async () => {
    const answer = await psp.charge(
      ({ body }: Asked) =>
        answeredInChunks(
          [body.subarray(0, 7), body.subarray(7, 300_000), body.subarray(300_000)],
          [`X-Last: ${AMEX}`],
        ),
      { body: longBody(await newCard()) },
    )

    expectNothingOfIt(answer)
    expect(answer.isWhole).toBe(true)
    expect(answer.header('X-Last')).toBe('378282*****0005')
  })

  test('and the connection goes on', async () => {
    using caller = new Caller(world.sallyport.origin)
    await psp.charge(({ body }) => [answered(body)], { body: longBody(await newCard()), caller })

    const next = await psp.charge(answered('{}'), { body: numberBody(world.token), caller })

    expect(next.text).toBe('{}')
  })
})

describe('an answer that begins before the body is there', () => {
  /** Its head and what it says at once, before anything of the body; then what it gets, as it gets it. */
  async function startEager(atOnce: string): Promise<AsyncDisposable & { origin: string }> {
    const server: Server = createServer((request, response) => {
      response.writeHead(200, { 'Content-Type': 'text/plain' })
      response.write(atOnce)
      request.on('data', (chunk: Buffer) => response.write(chunk))
      request.on('end', () => response.end())
      request.on('error', () => {})
    })
    const port = await listenOnNewPort(server)
    return {
      origin: `http://127.0.0.1:${port}`,
      async [Symbol.asyncDispose]() {
        server.closeAllConnections()
        await new Promise((resolve) => server.close(resolve))
      },
    }
  }

  async function echoed(name: string, atOnce: string) {
    await using eager = await startEager(atOnce)
    await world.merchant.createDestination({
      name,
      origin: eager.origin,
      allow: [{ methods: ['POST'], path: '/*', fields: ['card_number'] }],
      limits: { buffer_bytes: 1024 },
    })
    const sending = startSending(world.sallyport.origin, 'POST', `/d/${name}/pay`, {
      'Sallyport-Key': world.merchant.proxyKey,
      'Content-Type': 'application/json',
    })
    // The answer has begun by the time that the number is revealed.
    await sending.write(`["${'n o '.repeat(5000)}"`)
    await pause(100)
    await sending.write(`,"${number(world.token)}"`)
    await pause(100)
    await sending.write(`,"${'m o '.repeat(20_000)}"]`)
    sending.end()
    return await sending.reply
  }

  test('is searched for what is revealed after its head has come', async () => {
    const reply = await echoed('eager', 'hello ')

    expect(reply.isWhole).toBe(true)
    expect(reply.text).toContain(`,"${MASKED}"`)
    expect(readingsWithNumber(reply.body)).toEqual([])
  })

  test('is cut when the number would be revealed after it has begun to be passed on', async () => {
    const reply = await echoed('eager-and-long', 'y e s '.repeat(20_000))

    expect([reply.status, reply.isWhole]).toEqual([200, false])
    expect(readingsWithNumber(reply.body)).toEqual([])
  })
})
