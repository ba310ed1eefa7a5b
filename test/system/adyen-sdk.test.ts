// The unmodified `@adyen/api-library` package. It speaks TLS only and its host names are fixed, so there are two ways to
// lead it here, both without touching it: its public HttpClient interface, which may change the address of a request;
// or a name server that answers for Adyen's host with Sallyport's address, and no change in code at all.

import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import {
  CheckoutAPI,
  Client,
  type Config,
  EnvironmentEnum,
  HttpClientException,
  HttpURLConnectionClient,
  Types,
} from '@adyen/api-library'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { makeCertificate } from '../proxy/certificates.ts'
import { ADYEN_PATHS, createAdyen } from '../support/psp-adyen.ts'
import { DECLINED } from '../support/psp-cards.ts'
import { type PspSimulator, startPspSimulator } from '../support/psp-simulator.ts'
import { refusalOf } from '../support/refusal-of.ts'
import {
  startSallyport,
  type TestMerchant,
  type TestSallyport,
  VISA,
} from '../support/sallyport.ts'

type Pay = (
  request: Types.checkout.PaymentRequest,
  headers?: Record<string, string>,
) => Promise<Types.checkout.PaymentResponse>

let folder: string
let sallyport: TestSallyport
let psp: PspSimulator
let merchant: TestMerchant
const trusted = getCACertificates('default')

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sallyport-adyen-'))
  const authority = makeCertificate('Test CA', { isAuthority: true })
  const { key, cert } = makeCertificate('sallyport', {
    issuer: authority,
    hosts: ['127.0.0.1', 'checkout-test.adyen.com'],
  })
  await writeFile(join(folder, 'key.pem'), key)
  await writeFile(join(folder, 'cert.pem'), cert)
  // As NODE_EXTRA_CA_CERTS does for a whole process.
  setDefaultCACertificates([...trusted, authority.cert])

  psp = await startPspSimulator({
    apiKey: 'AQE_simulator_0123456789',
    processors: [{ under: ADYEN_PATHS, processor: createAdyen() }],
  })
  sallyport = await startSallyport({
    tls: { cert_file: join(folder, 'cert.pem'), key_file: join(folder, 'key.pem') },
    proxy_host: 'adyen.com',
  })
  merchant = await sallyport.createMerchant()
  const allow = [
    {
      methods: ['POST'],
      path: '/*v72/payments',
      fields: [
        { field: 'card_number', at: ['body:/paymentMethod/number'] },
        { field: 'card_exp_month', at: ['body:/paymentMethod/expiryMonth'] },
        { field: 'card_exp_year', at: ['body:/paymentMethod/expiryYear'] },
        { field: 'card_cvc', at: ['body:/paymentMethod/cvc'] },
      ],
    },
  ]
  await merchant.createDestination({
    name: 'adyen',
    origin: psp.origin,
    inject_headers: { 'X-API-Key': psp.apiKey },
    allow,
  })
  // Under the first label of Adyen's own host name, with the user name and password that Adyen takes as well.
  await merchant.createDestination({
    name: 'checkout-test',
    origin: `http://localhost:${psp.port}`,
    inject_headers: {
      Authorization: `Basic ${Buffer.from(`${psp.apiKey}:password`).toString('base64')}`,
    },
    allow,
  })
})

afterAll(async () => {
  await sallyport[Symbol.asyncDispose]()
  await psp.close()
  setDefaultCACertificates(trusted)
  await rm(folder, { recursive: true, force: true })
})

beforeEach(() => {
  psp.received.length = 0
})

const TEST = { environment: EnvironmentEnum.TEST }

/** The SDK's own HTTP client behind its own interface: the address and a header are all that changes. */
const through =
  (destination: string, environment: Pick<Config, 'environment' | 'liveEndpointUrlPrefix'>): Pay =>
  (request, headers = {}) => {
    const http = new HttpURLConnectionClient()
    const client = new Client(
      { apiKey: 'unused', enable308Redirect: false, ...environment },
      {
        request: (endpoint, json, config, isApiKeyRequired, options = {}) =>
          http.request(
            endpoint.replace(/^https:\/\/[^/]+/, `${sallyport.origin}/d/${destination}`),
            json,
            config,
            isApiKeyRequired,
            { ...options, headers: { ...options.headers, 'Sallyport-Key': merchant.proxyKey } },
          ),
      },
    )
    return new CheckoutAPI(client).PaymentsApi.payments(request, { headers })
  }

const throughHttpClient = through('adyen', TEST)

/** What a name server and port 443 do elsewhere, options of a request do here. */
const throughNameServer: Pay = (request, headers = {}) => {
  const client = new Client({
    username: merchant.proxyKey,
    password: 'unused',
    ...TEST,
  })
  return new CheckoutAPI(client).PaymentsApi.payments(request, {
    headers,
    defaultPort: new URL(sallyport.origin).port,
    lookup: (_name, _options, done) => done(null, [{ address: '127.0.0.1', family: 4 }]),
  })
}

