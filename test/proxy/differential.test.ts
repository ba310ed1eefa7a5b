// Bodies that two receivers read in two ways: a field held to one place must not turn up in another one at a receiver
// that splits differently. And texts made to keep the one thread busy.

import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startSallyport, type TestMerchant, type TestSallyport } from '../support/sallyport.ts'
import { computedMs, pause } from '../support/time.ts'
import { expectRefusal, send, startUpstream, type Upstream } from './upstream.ts'

let sallyport: TestSallyport
let merchant: TestMerchant
let psp: Upstream
let pan: string

beforeAll(async () => {
  sallyport = await startSallyport()
  merchant = await sallyport.createMerchant()
  psp = await startUpstream()
  pan = `{{$card_number: ${await merchant.createCard()}}}`
  const at = ['body:card_number', 'body:card[number]', 'body:payload/number', 'query:pan']
  await merchant.createDestination({
    name: 'psp',
    origin: psp.origin,
    allow: [{ methods: ['POST'], path: '/*', fields: [{ field: 'card_number', at }] }],
  })
})

afterAll(async () => {
  await sallyport[Symbol.asyncDispose]()
  await psp[Symbol.asyncDispose]()
})

const post = (type: string, body: string, headers = {}, query = '') =>
  send(
    sallyport.origin,
    'POST',
    `/d/psp/pay${query}`,
    { 'Sallyport-Key': merchant.proxyKey, 'Content-Type': type, ...headers },
    body,
  )

const field = (content: string, name = 'card_number', more = '') =>
  `--B\r\nContent-Disposition: form-data; name="${name}"${more}\r\n\r\n${content}\r\n--B--\r\n`

const MULTIPART = 'multipart/form-data; boundary=B'
const FORM = 'application/x-www-form-urlencoded'

describe('a part that another receiver would cut in two', () => {
  test('the same part, cut by nobody, passes', async () => {
    expect((await post(MULTIPART, field(pan))).status).toBe(200)
  })

  test.each([
    ['a line feed before a delimiter', '\n--B\nContent-Disposition: form-data; name="x"\n\n'],
    ['a carriage return before a delimiter', '\r--B\rContent-Disposition: form-data\r\r'],
    ['a delimiter in a line', 'x --B'],
  ])('%s is not well formed', async (_, before) => {
    expectRefusal(await post(MULTIPART, field(`x${before}${pan}`)), 'malformed_body')
  })

  test.each([
    ['another parameter with that in its name', 'multipart/form-data; xboundary=C; boundary=B'],
    ['a comma', 'multipart/form-data; boundary=B,C'],
    ['the spelling of RFC 2231', "multipart/form-data; boundary=B; boundary*=utf-8''C"],
    ['two', 'multipart/form-data; boundary=B; boundary=C'],
    ['something behind', 'multipart/form-data; boundary=B; x'],
  ])('a boundary with %s is not one', async (_, type) => {
    const boundary = type.includes(',') ? 'B,C' : 'B'
    const body = field(pan).replaceAll('--B', `--${boundary}`)
    expectRefusal(await post(type, body), 'malformed_body')
  })

  test.each([
    ['a line feed', '\nX: y'],
    ['a NUL', '\0'],
    ['another name', '; name="metadata"'],
    ['a name in the spelling of RFC 2231', "; name*=utf-8''metadata"],
  ])('a part whose headers have %s is not the one that the policy names', async (_, more) => {
    const reply = await post(MULTIPART, field(pan, 'card_number', more))
    expect(['malformed_body', 'field_not_allowed']).toContain(reply.json.error.reason)
  })

  test('a name with a slash is not the inside of another part', async () => {
    expectRefusal(await post(MULTIPART, field(pan, 'payload/number')), 'field_not_allowed')
    expectRefusal(await post(FORM, `payload/number=${pan}`), 'field_not_allowed')
  })
})

