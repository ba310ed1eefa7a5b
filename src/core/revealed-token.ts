// Plaintext of one generic token, as `vault/` hands it out and `proxy/` selects from it.

export interface RevealedToken {
  /** The JSON text of the value, UTF-8, well formed. */
  readonly json: Buffer
  /** Overwrites it; use nothing of it afterwards. */
  wipe(): void
}