/** With a token, placeholders that name it; without, those that a header serves. */
function payment(token?: string): Types.checkout.PaymentRequest {
  const of = token === undefined ? '' : `: ${token}`
  return {
    merchantAccount: 'ShopECOM',
    reference: 'ORDER-1',
    returnUrl: 'https://shop.example/done',
    amount: { currency: 'EUR', value: 2599 },
    paymentMethod: {
      type: Types.checkout.CardDetails.TypeEnum.Scheme,
      number: `{{$card_number${of}}}`,
      expiryMonth: `{{$card_exp_month${of}}}`,
      expiryYear: `{{$card_exp_year${of}}}`,
      cvc: `{{$card_cvc${of}}}`,
    },
  }
}

describe.each([
  ['its HttpClient interface', throughHttpClient],
  ['the name server', throughNameServer],
])('through %s', (_, pay) => {
  test('a payment is approved: the card arrives at the PSP and the SDK sees its last four', async () => {
    const token = await merchant.createCard({ card_cvc: '737' })

    const made = await pay(payment(token))

    expect(made).toMatchObject({
      resultCode: 'Authorised',
      merchantReference: 'ORDER-1',
      amount: { currency: 'EUR', value: 2599 },
      additionalData: { cardSummary: '4242' },
    })
    expect(psp.received).toMatchObject([
      {
        url: '/v72/payments',
        cardNumber: VISA,
        cvc: '737',
        expiry: { month: '03', year: '2035' },
      },
    ])
    expect(JSON.stringify(made)).not.toContain(VISA)
  })

  test('a refusal of the issuer reaches the SDK as a result', async () => {
    const token = await merchant.createCard({ card_number: DECLINED, card_cvc: '737' })

    const made = await pay(payment(token))

    expect(made).toMatchObject({
      resultCode: 'Refused',
      refusalReason: 'Refused',
      refusalReasonCode: '2',
    })
    expect(psp.received[0]?.cardNumber).toBe(DECLINED)
    expect(JSON.stringify(made)).not.toContain(DECLINED)
  })

  test('a card where the policy does not have it is refused, and nothing is sent', async () => {
    const token = await merchant.createCard({ card_cvc: '737' })

    const refused = await refusalOf(
      pay({ ...payment(token), metadata: { order: `{{$card_number: ${token}}}` } }),
    )

    expect(refused).toBeInstanceOf(HttpClientException)
    expect(refused.statusCode).toBe(403)
    expect(JSON.parse(refused.responseBody).error).toMatchObject({
      reason: 'field_not_allowed',
      retry_safe: true,
    })
    expect(psp.received).toEqual([])
  })

  test('one token for all placeholders may stand in a header of the call', async () => {
    const token = await merchant.createCard({ card_cvc: '737' })

    const made = await pay(payment(), { 'Sallyport-Token': token })

    expect(made.resultCode).toBe('Authorised')
    expect(psp.received[0]).toMatchObject({ cardNumber: VISA, cvc: '737' })
  })

  test('the PSP gets its own credential and never ours', async () => {
    const token = await merchant.createCard({ card_cvc: '737' })

    await pay(payment(token))

    const [request] = psp.received
    expect(request?.headers).toMatchObject({
      'user-agent': expect.stringMatching(/^adyen-node-api-library\/32\./),
      'content-type': 'application/json',
    })
    const everything = JSON.stringify([request?.url, request?.rawHeaders, request?.body.toString()])
    expect(everything).not.toContain(merchant.proxyKey)
    expect(everything).not.toContain(Buffer.from(merchant.proxyKey).toString('base64').slice(0, 24))
    expect(everything).not.toContain('unused')
    expect(everything.toLowerCase()).not.toContain('sallyport')
    expect(everything).not.toContain('{{')
  })
})

test('the live environment, which has another host and another path, is led here as well', async () => {
  const token = await merchant.createCard({ card_cvc: '737' })
  const live = { environment: EnvironmentEnum.LIVE, liveEndpointUrlPrefix: 'prefix-Shop' }

  const made = await through('adyen', live)(payment(token))

  expect(made.resultCode).toBe('Authorised')
  expect(psp.received[0]).toMatchObject({ url: '/checkout/v72/payments', cardNumber: VISA })
})

test('what the PSP finds wrong is an error of the SDK, with the code of the PSP', async () => {
  const token = await merchant.createCard({ card_cvc: '737' })

  const refused = await refusalOf(throughHttpClient({ ...payment(token), returnUrl: '' }))

  expect(refused).toBeInstanceOf(HttpClientException)
  expect(refused).toMatchObject({
    statusCode: 422,
    errorCode: '130',
    apiError: { errorType: 'validation' },
  })
})

test('a redirect of the PSP does not lead the SDK past Sallyport', async () => {
  const moved = createServer((request, response) => {
    request.resume()
    response.writeHead(308, { location: 'https://checkout-test.adyen.com/v72/payments' }).end('{}')
  }).listen(0, '127.0.0.1')
  await once(moved, 'listening')
  const origin = `http://127.0.0.1:${(moved.address() as AddressInfo).port}`
  await merchant.createDestination({
    name: 'moved',
    origin,
    allow: [{ methods: ['POST'], path: '/*' }],
  })
  const { paymentMethod: _, ...rest } = payment()

  const refused = await refusalOf(through('moved', TEST)(rest as Types.checkout.PaymentRequest))
  moved.close()

  // With `enable308Redirect`, its default, the SDK would send our key and the placeholders to Adyen itself.
  expect(refused).toBeInstanceOf(HttpClientException)
  expect(refused.statusCode).toBe(308)
})
