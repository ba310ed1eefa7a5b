// The guard of addresses, which nothing gets around: no way in, no spelling, no switch.

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { startSallyport, type TestMerchant, type TestSallyport } from '../support/sallyport.ts'
import { expectRefusal, send, startUpstream, type Upstream } from './upstream.ts'

let destinations = 0

describe('addresses that may not be reached', () => {
  let guarded: TestSallyport
  let merchantThere: TestMerchant
  let upstream: Upstream

  beforeAll(async () => {
    guarded = await startSallyport({ egress: { allow_private: [], allow_http: true } })
    merchantThere = await guarded.createMerchant()
    upstream = await startUpstream()
  })

  afterAll(async () => {
    await guarded[Symbol.asyncDispose]()
    await upstream.close()
  })

  test.each([
    ['an address', 'http://127.0.0.1'],
    ['an address with TLS', 'https://127.0.0.1'],
    ['a name', 'http://localhost'],
    ['an IPv6 address', 'http://[::1]'],
    ['an address mapped into IPv6', 'http://[::ffff:127.0.0.1]'],
    ['this host', 'http://0.0.0.0'],
    ['another loopback address', 'http://127.1.2.3'],
  ])(
    '%s of this machine: destination_address_forbidden, and no connection is made',
    async (_, host) => {
      destinations += 1
      const name = `guarded${destinations}`
      await merchantThere.createDestination({
        name,
        origin: `${host}:${upstream.port}`,
        allow: [{ methods: ['POST'], path: '/*', fields: ['card_number'] }],
      })
      const card = await merchantThere.createCard()

      const reply = await send(
        guarded.origin,
        'POST',
        `/d/${name}/pay`,
        { 'Sallyport-Key': merchantThere.proxyKey, 'Content-Type': 'application/json' },
        `["{{$card_number: ${card}}}"]`,
      )

      expectRefusal(reply, 'destination_address_forbidden')
      expect(upstream.connections).toBe(0)
    },
  )

  test.each([
    ['the metadata address', 'http://169.254.169.254'],
    ['a private address', 'http://10.0.0.1'],
    ['metadata through NAT64', 'http://[64:ff9b::a9fe:a9fe]'],
  ])('%s is refused at once by every way in', async (_, origin) => {
    destinations += 1
    const name = `guarded${destinations}`
    const allow = [{ methods: ['GET'], path: '/*' }]
    await merchantThere.createDestination({ name, origin, allow })
    const key = { 'Sallyport-Key': merchantThere.proxyKey }
    const envelope = JSON.stringify({ destination_url: `${origin}/`, method: 'GET' })

    const replies = [
      await send(guarded.origin, 'GET', `/d/${name}/`, key),
      await send(guarded.origin, 'GET', '/forward/', { ...key, 'Sallyport-Destination': origin }),
      await send(guarded.origin, 'POST', '/proxy', key, envelope),
      await send(guarded.origin, 'POST', '/v1/proxy', key, envelope),
      await send(guarded.origin, 'POST', '/v2/proxy', key, envelope),
    ]

    for (const reply of replies) expectRefusal(reply, 'destination_address_forbidden')
  })

  test('without the development switch neither plain HTTP nor addresses can be named', async () => {
    await using strict = await startSallyport({ egress: { allow_private: [], allow_http: false } })
    const { policy } = await strict.createMerchant()

    for (const origin of ['http://psp.example', 'https://127.0.0.1', 'https://psp.example:8443']) {
      const answer = await policy('POST', '/v2/destinations', { name: 'a', origin })
      expect([origin, answer.body.error?.reason]).toEqual([origin, 'invalid_value'])
    }
  })
})
