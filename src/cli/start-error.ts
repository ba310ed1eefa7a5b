/** A sentence for the operator: why it does not start and what to do. */
export class StartError extends Error {
  override readonly name = 'StartError'
}
