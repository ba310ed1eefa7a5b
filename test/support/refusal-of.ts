// What a client throws at its caller, for tests of clients that are not ours.

/** Fails when nothing was thrown. */
export async function refusalOf(call: Promise<unknown>): Promise<any> {
  const [settled] = await Promise.allSettled([call])
  if (settled.status === 'rejected') return settled.reason
  throw new Error(`not refused: ${JSON.stringify(settled.value)}`)
}
