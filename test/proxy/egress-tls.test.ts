// TLS to destinations: which servers are believed, which key is theirs, who we say that we are; also when a session is
// resumed and no certificate is shown. What fails, fails before a byte of the request is sent.

import { createHash, X509Certificate } from 'node:crypto'
import { createServer } from 'node:https'
import type { TLSSocket, TlsOptions } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Cidr, parseCidr } from '../../src/core/cidr.ts'
import { createEgress, type PoolOptions } from '../../src/proxy/egress/egress.ts'
import type { EgressPool } from '../../src/proxy/egress/pool.ts'
import { certificateExpiryMs } from '../../src/proxy/egress/tls.ts'
import type { Origin } from '../../src/proxy/origin.ts'
import {
  startSallyport,
  type TestMerchant,
  type TestSallyport,
  VISA,
} from '../support/sallyport.ts'
import { type Certificate, makeCertificate } from './certificates.ts'
import { tellOf } from './egress-client.ts'
import { expectRefusal, listenOnNewPort, send } from './upstream.ts'

const DAY_MS = 86_400_000
/** Certificates know seconds. */
const inDays = (days: number) => new Date(Math.floor(Date.now() / 1000) * 1000 + days * DAY_MS)

const caUntil = inDays(20)
const ca = makeCertificate('Test CA', { isAuthority: true, until: caUntil })
const otherCa = makeCertificate('Other CA', { isAuthority: true })
const expiredCa = makeCertificate('Expired CA', { isAuthority: true, until: inDays(-1) })
const goodUntil = inDays(10)
const good = makeCertificate('good', {
  issuer: ca,
  hosts: ['127.0.0.1', 'psp.test'],
  until: goodUntil,
})

const pinOf = ({ cert }: Certificate): string =>
  createHash('sha256')
    .update(new X509Certificate(cert).publicKey.export({ type: 'spki', format: 'der' }))
    .digest('base64')

type TlsServer = AsyncDisposable & {
  origin: string
  port: number
  sockets: TLSSocket[]
  /** Of each request, whether its session was resumed. */
  resumed: boolean[]
  /** What arrived inside TLS, of whole requests and of anything else. */
  requests: { body: string; client: string | undefined }[]
  bytes(): number
  use(options: TlsOptions): void
}

/** Closes each connection after its answer. */
async function startTlsServer(options: TlsOptions): Promise<TlsServer> {
  const requests: TlsServer['requests'] = []
  const sockets: TLSSocket[] = []
  const resumed: boolean[] = []
  const server = createServer(options, async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    const socket = request.socket as TLSSocket
    resumed.push(socket.isSessionReused())
    requests.push({ body, client: socket.getPeerX509Certificate()?.subject })
    response.setHeader('Connection', 'close').end('ok')
  })
  server.on('secureConnection', (socket: TLSSocket) => sockets.push(socket))
  const port = await listenOnNewPort(server)
  return {
    origin: `https://127.0.0.1:${port}`,
    port,
    sockets,
    resumed,
    requests,
    bytes: () => sockets.reduce((sum, { bytesRead }) => sum + bytesRead, 0),
    use: (next) => server.setSecureContext(next),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
    },
  }
}

