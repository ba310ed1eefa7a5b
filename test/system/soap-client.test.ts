// The unmodified `soap` package, as merchants of PSPs that speak SOAP use it: its endpoint is the base path of a
// destination, its bearer token the Sallyport key, and where a card would stand there are placeholders. What arrives is
// read by a strict XML parser.

import { BearerSecurity, type Client, createClientAsync } from 'soap'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { DECLINED } from '../support/psp-cards.ts'
import { type PspSimulator, startPspSimulator } from '../support/psp-simulator.ts'
import { createSoap, SOAP_PATHS } from '../support/psp-soap.ts'
import { refusalOf } from '../support/refusal-of.ts'
import {
  startSallyport,
  type TestMerchant,
  type TestSallyport,
  VISA,
} from '../support/sallyport.ts'
import { childOf, parseXml } from '../support/xml.ts'

let sallyport: TestSallyport
let psp: PspSimulator
let merchant: TestMerchant

beforeAll(async () => {
  psp = await startPspSimulator({
    apiKey: 'soap_simulator_0123456789',
    processors: [{ under: SOAP_PATHS, processor: createSoap() }],
  })
  sallyport = await startSallyport()
  merchant = await sallyport.createMerchant()
  const at = (name: string) => [`body:/soap:Envelope/soap:Body/requestMessage/card/${name}`]
  await merchant.createDestination({
    name: 'soap-psp',
    origin: psp.origin,
    inject_headers: { Authorization: `Bearer ${psp.apiKey}` },
    allow: [
      { methods: ['GET'], path: '/transactionProcessor' },
      {
        methods: ['POST'],
        path: '/transactionProcessor',
        fields: [
          { field: 'card_number', at: at('accountNumber') },
          { field: 'card_exp_month', at: at('expirationMonth') },
          { field: 'card_exp_year', at: at('expirationYear') },
          { field: 'card_cvc', at: at('cvNumber') },
          {
            field: 'card_holder_name',
            at: [
              ...at('fullName'),
              'body:/soap:Envelope/soap:Body/requestMessage/card/fullName/@note',
            ],
          },
        ],
      },
    ],
  })
})

afterAll(async () => {
  await sallyport[Symbol.asyncDispose]()
  await psp.close()
})

beforeEach(() => {
  psp.received.length = 0
})

/** The description comes through Sallyport as well; the address in it is the PSP's own, so ours is said. */
async function clientOf(key: string, options: { forceSoap12Headers?: boolean } = {}) {
  const endpoint = `${sallyport.origin}/d/soap-psp/transactionProcessor`
  const client: Client = await createClientAsync(`${endpoint}?wsdl`, {
    ...options,
    endpoint,
    disableCache: true,
    wsdl_headers: { 'Sallyport-Key': merchant.proxyKey },
  })
  client.setSecurity(new BearerSecurity(key))
  psp.received.length = 0
  return client
}

function payment(token: string) {
  return {
    merchantReferenceCode: 'ORDER-1',
    purchaseTotals: { currency: 'USD', grandTotalAmount: '25.99' },
    card: {
      accountNumber: `{{$card_number: ${token}}}`,
      expirationMonth: `{{$card_exp_month: ${token}}}`,
      expirationYear: `{{$card_exp_year: ${token}}}`,
      cvNumber: `{{$card_cvc: ${token}}}`,
    },
    ccAuthService: { attributes: { run: 'true' } },
  }
}

