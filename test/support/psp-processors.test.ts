// The processors that tests of PSP SDKs trust: what they refuse, and that every test card has one outcome at all of
// them. Written by hand here, so that no SDK stands between.

import { describe, expect, test } from 'vitest'
import { ADYEN_PATHS, createAdyen } from './psp-adyen.ts'
import { BRAINTREE_PATHS, createBraintree } from './psp-braintree.ts'
import { TEST_CARDS } from './psp-cards.ts'
import type { Processor } from './psp-processor.ts'
import { type PspSimulator, startPspSimulator } from './psp-simulator.ts'
import { createSoap, SOAP_PATHS } from './psp-soap.ts'
import { parseXml } from './xml.ts'

const YEAR = String(new Date().getUTCFullYear() + 2)

interface Card {
  number: string
  month: string
  year: string
  cvc: string
}

const GOOD: Card = { number: '4242424242424242', month: '06', year: YEAR, cvc: '123' }

interface Kind {
  readonly under: RegExp
  readonly create: () => Processor
  readonly path: string
  readonly type: string
  readonly body: (card: Card) => string
  readonly approved: RegExp
  readonly declined: RegExp
  readonly refused: RegExp
}

const ADYEN: Kind = {
  under: ADYEN_PATHS,
  create: createAdyen,
  path: '/v72/payments',
  type: 'application/json',
  body: ({ number, month, year, cvc }) =>
    JSON.stringify({
      merchantAccount: 'Shop',
      reference: 'ORDER-1',
      returnUrl: 'https://shop.example',
      amount: { value: 100, currency: 'EUR' },
      paymentMethod: { type: 'scheme', number, expiryMonth: month, expiryYear: year, cvc },
    }),
  approved: /"resultCode":"Authorised"/,
  declined: /"resultCode":"Refused"/,
  refused: /"status":4\d\d/,
}

const BRAINTREE_JSON: Kind = {
  under: BRAINTREE_PATHS,
  create: createBraintree,
  path: '/merchants/shop/transactions',
  type: 'application/json',
  body: ({ number, month, year, cvc }) =>
    JSON.stringify({
      transaction: {
        type: 'sale',
        amount: '1.00',
        credit_card: { number, expiration_month: month, expiration_year: year, cvv: cvc },
      },
    }),
  approved: /<status>authorized<\/status>/,
  declined: /<api-error-response>.*<status>processor_declined<\/status>/,
  refused: /<attribute>(number|expiration_month|expiration_year|expiration_date|cvv)<\/attribute>/,
}

const BRAINTREE_XML: Kind = {
  ...BRAINTREE_JSON,
  type: 'application/xml',
  body: ({ number, month, year, cvc }) =>
    `<transaction><type>sale</type><amount>1.00</amount><credit-card><number>${number}</number><expiration-date>${month}/${year}</expiration-date><cvv>${cvc}</cvv></credit-card></transaction>`,
}

const SOAP: Kind = {
  under: SOAP_PATHS,
  create: createSoap,
  path: '/transactionProcessor',
  type: 'text/xml',
  body: ({ number, month, year, cvc }) =>
    `<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><requestMessage xmlns="urn:psp.test:transaction-data"><merchantReferenceCode>1</merchantReferenceCode><purchaseTotals><currency>USD</currency><grandTotalAmount>1.00</grandTotalAmount></purchaseTotals><card><accountNumber>${number}</accountNumber><expirationMonth>${month}</expirationMonth><expirationYear>${year}</expirationYear><cvNumber>${cvc}</cvNumber></card><ccAuthService run="true"/></requestMessage></e:Body></e:Envelope>`,
  approved: /<decision>ACCEPT<\/decision>/,
  declined: /<decision>(REJECT|ERROR)<\/decision><reasonCode>(150|20[2-5]|211|481)</,
  refused: /<decision>REJECT<\/decision><reasonCode>(102|202|231)</,
}

function start({ under, create }: Kind) {
  return startPspSimulator({ processors: [{ under, processor: create() }] })
}

async function post(psp: PspSimulator, { path, type }: Kind, body: string, key = psp.apiKey) {
  const headers = { authorization: `Bearer ${key}`, 'content-type': type }
  const response = await fetch(psp.origin + path, { method: 'POST', headers, body })
  return { status: response.status, text: await response.text() }
}

describe.each([
  ['Adyen', ADYEN],
  ['Braintree in JSON', BRAINTREE_JSON],
  ['Braintree in XML', BRAINTREE_XML],
  ['SOAP', SOAP],
])('%s', (_, kind) => {
  test('every test card has the outcome that it has elsewhere', async () => {
    await using psp = await start(kind)

    for (const [number, outcome] of Object.entries(TEST_CARDS)) {
      const { text } = await post(psp, kind, kind.body({ ...GOOD, number }))

      expect(text, number).toMatch(outcome === 'approved' ? kind.approved : kind.declined)
      expect(text).not.toContain(number)
      expect(psp.received.at(-1)).toMatchObject({
        cardNumber: number,
        cvc: '123',
        expiry: { month: '06', year: YEAR },
      })
    }
  })

  test.each<[string, Partial<Card>]>([
    ['a placeholder', { number: '{{$card_number}}' }],
    ['a wrong check digit', { number: '4242424242424241' }],
    ['blanks in the number', { number: '4242 4242 4242 4242' }],
    ['a month that is none', { month: '13' }],
    ['a year of two digits', { year: YEAR.slice(2) }],
    ['a card that is expired', { year: '2020' }],
    ['letters for a code', { cvc: 'abc' }],
  ])('%s is refused', async (_, change) => {
    await using psp = await start(kind)

    const { text } = await post(psp, kind, kind.body({ ...GOOD, ...change }))

    expect(text).toMatch(kind.refused)
  })

  test('a broken body and a wrong key are refused', async () => {
    await using psp = await start(kind)

    const broken = await post(psp, kind, `${kind.body(GOOD)}<`)
    const stranger = await post(psp, kind, kind.body(GOOD), 'other')

    expect(broken.status).toBeGreaterThanOrEqual(400)
    expect(stranger.status).toBeGreaterThanOrEqual(400)
    expect(psp.received.map(({ cardNumber }) => cardNumber)).toEqual([undefined, undefined])
  })
})

test.each([
  ['two roots', '<a/><b/>'],
  ['an open element', '<a>'],
  ['a bare ampersand', '<a>&</a>'],
  ['an entity of nobody', '<a>&nbsp;</a>'],
  ['the end of CDATA in text', '<a>]]></a>'],
  ['a character that XML has not', '<a>\u0001</a>'],
  ['an attribute twice', '<a b="1" b="2"/>'],
  ['a prefix of nobody', '<x:a/>'],
  ['a document type', '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'],
  ['nothing', ''],
])('%s is no XML document', (_, text) => {
  expect(parseXml(Buffer.from(text))).toBeUndefined()
})

test('text, CDATA and references are one text', () => {
  const root = parseXml(Buffer.from('<a b="&#x31;&quot;">&lt;<![CDATA[&<]]>&#50;</a>'))

  expect(root).toMatchObject({ name: 'a', attributes: { b: '1"' }, text: '<&<2' })
})