describe('through the front door', () => {
  let sallyport: TestSallyport
  let merchant: TestMerchant
  let token: string
  let destinations = 0

  beforeAll(async () => {
    sallyport = await startSallyport()
    merchant = await sallyport.createMerchant()
    token = await merchant.createCard()
  })

  afterAll(async () => {
    await sallyport[Symbol.asyncDispose]()
  })

  /** A charge at a destination of its own, with a card in it. */
  async function charge(origin: string, settings: Record<string, unknown>) {
    destinations += 1
    const name = `t${destinations}`
    await merchant.createDestination({
      name,
      origin,
      allow: [{ methods: ['POST'], path: '/*', fields: ['card_number'] }],
      ...settings,
    })
    const headers = { 'Sallyport-Key': merchant.proxyKey, 'Content-Type': 'application/json' }
    return send(
      sallyport.origin,
      'POST',
      `/d/${name}/pay`,
      headers,
      `["{{$card_number: ${token}}}"]`,
    )
  }

  const hosts = ['127.0.0.1']
  const self = makeCertificate('a', { hosts })
  const byNoCa = makeCertificate('a', { issuer: good, hosts })

  const untrusted = 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'

  test.each<[string, string, TlsOptions, Certificate | undefined]>([
    [
      'for another name',
      'ERR_TLS_CERT_ALTNAME_INVALID',
      makeCertificate('127.0.0.1', { issuer: ca, hosts: ['psp.test'] }),
      ca,
    ],
    [
      'for nobody, in the names that count',
      'ERR_TLS_CERT_ALTNAME_INVALID',
      makeCertificate('127.0.0.1', { issuer: ca }),
      ca,
    ],
    [
      'that has expired',
      'CERT_HAS_EXPIRED',
      makeCertificate('a', { issuer: ca, hosts, until: inDays(-1) }),
      ca,
    ],
    [
      'that is not valid yet',
      'CERT_NOT_YET_VALID',
      makeCertificate('a', { issuer: ca, hosts, from: inDays(1), until: inDays(2) }),
      ca,
    ],
    ['signed by itself', 'DEPTH_ZERO_SELF_SIGNED_CERT', self, undefined],
    ['signed by itself, where a CA is named', 'DEPTH_ZERO_SELF_SIGNED_CERT', self, ca],
    ['of a CA that is not trusted', untrusted, good, undefined],
    ['of another CA than the one named', untrusted, good, otherCa],
    [
      'of somebody who is no CA',
      'INVALID_PURPOSE',
      { ...byNoCa, cert: byNoCa.cert + good.cert },
      ca,
    ],
    [
      'of a CA that has expired',
      'CERT_HAS_EXPIRED',
      makeCertificate('a', { issuer: expiredCa, hosts }),
      expiredCa,
    ],
    [
      'that is good, in TLS 1.1',
      'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION',
      { ...good, minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL:@SECLEVEL=0' },
      ca,
    ],
  ])(
    'a certificate %s (%s): upstream_tls_failed, and nothing is sent',
    async (_, code, server, trusted) => {
      await using upstream = await startTlsServer(server)
      const pool = open(upstream.origin, { caPem: trusted?.cert })

      const answer = await ask(pool)
      const settings = trusted === undefined ? {} : { ca_pem: trusted.cert }
      const reply = await charge(upstream.origin, settings)
      await pool.destroy()

      expect(answer).toBe(code)
      expectRefusal(reply, 'upstream_tls_failed')
      expect([upstream.requests, upstream.bytes()]).toEqual([[], 0])
    },
  )

  test('a certificate that is good is believed', async () => {
    await using upstream = await startTlsServer(good)

    const reply = await charge(upstream.origin, { ca_pem: ca.cert })

    expect([reply.status, reply.text]).toEqual([200, 'ok'])
    expect(upstream.requests).toEqual([{ body: `["${VISA}"]`, client: undefined }])
  })

  describe('pins', () => {
    const wrong = pinOf(otherCa)

    test.each([
      ['the only one', [pinOf(good)]],
      ['the second', [wrong, pinOf(good)]],
    ])('a key that is pinned is believed: %s', async (_, pins) => {
      await using upstream = await startTlsServer(good)

      const reply = await charge(upstream.origin, { ca_pem: ca.cert, pin_sha256: pins })

      expect(reply.status).toBe(200)
      expect(upstream.requests.length).toBe(1)
    })

    test.each<[string, Certificate, string[]]>([
      ['another key', good, [wrong]],
      ["the CA's key, which is not the server's", good, [pinOf(ca)]],
      [
        'the same name with a new key',
        makeCertificate('good', { issuer: ca, hosts }),
        [pinOf(good)],
      ],
    ])('%s: upstream_tls_failed, and nothing is sent', async (_, server, pins) => {
      await using upstream = await startTlsServer(server)

      const reply = await charge(upstream.origin, { ca_pem: ca.cert, pin_sha256: pins })

      expectRefusal(reply, 'upstream_tls_failed')
      expect([upstream.requests, upstream.bytes()]).toEqual([[], 0])
    })

    const elsewhere = makeCertificate('b', { issuer: ca, hosts: ['psp.test'] })
    test.each([
      ['a name', elsewhere],
      ['a CA', self],
    ])('are no substitute for %s', async (_, server) => {
      await using upstream = await startTlsServer(server)

      const reply = await charge(upstream.origin, { ca_pem: ca.cert, pin_sha256: [pinOf(server)] })

      expectRefusal(reply, 'upstream_tls_failed')
      expect(upstream.bytes()).toBe(0)
    })
  })

  describe('a destination that asks for a certificate', () => {
    const clientCa = makeCertificate('Client CA', { isAuthority: true })
    const client = makeCertificate('merchant', { issuer: clientCa })
    const issuing = makeCertificate('Issuing CA', { issuer: clientCa, isAuthority: true })
    const leaf = makeCertificate('merchant 2', { issuer: issuing })
    const asking: TlsOptions = {
      ...good,
      requestCert: true,
      rejectUnauthorized: true,
      ca: clientCa.cert,
    }
    const pair = (certificate: Certificate, chain = '') => ({
      cert_pem: certificate.cert + chain,
      key_pem: certificate.key,
    })

    test.each([
      ['the one that was given', pair(client), 'CN=merchant'],
      ['one with the chain to its CA', pair(leaf, issuing.cert), 'CN=merchant 2'],
    ])('is shown %s', async (_, client_certificate, subject) => {
      await using upstream = await startTlsServer(asking)

      const reply = await charge(upstream.origin, { ca_pem: ca.cert, client_certificate })

      expect(reply.status).toBe(200)
      expect(upstream.requests).toEqual([{ body: `["${VISA}"]`, client: subject }])
    })

    test.each([
      ['none', undefined],
      ['one of another CA', pair(makeCertificate('merchant', { issuer: otherCa }))],
      ['one without its chain', pair(leaf)],
    ])('gets no request with %s; in TLS 1.3 that shows after it was written', async (_, shown) => {
      await using upstream = await startTlsServer(asking)

      const settings = shown === undefined ? {} : { client_certificate: shown }
      const reply = await charge(upstream.origin, { ca_pem: ca.cert, ...settings })

      expectRefusal(reply, 'upstream_reset')
      expect(upstream.requests).toEqual([])
    })

    test('gets no request with none; in TLS 1.2 that shows before', async () => {
      await using upstream = await startTlsServer({ ...asking, maxVersion: 'TLSv1.2' })

      const reply = await charge(upstream.origin, { ca_pem: ca.cert })

      expectRefusal(reply, 'upstream_tls_failed')
      expect(upstream.requests).toEqual([])
    })
  })
})

const OPTIONS: PoolOptions = {
  caPem: ca.cert,
  client: undefined,
  pinSha256: undefined,
  connections: 1,
  connectMs: 5000,
  headersMs: 5000,
  bodyMs: 5000,
}

const { openPool } = createEgress(
  { allowPrivate: [parseCidr('127.0.0.1') as Cidr], allowHttp: true, proxy: undefined },
  { resolve: (_hostname, callback) => callback(null, [{ address: '127.0.0.1', family: 4 }]) },
)
const open = (origin: string, options: Partial<PoolOptions> = {}) =>
  openPool(origin as Origin, { ...OPTIONS, ...options })

/** The status of the answer, or the code of the error. */
async function ask(pool: EgressPool): Promise<number | string | undefined> {
  const { status, error } = await tellOf(pool)
  return error === undefined ? status : error.code
}

describe('the name', () => {
  test('in the certificate is the one of the destination, not the address it was found at', async () => {
    const named = makeCertificate('a', { issuer: ca, hosts: ['psp.test'] })
    await using upstream = await startTlsServer(named)
    const right = open(`https://psp.test:${upstream.port}`)
    const wrong = open(`https://other.test:${upstream.port}`)

    const answers = [await ask(right), await ask(wrong)]
    await Promise.all([right.destroy(), wrong.destroy()])

    expect(answers).toEqual([200, 'ERR_TLS_CERT_ALTNAME_INVALID'])
    expect(upstream.sockets[0]?.servername).toBe('psp.test')
  })

  test('is not sent where the destination is an address', async () => {
    await using upstream = await startTlsServer(good)
    const pool = open(upstream.origin)

    const answer = await ask(pool)
    await pool.destroy()

    expect([answer, upstream.sockets[0]?.servername]).toEqual([200, false])
  })
})

describe('a session', () => {
  test.each(['TLSv1.2', 'TLSv1.3'] as const)(
    'of %s is resumed by the next connection of the pool',
    async (version) => {
      await using upstream = await startTlsServer({
        ...good,
        minVersion: version,
        maxVersion: version,
      })
      const pool = open(upstream.origin, { pinSha256: [pinOf(good)] })

      const answers = [await ask(pool), await ask(pool), await ask(pool)]
      await pool.destroy()

      expect(answers).toEqual([200, 200, 200])
      expect(upstream.resumed).toEqual([false, true, true])
    },
  )

  test.each<[string, Partial<PoolOptions>, string]>([
    ['a pin', { pinSha256: [pinOf(otherCa)] }, 'ERR_TLS_PIN_MISMATCH'],
    ['a CA', { caPem: otherCa.cert }, 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'],
  ])('of one pool gets nobody past %s of another', async (_, options, code) => {
    await using upstream = await startTlsServer(good)
    const first = open(upstream.origin)
    const other = open(upstream.origin, options)

    const answers = [await ask(first), await ask(other), await ask(first)]
    await Promise.all([first.destroy(), other.destroy()])

    expect(answers).toEqual([200, code, 200])
    expect(upstream.resumed).toEqual([false, true])
  })

  test('is not resumed with somebody else’s key: the pin is checked again', async () => {
    await using upstream = await startTlsServer(good)
    const pool = open(upstream.origin, { pinSha256: [pinOf(good)] })
    const first = await ask(pool)

    upstream.use(makeCertificate('new', { issuer: ca, hosts: ['127.0.0.1'] }))
    const second = await ask(pool)
    await pool.destroy()

    expect([first, second]).toEqual([200, 'ERR_TLS_PIN_MISMATCH'])
    expect(upstream.requests.length).toBe(1)
  })
})

describe('when certificates expire', () => {
  test('is known: ours and the CA’s from the start, the destination’s from the first handshake', async () => {
    const until = inDays(5)
    const client = makeCertificate('merchant', { issuer: ca, until })
    await using upstream = await startTlsServer(good)
    const pool = open(upstream.origin, {
      client: { certPem: client.cert, keyPem: client.key },
    })

    const before = { ...pool.certificateExpiries }
    await ask(pool)
    const after = { ...pool.certificateExpiries }
    await pool.destroy()

    const own = { client: until.getTime(), ca: caUntil.getTime() }
    expect(before).toEqual({ ...own, server: undefined })
    expect(after).toEqual({ ...own, server: goodUntil.getTime() })
  })

  test('is not asked without TLS', async () => {
    const pool = open('http://psp.test')

    expect(pool.certificateExpiries).toBeUndefined()
    await pool.destroy()
  })

  test('of a chain is when the first of them does', () => {
    const early = makeCertificate('early', { until: inDays(3) })
    const late = makeCertificate('late', { until: inDays(300) })

    const expiry = certificateExpiryMs(`${late.cert}\n# a remark\n${early.cert}${late.cert}`)

    expect(expiry).toBe(new X509Certificate(early.cert).validToDate.getTime())
  })

  test.each([
    ['nothing', ''],
    ['a key', makeCertificate('a').key],
    [
      'a certificate that is none',
      '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n',
    ],
  ])('cannot be said of %s', (_, pem) => {
    expect(() => certificateExpiryMs(pem)).toThrow()
  })
})

test('a certificate that OpenSSL cannot use fails the connection, not the pool', async () => {
  await using upstream = await startTlsServer(good)
  const pool = open(upstream.origin, { client: { certPem: 'no certificate', keyPem: 'no key' } })

  const answer = await ask(pool)
  await pool.destroy()

  expect(answer).toBe('ERR_TLS_SETTINGS')
  expect(pool.certificateExpiries).toMatchObject({ client: undefined })
})
