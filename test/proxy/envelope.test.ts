// The envelope: one JSON object that says what to send where. Its body keeps the caller's own bytes, its answer tells
// whatever the destination said, and what is in it that we do not know is refused.

import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Reason } from '../../src/core/errors.ts'
import {
  startSallyport,
  type TestMerchant,
  type TestSallyport,
  VISA,
} from '../support/sallyport.ts'
import {
  expectRefusal,
  type Script,
  send,
  startUpstream,
  type Upstream,
  valuesOf,
} from './upstream.ts'

let sallyport: TestSallyport
let merchant: TestMerchant
let upstream: Upstream
let token: string
/** What the destination says to the next request. */
let answer: Parameters<typeof startUpstream>[0]

const ok: Script = (_, response) => {
  response.setHeader('Content-Type', 'application/json')
  response.end('{"ok":true}')
}

beforeAll(async () => {
  sallyport = await startSallyport()
  upstream = await startUpstream((request, response) => answer?.(request, response))
  merchant = await sallyport.createMerchant()
  token = await merchant.createCard({ card_holder_name: 'Zoë O"Neil & <Co>' })
  await merchant.createDestination({
    name: 'psp',
    origin: upstream.origin,
    limits: { body_bytes: 4096 },
    inject_headers: { 'X-Injected': 'ours' },
    allow: [
      {
        methods: ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'],
        path: '/pay*',
        fields: [
          { field: 'card_number', at: ['body', 'header:x-pan', 'query:pan', 'path'] },
          'card_holder_name',
        ],
      },
      { methods: ['POST'], path: '/exact', fields: [{ field: 'card_number', at: ['body:/a/n'] }] },
    ],
  })
})

afterAll(async () => {
  await sallyport[Symbol.asyncDispose]()
  await upstream.close()
})

beforeEach(() => {
  upstream.seen.length = 0
  answer = ok
})

const url = (path = '/pay') => `${upstream.origin}${path}`

const post = (body: string | Buffer, headers: Record<string, string> = {}, path = '/v2/proxy') =>
  send(sallyport.origin, 'POST', path, { 'Sallyport-Key': merchant.proxyKey, ...headers }, body)

/** An envelope of these members, written as they stand. */
const envelope = (members: Record<string, unknown> = {}) =>
  post(JSON.stringify({ destination_url: url(), method: 'POST', ...members }))

/** An envelope around these bytes. */
const around = (requestBody: string, more = '') =>
  post(`{"destination_url":"${url()}","method":"POST","request_body":${requestBody}${more}}`)

const sent = () => upstream.seen[0]?.body.toString()

