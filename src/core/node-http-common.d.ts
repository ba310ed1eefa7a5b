// What is used of a module of Node's that has no documentation and no types. llhttp.ts says why.

declare module 'node:_http_common' {
  export class HTTPParser {
    static readonly REQUEST: 1
    static readonly RESPONSE: 2
    /** Names of the callbacks, which are properties of a parser. */
    static readonly kOnMessageBegin: 0
    static readonly kOnHeaders: 1
    static readonly kOnHeadersComplete: 2
    static readonly kOnBody: 3
    static readonly kOnMessageComplete: 4
    static readonly kOnExecute: 5
    /** Nothing is read that RFC 9112 forbids. */
    static readonly kLenientNone: 0

    0: (() => void) | null
    /** The fields of a head that has many of them, as far as they have come. */
    1: ((fields: string[], url: string) => void) | null
    /** Names and values in turn, undefined after `kOnHeaders`. Answers 1 where the message has no body. */
    2: OnHeadersComplete | null
    3: ((chunk: Buffer) => void) | null
    4: (() => void) | null
    /** All that was read at once from what it consumes: how many bytes, or what is wrong with them. */
    5: ((result: number | Error) => void) | null

    initialize(type: 1 | 2, resource: object, maxHeaderBytes: number, lenient: number): void
    /** How many bytes were read, or what is wrong with them. */
    execute(chunk: Buffer): number | Error
    /** There will be no more: an error when that is too early. */
    finish(): Error | undefined
    /** Reads a socket's handle by itself, without streams and Buffers between them. Its end is still the socket's. */
    consume(handle: object): void
    unconsume(): void
    /** A copy of what is being read, within `kOnExecute`. */
    getCurrentBuffer(): Buffer
    pause(): void
    resume(): void
    /** Its memory is given back; not from within one of its callbacks. */
    close(): void
  }

  export type OnHeadersComplete = (
    versionMajor: number,
    versionMinor: number,
    fields: string[] | undefined,
    /** An index into `methods`. */
    method: number,
    url: string | undefined,
    status: number | undefined,
    statusText: string | undefined,
    isUpgrade: boolean,
    keepsAlive: boolean,
  ) => number

  export const methods: readonly string[]
}
