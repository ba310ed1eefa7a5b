// A PSP that says everything back, to a real process that prints all it can: of the number and the code there is nothing
// in what the process wrote, in its data folder, or in any byte of what its callers received.

import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import {
  type Asked,
  answered,
  answeredInChunks,
  Caller,
  CODE,
  holdsNamedCode,
  NUMBER,
  type Piece,
  readingsWithNumber,
  startEchoingPsp,
} from '../proxy/answer/echo.ts'
import { serve } from './process.ts'
import { ADMIN_KEY, call, cardBody, openShop } from './shop.ts'

const HEX = Buffer.from(NUMBER).toString('hex')
const oneLine = ({ raw }: Asked) => raw.toString('latin1').replaceAll(/[\r\n]+/g, ' | ')
const JSON_TYPE = ['Content-Type: application/json']
const PADDING = 'n o '.repeat(30_000)

const ANSWERS: Record<string, (asked: Asked) => readonly Piece[]> = {
  'as it is': (asked) => [answered(asked.raw, ['Content-Type: text/plain'])],
  'as JSON': ({ raw }) => [answered(JSON.stringify({ echo: raw.toString('latin1') }))],
  'in hex': ({ raw }) => [answered(JSON.stringify(raw.toString('hex')))],
  'in base64': ({ raw }) => [answered(JSON.stringify(raw.toString('base64')))],
  'in chunks': ({ raw }) => answeredInChunks([...raw.toString('latin1')].slice(-60)),
  'in a long answer': ({ raw }) => [answered(`${PADDING}${raw.toString('latin1')}${PADDING}`)],
  compressed: ({ raw }) => [answered(gzipSync(raw), [...JSON_TYPE, 'Content-Encoding: gzip'])],
  'in headers': (asked) => [
    answered('{}', [...JSON_TYPE, `X-Echo: ${oneLine(asked)}`, `Set-Cookie: pan=${NUMBER}`]),
  ],
  'in a redirect': () => [answered('', [`Location: https://x.test/${NUMBER}`], '302 Found')],
  'in the status text': () => [answered('{}', JSON_TYPE, `400 Bad card ${NUMBER} cvc=${CODE}`)],
  'in a coding nobody knows': ({ raw }) => [answered(raw, ['Content-Encoding: unknown'])],
  'in UTF-16': ({ raw }) => [answered(Buffer.from(raw.toString('latin1'), 'utf16le'))],
  'and breaks off': ({ raw }) => [answered(raw).subarray(0, -2), 20, 'reset'],
  'in what is no HTTP': () => [`HTTP/1.1 200 OK\r\nBad Header ${NUMBER}: x\r\n\r\n`, 'end'],
  'in no answer at all': ({ raw }) => [raw, 'end'],
  'after the answer': () => [answered('{}'), `${NUMBER}`, 20, 'end'],
}

test('an echoing PSP leaves nothing of a card behind, but with the PSP', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-echo-'))
  const data = join(folder, 'data')
  await using psp = await startEchoingPsp()
  await using served = await serve(data, {
    SALLYPORT_ADMIN_API_KEY: ADMIN_KEY,
    SALLYPORT_LOG_LEVEL: 'trace',
    NODE_DEBUG: 'http,https,net,tls,stream',
    NODE_OPTIONS: '--trace-warnings --trace-uncaught --trace-deprecation',
  })
  const shop = await openShop(served)
  const destination = {
    name: 'psp',
    origin: psp.origin,
    allow: [
      {
        methods: ['POST'],
        path: '/*',
        fields: [
          { field: 'card_number', at: ['body', 'header:x-pan', 'query:pan'] },
          { field: 'card_cvc', at: ['body'] },
        ],
      },
    ],
  }
  const made = await call(served.origin, shop.policyKey, 'POST', '/v2/destinations', destination)
  expect(made.status).toBe(201)
  const customer = (await call(served.origin, shop.vaultKey, 'POST', '/v2/customers', {})).body.id

  const received: [name: string, bytes: Buffer][] = []
  let wasTold = 0
  for (const [name, answer] of Object.entries(ANSWERS)) {
    psp.answer = (asked) => {
      if (asked.raw.includes(NUMBER)) wasTold += 1
      return answer(asked)
    }
    for (const way of ['named', 'forward', 'envelope', 'idempotent']) {
      // Stored anew, it has a code again.
      const body = cardBody(customer, NUMBER)
      Object.assign(body.payment_method_data.card, { card_cvc: CODE })
      const { id } = (await call(served.origin, shop.vaultKey, 'POST', '/v2/payment-methods', body))
        .body
      const number = `{{$card_number: ${id}}}`
      const sent = `{"number":"${number}","cvc":"{{$card_cvc: ${id}}}"}`
      const headers = {
        'Sallyport-Key': shop.proxyKey,
        'Content-Type': 'application/json',
        ...(way === 'forward' ? { 'Sallyport-Destination': psp.origin, 'X-Pan': number } : {}),
        ...(way === 'idempotent' ? { 'Sallyport-Idempotency-Key': name.replaceAll(' ', '-') } : {}),
      }
      const envelope = `{"destination_url":"${psp.origin}/pay?pan=${encodeURIComponent(number)}","method":"POST","headers":{},"request_body":${sent}}`
      using caller = new Caller(served.origin)
      const got =
        way === 'envelope'
          ? await caller.ask('POST', '/proxy', headers, envelope)
          : await caller.ask(
              'POST',
              way === 'forward' ? '/forward/pay' : '/d/psp/pay',
              headers,
              sent,
            )
      received.push([`${name}, ${way}`, got.raw])
    }
  }
  const { stdout, stderr, code } = await served.stop()

  expect(code).toBe(0)
  expect(wasTold).toBe(Object.keys(ANSWERS).length * 4)
  expect(received.filter(([, bytes]) => bytes.length > 0).length).toBeGreaterThan(50)
  for (const [name, bytes] of received) {
    expect([name, readingsWithNumber(bytes)]).toEqual([name, []])
    // Whole requests in hex and base64 still hold the code, as they hold everything that is no number.
    expect([name, holdsNamedCode(bytes)]).toEqual([name, false])
  }
  const files = readdirSync(data, { recursive: true, encoding: 'utf8' })
    .map((file) => join(data, file))
    .filter((file) => statSync(file).isFile())
  expect(files.length).toBeGreaterThan(3)
  const written = [
    ['stdout', Buffer.from(stdout, 'latin1')] as const,
    ['stderr', Buffer.from(stderr, 'latin1')] as const,
    ...files.map((file) => [file, readFileSync(file)] as const),
  ]
  const forms = [NUMBER, HEX, HEX.toUpperCase(), ...inBase64(NUMBER), wide(NUMBER)]
  for (const [name, bytes] of written) {
    const found = forms.filter((form) => bytes.includes(form))
    expect([name, found]).toEqual([name, []])
    expect([name, holdsNamedCode(bytes)]).toEqual([name, false])
  }
  rmSync(folder, { recursive: true, force: true })
}, 120_000)

/** What is made of its own bits alone, wherever it begins. */
const inBase64 = (text: string) =>
  [0, 1, 2].map((before) => {
    const encoded = Buffer.from(`${'x'.repeat(before)}${text}`).toString('base64')
    return encoded.slice(before === 0 ? 0 : 4, -4)
  })

const wide = (text: string) => Buffer.from(text, 'utf16le').toString('latin1')
