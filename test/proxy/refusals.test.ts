// Every refusal of the contract that can be reached today, through the front door: its status and reason, that it may
// be sent again, that the destination saw nothing of it and that the answer tells nothing of a card.

import { randomBytes } from 'node:crypto'
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
  type Reply,
  send,
  startUpstream,
  type Upstream,
  valuesOf,
} from './upstream.ts'

let sallyport: TestSallyport
let upstream: Upstream
let injecting: Upstream
let merchant: TestMerchant
let other: TestMerchant
let token: string
let bare: string
let foreign: string
/** A generic token. */
let account: string

beforeAll(async () => {
  sallyport = await startSallyport()
  upstream = await startUpstream()
  injecting = await startUpstream()
  merchant = await sallyport.createMerchant()
  other = await sallyport.createMerchant()
  token = await merchant.createCard({ card_holder_name: 'Zoë O"Neil', nick_name: '..' })
  bare = await merchant.createCard({ card_number: '4000056655665556' })
  foreign = await other.createCard()
  account = await merchant.createToken({
    iban: 'DE89370400440532013000',
    holder: { name: 'Zoë' },
    none: null,
    amount: 1.5,
    broken: 'a\nb',
  })
  await merchant.createDestination({
    name: 'psp',
    origin: upstream.origin,
    limits: { body_bytes: 4096 },
    allow: [
      {
        methods: ['POST', 'GET'],
        path: '/pay',
        fields: [
          { field: 'card_number', at: ['body:/source/number', 'body:card[number]'] },
          'card_exp_month',
        ],
      },
      {
        methods: ['POST', 'GET'],
        path: '/places/*',
        fields: [
          { field: 'card_number', at: ['header:X-Pan', 'query:pan', 'path'] },
          { field: 'card_holder_name', at: ['header:X-Pan', 'query:pan', 'body'] },
          { field: 'nick_name', at: ['body', 'path'] },
        ],
      },
      {
        methods: ['POST', 'GET'],
        path: '/any*',
        fields: ['card_number', 'card_holder_name', '$.iban', '$.holder', '$.none', '$.broken'],
      },
      {
        methods: ['POST', 'GET'],
        path: '/basic',
        fields: [
          { field: 'card_number', at: ['basic'] },
          { field: '$.iban', at: ['header:x-iban'] },
        ],
      },
      { methods: ['POST'], path: '/expiry', fields: ['card_exp_month', 'card_exp_year'] },
      { methods: ['GET'], path: '/read' },
    ],
  })
  await merchant.createDestination({
    name: 'injecting',
    origin: injecting.origin,
    inject_headers: { Authorization: 'Bearer sk_psp', 'X-Account': 'acct_1' },
    require_placeholder: false,
    allow: [{ methods: ['POST', 'GET'], path: '/*', fields: ['card_number'] }],
  })
  await merchant.createDestination({
    name: 'strict',
    origin: 'https://strict.example',
    require_placeholder: true,
    allow: [{ methods: ['POST'], path: '/*', fields: ['card_number'] }],
  })
  await other.createDestination({
    name: 'theirs',
    origin: 'https://theirs.example',
    allow: [{ methods: ['POST'], path: '/*', fields: ['card_number'] }],
  })
})

afterAll(async () => {
  await sallyport[Symbol.asyncDispose]()
  await upstream.close()
  await injecting.close()
})

beforeEach(() => {
  upstream.seen.length = 0
  injecting.seen.length = 0
})

const JSON_TYPE = { 'Content-Type': 'application/json' }
const XML_TYPE = { 'Content-Type': 'text/xml' }
const MULTIPART_TYPE = { 'Content-Type': 'multipart/form-data; boundary=x' }
const FORM_TYPE = { 'Content-Type': 'application/x-www-form-urlencoded' }

type Headers = Record<string, string | string[]>

/** POST as the merchant. */
const post = (path: string, body: string | Buffer, headers: Headers = JSON_TYPE) =>
  send(sallyport.origin, 'POST', path, { 'Sallyport-Key': merchant.proxyKey, ...headers }, body)

const get = (path: string, headers: Headers = {}) =>
  send(sallyport.origin, 'GET', path, { 'Sallyport-Key': merchant.proxyKey, ...headers })

const pan = () => `{{$card_number: ${token}}}`

function expectNothingSent(): void {
  expect([...upstream.seen, ...injecting.seen]).toEqual([])
}

type Row = [sentence: string, reason: Reason, act: () => Promise<Reply>]