describe('request_body', () => {
  test.each([
    [
      'key order and the spelling of numbers',
      '{"z":1.10,"a":10000000000000000999,"m":1E+2,"a":-0}',
    ],
    ['blanks and line breaks', '{ "a" :\n\t[ 1 , 2 ] }'],
    ['escapes', '{"a":"\\u00e9\\/\\n","\\u0062":1}'],
    ['letters beyond ASCII', '{"ä":"😀"}'],
    ['braces and quotes in strings', '{"a":"}]\\"{[,\\\\"}'],
    [
      'what looks like another member',
      '{"a":"\\",\\"request_body\\":{}","request_body":{"method":"GET"}}',
    ],
    ['an array', '[1,[2,{"a":[]}]]'],
    ['a string', '"text"'],
    ['a number', '12.50'],
    ['true', 'true'],
    ['an empty object', '{}'],
    ['two braces without a dollar', '{"a":"{{card}}"}'],
  ])('%s stay as they are', async (_, body) => {
    const reply = await around(body)

    expect(reply.status).toBe(200)
    expect(sent()).toBe(body)
    expect(upstream.seen[0]?.headers['content-type']).toBe('application/json')
  })

  test('only the placeholders are replaced, within strings and in place of values', async () => {
    await around(
      `{"z":1.10, "n":"x {{$card_number: ${token}}}","b":{{ $card_number : ${token} }}, "a":1}`,
    )

    expect(sent()).toBe(`{"z":1.10, "n":"x ${VISA}","b":"${VISA}", "a":1}`)
  })

  test('a bare placeholder may be the whole of it', async () => {
    await around(`{{$card_number: ${token}}}`)

    expect(sent()).toBe(`"${VISA}"`)
  })

  test.each([
    [
      'first',
      (body: string) => `{"request_body":${body},"destination_url":"${url()}","method":"POST"}`,
    ],
    [
      'in the middle',
      (body: string) =>
        `{"method":"POST" , "request_body" : ${body} , "destination_url":"${url()}"}`,
    ],
    [
      'last, with blanks',
      (body: string) =>
        ` {"method":"POST","destination_url":"${url()}","request_body":\n${body}\n} `,
    ],
    [
      'under an escaped name',
      (body: string) =>
        `{"method":"POST","destination_url":"${url()}","request\\u005fbody":${body}}`,
    ],
  ])('it may stand %s', async (_, text) => {
    const reply = await post(text('{"a":[1.0]}'))

    expect(reply.status).toBe(200)
    expect(sent()).toBe('{"a":[1.0]}')
  })

  test('other members may be escaped as well', async () => {
    const reply = await post(`{"destinati\\u006fn_url":"${url()}","meth\\u006fd":"P\\u004fST"}`)

    expect(reply.json.status_code).toBe(200)
  })

  test.each([
    ['left out', {}],
    ['null', { request_body: null }],
  ])('%s, there is no body', async (_, members) => {
    await envelope(members)

    expect(sent()).toBe('')
    expect(upstream.seen[0]?.headers['content-type']).toBeUndefined()
  })

  test.each([
    ['an empty object', {}],
    ['nothing', undefined],
    ['null', null],
  ])('a GET with %s has no body', async (_, requestBody) => {
    const reply = await envelope({ method: 'GET', request_body: requestBody })

    expect(reply.json.status_code).toBe(200)
    expect([upstream.seen[0]?.method, sent()]).toEqual(['GET', ''])
  })

  test.each([
    [
      'form',
      'application/x-www-form-urlencoded',
      'a=1&n={{$card_number}}&h={{$card_holder_name}}',
      `a=1&n=${VISA}&h=Zo%C3%AB%20O%22Neil%20%26%20%3CCo%3E`,
    ],
    ['plain text', 'text/plain', 'n={{$card_number}}', `n=${VISA}`],
    ['XML without a placeholder', 'application/xml', '<a>"é"</a>', '<a>"é"</a>'],
    [
      'XML',
      'application/xml',
      '<a b="{{$card_holder_name}}">{{$card_number}}</a>',
      `<a b="Zoë O&#34;Neil &#38; &#60;Co&#62;">${VISA}</a>`,
    ],
    [
      'multipart',
      'multipart/form-data; boundary=x',
      '--x\r\n\r\n{{$card_holder_name}}\r\n--x--',
      '--x\r\n\r\nZoë O"Neil & <Co>\r\n--x--',
    ],
  ])('for %s it is a string', async (_, contentType, text, expected) => {
    const reply = await envelope({ content_type: contentType, request_body: text, token })

    expect(reply.json.status_code).toBe(200)
    expect(sent()).toBe(expected)
    expect(upstream.seen[0]?.headers['content-type']).toBe(contentType)
  })

  test('the type may stand among the headers', async () => {
    await envelope({
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      request_body: 'a=%7B%7B%24card_number%7D%7D',
      token,
    })

    expect(sent()).toBe(`a=${VISA}`)
    expect(valuesOf(upstream.seen[0]?.rawHeaders ?? [], 'content-type')).toEqual([
      'application/x-www-form-urlencoded',
    ])
  })

  test('a holder name cannot break out of its string', async () => {
    await around(`{"n":"{{$card_holder_name: ${token}}}"}`)

    expect(JSON.parse(sent() ?? '')).toEqual({ n: 'Zoë O"Neil & <Co>' })
  })

  test('the pointer of a rule counts from request_body', async () => {
    const exact = (body: string) =>
      post(
        `{"destination_url":"${url('/exact')}","method":"POST","token":"${token}","request_body":${body}}`,
      )

    expect((await exact('{"a":{"n":"{{$card_number}}"}}')).json.status_code).toBe(200)
    expectRefusal(
      await exact('{"request_body":{"a":{"n":"{{$card_number}}"}}}'),
      'field_not_allowed',
    )
    expect(upstream.seen.length).toBe(1)
  })
})

