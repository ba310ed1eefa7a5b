// A real browser, a page of a shop on another origin, and the browser module: the card is typed into a form, sealed in the
// page, stored, and charged through the proxy. Between page and vault stands a wire that keeps every byte of both ways,
// so that what a middlebox could read is known: no number and no code.

import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createServer } from 'node:http'
import {
  type AddressInfo,
  connect,
  createServer as createWire,
  type Server as NetServer,
  type Socket,
} from 'node:net'
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type PspSimulator, startPspSimulator } from '../support/psp-simulator.ts'
import { startSallyport, type TestMerchant, type TestSallyport } from '../support/sallyport.ts'
import { randomCard } from '../vault/cards.ts'

const CHROMIUM = '/usr/bin/chromium'
const hasChromium = existsSync(CHROMIUM)
const CODE = '739'

test('a browser is there', () => {
  const note = `SKIPPED: nothing was captured in a browser, there is no ${CHROMIUM}`
  if (hasChromium) return
  if (process.env.CI) throw new Error(note)
  console.warn(note)
})

let nowMs = Date.now()
let sallyport: TestSallyport
let merchant: TestMerchant
let psp: PspSimulator
let browser: Browser
let wire: Wire
let shop: Shop
let evil: Shop

type Wire = {
  origin: string
  /** Each way of each connection, since `forget`. */
  ways: { isFromPage: boolean; chunks: Buffer[] }[]
  close(): void
}

