// What the audit trail records, as a closed union, and how an event becomes the text of a line. Events hold ids,
// names from closed lists and numbers; never a sensitive value and never text that a card holder chose.

import type { Reason } from '../core/errors.ts'
import type { Field } from '../core/field.ts'
import type {
  KeyId,
  MerchantId,
  PaymentMethodId,
  ProfileId,
  RequestId,
  SessionId,
  TokenId,
} from '../core/ids.ts'

/**
 * Fields revealed of each token, in the order they stand in the request; paths in their canonical spelling, which a
 * destination has to name and which therefore cannot be a card number.
 */
export type RevealedTokens = readonly {
  token: PaymentMethodId | TokenId
  fields: readonly Field[]
}[]

/** Who sends what where: the same in both lines of a request, so it is written once. */
export class ProxyParties {
  /** JSON members. Every value comes from a grammar without quotes, backslashes and control characters. */
  readonly members: string

  constructor(parties: {
    readonly request: RequestId
    readonly merchant: MerchantId
    readonly profile: ProfileId
    readonly key: KeyId
    readonly client: string
    readonly destination: string
    /** The origin that is really connected to, where the destination's has a wildcard. */
    readonly origin: string
    readonly method: string
    /** Shown, and not sent. */
    readonly isDryRun: boolean
  }) {
    const { request, merchant, profile, key, client, destination, origin, method } = parties
    const dryRun = parties.isDryRun ? ',"dryRun":true' : ''
    this.members = `"request":"${request}","merchant":"${merchant}","profile":"${profile}","key":"${key}","client":"${client}","destination":"${destination}","origin":"${origin}","method":"${method}"${dryRun}`
  }
}

/** Who takes cards out, encrypted to the holders of which keys. */
export class ExportParties {
  /** JSON members, as above. */
  readonly members: string

  constructor(parties: {
    readonly request: RequestId
    readonly merchant: MerchantId
    readonly keys: readonly KeyId[]
    readonly client: string
  }) {
    const { request, merchant, keys, client } = parties
    this.members = `"request":"${request}","merchant":"${merchant}","keys":["${keys.join('","')}"],"client":"${client}"`
  }
}

export type AdminAction =
  | `${'merchant' | 'profile' | 'api_key' | 'destination'}.${'create' | 'update' | 'delete'}`
  | `destination.${'propose' | 'approve' | 'reject'}`
  | `${'customer' | 'payment_method'}.${'create' | 'update' | 'delete'}`
  | `token.${'create' | 'delete'}`
  | 'profile.rotate_publishable_key'
  /** `refuse`: a confirmation that was tried. There are so many for each session and no more. */
  | `session.${'create' | 'update' | 'delete' | 'refuse'}`
  | `external_vault.${'update' | 'delete' | 'propose' | 'approve' | 'reject'}`

export type AuditEvent =
  /** Before plaintext exists: what is about to be revealed to whom. */
  | {
      readonly kind: 'reveal'
      readonly tokens: RevealedTokens
      readonly parties: ProxyParties | ExportParties
    }
  /** Before plaintext exists: a payment method is about to be shown to a key that may see it. */
  | {
      readonly kind: 'show'
      readonly request: string
      readonly merchant: MerchantId
      readonly key: KeyId
      readonly client: string
      readonly token: PaymentMethodId
      readonly fields: readonly Field[]
    }
  /** After the exchange: what came of it. The only line of a request without placeholders. */
  | {
      readonly kind: 'outcome'
      readonly status: number | undefined
      readonly reason: Reason | undefined
      /** The answer was cut after its head had been passed on. */
      readonly cut: boolean
      readonly durationMs: number
      /** Places in the answer that were masked. */
      readonly redactions: number
      /** The answer of an earlier request under the same idempotency key; nothing was sent. */
      readonly replay: boolean
      /** It was sent once more, because a kept-alive connection had been closed. */
      readonly retried: boolean
      readonly parties: ProxyParties
    }
  /** A request of a known caller that was refused before anything was sent. */
  | {
      readonly kind: 'refusal'
      readonly request: RequestId
      readonly merchant: MerchantId
      readonly key: KeyId
      readonly client: string
      readonly reason: Reason
    }
  /** A value of an answer is kept with the payment method that was charged. */
  | {
      readonly kind: 'capture'
      readonly request: RequestId
      readonly merchant: MerchantId
      readonly key: KeyId
      readonly token: PaymentMethodId
      readonly as: 'psp_token' | 'network_transaction_id'
      readonly destination: string
    }
  | {
      readonly kind: 'act'
      readonly action: AdminAction
      readonly request: string
      readonly merchant: MerchantId | undefined
      readonly key?: KeyId
      /** Whose publishable key was used, in place of an API key. */
      readonly profile?: ProfileId
      /** What the client secret was of: a session, or a payment method that waited for its instrument. */
      readonly session?: SessionId
      readonly intent?: PaymentMethodId
      readonly client: string
      readonly object: string
    }
  /** An operator at the machine moves cards in or out, or deletes those that nobody uses. Each card has a line besides. */
  | {
      readonly kind: 'act'
      readonly action: `${'import' | 'export' | 'purge'}.${'start' | 'end'}` | 'export.refuse'
      readonly request: RequestId
      /** Undefined: of all merchants. */
      readonly merchant: MerchantId | undefined
      readonly client: string
      /** The API keys of the two who agreed to an export. */
      readonly keys?: readonly KeyId[]
      /** Public keys that an export is encrypted to. */
      readonly recipients?: readonly string[]
      /** What was done to how many. */
      readonly counts?: Readonly<Record<string, number>>
      /** Of an input or output that was encrypted. */
      readonly sha256?: string
      /** Of an input that was not: a keyed digest, because whoever knows the rest of a short file could try numbers. */
      readonly digest?: string
      /** It was ended before its end. */
      readonly isCut?: boolean
    }
  | { readonly kind: 'start' | 'stop'; readonly version: string }
  /** The process before this one died while it was writing: its last line was incomplete and was cut off. */
  | { readonly kind: 'recovered'; readonly cutBytes: number }

/**
 * The line of an event, without its end. Fields of the chain come first:
 * `{"seq":1,"time":"…","prev":"<sha-256 of the line before, hex>","kind":…}`.
 */
export function auditLine(event: AuditEvent, seq: number, time: string, previous: string): string {
  return `{"seq":${seq},"time":"${time}","prev":"${previous}",${membersOf(event)}}`
}

/** The two kinds that every proxied request has are put together by hand: JSON.stringify costs five times as much. */
function membersOf(event: AuditEvent): string {
  switch (event.kind) {
    case 'reveal': {
      let tokens = ''
      for (const { token, fields } of event.tokens) {
        tokens += `${tokens === '' ? '' : ','}{"token":"${token}","fields":["${fields.join('","')}"]}`
      }
      return `"kind":"reveal","tokens":[${tokens}],${event.parties.members}`
    }
    case 'outcome': {
      const { status, reason, cut, durationMs, redactions, parties } = event
      const answered = status === undefined ? '' : `"status":${status},`
      const failed = reason === undefined ? '' : `"reason":"${reason}",`
      const masked = redactions === 0 ? '' : `"redactions":${redactions},`
      const replay = event.replay ? '"replay":true,' : ''
      const retried = event.retried ? '"retried":true,' : ''
      return `"kind":"outcome",${answered}${failed}"cut":${cut},"durationMs":${durationMs},${masked}${replay}${retried}${parties.members}`
    }
    default:
      return JSON.stringify(event).slice(1, -1)
  }
}
