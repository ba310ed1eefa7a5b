/** A sentence for who runs an import, export or purge: why it does not go on and what to do. Never a value of a row. */
export class TransferError extends Error {
  override readonly name = 'TransferError'
}
