// What an answer says beyond itself: PSP tokens and transaction ids to be kept with the payment method, and whether the
// payment was declined.

import type { AuditTrail } from '../../audit/trail.ts'
import type { KeyId, MerchantId, PaymentMethodId, RequestId } from '../../core/ids.ts'
import type { CredentialRecord } from '../../store/contract.ts'
import type { Destination } from '../destinations.ts'
import type { CardTestingGuard } from '../guards/card-testing.ts'
import type { ProxyStats } from '../stats.ts'
import { capturedIn, isDecline } from './capture.ts'

/** False when it was not kept: the payment method is gone, or the value is nothing to be kept. */
export type CaptureCredential = (captured: {
  readonly merchantId: MerchantId
  readonly paymentMethodId: PaymentMethodId
  readonly kind: CredentialRecord['kind']
  readonly connector: string
  readonly value: Buffer
}) => Promise<boolean>

export type LearnDeps = {
  readonly captureCredential: CaptureCredential
  readonly cardTesting: CardTestingGuard | undefined
  readonly audit: Pick<AuditTrail, 'append'>
  readonly stats: ProxyStats
  /** An error that is our own fault. */
  readonly onBug: (requestId: RequestId, error: unknown) => void
}

export type Charged = {
  readonly requestId: RequestId
  readonly merchantId: MerchantId
  readonly keyId: KeyId
  readonly destination: Destination
  /** Undefined when it was none, or several. */
  readonly methodId: PaymentMethodId | undefined
  /** Without that, a decline tells nothing about a card. */
  readonly hasRevealed: boolean
}

/** Whether anything is to be learned from answers of this destination. */
export function isLearning({ cardTesting }: LearnDeps, destination: Destination): boolean {
  const hasDeclines = cardTesting !== undefined && destination.declined.length > 0
  return destination.capture.length > 0 || hasDeclines
}

/** Settles when what is worth keeping is kept. Never rejects: the payment has been made. */
export function learnFrom(
  deps: LearnDeps,
  { requestId, merchantId, keyId, destination, methodId, hasRevealed }: Charged,
  status: number,
  json: Buffer,
): Promise<void> | undefined {
  // 402 has been counted with its head.
  const isUncounted = status !== 402 && hasRevealed
  if (isUncounted && isDecline(json, destination.declined)) deps.cardTesting?.onDecline(keyId)
  if (status > 299 || methodId === undefined) return undefined
  const captured = capturedIn(json, destination.capture)
  if (captured.length === 0) return undefined
  const connector = destination.settings.connector ?? ''
  const kept = captured.map(async ({ kind, value }) => {
    const isKept = await deps.captureCredential({
      merchantId,
      paymentMethodId: methodId,
      kind,
      connector: kind === 'psp_token' ? connector : '',
      value,
    })
    if (!isKept) return
    deps.stats.captures += 1
    deps.audit.append({
      kind: 'capture',
      request: requestId,
      merchant: merchantId,
      key: keyId,
      token: methodId,
      as: kind,
      destination: destination.name,
    })
  })
  return Promise.all(kept).then(
    () => {},
    (error) => deps.onBug(requestId, error),
  )
}
