// A destination that says back what it was told, in whatever form a test asks for and cut wherever it likes; a caller that
// sees every byte of what comes; and a search of these bytes for a card number, in the forms that one might be read from.

import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { join } from 'node:path'
import { startSallyport, type TestMerchant, type TestSallyport } from '../../support/sallyport.ts'
import { pause } from '../../support/time.ts'
import { eventually, listenOnNewPort } from '../upstream.ts'

/** Hardly like itself, so that no part of it is found where it was masked. */
export const NUMBER = '4000056655665556'
export const MASKED = '400005******5556'
export const CODE = '917'

export type Asked = {
  readonly method: string
  readonly url: string
  /** All of it as it came, but for chunks, which are put together. */
  readonly raw: Buffer
  readonly head: string
  readonly body: Buffer
}

/** Buffers are written one by one; a number is how many milliseconds to wait. */
export type Piece = Buffer | string | number | 'end' | 'reset'

export type EchoingPsp = AsyncDisposable & {
  readonly origin: string
  readonly port: number
  readonly asked: Asked[]
  answer: (asked: Asked) => readonly Piece[]
}

export async function startEchoingPsp(
  answer: EchoingPsp['answer'] = () => [OK],
): Promise<EchoingPsp> {
  const sockets = new Set<Socket>()
  const asked: Asked[] = []
  const server: Server = createServer((socket) => {
    sockets.add(socket)
    socket.setNoDelay(true)
    socket.on('error', () => {}) // cut off in the middle of an answer
    socket.once('close', () => sockets.delete(socket))
    const message = new Message()
    socket.on('data', (chunk: Buffer) => {
      const whole = message.take(chunk)
      if (whole === undefined) return
      const [method = '', url = ''] = whole.head.split(' ')
      const request = {
        method,
        url,
        raw: Buffer.concat([Buffer.from(whole.head, 'latin1'), whole.body]),
        ...whole,
      }
      asked.push(request)
      void write(socket, psp.answer(request))
    })
  })
  const port = await listenOnNewPort(server)
  const psp: EchoingPsp = {
    origin: `http://127.0.0.1:${port}`,
    port,
    asked,
    answer,
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close')
      server.close()
      for (const socket of sockets) socket.destroy()
      await closed
    },
  }
  return psp
}

async function write(socket: Socket, pieces: readonly Piece[]): Promise<void> {
  for (const piece of pieces) {
    if (typeof piece === 'number') await pause(piece)
    else if (piece === 'end') socket.end()
    else if (piece === 'reset') socket.resetAndDestroy()
    else if (socket.writable) socket.write(piece, 'latin1')
  }
}

/** Puts messages together that come in pieces, as far as these tests need it. */
class Message {
  #bytes = Buffer.alloc(0)

  /** The next one when it is there as a whole; its head ends with the empty line. */
  take(
    chunk: Buffer,
    isBodyless: (head: string) => boolean = () => false,
  ): { head: string; body: Buffer; rest: Buffer } | undefined {
    this.#bytes = Buffer.concat([this.#bytes, chunk])
    const end = this.#bytes.indexOf('\r\n\r\n')
    if (end === -1) return undefined
    const head = this.#bytes.toString('latin1', 0, end + 4)
    const after = this.#bytes.subarray(end + 4)
    if (isBodyless(head)) return this.#whole(head, Buffer.alloc(0), 0)
    if (/^transfer-encoding: *chunked/im.test(head)) {
      const body = dechunked(after)
      return body && this.#whole(head, body.bytes, body.length)
    }
    const length = Number(/^content-length: *([0-9]+)/im.exec(head)?.[1] ?? 0)
    return after.length < length ? undefined : this.#whole(head, after.subarray(0, length), length)
  }

  #whole(head: string, body: Buffer, length: number) {
    this.#bytes = this.#bytes.subarray(head.length + length)
    return { head, body, rest: this.#bytes }
  }
}

/** Undefined when the last chunk is not there yet. */
function dechunked(bytes: Buffer): { bytes: Buffer; length: number } | undefined {
  const parts: Buffer[] = []
  for (let at = 0; ; ) {
    const lineEnd = bytes.indexOf('\r\n', at)
    if (lineEnd === -1) return undefined
    const size = Number.parseInt(bytes.toString('latin1', at, lineEnd), 16)
    const next = lineEnd + 2 + size + 2
    if (next > bytes.length) return undefined
    if (size === 0) return { bytes: Buffer.concat(parts), length: next }
    parts.push(bytes.subarray(lineEnd + 2, lineEnd + 2 + size))
    at = next
  }
}

export const OK =
  'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"ok":true}'