describe('placeholders', () => {
  test.each<Row>([
    [
      'malformed JSON around a placeholder',
      'malformed_body',
      () => post('/d/psp/any', `{"a":"${pan()}",}`),
    ],
    ['JSON cut off after one', 'malformed_body', () => post('/d/psp/any', `{"a":"${pan()}"`)],
    [
      'a number and one without a comma',
      'malformed_body',
      () => post('/d/psp/any', `[1 ${pan()}]`),
    ],
    [
      'a bare one side by side with another',
      'malformed_body',
      () => post('/d/psp/any', `[${pan()}${pan()}]`),
    ],
    [
      'an unknown token',
      'token_not_found',
      () => post('/d/psp/any', `["{{$card_number: local_pm_${'0'.repeat(32)}}}"]`),
    ],
    [
      'text that is no token',
      'token_not_found',
      () => post('/d/psp/any', '["{{$card_number: tok}}"]'),
    ],
    [
      'a card number in place of a token',
      'token_not_found',
      () => post('/d/psp/any', `["{{$card_number: ${VISA}}}"]`),
    ],
    [
      'the token of a customer',
      'token_not_found',
      async () => post('/d/psp/any', `["{{$card_number: ${await merchant.createCustomer()}}}"]`),
    ],
    [
      "another merchant's token",
      'token_not_found',
      () => post('/d/psp/any', `["{{$card_number: ${foreign}}}"]`),
    ],
    [
      'one good token and one unknown',
      'token_not_found',
      () => post('/d/psp/any', `["${pan()}","{{$card_number: ${foreign}}}"]`),
    ],
    [
      'an unknown single token',
      'token_not_found',
      () =>
        post('/d/psp/any', '["{{$card_number}}"]', { ...JSON_TYPE, 'Sallyport-Token': foreign }),
    ],
    ['no token', 'placeholder_without_token', () => post('/d/psp/any', '["{{$card_number}}"]')],
    [
      'a field that the card lacks',
      'placeholder_field_missing',
      () => post('/d/psp/any', `["{{$card_holder_name: ${bare}}}"]`),
    ],
    [
      'an unknown field',
      'placeholder_malformed',
      () => post('/d/psp/any', `["{{$card_nmber: ${token}}}"]`),
    ],
    [
      'an unknown filter',
      'placeholder_malformed',
      () => post('/d/psp/any', `["{{$card_number: ${token} | explode}}"]`),
    ],
    [
      'a filter with a wrong argument',
      'placeholder_malformed',
      () => post('/d/psp/any', `["{{$card_number: ${token} | last(four)}}"]`),
    ],
    [
      'an expiry without a format',
      'placeholder_malformed',
      () => post('/d/psp/expiry', `["{{$card_exp: ${token}}}"]`),
    ],
    [
      'a path with a script',
      'placeholder_malformed',
      () => post('/d/psp/any', `["{{$[?(@.iban)]: ${account}}}"]`),
    ],
    [
      'a path into a card',
      'placeholder_field_missing',
      () => post('/d/psp/any', `["{{$.iban: ${token}}}"]`),
    ],
    [
      'a field of a card of a generic token',
      'placeholder_field_missing',
      () => post('/d/psp/any', `["{{$card_number: ${account}}}"]`),
    ],
    [
      'a path to nothing',
      'placeholder_field_missing',
      () => post('/d/psp/any', `["{{$.none: ${account}}}"]`),
    ],
    [
      'a path to an object',
      'value_not_encodable',
      () => post('/d/psp/any', `["{{$.holder: ${account}}}"]`),
    ],
    [
      'a network token, not built yet',
      'placeholder_malformed',
      () => post('/d/psp/any', `["{{$network_token: ${token}}}"]`),
    ],
    [
      'missing closing braces',
      'placeholder_malformed',
      () => post('/d/psp/any', `["{{$card_number: ${token}"]`),
    ],
    [
      'one closing brace',
      'placeholder_malformed',
      () => post('/d/psp/any', `["{{$card_number: ${token}}"]`),
    ],
    [
      'braces escaped as JSON',
      'placeholder_malformed',
      () => post('/d/psp/any', `["\\u007b\\u007b$card_number: ${token}}}"]`),
    ],
    [
      'a brace escaped as JSON',
      'placeholder_malformed',
      () => post('/d/psp/any', `["{\\u007B$card_number: ${token}}}"]`),
    ],
    [
      'the dollar escaped as JSON',
      'placeholder_malformed',
      () => post('/d/psp/any', `["{{\\u0024card_number: ${token}}}"]`),
    ],
    [
      'braces as references',
      'placeholder_malformed',
      () =>
        post('/d/psp/any', `&#123;&#x7b;$card_number: ${token}}}`, {
          'Content-Type': 'text/plain',
        }),
    ],
    [
      'braces as references in a header',
      'placeholder_malformed',
      () => get('/d/psp/places/1', { 'X-Pan': `&lbrace;{$card_number: ${token}}}` }),
    ],
    [
      'braces escaped in a header',
      'placeholder_malformed',
      () => get('/d/psp/places/1', { 'X-Pan': `\\u007b{$card_number: ${token}}}` }),
    ],
    [
      'braces as percent signs in JSON',
      'placeholder_malformed',
      () => post('/d/psp/any', '["%7b%7b$card_number}}"]'),
    ],
    [
      'braces as percent signs in a header',
      'placeholder_malformed',
      () => get('/d/psp/places/1', { 'X-Pan': `%7B%7B%24card_number: ${token}}}` }),
    ],
    [
      'braces as percent signs in Basic credentials',
      'placeholder_malformed',
      () => get('/d/psp/basic', { Authorization: `Basic ${btoa('u:%7B%7B%24card_number}}')}` }),
    ],
    [
      'braces as percent signs twice in a form',
      'placeholder_malformed',
      () => post('/d/psp/any', 'a=%257B%257B%2524card_number}}', FORM_TYPE),
    ],
    [
      'braces escaped in the query',
      'placeholder_malformed',
      () => get(`/d/psp/places/1?pan=\\u007b{$card_number:${token}}}`),
    ],
    [
      'a typing error in a header',
      'placeholder_malformed',
      () => get('/d/psp/places/1', { 'X-Pan': '{{$card_nmber}}' }),
    ],
    [
      'a typing error in the query',
      'placeholder_malformed',
      () => get('/d/psp/places/1?pan=%7b%7b%24card_nmber%7d%7d'),
    ],
    [
      'a typing error in the path',
      'placeholder_malformed',
      () => get('/d/psp/places/%7B%7B%24card_nmber%7D%7D'),
    ],
    [
      'a typing error in a form',
      'placeholder_malformed',
      () => post('/d/psp/any', 'a=%7b%7b$card_nmber}}', FORM_TYPE),
    ],
    [
      'a typing error in a body of no type',
      'placeholder_malformed',
      () => post('/d/psp/any', '{{$card_nmber}}', {}),
    ],
  ])('%s: %s', async (_, reason, act) => {
    const reply = await act()

    expectRefusal(reply, reason)
    expectNothingSent()
  })

  test('an unknown token and one of another merchant get the same answer to the byte', async () => {
    const unknown = await post('/d/psp/any', `["{{$card_number: local_pm_${'a'.repeat(32)}}}"]`)
    const theirs = await post('/d/psp/any', `["{{$card_number: ${foreign}}}"]`)

    const withoutIds = ({ status, rawHeaders, text }: Reply) =>
      JSON.stringify({ status, rawHeaders, text }).replaceAll(/req_[0-9a-f]{32}/g, 'req')
    const withoutDate = (text: string) => text.replaceAll(/"[^"]* GMT"|dur=[0-9.]+/g, '')
    expect(withoutDate(withoutIds(theirs))).toBe(withoutDate(withoutIds(unknown)))
  })

  test('a deleted card is as unknown as one that never was', async () => {
    const gone = await merchant.createCard({ card_number: '5555555555554444' })
    await merchant.vault('DELETE', `/v2/payment-methods/${gone}`)

    const reply = await post('/d/psp/any', `["{{$card_number: ${gone}}}"]`)

    expectRefusal(reply, 'token_not_found')
  })

  test('the refusal names the field and nothing of the token', async () => {
    const reply = await post('/d/psp/any', `["{{$card_holder_name: ${bare}}}"]`)

    expect(reply.json.error.details).toEqual({ field: 'card_holder_name' })
    expect(reply.text).not.toContain(bare)
  })

  const ways: [string, (placeholder: string) => Promise<Reply>][] = [
    ['a body', (placeholder) => post('/d/psp/any', `{"a":"${placeholder}"}`)],
    ['a bare value', (placeholder) => post('/d/psp/any', `[${placeholder}]`)],
    [
      'a form',
      (placeholder) => post('/d/psp/any', `a=${encodeURIComponent(placeholder)}`, FORM_TYPE),
    ],
    ['XML', (placeholder) => post('/d/psp/any', `<a>${placeholder}</a>`, XML_TYPE)],
    ['a header', (placeholder) => get('/d/psp/places/1', { 'X-Pan': placeholder })],
    ['the query', (placeholder) => get(`/d/psp/places/1?pan=${encodeURIComponent(placeholder)}`)],
    ['the path', (placeholder) => get(`/d/psp/places/${encodeURIComponent(placeholder)}`)],
    [
      'Basic credentials',
      (placeholder) => get('/d/psp/basic', { Authorization: `Basic ${btoa(`u:${placeholder}`)}` }),
    ],
    [
      'an envelope',
      (placeholder) =>
        post(
          '/proxy',
          `{"destination_url":"${upstream.origin}/any","method":"POST","request_body":["${placeholder}"]}`,
        ),
    ],
  ]

  describe.each(ways)('in %s the refusal names', (_, act) => {
    test.each([
      ['an unknown filter', '{{$card_number: t | explode}}', 'explode'],
      ['an unknown filter behind others', '{{$card_number: t | last(4) | nope}}', 'nope'],
      ['the filter whose argument is none', '{{$card_number: t | last(4, 5)}}', 'last'],
      ['the filter that lacks its argument', '{{$card_number: t | map}}', 'map'],
      ['an unknown field', '{{$card_nmber: t}}', 'card_nmber'],
    ])('%s', async (_, placeholder, field) => {
      const reply = await act(placeholder)

      expectRefusal(reply, 'placeholder_malformed')
      expect(reply.json.error.details).toEqual({ field })
      expectNothingSent()
    })
  })

  test('an unknown filter that could be a card number is not named', async () => {
    const reply = await post('/d/psp/any', `["{{$card_number: t | a${VISA}}}"]`)

    expectRefusal(reply, 'placeholder_malformed')
    expect(reply.json.error.details).toBeUndefined()
  })

  test.each<[string, string, () => Promise<Reply>]>([
    [
      'a value in a header',
      'card_holder_name',
      () => get('/d/psp/places/1', { 'X-Pan': `{{$card_holder_name: ${token}}}` }),
    ],
    [
      'a value in plain text',
      'card_holder_name',
      () => post('/d/psp/places/1', `{{$card_holder_name: ${token}}}`, {}),
    ],
    [
      'a value that cannot go through its filter',
      'card_holder_name',
      () => post('/d/psp/any', `[{{$card_holder_name: ${token} | number}}]`),
    ],
    ['an object', '$.holder', () => post('/d/psp/any', `["{{$.holder: ${account}}}"]`)],
    [
      'a value in a part of multipart',
      '$.broken',
      () => post('/d/psp/any', `--x\r\n\r\n{{$.broken: ${account}}}\r\n--x--`, MULTIPART_TYPE),
    ],
  ])('a refused value is named by its field: %s', async (_, field, act) => {
    const reply = await act()

    expectRefusal(reply, 'value_not_encodable')
    expect(reply.json.error.details).toEqual({ field })
    expectNothingSent()
  })

  test.each([
    ['a single escaped brace', '["\\u007b$card_number}"]'],
    ['two escaped braces without a dollar', '["\\u007b\\u007bcard}}"]'],
    ['braces without a dollar', '["{{card_number}}"]'],
    ['17 blanks before the dollar', `["{{${' '.repeat(17)}$card_number}}"]`],
    ['percent signs without a dollar', '["%7b%7bcard_number}}"]'],
    ['malformed JSON without a placeholder', '{"a":1,}'],
    ['text that claims to be JSON', '{{card}}'],
  ])('what is no placeholder passes as it is: %s', async (_, body) => {
    const reply = await post('/d/psp/any', body)

    expect(reply.status).toBe(200)
    expect(upstream.seen[0]?.body.toString()).toBe(body)
  })
})