describe.each([
  ['SOAP 1.1', {}, 'text/xml'],
  ['SOAP 1.2', { forceSoap12Headers: true }, 'application/soap+xml'],
])('%s', (_, options, type) => {
  test('a payment is approved: the card arrives at the PSP', async () => {
    const token = await merchant.createCard({ card_cvc: '737' })
    const client = await clientOf(merchant.proxyKey, options)

    const [reply, raw] = await client.runTransactionAsync(payment(token))

    expect(reply).toMatchObject({
      merchantReferenceCode: 'ORDER-1',
      decision: 'ACCEPT',
      reasonCode: '100',
      ccAuthReply: { amount: '25.99' },
    })
    expect(psp.received).toMatchObject([
      { cardNumber: VISA, cvc: '737', expiry: { month: '03', year: '2035' } },
    ])
    expect(psp.received[0]?.headers['content-type']).toContain(type)
    expect(raw).not.toContain(VISA)
  })

  test('a decline reaches the client as a reply', async () => {
    const token = await merchant.createCard({ card_number: DECLINED, card_cvc: '737' })
    const client = await clientOf(merchant.proxyKey, options)

    const [reply, raw] = await client.runTransactionAsync(payment(token))

    expect(reply).toMatchObject({ decision: 'REJECT', reasonCode: '203' })
    expect(psp.received[0]?.cardNumber).toBe(DECLINED)
    expect(raw).not.toContain(DECLINED)
  })

  test('a card where the policy does not have it is refused, and nothing is sent', async () => {
    const token = await merchant.createCard({ card_cvc: '737' })
    const client = await clientOf(merchant.proxyKey, options)

    const refused = await refusalOf(
      client.runTransactionAsync({
        ...payment(token),
        merchantReferenceCode: `{{$card_number: ${token}}}`,
      }),
    )

    // Our answer is JSON, which the client cannot read as XML; it is in what it throws, as it came.
    expect(refused.Fault.faultstring).toBe('Invalid XML')
    expect(refused.response.status).toBe(403)
    expect(JSON.parse(refused.body).error).toMatchObject({
      reason: 'field_not_allowed',
      retry_safe: true,
    })
    expect(psp.received).toEqual([])
  })
})

test('one token for all placeholders may stand in a header of the client', async () => {
  const token = await merchant.createCard({ card_cvc: '737' })
  const client = await clientOf(merchant.proxyKey)
  client.addHttpHeader('Sallyport-Token', token)
  const card = {
    accountNumber: '{{$card_number}}',
    expirationMonth: '{{$card_exp_month}}',
    expirationYear: '{{$card_exp_year}}',
    cvNumber: '{{$card_cvc}}',
  }

  const [reply] = await client.runTransactionAsync({ ...payment(token), card })

  expect(reply.decision).toBe('ACCEPT')
  expect(psp.received[0]).toMatchObject({ cardNumber: VISA, cvc: '737' })
})

test('the PSP gets its own key and never ours', async () => {
  const token = await merchant.createCard({ card_cvc: '737' })
  const client = await clientOf(merchant.proxyKey)

  await client.runTransactionAsync(payment(token))

  const [request] = psp.received
  expect(request?.headers).toMatchObject({
    authorization: `Bearer ${psp.apiKey}`,
    soapaction: '"runTransaction"',
    'user-agent': expect.stringMatching(/^node-soap\/1\./),
  })
  const everything = JSON.stringify([request?.url, request?.rawHeaders, request?.body.toString()])
  expect(everything).not.toContain(merchant.proxyKey)
  expect(everything.toLowerCase()).not.toContain('sallyport')
  expect(everything).not.toContain('{{')
})

test('a name with every character that XML has arrives as it is, in text, attributes and CDATA', async () => {
  const name = `Zoë "O'Neil" <&> ]]>`
  const client = await clientOf(merchant.proxyKey)
  const arrived: [text: string | undefined, note: string | undefined][] = []

  for (const holderOf of [
    (holder: string) => ({ attributes: { note: holder }, $value: holder }),
    (holder: string) => ({ $xml: `<![CDATA[${holder}]]>` }),
  ]) {
    const token = await merchant.createCard({ card_cvc: '737', card_holder_name: name })
    const { card, ...rest } = payment(token)
    const fullName = holderOf(`{{$card_holder_name: ${token}}}`)
    const [reply] = await client.runTransactionAsync({ ...rest, card: { fullName, ...card } })
    expect(reply.decision).toBe('ACCEPT')
    const envelope = parseXml(psp.received.at(-1)?.body ?? Buffer.alloc(0))
    const message = childOf(childOf(envelope, 'Body'), 'requestMessage')
    const holder = childOf(childOf(message, 'card'), 'fullName')
    arrived.push([holder?.text, holder?.attributes.note])
  }

  expect(arrived).toEqual([
    [name, name],
    [name, undefined],
  ])
})

test('a fault of the PSP reaches the client as a fault', async () => {
  const client = await clientOf(merchant.proxyKey)

  const failed = await refusalOf(client.runTransactionAsync({ _xml: '<other xmlns="urn:other"/>' }))

  expect(failed.root.Envelope.Body.Fault).toMatchObject({
    faultstring: 'The message is not well-formed.',
  })
})

test('a key that is not one of ours is refused, and nothing is sent', async () => {
  const client = await clientOf('other')

  const refused = await refusalOf(client.runTransactionAsync(payment('x')))

  expect(refused.response.status).toBe(401)
  expect(psp.received).toEqual([])
})