describe('a pair that another receiver would cut in two', () => {
  test.each([
    ['behind another key', 'card[number]=1;metadata='],
    ['behind its own key', 'metadata=1;card[number]='],
    ['alone', 'card[number]=;'],
  ])('a placeholder behind a semicolon, %s, has no place', async (_, before) => {
    expectRefusal(await post(FORM, before + pan), 'field_not_allowed')
  })

  test('a semicolon behind the placeholder, or percent-encoded, parts nothing', async () => {
    expect((await post(FORM, `card[number]=${pan};x`)).status).toBe(200)
    expect((await post(FORM, `card[number]=%3B${pan}`)).status).toBe(200)
  })

  test('in a query as in a form', async () => {
    const query = (before: string) => `?pan=${before}${encodeURIComponent(pan)}`
    expect((await post(FORM, '', {}, query(''))).status).toBe(200)
    expectRefusal(await post(FORM, '', {}, query('1;x=')), 'field_not_allowed')
  })

  test('a type that the connection header takes away is missed', async () => {
    const body = `{"metadata":"&card[number]=${pan}&"}`
    expectRefusal(await post(FORM, body, { Connection: 'content-type' }), 'malformed_body')
  })
})

describe('a text made to keep us busy', () => {
  /** How long somebody else had to wait for us meanwhile; the least of three, as garbage is collected, too. */
  async function longestWaitMs(act: () => Promise<unknown>): Promise<number> {
    const waits: number[] = []
    for (let i = 0; i < 3; i++) {
      let longest = 0
      let last = computedMs()
      const timer = setInterval(() => {
        longest = Math.max(longest, computedMs() - last)
        last = computedMs()
      }, 1)
      await act()
      await pause(5)
      clearInterval(timer)
      waits.push(longest)
    }
    return Math.min(...waits)
  }

  const BLANKS = ' '.repeat(15_000)

  test.each([
    ['blanks in the header of a part', () => post(MULTIPART, `--B\r\nA:${BLANKS}\n\r\n\r\nx`)],
    ['one pair after another', () => post(FORM, `${'&'.repeat(250_000)}%25`)],
    [
      'a name of a megabyte around many placeholders',
      () =>
        post('application/json', `{"${'n'.repeat(1_000_000)}":"${pan.repeat(500)}"}`, {
          Digest: 'sha-256=',
        }),
    ],
    [
      'a digest many times',
      () =>
        post('application/json', `["${pan}","${'x'.repeat(1_000_000)}"]`, {
          Digest: Array.from({ length: 500 }, () => 'sha-512=').join(),
        }),
    ],
    [
      'filters on top of each other',
      () =>
        post(FORM, `card[number]=${pan.replace('}}', '|pad(255)|hex|hex|hex|hex|hex|upper}}')}`),
    ],
  ])('%s does not hold others up', async (_, act) => {
    // Milliseconds; each of these once took from a hundred to minutes.
    expect(await longestWaitMs(act)).toBeLessThan(500)
  })
})

test('after an early answer nobody trickles a body in for ever', { timeout: 30_000 }, async () => {
  await using eager = await startUpstream()
  await merchant.createDestination({
    name: 'eager',
    origin: eager.origin,
    limits: { buffer_bytes: 1 },
    allow: [{ methods: ['POST'], path: '/nothing' }],
  })
  const { port, hostname } = new URL(sallyport.origin)
  const socket = connect(Number(port), hostname)
  let answer = ''
  const closed = new Promise((resolve) => socket.once('close', resolve))
  socket.on('data', (chunk) => {
    answer += chunk
  })
  socket.on('error', () => {})
  socket.write(
    `POST /d/eager/other HTTP/1.1\r\nHost: x\r\nSallyport-Key: ${merchant.proxyKey}\r\nTransfer-Encoding: chunked\r\n\r\n`,
  )
  const trickle = setInterval(() => socket.write('1\r\nx\r\n'), 300)
  await closed
  clearInterval(trickle)

  expect(answer).toMatch(/^HTTP\/1\.1 403 /)
})