describe('places', () => {
  test.each<Row>([
    [
      'another pointer',
      'field_not_allowed',
      () => post('/d/psp/pay', `{"source":{"number":"1"},"metadata":{"x":"${pan()}"}}`),
    ],
    [
      'the right pointer and another',
      'field_not_allowed',
      () => post('/d/psp/pay', `{"source":{"number":"${pan()}"},"description":"${pan()}"}`),
    ],
    [
      'a duplicate with another inside',
      'field_not_allowed',
      () =>
        post('/d/psp/pay', `{"source":{"number":"${pan()}"},"source":{"number":{"x":"${pan()}"}}}`),
    ],
    [
      'the same name elsewhere',
      'field_not_allowed',
      () => post('/d/psp/pay', `{"metadata":{"source":{"number":"${pan()}"}}}`),
    ],
    [
      'an element in place of a member',
      'field_not_allowed',
      () => post('/d/psp/pay', `{"source":[{"number":"${pan()}"}]}`),
    ],
    [
      'the name of a property',
      'field_not_allowed',
      () => post('/d/psp/pay', `{"source":{"${pan()}":1}}`),
    ],
    [
      'a name that only unescapes to another',
      'field_not_allowed',
      () => post('/d/psp/pay', `{"source/number":"${pan()}"}`),
    ],
    [
      'another key of a form',
      'field_not_allowed',
      () => post('/d/psp/pay', `metadata[x]=${pan()}`, FORM_TYPE),
    ],
    ['a key of a form', 'field_not_allowed', () => post('/d/psp/pay', `${pan()}=1`, FORM_TYPE)],
    [
      'plain text, which has no places',
      'field_not_allowed',
      () => post('/d/psp/pay', pan(), { 'Content-Type': 'text/plain' }),
    ],
    [
      'no type, so no places',
      'field_not_allowed',
      () => post('/d/psp/pay', `{"source":{"number":"${pan()}"}}`, {}),
    ],
    [
      'a header that is not named',
      'field_not_allowed',
      () => post('/d/psp/pay', '{}', { ...JSON_TYPE, 'X-Pan': pan() }),
    ],
    ['another header', 'field_not_allowed', () => get('/d/psp/places/1', { 'X-Other': pan() })],
    [
      'a header for a field of the body',
      'field_not_allowed',
      () => post('/d/psp/any', '{}', { ...JSON_TYPE, Cookie: `a=${pan()}` }),
    ],
    [
      'the content type, which says how the body is read',
      'value_not_encodable',
      () => post('/d/psp/any', '{}', { 'Content-Type': `text/${pan()}` }),
    ],
    [
      'another key of the query',
      'field_not_allowed',
      () => get(`/d/psp/places/1?x=${encodeURIComponent(pan())}`),
    ],
    [
      'a key of the query',
      'field_not_allowed',
      () => get(`/d/psp/places/1?${encodeURIComponent(pan())}=1`),
    ],
    [
      'the query for a field of the body',
      'field_not_allowed',
      () => get(`/d/psp/any?pan=${encodeURIComponent(pan())}`),
    ],
    [
      'the path for a field of the body',
      'field_not_allowed',
      () => get(`/d/psp/any/${encodeURIComponent(pan())}`),
    ],
    [
      'the body for a field of headers',
      'field_not_allowed',
      () => post('/d/psp/places/1', `["${pan()}"]`),
    ],
    [
      'a field that is not named',
      'field_not_allowed',
      () => post('/d/psp/any', `["{{$card_exp_year: ${token}}}"]`),
    ],
    ['a row without fields', 'field_not_allowed', () => get('/d/psp/read', { 'X-Pan': pan() })],
    [
      'an unknown token in a wrong place',
      'field_not_allowed',
      () => post('/d/psp/pay', '["{{$card_number: tok}}"]'),
    ],
    [
      'HTML',
      'value_not_encodable',
      () => post('/d/psp/any', `<p>${pan()}</p>`, { 'Content-Type': 'text/html' }),
    ],
    [
      'a comment of XML',
      'value_not_encodable',
      () => post('/d/psp/any', `<a><!-- ${pan()} --></a>`, XML_TYPE),
    ],
    [
      'the headers of a part',
      'value_not_encodable',
      () => post('/d/psp/any', `--x\r\nX-A: ${pan()}\r\n\r\n\r\n--x--`, MULTIPART_TYPE),
    ],
    [
      'Basic credentials that are not named',
      'field_not_allowed',
      () => get('/d/psp/any', { Authorization: `Basic ${btoa(`u:${pan()}`)}` }),
    ],
    [
      'Basic credentials in another case',
      'field_not_allowed',
      () => get('/d/psp/any', { Authorization: `basic ${btoa(`u:${pan()}`)}` }),
    ],
    [
      'Basic credentials in another header',
      'value_not_encodable',
      () => get('/d/psp/basic', { 'X-Authorization': `Basic ${btoa(`u:${pan()}`)}` }),
    ],
    [
      'a path that is not named',
      'field_not_allowed',
      () => post('/d/psp/any', `["{{$.amount: ${account}}}"]`),
    ],
    [
      'an inner path of one that is named',
      'field_not_allowed',
      () => post('/d/psp/any', `["{{$.holder.name: ${account}}}"]`),
    ],
    [
      'the body for a path of a header',
      'field_not_allowed',
      () => post('/d/psp/basic', `["{{$.iban: ${account}}}"]`),
    ],
    [
      'an expiry where only the month is named',
      'field_not_allowed',
      () => post('/d/psp/pay', `["{{$card_exp: ${token} | format(MMYY)}}"]`),
    ],
    [
      'a name in a header that takes no such letters',
      'value_not_encodable',
      () => get('/d/psp/places/1', { 'X-Pan': `{{$card_holder_name: ${token}}}` }),
    ],
    [
      'a name in plain text',
      'value_not_encodable',
      () =>
        post('/d/psp/places/1', `{{$card_holder_name: ${token}}}`, {
          'Content-Type': 'text/plain',
        }),
    ],
    [
      'a name in JSON without a type',
      'value_not_encodable',
      () => post('/d/psp/places/1', `{"a":"{{$card_holder_name: ${token}}}"}`, {}),
    ],
    [
      'a name in a charset that has no bytes for it',
      'value_not_encodable',
      () =>
        post('/d/psp/places/1', `{"a":"{{$card_holder_name: ${token}}}"}`, {
          'Content-Type': 'application/json; charset=us-ascii',
        }),
    ],
    [
      'a value that makes another path',
      'value_not_encodable',
      () => get(`/d/psp/places/${encodeURIComponent(`{{$nick_name: ${token}}}`)}`),
    ],
  ])('%s: %s', async (_, reason, act) => {
    const reply = await act()

    expectRefusal(reply, reason)
    expectNothingSent()
  })

  // The PSP may well read JSON whatever the type says: then the number would stand in its metadata.
  test('a rule for a JSON pointer does not hold in a body that claims to be a form', async () => {
    const body = `{"metadata":"&/source/number=${pan()}&"}`

    const reply = await post('/d/psp/pay', body, FORM_TYPE)

    expectRefusal(reply, 'field_not_allowed')
    expectNothingSent()
  })

  test.each([
    ['XML', 'application/xml', '<a>{{b}}</a>'],
    ['multipart', 'multipart/form-data; boundary=x', '--x\r\n\r\n1\r\n--x--'],
    ['HTML', 'text/html', '<p>$</p>'],
    ['XML with a document type', 'text/xml', '<!DOCTYPE a><a>&amp;</a>'],
    [
      'multipart with a preamble',
      'multipart/form-data; boundary=x',
      'a & b\r\n--x\r\n\r\n1\r\n--x--',
    ],
  ])('%s without a placeholder passes', async (_, type, body) => {
    const reply = await post('/d/psp/any', body, { 'Content-Type': type })

    expect(reply.status).toBe(200)
    expect(upstream.seen[0]?.body.toString()).toBe(body)
  })

  test.each<[string, string, () => string | Buffer, () => string | Buffer]>([
    ['XML', 'text/xml', () => `<a b='${pan()}'>${pan()}</a>`, () => `<a b='${VISA}'>${VISA}</a>`],
    [
      'XML of another name',
      'application/soap+xml',
      () => `<a>{{$card_holder_name: ${token}}}<![CDATA[${pan()}]]></a>`,
      () => `<a>Zoë O"Neil<![CDATA[${VISA}]]></a>`,
    ],
    [
      'multipart',
      'multipart/form-data; boundary=x',
      () => `--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n${pan()}\r\n--x--\r\n`,
      () => `--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n${VISA}\r\n--x--\r\n`,
    ],
    [
      'JSON with filters',
      'application/json',
      () => `{"a":"{{$card_number: ${token} | last(4)}}","b":{{$card_number: ${token} | number}}}`,
      () => `{"a":"4242","b":${VISA}}`,
    ],
    [
      'JSON with parts of a generic token',
      'application/json',
      () => `{"a":"{{$.iban: ${account}}}","b":{{$.holder: ${account} | json}}}`,
      () => '{"a":"DE89370400440532013000","b":{"name":"Zoë"}}',
    ],
    [
      'JSON in another charset',
      'application/json; charset=iso-8859-1',
      () => `{"a":"{{$card_holder_name: ${token}}}"}`,
      () => Buffer.from('{"a":"Zo\u00eb O\\"Neil"}', 'latin1'),
    ],
  ])('%s takes values', async (_, type, body, expected) => {
    const reply = await post('/d/psp/any', body(), { 'Content-Type': type })

    expect(reply.status).toBe(200)
    expect(upstream.seen[0]?.body.toString('latin1')).toBe(
      Buffer.from(expected()).toString('latin1'),
    )
  })

  test.each([
    ['in a password', () => `u:${pan()}`, `u:${VISA}`],
    ['in a user', () => `${pan()}:p`, `${VISA}:p`],
    ['in both', () => `${pan()}:x${pan()}`, `${VISA}:x${VISA}`],
  ])(
    'Basic credentials take the value where the destination names them: %s',
    async (_, said, sent) => {
      const reply = await get('/d/psp/basic', { Authorization: `basic ${btoa(said())}` })

      expect(reply.status).toBe(200)
      expect(upstream.seen[0]?.headers.authorization).toBe(`Basic ${btoa(sent)}`)
    },
  )

  test('an expiry is written as it is asked for where month and year are allowed', async () => {
    await post('/d/psp/expiry', `["{{$card_exp: ${token} | format(MM/YY)}}"]`)

    expect(upstream.seen[0]?.body.toString()).toBe('["03/35"]')
  })

  test('a binary body passes unscanned, whatever is in it', async () => {
    const body = Buffer.concat([randomBytes(500), Buffer.from('{{$card_nmber'), randomBytes(500)])

    const reply = await post('/d/psp/any', body, { 'Content-Type': 'image/png' })

    expect(reply.status).toBe(200)
    expect(upstream.seen[0]?.body.equals(body)).toBe(true)
    expect(reply.headers['sallyport-substitutions']).toBeUndefined()
  })

  test('header, query and path take the value where the destination names them', async () => {
    const place = encodeURIComponent(pan())

    const reply = await get(`/d/psp/places/${place}/x?pan=${place}&b=1`, { 'X-Pan': `n=${pan()}` })

    expect(reply.status).toBe(200)
    expect(upstream.seen[0]?.url).toBe(`/places/${VISA}/x?pan=${VISA}&b=1`)
    expect(upstream.seen[0]?.headers['x-pan']).toBe(`n=${VISA}`)
    expect(reply.headers['sallyport-substitutions']).toBe('card_number=3')
  })

  test('a value in the query is percent-encoded', async () => {
    const place = `{{$card_holder_name:${token}}}`

    await get(`/d/psp/places/1?pan=${place}`)

    expect(upstream.seen[0]?.url).toBe('/places/1?pan=Zo%C3%AB%20O%22Neil')
  })

  test('a form takes the value under the named key, encoded or not', async () => {
    await post('/d/psp/pay', `card%5Bnumber%5D=${encodeURIComponent(pan())}&a=+`, FORM_TYPE)

    expect(upstream.seen[0]?.body.toString()).toBe(`card%5Bnumber%5D=${VISA}&a=+`)
  })

  test('a holder name cannot break out of its JSON string', async () => {
    await post('/d/psp/any', `{"n":"{{$card_holder_name: ${token}}}"}`)

    expect(JSON.parse(upstream.seen[0]?.body.toString() ?? '')).toEqual({ n: 'Zoë O"Neil' })
  })
})

