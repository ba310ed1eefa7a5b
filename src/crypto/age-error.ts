/** A sentence for who runs the command: why an age file does not open, or cannot be made. */
export class AgeError extends Error {
  override readonly name = 'AgeError'
}
