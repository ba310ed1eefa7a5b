// Certificates that somebody has to renew in time, ours and those on the way to destinations: what is told of them to
// whoever watches.

import { isoTime } from '../core/clock.ts'

export type WatchedCertificate = {
  /** `<merchant>/<profile>/<name>`; undefined for the one that our own port shows. */
  readonly destination: string | undefined
  /** Shown to the destination, trusted instead of the system's, or the destination's own. */
  readonly kind: 'client' | 'ca' | 'server' | 'listener'
  readonly expiresAtMs: number
}

export type CertificateWarning = { readonly certificate: string; readonly expires_at: string }

const WARNED_MS = 30 * 24 * 60 * 60 * 1000

/** Of those that expire within 30 days or have expired, the first to expire first. */
export function certificateWarnings(
  certificates: readonly WatchedCertificate[],
  nowMs: number,
): readonly CertificateWarning[] {
  return certificates
    .filter(({ expiresAtMs }) => expiresAtMs <= nowMs + WARNED_MS)
    .toSorted((one, other) => one.expiresAtMs - other.expiresAtMs)
    .map(({ destination, kind, expiresAtMs }) => ({
      certificate: destination === undefined ? kind : `${kind} ${destination}`,
      expires_at: isoTime(expiresAtMs),
    }))
}