describe('what a row means is decided by the path that is sent', () => {
  test('a value in the path cannot lead to another row', async () => {
    await using psp = await startUpstream()
    await merchant.createDestination({
      name: 'rows',
      origin: psp.origin,
      allow: [
        { methods: ['POST'], path: '/cards/test' },
        {
          methods: ['POST'],
          path: '/cards/*',
          fields: ['card_number', { field: 'nick_name', at: ['path'] }],
        },
      ],
    })
    const named = await merchant.createCard({ card_number: '4111111111111111', nick_name: 'test' })

    const reply = await post(
      `/d/rows/cards/${encodeURIComponent(`{{$nick_name: ${named}}}`)}`,
      `["{{$card_number: ${named}}}"]`,
    )

    expect(reply.status).toBeGreaterThanOrEqual(400)
    expect(psp.seen).toEqual([])
  })
})

describe('destinations', () => {
  const forward = (origin: string, headers: Headers = {}) =>
    post('/forward/any', `["${pan()}"]`, {
      ...JSON_TYPE,
      'Sallyport-Destination': origin,
      ...headers,
    })

  test.each<Row>([
    ['an unknown origin', 'destination_not_allowed', () => forward('https://evil.test')],
    ['no origin', 'destination_not_allowed', () => post('/forward/any', '[]')],
    ['an origin with a path', 'destination_not_allowed', () => forward(`${upstream.origin}/any`)],
    [
      'an origin with user information',
      'destination_not_allowed',
      () => forward(upstream.origin.replace('//', '//a@')),
    ],
    ['another port', 'destination_not_allowed', () => forward('http://127.0.0.1:1')],
    [
      'the address in another spelling',
      'destination_not_allowed',
      () => forward(upstream.origin.replace('127.0.0.1', '127.1')),
    ],
    [
      'the address as a name',
      'destination_not_allowed',
      () => forward(upstream.origin.replace('127.0.0.1', 'localhost')),
    ],
    [
      'the address as IPv6',
      'destination_not_allowed',
      () => forward(upstream.origin.replace('127.0.0.1', '[::ffff:127.0.0.1]')),
    ],
    [
      "another merchant's origin",
      'destination_not_allowed',
      () => forward('https://theirs.example'),
    ],
    ["another merchant's name", 'destination_not_allowed', () => post('/d/theirs/any', '[]')],
    ['an unknown name', 'destination_not_allowed', () => post('/d/nowhere/any', '[]')],
    [
      'a name and an origin that is not its own',
      'destination_not_allowed',
      () => post('/d/psp/any', '[]', { 'Sallyport-Destination': 'https://evil.test' }),
    ],
    [
      'an unknown profile',
      'not_found',
      () => post('/d/psp/any', '[]', { 'X-Profile-Id': 'pro_unknown' }),
    ],
    ['another path', 'method_or_path_not_allowed', () => post('/d/psp/refunds', '[]')],
    ['another method', 'method_or_path_not_allowed', () => post('/d/psp/read', '[]')],
    [
      'a method that no row can name',
      'method_or_path_not_allowed',
      () => send(sallyport.origin, 'TRACE', '/d/psp/any', { 'Sallyport-Key': merchant.proxyKey }),
    ],
    ['dot segments', 'path_not_normal', () => post('/d/psp/any/../pay', '[]')],
    ['encoded dot segments', 'path_not_normal', () => post('/d/psp/any/%2e%2E/pay', '[]')],
    ['empty segments', 'path_not_normal', () => post('/d/psp//any', '[]')],
    ['encoded slashes', 'path_not_normal', () => post('/d/psp/any%2Fpay', '[]')],
    ['backslashes', 'path_not_normal', () => post('/d/psp/any\\pay', '[]')],
    [
      'dot segments after /forward',
      'path_not_normal',
      () => post('/forward/../any', '[]', { 'Sallyport-Destination': upstream.origin }),
    ],
    [
      'no placeholder where one is required',
      'substitutions_mismatch',
      () => post('/d/strict/any', '[]'),
    ],
    [
      'fewer placeholders than expected',
      'substitutions_mismatch',
      () =>
        post('/d/psp/any', `["${pan()}"]`, { ...JSON_TYPE, 'Sallyport-Expect-Substitutions': '2' }),
    ],
    [
      'more placeholders than expected',
      'substitutions_mismatch',
      () =>
        post('/d/psp/any', `["${pan()}"]`, { ...JSON_TYPE, 'Sallyport-Expect-Substitutions': '0' }),
    ],
    [
      'an expectation that is no number',
      'invalid_value',
      () =>
        post('/d/psp/any', `["${pan()}"]`, {
          ...JSON_TYPE,
          'Sallyport-Expect-Substitutions': 'one',
        }),
    ],
  ])('%s: %s', async (_, reason, act) => {
    const reply = await act()

    expectRefusal(reply, reason)
    expectNothingSent()
  })

  test('the number of placeholders that was expected passes', async () => {
    const reply = await post('/d/psp/any', `["${pan()}","${pan()}"]`, {
      ...JSON_TYPE,
      'Sallyport-Expect-Substitutions': '2',
    })

    expect(reply.status).toBe(200)
  })

  test('a name may be joined by its own origin', async () => {
    const reply = await post('/d/psp/any', '[]', { 'Sallyport-Destination': upstream.origin })

    expect(reply.status).toBe(200)
  })

  test('a destination with no free connection and a full queue is busy', async () => {
    const release = Promise.withResolvers<void>()
    await using slow = await startUpstream(async (_, response) => {
      await release.promise
      response.end()
    })
    await merchant.createDestination({
      name: 'slow',
      origin: slow.origin,
      limits: { connections: 1, queue: 0 },
      allow: [{ methods: ['GET'], path: '/' }],
    })
    const first = get('/d/slow/')
    while (slow.seen.length === 0) await new Promise((resolve) => setTimeout(resolve, 5))

    const second = await get('/d/slow/')
    release.resolve()

    expectRefusal(second, 'destination_busy')
    expect((await first).status).toBe(200)
    expect((await get('/d/slow/')).status).toBe(200)
    expect(slow.seen.length).toBe(2)
  })
})

