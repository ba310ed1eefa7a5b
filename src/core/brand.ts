// Nominal types for the few values whose confusion would be a breach: ids of different things, sealed
// bytes, fingerprints. A brand exists for the checker only; at run time it is the plain value.

declare const brand: unique symbol

export type Brand<T, Name extends string> = T & { readonly [brand]: Name }