describe('the request that is made', () => {
  test.each(['GET', 'POST', 'PUT', 'PATCH', 'DELETE'])(
    '%s is sent as it is named',
    async (method) => {
      await envelope({ method })

      expect(upstream.seen[0]?.method).toBe(method)
    },
  )

  test.each(['/proxy', '/v1/proxy', '/v2/proxy'])('%s is the same way in', async (path) => {
    const reply = await post(JSON.stringify({ destination_url: url(), method: 'GET' }), {}, path)

    expect(reply.json).toMatchObject({ response: { ok: true }, status_code: 200 })
  })

  test('path and query stay as they are written', async () => {
    await envelope({ destination_url: url('/pay/a%20b?x=%7e&x=2&&y'), method: 'GET' })

    expect(upstream.seen[0]?.url).toBe('/pay/a%20b?x=%7e&x=2&&y')
  })

  test('header, query and path take the value where the destination names them', async () => {
    await envelope({
      destination_url: url('/pay/{{$card_number}}?pan={{$card_number}}'),
      headers: { 'X-Pan': 'n={{$card_number}}' },
      method: 'GET',
      token,
    })

    expect(upstream.seen[0]?.url).toBe(`/pay/${VISA}?pan=${VISA}`)
    expect(upstream.seen[0]?.headers['x-pan']).toBe(`n=${VISA}`)
  })

  test('its headers are those of the envelope, without what belongs to a hop or to us', async () => {
    const headers = {
      Authorization: 'Bearer psp',
      'X-A': '1',
      'x-injected': 'evil',
      Host: 'evil.test',
      Connection: 'X-A',
      'Content-Length': '1',
      'Transfer-Encoding': 'chunked',
      TE: 'trailers',
      Expect: '100-continue',
      Upgrade: 'x',
      'Proxy-Authorization': 'x',
      'Sallyport-Key': 'x',
      'X-Profile-Id': 'x',
    }

    const reply = await envelope({ headers, request_body: {} })

    expect(reply.json.status_code).toBe(200)
    const { rawHeaders = [], headers: seen } = upstream.seen[0] ?? {}
    const names = rawHeaders.filter((_, at) => at % 2 === 0).map((name) => name.toLowerCase())
    expect(names.toSorted()).toEqual(
      [
        'host',
        'connection',
        'authorization',
        'x-a',
        'content-type',
        'x-injected',
        'content-length',
      ].toSorted(),
    )
    expect(seen).toMatchObject({
      host: new URL(upstream.origin).host,
      authorization: 'Bearer psp',
      'x-injected': 'ours',
      'content-length': '2',
    })
  })

  test.each([
    ['Authorization: api-key=', { Authorization: 'api-key=KEY' }],
    ['Authorization with other pairs', { Authorization: 'publishable-key=x,api-key=KEY' }],
    ['Authorization', { Authorization: 'KEY' }],
    ['api-key', { 'api-key': 'KEY' }],
    ['Sallyport-Key', { 'Sallyport-Key': 'KEY' }],
  ])('our key may come as %s and never goes on', async (_, headers) => {
    const withKey = Object.entries(headers).map(([name, value]): [string, string] => [
      name,
      value.replace('KEY', merchant.proxyKey),
    ])

    const body = JSON.stringify({ destination_url: url(), method: 'GET' })
    const reply = await send(sallyport.origin, 'POST', '/proxy', Object.fromEntries(withKey), body)

    expect(reply.json.status_code).toBe(200)
    expect(JSON.stringify(upstream.seen[0]?.rawHeaders)).not.toContain(merchant.proxyKey)
  })
})