/** An answer with that body. */
export function answered(
  body: Buffer | string,
  headers: readonly string[] = ['Content-Type: application/json'],
  status = '200 OK',
): Buffer {
  const bytes = typeof body === 'string' ? Buffer.from(body, 'latin1') : body
  const head = [`HTTP/1.1 ${status}`, ...headers, `Content-Length: ${bytes.length}`]
  return Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`, 'latin1'), bytes])
}

/** The same, of which the body comes in these parts, each in a chunk and after a moment of its own. */
export function answeredInChunks(
  parts: readonly (Buffer | string)[],
  headers: readonly string[] = ['Content-Type: application/json'],
): Piece[] {
  const pieces: Piece[] = [
    `${['HTTP/1.1 200 OK', ...headers, 'Transfer-Encoding: chunked'].join('\r\n')}\r\n\r\n`,
  ]
  for (const part of parts) {
    const bytes = typeof part === 'string' ? Buffer.from(part, 'latin1') : part
    if (bytes.length === 0) continue
    const size = Buffer.from(`${bytes.length.toString(16)}\r\n`)
    pieces.push(Buffer.concat([size, bytes, Buffer.from('\r\n')]), MOMENT)
  }
  pieces.push('0\r\n\r\n')
  return pieces
}

/** Long enough for what was written to be read by itself. */
export const MOMENT = 1

/** In two, with a moment between. */
export const cutAt = (bytes: Buffer, at: number): Piece[] => [
  bytes.subarray(0, at),
  MOMENT,
  bytes.subarray(at),
]

export type RawAnswer = {
  readonly status: number
  /** Everything up to the empty line. */
  readonly head: string
  readonly header: (name: string) => string | undefined
  readonly body: Buffer
  readonly text: string
  /** Every byte that came, chunk sizes and all. */
  readonly raw: Buffer
  /** False when the connection ended first. */
  readonly isWhole: boolean
}

/** One connection, kept for as many requests as it lasts. */
export class Caller {
  readonly #socket: Socket
  #seen: Buffer[] = []
  #wake: () => void = () => {}
  isClosed = false

  constructor(origin: string) {
    this.#socket = connect(Number(new URL(origin).port), '127.0.0.1')
    this.#socket.setNoDelay(true)
    this.#socket.on('error', () => {})
    this.#socket.on('data', (chunk: Buffer) => {
      this.#seen.push(chunk)
      this.#wake()
    })
    this.#socket.once('close', () => {
      this.isClosed = true
      this.#wake()
    })
  }

  async ask(
    method: string,
    path: string,
    headers: Readonly<Record<string, string>>,
    body?: Buffer | string | readonly (Buffer | string)[],
  ): Promise<RawAnswer> {
    this.#seen = []
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
    const start = `${method} ${path} HTTP/1.1\r\nHost: sallyport.test\r\n${lines.join('')}`
    if (Array.isArray(body)) {
      this.#socket.write(`${start}Transfer-Encoding: chunked\r\n\r\n`)
      for (const part of body) {
        const bytes = Buffer.from(part)
        this.#socket.write(`${bytes.length.toString(16)}\r\n`)
        this.#socket.write(bytes)
        this.#socket.write('\r\n')
      }
      this.#socket.write('0\r\n\r\n')
    } else {
      const bytes = Buffer.from((body ?? '') as string)
      this.#socket.write(`${start}Content-Length: ${bytes.length}\r\n\r\n`)
      this.#socket.write(bytes)
    }
    return this.#answer(method)
  }

  async #answer(method: string): Promise<RawAnswer> {
    const bodyless = (head: string) => method === 'HEAD' || /^HTTP\/1.1 (204|304)/.test(head)
    for (;;) {
      const raw = Buffer.concat(this.#seen)
      const whole = new Message().take(raw, bodyless)
      if (whole !== undefined || this.isClosed) {
        const end = raw.indexOf('\r\n\r\n') + 4
        const { head, body } = whole ?? {
          head: raw.toString('latin1', 0, end),
          body: raw.subarray(end),
        }
        const header = (name: string) => new RegExp(`^${name}: *(.*)\r$`, 'im').exec(head)?.[1]
        const status = Number(head.split(' ')[1] ?? 0)
        const isWhole = whole !== undefined
        return { status, head, header, body, text: body.toString(), raw, isWhole }
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  close(): void {
    this.#socket.destroy()
  }

  [Symbol.dispose](): void {
    this.close()
  }
}

// ---- The search.

/** Parts of the number, each long enough not to stand anywhere by chance. */
const PARTS = Array.from({ length: NUMBER.length - 7 }, (_, at) => NUMBER.slice(at, at + 8))

/** The readings of the bytes in which 8 digits of the number stand in a row. */
export function readingsWithNumber(bytes: Buffer): string[] {
  const found: string[] = []
  const seen = new Set<string>()
  const look = (name: string, text: string, depth: number) => {
    if (text.length < 8 || seen.has(text)) return
    seen.add(text)
    if (PARTS.some((part) => text.includes(part))) found.push(name)
    if (depth === 0) return
    for (const [how, read] of READINGS) look(`${name} ${how}`, read(text), depth - 1)
  }
  look('as it is', bytes.toString('latin1'), 2)
  return found
}

const decoded = (text: string, runs: RegExp, read: (run: string) => string) =>
  (text.match(runs) ?? []).map(read).join('\n')

const READINGS: readonly (readonly [string, (text: string) => string])[] = [
  ['without separators', (text) => text.replaceAll(/(?<=[0-9])[ +.\-\0](?=[0-9])/g, '')],
  ['without NULs', (text) => text.replaceAll('\0', '')],
  [
    'percent-decoded',
    (text) =>
      text.replaceAll(/%([0-9a-f]{2})/gi, (_, pair) =>
        String.fromCharCode(Number.parseInt(pair, 16)),
      ),
  ],
  [
    'unescaped',
    (text) =>
      text
        .replaceAll(/\\u00([0-9a-f]{2})/gi, (_, pair) =>
          String.fromCharCode(Number.parseInt(pair, 16)),
        )
        .replaceAll('\\', ''),
  ],
  ...[0, 1].map(
    (skip) =>
      [
        `from hex ${skip}`,
        (text: string) =>
          decoded(text, /[0-9a-f]{16,}/gi, (run) =>
            Buffer.from(run.slice(skip), 'hex').toString('latin1'),
          ),
      ] as const,
  ),
  ...[0, 1, 2, 3].map(
    (skip) =>
      [
        `from base64 ${skip}`,
        (text: string) =>
          decoded(text, /[A-Za-z0-9+/_-]{12,}/g, (run) =>
            Buffer.from(run.slice(skip), 'base64').toString('latin1'),
          ),
      ] as const,
  ),
]

/** Whether the code stands as the value of what is called so, in what can be read without knowing that it is encoded. */
export function holdsNamedCode(bytes: Buffer): boolean {
  const text = bytes
    .toString('latin1')
    .replaceAll(/%([0-9a-f]{2})/gi, (_, pair) => String.fromCharCode(Number.parseInt(pair, 16)))
  return new RegExp(`cvc[^0-9]{0,12}${CODE}(?![0-9])`, 'i').test(text)
}

// ---- A merchant, and destinations of different settings.

export type World = AsyncDisposable & {
  readonly sallyport: TestSallyport
  readonly merchant: TestMerchant
  /** Of a card with that number. */
  readonly token: string
  /** A destination of its own, to which a number may go anywhere in a body. */
  reach(name: string, settings?: Record<string, unknown>): Promise<Reached>
  /** Of the audit trail, about the request with that answer. */
  lineOf(answer: RawAnswer, kind: 'outcome' | 'capture'): Promise<any>
}

export type Reached = {
  readonly psp: EchoingPsp
  /** Sends a number, unless it is given another body, and gets that answer. */
  charge(answer: EchoingPsp['answer'] | Buffer | string, request?: Charge): Promise<RawAnswer>
}

export type Charge = {
  readonly method?: string
  readonly body?: string | readonly (Buffer | string)[]
  readonly headers?: Readonly<Record<string, string>>
  readonly caller?: Caller
}

export async function openWorld(settings: Record<string, unknown> = {}): Promise<World> {
  const disposal = new AsyncDisposableStack()
  const sallyport = disposal.use(await startSallyport(settings))
  const merchant = await sallyport.createMerchant()
  const token = await merchant.createCard({ card_number: NUMBER })
  return {
    sallyport,
    merchant,
    token,

    async reach(name, destination = {}) {
      const psp = disposal.use(await startEchoingPsp())
      await merchant.createDestination({
        name,
        origin: psp.origin,
        allow: [
          { methods: ['GET', 'HEAD', 'POST'], path: '/*', fields: ['card_number', 'card_cvc'] },
        ],
        ...destination,
      })
      return {
        psp,
        async charge(answer, { method = 'POST', body = numberBody(token), headers, caller } = {}) {
          psp.answer = typeof answer === 'function' ? answer : () => [answer]
          using own = new Caller(sallyport.origin)
          const used = caller ?? own
          return await used.ask(
            method,
            `/d/${name}/pay`,
            {
              'Sallyport-Key': merchant.proxyKey,
              'Content-Type': 'application/json',
              ...headers,
            },
            body,
          )
        },
      }
    },

    async lineOf(answer, kind) {
      const request = answer.header('Sallyport-Request-Id')
      const find = async () => {
        const text = await readFile(join(sallyport.folder, 'audit', 'audit.jsonl'), 'latin1')
        return text
          .split('\n')
          .find((line) => line.includes(`"kind":"${kind}"`) && line.includes(`"${request}"`))
      }
      const line = await eventually(find, (found) => found !== undefined)
      return JSON.parse(line ?? 'null')
    },

    [Symbol.asyncDispose]: () => disposal.disposeAsync(),
  }
}

export const numberBody = (token: string) => `{"number":"{{$card_number: ${token}}}"}`

/** An error of ours that says so. */
export function reasonOf(answer: RawAnswer): string {
  return JSON.parse(answer.text).error.reason
}