describe('bodies', () => {
  const big = (bytes: number) => JSON.stringify('x'.repeat(bytes - 2))

  test.each<Row>([
    ['longer than the destination takes', 'body_too_large', () => post('/d/psp/any', big(4097))],
    [
      'longer than it takes, in chunks',
      'body_too_large',
      () =>
        send(
          sallyport.origin,
          'POST',
          '/d/psp/any',
          { 'Sallyport-Key': merchant.proxyKey, 'Transfer-Encoding': 'chunked' },
          [big(3000), big(3000)],
        ),
    ],
    [
      'in a coding that nobody knows',
      'content_encoding_unsupported',
      () => post('/d/psp/any', '{}', { ...JSON_TYPE, 'Content-Encoding': 'compress' }),
    ],
    [
      'in a coding that objects have by themselves',
      'content_encoding_unsupported',
      () => post('/d/psp/any', '{}', { ...JSON_TYPE, 'Content-Encoding': 'constructor' }),
    ],
    [
      'compressed twice',
      'content_encoding_unsupported',
      () =>
        post('/d/psp/any', gzipSync(gzipSync('{}')), {
          ...JSON_TYPE,
          'Content-Encoding': 'gzip, gzip',
        }),
    ],
    [
      'not compressed as it says',
      'malformed_body',
      () => post('/d/psp/any', '{}', { ...JSON_TYPE, 'Content-Encoding': 'gzip' }),
    ],
    [
      'compressed, with an unknown field in it',
      'placeholder_malformed',
      () =>
        post('/d/psp/any', gzipSync('["{{$nope}}"]'), { ...JSON_TYPE, 'Content-Encoding': 'gzip' }),
    ],
    [
      'compressed, and longer than the destination takes',
      'body_too_large',
      () => post('/d/psp/any', gzipSync(big(4097)), { ...JSON_TYPE, 'Content-Encoding': 'gzip' }),
    ],
    [
      'identity and compressed',
      'content_encoding_unsupported',
      () =>
        post('/d/psp/any', gzipSync('{}'), {
          ...JSON_TYPE,
          'Content-Encoding': ['identity', 'br'],
        }),
    ],
    [
      'in a charset that cannot be searched',
      'content_encoding_unsupported',
      () => post('/d/psp/any', '{}', { 'Content-Type': 'application/json; charset=utf-16' }),
    ],
    [
      'of a type said twice',
      'malformed_body',
      () =>
        send(
          sallyport.origin,
          'POST',
          '/d/psp/any',
          [
            'Sallyport-Key',
            merchant.proxyKey,
            'Host',
            'x',
            'Content-Type',
            'application/json',
            'Content-Type',
            'image/png',
            'Content-Length',
            '2',
          ],
          '{}',
        ),
    ],
  ])('%s: %s', async (_, reason, act) => {
    const reply = await act()

    expectRefusal(reply, reason)
    expectNothingSent()
  })

  test('a body of exactly the limit passes', async () => {
    expect((await post('/d/psp/any', big(4096))).status).toBe(200)
  })

  test('a compressed body is inflated, and goes on as it is then', async () => {
    const reply = await post('/d/psp/any', gzipSync(`["${pan()}"]`), {
      ...JSON_TYPE,
      'content-encoding': 'GZIP',
    })

    expect(reply.status).toBe(200)
    expect(upstream.seen[0]?.body.toString()).toBe(`["${VISA}"]`)
    expect(upstream.seen[0]?.headers['content-encoding']).toBeUndefined()
  })

  test('identity is no compression', async () => {
    const reply = await post('/d/psp/any', '{}', { ...JSON_TYPE, 'Content-Encoding': 'identity' })

    expect(reply.status).toBe(200)
  })
})