describe('token_type', () => {
  test.each([
    'payment_method_id',
    'PaymentMethodId',
    'volatile_payment_method_id',
    'VolatilePaymentMethodId',
    'payment_method_token',
    'PaymentMethodToken',
  ])('%s agrees with a payment method', async (tokenType) => {
    const reply = await envelope({
      token,
      token_type: tokenType,
      request_body: ['{{$card_number}}'],
    })

    expect(reply.json.status_code).toBe(200)
    expect(sent()).toBe(`["${VISA}"]`)
  })

  test.each(['tokenization_id', 'TokenizationId', 'payment_method', 'something', ''])(
    '%j does not',
    async (tokenType) => {
      const reply = await envelope({
        token,
        token_type: tokenType,
        request_body: ['{{$card_number}}'],
      })

      expectRefusal(reply, 'invalid_value')
      expect(reply.json.error.details).toEqual({ field: 'token_type' })
      expect(upstream.seen).toEqual([])
    },
  )

  test('a token in a placeholder beats the one of the envelope', async () => {
    const other = await merchant.createCard({ card_number: '5555555555554444' })

    await envelope({ token, request_body: [`{{$card_number: ${other}}}`, '{{$card_number}}'] })

    expect(sent()).toBe(`["5555555555554444","${VISA}"]`)
  })
})

