// `sallyport demo`: to be written next.
export async function demo(_options: {
  isOnce: boolean
  print: (text: string) => void
  onStopSignal: (stop: () => void) => void
}): Promise<number> {
  return 1
}