describe('wishes that are not known', () => {
  test.each(['Sallyport-Wish', 'SALLYPORT-X'])('%s is refused and not ignored', async (name) => {
    const reply = await post('/d/psp/any', '[]', { ...JSON_TYPE, [name]: 'true' })

    expectRefusal(reply, 'unknown_field')
    expectNothingSent()
  })

  test.each([
    ['Sallyport-Dry-Run', 'yes'],
    ['Sallyport-Timeout-Ms', '0'],
    ['Sallyport-Timeout-Ms', '1s'],
    ['Sallyport-Timeout-Ms', '10000000'],
    ['Sallyport-Idempotency-Key', ''],
    ['Sallyport-Idempotency-Key', 'with blank'],
    ['Sallyport-Idempotency-Key', '{{$card_number}}'],
    ['Sallyport-Idempotency-Key', 'x'.repeat(256)],
  ])('%s: %s is refused', async (name, value) => {
    const reply = await post('/d/psp/any', '[]', { ...JSON_TYPE, [name]: value })

    expectRefusal(reply, 'invalid_value')
    expectNothingSent()
  })
})

describe('keys', () => {
  const as = (headers: Headers, path = '/d/psp/any') => send(sallyport.origin, 'GET', path, headers)
  const create = async (fields: Record<string, unknown>) =>
    (
      await sallyport.admin('POST', '/v2/api-keys', {
        merchant_id: merchant.id,
        name: 'k',
        scopes: ['proxy:invoke'],
        ...fields,
      })
    ).body as { api_key: string; key_id: string }

  test.each<Row>([
    ['none', 'unauthenticated', () => as({})],
    ['an empty one', 'unauthenticated', () => as({ 'Sallyport-Key': '' })],
    ['an unknown one', 'unauthenticated', () => as({ 'Sallyport-Key': 'x'.repeat(40) })],
    ['one longer than any', 'unauthenticated', () => as({ 'Sallyport-Key': 'x'.repeat(4000) })],
    [
      "in the PSP's own header, where nothing replaces it",
      'unauthenticated',
      () => as({ Authorization: `Bearer ${merchant.proxyKey}` }),
    ],
    [
      'as Basic user, where nothing replaces it',
      'unauthenticated',
      () => as({ Authorization: `Basic ${btoa(`${merchant.proxyKey}:`)}` }),
    ],
    [
      "in api-key, which is the PSP's here",
      'unauthenticated',
      () => as({ 'api-key': merchant.proxyKey }),
    ],
    [
      'bare in Authorization, even where it is replaced',
      'unauthenticated',
      () => as({ Authorization: merchant.proxyKey }, '/d/injecting/a'),
    ],
    ['of another scope', 'permission_denied', () => as({ 'Sallyport-Key': merchant.vaultKey })],
    ['of the policy', 'permission_denied', () => as({ 'Sallyport-Key': merchant.policyKey })],
    [
      'limited to other addresses',
      'unauthenticated',
      async () =>
        as({ 'Sallyport-Key': (await create({ allowed_cidrs: ['10.0.0.0/8', '::1'] })).api_key }),
    ],
    [
      'limited to other addresses, with a header that claims one',
      'unauthenticated',
      async () =>
        as({
          'Sallyport-Key': (await create({ allowed_cidrs: ['10.0.0.0/8'] })).api_key,
          'X-Forwarded-For': '10.0.0.1',
        }),
    ],
  ])('%s: %s', async (_, reason, act) => {
    const reply = await act()

    expectRefusal(reply, reason)
    expectNothingSent()
  })

  test('a key said twice is refused', async () => {
    const { proxyKey } = merchant

    const reply = await as({ 'Sallyport-Key': [proxyKey, proxyKey] })

    expect(reply.status).toBeGreaterThanOrEqual(400)
    expectNothingSent()
  })

  test('a key limited to this address works', async () => {
    const { api_key } = await create({ allowed_cidrs: ['127.0.0.0/8'] })

    expect((await as({ 'Sallyport-Key': api_key })).status).toBe(200)
  })

  test('a revoked key is refused at once', async () => {
    const { api_key, key_id } = await create({})
    expect((await as({ 'Sallyport-Key': api_key })).status).toBe(200)

    await sallyport.admin('DELETE', `/v2/api-keys/${key_id}?merchant_id=${merchant.id}`)

    expectRefusal(await as({ 'Sallyport-Key': api_key }), 'unauthenticated')
    expect(upstream.seen.length).toBe(1)
  })

  test('an expired key is refused', async () => {
    const expiration = new Date(Date.now() + 2500).toISOString()
    const { api_key } = await create({ expiration })
    expect((await as({ 'Sallyport-Key': api_key })).status).toBe(200)

    await new Promise((resolve) => setTimeout(resolve, 2600))

    expectRefusal(await as({ 'Sallyport-Key': api_key }), 'unauthenticated')
  })

  test.each([
    ['Bearer', () => `Bearer ${merchant.proxyKey}`],
    ['bearer in another case', () => `bearer ${merchant.proxyKey}`],
    ['a Basic user name', () => `Basic ${btoa(`${merchant.proxyKey}:`)}`],
  ])('where the PSP key is injected, ours may come as %s', async (_, authorization) => {
    const reply = await as({ Authorization: authorization() }, '/d/injecting/a')

    expect(reply.status).toBe(200)
    expect(valuesOf(injecting.seen[0]?.rawHeaders ?? [], 'authorization')).toEqual([
      'Bearer sk_psp',
    ])
  })

  test('what is injected replaces what the caller said, in any case', async () => {
    const headers = ['Host', 'x', 'Sallyport-Key', merchant.proxyKey]
    const said = ['authorization', 'Bearer evil', 'AUTHORIZATION', 'Bearer worse', 'x-account', 'a']

    await send(sallyport.origin, 'GET', '/d/injecting/a', [...headers, ...said])

    const { rawHeaders = [] } = injecting.seen[0] ?? {}
    expect(valuesOf(rawHeaders, 'authorization')).toEqual(['Bearer sk_psp'])
    expect(valuesOf(rawHeaders, 'x-account')).toEqual(['acct_1'])
  })

  test('what is injected cannot be taken away through Connection', async () => {
    await as(
      { 'Sallyport-Key': merchant.proxyKey, Connection: 'close, Authorization, X-Account' },
      '/d/injecting/a',
    )

    expect(injecting.seen[0]?.headers).toMatchObject({
      authorization: 'Bearer sk_psp',
      'x-account': 'acct_1',
    })
  })

  test('nothing of ours reaches the destination', async () => {
    await post('/d/psp/any', `["${pan()}"]`, {
      ...JSON_TYPE,
      'Sallyport-Token': token,
      'Sallyport-Expect-Substitutions': '1',
      'Sallyport-Destination': upstream.origin,
    })

    const { rawHeaders = [], headers } = upstream.seen[0] ?? {}
    expect(JSON.stringify(rawHeaders)).not.toContain(merchant.proxyKey)
    expect(Object.keys(headers ?? {}).filter((name) => name.includes('sallyport'))).toEqual([])
  })
})

describe('the type that goes out is the type that is scanned', () => {
  // Refusing it would be as good: what must not be is a pair that the card holder chose.
  test.each([
    ['on the same-shape ways', (body: string) => post('/d/typed/a', body)],
    [
      'in an envelope',
      (body: string, origin: string) =>
        post(
          '/proxy',
          `{"destination_url":"${origin}/a","method":"POST","content_type":"application/json","request_body":${body}}`,
        ),
    ],
  ])('an injected content type decides how a value is written: %s', async (_, act) => {
    await using psp = await startUpstream()
    await merchant.policy('DELETE', '/v2/destinations/typed')
    await merchant.createDestination({
      name: 'typed',
      origin: psp.origin,
      inject_headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
      allow: [{ methods: ['POST'], path: '/*', fields: ['card_holder_name'] }],
    })
    const evil = await merchant.createCard({
      card_number: '378282246310005',
      card_holder_name: 'x&amount=1',
    })

    await act(`"a=1&b={{$card_holder_name: ${evil}}}"`, psp.origin)

    const body = psp.seen[0]?.body.toString() ?? ''
    expect(new URLSearchParams(body).has('amount')).toBe(false)
  })
})