describe('what is refused', () => {
  const destination = () => `"destination_url":"${url()}","method":"POST"`

  test.each<[string, Reason, () => string]>([
    ['nothing', 'malformed_body', () => ''],
    ['no JSON', 'malformed_body', () => 'x'],
    ['an open object', 'malformed_body', () => `{${destination()}`],
    ['an open string', 'malformed_body', () => `{${destination()},"request_body":"a}`],
    ['a comma at the end', 'malformed_body', () => `{${destination()},}`],
    ['text behind it', 'malformed_body', () => `{${destination()}} x`],
    ['a second object behind it', 'malformed_body', () => `{${destination()}}{"request_body":{}}`],
    ['an array', 'wrong_type', () => `[{${destination()}}]`],
    ['a string', 'wrong_type', () => '"x"'],
    ['null', 'wrong_type', () => 'null'],
    [
      'request_body twice',
      'malformed_body',
      () => `{${destination()},"request_body":{},"request_body":{}}`,
    ],
    [
      'request_body twice, once escaped',
      'malformed_body',
      () => `{${destination()},"request_body":{},"request_bod\\u0079":{}}`,
    ],
    ['request_body without a value', 'malformed_body', () => `{${destination()},"request_body":}`],
    [
      'request_body without a value, then more',
      'malformed_body',
      () => `{"request_body":,${destination()}}`,
    ],
    [
      'malformed request_body',
      'malformed_body',
      () => `{${destination()},"request_body":{"a":1,}}`,
    ],
    [
      'request_body with brackets that cross',
      'malformed_body',
      () => `{"request_body":[},${destination()},"x":{]}`,
    ],
    ['two values as request_body', 'malformed_body', () => `{${destination()},"request_body":1 2}`],
    [
      'two bare placeholders as request_body',
      'malformed_body',
      () => `{${destination()},"request_body":{{$card_number}}{{$card_number}}}`,
    ],
    [
      'a malformed placeholder',
      'placeholder_malformed',
      () => `{${destination()},"request_body":["{{$card_nmber}}"]}`,
    ],
    [
      'an escaped placeholder',
      'placeholder_malformed',
      () => `{${destination()},"request_body":["\\u007b{$card_number}}"]}`,
    ],
    [
      'a placeholder without a token',
      'placeholder_without_token',
      () => `{${destination()},"request_body":["{{$card_number}}"]}`,
    ],
    ['an unknown member', 'unknown_field', () => `{${destination()},"dry_run":true}`],
    [
      'a member that is not built yet',
      'unknown_field',
      () => `{${destination()},"idempotency_key":"x"}`,
    ],
    ['__proto__', 'unknown_field', () => `{${destination()},"__proto__":{"token":"x"}}`],
    ['no destination_url', 'missing_field', () => '{"method":"POST"}'],
    ['no method', 'missing_field', () => `{"destination_url":"${url()}"}`],
    [
      'a method that is none',
      'invalid_value',
      () => `{"destination_url":"${url()}","method":"TRACE"}`,
    ],
    [
      'a method in lower case',
      'invalid_value',
      () => `{"destination_url":"${url()}","method":"post"}`,
    ],
    [
      'a destination_url that is none',
      'invalid_value',
      () => '{"destination_url":"nowhere","method":"POST"}',
    ],
    [
      'a destination_url with a fragment',
      'invalid_value',
      () => `{"destination_url":"${url()}#a","method":"POST"}`,
    ],
    [
      'a destination_url with a line break',
      'invalid_value',
      () => `{"destination_url":"${url()}?a\\r\\nX: 1","method":"POST"}`,
    ],
    [
      'a destination_url with a blank',
      'invalid_value',
      () => `{"destination_url":"${url()}?a b","method":"POST"}`,
    ],
    [
      'a destination_url that is a number',
      'wrong_type',
      () => '{"destination_url":1,"method":"POST"}',
    ],
    ['headers that are a list', 'wrong_type', () => `{${destination()},"headers":["a"]}`],
    ['a header that is a number', 'wrong_type', () => `{${destination()},"headers":{"a":1}}`],
    [
      'a header with a line break',
      'invalid_value',
      () => `{${destination()},"headers":{"a":"b\\r\\nX-Evil: 1"}}`,
    ],
    ['a header with a NUL', 'invalid_value', () => `{${destination()},"headers":{"a":"\\u0000"}}`],
    [
      'a header beyond Latin-1',
      'invalid_value',
      () => `{${destination()},"headers":{"a":"\\u017b"}}`,
    ],
    [
      'a header with a blank in its name',
      'invalid_value',
      () => `{${destination()},"headers":{"a b":"c"}}`,
    ],
    [
      'a header with a line break in its name',
      'invalid_value',
      () => `{${destination()},"headers":{"a\\r\\nX-Evil":"c"}}`,
    ],
    ['a pseudo header', 'invalid_value', () => `{${destination()},"headers":{":authority":"c"}}`],
    ['an empty name of a header', 'invalid_value', () => `{${destination()},"headers":{"":"c"}}`],
    [
      'two content types',
      'invalid_value',
      () =>
        `{${destination()},"content_type":"text/plain","headers":{"Content-Type":"application/json"}}`,
    ],
    [
      'a content type with a line break',
      'invalid_value',
      () => `{${destination()},"content_type":"text/plain\\r\\nX-Evil: 1","request_body":"a"}`,
    ],
    [
      'a content type beyond ASCII',
      'invalid_value',
      () => `{${destination()},"content_type":"text/\\u017b","request_body":"a"}`,
    ],
    [
      'a compressed body',
      'content_encoding_unsupported',
      () => `{${destination()},"headers":{"Content-Encoding":"gzip"},"request_body":"x"}`,
    ],
    [
      'a charset that cannot be searched',
      'content_encoding_unsupported',
      () =>
        `{${destination()},"content_type":"application/json; charset=utf-16","request_body":{}}`,
    ],
    [
      'an object for a form',
      'wrong_type',
      () =>
        `{${destination()},"content_type":"application/x-www-form-urlencoded","request_body":{"a":1}}`,
    ],
    [
      'a bare placeholder for a form',
      'wrong_type',
      () => `{${destination()},"content_type":"text/plain","request_body":{{$card_number}}}`,
    ],
    [
      'a GET with a body',
      'invalid_value',
      () => `{"destination_url":"${url()}","method":"GET","request_body":{"a":1}}`,
    ],
    [
      'XML with a placeholder in a comment',
      'value_not_encodable',
      () =>
        `{${destination()},"content_type":"text/xml","request_body":"<a><!-- {{$card_number}} --></a>"}`,
    ],
    [
      'HTML with a placeholder',
      'value_not_encodable',
      () =>
        `{${destination()},"content_type":"text/html","request_body":"<p>{{$card_number}}</p>"}`,
    ],
    [
      'an unknown origin',
      'destination_not_allowed',
      () => '{"destination_url":"https://evil.test/pay","method":"POST"}',
    ],
    [
      'another path',
      'method_or_path_not_allowed',
      () => `{"destination_url":"${url('/refunds')}","method":"POST"}`,
    ],
    [
      'dot segments',
      'path_not_normal',
      () => `{"destination_url":"${url('/pay/../refunds')}","method":"POST"}`,
    ],
    [
      'a body over the limit of the destination',
      'body_too_large',
      () => `{${destination()},"request_body":"${'x'.repeat(4096)}"}`,
    ],
  ])('%s: %s', async (_, reason, text) => {
    const reply = await post(text())

    expectRefusal(reply, reason)
    expect(upstream.seen).toEqual([])
  })

  test('bytes that are no UTF-8', async () => {
    const reply = await post(Buffer.from(`{${destination()},"token":"\xff"}`, 'latin1'))

    expectRefusal(reply, 'malformed_body')
  })

  test('an envelope in a coding that nobody knows', async () => {
    const reply = await post(`{${destination()}}`, { 'Content-Encoding': 'compress' })

    expectRefusal(reply, 'content_encoding_unsupported')
    expect(upstream.seen).toEqual([])
  })

  test('an envelope that is not compressed as it says', async () => {
    const reply = await post(`{${destination()}}`, { 'Content-Encoding': 'gzip' })

    expectRefusal(reply, 'malformed_body')
    expect(upstream.seen).toEqual([])
  })

  test.each(['GET', 'PUT', 'DELETE'])('the method %s', async (method) => {
    const key = { 'Sallyport-Key': merchant.proxyKey }

    const reply = await send(sallyport.origin, method, '/v2/proxy', key)

    expectRefusal(reply, 'method_not_allowed')
  })

  test('two idempotency keys that are not the same', async () => {
    const reply = await post(`{${destination()}}`, {
      'Idempotency-Key': 'a',
      'Sallyport-Idempotency-Key': 'b',
    })

    expectRefusal(reply, 'invalid_value')
    expect(upstream.seen).toEqual([])
  })

  test('an unknown member is named, but not when its name holds digits of a card', async () => {
    const named = await post(`{${destination()},"dry_run":1}`)
    const digits = await post(`{${destination()},"n${VISA}":1}`)

    expect(named.json.error.details).toEqual({ field: 'dry_run' })
    expectRefusal(digits, 'unknown_field')
    expect(digits.json.error.details).toBeUndefined()
  })

  test('wherever JSON breaks, nothing of a card number is in the answer', async () => {
    const text = `{${destination()},"request_body":{"number":"${VISA}"}}`

    for (let at = 1; at < text.length; at += 3) {
      const reply = await post(`${text.slice(0, at)}\0${text.slice(at)}`)
      expect([at, reply.text.includes(VISA.slice(0, 8))]).toEqual([at, false])
      expect(reply.status).toBeGreaterThanOrEqual(400)
    }
    expect(upstream.seen).toEqual([])
  })

  test('depth without end is refused and not followed', async () => {
    const reply = await around(`${'['.repeat(100_000)}${']'.repeat(100_000)}`)

    expect(reply.status).toBeGreaterThanOrEqual(400)
    expect(reply.status).toBeLessThan(500)
  })
})

