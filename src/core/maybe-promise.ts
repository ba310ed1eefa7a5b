// "At once where it can be": what the data plane asks of the store and the keyring. The embedded store
// and warm caches answer with the value itself, so that a request costs no promise; others with a promise.

export type MaybePromise<T> = T | Promise<T>

export function isPromise<T>(value: MaybePromise<T>): value is Promise<T> {
  return value instanceof Promise
}