/** Everything that goes through, as it is. */
async function startWire(port: number): Promise<Wire> {
  const ways: Wire['ways'] = []
  const sockets = new Set<Socket>()
  const server = createWire((pageSide) => {
    const vaultSide = connect(port, '127.0.0.1')
    for (const [from, to] of [
      [pageSide, vaultSide],
      [vaultSide, pageSide],
    ] as const) {
      const way = { isFromPage: from === pageSide, chunks: [] as Buffer[] }
      ways.push(way)
      sockets.add(from)
      from.on('data', (chunk) => {
        way.chunks.push(Buffer.from(chunk))
        to.write(chunk)
      })
      from.on('close', () => to.destroy())
      from.on('error', () => to.destroy())
    }
  })
  const bound = await listen(server, '127.0.0.1')
  return {
    origin: `http://127.0.0.1:${bound}`,
    ways,
    close() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}

async function listen(server: NetServer, host: string): Promise<number> {
  server.listen(0, host)
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

type Shop = { origin: string; close(): void }

/** A page with a form, which allows scripts of its own and of the vault, and nothing inline. */
async function startShop(vault: string, integrity: string): Promise<Shop> {
  const html = `<!doctype html><title>Shop</title><link rel="icon" href="data:,">
    <script type="module" crossorigin="anonymous" integrity="${integrity}" src="${vault}/v2/capture.js"></script>
    <script type="module" src="/shop.js"></script>
    <form autocomplete="off">
      <input name="card_number"><input name="card_exp_month"><input name="card_exp_year">
      <input name="card_cvc"><input name="card_holder_name"><button>Save</button>
    </form><output></output>`
  const script = `import { Sallyport } from '${vault}/v2/capture.js'
    const form = document.querySelector('form')
    const output = document.querySelector('output')
    const show = (value) => { output.value = JSON.stringify(value) }
    window.withCapture = async (act) => {
      try {
        const origin = '${vault}'
        const sdkAuthorization = location.hash.slice(1)
        const capture = await Sallyport.capture({ origin, sdkAuthorization })
        show({ done: await act(capture) ?? null })
      } catch (error) {
        const { name, code, fields, reason } = error
        show({ failed: { name, code, fields, reason } })
      }
    }
    form.addEventListener('submit', (event) => {
      event.preventDefault()
      output.value = ''
      void window.withCapture((capture) => capture.confirm(Object.fromEntries(new FormData(form))))
    })
    document.body.dataset.ready = 'yes'`
  const server = createServer((request, response) => {
    const isScript = request.url === '/shop.js'
    response.writeHead(200, {
      'content-type': isScript ? 'text/javascript' : 'text/html; charset=utf-8',
      'content-security-policy': `default-src 'none'; script-src 'self' ${vault}; connect-src ${vault}; img-src data:`,
    })
    response.end(isScript ? script : html)
  })
  return {
    origin: `http://localhost:${await listen(server, 'localhost')}`,
    close: () => server.close(),
  }
}

describe.skipIf(!hasChromium)('in a browser', () => {
  beforeAll(async () => {
    psp = await startPspSimulator()
    sallyport = await startSallyport(
      { guards: { client_requests_per_address: { count: 10_000, window_s: 1 } } },
      { clock: () => nowMs },
    )
    wire = await startWire(sallyport.installation.address.port)
    const module = await fetch(`${sallyport.origin}/v2/capture.js`)
    const integrity = module.headers.get('sallyport-integrity') ?? ''
    shop = await startShop(wire.origin, integrity)
    evil = await startShop(wire.origin, integrity)
    merchant = await sallyport.createMerchant()
    const query = `?merchant_id=${merchant.id}`
    const [{ id }] = (await sallyport.admin('GET', `/v2/profiles${query}`)).body
    const allowed = { allowed_origins: [shop.origin] }
    await sallyport.admin('PUT', `/v2/profiles/${id}${query}`, allowed)
    await merchant.createDestination({
      name: 'psp',
      origin: psp.origin,
      inject_headers: { Authorization: `Bearer ${psp.apiKey}` },
      allow: [
        {
          methods: ['POST'],
          path: '/payments',
          fields: [
            { field: 'card_number', at: ['body:/source/number'] },
            { field: 'card_exp_month', at: ['body:/source/expiry_month'] },
            { field: 'card_exp_year', at: ['body:/source/expiry_year'] },
            { field: 'card_cvc', at: ['body:/source/cvv'] },
          ],
        },
      ],
    })
    browser = await chromium.launch({
      executablePath: CHROMIUM,
      args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'],
    })
  })

  afterAll(async () => {
    await browser?.close()
    for (const each of [shop, evil, wire]) each?.close()
    await sallyport?.[Symbol.asyncDispose]()
    await psp?.close()
  })

  let context: BrowserContext
  /** What pages said aside: to the console, and as errors. */
  let said: string[]

  beforeEach(async () => {
    await context?.close()
    context = await browser.newContext()
    said = []
    context.on('console', (message) => said.push(message.text()))
    context.on('weberror', (error) => said.push(String(error.error())))
    forget()
    psp.received.length = 0
  })

  /** The shop's page as its server gives it out, with the authorization of that session. */
  async function open(session: any, where = shop): Promise<Page> {
    const page = await context.newPage()
    await page.goto(`${where.origin}/#${session.sdk_authorization}`)
    await page.locator('body[data-ready]').waitFor()
    return page
  }

  async function fill(page: Page, changes: Record<string, string> = {}): Promise<void> {
    const fields = {
      card_number: randomCard(),
      card_exp_month: '03',
      card_exp_year: '35',
      card_cvc: CODE,
      card_holder_name: 'Jane Doe',
      ...changes,
    }
    for (const [name, text] of Object.entries(fields)) {
      await page.locator(`input[name=${name}]`).fill(text)
    }
  }

  async function outcome(page: Page): Promise<any> {
    await expect.poll(() => page.locator('output').textContent()).not.toBe('')
    return JSON.parse((await page.locator('output').textContent()) ?? '')
  }

  async function submit(page: Page): Promise<any> {
    await page.locator('button').click()
    return outcome(page)
  }

  function forget(): void {
    for (const way of wire.ways) way.chunks.length = 0
  }

  /** What went over the wire, or only what came from pages. */
  function carried(which: 'both ways' | 'from pages'): Buffer {
    const ways = wire.ways.filter(({ isFromPage }) => isFromPage || which === 'both ways')
    return Buffer.concat(ways.flatMap(({ chunks }) => [...chunks, Buffer.from('\n')]))
  }

  async function methodsOf(session: any): Promise<any[]> {
    const path = `/v2/customers/${session.customer_id}/saved-payment-methods`
    return (await merchant.vault('GET', path)).body.customer_payment_methods
  }

  function charge(id: string) {
    return merchant.proxy('POST', '/d/psp/payments', {
      source: {
        type: 'card',
        number: `{{$card_number: ${id}}}`,
        expiry_month: `{{$card_exp_month: ${id}}}`,
        expiry_year: `{{$card_exp_year: ${id}}}`,
        cvv: `{{$card_cvc: ${id}}}`,
      },
      amount: 6540,
      currency: 'USD',
    })
  }

  test('a card that is typed reaches the PSP, and nothing in between could read it', async () => {
    const session = await merchant.createSession()
    const number = randomCard()
    const spaced = number.replaceAll(/(....)(?=.)/g, '$1 ')
    const page = await open(session)
    const sent: string[] = []
    page.on('request', (request) => sent.push(request.postData() ?? ''))
    await fill(page, { card_number: '', card_cvc: '' })
    await page.locator('input[name=card_number]').pressSequentially(spaced)
    await page.locator('input[name=card_cvc]').pressSequentially(CODE)

    const { done } = await submit(page)

    expect(done.id).toBe(session.id)
    const [{ payment_method_token }] = done.associated_payment_methods
    expect(JSON.stringify(done)).not.toContain('_pm_')
    const path = `/v2/payment-methods/token/${payment_method_token.data}/details`
    const { payment_method_id } = (await merchant.vault('GET', path)).body
    expect((await charge(payment_method_id)).status).toBe(201)
    expect(psp.received[0]).toMatchObject({
      cardNumber: number,
      cvc: CODE,
      expiry: { month: '03', year: '2035' },
    })

    // Whatever was sent is the sealed box and what everybody may know.
    const bodies = sent.filter((body) => body !== '').map((body) => JSON.parse(body))
    expect(bodies).toEqual([
      {
        payment_method_type: 'card',
        payment_method_data: {
          sealed: {
            key_id: expect.stringMatching(/^cap_[0-9]+$/),
            ephemeral_public_key: expect.stringMatching(/^[\w-]{43}$/),
            nonce: expect.stringMatching(/^[\w-]{32}$/),
            box: expect.stringMatching(/^[\w-]+$/),
          },
        },
      },
    ])
    const bytes = carried('both ways')
    expect(bytes.includes('payment-method-sessions')).toBe(true)
    for (const spelling of spellings(number, spaced)) expect(bytes.includes(spelling)).toBe(false)
    // Three digits stand in many an id: the code would come with its name.
    expect(carried('from pages').toString('latin1')).not.toMatch(/card_cvc|card_number|Jane/)
    expect(said).toEqual([])
  })

  test('the spellings that are looked for are found where a card is sent in the open', async () => {
    const session = await merchant.createSession()
    const number = randomCard()
    await fetch(`${wire.origin}/v2/payment-method-sessions/${session.id}/confirm`, {
      method: 'POST',
      headers: { authorization: session.sdk_authorization, 'content-type': 'application/json' },
      body: JSON.stringify({
        payment_method_type: 'card',
        payment_method_data: {
          card: {
            card_number: number,
            card_exp_month: '3',
            card_exp_year: '35',
            card_cvc: CODE,
          },
        },
      }),
    })

    const bytes = carried('from pages')
    expect(spellings(number, number).some((spelling) => bytes.includes(spelling))).toBe(true)
    expect(bytes.toString('latin1')).toMatch(/card_cvc/)
  })

  test('what is wrong is said in the page, and nothing of it is sent', async () => {
    const session = await merchant.createSession()
    const page = await open(session)
    forget()
    const number = randomCard()
    const bad = number.slice(0, -1) + ((Number(number.at(-1)) + 1) % 10)

    await fill(page, { card_number: bad, card_exp_month: '13', card_cvc: '7' })
    expect(await submit(page)).toEqual({
      failed: {
        name: 'CaptureError',
        code: 'validation_error',
        fields: ['card_number', 'card_exp_month', 'card_cvc'],
      },
    })
    await page.reload()
    await page.locator('body[data-ready]').waitFor()
    forget()
    await fill(page, { card_number: '', card_exp_year: '19' })
    expect((await submit(page)).failed).toMatchObject({
      code: 'incomplete_field_set',
      fields: ['card_number'],
    })

    expect(carried('from pages').toString('latin1').trim()).toBe('')
    expect(await methodsOf(session)).toEqual([])
  })

  test('a page of another origin gets nothing stored and nothing told', async () => {
    const session = await merchant.createSession()
    const page = await open(session, evil)
    await fill(page)

    const { failed } = await submit(page)

    expect(failed).toEqual({ name: 'CaptureError', code: 'tokenization_failed', fields: [] })
    expect(await methodsOf(session)).toEqual([])
    const got = await merchant.vault('GET', `/v2/payment-method-sessions/${session.id}`)
    expect(got.body.associated_payment_methods).toEqual([])
  })

  test('a session that has expired is said to have', async () => {
    const session = await merchant.createSession({ expires_in: 60 })
    const page = await open(session)
    await fill(page)
    nowMs += 60_000

    expect((await submit(page)).failed).toMatchObject({
      code: 'session_expired',
      reason: 'unauthenticated',
    })
    expect(await methodsOf(session)).toEqual([])
  })

  test('of two tabs one adds its card', async () => {
    const session = await merchant.createSession()
    const tabs = await Promise.all([open(session), open(session)])
    for (const tab of tabs) await fill(tab)

    const outcomes = await Promise.all(tabs.map(submit))

    const failures = outcomes.filter(({ failed }) => failed !== undefined)
    expect(failures).toMatchObject([
      { failed: { code: 'tokenization_failed', reason: 'conflict' } },
    ])
    expect(await methodsOf(session)).toHaveLength(1)
  })

  test('a box that was altered on its way is refused, one that was kept back and sent elsewhere too', async () => {
    const [session, another] = [await merchant.createSession(), await merchant.createSession()]
    const page = await open(session)
    let kept = ''
    await page.route('**/confirm', async (route) => {
      const body = route.request().postDataJSON()
      const { sealed } = body.payment_method_data
      kept = JSON.stringify(body)
      sealed.box = (sealed.box.startsWith('A') ? 'B' : 'A') + sealed.box.slice(1)
      await route.continue({ postData: JSON.stringify(body) })
    })
    await fill(page)

    expect((await submit(page)).failed).toMatchObject({
      code: 'tokenization_failed',
      reason: 'invalid_value',
    })
    const elsewhere = await sallyport.as('')(
      'POST',
      `/v2/payment-method-sessions/${another.id}/confirm`,
      kept,
      { authorization: another.sdk_authorization },
    )
    expect(elsewhere.status).toBe(422)
    expect([await methodsOf(session), await methodsOf(another)]).toEqual([[], []])
  })

  test('a returning customer sees, re-enters the code of, and removes what is saved', async () => {
    const customer_id = await merchant.createCustomer()
    const number = randomCard()
    const id = await merchant.createCard({ card_number: number }, customer_id)
    const session = await merchant.createSession({ customer_id })
    const page = await open(session)
    const act = async (name: string, ...rest: unknown[]) => {
      await page.evaluate(
        ([called, args]: any) =>
          (globalThis as any).withCapture((capture: any) => capture[called](...args)),
        [name, rest],
      )
      return outcome(page)
    }

    const [saved, ...others] = (await act('list')).done
    expect(others).toEqual([])
    expect(saved.payment_method_data.card.last4_digits).toBe(number.slice(-4))
    await act('update', saved.payment_method_token, { card_cvc: CODE })
    expect(carried('from pages').toString('latin1')).not.toContain('card_cvc')
    expect((await charge(id)).status).toBe(201)
    expect(psp.received[0]).toMatchObject({ cardNumber: number, cvc: CODE })

    expect(await act('remove', saved.payment_method_token)).toEqual({ done: null })
    expect((await merchant.vault('GET', `/v2/payment-methods/${id}`)).status).toBe(404)
    expect(said).toEqual([])
  })

  test('a module that is not the one that was pinned does not run', async () => {
    const forged = await startShop(wire.origin, `sha384-${'A'.repeat(64)}`)
    const page = await context.newPage()
    await page.goto(forged.origin)
    await page.waitForLoadState('networkidle')

    expect(await page.locator('body[data-ready]').count()).toBe(0)
    expect(said.join()).toContain('integrity')
    forged.close()
  })
})

/** A number in the forms in which it could stand in what is sent. */
function spellings(number: string, typed: string): string[] {
  const forms = [number, typed, number.replaceAll(/(....)(?=.)/g, '$1-'), encodeURIComponent(typed)]
  const base64 = forms.flatMap((form) =>
    ['', 'x', 'xx'].flatMap((before) => {
      // Whole groups of three bytes, without what stands before them.
      const text = Buffer.from(before + form).toString('base64')
      const inner = text.slice(
        before === '' ? 0 : 4,
        Math.floor((before.length + form.length) / 3) * 4,
      )
      return [inner, inner.replaceAll('+', '-').replaceAll('/', '_')]
    }),
  )
  const percent = [...number].map((digit) => `%${digit.charCodeAt(0).toString(16)}`).join('')
  const hex = Buffer.from(number).toString('hex')
  const wide = Buffer.from(number, 'utf16le').toString('latin1')
  return [
    ...forms,
    ...base64,
    percent,
    hex,
    hex.toUpperCase(),
    wide,
    [...number].reverse().join(''),
  ]
}