describe('the answer', () => {
  const says = (
    status: number,
    headers: Record<string, string | string[]>,
    body?: string | Buffer,
  ) => {
    answer = (_, response) => response.writeHead(status, headers).end(body)
  }

  test('JSON stays as it came', async () => {
    says(201, { 'Content-Type': 'application/json' }, '{"z":1.10,"a":10000000000000000999,"a":2}')

    const reply = await envelope()

    expect(reply.status).toBe(200)
    expect(reply.text).toContain(
      '{"response":{"z":1.10,"a":10000000000000000999,"a":2},"status_code":201,',
    )
    expect(reply.json).not.toHaveProperty('response_encoding')
    expect(reply.headers['sallyport-upstream-status']).toBe('201')
    expect(reply.headers['cache-control']).toBe('no-store')
  })

  test.each([400, 402, 404, 422, 429, 500, 503])(
    'a status of %i is told, and ours is 200',
    async (status) => {
      says(status, { 'Content-Type': 'application/json' }, '{"error":"declined"}')

      const reply = await envelope()

      expect([reply.status, reply.json.status_code]).toEqual([200, status])
      expect(reply.json.response).toEqual({ error: 'declined' })
    },
  )

  test.each([301, 302, 307])('a redirect of %i is told and not followed', async (status) => {
    says(status, { Location: url('/elsewhere') })

    const reply = await envelope({ request_body: ['{{$card_number}}'], token })

    expect(reply.json.status_code).toBe(status)
    expect(reply.json.response_headers.location).toBe(url('/elsewhere'))
    expect(upstream.seen.length).toBe(1)
  })

  test.each<
    [string, Record<string, string>, string | Buffer | undefined, unknown, string | undefined]
  >([
    ['text', { 'Content-Type': 'text/plain' }, 'plain "é" \u2028', 'plain "é" \u2028', 'utf8'],
    ['text of no type', {}, 'plain', 'plain', 'utf8'],
    ['JSON that claims to be text', { 'Content-Type': 'text/plain' }, '{"a":1}', '{"a":1}', 'utf8'],
    ['what claims to be JSON', { 'Content-Type': 'application/json' }, '{"a":', '{"a":', 'utf8'],
    ['two JSON values', { 'Content-Type': 'application/json' }, '{}{}', '{}{}', 'utf8'],
    [
      'JSON under another name',
      { 'Content-Type': 'application/problem+json' },
      '{"a":1}',
      { a: 1 },
      undefined,
    ],
    ['bytes', { 'Content-Type': 'image/png' }, Buffer.from([0x89, 0, 0xff]), 'iQD/', 'base64'],
    [
      'bytes that claim to be JSON',
      { 'Content-Type': 'application/json' },
      Buffer.from([0x22, 0xff, 0x22]),
      'Iv8i',
      'base64',
    ],
    [
      'compressed JSON',
      { 'Content-Type': 'application/json', 'Content-Encoding': 'gzip' },
      gzipSync('{}', { level: 0 }),
      gzipSync('{}', { level: 0 }).toString('base64'),
      'base64',
    ],
    ['nothing', { 'Content-Type': 'application/json' }, undefined, null, undefined],
  ])('%s', async (_, headers, body, response, encoding) => {
    says(200, headers, body)

    const reply = await envelope()

    expect(reply.status).toBe(200)
    expect(reply.json.response).toEqual(response)
    expect(reply.json.response_encoding).toBe(encoding)
  })

  test('a 204 is null', async () => {
    says(204, {})

    const reply = await envelope({ method: 'DELETE' })

    expect(reply.status).toBe(200)
    expect(reply.json).toMatchObject({ response: null, status_code: 204 })
  })

  test('its headers are told in lower case, without those of the hop and ours', async () => {
    says(
      200,
      {
        'X-A': '1',
        'Set-Cookie': ['a=1', 'b=2'],
        'Keep-Alive': 'timeout=5',
        Connection: 'X-Hop',
        'X-Hop': '1',
        'Sallyport-Request-Id': 'forged',
        'Content-Type': 'application/json',
      },
      '{}',
    )

    const reply = await envelope()

    const { response_headers: headers } = reply.json
    expect(headers).toMatchObject({
      'x-a': '1',
      'set-cookie': 'a=1, b=2',
      'content-type': 'application/json',
    })
    for (const name of [
      'keep-alive',
      'connection',
      'x-hop',
      'transfer-encoding',
      'sallyport-request-id',
    ]) {
      expect([name, headers[name]]).toEqual([name, undefined])
    }
    expect(valuesOf(reply.rawHeaders, 'set-cookie')).toEqual([])
  })

  test('an answer over several reads is gathered whole', async () => {
    const items = Array.from({ length: 50_000 }, (_, index) => index)
    says(200, { 'Content-Type': 'application/json' }, JSON.stringify(items))

    const reply = await envelope()

    expect(reply.json.response).toEqual(items)
  })

  test('what was substituted is told in a header', async () => {
    const reply = await envelope({
      token,
      request_body: ['{{$card_number}}', '{{$card_holder_name}}'],
    })

    expect(reply.headers['sallyport-substitutions']).toBe('card_number=1, card_holder_name=1')
    expect(reply.headers['sallyport-request-id']).toMatch(/^req_/)
  })
})
