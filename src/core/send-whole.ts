// Asking another system something, as a whole: one small request, one small answer. `proxy/egress` does it, since all
// connections are made there; features are handed the function.

export type WholeRequest = {
  /** `https://…`; its address is checked where the connection is made. */
  readonly url: string
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** Names and values in turn. */
  readonly headers: readonly string[]
  /** Overwritten when it has left, or will not leave any more. */
  readonly body: Buffer | undefined
  /** For all of it, the wait for a connection included. */
  readonly timeoutMs: number
  /** Of the answer's body. A longer one is no answer. */
  readonly limitBytes: number
}

export type WholeAnswer =
  /** Whatever the status. The caller overwrites the body. */
  | { readonly kind: 'answered'; readonly status: number; readonly body: Buffer }
  /** There is no whole answer: too late, too long, broken off, or never asked. */
  | { readonly kind: 'failed'; readonly mayHaveBeenSent: boolean }

/** Never rejects for what the other side does. Redirects are not followed, and nothing is sent twice. */
export type SendWhole = (request: WholeRequest) => Promise<WholeAnswer>
